"""A trained model folder written anew, its embedding fitted to its training clips.

For models of before there were such statistics, and whenever the format of a model folder has
changed. Nothing is trained, and the model answers as before::

    python -m lightser.export.refit emodb-light_sernet --corpus emodb=~/corpora/emodb

writes over the bundled model; give another folder with --out. With --clips N it listens to so many
of them, drawn at random, which tell mean and deviation to within 1 / sqrt(N) of the latter.
"""

import argparse
from dataclasses import fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from lightser.bundled import find_model
from lightser.card import Card, write_card
from lightser.corpora import load_corpus
from lightser.corpora.heard import read_heard
from lightser.export.deliver import open_folder
from lightser.export.folder import CardFacts, write_model_folder
from lightser.training.crossval import make_plan
from lightser.training.embedding import fit_embedding
from lightser.training.final import whole_job
from lightser.training.jobs import windows_of
from lightser.training.recipe import find_recipe, read_recipe


def refit(model: Path, corpora: dict[str, Path], out: Path, n_clips: int | None = None) -> Card:
    """Fit a model's embedding to the clips that its recipe trained on, and write its folder.

    Args:
        model: a model folder, trained by a recipe that is there.
        corpora: where the recipe's corpus is, by its name.
        out: the folder to write, in the place of what is there.
        n_clips: to listen to, if not all.

    Raises:
        LightserError: the folder, recipe or corpus is not there, or not what it should be.
    """
    card, system = open_folder(model)
    heard = read_heard(model, card) or ()
    recipe = read_recipe(find_recipe(card.recipe))
    table = load_corpus(recipe.corpus.name, corpora[recipe.corpus.name], **recipe.corpus.options)
    if n_clips is not None and n_clips < len(table):
        table = table.sample(n_clips, random_state=0)
    with TemporaryDirectory() as work:
        plan = make_plan(recipe, table, name=card.recipe, out=Path(work))
        fit_embedding(system, windows_of(whole_job(plan, seed=card.seed), system))
    facts = CardFacts(**{field.name: getattr(card, field.name) for field in fields(CardFacts)})
    written = write_model_folder(system, facts, out, overwrite=True, heard=heard)
    written = replace(written, bands=card.bands)
    write_card(out, written)
    return written


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="name of a bundled model, or a model folder")
    parser.add_argument("--corpus", required=True, metavar="NAME=DIR", help="of its recipe")
    parser.add_argument("--out", type=Path, help="folder to write, by default the model's own")
    parser.add_argument("--clips", type=int, metavar="N", help="how many to listen to, if not all")
    given = parser.parse_args()
    folder = find_model(given.model)
    name, _, root = given.corpus.partition("=")
    corpora = {name: Path(root).expanduser()}
    print(refit(folder, corpora, given.out or folder, given.clips).name)


if __name__ == "__main__":
    main()
