"""One bit for each binary weight of BCRNN in an ONNX file, as its paper counts its size.

A binary weight is a byte's bit, eight weights to a byte, the first in the highest, 1 for +s and 0
for -s; the scale s is 1, or one number for each output. The graph unpacks them by operators that
every runtime has: a shift, a remainder, and ``2 s b - s``, which is exact.
"""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from torch import nn

from lightser.models.bcrnn import Bcrnn, binarize
from lightser.training.system import System

_FEWEST = 32  # weights of an output, for fewer of which bits and their graph are no gain


def with_bits(system: System, to_graph: Callable[[System], onnx.ModelProto]) -> onnx.ModelProto:
    """Return the graph of a system, its weights of one bit, if it has some, stored as bits."""
    if not isinstance(system.network, Bcrnn):
        return to_graph(system)
    model = to_graph(with_signs(system))
    pack_bits(model)
    return model


def with_signs(system: System) -> System:
    """Return a copy whose binary layers are plain ones, with the weights that they compute with."""
    plain = copy.deepcopy(system)
    assert isinstance(plain.network, Bcrnn)
    for layer in plain.network.binary_layers().values():
        layer.weight = nn.Parameter(binarize(layer.weight.detach(), scale=layer.scale))
        # What is left of it, and all that an exporter needs to know.
        layer.__class__ = nn.Conv2d if isinstance(layer, nn.Conv2d) else nn.Linear  # type: ignore[assignment]
    return plain


def pack_bits(model: onnx.ModelProto) -> int:
    """Store each weight of a graph that is ±s, an s for each output, as one bit; say how many.

    The graph answers as before, to the last digit.
    """
    graph, nodes, n_bits = model.graph, [], 0
    for tensor in list(graph.initializer):
        if tensor.data_type != onnx.TensorProto.FLOAT:
            continue
        weight = numpy_helper.to_array(tensor)
        scale = _scale(weight)
        if scale is None:
            continue
        graph.initializer.remove(tensor)
        nodes += _unpacking(graph, tensor.name, weight, scale)
        n_bits += weight.size
    for at, node in enumerate(nodes):
        graph.node.insert(at, node)
    return n_bits


def _scale(weight: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """Return the magnitude of each output's weights, outputs first or last; None if it varies."""
    size = np.abs(weight)
    for axis in {0, weight.ndim - 1} if weight.ndim > 1 else ():
        others = tuple(i for i in range(weight.ndim) if i != axis)
        scale: NDArray[np.float32] = size.max(axis=others, keepdims=True)
        if weight.size >= _FEWEST * scale.size and scale.all() and (size == scale).all():
            return scale
    return None


def _unpacking(
    graph: onnx.GraphProto, name: str, weight: NDArray[np.float32], scale: NDArray[np.float32]
) -> list[onnx.NodeProto]:
    """Return the nodes that make ``weight`` of the bits, which are put into the graph."""
    bits = np.packbits(weight.reshape(-1) > 0)
    constants = {
        "bits": bits[:, None],
        "shifts": np.arange(7, -1, -1, dtype=np.uint8)[None],
        "two": np.array(2, np.uint8),
        "flat": np.array([-1]),
        "from": np.array([0]),
        "to": np.array([weight.size]),
        "shape": np.array(weight.shape),
        "scale": scale,
        "twice": 2 * scale,
    }
    named = {key: f"{name}/{key}" for key in constants}
    for key, value in constants.items():
        graph.initializer.append(numpy_helper.from_array(value, named[key]))
    steps = (  # operator, inputs, output
        ("BitShift", (named["bits"], named["shifts"]), "shifted"),
        ("Mod", ("shifted", named["two"]), "single"),
        ("Reshape", ("single", named["flat"]), "row"),
        ("Slice", ("row", named["from"], named["to"]), "weights"),  # without what fills a byte
        ("Cast", ("weights",), "numbers"),
        ("Reshape", ("numbers", named["shape"]), "shaped"),
        ("Mul", ("shaped", named["twice"]), "doubled"),
        ("Sub", ("doubled", named["scale"]), ""),
    )
    own = {output: f"{name}/{output}" if output else name for _, _, output in steps}
    attributes: dict[str, dict[str, Any]] = {
        "BitShift": {"direction": "RIGHT"},
        "Cast": {"to": onnx.TensorProto.FLOAT},
    }
    return [
        helper.make_node(
            operator,
            [own.get(given, given) for given in inputs],
            [own[output]],
            name=f"{name}/{operator}_{number}",
            **attributes.get(operator, {}),
        )
        for number, (operator, inputs, output) in enumerate(steps)
    ]
