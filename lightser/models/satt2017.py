"""Convolutions and a BLSTM on the spectrogram, in one step or two. In part a reconstruction.

After Satt, Rozenberg, Hoory, "Efficient Emotion Recognition from Speech Using Deep Learning on
Spectrograms", Interspeech 2017, https://doi.org/10.21437/Interspeech.2017-200. Kernels and widths
were not to be had; they are chosen to meet the quoted 5.5 MiB.

Shapes: B segments, N frames of a segment, M bins, C classes.
"""

import torch
from torch import Tensor, nn

from lightser.models import MODELS
from lightser.models.lstm import BiLSTM, last_states
from lightser.models.segments import LabelledClips, SegmentNetwork, mean_recall

WIDTHS = (16, 24, 32, 48)


class Satt2017(SegmentNetwork):
    """The network on segments of three seconds, for features of ``log_spectrogram``.

    Args:
        n_classes: emotions.
        n_bands: M, 400 bins of 10 Hz.
        neutral: None decides in one step. Otherwise the index of the class *neutral*, which is
            told from all others first: the network has an output for "neutral or not" and one for
            the emotions besides, and a clip is neutral if the posterior of that exceeds a threshold
            (:meth:`fit_decision`). This raises UA and lowers WA.
        segment_frames: N; the published 300 are 3 s.
        dropout: before the classifier.
    """

    pool_segments = "mean"
    threshold: Tensor

    def __init__(
        self,
        n_classes: int,
        n_bands: int = 400,
        *,
        neutral: int | None = None,
        segment_frames: int = 300,
        dropout: float = 0.3,
    ):
        super().__init__()
        if neutral is not None and not 0 <= neutral < n_classes:
            raise ValueError(f"neutral must be a class from 0 to {n_classes - 1}, not {neutral}")
        self.neutral, self.segment_frames = neutral, segment_frames
        self.convolutions = nn.ModuleList(
            nn.Conv2d(n_in, n_out, 5, padding=2)
            for n_in, n_out in zip((1, *WIDTHS), WIDTHS, strict=False)
        )
        self.lstm = BiLSTM(n_bands // 2 ** len(WIDTHS) * WIDTHS[-1], 128)
        self.hidden = nn.Linear(256, 64)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(64, n_classes if neutral is None else n_classes + 1)
        self.register_buffer("threshold", torch.tensor(0.5))
        for convolution in self.convolutions:
            nn.init.kaiming_normal_(convolution.weight)  # type: ignore[arg-type]

    def segment_logits(self, segments: Tensor) -> Tensor:
        x = segments[:, None]
        for convolution in self.convolutions:
            x = nn.functional.max_pool2d(nn.functional.relu(convolution(x)), 2)
        x = self.lstm(x.permute(0, 2, 3, 1).flatten(2))  # [B, N/16, 256]
        x = nn.functional.relu(self.hidden(last_states(x)))
        outputs: Tensor = self.classifier(self.dropout(x))
        if self.neutral is None:
            return outputs
        # log p(neutral), and log p(not neutral) + log p(emotion | not neutral): cross-entropy of
        # these is the sum of both steps' cross-entropies.
        neutral, other = outputs[:, :2].log_softmax(dim=1).unbind(1)
        emotions = outputs[:, 2:].log_softmax(dim=1) + other[:, None]
        before, after = emotions[:, : self.neutral], emotions[:, self.neutral :]
        return torch.cat([before, neutral[:, None], after], dim=1)

    def decide(self, logits: Tensor, real: Tensor) -> Tensor:
        pooled = super().decide(logits, real)
        if self.neutral is None or self.training:
            return pooled
        # Logits of which the first step's winner is the highest: neutral against its threshold,
        # and the likeliest emotion, whose share of the rest must not count, against the other side.
        log_p = pooled.log_softmax(dim=1)
        neutral = log_p[:, self.neutral]
        other = torch.cat([log_p[:, : self.neutral], log_p[:, self.neutral + 1 :]], dim=1)
        share = other.logsumexp(dim=1) - other.amax(dim=1) - torch.log1p(-self.threshold)
        other = other + share[:, None]
        neutral = neutral - self.threshold.log()
        return torch.cat(
            [other[:, : self.neutral], neutral[:, None], other[:, self.neutral :]], dim=1
        )

    @torch.no_grad()
    def fit_decision(self, train: LabelledClips, valid: LabelledClips) -> None:
        """Choose the threshold with the highest UA on the validation clips; without any, 0.5."""
        if self.neutral is None or not valid:
            return
        self.eval()
        device = self.threshold.device
        truth = torch.tensor([label for _, label in valid])
        best = -1.0
        for threshold in torch.arange(0.05, 0.96, 0.05):
            before = self.threshold.clone()
            self.threshold.fill_(threshold)
            logits = [self(clip[None].to(device)) for clip, _ in valid]
            score = mean_recall(truth, torch.cat(logits).argmax(dim=1).cpu())
            if score > best:
                best = score
            else:
                self.threshold.copy_(before)


MODELS["satt2017"] = Satt2017  # 1,445,324 parameters for four classes
