"""Rows of the papers as text: published beside ours, in cells and in Markdown."""

from collections.abc import Iterable, Sequence

from lightser.report.papers import (
    TWINS,
    Row,
    absence,
    classics,
    lacking,
    ladder,
    ladder_start,
    paper_tables,
    progress_words,
    score_of,
)
from lightser.report.results import Result, fingerprint, interval
from lightser.report.tables import (
    escape_markdown,
    fold_mean_cell,
    heading_of,
    in_brackets,
    markdown_table,
    ordered,
    percent,
    short_title,
    telling,
    to_markdown,
    ua_cell,
)

HEADERS = ("Row", "Published UA / WA / F1", "As published, ours", "Honest, ours", "Protocol")
NOTE = (
    "Ours: pooled UA with its 95 % interval over speakers / pooled WA, in per cent, and F1 where "
    "the paper prints it: the macro average in rows of Zhong et al., as in their code, else the "
    "weighted one. Where the paper prints means over folds, so do we, with their standard "
    "deviation, and say so: fold mean; the pooled UA with its interval stands behind. As "
    "published: the protocol of the paper, faults included. Honest: nobody who is tested was heard "
    "in training, or chose the epoch. Protocol: what of our UA as published is not there under the "
    "honest one."
)
LADDER_WORDS = (
    "One network, one training, one corpus; each rung changes one thing about how it is tested. "
    "Light-SERNet on Emo-DB, a tenth of the published length at ten times the rate (the recipes "
    "below `recipes/ladder` say all). On test the epoch is chosen by WA, as published, on "
    "validation by UA. A tenth of the clips, or one speaker, is tested, and another one is for "
    "validation; the last rung trains on a fifth less, as unseen sentences must go."
)
RECALLS = "Of each class, the share that is recognised, in per cent; honest results first."
FOLD_MEAN = "fold mean"
QUICK = (
    "Quick run: a few epochs, two folds, one seed. It shows that everything runs, and nothing of "
    "how good it is."
)
SHORT = (
    "Short run: {} % of each recipe's epochs or updates, one seed. Longer ones may score higher."
)
RUNGS = ("Protocol", "UA [95 %] / WA", "UA, fold mean ± std", "Step")
RUNG_0 = "as published, full length"
LOOKED_AT = "Our own recipes were made looking at three of Emo-DB's speakers (03, 10 and 13)."


def published_words(row: Row, *, with_f1: bool = True) -> str:
    """Return for example ``94.15 / 94.21 / 94.16``; the last is F1, and ``90.10 / –`` has none."""
    says = row.published
    figures = [says.ua, says.wa]
    if with_f1 and says.f1 is not None:
        figures.append(says.f1)
    if all(figure is None for figure in figures):
        return "–"
    return " / ".join("–" if figure is None else f"{figure:.2f}" for figure in figures)


def score_words(result: Result, row: Row | None = None) -> str:
    """Return for example ``82.6 [78.1–86.7] / 83.2``; a quick run has no interval worth saying.

    Args:
        result: whose.
        row: of a paper, to print what it prints: the statistic, and which F1, if any.
    """
    statistic = "pooled" if row is None else row.statistic
    scores = ["ua", "wa"]
    if row is not None and row.published.f1 is not None:
        scores.append(f"{row.published.f1_average}_f1")
    ua, *rest = (percent(score_of(result, score, statistic)) for score in scores)
    if statistic == "pooled":
        ends = None if result.is_quick else interval(result, "ua")
        return " / ".join([ua + in_brackets(ends), *rest])
    pooled = ""
    if not result.is_quick and result.predictions["fold"].nunique() > 1:
        ua, pooled = fold_mean_cell(result), f"; pooled UA {ua_cell(result)}"
    return f"{' / '.join([ua, *rest])}, {FOLD_MEAN}{pooled}"


def result_words(result: Result | None, absent: str, row: Row | None = None) -> str:
    """Return the scores of a result and what it lacks, or ``absent``: why there is none.

    ``row`` is as in :func:`score_words`.
    """
    if result is None:
        return absent
    lacks = progress_words(result)
    return score_words(result, row) + (f" ({lacks})" if lacks else "")


def points(difference: float | None) -> str:
    """Return a difference in points, with its sign.

    >>> points(0.123), points(-0.02), points(None)
    ('+12.3', '−2.0', '–')
    """
    return "–" if difference is None else f"{100 * difference:+.1f}".replace("-", "−")


def cells(row: Row) -> tuple[str, ...]:
    """Return the texts under :data:`HEADERS`."""
    return (
        f"{row.recipe.title} ({row.part})",
        published_words(row),
        "–" if row.is_ours_alone else result_words(row.ours, row.absent, row),
        result_words(row.honest, row.absent, row),
        points(row.worth_of_protocol),
    )


