"""Plots of results, drawn once and shown in light, dark and print.

A plot is a function from a result (or several) and a :class:`Theme` to a matplotlib figure.
:data:`LIGHT` and :data:`DARK` hold real colours for image files. :data:`PAGE` holds stand-ins that
:func:`to_svg` replaces by CSS variables, so that one inline SVG follows the page's theme.

Figures are narrow (4.2 inches), so that their text stays readable on a phone.
"""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import blended_transform_factory

from lightser import metrics
from lightser.report.papers import lacking
from lightser.report.results import (
    Result,
    chosen_epochs,
    interval,
    probabilities,
    progress_axis,
    protocol_words,
    published,
    selection_gain,
)

WIDTH = 4.2  # inches
SMALL, NORMAL = 7.5, 8.5  # points


@dataclass(frozen=True, kw_only=True)
class Theme:
    """Colours by what they mean."""

    ink: str
    muted: str
    faint: str
    paper: str
    honest: str
    adapted: str  # to the test speakers, without their labels
    lax: str  # results under a protocol that has seen the test speakers, or the test set


LIGHT = Theme(
    ink="#1d2329",
    muted="#5d6875",
    faint="#dfe4ea",
    paper="#ffffff",
    honest="#0b6e69",
    adapted="#6a4c9c",
    lax="#b85410",
)
DARK = Theme(
    ink="#e9ecef",
    muted="#9ba7b4",
    faint="#323b44",
    paper="#171b20",
    honest="#52c7b8",
    adapted="#b9a0ee",
    lax="#f2a45c",
)
PAGE = Theme(
    ink="#000001",
    muted="#000002",
    faint="#000003",
    paper="#000004",
    honest="#000005",
    adapted="#000006",
    lax="#000007",
)

# matplotlib types these keys as literals that differ from release to release.
STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": NORMAL,
    "axes.linewidth": 0.7,
    "svg.fonttype": "none",  # text stays text: selectable, and in the page's font
    "pdf.fonttype": 42,
    "figure.constrained_layout.use": True,
}


MARKERS = {"honest": "o", "adapted": "^", "lax": "s"}


def result_colour(result: Result, theme: Theme) -> str:
    return str(getattr(theme, result.tone))


# --- which class is taken for which ---


def confusion(result: Result, theme: Theme = LIGHT) -> Figure:
    """Draw the confusion matrix: each row in per cent of its truth, counts of all seeds below."""
    labels = result.labels
    matrix = metrics.confusion(
        metrics.class_indices(result.predictions["truth"], labels),
        metrics.class_indices(result.predictions["predicted"], labels),
        len(labels),
    )
    totals = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, totals, out=np.zeros(matrix.shape), where=totals > 0)

    figure, axes = _figure(WIDTH, 0.42 * len(labels) + 1.0, theme)
    small = len(labels) > 8
    for (row, column), share in np.ndenumerate(shares):
        colour = result_colour(result, theme) if row == column else theme.ink
        cell = Rectangle((column, row), 1, 1, facecolor=colour, alpha=_depth(share), linewidth=0)
        axes.add_patch(cell)
        if not matrix[row, column]:
            continue
        text = theme.paper if _depth(share) > 0.55 else theme.ink
        above = 0.0 if small else 0.12
        axes.text(
            column + 0.5,
            row + 0.5 - above,
            f"{100 * share:.0f}",
            ha="center",
            va="center",
            color=text,
            fontsize=NORMAL,
            fontweight="bold" if row == column else "normal",
        )
        if not small:
            axes.text(
                column + 0.5,
                row + 0.79,
                f"{matrix[row, column]}",
                ha="center",
                va="center",
                color=text,
                fontsize=5.8,
                alpha=0.85,
            )
    axes.set(xlim=(0, len(labels)), ylim=(len(labels), 0), aspect="auto")
    centres = np.arange(len(labels)) + 0.5
    axes.set_xticks(centres, labels, rotation=38, ha="right", rotation_mode="anchor")
    axes.set_yticks(centres, labels)
    for edge in range(len(labels) + 1):
        axes.axhline(edge, color=theme.paper, linewidth=1.2)
        axes.axvline(edge, color=theme.paper, linewidth=1.2)
    axes.tick_params(length=0, pad=4)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("recognised as", color=theme.muted)
    axes.set_ylabel("truth", color=theme.muted)
    return figure


