"""Training: the order of a run, its schedules, and that stopping, resuming and running side by side
change nothing."""

import contextlib
import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_corpus import tiny_corpus
from tiny_corpus import tiny_recipe as recipe

from lightser.cli.precision import say_precision
from lightser.corpora.splits import Fold
from lightser.errors import BadRecipe, BadResults, LightserError
from lightser.losses.cross_entropy import CrossEntropy
from lightser.report.results import read_result
from lightser.training import crossval, engines, jobs, loop, precision
from lightser.training.batches import (
    Clips,
    _borrow_style,
    cut_windows,
    draw_batch,
    features_of,
    plan_updates,
)
from lightser.training.crossval import (
    adopt,
    collect,
    facts_of,
    make_plan,
    missing_jobs,
    run,
    to_toml,
)
from lightser.training.final import best_temperature, calibrate, check_quotable, train_final
from lightser.training.jobs import as_examples, build_system, prepare, run_job
from lightser.training.loop import learning_rate, make_optimizer, update_average
from lightser.training.precision import half_precision
from lightser.training.recipe import Augment, Choice, Loss, Optim, ProtocolChoice
from lightser.training.scores import scores_for_card

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("LIGHTSER_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def predictions(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "predictions.csv")


# --- the loss of a batch ---


@pytest.mark.parametrize("weights", [None, torch.tensor([1.0, 3.0, 0.5])])
def test_each_blended_clip_has_the_loss_of_its_own_two_labels_by_its_own_shares(weights):
    system = build_system(recipe(), 3)
    batch = draw_batch(
        clips_of(2, 2, 2), np.arange(6) % 3, Augment(mixup=0.4), None, np.random.default_rng(1)
    )
    logits = torch.randn(6, 3, generator=torch.manual_seed(0))
    losses = -logits.log_softmax(dim=1)
    total = norm = 0.0
    for i, (label, share) in enumerate(zip(batch.labels, batch.share, strict=True)):
        other = batch.labels[batch.partner[i]]
        for here, part in ((label, share.item()), (other, 1 - share.item())):
            weight = part * (1.0 if weights is None else weights[here].item())
            total += weight * losses[i, here].item()
            norm += weight
    loss = CrossEntropy(weights)
    value = loop.loss_of_logits(system, loss, batch, logits, Optim(epochs=1)).item()
    assert value == pytest.approx(total / norm, rel=1e-5)
    assert len(set(batch.share.tolist())) == 6, "a mean of shares would do otherwise"


# --- the order of a run ---


def test_an_epoch_sees_each_clip_once_and_the_stream_is_never_cut():
    plan = plan_updates(["emodb"] * 10, Optim(epochs=10, batch_size=3), np.random.default_rng(0))
    assert plan.shape == (30, 3)  # ⌊10 / 3⌋ updates an epoch, as published
    stream = plan.ravel()
    for start in range(0, len(stream), 10):
        assert sorted(stream[start : start + 10]) == list(range(10))


def test_a_shuffle_buffer_repeats_clips_before_others_are_seen():
    optim = Optim(updates=20, batch_size=10, shuffle_buffer=500)
    stream = plan_updates(["emodb"] * 50, optim, np.random.default_rng(0)).ravel()
    assert len(set(stream[:50])) < 50
    assert set(np.bincount(stream, minlength=50)) <= set(range(12))


def test_equal_corpora_are_drawn_equally_whatever_their_size():
    corpora = ["small"] * 5 + ["large"] * 100
    optim = Optim(updates=20, batch_size=10, equal_corpora=True)
    plan = plan_updates(corpora, optim, np.random.default_rng(0))
    assert plan.shape == (20, 10)
    assert ((plan < 5).sum(axis=1) == 5).all()
    assert (np.bincount(plan.ravel(), minlength=105) == [20] * 5 + [1] * 100).all()
    with pytest.raises(BadRecipe, match="take one of the two"):
        Optim(updates=20, equal_corpora=True, shuffle_buffer=5)


def test_light_sernet_drops_twelve_times_from_epoch_60_to_280():
    optim = Optim(epochs=300, learning_rate=1e-4, schedule="light_sernet")
    rates = [learning_rate(epoch * 13, 3900, 13, optim) for epoch in range(300)]
    drops = [epoch for epoch in range(1, 300) if rates[epoch] < rates[epoch - 1]]
    assert drops == list(range(60, 281, 20))
    assert rates[-1] == pytest.approx(1.65e-5, rel=2e-3)


def test_one_cycle_rises_for_a_tenth_and_falls_to_nothing():
    optim = Optim(epochs=10, learning_rate=1.0, schedule="one_cycle")
    rates = [learning_rate(update, 100, 10, optim) for update in range(100)]
    assert np.argmax(rates) in (9, 10)
    assert max(rates) == pytest.approx(1.0)
    assert rates[-1] < 1e-3


def test_decay_pulls_at_kernels_alone():
    job = make_plan(recipe(), tiny_corpus(), name="t", out=Path("unused")).jobs[0]
    system, _, _ = prepare(job)
    kernels, others = make_optimizer(system, Optim(epochs=1, weight_decay=0.1)).param_groups
    assert kernels["weight_decay"] == 0.1 and all(p.ndim > 1 for p in kernels["params"])
    assert others["weight_decay"] == 0 and all(p.ndim <= 1 for p in others["params"])
    average = {name: t.clone() for name, t in system.state_dict().items()}
    with torch.no_grad():
        system.network.classifier.weight.add_(1.0)
    update_average(average, system, 0.9, update=10_000)
    moved = average["network.classifier.weight"] - system.network.classifier.weight
    torch.testing.assert_close(moved, torch.full_like(moved, -0.9))


# --- what a batch holds ---


def clips_of(*lengths: int) -> Clips:
    variants = tuple((torch.full((n, 3), float(i + 1)),) for i, n in enumerate(lengths))
    labels = torch.arange(len(lengths))
    names = tuple(map(str, lengths))
    return Clips(names, ("emodb",) * len(names), labels, torch.ones(len(lengths)), variants)


def test_shorter_clips_are_padded_and_their_lengths_told():
    batch = draw_batch(clips_of(5, 2), np.array([0, 1]), Augment(), None, np.random.default_rng(0))
    assert batch.features.shape == (2, 5, 3)
    assert batch.lengths is not None and batch.lengths.tolist() == [5, 2]
    assert (batch.features[1, 2:] == 0).all()


def test_a_placed_clip_is_whole_and_stands_anywhere():
    clips = clips_of(4)
    starts = set()
    for seed in range(50):
        batch = draw_batch(
            clips, np.array([0]), Augment(place=True), 6, np.random.default_rng(seed)
        )
        frames = batch.features[0, :, 0].nonzero().ravel().tolist()
        assert frames == list(range(frames[0], frames[0] + 4))
        starts.add(frames[0])
    assert starts == {0, 1, 2}


def test_mixup_never_gives_the_partner_the_larger_share():
    batch = draw_batch(
        clips_of(2, 2, 2), np.arange(3), Augment(mixup=0.4), None, np.random.default_rng(1)
    )
    assert batch.share is not None and batch.partner is not None
    assert ((batch.share >= 0.5) & (batch.share <= 1)).all()
    assert sorted(batch.partner.tolist()) == [0, 1, 2]


def test_masks_replace_a_run_of_rows():
    clips = Clips(
        ("a",),
        ("emodb",),
        torch.zeros(1, dtype=torch.int64),
        torch.ones(1),
        ((torch.randn(30, 8),),),
    )
    augment = Augment(time_masks=1, time_mask_frames=5)
    batch = draw_batch(clips, np.array([0]), augment, None, np.random.default_rng(3))
    changed = (batch.features[0] != clips.variants[0][0]).all(dim=1).nonzero().ravel()
    assert 1 <= len(changed) <= 5
    assert changed.tolist() == list(range(changed[0], changed[-1] + 1))


@pytest.mark.parametrize("length", [1, 9, 10, 11, 25, 30])
def test_windows_cover_a_clip(length):
    samples = np.arange(1, length + 1, dtype=np.float32)
    windows = cut_windows(samples, size=10, shortest=10)
    assert {len(window) for window in windows} == {10}
    assert set(np.concatenate(windows)) - {0.0} == set(samples)


# --- runs ---


def test_a_run_writes_a_row_for_each_utterance_and_speaks_of_its_protocol(tmp_path):
    table = tiny_corpus()
    plan = make_plan(recipe(), table, name="t", out=tmp_path / "r")
    scores = run(plan, engine="serial")
    rows = predictions(tmp_path / "r")
    assert sorted(rows["utterance"]) == sorted(table["utterance"])
    assert rows[[c for c in rows if c.startswith("p_")]].sum(axis=1).round(4).eq(1).all()
    assert scores["complete"] and scores["protocol"] == "loso" and scores["speaker_independent"]
    history = pd.read_csv(tmp_path / "r" / "history.csv")
    assert history["test_ua"].isna().all(), "an honest protocol never looks at the test part"
    assert (history.groupby("fold")["chosen"].sum() == 1).all()
    assert not (tmp_path / "r" / "jobs").exists()
    assert missing_jobs(plan) == []


def test_side_by_side_is_equal_to_one_after_another(tmp_path):
    table = tiny_corpus()
    for folder, engine in (("one", "serial"), ("two", "local")):
        plan = make_plan(recipe(), table, name="t", out=tmp_path / folder)
        run(plan, engine=engine, workers=2)
    pd.testing.assert_frame_equal(predictions(tmp_path / "one"), predictions(tmp_path / "two"))


def test_the_published_protocol_selects_on_test_and_says_so(tmp_path):
    protocol = ProtocolChoice(name="light_sernet", options={"holdouts": 2})
    plan = make_plan(recipe(protocol=protocol), tiny_corpus(), name="t", out=tmp_path / "r")
    scores = run(plan, engine="serial")
    assert scores["selected_on"] == "test_wa" and "selected on test" in scores["protocol_note"]
    history = pd.read_csv(tmp_path / "r" / "history.csv")
    for _, fold in history.groupby("fold"):
        assert fold.loc[fold["chosen"] == 1, "test_wa"].item() == fold["test_wa"].max()
        assert fold["chosen"].to_numpy().argmax() == fold["test_wa"].to_numpy().argmax(), "first"


SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, {here!r})
from test_training import killable_plan
from lightser.training import loop
from lightser.training.jobs import run_job
loop.CHECKPOINT_EVERY_S = 0.0
run_job(killable_plan(Path({out!r})).jobs[0])
"""


def killable_plan(out: Path):
    augment = Augment(time_masks=1, time_mask_frames=9, mixup=0.3)
    optim = Optim(epochs=30, batch_size=4, learning_rate=3e-3, average=0.9, schedule="one_cycle")
    return make_plan(recipe(optim=optim, augment=augment), tiny_corpus(), name="t", out=out)


def test_a_run_that_was_killed_resumes_to_the_same_result(tmp_path):
    whole = killable_plan(tmp_path / "whole")
    run_job(whole.jobs[0])
    killed = killable_plan(tmp_path / "killed")
    folder = killed.jobs[0].folder
    command = [sys.executable, "-c", SCRIPT.format(here=str(HERE), out=str(tmp_path / "killed"))]
    checkpoint = folder / "checkpoint" / "checkpoint.json"
    history = pd.read_csv(whole.jobs[0].folder / "history.csv")
    (best,) = history["epoch"][history["chosen"] == 1]
    updates = json.loads((whole.jobs[0].folder / "progress.json").read_text())["updates"]
    assert best < 25, "it is killed once more behind the epoch that is chosen"
    for least in (0, best * updates // 30):  # each time somewhere in an epoch
        process = subprocess.Popen(command)
        while not checkpoint.exists() or json.loads(checkpoint.read_text())["update"] <= least:
            assert process.poll() is None, "it finished before it could be killed"
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert not (folder / "predictions.csv").exists()
    run_job(killed.jobs[0])
    for file in ("predictions.csv", "history.csv"):
        ours = (folder / file).read_text()
        assert ours == (whole.jobs[0].folder / file).read_text()


@pytest.mark.skipif(sys.platform == "win32", reason="nobody is kept out there")
def test_who_begins_a_job_that_another_process_is_at_waits_and_trains_nothing(
    tmp_path, monkeypatch, caplog
):
    job = killable_plan(tmp_path).jobs[0]
    command = [sys.executable, "-c", SCRIPT.format(here=str(HERE), out=str(tmp_path))]
    with subprocess.Popen(command) as process:
        while not (job.folder / "progress.json").exists():
            assert process.poll() is None, "it ended before anyone could wait for it"
            time.sleep(0.01)
        monkeypatch.setattr(loop, "take_step", no_more)
        run_job(job)
    assert process.returncode == 0 and job.is_done
    assert caplog.messages == [f"{job.name}: another process is at it; waiting for that to end"]


def no_more(*given):
    raise AssertionError("it trains again")


def test_what_is_trained_is_kept_until_all_of_it_is_written(tmp_path, monkeypatch):
    job = make_plan(recipe(), tiny_corpus(), name="t", out=tmp_path / "r").jobs[0]
    checkpoint = job.folder / "checkpoint" / "checkpoint.json"
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY_S", 0.0)

    def full(*given):
        raise OSError("no space left on device")

    with monkeypatch.context() as patched, pytest.raises(OSError, match="no space"):
        patched.setattr(jobs, "write_predictions", full)
        run_job(job)
    assert checkpoint.exists() and not job.is_done
    monkeypatch.setattr(loop, "take_step", no_more)
    run_job(job)
    assert job.is_done and not checkpoint.exists()


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are looked up in /proc")
def test_a_run_outlives_the_shell_that_began_it(tmp_path):
    job = killable_plan(tmp_path).jobs[0]
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(here=str(HERE), out=str(tmp_path)))
    begun = job.folder / "checkpoint" / "checkpoint.json"
    run = f"'{sys.executable}' '{script}' >'{tmp_path}/said' 2>&1"
    shell = f"{run} & echo $!; until [ -e '{begun}' ]; do sleep 0.05; done"
    process = subprocess.run(["sh", "-c", shell], stdout=subprocess.PIPE, timeout=120, check=True)
    assert not job.is_done, "it finished while the shell was there"
    while is_running(int(process.stdout)):
        time.sleep(0.05)
    assert job.is_done


POOL = """
import sys
from pathlib import Path
sys.path.insert(0, {here!r})
from test_training import killable_plan
from lightser.training.engines import local
if __name__ == "__main__":
    list(local(killable_plan(Path({out!r})).jobs, 1, lambda states: None))
