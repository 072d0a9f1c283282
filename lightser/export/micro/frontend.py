"""The front end of a system as constants for ``c/lightser_frontend.c``.

Window, filters and cosine transform are the buffers of the module that the network was trained
behind, so that the C code and PyTorch cannot drift apart.

Shapes: N points of the transform, K = N/2 + 1 bins, M mel bands.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lightser.errors import BadModel
from lightser.export.micro.text import array, define
from lightser.features.logmel import RelativeLogMel
from lightser.features.mfcc import LightSernetFeatures
from lightser.features.standardize import Standardize
from lightser.training.system import System

FLOOR = 1e-10  # of RelativeLogMel: smallest power, before the logarithm


@dataclass(frozen=True, kw_only=True)
class Quantisation:
    """How a number is a code: ``scale * (code - zero_point)``."""

    scale: float
    zero_point: int


def check_frontend(system: System, n_samples: int) -> None:
    """Refuse features that the C code does not compute from a window of ``n_samples``.

    Raises:
        BadModel: which these are, and which it does.
    """
    front: Any = system.frontend
    if not isinstance(front, RelativeLogMel) and not (
        isinstance(front, LightSernetFeatures) and front.kind != "spectrogram" and front.window_s
    ):
        raise BadModel(
            "The C front end computes relative_logmel, and light_sernet's MFCC or log-mel of a "
            f"window; this model has '{system.describe()['frontend']['name']}'. --frontend out "
            "leaves the features to you"
        )
    window_s = float(front.window_s or 0)
    if round(window_s * system.sample_rate) != n_samples:
        raise BadModel(
            f"The front end makes {window_s:g} s of features, and the model hears "
            f"{n_samples / system.sample_rate:g} s: the C code takes one window"
        )
    n_fft: int = front.spectrum.dft.n
    if n_fft & (n_fft - 1) or n_fft < 4 or front.hop > n_fft:
        raise BadModel(
            f"The C front end takes transforms of 2, 4, 8 ... points and hops within them, not "
            f"{n_fft} points every {front.hop} samples"
        )


def config(system: System, n_samples: int, n_frames: int) -> str:
    """Return the ``#define`` lines that set sizes and steps of the C front end."""
    front: Any = system.frontend
    is_relative = isinstance(front, RelativeLogMel)
    values: dict[str, Any] = {
        "RATE": system.sample_rate,
        "SAMPLES": n_samples,
        "FRAMES": n_frames,
        "BANDS": front.n_bands,
        "HOP": front.hop,
        "FFT": front.spectrum.dft.n,
        "MELS": front.filters.shape[1],
    }
    if is_relative:
        values |= {
            "RANGE_DB": float(front.range_db),
            "DECIBELS": 10 / math.log(10),
            "FLOOR": FLOOR,
        }
    else:
        per_mille = front.level.per_mille
        values |= {
            "PER_MILLE": per_mille,
            "LOUDEST": (n_samples - 1) * (1000 - per_mille) // 1000 + 2,
            "LOG_OFFSET": front.log_offset,
        }
    if _has_dct(front):
        values["DCT"] = 1
        if not is_relative:
            values["LIMIT"] = float(front.limit)
    return define(values)


def tables(system: System, given: Quantisation) -> str:
    """Return window, filters, transforms, and the way from features to codes, as C arrays."""
    front: Any = system.frontend
    n_fft = front.spectrum.dft.n
    angle = 2 * np.pi * np.arange(n_fft // 2) / n_fft
    first, bins, weights = sparse(front.filters.numpy())
    gain, offset = steps(system, given)
    parts = [
        array("float", "window", front.spectrum.window.numpy()),
        array("float", "cosines", np.cos(angle)),
        array("float", "sines", np.sin(angle)),
        array("uint16_t", "filter_first", first),
        array("uint16_t", "filter_bins", bins),
        array("float", "filter_weights", weights),
        array("float", "gain", gain),
        array("float", "offset", offset),
    ]
    if _has_dct(front):
        parts.append(array("float", "dct", front.dct.numpy().T))
    return "\n".join(parts)


def sparse(
    filters: NDArray[np.float32],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Return first bin, number of bins and weights of each filter ``[K, M]``, end to end."""
    spans = [_span(column) for column in filters.T]
    weights = [filters[a:b, band] for band, (a, b) in enumerate(spans)]
    first, end = np.array(spans).T
    return first, end - first, np.concatenate(weights)


def steps(system: System, given: Quantisation) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return gain and offset of each band, such that a feature times gain plus offset is its code.

    Standardisation is in them.
    """
    n_bands = int(system.frontend.n_bands)  # type: ignore[arg-type]
    mean, deviation = np.zeros(n_bands), np.ones(n_bands)
    if isinstance(system.standardize, Standardize):
        with torch.no_grad():
            mean = system.standardize.mean.double().numpy()
            deviation = (system.standardize.std + system.standardize.epsilon).double().numpy()
    gain = 1 / (deviation * given.scale)
    return gain, given.zero_point - mean * gain


def _has_dct(front: Any) -> bool:
    if isinstance(front, RelativeLogMel):
        return bool(front.coefficients)
    return bool(front.kind == "mfcc")


def _span(column: NDArray[np.float32]) -> tuple[int, int]:
    (used,) = np.nonzero(column)
    return (int(used[0]), int(used[-1]) + 1) if len(used) else (0, 0)
