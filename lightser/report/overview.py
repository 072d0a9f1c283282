"""What a README shows of many results: three small tables of those that say something."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from lightser.errors import BadResults
from lightser.report.papers import Row, is_rung, lacking, ladder, paper_tables, score_of
from lightser.report.results import Result
from lightser.report.rows import (
    LOOKED_AT,
    NOTE,
    ladder_to_markdown,
    ladder_words,
    rows_to_markdown,
)
from lightser.report.tables import (
    escape_markdown,
    markdown_table,
    parameters_cell,
    short_title,
    telling,
    to_markdown,
    ua_cell,
)
from lightser.whole import write_whole

STRANGERS = (
    "**On speakers who were not heard in training and chose no epoch**: UA (unweighted accuracy, "
    "also UAR: the mean recall of the classes) in per cent, pooled over folds, with its 95 % "
    "bootstrap interval over speakers. Of several trainings of a system it is the best of the "
    "longest. Chance is one of as many emotions as the column says. "
) + LOOKED_AT
OURS = "our training"  # in the titles of our own recipes, of which a network may be another size
PAPERS = "**The papers' rows, run at full length.** " + NOTE
RUNGS = "**What the protocol is worth.**"

Columns: TypeAlias = dict[tuple[str, str], dict[str, Result]]

README_BLOCK = re.compile(r"(<!-- results -->).*?(<!-- /results -->)", re.DOTALL)


def overview(results: Sequence[Result]) -> str:
    """Return Markdown: systems on strangers, the papers' rows beside ours, and the ladder.

    What was not run is left out. Where no row of the papers was run at full length it is the table
    of all results, as in a report.
    """
    rows, strangers = whole_rows(results), honest_columns(results)
    if not rows:
        return to_markdown(telling(results))
    parts = [PAPERS, rows_to_markdown(rows)]
    if strangers:
        parts = [STRANGERS, columns_to_markdown(strangers), *parts]
    if any(rung.result for rung in ladder(results)):
        parts += [f"{RUNGS} {ladder_words(results)}", ladder_to_markdown(results)]
    return "\n\n".join(parts) + "\n"


def whole_rows(results: Iterable[Result]) -> list[Row]:
    """Return the rows with published figures whose recipe was run at full length, each once.

    A quick run of the honest twin says nothing, and is left out.
    """
    rows: dict[Path, Row] = {}
    for table in paper_tables(results):
        for row in table.rows:
            if row.ours and row.ours.is_whole and row.recipe.published:
                is_quick = row.honest is not None and row.honest.is_quick
                rows.setdefault(row.ours.folder, replace(row, honest=None) if is_quick else row)
    return list(rows.values())


def honest_columns(results: Iterable[Result]) -> Columns:
    """Return the honest result of each system on what was tested, by (what, protocol).

    What ``lightser evaluate`` found of a finished model is left out, and so is the ladder.
    """
    columns: Columns = {}
    for result in results:
        is_own = "recipe" in result.scores and not is_rung(result)
        if is_own and result.is_honest and not result.is_quick:
            column = columns.setdefault((result.tested, str(result.scores["protocol"])), {})
            system = result.title.partition(",")[0]
            both = column.get(system, result), result
            column[system] = max(both, key=lambda r: (r.reach, score_of(r, "ua")))
    return columns


def columns_to_markdown(columns: Columns) -> str:
    """Return a table with a row for each system, the best in the first column first."""
    # One corpus before several, and first what most systems were tested on.
    order = sorted(columns, key=lambda column: ("+" in column[0], -len(columns[column]), column))
    systems = dict.fromkeys(
        system
        for column in order
        for system in sorted(
            columns[column], key=lambda name: -score_of(columns[column][name], "ua")
        )
    )
    rows = []
    for system in systems:
        found = [columns[column].get(system) for column in order]
        is_ours = any(f", {OURS}" in result.title for result in filter(None, found))
        name = f"{system}, {OURS}" if is_ours else system
        size = "–" if found[0] is None else parameters_cell(found[0])
        rows.append((escape_markdown(name), size, *map(_cell, found)))
    headers = []
    for column in order:
        tested, protocol = column
        n_labels = len(next(iter(columns[column].values())).labels)
        headers.append(f"{short_title(tested)}, {n_labels} emotions, {protocol}")
    size_of = f"Parameters ({short_title(order[0][0])})"
    return markdown_table(("System", size_of, *headers), rows)


def _cell(result: Result | None) -> str:
    return "–" if result is None else ua_cell(result) + lacking(result)


def put_into_readme(path: Path, results: Sequence[Result]) -> None:
    """Replace what stands between ``<!-- results -->`` and ``<!-- /results -->``.

    Raises:
        BadResults: the file cannot be read, or does not have the two comments.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise BadResults(f"Cannot read {path}: {error.strerror}") from error
    if not README_BLOCK.search(text):
        raise BadResults(f"{path} has no place marked <!-- results --> ... <!-- /results -->")
    shown = overview(results)
    text = README_BLOCK.sub(lambda block: f"{block[1]}\n\n{shown}\n{block[2]}", text)
    write_whole(path, text)
