"""Where each map lies in memory, decided here and written into the file.

TensorFlow Lite Micro places the largest tensor first, which leaves holes between the many that
stripes are made of. Three orders are tried here, among them the longest-lived first, and the best
goes into the file as its ``OfflineMemoryAllocation``, which the interpreter obeys. Other runtimes
ignore it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

NAME = b"OfflineMemoryAllocation"
VERSION, GRAPH = 1, 0
ALIGNMENT = 16
ELSEWHERE = -1  # weights, which stay in the file
SIZES = {schema.TensorType.INT8: 1, schema.TensorType.INT32: 4, schema.TensorType.FLOAT32: 4}


@dataclass(frozen=True, kw_only=True)
class Span:
    """A tensor that is in memory from one operation to another, both included."""

    tensor: int
    size: int
    first: int
    last: int


ORDERS: tuple[Callable[[Span], tuple[int, ...]], ...] = (
    lambda span: (-span.size, span.first),
    lambda span: (-span.size * (span.last - span.first + 1), span.first),
    lambda span: (span.first - span.last, -span.size),
)


def plan(model: Any) -> None:
    """Write offsets for all tensors of a model (``schema.ModelT``) into its metadata."""
    (graph,) = model.subgraphs
    places = place(spans(graph))
    offsets = [places.get(i, ELSEWHERE) for i in range(len(graph.tensors))]
    buffer = schema.BufferT()
    buffer.data = np.array([VERSION, GRAPH, len(offsets), *offsets], np.int32).view(np.uint8)
    entry = schema.MetadataT()
    entry.name, entry.buffer = NAME, len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or []), entry]


def spans(graph: Any) -> list[Span]:
    """Return when each tensor that is computed, or given, is needed."""
    first = {int(i): 0 for i in graph.inputs}
    last: dict[int, int] = {}
    for step, op in enumerate(graph.operators):
        for tensor in op.outputs:
            first[int(tensor)] = step
        for tensor in op.inputs:
            last[int(tensor)] = step
    last |= {int(i): len(graph.operators) for i in graph.outputs}
    return [
        Span(tensor=i, size=_size(graph.tensors[i]), first=step, last=last.get(i, step))
        for i, step in first.items()
    ]


def place(waiting: Sequence[Span]) -> dict[int, int]:
    """Return an offset for each tensor, such that none lies where another is at the same time."""
    return min((_place(waiting, order) for order in ORDERS), key=lambda found: found[0])[1]


def _place(
    waiting: Sequence[Span], order: Callable[[Span], tuple[int, ...]]
) -> tuple[int, dict[int, int]]:
    """Put each into the lowest hole that is free for its time; return bytes, and where."""
    placed: list[tuple[int, Span]] = []
    for span in sorted(waiting, key=order):
        offset = 0
        for start, other in sorted(placed, key=lambda one: one[0]):
            if other.last < span.first or span.last < other.first:
                continue
            if start - offset >= span.size:
                break
            offset = max(offset, start + other.size)
        placed.append((offset, span))
    needed = max(offset + span.size for offset, span in placed)
    return needed, {span.tensor: offset for offset, span in placed}


def _size(tensor: Any) -> int:
    size = int(np.prod(tensor.shape)) * SIZES[tensor.type]
    return -(-size // ALIGNMENT) * ALIGNMENT
