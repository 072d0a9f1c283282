"""``lightser reproduce``: any row of the papers, or any recipe, under its protocol."""

import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lightser import memory
from lightser.cli import app
from lightser.cli.corpus_folders import HELP as CORPUS_HELP
from lightser.cli.corpus_folders import corpus_folders
from lightser.cli.interrupted import resumable
from lightser.cli.precision import say_precision
from lightser.cli.warned import spoken_warnings
from lightser.cluster import name_cluster
from lightser.errors import BadRecipe, BadResults, MissingExtra
from lightser.whole import writable_folder, write_whole

if TYPE_CHECKING:
    import pandas as pd

    from lightser.report.papers import Row
    from lightser.report.results import Result
    from lightser.training.cost import Cost
    from lightser.training.crossval import Plan
    from lightser.training.recipe import Recipe

SUFFIXES = (".html", ".md")


@app.command(
    epilog="Example: lightser reproduce light_sernet/table1/emodb-ce-3s "
    "--corpus emodb=~/corpora/emodb --workers 4"
)
def reproduce(
    targets: Annotated[
        list[str],
        typer.Argument(help="Recipes, or folders of recipes such as zhong2020/table4 or honest."),
    ],
    corpus: Annotated[list[str], typer.Option(help=CORPUS_HELP)] = [],  # noqa: B006
    out: Annotated[Path, typer.Option(help="Where results go, one folder a recipe.")] = Path(
        "results"
    ),
    honest: Annotated[
        bool,
        typer.Option("--honest", help="Also run each row of the papers under an honest protocol."),
    ] = False,
    workers: Annotated[int, typer.Option(min=1, help="Jobs at a time.")] = 1,
    engine: Annotated[
        str, typer.Option(help="How jobs run: local, serial, stacked or ray.")
    ] = "local",
    address: Annotated[
        str | None,
        typer.Option(help="Of a Ray cluster to run on; auto is the one that runs here."),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    quick: Annotated[
        bool, typer.Option("--quick", help="A few epochs, two folds, one seed: to see it work.")
    ] = False,
    length: Annotated[
        float,
        typer.Option(help="Share of the epochs or updates to run, one seed; 0.1 is a tenth."),
    ] = 1.0,
    part: Annotated[
        str | None,
        typer.Option(
            metavar="K/N", help="Run only every N-th job, from the K-th on: for arrays of jobs."
        ),
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Only say what would be run, and how long it takes.")
    ] = False,
    table: Annotated[
        Path | None,
        typer.Option(help="Also write the table at the end: a file that ends in .md or .html."),
    ] = None,
    tensorboard: Annotated[
        bool,
        typer.Option(
            "--tensorboard",
            help="Also write curves for TensorBoard: tensorboard/ in the folder of each recipe.",
        ),
    ] = False,
) -> None:
    """Train and score recipes under their protocols: published beside ours.

    It first says what it will cost, from a few updates of each kind, timed. What is there already
    is not run again, so that a run that was stopped goes on where it was. Rows whose corpus is not
    given are left out, and the table at the end says so.
    """
    try:
        from lightser.training.recipe import find_recipe, find_recipes, read_recipe, recipe_name

        found = find_recipes(targets)  # a wrong name is answered before PyTorch is loaded
        from lightser.report.papers import rows_of, twin_name
        from lightser.report.results import read_result
        from lightser.report.rows import QUICK, SHORT
        from lightser.training.cost import cost_of
        from lightser.training.crossval import (
            adopt,
            found_elsewhere,
            missing_jobs,
            run,
            share_out,
        )
        from lightser.training.engines import ENGINES
        from lightser.training.jobs import check_device
    except ImportError as error:
        raise MissingExtra("Training", "train") from error

    from lightser.cli.watch import Watch

    if table is not None and table.suffix not in SUFFIXES:
        raise BadResults(f"--table {table} must end in {' or '.join(SUFFIXES)}")
    if table is not None and not table.parent.is_dir():
        raise BadResults(f"--table {table}: there is no folder {table.parent}; make it first")
    if address is not None:
        engine = name_cluster(engine, address, default="local")
    if quick and length != 1:
        raise BadRecipe("--quick and --length both cut recipes down: give one of them")
    if engine != "ray":  # whose devices are elsewhere
        check_device(device)
    ENGINES[engine]  # an unknown name is answered before anything is read
    recipes = {recipe_name(path): read_recipe(path) for path in found}
    folders = corpus_folders(corpus)  # not before: a recipe may bring a corpus of its own
    if honest:
        twins = [twin for name in recipes if (twin := twin_name(name))]
        recipes |= {name: read_recipe(find_recipe(name)) for name in twins}
    root, remark = out, ""
    if quick:
        root, remark = out / "quick", QUICK
    elif length != 1:
        root, remark = out / f"length-{length:g}", SHORT.format(f"{100 * length:g}")
    plans = make_plans(
        recipes, folders, root, quick=quick, length=length, device=device, tensorboard=tensorboard
    )
    for name, recipe in recipes.items():
        if (needed := recipe.corpus.name) not in folders:
            typer.echo(f"{name}: needs the corpus {needed} (--corpus {needed}=DIR)", err=True)
    if plans and not plan:
        writable_folder(root)
    repeats = repeats_of(plans)
    if part is not None:
        plans = share_out(plans, *parse_part(part), but=repeats)
    for at, item in enumerate(plans):
        if same := (found_elsewhere if plan else adopt)(item, out):
            typer.echo(f"{item.name}: the same as {same}, taken from there", err=True)
            if plan:  # nothing is written: it is looked for where it is
                plans[at] = replace(item, out=same)
        elif item.name in repeats:
            typer.echo(f"{item.name}: the same as {repeats[item.name]}, run once", err=True)
    to_run = [item for item in plans if item.name not in repeats]
    if engine != "ray":
        say_precision([item.recipe for item in to_run if missing_jobs(item)], device)
    cost = cost_of(to_run, told=lambda name: typer.echo(f"timing an update of {name}", err=True))
    at_once = min(workers, sum(cost.missing.values()))
    say_cost(cost, to_run, at_once)
    if engine != "ray":
        say_what_does_not_fit(cost, at_once)
    if remark:
        typer.echo(remark, err=True)
    if plan:
        return
    for item in plans:
        adopt(item, out)  # what has been found meanwhile
        n_missing = len(missing_jobs(item))
        with (
            resumable("the same command goes on from the last checkpoint"),
            Watch(len(item.part), len(item.part) - n_missing) as watch,
        ):
            run(
                item,
                engine=engine,
                workers=workers,
                progress=watch.running,
                done=lambda job, scores, watch=watch: watch.done(job.name, scores),  # type: ignore[misc]
            )
    # What was found for the same rows earlier stands beside it.
    names = [*recipes, *(twin for name in recipes if (twin := twin_name(name)))]
    kept = {item.out for item in plans} | {out / name for name in names}
    with spoken_warnings():
        results = [read_result(folder) for folder in sorted(kept) if has_results(folder)]
    rows = rows_of(recipes, results, given=list(folders))
    print_rows(rows)
    if remark:
        typer.echo(remark)
    if table is not None:
        write_table(table, rows, results, title=" ".join(targets), remark=remark)
        typer.echo(table, err=True)


def parse_part(text: str) -> tuple[int, int]:
    """Return which part of how many is meant.

    Raises:
        BadRecipe: it is not such a thing.

    >>> parse_part("3/10")
    (3, 10)
    """
    number, _, count = text.partition("/")
    if number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count):
        return int(number), int(count)
    raise BadRecipe(f"--part {text}: give a part and how many there are, such as 3/10")


