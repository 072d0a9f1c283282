"""``lightser train`` and ``reproduce``, from a recipe to a model that listens."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from lightser import Recognizer, memory
from lightser.audio.augment import speed
from lightser.audio.files import read_audio
from lightser.corpora.emodb import LABELS
from lightser.training.recipe import read_recipe

SAMPLES = Path(__file__).parent.parent / "lightser" / "samples"

RECIPE = """
title = "tiny"
system = "light_sernet"
standardize = true
window_s = 3.0
[corpus]
name = "folder"
speaker = "(s\\\\d)"
[frontend]
name = "relative_logmel"
window_s = 3.0
[model]
name = "light_sernet"
momentum = 0.1
[optim]
epochs = 16
batch_size = 3
[augment]
place = true
[protocol]
name = "loso"
valid_speakers = 0
select = "last"
[published]
ua = 50.0
source = "nowhere"
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """A folder corpus, the samples at three speeds as if by three speakers, and a recipe for it."""
    root = tmp_path_factory.mktemp("world")
    for clip in sorted(SAMPLES.glob("*.flac")):
        folder = root / "corpus" / LABELS[clip.stem[5]]
        folder.mkdir(parents=True)
        samples = read_audio(clip)
        for speaker, factor in enumerate((0.97, 1.0, 1.03)):
            soundfile.write(folder / f"s{speaker}_{clip.name}", speed(samples, factor), 16000)
    (root / "tiny.toml").write_text(RECIPE)
    return root


def begin(world: Path, *words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "lightser", *words],
        cwd=world,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"PATH": "", "HOME": str(world), "OMP_NUM_THREADS": "1"},
    )


