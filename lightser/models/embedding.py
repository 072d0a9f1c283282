"""The norm between a network's pooled vector and its classifier: where it is adapted to a voice.

The pooled vector, or embedding, of another voice, room or language lies elsewhere than those of
training, and wider or narrower. Which is what a classifier cannot know; but a few recordings
without labels tell it. So the norm's mean and deviation can be given from outside, by
whoever runs the network (:mod:`lightser.inference.adaptation`), and no weight is touched.

Shapes: B clips, P values of the embedding, C classes.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

# Of the mean deviation: a value that training hardly moved says nothing of a voice, whose
# recordings must not be divided by next to nothing.
LEAST_STD = 0.01


class EmbeddingNorm(nn.Module):
    """Standardise an embedding ``[B, P]``; the identity, until :func:`set_statistics`.

    A network with one has it as ``embedding``, in front of ``classifier``, and gives what goes in
    by ``forward_features``.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, size: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("std", torch.ones(size))

    def forward(self, x: Tensor, mean: Tensor | None = None, std: Tensor | None = None) -> Tensor:
        """Standardise by its own statistics ``[P]``, or by those of a voice."""
        return (x - (self.mean if mean is None else mean)) / (self.std if std is None else std)

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        # Weights of before there was such a norm: they know the embedding as it is.
        own = {f"{prefix}{name}": value for name, value in self.state_dict().items()}
        super()._load_from_state_dict({**own, **state_dict}, prefix, *args, **kwargs)


def embedding_of(network: nn.Module) -> EmbeddingNorm | None:
    """Return the norm of a network's embedding, or None if it has none."""
    norm = getattr(network, "embedding", None)
    return norm if isinstance(norm, EmbeddingNorm) else None


@torch.no_grad()
def set_statistics(network: nn.Module, mean: Tensor, std: Tensor) -> None:
    """Give the norm of a network's embedding other statistics ``[P]``, and the same answers.

    The first layer of the classifier is changed to undo it: for ``z = (x - m) / s`` and
    ``z' = (x - m') / s'``, ``W z + b = (W s'/s) z' + (b + W (m' - m) / s)``.
    """
    norm = embedding_of(network)
    assert norm is not None
    layer = next(part for part in network.classifier.modules() if isinstance(part, nn.Linear))  # type: ignore[union-attr]
    # In double precision, so that it costs one rounding.
    old_mean, old_std = norm.mean.double(), norm.std.double()
    weight, mean, std = layer.weight.double(), mean.double(), std.double()
    layer.bias.add_(weight @ ((mean - old_mean) / old_std))
    layer.weight.copy_(weight * (std / old_std))
    norm.mean.copy_(mean)
    norm.std.copy_(std)
