"""A label that does not flicker: probabilities smoothed over time, and hysteresis in the decision.

Neighbouring windows of a recording are cut from the same voice, but a word more or less can move
the likeliest emotion back and forth. Smoothing averages over the last seconds; hysteresis asks a
new emotion to be ahead by a margin before it takes over.

Shapes: C labels.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightser.errors import LightserError


@dataclass(frozen=True)
class Smoothing:
    """How labels are smoothed.

    Attributes:
        time_s: seconds after which a change of probabilities has come through by 1 - 1/e = 63 %;
            0 smooths nothing. It is a time and not a number of windows, so that another hop gives
            the same smoothness.
        margin: by how much the smoothed probability of another label must exceed that of the
            present one to replace it; 0 is no hysteresis.

    The defaults are chosen on joined recordings, see ``benchmarks/segments.md``.

    Raises:
        LightserError: a value out of range.
    """

    time_s: float = 0.5
    margin: float = 0.1

    def __post_init__(self) -> None:
        if not (math.isfinite(self.time_s) and self.time_s >= 0):
            raise LightserError(f"Smoothing over {self.time_s} s; give 0 or more.")
        if not 0 <= self.margin < 1:
            raise LightserError(f"A margin of {self.margin}; give one from 0 up to, not with, 1.")


class Smoother:
    """Smooth the probabilities of one recording, window by window.

    >>> smoother = Smoother(Smoothing(time_s=0, margin=0.2))
    >>> windows = [(0.6, 0.4), (0.45, 0.55), (0.3, 0.7)]
    >>> [smoother(np.array(p), at=t)[0] for t, p in enumerate(windows)]
    [0, 0, 1]
    """

    def __init__(self, smoothing: Smoothing):
        self.smoothing = smoothing
        self.reset()

    def reset(self) -> None:
        """Forget what was heard: another recording begins, or speech after silence."""
        self._mean: NDArray[np.float64] | None = None
        self._at = 0.0
        self._label = 0

    def __call__(
        self, probabilities: NDArray[np.float64], *, at: float
    ) -> tuple[int, NDArray[np.float64]]:
        """Return the number of the label and smoothed probabilities ``[C]``; they add up to 1.

        Args:
            probabilities: ``[C]`` of a window.
            at: seconds at which it ends, after those of the window before.
        """
        if self._mean is None:
            self._mean = probabilities
            self._label = int(probabilities.argmax())
        else:
            share = self._share(at - self._at)
            self._mean = (1 - share) * self._mean + share * probabilities
            best = int(self._mean.argmax())
            if self._mean[best] > self._mean[self._label] + self.smoothing.margin:
                self._label = best
        self._at = at
        return self._label, self._mean

    def _share(self, elapsed_s: float) -> float:
        """Return the weight of a window that comes some seconds after the one before."""
        time_s = self.smoothing.time_s
        return -math.expm1(-elapsed_s / time_s) if time_s else 1.0
