"""Separable convolution, inverted residuals, a shared-weight BiGRU and attention.

Zhong, Hu, Huang, Silamu, "A Lightweight Model Based on Separable Convolution for Speech Emotion
Recognition", Interspeech 2020, https://doi.org/10.21437/Interspeech.2020-2408

Shapes: B clips, F frames, M bands, C classes.
"""

import math
from typing import TypeVar

import torch
from torch import Tensor, nn

from lightser.models import MODELS
from lightser.models.embedding import EmbeddingNorm
from lightser.models.gru import BiGRU
from lightser.models.masking import Stacked, frame_mask, like_lengths, silence_padding

Size = TypeVar("Size", int, Tensor)


class InvertedResidual(nn.Module):
    """Expand by 1×1, filter by a depthwise 3×3, project linearly; add the input if ``skip``."""

    def __init__(self, n_in: int, n_wide: int, n_out: int, *, skip: bool):
        super().__init__()
        self.expand = nn.Conv2d(n_in, n_wide, 1)
        self.depthwise = nn.Conv2d(n_wide, n_wide, 3, padding=1, groups=n_wide, bias=False)
        self.project = nn.Conv2d(n_wide, n_out, 1)
        self.skip = skip
        for pointwise in (self.expand, self.project):
            nn.init.xavier_uniform_(pointwise.weight)
            nn.init.zeros_(pointwise.bias)  # type: ignore[arg-type]
        limit = math.sqrt(6 / (9 * n_wide + 9))  # a depthwise kernel counts all channels as inputs
        nn.init.uniform_(self.depthwise.weight, -limit, limit)

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        y: Tensor = nn.functional.relu(self.expand(x))
        y = nn.functional.relu(self.depthwise(silence_padding(y, lengths)))
        y = self.project(y)
        return x + y if self.skip else y


class Attention(nn.Module):
    """Weighted mean over time, ``[B, F, N]`` to ``[B, N]``: logits u·σ(w·h + b) (Eq. 1 and 2).

    The paper writes W·h; the authors' code squashes it first, which is what is done here.
    """

    def __init__(self, n: int):
        super().__init__()
        self.score = nn.Linear(n, 1)
        self.scale = nn.Parameter(torch.empty(1))
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.1)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        logits = self.scale * torch.sigmoid(self.score(x))  # [B, F, 1]
        if mask is not None:
            logits = logits.masked_fill(mask[..., None] == 0, -torch.inf)
        return (logits.softmax(dim=1) * x).sum(dim=1)


