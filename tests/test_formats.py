"""Formats for annotation tools and players, and recordings whose channels are speakers."""

import csv
import io
import itertools
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from model_folder import ANGER, HAPPINESS, LABELS, SADNESS, write_model

from lightser import Recognizer, Stream
from lightser.audio.channels import stream_channels
from lightser.audio.files import read_audio, resample, stream_audio
from lightser.cli import main
from lightser.errors import BadAudio
from lightser.inference.annotations import spans_of
from lightser.inference.formats import FORMATS, Row
from lightser.inference.segments import SILENCE
from lightser.inference.vad import SpeechGate

RATE = 16_000
VOICES = [read_audio(clip) for clip in (ANGER, SADNESS, HAPPINESS)]
QUIET = np.random.default_rng(0).normal(0, 1e-4, 4 * RATE).astype(np.float32)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "small")


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a recording of two voices with a pause between them, 13 s."""
    path = tmp_path_factory.mktemp("audio") / "talk.flac"
    soundfile.write(path, np.concatenate([VOICES[0], QUIET, *VOICES[1:], QUIET[:RATE]]), RATE)
    return path


@pytest.fixture(scope="module")
def phone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a call at 44.1 kHz: a voice on each channel, the second after the first."""
    path = tmp_path_factory.mktemp("audio") / "phone.wav"
    one = np.concatenate([VOICES[0], QUIET])
    other = np.concatenate([QUIET, VOICES[1]])
    length = min(len(one), len(other))
    both = resample(np.stack([one[:length], other[:length]], axis=1), RATE, 44_100)
    soundfile.write(path, both, 44_100, subtype="FLOAT")
    return path


Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Return a function that runs ``lightser predict`` and returns exit code, stdout and stderr."""

    def run(*words: Any) -> tuple[int, str, str]:
        command = ["lightser", "predict", *map(str, words), "--model", str(model)]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), *capsys.readouterr()

    return run


def written(format: str, rows: list[Row]) -> str:
    file = io.StringIO()
    FORMATS[format](iter(rows), LABELS, file)
    return file.getvalue()


def row(start: float, end: float, label: str, channel: int | None = None) -> Row:
    probabilities = {} if label == SILENCE else {name: float(name == label) for name in LABELS}
    return Row("talk.wav", start, end, label, 0.75, probabilities, channel)


@st.composite
def recordings(draw: st.DrawFn) -> list[Row]:
    """Rows as a stream gives them: equal windows at equal hops, the last one at the end."""
    window, hop = draw(st.sampled_from([(3.0, 1.0), (1.0, 1.0), (2.0, 0.3)]))
    labels = draw(st.lists(st.sampled_from(["anger", "fear", SILENCE]), min_size=1, max_size=30))
    starts = [i * hop for i in range(len(labels))]
    if len(starts) > 1:
        starts[-1] -= draw(st.floats(0, 0.9)) * hop
    return [row(start, start + window, label) for start, label in zip(starts, labels, strict=True)]


# Spans


@settings(max_examples=100, deadline=None)
@given(rows=recordings())
def test_spans_follow_one_another_and_leave_nothing_out(rows: list[Row]) -> None:
    spans = spans_of(rows)[""]
    assert (spans[0].start, spans[-1].end) == (rows[0].start, rows[-1].end)
    for before, after in itertools.pairwise(spans):
        assert before.end == after.start and before.label != after.label
    assert all(span.start < span.end for span in spans)


@settings(max_examples=100, deadline=None)
@given(rows=recordings())
def test_the_middle_of_a_segment_is_in_a_span_of_its_label(rows: list[Row]) -> None:
    spans = spans_of(rows)[""]
    for segment in rows:
        middle = (segment.start + segment.end) / 2
        assert any(s.start <= middle <= s.end and s.label == segment.label for s in spans)


def test_segments_that_do_not_overlap_are_spans_as_they_are() -> None:
    rows = [row(0, 1, "anger"), row(1, 2, "fear"), row(5, 6, "fear")]
    spans = spans_of(rows)[""]
    assert [(s.start, s.end, s.label) for s in spans] == [
        *((0, 1, "anger"), (1, 2, "fear"), (5, 6, "fear")),
    ]


def test_channels_have_spans_of_their_own() -> None:
    rows = [row(0, 1, "anger", 2), row(0, 1, "fear", 1), row(1, 2, "anger", 2)]
    spans = spans_of(rows)
    assert list(spans) == ["channel 1", "channel 2"]
    assert [(s.start, s.end, s.label) for s in spans["channel 2"]] == [(0, 2, "anger")]


# Praat


def tiers(text: str) -> dict[str, list[tuple[float, float, str]]]:
    """Read a TextGrid by the rules that Praat gives: only numbers and quoted strings count."""
    tokens = re.findall(r'"(?:[^"]|"")*"|(?<![\w\[])-?\d+(?:\.\d+)?(?!\])|<exists>', text)
    head, tokens = tokens[:2], iter(tokens[2:])  # type: ignore[assignment]
    assert head == ['"ooTextFile"', '"TextGrid"']
    start, end, exists, size = float(next(tokens)), float(next(tokens)), next(tokens), next(tokens)  # type: ignore[call-overload]
    assert exists == "<exists>"
    found = {}
    for _ in range(int(size)):
        assert next(tokens) == '"IntervalTier"'  # type: ignore[call-overload]
        name = next(tokens).strip('"')  # type: ignore[call-overload]
        assert (float(next(tokens)), float(next(tokens))) == (start, end)  # type: ignore[call-overload]
        intervals = [
            (float(next(tokens)), float(next(tokens)), next(tokens)[1:-1].replace('""', '"'))  # type: ignore[call-overload]
            for _ in range(int(next(tokens)))  # type: ignore[call-overload]
        ]
        found[name] = intervals
    assert next(tokens, None) is None  # type: ignore[call-overload]
    return found


def test_a_textgrid_has_the_spans_and_silence_is_empty(call: Call, talk: Path) -> None:
    words = [talk, "--window", 1, "--hop", 0.5, "--vad"]
    code, text, _ = call(*words, "--format", "textgrid")
    assert code == 0
    rows = [Row(**r) for r in json.loads(call(*words, "--format", "json")[1])]
    spans = spans_of(rows)[""]
    found = tiers(text)
    assert list(found) == ["emotion", "confidence"]
    assert [text for _, _, text in found["emotion"]] == [
        "" if span.label == SILENCE else span.label for span in spans
    ]
    for interval, span in zip(found["emotion"], spans, strict=True):
        assert interval[:2] == pytest.approx((span.start, span.end), abs=1e-5)
    for before, after in itertools.pairwise(found["emotion"]):
        assert before[1] == after[0]
    assert {"", rows[0].label} <= {text for _, _, text in found["emotion"]}


def test_a_textgrid_quotes_and_fills_gaps() -> None:
    rows = [row(0, 1, 'a "b"'), row(2, 3, "fear"), row(0, 5, "anger", 2)]
    found = tiers(written("textgrid", rows[:2]))
    assert [text for *_, text in found["emotion"]] == ['a "b"', "", "fear"]
    both = tiers(written("textgrid", [rows[2], row(0, 1, "fear", 1)]))
    assert [text for *_, text in both["emotion, channel 1"]] == ["fear", ""]
    assert both["emotion, channel 2"][-1][1] == both["emotion, channel 1"][-1][1] == 5


def test_praat_itself_reads_the_textgrid(call: Call, talk: Path, tmp_path: Path) -> None:
    parselmouth = pytest.importorskip(
        "parselmouth", reason="needs Praat: pip install 'praat-parselmouth'"
    )
    out = tmp_path / "talk.TextGrid"
    assert call(talk, "--window", 1, "--vad", "--out", out)[0] == 0
    grid = parselmouth.read(str(out))
    ask = parselmouth.praat.call
    ours = tiers(out.read_text())["emotion"]
    assert ask(grid, "Get number of tiers") == 2
    assert ask(grid, "Get number of intervals", 1) == len(ours)
    assert [ask(grid, "Get label of interval", 1, i + 1) for i in range(len(ours))] == [
        text for *_, text in ours
    ]
    assert ask(grid, "Get total duration") == pytest.approx(ours[-1][1])


# Audacity and WebVTT


def test_audacity_labels_are_spans_between_tabs(call: Call, talk: Path) -> None:
    words = [talk, "--window", 1, "--vad"]
    rows = [Row(**r) for r in json.loads(call(*words, "--format", "json")[1])]
    spans = [span for span in spans_of(rows)[""] if span.label != SILENCE]
    lines = [line.split("\t") for line in call(*words, "--format", "audacity")[1].splitlines()]
    assert [(float(a), float(b)) for a, b, _ in lines] == [
        (pytest.approx(s.start, abs=1e-5), pytest.approx(s.end, abs=1e-5)) for s in spans
    ]
    assert [text.split()[0] for *_, text in lines] == [span.label for span in spans]


def test_webvtt_has_cues_in_order_with_channels_as_voices() -> None:
    rows = [row(0, 2, "fear", 2), row(0, 1, "a<b & c", 1), row(1, 3725.5, SILENCE, 1)]
    text = written("webvtt", [*rows, row(4000, 4001, "anger", 1)])
    assert text.startswith("WEBVTT\n\n")
    cues = re.findall(r"\n(\d\d:\d\d:\d\d\.\d{3}) --> (\d\d:\d\d:\d\d\.\d{3})\n(.+)\n", text)
    assert len(cues) == text.count("-->") == 3  # silence is not shown
    assert [start for start, *_ in cues] == sorted(start for start, *_ in cues)
    assert ("00:00:00.000", "00:00:01.000", "<v Channel 1>a&lt;b &amp; c 75 %") in cues
    assert cues[-1] == ("01:06:40.000", "01:06:41.000", "<v Channel 1>anger 75 %")


@pytest.mark.parametrize("format", ["textgrid", "audacity", "webvtt"])
def test_two_recordings_do_not_fit_into_one_annotation(call: Call, talk: Path, format: str) -> None:
    code, out, err = call(talk, ANGER, "--format", format)
    assert (code, out) == (2, "")
    assert "describes one recording, and 2 are given" in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "start"), [("talk.TextGrid", 'File type = "ooTextFile"'), ("talk.vtt", "WEBVTT")]
)
def test_the_name_of_a_file_says_its_tool(
    call: Call, talk: Path, tmp_path: Path, name: str, start: str
) -> None:
    assert call(talk, "--window", 2, "--out", tmp_path / name)[0] == 0
    assert (tmp_path / name).read_text().startswith(start)


@pytest.mark.parametrize("format", sorted(FORMATS))
def test_every_format_can_say_that_nothing_was_heard(format: str) -> None:
    assert written(format, []).count("anger") <= 1  # at most the name of a column


@pytest.mark.parametrize("format", sorted(FORMATS))
def test_every_format_can_say_silence(format: str) -> None:
    text = written(format, [row(0, 1, "anger"), row(1, 2, SILENCE)])
    assert "anger" in text
    if format == "csv":
        first, second = csv.DictReader(io.StringIO(text))
        assert (first["p_anger"], second["p_anger"], second["label"]) == ("1.0", "", SILENCE)
    if format in ("json", "jsonl"):
        assert '"probabilities": {}' in text


# audformat


def test_audformat_loads_what_was_written(call: Call, talk: Path, tmp_path: Path) -> None:
    audformat = pytest.importorskip("audformat", reason="needs pip install 'lightser[audformat]'")
    words = [talk, ANGER, "--window", 1, "--hop", 0.5, "--vad"]
    assert call(*words, "--format", "audformat", "--out", tmp_path / "database") == (0, "", "")
    rows = json.loads(call(*words, "--format", "json")[1])
    table = audformat.Database.load(str(tmp_path / "database"))["emotion"].get()
    assert len(table) == len(rows)
    assert list(table.columns) == ["emotion", "confidence", *LABELS]
    for (file, start, end), values, expected in zip(
        table.index, table.to_dict("records"), rows, strict=True
    ):
        assert file == str(Path(expected["file"]).resolve())
        times = (start.total_seconds(), end.total_seconds())
        assert times == pytest.approx((expected["start"], expected["end"]), abs=2e-6)
        assert values["emotion"] == expected["label"]
        for label in LABELS:
            wanted = expected["probabilities"].get(label, np.nan)
            assert values[label] == pytest.approx(wanted, abs=1e-6, nan_ok=True)
    assert SILENCE in set(table["emotion"])


def test_audformat_has_a_table_for_each_channel(call: Call, phone: Path, tmp_path: Path) -> None:
    audformat = pytest.importorskip("audformat", reason="needs pip install 'lightser[audformat]'")
    out = tmp_path / "database"
    assert call(phone, "--per-channel", "--format", "audformat", "--out", out)[0] == 0
    database = audformat.Database.load(str(out))
    assert list(database.tables) == ["channel-1", "channel-2"]
    assert len(database["channel-1"]) == len(database["channel-2"]) > 1


def test_audformat_replaces_a_database_and_nothing_else(
    call: Call, talk: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    for name in ("notes.txt", "db.yaml"):
        (tmp_path / "mine" / name).write_text("name: emodb")
        code, _, err = call(talk, "--format", "audformat", "--out", tmp_path / "mine")
        assert code == 2 and "is no audformat database of predictions" in err
    assert {path.read_text() for path in (tmp_path / "mine").iterdir()} == {"name: emodb"}
    for words in (["--per-channel"], []):
        assert call(talk, *words, "--format", "audformat", "--out", tmp_path / "ours")[0] == 0
    assert sorted(p.name for p in (tmp_path / "ours").iterdir()) == ["db.emotion.csv", "db.yaml"]
    before = (tmp_path / "ours" / "db.emotion.csv").read_bytes()
    (tmp_path / "bad.wav").write_text("not audio")
    assert call(tmp_path / "bad.wav", "--format", "audformat", "--out", tmp_path / "ours")[0] == 2
    assert (tmp_path / "ours" / "db.emotion.csv").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.wav", "mine", "ours"]


def test_audformat_needs_a_folder(call: Call, talk: Path) -> None:
    code, out, err = call(talk, "--format", "audformat")
    assert (code, out) == (2, "") and "name it with --out" in err


# Channels


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
def test_a_channel_reads_as_a_file_of_it_alone(phone: Path, tmp_path: Path, rate: int) -> None:
    both, file_rate = soundfile.read(phone, dtype="float32")
    read = np.concatenate(list(stream_channels(phone, rate, block_s=0.7)))
    for n, channel in enumerate(both.T):
        soundfile.write(tmp_path / f"{n}.wav", channel, file_rate, subtype="FLOAT")
        alone = np.concatenate(list(stream_audio(tmp_path / f"{n}.wav", rate)))
        np.testing.assert_array_equal(read[:, n], alone)


def test_mono_is_one_channel() -> None:
    read = np.concatenate(list(stream_channels(ANGER)))
    np.testing.assert_array_equal(read, read_audio(ANGER)[:, None])


def test_a_damaged_file_has_no_channels(tmp_path: Path) -> None:
    content = ANGER.read_bytes()
    (tmp_path / "cut.flac").write_bytes(content[: len(content) // 2])
    soundfile.write(tmp_path / "nan.wav", np.full((RATE, 2), np.nan), RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "short.wav", np.ones((100, 2)), RATE)
    for name, reason in (("cut.flac", "truncated"), ("nan.wav", "nan"), ("short.wav", "0.1 s")):
        with pytest.raises(BadAudio, match=reason):
            list(stream_channels(tmp_path / name))


def test_each_channel_is_heard_by_itself(call: Call, phone: Path, model: Path) -> None:
    words = [phone, "--window", 1, "--hop", 0.5, "--per-channel"]
    rows = json.loads(call(*words, "--format", "json")[1])
    assert [(r["end"], r["channel"]) for r in rows] == sorted(
        (r["end"], r["channel"]) for r in rows
    )
    recognizer = Recognizer.load(model)
    both, rate = soundfile.read(phone, dtype="float32")
    for n, channel in enumerate(both.T, start=1):
        segments = list(recognizer.segments(channel, rate, window_s=1, hop_s=0.5))
        mine = [r for r in rows if r["channel"] == n]
        assert [r["label"] for r in mine] == [s.label for s in segments]
        assert [r["probabilities"]["anger"] for r in mine] == [
            pytest.approx(s.probabilities["anger"], abs=1e-6) for s in segments
        ]


def test_in_a_call_one_is_silent_while_the_other_speaks(call: Call, phone: Path) -> None:
    words = [phone, "--window", 1, "--per-channel", "--vad", "--format", "csv"]
    rows = list(csv.DictReader(io.StringIO(call(*words)[1])))
    assert list(rows[0])[:3] == ["file", "channel", "start"]
    heard = {
        n: [r["label"] != SILENCE for r in rows if r["channel"] == n and float(r["start"]) == 1.0]
        for n in ("1", "2")
    }
    assert heard == {"1": [True], "2": [False]}
    last = {r["channel"]: r["label"] for r in rows}
    assert last["1"] == SILENCE != last["2"]


def test_a_table_has_a_column_for_the_channel(call: Call, phone: Path) -> None:
    head, *lines = call(phone, "--per-channel")[1].splitlines()
    assert head.split()[:3] == ["file", "channel", "start"]
    assert {line.split()[1] for line in lines} == {"1", "2"}


# Options of segments


def test_vad_and_smooth_are_those_of_the_stream(call: Call, talk: Path, model: Path) -> None:
    from lightser.inference.smoothing import Smoothing

    rows = json.loads(call(talk, "--vad", "--smooth", 2, "--hop", 0.5, "--format", "json")[1])
    stream = Stream(
        Recognizer.load(model), hop_s=0.5, smoothing=Smoothing(time_s=2), gate=SpeechGate()
    )
    segments = [*stream.push(read_audio(talk)), *stream.flush()]
    assert [r["label"] for r in rows] == [s.label for s in segments]
    assert [r["confidence"] for r in rows] == [
        pytest.approx(s.confidence, abs=1e-6) for s in segments
    ]


def test_smoothing_over_less_than_nothing_is_refused(call: Call, talk: Path) -> None:
    code, out, err = call(talk, "--smooth", -1)
    assert (code, out) == (2, "") and "Smoothing over -1.0 s" in err
