"""Adapting to a voice: ``lightser adapt``, ``predict --adapt``, streams, and scores of it."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
from model_folder import ANGER, HAPPINESS, SADNESS, write_model

from lightser import Recognizer, Stream
from lightser.audio.augment import speed
from lightser.audio.files import read_audio
from lightser.card import MEAN_COUNTS, MODEL, VARIANCE_COUNTS
from lightser.corpora import load_corpus
from lightser.corpora.emodb import LABELS
from lightser.errors import BadAdaptation, BadAudio
from lightser.inference.adaptation import Adaptation, Norm
from lightser.inference.head import Head
from lightser.inference.listening import Listening, Manner
from lightser.report.results import read_result

Lightser = Callable[..., SimpleNamespace]
CLIPS = (ANGER, HAPPINESS, SADNESS)
RATE = 16_000
SPEECH = np.concatenate([read_audio(clip) for clip in CLIPS])  # 7.2 s


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return Recognizer.load()


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of twelve clips: the samples at four speeds."""
    folder = tmp_path_factory.mktemp("recordings")
    for clip in CLIPS:
        for factor in (0.9, 0.95, 1.05, 1.1):
            soundfile.write(
                folder / f"{clip.stem}-{factor}.flac", speed(read_audio(clip), factor), RATE
            )
    return folder


# ---- statistics


def test_statistics_are_those_of_all_that_was_heard_drawn_towards_training() -> None:
    rng = np.random.default_rng(0)
    heard = rng.normal(3, 2, (40, 5))
    training = Norm(np.arange(5.0), np.full(5, 0.5))
    adaptation = Adaptation.empty("model", 5)
    assert np.array_equal(adaptation.norm(training).mean, training.mean)
    assert np.array_equal(adaptation.norm(training).std, training.std)
    adaptation.add(heard[0])
    adaptation.add(heard[1:])
    assert adaptation.count == 40
    np.testing.assert_allclose(adaptation.mean, heard.mean(axis=0))
    np.testing.assert_allclose(adaptation.m2, 40 * heard.var(axis=0))
    norm = adaptation.norm(training)
    mean = (40 * heard.mean(axis=0) + MEAN_COUNTS * training.mean) / (40 + MEAN_COUNTS)
    variance = (40 * heard.var(axis=0) + VARIANCE_COUNTS * 0.25) / (40 + VARIANCE_COUNTS)
    np.testing.assert_allclose(norm.mean, mean)
    np.testing.assert_allclose(norm.std, np.sqrt(variance))


def test_a_state_outlives_its_file(tmp_path: Path, recognizer: Recognizer) -> None:
    heard = recognizer.adapt(CLIPS)
    heard.save(tmp_path / "me.json")
    again = Adaptation.load(tmp_path / "me.json")
    assert again.to_json() == heard.to_json()
    assert (tmp_path / "me.json").stat().st_size < 20_000
    one, other = recognizer.adapted(heard), recognizer.adapted(again)
    assert one.predict(ANGER).probabilities == other.predict(ANGER).probabilities


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": "0" * 64}, "is of another model than emodb-light_sernet"),
        ({"mean": [0.0], "m2": [0.0]}, "1 values of"),
        ({"mean": [float("nan")] * 320}, "nan is no finite number"),
        ({"mean": ["1"] * 320}, "'1' is no finite number"),
        ({"mean": [0.0]}, "1 means and 320 deviations"),
        ({"m2": [-1.0] * 320}, "-1 is no sum of squares"),
        ({"count": 1.5}, "count 1.5"),
        ({"count": -1}, "count -1"),
        ({"format": 2}, "has format 2; this version of lightser reads 1"),
        ({"m2": None}, "m2: expected a list of numbers"),
    ],
)
def test_a_state_that_is_none_or_of_another_model_is_refused(
    change: dict[str, Any], said: str, recognizer: Recognizer, tmp_path: Path, lightser: Lightser
) -> None:
    state = json.loads(recognizer.adapt([ANGER]).to_json()) | change
    path = tmp_path / "state.json"
    path.write_text(json.dumps(state), encoding="utf-8")
    with pytest.raises(BadAdaptation, match=said):
        recognizer.adapted(Adaptation.load(path))
    refused = lightser("predict", ANGER, "--adapted", path)
    assert refused.code == 2 and len(refused.err.splitlines()) == 1 and said in refused.err


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff\x00", b"[" * 10_000])
def test_a_file_that_is_no_state_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "state.json").write_bytes(content)
    with pytest.raises(BadAdaptation, match="is no adaptation"):
        Adaptation.load(tmp_path / "state.json")
    with pytest.raises(BadAdaptation, match="cannot be read"):
        Adaptation.load(tmp_path / "nothing.json")


