"""The picture of one recording: its waveform, and below it how likely each emotion is over time."""

from collections.abc import Iterable, Sequence
from typing import Protocol

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from lightser.report.colours import colours_of

COLUMNS = 1200  # of the waveform, about five to a millimetre on paper
POINTS = 240  # of the probabilities over time
INK, MUTED, FAINT = "#1d2329", "#6b7580", "#d9dee4"
# A band of the lower panel is named inside if it is this high and lasts this long, as shares.
_NAMED_HEIGHT, _NAMED_WIDTH = 0.16, 0.06


class Heard(Protocol):
    """A stretch of time in seconds and the probability of each label in it."""

    @property
    def start(self) -> float: ...
    @property
    def end(self) -> float: ...
    @property
    def probabilities(self) -> dict[str, float]: ...


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


def timeline(
    segments: Sequence[Heard], duration_s: float, most: int = POINTS
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return times ``[N]`` and probabilities ``[N, C]``.

    They stand at the middle of each segment, and are held from there to both ends of the recording.
    More than ``most`` are averaged in groups.
    """
    times = np.array([(s.start + s.end) / 2 for s in segments])
    rows = np.array([list(s.probabilities.values()) for s in segments])
    first = np.arange(0, len(times), -(-len(times) // most))  # of each group
    sizes = np.diff([*first, len(times)])
    times = np.add.reduceat(times, first) / sizes
    rows = np.add.reduceat(rows, first) / sizes[:, None]
    return (
        np.concatenate([[0.0], times, [duration_s]]),
        np.concatenate([rows[:1], rows, rows[-1:]]),
    )


def draw_clip(
    wave: NDArray[np.float32],
    segments: Sequence[Heard],
    *,
    duration_s: float,
    title: str,
    verdict: tuple[str, float],
    note: str = "",
) -> Figure:
    """Return the picture of one recording.

    Args:
        wave: ``[N, 3]``, as :func:`envelope` gives it.
        segments: in the order of time, all with the same labels.
        duration_s: seconds of the recording.
        title: what it is called.
        verdict: the likeliest emotion of the whole recording, and its probability.
        note: a line for the small print.
    """
    labels = list(segments[0].probabilities)
    colours = colours_of(labels)
    times, probabilities = timeline(segments, duration_s)

    with mpl.rc_context({"font.family": "sans-serif", "font.size": 9, "svg.fonttype": "none"}):
        figure = Figure(figsize=(10, 5.2), dpi=150, facecolor="white")
        top, bottom = figure.subplots(
            2, 1, sharex=True, height_ratios=[2, 3], gridspec_kw={"hspace": 0.06}
        )
        figure.subplots_adjust(left=0.06, right=0.98, top=0.89, bottom=0.16)
        _draw_wave(top, wave, duration_s, times, probabilities, list(colours.values()))
        _draw_bands(bottom, times, probabilities, colours)
        bottom.set_xticks(_ticks(duration_s))
        bottom.xaxis.set_major_formatter(FuncFormatter(lambda s, _: _clock(s, duration_s)))
        bottom.set_xlim(0, duration_s)

        label, confidence = verdict
        figure.text(0.06, 0.93, title, fontsize=13, fontweight="bold", color=INK)
        figure.text(
            0.98,
            0.93,
            f"{label} {100 * confidence:.0f} %",
            fontsize=13,
            fontweight="bold",
            color=_readable(colours[label]),
            ha="right",
        )
        handles = [
            mpl.patches.Patch(facecolor=colours[name], edgecolor="none", label=name)
            for name in labels
        ]
        figure.legend(
            handles=handles,
            loc="center left",
            bbox_to_anchor=(0.052, 0.045),
            ncols=len(labels),
            frameon=False,
            handlelength=0.9,
            handleheight=0.9,
            columnspacing=1.4,
            handletextpad=0.5,
            labelcolor=INK,
            fontsize=8.5,
        )
        figure.text(0.98, 0.045, note, fontsize=8.5, color=MUTED, ha="right", va="center")
    return figure


def _draw_wave(
    axes: Axes,
    wave: NDArray[np.float32],
    duration_s: float,
    times: NDArray[np.float64],
    probabilities: NDArray[np.float64],
    colours: list[str],
) -> None:
    """Draw a waveform in the colour of the likeliest emotion of the moment."""
    middles = (np.arange(len(wave)) + 0.5) * duration_s / len(wave)
    now = np.stack([np.interp(middles, times, p) for p in probabilities.T])  # [C, N]
    ink = [colours[i] for i in now.argmax(axis=0)]
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


def _draw_bands(
    axes: Axes,
    times: NDArray[np.float64],
    probabilities: NDArray[np.float64],
    colours: dict[str, str],
) -> None:
    """Draw probabilities as bands that fill the panel from 0 to 1, in the order of the labels."""
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
    return [i * step for i in range(int(duration_s / step) + 1)]


def _clock(seconds: float, duration_s: float) -> str:
    """Return a tick of the time axis: seconds in a short clip, else minutes and hours."""
    if duration_s < 60:
        return f"{seconds:g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
