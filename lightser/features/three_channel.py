"""Log-mel with its deltas and delta-deltas: the front end of 3D-ACRNN, BCRNN and DRN.

Chen et al., IEEE Signal Processing Letters 25(10), 2018, section II-A, and the authors' code.

Shapes: B clips, T samples, F frames, K bins, M mel bands.
"""

import numpy as np
import torch
from torch import Tensor, nn

from lightser.features import FRONTENDS
from lightser.features.deltas import deltas
from lightser.features.mel import htk_filters
from lightser.features.spectrum import Frames, RealDFT

MACHINE_EPSILON = 2.220446049250313e-16


class ThreeChannelLogMel(nn.Module):
    """Static, delta and delta-delta log-mel side by side, ``[B, T]`` to ``[B, F, 3M]``.

    Side by side rather than on an axis of their own, so that whatever works per band (the cache,
    standardisation) works per band and channel. A network folds them out again.

    Paper and code differ. ``"paper"``: the waveform has mean 0 and deviation 1; 25 ms under a
    Hamming window every 10 ms; HTK's mel triangles. ``"code"``: 16-bit integers as they are,
    pre-emphasis, no window, the last frame filled up with zeros, and triangles whose corners are
    rounded down to bins (python_speech_features' filter banks).

    Args:
        preset: ``"paper"`` or ``"code"``.
        sample_rate: hertz.
        n_mels: M.
        segment_frames: if given, a clip of more frames becomes its first and its last so many, end
            to end; they may overlap. For
            :class:`~lightser.models.segments.SegmentNetwork`.
        pad_segments: whether a clip of fewer frames is filled up with zeros *here*, before
            standardisation, as the code does: then silence is not the mean but far from it.
    """

    filters: Tensor
    window: Tensor

    def __init__(
        self,
        *,
        preset: str = "paper",
        sample_rate: int = 16000,
        n_mels: int = 40,
        segment_frames: int | None = None,
        pad_segments: bool = False,
    ):
        super().__init__()
        if preset not in ("paper", "code"):
            raise ValueError(f"preset must be 'paper' or 'code', not '{preset}'")
        self.as_published = preset == "paper"
        self.sample_rate, self.n_bands = sample_rate, 3 * n_mels
        self.segment_frames, self.pad_segments = segment_frames, pad_segments
        n_fft, length, self.hop = 512, sample_rate // 40, sample_rate // 100
        self.min_samples = length
        self.frames = Frames(length, self.hop)
        self.dft = RealDFT(n_fft)
        self.missing = n_fft - length
        if self.as_published:
            window = torch.hamming_window(length, dtype=torch.float64)
            filters = htk_filters(
                sample_rate=sample_rate, n_fft=n_fft, n_bands=n_mels, f_min=20, f_max=8000
            )
        else:
            window = torch.ones(length, dtype=torch.float64)
            filters = whole_bin_filters(sample_rate=sample_rate, n_fft=n_fft, n_bands=n_mels)
            filters = filters / n_fft  # its power spectrum is divided by the points
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("filters", filters, persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        if self.as_published:
            mean = samples.mean(dim=1, keepdim=True)
            level = samples.std(dim=1, correction=0, keepdim=True)
            # Exporters take a sum with so small a number for the level alone: silence was 0 / 0.
            exporting = torch.compiler.is_exporting()
            x = (samples - mean) / (level.clamp(min=1e-8) if exporting else level + 1e-8)
            floor = 1e-8
        else:
            x = samples * 32768
            x = torch.cat([x[:, :1], x[:, 1:] - 0.97 * x[:, :-1]], dim=1)
            x = nn.functional.pad(x, (0, self.hop - 1))  # whole frames, the last one filled up
            floor = MACHINE_EPSILON
        # In double precision, as in features.spectrum: quiet bands beside loud ones.
        dtype = torch.float32 if torch.compiler.is_exporting() else torch.float64
        frames = self.frames(x).to(dtype) * self.window.to(dtype)
        re, im = self.dft(nn.functional.pad(frames, (0, self.missing)))
        mel = (re * re + im * im) @ self.filters.to(dtype)
        static = mel.clamp(min=floor).log().float()
        slope = deltas(static)
        return self._segments(torch.cat([static, slope, deltas(slope)], dim=2))

    def _segments(self, features: Tensor) -> Tensor:
        n, n_frames = self.segment_frames, features.shape[1]
        if n is None or torch.compiler.is_exporting():
            return features  # the recogniser gives at most one segment
        if n_frames > n:
            return torch.cat([features[:, :n], features[:, -n:]], dim=1)
        if self.pad_segments:
            return nn.functional.pad(features, (0, 0, 0, n - n_frames))
        return features


def whole_bin_filters(*, sample_rate: int, n_fft: int, n_bands: int) -> Tensor:
    """Return ``[K, M]`` triangles whose corners are whole bins, rounded down, of height one."""
    mels = np.linspace(0, 2595 * np.log10(1 + sample_rate / 2 / 700), n_bands + 2)
    hertz = 700 * (10 ** (mels / 2595) - 1)
    corners = np.floor((n_fft + 1) * hertz / sample_rate).astype(int)
    filters = np.zeros((n_fft // 2 + 1, n_bands))
    for band, (low, top, high) in enumerate(zip(corners, corners[1:], corners[2:], strict=False)):
        filters[low:top, band] = (np.arange(low, top) - low) / max(1, top - low)
        filters[top:high, band] = (high - np.arange(top, high)) / max(1, high - top)
    return torch.from_numpy(filters).float()


FRONTENDS["three_channel"] = ThreeChannelLogMel