"""


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are looked up in /proc")
def test_the_processes_of_a_run_that_was_killed_end_too(tmp_path):
    job = killable_plan(tmp_path).jobs[0]
    script = tmp_path / "script.py"
    script.write_text(POOL.format(here=str(HERE), out=str(tmp_path)))
    process = subprocess.Popen([sys.executable, str(script)])
    while not (job.folder / "progress.json").exists():
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.01)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert children
    process.kill()
    process.wait()
    while any(is_running(int(child)) for child in children):
        time.sleep(0.05)
    assert not job.is_done


def is_running(pid: int) -> bool:
    """Whether a process is there and has not ended; one that nobody has asked about yet has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_run_goes_on_with_the_folds_that_are_missing(tmp_path):
    plan = make_plan(recipe(), tiny_corpus(), name="t", out=tmp_path / "r")
    run_job(plan.jobs[1])
    assert [job.name for job in missing_jobs(plan)] == [plan.jobs[0].name, plan.jobs[2].name]
    partial = collect(plan)
    assert not partial["complete"] and partial["folds_done"] == 1
    ran = []
    scores = run(plan, engine="serial", done=lambda job, _: ran.append(job.name))
    assert ran == [plan.jobs[0].name, plan.jobs[2].name] and scores["complete"]


def test_a_run_that_was_stopped_before_its_predictions_were_scored_goes_on(tmp_path, monkeypatch):
    plan = make_plan(recipe(), tiny_corpus(), name="t", out=tmp_path / "r")

    def stop(*given):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(crossval, "score_predictions", stop)
        run(plan, engine="serial")
    assert (plan.out / "predictions.csv").exists() and not (plan.out / "scores.json").exists()
    other = make_plan(recipe(seeds=(1,)), tiny_corpus(), name="t", out=plan.out)
    with pytest.raises(BadRecipe, match="or of other seeds or folds"):
        run(other, engine="serial")
    assert run(plan, engine="serial")["complete"]


