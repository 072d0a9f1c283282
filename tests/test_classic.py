"""The classic as a recipe: the folds, files and refusals of networks, and the machine's answers."""

import dataclasses
import hashlib
import json
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny_corpus import tiny_corpus, tiny_recipe

from lightser.cli.watch import words
from lightser.corpora.splits import Fold
from lightser.errors import BadCorpus, BadRecipe, MissingExtra, UnknownName
from lightser.models import functionals_svm
from lightser.models.functionals_svm import (
    FUNCTIONALS,
    FunctionalsSvm,
    functionals_folder,
    functionals_of,
)
from lightser.training import classic
from lightser.training.classic import Settings
from lightser.training.cost import cost_of
from lightser.training.crossval import adopt, make_plan, missing_jobs, run
from lightser.training.final import train_final
from lightser.training.jobs import build_system
from lightser.training.recipe import (
    Augment,
    Choice,
    Loss,
    Optim,
    ProtocolChoice,
    Recipe,
    find_recipe,
    read_recipe,
)

COSTS = (1e-3, 1e-1)
COLUMNS = ("file", "start", "end", "label")


def recipe_of(set_name="egemaps", costs=COSTS, **changes):
    made = Recipe(
        title="classic",
        system="functionals_svm",
        corpus=Choice(name="emodb"),
        frontend=Choice(name="functionals", options={"set": set_name}),
        model=Choice(name="functionals_svm", options={"costs": costs}),
        protocol=ProtocolChoice(name="loso", options={"valid_speakers": 0}),
    )
    return dataclasses.replace(made, **changes)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Functionals of all of the tiny corpus, kept as openSMILE's are, so that it is not needed."""
    monkeypatch.setattr("importlib.metadata.version", lambda name: "1.0")
    folder = tmp_path / "cache"
    kept = functionals_folder(folder, "egemaps")
    kept.mkdir(parents=True)
    table, rng = tiny_corpus(), np.random.default_rng(0)
    for file, start, end, label in zip(*(table[k] for k in COLUMNS), strict=True):
        row = rng.normal(size=88).astype(np.float32)
        row[sorted(set(table["label"])).index(label)] += 3
        content = hashlib.sha256(Path(file).read_bytes()).hexdigest()[:32]
        np.save(kept / f"{content}-{start}-{end}.npy", row)
    return folder


@pytest.fixture
def heard(cache, monkeypatch):
    """Return a function from utterances to functionals, labels and speakers."""
    monkeypatch.setenv("LIGHTSER_CACHE", str(cache))

    def of(table):
        columns = list(table["file"]), table["start"], table["end"]
        truth, speakers = (table[k].to_numpy(dtype=str) for k in ("label", "speaker"))
        return functionals_of("egemaps", *columns, cache=cache), truth, speakers

    return of


def decide(table, fold, cache):
    return classic.decide(
        Settings.of(recipe_of()),
        sorted(set(table["label"])),
        table,
        fold,
        cache=cache,
        progress=lambda done, of: None,
    )


@pytest.mark.parametrize("engine", ["serial", "stacked"])
def test_results_are_those_of_the_machine_on_the_same_folds(engine, tmp_path, heard):
    table = tiny_corpus()
    plan = make_plan(recipe_of(), table, name="classic", out=tmp_path / "out")
    scores = run(plan, engine=engine)
    assert scores["complete"] and scores["selected_on"] == "last"
    assert scores["epochs"] is None and scores["updates"] is None
    assert scores["speaker_independent"] and "scikit-learn" in scores["versions"]
    found = pd.read_csv(tmp_path / "out" / "predictions.csv", dtype={"speaker": str, "fold": str})
    assert len(found) == len(table)
    for fold in plan.folds:
        tested = table[table["utterance"].isin(fold.test)]
        machine = FunctionalsSvm(COSTS).fit(*heard(table[table["utterance"].isin(fold.train)]))
        ours = found[found["fold"] == fold.name]
        assert list(ours["utterance"]) == list(tested["utterance"])
        columns = [f"p_{name}" for name in machine.labels]
        np.testing.assert_allclose(
            ours[columns], machine.probabilities(heard(tested)[0]), atol=1e-6
        )
        assert scores["costs"][f"{fold.name}-seed0"] == machine.cost


