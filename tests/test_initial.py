"""A network that begins where a trained model ended: its weights, and who may then be tested."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import soundfile
import torch
from tiny_corpus import tiny_corpus, tiny_recipe
from torch import Tensor

from lightser.bundled import find_model
from lightser.card import WEIGHTS, Card, file_facts, read_card, write_card
from lightser.errors import BadModel, BadRecipe, BadResults, UnknownName
from lightser.export.trained import corpora_of, limits_of
from lightser.training.crossval import make_plan, run
from lightser.training.initial import Initial
from lightser.training.jobs import build_system, prepare
from lightser.training.recipe import Choice, Optim, Recipe, find_recipe, read_recipe
from lightser.training.system import System

MODEL, OTHER = "emodb-light_sernet", "emodb-zhong2020"
NETWORKS = [
    "honest/emodb-light_sernet",
    "honest/emodb-zhong2020",
    "zhong2020/table2/emodb-no_attention",
    "zhong2020/table5/emodb-acrnn3d",
    "zhong2020/table5/emodb-bcrnn",
    "zhong2020/table5/iemocap-drn",
    "light_sernet/table3/iemocap-improvised-yenigalla2018",
]


def copy_of(folder: Path, **changes: Any) -> Card:
    """Copy the bundled model, with other facts on its card."""
    shutil.copytree(find_model(MODEL), folder)
    card = dataclasses.replace(read_card(folder), name=folder.name, **changes)
    write_card(folder, card)
    return card


def with_weights(system: System, folder: Path, **changes: Any) -> Initial:
    """Return a copy of the bundled model with the weights of another system."""
    card = copy_of(folder, **changes)
    system.save(folder / WEIGHTS)
    files = {**card.files, WEIGHTS: file_facts(folder / WEIGHTS)}
    write_card(folder, dataclasses.replace(card, files=files))
    return Initial.of(str(folder))


def answer(system: System) -> Tensor:
    torch.manual_seed(1)
    with torch.no_grad():
        return system.eval().logits(system.features(0.1 * torch.randn(1, 32000)))[0]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_of_the_same_labels_answers_as_the_model_does(name: str, tmp_path: Path) -> None:
    recipe = read_recipe(find_recipe(name))
    labels = ("anger", "fear", "neutral", "sadness")
    known = build_system(recipe, 4)
    initial = with_weights(known, tmp_path / "known", labels=labels)
    system = build_system(recipe, 4)
    assert not torch.allclose(answer(system), answer(known))
    turned = ("sadness", "neutral", "anger", "fear")
    initial.give_to(system, turned)
    order = [labels.index(label) for label in turned]
    torch.testing.assert_close(answer(system), answer(known)[order])


def test_labels_that_the_model_does_not_know_begin_afresh(tmp_path: Path) -> None:
    recipe = read_recipe(find_recipe("honest/emodb-light_sernet"))
    initial = Initial.of(MODEL)
    known = System.load(initial.folder / WEIGHTS)
    system = build_system(recipe, 3)
    fresh = system.network.classifier.weight[1].clone()
    initial.give_to(system, ["sadness", "surprise", "anger"])
    system.standardize = known.standardize  # which is each training's own
    torch.testing.assert_close(system.network.classifier.weight[1], fresh)
    places = [initial.card.labels.index(label) for label in ("sadness", "anger")]
    torch.testing.assert_close(answer(system)[[0, 2]], answer(known)[places])


def own_corpus(folder: Path) -> tuple[Recipe, pd.DataFrame]:
    """Return a recipe like the bundled model's, for a corpus unheard by that: backwards."""
    table = tiny_corpus().assign(corpus="folder")
    for name in set(table["file"]):
        samples, rate = soundfile.read(name)
        soundfile.write(folder / f"backwards-{Path(name).name}", samples[::-1], rate)
    table["file"] = [str(folder / f"backwards-{Path(name).name}") for name in table["file"]]
    recipe = read_recipe(
        find_recipe("honest/emodb-light_sernet"),
        {"corpus": {"name": "folder"}, "init": MODEL, "window_s": 0.7},
    )
    optim = Optim(epochs=1, batch_size=4, learning_rate=1e-3)
    recipe = dataclasses.replace(recipe, optim=optim)
    return recipe, table