def run(world: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run a command in a process of its own, as a user does."""
    running = begin(world, *words)
    said = running.communicate()
    return subprocess.CompletedProcess(words, running.returncode, *said)


def test_from_a_recipe_to_scores_to_a_model_that_listens(world, lightser, monkeypatch):
    monkeypatch.chdir(world)
    given = ("tiny.toml", "--corpus", "folder=corpus")
    ran = run(world, "reproduce", *given, "--workers", "2")
    assert ran.returncode == 0, ran.stderr
    facts = json.loads((world / "results" / "tiny" / "scores.json").read_text())
    assert facts["complete"] and facts["folds_done"] == 3
    assert facts["pooled"]["ua"] > 0.6, "each speaker is another at another speed"
    assert "50.00" in ran.stdout, "the published figure stands beside ours"

    again = lightser("reproduce", *given)
    assert again.code == 0 and "3 jobs, 3 done" in again.err
    assert "is in results/tiny already, and nothing is trained" in again.err

    trained = lightser("train", *given, "--out", "model")
    assert trained.code == 0, trained.err
    assert not (world / "model.training").exists()
    recognizer = Recognizer.load(world / "model")
    assert recognizer.card.scores[0].ua == pytest.approx(facts["pooled"]["ua"], abs=1e-4)
    for clip in SAMPLES.glob("*.flac"):
        assert recognizer.predict(clip).label == LABELS[clip.stem[5]]

    refused = lightser("train", *given, "--out", "model")
    assert refused.code == 2 and "--overwrite" in refused.err

    (world / "other.toml").write_text(RECIPE.replace("epochs = 16", "epochs = 1"))
    words = ("train", "other.toml", *given[1:], "--out", "other")
    refused = lightser(*words, "--results", "results/tiny")
    assert refused.code == 2 and "of another recipe" in refused.err
    assert not list(world.glob("other*/"))
    unscored = lightser(*words)
    assert unscored.code == 0 and "The card will have no score" in unscored.err
    card = Recognizer.load(world / "other").card
    assert card.scores == () and card.temperature == 1
    assert "acted" not in card.limits and "9 utterances by 3 speakers" in card.limits
    said = lightser("models", "other").out
    assert "not calibrated" in said and "held-out" not in said


def test_a_row_that_repeats_another_is_run_once(world):
    again = RECIPE.replace('"tiny"', '"the same"').replace("50.0", "60.0")
    (world / "again.toml").write_text(again)
    words = ("tiny.toml", "again.toml", "--corpus", "folder=corpus", "--quick", "--out", "once")
    ran = run(world, "reproduce", *words, "--engine", "stacked", "--workers", "2")
    assert ran.returncode == 0, ran.stderr
    assert "again: the same as tiny, run once" in ran.stderr
    assert "In all 2 jobs" in ran.stderr and ran.stderr.count("so far UA") == 2
    one, other = (
        (world / "once" / "quick" / name / "predictions.csv").read_text()
        for name in ("tiny", "again")
    )
    assert one == other
    assert "50.00" in ran.stdout and "60.00" in ran.stdout

    first = world / "once" / "quick" / "tiny"
    shutil.rmtree(first)  # a plan counts what the other row has found, and writes nothing
    planned = run(world, "reproduce", *words, "--plan")
    assert "tiny: the same as once/quick/again, taken from there" in planned.stderr
    assert "tiny: 2 jobs, 2 done" in planned.stderr and "nothing is trained" in planned.stderr
    assert not first.exists()


def test_a_part_of_the_length_is_run_over_all_folds_and_marked(world, lightser, monkeypatch):
    monkeypatch.chdir(world)
    words = ("reproduce", "tiny.toml", "--corpus", "folder=corpus", "--out", "part")
    ran = lightser(*words, "--length", "0.125", "--engine", "serial")
    assert ran.code == 0, ran.err
    facts = json.loads((world / "part" / "length-0.125" / "tiny" / "scores.json").read_text())
    assert facts["length"] == 0.125 and facts["complete"] and facts["folds_done"] == 3
    whole = read_recipe(world / "tiny.toml")
    assert facts["epochs"] == whole.optim.epochs / 8
    assert facts["full_recipe_sha256"] == whole.sha256() != facts["recipe_sha256"]
    assert "12.5 % of the epochs" in ran.out and "Short run: 12.5 %" in ran.out


def test_parts_run_beside_each_other_make_the_whole(world, lightser, monkeypatch):
    monkeypatch.chdir(world)
    words = ("reproduce", "tiny.toml", "--corpus", "folder=corpus", "--length", "0.1")
    words += ("--engine", "serial", "--out")
    parts = [begin(world, *words, "parts", "--part", f"{k}/2") for k in (1, 2)]
    said = [part.communicate()[1] for part in parts]
    assert [part.returncode for part in parts] == [0, 0], said
    assert "tiny: 2 jobs, 0 done" in said[0] and "tiny: 1 jobs, 0 done" in said[1]
    folder = world / "parts" / "length-0.1" / "tiny"
    assert not (folder / "jobs").exists() and not (folder / ".lock").exists()
    assert json.loads((folder / "scores.json").read_text())["folds_done"] == 3
    none = lightser(*words, "whole", "--part", "4/4", "--plan")
    assert none.code == 0 and "Nothing is left to be run of this part" in none.err
    whole = lightser(*words, "whole")
    assert whole.code == 0, whole.err
    for file in ("predictions.csv", "history.csv", "folds.json"):
        alone = world / "whole" / "length-0.1" / "tiny" / file
        assert (folder / file).read_text() == alone.read_text()


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["reproduce", "tiny.toml", "--corpus", "folder=corpus", "--part", "3/2"], "such as 3/10"),
        (["reproduce", "tiny.toml", "--corpus", "folder=corpus", "--length", "2"], "not 2"),
        (["reproduce", "tiny.toml", "--length", "0.5", "--quick"], "give one of them"),
        (["reproduce", "zhong"], "No recipe 'zhong'"),
        (["reproduce", "tiny.toml", "--corpus", "corpus"], "--corpus takes NAME=DIR"),
        (["reproduce", "tiny.toml", "--corpus", "emodb=gone"], "There is no folder 'gone'"),
        (["reproduce", "tiny.toml", "--corpus", "emobd=corpus"], "did you mean 'emodb'?"),
        (["train", "tiny.toml", "--out", "m", "--device", "tpu"], "No device 'tpu'; give cpu"),
        (["reproduce", "tiny.toml", "--device", "cuda:99"], "no device 'cuda:99' here"),
        (["train", "tiny.toml", "--out", "m"], "trains on folder: say where it is"),
        (
            ["reproduce", "tiny.toml", "--corpus", "folder=corpus", "--out", "tiny.toml"],
            "'tiny.toml' is no folder",
        ),
        (["reproduce", "tiny.toml", "--table", "gone/x.md"], "there is no folder gone; make it"),
    ],
)
def test_bad_words_get_one_line_and_exit_2(world, lightser, monkeypatch, words, answer):
    monkeypatch.chdir(world)
    ran = lightser(*words)
    assert ran.code == 2
    assert answer in ran.err
    assert "Traceback" not in ran.err
    assert len(ran.err.strip().splitlines()) == 1


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="memory is looked up in /proc")
def test_jobs_that_may_not_fit_into_memory_are_announced(world, lightser, monkeypatch):
    monkeypatch.chdir(world)
    words = ("reproduce", "tiny.toml", "--corpus", "folder=corpus", "--plan", "--out", "fit")
    monkeypatch.setattr(memory, "available_bytes", lambda: 1e12)
    ran = lightser(*words, "--workers", "2")
    held = float(re.search(r"tiny: 3 jobs.*, at least ([\d.]+) GB of memory\n", ran.err)[1])
    assert 0.3 < held < 20 and "are free" not in ran.err
    for free, advice in (
        (1.5 * held, "give --workers 1"),
        (0.5 * held, "end other programs first"),
    ):
        monkeypatch.setattr(memory, "available_bytes", lambda free=free: free * 1e9)
        assert f"{free:.1f} GB are free: {advice}, or" in lightser(*words, "--workers", "2").err


def test_rows_whose_corpus_is_not_given_are_named(lightser):
    ran = lightser("reproduce", "light_sernet", "--plan")
    assert ran.code == 0
    assert "needs the corpus emodb (--corpus emodb=DIR)" in ran.err