def test_a_validation_part_trains_it_too(cache, heard):
    table = tiny_corpus()
    parts = {s: tuple(table["utterance"][table["speaker"] == s]) for s in ("s0", "s1", "s2")}
    decided = decide(table, Fold("f", parts["s0"], parts["s1"], parts["s2"]), cache)
    machine = FunctionalsSvm(COSTS).fit(*heard(table[table["speaker"] != "s2"]))
    expected = machine.probabilities(heard(table[table["speaker"] == "s2"])[0])
    np.testing.assert_allclose(decided.probabilities, expected)


def test_sentences_that_are_tested_do_not_train_it_by_way_of_validation(tmp_path):
    table = tiny_corpus().assign(text=lambda t: [f"text{i % 3}" for i in range(len(t))])
    protocol = ProtocolChoice(name="text_speaker")
    with pytest.raises(BadRecipe, match="valid_speakers = 0"):
        make_plan(recipe_of(protocol=protocol), table, name="t", out=tmp_path)
    protocol = ProtocolChoice(name="text_speaker", options={"valid_speakers": 0})
    assert make_plan(recipe_of(protocol=protocol), table, name="t", out=tmp_path).jobs


def test_a_class_that_training_never_heard_gets_no_probability(cache):
    table = tiny_corpus()
    lost = sorted(set(table["label"]))[1]
    tested = table["speaker"] == "s0"
    trained = ~tested & (table["label"] != lost)
    names = table["utterance"]
    fold = Fold("f", train=tuple(names[trained]), valid=(), test=tuple(names[tested]))
    decided = decide(table[tested | trained], fold, cache)  # two classes are left to learn
    assert decided.probabilities.shape == (tested.sum(), 3)
    assert not decided.probabilities[:, 1].any()
    np.testing.assert_allclose(decided.probabilities.sum(axis=1), 1)


def test_a_run_goes_on_where_it_was(tmp_path, heard, monkeypatch):
    plan = make_plan(recipe_of(), tiny_corpus(), name="classic", out=tmp_path / "out")
    whole = run(plan, engine="serial")
    monkeypatch.setattr(classic, "decide", None)  # would raise
    assert run(plan, engine="serial") == whole


def test_a_row_that_repeats_another_takes_its_results(tmp_path, heard):
    first, repeat = (
        make_plan(recipe_of(title=name), tiny_corpus(), name=name, out=tmp_path / name)
        for name in ("one", "two")
    )
    run(first, engine="serial")
    assert adopt(repeat, tmp_path) == first.out
    (repeat.out / "scores.json").unlink()  # as if it had been stopped in between
    assert adopt(repeat, tmp_path) == first.out
    assert not (repeat.out / "history.csv").exists() and missing_jobs(repeat) == []
    assert run(repeat, engine="serial")["recipe"] == "two"


def test_it_runs_from_audio_to_scores_and_says_before_what_it_costs(tmp_path, monkeypatch):
    pytest.importorskip("opensmile", reason="needs pip install 'lightser[opensmile]'")
    monkeypatch.setenv("LIGHTSER_CACHE", str(tmp_path / "cache"))
    table = tiny_corpus(per_clip=2)
    plan = make_plan(recipe_of(), table, name="classic", out=tmp_path / "out", is_quick=True)
    assert 0 < cost_of([plan]).total < 10
    scores = run(plan, engine="local")
    assert scores["quick"] and scores["folds_done"] == 2
    assert scores["parameters"] == 3 * 89
    assert len(list((tmp_path / "cache").rglob("*.npy"))) == len(table)


def test_functionals_of_another_version_are_not_read(heard, monkeypatch):
    table = tiny_corpus().head(2)
    monkeypatch.setattr(functionals_svm, "extractor", lambda name: lambda samples: np.zeros(88))
    assert heard(table)[0].any()
    monkeypatch.setattr("importlib.metadata.version", lambda name: "2.0")
    assert not heard(table)[0].any()


