"""A teacher in a recipe: nobody who is tested is heard by it, or by those who learn from it."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_corpus import tiny_corpus
from tiny_corpus import tiny_recipe as recipe
from torch.nn import functional

from lightser.errors import BadRecipe
from lightser.training.crossval import make_plan, to_toml
from lightser.training.jobs import ask_teacher, build_system, run_job
from lightser.training.lessons import Answers, lesson_loss, side_task
from lightser.training.loop import take_step
from lightser.training.recipe import (
    Augment,
    Optim,
    ProtocolChoice,
    Teacher,
    find_recipe,
    read_recipe,
)
from lightser.training.system import System
from lightser.training.teacher import find_teacher, leave_out

PROTOCOL = ProtocolChoice(name="loso", options={"valid_speakers": 0}, select="last")


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("LIGHTSER_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def four_speakers() -> pd.DataFrame:
    """Return the tiny corpus, one of whose speakers is two."""
    table = tiny_corpus()
    is_fourth = (table["speaker"] == "s2") & (np.arange(len(table)) % 2 == 0)
    return table.assign(speaker=table["speaker"].mask(is_fourth, "s3"))


@pytest.fixture
def teacher(tmp_path):
    path = tmp_path / "teacher.toml"
    path.write_text(
        to_toml(recipe(optim=Optim(epochs=1, batch_size=8), protocol=PROTOCOL).to_dict())
    )
    return Teacher(recipe=str(path), features=1.0, groups=3)


def taught_plan(teacher, out, **changes):
    taught = recipe(teacher=teacher, protocol=PROTOCOL, **changes)
    return make_plan(taught, four_speakers(), name="taught", out=out)


def test_every_clip_is_left_to_one_teacher_who_has_heard_nobody_of_its_speaker():
    rows = pd.concat(
        pd.DataFrame(
            {
                "corpus": corpus,
                "speaker": [f"s{i % n}" for i in range(3 * n)],
                "utterance": [f"{corpus}/{i}" for i in range(3 * n)],
            }
        )
        for corpus, n in (("small", 3), ("large", 10))
    )
    folds = leave_out(rows, 3, seed=0)
    of = dict(zip(rows["utterance"], rows["corpus"] + rows["speaker"], strict=True))
    told = [name for fold in folds for name in fold.test]
    assert sorted(told) == sorted(rows["utterance"]), "each once"
    for fold in folds:
        assert set(fold.train) | set(fold.test) == set(rows["utterance"])
        assert not {of[name] for name in fold.train} & {of[name] for name in fold.test}
        assert {name.split("/")[0] for name in fold.test} == {"small", "large"}
    assert leave_out(rows, 3, seed=0) == folds
    assert leave_out(rows, 3, seed=1) != folds


def test_two_speakers_cannot_be_left_out_in_turn():
    rows = pd.DataFrame({"corpus": "c", "speaker": ["a", "b"], "utterance": ["1", "2"]})
    with pytest.raises(BadRecipe, match=r"trains on 2 speakers.* takes three or more"):
        leave_out(rows, 5, seed=0)


def test_soft_answers_are_learned_as_if_from_the_teachers_own_logits():
    chance = torch.manual_seed(0)
    mine, its = torch.randn(6, 4, generator=chance), torch.randn(6, 4, generator=chance)
    how = Teacher(recipe="", temperature=3.0)
    soft = (its / 3).softmax(dim=1)
    expected = 9 * (soft * (soft.log() - functional.log_softmax(mine / 3, dim=1))).sum(dim=1).mean()
    value = lesson_loss(mine, Answers(its.softmax(dim=1), torch.empty(6, 0), how))
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)
    assert lesson_loss(its, Answers(its.softmax(dim=1), torch.empty(6, 0), how)).item() < 1e-6


def test_who_is_tested_is_heard_neither_by_the_network_nor_by_its_teachers(teacher, tmp_path):
    plan = taught_plan(teacher, tmp_path / "out")
    job = plan.jobs[0]
    run_job(job)
    assert (job.folder / "predictions.csv").is_file()
    told = [pd.read_csv(path / "predictions.csv") for path in sorted(job.folder.glob("teacher*"))]
    assert len(told) == 3
    names = [name for table in told for name in table["utterance"]]
    assert sorted(names) == sorted(job.fold.train), "all training clips, and none that is tested"


def test_what_the_teacher_says_stands_in_the_order_of_the_table_and_is_asked_for_once(
    teacher, tmp_path
):
    job = taught_plan(teacher, tmp_path / "out").jobs[1]
    answers = ask_teacher(job)
    rows = job.table[job.table["utterance"].isin(job.fold.train)]
    tables = [pd.read_csv(path) for path in job.folder.glob("teacher*/predictions.csv")]
    said = pd.concat(tables).set_index("utterance")
    columns = [f"p_{label}" for label in job.labels]
    wanted = said.loc[rows["utterance"], columns].to_numpy()
    assert answers.probabilities.numpy() == pytest.approx(wanted, abs=1e-6)
    assert answers.features.mean(dim=0).abs().max() < 1e-4
    written = {path: path.stat().st_mtime_ns for path in job.folder.rglob("predictions.csv")}
    again = ask_teacher(job)
    assert torch.equal(again.probabilities, answers.probabilities)
    assert written == {p: p.stat().st_mtime_ns for p in job.folder.rglob("predictions.csv")}


def test_a_taught_run_that_resumes_ends_where_an_uninterrupted_one_does(
    teacher, tmp_path, monkeypatch
):
    whole = taught_plan(teacher, tmp_path / "whole").jobs[0]
    run_job(whole)
    broken = taught_plan(teacher, tmp_path / "broken").jobs[0]
    monkeypatch.setattr("lightser.training.loop.CHECKPOINT_EVERY_S", 0.0)
    steps = 0

    def stop_early(*args):
        nonlocal steps
        steps += 1
        if steps == 20:  # when the teachers are done
            raise KeyboardInterrupt
        return take_step(*args)

    monkeypatch.setattr("lightser.training.loop.take_step", stop_early)
    with pytest.raises(KeyboardInterrupt):
        run_job(broken)
    assert len(list(broken.folder.glob("teacher*/predictions.csv"))) == 3
    monkeypatch.undo()
    monkeypatch.setenv("LIGHTSER_CACHE", str(tmp_path / "cache"))
    run_job(broken)
    for name in ("predictions.csv", "history.csv"):
        assert (broken.folder / name).read_text() == (whole.folder / name).read_text()


def test_the_side_task_is_learned_and_leaves_nothing_behind(teacher, tmp_path):
    job = taught_plan(teacher, tmp_path / "out").jobs[0]
    run_job(job)
    system = System.load(job.folder / "weights.safetensors")
    assert system.parameter_count() == build_system(job.recipe, 3).parameter_count()

    answers = ask_teacher(job)
    task = side_task(system, answers)
    embeddings = torch.randn(len(answers.features), len(system.embedding.mean))
    optimizer = torch.optim.Adam(task.parameters(), lr=0.01)
    losses = []
    for _ in range(50):
        optimizer.zero_grad()
        loss = task.loss(embeddings, answers)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_another_teacher_makes_another_job(teacher, tmp_path):
    one = taught_plan(teacher, tmp_path / "out")
    other = dataclasses.replace(one.jobs[0].teaching, pretrained="of other weights")
    changed = dataclasses.replace(one.jobs[0], teaching=other)
    alone = dataclasses.replace(one.jobs[0], teaching=None)
    assert len({one.jobs[0].digest, changed.digest, alone.digest}) == 3


def test_who_cannot_teach_is_refused_by_what_it_is(teacher, tmp_path):
    with pytest.raises(BadRecipe, match="teacher 'honest/emodb-egemaps-svm' is no network"):
        find_teacher(Teacher(recipe="honest/emodb-egemaps-svm"))
    with pytest.raises(BadRecipe, match="has a teacher itself"):
        find_teacher(Teacher(recipe="honest/emodb-lightser_small"))
    with pytest.raises(BadRecipe, match="begins from 'emodb-light_sernet'"):
        find_teacher(Teacher(recipe="honest/ravdess-light_sernet-from_emodb"))
    with pytest.raises(BadRecipe, match="No recipe 'honest/emodb-wisper3'; did you mean"):
        find_teacher(Teacher(recipe="honest/emodb-wisper3"))
    with pytest.raises(BadRecipe, match=r"of a blend it says nothing"):
        recipe(teacher=teacher, augment=Augment(mixup=0.4))
    with pytest.raises(BadRecipe, match=r"teacher.share must be at least 0 and at most 1, not 1.5"):
        Teacher(recipe="", share=1.5)


def test_a_network_without_an_embedding_has_no_side_task(teacher):
    answers = Answers(torch.ones(1, 3) / 3, torch.zeros(1, 5), teacher)
    system = build_system(recipe(), 3)
    del system.network.embedding
    with pytest.raises(BadRecipe, match=r"no embedding; leave out teacher.features"):
        side_task(system, answers)


def test_our_recipes_name_teachers_that_there_are():
    small = read_recipe(find_recipe("honest/emodb-lightser_small"))
    assert find_teacher(small.teacher).frontend.name == "whisper_encoder"