def _depth(share: float) -> float:
    """Return the opacity of a cell: visible from the first per cent, darkest at all."""
    return float(0.04 + 0.9 * share**0.8)


# --- how training went ---


def learning_curves(result: Result, theme: Theme = LIGHT) -> Figure:
    """Draw accuracy over epochs: each fold thin, their mean thick, the kept epochs as dots.

    Where the protocol looks at the test set, its accuracy is drawn too, and at the right what
    looking is worth: from the mean after the last epoch up to the mean of the best epochs. Where
    training looked at nothing, and kept its last epoch, there is only the loss to draw.
    """
    history = result.history
    axis = progress_axis(history)
    watched = [
        (column, name, colour)
        for column, name, colour in (
            ("valid_ua", "validation UA", theme.honest),
            ("test_wa", "test WA", theme.lax),
        )
        if history[column].notna().any()
    ]
    if not watched:
        figure, losses = _figure(WIDTH, 2.2, theme)
    else:
        figure, (top, losses) = _figure(WIDTH, 3.5, theme, rows=(3.2, 1))
        for column, name, colour in watched:
            _curves(top, history, column, 100, colour, name)
        on_test = result.scores.get("selected_on") == "test_wa"
        chosen = chosen_epochs(history)
        top.plot(
            chosen[axis],
            100 * chosen["test_wa" if on_test else "valid_ua"],
            "o",
            markersize=3.6,
            markerfacecolor=theme.paper,
            markeredgecolor=theme.lax if on_test else theme.honest,
            markeredgewidth=1.1,
            label=f"{axis} kept",
            zorder=5,
            clip_on=False,
        )
        if gain := selection_gain(history):
            _bracket(top, 100 * gain.last, 100 * gain.best, theme)
        top.set_ylabel("per cent", color=theme.muted)
        _legend(figure, top.get_legend_handles_labels()[0], theme)
    _curves(losses, history, "train_loss", 1, theme.muted, "train loss")
    losses.set_ylabel("train loss", color=theme.muted)
    losses.set_xlabel(axis, color=theme.muted)
    losses.set_ylim(bottom=0)
    losses.set_xlim(0, history[axis].max())
    losses.xaxis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 5, 10], integer=True))
    figure.align_ylabels()
    return figure


def _curves(
    axes: Axes, history: pd.DataFrame, column: str, scale: float, colour: str, name: str
) -> None:
    """Draw a column of the history: the first seed's folds thin, the mean of all jobs thick."""
    axis = progress_axis(history)
    first_seed = history[history["seed"] == history["seed"].min()]
    for _, job in first_seed.groupby("fold"):
        axes.plot(job[axis], scale * job[column], color=colour, linewidth=0.5, alpha=0.3)
    mean = scale * history.groupby(axis)[column].mean()
    axes.plot(mean.index, mean, color=colour, linewidth=1.8, label=name)


def _bracket(axes: Axes, last: float, best: float, theme: Theme) -> None:
    """Draw at the right edge what lies between the last and the best epoch on test."""
    beside = blended_transform_factory(axes.transAxes, axes.transData)
    for y in (last, best):
        axes.plot(
            [1.0, 1.035], [y, y], transform=beside, color=theme.lax, linewidth=1.2, clip_on=False
        )
    axes.plot(
        [1.035, 1.035],
        [last, best],
        transform=beside,
        color=theme.lax,
        linewidth=1.2,
        clip_on=False,
    )
    axes.text(
        1.055,
        (last + best) / 2,
        f"+{best - last:.1f}\npoints by\nselection\non test",
        transform=beside,
        color=theme.lax,
        fontsize=SMALL,
        va="center",
        linespacing=1.25,
    )


# --- how sure the score is ---