# ---- a recogniser


def test_the_statistics_of_training_change_no_answer_to_the_last_bit(
    recognizer: Recognizer,
) -> None:
    same = recognizer.adapted(recognizer.adapt([]))
    for clip in CLIPS:
        assert same.predict(clip) == recognizer.predict(clip)
    whole = [*recognizer.segments(SPEECH, RATE, hop_s=0.5)]
    assert [*same.segments(SPEECH, RATE, hop_s=0.5)] == whole


def test_answers_are_the_heads_by_what_was_heard(recognizer: Recognizer) -> None:
    heard = recognizer.adapt(CLIPS)
    head = Head((recognizer.folder / MODEL).read_bytes())
    expected = head(recognizer.embed(SADNESS), heard.norm(head.norm)).mean(axis=0)
    one = recognizer.adapted(heard)
    np.testing.assert_array_equal([*one.predict(SADNESS).probabilities.values()], expected)
    assert one.predict(SADNESS) != recognizer.predict(SADNESS)
    assert next(iter(one.predict_many(CLIPS, batch=3)))[1].label == one.predict(ANGER).label
    fewer = recognizer.choosing(["anger", "sadness"]).adapted(heard)
    kept = expected[[0, 6]] / expected[[0, 6]].sum()
    np.testing.assert_allclose([*fewer.predict(SADNESS).probabilities.values()], kept)


def test_what_was_heard_before_is_added_to_and_left_as_it_is(recognizer: Recognizer) -> None:
    first = recognizer.adapt(CLIPS[:1])
    kept = first.to_json()
    both = recognizer.adapt(CLIPS[1:], before=first)
    assert first.to_json() == kept and both.count == 3
    assert both.to_json() == recognizer.adapt(CLIPS).to_json()


def test_silence_does_not_count_and_what_cannot_be_heard_is_refused(recognizer: Recognizer) -> None:
    long = np.concatenate([np.zeros(3 * RATE, np.float32), read_audio(ANGER)])
    assert recognizer.adapt([long], RATE).count < len(recognizer.embed(long, RATE))
    with pytest.raises(BadAudio, match="silent"):
        recognizer.adapt([np.zeros(RATE, np.float32)], RATE)


def test_a_model_without_an_embedding_is_refused(tmp_path: Path, lightser: Lightser) -> None:
    plain = Recognizer.load(write_model(tmp_path / "plain"))
    for ask in (lambda: plain.adapt([]), lambda: plain.embed(ANGER)):
        with pytest.raises(BadAdaptation, match="'plain' cannot be adapted: its graph gives no"):
            ask()
    refused = lightser("predict", ANGER, "--adapt", "--model", tmp_path / "plain")
    assert refused.code == 2 and "cannot be adapted" in refused.err and refused.out == ""


# ---- streams


def streamed(stream: Stream, size: int) -> list[Any]:
    chunks = [SPEECH[at : at + size] for at in range(0, len(SPEECH), size)]
    return [*(s for chunk in chunks for s in stream.push(chunk)), *stream.flush()]


def test_a_stream_goes_by_what_it_has_heard_whatever_the_chunks(recognizer: Recognizer) -> None:
    streams = []
    for size, threads in ((4_000, 1), (len(SPEECH), 2), (777, 1)):
        one = Recognizer.load(threads=threads)
        stream = Stream(one, hop_s=0.5, adaptation=one.adapt([]))
        streams.append((streamed(stream, size), stream.adaptation))
    (segments, heard), *others = streams
    for other, also in others:
        assert other == segments and also is not None and heard is not None
        assert also.to_json() == heard.to_json()
    plain = streamed(Stream(recognizer, hop_s=0.5), 4_000)
    assert segments[0] == plain[0] and segments[-1] != plain[-1]
    # Windows of 3 s that have nothing in common: at 0 s and at 3 s.
    assert heard is not None and heard.count == 2
    expected = [recognizer.embed(SPEECH[at : at + 3 * RATE], RATE)[0] for at in (0, 3 * RATE)]
    np.testing.assert_allclose(heard.mean, np.mean(expected, axis=0), rtol=1e-6, atol=1e-6)


def test_a_stream_begins_with_what_was_heard_before(recognizer: Recognizer) -> None:
    before = recognizer.adapt(CLIPS)
    stream = Stream(recognizer, adaptation=before)
    first, *_ = streamed(stream, 4_000)
    expected = recognizer.adapted(before).probabilities(SPEECH[: 3 * RATE])
    np.testing.assert_allclose([*first.probabilities.values()], expected, atol=1e-9)
    assert stream.adaptation is not None and stream.adaptation.count == before.count + 2
    assert before.count == 3
    with pytest.raises(BadAdaptation, match="another model"):
        Stream(Recognizer.load("emodb-zhong2020"), adaptation=before)