def test_a_speaker_and_a_label_may_have_any_name(tmp_path):
    words = {"s0": "NA", "s1": "01", "s2": "2"}
    table = tiny_corpus().replace({"speaker": words, "label": {"anger": "None"}})
    choice = recipe(corpus=Choice(name="table"), optim=Optim(updates=1, batch_size=4))
    plan = make_plan(choice, table, name="t", out=tmp_path / "r")
    run_job(plan.jobs[0])
    collect(plan)
    scores = run(plan, engine="serial")
    assert scores["complete"] and scores["n_speakers"] == 3 and scores["interval_speakers"]
    found = read_result(plan.out)
    assert set(found.predictions["speaker"]) == set(found.history["fold"]) == set(words.values())
    assert set(found.predictions["truth"]) == set(table["label"]) and missing_jobs(plan) == []
    system = build_system(choice, len(plan.labels))
    assert calibrate(system, plan.out) == pytest.approx(float(system.temperature))


def test_results_of_another_recipe_are_not_mixed_in(tmp_path):
    run(make_plan(recipe(), tiny_corpus(), name="t", out=tmp_path / "r"), engine="serial")
    other = recipe(optim=Optim(epochs=4, batch_size=4))
    with pytest.raises(BadRecipe, match="another version of this recipe"):
        run(make_plan(other, tiny_corpus(), name="t", out=tmp_path / "r"), engine="serial")