def intervals(results: Sequence[Result], theme: Theme = LIGHT) -> Figure:
    """Draw UA with its interval over speakers for each result, and published figures as diamonds.

    A dashed line marks the best honest classic baseline among the results, if there is one.
    """
    figure, axes = _figure(WIDTH, 0.42 * len(results) + 0.95, theme)
    for row, result in enumerate(results):
        ua, ends = 100 * result.scores["pooled"]["ua"], interval(result, "ua")
        colour = result_colour(result, theme)
        if ends:
            axes.plot([100 * end for end in ends], [row, row], color=colour, linewidth=2.2)
        axes.plot(ua, row, MARKERS[result.tone], color=colour, markersize=5.5)
        figure_of_paper = published(result, "ua")
        if figure_of_paper is not None:
            axes.plot(
                100 * figure_of_paper,
                row,
                "D",
                markersize=5.5,
                markerfacecolor="none",
                markeredgecolor=theme.ink,
                zorder=5,
            )
        lacks = lacking(result)
        _row_label(axes, row, shorten(result.title, 56 - len(lacks)) + lacks, theme)
        _row_number(axes, row, f"{ua:.1f}", colour)
    classics = [r.scores["pooled"]["ua"] for r in results if r.is_classic and r.is_honest]
    if classics:
        axes.axvline(100 * max(classics), color=theme.muted, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.set_ylim(len(results) - 0.55, -0.75)
    axes.set_xlim(*_percent_range(results))
    axes.set_yticks([])
    axes.set_xlabel("UA, per cent, with 95 % interval over speakers", color=theme.muted)
    _percent_axis(axes, theme)
    _legend(figure, _marks(results, theme), theme)
    return figure


def steps(family: Sequence[Result], theme: Theme = LIGHT) -> Figure:
    """Draw one recipe under one protocol after the other, and what each step costs.

    Args:
        family: results that differ in the protocol alone, the laxest first, as
            :func:`~lightser.report.results.families` gives them.
        theme: colours.
    """
    figure, axes = _figure(WIDTH, 0.62 * len(family) + 0.75, theme)
    before: float | None = None
    for row, result in enumerate(family):
        ua, ends = 100 * result.scores["pooled"]["ua"], interval(result, "ua")
        colour = result_colour(result, theme)
        if before is not None:
            axes.plot(
                [before, before, ua], [row - 1, row - 0.5, row - 0.5], color=theme.muted, lw=0.9
            )
            axes.plot([ua, ua], [row - 0.5, row], color=theme.muted, lw=0.9)
            axes.text(
                (before + ua) / 2,
                row - 0.53,
                f"{ua - before:+.1f}".replace("-", "−"),
                ha="center",
                va="bottom",
                fontsize=SMALL,
                color=theme.muted,
            )
        if ends:
            axes.plot([100 * end for end in ends], [row, row], color=colour, linewidth=2.2)
        axes.plot(ua, row, MARKERS[result.tone], color=colour, markersize=5.5)
        _row_label(axes, row, shorten(protocol_words(result), 56), theme)
        _row_number(axes, row, f"{ua:.1f}", colour)
        before = ua
    axes.set_ylim(len(family) - 0.6, -0.6)
    axes.set_xlim(*_percent_range(family))
    axes.set_yticks([])
    axes.set_xlabel("UA, per cent, with 95 % interval over speakers", color=theme.muted)
    _percent_axis(axes, theme)
    return figure


def _row_label(axes: Axes, row: float, text: str, theme: Theme) -> None:
    """Write above a row, over whatever lines pass there."""
    axes.text(
        0,
        row - 0.3,
        text,
        transform=axes.get_yaxis_transform(),
        va="center",
        fontsize=SMALL,
        color=theme.ink,
        bbox={"facecolor": theme.paper, "linewidth": 0, "pad": 1},
    )


def _row_number(axes: Axes, row: float, text: str, colour: str) -> None:
    axes.text(
        1.025,
        row,
        text,
        transform=axes.get_yaxis_transform(),
        va="center",
        fontsize=NORMAL,
        fontweight="bold",
        color=colour,
    )


def _percent_axis(axes: Axes, theme: Theme) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 5, 10], integer=True))
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color=theme.faint, linewidth=0.7)


