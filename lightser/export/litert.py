"""LiteRT (TensorFlow Lite) graphs of one fixed length, with built-in operations alone.

Any module of one input and one output; the input's shape is the example's. What the converter would
turn into slow or missing operations is rewritten first, in PyTorch's own graph:

* average pooling that counts only the cells that are there becomes a plain one, behind a repeated
  last row or column: the mean of a number and itself is the number;
* padding that a convolution over time is told in words ("same") is told in numbers;
* the recurrent layer is unrolled, both directions side by side, so that each step is one small
  product and shared weights are stored once.

Shapes: B clips, F steps, N inputs, H units, D sets of weights.
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lightser.errors import BadModel, MissingExtra
from lightser.export.quiet import no_words, quiet
from lightser.models import gru  # noqa: F401  defines the operation unrolled below

try:
    with quiet():
        import litert_torch
        from ai_edge_litert import schema_py_generated as schema
        from ai_edge_litert.interpreter import Interpreter, OpResolverType
        from ai_edge_litert.tools import flatbuffer_utils
except ImportError as error:
    raise MissingExtra("Exporting to LiteRT", "litert") from error


def to_litert(module: nn.Module, example: Tensor) -> bytes:
    """Return a float32 LiteRT file that computes ``module`` on inputs of the example's shape.

    Args:
        module: of one tensor, giving one tensor; it is not changed. Fold its batch norms first.
        example: an input; its values do not matter.

    Raises:
        BadModel: the converter cannot carry the module, or only with operations that are not in
            every LiteRT runtime.
    """
    with quiet(), torch.no_grad():
        module = copy.deepcopy(module).cpu().eval()
        try:
            graph = torch.export.export(module, (example,), strict=False).module()
            assert isinstance(graph, torch.fx.GraphModule)
            _rewrite(graph)
            content = litert_torch.convert(graph, (example,)).model_content()
        except (RuntimeError, ValueError, NotImplementedError) as error:
            reason = " ".join(str(error).split())[:200]
            raise BadModel(f"LiteRT cannot carry this network: {reason}") from error
    content = inline(content)
    if foreign := [name for name in operations(content) if name.startswith(("CUSTOM", "FLEX"))]:
        raise BadModel(f"LiteRT has no operation of its own for {', '.join(foreign)}")
    return content


def inline(content: bytes) -> bytes:
    """Return the same file with every weight inside the flatbuffer's tables.

    The quantiser puts weights behind them. TensorFlow Lite Micro does not look there, and computes
    garbage without an error.
    """
    return packed(unpacked(content))


def finished(content: bytes, *, taken: str, given: str) -> bytes:
    """Return the same file as it is shipped.

    Its ends have the names ``taken`` and ``given``, in the graph and in its signature. All other
    tensors have numbers, which says nothing of the modules here and is shorter: names are a tenth
    of an unrolled network.
    """
    model = unpacked(content)
    (graph,), (signature,) = model.subgraphs, model.signatureDefs
    for i, tensor in enumerate(graph.tensors):
        tensor.name = str(i).encode()
    for ends, named, name in (
        (graph.inputs, signature.inputs, taken),
        (graph.outputs, signature.outputs, given),
    ):
        graph.tensors[ends[0]].name = named[0].name = name.encode()
    model.metadata, model.metadataBuffer = None, None
    return packed(model)


def joined(first: bytes, second: bytes) -> bytes:
    """Return one file that gives what ``first`` gives to ``second``.

    If the second takes and gives int8, it is asked in int8 and its answer is turned back to float.
    """
    one, two = unpacked(first), unpacked(second)
    (front,), (back,) = one.subgraphs, two.subgraphs
    tensors, codes, buffers = len(front.tensors), len(one.operatorCodes), len(one.buffers)
    one.buffers += two.buffers
    one.operatorCodes += two.operatorCodes
    for tensor in back.tensors:
        tensor.buffer += buffers
        tensor.name = b"second/" + tensor.name
    for operation in back.operators:
        operation.opcodeIndex += codes
        for ends in (operation.inputs, operation.outputs):
            ends[:] = [end + tensors if end >= 0 else end for end in ends]
    front.tensors += back.tensors
    (between,), (entry,), (result,) = front.outputs, back.inputs, back.outputs
    entry, result = entry + tensors, result + tensors
    if front.tensors[entry].type == schema.TensorType.FLOAT32:
        for operation in back.operators:
            operation.inputs[:] = [between if end == entry else end for end in operation.inputs]
        front.operators += back.operators
    else:
        answer = copy.copy(front.tensors[result])
        answer.name, answer.type, answer.quantization = b"answer", schema.TensorType.FLOAT32, None
        answer.buffer = 0
        front.tensors.append(answer)
        front.operators += [
            _operation(one, schema.BuiltinOperator.QUANTIZE, between, entry),
            *back.operators,
            _operation(one, schema.BuiltinOperator.DEQUANTIZE, result, len(front.tensors) - 1),
        ]
        result = len(front.tensors) - 1
    front.outputs = [result]
    one.signatureDefs[0].outputs[0].tensorIndex = result
    return packed(one)


def _operation(model: Any, builtin: int, taken: int, given: int) -> Any:
    """Return an operation of one input and one output, known to the model from now on."""
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = builtin
    code.version = 1
    model.operatorCodes.append(code)
    operation = schema.OperatorT()
    operation.opcodeIndex = len(model.operatorCodes) - 1
    operation.inputs, operation.outputs = [taken], [given]
    return operation


def unpacked(content: bytes) -> Any:
    """Return a file as objects that may be changed."""
    return flatbuffer_utils.read_model_from_bytearray(bytearray(content))


def packed(model: Any) -> bytes:
    """Return the file that objects describe, every weight inside its tables."""
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def operations(content: bytes) -> dict[str, int]:
    """Return how often each operation occurs in a LiteRT file, most frequent first."""
    model = unpacked(content)
    counts: dict[str, int] = {}
    for graph in model.subgraphs:
        for operation in graph.operators:
            code = model.operatorCodes[operation.opcodeIndex]
            name = str(flatbuffer_utils.opcode_to_name(model, operation.opcodeIndex))
            if code.customCode:
                name = f"CUSTOM {code.customCode.decode()}"
            counts[name] = counts.get(name, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


def open_litert(content: bytes, *, reference: bool = False) -> Interpreter:
    """Return an interpreter on one thread, ready to be asked.

    Args:
        content: of the file.
        reference: whether to compute with LiteRT's reference kernels, which TensorFlow Lite Micro
            equals bit for bit, instead of those that are fast here.
    """
    with no_words():
        interpreter = Interpreter(
            model_content=content,
            num_threads=1,
            experimental_op_resolver_type=OpResolverType.BUILTIN_REF
            if reference
            else OpResolverType.AUTO,
        )
        interpreter.allocate_tensors()
    return interpreter


def _rewrite(graph: torch.fx.GraphModule) -> None:
    """Put what LiteRT computes well in place of what it does not, in the graph itself."""
    aten = torch.ops.aten
    for node in list(graph.graph.nodes):
        if node.op != "call_function":
            continue
        if node.target == aten.avg_pool2d.default and _counts_what_is_there(*node.args):
            node.target, node.args = _pool_what_is_there, node.args[:3]
        elif node.target == aten.conv1d.padding:
            node.target = _conv1d
        elif node.target == aten.softmax.int:
            node.target, node.args = _softmax_in_rows, node.args[:2]
        elif node.target == torch.ops.lightser.bigru.default:
            node.target = _unrolled_bigru
    graph.recompile()


def _counts_what_is_there(
    x: object,
    size: object,
    stride: object = (),
    padding: Sequence[int] = (0,),
    ceil: bool = False,
    counts_padding: bool = True,
    divisor: int | None = None,
) -> bool:
    """Return whether arguments of ``avg_pool2d`` ask for :func:`_pool_what_is_there`."""
    return ceil and not counts_padding and not any(padding) and divisor is None


def _pool_what_is_there(x: Tensor, size: list[int], stride: list[int]) -> Tensor:
    """Average pooling with ``ceil_mode`` and without counting padding, for cells of 1 or 2."""
    if list(size) != list(stride) or max(size) > 2:
        return nn.functional.avg_pool2d(
            x, size, stride, ceil_mode=True, count_include_pad=False
        )  # as it was: right, and slow
    for dim in (2, 3):
        if x.shape[dim] % size[dim - 2]:
            x = torch.cat([x, x.narrow(dim, x.shape[dim] - 1, 1)], dim)
    return nn.functional.avg_pool2d(x, size)


def _conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sequence[int] = (1,),
    padding: str = "valid",
    dilation: Sequence[int] = (1,),
    groups: int = 1,
) -> Tensor:
    """Convolution over time whose padding is "same" or "valid"."""
    around = dilation[0] * (weight.shape[2] - 1) if padding == "same" else 0
    if around % 2:  # the odd one comes last
        x, around = nn.functional.pad(x, [around // 2, around - around // 2]), 0
    return nn.functional.conv1d(x, weight, bias, list(stride), around // 2, list(dilation), groups)


def _softmax_in_rows(x: Tensor, dim: int) -> Tensor:
    """Softmax over any dimension, by way of the last: the only one that is one operation."""
    last = x.ndim - 1
    if dim % x.ndim == last:
        return x.softmax(last)
    return x.transpose(dim, last).softmax(last).transpose(dim, last)


def _unrolled_bigru(x: Tensor, kernel: Tensor, recurrent: Tensor, bias: Tensor) -> Tensor:
    """Compute :func:`lightser.models.gru.bigru` of one clip, ``[1, F, N]``, step by step."""
    n_clips, n_steps, _ = x.shape
    if n_clips != 1:
        raise ValueError(f"a recurrent layer is unrolled for one clip, not for {n_clips}")
    n_units = recurrent.shape[1]
    inputs = [x[0] @ kernel[d] + bias[d] for d in range(len(kernel))]  # [F, 3H] each
    h: Tensor | None = None
    states = []
    for i in range(n_steps):
        step = torch.cat([inputs[0][i : i + 1], inputs[-1][n_steps - 1 - i : n_steps - i]])
        gates, candidate = step[:, : 2 * n_units], step[:, 2 * n_units :]
        if h is None:  # the state is zero
            c, z = torch.tanh(candidate), torch.sigmoid(gates[:, n_units:])
            h = c - z * c
        else:
            r, z = torch.sigmoid(gates + _by(h, recurrent[..., : 2 * n_units])).chunk(2, dim=1)
            c = torch.tanh(candidate + _by(r * h, recurrent[..., 2 * n_units :]))
            h = c + z * (h - c)
        states.append(h.reshape(1, 2 * n_units))
    # Each row holds the forward state of its step and the backward one of its mirror image.
    there = torch.cat([row[:, :n_units] for row in states])
    back = torch.cat([row[:, n_units:] for row in reversed(states)])
    return torch.cat([there, back], dim=1)[None]  # [1, F, 2H]


def _by(h: Tensor, weights: Tensor) -> Tensor:
    """Multiply the states of both directions ``[2, H]`` by ``[D, H, ...]``."""
    if len(weights) == 1:
        return h @ weights[0]
    return torch.cat([h[d : d + 1] @ weights[d] for d in range(2)])