def test_results_of_other_data_are_neither_kept_nor_taken_nor_quoted(tmp_path):
    table = tiny_corpus()
    choice = recipe(
        optim=Optim(updates=1, batch_size=4),
        protocol=ProtocolChoice(name="loso", options={"valid_speakers": 0}, select="last"),
    )

    def plan_of(table, name="one"):
        return make_plan(choice, table, name=name, out=tmp_path / name)

    plan = plan_of(table)
    begun = dataclasses.replace(plan.jobs[0], folder=tmp_path / "job")
    run_job(begun)
    run(plan, engine="serial")
    check_quotable(plan, plan.out)
    before = {path.name: path.read_bytes() for path in plan.out.iterdir()}
    relabelled = table.assign(label=table["label"].where(table.index != 5, "anger"))
    name = table["utterance"][5]
    assert table["label"][5] != "anger"
    for other, said in ((relabelled, "is 'anger' of"), (table.drop(index=5), "is not tested")):
        for act in (lambda p: run(p, engine="serial"), lambda p: check_quotable(p, plan.out)):
            with pytest.raises(BadResults, match=f"other data.*{re.escape(name)}.*{said}"):
                act(plan_of(other))
        assert adopt(plan_of(other, "two"), tmp_path) is None and not (tmp_path / "two").exists()
        with pytest.raises(BadRecipe, match="or of its corpus"):
            run_job(dataclasses.replace(plan_of(other).jobs[0], folder=begun.folder))
    assert {path.name: path.read_bytes() for path in plan.out.iterdir()} == before
    of_votes = table.assign(agreement=table["agreement"].where(table.index != 5, 0.5))
    of_sound = table.assign(start=table["start"].where(table.index != 5, table["start"] + 0.01))
    for other in (of_votes, of_sound):
        with pytest.raises(BadResults, match="other data: the audio, features, labels or agree"):
            run(plan_of(other), engine="serial")
    assert adopt(plan_of(table, "two"), tmp_path) == plan.out


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"recipe_sha256": "0"}, "of another recipe"),
        ({"labels": ["fear"]}, "of other labels"),
        ({"complete": False}, "incomplete"),
        ({"speaker_independent": False}, "not honest"),
        ({"selected_on": "test_wa"}, "not honest"),
        ({"seeds": [1]}, ""),
    ],
)
def test_only_whole_honest_results_of_the_recipe_are_quoted_and_taken_over(tmp_path, changed, said):
    choice = recipe(optim=Optim(updates=1, batch_size=4))
    plan = make_plan(choice, tiny_corpus(), name="one", out=tmp_path / "one")
    scores = run(plan, engine="serial")
    (plan.out / "scores.json").write_text(json.dumps(scores | changed))
    if said:
        with pytest.raises(BadResults, match=said):
            check_quotable(plan, plan.out)
    if {"recipe_sha256", "complete", "seeds"} & set(changed):
        assert adopt(dataclasses.replace(plan, out=tmp_path / "two"), tmp_path) is None


def test_a_digest_is_of_all_that_makes_a_job_s_numbers_and_of_nothing_else(tmp_path, monkeypatch):
    job = make_plan(recipe(), tiny_corpus(), name="t", out=tmp_path).jobs[0]
    fold, table, first = job.fold, job.table, tiny_corpus().index == 0
    moved = dataclasses.replace(fold, train=fold.train[1:], valid=(*fold.valid, fold.train[0]))
    changes = [
        {"recipe": recipe(optim=Optim(epochs=4, batch_size=4))},
        {"labels": job.labels[::-1]},
        {"fold": moved},
        {"seed": 1},
        {"select": "last"},
        *(
            {"table": table.assign(**{column: table[column].mask(first, other)})}
            for column, other in (
                ("label", "disgust"), ("speaker", "s9"), ("corpus", "nemo"), ("agreement", 0.1),
                ("content", "0"),
            )
        ),
    ]  # fmt: skip
    digests = [job.digest, *(dataclasses.replace(job, **change).digest for change in changes)]
    monkeypatch.setattr(jobs, "FEATURES_VERSION", -1)
    assert len({*digests, job.digest}) == len(changes) + 2
    monkeypatch.undo()
    elsewhere = table.assign(file=table["file"] + "x", text="")
    for change in ({"table": elsewhere}, {"folder": tmp_path / "x"}, {"device": "cuda"}):
        assert dataclasses.replace(job, **change).digest == job.digest


