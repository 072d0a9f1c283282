"""A network, loss, front end or corpus of one's own, in a file that a recipe names."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import forget_own_code
from shown import write_shown_files
from tiny_corpus import tiny_corpus, tiny_recipe

from lightser import Recognizer
from lightser.card import read_card
from lightser.corpora import CORPORA
from lightser.corpora.utterances import read_table
from lightser.errors import BadRecipe
from lightser.features import FRONTENDS
from lightser.losses import LOSSES
from lightser.models import MODELS
from lightser.training.crossval import facts_of, make_plan, run
from lightser.training.jobs import build_system, make_loss, prepare, run_job
from lightser.training.own_code import OwnCode
from lightser.training.recipe import read_recipe

DOCS = Path(__file__).parent.parent / "docs" / "reproduce.md"
CORPORA_PAGE = DOCS.with_name("corpora.md")
SAMPLES = Path(__file__).parent.parent / "lightser" / "samples"
REGISTRIES = (MODELS, FRONTENDS, LOSSES, CORPORA)
RECIPE = """
extends = "honest/emodb-light_sernet"
code = "mine.py"
[model]
name = "mine"
"""
NETWORK = """
from torch import nn
from lightser.models import MODELS

class Mine(nn.Module):
    min_frames = 1
    def __init__(self, n_classes, n_bands):
        super().__init__()
        self.layer = nn.Linear(n_bands, n_classes)
    def forward(self, features, lengths=None):
        return self.layer(features.mean(dim=1))

MODELS["mine"] = Mine
"""


@pytest.fixture(autouse=True)
def as_it_was(tmp_path_factory, monkeypatch, own_code_is_forgotten):
    monkeypatch.setenv("LIGHTSER_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def written(folder: Path, code: str, recipe: str = RECIPE) -> Path:
    (folder / "mine.py").write_text(code)
    (folder / "mine.toml").write_text(recipe)
    return folder / "mine.toml"


def of_tiny_corpus(path: Path, out: Path):
    """Return the plan of a recipe's code, on what is always there."""
    read = read_recipe(path)
    recipe = tiny_recipe(code=read.code, model=read.model)
    return make_plan(recipe, tiny_corpus(), name="mine", out=out)