def rows_to_markdown(rows: Iterable[Row]) -> str:
    """Return a Markdown table of rows, each with the name of its recipe."""
    listed = []
    for row in rows:
        first, *rest = map(escape_markdown, cells(row))
        listed.append((f"{first}, `{row.name}`", *rest))
    return markdown_table(HEADERS, listed)


def rows_page_to_markdown(rows: Iterable[Row], *, title: str, remark: str = "") -> str:
    """Return a page with a table of rows, and what must be said of all of them."""
    parts = [f"# {title}", *([f"**{remark}**"] if remark else []), rows_to_markdown(rows), NOTE]
    return "\n\n".join(parts) + "\n"


def page_to_markdown(results: Sequence[Result], *, title: str = "Results") -> str:
    """Return the ladder, every table of the papers, and a table of all results."""
    parts = [f"# {title}", "## The ladder", ladder_words(results), ladder_to_markdown(results)]
    parts += ["## The papers, row by row", note_for(results)]
    for table in paper_tables(results):
        parts += [f"### {table.title}", rows_to_markdown(table.rows)]
        parts += [
            f"*{row.recipe.title} ({row.part})*: {row.note}" for row in table.rows if row.note
        ]
        parts += filter(None, [table.remark])
    if best := classics(results):
        headers = ("The classic baseline, honest", "Tested on", RUNGS[1])
        rows = [
            (escape_markdown(result.title), short_title(tested), score_words(result))
            for tested, result in best.items()
        ]
        parts += ["### What everybody should beat", markdown_table(headers, rows)]
    parts += ["## Recall by class", RECALLS, *recalls_to_markdown(results)]
    parts += ["## All results", *filter(None, [looked_at(results)])]
    parts += [to_markdown(telling(results)), f"<!-- {fingerprint(results)} -->"]
    return "\n\n".join(parts) + "\n"


def looked_at(results: Iterable[Result]) -> str:
    """Say which speakers our own recipes have seen, if one of their results is there, or ""."""
    own = {f"{TWINS}/emodb-{name}" for name in ("light_sernet", "zhong2020", "zhong2020-logmel")}
    return LOOKED_AT if any(result.name in own for result in results) else ""


def note_for(results: Iterable[Result]) -> str:
    """Return what has to be known to read the papers' tables."""
    return f"{NOTE} {QUICK}" if any(result.is_quick for result in results) else NOTE


def recalls_to_markdown(results: Iterable[Result]) -> list[str]:
    """Return a table of recalls for what was tested and each set of classes, without quick runs.

    Beside the title stands how the result was tested: honest, or lenient.
    """
    groups: dict[tuple[str, ...], list[Result]] = {}
    for result in ordered(telling(results)):
        if not result.is_quick:
            groups.setdefault((result.tested, *result.labels), []).append(result)
    return [
        markdown_table(
            (short_title(tested), "Tested", *map(escape_markdown, labels)),
            (
                (
                    escape_markdown(result.title + lacking(result)),
                    heading_of(result).partition(":")[0].lower(),
                    *(percent(result.scores["recalls"][label], 0) for label in labels),
                )
                for result in group
            ),
        )
        for (tested, *labels), group in groups.items()
    ]


def ladder_words(results: Sequence[Result]) -> str:
    """Return what the ladder is, and what its first step owes to the criterion of the epoch."""
    on_test, on_valid = (rung.result for rung in ladder(results)[:2])
    if on_test is None or on_valid is None or "test_ua" not in on_test.history:
        return LADDER_WORDS
    if not (on_test.is_whole and on_valid.is_whole):
        return LADDER_WORDS
    jobs = on_test.history.dropna(subset=["test_ua"]).groupby(["fold", "seed"])
    by_ua = float(jobs["test_ua"].max().mean())
    worth = by_ua - score_of(on_valid, "ua", "fold_mean")
    return (
        f"{LADDER_WORDS} Did the first rung choose by UA too, its fold mean would be "
        f"{percent(by_ua)}, {percent(worth)} points above the second's."
    )


def ladder_to_markdown(results: Sequence[Result]) -> str:
    """Return the ladder as a Markdown table, from the printed figure to the classic baseline."""
    start = ladder_start(results)
    rows = [
        (
            RUNG_0,
            f"printed {published_words(start, with_f1=False)}; "
            f"ours {result_words(start.ours, start.absent)}",
            spread_words(start.ours),
            "–",
        )
    ]
    rows += [
        (
            rung.words,
            result_words(rung.result, absence(rung.recipe)),
            spread_words(rung.result),
            points(rung.step),
        )
        for rung in ladder(results)
    ]
    if classic := classics(results).get(start.recipe.corpus.name):
        words = f"for comparison, the classic baseline: {classic.title}, unseen speaker"
        rows.append((words, score_words(classic), spread_words(classic), "–"))
    return markdown_table(RUNGS, ([*map(escape_markdown, row)] for row in rows))


def spread_words(result: Result | None) -> str:
    """Return the mean over folds and its deviation, or a dash where they say nothing."""
    return "–" if result is None or result.is_quick else fold_mean_cell(result)
