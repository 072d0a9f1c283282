"""A LiteRT graph of 2-D maps computed in stripes of rows: same weights, same answers, less memory.

The first maps of a convolutional network are its largest, and a runtime that goes layer by layer
holds a whole one beside the next. Here a deeper and smaller map is computed a few rows at a time,
each stripe through all the layers before it, with just the rows that they need (Lin et al.,
"MCUNetV2: Memory-efficient patch-based inference for tiny deep learning", NeurIPS 2021,
https://arxiv.org/abs/2110.15352). Stripes overlap by what convolutions see beyond them, so nothing
is approximated, and zeros stand only where the map itself ends.

The graph that is rewritten is the finished one, so scales, zero points and weights are its own, and
all stripes share them.

Shapes: maps are [1, H, W, C], rows are H.
"""

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from lightser.errors import BadModel
from lightser.export.micro.plan import plan

Operation = schema.BuiltinOperator
NAMES = {value: name for name, value in vars(Operation).items() if isinstance(value, int)}
CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")
ROWS = 1  # dimension of a map
MOST_JOINED = 10  # tensors, in TensorFlow Lite Micro


def in_stripes(content: bytes, rows: Mapping[int, int]) -> bytes:
    """Return a LiteRT file whose first layers are computed in stripes.

    Args:
        content: of a file with one graph of one input and one output.
        rows: for each pooling that is the end of a stripe, counted from 0 in the order of the
            graph, how many of its rows make a stripe.

    Raises:
        BadModel: a layer before such a pooling is of a kind that cannot be cut by rows, or there is
            no such pooling.
    """
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    _Striper(model, rows).rewrite()
    plan(model)
    return _pack(model)


@dataclass
class _Stripe:
    first: int
    end: int
    tensor: int | None = None  # where it is, once it is computed


