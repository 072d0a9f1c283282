"""Front end and network as two ONNX graphs, and the two as one.

Apart, because features want single precision whatever the network is given: a quiet band's power
is below what half precision can write down.

Shapes: B clips, T samples, F frames, M bands, C classes.
"""

import copy
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from lightser.export.onnx import INPUT, OLDEST_OPSET, OUTPUT, to_graph
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
    def __init__(self, system: System):
        super().__init__()
        self.system = system

    def forward(self, features: Tensor) -> Tensor:
        return (self.system.logits(features) / self.system.temperature).softmax(dim=1)


def frontend_graph(system: System) -> onnx.ModelProto:
    """Return samples ``[batch, time]`` to features ``[batch, frames, M]``."""
    time = torch.export.Dim("time", min=system.min_samples)
    samples = torch.zeros(2, system.min_samples + 16001)
    return _graph(_FrontEnd(_still(system)), samples, INPUT, FEATURES, time)


def network_graph(system: System) -> onnx.ModelProto:
    """Return features ``[batch, frames, M]`` to probabilities ``[batch, C]``.

    Standardisation, which is fitted with the network, is in it. Frames are free, unless a clip of
    any length has as many.
    """
    still = _still(system)
    least: int = system.network.min_frames  # type: ignore[assignment]
    n_bands: int = system.frontend.n_bands  # type: ignore[assignment]
    with torch.no_grad():
        short, long = (
            still.features(torch.zeros(1, system.min_samples + more)).shape[1]
            for more in (0, 16001)
        )
    if short == long:  # a network may count on it
        return _graph(_Network(still), torch.zeros(2, short, n_bands), FEATURES, OUTPUT, None)
    frames = torch.export.Dim("frames", min=max(least, 2))
    features = torch.zeros(2, least + 101, n_bands)
    return _graph(_Network(still), features, FEATURES, OUTPUT, frames)


def joined(frontend: onnx.ModelProto, network: onnx.ModelProto) -> onnx.ModelProto:
    """Return samples to probabilities as one graph."""
    whole: onnx.ModelProto = onnx.compose.merge_models(
        onnx.compose.add_prefix(
            frontend, "frontend/", rename_inputs=False, rename_outputs=False, inplace=False
        ),
        onnx.compose.add_prefix(
            network, "network/", rename_inputs=False, rename_outputs=False, inplace=False
        ),
        io_map=[(FEATURES, FEATURES)],
    )
    whole.producer_name, whole.producer_version = network.producer_name, network.producer_version
    return whole


def save_checked(model: onnx.ModelProto, path: Path) -> None:
    """Write a graph that ONNX's checker has nothing against."""
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def _still(system: System) -> System:
    return copy.deepcopy(system).cpu().eval()


def _graph(
    module: nn.Module, example: Tensor, taken: str, given: str, length: Any
) -> onnx.ModelProto:
    """Export a module of one input and one output; batch and length are free."""
    model = to_graph(
        module.eval(), example, taken=taken, given=given, length=length, opset=OLDEST_OPSET
    )
    model.ir_version = min(model.ir_version, IR_VERSION)
    return model
