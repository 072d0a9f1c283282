"""The picture of one recording: its waveform, what was heard when, and how likely it was."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from lightser.report.colours import colours_of

COLUMNS = 1200  # of the waveform, about five to a millimetre on paper
POINTS = 240  # of the probabilities over time
INK, MUTED, FAINT = "#1d2329", "#6b7580", "#d9dee4"
# A band of the lower panel is named inside if it is this high and lasts this long, as shares.
_NAMED_HEIGHT, _NAMED_WIDTH = 0.16, 0.06

# Inches: the picture's width, its margins, and the panels of a track.
_WIDTH, _LEFT, _RIGHT, _TOP, _BOTTOM = 10.0, 0.6, 0.2, 0.55, 0.9
_PANELS = {"wave": 1.5, "ribbon": 0.14, "bands": 2.1}
_BETWEEN = 0.07
_HEADING = 0.4  # above each of several tracks
_VERDICT = 3.8  # beside the title


class Heard(Protocol):
    """A stretch of time in seconds, what was heard in it, and the probability of each label.

    Silence has no probabilities.
    """

    @property
    def start(self) -> float: ...
    @property
    def end(self) -> float: ...
    @property
    def label(self) -> str: ...
    @property
    def probabilities(self) -> dict[str, float]: ...


@dataclass(frozen=True)
class Track:
    """One channel of a recording, or all of them mixed.

    Attributes:
        wave: ``[N, 3]``, as :func:`envelope` gives it.
        segments: in the order of time.
        verdict: the likeliest label of all of it, and its probability.
        name: such as "channel 1"; a single track needs none.
        scope: what the verdict is about, written before it: the panels below may show something
            else most of the time.
    """

    wave: NDArray[np.float32]
    segments: Sequence[Heard]
    verdict: tuple[str, float]
    name: str = ""
    scope: str = "whole clip"


def envelope(
    blocks: Iterable[NDArray[np.float32]], total: int, columns: int = COLUMNS
) -> NDArray[np.float32]:
    """Return the lowest, highest and root-mean-square sample of equal stretches, ``[N, 3]``.

    Args:
        blocks: a waveform in pieces ``[n]``; no more than one is held.
        total: samples in all of them.
        columns: how many stretches at most; the last one may be shorter.
    """
    size = max(-(-total // columns), 1)
    found = []
    rest = np.zeros(0, np.float32)
    for block in blocks:
        rest = np.concatenate([rest, block])
        whole = len(rest) - len(rest) % size
        found.append(_extent(rest[:whole].reshape(-1, size)))
        rest = rest[whole:]
    if len(rest):
        found.append(_extent(rest[None]))
    return np.concatenate(found)


def _extent(stretches: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return ``[N, 3]`` for samples ``[N, n]``."""
    rms = np.sqrt(np.square(stretches).mean(axis=1))
    return np.stack([stretches.min(axis=1), stretches.max(axis=1), rms], axis=1)


def edges_of(segments: Sequence[Heard], duration_s: float) -> NDArray[np.float64]:
    """Return the ``[N + 1]`` times between which each of N segments stands for what was heard.

    Segments overlap: each gives way to the next in the middle of both.
    """
    between = [(a.end + b.start) / 2 for a, b in pairwise(segments)]
    return np.array([0.0, *between, duration_s])


