"""Mel filter banks, as librosa and as TensorFlow make them.

Shapes: K bins, M bands.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Hertz = NDArray[np.float64]

# Slaney's Auditory Toolbox: linear to 1 kHz (15 mel), then 27 steps to each factor of 6.4.
SLANEY_HZ_PER_MEL = 200 / 3
SLANEY_KNEE_HZ = 1000.0
SLANEY_KNEE_MEL = SLANEY_KNEE_HZ / SLANEY_HZ_PER_MEL
SLANEY_LOG_STEP = np.log(6.4) / 27


def hz_to_mel(hz: Hertz, scale: str) -> Hertz:
    """Return mels for hertz on the ``"htk"`` or the ``"slaney"`` scale."""
    if scale == "htk":
        return np.asarray(1127.0 * np.log1p(hz / 700.0))
    above = SLANEY_KNEE_MEL + np.log(np.maximum(hz, 1e-9) / SLANEY_KNEE_HZ) / SLANEY_LOG_STEP
    return np.where(hz < SLANEY_KNEE_HZ, hz / SLANEY_HZ_PER_MEL, above)


def mel_to_hz(mel: Hertz, scale: str) -> Hertz:
    """Return hertz for mels, the inverse of :func:`hz_to_mel`."""
    if scale == "htk":
        return np.asarray(700.0 * np.expm1(mel / 1127.0))
    above = SLANEY_KNEE_HZ * np.exp(SLANEY_LOG_STEP * (mel - SLANEY_KNEE_MEL))
    return np.where(mel < SLANEY_KNEE_MEL, mel * SLANEY_HZ_PER_MEL, above)


def slaney_filters(
    *, sample_rate: int, n_fft: int, n_bands: int, f_min: float, f_max: float
) -> Tensor:
    """Return ``[K, M]`` triangles in hertz on Slaney's scale, each of area one (librosa)."""
    bins = np.linspace(0, sample_rate / 2, n_fft // 2 + 1)
    ends = hz_to_mel(np.array([f_min, f_max]), "slaney")
    edges = mel_to_hz(np.linspace(ends[0], ends[1], n_bands + 2), "slaney")
    rising = (bins[:, None] - edges[None, :-2]) / np.diff(edges)[:-1]
    falling = (edges[None, 2:] - bins[:, None]) / np.diff(edges)[1:]
    triangles = np.maximum(0, np.minimum(rising, falling))
    return torch.from_numpy(triangles * 2 / (edges[2:] - edges[:-2])).float()


def htk_filters(
    *, sample_rate: int, n_fft: int, n_bands: int, f_min: float, f_max: float
) -> Tensor:
    """Return ``[K, M]`` triangles in mels on HTK's scale, of height one (TensorFlow).

    They are straight in mels, not in hertz, and the DC bin belongs to no band.
    """
    bins = hz_to_mel(np.linspace(0, sample_rate / 2, n_fft // 2 + 1), "htk")
    ends = hz_to_mel(np.array([f_min, f_max]), "htk")
    edges = np.linspace(ends[0], ends[1], n_bands + 2)
    rising = (bins[:, None] - edges[None, :-2]) / np.diff(edges)[:-1]
    falling = (edges[None, 2:] - bins[:, None]) / np.diff(edges)[1:]
    triangles = np.maximum(0, np.minimum(rising, falling))
    triangles[0] = 0
    return torch.from_numpy(triangles).float()
