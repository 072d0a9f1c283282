"""Listen while the audio is still coming."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lightser.audio.downmix import Downmix, warn
from lightser.audio.files import MIN_SECONDS, is_silent
from lightser.audio.resampler import Resampler, check_rate
from lightser.errors import LightserError
from lightser.inference.adaptation import Adaptation
from lightser.inference.segments import SILENCE, Segment, Wave, name_probabilities
from lightser.inference.sharing import Neighbours
from lightser.inference.smoothing import Smoother, Smoothing
from lightser.inference.sources import to_floats
from lightser.inference.vad import SpeechDetector, SpeechGate

if TYPE_CHECKING:
    from lightser.inference.recognizer import Recognizer


@dataclass(frozen=True)
class Timing:
    """How fast a stream has been so far.

    Attributes:
        heard_s: seconds of audio that it took.
        busy_s: seconds that it worked on them.
        segments: that it gave.
        latency_s: mean over segments of the seconds from the chunk that completed one to its
            answer; the window itself, which must have been heard, comes on top.
        slowest_s: the longest of them.
    """

    heard_s: float
    busy_s: float
    segments: int
    latency_s: float
    slowest_s: float

    @property
    def real_time_factor(self) -> float:
        """Seconds of work for a second of audio; below 1 it keeps up."""
        return self.busy_s / self.heard_s if self.heard_s else 0.0

    def __str__(self) -> str:
        return (
            f"{self.segments} segments of {self.heard_s:.1f} s of audio in {self.busy_s:.2f} s: "
            f"real-time factor {self.real_time_factor:.4f}, latency {1000 * self.latency_s:.1f} ms "
            f"(at most {1000 * self.slowest_s:.1f} ms)"
        )


class Stream:
    """Take audio in chunks of any size, and give a segment for every window that is full.

    Args:
        recognizer: that listens.
        window_s: seconds that a segment lasts; by default the card's ``window_s``. Longer windows
            are cut and averaged as clips are, shorter ones than the card's ``min_s`` are padded.
        hop_s: seconds from one segment's start to the next, at most ``window_s``; by default half
            of it.
        sample_rate: hertz, of the chunks; by default the model's own.
        smoothing: of labels over time; None takes each segment by itself.
        gate: by which a window counts as silence, for which the model is not asked; None asks it
            of all but windows in which nothing sounds, not even noise (:func:`is_silent`).
        warn: is called with a sentence on what a listener should know; by default it is a
            :class:`LightserWarning`.
        adaptation: what was heard of the voice before, if it is to be adapted to: windows that have
            no audio in common are added to it, and each answer goes by all before it. For one of
            which nothing was heard yet, ``recognizer.adapt([])``.

    The answers depend on the audio alone, not on how it was chunked, to the last bit. They are
    those of :meth:`Recognizer.segments` on the same audio in a file, which neither smooths nor
    gates. Several channels become one as a file's do (:mod:`lightser.audio.downmix`), for which the
    first second is waited for, and then a tenth of one. Windows that overlap share
    frames of features where the model allows (:mod:`lightser.inference.sharing`), which changes no
    answer. Memory does not grow: a window, a chunk and such frames are held. One stream listens to
    one recording; several may share a recogniser.

    ::

        stream = Stream(recognizer, window_s=3, hop_s=1, sample_rate=48_000)
        for chunk in microphone:
            for segment in stream.push(chunk):
                print(segment)
        for segment in stream.flush():
            print(segment)

    Raises:
        LightserError: ``hop_s`` is longer than ``window_s``, or one of them is too short.
        MissingExtra: a gate needs the extra ``live``.
        BadAdaptation: the adaptation is of another model.

    Attributes:
        adaptation: what was heard of the voice so far, over all recordings; None if it is not
            adapted to.
    """

    def __init__(
        self,
        recognizer: "Recognizer",
        *,
        window_s: float | None = None,
        hop_s: float | None = None,
        sample_rate: int | None = None,
        smoothing: Smoothing | None = None,
        gate: SpeechGate | None = None,
        warn: Callable[[str], None] = warn,
        adaptation: Adaptation | None = None,
    ):
        card = recognizer.card
        window_s = card.window_s if window_s is None else window_s
        hop_s = window_s / 2 if hop_s is None else hop_s
        sample_rate = card.sample_rate if sample_rate is None else sample_rate
        sample_rate = check_rate(sample_rate, "sample_rate")
        if not (math.isfinite(window_s) and window_s >= MIN_SECONDS):
            raise LightserError(
                f"A window of {window_s} s is too short; give {MIN_SECONDS} or more."
            )
        if not 0 < hop_s <= window_s:
            raise LightserError(
                f"A hop of {hop_s} s does not fit a window of {window_s} s; "
                "give one above 0, and no longer than the window, or audio goes unheard."
            )
        recognizer.heed_rate(sample_rate, warn)
        self.recognizer = recognizer
        self.adaptation = None if adaptation is None else recognizer.adapt([], before=adaptation)
        self._downmix = Downmix(sample_rate, "audio", warn)
        self._resampler = Resampler(sample_rate, card.sample_rate)
        self._window = round(window_s * card.sample_rate)  # samples, as all below
        self._hop = max(round(hop_s * card.sample_rate), 1)
        self._gate = gate
        self._smoother = Smoother(smoothing) if smoothing else None
        self._rate_in = sample_rate
        self._pushed = 0  # samples taken since the stream was made
        self._busy_s = self._waited_s = self._slowest_s = 0.0
        self._given = 0  # segments
        self._begin()

    def _begin(self) -> None:
        self._held: list[Wave] = []
        self._first = 0  # sample of the recording that `_held` begins with
        self._total = 0  # samples heard so far
        self._next = 0  # where the next window begins
        self._told = 0  # end of the last window
        self._learned_s = 0.0  # end of the last window that was adapted to
        self._neighbours: Neighbours | None = None
        rate = self.recognizer.card.sample_rate
        self._speech = SpeechDetector(self._gate, rate) if self._gate else None
        if self._smoother:
            self._smoother.reset()

    def push(self, chunk: NDArray[Any]) -> list[Segment]:
        """Take samples ``[n]`` or ``[n, channels]``; return the segments that they complete.

        Raises:
            BadAudio: samples that :func:`~lightser.inference.sources.to_floats` refuses. The
                stream is as it was before.
        """
        began = time.perf_counter()
        samples = to_floats(chunk)
        wave = self._downmix(samples[:, None] if samples.ndim == 1 else samples)
        segments = self._hear(self._resampler(wave))
        self._pushed += len(samples)
        self._clock(began, len(segments))
        return segments

    def flush(self) -> list[Segment]:
        """End the recording and return what is left of it; the stream then begins anew, at 0 s.

        Where audio follows the last full window, one more window ends with the recording. So a
        recording shorter than a window is one segment; one under 0.1 s is none.
        """
        began = time.perf_counter()
        rest = [self._resampler(self._downmix.flush()), self._resampler.flush()]
        segments = self._hear(np.concatenate(rest))
        if self._total > self._told and self._seconds(self._total) >= MIN_SECONDS:
            start = max(self._total - self._window, 0)
            segments += self._segments(np.concatenate(self._held), [(start, self._total)])
        self._begin()
        self._clock(began, len(segments))
        return segments

    @property
    def timing(self) -> Timing:
        """How fast it has been since it was made, over all recordings."""
        mean = self._waited_s / self._given if self._given else 0.0
        heard_s = self._pushed / self._rate_in
        return Timing(heard_s, self._busy_s, self._given, mean, self._slowest_s)

    def _clock(self, began: float, n_segments: int) -> None:
        elapsed = time.perf_counter() - began
        self._busy_s += elapsed
        if n_segments:
            self._given += n_segments
            self._waited_s += n_segments * elapsed
            self._slowest_s = max(self._slowest_s, elapsed)

    def _hear(self, wave: Wave) -> list[Segment]:
        if len(wave):
            # A copy, since a caller may fill the same buffer again.
            self._held.append(wave.copy())
            self._total += len(wave)
            if self._speech:
                self._speech(wave)
        if self._next + self._window > self._total:
            return []
        held = np.concatenate(self._held)
        starts = range(self._next, self._total - self._window + 1, self._hop)
        if not self._told:  # only now is it worth to find out what the model allows
            neighbours = self.recognizer.neighbours
            if self.adaptation is not None:
                neighbours = self.recognizer.neighbours_by_embedding
            self._neighbours = neighbours(self._window, self._hop)
        segments = self._segments(
            held, [(start, start + self._window) for start in starts], self._neighbours
        )
        self._told = starts[-1] + self._window
        self._next = starts[-1] + self._hop
        # What remains is the beginning of the next window, or of one that ends with the recording.
        remains = self._total - self._window
        self._held = [held[remains - self._first :].copy()]
        self._first = remains
        if self._speech:
            self._speech.forget(remains)
        return segments

    def _segments(
        self, held: Wave, stretches: list[tuple[int, int]], neighbours: Neighbours | None = None
    ) -> list[Segment]:
        """Return the segment of each stretch from one sample to another."""
        pieces = []
        for start, end in stretches:
            wave = held[start - self._first : end - self._first]
            pieces.append((start, end, wave, self._stillness(start, end, wave)))
        spoken = ((start, wave) for start, _, wave, still in pieces if still is None)
        if neighbours:
            answers = neighbours.answers(spoken)
        elif self.adaptation is None:
            answers = self.recognizer.probabilities_of_each(wave for _, wave in spoken)
        else:
            answers = self.recognizer.embeddings_of_each(wave for _, wave in spoken)
        segments = []
        for start, end, _, still in pieces:
            begins, ends = self._seconds(start), self._seconds(end)
            if still is None:
                answer = next(answers)
                if self.adaptation is not None:
                    answer = self._adapted(begins, ends, answer, self.adaptation)
                segments.append(self._spoken(begins, ends, answer))
            else:
                if self._smoother:
                    self._smoother.reset()  # who speaks next need not feel as before
                segments.append(Segment(begins, ends, SILENCE, still, {}))
        return segments

    def _stillness(self, start: int, end: int, wave: Wave) -> float | None:
        """Return the share of a stretch without speech if it counts as silence, None if not."""
        if is_silent(wave):
            return 1.0
        if self._gate is None or self._speech is None:
            return None
        share = self._speech.share(start, end)
        return 1 - share if share < self._gate.least else None

    def _adapted(
        self, start: float, end: float, embeddings: NDArray[np.float64], adaptation: Adaptation
    ) -> NDArray[np.float64]:
        """Return ``[C]`` probabilities of a window from its embeddings, ``[W, P]`` or ``[P]``."""
        probabilities = self.recognizer.classify(embeddings, adaptation)
        if start >= self._learned_s:  # or what is heard in many windows would count as often
            adaptation.add(embeddings)
            self._learned_s = end
        return np.atleast_2d(probabilities).mean(axis=0)  # type: ignore[no-any-return]

    def _spoken(self, start: float, end: float, probabilities: NDArray[np.float64]) -> Segment:
        labels = self.recognizer.labels
        if not self._smoother:
            return Segment(start, end, *name_probabilities(labels, probabilities))
        number, smoothed = self._smoother(probabilities, at=end)
        _, _, named = name_probabilities(labels, smoothed)
        label = labels[number]
        return Segment(start, end, label, named[label], named)

    def _seconds(self, samples: int) -> float:
        return samples / self.recognizer.card.sample_rate
