"""ONNX graphs: opened by ONNX Runtime, and cut without the package ``onnx``.

A model file is a Protocol Buffers message, of which only the list of nodes has to be understood to
take a part of it out; what a node says of itself, and weights, are copied as they are.
"""

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

# Numbers of fields, from onnx.proto3 (https://github.com/onnx/onnx).
_MODEL_GRAPH = 7
_NODE, _NAME, _INITIALIZER, _INPUT, _OUTPUT, _VALUE_INFO = 1, 2, 5, 11, 12, 13  # of a graph
_NAMED = {_INITIALIZER: 8, _INPUT: 1, _OUTPUT: 1, _VALUE_INFO: 1}  # where these have their name
_NODE_INPUT, _NODE_OUTPUT, _NODE_OP_TYPE, _NODE_ATTRIBUTE = 1, 2, 4, 5
_ATTRIBUTE_GRAPHS = {6, 11}
_TENSOR_RAW_DATA = 9
# TypeProto.tensor_type (1) is TypeProto.Tensor, whose elem_type (1) is FLOAT (1).
_FLOAT_TENSOR = b"\x0a\x02\x08\x01"


def open_session(graph: bytes) -> "InferenceSession":
    """Return what runs a graph on one thread. Raises what ONNX Runtime does, of a dozen kinds."""
    # ONNX Runtime takes a while to import, and cards can be read without it.
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what fails is said by who asked
    return onnxruntime.InferenceSession(
        graph, sess_options=options, providers=["CPUExecutionProvider"]
    )


@dataclass(frozen=True)
class Node:
    """A node of a graph: what it does, the names of what it takes and gives, and its bytes."""

    op_type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    written: bytes


class Graph:
    """The graph of an ONNX model.

    Attributes:
        nodes: in an order in which they can be run, as ONNX demands.

    Raises:
        ValueError: it is no ONNX model, or a node holds graphs of its own, as loops do.
    """

    def __init__(self, model: bytes):
        message = memoryview(model)
        self._around = b"".join(
            field for number, _, field in _fields(message) if number != _MODEL_GRAPH
        )
        graphs = [content for number, content, _ in _fields(message) if number == _MODEL_GRAPH]
        if len(graphs) != 1:
            raise ValueError(f"{len(graphs)} graphs in a model; expected one")
        self.nodes: list[Node] = []
        # Of each kind, by name: what is written of it.
        self._named: dict[int, dict[str, memoryview]] = {number: {} for number in _NAMED}
        for number, content, _ in _fields(graphs[0]):
            if number == _NODE:
                self.nodes.append(_read_node(content))
            elif number in _NAMED:
                (name,) = _texts(content, _NAMED[number])
                self._named[number][name] = content

    def extract(self, inputs: Sequence[str], output: str) -> bytes:
        """Return the model that computes ``output`` from ``inputs`` and from weights.

        An input that it does not need is left out. What is known of the shapes in between is kept,
        since ONNX Runtime may choose other ways to compute without it.
        """
        wanted, nodes = {output}, list[Node]()
        for node in reversed(self.nodes):
            if not wanted.isdisjoint(set(node.outputs) - set(inputs)):
                nodes.append(node)
                wanted.update(node.inputs)
        nodes.reverse()
        inside = {name for node in nodes for name in node.outputs}
        graph = [
            *(_field(_NODE, node.written) for node in nodes),
            _field(_NAME, b"part"),
            *(self._copies(_INITIALIZER, wanted)),
            *(self._copies(_INPUT, wanted)),
            *(
                _field(_INPUT, self._tensor(name))
                for name in inputs
                if name in wanted and name not in self._named[_INPUT]
            ),
            *(self._copies(_VALUE_INFO, inside - {output})),
            _field(_OUTPUT, self._tensor(output)),
        ]
        return self._around + _field(_MODEL_GRAPH, b"".join(graph))

    def floats(self, name: str) -> NDArray[np.float32]:
        """Return the numbers of an initializer of floats, flat.

        Raises:
            KeyError: there is none of that name.
        """
        content = self._named[_INITIALIZER][name]
        raw = [value for number, value, _ in _fields(content) if number == _TENSOR_RAW_DATA]
        return np.frombuffer(b"".join(raw), "<f4").astype(np.float32)

    def _copies(self, kind: int, wanted: Container[str]) -> Iterator[bytes]:
        for name, content in self._named[kind].items():
            if name in wanted:
                yield _field(kind, content)

    def _tensor(self, name: str) -> bytes | memoryview:
        """Return what is written of a tensor; where nothing is, that it holds floats."""
        known = self._named[_OUTPUT] | self._named[_VALUE_INFO]
        return known.get(name, _field(1, name.encode()) + _field(2, _FLOAT_TENSOR))


def _read_node(content: memoryview) -> Node:
    for number, attribute, _ in _fields(content):
        if number == _NODE_ATTRIBUTE and any(
            n in _ATTRIBUTE_GRAPHS for n, *_ in _fields(attribute)
        ):
            raise ValueError("a node holds a graph of its own")
    (op_type,) = _texts(content, _NODE_OP_TYPE)
    inputs, outputs = _texts(content, _NODE_INPUT), _texts(content, _NODE_OUTPUT)
    return Node(op_type, tuple(inputs), tuple(outputs), bytes(content))


def _texts(message: memoryview, wanted: int) -> list[str]:
    return [str(content, "utf-8") for number, content, _ in _fields(message) if number == wanted]


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview, memoryview]]:
    """Yield of each field its number, its content, and the whole of it as it is written.

    https://protobuf.dev/programming-guides/encoding
    """
    at = 0
    while at < len(message):
        began = at
        tag, at = _varint(message, at)
        if (kind := tag & 7) == 0:
            _, end = _varint(message, at)
        elif kind == 2:
            size, at = _varint(message, at)
            end = at + size
        elif kind in (1, 5):
            end = at + (8 if kind == 1 else 4)
        else:
            raise ValueError(f"a field of kind {kind}")
        if end > len(message):
            raise ValueError("a field that ends too early")
        yield tag >> 3, message[at:end], message[began:end]
        at = end


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """Return the number that begins at a byte, in groups of seven bits, and where it ends."""
    value = shift = 0
    while at < len(message):
        byte = message[at]
        value |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return value, at
        shift += 7
    raise ValueError("a number that ends too early")


def _field(number: int, content: bytes | memoryview) -> bytes:
    return b"".join((_as_varint(number << 3 | 2), _as_varint(len(content)), content))


def _as_varint(value: int) -> bytes:
    written = bytearray()
    while value > 127:
        written.append(value & 127 | 128)
        value >>= 7
    return bytes([*written, value])
