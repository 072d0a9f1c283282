"""Four wide convolutions side by side on a mel spectrogram, each pooled to its four quarters.

Yenigalla, Kumar, Tripathi, Singh, Kar, Vepa, "Speech Emotion Recognition Using Spectrogram &
Phoneme Embedding", Interspeech 2018, https://doi.org/10.21437/Interspeech.2018-1811: the model that
hears the spectrogram alone.

Shapes: B clips, F frames, M mel bands, C classes.
"""

import torch
from torch import Tensor, nn

from lightser.models import MODELS
from lightser.models.embedding import EmbeddingNorm

# Time × frequency; the paper writes frequency first.
KERNELS = ((16, 12), (24, 18), (32, 24), (40, 30))


class Yenigalla2018(nn.Module):
    """The network, for images of ``mel_image``, ``[B, F, M]`` to logits ``[B, C]``.

    All clips have the same number of frames (the front end crops and fills up), so ``lengths`` say
    nothing that the features do not. The stride is not in the paper; it changes no parameter, and
    makes kernels of 1,200 taps affordable.

    Args:
        n_classes: emotions.
        n_bands: M, at least 60 with the published kernels.
        n_kernels: of each size.
        stride: in time and frequency.
        dropout: behind the first dense layer.
    """

    def __init__(
        self,
        n_classes: int,
        n_bands: int = 128,
        *,
        n_kernels: int = 200,
        stride: int = 4,
        dropout: float = 0.5,
    ):
        super().__init__()
        if (n_bands - KERNELS[-1][1]) // stride + 1 < 2:
            raise ValueError(f"{n_bands} bands are too few for the kernel of {KERNELS[-1][1]}")
        self.min_frames = KERNELS[-1][0] + stride  # two steps of the longest kernel
        self.branches = nn.ModuleList(
            nn.Conv2d(1, n_kernels, kernel, stride=stride) for kernel in KERNELS
        )
        self.hidden = nn.Linear(4 * n_kernels * len(KERNELS), 400)
        self.norm = nn.BatchNorm1d(400)
        self.dropout = nn.Dropout(dropout)
        self.second = nn.Linear(400, 200)
        self.embedding = EmbeddingNorm(200)
        self.classifier = nn.Linear(200, n_classes)

    def forward_features(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the embedding ``[B, 200]``."""
        quarters = []
        for branch in self.branches:
            x = nn.functional.relu(branch(features[:, None]))
            half = (x.shape[2] // 2, x.shape[3] // 2)
            quarters.append(nn.functional.max_pool2d(x, half).flatten(1))  # [B, 4 kernels]
        x = nn.functional.relu(self.norm(self.hidden(torch.cat(quarters, dim=1))))
        return nn.functional.relu(self.second(self.dropout(x)))

    def forward(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        x = self.embedding(self.forward_features(features, lengths))
        logits: Tensor = self.classifier(x)
        return logits


MODELS["yenigalla2018"] = Yenigalla2018  # 1,881,404 parameters for four classes
