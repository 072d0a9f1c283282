"""``lightser reproduce``: any row of the papers, or any recipe, under its protocol."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lightser.cli import app
from lightser.cli.corpus_folders import HELP as CORPUS_HELP
from lightser.cli.corpus_folders import corpus_folders
from lightser.cli.warned import spoken_warnings

if TYPE_CHECKING:
    import pandas as pd


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
    workers: Annotated[int, typer.Option(min=1, help="Jobs at a time.")] = 1,
    engine: Annotated[str, typer.Option(help="How jobs run.")] = "local",
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    quick: Annotated[
        bool, typer.Option("--quick", help="A few epochs, two folds, one seed: to see it work.")
    ] = False,
    plan: Annotated[bool, typer.Option("--plan", help="Only say what would be run.")] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Also write curves for TensorBoard.")
    ] = False,
) -> None:
    """Train and score recipes under their protocols: published beside ours.

    What is there already is not run again, so that a run that was stopped goes on where it was.
    """
    try:
        from lightser.cli.report import print_table
        from lightser.corpora import load_corpus
        from lightser.corpora.splits import CONTENT
        from lightser.corpora.utterances import content_hashes
        from lightser.report.results import read_result
        from lightser.training.crossval import adopt, make_plan, missing_jobs, run
        from lightser.training.recipe import find_recipes, read_recipe, recipe_name
    except ImportError as error:
        from lightser.errors import MissingExtra

        raise MissingExtra("Training", "train") from error

    from lightser.cli.watch import Watch

    folders = corpus_folders(corpus)
    recipes = {recipe_name(path): read_recipe(path) for path in find_recipes(targets)}
    plans, wanting = [], {}
    tables: dict[str, pd.DataFrame] = {}  # many recipes, few corpora
    for name, recipe in recipes.items():
        if recipe.corpus.name not in folders:
            wanting[name] = recipe.corpus.name
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
                out=out / (f"quick/{name}" if quick else name),
                is_quick=quick,
                device=device,
                tensorboard=tensorboard,
            )
        )
    for name, needed in wanting.items():
        typer.echo(f"{name}: needs the corpus {needed} (--corpus {needed}=DIR)", err=True)
    for item in plans:
        if not plan and (twin := adopt(item, out)):
            typer.echo(f"{item.name}: the same as {twin}, taken from there", err=True)
        missing = len(missing_jobs(item))
        typer.echo(
            f"{item.name}: {len(item.jobs)} jobs, {len(item.jobs) - missing} done, "
            f"{item.recipe.protocol.name}, epoch chosen on {item.select}",
            err=True,
        )
    if plan:
        return
    for item in plans:
        n_missing = len(missing_jobs(item))
        with Watch(len(item.jobs), len(item.jobs) - n_missing) as watch:
            run(
                item,
                engine=engine,
                workers=workers,
                progress=watch.running,
                done=lambda job, scores, watch=watch: watch.done(job.name, scores),  # type: ignore[misc]
            )
    if plans:
        print_table([read_result(item.out) for item in plans])
