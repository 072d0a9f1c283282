"""The ladder and the papers' tables as parts of a page: rows on one scale, and in words."""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

from lightser.report.papers import (
    PaperTable,
    Row,
    Rung,
    absence,
    classics,
    ladder,
    ladder_start,
    progress_words,
    score_of,
)
from lightser.report.results import Result, interval
from lightser.report.rows import (
    FOLD_MEAN,
    HEADERS,
    NOTE,
    RUNG_0,
    RUNGS,
    ladder_words,
    note_for,
    points,
    published_words,
    result_words,
    score_words,
    spread_words,
)
from lightser.report.tables import percent

KEY = (
    '<p class="key" aria-hidden="true"><span><i class="paper"></i>published</span>'
    '<span class="lax"><i class="dot"></i>{lax}</span>'
    '<span class="honest"><i class="dot"></i>honest, ours</span>'
    '<span><i class="span"></i>95 % interval</span>{more}</p>'
)
LADDER_KEY = KEY.format(lax="lenient, ours", more='<span><i class="drop"></i>the step</span>')
PAPERS_KEY = KEY.format(
    lax="as published, ours",
    more='<span><i class="rough dot"></i>cut short</span>'
    '<span><i class="classic"></i>the classic baseline, honest</span>',
)
SHORT = 16  # letters of a part of a title that need no break inside


class Scale:
    """Places of UA on a line from a round figure below all that is shown up to 100.

    Args:
        uas: fractions to be shown.
    """

    def __init__(self, uas: Iterable[float]):
        self.left = max(0.0, math.floor(10 * min(uas, default=0.5) - 0.2) / 10)

    def at(self, ua: float) -> str:
        """Return the place of ``ua`` as CSS."""
        return f"{100 * max(0.0, ua - self.left) / (1 - self.left):.1f}%"

    def mark(self, ua: float, kind: str) -> str:
        """Return a mark of a class of the stylesheet."""
        return f'<i class="{kind}" style="left:{self.at(ua)}"></i>'

    def result(self, result: Result | None, statistic: str = "pooled") -> str:
        """Return interval and score of a result in the tone of its protocol; "" for none.

        A mean over folds has no interval.
        """
        if result is None or result.is_quick:
            return ""
        span = ""
        if statistic == "pooled" and (ends := interval(result, "ua")):
            width = f"{100 * (ends[1] - max(self.left, ends[0])) / (1 - self.left):.1f}%"
            span = f'<i class="span" style="left:{self.at(ends[0])};width:{width}"></i>'
        tone = result.tone + (" rough" if progress_words(result) else "")
        return f'<b class="{tone}">{span}{self.mark(score_of(result, "ua", statistic), "dot")}</b>'

    def axis(self) -> str:
        """Return the head of the column of marks: the ends of the line and tens between."""
        low, step = round(100 * self.left), 10 if self.left >= 0.4 else 20
        ticks = "".join(
            f'<i style="left:{self.at(ten / 100)}">{ten}</i>' for ten in range(low, 101, step)
        )
        return f'<th class="track" aria-hidden="true"><div class="axis">{ticks}</div></th>'


def uas_of(result: Result | None, statistic: str = "pooled") -> list[float]:
    """Return what a result shows on a scale."""
    if result is None or result.is_quick:
        return []
    ends = interval(result, "ua") if statistic == "pooled" else None
    return [score_of(result, "ua", statistic), *(ends or ())]


# --- the ladder ---


def ladder_section(results: Sequence[Result], anchors: Mapping[Path, str]) -> str:
    """Return the section that shows what each step of protocol costs.

    Args:
        results: all that is there.
        anchors: where the page shows a result, by its folder.
    """
    rungs, start = ladder(results), ladder_start(results)
    classic = classics(results).get(start.recipe.corpus.name)
    shown = [u for rung in rungs for u in uas_of(rung.result)] + uas_of(classic)
    shown += [*uas_of(start.ours), (start.published.ua or 100) / 100]
    scale = Scale(shown)
    rows = [_published_rung(start, scale, anchors)]
    rows += [_rung(number + 1, rung, scale, anchors) for number, rung in enumerate(rungs)]
    if classic is not None:
        rows.append(
            '<tr class="honest"><th scope="row"><span class="step">–</span>For comparison, the '
            f"classic baseline: {_linked(classic, classic.title, anchors)}, unseen speaker</th>"
            f"{_track(scale.result(classic))}"
            f'<td data-label="{RUNGS[1]}">{_unbroken(score_words(classic))}</td>'
            f"{_spread(classic)}<td></td></tr>"
        )
    heads = "".join(f'<th scope="col">{h}</th>' for h in RUNGS[1:])
    return f"""<section id="ladder">
<h2>How much of a score is protocol?</h2>
{_ladder_lead(rungs)}
<p>{escape(ladder_words(results)).replace("`recipes/ladder`", "<code>recipes/ladder</code>")}</p>
<div class="card wide"><table class="ladder">
<thead><tr><th scope="col">{RUNGS[0]}</th>{scale.axis()}{heads}</tr></thead>
<tbody>{"".join(rows)}</tbody></table></div>
{LADDER_KEY}
</section>
"""


