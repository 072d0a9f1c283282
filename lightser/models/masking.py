"""Clips of different length in one batch: masks, groups, and pooling that respects lengths.

Shapes: B clips, C channels, F frames, M bands.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

UNLIKE = 1.25  # times as long: too long to go with a clip, in whose group it would only be padding


@dataclass(frozen=True)
class Stacked:
    """How a batch lies in a stack of batches, of which all are padded to the longest clip of all.

    No shape may depend there on what is in one batch.

    Attributes:
        extents: how long the batch itself is, for each of its clips ``[B]``.
        groups: of the clips in order of their lengths, how many go together, and the frames that
            the longest of them has in any batch.
    """

    extents: Tensor
    groups: tuple[tuple[int, int], ...]


def like_lengths(ascending: list[int]) -> list[tuple[int, int]]:
    """Return how many of sorted lengths go together, and the longest of them, group by group.

    >>> like_lengths([100, 120, 149, 150, 151, 400])
    [(2, 120), (3, 151), (1, 400)]
    """
    groups: list[tuple[int, int]] = []
    shortest = 0
    for length in ascending:
        if length < UNLIKE * shortest:
            groups[-1] = (groups[-1][0] + 1, length)
        else:
            groups.append((1, length))
            shortest = length
    return groups


def frame_mask(lengths: Tensor, n_frames: int) -> Tensor:
    """Return ``[B, F]``, 1 for the frames below each clip's length and 0 beyond.

    >>> frame_mask(torch.tensor([1, 3]), 3)
    tensor([[1., 0., 0.],
            [1., 1., 1.]])
    """
    frames = torch.arange(n_frames, device=lengths.device)
    return (frames < lengths[:, None]).float()


def silence_padding(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Set ``[B, C, F, M]`` to zero beyond each clip's length; None leaves it as it is."""
    if lengths is None:
        return x
    beyond = frame_mask(lengths, x.shape[2])[:, None, :, None] == 0
    return torch.where(beyond, 0.0, x)  # masked_fill would not keep the order of channels_last


def average_pool(x: Tensor, lengths: Tensor | None, size: tuple[int, int]) -> Tensor:
    """Average over cells of ``size``; a cell at the border divides by the cells that are there.

    This is "SAME" average pooling. With lengths, the border is each clip's own end: padded frames
    must be zero, and are not counted.
    """
    pool = nn.AvgPool2d(size, ceil_mode=True, count_include_pad=False)
    pooled: Tensor = pool(x)
    if lengths is None:
        return pooled
    mask = frame_mask(lengths, x.shape[2])[:, None, :, None].to(x.dtype)
    share = nn.functional.avg_pool2d(mask, (size[0], 1), ceil_mode=True, count_include_pad=False)
    return pooled / share.clamp(min=1e-6)