def _marks(results: Sequence[Result], theme: Theme) -> list[Line2D]:
    """Return what the legend of :func:`intervals` explains, of what is there."""
    names = {"honest": "honest", "adapted": "transductive", "lax": "lenient"}
    tones = {result.tone for result in results}
    marks: list[tuple[str, dict[str, Any]]] = [
        (name, {"marker": MARKERS[tone], "color": getattr(theme, tone)})
        for tone, name in names.items()
        if tone in tones
    ]
    if any(published(result, "ua") is not None for result in results):
        marks.append(("published", {"marker": "D", "markerfacecolor": "none", "color": theme.ink}))
    if any(result.is_classic and result.is_honest for result in results):
        marks.append(("classic baseline", {"color": theme.muted, "linestyle": (0, (4, 3))}))
    return [
        Line2D([], [], label=name, markersize=5, **{"linestyle": "none", **look})
        for name, look in marks
    ]


def _legend(figure: Figure, handles: Sequence[Any], theme: Theme) -> None:
    """Write a legend in one line above everything."""
    figure.legend(
        handles=list(handles),
        loc="outside upper left",
        ncols=len(handles),
        frameon=False,
        fontsize=SMALL,
        labelcolor=theme.ink,
        handlelength=1.6,
        handletextpad=0.4,
        columnspacing=1.4,
        borderpad=0,
    )


def _percent_range(results: Sequence[Result]) -> tuple[float, float]:
    lowest = min(min(interval(r, "ua") or [r.scores["pooled"]["ua"]]) for r in results)
    return max(0.0, 10 * np.floor(10 * lowest - 0.3)), 100.0


def shorten(text: str, length: int) -> str:
    """Cut ``text`` in its middle to ``length`` characters; what tells two apart is at the ends.

    >>> shorten("Light-SERNet, focal", 12)
    'Light…focal'
    """
    if len(text) <= length:
        return text
    left = (length - 1) // 2
    return f"{text[:left].rstrip()}…{text[left + 1 - length :].lstrip()}"


# --- whether its confidence can be believed ---


def reliability(result: Result, theme: Theme = LIGHT) -> Figure:
    """Draw the share of right answers over the confidence, and how often each confidence occurs."""
    truth = metrics.class_indices(result.predictions["truth"], result.labels)
    table = metrics.reliability(probabilities(result), truth, bins=10)
    colour = result_colour(result, theme)
    figure, (top, bottom) = _figure(WIDTH, 3.5, theme, rows=(3.2, 1))
    used = table.counts > 0
    middles = (table.edges[:-1] + table.edges[1:]) / 2

    top.plot([0, 100], [0, 100], color=theme.muted, linewidth=0.9, linestyle=(0, (4, 3)))
    top.vlines(
        100 * table.confidence[used],
        100 * table.confidence[used],
        100 * table.accuracy[used],
        color=colour,
        linewidth=5,
        alpha=0.3,
    )
    top.plot(100 * table.confidence[used], 100 * table.accuracy[used], color=colour, linewidth=1.2)
    top.scatter(
        100 * table.confidence[used],
        100 * table.accuracy[used],
        s=6 + 60 * np.sqrt(table.counts[used] / table.counts.sum()),
        color=colour,
        clip_on=False,
        zorder=3,
    )
    top.text(
        4,
        96,
        f"calibration error {100 * result.scores['pooled']['ece']:.1f}",
        va="top",
        color=theme.ink,
    )
    top.text(
        4, 88, "below the line: too sure of itself", va="top", fontsize=SMALL, color=theme.muted
    )
    top.set(xlim=(0, 100), ylim=(0, 100))
    top.set_ylabel("right, per cent", color=theme.muted)
    bottom.bar(100 * middles, table.counts, width=9, color=colour, alpha=0.55, linewidth=0)
    bottom.set_ylabel("answers", color=theme.muted)
    bottom.set_xlabel("confidence, per cent", color=theme.muted)
    figure.align_ylabels()
    return figure


# --- whose voice is hard ---


