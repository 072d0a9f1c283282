"""The published front end of Light-SERNet (Aftab et al. 2022): MFCC, log-mel or spectrogram.

Shapes: B clips, T samples, F frames, M bands or coefficients.
"""

import torch
from torch import Tensor, nn

from lightser.features import FRONTENDS
from lightser.features.length import FitLength, PercentileLevel, centre_crop
from lightser.features.logmel import dct_matrix
from lightser.features.mel import htk_filters
from lightser.features.spectrum import Spectrum


class LightSernetFeatures(nn.Module):
    """Waveform to MFCC (or an earlier stage of it) as published, ``[B, T]`` to ``[B, F, M]``.

    Clip to ``window_s`` seconds by a centre crop, or by zeros on both sides after the level is set;
    magnitude spectra without centre padding; mel; natural log; DCT. Kept because it is published:
    all coefficients have the scale √(2/M), c0 too, and are clipped to ±``limit``, so c0 (16 times
    the mean log-mel) sits at a limit in most frames (65 % on Emo-DB, 70 % on RAVDESS).

    Args:
        kind: ``"mfcc"``, ``"logmel"`` or ``"spectrogram"``.
        window_s: seconds heard of every clip; the paper's 3 or 7. None keeps the clip's length.
        sample_rate: hertz.
        n_fft: points of the transform, and samples under the periodic Hann window.
        hop: samples between frames.
        n_mels: mel bands (HTK) between ``f_min`` and ``f_max`` hertz.
        n_coefficients: DCT coefficients kept.
        f_min: hertz.
        f_max: hertz.
        log_offset: added before the logarithm.
        limit: MFCC are clipped to ± this.
        per_mille: see :class:`~lightser.features.length.PercentileLevel`.
    """

    filters: Tensor
    dct: Tensor

    def __init__(
        self,
        *,
        kind: str = "mfcc",
        window_s: float | None = 3.0,
        sample_rate: int = 16000,
        n_fft: int = 1024,
        hop: int = 256,
        n_mels: int = 128,
        n_coefficients: int = 40,
        f_min: float = 80.0,
        f_max: float = 7600.0,
        log_offset: float = 1e-6,
        limit: float = 10.0,
        per_mille: int = 999,
    ):
        super().__init__()
        bands = {"mfcc": n_coefficients, "logmel": n_mels, "spectrogram": n_fft // 2 + 1}
        if kind not in bands:
            raise ValueError(f"kind must be one of {', '.join(bands)}, not '{kind}'")
        self.kind, self.n_bands, self.sample_rate, self.hop = kind, bands[kind], sample_rate, hop
        self.log_offset, self.limit = log_offset, limit
        self.window_s = window_s
        self.min_samples = n_fft if window_s is None else 2
        # The published order: crop, level, pad. Cropping is the window's, so a clip that is longer
        # must not let its ends speak for the level.
        size = None if window_s is None else round(window_s * sample_rate)
        if size is not None and size < n_fft:
            raise ValueError(
                f"window_s is {window_s:g}; give at least one frame, {n_fft / sample_rate:g}"
            )
        self.crop = nn.Identity() if size is None else _CentreCrop(size)
        self.level = PercentileLevel(per_mille)
        self.pad = nn.Identity() if size is None else FitLength(size)
        self.spectrum = Spectrum(
            n_fft=n_fft, window_length=n_fft, hop=hop, window="hann", center=False, power=1
        )
        filters = htk_filters(
            sample_rate=sample_rate, n_fft=n_fft, n_bands=n_mels, f_min=f_min, f_max=f_max
        )
        self.register_buffer("filters", filters, persistent=False)
        self.register_buffer("dct", dct_matrix(n_mels, n_coefficients), persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        x: Tensor = self.spectrum(self.pad(self.level(self.crop(samples))))  # [B, F, K]
        if self.kind == "spectrogram":
            return x
        x = torch.log(x @ self.filters + self.log_offset)
        if self.kind == "logmel":
            return x
        return (x @ self.dct).clamp(-self.limit, self.limit)


class _CentreCrop(nn.Module):
    def __init__(self, size: int):
        super().__init__()
        self.size = size

    def forward(self, samples: Tensor) -> Tensor:
        return centre_crop(samples, self.size)


FRONTENDS["light_sernet"] = LightSernetFeatures