def make_plans(
    recipes: "dict[str, Recipe]",
    folders: dict[str, Path],
    out: Path,
    *,
    quick: bool,
    length: float,
    device: str,
    tensorboard: bool,
) -> "list[Plan]":
    """Deal the folds of every recipe whose corpus is there; each corpus is read once."""
    from lightser.corpora import load_corpus
    from lightser.corpora.splits import CONTENT
    from lightser.corpora.utterances import content_hashes
    from lightser.training.crossval import make_plan

    plans = []
    tables: dict[str, pd.DataFrame] = {}  # many recipes, few corpora
    for name, recipe in recipes.items():
        if recipe.corpus.name not in folders:
            continue
        if (key := repr(recipe.corpus)) not in tables:
            folder = folders[recipe.corpus.name]
            with spoken_warnings():
                table = load_corpus(recipe.corpus.name, folder, **recipe.corpus.options)
            tables[key] = table.assign(**{CONTENT: content_hashes(table)})
        plans.append(
            make_plan(
                recipe,
                tables[key],
                name=name,
                out=out / name,
                is_quick=quick,
                length=length,
                device=device,
                tensorboard=tensorboard,
            )
        )
    return plans


def repeats_of(plans: "Sequence[Plan]") -> dict[str, str]:
    """Return the names of plans that repeat an earlier one, and of which."""
    first: dict[tuple[str, tuple[int, ...]], str] = {}
    repeats = {}
    for item in plans:
        name = first.setdefault((item.recipe.sha256(), item.recipe.seeds), item.name)
        if name != item.name:
            repeats[item.name] = name
    return repeats


