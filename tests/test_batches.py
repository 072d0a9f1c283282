"""Batches: windows of one length go to the model together, and answers come back in order."""

import csv
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from model_folder import ANGER, HAPPINESS, SADNESS, write_model

from lightser import Recognizer
from lightser.errors import BadAudio, LightserError
from lightser.inference.batches import Batches
from lightser.inference.bulk import predict_archive
from lightser.inference.listening import Manner

BATCH = 4


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "small")


class Asked:
    """A model that says the mean of a window, and remembers what it was given."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, windows: np.ndarray) -> np.ndarray:
        self.shapes.append(windows.shape)
        return windows.mean(axis=1, keepdims=True).astype(np.float64)


def hand_in(batches: Batches[str], name: str, *windows: np.ndarray) -> list[str]:
    """Hand in a clip; return those that are done by then."""
    clip = batches.open(name)
    for window in windows:
        batches.add(clip, window.astype(np.float32))
    clip.end = 1.0
    return [clip.about for clip in batches.done()]


def test_a_window_waits_until_enough_of_its_length_have_come() -> None:
    ask = Asked()
    batches = Batches[str](ask, 2)
    assert hand_in(batches, "a", np.ones(5)) == []
    assert hand_in(batches, "b", np.ones(7)) == []
    assert ask.shapes == []
    assert hand_in(batches, "c", np.full(7, 3.0)) == []  # b is answered, but comes after a
    assert ask.shapes == [(2, 7)]
    assert hand_in(batches, "d", np.ones(5)) == ["a", "b", "c", "d"]
    assert ask.shapes == [(2, 7), (2, 5)]


def test_no_more_than_four_batches_of_windows_ever_wait() -> None:
    ask = Asked()
    batches = Batches[str](ask, 2)
    waiting = 0
    for length in range(1, 101):  # no two of one length
        hand_in(batches, str(length), np.ones(length))
        waiting = max(waiting, length - sum(n for n, _ in ask.shapes))
    assert waiting == 4 * 2
    assert [clip.about for clip in batches.done(at_last=True)][-1] == "100"
    assert ask.shapes == [(1, n) for n in range(1, 101)]


def test_the_windows_of_a_clip_are_averaged_whichever_batches_they_were_in() -> None:
    batches = Batches[str](Asked(), 2)
    clip = batches.open("a")
    for value in (1.0, 2.0, 6.0):
        batches.add(clip, np.full(3, value, np.float32))
    clip.end = 1.0
    assert [c.about for c in batches.done()] == []
    (done,) = batches.done(at_last=True)
    assert (done.windows, done.total) == (3, pytest.approx(9.0))


def test_a_clip_that_cannot_be_heard_leaves_in_its_place() -> None:
    batches = Batches[str](Asked(), 2)
    hand_in(batches, "a", np.ones(3))
    broken = batches.open("b")
    batches.add(broken, np.ones(3, np.float32))  # it breaks off after its first window
    broken.end = BadAudio("b: it is cut short")
    assert hand_in(batches, "c", np.ones(3)) == ["a", "b"]
    assert [clip.about for clip in batches.done(at_last=True)] == ["c"]


@pytest.mark.parametrize("name", ["small", "emodb-light_sernet", "emodb-zhong2020"])
def test_many_clips_have_the_same_answers_in_batches(
    name: str, model: Path, tmp_path: Path
) -> None:
    recognizer = Recognizer.load(model if name == "small" else name)
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    clips = [ANGER, tmp_path / "bad.wav", SADNESS, HAPPINESS, tmp_path / "none.wav", ANGER] * 2
    expected = list(recognizer.predict_many(clips))
    together = list(recognizer.predict_many(clips, batch=BATCH))
    assert [source for source, _ in together] == clips
    for (_, alone), (_, answer) in zip(expected, together, strict=True):
        if isinstance(alone, LightserError):
            assert (type(answer), str(answer)) == (type(alone), str(alone))
            continue
        assert not isinstance(answer, LightserError)
        assert (answer.label, answer.windows) == (alone.label, alone.windows)
        assert answer.duration_s == alone.duration_s
        assert answer.probabilities == pytest.approx(alone.probabilities, abs=1e-6)


def archive_rows(out: Path) -> list[dict[str, str]]:
    with open(out, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_an_archive_in_batches_has_the_rows_and_errors_of_one_without(
    lightser: Callable[..., SimpleNamespace], model: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    manifest = tmp_path / "files.csv"
    with open(manifest, "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "start", "end", "channel"])
        for i in range(30):
            # Whole clips of several windows, stretches of few lengths, a channel, and bad ones.
            table.writerow([(ANGER, SADNESS, HAPPINESS)[i % 3], "", "", ""])
            table.writerow([ANGER, 0.1 * (i % 5), 0.1 * (i % 5) + 0.7, 1 if i % 2 else ""])
            table.writerow([tmp_path / "bad.wav", "", "", ""])
            table.writerow([SADNESS, 0, 0.5, 1 + i % 2])  # it has no second channel
    alone, together = tmp_path / "alone.csv", tmp_path / "together.csv"
    predict_archive(alone, manifest=str(manifest), model=model, engine="serial")
    options = ("--manifest", manifest, "--out", together, "--model", model, "--workers", 2)
    assert lightser("predict", *options, "--batch", BATCH).code == 0
    rows, expected = archive_rows(together), archive_rows(alone)
    assert len(rows) == len(expected) == 30 * 2 + 15
    for row, other in zip(rows, expected, strict=True):
        for column, value in row.items():
            if column == "confidence" or column.startswith("p_"):
                assert float(value) == pytest.approx(float(other[column]), abs=1e-6)
            else:
                assert value == other[column]
    errors = (tmp_path / "together.errors.csv").read_text()
    assert errors == (tmp_path / "alone.errors.csv").read_text()
    assert errors.count("\n") == 1 + 30 + 15


def test_a_batch_of_segments_is_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(LightserError, match="batch of 4 is for clips taken whole"):
        predict_archive(
            tmp_path / "out.csv",
            sources=[str(ANGER)],
            model=model,
            manner=Manner(window_s=1.0),
            batch=BATCH,
        )
    assert not list(tmp_path.iterdir())


def test_a_batch_of_none_is_refused(model: Path) -> None:
    with pytest.raises(LightserError, match="1 window or more, got 0"):
        list(Recognizer.load(model).predict_many([ANGER], batch=0))


def test_a_model_that_takes_windows_singly_says_so(model: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="needs the extra export")
    graph = onnx.load(model / "model.onnx")
    graph.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    alone = write_model(model.parent / "alone")
    onnx.save(graph, alone / "model.onnx")
    recognizer = Recognizer.load(alone, verify=False)
    with pytest.raises(LightserError, match="takes 1 window at a time; leave out the batch of 4"):
        list(recognizer.predict_many([ANGER], batch=BATCH))
    assert len(list(recognizer.predict_many([ANGER]))) == 1


def test_a_run_does_not_go_on_with_another_batch(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    seen = []

    def stop(progress: object) -> None:
        seen.append(progress)
        if len(seen) == 2:
            raise KeyboardInterrupt

    options = {"sources": [str(ANGER), str(SADNESS)], "model": model, "engine": "serial"}
    with pytest.raises(KeyboardInterrupt):
        predict_archive(out, tell=stop, batch=BATCH, **options)
    with pytest.raises(LightserError, match="another batch"):
        predict_archive(out, **options)
    assert predict_archive(out, batch=BATCH, **options).rows == 2
