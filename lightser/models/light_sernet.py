"""Light-SERNet: three parallel convolution paths and a fully convolutional body.

Aftab, Morsali, Ghaemmaghami, Champagne, "Light-SERNet: A lightweight fully convolutional neural
network for speech emotion recognition", ICASSP 2022, https://arxiv.org/abs/2110.03435

Shapes: B clips, F frames, M bands, C classes.
"""

import torch
from torch import Tensor, nn

from lightser.models import MODELS
from lightser.models.embedding import EmbeddingNorm
from lightser.models.masking import average_pool, frame_mask, silence_padding


class Block(nn.Module):
    """Convolution, batch norm, ReLU and an optional average pooling: an LFLB of the paper.

    Padded frames, if lengths are given, are zero on the way in and on the way out.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        kernel: tuple[int, int],
        pool: tuple[int, int] | None,
        *,
        bias: bool,
        momentum: float,
    ):
        super().__init__()
        self.convolution = nn.Conv2d(n_in, n_out, kernel, padding="same", bias=bias)
        self.norm = nn.BatchNorm2d(n_out, eps=1e-3, momentum=momentum)
        self.pool = pool
        nn.init.xavier_uniform_(self.convolution.weight)
        if self.convolution.bias is not None:
            nn.init.zeros_(self.convolution.bias)

    def forward(self, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
        x = silence_padding(nn.functional.relu(self.norm(self.convolution(x))), lengths)
        if self.pool is None:
            return x, lengths
        x = average_pool(x, lengths, self.pool)
        return x, None if lengths is None else -(-lengths // self.pool[0])


class LightSernet(nn.Module):
    """The network of the paper, for features of any length, ``[B, F, M]`` to logits ``[B, C]``.

    Args:
        n_classes: emotions.
        n_bands: bands or coefficients of the features; the network is the same for any number.
        dropout: before the classifier.
        momentum: share of a new batch in the running statistics of batch norm. The published 0.01
            (TensorFlow's 0.99) leaves them near their start for hundreds of updates, which on a
            small corpus is the first fifteen epochs.
    """

    def __init__(
        self, n_classes: int, n_bands: int = 40, *, dropout: float = 0.3, momentum: float = 0.01
    ):
        super().__init__()
        self.min_frames = 1
        half = (2, 2)
        self.paths = nn.ModuleList(
            Block(1, 32, kernel, half, bias=True, momentum=momentum)
            for kernel in ((11, 1), (1, 9), (3, 3))  # time, frequency, both
        )
        self.body = nn.ModuleList(
            Block(n_in, n_out, kernel, pool, bias=False, momentum=momentum)
            for n_in, n_out, kernel, pool in (
                (96, 64, (3, 3), half),
                (64, 96, (3, 3), half),
                (96, 128, (3, 3), (2, 1)),  # from here on only time is pooled
                (128, 160, (3, 3), (2, 1)),
                (160, 320, (1, 1), None),
            )
        )
        self.embedding = EmbeddingNorm(320)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(320, n_classes)
        nn.init.xavier_uniform_(self.classifier.weight)
        nn.init.zeros_(self.classifier.bias)

    def forward_features(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the embedding ``[B, 320]``."""
        x = silence_padding(features[:, None], lengths)
        paths = [path(x, lengths) for path in self.paths]
        x, lengths = torch.cat([path[0] for path in paths], dim=1), paths[0][1]  # [B, 96, F/2, M/2]
        for block in self.body:
            x, lengths = block(x, lengths)
        x = x.mean(dim=3)  # [B, 320, F/16]
        if lengths is None:
            return x.mean(dim=2)
        mask = frame_mask(lengths, x.shape[2])[:, None]
        return (x * mask).sum(dim=2) / lengths[:, None]

    def forward(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        x = self.embedding(self.forward_features(features, lengths))
        return self.classifier(self.dropout(x))  # type: ignore[no-any-return]

    def penalized(self) -> list[nn.Parameter]:
        """Return the five body kernels, the only weights under the paper's L2 penalty (1e-6)."""
        return [block.convolution.weight for block in self.body]  # type: ignore[union-attr,misc]


MODELS["light_sernet"] = LightSernet  # 460,740 parameters for four classes, 461,703 for seven
