"""What a teacher says of clips, and what a network loses by saying otherwise.

Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015,
https://arxiv.org/abs/1503.02531. As a side task the network tells what lies behind the teacher's
answer: Romero, Ballas, Kahou, Chassang, Gatta, Bengio, "FitNets: Hints for Thin Deep Nets",
ICLR 2015.

Shapes: B clips, N training utterances, C classes, P values of an embedding, Q of the teacher's
features.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from lightser.errors import BadRecipe
from lightser.training.recipe import Teacher
from lightser.training.system import System

_LEAST = 1e-6  # probability, in tables of as many digits


@dataclass(frozen=True)
class Answers:
    """What a teacher says of clips.

    Attributes:
        probabilities: ``[N, C]``, as likely as it finds each class.
        features: ``[N, Q]`` of its front end, the mean over a clip's frames, standardised over the
            training part; empty where the recipe asks for no side task.
        how: how much they count.
    """

    probabilities: Tensor
    features: Tensor
    how: Teacher

    def of(self, chosen: NDArray[np.int64]) -> "Answers":
        """Return those of some of the clips."""
        return replace(
            self, probabilities=self.probabilities[chosen], features=self.features[chosen]
        )

    def to(self, device: str) -> "Answers":
        """Return them on a device."""
        return replace(
            self, probabilities=self.probabilities.to(device), features=self.features.to(device)
        )


def lesson_loss(logits: Tensor, taught: Answers) -> Tensor:
    """Return T² times the mean divergence of logits ``[B, C]`` from the teacher's answers.

    Both are softened by the temperature T; its square keeps gradients as large as labels' are.
    """
    temperature = taught.how.temperature
    # A softmax of logits over T, of which only the softmax is known.
    softened = (taught.probabilities.clamp(min=_LEAST).log() / temperature).softmax(dim=1)
    mine = (logits / temperature).log_softmax(dim=1)
    return functional.kl_div(mine, softened, reduction="batchmean") * temperature**2


class SideTask(nn.Module):
    """Tell the teacher's features from the embedding, while training: ``[B, P]`` to ``[B, Q]``."""

    def __init__(self, n_in: int, n_out: int):
        super().__init__()
        self.tell = nn.Linear(n_in, n_out)

    def loss(self, embedding: Tensor, taught: Answers) -> Tensor:
        """Return the mean squared error of what is told."""
        return functional.mse_loss(self.tell(embedding).float(), taught.features)


def side_task(system: System, taught: Answers) -> SideTask | None:
    """Return the side task that a teacher sets a system, if it sets one.

    Raises:
        BadRecipe: the system has no embedding to tell anything from.
    """
    if not taught.features.shape[1]:
        return None
    if system.embedding is None:
        name = system.describe()["model"]["name"]
        raise BadRecipe(f"the network '{name}' has no embedding; leave out teacher.features")
    return SideTask(len(system.embedding.mean), taught.features.shape[1])


@contextlib.contextmanager
def watching(system: System) -> Iterator[list[Tensor]]:
    """Give a list to which every embedding ``[B, P]`` that is computed meanwhile is added."""
    seen: list[Tensor] = []
    assert system.embedding is not None
    hook = system.embedding.register_forward_pre_hook(lambda norm, given: seen.append(given[0]))
    try:
        yield seen
    finally:
        hook.remove()
