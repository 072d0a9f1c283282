"""An ONNX network in fewer bits: half precision, or int8 calibrated on real clips.

Static int8 as in Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", CVPR 2018, https://arxiv.org/abs/1712.05877: weights symmetric
and a scale for each output channel, activations with a scale and a zero point for each tensor; then
biases that take off what rounding shifts on average.
"""

import contextlib
import logging
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.onnx_model import ONNXModel
from onnxruntime.transformers.float16 import convert_float_to_float16

from lightser.export.onnx_bias import correct_biases
from lightser.export.parts import FEATURES

# What is computed in int8. The rest (pooling, sums, softmax) costs next to nothing and is exact.
COMPUTED = ("Conv", "Gemm", "MatMul")
HEARD = 40  # clips that biases are corrected on
SMALL = 1024  # numbers; below, a weight is not worth a scale of its own


def to_half(network: onnx.ModelProto) -> onnx.ModelProto:
    """Return a network that stores and computes in float16; it takes and gives float32."""
    with _quiet():
        half: onnx.ModelProto = convert_float_to_float16(_copy(network), keep_io_types=True)
    ONNXModel(half).topological_sort()  # the casts were appended at the end
    return half


def to_int8(network: onnx.ModelProto, features: Iterable[NDArray[np.float32]]) -> onnx.ModelProto:
    """Return a network whose convolutions and products are computed in int8.

    A recurrent layer, which ONNX Runtime computes in float32, has its weights stored in int8.

    Args:
        network: float32, batch norms folded.
        features: clips ``[F, M]`` on which the range of each activation is seen.
    """
    clips = list(features)
    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder) / "int8.onnx"
        quantize_static(
            _copy(network),
            path,
            _Clips(clips),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(COMPUTED),
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={"MatMulConstBOnly": True},
        )
        quantized = onnx.load(path)
    correct_biases(quantized, network, clips[:HEARD])
    return _finished(quantized, network)


def to_dynamic_int8(network: onnx.ModelProto) -> onnx.ModelProto:
    """Return a network whose products with weights are computed in int8, ranges found on the way.

    For transformers, of whose activations a few are many times as large as the rest, and of another
    size in each clip: ranges from calibration would have to leave room for all. Convolutions, which
    ONNX Runtime computes so more slowly, have their weights stored in int8.

    Args:
        network: float32.
    """
    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder) / "int8.onnx"
        quantize_dynamic(
            _copy(network),
            path,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            weight_type=QuantType.QInt8,
            extra_options={"MatMulConstBOnly": True},
        )
        quantized = onnx.load(path)
    return _finished(quantized, network)


def _finished(quantized: onnx.ModelProto, network: onnx.ModelProto) -> onnx.ModelProto:
    """Return what a quantiser made of a network, small and signed as the network is."""
    store_in_int8(quantized)
    for opset in list(quantized.opset_import):
        if opset.domain and not any(n.domain == opset.domain for n in quantized.graph.node):
            quantized.opset_import.remove(opset)
    quantized.producer_name, quantized.producer_version = (
        network.producer_name,
        network.producer_version,
    )
    return quantized


def store_in_int8(model: onnx.ModelProto) -> None:
    """Store what is left of large float32 weights as int8.

    Each output channel has a scale: that of a convolution's kernel on its first axis, of other
    weights on their last.
    """
    graph = model.graph
    kernels = {node.input[1] for node in graph.node if node.op_type == "Conv"}
    for weights in list(graph.initializer):
        if weights.data_type != onnx.TensorProto.FLOAT or np.prod(weights.dims) < SMALL:
            continue
        values = numpy_helper.to_array(weights)
        axis = 0 if weights.name in kernels else values.ndim - 1
        others = tuple(i for i in range(values.ndim) if i != axis)
        scale = np.abs(values).max(axis=others, keepdims=True) / 127
        scale = np.where(scale == 0, 1, scale).astype(np.float32)
        codes = np.clip(np.round(values / scale), -127, 127).astype(np.int8)
        name = weights.name
        graph.initializer.remove(weights)
        graph.initializer.extend(
            [
                numpy_helper.from_array(codes, f"{name}_int8"),
                numpy_helper.from_array(scale.reshape(-1), f"{name}_scale"),
            ]
        )
        graph.node.insert(
            0,
            helper.make_node(
                "DequantizeLinear",
                [f"{name}_int8", f"{name}_scale"],
                [name],
                name=f"{name}_dequantize",
                axis=axis,
            ),
        )


def bits_of_weights(model: onnx.ModelProto) -> dict[str, int]:
    """Return how many numbers the initializers hold, by type."""
    counts: dict[str, int] = {}
    for weights in model.graph.initializer:
        kind = helper.tensor_dtype_to_np_dtype(weights.data_type).name
        counts[kind] = counts.get(kind, 0) + int(np.prod(weights.dims))
    return counts


class _Clips(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    def __init__(self, features: Iterable[NDArray[np.float32]]):
        self.features = iter(features)

    def get_next(self) -> dict[str, Any] | None:
        clip = next(self.features, None)
        return None if clip is None else {FEATURES: clip[None]}


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    return copied


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence advice about other ways to quantise; errors still come."""
    root = logging.getLogger()
    level = root.level
    try:
        root.setLevel(logging.ERROR)
        yield
    finally:
        root.setLevel(level)
