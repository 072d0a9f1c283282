"""Focal loss: easy clips weigh less; plain, and by the annotators' agreement.

Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, https://arxiv.org/abs/1708.02002;
by agreement: Zhong et al. 2020, Eq. 4 and section 4.3.
"""

import torch
from torch import Tensor

from lightser.losses import LOSSES
from lightser.losses.sample_loss import MEDIUM, SampleLoss, by_level, negative_log_likelihood


def focal(nll: Tensor, gamma: float) -> Tensor:
    """Return (1 − p)^γ · (−log p), ``[B]``; p stays a hair below 1, where powers have no slope."""
    miss = (1 - torch.exp(-nll)).clamp(min=1e-7)
    return miss**gamma * nll


class Focal(SampleLoss):
    r"""Cross-entropy scaled by :math:`(1 - p)^\gamma`.

    Args:
        class_weights: see :class:`SampleLoss`.
        gamma: how fast the weight of an easy clip falls; 0 is cross-entropy. Light-SERNet: 2.

    >>> logits, labels = torch.tensor([[2.0, 0.0]]), torch.tensor([0])
    >>> bool(Focal(gamma=0)(logits, labels) == torch.nn.functional.cross_entropy(logits, labels))
    True
    """

    def __init__(self, class_weights: Tensor | None = None, *, gamma: float = 2.0):
        super().__init__(class_weights)
        if not gamma >= 0:  # below, easy clips would weigh more, and without bound
            raise ValueError(f"gamma must be 0 or more, not {gamma}")
        self.gamma = gamma

    def per_sample(self, logits: Tensor, labels: Tensor, agreement: Tensor) -> Tensor:
        return focal(negative_log_likelihood(logits, labels), self.gamma)


class FocalByAgreement(SampleLoss):
    """Focal loss with one exponent per agreement level (λ_A, λ_B, λ_C of Zhong et al. 2020).

    Args:
        class_weights: see :class:`SampleLoss`.
        a: exponent where all annotators agree; 0 is cross-entropy.
        b: exponent where at least ``medium`` of the votes agree.
        c: exponent below that.
        medium: share of the votes that divides the two; another than the published one is for
            corpora with many listeners, hardly any of whom disagree.
    """

    def __init__(
        self,
        class_weights: Tensor | None = None,
        *,
        a: float = 0.0,
        b: float = 1.0,
        c: float = 2.0,
        medium: float = MEDIUM,
    ):
        super().__init__(class_weights)
        for name, exponent in (("a", a), ("b", b), ("c", c)):
            if not exponent >= 0:
                raise ValueError(f"{name} must be 0 or more, not {exponent}")
        if not 0 <= medium <= 1:
            raise ValueError(f"medium is a share of the votes, from 0 to 1, not {medium}")
        self.a, self.b, self.c, self.medium = a, b, c, medium

    def per_sample(self, logits: Tensor, labels: Tensor, agreement: Tensor) -> Tensor:
        nll = negative_log_likelihood(logits, labels)
        by_exponent = (focal(nll, gamma) for gamma in (self.a, self.b, self.c))
        return by_level(agreement, *by_exponent, at_least=self.medium)


LOSSES["focal"] = Focal
LOSSES["focal_by_agreement"] = FocalByAgreement
