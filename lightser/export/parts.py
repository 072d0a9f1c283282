"""Front end, network and head as ONNX graphs, and these as one.

Apart, because features want single precision whatever the network is given (a quiet band's power
is below what half precision can write down), and so does the head, whose few numbers are adapted to
voices. The head is what stands behind the embedding; a network without one has none.

Shapes: B clips, T samples, F frames, M bands, P values of the embedding, C classes.
"""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from lightser.card import EMBEDDING, EMBEDDING_MEAN, EMBEDDING_STD, INPUT, OUTPUT
from lightser.export.onnx import OLDEST_OPSET, set_defaults, to_graph
from lightser.training.system import System

FEATURES = "features"
IR_VERSION = 10  # that ONNX Runtime 1.19 reads, which is the oldest allowed


class _FrontEnd(nn.Module):
    def __init__(self, system: System):
        super().__init__()
        self.system = system

    def forward(self, samples: Tensor) -> Tensor:
        return self.system.features(samples)


class _Network(nn.Module):
    def __init__(self, system: System, *, is_headless: bool):
        super().__init__()
        self.system, self.is_headless = system, is_headless

    def forward(self, features: Tensor) -> Tensor:
        if self.is_headless:
            return self.system.embed(features)
        return self.system.probabilities(self.system.logits(features))


class _Head(nn.Module):
    def __init__(self, system: System):
        super().__init__()
        self.system = system

    def forward(self, embedding: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        return self.system.classify(embedding, mean, std)


def frontend_graph(system: System) -> onnx.ModelProto:
    """Return samples ``[batch, time]`` to features ``[batch, frames, M]``."""
    time = torch.export.Dim("time", min=system.min_samples)
    samples = torch.zeros(2, system.min_samples + 16001)
    return _graph(_FrontEnd(_still(system)), (samples,), (INPUT,), FEATURES, time)


def head_graph(system: System) -> onnx.ModelProto:
    """Return embeddings ``[batch, P]``, and mean and deviation ``[P]``, to probabilities."""
    norm = system.embedding
    assert norm is not None
    example = (torch.zeros(2, len(norm.mean)), norm.mean, norm.std)
    taken = (EMBEDDING, EMBEDDING_MEAN, EMBEDDING_STD)
    return _graph(_Head(_still(system)), example, taken, OUTPUT, None)


def network_graph(system: System, *, given: str = OUTPUT) -> onnx.ModelProto:
    """Return features ``[batch, frames, M]`` to probabilities ``[batch, C]``.

    Or to embeddings ``[batch, P]``, if these are what is to be ``given``. Standardisation, which is
    fitted with the network, is in it. Frames are free, unless a clip of any length has as many.
    """
    still = _still(system)
    network = _Network(still, is_headless=given == EMBEDDING)
    least: int = system.network.min_frames  # type: ignore[assignment]
    n_bands: int = system.frontend.n_bands  # type: ignore[assignment]
    with torch.no_grad():
        short, long = (
            still.features(torch.zeros(1, system.min_samples + more)).shape[1]
            for more in (0, 16001)
        )
    if short == long:  # a network may count on it
        return _graph(network, (torch.zeros(2, short, n_bands),), (FEATURES,), given, None)
    frames = torch.export.Dim("frames", min=max(least, 2))
    features = torch.zeros(2, least + 101, n_bands)
    return _graph(network, (features,), (FEATURES,), given, frames)


def joined(frontend: onnx.ModelProto, network: onnx.ModelProto) -> onnx.ModelProto:
    """Return samples to what the network gives as one graph."""
    return _merged("frontend/", frontend, FEATURES, "network/", network)


def headed(network: onnx.ModelProto, system: System) -> onnx.ModelProto:
    """Return a graph that gives embeddings with the head of a system, which gives probabilities.

    Embeddings are given, too, and mean and deviation taken, as by
    :func:`~lightser.export.onnx.to_onnx`.
    """
    (embedding,) = network.graph.output
    whole = _merged("", network, EMBEDDING, "head/", head_graph(system))
    whole.graph.output.append(embedding)
    set_defaults(whole, system)
    return whole


def _merged(
    first_prefix: str,
    first: onnx.ModelProto,
    between: str,
    second_prefix: str,
    second: onnx.ModelProto,
) -> onnx.ModelProto:
    """Return two graphs as one, the names inside each of them told apart by prefixes."""
    one, other = (
        onnx.compose.add_prefix(
            graph, prefix, rename_inputs=False, rename_outputs=False, inplace=False
        )
        for prefix, graph in ((first_prefix, first), (second_prefix, second))
    )
    whole: onnx.ModelProto = onnx.compose.merge_models(one, other, io_map=[(between, between)])
    whole.producer_name, whole.producer_version = second.producer_name, second.producer_version
    return whole


def save_checked(model: onnx.ModelProto, path: Path) -> None:
    """Write a graph that ONNX's checker has nothing against."""
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def _still(system: System) -> System:
    return copy.deepcopy(system).cpu().eval()


def _graph(
    module: nn.Module,
    example: tuple[Tensor, ...],
    taken: Sequence[str],
    given: str,
    length: Any,
) -> onnx.ModelProto:
    """Export a module of one output; batch and length of its first input are free."""
    model = to_graph(
        module.eval(), example, taken=taken, given=[given], length=length, opset=OLDEST_OPSET
    )
    model.ir_version = min(model.ir_version, IR_VERSION)
    return model
