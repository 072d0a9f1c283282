"""Soft bootstrapping: the target leans towards what the network already believes.

Reed et al., "Training Deep Neural Networks on Noisy Labels with Bootstrapping", 2015,
https://arxiv.org/abs/1412.6596, with the constant of Fonseca et al., ICASSP 2019 (β = 0.3), to
which Zhong et al. 2020 compare (Table 3, "Soft_loss").
"""

import torch
from torch import Tensor, nn

from lightser.losses import LOSSES
from lightser.losses.sample_loss import SampleLoss, by_level, negative_log_likelihood


class SoftBootstrap(SampleLoss):
    r"""Return :math:`-\sum_k [\beta y_k + (1 - \beta) p_k] \log p_k`.

    Args:
        class_weights: see :class:`SampleLoss`.
        beta: trust in the label; 1 is cross-entropy.
        levels: whether clips on which all annotators agree (level A) keep cross-entropy.
        detach: whether the belief in the target is a constant, without a gradient of its own.
    """

    def __init__(
        self,
        class_weights: Tensor | None = None,
        *,
        beta: float = 0.3,
        levels: bool = False,
        detach: bool = False,
    ):
        super().__init__(class_weights)
        if not 0 <= beta <= 1:
            raise ValueError(f"beta must be from 0 to 1, not {beta}")
        self.beta, self.levels, self.detach = beta, levels, detach

    def per_sample(self, logits: Tensor, labels: Tensor, agreement: Tensor) -> Tensor:
        log_p = logits.log_softmax(dim=1).clamp(min=-16.12)  # p at least 1e-7
        p = log_p.exp().detach() if self.detach else log_p.exp()
        nll = negative_log_likelihood(logits, labels)
        soft = self.beta * nll - (1 - self.beta) * (p * log_p).sum(dim=1)
        return by_level(agreement, nll, soft, soft) if self.levels else soft


class ZhongSoft(SampleLoss):
    """What Zhong's released code calls the soft (or, with ``lq``, the Lq) loss: for archaeology.

    The belief term reaches all levels, with β_B alone (or with β_B and β_C added up), and there is
    no power q in it; neither is the textbook loss of that name.
    """

    def __init__(
        self,
        class_weights: Tensor | None = None,
        *,
        b: float = 0.3,
        c: float = 0.3,
        lq: bool = False,
    ):
        super().__init__(class_weights)
        self.b, self.c, self.lq = b, c, lq

    def per_sample(self, logits: Tensor, labels: Tensor, agreement: Tensor) -> Tensor:
        log_p = logits.log_softmax(dim=1)
        share = (1 - self.b) + (1 - self.c if self.lq else 0.0)
        belief = -share * (log_p.exp() * log_p).sum(dim=1)
        trust = by_level(
            agreement,
            *(torch.full_like(agreement, beta) for beta in (1.0, self.b, self.c)),
        )
        one_hot = nn.functional.one_hot(labels, logits.shape[1])
        return belief - trust * (one_hot * log_p).sum(dim=1)


LOSSES["soft_bootstrap"] = SoftBootstrap
LOSSES["zhong_soft"] = ZhongSoft