def test_results_of_folds_that_were_dealt_otherwise_are_not_kept_as_they_are(tmp_path):
    choice = recipe(optim=Optim(updates=1, batch_size=4))
    plan = make_plan(choice, tiny_corpus(), name="t", out=tmp_path / "r")
    scores = run(plan, engine="serial")
    scores.pop("digest_by_job")  # as in results from before it was kept
    (plan.out / "scores.json").write_text(json.dumps(scores))
    assert run(plan, engine="serial")["complete"]
    folds = json.loads((plan.out / "folds.json").read_text())
    folds["folds"][1]["train"].append(folds["folds"][1]["valid"].pop())
    dealt = json.dumps(folds)
    (plan.out / "folds.json").write_text(dealt)
    with pytest.raises(BadResults, match="fold 's1' has other parts to train and validate on now"):
        run(plan, engine="serial")
    assert (plan.out / "folds.json").read_text() == dealt


def test_a_job_that_was_collected_meanwhile_is_not_run_again(tmp_path, monkeypatch):
    choice = recipe(optim=Optim(updates=1, batch_size=4))
    plan = make_plan(choice, tiny_corpus(), name="t", out=tmp_path / "r")
    run(plan, engine="serial")
    assert not (plan.out / "jobs").exists()
    monkeypatch.setattr(loop, "take_step", no_more)
    run_job(plan.jobs[0])  # by a process that listed what is missing before
    assert collect(plan)["complete"] and not (plan.out / "jobs").exists()


def test_a_changed_recipe_does_not_go_on_where_the_old_one_was_stopped(tmp_path):
    plan = make_plan(recipe(), tiny_corpus(), name="t", out=tmp_path / "r")
    run_job(plan.jobs[0])
    (plan.jobs[0].folder / "predictions.csv").unlink()  # as if it had been stopped
    other = recipe(optim=Optim(epochs=4, batch_size=4))
    changed = make_plan(other, tiny_corpus(), name="t", out=tmp_path / "r")
    with pytest.raises(BadRecipe, match="was begun with another version of this recipe"):
        run(changed, engine="serial")
    with pytest.raises(BadRecipe, match="was begun with another version of this recipe"):
        run_job(changed.jobs[0])
    assert run(plan, engine="serial")["complete"]
    seeds = make_plan(recipe(seeds=(1,)), tiny_corpus(), name="t", out=tmp_path / "r")
    with pytest.raises(BadRecipe, match="or of other seeds or folds"):
        run(seeds, engine="serial")


def test_results_stay_as_they_were_found(tmp_path):
    plan = make_plan(recipe(), tiny_corpus(), name="t", out=tmp_path / "r")
    begun = [dataclasses.replace(job, commit="abc") for job in plan.jobs]
    for job in begun[:2]:
        run_job(job)
    collect(dataclasses.replace(plan, jobs=tuple(begun)))
    path = tmp_path / "r" / "scores.json"
    facts = json.loads(path.read_text())
    path.write_text(json.dumps(facts | {"machine": "another", "versions": {"torch": "1.0"}}))
    before = json.loads(path.read_text())
    del before["precision_by_job"]  # as results were written once, when what was asked for was done
    path.write_text(json.dumps(before))
    assert collect(plan)["commit"] == "abc"
    before["precision_by_job"] = dict.fromkeys(before["minutes_by_job"], "float32")
    assert json.loads(path.read_text()) == before
    last = dataclasses.replace(plan.jobs[2], commit="def")
    last.folder.mkdir()
    jobs.tell(dataclasses.replace(last, commit="abc"), {"update": 1})  # then it was stopped
    run_job(last)
    later = collect(plan)
    assert later["commit"] == "abc, def" and later["machine"] != "another"
    assert later["commit_by_job"][last.name] == "abc, def"


def test_every_precision_that_was_at_a_job_is_said(tmp_path):
    job = make_plan(recipe(), tiny_corpus(), name="t", out=tmp_path).jobs[0]
    job.folder.mkdir(parents=True)
    for name in ("bfloat16", "float32", "float32"):
        jobs.tell(job, {"update": 1, "precision": name})
    assert json.loads((job.folder / "progress.json").read_text())["precision"] == (
        "bfloat16, float32"
    )


def test_a_training_that_diverges_says_so_and_is_not_done(tmp_path):
    wild = recipe(optim=Optim(updates=9, batch_size=4, learning_rate=1e30))
    job = make_plan(wild, tiny_corpus(), name="t", out=tmp_path).jobs[0]
    with pytest.raises(BadRecipe, match=r"diverged: the loss of update \d+ is (nan|inf)"):
        run_job(job)
    assert not job.is_done


def test_a_process_that_is_killed_is_answered_in_a_line(tmp_path, monkeypatch):
    plan = make_plan(recipe(), tiny_corpus(), name="t", out=tmp_path)
    real = engines.process_pool

    @contextlib.contextmanager
    def pool_that_is_killed(workers):
        with real(workers) as pool:
            yield SimpleNamespace(submit=lambda *_: pool.submit(os._exit, 9))

    monkeypatch.setattr(engines, "process_pool", pool_that_is_killed)
    with pytest.raises(LightserError, match="ended from outside"):
        run(plan, engine="local")


def test_a_recipe_is_written_with_any_label_as_a_key():
    facts = {"corpus": {"labels": {"hot anger": "anger", "Ärger": "a", 'a"b': "b", "x": "y"}}}
    assert tomllib.loads(to_toml(facts)) == facts


