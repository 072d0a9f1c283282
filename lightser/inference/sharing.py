"""Windows of one recording that overlap share frames of features, where the model allows.

A model computes frames of its samples, by a *front*, and its answer of those, by a *back*. Where
the frame of a stretch of samples is the same in every window that it lies in, as with a spectrum
that is not padded, it need be computed once only. Windows have frames in common if they begin on
the same grid of frames: at a frame every 256 samples and a window every second at 16 kHz (62.5
frames), every other one does.

The answers are those of the whole graph, to the last bit. That is not taken on trust: before a
model's frames are shared, it is tried out on noise for just the lengths that will be asked for.
Whether numbers are added in another order depends on these lengths and on the machine, but not on
the numbers, so what holds for noise holds for speech.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property, lru_cache
from itertools import islice
from threading import Lock
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from lightser.inference.graphs import Graph, open_session
from lightser.inference.segments import Wave

Frames = NDArray[np.float32]  # [F, M]
Answer = NDArray[np.float64]  # [C] probabilities, or [P] values of an embedding

# After which a frame no longer depends on others: the back looks for the loudest in the window.
_LAST_OF_FRONT = "Log"

_SOME = 8  # frames, by which their size is found out

Given = TypeVar("Given")
Got = TypeVar("Got")


class Each(Protocol):
    """A ``map``, which may work on several at a time."""

    def __call__(
        self, function: Callable[[Given], Got], given: Iterable[Given], /
    ) -> Iterator[Got]: ...


class Halves:
    """A model in two: front, from samples to frames, and back, from frames to its answer.

    Args:
        model: its ONNX file.
        window: samples of the longest window.
        output: of the graph, that is the answer.

    Attributes:
        size: samples of a frame.
        hop: samples from one frame's start to the next.

    Raises:
        ValueError: it has no such halves, or its frames are not in a row, as long as each other.
        Exception: ONNX Runtime does not take them; it has a dozen kinds, with no common base.
    """

    def __init__(self, model: bytes, window: int, output: str):
        graph = Graph(model)
        logs = [node.outputs[0] for node in graph.nodes if node.op_type == _LAST_OF_FRONT]
        if len(logs) != 1:
            raise ValueError(f"{len(logs)} nodes of {_LAST_OF_FRONT}; expected one")
        self._frames = logs[0]
        self._front = open_session(graph.extract(["samples"], self._frames))
        self._back = open_session(graph.extract(["samples", self._frames], output))
        self._taken = [given.name for given in self._back.get_inputs()]
        # Not the first two: audio shorter than a frame need not give none.
        some = self._least_of(_SOME, window)
        self.hop = self._least_of(_SOME + 1, window) - some
        self.size = some - (_SOME - 1) * self.hop
        if self.hop < 1 or self.size < 1:
            raise ValueError(f"frames of {self.size} samples, every {self.hop}")

    def frames(self, wave: Wave) -> Frames:
        """Return ``[F, M]`` frames of ``[T]`` samples."""
        (frames,) = self._front.run(None, {"samples": wave[None]})
        found: Frames = np.asarray(frames)
        if found.ndim != 3:
            raise ValueError(f"frames of shape {found.shape}; expected [1, F, M]")
        alone: Frames = found[0]
        return alone

    def answer(self, wave: Wave, frames: Frames) -> Answer:
        """Return the answer for a window ``[T]``, whose frames ``[F, M]`` are known."""
        known = {"samples": wave[None], self._frames: frames[None]}
        (answer,) = self._back.run(None, {name: known[name] for name in self._taken})
        return np.asarray(answer[0], dtype=np.float64)

    def count(self, samples: int) -> int:
        """Return the frames of so many samples."""
        return (samples - self.size) // self.hop + 1

    def step(self, hop: int) -> int:
        """Return the frames from a window to the next one on its grid, with a window each ``hop``.

        The samples in between are the least multiple of both hops.
        """
        return math.lcm(hop, self.hop) // self.hop

    def prove(self, window: int, step: int, ask: Callable[[Wave], Answer]) -> bool:
        """Return whether windows can share frames and be answered as the whole graph does.

        Args:
            window: samples.
            step: frames from one window to the next.
            ask: gives the answer of the whole graph for a window.
        """
        rng = np.random.default_rng(0)
        length = window + step * self.hop
        loudness = np.exp(rng.uniform(-12, 0, length // 1_000 + 1)).repeat(1_000)[:length]
        # Only the first window has this, so frames that depend on its level are found out, even
        # those of a model that limits to full scale.
        loudness[: step * self.hop] *= 100
        noise = (loudness * rng.uniform(-1, 1, length)).astype(np.float32)
        first, second = noise[:window], noise[-window:]
        n = self.count(window)
        known, whole = self.frames(first), self.frames(second)
        blocks = [self.frames(block) for block in self.blocks(second, n // step, step)]
        return (
            len(known) == n
            and _same(known[step:], whole[: n - step])
            and _same(np.concatenate(blocks), whole[n % step :])
            and _same(self.answer(second, whole), ask(second))
        )

    def blocks(self, window: Wave, n: int, step: int) -> list[Wave]:
        """Return the samples ``[T]`` of the last ``n`` times ``step`` frames of a window.

        Frames come in blocks of one size, since how numbers are added up can depend on it.
        """
        start = (self.count(len(window)) - n * step) * self.hop
        length, stride = (step - 1) * self.hop + self.size, step * self.hop
        return [window[start + i * stride :][:length] for i in range(n)]

    def _least_of(self, n: int, most: int) -> int:
        """Return the least number of samples that gives ``n`` frames."""
        low, high = 0, 1  # too few, and perhaps enough
        while not self._gives(n, high):
            low, high = high, 2 * high
            if low > most:
                raise ValueError(f"{most} samples give fewer than {n} frames")
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._gives(n, middle) else (middle, high)
        return high

    def _gives(self, n: int, samples: int) -> bool:
        try:
            frames = self.frames(np.zeros(samples, np.float32))
        except Exception:  # too short for ONNX Runtime
            return False
        return len(frames) >= n


def _same(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Return whether two arrays are the same to the last bit."""
    return one.shape == other.shape and one.tobytes() == other.tobytes()


