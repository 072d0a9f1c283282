"""Cross-entropy, weighted by class if weights are given (Zhong et al. 2020, Eq. 3)."""

from torch import Tensor, nn

from lightser.losses import LOSSES
from lightser.losses.sample_loss import SampleLoss


class CrossEntropy(SampleLoss):
    """−log p of the true class; with label smoothing, against a softened target.

    Args:
        class_weights: see :class:`SampleLoss`.
        label_smoothing: share of the target spread over all classes.
    """

    def __init__(self, class_weights: Tensor | None = None, *, label_smoothing: float = 0.0):
        super().__init__(class_weights)
        if not 0 <= label_smoothing <= 1:
            raise ValueError(f"label_smoothing must be from 0 to 1, not {label_smoothing}")
        self.label_smoothing = label_smoothing

    def per_sample(self, logits: Tensor, labels: Tensor, agreement: Tensor) -> Tensor:
        return nn.functional.cross_entropy(
            logits, labels, reduction="none", label_smoothing=self.label_smoothing
        )


LOSSES["cross_entropy"] = CrossEntropy