def test_half_precision_where_there_are_units_for_it(tmp_path, monkeypatch, capsys):
    half = recipe(optim=Optim(epochs=1, batch_size=4, precision="bfloat16"))
    found = {}
    for units in (True, False):
        monkeypatch.setattr(precision, "_has_bfloat16", lambda kind, units=units: units)
        with half_precision(half.optim, "cpu"):
            product = torch.ones(2, 2) @ torch.ones(2, 2)
        assert product.dtype == (torch.bfloat16 if units else torch.float32)
        plan = make_plan(half, tiny_corpus(), name="t", out=tmp_path / str(units))
        plan = dataclasses.replace(plan, jobs=plan.jobs[:1], part=plan.jobs[:1])
        found[units] = run(plan, engine="serial")["precision_by_job"]
        say_precision([half], "cpu")
        say_precision([recipe()], "cpu")  # asks for none
        said = capsys.readouterr().err
        assert said.count("no units for bfloat16") == (not units)
    name = plan.jobs[0].name
    assert found == {True: {name: "bfloat16"}, False: {name: "float32"}}


def test_a_part_of_a_file_is_heard_and_no_more(tmp_path):
    table = tiny_corpus().head(1)
    choice = recipe(frontend=Choice(name="zhong2020"), window_s=None)
    frontend = build_system(choice, 2).frontend

    def frames(start, end):
        part = table.assign(start=start, end=end)
        ((clip,),) = features_of(part, choice, frontend, training=False, cache=tmp_path)
        return len(clip)

    whole = frames(np.nan, np.nan)
    assert frames(np.nan, 0.4) == frames(0.0, 0.4) < whole
    assert frames(0.3, np.nan) < whole


def test_kept_features_that_are_damaged_are_computed_again(tmp_path):
    table = tiny_corpus().head(1)
    frontend = build_system(recipe(), 3).frontend

    def heard():
        return features_of(table, recipe(), frontend, training=False, cache=tmp_path)

    before = heard()
    (kept,) = tmp_path.rglob("*.npz")
    whole = kept.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], b"PK" + bytes(100), whole[:-200] + bytes(200)):
        kept.write_bytes(damaged)
        torch.testing.assert_close(heard(), before, rtol=0, atol=0)
        assert kept.read_bytes() == whole


def test_training_clips_are_also_recorded_anew_and_others_never(tmp_path):
    table = tiny_corpus().iloc[:2]
    plain = recipe(augment=Augment(speeds=(1.1,)))
    system = build_system(plain, 3)

    def heard(choice, training=True):
        return features_of(table, choice, system.frontend, training=training, cache=tmp_path)

    anew = recipe(augment=Augment(speeds=(1.1,), recordings=2))
    for clip, of in zip(heard(anew), heard(plain), strict=True):
        assert len(clip) == 6 and len(of) == 2
        torch.testing.assert_close([clip[0], clip[3]], list(of), rtol=0, atol=0)  # as they are
        assert len({tuple(v.ravel().tolist()) for v in clip}) > 3
        assert clip[1].shape == clip[2].shape == clip[0].shape
    again = features_of(table, anew, system.frontend, training=True, cache=tmp_path / "other")
    torch.testing.assert_close(again, heard(anew), rtol=0, atol=0)
    assert [len(clip) for clip in heard(anew, training=False)] == [1, 1]
    batch = prepare(make_plan(anew, tiny_corpus(), name="t", out=tmp_path / "t").jobs[0])[1]
    drawn = draw_batch(batch, np.zeros(40, int), anew.augment, None, np.random.default_rng(0))
    assert len({tuple(row.ravel().tolist()) for row in drawn.features}) > 3


def test_recordings_anew_also_come_by_other_devices(tmp_path):
    pytest.importorskip("av")
    table = tiny_corpus().iloc[:1]
    here = recipe(augment=Augment(recordings=3))
    there = recipe(augment=Augment(recordings=3, devices=True))
    system = build_system(here, 3)
    (plain,), (far,) = (
        features_of(table, choice, system.frontend, training=True, cache=tmp_path)
        for choice in (here, there)
    )
    assert [v.shape for v in plain] == [v.shape for v in far]
    assert torch.equal(plain[0], far[0])
    assert not any(torch.equal(a, b) for a, b in zip(plain[1:], far[1:], strict=True))
    (again,) = features_of(table, there, system.frontend, training=True, cache=tmp_path / "other")
    torch.testing.assert_close(again, far, rtol=0, atol=0)


@pytest.mark.parametrize("augment", [Augment(), Augment(speeds=(1.1,))], ids=["plain", "speeds"])
def test_every_window_of_a_longer_clip_is_trained_on(augment, tmp_path):
    choice = recipe(
        frontend=Choice(name="relative_logmel", options={"window_s": 0.2}),
        window_s=0.2,
        standardize=True,
        augment=augment,
    )
    plan = make_plan(choice, tiny_corpus(), name="t", out=tmp_path)
    system, train, parts = prepare(plan.jobs[0])
    windows = train.variants[0]
    assert len(windows) >= 4 and len(parts["test"].variants[0]) == 4
    batch = draw_batch(train, np.zeros(99, int), augment, None, np.random.default_rng(0))
    drawn = {tuple(row.ravel().tolist()) for row in batch.features}
    assert drawn == {tuple(window.ravel().tolist()) for window in windows}
    frames = torch.cat([w for clip in train.variants for w in clip[:4]]).double()
    torch.testing.assert_close(system.standardize.mean, frames.mean(0).float())


