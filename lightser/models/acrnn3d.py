"""3D-ACRNN: convolutions over log-mel and its deltas, a BLSTM, and attention over time.

Chen, He, Yang, Zhang, "3-D Convolutional Recurrent Neural Networks With Attention Model for Speech
Emotion Recognition", IEEE Signal Processing Letters 25(10), 2018,
https://doi.org/10.1109/LSP.2018.2860246

The paper and the authors' code are different networks; both are here, as presets. Not carried over
from the code: batch statistics at evaluation (its batch norm never leaves training mode), 300
random segments per class, and denser segments of happy training clips.

Shapes: B segments, N frames of a segment, M features of a frame, C classes.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from lightser.models import MODELS
from lightser.models.lstm import BiLSTM
from lightser.models.segments import SegmentNetwork
from lightser.models.zhong2020 import Attention

SLOPE = 0.01  # of the leaky ReLU; the paper does not say which activation


class LinearAttention(nn.Module):
    """Weighted mean over time, ``[B, F, N]`` to ``[B, N]``: α = softmax(W·h), no bias (Eq. 5)."""

    def __init__(self, n: int):
        super().__init__()
        self.score = nn.Linear(n, 1, bias=False)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        logits = self.score(x)  # [B, F, 1]
        if mask is not None:
            logits = logits.masked_fill(mask[..., None] == 0, -torch.inf)
        mean: Tensor = (logits.softmax(dim=1) * x).sum(dim=1)
        return mean


def fold_channels(features: Tensor, channels: int) -> Tensor:
    """Return ``[B, channels, F, bands]`` for ``[B, F, M]``, a frame's channels side by side."""
    n_clips, n_frames, _ = features.shape
    return features.reshape(n_clips, n_frames, channels, -1).transpose(1, 2)


class Acrnn3D(SegmentNetwork):
    """The network on segments of three seconds, for features of ``three_channel``.

    A frame's features are its channels side by side (static, delta, delta-delta), so M is
    ``channels`` times the number of mel bands.

    Args:
        n_classes: emotions.
        n_bands: M.
        preset: ``"paper"`` or ``"code"``: how the first layer is pooled (2×2 or 2×4, time ×
            frequency), where batch norm is (behind the dense layer of 64, or the linear layer of
            768), which attention (W·h, or u·σ(w·h + b)), and whether the maximum over a clip's
            segments is taken of posteriors or of logits.
        n_convolutions: 6 in the paper's results on IEMOCAP, 5 in those on Emo-DB.
        channels: 1 for the paper's two-dimensional variant, with static features alone.
        segment_frames: N; the published 300 are 3 s.
        batch_norm: whether each convolution is followed by batch norm; not in the paper.
    """

    # What Bcrnn replaces.
    Convolution: type[nn.Conv2d] = nn.Conv2d
    Linear: type[nn.Linear] = nn.Linear

    def __init__(
        self,
        n_classes: int,
        n_bands: int = 120,
        *,
        preset: str = "paper",
        n_convolutions: int = 6,
        channels: int = 3,
        segment_frames: int = 300,
        batch_norm: bool = False,
    ):
        super().__init__()
        if preset not in ("paper", "code"):
            raise ValueError(f"preset must be 'paper' or 'code', not '{preset}'")
        if n_bands % channels:
            raise ValueError(
                f"{n_bands} features a frame are not {channels} channels of equal size"
            )
        as_published = preset == "paper"
        self.channels, self.segment_frames = channels, segment_frames
        self.pool_segments = "max" if as_published else "max_logits"
        self.pooling = nn.MaxPool2d((2, 2) if as_published else (2, 4))
        widths = [channels, 128, *[256] * (n_convolutions - 1)]
        self.convolutions = nn.ModuleList(
            self.Convolution(n_in, n_out, (5, 3), padding="same")
            for n_in, n_out in pairwise(widths)
        )
        self.norms = nn.ModuleList(
            nn.BatchNorm2d(width, eps=1e-3) if batch_norm else nn.Identity() for width in widths[1:]
        )
        bands = n_bands // channels // (2 if as_published else 4)
        self.linear = self.Linear(bands * widths[-1], 768)
        self.linear_norm = nn.Identity() if as_published else nn.BatchNorm1d(768, eps=1e-3)
        self.lstm = BiLSTM(768, 128)
        self.attention = LinearAttention(256) if as_published else Attention(256)
        self.hidden = nn.Linear(256, 64)
        self.hidden_norm = nn.BatchNorm1d(64, eps=1e-3) if as_published else nn.Identity()
        self.classifier = nn.Linear(64, n_classes)
        for layer in (*self.convolutions, self.linear, self.hidden, self.classifier):
            if as_published:  # the paper does not say
                nn.init.kaiming_normal_(layer.weight, a=SLOPE)
                nn.init.zeros_(layer.bias)
            else:
                nn.init.trunc_normal_(layer.weight, std=0.1, a=-0.2, b=0.2)
                nn.init.constant_(layer.bias, 0.1)

    def segment_logits(self, segments: Tensor) -> Tensor:
        x = fold_channels(segments, self.channels)  # [B, channels, N, bands]
        for i, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            x = nn.functional.leaky_relu(norm(convolution(x)), SLOPE)
            if i == 0:
                x = self.pooling(x)
        x = self.linear(x.permute(0, 2, 3, 1).flatten(2))  # [B, N/2, 768]
        x = self.linear_norm(x.transpose(1, 2)).transpose(1, 2)
        x = self.lstm(nn.functional.leaky_relu(x, SLOPE))  # [B, N/2, 256]
        x = self.hidden_norm(self.hidden(self.attention(x, None)))  # [B, 64]
        logits: Tensor = self.classifier(nn.functional.leaky_relu(x, SLOPE))
        return logits


MODELS["acrnn3d"] = Acrnn3D  # four classes: 9,299,396 parameters, preset "code" 7,334,726
