"""A small network on what the layers of Whisper's encoder say of a clip.

Shapes: B clips, F frames, L layers, P values of a layer, H hidden units, C classes.
"""

import torch
from torch import Tensor, nn

from lightser.features.whisper_encoder import VALUES
from lightser.models import MODELS
from lightser.models.embedding import EmbeddingNorm
from lightser.models.masking import frame_mask


class WhisperNetwork(nn.Module):
    """A weighted sum of the layers' pooled values, and a classifier, ``[B, F, L · P]`` to logits.

    A clip is one frame of the front end ``whisper_encoder``; several, such as of windows, are
    averaged. How much each layer counts is learned, as in Yang et al., "SUPERB: Speech processing
    Universal PERformance Benchmark", Interspeech 2021, https://arxiv.org/abs/2105.01051.

    Args:
        n_classes: emotions.
        n_bands: L · P.
        hidden: H, of one hidden layer; 0 is a linear classifier.
        dropout: before each layer.
    """

    min_frames = 1

    def __init__(
        self, n_classes: int, n_bands: int = 2 * VALUES, *, hidden: int = 0, dropout: float = 0.5
    ):
        super().__init__()
        if n_bands % VALUES:
            raise ValueError(f"{n_bands} features are not {VALUES} of each layer")
        self.layer_weights = nn.Parameter(torch.zeros(n_bands // VALUES))
        self.embedding = EmbeddingNorm(VALUES)
        self.dropout = nn.Dropout(dropout)
        self.classifier: nn.Module = nn.Linear(VALUES, n_classes)
        if hidden:
            self.classifier = nn.Sequential(
                nn.Linear(VALUES, hidden),
                nn.GELU(),
                nn.Dropout(dropout),
                nn.Linear(hidden, n_classes),
            )

    def forward_features(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the embedding ``[B, P]``."""
        if lengths is None:
            values = features.mean(dim=1)
        else:
            mask = frame_mask(lengths, features.shape[1])[..., None]
            values = (features * mask).sum(dim=1) / lengths[:, None]
        layers = values.unflatten(1, (-1, VALUES))  # [B, L, P]
        return (layers * self.layer_weights.softmax(dim=0)[:, None]).sum(dim=1)

    def forward(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        x = self.embedding(self.forward_features(features, lengths))
        return self.classifier(self.dropout(x))  # type: ignore[no-any-return]


MODELS["whisper_encoder"] = WhisperNetwork
