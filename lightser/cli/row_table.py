"""Rows for people: a table in colours, as wide as the terminal."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lightser.names import printable

if TYPE_CHECKING:
    from lightser.inference.formats import Row

BAR = 24  # cells
GAP = 2  # cells between columns


def draw_table(rows: "Sequence[Row]", labels: Sequence[str]) -> None:
    """Print rows for people: each emotion in its colour, and a bar that shares them out.

    The probabilities stand in a column each where there is room, else the next two in words.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from lightser.report.colours import colours_of

    if not rows:
        return
    colours = colours_of(labels)
    console = Console(highlight=False)
    is_unicode = (console.encoding or "").lower().startswith("utf")
    dot, line, dash = ("●", "━", "–") if is_unicode else ("*", "=", "-")

    names = [
        printable(row.file) + (f" [{row.voice.removeprefix('channel ')}]" if row.voice else "")
        for row in rows
    ]
    are_segments = len({row.file for row in rows}) < len(rows) or any(row.start for row in rows)
    times = [
        f"{clock(row.start)}{dash}{clock(row.end)}" if are_segments else f"{row.end:.2f} s"
        for row in rows
    ]
    # Where the terminal is narrow, names give way first, then the columns of probabilities, then
    # the words in their place.
    emotion = max(len(name) for name in [*labels, *(row.label for row in rows)]) + len("● ")
    longest = max(map(len, names))
    free = console.width - max(map(len, times)) - emotion - len("100 %") - 4 * GAP - 1
    columns = len(labels) * (4 + GAP)
    in_columns = free >= min(longest, 20) + BAR + columns
    bar = BAR if in_columns else max(min(BAR // 2, free - min(longest, 12)), 4)
    room = max(free - bar - columns if in_columns else (free - bar) // 2, 12)
    then = free - bar - min(room, longest) - GAP

    table = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        header_style="dim",
        padding=(0, GAP - 1, 0, 0),  # and a line between columns, which is a space
    )
    table.add_column("file", no_wrap=True, min_width=min(room, longest))
    table.add_column("time", no_wrap=True, min_width=max(map(len, times)), justify="right")
    table.add_column("emotion", no_wrap=True, min_width=emotion)
    table.add_column("", no_wrap=True, min_width=len("100 %"), justify="right")
    table.add_column("", no_wrap=True, min_width=bar)
    if in_columns:
        for label in labels:
            head = Text(label[:4], style=f"not dim {colours[label]}")
            table.add_column(head, min_width=4, justify="right")
    elif then >= 12:
        table.add_column("then", no_wrap=True, width=then, overflow="ellipsis")

    said = None
    for row, name, time in zip(rows, names, times, strict=True):
        file = name if len(name) <= room else "..." + name[3 - room :]
        ranked = sorted(row.probabilities.items(), key=lambda item: -item[1])
        cells = [
            Text(file if name != said else ""),
            Text(time, style="dim"),
            Text.assemble((f"{dot} ", colours[row.label]), (row.label, "bold"))
            if ranked
            else Text(f"  {row.label}", style="dim"),
            Text(f"{100 * row.confidence:.0f} %"),
            Text.assemble(*((line * n, colours[label]) for label, n in shares(ranked, bar))),
        ]
        if not ranked:
            pass  # silence has no probabilities
        elif in_columns:
            for p in row.probabilities.values():
                cells.append(Text(f"{100 * p:.0f}", style="" if p >= 0.1 else "dim"))
        elif then >= 12:
            first, *more = (f"{label} {100 * p:.0f}" for label, p in ranked[1:3])
            both = ", ".join([first, *more])
            cells.append(Text(both if len(both) <= then else first, style="dim"))
        table.add_row(*cells)
        said = name
    console.print("", table, "")


def shares(ranked: Sequence[tuple[str, float]], cells: int) -> list[tuple[str, int]]:
    """Share out cells by probability; those left over go where the most is missing.

    >>> shares([("fear", 0.7), ("anger", 0.26), ("neutral", 0.04)], 10)
    [('fear', 7), ('anger', 3), ('neutral', 0)]
    """
    given = {label: int(p * cells) for label, p in ranked}
    by_loss = sorted(ranked, key=lambda item: given[item[0]] - item[1] * cells)
    for label, _ in by_loss[: cells - sum(given.values())]:
        given[label] += 1
    return list(given.items())


def clock(seconds: float) -> str:
    """Return a time as people read it.

    >>> clock(7.25), clock(3725.5)
    ('0:07.25', '1:02:05.50')
    """
    hundredths = round(100 * seconds)
    minutes, rest = divmod(hundredths, 6000)
    hours, minutes = divmod(minutes, 60)
    hour = f"{hours}:{minutes:02}" if hours else f"{minutes}"
    return f"{hour}:{rest / 100:05.2f}"
