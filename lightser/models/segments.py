"""Networks that hear segments of a fixed length, and how segments become a clip's decision.

What the training loop has to know of such a network is in :class:`SegmentNetwork`.

Shapes: B clips, S segments of a clip, N frames of a segment, F frames of a clip, M bands,
C classes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightser.models.masking import frame_mask


class SegmentNetwork(nn.Module):
    """Segments of ``segment_frames`` frames each, ``[B, F, M]`` to logits ``[B, C]``.

    A clip's features are its segments laid end to end; the front end says which these are, and if
    it says nothing, they are the clip cut into pieces. A last, shorter one is filled up with zeros,
    the training mean. Each segment gets its own posteriors, and those of a clip are pooled.

    *Training*: each segment is an example of its own, with the clip's label: give the network the
    pieces ``clip.split(network.segment_frames)`` as clips of a batch. *Evaluating*: give it whole
    clips, with their lengths; the decision comes out. *When the weights are final*, a network that
    has :meth:`fit_decision` is given the training and validation clips once more.

    Attributes:
        segment_frames: N.
        pool_segments: ``"max"`` and ``"mean"`` of the segments' posteriors, renormalised, or
            ``"max_logits"``.
    """

    segment_frames: int
    pool_segments: str
    min_frames = 1  # the rest of a segment is filled up

    def segment_logits(self, segments: Tensor) -> Tensor:
        """Return ``[B·S, C]`` for segments ``[B·S, N, M]``."""
        raise NotImplementedError

    def decide(self, logits: Tensor, real: Tensor) -> Tensor:
        """Return ``[B, C]`` for logits ``[B, S, C]`` of segments, ``real [B, S]`` where not 0."""
        return pool(logits, real, self.pool_segments)

    def forward(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        n = self.segment_frames
        n_clips, n_frames, n_bands = features.shape
        n_segments = (n_frames + n - 1) // n
        padded = nn.functional.pad(features, (0, 0, 0, n_segments * n - n_frames))
        logits = self.segment_logits(padded.reshape(n_clips * n_segments, n, n_bands))
        logits = logits.reshape(n_clips, n_segments, logits.shape[1])  # [B, S, C]
        if lengths is None:
            real = torch.ones_like(logits[..., 0])
        else:
            real = frame_mask(-(-lengths // n), logits.shape[1])
        return self.decide(logits, real)


def pool(logits: Tensor, real: Tensor, how: str) -> Tensor:
    """Return one row of logits per clip, ``[B, S, C]`` to ``[B, C]``.

    With ``"max"`` or ``"mean"`` they are logarithms of the pooled posteriors.

    >>> logits = torch.tensor([[[0.9, 0.1], [0.4, 0.6], [0.0, 1.0]]]).log()
    >>> real = torch.tensor([[1, 1, 0]])
    >>> pool(logits, real, "max").exp(), pool(logits, real, "mean").exp()
    (tensor([[0.9000, 0.6000]]), tensor([[0.6500, 0.3500]]))
    """
    if how not in ("max", "mean", "max_logits"):
        raise ValueError(f"segments are pooled by 'max', 'mean' or 'max_logits', not '{how}'")
    values = logits if how == "max_logits" else logits.log_softmax(dim=2)
    values = values.masked_fill(real[..., None] == 0, -torch.inf)
    if how == "mean":
        return values.logsumexp(dim=1) - real.sum(dim=1).log()[:, None]
    return values.amax(dim=1)


def mean_recall(truth: Tensor, predicted: Tensor) -> float:
    """Return the mean over the classes in ``truth [B]`` of the share that was found (UA)."""
    recalls = [(predicted[truth == k] == k).double().mean() for k in sorted(set(truth.tolist()))]
    return float(torch.stack(recalls).mean())


LabelledClips = Sequence[tuple[Tensor, int]]  # standardised features [F, M], class
