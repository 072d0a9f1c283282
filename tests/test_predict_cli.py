"""``lightser predict`` and ``lightser models``, as a person or a script calls them."""

import csv
import io
import itertools
import json
import os
import pty
import re
import shlex
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from dataclasses import dataclass
from fcntl import ioctl
from pathlib import Path
from shutil import copyfile
from typing import Any

import numpy as np
import pytest
import soundfile
from model_folder import ANGER, HAPPINESS, LABELS, SADNESS, write_model
from PIL import Image

from lightser import Recognizer, Segment, Stream, bundled
from lightser.audio.signatures import is_audio
from lightser.card import read_card
from lightser.cli import main
from lightser.cli.predict import finer
from lightser.cli.row_table import clock, shares
from lightser.errors import LightserWarning
from lightser.inference.finding import find_audio
from lightser.report.clip import edges_of, envelope, timeline
from lightser.report.colours import EMOTION_COLOURS, colours_of


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "small")


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Return a folder with two clips, a broken one, one with another name, and what is no audio."""
    folder = tmp_path / "clips"
    (folder / "deeper").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    copyfile(ANGER, folder / "anger.flac")
    copyfile(SADNESS, folder / "deeper" / "Sadness.FLAC")
    copyfile(HAPPINESS, folder / "deeper" / "no-ending")
    copyfile(HAPPINESS, folder / ".hidden" / "happiness.flac")
    (folder / "notes.txt").write_text("not audio")
    (folder / "._anger.flac").write_bytes(b"what a Mac leaves behind")
    return folder


@dataclass(frozen=True)
class Said:
    """How a command ended."""

    code: int
    out: str
    err: str


Call = Callable[..., Said]


@pytest.fixture
def call(model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Return a function that runs ``lightser`` with some words, as the installed command does."""

    def run(*words: Any, with_model: bool = True) -> Said:
        added = ["--model", str(model)] if with_model and words[0] == "predict" else []
        monkeypatch.setattr(sys, "argv", ["lightser", *map(str, words), *added])
        with pytest.raises(SystemExit) as ended:
            main()
        return Said(int(ended.value.code or 0), *capsys.readouterr())

    return run


# Rows


def test_a_clip_is_a_line_of_columns(call: Call) -> None:
    said = call("predict", ANGER, HAPPINESS)
    assert (said.code, said.err) == (0, "")
    head, *lines = [line.split() for line in said.out.splitlines()]
    assert head == ["file", "start", "end", "label", "confidence", *LABELS]
    assert [line[0] for line in lines] == [str(ANGER), str(HAPPINESS)]
    assert [line[1:3] for line in lines] == [["0.00", "2.65"], ["0.00", "1.62"]]


def test_a_pipe_gets_no_colours_and_columns_that_stand_below_their_names(call: Call) -> None:
    said = call("predict", ANGER, HAPPINESS)
    assert "\x1b" not in said.out and said.out.isascii()
    lines = said.out.splitlines()
    assert len({line.index(line.split()[3]) for line in lines}) == 1
    assert len({len(line) for line in lines}) == 1
    assert call("predict", ANGER, HAPPINESS).out == said.out


def test_every_format_says_what_the_recogniser_says(call: Call, model: Path) -> None:
    recognizer = Recognizer.load(model)
    expected = [recognizer.predict(clip) for clip in (ANGER, SADNESS)]

    listed = json.loads(call("predict", ANGER, SADNESS, "--format", "json").out)
    lines = call("predict", ANGER, SADNESS, "--format", "jsonl").out.splitlines()
    assert [json.loads(line) for line in lines] == listed
    table = csv.DictReader(io.StringIO(call("predict", ANGER, SADNESS, "--format", "csv").out))
    for row, said, prediction in zip(table, listed, expected, strict=True):
        assert said["label"] == row["label"] == prediction.label
        assert (said["start"], said["end"]) == (0, pytest.approx(prediction.duration_s, abs=1e-6))
        assert float(row["confidence"]) == said["confidence"]
        assert said["probabilities"] == pytest.approx(prediction.probabilities, abs=1e-6)
        assert {f"p_{k}": v for k, v in said["probabilities"].items()} == {
            key: float(value) for key, value in row.items() if key.startswith("p_")
        }


