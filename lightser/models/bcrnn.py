"""BCRNN: the 3D-ACRNN with one-bit weights in its convolutions and its linear layer.

Zhao, Xiao, Han, Zhang, "Compact Convolutional Recurrent Neural Networks via Binarization for Speech
Emotion Recognition", ICASSP 2019, https://doi.org/10.1109/ICASSP.2019.8683389

Which weights are binary is inferred from the published size: of all ways to binarise a network of
this family, 4.34 MiB are met only by "convolutions and linear layer, and nothing else". Training
is that of Courbariaux et al., "BinaryConnect", NeurIPS 2015, https://arxiv.org/abs/1511.00363;
scales are those of Rastegari et al., "XNOR-Net", ECCV 2016, https://arxiv.org/abs/1603.05279.
"""

from typing import Any

import torch
from torch import Tensor, nn

from lightser.models import MODELS
from lightser.models.acrnn3d import Acrnn3D


class Sign(torch.autograd.Function):
    """+1 or -1 by sign, 0 is +1; the gradient passes where the weight lies in [-1, 1]."""

    generate_vmap_rule = True

    @staticmethod
    def forward(weight: Tensor) -> Tensor:
        return torch.where(weight >= 0, 1.0, -1.0).to(weight.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        weight: Tensor = ctx.saved_tensors[0]
        return gradient * (weight.abs() <= 1)


def binarize(weight: Tensor, *, scale: bool) -> Tensor:
    """Return the signs of ``weight [out, ...]``, each output's times its mean ``|w|`` if scaled.

    >>> binarize(torch.tensor([[0.5, -0.25], [0.0, 2.0]]), scale=True)
    tensor([[ 0.3750, -0.3750],
            [ 1.0000,  1.0000]])
    """
    signs: Tensor = Sign.apply(weight)  # type: ignore[no-untyped-call]
    return signs * weight_scale(weight) if scale else signs


def weight_scale(weight: Tensor) -> Tensor:
    """Return the mean ``|w|`` of each output of ``weight [out, ...]``, ``[out, 1, ...]``."""
    return weight.abs().mean(dim=tuple(range(1, weight.ndim)), keepdim=True)


class BinaryConv2d(nn.Conv2d):
    """A convolution that sees only the signs of its weights; biases are numbers."""

    scale = False

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self._conv_forward(x, binarize(self.weight, scale=self.scale), self.bias)
        return y


class BinaryLinear(nn.Linear):
    """A linear layer that sees only the signs of its weights; biases are numbers."""

    scale = False

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = nn.functional.linear(x, binarize(self.weight, scale=self.scale), self.bias)
        return y


class Bcrnn(Acrnn3D):
    """The code preset of 3D-ACRNN, its convolutions and linear layer binary.

    The weights that are trained are numbers in [-1, 1]: after each update, call
    :meth:`clip_latent`. What is stored in the end is a bit for each
    (:mod:`lightser.export.onebit`).

    Args:
        n_classes: emotions.
        n_bands: features of a frame; see :class:`~lightser.models.acrnn3d.Acrnn3D`.
        scale: whether each output channel of a binary layer is scaled by its weights' mean
            magnitude. The published size has no room for these scales.
        batch_norm: whether each binary convolution is followed by batch norm (the linear layer
            always is). Ours: it makes training steadier, and costs two numbers a channel.
        n_convolutions: see :class:`~lightser.models.acrnn3d.Acrnn3D`.
        channels: likewise.
        segment_frames: likewise.
    """

    Convolution = BinaryConv2d
    Linear = BinaryLinear

    def __init__(
        self,
        n_classes: int,
        n_bands: int = 120,
        *,
        scale: bool = False,
        batch_norm: bool = False,
        n_convolutions: int = 6,
        channels: int = 3,
        segment_frames: int = 300,
    ):
        super().__init__(
            n_classes,
            n_bands,
            preset="code",
            n_convolutions=n_convolutions,
            channels=channels,
            segment_frames=segment_frames,
            batch_norm=batch_norm,
        )
        for layer in self.binary_layers().values():
            layer.scale = scale
            # Small enough for a sign to turn within some tens of updates.
            nn.init.xavier_uniform_(layer.weight)

    def binary_layers(self) -> dict[str, BinaryConv2d | BinaryLinear]:
        """Return the binary layers by name."""
        return {
            name: module
            for name, module in self.named_modules()
            if isinstance(module, BinaryConv2d | BinaryLinear)
        }

    @torch.no_grad()
    def clip_latent(self) -> None:
        """Bring the latent weights back to [-1, 1], beyond which no gradient reaches them."""
        for layer in self.binary_layers().values():
            layer.weight.clamp_(-1, 1)


MODELS["bcrnn"] = Bcrnn  # four classes: 7,334,726 parameters, of which 6,395,520 are one bit each