def _ladder_lead(rungs: Sequence[Rung]) -> str:
    whole = [rung for rung in rungs if rung.result is not None and rung.result.is_whole]
    if len(whole) < 2:
        return ""
    first, last = whole[0].result, whole[-1].result
    assert first is not None and last is not None
    top, bottom = first.scores["pooled"]["ua"], last.scores["pooled"]["ua"]
    worth = f"<b>{percent(top - bottom)} points are protocol</b>."
    if whole[-1].recipe.protocol.name == "text_speaker":  # it changes more than the test
        worth = (
            f"<b>{percent(top - bottom)} points</b> lie between the first rung and the last; the "
            "last also trains on a fifth less."
        )
    return (
        f'<p class="lead">The same network, trained in the same way, has '
        f'<b class="tone {first.tone}">{percent(top)} UA</b> ({escape(whole[0].words)}) or '
        f'<b class="tone {last.tone}">{percent(bottom)} UA</b> ({escape(whole[-1].words)}): '
        f"{worth}</p>"
    )


def _published_rung(row: Row, scale: Scale, anchors: Mapping[Path, str]) -> str:
    marks = scale.result(row.ours)
    if row.published.ua is not None:
        marks += scale.mark(row.published.ua / 100, "paper")
    printed = published_words(row, with_f1=False)
    words = f"printed {printed}<br>{_unbroken(f'ours {result_words(row.ours, row.absent)}')}"
    title = _linked(row.ours, RUNG_0, anchors)
    return (
        f'<tr class="lax start"><th scope="row"><span class="step">0</span>{title}</th>'
        f'{_track(marks)}<td data-label="{RUNGS[1]}">{words}</td>{_spread(row.ours)}<td></td></tr>'
    )


def _spread(result: Result | None) -> str:
    return f'<td data-label="{RUNGS[2]}">{_unbroken(spread_words(result))}</td>'


def _rung(number: int, rung: Rung, scale: Scale, anchors: Mapping[Path, str]) -> str:
    result = rung.result
    tone = "absent" if result is None else result.tone
    words, marks = result_words(result, absence(rung.recipe)), scale.result(result)
    return (
        f'<tr class="{tone}"><th scope="row"><span class="step">{number}</span>'
        f"{_linked(result, rung.words, anchors)}</th>{_track(_drop(rung, scale) + marks)}"
        f'<td data-label="{RUNGS[1]}">{_unbroken(words)}</td>{_spread(result)}'
        f'<td data-label="{RUNGS[3]}"><b>{points(rung.step)}</b></td></tr>'
    )


def _drop(rung: Rung, scale: Scale) -> str:
    """Draw what this rung takes away from the one before."""
    if rung.result is None or rung.step is None or rung.step >= 0:
        return ""
    ua = rung.result.scores["pooled"]["ua"]
    width = f"{100 * -rung.step / (1 - scale.left):.1f}%"
    return f'<i class="drop" style="left:{scale.at(ua)};width:{width}"></i>'


# --- the papers ---


def papers_section(
    tables: Sequence[PaperTable], results: Sequence[Result], anchors: Mapping[Path, str]
) -> str:
    """Return the section with all tables of the papers, published beside ours."""
    best = classics(results)
    return f"""<section id="papers">
<h2>The papers, row by row</h2>
<p>{escape(note_for(results))}</p>
{PAPERS_KEY}
{"".join(_paper_table(table, best, anchors) for table in tables)}
</section>
"""


def rows_section(
    rows: Sequence[Row], results: Sequence[Result], anchors: Mapping[Path, str]
) -> str:
    """Return the section with some rows, published beside ours."""
    table = PaperTable(name="", title="Published beside ours", rows=tuple(rows))
    return f"""<section id="rows">
<p>{escape(NOTE)}</p>
{PAPERS_KEY}
{_paper_table(table, classics(results), anchors)}
</section>
"""