def test_windows_are_rows_of_their_own(call: Call, model: Path) -> None:
    said = call("predict", ANGER, "--window", 1, "--hop", 0.3, "--format", "jsonl")
    rows = [json.loads(line) for line in said.out.splitlines()]
    segments = list(Recognizer.load(model).segments(ANGER, window_s=1, hop_s=0.3))
    assert [(r["start"], r["label"]) for r in rows] == [
        (pytest.approx(s.start, abs=1e-6), s.label) for s in segments
    ]
    assert len(rows) > 5


def test_a_hop_alone_moves_the_models_own_window(call: Call) -> None:
    rows = json.loads(call("predict", SADNESS, "--hop", 0.5, "--format", "json").out)
    assert [(r["start"], r["end"]) for r in rows[:2]] == [(0, 2), (0.5, 2.5)]


def test_segments_before_the_damage_are_kept(call: Call, tmp_path: Path) -> None:
    clip, rate = soundfile.read(ANGER, dtype="int16")
    soundfile.write(tmp_path / "cut.flac", np.tile(clip, 12), rate)  # half a minute
    content = (tmp_path / "cut.flac").read_bytes()
    (tmp_path / "cut.flac").write_bytes(content[: len(content) // 2])
    said = call("predict", tmp_path / "cut.flac", "--window", 2, "--format", "jsonl")
    assert said.code == 2 and "cut.flac" in said.err and said.err.count("\n") == 1
    whole = call("predict", tmp_path / "cut.flac", "--format", "jsonl")
    assert (whole.code, whole.out) == (2, "")


# Files, folders, patterns, standard input


def test_a_folder_gives_its_audio_and_nothing_else(call: Call, clips: Path) -> None:
    said = call("predict", clips, "--format", "csv")
    assert (said.code, said.err.count("\n")) == (0, 1)  # of the one that is no audio
    assert f"{clips}: 1 file is not audio and is passed over: notes.txt" in said.err
    names = [row["file"] for row in csv.DictReader(io.StringIO(said.out))]
    assert [os.path.relpath(name, clips) for name in names] == [
        "anger.flac",
        "deeper/Sadness.FLAC",
        "deeper/no-ending",
    ]


def test_a_pattern_that_no_shell_has_replaced_is_replaced(call: Call, clips: Path) -> None:
    said = call("predict", f"{clips}/**/*.[fF]*", "--format", "jsonl")
    names = [os.path.basename(json.loads(line)["file"]) for line in said.out.splitlines()]
    assert names == ["anger.flac", "Sadness.FLAC"]


def test_a_name_that_looks_like_a_pattern_is_a_name(call: Call, tmp_path: Path) -> None:
    copyfile(ANGER, tmp_path / "take[1].flac")
    assert call("predict", tmp_path / "take[1].flac").code == 0


def test_a_file_that_is_named_twice_is_heard_once(call: Call, clips: Path) -> None:
    said = call("predict", clips / "anger.flac", clips, clips / "*.flac", "--format", "jsonl")
    assert len(said.out.splitlines()) == 3


def test_names_that_give_nothing_are_reported(call: Call, tmp_path: Path) -> None:
    said = call("predict", tmp_path, tmp_path / "*.wav", tmp_path / "no.wav", ANGER)
    assert said.code == 2
    assert "a folder without audio files" in said.err
    assert "no file matches this pattern" in said.err
    assert "no.wav: no such file" in said.err
    assert len(said.out.splitlines()) == 2


@pytest.mark.parametrize(
    ("name", "head", "verdict"),
    [
        ("a.mp3", b"", True),
        ("a.M4A", b"", True),
        ("a", b"RIFF\x00\x00\x00\x00WAVE", True),
        ("a.bin", b"fLaC", True),
        ("a.txt", b"ID3\x04", True),
        ("a.dat", b"\xff\xfb\x90\x00", True),
        ("a.csv", b"file,label", False),
        ("a.jpg", b"\xff\xd8\xff\xe0", False),
        ("a.txt", b"\xff\xfeh\x00i\x00", False),  # UTF-16
        ("a", b"RIFF\x00\x00\x00\x00AVI ", True),
        ("voice note", b"\0\0\0\x18ftypM4A ", True),
        ("a.heic", b"\0\0\0\x18ftypheic", False),
        ("a.txt", b"MAC addresses", False),
        ("a.ts", b"import { a } from 'b'", False),
        ("a", b"", False),
    ],
)
def test_audio_is_known_by_its_name_or_its_first_bytes(
    tmp_path: Path, name: str, head: bytes, verdict: bool
) -> None:
    (tmp_path / name).write_bytes(head)
    assert is_audio(str(tmp_path / name)) == verdict


def test_what_a_folder_holds_and_is_no_audio_is_named_and_counted(
    call: Call, tmp_path: Path
) -> None:
    talks = tmp_path / "talks"
    for name in ("a.docx", "b.xlsx", ".hidden", "c/d.txt", "e.pdf"):
        (talks / name).parent.mkdir(parents=True, exist_ok=True)
        (talks / name).write_text("x")
    copyfile(ANGER, talks / "clip.wav")
    said = call("predict", talks)
    assert said.code == 0
    assert "4 files are not audio and are passed over: a.docx, b.xlsx, e.pdf and 1 more" in said.err
    said = call("predict", talks, "--out", tmp_path / "x.csv", "--workers", 1)
    assert "4 files are not audio and are passed over" in said.err


def test_a_pipe_in_a_folder_does_not_make_us_wait(tmp_path: Path) -> None:
    for name in ("pipe", "pipe.wav"):
        os.mkfifo(tmp_path / name)
    with pytest.warns(LightserWarning, match="2 files are not audio"):
        files, problems = find_audio([str(tmp_path)])
    assert files == [] and len(problems) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="a shell of another kind")
def test_where_nobody_listens_to_us_nothing_is_said(model: Path) -> None:
    words = [sys.executable, "-m", "lightser", "predict", "--model", str(model), str(ANGER)]
    for closed in (">&-", "2>&-", ">&- 2>&-"):
        command = f"{shlex.join(words)} {closed}"
        done = subprocess.run(command, shell=True, capture_output=True, timeout=60)
        assert done.returncode == 0 and done.stderr == b""


def lightser(*words: Any, **options: Any) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "lightser", *map(str, words)]
    return subprocess.run(command, capture_output=True, timeout=60, **options)


