"""Light-SERNet frame by frame: each layer remembers the few rows that the next chunk needs.

The network pools time five times by two, so 32 new frames make one new column in front of the
average at its end; earlier columns never change. A chunk is therefore computed once, from its own
frames and what each convolution has kept of the rows before (line buffers), and every column equals
the one that the network gives for the whole recording at once: zeros stand before its first row and
behind its last, not between chunks.

What is left of the recording is in the average: here, over the last ``columns`` columns. A column
comes two chunks after its own, because it also sees what follows.

Shapes: M bands, R rows of time, K columns, C classes. A chunk is one clip, [1, 32, M].
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from lightser.export.fold import fold_batch_norms
from lightser.models.light_sernet import Block, LightSernet
from lightser.training.system import System

CHUNK = 32  # frames; the pooling of all layers together
LATE = 2  # chunks, until a column is whole
ENDLESS = 2**31 - 1  # frames of a stream that goes on


@dataclass(frozen=True)
class Turn:
    """How a convolution is moved along a stream.

    Attributes:
        early: rows that its input comes late by.
        reach: rows that it sees to each side.
        late: rows that its output comes late by: even, so that pooling finds its pairs.
    """

    early: int
    reach: int

    @property
    def late(self) -> int:
        return (self.early + self.reach + 1) // 2 * 2

    @property
    def kept(self) -> int:
        """Rows of the input that are needed again."""
        return self.late + self.reach - self.early


class StreamingLightSernet(nn.Module):
    """A chunk of features and what was kept to probabilities and what is to be kept.

    Args:
        system: with a Light-SERNet; it is not changed.
        columns: that the answer is the average of, the newest ones.
    """

    def __init__(self, system: System, columns: int):
        super().__init__()
        system = fold_batch_norms(system)
        assert isinstance(system.network, LightSernet)
        self.standardize, self.network = system.standardize, system.network
        self.n_bands: int = system.frontend.n_bands  # type: ignore[assignment]
        self.temperature, self.columns = system.temperature, columns
        turns = [Turn(0, max(_reach(path) for path in self._paths()))]
        for block in self._body()[:-1]:
            turns.append(Turn(turns[-1].late // 2, _reach(block)))
        self.turns = tuple(turns)
        assert turns[-1].late // 2 == LATE and _reach(self._body()[-1]) == 0

    def start(self) -> tuple[Tensor, ...]:
        """Return what is kept before the first chunk: nothing but zeros."""
        n_bands, kept = self.n_bands, []
        for turn, (layer, *_) in zip(self.turns, self._layers(), strict=True):
            assert layer.pool is not None
            n_channels = layer.convolution.in_channels
            kept.append(torch.zeros(1, n_channels, turn.kept, n_bands))
            n_bands = -(-n_bands // layer.pool[1])
        size = self._body()[-1].convolution.out_channels
        return (*kept, torch.zeros(1, self.columns, size))

    def forward(
        self, features: Tensor, chunk: Tensor, end: Tensor, *kept: Tensor
    ) -> tuple[Tensor, ...]:
        """Hear a chunk.

        Args:
            features: ``[1, 32, M]``, as the front end gives them.
            chunk: ``[1]``, how many there were before.
            end: ``[1]``, frames of the whole recording; ENDLESS as long as it goes on. Chunks
                behind it, two to see all columns, may hold any finite numbers.
            kept: what the last call gave.

        Returns:
            Probabilities ``[1, C]`` of the columns so far, the newest ``columns`` of them, and what
            is to be kept. Before the first column is whole they mean nothing.
        """
        keep = []
        n_rows = CHUNK
        x = self.standardize(features)[:, None] * _there(chunk, n_rows, 0, end)
        for turn, layers, before in zip(self.turns, self._layers(), kept[:-1], strict=True):
            x = torch.cat([before, x], dim=2)
            keep.append(x[:, :, -turn.kept :])
            there = _there(chunk, n_rows, turn.late, end)
            x = torch.cat([_block(layer, x, turn, n_rows, there) for layer in layers], dim=1)
            n_rows, end = n_rows // 2, (end + 1) // 2
            x = x * _there(chunk, n_rows, turn.late // 2, end)
        last = self._body()[-1]
        column = torch.relu(last.convolution(x)).mean(dim=3).transpose(1, 2)  # [1, 1, N]
        columns = torch.cat([kept[-1][:, 1:], column], dim=1)
        number = chunk - LATE - torch.arange(self.columns - 1, -1, -1)
        there = ((number >= 0) & (number < end)).to(columns.dtype)[None, :, None]
        mean = (columns * there).sum(dim=1) / there.sum(dim=1).clamp(min=1)
        logits = self.network.classifier(mean) / self.temperature
        return (logits.softmax(dim=1), *keep, columns)

    def _layers(self) -> list[list[Block]]:
        return [self._paths(), *([block] for block in self._body()[:-1])]

    def _paths(self) -> list[Block]:
        return [cast(Block, path) for path in self.network.paths]

    def _body(self) -> list[Block]:
        return [cast(Block, block) for block in self.network.body]


def n_chunks(n_frames: int) -> int:
    """Return how many chunks are to be heard for all columns of a recording."""
    return -(-n_frames // CHUNK) + LATE


def in_chunks(features: Tensor) -> Sequence[Tensor]:
    """Return features ``[1, F, M]`` as chunks ``[1, 32, M]``, with zeros to the last one needed."""
    missing = n_chunks(features.shape[1]) * CHUNK - features.shape[1]
    whole = nn.functional.pad(features, (0, 0, 0, missing))
    return [whole[:, i : i + CHUNK] for i in range(0, whole.shape[1], CHUNK)]


def _reach(block: Block) -> int:
    return (block.convolution.kernel_size[0] - 1) // 2


def _block(block: Block, x: Tensor, turn: Turn, n_rows: int, there: Tensor) -> Tensor:
    """Convolve and pool; rows that are not there count for nothing."""
    convolution, reach = block.convolution, _reach(block)
    first = turn.reach - reach
    rows = x[:, :, first : first + n_rows + 2 * reach]
    sides = (0, (convolution.kernel_size[1] - 1) // 2)
    y = nn.functional.conv2d(rows, convolution.weight, convolution.bias, padding=sides)
    assert block.pool is not None
    y = nn.functional.avg_pool2d(
        torch.relu(y) * there, block.pool, ceil_mode=True, count_include_pad=False
    )
    share = nn.functional.avg_pool2d(there, (block.pool[0], 1))
    return y / share.clamp(min=0.5)


def _there(chunk: Tensor, n_rows: int, late: int, end: Tensor) -> Tensor:
    """Return ``[1, 1, R, 1]``, 1 for rows of the recording and 0 before and behind it."""
    row = chunk * n_rows - late + torch.arange(n_rows)
    return ((row >= 0) & (row < end)).float()[None, None, :, None]
