"""Regression deltas, ``[B, F, M]`` to ``[B, F, M]``."""

import torch
from torch import Tensor, nn


def deltas(features: Tensor, width: int = 2) -> Tensor:
    r"""Return the slope of each band over ``2·width + 1`` frames, the end frames repeated.

    .. math:: d_t = \frac{\sum_{n=1}^{N} n\,(c_{t+n} - c_{t-n})}{2 \sum_{n=1}^{N} n^2}

    >>> ramp = torch.arange(9.0)[None, :, None]
    >>> deltas(ramp)[0, 2:-2, 0]
    tensor([1., 1., 1., 1., 1.])
    """
    n_frames = features.shape[1]
    padded = nn.functional.pad(features.transpose(1, 2), (width, width), "replicate")
    slope = torch.zeros_like(features.transpose(1, 2))
    for n in range(1, width + 1):
        later = padded[..., width + n : width + n + n_frames]
        earlier = padded[..., width - n : width - n + n_frames]
        slope = slope + n * (later - earlier)
    return (slope / (2 * sum(n * n for n in range(1, width + 1)))).transpose(1, 2)