def test_standard_input_is_heard_as_its_file(model: Path, tmp_path: Path) -> None:
    words = ["predict", "-", "--model", model, "--format", "jsonl"]
    piped = lightser(*words, "--plot", tmp_path / "stdin.png", input=ANGER.read_bytes())
    assert piped.returncode == 0, piped.stderr
    (row,) = map(json.loads, piped.stdout.splitlines())
    expected = Recognizer.load(model).predict(ANGER)
    assert (row["file"], row["label"]) == ("-", expected.label)
    assert row["probabilities"] == pytest.approx(expected.probabilities, abs=1e-6)
    assert Image.open(tmp_path / "stdin.png").size > (1000, 500)


def test_standard_input_that_is_no_audio_is_one_line(model: Path) -> None:
    for content in (b"", b"hello"):
        run = lightser("predict", "-", "--model", model, input=content)
        assert (run.returncode, run.stdout, run.stderr.count(b"\n")) == (2, b"", 1)


def test_a_reader_that_has_enough_gets_no_traceback(model: Path, tmp_path: Path) -> None:
    clip, rate = soundfile.read(ANGER, dtype="int16")
    soundfile.write(tmp_path / "long.flac", np.tile(clip, 20), rate)
    command = [sys.executable, "-m", "lightser", "predict", str(tmp_path / "long.flac")]
    command += ["--model", str(model), "--window", "1", "--hop", "0.01", "--format", "jsonl"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stderr
        process.stdout.readline()  # as head -1 does
        process.stdout.close()
        assert process.stderr.read() == b""


def test_a_name_that_is_not_unicode_is_spoken_all_the_same(call: Call, tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/caf\xe9.flac"
    with open(name, "wb") as file:
        file.write(ANGER.read_bytes())
    for format in ("table", "csv", "jsonl"):
        said = call("predict", os.fsdecode(name), "--format", format)
        assert said.code == 0
        assert "caf\ufffd.flac" in said.out
        assert said.out.encode()  # it can be written anywhere
    said = call("predict", os.fsdecode(name), "--plot", tmp_path / "clip.svg")
    assert (said.code, said.err) == (0, "")


def test_what_a_terminal_would_obey_in_a_name_is_shown(call: Call, tmp_path: Path) -> None:
    odd, shown = "two\nlines \x1b[31mred é日.flac", r"two\nlines \x1b[31mred é日.flac"
    copyfile(ANGER, tmp_path / odd)
    head, line = call("predict", tmp_path / odd).out.splitlines()
    assert line.startswith(f"{tmp_path}/{shown}  ") and line.index("0.00") > head.index("start")
    row = json.loads(call("predict", tmp_path / odd, "--format", "jsonl").out)
    assert row["file"] == str(tmp_path / odd)
    (tmp_path / f"no {odd}").touch()
    one = call("predict", tmp_path / f"no {odd}")
    both = call("predict", tmp_path / odd, tmp_path / f"no {odd}")
    assert one.err.count("\n") == 1 and both.err.count("\n") == 2
    assert all(f"{tmp_path}/no {shown}: empty (0 bytes)" in said.err for said in (one, both))


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_a_file_gets_utf_8_whatever_the_system_writes(
    model: Path, tmp_path: Path, encoding: str
) -> None:
    copyfile(ANGER, tmp_path / "źródło λ.flac")
    words = ["predict", tmp_path / "źródło λ.flac", "--model", model, "--format", "json"]
    run = lightser(*words, env=os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"})
    assert (run.returncode, run.stderr) == (0, b"")
    assert json.loads(run.stdout.decode("utf-8"))[0]["file"].endswith("źródło λ.flac")


# What goes wrong


def test_one_bad_file_does_not_stop_the_rest(call: Call, clips: Path) -> None:
    (clips / "broken.wav").write_bytes(b"RIFF\x00\x00\x00\x00WAVEnothing")
    soundfile.write(clips / "still.wav", np.zeros(16_000), 16_000)
    said = call("predict", clips, "--format", "jsonl")
    assert said.code == 2
    assert len(said.out.splitlines()) == 3
    _, first, *reasons = said.err.splitlines()
    assert first == "lightser: 2 could not be recognised, the rest is done:"
    assert ["broken.wav" in reasons[0], "still.wav: silent" in reasons[1]] == [True, True]


def test_one_bad_file_alone_is_one_line(call: Call, tmp_path: Path) -> None:
    said = call("predict", tmp_path / "none.wav")
    assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert said.err.startswith("lightser: ") and "no such file" in said.err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--window", 0], "too short"),
        (["--window", 1, "--hop", 2], "goes unheard"),
        (["--format", "jsno"], "did you mean 'json'"),
        (["--threads", 0], "threads must be 1 or more"),
        (["--plot", "clip.jpeg"], "must end in .png, .svg or .pdf"),
        ([HAPPINESS, "--plot", "clip.png"], "draws one clip, and 2 are given"),
        (["--out", "nowhere/at/all.csv"], "cannot be written"),
        (["--out", "."], "a folder; give the name of a file"),
    ],
)
def test_a_wrong_option_is_one_line_before_anything_is_heard(
    call: Call, words: list[Any], complaint: str
) -> None:
    said = call("predict", ANGER, *words)
    assert (said.code, said.out) == (2, "")
    assert complaint in said.err and said.err.count("\n") == 1


def test_an_unknown_model_is_one_line(call: Call) -> None:
    said = call("predict", ANGER, "--model", "defalt", with_model=False)
    assert (said.code, said.out) == (2, "")
    assert "did you mean 'default'" in said.err and said.err.count("\n") == 1


def test_a_warning_is_a_line_and_no_failure(call: Call, tmp_path: Path) -> None:
    clip, rate = soundfile.read(ANGER, dtype="float32")
    soundfile.write(tmp_path / "wrong.wav", np.stack([clip, -clip], axis=1), rate)
    said = call("predict", tmp_path / "wrong.wav")
    assert said.code == 0
    assert "cancel each other" in said.err and said.err.count("\n") == 1


# Files that are written


@pytest.mark.parametrize("name", ["said.csv", "said.json", "said.jsonl", "said.txt"])
def test_the_name_of_a_file_says_its_format(call: Call, tmp_path: Path, name: str) -> None:
    said = call("predict", ANGER, "--out", tmp_path / name)
    assert (said.code, said.out, said.err) == (0, "", "")
    format = {"txt": "table"}.get(name[5:], name[5:])
    expected = call("predict", ANGER, "--format", format).out
    assert (tmp_path / name).read_text() == expected
    assert os.listdir(tmp_path) == [name]


def test_a_file_is_replaced_whole_or_not_at_all(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "said.csv"
    out.write_text("before")

    def interrupted(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Stream, "push", interrupted)
        assert call("predict", ANGER, "--window", 1, "--out", out).code == 130
    assert out.read_text() == "before" and os.listdir(tmp_path) == ["said.csv"]
    assert call("predict", ANGER, "--window", 1, "--out", out).code == 0
    assert out.read_text().startswith("file,start,end")


@pytest.mark.parametrize("name", ["said.csv", "said.json", "said.TextGrid"])
def test_where_nothing_is_heard_nothing_is_replaced(call: Call, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("before")
    said = call("predict", tmp_path / "missing.wav", "--out", tmp_path / name)
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert (tmp_path / name).read_text() == "before" and os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("option", ["--out", "--plot"])
def test_what_is_listened_to_is_not_written_over(call: Call, tmp_path: Path, option: str) -> None:
    copyfile(ANGER, tmp_path / "clip.png")
    said = call("predict", tmp_path / "clip.png", option, tmp_path / "clip.png")
    assert said.code == 2 and "is listened to" in said.err
    assert (tmp_path / "clip.png").read_bytes() == ANGER.read_bytes()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_one_line(call: Call, model: Path) -> None:
    said = call("predict", ANGER, "--out", "/dev/full")
    assert said.code == 2 and "cannot be written (No space left" in said.err
    words = [sys.executable, "-m", "lightser", "predict", str(ANGER), "--model", str(model)]
    with open("/dev/full", "w") as full:
        run = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert run.returncode == 2 and run.stderr.count("\n") == 1 and "no space left" in run.stderr


def test_a_link_is_followed_and_a_device_left_in_its_place(call: Call, tmp_path: Path) -> None:
    (tmp_path / "link.csv").symlink_to(tmp_path / "real.csv")
    call("predict", ANGER, "--out", tmp_path / "link.csv")
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "real.csv").read_text().startswith("file,start")
    assert call("predict", ANGER, "--out", os.devnull).code == 0
    assert Path(os.devnull).is_char_device()


def test_a_written_file_is_readable_as_the_user_wants(call: Call, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        call("predict", ANGER, "--out", tmp_path / "said.csv")
    finally:
        os.umask(before)
    assert (tmp_path / "said.csv").stat().st_mode & 0o777 == 0o640


# The picture


@pytest.mark.parametrize("words", [[], ["--window", 1, "--hop", 0.5], ["--window", 60]])
def test_a_picture_is_drawn_in_the_colours_of_its_emotions(
    call: Call, tmp_path: Path, words: list[Any]
) -> None:
    said = call("predict", ANGER, "--plot", tmp_path / "clip.png", *words)
    assert (said.code, said.err) == (0, "")
    picture = np.asarray(Image.open(tmp_path / "clip.png").convert("RGB"))
    label = json.loads(call("predict", ANGER, "--format", "json").out)[0]["label"]
    wanted = [int(EMOTION_COLOURS[label][i : i + 2], 16) for i in (1, 3, 5)]
    assert (picture == wanted).all(axis=-1).sum() > 200  # its part of the waveform, and the legend
    assert os.listdir(tmp_path) == ["clip.png"]


def words_of(svg: Path) -> set[str]:
    return set(re.findall(r"<!-- (.+?) -->", svg.read_text()))  # beside their outlines


def test_a_picture_shows_what_was_asked_for(call: Call, tmp_path: Path) -> None:
    clip, rate = soundfile.read(ANGER, dtype="float32")
    silence = np.zeros(3 * rate, np.float32)
    left, right = (np.concatenate(parts) for parts in ([clip, silence], [silence, clip]))
    soundfile.write(tmp_path / "call.wav", np.stack([left, right], axis=1), rate)
    cutting = ["--window", 1, "--hop", 0.25]
    asked = [*cutting, "--vad", "--smooth", 0.5, "--per-channel"]
    call("predict", tmp_path / "call.wav", "--plot", tmp_path / "plain.svg", *cutting)
    said = call("predict", tmp_path / "call.wav", "--plot", tmp_path / "all.svg", *asked)
    assert (said.code, said.err) == (0, "")
    plain, drawn = words_of(tmp_path / "plain.svg"), words_of(tmp_path / "all.svg")
    assert {"channel 1", "channel 2", "silence"} <= drawn
    assert not {"channel 1", "silence"} & plain
    how = "small, windows of 1 s every 0.25 s"
    assert how in plain and f"{how}, smoothed over 0.5 s" in drawn


def test_a_picture_may_be_of_a_file_of_any_name(call: Call, tmp_path: Path) -> None:
    copyfile(ANGER, tmp_path / "日本 $_$ b.flac")
    said = call("predict", tmp_path / "日本 $_$ b.flac", "--plot", tmp_path / "clip.png")
    assert (said.code, said.err) == (0, "") and (tmp_path / "clip.png").is_file()


def test_a_picture_may_be_of_silence(call: Call, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silent.wav", np.zeros(32_000), 16_000)
    asked = ["--window", 1, "--vad", "--plot", tmp_path / "clip.svg"]
    said = call("predict", tmp_path / "silent.wav", *asked)
    assert (said.code, said.err) == (0, "") and "silence 100 %" in words_of(tmp_path / "clip.svg")


def test_silence_is_a_gap_in_the_probabilities() -> None:
    heard = {"a": 0.25, "b": 0.75}
    labels = ["b", "silence", "b", "b"]
    segments = [
        Segment(i, i + 2.0, label, 1.0, {} if label == "silence" else heard)
        for i, label in enumerate(labels)
    ]
    times, rows = timeline(segments, ["a", "b"], 5.0)
    np.testing.assert_allclose(times, [0, 1, 1.5, 1.5, 2, 2.5, 2.5, 3, 4, 5])
    assert np.isnan(rows[:, 0]).tolist() == [False] * 3 + [True] * 3 + [False] * 4
    assert all((row == [0.25, 0.75]).all() for row in rows if not np.isnan(row[0]))
    assert edges_of(segments, 5.0).tolist() == [0, 1.5, 2.5, 3.5, 5]


@pytest.mark.parametrize(("ending", "start"), [("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_a_picture_may_be_of_lines(call: Call, tmp_path: Path, ending: str, start: bytes) -> None:
    call("predict", ANGER, "--plot", tmp_path / f"clip.{ending}")
    assert (tmp_path / f"clip.{ending}").read_bytes().startswith(start)


def test_a_picture_of_what_cannot_be_read_is_not_drawn(call: Call, tmp_path: Path) -> None:
    assert call("predict", tmp_path / "no.wav", "--plot", tmp_path / "clip.png").code == 2
    assert os.listdir(tmp_path) == []


def test_the_outline_of_a_waveform_does_not_depend_on_its_blocks() -> None:
    samples = np.random.default_rng(0).normal(size=10_007).astype(np.float32)
    whole = envelope([samples], len(samples), columns=100)
    cuts = [0, 1, 50, 51, 3_000, 3_000, 9_999, len(samples)]
    blocks = [samples[a:b] for a, b in itertools.pairwise(cuts)]
    np.testing.assert_allclose(envelope(blocks, len(samples), columns=100), whole, rtol=1e-6)
    assert len(whole) <= 100
    assert whole[:, 0].min() == samples.min() and whole[:, 1].max() == samples.max()
    np.testing.assert_allclose(whole[0, 2], np.sqrt(np.mean(samples[:101] ** 2)), rtol=1e-6)


def test_many_segments_are_drawn_as_the_means_of_few() -> None:
    p = np.random.default_rng(0).dirichlet(np.ones(2), 1_000)
    segments = [
        Segment(i, i + 2.0, "a", float(a), {"a": float(a), "b": float(b)})
        for i, (a, b) in enumerate(p)
    ]
    times, rows = timeline(segments, ["a", "b"], 1_001.0, most=100)
    assert len(times) == len(rows) == 102  # and both ends
    assert (times[0], times[1], times[-1]) == (0, 5.5, 1_001)
    np.testing.assert_allclose(rows[1], p[:10].mean(axis=0))
    np.testing.assert_allclose(rows[[0, -1]], rows[[1, -2]])


def test_a_picture_has_few_enough_points() -> None:
    for duration_s in (0.2, 2.0, 60.0, 3_600.0, 36_000.0):
        window, hop = finer(duration_s, 3.0)
        assert 0 < hop <= window <= 3
        assert duration_s / hop < 12_001


# On a terminal


def on_terminal(columns: int, *words: Any) -> str:
    """Return what a terminal of some width shows for a command."""
    parent, child = pty.openpty()
    ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    command = [sys.executable, "-m", "lightser", *map(str, words)]
    settings = {"TERM": "xterm-256color", "COLORTERM": "truecolor", "LC_ALL": "C.UTF-8"}
    environment = os.environ | settings
    environment.pop("NO_COLOR", None)
    environment.pop("COLUMNS", None)
    with subprocess.Popen(
        command, stdin=child, stdout=child, stderr=child, env=environment
    ) as process:
        os.close(child)
        shown = b""
        while True:
            try:
                block = os.read(parent, 65_536)
            except OSError:  # the other end is closed
                break
            if not block:
                break
            shown += block
    os.close(parent)
    assert process.returncode == 0, shown
    return shown.decode()


def rgb(colour: str) -> str:
    return ";".join(str(int(colour[i : i + 2], 16)) for i in (1, 3, 5))


def lines_of(shown: str) -> list[str]:
    """Return the lines that stay, without colours and what the progress bar took back."""
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.split("\x1b[2K")[-1])
    return [line.rstrip() for line in plain.replace("\r", "").split("\n")]


def test_a_terminal_shows_emotions_in_their_colours(model: Path) -> None:
    shown = on_terminal(160, "predict", ANGER, HAPPINESS, "--model", model)
    recognizer = Recognizer.load(model)
    for clip in (ANGER, HAPPINESS):
        prediction = recognizer.predict(clip)
        assert rgb(EMOTION_COLOURS[prediction.label]) in shown
        (line,) = [line for line in lines_of(shown) if clip.name in line]
        assert f"● {prediction.label}" in line
        assert f"{100 * prediction.confidence:.0f} %" in line
        assert line.count("━") == 24
        numbers = [f"{100 * p:.0f}" for p in prediction.probabilities.values()]
        assert line.split()[-len(LABELS) :] == numbers


@pytest.mark.parametrize("columns", [60, 80, 130])
@pytest.mark.parametrize("window", [[], ["--window", 1]])
def test_a_terminal_of_any_width_shows_what_matters_whole(
    model: Path, columns: int, window: list[Any]
) -> None:
    shown = on_terminal(columns, "predict", SADNESS, "--model", model, *window)
    lines = [line for line in lines_of(shown) if "●" in line]
    assert len(lines) == (5 if window else 1)
    for line in lines:
        assert len(line) <= columns
        assert re.search(r"● [a-z]+ +\d+ %  ━{8,24}", line)
        assert re.search(r"\d:\d\d\.\d\d–\d:\d\d\.\d\d" if window else r"\d\.\d\d s", line)


def test_a_terminal_shows_channels_and_silence(model: Path, tmp_path: Path) -> None:
    clip, rate = soundfile.read(ANGER, dtype="float32")
    still = np.random.default_rng(0).normal(0, 1e-4, len(clip)).astype(np.float32)
    soundfile.write(tmp_path / "call.wav", np.stack([clip, still], axis=1), rate)
    words = ["--per-channel", "--vad", "--window", 2, "--hop", 2]
    shown = on_terminal(100, "predict", tmp_path / "call.wav", "--model", model, *words)
    one = [line for line in lines_of(shown) if "call.wav [1]" in line]
    two = [line for line in lines_of(shown) if "call.wav [2]" in line]
    assert len(one) == len(two) == 2
    assert all("● " in line and "━" in line for line in one)
    assert re.search(r"  silence +\d+ %$", two[-1])


def test_a_terminal_shows_what_it_would_obey_in_a_name(model: Path, tmp_path: Path) -> None:
    copyfile(ANGER, tmp_path / "a\n\x1b[2Jb.flac")
    shown = on_terminal(120, "predict", tmp_path / "a\n\x1b[2Jb.flac", "--model", model)
    assert r"a\n\x1b[2Jb.flac" in shown and "\x1b[2J" not in shown


def test_rows_for_programs_come_without_colours_on_a_terminal_too(model: Path) -> None:
    shown = on_terminal(80, "predict", ANGER, "--model", model, "--format", "jsonl")
    assert json.loads(shown)["file"] == str(ANGER)


def test_nothing_is_shown_of_the_progress_where_stderr_is_no_terminal(model: Path) -> None:
    assert lightser("predict", ANGER, "--model", model).stderr == b""


def test_shares_of_a_bar_fill_it_and_are_nearly_in_proportion() -> None:
    rng = np.random.default_rng(0)
    for p in rng.dirichlet(np.full(7, 0.3), 200):
        ranked = sorted(zip(LABELS, p, strict=True), key=lambda item: -item[1])
        given = shares(ranked, 24)
        assert sum(n for _, n in given) == 24
        assert all(abs(n - q * 24) < 1 for (_, n), (_, q) in zip(given, ranked, strict=True))


def test_a_clock_reads_as_people_do() -> None:
    assert [clock(s) for s in (0, 59.999, 60, 36_000)] == [
        "0:00.00",
        "1:00.00",
        "1:00.00",
        "10:00:00.00",
    ]


def test_every_label_has_a_colour_of_its_own() -> None:
    labels = [*LABELS, "calm", "surprise", "awe", "pride"]
    assert len(set(colours_of(labels).values())) == len(labels)
    assert len(set(EMOTION_COLOURS.values())) == len(EMOTION_COLOURS)
    strangers = colours_of([f"emotion {i}" for i in range(30)])
    assert all(re.fullmatch("#[0-9a-f]{6}", colour) for colour in strangers.values())


# Models


def bundle(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("first", "second"):
        write_model(folder / name)
    (folder / "default.txt").write_text("second")
    monkeypatch.setattr(bundled, "WEIGHTS", folder)


def test_models_are_listed_with_their_scores_and_terms(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle(tmp_path, monkeypatch)
    said = call("models")
    assert (said.code, said.err) == (0, "")
    head, default, other = said.out.splitlines()
    assert head.split()[:3] == ["model", "labels", "UA"]
    assert default.startswith("second (default)") and other.startswith("first ")
    for line in (default, other):
        assert re.search(r"7  14\.3  12\.0-17\.0  emodb loso +- +\d\.\d kB  MIT$", line)


def test_a_narrow_terminal_shows_each_model_with_its_scores_at_home_and_elsewhere() -> None:
    shown = on_terminal(80, "models")
    for name, folder in bundled.bundled_models().items():
        card = read_card(folder)
        assert name in shown and f"{100 * card.scores[0].ua:.1f}" in shown
        assert card.elsewhere, "a bundled model says how it does on corpora it has not heard"
        for score in card.elsewhere:
            assert f"{score.corpus} {100 * score.ua:.1f}" in shown
    assert "…" not in shown


def test_a_model_says_all_that_its_card_does(call: Call, model: Path) -> None:
    for word in (
        *("small", "band_energies", "63 parameters", ", ".join(LABELS), "16,000 Hz", "0.5 to 2 s"),
        *("UA 14.3 %", "WA 14.1 %", "macro F1 10.0 %", "12.0-17.0 %, over speakers"),
        *("loso: Every speaker is tested", "535 utterances", "seeds 0, 1", "CC0-1.0", "MIT"),
        *("Its weights are random.", "Tests.", "recipes/test/random.toml at 0123456", str(model)),
    ):
        assert word in call("models", model).out


def test_cards_are_given_to_programs_as_json(
    call: Call, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert json.loads(call("models", model, "--json").out) == json.loads(
        (model / "card.json").read_text()
    )
    bundle(tmp_path, monkeypatch)
    cards = json.loads(call("models", "--json").out)
    assert {name: card["name"] for name, card in cards.items()} == {
        "first": "first",
        "second": "second",
    }


def test_an_unknown_model_is_answered_with_the_known(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle(tmp_path, monkeypatch)
    said = call("models", "frist")
    assert (said.code, said.out) == (2, "")
    assert "did you mean 'first'" in said.err