def timeline(
    segments: Sequence[Heard], labels: Sequence[str], duration_s: float, most: int = POINTS
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return times ``[N]`` and probabilities ``[N, C]``, which are NaN in silence.

    They stand at the middle of each segment, and are held from there to where silence begins, and
    to both ends of the recording. More than ``most`` are averaged in groups; one of which more than
    half is silent is silence.
    """
    rows = np.array([[s.probabilities.get(label, np.nan) for label in labels] for s in segments])
    middles = np.array([(s.start + s.end) / 2 for s in segments])
    edges = edges_of(segments, duration_s)
    size = -(-len(segments) // most)
    times: list[float] = []
    values: list[NDArray[np.float64]] = []
    was_spoken = None
    for first in range(0, len(segments), size):
        group = rows[first : first + size]
        spoken = ~np.isnan(group[:, 0])
        is_spoken = 2 * int(np.count_nonzero(spoken)) >= len(group)
        row = group[spoken].mean(axis=0) if is_spoken else np.full(len(labels), np.nan)
        if was_spoken is not None and is_spoken != was_spoken:  # one ends, the other begins
            times += [edges[first]] * 2
            values += [values[-1], row]
        times.append(middles[first : first + size].mean())
        values.append(row)
        was_spoken = is_spoken
    return (
        np.array([0.0, *times, duration_s]),
        np.array([values[0], *values, values[-1]]),
    )


def draw_clip(
    tracks: Sequence[Track],
    labels: Sequence[str],
    *,
    duration_s: float,
    title: str,
    note: str = "",
) -> Figure:
    """Return the picture of one recording.

    Args:
        tracks: one below the other: the recording, or each of its channels.
        labels: of the model.
        duration_s: seconds of the recording.
        title: what it is called.
        note: a line for the small print.
    """
    colours = colours_of(labels)
    others = {s.label for track in tracks for s in track.segments} - colours.keys()
    shades = {**colours, **dict.fromkeys(sorted(others), FAINT)}  # silence
    heading = _HEADING if len(tracks) > 1 else 0.0
    each = heading + sum(_PANELS.values()) + _BETWEEN * len(_PANELS)
    height = _TOP + each * len(tracks) + _BOTTOM
    with mpl.rc_context({"font.family": "sans-serif", "font.size": 9}):
        figure = Figure(figsize=(_WIDTH, height), dpi=150, facecolor="white")

        def write(x: float, y: float, words: str, **style: object) -> Text:
            """Write words at inches from the left and from above."""
            place = (x / _WIDTH, 1 - y / height)
            return figure.text(*place, words, parse_math=False, **style)  # type: ignore[arg-type]

        def write_verdict(track: Track, y: float, size: float) -> None:
            label, confidence = track.verdict
            colour = _readable(colours[label]) if label in colours else MUTED
            style = {"fontsize": size, "fontweight": "bold", "color": colour, "ha": "right"}
            words = write(_WIDTH - _RIGHT, y, f"{label} {100 * confidence:.0f} %", **style)
            if track.scope:
                scope = Annotation(
                    f"{track.scope}:",
                    (0, 1 - y / height),  # left of the words, wherever they begin; on their line
                    xycoords=(words, "figure fraction"),
                    xytext=(-5, 0),
                    textcoords="offset points",
                    fontsize=0.75 * size,
                    color=MUTED,
                    ha="right",
                    parse_math=False,
                )
                figure.add_artist(scope)

        heads = write(_LEFT, 0.38, title, fontsize=13, fontweight="bold", color=INK)
        _fit(heads, _WIDTH - _LEFT - _RIGHT - (0.0 if heading else _VERDICT))
        if not heading:
            write_verdict(tracks[0], 0.38, 13)
        at = _TOP
        for track in tracks:
            if heading:
                at += heading
                style = {"fontsize": 10, "fontweight": "bold", "color": MUTED}
                write(_LEFT, at - 0.08, track.name, **style)
                write_verdict(track, at - 0.08, 10)
            panels = {}
            for name, high in _PANELS.items():
                wide = _WIDTH - _LEFT - _RIGHT
                box = (_LEFT, height - at - high, wide, high)
                panels[name] = figure.add_axes(
                    (box[0] / _WIDTH, box[1] / height, box[2] / _WIDTH, box[3] / height)
                )
                at += high + _BETWEEN
            _draw_wave(panels["wave"], track, duration_s, shades)
            _draw_ribbon(panels["ribbon"], track, duration_s, shades)
            _draw_bands(panels["bands"], *timeline(track.segments, labels, duration_s), colours)
            for axes in panels.values():
                axes.set_xlim(0, duration_s)
            is_last = track is tracks[-1]
            panels["bands"].set_xticks(_ticks(duration_s))
            panels["bands"].tick_params(labelbottom=is_last)
            clock = FuncFormatter(lambda s, _: _clock(s, duration_s))
            panels["bands"].xaxis.set_major_formatter(clock)

        handles = [
            mpl.patches.Patch(facecolor=colour, edgecolor="none", label=name)
            for name, colour in shades.items()
        ]
        figure.legend(
            handles=handles,
            loc="center left",
            bbox_to_anchor=(0.052, 0.45 / height),
            ncols=len(handles),
            frameon=False,
            handlelength=0.9,
            handleheight=0.9,
            columnspacing=1.4,
            handletextpad=0.5,
            labelcolor=INK,
            fontsize=8.5,
        )
        write(_LEFT, height - 0.18, note, fontsize=8, color=MUTED, va="center")
    return figure


def _fit(words: Text, width: float) -> None:
    """Leave out the middle of words, so that they are no wider than so many inches."""
    whole = words.get_text()
    figure = words.get_figure(root=True)
    assert figure is not None
    for kept in range(len(whole) - 1, 0, -1):
        if words.get_window_extent().width <= width * figure.dpi:
            return
        words.set_text(f"{whole[: -(-kept // 2)]}…{whole[len(whole) - kept // 2 :]}")


def _draw_wave(axes: Axes, track: Track, duration_s: float, shades: dict[str, str]) -> None:
    """Draw a waveform in the colour of what was heard at the moment."""
    wave = track.wave
    middles = (np.arange(len(wave)) + 0.5) * duration_s / len(wave)
    edges = edges_of(track.segments, duration_s)
    at = np.clip(np.searchsorted(edges, middles, side="right") - 1, 0, len(track.segments) - 1)
    ink = [shades[track.segments[i].label] for i in at]
    low, high, rms = wave.T
    reach = float(np.abs(wave).max()) or 1.0
    least = 0.004 * reach  # silence is a line
    width = 1.5 * 662 / len(wave)  # points: the panel has 662, and columns overlap a little
    pale = [_pale(colour) for colour in ink]
    axes.vlines(middles, low, high, color=pale, lw=width, snap=False)
    body_low, body_high = np.maximum(low, -rms), np.minimum(high, rms)
    low, high = np.minimum(body_low, -least), np.maximum(body_high, least)
    axes.vlines(middles, low, high, color=ink, lw=width, snap=False)
    axes.set_ylim(-1.06 * reach, 1.06 * reach)
    _strip(axes)
    axes.tick_params(left=False, labelleft=False, bottom=False, labelbottom=False)


def _draw_ribbon(axes: Axes, track: Track, duration_s: float, shades: dict[str, str]) -> None:
    """Draw a ribbon in the colours of the labels."""
    edges = edges_of(track.segments, duration_s)
    for label, colour in shades.items():
        mine = np.array([segment.label == label for segment in track.segments])
        begins = np.flatnonzero(mine & ~np.concatenate([[False], mine[:-1]]))
        ends = np.flatnonzero(mine & ~np.concatenate([mine[1:], [False]])) + 1
        spans = [(edges[a], edges[b] - edges[a]) for a, b in zip(begins, ends, strict=True)]
        axes.broken_barh(spans, (0, 1), facecolor=colour, lw=0)
    axes.set_ylim(0, 1)
    _strip(axes)
    axes.tick_params(left=False, labelleft=False, bottom=False, labelbottom=False)


def _draw_bands(
    axes: Axes,
    times: NDArray[np.float64],
    probabilities: NDArray[np.float64],
    colours: dict[str, str],
) -> None:
    """Draw probabilities as bands that fill the panel from 0 to 1, in the order of the labels.

    Where they are NaN, there is nothing.
    """
    edges = np.concatenate([np.zeros((len(times), 1)), probabilities.cumsum(axis=1)], axis=1)
    edges /= edges[:, -1:]
    for i, (label, colour) in enumerate(colours.items()):
        low, high = edges[:, i], edges[:, i + 1]
        axes.fill_between(times, low, high, color=colour, alpha=0.9, lw=0)
        axes.plot(times, high, color="white", lw=0.8)
        _name_band(axes, label, colour, times, low, high)
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.5, 1], ["0", "50 %", "100 %"])
    _strip(axes)
    axes.tick_params(colors=MUTED, length=0, pad=5)


def _name_band(
    axes: Axes,
    label: str,
    colour: str,
    times: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
) -> None:
    """Write a label into its band, where that is high for long enough."""
    grid = np.linspace(times[0], times[-1], 400)
    floor, ceiling = np.interp(grid, times, low), np.interp(grid, times, high)
    reach = max(int(_NAMED_WIDTH * len(grid) * (1 + len(label) / 8)) // 2, 1)
    best, at = 0.0, 0
    for i in range(reach, len(grid) - reach):
        here = slice(i - reach, i + reach)
        room = float(ceiling[here].min() - floor[here].max())
        if room > best:
            best, at = room, i
    if best >= _NAMED_HEIGHT:
        here = slice(at - reach, at + reach)
        y = float(ceiling[here].min() + floor[here].max()) / 2
        axes.text(
            float(grid[at]),
            y,
            label,
            ha="center",
            va="center",
            fontsize=10,
            fontweight="bold",
            color=_on(colour),
        )


def _strip(axes: Axes) -> None:
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.margins(0)


def _luminance(colour: str) -> float:
    """Return relative luminance, 0 to 1, as WCAG 2 defines it."""
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def _on(colour: str) -> str:
    """Return the ink that reads best on a colour."""
    return "#ffffff" if _luminance(colour) < 0.3 else INK


def _pale(colour: str) -> str:
    """Return a colour mixed with white."""
    rgb = [round(0.42 * int(colour[i : i + 2], 16) + 0.58 * 255) for i in (1, 3, 5)]
    return "#" + "".join(f"{value:02x}" for value in rgb)


def _readable(colour: str) -> str:
    """Return a colour dark enough for text on white, of the same hue."""
    while 1.05 / (_luminance(colour) + 0.05) < 3:
        rgb = [int(0.93 * int(colour[i : i + 2], 16)) for i in (1, 3, 5)]
        colour = "#" + "".join(f"{value:02x}" for value in rgb)
    return colour


def _ticks(duration_s: float) -> list[float]:
    """Return at most a dozen round times.

    >>> _ticks(2.6)[:3], _ticks(10_700)[:3]
    ([0.0, 0.5, 1.0], [0, 900, 1800])
    """
    steps = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30]
    steps += [60 * m for m in (1, 2, 5, 10, 15, 30, 60, 120, 240, 480)]
    step = next((s for s in steps if duration_s / s <= 12), 86_400)
    ticks = [i * step for i in range(int(duration_s / step) + 1)]
    # Hours are long words: at the very end, they would reach out of the picture.
    return [tick for tick in ticks if duration_s < 3600 or tick < 0.98 * duration_s]


def _clock(seconds: float, duration_s: float) -> str:
    """Return a tick of the time axis: seconds in a short clip, else minutes and hours."""
    if duration_s < 60:
        return f"{seconds:g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
