"""A network's layers over the memory that each needs: the reader sees the peak."""

from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.figure import Figure

from lightser.report.plots import LIGHT, SMALL, STYLE, WIDTH, Theme

ROW = 0.19  # inches
NAMED = 0.62  # of the width; a longer bar has its figure inside


def footprint(
    title: str, layers: Sequence[str], kilobytes: Sequence[float], theme: Theme = LIGHT
) -> Figure:
    """Draw a bar for each layer, the first one on top, and mark the highest.

    Args:
        title: of the figure.
        layers: names.
        kilobytes: in memory at once while each is computed.
        theme: colours.
    """
    peak = max(range(len(kilobytes)), key=lambda i: kilobytes[i])
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, ROW * len(layers) + 0.9), facecolor=theme.paper)
        axes = figure.subplots()
        colours = [theme.lax if i == peak else theme.honest for i in range(len(layers))]
        axes.barh(range(len(layers)), kilobytes, color=colours, height=0.72)
        axes.set_facecolor(theme.paper)
        axes.set_ylim(len(layers) - 0.4, -0.6)
        axes.set_yticks(range(len(layers)), layers, fontsize=SMALL, color=theme.ink)
        axes.tick_params(axis="both", length=0, labelcolor=theme.ink, labelsize=SMALL)
        axes.set_xlabel("kilobytes in memory at once", fontsize=SMALL, color=theme.muted)
        axes.grid(axis="x", color=theme.faint, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[:].set_visible(False)
        is_long = kilobytes[peak] > NAMED * axes.get_xlim()[1]
        axes.annotate(
            f"{kilobytes[peak]:,.0f} kB",
            (kilobytes[peak], peak),
            xytext=(-4 if is_long else 4, 0),
            textcoords="offset points",
            ha="right" if is_long else "left",
            va="center",
            fontsize=SMALL,
            fontweight="bold",
            color=theme.paper if is_long else theme.ink,
        )
        figure.suptitle(title, fontsize=SMALL + 1, color=theme.ink, x=0.02, ha="left")
    return figure
