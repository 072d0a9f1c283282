"""Windows of one length, asked about together, though they may come from many clips."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from lightser.errors import LightserError
from lightser.inference.segments import Wave

About = TypeVar("About")

# Windows that may wait for others of their length, in batches.
_PATIENCE = 4


@dataclass
class Clip(Generic[About]):
    """A clip whose windows are on their way.

    Attributes:
        about: what its owner knows it by.
        end: seconds that it lasts, or why it cannot be heard to its end; None before.
        windows: that were handed in.
        unanswered: of them.
        total: sum of the answers, ``[C]``.
    """

    about: About
    end: float | LightserError | None = None
    windows: int = 0
    unanswered: int = 0
    total: NDArray[np.float64] | float = 0.0

    @property
    def is_done(self) -> bool:
        """Whether nothing more is to come."""
        return isinstance(self.end, LightserError) or (self.end is not None and not self.unanswered)


class Batches(Generic[About]):
    """Windows wait until ``size`` of their length have come, or until too many wait.

    Args:
        ask: what the model says of windows ``[B, T]``: ``[B, C]``.
        size: the largest ``B``.
    """

    def __init__(self, ask: Callable[[Wave], NDArray[np.float64]], size: int):
        self._ask, self._size = ask, size
        self._waiting: dict[int, list[tuple[Clip[About], Wave]]] = {}  # by length
        self._clips: deque[Clip[About]] = deque()

    def open(self, about: About) -> Clip[About]:
        """Return a new clip, which will leave after those before it."""
        clip = Clip(about)
        self._clips.append(clip)
        return clip

    def add(self, clip: Clip[About], window: Wave) -> None:
        """Hand in the next window ``[T]`` of a clip; the model may be asked now."""
        clip.windows += 1
        clip.unanswered += 1
        group = self._waiting.setdefault(len(window), [])
        group.append((clip, window))
        if len(group) == self._size:
            self._answer(len(window))
        elif sum(map(len, self._waiting.values())) > _PATIENCE * self._size:
            self._answer(next(iter(self._waiting)))  # whose first has waited longest

    def done(self, *, at_last: bool = False) -> Iterator[Clip[About]]:
        """Yield the clips that are done, and before all that are not.

        Args:
            at_last: whether no window is to wait for others any more.
        """
        while at_last and self._waiting:
            self._answer(next(iter(self._waiting)))
        while self._clips and self._clips[0].is_done:
            yield self._clips.popleft()

    def _answer(self, length: int) -> None:
        group = self._waiting.pop(length)
        answers = self._ask(np.stack([window for _, window in group]))
        for (clip, _), answer in zip(group, answers, strict=True):
            clip.total = clip.total + answer
            clip.unanswered -= 1