# ---- the command line


def test_a_voice_is_heard_kept_and_gone_by(
    recordings: Path, tmp_path: Path, lightser: Lightser, recognizer: Recognizer
) -> None:
    state, broken = tmp_path / "me.json", tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF\x00\x00\x00\x00WAVEnothing")
    said = lightser("adapt", "default", recordings, broken, "--out", state)
    assert said.code == 2 and said.out == f"{state}\n"
    assert "broken.wav" in said.err and "adapted to 12 recordings (14 windows)" in said.err
    assert "Traceback" not in said.err
    found = lightser("predict", ANGER, "--adapted", state, "--format", "json")
    assert found.code == 0
    clips = sorted(recordings.glob("*.flac"))
    expected = recognizer.adapted(recognizer.adapt(clips)).predict(ANGER)
    (row,) = json.loads(found.out)
    assert row["label"] == expected.label
    assert row["confidence"] == pytest.approx(expected.confidence, abs=1e-6)


def test_few_recordings_are_said_to_be_few(tmp_path: Path, lightser: Lightser) -> None:
    said = lightser("adapt", "default", ANGER, "--out", tmp_path / "me.json")
    assert said.code == 0 and "adapted to 1 recordings (1 windows); it is better" in said.err


@pytest.mark.parametrize(
    ("model", "given", "said"),
    [
        ("defualt", [ANGER], "did you mean 'default'"),
        ("default", ["nothere.wav"], "no such file"),
        ("default", ["silent.wav"], "nothing to adapt to"),
        ("default", ["empty"], "empty"),
    ],
)
def test_what_cannot_be_is_said_and_leaves_nothing(
    model: str, given: list[Any], said: str, tmp_path: Path, lightser: Lightser
) -> None:
    soundfile.write(tmp_path / "silent.wav", np.zeros(RATE), RATE)
    (tmp_path / "empty").mkdir()
    given = [tmp_path / name if isinstance(name, str) else name for name in given]
    before = sorted(tmp_path.iterdir())
    refused = lightser("adapt", model, *given, "--out", tmp_path / "me.json")
    assert refused.code == 2 and said in refused.err and refused.out == ""
    assert "Traceback" not in refused.err and sorted(tmp_path.iterdir()) == before


def rows_of(said: SimpleNamespace) -> list[dict[str, Any]]:
    assert said.code == 0, said.err
    return json.loads(said.out)  # type: ignore[no-any-return]


def confidences(rows: list[dict[str, Any]]) -> list[float]:
    return [row["confidence"] for row in rows]


def test_a_folder_is_heard_twice(
    recordings: Path, lightser: Lightser, recognizer: Recognizer
) -> None:
    said = lightser("predict", recordings, "--adapt", "--format", "json")
    assert "adapted to 14 windows" in said.err
    clips = sorted(recordings.glob("*.flac"))
    one = recognizer.adapted(recognizer.adapt(clips))
    expected = [one.predict(clip).confidence for clip in clips]
    assert confidences(rows_of(said)) == pytest.approx(expected, abs=1e-6)
    both = lightser("predict", recordings, "--adapt", "--adapted", "me.json")
    assert both.code == 2 and "leave out --adapted" in both.err


def test_each_channel_is_a_voice(
    tmp_path: Path, lightser: Lightser, recognizer: Recognizer
) -> None:
    call = tmp_path / "call.wav"
    soundfile.write(call, np.stack([SPEECH, SPEECH[::-1]], axis=1), RATE)
    said = lightser("predict", call, "--per-channel", "--adapt", "--format", "json")
    listen = Listening(recognizer, Manner(per_channel=True))
    heard = listen.learn(str(call))
    assert len(heard) == 2 and heard[0].to_json() != heard[1].to_json()
    rows = rows_of(said)
    for channel in (1, 2):
        wave = read_audio(call, RATE, channel=channel)
        expected = recognizer.adapted(heard[channel - 1]).segments(wave, RATE)
        own = [row for row in rows if row["channel"] == channel]
        assert confidences(own) == pytest.approx([s.confidence for s in expected], abs=1e-6)


