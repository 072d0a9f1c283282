"""What all losses share: a value per clip, and how the values of a batch become one.

Shapes: B clips, C classes.
"""

import torch
from torch import Tensor, nn

from lightser.errors import BadRecipe

EASY = 1.0  # level A of Zhong et al. 2020, section 4.1: all annotators agree
MEDIUM = 0.65  # level B: at least this share of the votes; C: fewer


class SampleLoss(nn.Module):
    """Mean over the clips of :meth:`per_sample`, weighted by the class of each clip.

    Args:
        class_weights: ``[C]``; the batch's value is Σ w·l / Σ w. None weighs all classes alike.
    """

    class_weights: Tensor | None

    def __init__(self, class_weights: Tensor | None = None):
        super().__init__()
        self.register_buffer("class_weights", class_weights)

    def per_sample(self, logits: Tensor, labels: Tensor, agreement: Tensor) -> Tensor:
        """Return the loss of each clip, ``[B]``."""
        raise NotImplementedError

    def forward(
        self,
        logits: Tensor,
        labels: Tensor,
        agreement: Tensor | None = None,
        shares: Tensor | None = None,
    ) -> Tensor:
        """Return one number for logits ``[B, C]``, labels ``[B]`` and agreement ``[B]``.

        Agreement is the share of votes for the label; NaN or None where it is unknown. ``shares``
        ``[B]`` is how much of a clip each is, for blended ones; None: all are whole.
        """
        if agreement is None:
            agreement = torch.full(labels.shape, torch.nan, device=logits.device)
        values = self.per_sample(logits, labels, agreement)
        weights = shares
        if self.class_weights is not None:
            of_class = self.class_weights[labels]
            weights = of_class if shares is None else shares * of_class
        if weights is None:
            return values.mean()
        return (weights * values).sum() / weights.sum()


def negative_log_likelihood(logits: Tensor, labels: Tensor) -> Tensor:
    """Return −log p of the true class, ``[B]``."""
    return nn.functional.cross_entropy(logits, labels, reduction="none")


def by_level(
    agreement: Tensor, easy: Tensor, medium: Tensor, hard: Tensor, *, at_least: float = MEDIUM
) -> Tensor:
    """Pick one of three values for each clip by its agreement level (A, B, C).

    Level B begins ``at_least`` at this share of the votes.

    Raises:
        BadRecipe: the agreement of a clip is unknown.
    """
    if bool(agreement.isnan().any()):
        raise BadRecipe(
            "this loss needs the annotators' agreement, which the corpus does not give for all "
            "clips; choose a loss without levels (levels = false) or a corpus with votes"
        )
    return torch.where(
        agreement >= EASY - 1e-9, easy, torch.where(agreement >= at_least, medium, hard)
    )


def class_weights(counts: Tensor) -> Tensor:
    """Return Zhong's weights, ``max(counts) / (counts + 0.5)``, from the training part alone."""
    return counts.max() / (counts + 0.5)