def test_a_run_begins_from_it_and_says_so(tmp_path: Path) -> None:
    recipe, table = own_corpus(tmp_path)
    plan = make_plan(recipe, table, name="own", out=tmp_path / "out")
    system, _, _ = prepare(plan.jobs[0])
    for name, weight in System.load(find_model(MODEL) / WEIGHTS).network.state_dict().items():
        if not name.startswith(("classifier", "embedding")):
            torch.testing.assert_close(system.network.state_dict()[name], weight)
    facts = run(plan, engine="serial")
    assert facts["complete"]
    expected = {
        "model": MODEL,
        "weights_sha256": read_card(find_model(MODEL)).files[WEIGHTS].sha256,
    }
    assert json.loads((plan.out / "scores.json").read_text())["init"] == expected
    afresh = dataclasses.replace(recipe, init=None)
    assert afresh.sha256() != recipe.sha256()
    assert "init" not in afresh.to_dict()


def test_results_and_jobs_know_which_weights_they_began_from(tmp_path: Path) -> None:
    recipe, table = own_corpus(tmp_path)
    card = copy_of(tmp_path / "model")
    recipe = dataclasses.replace(recipe, init=str(tmp_path / "model"))
    plan = make_plan(recipe, table, name="own", out=tmp_path / "out")
    run(plan, engine="serial")
    system = System.load(tmp_path / "model" / WEIGHTS)
    with torch.no_grad():
        system.network.classifier.bias += 1
    system.save(tmp_path / "model" / WEIGHTS)
    with pytest.raises(BadModel, match="was changed since its card was written"):
        prepare(plan.jobs[0])
    files = {**card.files, WEIGHTS: file_facts(tmp_path / "model" / WEIGHTS)}
    write_card(tmp_path / "model", dataclasses.replace(card, files=files))
    other = make_plan(recipe, table, name="own", out=tmp_path / "out")
    assert other.jobs[0].digest != plan.jobs[0].digest
    with pytest.raises(
        BadResults, match="the model that the network begins from has other weights"
    ):
        run(other, engine="serial")


def test_nobody_whom_the_model_knows_is_tested(tmp_path: Path) -> None:
    recipe, table = own_corpus(tmp_path)
    known = table.assign(corpus="emodb")
    with pytest.raises(BadRecipe, match="trained on emodb, so that nobody in it is left"):
        make_plan(recipe, known, name="own", out=tmp_path)


def test_what_does_not_fit_is_said_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match=MODEL):
        Initial.of("emodb-light_sernets")
    files = dict(read_card(find_model(MODEL)).files)
    del files[WEIGHTS]
    copy_of(tmp_path / "bare", files=files)
    with pytest.raises(BadModel, match=r"has no weights\.safetensors to begin from"):
        Initial.of(str(tmp_path / "bare"))
    initial = Initial.of(MODEL)
    zhong = build_system(read_recipe(find_recipe("honest/emodb-zhong2020")), 7)
    with pytest.raises(BadRecipe, match=r"has the model 'light_sernet' .* the recipe 'zhong2020'"):
        initial.give_to(zhong, initial.card.labels)
    recipe, table = own_corpus(tmp_path)
    with pytest.raises(BadRecipe, match="has the model 'zhong2020'"):  # before anything is begun
        make_plan(dataclasses.replace(recipe, init=OTHER), table, name="own", out=tmp_path)
    other = build_system(tiny_recipe(), 7)
    with pytest.raises(BadRecipe, match="has the frontend 'relative_logmel'"):
        initial.give_to(other, initial.card.labels)
    classic = {"model": Choice(name="functionals_svm"), "optim": Optim(updates=0)}
    with pytest.raises(BadRecipe, match="is no network and knows no init"):
        tiny_recipe(init=MODEL, **classic)


def test_a_model_that_began_from_another_has_its_corpora_on_its_card(tmp_path: Path) -> None:
    recipe, table = own_corpus(tmp_path)
    plan = make_plan(recipe, table, name="own", out=tmp_path)
    assert [corpus.corpus for corpus in corpora_of(plan)] == ["folder", "emodb"]
    assert f"beginning from {MODEL}" in limits_of(plan)
    afresh = make_plan(dataclasses.replace(recipe, init=None), table, name="own", out=tmp_path)
    assert [corpus.corpus for corpus in corpora_of(afresh)] == ["folder"]
    assert "beginning" not in limits_of(afresh)


def test_clips_that_the_model_has_heard_are_known_under_another_name() -> None:
    clips = sorted((Path(__file__).parent.parent / "lightser" / "samples").glob("*.flac"))
    table = pd.DataFrame({"file": clips, "start": float("nan"), "end": float("nan")})
    with pytest.raises(BadRecipe, match=f"'{MODEL}' was trained on 3 of these 3 clips"):
        Initial.of(MODEL).refuse_clips(table)
