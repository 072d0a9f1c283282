"""What one sees while ``lightser listen`` listens.

From top to bottom: where and since when; the emotion of the moment; a bar for each emotion; the
level of the sound; and the recent past, as high as it was loud, in the colours of its emotions. An
emotion is that of the middle of its window, so the newest columns may change their colour yet.
"""

import math
import time
from collections import Counter, deque
from collections.abc import Sequence
from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.text import Text

from lightser.inference.segments import SILENCE, Segment
from lightser.report.colours import colours_of

FRAMES_PER_S = 12
QUIETEST_DB = -60.0
LOUD_DB, TOO_LOUD_DB = -12.0, -3.0
_FALL_DB = 2.0  # by which the meter falls in a frame
_WIDEST = 100  # cells
_PAST_ROWS = 3

# Eighths of a cell: from the left, and from below.
_ACROSS, _UPWARD = " ▏▎▍▌▋▊▉█", " ▁▂▃▄▅▆▇█"
_ASCII = " .:-=+*##"


class LiveView:
    """Draws on the terminal while something is listened to.

    Args:
        title: of the frame.
        name: of what is listened to.
        labels: of the model.
        window_s: seconds of a segment.
        hop_s: seconds from one segment to the next, and of a column of the past.
        keys: said below, such as "q quit".
    """

    def __init__(
        self,
        *,
        title: str,
        name: str,
        labels: Sequence[str],
        window_s: float,
        hop_s: float,
        keys: str,
    ):
        self._console = Console(highlight=False)
        encoding = self._console.encoding or "ascii"
        is_unicode = encoding.lower().startswith("utf")
        self._title, self._name, self._keys = (
            words.replace("·", "·" if is_unicode else "-")
            .encode(encoding, "replace")
            .decode(encoding)
            for words in (title, name, keys)
        )
        self._labels, self._hop_s = labels, hop_s
        self._colours = colours_of(labels)
        self._across, self._upward = (_ACROSS, _UPWARD) if is_unicode else (_ASCII, _ASCII)
        self._signs = ("●", "❚❚", "━", "─") if is_unicode else ("*", "||", "=", "-")
        self._now: Segment | None = None
        self._lag = round(window_s / 2 / hop_s)  # columns from the middle of a window to its end
        self._levels: deque[float] = deque(maxlen=_WIDEST)  # the loudest of each hop
        self._said: deque[str] = deque(maxlen=_WIDEST)  # the label of each segment
        self._n_levels = 0
        self._heard: Counter[str] = Counter()  # segments by label
        self._heard_s = 0.0
        self._level, self._loudest = QUIETEST_DB, QUIETEST_DB
        self._drawn = 0.0
        self.paused = False
        self.adapted_to: int | None = None  # windows of the voice, if it is adapted to
        self._live = Live(console=self._console, auto_refresh=False, transient=True)

    def __enter__(self) -> "LiveView":
        self._live.start()
        self.draw()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._live.stop()
        if kind is None:
            self._console.print(self.summary())

    # What happens

    def hear(self, samples: NDArray[np.float32], duration_s: float) -> None:
        """Take ``[n]`` samples that last so long."""
        self._heard_s += duration_s
        level = decibels(samples)
        self._level = max(level, self._level - _FALL_DB)
        self._loudest = max(level, self._loudest)
        if self._heard_s >= (self._n_levels + 1) * self._hop_s:
            self._levels.append(self._loudest)
            self._n_levels += 1
            self._loudest = QUIETEST_DB

    def say(self, segment: Segment) -> None:
        """Take a segment."""
        self._now = segment
        self._heard[segment.label] += 1
        self._said.append(segment.label)

    def draw(self) -> None:
        """Show how things are, unless that was done a moment ago."""
        now = time.monotonic()
        if now - self._drawn >= 1 / FRAMES_PER_S:
            self._drawn = now
            self._live.update(self.frame(), refresh=True)

    # What is drawn

    def frame(self) -> RenderableType:
        """Return all that is shown."""
        width = min(self._console.width, _WIDEST)
        inner = width - 6  # without the frame
        now = [self._status(inner), Text(), self._verdict(), Text(), *self._bars(inner)]
        level, past = [Text(), self._meter(inner)], [*self._ribbon(inner), self._times(inner)]
        rows = [*now, *level, Text(), *past]
        room = self._console.height - 4
        if len(rows) > room:  # empty rows give way first, then the past, then the level
            rows = [row for row in [*now, *level, *past] if row.plain]
        if len(rows) > room:
            rows = rows[: -len(past)]
        if len(rows) > room:
            rows = rows[:-1]
        for row in rows:
            row.no_wrap, row.overflow = True, "crop"
        words = self._keys
        if self.adapted_to is not None:
            words = f"adapted to {self.adapted_to} windows, {words}"
        return Panel(
            Group(*rows),
            title=Text(f" {self._title} ", "bold"),
            title_align="left",
            subtitle=Text(f" {words} ", "dim"),
            subtitle_align="right",
            padding=(0, 2),
            width=width,
            border_style="dim",
        )

    def _status(self, width: int) -> Text:
        dot, bars, *_ = self._signs
        sign = Text(f"{bars} paused ", "yellow") if self.paused else Text(f"{dot} ", "red")
        time_heard = clock(self._heard_s)
        room = max(width - len(sign) - len(time_heard) - 2, 0)
        name = self._name if len(self._name) <= room else "..." + self._name[3 - room :]
        return Text.assemble(sign, name, " " * (room - len(name) + 2), (time_heard, "dim"))

    def _verdict(self) -> Text:
        if self._now is None:
            return Text("listening ...", "dim italic")
        if self._now.label == SILENCE:
            return Text(f" {SILENCE} ", "dim reverse")
        colour = self._colours[self._now.label]
        pill = Text(f" {self._now.label} ", f"bold {_ink(colour)} on {colour}")
        return Text.assemble(pill, f"  {100 * self._now.confidence:.0f} %")

    def _bars(self, width: int) -> list[Text]:
        probabilities = self._now.probabilities if self._now else {}
        first = max(map(len, self._labels)) + 2
        room = max(width - first - len(" 100 %"), 1)
        rows = []
        for label in self._labels:
            p = probabilities.get(label, 0.0)
            is_now = self._now is not None and label == self._now.label
            rows.append(
                Text.assemble(
                    (f"{label:<{first}}", "bold" if is_now else ""),
                    (bar(p, room, self._across), self._colours[label]),
                    (f"{100 * p:4.0f} %" if probabilities else "", "" if is_now else "dim"),
                )
            )
        return rows

    def _meter(self, width: int) -> Text:
        *_, full, empty = self._signs
        first = max(*map(len, self._labels), len("level")) + 2
        room = max(width - first - len(" -60 dB"), 1)

        def cells(level: float) -> int:
            return round(room * _share(level))

        n = cells(self._level)
        parts = [(0, LOUD_DB, "green"), (cells(LOUD_DB), TOO_LOUD_DB, "yellow")]
        parts += [(cells(TOO_LOUD_DB), 0.0, "red")]
        line = Text(f"{'level':<{first}}", "dim")
        for start, end, style in parts:
            line.append(full * (min(n, cells(end)) - start), style)
        line.append(empty * (room - n), "dim")
        line.append(f" {self._level:3.0f} dB", "dim")
        return line

    def _ribbon(self, width: int) -> list[Text]:
        levels = list(self._levels)[-width:]
        rows = [Text(" " * (width - len(levels))) for _ in range(_PAST_ROWS)]
        n_said = sum(self._heard.values())
        for column, level in enumerate(levels, start=self._n_levels - len(levels)):
            label = self._label_of(column - self._lag, n_said)
            # A quiet moment is a line, so that its colour is seen.
            height = max(round(8 * _PAST_ROWS * _share(level)), 1)
            style = self._colours.get(label, "dim")
            for n, row in enumerate(reversed(rows)):
                row.append(self._upward[min(max(height - 8 * n, 0), 8)], style)
        return rows

    def _label_of(self, segment: int, n_said: int) -> str:
        """Return the label of a segment, counted from 0, or of the nearest that is known."""
        if not self._said:
            return ""
        at = segment - (n_said - len(self._said))
        return self._said[min(max(at, 0), len(self._said) - 1)]

    def _times(self, width: int) -> Text:
        ago = f"{self._hop_s * width:.0f} s ago"
        return Text(f"{ago}{'now':>{width - len(ago)}}", "dim")

    def summary(self) -> Text:
        """Return a line that stays when the rest is gone: how much of what was heard.

        What has no place on it is the rarest.
        """
        dot, total = self._signs[0], sum(self._heard.values())
        line = Text(f"{clock(self._heard_s)} heard")
        for label, n in self._heard.most_common():
            words = f"{label} {100 * n / total:.0f} %"
            if len(line) + len(f"   {dot} {words}") > self._console.width:
                break
            line.append(f"   {dot} ", self._colours.get(label, "dim"))
            line.append(words)
        return line


