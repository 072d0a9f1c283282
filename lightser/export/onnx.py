"""ONNX, for servers, phones and browsers: waveform in, probabilities out, any batch, any length.

A network whose embedding can be adapted gives that, too, and takes the mean and the deviation that
it is standardised by. They are initializers *and* inputs, which makes them optional: a runtime
that is not given them takes those of training.

Shapes: B clips, T samples, F steps, N inputs, H units, D sets of weights, P values of the
embedding, C classes.
"""

import contextlib
import copy
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lightser.card import EMBEDDING, EMBEDDING_MEAN, EMBEDDING_STD, INPUT, OUTPUT
from lightser.errors import LightserError, MissingExtra
from lightser.models import gru  # noqa: F401  defines the operation translated below
from lightser.training.system import System
from lightser.whole import replacing

try:
    import onnx
    import onnxscript
    from onnx import numpy_helper

    from lightser.export.onebit import with_bits
except ImportError as error:
    raise MissingExtra("Exporting to ONNX", "export") from error

op: Any = onnxscript.opset18  # traced, so that its types are of no use to a checker
OLDEST_OPSET = 18  # asked for less, the exporter writes 18 all the same


def to_onnx(system: System, path: Path, *, opset: int = OLDEST_OPSET) -> None:
    """Write one file: samples ``[batch, time]`` in, probabilities ``[batch, C]`` out.

    And embeddings ``[batch, P]``, where the network has some; then :func:`set_defaults` holds.
    Batch and time are free, time from ``system.min_samples`` on. Features are computed inside, in
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
    if (norm := system.embedding) is not None:
        model = to_graph(
            Adaptable(system),
            (example, norm.mean, norm.std),
            taken=(INPUT, EMBEDDING_MEAN, EMBEDDING_STD),
            given=(OUTPUT, EMBEDDING),
            length=time,
            opset=opset,
        )
        set_defaults(model, system)
    else:
        model = with_bits(
            system,
            lambda system: to_graph(
                system, (example,), taken=(INPUT,), given=(OUTPUT,), length=time, opset=opset
            ),
        )
    onnx.checker.check_model(model, full_check=True)
    with replacing(path) as unfinished:
        onnx.save(model, unfinished)


class Adaptable(nn.Module):
    """Samples ``[B, T]``, and mean and deviation ``[P]``, to probabilities and embeddings."""

    def __init__(self, system: System):
        super().__init__()
        self.system = system

    def forward(self, samples: Tensor, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
        embedding = self.system.embed(self.system.features(samples))
        return self.system.classify(embedding, mean, std), embedding


def set_defaults(model: onnx.ModelProto, system: System) -> None:
    """Make mean and deviation inputs that may be left out: they are then those of training."""
    norm = system.embedding
    assert norm is not None
    for name, values in ((EMBEDDING_MEAN, norm.mean), (EMBEDDING_STD, norm.std)):
        model.graph.initializer.append(numpy_helper.from_array(values.numpy(), name))


def to_graph(
    module: nn.Module,
    example: tuple[Tensor, ...],
    *,
    taken: Sequence[str],
    given: Sequence[str],
    length: Any,
    opset: int,
) -> onnx.ModelProto:
    """Return a module as a graph whose first input has a free batch and ``length``.

    Args:
        module: in evaluation mode, on the CPU.
        example: its inputs, the first of any sizes but 0 and 1.
        taken: names of the inputs.
        given: names of the outputs.
        length: the first input's dimension 1, a ``torch.export.Dim``; None if it is the example's.
        opset: of ONNX.
    """
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            module,
            example,
            input_names=list(taken),
            output_names=list(given),
            dynamic_shapes=({0: torch.export.Dim("batch"), 1: length}, *[None] * len(example[1:])),
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