class Zhong2020(nn.Module):
    """The network of the paper, for log-mel of any length, ``[B, F, M]`` to logits ``[B, C]``.

    Args:
        n_classes: emotions.
        n_bands: mel bands.
        n_blocks: as the paper counts them: the first block, without a skip, is one of them.
        shared: whether both directions of the GRU use one set of weights.
        attention: False gives "No Attention" of Table 2. The paper feeds "the outputs of the
            Bi-RNN" to the next layer without saying how many become one; here it is the last state
            of both directions.
        pooling: ``"valid"`` reproduces the published parameter counts; ``"same"`` is what the
            released code does.
        masked: False is faithful: the attention also weighs the zero vectors behind a short clip,
            and padding leaks through the convolutions, so that an answer depends on the longest
            clip of the batch. True gives each clip the answer that it would get alone.
    """

    def __init__(
        self,
        n_classes: int,
        n_bands: int = 128,
        *,
        n_blocks: int = 4,
        shared: bool = True,
        attention: bool = True,
        pooling: str = "valid",
        masked: bool = False,
        dropout: float = 0.0,
    ):
        super().__init__()
        if pooling not in ("valid", "same"):
            raise ValueError(f"pooling must be 'valid' or 'same', not '{pooling}'")
        self.pooling, self.masked = pooling, masked
        self.min_frames = 7 if pooling == "valid" else 3
        self.stem = nn.Conv2d(1, 32, 3, stride=2)
        nn.init.xavier_uniform_(self.stem.weight)
        nn.init.zeros_(self.stem.bias)  # type: ignore[arg-type]
        self.first = InvertedResidual(32, 64, 64, skip=False)
        self.blocks = nn.ModuleList(
            InvertedResidual(64, 128, 64, skip=True) for _ in range(n_blocks - 1)
        )
        bands = self._pooled((n_bands - 3) // 2 + 1)
        self.gru = BiGRU(bands * 64, 128, shared=shared)
        self.attention = Attention(256) if attention else None
        self.dropout = nn.Dropout(dropout)
        self.hidden = nn.Linear(256, 64)
        self.prelu = nn.PReLU(64, init=0.0)
        self.embedding = EmbeddingNorm(64)
        self.classifier = nn.Linear(64, n_classes)
        for dense in (self.hidden, self.classifier):
            nn.init.xavier_uniform_(dense.weight)
            nn.init.zeros_(dense.bias)

    def _pooled(self, size: Size) -> Size:
        return (size - 3) // 2 + 1 if self.pooling == "valid" else -(-size // 2)

    def _pool(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        if self.pooling == "valid":
            return nn.functional.max_pool2d(x, 3, stride=2)
        # TensorFlow's "SAME" adds one cell after the last, and one before the first if their number
        # is odd. In masked mode both come after, or a clip's grid would shift with its neighbours.
        n_frames, n_bands = x.shape[2:]
        before, after = (0, 2) if self.masked else (n_frames % 2, 1)
        if lengths is not None:
            beyond = frame_mask(lengths, x.shape[2])[:, None, :, None] == 0
            x = x.masked_fill(beyond, -torch.inf)
        x = nn.functional.pad(x, (n_bands % 2, 1, before, after), value=-torch.inf)
        return nn.functional.max_pool2d(x, 3, stride=2)

    def _n_steps(self, n_frames: Size) -> Size:
        return self._pooled((n_frames - 3) // 2 + 1)

    def _steps(self, features: Tensor, lengths: Tensor | None, border: Tensor | None) -> Tensor:
        """Return what the GRU hears, ``[B, F/4, 64 M/4]``.

        Zeros follow a clip on the way in; beyond its border they also stand around each kernel.
        """
        x = self.stem(features[:, None])  # [B, 32, F/2, M/2]
        x = silence_padding(x, None if lengths is None else (lengths - 3) // 2 + 1)
        inner = None if border is None else (border - 3) // 2 + 1
        x = self._pool(self.first(nn.functional.relu(x), inner), inner)  # [B, 64, F/4, M/4]
        inner = None if border is None else self._n_steps(border)
        x = silence_padding(x, inner)
        for block in self.blocks:
            x = block(x, inner)
        steps: Tensor = x.permute(0, 2, 3, 1).flatten(2)
        return steps

    def _states_by_length(
        self, features: Tensor, lengths: Tensor, stacked: Stacked | None
    ) -> Tensor:
        """Return the GRU's states of a padded batch, with little work for what is padding.

        Clips of like length go together, cut where padding no longer reaches back into a clip:
        each 3×3 kernel of the blocks carries it one frame of four, where it is not masked.
        """
        n_frames = features.shape[1]
        reach = 0 if self.masked else 4 * (len(self.blocks) + 2)
        border = self._border(lengths, stacked)
        ascending, order = lengths.sort(stable=True)
        n_steps, most_steps = self._n_steps(ascending), self._n_steps(n_frames)
        groups = like_lengths(ascending.tolist()) if stacked is None else stacked.groups
        parts = []
        for group, (_, longest) in zip(
            torch.split(order, [size for size, _ in groups]), groups, strict=True
        ):
            beyond = max(0, n_frames - longest - reach) // 4 * 4  # fours keep the pooling's grid
            heard = features[group, : n_frames - beyond]
            x = self._steps(heard, lengths[group], None if border is None else border[group])
            if stacked is None:
                parts.append(x[frame_mask(self._n_steps(lengths[group]), x.shape[1]) == 1])
            else:
                parts.append(nn.functional.pad(x, (0, 0, 0, most_steps - x.shape[1])))
        if stacked is None:
            states = self.gru.of_rows(torch.cat(parts), n_steps, most_steps)
        else:
            states = self.gru(torch.cat(parts), n_steps)
        return states[order.argsort()]

    def _border(self, lengths: Tensor | None, stacked: Stacked | None) -> Tensor | None:
        """Return where each clip ends for kernels and attention; None where the batch does."""
        if self.masked:
            return lengths
        return None if stacked is None else stacked.extents

    def forward_features(
        self, features: Tensor, lengths: Tensor | None = None, stacked: Stacked | None = None
    ) -> Tensor:
        """Return the embedding ``[B, 64]``."""
        border = self._border(lengths, stacked)
        if lengths is None:
            x = self.gru(self._steps(features, None, None))
        else:
            x = self._states_by_length(features, lengths, stacked)
        if self.attention is not None:
            mask = None if border is None else frame_mask(self._n_steps(border), x.shape[1])
            x = self.attention(x, mask)
        else:
            forward, backward = x.chunk(2, dim=2)
            if lengths is None:
                last = forward[:, -1]
            else:
                clips = torch.arange(len(x), device=x.device)
                last = forward[clips, self._n_steps(lengths) - 1]
            x = torch.cat([last, backward[:, 0]], dim=1)  # each direction's last state
        embedding: Tensor = self.prelu(self.hidden(self.dropout(x)))
        return embedding

    def forward(
        self, features: Tensor, lengths: Tensor | None = None, stacked: Stacked | None = None
    ) -> Tensor:
        """Return logits ``[B, C]`` of clips ``[B, F, M]``, each true up to its length ``[B]``.

        Raises:
            NotImplementedError: a stack, where not masked and with ``pooling="same"``, whose grid
                depends on whether a batch has an odd number of frames.
        """
        if stacked is not None and self.pooling == "same" and not self.masked:
            raise NotImplementedError("pooling 'same', not masked, has a grid for each length")
        x = self.embedding(self.forward_features(features, lengths, stacked))
        logits: Tensor = self.classifier(x)
        return logits


MODELS["zhong2020"] = Zhong2020  # 835,590 + 17,728 (n_blocks - 1) parameters for four classes
