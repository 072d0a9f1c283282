"""Level and length of a waveform, ``[B, T]`` to ``[B, T']``, as the published systems set them."""

import torch
from torch import Tensor, nn

FLOAT64_EPSILON = 2.220446049250313e-16


class PercentileLevel(nn.Module):
    """Divide a clip by a percentile of its amplitude and clip it to [-1, 1] (Light-SERNet).

    Args:
        per_mille: which order statistic of ``|x|``, in thousandths; 999 is the published 99.9th
            percentile, between two samples by linear interpolation.
        requantise: whether to round to the 16-bit grid, as the reference does by storing its clips
            as 16-bit WAV.
    """

    def __init__(self, per_mille: int = 999, requantise: bool = True):
        super().__init__()
        self.per_mille, self.requantise = per_mille, requantise

    def forward(self, samples: Tensor) -> Tensor:
        # Positions in the sorted amplitudes; whole numbers, also when exported.
        last = samples.shape[1] - 1
        thousandths = last * self.per_mille
        below, above = thousandths // 1000, (thousandths + 999) // 1000
        share = (thousandths - below * 1000) / 1000
        top = samples.abs().topk(last - below + 1).values  # from the loudest down
        low, high = top[:, last - below], top[:, last - above]
        level = low + share * (high - low)
        # Published as level + epsilon, which is the same for any clip of 16 bits; but an exporter
        # takes so small a sum for the level alone, and silence for 0 / 0.
        x = (samples / level[:, None].clamp(min=FLOAT64_EPSILON)).clamp(-1, 1)
        return (x * 32768).round().clamp(max=32767) / 32768 if self.requantise else x


class FitLength(nn.Module):
    """Centre-crop or pad a clip with zeros on both sides to ``size`` samples.

    Where the zeros are odd in number, the extra one comes last.
    """

    def __init__(self, size: int):
        super().__init__()
        self.size = size

    def forward(self, samples: Tensor) -> Tensor:
        missing = self.size - samples.shape[1]  # below zero: to be cut off
        return nn.functional.pad(samples, (missing // 2, missing - missing // 2))


def centre_crop(x: Tensor, size: int) -> Tensor:
    """Keep at most ``size`` steps of dimension 1, from the middle; an odd one is cut at the end."""
    surplus = torch.sym_max(0, x.shape[1] - size)  # type: ignore[no-untyped-call]
    before = surplus // 2
    # Negative padding, because an exporter loses the size of a slice between computed ends.
    return nn.functional.pad(x, (0, 0) * (x.ndim - 2) + (-before, before - surplus))