def _paper_table(table: PaperTable, best: dict[str, Result], anchors: Mapping[Path, str]) -> str:
    by_part: dict[str, list[Row]] = {}
    for row in table.rows:
        by_part.setdefault(row.part, []).append(row)
    parts = []
    for part, rows in by_part.items():
        drawn = _rows(rows, best.get(rows[0].recipe.corpus.name), anchors)
        if any(row.ours or row.honest for row in rows):
            parts.append(f"<h4>{escape(part)}</h4>{drawn}")
        else:
            why = rows[0].absent
            count = f"{len(rows)} row{'s' * (len(rows) != 1)}"
            summary = f"<summary>{escape(part)}: {count}, {escape(why)}</summary>"
            parts.append(f"<details>{summary}{drawn}</details>")
    if table.remark:
        parts.append(f'<p class="small">{escape(table.remark)}</p>')
    return f'<section class="paper-table"><h3>{escape(table.title)}</h3>{"".join(parts)}</section>'


def _rows(rows: Sequence[Row], classic: Result | None, anchors: Mapping[Path, str]) -> str:
    shown = [u for row in rows for r in (row.ours, row.honest) for u in uas_of(r, row.statistic)]
    shown += [row.published.ua / 100 for row in rows if row.published.ua is not None]
    is_run = any(row.ours or row.honest for row in rows)
    lines = [uas_of(classic, row.statistic)[:1] if is_run else [] for row in rows]
    scale = Scale(shown + [ua for line in lines for ua in line])
    heads = "".join(f'<th scope="col">{h}</th>' for h in HEADERS[1:])
    body = "".join(_row(row, scale, line, anchors) for row, line in zip(rows, lines, strict=True))
    return f"""<div class="card wide"><table class="papers"><thead><tr>
<th scope="col">{HEADERS[0]}</th>{scale.axis()}{heads}</tr></thead>
<tbody>{body}</tbody></table></div>"""


def _row(row: Row, scale: Scale, line: Sequence[float], anchors: Mapping[Path, str]) -> str:
    marks = "".join(scale.mark(ua, "classic") for ua in line)
    if row.ours is not row.honest:
        marks += scale.result(row.ours, row.statistic)
    marks += scale.result(row.honest, row.statistic)
    if row.published.ua is not None:
        marks += scale.mark(row.published.ua / 100, "paper")
    note = ""
    if row.note:  # below, over the whole width: beside figures it would be long and narrow
        note = f'<tr class="about"><td colspan="{len(HEADERS) + 1}">{escape(row.note)}</td></tr>'
    cells = (
        published_words(row),
        "–" if row.is_ours_alone else _state(row.ours, row.absent, row),
        _state(row.honest, row.absent, row),
        points(row.worth_of_protocol),
    )
    tones = ("", "lax", "honest", "")
    listed = "".join(
        f'<td class="{tone}" data-label="{header}">{cell}</td>'
        for header, cell, tone in zip(HEADERS[1:], cells, tones, strict=True)
    )
    title = _linked(row.ours or row.honest, row.recipe.title, anchors)
    return (
        f'<tr><th scope="row">{title}<code class="recipe">{escape(row.name)}</code></th>'
        f"{_track(marks)}{listed}</tr>{note}"
    )


def _state(result: Result | None, absent: str, row: Row) -> str:
    """Return the scores in the tone of their protocol and what they lack, or why there are none.

    ``absent`` and ``row`` are as in :func:`~lightser.report.rows.result_words`.
    """
    if result is None:
        return f'<span class="absence">{escape(absent)}</span>'
    lacks = progress_words(result)
    badge = f' <span class="badge">{escape(lacks)}</span>' if lacks else ""
    figures, comma, pooled = score_words(result, row).partition(f", {FOLD_MEAN}")
    ua, _, others = figures.partition(" / ")
    # with an interval or a deviation, figures are too wide for one line of these tables
    is_wide = ua.endswith("]") or "±" in ua
    words = _unbroken(f"{ua} /") + f"<br>{_unbroken(others)}" if is_wide else _unbroken(figures)
    if comma:
        of, _, score = escape(pooled).rpartition("UA ")
        behind = f"{of.rstrip()}&nbsp;UA <span>{score}</span>" if score else ""
        words += f' <span class="note">{FOLD_MEAN}{behind}</span>'
    return f'<span class="absence">{words}{badge}</span>' if result.is_quick else words + badge


def _track(marks: str) -> str:
    return f'<td class="track" aria-hidden="true"><div class="bar">{marks}</div></td>'


def _linked(result: Result | None, words: str, anchors: Mapping[Path, str]) -> str:
    anchor = anchors.get(result.folder) if result is not None else None
    # Broken after commas: "Zhong 2020, 2 blocks" has no unit alone on a line.
    parts = (_unbroken(part) if len(part) <= SHORT else escape(part) for part in words.split(", "))
    text = ", ".join(parts)
    return f'<a href="#{anchor}">{text}</a>' if anchor else text


def _unbroken(text: str) -> str:
    return escape(text).replace(" ", "&nbsp;")