def test_each_speaker_of_a_manifest_is_a_voice(
    recordings: Path, tmp_path: Path, lightser: Lightser, recognizer: Recognizer
) -> None:
    clips = sorted(recordings.glob("*.flac"))
    lines = ["file,speaker", *(f"{clip},{'ab'[i % 2]}" for i, clip in enumerate(clips))]
    (tmp_path / "files.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    out = tmp_path / "out.csv"
    words = ("predict", "--manifest", tmp_path / "files.csv", "--adapt", "--out", out)
    said = lightser(*words, "--engine", "serial")
    assert said.code == 0, said.err
    table = pd.read_csv(out)
    for name, part in (("a", clips[0::2]), ("b", clips[1::2])):
        one = recognizer.adapted(recognizer.adapt(part))
        expected = [one.predict(clip).confidence for clip in part]
        assert table[table["speaker"] == name]["confidence"].tolist() == pytest.approx(
            expected, abs=1e-5
        )
    refused = lightser(*words, "--batch", 2)
    assert refused.code == 2 and "without a batch" in refused.err
    state = tmp_path / "a.json"
    recognizer.adapt(clips[0::2]).save(state)
    words = ("predict", "--manifest", tmp_path / "files.csv", "--adapted", state, "--out", out)
    assert lightser(*words, "--engine", "serial").code == 0
    one = recognizer.adapted(Adaptation.load(state))
    expected = [one.predict(clip).confidence for clip in clips]
    assert pd.read_csv(out)["confidence"].tolist() == pytest.approx(expected, abs=1e-5)


def test_listening_says_how_much_of_the_voice_it_knows(tmp_path: Path, lightser: Lightser) -> None:
    talk = tmp_path / "talk.wav"
    soundfile.write(talk, SPEECH, RATE)
    words = ("listen", "--input", talk, "--fast", "--no-vad", "--smooth", 0)
    plain, adapted = lightser(*words), lightser(*words, "--adapt")
    assert adapted.code == 0 and "adapted to 2 windows" in adapted.err
    assert adapted.out.splitlines()[0] == plain.out.splitlines()[0] and adapted.out != plain.out


# ---- scores


@pytest.fixture
def two_voices(recordings: Path, tmp_path: Path) -> Path:
    """A table of twelve recordings by each of two speakers, of whom one speaks a moment earlier."""
    lines = ["utterance,file,start,end,label,speaker"]
    for speaker, start in (("a", 0.0), ("b", 0.1)):
        for path in sorted(recordings.glob("*.flac")):
            label = LABELS[path.name[5]]
            lines.append(f"{speaker}-{path.stem},{path},{start},1.3,{label},{speaker}")
    (tmp_path / "voices").mkdir()
    (tmp_path / "voices" / "clips.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path / "voices"


def test_each_speaker_is_scored_by_a_model_adapted_to_others_of_their_clips(
    two_voices: Path, tmp_path: Path, lightser: Lightser, recognizer: Recognizer
) -> None:
    words = ("evaluate", "default", "--corpus", f"table={two_voices}", "--adapt", 10)
    said = lightser(*words, "--out", tmp_path / "out")
    assert said.code == 0, said.err
    result = read_result(tmp_path / "out")
    assert result.scores["transductive"] and not result.is_honest
    assert "adapted to 10 other utterances of theirs, without labels" in said.out
    answers = result.predictions
    assert sorted(answers["speaker"]) == ["a", "a", "b", "b"]

    # As if it were done by hand, of the first speaker.
    table = load_corpus("table", two_voices)
    own = table[table["speaker"] == "a"]
    order = np.random.default_rng(0).permutation(12)
    cuts = [read_audio(path, RATE, start=0, end=1.3) for path in own["file"]]
    one = recognizer.adapted(recognizer.adapt([cuts[i] for i in order[:10]], RATE))
    for i in order[10:]:
        row = answers[answers["utterance"] == own["utterance"].iloc[i]].iloc[0]
        got = [row[f"p_{label}"] for label in result.labels]
        expected = one.predict(cuts[i], RATE).probabilities
        np.testing.assert_allclose(got, [*expected.values()], atol=2e-6)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--adapt", "12"), "Speaker a of table has 12 utterances, and 12 would be adapted to"),
        (("--adapt", "10", "--on-card"), "quotes the model as it is"),
        (("--adapt", "0"), "0"),
    ],
)
def test_adapting_to_too_many_or_too_few_is_refused(
    words: tuple[str, ...], said: str, two_voices: Path, tmp_path: Path, lightser: Lightser
) -> None:
    given = ("--corpus", f"table={two_voices}", "--out", tmp_path / "out")
    refused = lightser("evaluate", "default", *given, *words)
    assert refused.code == 2 and said in refused.err and not (tmp_path / "out").exists()