def say_cost(cost: "Cost", plans: "Sequence[Plan]", at_once: int) -> None:
    """Say how many jobs each recipe has, what time and memory they take, and how that is known."""
    from lightser.report.results import SELECTED_ON
    from lightser.training.cost import duration
    from lightser.training.crossval import missing_jobs

    n_jobs = n_missing = 0
    for item in plans:
        missing = cost.missing[item.name]
        chosen = "" if item.recipe.is_classic else f", {SELECTED_ON[item.select]}"
        takes = f"; about {duration(cost.minutes[item.name])}" if missing else ""
        if not math.isnan(held := cost.held.get(item.name, math.nan)):
            takes += f", at least {held / 1e9:.1f} GB of memory"
        typer.echo(
            f"{item.name}: {len(item.part)} jobs, {len(item.part) - missing} done, "
            f"{item.recipe.protocol.name}{chosen}{takes}",
            err=True,
        )
        n_jobs, n_missing = n_jobs + len(item.part), n_missing + missing
    if n_missing:
        shared = (
            f", {duration(cost.total / at_once)} for {at_once} at a time" if at_once > 1 else ""
        )
        typer.echo(
            f"In all {n_jobs} jobs, {n_jobs - n_missing} done; the others take about "
            f"{duration(cost.total)} of one process{shared} (from {cost.kinds} "
            f"kind{'s' * (cost.kinds != 1)} of update, up to {cost.updates} of each timed on this "
            "machine as it is now busy)",
            err=True,
        )
    elif any(missing_jobs(replace(item, part=item.jobs)) for item in plans):
        typer.echo("Nothing is left to be run of this part; others may be", err=True)
    elif plans:
        folders = ", ".join(dict.fromkeys(str(item.out) for item in plans))
        typer.echo(
            f"All of it is in {folders} already, and nothing is trained; another --out begins anew",
            err=True,
        )


def say_what_does_not_fit(cost: "Cost", at_once: int) -> None:
    """Say so in a line where jobs, so many at once, want more memory than is free."""
    wanted, free = at_once * cost.most_held, memory.available_bytes()
    if not wanted > free:  # so it is where either is not known
        return
    fit = int(free / cost.most_held)
    jobs = "A job takes" if at_once == 1 else f"{at_once} jobs at a time take"
    advice = f"give --workers {fit}" if fit else "end other programs first"
    typer.echo(
        f"{jobs} at least {wanted / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free: "
        f"{advice}, or the system may end them",
        err=True,
    )


def has_results(folder: Path) -> bool:
    return (folder / "scores.json").is_file() and (folder / "predictions.csv").is_file()


def print_rows(rows: "Sequence[Row]") -> None:
    """Print published beside ours, a line for each row."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from lightser.report.rows import HEADERS, NOTE, cells

    # In a pipe nobody sees an edge: nothing is wrapped there.
    console = Console() if sys.stdout.isatty() else Console(width=240)
    drawn = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    styles = ("", "", "yellow", "green", "")
    for header, style in zip(HEADERS, styles, strict=True):
        drawn.add_column(header, style=style, justify="left" if header == HEADERS[0] else "right")
    for row in rows:
        drawn.add_row(*(Text(cell) for cell in cells(row)))
    console.print(drawn)
    console.print()
    console.print(Text(NOTE, style="dim"), soft_wrap=not sys.stdout.isatty())


def write_table(
    path: Path, rows: "Sequence[Row]", results: "Sequence[Result]", *, title: str, remark: str
) -> None:
    """Write the rows as a page, by the name's ending."""
    from lightser.report.html import to_html
    from lightser.report.rows import rows_page_to_markdown

    if path.suffix == ".html":
        write_whole(path, to_html(results, title=title, rows=rows, remark=remark))
    else:
        write_whole(path, rows_page_to_markdown(rows, title=title, remark=remark))
