"""The papers' tables beside what we found: each printed row as published, by us, and honest.

The printed figures are the files below ``recipes/published``; a result belongs to a row if its
recipe is the row's, or that of the row's honest twin, whatever table it was run for.
"""

import csv
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lightser.corpora import CORPORA
from lightser.report.results import Result
from lightser.report.tables import short_title
from lightser.training.recipe import (
    Published,
    Recipe,
    find_recipes,
    quick,
    read_recipe,
    recipe_folder,
    recipe_name,
)

TITLES = {
    "zhong2020/table2": "Zhong et al. 2020, Table 2: with and without attention",
    "zhong2020/table3": "Zhong et al. 2020, Table 3: losses for ambiguous labels",
    "zhong2020/agreement": "Table 3 carried over to Emo-DB, which the paper could not",
    "zhong2020/table4": "Zhong et al. 2020, Table 4: number of blocks",
    "zhong2020/splits": "Table 4 with other test parts, which the authors' scripts know",
    "zhong2020/table5": "Zhong et al. 2020, Table 5: comparison",
    "light_sernet/table1": "Light-SERNet, Table 1: length and loss",
    "light_sernet/ablations": "Light-SERNet, the design choices that its slides name",
    "light_sernet/table2": "Light-SERNet, Table 2: comparison on IEMOCAP",
    "light_sernet/table3": "Light-SERNet, Table 3: comparison on improvised IEMOCAP",
    "light_sernet/table4": "Light-SERNet, Table 4: comparison on Emo-DB",
    "baselines/dnn_elm": "DNN-ELM on Emo-DB, measured by Chen et al. 2018, in no table of the two",
}
# What has to be known of a table, or of rows that no paper's table has.
REMARKS = {
    "light_sernet/ablations": (
        "Batch norm folding, which the slides name too, is done at export and has no recipe: "
        "benchmarks/folding.md has scores and time with it and without."
    ),
    "baselines/dnn_elm": (
        "Not reproduced, and little can be said against the printed figure: learning rate, batch "
        "size and the end of training are printed nowhere, ours were not tuned, and the network "
        "knows its training segments by heart within five epochs (docs/log.md)."
    ),
}
# Rows of other tables that a table begins with, to be compared with its own.
BEGINS_WITH = {"light_sernet/ablations": "light_sernet/table1/emodb-ce-3s"}
TWINS = "honest"  # folder of recipes that run the papers' rows under an honest protocol
LADDER = "ladder"  # folder of recipes that differ in the protocol alone, from lax to strict
LADDER_START = "light_sernet/table1/emodb-ce-3s"  # the printed figure that they take apart


@dataclass(frozen=True, kw_only=True)
class Row:
    """A recipe, its honest twin, and what is known of both.

    Attributes:
        name: of the recipe.
        recipe: the recipe.
        part: the corpus, and which part of it, in words.
        ours: its result; one that was cut down only where there is no other.
        honest: the result of its twin.
        absent: why a result is missing, if one is.
        note: what has to be known to read the printed figures.
    """

    name: str
    recipe: Recipe
    part: str
    ours: Result | None
    honest: Result | None
    absent: str
    note: str = ""

    @property
    def published(self) -> Published:
        """What the paper prints; no figures where no paper has this row."""
        return self.recipe.published or Published()

    @property
    def statistic(self) -> str:
        """What the printed figures are: ``"pooled"``, or ``"fold_mean"``, a mean over folds."""
        return self.published.statistic

    @property
    def is_ours_alone(self) -> bool:
        """Whether there is nothing published, and the recipe's own protocol is honest."""
        return self.recipe.published is None and self.ours is not None and self.ours.is_honest

    @property
    def worth_of_protocol(self) -> float | None:
        """The points of UA (fractions) that the published protocol adds; None if not known."""
        if self.ours is self.honest:
            return None
        return gain(self.ours, self.honest, self.statistic)


@dataclass(frozen=True, kw_only=True)
class PaperTable:
    """One table of a paper: its name below the recipes, a title, its rows by corpus, a remark."""

    name: str
    title: str
    rows: tuple[Row, ...]
    remark: str = ""


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One rung of the ladder.

    Attributes:
        recipe: which.
        result: what was found; None before it was run.
        step: its UA less that of the rung before (fractions); None where one is missing.
    """

    recipe: Recipe
    result: Result | None
    step: float | None

    @property
    def words(self) -> str:
        """What distinguishes it: its title without the system."""
        return self.recipe.title.partition(", ")[2]


class Found:
    """Results by what made them.

    Args:
        results: in any order; of two with the same recipe the more complete one counts.
    """

    def __init__(self, results: Iterable[Result]):
        done = sorted(results, key=lambda result: int(result.scores.get("folds_done") or 0))
        self._by_digest = {str(r.scores.get("recipe_sha256")): r for r in done}
        short = sorted((r for r in done if r.length < 1), key=lambda result: result.reach)
        self._short = {str(r.scores.get("full_recipe_sha256")): r for r in short}

    def of(self, recipe: Recipe) -> Result | None:
        """Return of a recipe's results, short and quick runs among them, what reaches furthest."""
        digest = recipe.sha256()
        found = (
            self._by_digest.get(digest),
            self._short.get(digest),
            self._by_digest.get(quick(recipe).sha256()),
        )
        return max(filter(None, found), key=lambda result: result.reach, default=None)


def paper_tables(results: Iterable[Result]) -> list[PaperTable]:
    """Return all tables of both papers with what ``results`` hold for their rows."""
    found = Found(results)
    tables = []
    for name, title in TITLES.items():
        notes = _notes(name) or {recipe_name(path): "" for path in find_recipes([name])}
        if name in BEGINS_WITH:
            notes = {BEGINS_WITH[name]: "", **notes}
        rows = sorted(
            (row_of(row, read_recipe(_file(row)), found, note) for row, note in notes.items()),
            key=_corpus_order,
        )
        remark = REMARKS.get(name, "")
        tables.append(PaperTable(name=name, title=title, rows=tuple(rows), remark=remark))
    return tables