def test_mixstyle_gives_each_band_a_mean_and_deviation_between_those_of_two_clips():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(6, 50, 4, generator=generator) * torch.arange(1, 7)[:, None, None]
    features += 10 * torch.arange(6)[:, None, None]
    heard = _borrow_style(features, None, np.random.default_rng(0))
    rng = np.random.default_rng(0)
    partner, share = rng.permutation(6), torch.tensor(rng.beta(0.3, 0.3, 6)).float()[:, None]
    for statistic in (lambda x: x.mean(1), lambda x: x.std(1, correction=0)):
        own, other = statistic(features), statistic(features)[partner]
        torch.testing.assert_close(
            statistic(heard), share * own + (1 - share) * other, rtol=1e-4, atol=1e-4
        )
    # what is said, up to gain and offset of each band, is the same
    normal = [(x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True) for x in (features, heard)]
    torch.testing.assert_close(*normal, rtol=1e-3, atol=1e-3)


def test_mixstyle_knows_where_a_clip_ends_and_leaves_silence_finite():
    features = torch.randn(3, 20, 2, generator=torch.Generator().manual_seed(1))
    features[1, 8:] = 0
    features[2] = 5.0  # no deviation at all
    lengths = torch.tensor([20, 8, 20])
    heard = _borrow_style(features, lengths, np.random.default_rng(2))
    assert heard.isfinite().all() and not heard[1, 8:].any()
    alone = _borrow_style(features[1:2, :8], None, np.random.default_rng(2))
    torch.testing.assert_close(alone, features[1:2, :8])  # nobody to borrow from


def test_mixstyle_happens_as_often_as_asked_and_keeps_labels():
    clips = clips_of(5, 8, 7, 9)
    chosen = np.arange(4)
    plain = draw_batch(clips, chosen, Augment(), None, np.random.default_rng(0))
    changed = 0
    for seed in range(60):
        drawn = draw_batch(clips, chosen, Augment(mixstyle=0.5), None, np.random.default_rng(seed))
        torch.testing.assert_close(drawn.labels, plain.labels)
        changed += not torch.equal(drawn.features, plain.features)
    assert 18 <= changed <= 42


def test_clips_of_one_window_ask_for_no_chance():
    one, other = np.random.default_rng(0), np.random.default_rng(0)
    draw_batch(clips_of(5, 2), np.array([0, 1]), Augment(), None, one)
    assert one.random() == other.random()


def test_a_row_that_repeats_another_takes_its_results(tmp_path):
    first = make_plan(recipe(), tiny_corpus(), name="one", out=tmp_path / "one")
    repeat = make_plan(recipe(title="again"), tiny_corpus(), name="two", out=tmp_path / "two")
    other = make_plan(recipe(standardize=False), tiny_corpus(), name="t", out=tmp_path / "three")
    assert adopt(repeat, tmp_path) is None
    run(first, engine="serial")
    assert adopt(repeat, tmp_path) == tmp_path / "one"
    assert adopt(other, tmp_path) is None
    assert missing_jobs(repeat) == []
    taken = json.loads((tmp_path / "two" / "scores.json").read_text())  # whole before it is run
    assert {path.name for path in (tmp_path / "two").iterdir()} >= {"folds.json", "recipe.toml"}
    assert taken["recipe"] == "two" and taken["minutes_by_job"] and taken["pooled"]
    scores = run(repeat, engine="serial")
    assert scores["recipe"] == "two" and scores["complete"]
    pd.testing.assert_frame_equal(predictions(tmp_path / "one"), predictions(tmp_path / "two"))


def test_choosing_an_epoch_without_validation_speakers_is_refused(tmp_path):
    protocol = ProtocolChoice(name="loso", options={"valid_speakers": 0})
    with pytest.raises(BadRecipe, match='select = "last"'):
        make_plan(recipe(protocol=protocol), tiny_corpus(), name="t", out=tmp_path)


def test_standardisation_and_class_weights_come_from_the_training_part(tmp_path):
    table = tiny_corpus()
    changed = recipe(standardize=True, loss=Loss(name="cross_entropy", class_weights=True))
    plan = make_plan(changed, table, name="t", out=tmp_path)
    job = plan.jobs[0]
    system, train, _ = prepare(job)
    frames = torch.cat([clip[0] for clip in train.variants]).double()
    torch.testing.assert_close(system.standardize.mean, frames.mean(0).float())
    other = Fold(job.fold.name, job.fold.train, job.fold.valid, test=())
    again, _, _ = prepare(dataclasses.replace(job, fold=other))
    torch.testing.assert_close(system.standardize.std, again.standardize.std)


def test_zhong_trains_on_clips_of_different_length_and_learns(tmp_path):
    table = tiny_corpus()
    table.loc[::2, "end"] -= 0.2
    protocol = ProtocolChoice(name="loso", options={"valid_speakers": 0}, select="last")
    zhong = recipe(
        system="zhong2020",
        frontend=Choice(name="zhong2020"),
        model=Choice(name="zhong2020", options={"n_blocks": 2}),
        standardize=True,
        loss=Loss(name="focal_by_agreement", class_weights=True),
        optim=Optim(updates=25, batch_size=8, learning_rate=1e-3, clip_norm=5.0, shuffle_buffer=50),
        protocol=protocol,
    )
    plan = make_plan(zhong, table, name="t", out=tmp_path / "r")
    run_job(plan.jobs[0])
    rows = pd.read_csv(plan.jobs[0].folder / "predictions.csv")
    # stretches of one recording, dealt to two sides: anything that learns tells them apart
    assert (rows["truth"] == rows["predicted"]).mean() > 0.8


def test_placing_clips_between_zeros_needs_a_front_end_for_which_zero_is_silence(tmp_path):
    placed = recipe(augment=Augment(place=True), window_s=0.7)
    plan = make_plan(placed, tiny_corpus(), name="t", out=tmp_path)
    with pytest.raises(BadRecipe, match="not silence to the front end 'light_sernet'"):
        run_job(plan.jobs[0])


