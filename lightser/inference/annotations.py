"""Predictions for annotation tools and players: Praat TextGrid, Audacity labels, WebVTT.

Segments of a long recording overlap, and neighbours often say the same. What these tools show are
spans: each segment stands for the time around its middle, up to half way to the middles of its
neighbours, and neighbours with one label are one span. So the spans of a recording follow one
another without gap or overlap.

Spans are held until the recording ends; there are as many as changes of label, so hours of them
are little.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TextIO

from lightser.inference.segments import SILENCE

if TYPE_CHECKING:
    from lightser.inference.formats import Row


@dataclass(frozen=True)
class Span:
    """A stretch of one channel with one label.

    Attributes:
        start: seconds.
        end: seconds.
        label: an emotion, or "silence".
        confidence: mean of that of the segments in it, by the time that they stand for.
    """

    start: float
    end: float
    label: str
    confidence: float


class _Voice:
    """The spans of one channel of one recording, row by row."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self._start = 0.0  # of what the last row stands for
        self._last: Row | None = None

    def add(self, row: "Row") -> None:
        if self._last is None:
            self._start = row.start
        else:
            last = self._last
            is_apart = row.start > last.end
            middle = (last.end + row.start) / 2  # of both windows together, and of their overlap
            self._close(last.end if is_apart else middle)
            self._start = row.start if is_apart else middle
        self._last = row

    def end(self) -> None:
        if self._last is not None:
            self._close(self._last.end)
            self._last = None

    def _close(self, end: float) -> None:
        assert self._last is not None
        new = Span(self._start, end, self._last.label, self._last.confidence)
        if self.spans and (last := self.spans[-1]).label == new.label and last.end == new.start:
            a, b = last.end - last.start, new.end - new.start
            mean = (a * last.confidence + b * new.confidence) / (a + b)
            self.spans[-1] = replace(last, end=new.end, confidence=mean)
        else:
            self.spans.append(new)


def spans_of(rows: "Iterable[Row]") -> dict[str, list[Span]]:
    """Return the spans of each track and channel of one recording; "" is all of them.

    >>> from lightser.inference.formats import Row
    >>> labels = ["fear", "fear", "fear", "joy"]
    >>> rows = [Row("a", t, t + 3.0, label, 0.5, {}) for t, label in enumerate(labels)]
    >>> [(span.start, span.end, span.label) for span in spans_of(rows)[""]]
    [(0, 4.0, 'fear'), (4.0, 6.0, 'joy')]
    """
    voices: dict[tuple[int, int, str], _Voice] = {}
    for row in rows:
        key = (row.track or 0, row.channel or 0, row.voice)
        voices.setdefault(key, _Voice()).add(row)
    for voice in voices.values():
        voice.end()
    return {key[-1]: voices[key].spans for key in sorted(voices)}


def write_textgrid(rows: "Iterable[Row]", labels: Sequence[str], file: TextIO) -> None:
    """Write Praat's TextGrid (text, long form): for each channel its emotions and confidences.

    Silence is an empty interval, as is Praat's habit.
    https://www.fon.hum.uva.nl/praat/manual/TextGrid_file_formats.html
    """
    voices = spans_of(rows)
    end = max((spans[-1].end for spans in voices.values()), default=0.0)
    tiers: list[tuple[str, list[tuple[float, float, str]]]] = []
    for voice, spans in voices.items():
        where = f", {voice}" if voice else ""
        whole = list(_without_gaps(spans, end))
        words = [(s.start, s.end, "" if s.label == SILENCE else s.label) for s in whole]
        numbers = [
            (s.start, s.end, f"{s.confidence:.2f}" if text else "")
            for s, (_, _, text) in zip(whole, words, strict=True)
        ]
        tiers += [(f"emotion{where}", words), (f"confidence{where}", numbers)]
    file.write('File type = "ooTextFile"\nObject class = "TextGrid"\n\n')
    file.write(f"xmin = 0\nxmax = {end:.6f}\ntiers? <exists>\nsize = {len(tiers)}\nitem []:\n")
    for n, (name, intervals) in enumerate(tiers, start=1):
        file.write(f'    item [{n}]:\n        class = "IntervalTier"\n        name = "{name}"\n')
        file.write(f"        xmin = 0\n        xmax = {end:.6f}\n")
        file.write(f"        intervals: size = {len(intervals)}\n")
        for i, (start, stop, text) in enumerate(intervals, start=1):
            quoted = text.replace('"', '""')
            file.write(f"        intervals [{i}]:\n            xmin = {start:.6f}\n")
            file.write(f'            xmax = {stop:.6f}\n            text = "{quoted}"\n')


def _without_gaps(spans: Sequence[Span], end: float) -> Iterator[Span]:
    """Yield spans from 0 to ``end`` that leave nothing out; Praat wants it so."""
    at = 0.0
    for span in spans:
        if span.start > at:
            yield Span(at, span.start, SILENCE, 1.0)
        yield span
        at = span.end
    if at < end:
        yield Span(at, end, SILENCE, 1.0)


def write_audacity(rows: "Iterable[Row]", labels: Sequence[str], file: TextIO) -> None:
    """Write labels that Audacity imports: start, end and text, between tabs; silence is left out.

    https://manual.audacityteam.org/man/importing_and_exporting_labels.html
    """
    for voice, span in _in_time(spans_of(rows)):
        where = f"{voice.removeprefix('channel ')}: " if voice else ""
        file.write(f"{span.start:.6f}\t{span.end:.6f}\t{where}{_words(span)}\n")


def write_webvtt(rows: "Iterable[Row]", labels: Sequence[str], file: TextIO) -> None:
    """Write subtitles that players and browsers show; channels are voices, silence is left out.

    https://www.w3.org/TR/webvtt1/
    """
    file.write("WEBVTT\n")
    for voice, span in _in_time(spans_of(rows)):
        who = f"<v {voice.capitalize()}>" if voice else ""
        text = _words(span).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        file.write(f"\n{_clock(span.start)} --> {_clock(span.end)}\n{who}{text}\n")


def _in_time(voices: dict[str, list[Span]]) -> list[tuple[str, Span]]:
    """Return all spans but silence with whose they are, by their beginning."""
    spoken = [(c, s) for c, spans in voices.items() for s in spans if s.label != SILENCE]
    return sorted(spoken, key=lambda item: item[1].start)


def _words(span: Span) -> str:
    return f"{span.label} {100 * span.confidence:.0f} %"


def _clock(seconds: float) -> str:
    """Return a WebVTT time stamp.

    >>> _clock(3725.5)
    '01:02:05.500'
    """
    minutes, thousandths = divmod(round(1000 * seconds), 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{thousandths / 1000:06.3f}"
