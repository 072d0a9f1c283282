"""Recipes: all of them load, and a slip is answered."""

import dataclasses
import json
from pathlib import Path

import pytest

from lightser.cli.corpus_folders import corpus_folders
from lightser.corpora import CORPORA, load_corpus
from lightser.corpora.splits import PROTOCOLS
from lightser.errors import BadCorpus, BadRecipe
from lightser.features import FRONTENDS
from lightser.losses import LOSSES
from lightser.models import MODELS
from lightser.training.crossval import to_toml
from lightser.training.jobs import parameter_count
from lightser.training.recipe import (
    Published,
    find_recipe,
    find_recipes,
    quick,
    read_recipe,
    recipe_folder,
    recipe_name,
    shortened,
)

RESULTS = Path(__file__).parent.parent / "results"

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
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def answer_to(path: Path) -> str:
    """Return what is said of a recipe that cannot be run: one line."""
    with pytest.raises(BadRecipe) as caught:
        read_recipe(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("path", find_recipes(["."]), ids=recipe_name)
def test_every_recipe_loads_and_names_what_exists(path):
    recipe = read_recipe(path)
    assert recipe.corpus.name in CORPORA
    if not recipe.is_classic:
        assert recipe.frontend.name in FRONTENDS
        assert recipe.model.name in MODELS
    assert recipe.loss.name in LOSSES
    assert recipe.protocol.name in PROTOCOLS
    assert parameter_count(recipe, 4) > 0, "its options are those of its modules"
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
    assert answer in answer_to(write(tmp_path, GOOD.replace(old, new)))


@pytest.mark.parametrize(
    ("table", "line", "answer"),
    [
        ("", "window_s = -1", "window_s must be above 0, not -1.0"),
        ("", "window_s = inf", "window_s must be a finite number, not inf"),
        ("", "seeds = []", "seeds must name at least one, such as [0]; it is empty"),
        ("", "seeds = [-1]", "seeds must be at least 0 and at most 4294967295, not -1"),
        ("", "seeds = [4294967296]", "at most 4294967295, not 4294967296"),
        ("", "seeds = [1, 0, 1]", "seeds names 1 twice, and one seed is one run"),
        ("[optim]", "learning_rate = -1", "optim.learning_rate must be above 0, not -1.0"),
        ("[optim]", "learning_rate = nan", "optim.learning_rate must be a finite number, not nan"),
        ("[optim]", "epsilon = 0.0", "optim.epsilon must be above 0, not 0.0"),
        ("[optim]", "clip_norm = 0", "optim.clip_norm must be above 0, not 0.0"),
        ("[optim]", "betas = [0.9]", "optim.betas must be two numbers, not [0.9]"),
        ("[optim]", "betas = [0.9, 1]", "optim.betas must be at least 0 and below 1, not 1.0"),
        ("[optim]", "batch_size = 0", "optim.batch_size must be at least 1, not 0"),
        ("[optim]", "weight_decay = -0.1", "optim.weight_decay must be at least 0, not -0.1"),
        ("[optim]", "kernel_penalty = -1", "optim.kernel_penalty must be at least 0, not -1.0"),
        ("[optim]", "shuffle_buffer = -1", "optim.shuffle_buffer must be at least 0, not -1"),
        ("[optim]", "evaluate_every = -1", "optim.evaluate_every must be at least 0, not -1"),
        ("[optim]", "evaluate_from = -1", "optim.evaluate_from must be at least 0, not -1"),
        ("[optim]", "average = 1", "optim.average must be at least 0 and below 1, not 1.0"),
        ("[augment]", "speeds = [1.1, 0]", "augment.speeds must be at least 0.25 and at most 4"),
        ("[augment]", "time_masks = -1", "augment.time_masks must be at least 0, not -1"),
        ("[augment]", "time_mask_frames = -1", "augment.time_mask_frames must be at least 0"),
        ("[augment]", "band_masks = -1", "augment.band_masks must be at least 0, not -1"),
        ("[augment]", "band_mask_bands = -1", "augment.band_mask_bands must be at least 0"),
        (
            "[augment]",
            "mixstyle = 1.5",
            "augment.mixstyle must be at least 0 and at most 1, not 1.5",
        ),
        ("[augment]", "devices = true", "set augment.recordings"),
        ("[augment]", "mixup = -0.2", "augment.mixup must be at least 0, not -0.2"),
        ("[published]", "ua = 941.5", "published.ua must be at least 0 and at most 100, not 941.5"),
        ("[published]", "statistic = 'fold-mean'", "did you mean 'fold_mean'?"),
    ],
)
def test_a_number_out_of_its_range_is_answered_in_one_line(tmp_path, table, line, answer):
    text = GOOD.replace(table, f"{table}\n{line}", 1) if table in GOOD else f"{GOOD}{table}\n{line}"
    assert answer in answer_to(write(tmp_path, text))


@pytest.mark.parametrize(
    ("optim", "answer"),
    [
        ("[optim]\nepochs = 0", "optim.epochs must be at least 1, not 0"),
        ("[optim]\nepochs = -3", "optim.epochs must be at least 1, not -3"),
        ("[optim]\nupdates = -3", "optim.updates must be at least 0, not -3"),
        ("[optim]\nupdates = 0", "network 'light_sernet' epochs or updates, at least 1"),
        ("", "network 'light_sernet' epochs or updates, at least 1"),
    ],
)
def test_a_network_without_updates_is_refused(tmp_path, optim, answer):
    assert answer in answer_to(write(tmp_path, GOOD.replace("[optim]\nepochs = 2", optim)))


def test_the_ends_of_ranges_are_in_them(tmp_path):
    edges = (
        "betas = [0, 0.5]\naverage = 0\nevaluate_every = 0\nbatch_size = 1\nweight_decay = 0\n"
        "[augment]\nspeeds = [0.25, 4]\nmixup = 0\n[published]\nua = 0\nwa = 100\n"
    )
    text = GOOD.replace("epochs = 2", f"epochs = 1\n{edges}")
    recipe = read_recipe(write(tmp_path, f"seeds = [0, 4294967295]\n{text}"))
    assert recipe.seeds == (0, 2**32 - 1) and recipe.augment.speeds == (0.25, 4.0)


@pytest.mark.parametrize(
    ("loss", "answer"),
    [
        ("name = 'focall'", "Unknown loss 'focall'; did you mean 'focal'?"),
        ("name = 'focal'\nalpha = 1.0", "Unknown option of loss 'focal' 'alpha'"),
        ("name = 'focal'\ngama = 1.0", "did you mean 'gamma'?"),
        ("name = 'focal'\nclass_weight = true", "did you mean 'class_weights'?"),
        ("name = 'focal'\ngamma = 'two'", "loss.gamma must be a number, not 'two'"),
        ("name = 'focal'\ngamma = true", "loss.gamma must be a number, not True"),
        ("name = 'focal'\ngamma = nan", "loss.gamma must be a number, not nan"),
        ("name = 'focal'\ngamma = -1", "loss 'focal': gamma must be 0 or more, not -1"),
        ("name = 'generalized_ce'\nlevels = 1", "loss.levels must be true or false, not 1"),
        ("name = 'generalized_ce'\ntruncate = 'no'", "loss.truncate must be a number, not 'no'"),
        ("name = 'generalized_ce'\nq = 0", "loss 'generalized_ce': q must be in (0, 1], not 0"),
        ("name = 'cross_entropy'\nlabel_smoothing = 2", "label_smoothing must be from 0 to 1"),
    ],
)
def test_a_slip_in_the_loss_is_answered_when_the_recipe_is_read(tmp_path, loss, answer):
    assert answer in answer_to(write(tmp_path, f"{GOOD}[loss]\n{loss}\n"))


@pytest.mark.parametrize(
    "loss",
    [
        "name = 'focal'\ngamma = 2\nclass_weights = true",
        "name = 'generalized_ce'\nq = 0.7\ntruncate = 0.5\nlevels = true",
    ],
)
def test_a_loss_as_it_should_be_is_taken(tmp_path, loss):
    recipe = read_recipe(write(tmp_path, f"{GOOD}[loss]\n{loss}\n"))
    assert recipe.loss.class_weights == ("class_weights" in loss)


def test_a_recipe_that_cannot_be_read_is_answered_in_one_line(tmp_path):
    assert "Cannot read the recipe" in answer_to(tmp_path / "gone.toml")
    assert "Cannot read the recipe" in answer_to(tmp_path)


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
    child = 'extends = "base_recipe.toml"\n[optim]\nupdates = 50'
    optim = read_recipe(write(tmp_path, child)).optim
    assert (optim.epochs, optim.updates) == (None, 50), "a length replaces a length"


@pytest.mark.parametrize(
    "name",
    [
        "honest/emodb-light_sernet",
        "honest/emodb-light_sernet.toml",
        "recipes/honest/emodb-light_sernet.toml",
    ],
)
def test_a_recipe_of_ones_own_extends_one_of_ours_from_any_folder(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path, f'extends = "{name}"\ntitle = "mine"\n[loss]\nname = "focal"\n')
    ours = read_recipe(recipe_folder() / "honest" / "emodb-light_sernet.toml")
    mine = read_recipe(path)
    assert (mine.title, mine.loss.name) == ("mine", "focal")
    assert dataclasses.replace(mine, title=ours.title, loss=ours.loss) == ours


def test_what_is_there_to_be_extended_can_be_extended_from_any_folder(tmp_path):
    path = write(tmp_path, 'extends = "zhong2020/base"\n[corpus]\nname = "emodb"\n')
    assert read_recipe(path).system == "zhong2020"


def test_extends_looks_beside_the_recipe_first_and_never_where_one_happens_to_stand(
    tmp_path, monkeypatch
):
    name = "honest/emodb-light_sernet.toml"
    write(tmp_path, GOOD.replace('"t"', '"beside"'), name)
    write(tmp_path / "elsewhere", GOOD.replace('"t"', '"elsewhere"'), name)
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert read_recipe(write(tmp_path, f'extends = "{name}"')).title == "beside"
    own = write(tmp_path / "lonely", f'extends = "{name}"')
    assert read_recipe(own).title == read_recipe(recipe_folder() / name).title != "elsewhere"


@pytest.mark.parametrize(
    ("base", "answer"),
    [
        ('"honest/emodb-light_sernett"', "did you mean 'honest/emodb-light_sernet'?"),
        ('"emodb-light_sernet.toml"', "did you mean 'honest/emodb-light_sernet'?"),
        ('"folder"', "extends 'folder', which does not exist"),
        ('""', "extends '', which does not exist"),
        ("5", "extends must be the name of a recipe, not 5"),
        ('["a"]', "extends must be the name of a recipe, not ['a']"),
    ],
)
def test_what_cannot_be_extended_is_answered_in_one_line(tmp_path, base, answer):
    (tmp_path / "folder").mkdir()
    assert answer in answer_to(write(tmp_path, f"extends = {base}"))


# --- folders ---


def test_a_folder_of_ones_own_gives_its_recipes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("mine/b.toml", "mine/a.toml", "mine/deep/c.toml", "mine/base.toml"):
        write(tmp_path, GOOD, name)
    assert [path.name for path in find_recipes(["mine"])] == ["a.toml", "b.toml", "c.toml"]
    assert find_recipes([str(tmp_path / "mine"), "mine/a.toml"]) == find_recipes(["mine"])


def test_a_folder_of_ours_comes_before_one_that_is_called_the_same(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, GOOD, "ladder/mine.toml")
    assert len(find_recipes(["ladder"])) == 4
    assert [path.name for path in find_recipes(["./ladder/mine.toml"])] == ["mine.toml"]


@pytest.mark.parametrize("name", ["empty", "published"])
def test_a_folder_without_recipes_is_answered(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, GOOD, "empty/base.toml")
    with pytest.raises(BadRecipe, match=f"The folder '{name}' holds no recipe"):
        find_recipes(["ladder", name])


def test_recipes_that_would_share_a_results_folder_are_refused(tmp_path):
    one, other = (write(tmp_path, GOOD, f"{folder}/a.toml") for folder in "xy")
    with pytest.raises(BadRecipe, match="have one name; rename one of them"):
        find_recipes([str(one), str(other)])


def test_words_do_not_change_the_digest_but_numbers_do(tmp_path):
    recipe = read_recipe(write(tmp_path, GOOD))
    retitled = read_recipe(write(tmp_path, GOOD.replace('"t"', '"another"')))
    longer = read_recipe(write(tmp_path, GOOD.replace("epochs = 2", "epochs = 3")))
    assert recipe.sha256() == retitled.sha256() != longer.sha256()


def test_the_usual_statistic_is_not_written_out_and_another_is(tmp_path):
    recipe = read_recipe(write(tmp_path, GOOD + "[published]\nua = 90.0\n"))
    assert recipe.to_dict()["published"] == {"ua": 90.0, "source": "", "protocol": ""}
    mean = dataclasses.replace(recipe, published=Published(ua=90.0, statistic="fold_mean"))
    assert mean.to_dict()["published"]["statistic"] == "fold_mean"
    assert read_recipe(write(tmp_path, to_toml(mean.to_dict()))) == mean
    assert mean.sha256() == recipe.sha256()


def committed():
    """Return what the results of our recipes say of themselves, by folder."""
    found = {}
    for path in sorted(RESULTS.rglob("scores.json")):
        facts = json.loads(path.read_text(encoding="utf-8"))
        if (recipe_folder() / f"{facts.get('recipe')}.toml").is_file():
            found[path.parent.relative_to(RESULTS).as_posix()] = facts
    return found


@pytest.mark.parametrize("facts", committed().values(), ids=committed())
def test_committed_results_are_those_of_the_recipe_as_it_is(facts):
    recipe = read_recipe(find_recipe(facts["recipe"]))
    if facts["quick"]:
        recipe = quick(recipe)
    elif facts.get("length", 1) != 1:
        recipe = shortened(recipe, facts["length"])
    assert recipe.sha256() == facts["recipe_sha256"]


# --- where a recipe's corpus is ---


def test_a_table_of_ones_own_may_be_a_file_or_a_folder(tmp_path):
    path = write(tmp_path, "file,speaker,emotion\na.wav,s1,anger\n", "csvs/a.csv")
    write(tmp_path, "file,speaker,emotion\nb.wav,s1,anger\n", "csvs/b.csv")
    with pytest.raises(BadCorpus, match="give the path of the CSV"):
        load_corpus("table", corpus_folders([f"table={path.parent}"])["table"])
    found = corpus_folders([f"table={path}"])
    assert found == {"table": path}
    assert list(load_corpus("table", found["table"])["label"]) == ["anger"]


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("emodb=FILE", "There is no folder 'FILE' for the corpus emodb"),
        ("table=gone.csv", "There is no CSV or folder 'gone.csv' for the corpus table"),
    ],
)
def test_a_corpus_that_is_not_there_is_answered(tmp_path, words, answer):
    path = str(write(tmp_path, "", "a.csv"))
    with pytest.raises(BadCorpus) as caught:
        corpus_folders([words.replace("FILE", path)])
    assert str(caught.value) == answer.replace("FILE", path)
