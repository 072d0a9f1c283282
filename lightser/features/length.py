"""Level and length of a waveform, ``[B, T]`` to ``[B, T']``, as the published systems set them."""

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
        amplitudes = samples.abs().sort(dim=1).values
        thousandths = (samples.shape[1] - 1) * self.per_mille  # whole numbers, also when exported
        below = thousandths // 1000
        share = (thousandths - below * 1000) / 1000
        above = (thousandths + 999) // 1000
        low, high = amplitudes[:, below], amplitudes[:, above]
        level = low + share * (high - low)
        x = (samples / (level[:, None] + FLOAT64_EPSILON)).clamp(-1, 1)
        return (x * 32767).round() / 32768 if self.requantise else x


class FitLength(nn.Module):
    """Centre-crop or pad a clip with zeros on both sides to ``size`` samples.

    Where the zeros are odd in number, the extra one comes last.
    """

    def __init__(self, size: int):
        super().__init__()
        self.size = size

    def forward(self, samples: Tensor) -> Tensor:
        # One expression for both cases: a window on the clip between enough zeros.
        length = samples.shape[1]
        padded = nn.functional.pad(samples, (self.size, self.size))
        start = self.size + (length - self.size + 1) // 2
        return padded[:, start : start + self.size]
