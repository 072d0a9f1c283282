"""ONNX, for servers, phones and browsers: waveform in, probabilities out, any batch, any length.

Shapes: B clips, T samples, F steps, N inputs, H units, D sets of weights, C classes.
"""

import contextlib
import copy
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lightser.errors import LightserError, MissingExtra
from lightser.models import gru  # noqa: F401  defines the operation translated below
from lightser.training.system import System
from lightser.whole import replacing

try:
    import onnx
    import onnxscript

    from lightser.export.onebit import with_bits
except ImportError as error:
    raise MissingExtra("Exporting to ONNX", "export") from error

op: Any = onnxscript.opset18  # traced, so that its types are of no use to a checker
INPUT, OUTPUT = "samples", "probabilities"
OLDEST_OPSET = 18  # asked for less, the exporter writes 18 all the same


def to_onnx(system: System, path: Path, *, opset: int = OLDEST_OPSET) -> None:
    """Write one file: samples ``[batch, time]`` in, probabilities ``[batch, C]`` out.

    Both dimensions are free, time from ``system.min_samples`` on. Features are computed inside, in
    single precision; weights of one bit are stored as bits (:mod:`lightser.export.onebit`). A front
    end's centre crop is left out: callers give at most ``window_s`` of the model's card. The file
    has passed ONNX's checker and appears only when it is whole.

    Args:
        system: exported as in evaluation, on the CPU, and left as it is.
        path: where the file goes.
        opset: of ONNX, 18 or later.

    Raises:
        LightserError: the opset is too old, or the file cannot be written.
    """
    if opset < OLDEST_OPSET:
        raise LightserError(f"ONNX opset {opset} is too old; use {OLDEST_OPSET} or later")
    system = copy.deepcopy(system).cpu().eval()
    # Any sizes will do but 0 and 1, which the exporter takes for constants.
    example = torch.zeros(2, system.min_samples + 16001)
    time = torch.export.Dim("time", min=system.min_samples)
    model = with_bits(
        system,
        lambda system: to_graph(
            system, example, taken=INPUT, given=OUTPUT, length=time, opset=opset
        ),
    )
    onnx.checker.check_model(model, full_check=True)
    with replacing(path) as unfinished:
        onnx.save(model, unfinished)


def to_graph(
    module: nn.Module, example: Tensor, *, taken: str, given: str, length: Any, opset: int
) -> onnx.ModelProto:
    """Return a module of one input and one output as a graph of free batch and ``length``.

    Args:
        module: in evaluation mode, on the CPU.
        example: its input, of any sizes but 0 and 1.
        taken: name of the input.
        given: name of the output.
        length: the input's dimension 1, a ``torch.export.Dim``; None if it is the example's.
        opset: of ONNX.
    """
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            module,
            (example,),
            input_names=[taken],
            output_names=[given],
            dynamic_shapes=({0: torch.export.Dim("batch"), 1: length},),
            opset_version=opset,
            dynamo=True,
            verbose=False,
            custom_translation_table={torch.ops.lightser.bigru.default: _bigru},
        )
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    forget_origin(model)
    return model


def _bigru(x: Any, kernel: Any, recurrent: Any, bias: Any) -> Any:
    """Translate :func:`lightser.models.gru.bigru` to one bidirectional GRU node.

    Shared weights stay once in the file; the runtime doubles them when it loads it.
    """
    n_units = recurrent.shape[1]
    directions = op.Constant(value_ints=[0, 0] if kernel.shape[0] == 1 else [0, 1])

    def for_node(weights: Any) -> Any:  # [D, ..., 3H], gates r, z, c to [2, ..., 3H], z, r, c
        r, z, c = op.Split(weights, num_outputs=3, axis=-1)
        return op.Gather(op.Concat(z, r, c, axis=-1), directions, axis=0)

    no_second_bias = op.Constant(value_ints=[0, 0, 0, 3 * n_units])
    states, _ = op.GRU(
        op.Transpose(x, perm=[1, 0, 2]),  # [F, B, N]
        op.Transpose(for_node(kernel), perm=[0, 2, 1]),  # [2, 3H, N]
        op.Transpose(for_node(recurrent), perm=[0, 2, 1]),  # [2, 3H, H]
        op.Pad(for_node(bias), no_second_bias),  # [2, 6H]
        direction="bidirectional",
        hidden_size=n_units,
        linear_before_reset=0,  # the reset gate acts before the recurrent product
    )  # [F, 2, B, H]
    as_ours = op.Constant(value_ints=[0, 0, -1])
    return op.Reshape(op.Transpose(states, perm=[2, 0, 1, 3]), as_ours)  # [B, F, 2H]


def forget_origin(model: onnx.ModelProto) -> None:
    """Drop the exporter's notes, among them stack traces with paths of this machine."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    for initializer in graph.initializer:
        initializer.ClearField("metadata_props")
        initializer.ClearField("doc_string")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence what the exporter says about its own progress and versions; errors still come."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
