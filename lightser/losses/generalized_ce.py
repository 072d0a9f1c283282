"""L_q, the generalised cross-entropy, between cross-entropy and mean absolute error.

Zhang and Sabuncu, "Generalized Cross Entropy Loss for Training Deep Neural Networks with Noisy
Labels", NeurIPS 2018, https://arxiv.org/abs/1805.07836; Zhong et al. 2020, Table 3, "Lq_loss".
"""

import torch
from torch import Tensor

from lightser.losses import LOSSES
from lightser.losses.sample_loss import SampleLoss, by_level, negative_log_likelihood


class GeneralizedCrossEntropy(SampleLoss):
    r"""Return :math:`(1 - p^q) / q` for the true class.

    Args:
        class_weights: see :class:`SampleLoss`.
        q: in (0, 1]; towards 0 it is cross-entropy, 1 is 1 − p.
        truncate: if given, clips with p at or below it cost a constant and teach nothing.
        levels: whether clips on which all annotators agree (level A) keep cross-entropy.
    """

    def __init__(
        self,
        class_weights: Tensor | None = None,
        *,
        q: float = 0.7,
        truncate: float | None = None,
        levels: bool = False,
    ):
        super().__init__(class_weights)
        if not 0 < q <= 1:
            raise ValueError(f"q must be in (0, 1], not {q}")
        if truncate is not None and not 0 <= truncate < 1:
            raise ValueError(f"truncate must be in [0, 1), not {truncate}")
        self.q, self.truncate, self.levels = q, truncate, levels

    def per_sample(self, logits: Tensor, labels: Tensor, agreement: Tensor) -> Tensor:
        nll = negative_log_likelihood(logits, labels)
        # -expm1(-q nll) is 1 - p^q without cancellation where p is near 1 or q near 0.
        value = -torch.expm1(-self.q * nll) / self.q
        if self.truncate is not None:
            value = value.clamp(max=(1 - self.truncate**self.q) / self.q)
        return by_level(agreement, nll, value, value) if self.levels else value


LOSSES["generalized_ce"] = GeneralizedCrossEntropy
