"""Listen while the audio is still coming."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lightser.audio.files import MIN_SECONDS
from lightser.audio.resampler import Resampler
from lightser.errors import LightserError
from lightser.inference.segments import Segment, Wave, name_probabilities
from lightser.inference.sources import to_mono

if TYPE_CHECKING:
    from lightser.inference.recognizer import Recognizer


class Stream:
    """Take audio in chunks of any size, and give a segment for every window that is full.

    Args:
        recognizer: that listens.
        window_s: seconds that a segment lasts; by default the card's ``window_s``. Longer windows
            are cut and averaged as clips are, shorter ones than the card's ``min_s`` are padded.
        hop_s: seconds from one segment's start to the next, at most ``window_s``; by default half
            of it.
        sample_rate: hertz, of the chunks; by default the model's own.

    The answers depend on the audio alone, not on how it was chunked, to the last bit. They are
    those of :meth:`Recognizer.segments` on the same audio in a file. Memory does not grow: a window
    and a chunk are held. One stream listens to one recording; several may share a recogniser.

    ::

        stream = Stream(recognizer, window_s=3, hop_s=1, sample_rate=48_000)
        for chunk in microphone:
            for segment in stream.push(chunk):
                print(segment)
        for segment in stream.flush():
            print(segment)
    """

    def __init__(
        self,
        recognizer: "Recognizer",
        *,
        window_s: float | None = None,
        hop_s: float | None = None,
        sample_rate: int | None = None,
    ):
        card = recognizer.card
        window_s = card.window_s if window_s is None else window_s
        hop_s = window_s / 2 if hop_s is None else hop_s
        sample_rate = card.sample_rate if sample_rate is None else sample_rate
        if not (math.isfinite(window_s) and window_s >= MIN_SECONDS):
            raise LightserError(
                f"A window of {window_s} s is too short; give {MIN_SECONDS} or more."
            )
        if not 0 < hop_s <= window_s:
            raise LightserError(
                f"A hop of {hop_s} s does not fit a window of {window_s} s; "
                "give one above 0, and no longer than the window, or audio goes unheard."
            )
        self.recognizer = recognizer
        self._resampler = Resampler(sample_rate, card.sample_rate)
        self._window = round(window_s * card.sample_rate)  # samples, as all below
        self._hop = max(round(hop_s * card.sample_rate), 1)
        self._begin()

    def _begin(self) -> None:
        self._held: list[Wave] = []
        self._first = 0  # sample of the recording that `_held` begins with
        self._total = 0  # samples heard so far
        self._next = 0  # where the next window begins
        self._told = 0  # end of the last window

    def push(self, chunk: NDArray[Any]) -> list[Segment]:
        """Take samples ``[n]`` or ``[n, channels]``; return the segments that they complete.

        Raises:
            BadAudio: samples that :func:`~lightser.inference.sources.to_mono` refuses. The stream
                is as it was before.
        """
        return self._hear(self._resampler(to_mono(chunk)))

    def flush(self) -> list[Segment]:
        """End the recording and return what is left of it; the stream then begins anew, at 0 s.

        Where audio follows the last full window, one more window ends with the recording. So a
        recording shorter than a window is one segment; one under 0.1 s is none.
        """
        segments = self._hear(self._resampler.flush())
        if self._total > self._told and self._seconds(self._total) >= MIN_SECONDS:
            start = max(self._total - self._window, 0)
            segments.append(self._segment(np.concatenate(self._held), start, self._total))
        self._begin()
        return segments

    def _hear(self, wave: Wave) -> list[Segment]:
        if len(wave):
            # A copy, since a caller may fill the same buffer again.
            self._held.append(wave.copy())
            self._total += len(wave)
        if self._next + self._window > self._total:
            return []
        segments = []
        held = np.concatenate(self._held)
        while self._next + self._window <= self._total:
            self._told = self._next + self._window
            segments.append(self._segment(held, self._next, self._told))
            self._next += self._hop
        # What remains is the beginning of the next window, or of one that ends with the recording.
        remains = self._total - self._window
        self._held = [held[remains - self._first :].copy()]
        self._first = remains
        return segments

    def _segment(self, held: Wave, start: int, end: int) -> Segment:
        probabilities = self.recognizer.probabilities(held[start - self._first : end - self._first])
        return Segment(
            self._seconds(start),
            self._seconds(end),
            *name_probabilities(self.recognizer.labels, probabilities),
        )

    def _seconds(self, samples: int) -> float:
        return samples / self.recognizer.card.sample_rate
