"""A trained network for other voices: batch norms take their statistics from speech without labels.

What a network has learned to tell apart may lie elsewhere in the features of another voice,
microphone or language, and wider or narrower. Batch norms know where it lay in training; these
statistics are replaced, and no weight is touched (AdaBN: Li, Wang, Shi, Liu, Hou, "Revisiting Batch
Normalization For Practical Domain Adaptation", 2016, https://arxiv.org/abs/1603.04779).
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from lightser.errors import BadModel
from lightser.training.batches import pad
from lightser.training.system import System

AT_ONCE = 64  # windows; of more than these, the statistics of several such batches are averaged


def norms_of(system: System) -> list[_BatchNorm]:
    """Return the batch norms of a system.

    Raises:
        BadModel: it has none.
    """
    norms = [module for module in system.network.modules() if isinstance(module, _BatchNorm)]
    if not norms:
        name = system.describe()["model"]["name"]
        raise BadModel(
            f"The network '{name}' has no batch norm whose statistics could be adapted; take a "
            "model of light_sernet, such as emodb-light_sernet"
        )
    return norms


@torch.no_grad()
def adapt_norms(system: System, windows: Sequence[Tensor]) -> None:
    """Give a system's batch norms the statistics of speech, in place.

    Args:
        system: in evaluation mode, and left in it.
        windows: features ``[F, M]`` of speech as the system hears it, not standardised; see
            :func:`features_to_adapt_to`.

    Raises:
        BadModel: the network has no batch norm.
    """
    norms = norms_of(system)
    momenta = [norm.momentum for norm in norms]
    order = np.random.default_rng(0).permutation(len(windows))
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over batches, each counted alike
        norm.train()
    for chosen in np.array_split(order, -(-len(order) // AT_ONCE)):
        features, lengths = pad([windows[i] for i in chosen])
        system.logits(features, lengths)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


@torch.no_grad()
def features_to_adapt_to(system: System, windows: Sequence[NDArray[np.float32]]) -> list[Tensor]:
    """Return the features ``[F, M]`` of windows ``[T]``, for :func:`adapt_norms`."""
    return [system.features(torch.from_numpy(window)[None])[0] for window in windows]
