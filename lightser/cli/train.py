"""``lightser train``: a recipe on all of a corpus, to a model folder that can be listened with."""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from lightser.cli import app
from lightser.cli.corpus_folders import HELP as CORPUS_HELP
from lightser.cli.corpus_folders import corpus_folders
from lightser.cli.interrupted import resumable
from lightser.cli.precision import say_precision
from lightser.cli.warned import spoken_warnings
from lightser.errors import BadCorpus, BadResults, MissingExtra


@app.command(
    epilog="Example: lightser train honest/emodb-light_sernet --corpus emodb=~/corpora/emodb "
    "--out my_model"
)
def train(
    recipe: Annotated[str, typer.Argument(help="A recipe's name or file.")],
    out: Annotated[Path, typer.Option(help="The model folder to write.")],
    corpus: Annotated[list[str], typer.Option(help=CORPUS_HELP)] = [],  # noqa: B006
    results: Annotated[
        Path | None,
        typer.Option(
            help="Results of the same recipe under cross-validation: its scores go on the card "
            "and its predictions calibrate the model. By default results/RECIPE."
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a model folder that is there.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of weights and chance.")] = 0,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> None:
    """Train a recipe on a whole corpus, and write a model folder.

    A model that has heard everybody has no test score; its card quotes the recipe's score under
    cross-validation, from `lightser reproduce`.
    """
    try:
        from lightser.corpora import load_corpus
        from lightser.export.folder import free_model_folder
        from lightser.export.trained import write_trained_model
        from lightser.training.crossval import make_plan
        from lightser.training.final import check_quotable, train_final
        from lightser.training.jobs import check_device, refuse_classic
        from lightser.training.recipe import find_recipe, read_recipe, recipe_name
    except ImportError as error:
        raise MissingExtra("Training", "train") from error

    from lightser.cli.watch import Watch

    check_device(device)
    place = free_model_folder(out, overwrite=overwrite)
    path = find_recipe(recipe)
    facts = read_recipe(path)
    refuse_classic(facts)
    folders = corpus_folders(corpus)
    if facts.corpus.name not in folders:
        needed = facts.corpus.name
        raise BadCorpus(f"{recipe} trains on {needed}: say where it is with --corpus {needed}=DIR")
    with spoken_warnings():
        table = load_corpus(facts.corpus.name, folders[facts.corpus.name], **facts.corpus.options)
    work = place.with_name(f"{place.name}.training")
    plan = make_plan(facts, table, name=recipe_name(path), out=work, device=device)
    scored = results or Path("results") / plan.name
    has_score = True
    try:
        check_quotable(plan, scored)
    except BadResults as error:
        if results is not None:
            raise
        has_score = False
        typer.echo(
            f"The card will have no score, and confidences will not be calibrated. {error}; "
            "then give them with --results",
            err=True,
        )
    say_precision([facts], device)
    with resumable("the same command goes on from the last checkpoint"), Watch(1) as watch:
        system = train_final(plan, seed=seed, progress=watch.running)
    write_trained_model(
        system,
        plan,
        out,
        seed=seed,
        results=scored if has_score else None,
        overwrite=overwrite,
    )
    shutil.rmtree(work, ignore_errors=True)  # a command that was given twice removes it once
    typer.echo(out)
