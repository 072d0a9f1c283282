"""One channel out of many: their mean, unless they cancel each other.

Where they do (one was wired the wrong way round, so that the mean is near silence), the loudest is
kept from there on. What comes out depends on the audio alone and not on how it was cut, so that a
file and a stream of the same recording are the same, to the last bit.

Shapes: N samples of a chunk, C channels.
"""

import warnings
from collections import deque
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lightser.audio.files import SILENCE
from lightser.audio.resampler import Samples
from lightser.errors import LightserWarning

STEP_S = 0.1  # by which it is decided, and a live stream of several channels waits
MEMORY_S = 1.0  # that it is decided by; so long is the first step

# Of the power that the mean of channels with nothing in common has.
_SHARE = 0.1


def warn(message: str) -> None:
    """Say what did not stop us."""
    warnings.warn(message, LightserWarning, stacklevel=2)


class Downmix:
    """Take chunks ``[N, C]`` of a recording as they come, and give one channel ``[n]``.

    Args:
        rate: hertz.
        name: of the recording, by which it is spoken of.
        warn: is called with a sentence where channels cancel each other.

    >>> mix = Downmix(8_000, "call.wav")
    >>> len(mix(np.ones((8_100, 2), np.float32))), len(mix.flush())
    (8000, 100)
    """

    def __init__(self, rate: int, name: str, warn: Callable[[str], None] = warn):
        self._rate, self._name, self._warn = rate, name, warn
        self._step = max(round(STEP_S * rate), 1)
        self._begin(1)

    def _begin(self, channels: int) -> None:
        self._held: Samples = np.zeros((0, channels), np.float32)  # of the step that is under way
        self._due = max(round(MEMORY_S * self._rate), 1)  # samples of it
        self._at = 0  # sample of the recording that it begins with
        self._kept: int | None = None  # channel
        # Of each step that is remembered: samples, energy of the mean, and of each channel.
        self._steps: deque[tuple[int, float, NDArray[np.float64]]]
        self._steps = deque(maxlen=round(MEMORY_S / STEP_S))

    def __call__(self, chunk: Samples) -> Samples:
        """Take the next samples; return what is certain by now."""
        if chunk.shape[1] == self._held.shape[1] == 1:
            return chunk[:, 0]
        parts: list[Samples] = []
        if chunk.shape[1] != self._held.shape[1]:
            parts.append(self.flush())
            self._begin(chunk.shape[1])
        held, at = np.concatenate([self._held, chunk]) if len(self._held) else chunk, 0
        while self._goes_on(held) and len(held) - at >= self._due:
            parts.append(self._mix(held[at : at + self._due]))
            at, self._due = at + self._due, self._step
        if not self._goes_on(held):
            parts.append(held[at:, self._kept or 0])
            at = len(held)
        self._held = held[at:].copy()
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)

    def flush(self) -> Samples:
        """Return the rest; the next chunk begins another recording."""
        rest = self._mix(self._held) if len(self._held) else self._held[:, 0]
        self._begin(self._held.shape[1])
        return rest

    def _goes_on(self, samples: Samples) -> bool:
        """Return whether there is still something to decide."""
        return self._kept is None and samples.shape[1] > 1

    def _mix(self, step: Samples) -> Samples:
        # In double precision, so that equal channels give exactly themselves.
        mean: NDArray[np.float64] = step.mean(axis=1, dtype=np.float64)
        energies = np.square(step, dtype=np.float64).sum(axis=0)  # [C]
        self._steps.append((len(step), float(np.square(mean).sum()), energies))
        n = sum(samples for samples, _, _ in self._steps)
        of_mean = sum(energy for _, energy, _ in self._steps)
        of_each = np.sum([energies for _, _, energies in self._steps], axis=0)
        channels = step.shape[1]
        is_audible = of_each.max() > n * SILENCE**2
        # Channels that have nothing in common keep 1/C of their power in the mean.
        if is_audible and of_mean < _SHARE * of_each.mean() / channels:
            self._kept = int(of_each.argmax())
            self._warn(
                f"{self._name}: its {channels} channels cancel each other from about "
                f"{self._at / self._rate:.1f} s; only channel {self._kept + 1}, the loudest, is "
                "kept from there on"
            )
            return step[:, self._kept]
        self._at += len(step)
        return mean.astype(np.float32)


def mixed(samples: Samples, rate: int, name: str) -> Samples:
    """Return one channel ``[T]`` out of ``[T, C]``, as it is made of a file's."""
    mix = Downmix(rate, name)
    return np.concatenate([mix(samples), mix.flush()])