def test_a_penalty_on_kernels_needs_a_network_that_names_them(tmp_path):
    zhong = recipe(
        frontend=Choice(name="zhong2020"),
        model=Choice(name="zhong2020"),
        optim=Optim(updates=1, kernel_penalty=1e-3),
    )
    plan = make_plan(zhong, tiny_corpus(), name="t", out=tmp_path)
    with pytest.raises(BadRecipe, match="'zhong2020' does not; leave it out"):
        prepare(plan.jobs[0])


def test_a_network_that_hears_segments_trains_on_segments_and_decides_on_clips(tmp_path):
    protocol = ProtocolChoice(name="loso", options={"valid_speakers": 0}, select="last")
    elm = recipe(
        system="dnn_elm",
        frontend=Choice(name="frame30", options={"share": 0.5}),
        model=Choice(name="dnn_elm"),
        standardize=True,
        optim=Optim(epochs=20, batch_size=32, learning_rate=1e-3),
        protocol=protocol,
    )
    plan = make_plan(elm, tiny_corpus(), name="t", out=tmp_path / "r")
    job = plan.jobs[0]
    system, train, _ = prepare(job)
    examples = as_examples(train, system)
    assert len(examples) > len(train)
    assert {len(v[0]) for v in examples.variants} == {system.network.segment_frames}
    run_job(job)
    rows = pd.read_csv(job.folder / "predictions.csv")
    assert len(rows) == len(job.fold.test)
    assert (rows["truth"] == rows["predicted"]).mean() > 0.7


def test_a_network_that_hears_segments_takes_no_other_speeds(tmp_path):
    elm = recipe(
        frontend=Choice(name="frame30", options={"share": 0.5}),
        model=Choice(name="dnn_elm"),
        augment=Augment(speeds=(1.1,)),
    )
    plan = make_plan(elm, tiny_corpus(), name="t", out=tmp_path)
    with pytest.raises(BadRecipe, match="'dnn_elm' hears segments; leave out augment"):
        prepare(plan.jobs[0])


def test_curves_for_tensorboard_are_written_where_asked_for(tmp_path):
    plan = make_plan(recipe(), tiny_corpus(), name="t", out=tmp_path / "r", tensorboard=True)
    run(plan, engine="serial")
    folders = sorted((plan.out / "tensorboard").iterdir())
    assert [folder.name for folder in folders] == sorted(job.name for job in plan.jobs)
    (events,) = folders[0].iterdir()
    assert b"valid_ua" in events.read_bytes()


# --- the model that ships ---


def test_a_final_model_has_heard_everybody_and_is_calibrated_on_held_out_predictions(tmp_path):
    protocol = ProtocolChoice(name="loso", options={"valid_speakers": 0}, select="last")
    plan = make_plan(recipe(protocol=protocol), tiny_corpus(), name="t", out=tmp_path / "r")
    run(plan, engine="serial")
    system = train_final(dataclasses.replace(plan, out=tmp_path / "final"), seed=0)
    before = predictions(tmp_path / "r")
    temperature = calibrate(system, tmp_path / "r")
    assert float(system.temperature) == pytest.approx(temperature)
    columns = [c for c in before if c.startswith("p_")]
    truth = before["truth"].map({c[2:]: i for i, c in enumerate(columns)}).to_numpy()
    p = before[columns].to_numpy().clip(1e-6) ** (1 / temperature)
    p /= p.sum(axis=1, keepdims=True)
    raw = before[columns].to_numpy().clip(1e-6)
    rows = np.arange(len(truth))
    assert -np.log(p[rows, truth]).mean() <= -np.log(raw[rows, truth]).mean() + 1e-9
    (score,) = scores_for_card(facts_of(tmp_path / "r"))
    assert score.protocol == "loso" and score.n_utterances == len(before)


def test_a_card_has_the_score_of_each_corpus_after_that_of_all(tmp_path):
    half = tiny_corpus()
    renamed = {column: "other-" + half[column] for column in ("utterance", "speaker")}
    other = half.assign(**renamed, corpus="other", start=half["start"] + 0.01)
    protocol = ProtocolChoice(name="loco")
    choice = recipe(protocol=protocol, corpus=Choice(name="table"))
    plan = make_plan(choice, pd.concat([half, other]), name="t", out=tmp_path / "r")
    scores = run(plan, engine="serial")
    everything, *parts = scores_for_card(scores)
    assert everything.corpus == "table" and everything.ua == round(scores["pooled"]["ua"], 6)
    assert [part.corpus for part in parts] == ["emodb", "other"]
    table = predictions(tmp_path / "r")
    for part in parts:
        rows = table[table["corpus"] == part.corpus]
        assert part.wa == round((rows["truth"] == rows["predicted"]).mean(), 6)
        assert part.n_utterances == len(rows) == len(half)
        assert part.ua_interval[0] <= part.ua <= part.ua_interval[1]


def test_a_recipe_that_selects_cannot_make_the_final_model(tmp_path):
    plan = make_plan(recipe(), tiny_corpus(), name="t", out=tmp_path)
    with pytest.raises(BadRecipe, match="takes data away"):
        train_final(plan, seed=0)


def test_temperature_undoes_a_known_sharpening():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 5)) * 2
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = np.array([rng.choice(5, p=row) for row in p])
    sharp = p**3 / (p**3).sum(axis=1, keepdims=True)
    assert best_temperature(sharp, truth) == pytest.approx(3, rel=0.1)
