"""Recipes: all of them load, and a slip is answered."""

from pathlib import Path

import pytest

from lightser.corpora import CORPORA
from lightser.corpora.splits import PROTOCOLS
from lightser.errors import BadRecipe
from lightser.features import FRONTENDS
from lightser.losses import LOSSES
from lightser.models import MODELS
from lightser.training.crossval import to_toml
from lightser.training.jobs import build_system
from lightser.training.recipe import find_recipe, find_recipes, read_recipe, recipe_name

GOOD = """
title = "t"
system = "light_sernet"
[corpus]
name = "emodb"
[frontend]
name = "light_sernet"
kind = "mfcc"
[model]
name = "light_sernet"
[optim]
epochs = 2
[protocol]
name = "loso"
"""


def write(folder: Path, text: str, name: str = "r.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", find_recipes(["."]), ids=recipe_name)
def test_every_recipe_loads_and_names_what_exists(path):
    recipe = read_recipe(path)
    assert recipe.corpus.name in CORPORA
    assert recipe.frontend.name in FRONTENDS
    assert recipe.model.name in MODELS
    assert recipe.loss.name in LOSSES
    assert recipe.protocol.name in PROTOCOLS
    assert build_system(recipe, 4).parameter_count() > 0, "its options are those of its modules"
    LOSSES[recipe.loss.name](None, **recipe.loss.options)


def test_what_is_written_out_reads_as_the_same_recipe(tmp_path):
    for path in find_recipes(["."]):
        recipe = read_recipe(path)
        again = read_recipe(write(tmp_path, to_toml(recipe.to_dict())))
        assert again == recipe


@pytest.mark.parametrize(
    ("old", "new", "answer"),
    [
        ("epochs = 2", "epoch = 2", "unknown key 'optim.epoch'; did you mean 'epochs'?"),
        ("[model]", "[modle]", "unknown key 'modle'; did you mean 'model'?"),
        ("epochs = 2", "epochs = 'many'", "optim.epochs must be int, not 'many'"),
        ("epochs = 2", "epochs = 2\nupdates = 3", "either epochs or updates"),
        ("epochs = 2", "epochs = 2\nschedule = 'onecycle'", "did you mean 'one_cycle'?"),
        ('title = "t"', "", "lacks title"),
        ("[optim]", "[optim", "not TOML"),
        ('title = "t"', 'title = "t"\nextends = "gone.toml"', "does not exist"),
        ('title = "t"', 'title = "t"\nextends = "r.toml"', "extends itself"),
        ('title = "t"', 'title = "t"\nseeds = 3', "seeds must be a list, not 3"),
        ('name = "loso"', 'name = "loso"\nselect = "test"', "protocol.select cannot be 'test'"),
    ],
)
def test_a_slip_is_answered_in_one_line(tmp_path, old, new, answer):
    path = write(tmp_path, GOOD.replace(old, new))
    with pytest.raises(BadRecipe) as caught:
        read_recipe(path)
    assert answer in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_recipe_is_answered_with_the_nearest():
    with pytest.raises(BadRecipe, match="did you mean 'light_sernet/table1/emodb-ce-3s'"):
        find_recipe("light_sernet/table1/emodb-ce-3")


def test_extends_states_the_difference_and_a_new_name_drops_old_options(tmp_path):
    write(tmp_path, GOOD, "base_recipe.toml")
    child = (
        'extends = "base_recipe.toml"\n[frontend]\nname = "relative_logmel"\n[optim]\nepochs = 5'
    )
    recipe = read_recipe(write(tmp_path, child))
    assert recipe.optim.epochs == 5
    assert recipe.frontend.options == {}, "'kind' belonged to the other front end"


def test_words_do_not_change_the_digest_but_numbers_do(tmp_path):
    recipe = read_recipe(write(tmp_path, GOOD))
    retitled = read_recipe(write(tmp_path, GOOD.replace('"t"', '"another"')))
    longer = read_recipe(write(tmp_path, GOOD.replace("epochs = 2", "epochs = 3")))
    assert recipe.sha256() == retitled.sha256() != longer.sha256()
