"""Biases of an int8 ONNX network moved so that each layer's mean is the float one's.

The same as :mod:`lightser.export.litert_bias`, where the reason and the source stand.
"""

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import numpy_helper

from lightser.export.parts import FEATURES


def correct_biases(
    int8: onnx.ModelProto, float32: onnx.ModelProto, features: Sequence[NDArray[np.float32]]
) -> None:
    """Change the biases of the convolutions of an int8 network, from the first to the last.

    Args:
        int8: made from the other; its tensors have the same names.
        float32: what it was made from.
        features: clips ``[F, M]``.
    """
    constants = {constant.name: constant for constant in int8.graph.initializer}
    made_by = {name: node for node in int8.graph.node for name in node.output}
    layers = [node for node in int8.graph.node if node.op_type == "Conv" and len(node.input) == 3]
    if not layers:
        return
    targets = _means(float32, [node.output[0] for node in layers], features)
    for layer, target in zip(layers, targets, strict=True):
        (mean,) = _means(int8, [layer.output[0]], features)
        codes, scales = (constants[name] for name in made_by[layer.input[2]].input[:2])
        step = (target - mean) / numpy_helper.to_array(scales)
        moved = numpy_helper.to_array(codes) + np.round(step).astype(np.int32)
        codes.CopyFrom(numpy_helper.from_array(moved.astype(np.int32), codes.name))


def _means(
    model: onnx.ModelProto, names: Sequence[str], features: Sequence[NDArray[np.float32]]
) -> list[NDArray[np.float64]]:
    """Return the mean of each channel of each ``[B, C, F, M]`` tensor over all clips."""
    seen = onnx.ModelProto()
    seen.CopyFrom(model)
    del seen.graph.output[:]
    for name in names:
        seen.graph.output.append(
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None] * 4)
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        seen.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    sums = [np.zeros(1) for _ in names]
    for clip in features:
        maps = session.run(list(names), {FEATURES: clip[None]})
        sums = [
            total + values.mean(axis=(0, 2, 3), dtype=np.float64)
            for total, values in zip(sums, maps, strict=True)
        ]
    return [total / len(features) for total in sums]
