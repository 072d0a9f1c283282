"""Our small network: three parallel paths that stride at once, then time alone.

From the papers' networks it has the three paths of Light-SERNet, over time, over frequency and over
both (Aftab et al. 2022), and the inverted residuals of Zhong et al. 2020. Otherwise than there the
first layer halves both axes and the bands become channels right behind it, so that nearly all
products are pointwise convolutions over some seventy steps of time, which is what processors and
microcontrollers are quick at: a tenth of Light-SERNet's work for three quarters of its parameters.

A recording's own colour is taken out first, by relaxed instance-frequency-wise normalisation (Kim,
Yang, Kim, Chang, "Domain Generalization with Relaxed Instance Frequency-wise Normalization for
Multi-device Acoustic Scene Classification", Interspeech 2022, https://arxiv.org/abs/2206.12513).

Shapes: B clips, F frames, M bands, N channels, S = F/2 steps, P = 2N values of the embedding, C
classes.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from lightser.models import MODELS
from lightser.models.embedding import EmbeddingNorm
from lightser.models.masking import average_pool, frame_mask, silence_padding

KERNELS = ((9, 1), (1, 9), (3, 3))  # time, frequency, both
KERNEL = 7  # steps that a residual sees
HALVED_BEFORE = 2  # the residual before which time is halved once more
LEAST_VARIANCE = 1e-3  # of features between 0 and 1: silence is not blown up


class RelaxedNorm(nn.Module):
    """Standardise each clip by itself, ``[B, F, M]``: partly as a whole, partly each band alone.

    Args:
        relaxation: share of what is standardised as a whole; 1 leaves the microphone's colour as it
            is, 0 leaves nothing of the mean spectrum, of which some is the voice's.
    """

    def __init__(self, relaxation: float):
        super().__init__()
        if not 0 <= relaxation <= 1:
            raise ValueError(f"relaxation must be from 0 to 1, not {relaxation:g}")
        self.relaxation = relaxation

    def forward(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        if lengths is None:
            mean = features.mean(dim=1, keepdim=True)  # [B, 1, M]
            square = (features * features).mean(dim=1, keepdim=True)
        else:
            mask = frame_mask(lengths, features.shape[1])[..., None] / lengths[:, None, None]
            mean = (features * mask).sum(dim=1, keepdim=True)
            square = (features * features * mask).sum(dim=1, keepdim=True)
        # Both statistics come from the same two sums, which a stream of frames can keep.
        whole_mean, whole_square = mean.mean(dim=2, keepdim=True), square.mean(dim=2, keepdim=True)
        by_band = self._scale(mean, square)
        whole = self._scale(whole_mean, whole_square)
        share = self.relaxation
        offset = share * whole * whole_mean + (1 - share) * by_band * mean
        return features * (share * whole + (1 - share) * by_band) - offset

    @staticmethod
    def _scale(mean: Tensor, square: Tensor) -> Tensor:
        variance = (square - mean * mean).clamp(min=0)
        return (variance + LEAST_VARIANCE).rsqrt()


class InvertedResidual(nn.Module):
    """Widen, convolve each channel over time, narrow, and add what came in: ``[B, N, S, 1]``.

    Sandler, Howard, Zhu, Zhmoginov, Chen, "MobileNetV2: Inverted Residuals and Linear Bottlenecks",
    CVPR 2018.
    """

    def __init__(self, n: int, kernel: int, expansion: int):
        super().__init__()
        wide = n * expansion
        self.expand = nn.Conv2d(n, wide, 1, bias=False)
        self.expand_norm = nn.BatchNorm2d(wide)
        self.depthwise = nn.Conv2d(
            wide, wide, (kernel, 1), padding=(kernel // 2, 0), groups=wide, bias=False
        )
        self.depthwise_norm = nn.BatchNorm2d(wide)
        self.project = nn.Conv2d(wide, n, 1, bias=False)
        self.project_norm = nn.BatchNorm2d(n)

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        h = functional.relu(self.expand_norm(self.expand(x)))
        h = functional.relu(self.depthwise_norm(self.depthwise(silence_padding(h, lengths))))
        return x + self.project_norm(self.project(h))  # type: ignore[no-any-return]


class LightserSmall(nn.Module):
    """The network, for features of any length, ``[B, F, M]`` to logits ``[B, C]``.

    Args:
        n_classes: emotions.
        n_bands: M, an even number.
        channels: N.
        stem: channels of each path.
        expansion: how much wider the inside of a residual is.
        relaxation: see :class:`RelaxedNorm`.
        dropout: before the classifier.
    """

    min_frames = 4

    def __init__(
        self,
        n_classes: int,
        n_bands: int = 64,
        *,
        channels: int = 128,
        stem: int = 8,
        expansion: int = 2,
        relaxation: float = 0.5,
        dropout: float = 0.3,
    ):
        super().__init__()
        if n_bands % 2:
            raise ValueError(
                f"the bands are halved, so that their number must be even, not {n_bands}"
            )
        self.normalize = RelaxedNorm(relaxation)
        self.paths = nn.ModuleList(
            nn.Conv2d(1, stem, k, (2, 2), (k[0] // 2, k[1] // 2), bias=False) for k in KERNELS
        )
        self.paths_norm = nn.BatchNorm2d(3 * stem)
        self.bands = nn.Conv2d(3 * stem * (n_bands // 2), channels, 1, bias=False)
        self.bands_norm = nn.BatchNorm2d(channels)
        self.body = nn.ModuleList(InvertedResidual(channels, KERNEL, expansion) for _ in range(4))
        self.attention = nn.Sequential(nn.Conv2d(channels, 32, 1), nn.ReLU(), nn.Conv2d(32, 1, 1))
        self.pooled_norm = nn.BatchNorm1d(2 * channels, affine=False)
        self.embedding = EmbeddingNorm(2 * channels)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(2 * channels, n_classes)

    def forward_features(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the embedding ``[B, P]``: mean and deviation over time, weighted by attention."""
        x = silence_padding(self.normalize(features, lengths)[:, None], lengths)
        x = torch.cat([path(x) for path in self.paths], dim=1)  # [B, 3 stem, S, M/2]
        lengths = None if lengths is None else (lengths + 1) // 2
        x = functional.relu(self.paths_norm(x))
        # Band after band: the order of memory where channels come last, and free there.
        x = x.permute(0, 3, 1, 2).flatten(1, 2)[..., None]  # [B, 3 stem · M/2, S, 1]
        x = functional.relu(self.bands_norm(self.bands(x)))  # [B, N, S, 1]
        for i, block in enumerate(self.body):
            if i == HALVED_BEFORE:
                x = average_pool(silence_padding(x, lengths), lengths, (2, 1))
                lengths = None if lengths is None else -(-lengths // 2)
            x = block(x, lengths)
        score = self.attention(x).squeeze(3).float()  # [B, 1, S/2]
        if lengths is not None:
            beyond = frame_mask(lengths, score.shape[2])[:, None] == 0
            score = score.masked_fill(beyond, -torch.inf)
        return self.pooled_norm(_attended(x.squeeze(3).float(), score.softmax(dim=2)))  # type: ignore[no-any-return]

    def forward(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        x = self.embedding(self.forward_features(features, lengths))
        return self.classifier(self.dropout(x))  # type: ignore[no-any-return]


def _attended(x: Tensor, weights: Tensor) -> Tensor:
    """Return mean and deviation ``[B, 2N]`` of ``[B, N, S]`` under weights ``[B, 1, S]``.

    Okabe, Koshinaka, Shinoda, "Attentive Statistics Pooling for Deep Speaker Embedding",
    Interspeech 2018, https://arxiv.org/abs/1803.10963.
    """
    mean = (x * weights).sum(dim=2, keepdim=True)
    variance = ((x - mean).square() * weights).sum(dim=2)
    return torch.cat([mean.squeeze(2), (variance + 1e-4).sqrt()], dim=1)


MODELS["lightser_small"] = LightserSmall