def decibels(samples: NDArray[np.float32]) -> float:
    """Return the level of ``[n]`` samples in dB below full scale, from -60 on.

    >>> decibels(np.full(10, 0.1, np.float32)), decibels(np.zeros(10, np.float32))
    (-20.0, -60.0)
    """
    rms = float(np.sqrt(np.square(samples, dtype=np.float64).mean())) if len(samples) else 0.0
    return round(max(20 * math.log10(rms), QUIETEST_DB), 3) if rms else QUIETEST_DB


def bar(share: float, width: int, eighths: str = _ACROSS) -> str:
    """Return a bar of ``width`` cells that is filled by a share, to an eighth of a cell.

    >>> bar(0.5, 5), bar(1, 3), bar(0, 2)
    ('██▌  ', '███', '  ')
    """
    whole, rest = divmod(round(8 * width * share), 8)
    return (eighths[8] * whole + (eighths[rest] if rest else "")).ljust(width)


def clock(seconds: float) -> str:
    """Return a time in whole seconds.

    >>> clock(7.9), clock(3725)
    ('0:07', '1:02:05')
    """
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _share(level: float) -> float:
    return min(max(1 - level / QUIETEST_DB, 0.0), 1.0)


def _ink(colour: str) -> str:
    """Return black or white, whichever reads better on a colour."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "white"
