"""Archives: the answers of one by one, in order, once each, whatever is killed on the way."""

import csv
import errno
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import copyfile
from typing import Any

import numpy as np
import pytest
import soundfile
from conftest import heed_interrupts
from model_folder import ANGER, HAPPINESS, SADNESS, write_model

from lightser import Recognizer
from lightser.audio.files import read_audio
from lightser.cli import main
from lightser.errors import BadManifest, LightserError, MissingExtra
from lightser.inference.bulk import predict_archive
from lightser.inference.bulk.items import (
    Item,
    blocks_of,
    find_files,
    read_list,
    read_manifest,
    write_list,
)
from lightser.inference.bulk.parts import Parts
from lightser.inference.bulk.processes import DEADLY
from lightser.inference.listening import Manner

CLIPS = (ANGER, SADNESS, HAPPINESS)
on_linux = pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "small")


def write_manifest(path: Path, n: int, **more: list[Any]) -> Path:
    """Write a manifest of ``n`` stretches of the samples, no two of which are equal."""
    with open(path, "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["id", "file", "end", *more])
        for i in range(n):
            table.writerow([f"#{i}", CLIPS[i % 3], 0.5 + i / n, *(c[i] for c in more.values())])
    return path


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def numbers(row: dict[str, str]) -> list[float]:
    return [float(value) for key, value in row.items() if key.startswith("p_")]


@pytest.fixture(scope="module")
def archive(
    model: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[dict[str, str]]]:
    """Return a manifest of 400 stretches, and the rows that one process makes of it."""
    folder = tmp_path_factory.mktemp("archive")
    manifest = write_manifest(folder / "files.csv", 400)
    out = folder / "expected.csv"
    predict_archive(out, manifest=str(manifest), model=model, engine="serial")
    return manifest, rows_of(out)


def command(*words: Any) -> list[str]:
    return [sys.executable, "-m", "lightser", "predict", *map(str, words)]


def started(*words: Any, **options: Any) -> "subprocess.Popen[str]":
    return subprocess.Popen(command(*words), stderr=subprocess.PIPE, text=True, **options)


def wait_for(is_so: Callable[[], Any], process: "subprocess.Popen[str]") -> None:
    while not is_so():
        assert process.poll() is None, f"it ended before it could be killed: {process.stderr}"
        time.sleep(0.002)


def children(pid: int) -> list[int]:
    """Return the processes that listen for another one."""
    tasks = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [
        int(child)
        for child in tasks
        if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]


def is_alive(pid: int) -> bool:
    try:
        return " Z" not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


# The answers


def test_answers_are_those_of_one_by_one_in_the_order_of_the_manifest(
    archive: tuple[Path, list[dict[str, str]]], model: Path, tmp_path: Path
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra bulk")
    manifest, _ = archive
    out = tmp_path / "said.parquet"
    summary = predict_archive(out, manifest=str(manifest), model=model, workers=2)
    assert (summary.files, summary.rows, summary.bad, summary.errors) == (400, 400, 0, None)
    rows = parquet.read_table(out).to_pylist()
    assert [row["id"] for row in rows] == [f"#{i}" for i in range(400)]
    recognizer = Recognizer.load(model)
    for row in rows[::23]:
        expected = recognizer.predict(read_audio(row["file"], 16_000, end=row["end"]), 16_000)
        assert row["label"] == expected.label
        for label, p in expected.probabilities.items():
            assert row[f"p_{label}"] == np.float32(p), "to the last bit"
    assert os.listdir(tmp_path) == ["said.parquet"]


def test_whole_files_of_a_corpus_get_the_answers_of_one_by_one(
    corpus_root: Callable[[str], Path], tmp_path: Path
) -> None:
    clips = sorted((corpus_root("emodb") / "wav").glob("03*.wav"))[:12]
    predict_archive(tmp_path / "said.csv", sources=[str(clip) for clip in clips], workers=2)
    recognizer = Recognizer.load()
    for clip, row in zip(clips, rows_of(tmp_path / "said.csv"), strict=True):
        expected = recognizer.predict(clip)
        assert (row["file"], row["label"]) == (str(clip), expected.label)
        assert numbers(row) == pytest.approx([*expected.probabilities.values()], abs=1e-6)
        assert float(row["end"]) == pytest.approx(expected.duration_s, abs=1e-6)


def test_every_format_holds_the_same(model: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra bulk")
    manifest = write_manifest(tmp_path / "files.csv", 5, label=["x"] * 5, text=["ä, b"] * 5)
    for ending in ("csv", "jsonl", "parquet"):
        out = tmp_path / f"said.{ending}"
        predict_archive(out, manifest=str(manifest), model=model, engine="serial")
    lines = (tmp_path / "said.jsonl").read_text(encoding="utf-8").splitlines()
    table = parquet.read_table(tmp_path / "said.parquet")
    assert b"small" in table.schema.metadata[b"lightser"]
    for row, line, cells in zip(
        rows_of(tmp_path / "said.csv"), map(json.loads, lines), table.to_pylist(), strict=True
    ):
        named = line.pop("probabilities")
        assert [*row] == [*cells]
        assert {k: v for k, v in row.items() if k in line} == {k: str(v) for k, v in line.items()}
        assert numbers(row) == pytest.approx([*named.values()])
        assert numbers(row) == pytest.approx([cells[f"p_{k}"] for k in named], abs=1e-6)
        assert (row["manifest_label"], row["text"]) == ("x", "ä, b")
        assert cells["manifest_label"] == "x"


def test_labels_to_choose_from_are_those_of_the_recogniser(model: Path, tmp_path: Path) -> None:
    manifest, out = write_manifest(tmp_path / "files.csv", 5), tmp_path / "said.csv"
    words = ("--labels", "sadness,anger", "--workers", 2, "--model", model)
    assert call("--manifest", manifest, "--out", out, *words) == 0
    recognizer = Recognizer.load(model, labels=["anger", "sadness"])
    for row in rows_of(out):
        samples = read_audio(row["file"])[: round(16_000 * float(row["end"]))]
        expected = recognizer.predict(samples, 16_000)
        assert "p_neutral" not in row and row["label"] == expected.label
        assert float(row["p_anger"]) == pytest.approx(expected.probabilities["anger"], abs=1e-6)


def test_segments_are_those_of_the_recogniser(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "said.csv"
    sources = [str(clip) for clip in CLIPS]
    manner = Manner(window_s=1.0, hop_s=0.3)
    summary = predict_archive(out, sources=sources, model=model, manner=manner, workers=2)
    recognizer = Recognizer.load(model)
    expected = [
        (str(clip), segment)
        for clip in CLIPS
        for segment in recognizer.segments(clip, window_s=1.0, hop_s=0.3)
    ]
    rows = rows_of(out)
    assert summary.rows == len(rows) == len(expected) > 10
    for row, (name, segment) in zip(rows, expected, strict=True):
        assert (row["file"], float(row["start"])) == (name, pytest.approx(segment.start, abs=1e-6))
        assert numbers(row) == pytest.approx([*segment.probabilities.values()], abs=1e-6)


def test_a_stretch_of_a_channel_is_heard_as_if_it_were_a_file(model: Path, tmp_path: Path) -> None:
    one, rate = soundfile.read(ANGER, dtype="float32")
    other, _ = soundfile.read(SADNESS, dtype="float32", frames=len(one))
    soundfile.write(tmp_path / "call.wav", np.stack([one, other], axis=1), rate, subtype="FLOAT")
    (tmp_path / "files.csv").write_text(
        "file,start,end,channel\ncall.wav,,,1.0\ncall.wav,,,2\ncall.wav,0.5,2.0,2\ncall.wav,1,,\n"
        "call.wav,0,1,3\n"
    )
    manifest = str(tmp_path / "files.csv")
    options: dict[str, Any] = {"manifest": manifest, "model": model, "engine": "serial"}
    summary = predict_archive(tmp_path / "o.csv", **options)
    recognizer = Recognizer.load(model)
    rows = rows_of(tmp_path / "o.csv")
    assert [r["channel"] for r in rows] == ["1", "2", "2", ""]
    assert (rows[2]["start"], rows[2]["end"]) == ("0.5", "2.0")
    mixed = (one + other) / 2
    samples = [one, other, other[rate // 2 : 2 * rate], mixed[rate:]]
    for row, wave in zip(rows, samples, strict=True):
        expected = recognizer.predict(wave, rate)
        assert numbers(row) == pytest.approx([*expected.probabilities.values()], abs=1e-5)
    (bad,) = rows_of(summary.errors)
    assert "no channel 3" in bad["reason"] and bad["channel"] == "3"

    predict_archive(tmp_path / "s.csv", **options, manner=Manner(window_s=1.0))
    found = [row for row in rows_of(tmp_path / "s.csv") if row["channel"] == "2"]
    whole = recognizer.segments(other, rate, window_s=1.0)
    assert [float(r["end"]) for r in found[:-2]] == [pytest.approx(s.end) for s in whole]
    for row, segment in zip(found, whole, strict=False):
        assert numbers(row) == pytest.approx([*segment.probabilities.values()], abs=1e-5)


# What is killed


@on_linux
def test_a_run_that_is_killed_goes_on_without_loss_or_repetition(
    archive: tuple[Path, list[dict[str, str]]], model: Path, tmp_path: Path
) -> None:
    manifest, expected = archive
    out = tmp_path / "said.csv"
    words = ["--manifest", manifest, "--model", model, "--workers", 2, "--out", out]
    parts = Path(f"{out}.parts")
    for at_least in (2, 8):  # twice, each time in the middle
        with started(*words) as process:
            wait_for(lambda n=at_least: len([*parts.glob("0*.jsonl")]) >= n, process)
            workers = children(process.pid)
            process.kill()
        while any(map(is_alive, workers)):  # they end by themselves
            time.sleep(0.01)
        assert not out.exists()
    before = {path: path.stat().st_mtime_ns for path in parts.glob("0*.jsonl")}
    assert 8 <= len(before) < 66

    written = []

    def tell(progress: Any) -> None:
        written.append(progress.fresh)
        kept = {path: path.stat().st_mtime_ns for path in before}
        assert kept == before, "what was done is not done again"

    summary = predict_archive(out, manifest=str(manifest), model=model, engine="serial", tell=tell)
    assert rows_of(out) == expected
    assert (summary.files, summary.rows) == (400, 400)
    assert 0 < written[-1] <= 400 - 6 * len(before) + 6
    assert os.listdir(tmp_path) == ["said.csv"]


@on_linux
def test_a_worker_that_is_killed_costs_nothing(
    archive: tuple[Path, list[dict[str, str]]], model: Path, tmp_path: Path
) -> None:
    manifest, expected = archive
    out = tmp_path / "said.csv"
    words = ["--manifest", manifest, "--model", model, "--workers", 2, "--out", out]
    with started(*words) as process:
        wait_for(lambda: len([*Path(f"{out}.parts").glob("0*.jsonl")]) >= 2, process)
        os.kill(children(process.pid)[0], signal.SIGKILL)
        assert process.wait(60) == 0
    assert rows_of(out) == expected


# A decoder that crashes, as libraries written in C do.
CRASH = """
import os, signal, lightser.audio.files as files
plain = files.open_decoder
def deadly(file, name, *track):
    if name.endswith("deadly.flac"):
        os.kill(os.getpid(), signal.SIGKILL)
    return plain(file, name, *track)
files.open_decoder = deadly
"""


def test_a_file_that_kills_who_reads_it_is_named_and_passed_over(
    model: Path, tmp_path: Path
) -> None:
    (tmp_path / "patch").mkdir()
    (tmp_path / "patch" / "sitecustomize.py").write_text(CRASH)
    names = ["a.flac", "deadly.flac", "z.flac"]
    (tmp_path / "clips").mkdir()
    for name in names:
        copyfile(ANGER, tmp_path / "clips" / name)
    out = tmp_path / "said.csv"
    words = [tmp_path / "clips", "--model", model, "--workers", 2, "--out", out]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "patch")}
    run = subprocess.run(
        command(*words), env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 0, run.stderr
    assert [os.path.basename(row["file"]) for row in rows_of(out)] == ["a.flac", "z.flac"]
    (bad,) = rows_of(tmp_path / "said.errors.csv")
    assert (os.path.basename(bad["file"]), bad["reason"]) == ("deadly.flac", DEADLY)


@on_linux
def test_an_interrupt_says_how_to_go_on(
    archive: tuple[Path, list[dict[str, str]]], model: Path, tmp_path: Path
) -> None:
    manifest, expected = archive
    out = tmp_path / "said.csv"
    words = ["--manifest", manifest, "--model", model, "--workers", 1, "--out", out]
    with started(*words, preexec_fn=heed_interrupts) as process:
        wait_for(lambda: len([*Path(f"{out}.parts").glob("0*.jsonl")]) >= 2, process)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert process.stderr
        said = process.stderr.read()
    assert "of 400 files are done; the same command goes on from there" in said
    assert said.count("\n") == 1
    predict_archive(out, manifest=str(manifest), model=model, engine="serial")
    assert rows_of(out) == expected


@on_linux
def test_a_polite_kill_ends_all_processes_without_a_word(
    archive: tuple[Path, list[dict[str, str]]], model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "said.csv"
    words = ["--manifest", archive[0], "--model", model, "--workers", 2, "--out", out]
    with started(*words) as process:
        wait_for(lambda: len([*Path(f"{out}.parts").glob("0*.jsonl")]) >= 2, process)
        workers = children(process.pid)
        process.terminate()
        assert process.wait(60) == 143
        assert process.stderr and process.stderr.read() == ""
    assert len(workers) == 2 and not any(map(is_alive, workers))
    assert os.listdir(tmp_path) == ["said.csv.parts"]


class Enough(Exception):
    """Stop a run in its middle."""


def begin(out: Path, **options: Any) -> None:
    """Begin a run, and leave it after a block."""

    def stop(progress: Any) -> None:
        if progress.fresh:
            raise Enough

    with pytest.raises(Enough):
        predict_archive(out, engine="serial", tell=stop, **options)


@pytest.mark.parametrize(
    "what", ["list of files", "folder of files", "model", "window", "choice of labels"]
)
def test_what_began_otherwise_is_not_gone_on_with(model: Path, tmp_path: Path, what: str) -> None:
    out = tmp_path / "said.csv"
    manifest = write_manifest(tmp_path / "files.csv", 9)
    options: dict[str, Any] = {"manifest": str(manifest), "model": model}
    begin(out, **options)
    changed = dict(options)
    if what == "list of files":
        changed["manifest"] = str(write_manifest(tmp_path / "files.csv", 10))
    if what == "folder of files":
        changed["base"] = "/elsewhere"
    if what == "model":
        changed["model"] = write_model(tmp_path / "other", seed=1)
    if what == "choice of labels":
        changed["labels"] = ["anger", "sadness"]
    if what == "window":
        changed["manner"] = Manner(window_s=1.0)
    with pytest.raises(LightserError, match=f"began with another {what}") as refused:
        predict_archive(out, engine="serial", **changed)
    assert "\n" not in str(refused.value) and "said.csv.parts" in str(refused.value)
    assert not out.exists()
    write_manifest(tmp_path / "files.csv", 9)
    assert predict_archive(out, engine="serial", **options).rows == 9


def test_what_has_done_nothing_leaves_nothing(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not installed
    with pytest.raises(MissingExtra, match=r"lightser\[ray\]"):
        predict_archive(tmp_path / "o.csv", sources=[str(ANGER)], model=model, engine="ray")
    assert os.listdir(tmp_path) == []


def test_two_runs_do_not_write_one_table(model: Path, tmp_path: Path) -> None:
    pytest.importorskip("fcntl", reason="files cannot be locked here")
    (tmp_path / "said.csv.parts").mkdir()
    with (
        Parts(tmp_path / "said.csv.parts").alone(),
        pytest.raises(LightserError, match="another run is writing there"),
    ):
        predict_archive(tmp_path / "said.csv", sources=[str(ANGER)], model=model)


# What cannot be recognised


def call(*words: Any) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["lightser", "predict", *map(str, words)])
        try:
            main()
        except SystemExit as end:
            return int(end.code or 0)
    return 0


def test_bad_files_are_listed_with_their_reasons_and_can_be_tried_again(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.wav").write_bytes(b"RIFF\x00\x00\x00\x00WAVEnothing")
    (tmp_path / "files.csv").write_text(f"path,who\n{ANGER},me\nbroken.wav,you\nlater.flac,him\n")
    words = ["--model", model, "--engine", "serial"]
    out = tmp_path / "said.csv"
    manifest = ["--manifest", tmp_path / "files.csv", "--column", "path", "--out", out]
    assert call(*words, *manifest) == 0
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(f"lightser: {out}: 1 rows of 3 files")
    errors = tmp_path / "said.errors.csv"
    assert second == f"lightser: 2 of 3 files could not be recognised: {errors}"
    assert [(row["file"], row["who"]) for row in rows_of(out)] == [(str(ANGER), "me")]
    bad = rows_of(errors)
    assert [(row["file"], row["who"]) for row in bad] == [
        ("broken.wav", "you"),
        ("later.flac", "him"),
    ]
    assert [row["reason"].split(";")[0] for row in bad][1] == "no such file"

    copyfile(SADNESS, tmp_path / "later.flac")
    again = tmp_path / "again.csv"
    assert call(*words, "--manifest", errors, "--out", again) == 0
    assert [row["who"] for row in rows_of(again)] == ["him"]
    assert [row["who"] for row in rows_of(tmp_path / "again.errors.csv")] == ["you"]


def test_what_failed_can_be_tried_again_from_another_folder(model: Path, tmp_path: Path) -> None:
    for name in ("lists", "results"):
        (tmp_path / name).mkdir()
    text = "path,file,label,manifest_label\nlater.flac,7,a,b\n"
    (tmp_path / "lists" / "files.csv").write_text(text)
    options: dict[str, Any] = {"model": model, "engine": "serial"}
    manifest, out = str(tmp_path / "lists" / "files.csv"), tmp_path / "results" / "o.csv"
    first = predict_archive(out, manifest=manifest, column="path", **options)
    copyfile(SADNESS, tmp_path / "lists" / "later.flac")
    again = predict_archive(tmp_path / "results" / "a.csv", manifest=str(first.errors), **options)
    assert (again.rows, again.bad) == (1, 0)
    (row,) = rows_of(tmp_path / "results" / "a.csv")
    assert [value for key, value in row.items() if "manifest_" in key] == ["7", "a", "b"]


def test_what_is_read_is_not_written_over(model: Path, tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "o.errors.csv", 2)
    before = manifest.read_text()
    for out in ("o.csv", "o.errors.csv"):
        with pytest.raises(LightserError, match="would be written over"):
            predict_archive(tmp_path / out, manifest=str(manifest), model=model)
    assert os.listdir(tmp_path) == ["o.errors.csv"] and manifest.read_text() == before


def test_a_table_that_cannot_be_written_is_named_and_what_is_done_kept(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    manifest = str(write_manifest(tmp_path / "files.csv", 2))
    options: dict[str, Any] = {"manifest": manifest, "model": model, "engine": "serial"}
    with monkeypatch.context() as patch:
        patch.setattr("lightser.inference.bulk.archive.TABLES", {"csv": full})
        with pytest.raises(LightserError, match=r"/o\.csv: cannot be written \(No space left"):
            predict_archive(tmp_path / "o.csv", **options)
    assert sorted(os.listdir(tmp_path)) == ["files.csv", "o.csv.parts"]
    assert predict_archive(tmp_path / "o.csv", **options).rows == 2


def test_other_processes_of_the_caller_live_on(model: Path, tmp_path: Path) -> None:
    def stop(_: Any) -> None:
        raise KeyboardInterrupt

    own = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
    own.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            manifest = str(write_manifest(tmp_path / "files.csv", 2))
            predict_archive(
                tmp_path / "o.csv", manifest=manifest, model=model, workers=1, tell=stop
            )
        assert own.is_alive()
    finally:
        own.kill()
        own.join()


def test_where_all_are_bad_the_exit_code_says_so(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "said.csv"
    words = [tmp_path / "no.wav", "--model", model, "--engine", "serial", "--out", out]
    assert call(*words) == 2
    assert rows_of(out) == [] and len(rows_of(tmp_path / "said.errors.csv")) == 1


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("clip,id\na.wav,1\n", "no column 'file'; name the column of files with --column "),
        ("file,id,id\n", "two columns are called 'id'"),
        ("file\n", "names no files"),
        ("file;;\n\n;;\n", "names no files"),
        ("", "no column 'file'"),
        ('file,id\na.wav,1\n"b.wav,2\nc.wav,3\n', "line 3: a quotation mark is opened here"),
        ("PK\x03\x04 and so on", "save the sheet as 'CSV UTF-8'"),
        ("fi\0le\n", "line 1: no text"),
    ],
)
def test_a_manifest_that_cannot_be_is_one_line(
    model: Path, tmp_path: Path, content: str, complaint: str
) -> None:
    (tmp_path / "files.csv").write_text(content)
    with pytest.raises(BadManifest) as error:
        predict_archive(tmp_path / "o.csv", manifest=str(tmp_path / "files.csv"), model=model)
    assert complaint in str(error.value) and "\n" not in str(error.value)
    assert os.listdir(tmp_path) == ["files.csv"]


def test_bad_rows_are_listed_as_bad_files_are_and_the_others_are_heard(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copyfile(ANGER, tmp_path / "a.flac")
    complaints = {
        "a.flac;soon;;;": "line 2: start 'soon' is no time",
        "a.flac;;5 apples;;": "line 3: end '5 apples' is no time",
        "a.flac;2;1;;": "line 4: from 2 s to 1 s is no stretch",
        "a.flac;−1;;;": "line 5: start '-1' is before the beginning",
        "a.flac;;;0;": "line 6: channel '0'; channels are counted from 1",
        ";1;2;;": "line 7: no name of a file",
        "a.flac;1": "line 8: 2 cells, and there are 5 columns",
        "a.flac;1;2;;x;y": "line 9: 6 cells, and there are 5 columns",
        "a.flac;inf;;;": "line 10: start 'inf'",
    }
    lines = ["file;start;end;channel;id", *complaints, "a.flac;0,5;1,25;1;good", ";;;;"]
    (tmp_path / "files.csv").write_text("\n".join(lines), encoding="utf-8")
    words = ["--model", model, "--engine", "serial"]
    out = tmp_path / "o.csv"
    assert call(*words, "--manifest", tmp_path / "files.csv", "--out", out) == 0
    assert f"9 of 10 files could not be recognised: {tmp_path / 'o.errors.csv'}" in (
        capsys.readouterr().err
    )
    (row,) = rows_of(out)
    assert (row["start"], row["end"], row["id"]) == ("0.5", "1.25", "good")
    reasons = [row["reason"] for row in rows_of(tmp_path / "o.errors.csv")]
    for reason, complaint in zip(reasons, complaints.values(), strict=True):
        assert reason.startswith(complaint), "by its line"

    # What could not be used does not turn into something that can, the second time.
    again = tmp_path / "again.csv"
    assert call(*words, "--manifest", tmp_path / "o.errors.csv", "--out", again) == 2
    assert len(rows_of(tmp_path / "again.errors.csv")) == 9 and rows_of(again) == []


@pytest.mark.parametrize(
    "text",
    [
        "file,start,end\nCLIP,0.5,1.5\n",
        "sep=;\nPath;Start;END\nCLIP;0,5;1,5\n",
        "\ufefffile; start ;end ;;\r\nCLIP; 0,5;1,5 ;;\r\n;;;;\r\n",
        "id\tFile Name\tstart (s)\tend_ms\rx\tCLIP\t0,500\t1500\r",
        "# made by hand\n\nfile, start, end\n CLIP , 0 days 00:00:00.5, 0:01.5\n",
        'filename,begin,stop\n"CLIP","0,5","1 500 ms"\n',
        "FILE_PATH|Start Time|End Time\nCLIP|00:00:00,5|1.5 s\n",
        ",wav,start,end\n0,CLIP,0.5,1.5\n",
    ],
)
@pytest.mark.parametrize("coding", ["utf-8", "utf-16"])
def test_a_manifest_is_read_as_people_have_it(
    model: Path, tmp_path: Path, text: str, coding: str
) -> None:
    (tmp_path / "files.csv").write_bytes(text.replace("CLIP", str(ANGER)).encode(coding))
    manifest = str(tmp_path / "files.csv")
    summary = predict_archive(tmp_path / "o.csv", manifest=manifest, model=model, engine="serial")
    assert summary.bad == 0
    (row,) = rows_of(tmp_path / "o.csv")
    assert (row["file"], row["start"], row["end"]) == (str(ANGER), "0.5", "1.5")


def test_a_column_that_may_be_a_time_is_mentioned(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "files.csv").write_text(f"file,onset,end_date\n{ANGER},1,2020\n")
    words = ["--model", model, "--engine", "serial", "--out", tmp_path / "o.csv"]
    assert call("--manifest", tmp_path / "files.csv", *words) == 0
    assert "column 'onset' is not taken for a time" in capsys.readouterr().err


def test_names_of_files_are_those_on_the_disk(tmp_path: Path) -> None:
    (tmp_path / "wav").mkdir()
    for name in (" x.wav", "Müller.wav", "wav/b.wav", "plain.wav"):
        (tmp_path / name).write_bytes(b"")
    text = "file,who\n x.wav,1\nM\xfcller.wav,M\xfcller\nwav\\b.wav,3\n plain.wav ,4\n"
    (tmp_path / "m.csv").write_bytes(text.encode("latin-1"))
    _, items = read_manifest(str(tmp_path / "m.csv"), "file", str(tmp_path))
    found = [(item.file, *item.carried) for item in items]
    names = [(" x.wav", "1"), ("Müller.wav", "Müller"), ("wav/b.wav", "3"), ("plain.wav", "4")]
    assert found == names


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--workers", 0], "An archive needs a file to write"),
        (["--workers", 2, "--out", "o.txt"], "an archive is written as csv, jsonl, parquet"),
        (["--workers", 0, "--engine", "local", "--out", "o.csv"], "workers must be 1 or more"),
        (["--engine", "locale", "--out", "o.csv"], "did you mean 'local'"),
        (["--engine", "local", "--out", "nowhere/o.csv"], "in a folder that is there"),
        (["--engine", "local", "--address", "auto", "--out", "o.csv"], "--engine local has none"),
        (["--manifest", "none.csv", "--out", "o.csv"], "not both"),
        (["--base", "there", "--out", "o.csv"], "The base there is for the names in a manifest"),
        (["--engine", "local", "--out", "o.csv", "--plot", "o.png"], "--plot draws one clip"),
        (["--engine", "local", "--out", "o.csv", "--hop", 4], "goes unheard"),
    ],
)
def test_a_wrong_option_is_one_line_and_leaves_nothing(
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[Any],
    complaint: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(ANGER, "--model", model, *words) == 2
    said = capsys.readouterr()
    assert complaint in said.err and said.err.count("\n") == 1
    assert os.listdir(tmp_path) == []


def test_nothing_to_listen_to_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert call() == 2
    assert capsys.readouterr().err.startswith("lightser: Give FILES")


# The list


def test_a_list_is_read_whatever_is_in_it(tmp_path: Path) -> None:
    odd = ["a,b.wav", 'say "hi".wav', "line\nbreak.wav", os.fsdecode(b"caf\xe9.wav"), "x .wav"]
    with open(tmp_path / "m.csv", "w", newline="", errors="surrogateescape") as file:
        csv.writer(file).writerows([["file", "id"], *([name, "1"] for name in odd)])
    carried, items = read_manifest(str(tmp_path / "m.csv"), "file")
    facts = write_list(carried, items, tmp_path / "list.csv")
    assert (facts.files, facts.columns) == (5, ("id",))
    assert [item.file for item in read_list(tmp_path / "list.csv")] == odd

    (tmp_path / "m.txt").write_text("\ufeffa, b.wav\r\n\nc.wav\n", encoding="utf-8")
    assert [*read_manifest(str(tmp_path / "m.txt"), "file")[1]] == [Item("a, b.wav"), Item("c.wav")]


def test_a_list_of_any_length_takes_no_memory(tmp_path: Path) -> None:
    def names() -> Iterator[Item]:
        return (Item(f"recordings/{i:09d}.wav") for i in range(30_000))

    tracemalloc.start()
    try:
        facts = write_list((), names(), tmp_path / "list.csv")
        blocks = blocks_of(read_list(tmp_path / "list.csv"), 256)
        assert sum(len(block.items) for block in blocks) == facts.files == 30_000
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_files_that_are_found_twice_are_heard_once(tmp_path: Path) -> None:
    for name in ("b.wav", "a.wav"):
        copyfile(ANGER, tmp_path / name)
    found = [item.file for item in find_files([str(tmp_path), str(tmp_path / "*.wav")])]
    assert found == [str(tmp_path / "a.wav"), str(tmp_path / "b.wav")]


# Elsewhere


def test_files_behind_urls_are_heard_as_files(model: Path, tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec", reason="needs the extra bulk")
    store = fsspec.filesystem("memory")
    for name in ("a.flac", "deeper/b.flac", ".hidden/c.flac", "notes.txt"):
        store.pipe(f"/bucket/{name}", ANGER.read_bytes())
    store.pipe("/bucket/deeper/cut.flac", SADNESS.read_bytes()[:9_000])
    out = tmp_path / "said.csv"
    options: dict[str, Any] = {"model": model, "engine": "serial"}
    summary = predict_archive(out, sources=["memory://bucket"], **options)
    expected = [*Recognizer.load(model).predict(ANGER).probabilities.values()]
    assert [row["file"] for row in rows_of(out)] == [
        "memory://bucket/a.flac",
        "memory://bucket/deeper/b.flac",
    ]
    for row in rows_of(out):
        assert numbers(row) == pytest.approx(expected, abs=1e-6)
    (bad,) = rows_of(summary.errors)
    assert bad["file"].endswith("cut.flac") and bad["reason"].startswith("truncated")

    predict_archive(out, sources=["memory://bucket/deeper/b*"], **options)
    assert len(rows_of(out)) == 1
    store.pipe("/lists/files.csv", b"file\na.flac\nmissing.flac\n")
    summary = predict_archive(
        out, manifest="memory://lists/files.csv", base="memory://bucket", **options
    )
    assert [row["file"] for row in rows_of(out)] == ["a.flac"]
    assert "no such file" in rows_of(summary.errors)[0]["reason"]


def test_urls_are_read_by_processes_side_by_side(model: Path, tmp_path: Path) -> None:
    pytest.importorskip("fsspec", reason="needs the extra bulk")
    source = f"file://{ANGER.parent}/*.flac"
    summary = predict_archive(tmp_path / "o.csv", sources=[source], model=model, workers=2)
    assert (summary.rows, summary.bad) == (3, 0)


def test_a_file_of_any_name_in_any_store_can_be_opened_again(model: Path, tmp_path: Path) -> None:
    pytest.importorskip("fsspec", reason="needs the extra bulk")
    copyfile(ANGER, tmp_path / "a[1].flac")
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        archive.write(ANGER, "d/b.flac")
    sources = [f"file://{tmp_path}/a[1].flac", f"zip://d/*.flac::{tmp_path}/c.zip"]
    options: dict[str, Any] = {"model": model, "engine": "serial"}
    summary = predict_archive(tmp_path / "o.csv", sources=sources, **options)
    assert (summary.rows, summary.bad) == (2, 0)


def test_a_store_that_is_broken_does_not_stop_the_rest(model: Path, tmp_path: Path) -> None:
    pytest.importorskip("fsspec", reason="needs the extra bulk")
    (tmp_path / "bad.zip").write_bytes(b"no archive")
    bad = f"zip://x.wav::{tmp_path}/bad.zip"
    (tmp_path / "files.txt").write_text(f"{ANGER}\n{bad}\n")
    options: dict[str, Any] = {"model": model, "engine": "serial"}
    manifest = str(tmp_path / "files.txt")
    summary = predict_archive(tmp_path / "o.csv", manifest=manifest, **options)
    assert (summary.rows, summary.bad) == (1, 1)
    assert "not a zip file" in rows_of(summary.errors)[0]["reason"]


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("nowhere://bucket", "Protocol not known"),
        ("memory://empty-bucket", "no audio files there"),
    ],
)
def test_a_url_that_leads_nowhere_is_one_line(
    model: Path, tmp_path: Path, url: str, complaint: str
) -> None:
    pytest.importorskip("fsspec", reason="needs the extra bulk")
    with pytest.raises(LightserError) as error:
        predict_archive(tmp_path / "o.csv", sources=[url], model=model)
    assert complaint in str(error.value) and "\n" not in str(error.value)
    assert os.listdir(tmp_path) == []


def test_a_csv_of_local_files_needs_no_extra(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("fsspec", "pyarrow", "ray"):
        monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    options: dict[str, Any] = {"model": model, "engine": "serial"}
    assert predict_archive(tmp_path / "o.csv", sources=[str(ANGER)], **options).rows == 1
    for out, source in (("o.parquet", str(ANGER)), ("o.csv", "s3://bucket")):
        with pytest.raises(MissingExtra, match=r"lightser\[bulk\]"):
            predict_archive(tmp_path / out, sources=[source], **options)
