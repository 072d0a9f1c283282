"""A LiteRT file in fewer bits: weights in half precision, or everything in whole numbers.

Full-integer int8 as in Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", CVPR 2018, https://arxiv.org/abs/1712.05877: weights symmetric
and a scale for each output channel, activations with a scale and a zero point for each tensor, all
from the smallest and largest value seen; then biases that take off what rounding shifts on average
(:mod:`lightser.export.litert_bias`). What goes in and comes out is int8, too.
"""

from collections.abc import Iterable

import numpy as np
from ai_edge_quantizer import (
    algorithm_manager,
    calibrator,
    qtyping,
    quantizer,
    recipe_manager,
)
from ai_edge_quantizer.utils.qsv_utils import min_max_update
from numpy.typing import NDArray

from lightser.errors import LightserError
from lightser.export.litert import inline
from lightser.export.litert_bias import correct_biases
from lightser.export.quiet import quiet
from lightser.models.gru import BiGRU

RECURRENT = f".*{BiGRU.__name__}.*"  # tensors are named by the modules they come from
WEIGHTED = (
    qtyping.TFLOperationName.CONV_2D,
    qtyping.TFLOperationName.DEPTHWISE_CONV_2D,
    qtyping.TFLOperationName.FULLY_CONNECTED,
)


def to_int8(content: bytes, inputs: Iterable[NDArray[np.float32]]) -> bytes:
    """Return a file that computes in int8 and takes and gives int8.

    Args:
        content: of a float32 file.
        inputs: of the shape that the file takes, to see the ranges of activations on; at least one.

    Raises:
        LightserError: there is no input to calibrate on.
    """
    clips = list(inputs)
    steps = _steps()
    with quiet():
        ranges = seen(content, clips, steps)
        made = quantizer.Quantizer(bytearray(content), steps).quantize(
            ranges, enable_progress_report=False
        )
    assert made.quantized_model is not None
    return correct_biases(inline(bytes(made.quantized_model)), content, clips)


def _steps() -> qtyping.ModelQuantizationRecipe:
    """Return what becomes of each operation: whole numbers, but in a recurrent layer.

    Its state would go through a byte at every step, which costs labels; there, weights alone are
    stored in a byte.
    """
    manager = recipe_manager.RecipeManager()
    every = qtyping.TFLOperationName.ALL_SUPPORTED
    names = algorithm_manager.AlgorithmName
    manager.add_static_config(".*", every, 8, 8)
    manager.add_quantization_config(RECURRENT, every, algorithm_key=names.NO_QUANTIZE)
    manager.add_weight_only_config(RECURRENT, qtyping.TFLOperationName.FULLY_CONNECTED, 8)
    steps: qtyping.ModelQuantizationRecipe = manager.get_quantization_recipe()
    return steps


def to_half(content: bytes) -> bytes:
    """Return a file that stores the weights of its products and convolutions in float16.

    They are turned into float32 when the file is loaded, and everything is computed in that.
    """
    manager = recipe_manager.RecipeManager()
    for name in WEIGHTED:
        manager.add_weight_only_config(
            ".*", name, 16, algorithm_key=algorithm_manager.AlgorithmName.FLOAT_CASTING
        )
    with quiet():
        made = quantizer.Quantizer(bytearray(content), manager.get_quantization_recipe()).quantize(
            enable_progress_report=False
        )
    assert made.quantized_model is not None
    return inline(bytes(made.quantized_model))


def seen(
    content: bytes,
    inputs: Iterable[NDArray[np.float32]],
    steps: qtyping.ModelQuantizationRecipe,
) -> dict[str, qtyping.QSV]:
    """Return the smallest and the largest value of each tensor.

    The quantiser's own default is a moving average, which cuts off what is rare: probabilities were
    0.085 off instead of 0.014.
    """
    manager = recipe_manager.RecipeManager()
    manager.load_quantization_recipe(steps)
    observer = calibrator.Calibrator(
        bytearray(content), num_threads=1, qsv_update_func=min_max_update
    )
    (signature,) = observer.get_signature_list()
    runner = observer._tfl_interpreter.get_signature_runner(signature)
    (name,) = runner.get_input_details()
    clips = [{name: clip} for clip in inputs]
    if not clips:
        raise LightserError("int8 needs recordings to see the range of its activations on")
    observer.calibrate({signature: clips}, manager)
    ranges: dict[str, qtyping.QSV] = observer.get_model_qsvs()
    return ranges
