"""How audio is cut for the model, and what is known of each piece."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Wave = NDArray[np.float32]  # [T]

SILENCE = "silence"  # the label of a stretch in which nobody speaks


@dataclass(frozen=True)
class Segment:
    """What was heard in a stretch of a longer recording.

    Attributes:
        start: seconds from the beginning of the recording.
        end: seconds, exclusive.
        label: the likeliest emotion, or the smoothed one where smoothing was asked for; "silence"
            where nothing sounds, or where a gate was asked for and nobody speaks.
        confidence: the probability of the label; of silence, the share of the stretch without
            speech.
        probabilities: of every label, in the order of the model; they add up to 1. Smoothed as
            the label is. Empty for silence: the model was not asked.

    >>> print(Segment(1.5, 4.5, "anger", 0.8, {"anger": 0.8, "fear": 0.15, "neutral": 0.05}))
    1.50-4.50 s  anger 80 % (fear 15 %, neutral 5 %)
    """

    start: float
    end: float
    label: str
    confidence: float
    probabilities: dict[str, float]

    def __str__(self) -> str:
        heard = in_words(self.probabilities) if self.probabilities else self.label
        return f"{self.start:.2f}-{self.end:.2f} s  {heard}"


def in_words(probabilities: dict[str, float], runners_up: int = 2) -> str:
    """Return the likeliest emotion and those after it that a reader would want to know.

    >>> in_words({"anger": 0.06, "fear": 0.935, "neutral": 0.005})
    'fear 94 % (anger 6 %)'
    """
    ranked = sorted(probabilities.items(), key=lambda item: -item[1])
    (first, share), *others = ranked[: 1 + runners_up]
    then = ", ".join(f"{label} {100 * p:.0f} %" for label, p in others if p >= 0.01)
    return f"{first} {100 * share:.0f} %" + (f" ({then})" if then else "")


def name_probabilities(
    labels: Sequence[str], probabilities: NDArray[np.floating]
) -> tuple[str, float, dict[str, float]]:
    """Return label, confidence and probabilities by name, out of ``[C]`` probabilities."""
    named = {label: float(p) for label, p in zip(labels, probabilities, strict=True)}
    label = max(named, key=named.__getitem__)
    return label, named[label], named


def window_starts(total: int, window: int) -> list[int]:
    """Return where the windows of a clip of ``total`` samples begin.

    A clip no longer than a window is one window. A longer one is covered by the fewest windows
    that leave nothing out, spread evenly: the first begins with the clip, the last ends with it,
    and the others lie at equal distances (to the sample) between them. So each window is as
    long as the model likes it, none holds padding, and neighbours overlap by less than half of a
    window, but for clips shorter than two.

    >>> window_starts(48_000, 48_000), window_starts(48_001, 48_000), window_starts(100, 40)
    ([0], [0, 1], [0, 30, 60])
    """
    if total <= window:
        return [0]
    count = -(-total // window)  # rounded up
    starts: list[int] = np.linspace(0, total - window, count).round().astype(int).tolist()
    return starts


def cut(blocks: Iterable[Wave], starts: Iterable[int], window: int) -> Iterator[Wave]:
    """Yield the window at each of ``starts`` (ascending) from audio that comes in blocks.

    Holds no more than a window and a block. A window that reaches past the end is cut short there.
    """
    blocks = iter(blocks)
    held = np.zeros(0, np.float32)
    first = 0  # sample of the recording at which `held` begins
    for start in starts:
        held, first = held[start - first :], start
        parts, n = [held], len(held)
        while n < window and (block := next(blocks, None)) is not None:
            parts.append(block)
            n += len(block)
        held = np.concatenate(parts) if len(parts) > 1 else held
        yield held[:window]


def pad_to(samples: Wave, length: int) -> Wave:
    """Return ``[T]`` samples with zeros on both sides, ``length`` in all, the odd one at the end.

    >>> pad_to(np.ones(2, np.float32), 5)
    array([0., 1., 1., 0., 0.], dtype=float32)
    """
    missing = length - len(samples)
    return samples if missing <= 0 else np.pad(samples, (missing // 2, missing - missing // 2))