def test_without_opensmile_one_line_says_how_to_get_it(heard, monkeypatch):
    def version(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", version)
    with pytest.raises(MissingExtra, match="opensmile"):
        heard(tiny_corpus().head(2))


def test_who_cannot_be_left_out_is_answered_in_a_line(tmp_path, heard):
    table = tiny_corpus()
    table = table[table["speaker"] != "s2"]
    plan = make_plan(recipe_of(), table, name="classic", out=tmp_path / "out")
    with pytest.raises(BadCorpus, match="at least two"):
        run(plan, engine="serial")
    assert not (tmp_path / "out" / "predictions.csv").exists()


@pytest.mark.parametrize(
    ("recipe", "error", "answer"),
    [
        (lambda: recipe_of("egemap"), UnknownName, "did you mean 'egemaps'"),
        (lambda: recipe_of(costs=()), BadRecipe, "numbers above 0, not"),
        (lambda: recipe_of(costs=(1.0, -1.0)), BadRecipe, "numbers above 0, not"),
        (lambda: recipe_of(costs=(True,)), BadRecipe, "numbers above 0, not"),
        (lambda: recipe_of(costs=0.1), BadRecipe, "numbers above 0, not 0.1"),
        (
            lambda: recipe_of(frontend=Choice(name="relative_logmel")),
            BadRecipe,
            "hears the front end 'functionals', not 'relative_logmel'",
        ),
        (
            lambda: recipe_of(frontend=Choice(name="functionals", options={"sets": "egemaps"})),
            UnknownName,
            "did you mean 'set'",
        ),
        (
            lambda: recipe_of(model=Choice(name="functionals_svm", options={"cost": 1})),
            UnknownName,
            "did you mean 'costs'",
        ),
    ],
)
def test_a_wrong_setting_is_answered(recipe, error, answer):
    with pytest.raises(error, match=answer):
        Settings.of(recipe())


@pytest.mark.parametrize(
    "change",
    [
        {"optim": Optim(epochs=3)},
        {"loss": Loss(name="focal")},
        {"augment": Augment(mixup=0.2)},
        {"window_s": 3.0},
        {"standardize": False},
    ],
)
def test_what_only_networks_have_is_refused(change):
    (key,) = change
    with pytest.raises(BadRecipe, match=f"knows no {key}: leave it out"):
        recipe_of(**change)


def test_it_has_no_epoch_to_choose():
    with pytest.raises(BadRecipe, match="no epoch to choose"):
        recipe_of(protocol=ProtocolChoice(name="loso", select="valid_ua"))


def test_a_network_needs_updates():
    with pytest.raises(BadRecipe, match="'light_sernet' epochs or updates"):
        tiny_recipe(optim=Optim(updates=0))


def test_there_is_nothing_to_ship(tmp_path):
    plan = make_plan(recipe_of(), tiny_corpus(), name="classic", out=tmp_path / "out")
    for act in (lambda: train_final(plan, seed=0), lambda: build_system(plan.recipe, 3)):
        with pytest.raises(BadRecipe, match="no network in it"):
            act()
    assert not (tmp_path / "out").exists()


def test_a_share_of_nothing_is_nothing(tmp_path):
    plan = make_plan(recipe_of(), tiny_corpus(), name="c", out=tmp_path / "out", length=0.1)
    assert plan.length == 1.0 and plan.recipe == recipe_of()


def test_one_sees_how_far_functionals_are():
    state = {"what": "functionals", "update": 10, "updates": 40, "seconds": 60.0}
    assert words(state, {"update": 0, "seconds": 0.0}) == "functionals, 3 min left"


def test_there_may_be_two_classes():
    rng = np.random.default_rng(0)
    labels = np.tile(["calm", "anger"], 12)
    x = rng.normal(size=(24, 5)) + 3 * (labels == "calm")[:, None]
    machine = FunctionalsSvm(COSTS).fit(x, labels, np.repeat(["s0", "s1", "s2"], 8))
    assert list(machine.labels[machine.probabilities(x).argmax(axis=1)]) == list(labels)


@pytest.mark.parametrize("corpus", ["emodb", "ravdess", "nemo"])
@pytest.mark.parametrize("name", FUNCTIONALS)
def test_our_recipes_of_it_name_the_costs_of_their_set(corpus, name):
    recipe = read_recipe(find_recipe(f"honest/{corpus}-{name}-svm"))
    assert Settings.of(recipe) == Settings(functionals=name, costs=FUNCTIONALS[name].costs)
    assert recipe.corpus.name == corpus
    json.dumps(recipe.to_dict())
    assert not {"optim", "loss", "augment"} & set(recipe.to_dict())
