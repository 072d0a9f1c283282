"""Biases of an int8 LiteRT file moved so that each layer's mean is the float one's.

Rounding weights shifts what a layer gives on average, and the shifts of all layers add up. They are
seen on the clips to calibrate on and taken off the biases, which are whole numbers of 32 bits and
cost nothing (Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias
Correction", ICCV 2019, https://arxiv.org/abs/1906.04721, section 4.2, with data).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray

from lightser.export.litert import packed, unpacked
from lightser.export.quiet import no_words

WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


@dataclass(frozen=True, kw_only=True)
class _Layer:
    """A layer with weights; all are numbers of tensors.

    Attributes:
        taken: what comes in.
        weights: a scale for each output channel.
        bias: of each output channel; -1 if there is none.
        given: what goes out, the activation included.
    """

    taken: int
    weights: int
    bias: int
    given: int


def correct_biases(int8: bytes, float32: bytes, inputs: Sequence[NDArray[np.float32]]) -> bytes:
    """Return the int8 file with other biases.

    Layers are corrected from the first to the last, each behind those that already are. One without
    a bias, or that shares it (a step of an unrolled network), stays as it is.

    Args:
        int8: made from the other.
        float32: what it was made from.
        inputs: of the shape that the float32 file takes.
    """
    reference = _opened(float32)
    originals, chosen = _layers(reference), _with_own_bias(reference, float32)
    targets = _means(reference, [originals[i].given for i in chosen], inputs)
    for i, target in zip(chosen, targets, strict=True):
        interpreter = _opened(int8)
        layer = _layers(interpreter)[i]
        details = {tensor["index"]: tensor for tensor in interpreter.get_tensor_details()}
        if details[layer.bias]["dtype"] != np.int32:
            continue  # computed in float32
        (mean,) = _means(interpreter, [layer.given], inputs)
        scales = details[layer.weights]["quantization_parameters"]["scales"]
        step = details[layer.taken]["quantization"][0] * scales
        model = unpacked(int8)
        buffer = model.buffers[model.subgraphs[0].tensors[layer.bias].buffer]
        bias = np.frombuffer(bytes(buffer.data), np.int32)
        moved = bias + np.round((target - mean) / step).astype(np.int32)
        buffer.data = np.frombuffer(moved.astype(np.int32).tobytes(), np.uint8)
        int8 = packed(model)
    return int8


def _layers(interpreter: Interpreter) -> list[_Layer]:
    """Return the layers with weights, in the order in which they are computed."""
    return [
        _Layer(
            taken=int(operation["inputs"][0]),
            weights=int(operation["inputs"][1]),
            bias=int(operation["inputs"][2]) if len(operation["inputs"]) > 2 else -1,
            given=int(operation["outputs"][0]),
        )
        for operation in interpreter._get_ops_details()
        if operation["op_name"] in WEIGHTED
    ]


def _with_own_bias(interpreter: Interpreter, float32: bytes) -> list[int]:
    """Return which layers have a bias, and share neither that nor their weights."""
    tensors = unpacked(float32).subgraphs[0].tensors
    layers = _layers(interpreter)
    users = Counter(tensors[layer.weights].buffer for layer in layers)
    return [
        i
        for i, layer in enumerate(layers)
        if layer.bias >= 0 and users[tensors[layer.weights].buffer] == 1
    ]


def _means(
    interpreter: Interpreter, tensors: Sequence[int], inputs: Sequence[NDArray[np.float32]]
) -> list[NDArray[np.float64]]:
    """Return the mean of each channel of each tensor over all inputs."""
    entry = interpreter.get_input_details()[0]
    details = {tensor["index"]: tensor for tensor in interpreter.get_tensor_details()}
    sums: list[Any] = [0.0] * len(tensors)
    for given in inputs:
        interpreter.set_tensor(entry["index"], _quantised(given, entry))
        interpreter.invoke()
        for i, tensor in enumerate(tensors):
            values = interpreter.get_tensor(tensor).astype(np.float64)
            scale, zero_point = details[tensor]["quantization"]
            if scale:
                values = (values - zero_point) * scale
            sums[i] = sums[i] + values.reshape(-1, values.shape[-1]).mean(axis=0)
    return [total / len(inputs) for total in sums]


def _quantised(given: NDArray[np.float32], entry: dict[str, Any]) -> NDArray[Any]:
    scale, zero_point = entry["quantization"]
    if not scale:
        return given
    codes: NDArray[Any] = np.clip(np.round(given / scale) + zero_point, -128, 127).astype(np.int8)
    return codes


def _opened(content: bytes) -> Interpreter:
    """Return an interpreter that keeps what is between the layers, which no delegate does."""
    with no_words():
        interpreter = Interpreter(
            model_content=content,
            num_threads=1,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            experimental_preserve_all_tensors=True,
        )
        interpreter.allocate_tensors()
    return interpreter