class Neighbours:
    """The windows of one recording, of which each frame is computed once.

    Args:
        halves: of the model, proved for these windows.
        window: samples.
        hop: samples from the start of one window to the next.
        each: by which halves are run on several stretches.
        at_once: windows whose frames are computed before the first of them is answered.
        finish: gives ``[C]`` probabilities out of the model's answer.

    Holds, for each grid that windows begin on, the frames that its next window has in common with
    its last.
    """

    def __init__(
        self,
        halves: Halves,
        window: int,
        hop: int,
        *,
        each: Each,
        at_once: int,
        finish: Callable[[Answer], Answer],
    ):
        self._halves, self._each, self._at_once, self._finish = halves, each, at_once, finish
        self._n, self._step = halves.count(window), halves.step(hop)
        self._asked: dict[int, int] = {}  # by grid: the last window's start
        self._kept: dict[int, Frames] = {}  # by grid: the last window's frames, but the first ones

    def answers(self, windows: Iterable[tuple[int, Wave]]) -> Iterator[Answer]:
        """Yield ``[C]`` probabilities of each window ``[T]``, which comes with its first sample.

        Windows come in order; some may be left out.
        """
        windows = iter(windows)
        while some := list(islice(windows, self._at_once)):
            missing = [self._missing(*window) for window in some]
            fresh = self._each(self._halves.frames, [part for parts in missing for part in parts])
            known = [
                (window, self._whole(start, list(islice(fresh, len(parts)))))
                for (start, window), parts in zip(some, missing, strict=True)
            ]
            yield from self._each(lambda each: self._finish(self._halves.answer(*each)), known)

    def _missing(self, start: int, window: Wave) -> list[Wave]:
        """Return the stretches of a window of which the frames are not known."""
        hop, step = self._halves.hop, self._step
        grid = start % hop
        before, self._asked[grid] = self._asked.get(grid), start
        if before is None or (new := (start - before) // hop) >= self._n:
            return [window]
        return self._halves.blocks(window, new // step, step)

    def _whole(self, start: int, fresh: list[Frames]) -> Frames:
        """Return the frames ``[F, M]`` of a window, with those that are known."""
        grid = start % self._halves.hop
        n_fresh = sum(map(len, fresh))
        if n_fresh < self._n:
            known = self._kept[grid][n_fresh - self._n :]
            fresh = [known, *fresh]
        frames = np.concatenate(fresh)
        self._kept[grid] = frames[self._step :].copy()  # without it, all would be held
        return frames


class Sharing:
    """Whether windows of one model can share frames: found out when it is first asked.

    Args:
        read: gives the model's ONNX file.
        ask: gives the answer of the whole graph for a window.
        most: samples of the longest window.
        output: of the graph, that is the answer.

    It may be shared by threads.
    """

    def __init__(
        self, read: Callable[[], bytes], ask: Callable[[Wave], Answer], most: int, output: str
    ):
        self._read, self._ask, self._most, self._output = read, ask, most, output
        self._lock = Lock()
        self._proved = lru_cache(maxsize=64)(self._prove)

    def halves(self, window: int, hop: int) -> Halves | None:
        """Return the halves of the model, if windows of so many samples, so far apart, can share.

        None if they cannot, or have nothing to share.
        """
        with self._lock:
            halves = self._halves
            if halves is None or (step := halves.step(hop)) >= halves.count(window):
                return None
            return halves if self._proved(window, step) else None

    @cached_property
    def _halves(self) -> Halves | None:
        try:
            return Halves(self._read(), self._most, self._output)
        except Exception:  # then windows are put to the whole graph, which gives the same answers
            return None

    def _prove(self, window: int, step: int) -> bool:
        assert self._halves is not None
        try:
            return self._halves.prove(window, step, self._ask)
        except Exception:  # as above
            return False
