"""The statistics of a trained network's embedding: where voices lay in training.

Shapes: F frames, M bands, P values of the embedding.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from lightser.models.embedding import LEAST_STD, set_statistics
from lightser.training.loop import by_length
from lightser.training.system import System


@torch.no_grad()
def fit_embedding(system: System, windows: Iterable[Tensor]) -> None:
    """Set mean and deviation of a trained system's embedding, which changes no answer.

    A network whose embedding has no norm is left as it is.

    Args:
        system: trained; it is put into evaluation mode.
        windows: features ``[F, M]`` of the training clips as they are heard in evaluation, not
            standardised.
    """
    if system.embedding is None:
        return
    system.eval()
    device = system.temperature.device
    embeddings = torch.cat(
        [system.embed(features, lengths) for _, features, lengths in by_length(windows, device)]
    ).double()
    std = embeddings.std(dim=0, correction=0)
    least = LEAST_STD * float(std.mean())
    # A single window, or a network that is deaf, deviates by nothing.
    std = std.clamp(min=least) if least > 0 else torch.ones_like(std)
    set_statistics(system.network, embeddings.mean(dim=0), std)