class _Striper:
    """Writes the operations of a graph anew, from the answer back to what it needs."""

    def __init__(self, model: Any, rows: Mapping[int, int]):
        (self.graph,) = model.subgraphs
        self.model = model
        self.maker = {int(op.outputs[0]): op for op in self.graph.operators}
        pools = [op for op in self.graph.operators if self._name(op) == Operation.AVERAGE_POOL_2D]
        if not rows or max(rows) >= len(pools):
            raise BadModel(f"There is no pooling {max(rows, default=0)} to end a stripe at")
        self.stripes = {
            int(pools[i].outputs[0]): _cut(self._rows(pools[i].outputs[0]), size)
            for i, size in rows.items()
        }
        self.operators: list[Any] = []
        self.constants: dict[bytes, int] = {}

    def rewrite(self) -> None:
        old = self.graph.operators
        through = self._before(self.stripes)
        for op in old:
            if id(op) in through:
                continue  # computed when a stripe asks for it
            inputs = [self._whole(int(i)) if int(i) in self.stripes else int(i) for i in op.inputs]
            self._add(op, inputs, op.outputs)
        self.graph.operators = self.operators
        _drop_unused(self.model)

    def _before(self, tensors: Iterable[int]) -> set[int]:
        """Return the operations that ``tensors`` are computed by, but for views of the input."""
        found: set[int] = set()
        waiting = [self.maker[tensor] for tensor in tensors]
        while waiting:
            op = waiting.pop()
            if id(op) in found or self._is_input(int(op.outputs[0])):
                continue
            found.add(id(op))
            waiting += [self.maker[int(i)] for i in op.inputs if int(i) in self.maker]
        return found

    def _whole(self, tensor: int) -> int:
        return self._part(tensor, 0, self._rows(tensor))

    def _part(self, tensor: int, first: int, end: int) -> int:
        """Return a tensor that is rows ``first`` to ``end`` of another, made if it is not there."""
        if tensor not in self.stripes:
            return self._compute(tensor, first, end)
        parts = []
        for stripe in self.stripes[tensor]:
            if stripe.end <= first or end <= stripe.first:
                continue
            if stripe.tensor is None:
                stripe.tensor = self._compute(tensor, stripe.first, stripe.end)
            inner = max(first, stripe.first), min(end, stripe.end)
            parts.append(self._rows_of(stripe.tensor, inner[0] - stripe.first, inner[1] - inner[0]))
        return self._join(parts)

    def _join(self, parts: Sequence[int]) -> int:
        """Return a tensor with the rows of all parts, in order."""
        if len(parts) > MOST_JOINED:
            size = -(-len(parts) // -(-len(parts) // MOST_JOINED))
            parts = [self._join(parts[i : i + size]) for i in range(0, len(parts), size)]
        if len(parts) == 1:
            return parts[0]
        return self._make(
            Operation.CONCATENATION,
            parts,
            self._like(parts[0], rows=sum(map(self._rows, parts))),
            schema.BuiltinOptions.ConcatenationOptions,
            _options(schema.ConcatenationOptionsT(), axis=ROWS),
        )

    def _compute(self, tensor: int, first: int, end: int) -> int:
        """Compute rows ``first`` to ``end`` of a map from what it is made of."""
        if self._is_input(tensor):
            return self._rows_of(tensor, first, end - first)
        op = self.maker[tensor]
        name, source = self._name(op), int(op.inputs[0])
        result = self._like(tensor, rows=end - first)
        if name == Operation.QUANTIZE:
            return self._add(op, [self._part(source, first, end)], [result])
        if name == Operation.CONCATENATION:
            if op.builtinOptions.axis == ROWS:
                return self._chain(op, first, end)
            return self._add(op, [self._part(int(i), first, end) for i in op.inputs], [result])
        if name == Operation.SLICE:
            begin = [int(n) for n in self._values(int(op.inputs[1]))]
            part = self._part(source, begin[ROWS] + first, begin[ROWS] + end)
            begin[ROWS] = 0
            return self._slice(part, begin, self.graph.tensors[result].shape)
        if name == Operation.AVERAGE_POOL_2D:
            step = op.builtinOptions.strideH
            if op.builtinOptions.filterHeight == step:
                last = min(end * step, self._rows(source))
                return self._add(op, [self._part(source, first * step, last)], [result])
        if NAMES[name] in CONVOLUTIONS and self._keeps_rows(op):
            return self._convolve(op, first, end, result)
        raise BadModel(f"{NAMES[name]} cannot be computed in stripes of rows")

    def _convolve(self, op: Any, first: int, end: int, result: int) -> int:
        """Add zeros where the map ends, and convolve without adding any."""
        source, kernel = int(op.inputs[0]), self.graph.tensors[int(op.inputs[1])]
        height, width = (int(n) for n in kernel.shape[1:3])
        above, below = (height - 1) // 2, height // 2
        n_rows = self._rows(source)
        part = self._part(source, max(0, first - above), min(n_rows, end + below))
        zeros = (
            (max(0, above - first), max(0, end + below - n_rows)),
            ((width - 1) // 2, width // 2),
        )
        options = op.builtinOptions
        if height > 1:
            options = copy.copy(options)
            options.padding = schema.Padding.VALID
            part = self._pad(part, zeros)
        return self._add(op, [part, *map(int, op.inputs[1:])], [result], options)

    def _pad(self, tensor: int, zeros: Sequence[tuple[int, int]]) -> int:
        if not np.any(zeros):
            return tensor
        padding = self._constant([(0, 0), *zeros, (0, 0)])
        shape = self.graph.tensors[tensor].shape
        added = [0, *map(sum, zeros), 0]
        result = self._new(tensor, [int(n) + more for n, more in zip(shape, added, strict=True)])
        return self._make(
            Operation.PAD,
            [tensor, padding],
            result,
            schema.BuiltinOptions.PadOptions,
            schema.PadOptionsT(),
        )

    def _chain(self, op: Any, first: int, end: int) -> int:
        """Join rows of maps that stand one behind the other."""
        parts, start = [], 0
        for tensor in map(int, op.inputs):
            stop = start + self._rows(tensor)
            if first < stop and start < end:
                parts.append(self._part(tensor, max(first, start) - start, min(end, stop) - start))
            start = stop
        return self._join(parts)

    def _rows_of(self, tensor: int, first: int, n_rows: int) -> int:
        shape = [int(n) for n in self.graph.tensors[tensor].shape]
        shape[ROWS] = n_rows
        return self._slice(tensor, [0, first, 0, 0], shape)

    def _slice(self, tensor: int, begin: Sequence[int], shape: Any) -> int:
        if list(shape) == list(self.graph.tensors[tensor].shape):
            return tensor
        return self._make(
            Operation.SLICE,
            [tensor, self._constant(begin), self._constant(shape)],
            self._new(tensor, shape),
            schema.BuiltinOptions.SliceOptions,
            schema.SliceOptionsT(),
        )

    def _values(self, tensor: int) -> Any:
        data = self.model.buffers[self.graph.tensors[tensor].buffer].data
        return np.frombuffer(bytes(data), np.int32)

    def _is_input(self, tensor: int) -> bool:
        """Say whether a map is what the graph is given, perhaps in another shape."""
        if tensor in self.graph.inputs:
            return True
        op = self.maker.get(tensor)
        return (
            op is not None
            and self._name(op) == Operation.RESHAPE
            and self._is_input(int(op.inputs[0]))
        )

    def _rows(self, tensor: int) -> int:
        return int(self.graph.tensors[tensor].shape[ROWS])

    def _keeps_rows(self, op: Any) -> bool:
        """Say whether a convolution has as many rows as what it is given."""
        options, height = op.builtinOptions, self.graph.tensors[int(op.inputs[1])].shape[1]
        steps = (options.strideH, options.strideW, options.dilationHFactor, options.dilationWFactor)
        return steps == (1, 1, 1, 1) and (height == 1 or options.padding == schema.Padding.SAME)

    def _name(self, op: Any) -> int:
        code = self.model.operatorCodes[op.opcodeIndex]
        return int(max(code.builtinCode, code.deprecatedBuiltinCode))

    def _code(self, operation: int) -> int:
        """Return the index of an operation in the model's table, where it is put if need be."""
        for i, code in enumerate(self.model.operatorCodes):
            if max(code.builtinCode, code.deprecatedBuiltinCode) == operation:
                return i
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = operation
        code.version = 2  # the first that takes int8
        self.model.operatorCodes.append(code)
        return len(self.model.operatorCodes) - 1

    def _like(self, tensor: int, *, rows: int) -> int:
        shape = [int(n) for n in self.graph.tensors[tensor].shape]
        return self._new(tensor, [shape[0], rows, *shape[2:]])

    def _new(self, like: int, shape: Sequence[int]) -> int:
        """Add a tensor of another shape, of the same type, scale and zero point."""
        made = copy.copy(self.graph.tensors[like])
        made.shape, made.shapeSignature, made.buffer = np.array(shape, np.int32), None, 0
        made.name = b""
        self.graph.tensors.append(made)
        return len(self.graph.tensors) - 1

    def _constant(self, values: Any) -> int:
        values = np.asarray(values, np.int32)
        key = values.tobytes() + bytes(values.shape)
        if key not in self.constants:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(values.tobytes(), np.uint8)
            self.model.buffers.append(buffer)
            tensor = schema.TensorT()
            tensor.shape, tensor.type = np.array(values.shape, np.int32), schema.TensorType.INT32
            tensor.buffer, tensor.name, tensor.hasRank = len(self.model.buffers) - 1, b"", True
            self.graph.tensors.append(tensor)
            self.constants[key] = len(self.graph.tensors) - 1
        return self.constants[key]

    def _make(
        self, operation: int, inputs: Sequence[int], result: int, kind: int, options: Any
    ) -> int:
        op = schema.OperatorT()
        op.opcodeIndex, op.builtinOptionsType = self._code(operation), kind
        return self._add(op, inputs, [result], options)

    def _add(self, op: Any, inputs: Sequence[int], outputs: Any, options: Any = None) -> int:
        added = copy.copy(op)
        added.inputs, added.outputs = np.array(inputs, np.int32), np.array(outputs, np.int32)
        added.builtinOptions = options or op.builtinOptions
        self.operators.append(added)
        return int(outputs[0])


def _cut(n_rows: int, size: int) -> list[_Stripe]:
    return [_Stripe(i, min(i + size, n_rows)) for i in range(0, n_rows, size)]


def _options(options: Any, **values: int) -> Any:
    for name, value in values.items():
        setattr(options, name, value)
    return options


def _drop_unused(model: Any) -> None:
    """Leave out tensors and buffers that no operation speaks of any more."""
    (graph,) = model.subgraphs
    spoken = [*graph.inputs, *graph.outputs]
    for op in graph.operators:
        spoken += [*op.inputs, *op.outputs]
    tensors = sorted({int(i) for i in spoken if i >= 0})
    place = {old: new for new, old in enumerate(tensors)} | {-1: -1}
    graph.tensors = [graph.tensors[i] for i in tensors]

    def moved(indices: Any) -> Any:
        return np.array([place[int(i)] for i in indices], np.int32)

    graph.inputs, graph.outputs = moved(graph.inputs), moved(graph.outputs)
    for op in graph.operators:
        op.inputs, op.outputs = moved(op.inputs), moved(op.outputs)
    for signature in model.signatureDefs or []:
        for end in (*signature.inputs, *signature.outputs):
            end.tensorIndex = place[int(end.tensorIndex)]
    buffers = [0, *sorted({tensor.buffer for tensor in graph.tensors} - {0})]
    model.buffers = [model.buffers[i] for i in buffers]
    for tensor in graph.tensors:
        tensor.buffer = buffers.index(tensor.buffer)
    model.metadata, model.metadataBuffer = [], None


class _Once:
    """A table that is written once, however many others point to it."""

    def __init__(self, table: Any):
        self.table, self.place = table, None

    def Pack(self, builder: Any) -> Any:  # noqa: N802  the name that flatbuffers calls
        if self.place is None:
            self.place = self.table.Pack(builder)
        return self.place


def _pack(model: Any) -> bytes:
    """Return the file; stripes share what describes their scales and options."""
    known: dict[Any, _Once] = {}

    def once(table: Any) -> Any:
        return None if table is None else known.setdefault(_key(table), _Once(table))

    for graph in model.subgraphs:
        for tensor in graph.tensors:
            tensor.quantization = once(tensor.quantization)
        for op in graph.operators:
            op.builtinOptions = once(op.builtinOptions)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _key(table: Any) -> Any:
    values = {
        name: value.tobytes() if isinstance(value, np.ndarray) else value
        for name, value in vars(table).items()
    }
    return type(table).__name__, tuple(sorted(values.items()))