def _notes(table: str) -> dict[str, str]:
    """Return what has to be known of each row of a printed table; {} where it is not printed."""
    file = recipe_folder() / "published" / f"{table.replace('/', '_')}.csv"
    if not file.is_file():
        return {}
    with file.open(newline="", encoding="utf-8") as lines:
        return {f"{table}/{line['row']}": line["note"] for line in csv.DictReader(lines)}


def rows_of(
    recipes: Mapping[str, Recipe], results: Iterable[Result], given: Collection[str]
) -> list[Row]:
    """Return a row for each recipe, by name; one and its twin share a row.

    Args:
        recipes: by name.
        results: of these and of others.
        given: names of the corpora that are at hand.
    """
    found = Found(results)
    twins = {twin_name(name) for name in recipes}
    return [
        row_of(name, recipe, found, given=given)
        for name, recipe in recipes.items()
        if name not in twins
    ]


def row_of(
    name: str,
    recipe: Recipe,
    found: Found,
    note: str = "",
    given: Collection[str] | None = None,
) -> Row:
    """Return what is known of a recipe and of its twin, if it has one."""
    twin = twin_name(name)
    honest = found.of(read_recipe(_file(twin))) if twin else None
    ours = found.of(recipe)
    if honest is None and ours is not None and ours.is_honest:
        honest = ours
    return Row(
        name=name,
        recipe=recipe,
        part=_part(recipe),
        ours=ours,
        honest=honest,
        absent=absence(recipe, given),
        note=note,
    )


def ladder(results: Iterable[Result]) -> list[Rung]:
    """Return the rungs from the laxest protocol to the strictest, with what was found."""
    found = Found(results)
    rungs: list[Rung] = []
    for path in find_recipes([LADDER]):
        recipe = read_recipe(path)
        result, before = found.of(recipe), rungs[-1].result if rungs else None
        rungs.append(Rung(recipe=recipe, result=result, step=gain(result, before)))
    return rungs


def ladder_start(results: Iterable[Result]) -> Row:
    """Return the row of the paper that the ladder takes apart."""
    return row_of(LADDER_START, read_recipe(_file(LADDER_START)), Found(results))


def score_of(result: Result, score: str, statistic: str = "pooled") -> float:
    """Return a score (a fraction), pooled or as the mean over folds (``"fold_mean"``)."""
    scores = result.scores
    if statistic == "fold_mean":
        return float(scores["fold_mean"][score]["mean"])
    return float(scores["pooled"][score])


def gain(result: Result | None, before: Result | None, statistic: str = "pooled") -> float | None:
    """Return by how much UA (a fraction) differs; None unless both are whole."""
    if result is None or before is None or not (result.is_whole and before.is_whole):
        return None
    return score_of(result, "ua", statistic) - score_of(before, "ua", statistic)


def belongs_to_papers(result: Result) -> bool:
    """Whether a result was run for a row of the papers, for a twin of one, or for the ladder."""
    name = result.name.removeprefix(f"{TWINS}/")
    return name.rpartition("/")[0] in TITLES or is_rung(result)


def is_rung(result: Result) -> bool:
    """Whether a result is one of the ladder's."""
    return result.name.startswith(f"{LADDER}/")


def twin_name(name: str) -> str | None:
    """Return the name of a recipe's honest twin, or None where it has none.

    >>> twin_name("zhong2020/table4/emodb-n1-ce"), twin_name("honest/emodb-light_sernet")
    ('honest/zhong2020/table4/emodb-n1-ce', None)
    """
    return f"{TWINS}/{name}" if _file(f"{TWINS}/{name}").is_file() else None


def absence(recipe: Recipe, given: Collection[str] | None = None) -> str:
    """Say why there is no result: a corpus that one has to ask for, or that nothing was run.

    Args:
        recipe: of the row.
        given: names of the corpora that are at hand; None takes those that can be downloaded.
    """
    name = recipe.corpus.name
    at_hand = bool(CORPORA[name].downloads) if given is None else name in given
    return "not run" if at_hand else f"needs {short_title(name)}"


def progress_words(result: Result) -> str:
    """Say what a result lacks, or ""; for example ``3 of 10 hold-outs`` or ``quick run``."""
    return ", ".join(filter(None, [result.cut_words, result.part_words]))


def lacking(result: Result) -> str:
    """Say behind a title what sets the result apart from a whole one of all classes, or ""."""
    lacks = ", ".join(filter(None, [result.class_words, progress_words(result)]))
    return f" ({lacks})" if lacks else ""


def classics(results: Iterable[Result]) -> dict[str, Result]:
    """Return by what was tested the best honest result of functionals and a linear SVM."""
    best: dict[str, Result] = {}
    for result in results:
        if result.is_classic and result.is_honest and result.is_whole:
            rival = best.get(result.tested)
            if rival is None or rival.scores["pooled"]["ua"] < result.scores["pooled"]["ua"]:
                best[result.tested] = result
    return best


def _part(recipe: Recipe) -> str:
    improvised = recipe.corpus.options.get("styles") == "improvised"
    return short_title(recipe.corpus.name) + (", improvised" if improvised else "")


def _corpus_order(row: Row) -> tuple[bool, str]:
    """Put what anybody can run first."""
    return not CORPORA[row.recipe.corpus.name].downloads, row.part


def _file(name: str) -> Path:
    return recipe_folder() / f"{name}.toml"