def test_the_guides_network_is_trained_listens_and_is_exported(tmp_path, lightser, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_shown_files(DOCS, tmp_path)
    recipe = tmp_path / "tiny_cnn.toml"
    recipe.write_text(
        recipe.read_text()
        + '\n[corpus]\nname = "mine"\n[optim]\nepochs = 2\nbatch_size = 4\n[augment]\nspeeds = []\n'
    )
    code = recipe.with_suffix(".py")
    code.write_text(code.read_text() + CORPUS)
    (tmp_path / "corpus").mkdir()
    given = ("tiny_cnn.toml", "--corpus", "mine=corpus")
    ran = lightser("reproduce", *given, "--out", "runs")
    assert ran.code == 0, ran.err
    facts = facts_of(tmp_path / "runs" / "tiny_cnn")
    assert facts["complete"] and facts["folds_done"] == 3
    assert facts["code"] == OwnCode.read(code).facts
    kept = tmp_path / "runs" / "tiny_cnn" / "tiny_cnn.py"
    assert kept.read_text() == code.read_text()
    assert read_recipe(kept.with_name("recipe.toml")).sha256() == facts["recipe_sha256"]

    words = ("train", *given, "--results", "runs/tiny_cnn", "--out", "model")
    assert (trained := lightser(*words)).code == 0, trained.err
    card = read_card(tmp_path / "model")
    assert card.system == "tiny_cnn" and "tiny_cnn.py" in card.files and card.scores
    assert Recognizer.load("model").predict(SAMPLES / "08a02Fe.flac").label in card.labels

    export = ("export", "model", "--to", "litert", "--out", "out", "--frontend", "out")
    forget_own_code()  # as a stranger has it
    refused = lightser(*export)
    assert refused.code == 2 and refused.err.count("\n") == 1
    assert "model 'tiny_cnn'" in refused.err and "--code model/tiny_cnn.py" in refused.err
    assert not (tmp_path / "out").exists()
    done = lightser(*export, "--code", "model/tiny_cnn.py")
    assert done.code == 0, done.err
    profiled = lightser("profile", "model", "--code", "model/tiny_cnn.py", "--runs", "0")
    assert profiled.code == 0 and "tiny_cnn" in profiled.out


CORPUS = """

from lightser.corpora import CORPORA, Corpus

def load(root):
    from tiny_corpus import tiny_corpus
    return tiny_corpus().assign(corpus="mine")

CORPORA["mine"] = Corpus(
    name="mine", title="Mine", labels=("anger", "happiness", "sadness"), language="de",
    license="of the samples", cite="", url="", load=load,
)
"""


def test_the_guides_loader_is_checked_listed_and_planned_with(tmp_path, lightser, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_shown_files(CORPORA_PAGE, tmp_path)
    clips = tmp_path / "corpus" / "AudioWAV"
    clips.mkdir(parents=True)
    emotions = ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD")
    noise = np.random.default_rng(0)
    for actor, emotion in itertools.product(range(1001, 1006), emotions):
        name = f"{actor}_DFA_{emotion}_XX.wav"
        soundfile.write(clips / name, 0.1 * noise.standard_normal(4000), 16000)
    (clips / "1001_DFA_ANG.wav").write_bytes(b"of another name")

    unknown = lightser("corpus", "check", "crema_d", "corpus")
    assert unknown.code == 2 and unknown.err.count("\n") == 1
    code = ("--code", "crema_d.py")
    checked = lightser("corpus", "check", "crema_d", "corpus", *code)
    assert checked.code == 0, checked.err
    assert "30 utterances, 5 speakers" in checked.out and "all can be read" in checked.out
    listed = lightser("corpus", "list", "crema_d", *code)
    assert listed.code == 0 and "Cao et al." in listed.out
    assert lightser("corpus", "table", "crema_d", "corpus", *code, "--out", "table.csv").code == 0
    table = read_table("table.csv")
    assert table["label"].value_counts().to_dict() == dict.fromkeys(CORPORA["crema_d"].labels, 5)
    assert set(table["speaker"]) == {"1001", "1002", "1003", "1004", "1005"}
    given = ("crema_d.toml", "--corpus", "crema_d=corpus", "--out", "runs")
    planned = lightser("reproduce", *given, "--plan")
    assert planned.code == 0 and "5 jobs" in planned.out + planned.err
    (tmp_path / "empty").mkdir()
    empty = lightser("corpus", "check", "crema_d", "empty", *code)
    assert empty.code == 2 and "is not CREMA-D" in empty.err and empty.err.count("\n") == 1


BEYOND = """
import torch
from lightser.features import FRONTENDS
from lightser.features.mfcc import LightSernetFeatures
from lightser.losses import LOSSES
from lightser.losses.sample_loss import SampleLoss

class Halved(LightSernetFeatures):
    def forward(self, samples):
        return super().forward(samples) / 2

class Flat(SampleLoss):
    def __init__(self, class_weights=None, *, level: float = 1.0):
        super().__init__(class_weights)
        self.level = level
    def per_sample(self, logits, labels, agreement):
        return self.level * logits.square().sum(dim=1)

FRONTENDS["halved"] = Halved
LOSSES["flat"] = Flat
"""


def test_losses_and_front_ends_join_likewise_and_kept_features_know_the_version(tmp_path):
    path = written(
        tmp_path,
        NETWORK + BEYOND,
        RECIPE
        + '[frontend]\nname = "halved"\nwindow_s = 0.7\n[loss]\nname = "flat"\nlevel = 3.0\n',
    )

    def features_and_loss(out: Path) -> tuple[torch.Tensor, float]:
        read = read_recipe(path)
        parts = {"code": read.code, "model": read.model, "frontend": read.frontend}
        recipe = tiny_recipe(**parts, loss=read.loss, standardize=False)
        job = make_plan(recipe, tiny_corpus(), name="mine", out=out).jobs[0]
        _, train, _ = prepare(job)
        loss = make_loss(job, train)(torch.ones(1, 3), torch.tensor([0]), torch.tensor([1.0]))
        return train.variants[0][0], float(loss)

    first, loss = features_and_loss(tmp_path / "a")
    assert loss == 9
    path.with_suffix(".py").write_text((NETWORK + BEYOND).replace("/ 2", "/ 4"))
    second, _ = features_and_loss(tmp_path / "b")
    torch.testing.assert_close(second, first / 2)
    with pytest.raises(BadRecipe, match="did you mean 'level'"):
        read_recipe(path, {"loss": {"name": "flat", "levle": 1.0}})


PROTOCOL = """
import dataclasses
from lightser.corpora.splits import PROTOCOLS

def two(table, *, seed, valid_speakers: int = 1):
    return PROTOCOLS["loso"].make(table, seed=seed, valid_speakers=valid_speakers)[:2]

PROTOCOLS["two_voices"] = dataclasses.replace(PROTOCOLS["loso"], name="two_voices", make=two)
"""


def test_protocols_join_likewise(tmp_path):
    recipe = RECIPE.split("[model]")[0] + '[protocol]\nname = "two_voices"\nvalid_speakers = 1\n'
    read = read_recipe(written(tmp_path, PROTOCOL, recipe))
    plans = [
        make_plan(tiny_recipe(**parts), tiny_corpus(), name="mine", out=tmp_path / "r")
        for parts in ({"code": read.code, "protocol": read.protocol}, {})
    ]
    assert plans[0].folds == plans[1].folds[:2] and len(plans[1].folds) == 3


def test_a_changed_file_is_another_recipe_and_the_old_results_stay(tmp_path):
    path = written(tmp_path, NETWORK)
    plan = of_tiny_corpus(path, tmp_path / "r")
    run(plan, engine="serial")
    kept = (tmp_path / "r" / "predictions.csv").read_text()
    path.with_suffix(".py").write_text(NETWORK + "# changed\n")
    changed = of_tiny_corpus(path, tmp_path / "r")
    assert changed.recipe.sha256() != plan.recipe.sha256()
    with pytest.raises(BadRecipe, match="another version of this recipe"):
        run(changed, engine="serial")
    assert (tmp_path / "r" / "predictions.csv").read_text() == kept
    assert (tmp_path / "r" / "mine.py").read_text() == NETWORK


def test_a_run_keeps_to_the_file_as_it_was_when_it_began(tmp_path):
    path = written(tmp_path, NETWORK)
    job = of_tiny_corpus(path, tmp_path / "r").jobs[0]
    path.with_suffix(".py").write_text("raise SystemExit('half saved')")
    forget_own_code()
    run_job(job)
    assert job.is_done


@pytest.mark.parametrize(
    ("code", "answer"),
    [
        ("x = (\n", r"mine.py, line 1: SyntaxError: '\(' was never closed$"),
        ("import torch\n\nwidth = torch.no_such_thing\n", r"mine.py, line 3: AttributeError"),
        ("import no_such_package\n", r"line 1: ModuleNotFoundError: .*'no_such_package'"),
        ("x = 1\n", r"mine.py registers nothing; let it end .* MODELS"),
        (
            NETWORK + 'MODELS["light_sernet"] = Mine\n',
            r"line 14: ValueError: there is a model 'light_sernet' already; take another name",
        ),
    ],
)
def test_code_that_cannot_be_run_is_a_line_and_leaves_nothing(tmp_path, code, answer):
    before = [dict(registry) for registry in REGISTRIES]
    with pytest.raises(BadRecipe, match=rf"^mine\.toml: .*{answer}") as caught:
        read_recipe(written(tmp_path, code))
    assert "\n" not in str(caught.value)
    assert [dict(registry) for registry in REGISTRIES] == before
    read_recipe(written(tmp_path, NETWORK))  # mended


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ('"gone.py"', "Cannot read the code .*gone.py: No such file"),
        ('"mine.toml"', "a file of Python, NAME.py, not 'mine.toml'"),
        ("3", "code must be the name of a file, not 3"),
        ('"latin.py"', "latin.py is not UTF-8"),
    ],
)
def test_what_is_no_code_is_a_line(tmp_path, said, answer):
    (tmp_path / "latin.py").write_bytes(b"# caf\xe9\n")
    with pytest.raises(BadRecipe, match=answer):
        read_recipe(written(tmp_path, NETWORK, RECIPE.replace('"mine.py"', said)))


def test_a_recipe_that_extends_takes_its_code_from_beside_the_first(tmp_path):
    (tmp_path / "base").mkdir()
    written(tmp_path / "base", NETWORK)
    child = tmp_path / "child.toml"
    child.write_text('extends = "base/mine.toml"\ntitle = "more"\n')
    recipe = read_recipe(child)
    assert recipe.code == read_recipe(tmp_path / "base" / "mine.toml").code
    assert build_system(recipe, 3).describe()["model"]["name"] == "mine"
