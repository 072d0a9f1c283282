"""Log-mel spectrograms: the published front end of Zhong et al. 2020, and a level-free one of ours.

Shapes: B clips, T samples, F frames, M bands.
"""

import math

import torch
from torch import Tensor, nn

from lightser.features import FRONTENDS
from lightser.features.length import centre_crop
from lightser.features.mel import htk_filters, slaney_filters
from lightser.features.spectrum import Spectrum


class Zhong2020LogMel(nn.Module):
    """Log-mel of Zhong et al. 2020 (section 4.2 and the code), ``[B, T]`` to ``[B, F, M]``.

    Librosa's semantics in full. Two things to know, kept because they are published: bands more
    than ``top_db`` below the clip's loudest one are raised to there, so a band depends on the whole
    clip; and of clips longer than ``max_frames`` only the middle is heard.

    Args:
        sample_rate: hertz.
        n_fft: points of the transform; the paper's 1024.
        window_length: samples under the Hamming window, 40 ms.
        hop: samples between frames, 10 ms.
        n_bands: mel bands between 0 Hz and half the sample rate, Slaney's scale, area one.
        floor: smallest power, before the logarithm.
        top_db: decibels kept below the clip's maximum.
        max_frames: longest stretch kept, from the middle; 700 frames are 7 s. None keeps all.
    """

    filters: Tensor

    def __init__(
        self,
        *,
        sample_rate: int = 16000,
        n_fft: int = 1024,
        window_length: int = 640,
        hop: int = 160,
        n_bands: int = 128,
        floor: float = 1e-10,
        top_db: float = 80.0,
        max_frames: int | None = 700,
    ):
        super().__init__()
        self.sample_rate, self.n_bands, self.hop = sample_rate, n_bands, hop
        self.floor, self.top_db, self.max_frames = floor, top_db, max_frames
        self.window_s = None if max_frames is None else max_frames * hop / sample_rate
        self.min_samples = window_length // 2 + 1  # what is mirrored at the ends must be there
        self.spectrum = Spectrum(
            n_fft=n_fft,
            window_length=window_length,
            hop=hop,
            window="hamming",
            center=True,
            power=2,
        )
        filters = slaney_filters(
            sample_rate=sample_rate, n_fft=n_fft, n_bands=n_bands, f_min=0, f_max=sample_rate / 2
        )
        self.register_buffer("filters", filters, persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        mel = self.spectrum(samples) @ self.filters
        db = 10 / math.log(10) * mel.clamp(min=self.floor).log()
        db = torch.maximum(db, db.amax(dim=(1, 2), keepdim=True) - self.top_db)
        if self.max_frames is not None:
            db = centre_crop(db, self.max_frames)
        return db


class RelativeLogMel(nn.Module):
    """Log-mel relative to the clip's loudest band, ``[B, T]`` to ``[B, F, M]``, 0 to 1.

    Ours. The level of a recording says more about the microphone than about the speaker: here the
    loudest cell of a clip is always 1 and everything ``range_db`` below it is 0, so that gain
    changes nothing, and digital silence around a clip looks like a quiet room.

    Args:
        sample_rate: hertz.
        n_fft: points of the transform, and samples under the Hann window.
        hop: samples between frames.
        n_bands: mel bands (HTK) between ``f_min`` and ``f_max`` hertz.
        range_db: decibels between 1 and 0.
        window_s: seconds of the longest clip given at once.
        coefficients: if given, the first so many DCT-II coefficients (MFCC) instead of the bands.
    """

    silence_is_zero = True
    filters: Tensor
    dct: Tensor

    def __init__(
        self,
        *,
        sample_rate: int = 16000,
        n_fft: int = 1024,
        hop: int = 256,
        n_bands: int = 64,
        f_min: float = 60.0,
        f_max: float = 7600.0,
        range_db: float = 80.0,
        window_s: float = 3.0,
        coefficients: int | None = None,
    ):
        super().__init__()
        self.sample_rate, self.hop, self.range_db = sample_rate, hop, range_db
        self.n_bands = coefficients or n_bands
        self.window_s = window_s
        self.min_samples = round(window_s * sample_rate)
        self.spectrum = Spectrum(
            n_fft=n_fft, window_length=n_fft, hop=hop, window="hann", center=False, power=2
        )
        filters = htk_filters(
            sample_rate=sample_rate, n_fft=n_fft, n_bands=n_bands, f_min=f_min, f_max=f_max
        )
        self.register_buffer("filters", filters, persistent=False)
        self.coefficients = coefficients
        if coefficients:
            self.register_buffer("dct", dct_matrix(n_bands, coefficients), persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        mel = self.spectrum(samples) @ self.filters
        db = 10 / math.log(10) * mel.clamp(min=1e-10).log()
        relative = db - db.amax(dim=(1, 2), keepdim=True)
        unit: Tensor = 1 + relative.clamp(min=-self.range_db) / self.range_db
        return unit @ self.dct if self.coefficients else unit


def dct_matrix(n_bands: int, n_coefficients: int) -> Tensor:
    """Return the DCT-II as ``[M, coefficients]``, every row scaled by √(2/M), c0 too."""
    band = torch.arange(n_bands, dtype=torch.float64) + 0.5
    k = torch.arange(n_coefficients, dtype=torch.float64)
    return (math.sqrt(2 / n_bands) * torch.cos(math.pi / n_bands * torch.outer(band, k))).float()


FRONTENDS["zhong2020"] = Zhong2020LogMel
FRONTENDS["relative_logmel"] = RelativeLogMel
