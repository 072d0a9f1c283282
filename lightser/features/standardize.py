"""Mean and standard deviation of the training set, as a part of the graph."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class Standardize(nn.Module):
    """Subtract the mean and divide by the standard deviation of each band, ``[B, F, M]``.

    Both are fitted on training clips only, with :meth:`fit`; until then they are 0 and 1.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, n_bands: int, epsilon: float = 1e-5):
        super().__init__()
        self.epsilon = epsilon
        self.register_buffer("mean", torch.zeros(n_bands))
        self.register_buffer("std", torch.ones(n_bands))

    @torch.no_grad()
    def fit(self, clips: Iterable[Tensor]) -> None:
        """Take mean and standard deviation over all frames of all ``[F, M]`` clips."""
        count, total, squares = 0, torch.zeros(()).double(), torch.zeros(()).double()
        for clip in clips:
            x = clip.double()
            count, total, squares = count + len(x), total + x.sum(0), squares + (x * x).sum(0)
        mean = total / count
        self.mean.copy_(mean)
        self.std.copy_((squares / count - mean * mean).clamp(min=0).sqrt())

    def forward(self, features: Tensor) -> Tensor:
        return (features - self.mean) / (self.std + self.epsilon)