def speakers(result: Result, theme: Theme = LIGHT) -> Figure:
    """Draw the UA of each speaker: a faint dot per seed, their mean as a full one.

    The band is the interval over speakers, the line the pooled UA.
    """
    by_speaker = speaker_scores(result)
    colour = result_colour(result, theme)
    names = sorted(by_speaker, key=lambda name: float(np.mean(by_speaker[name][1])))
    figure, axes = _figure(WIDTH, max(1.9, 0.22 * len(names) + 0.75), theme)
    ends = interval(result, "ua")
    if ends:
        axes.axvspan(100 * ends[0], 100 * ends[1], color=colour, alpha=0.13, linewidth=0)
    axes.axvline(100 * result.scores["pooled"]["ua"], color=colour, linewidth=1)
    for row, name in enumerate(names):
        values = 100 * np.array(by_speaker[name][1])
        if len(values) > 1:
            every = [row] * len(values)
            axes.plot(values, every, "o", color=colour, markersize=3, alpha=0.4, clip_on=False)
        axes.plot(values.mean(), row, "o", color=colour, markersize=5.5, clip_on=False)
    axes.set_yticks(range(len(names)), [f"{name}  ·  {by_speaker[name][0]}" for name in names])
    axes.set_ylim(-0.6, len(names) - 0.4)
    lowest = min(min(values) for _, values in by_speaker.values())
    axes.set_xlim(max(0.0, 10 * np.floor(10 * lowest - 0.2)), 101)
    axes.tick_params(axis="y", length=0)
    _percent_axis(axes, theme)
    axes.set_ylabel("speaker  ·  utterances", color=theme.muted)
    axes.set_xlabel("UA, per cent", color=theme.muted)
    return figure


def speaker_scores(result: Result) -> dict[str, tuple[int, list[float]]]:
    """Return, by speaker, the number of utterances and the UA of each seed."""
    scores = {}
    for name, rows in result.predictions.groupby("speaker"):
        values = []
        for _, part in rows.groupby("seed"):
            truth = metrics.class_indices(part["truth"], result.labels)
            predicted = metrics.class_indices(part["predicted"], result.labels)
            values.append(metrics.ua(metrics.confusion(truth, predicted, len(result.labels))))
        scores[str(name)] = (int(rows["utterance"].nunique()), values)
    return scores


# --- from a figure to a file, or into a page ---


def _figure(
    width: float, height: float, theme: Theme, rows: Sequence[float] = (1,)
) -> tuple[Figure, Any]:
    """Return a figure without a background and its axes, one above the other."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        figure.patch.set_facecolor("none")
        axes = figure.subplots(
            len(rows), 1, sharex=True, gridspec_kw={"height_ratios": rows}, squeeze=False
        )[:, 0]
    for part in axes:
        part.patch.set_alpha(0)
        part.spines[["top", "right"]].set_visible(False)
        part.spines[["left", "bottom"]].set_color(theme.muted)
        part.tick_params(colors=theme.ink, labelsize=SMALL, width=0.7, color=theme.muted)
    return figure, axes[0] if len(rows) == 1 else axes


def to_svg(figure: Figure, title: str) -> str:
    """Return a figure in :data:`PAGE` colours as an inline SVG that follows the page's theme.

    Args:
        figure: drawn with :data:`PAGE`.
        title: what it shows of what, for those who cannot see it; another one for each figure of
            a page, as the ids within follow from it.
    """
    file = io.StringIO()
    with mpl.rc_context({**STYLE, "svg.hashsalt": title}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    drawing = file.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r"<!--.*?-->", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r' id="[A-Za-z0-9.]+_\d+"', "", drawing)  # not unique on a page, unlike hashes
    drawing = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", drawing)
    drawing = re.sub(r"font-family: [^;\"]*;? ?", "", drawing)  # the page's own font instead
    drawing = re.sub(r' xmlns(?::xlink)?="[^"]*"', "", drawing).replace("xlink:href", "href")
    drawing = re.sub(r"<[^>]*>", _rounded, drawing)
    drawing = re.sub(r"\s*\n\s*", "\n", drawing)
    for name, stand_in in vars(PAGE).items():
        drawing = drawing.replace(stand_in, f"var(--{name})")
    return drawing.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1)


def _rounded(tag: re.Match[str]) -> str:
    """Cut the coordinates in a tag to a tenth of a point, which is finer than a pixel.

    An opacity needs its hundredths, and text is no business of ours.
    """
    return re.sub(r"(?<!opacity: )\b(\d+\.\d)\d+", r"\1", tag[0])
