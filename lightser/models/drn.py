"""A dilated residual network and self-attention over time. A reconstruction.

After Li, Wu, Jia, Zhao, Meng, "Dilated Residual Network with Multi-head Self-attention for Speech
Emotion Recognition", ICASSP 2019, https://doi.org/10.1109/ICASSP.2019.8682154, of which the layer
table was not to be had. What the abstract says (a dilated residual network that keeps resolution in
time, then multi-head self-attention) is filled in after Yu, Koltun, Funkhouser, "Dilated Residual
Networks", CVPR 2017, https://arxiv.org/abs/1705.09914, and sized to the quoted "9.9".

Shapes: B clips, F frames, M features of a frame, W width, C classes.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from lightser.models import MODELS
from lightser.models.acrnn3d import fold_channels
from lightser.models.embedding import EmbeddingNorm
from lightser.models.masking import frame_mask, silence_padding


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut; padded frames are zero on the way in and out."""

    def __init__(self, n_in: int, n_out: int, *, stride: tuple[int, int], dilation: int):
        super().__init__()
        self.first = nn.Conv2d(
            n_in, n_out, 3, stride=stride, padding=dilation, dilation=dilation, bias=False
        )
        self.first_norm = nn.BatchNorm2d(n_out)
        self.second = nn.Conv2d(n_out, n_out, 3, padding=dilation, dilation=dilation, bias=False)
        self.second_norm = nn.BatchNorm2d(n_out)
        self.shortcut: nn.Module = nn.Identity()
        if n_in != n_out or stride != (1, 1):
            self.shortcut = nn.Sequential(
                nn.Conv2d(n_in, n_out, 1, stride=stride, bias=False), nn.BatchNorm2d(n_out)
            )
        for convolution in (self.first, self.second):
            nn.init.kaiming_normal_(convolution.weight)

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        y = nn.functional.relu(self.first_norm(self.first(x)))
        y = self.second_norm(self.second(silence_padding(y, lengths)))
        return silence_padding(nn.functional.relu(y + self.shortcut(x)), lengths)


class DilatedResidualNetwork(nn.Module):
    """The network, for features of ``three_channel`` of any length, ``[B, F, M]`` to ``[B, C]``.

    Args:
        n_classes: emotions.
        n_bands: M, ``channels`` times the mel bands.
        width: W of the first group; the others have 2, 4 and 8 times as many channels.
        blocks: residual blocks of each group. The default is 9.87 M parameters, the quoted size
            read as a count; ``width = 28``, ``blocks = [2, 2, 2, 2]``, ``projection = false``,
            ``feed_forward = 448`` is 9.72 MiB, read as megabytes.
        projection: whether a linear layer stands before the attention.
        heads: of the attention.
        feed_forward: units of the encoder's hidden layer; None is four times its width.
        channels: static, delta, delta-delta.
        dropout: before the classifier; inside the attention layer it is 0.1.
    """

    min_frames = 1

    def __init__(
        self,
        n_classes: int,
        n_bands: int = 120,
        *,
        width: int = 64,
        blocks: Sequence[int] = (2, 2, 2, 1),
        projection: bool = True,
        heads: int = 8,
        feed_forward: int | None = None,
        channels: int = 3,
        dropout: float = 0.3,
    ):
        super().__init__()
        if n_bands % channels:
            raise ValueError(
                f"{n_bands} features a frame are not {channels} channels of equal size"
            )
        self.channels = channels
        self.stem = nn.Conv2d(channels, width, 7, stride=(2, 1), padding=3, bias=False)
        self.stem_norm = nn.BatchNorm2d(width)
        nn.init.kaiming_normal_(self.stem.weight)
        layers = []
        n_in = width
        # Stride would lose time; from the third group on, dilation widens what a unit sees.
        for group, (n_blocks, stride, dilation) in enumerate(
            zip(blocks, ((1, 1), (1, 2), (1, 1), (1, 1)), (1, 1, 2, 4), strict=True)
        ):
            for block in range(n_blocks):
                n_out = width * 2**group
                step = stride if block == 0 else (1, 1)
                layers.append(BasicBlock(n_in, n_out, stride=step, dilation=dilation))
                n_in = n_out
        self.blocks = nn.ModuleList(layers)
        self.projection = nn.Linear(n_in, n_in) if projection else nn.Identity()
        self.encoder = nn.TransformerEncoderLayer(
            n_in,
            heads,
            dim_feedforward=feed_forward or 4 * n_in,
            dropout=0.1,
            batch_first=True,
            norm_first=True,
        )
        self.embedding = EmbeddingNorm(n_in)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(n_in, n_classes)

    def forward_features(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the embedding ``[B, 8W]``."""
        x = fold_channels(features, self.channels)  # [B, channels, F, bands]
        x = self.stem(silence_padding(x, lengths))  # [B, W, F/2, bands]
        lengths = None if lengths is None else -(-lengths // 2)
        x = silence_padding(nn.functional.relu(self.stem_norm(x)), lengths)
        for block in self.blocks:
            x = block(x, lengths)
        x = self.projection(x.mean(dim=3).transpose(1, 2))  # [B, F/2, 8W]
        encoded: Tensor
        if lengths is None:
            encoded = self.encoder(x)
            return encoded.mean(dim=1)
        mask = frame_mask(lengths, x.shape[1])
        encoded = self.encoder(x, src_key_padding_mask=mask == 0)
        return (encoded * mask[..., None]).sum(dim=1) / lengths[:, None]

    def forward(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        x = self.embedding(self.forward_features(features, lengths))
        logits: Tensor = self.classifier(self.dropout(x))
        return logits


MODELS["drn"] = DilatedResidualNetwork  # 9,872,964 parameters for four classes
