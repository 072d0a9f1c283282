"""The recogniser: the same audio, the same answer, whatever it comes in; or one line of reasons."""

import io
import json
import os
import subprocess
import sys
import threading
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from model_folder import ANGER, HAPPINESS, LABELS, SADNESS, make_card, make_graph, plain_answer
from model_folder import write_model as write_small_model

import lightser.inference.recognizer
from lightser import Prediction, Recognizer, Stream, bundled
from lightser.audio.files import read_audio
from lightser.card import write_card
from lightser.errors import BadAudio, BadModel, LightserError, LightserWarning, UnknownName
from lightser.inference.listening import CLIPS, Listening, Manner
from lightser.inference.segments import SILENCE, cut, pad_to, window_starts
from lightser.inference.sources import to_floats


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Recognizer:
    return Recognizer.load(write_small_model(tmp_path_factory.mktemp("models") / "small"))


def values(prediction: Prediction) -> np.ndarray:
    return np.array([*prediction.probabilities.values()])


# The answer


@pytest.mark.parametrize("clip", [HAPPINESS, ANGER, SADNESS], ids=lambda path: path.stem)
def test_a_clip_of_one_window_is_answered_as_plain_numpy_does(tmp_path: Path, clip: Path) -> None:
    recognizer = Recognizer.load(write_small_model(tmp_path / "m", window_s=4.0))
    prediction = recognizer.predict(clip)
    samples, rate = soundfile.read(clip, dtype="float32")
    np.testing.assert_allclose(values(prediction), plain_answer(samples), atol=1e-5)
    assert prediction.duration_s == len(samples) / rate
    assert prediction.windows == 1
    assert tuple(prediction.probabilities) == recognizer.labels == LABELS
    assert prediction.label == LABELS[int(plain_answer(samples).argmax())]
    assert prediction.confidence == max(prediction.probabilities.values())
    assert sum(prediction.probabilities.values()) == pytest.approx(1)


def test_a_short_clip_is_padded_on_both_sides(small: Recognizer) -> None:
    samples = read_audio(HAPPINESS)[8_000:10_001]  # an odd number missing to 0.5 s
    padded = np.pad(samples, (2_999, 3_000))
    np.testing.assert_allclose(
        values(small.predict(samples, 16_000)), plain_answer(padded), atol=1e-5
    )


def test_windows_of_a_long_clip_are_averaged(small: Recognizer) -> None:
    samples = np.concatenate([read_audio(clip) for clip in (HAPPINESS, ANGER)])
    n = len(samples)  # 4.27 s: three windows of 2 s
    starts = [0, round((n - 32_000) / 2), n - 32_000]
    expected = np.mean([plain_answer(samples[s : s + 32_000]) for s in starts], axis=0)
    prediction = small.predict(samples, 16_000)
    assert prediction.windows == 3
    np.testing.assert_allclose(values(prediction), expected, atol=1e-5)


def test_of_some_labels_each_has_its_share_of_what_is_left_for_them(tmp_path: Path) -> None:
    folder = write_small_model(tmp_path / "m")
    chosen = ("anger", "happiness", "sadness")
    some = Recognizer.load(folder, labels=["sadness", "anger", "happiness"])
    assert some.labels == chosen and repr(some).endswith("anger, happiness, sadness>")
    samples = np.concatenate([read_audio(clip) for clip in (HAPPINESS, ANGER, SADNESS)])
    kept = [LABELS.index(label) for label in chosen]

    def share(window: np.ndarray) -> np.ndarray:
        of_all = plain_answer(window)[kept]
        return np.asarray(of_all / of_all.sum())

    starts = window_starts(len(samples), 32_000)
    expected = np.mean([share(samples[s : s + 32_000]) for s in starts], axis=0)
    prediction = some.predict(samples, 16_000)
    assert tuple(prediction.probabilities) == chosen
    np.testing.assert_allclose(values(prediction), expected, atol=1e-5)
    ((_, batched),) = some.predict_many([samples], 16_000, batch=4)
    assert isinstance(batched, Prediction)
    np.testing.assert_allclose(values(batched), expected, atol=1e-5)
    for segment in some.segments(samples, 16_000, hop_s=0.5):
        window = samples[round(16_000 * segment.start) : round(16_000 * segment.end)]
        np.testing.assert_allclose([*segment.probabilities.values()], share(window), atol=1e-5)


def test_what_is_shared_by_neighbours_is_no_matter_to_a_choice_of_labels() -> None:
    some = Recognizer.load(labels=["anger", "sadness"])
    window = round(some.card.window_s * some.card.sample_rate)
    assert some.neighbours(window, 16_000) is not None
    samples = np.concatenate([read_audio(clip) for clip in (HAPPINESS, ANGER, SADNESS)])
    for segment in some.segments(samples, 16_000, hop_s=0.5):
        start = round(16_000 * segment.start)
        alone = some.probabilities(samples[start : round(16_000 * segment.end)])
        assert [*segment.probabilities.values()] == alone.tolist()


def test_labels_of_which_nothing_is_left_are_as_likely_as_each_other(
    small: Recognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = Recognizer.load(small.folder, labels=["anger", "sadness"])
    sure = np.eye(len(LABELS))[[LABELS.index("neutral")]]
    monkeypatch.setattr(some, "_run", lambda windows: sure)
    assert some.predict(ANGER).probabilities == {"anger": 0.5, "sadness": 0.5}


@pytest.mark.parametrize(
    ("labels", "error", "words"),
    [
        (["anger", "sadnes"], UnknownName, "did you mean 'sadness'"),
        (["anger", "anger"], LightserError, "at least two"),
        ([], LightserError, "at least two"),
    ],
)
def test_labels_that_cannot_be_chosen_from_are_refused(
    small: Recognizer, labels: list[str], error: type[LightserError], words: str
) -> None:
    with pytest.raises(error, match=words):
        Recognizer.load(small.folder, labels=labels)


def test_a_hotter_softmax_is_less_sure(tmp_path: Path) -> None:
    cool, hot = (
        Recognizer.load(write_small_model(tmp_path / str(t), temperature=t)).predict(HAPPINESS)
        for t in (0.5, 5.0)
    )
    assert cool.label == hot.label and cool.confidence > hot.confidence + 0.1


# The same audio, the same answer

LOSSLESS = {
    "wav16": ("WAV", "PCM_16"),
    "wav24": ("WAV", "PCM_24"),
    "wavfloat": ("WAV", "FLOAT"),
    "wavdouble": ("WAV", "DOUBLE"),
    "wavex": ("WAVEX", "PCM_16"),
    "flac24": ("FLAC", "PCM_24"),
    "aiff": ("AIFF", "PCM_16"),
}


@pytest.mark.parametrize("name", LOSSLESS)
@pytest.mark.parametrize("channels", [1, 2, 5])
def test_a_lossless_copy_is_answered_to_the_last_bit(
    small: Recognizer, tmp_path: Path, name: str, channels: int
) -> None:
    samples, rate = soundfile.read(ANGER, dtype="float32")
    copy = tmp_path / f"copy.{name}"
    container, coding = LOSSLESS[name]
    soundfile.write(
        copy, np.repeat(samples[:, None], channels, axis=1), rate, format=container, subtype=coding
    )
    assert small.predict(copy) == small.predict(ANGER)


@pytest.mark.parametrize(
    "coded", [("MP3", "MPEG_LAYER_III"), ("OGG", "VORBIS"), ("OGG", "OPUS")], ids="-".join
)
def test_a_lossy_copy_is_answered_nearly_so(
    small: Recognizer, tmp_path: Path, coded: tuple[str, str]
) -> None:
    samples, rate = soundfile.read(ANGER, dtype="float32")
    copy = tmp_path / "copy"
    soundfile.write(copy, samples, rate, format=coded[0], subtype=coded[1])
    np.testing.assert_allclose(values(small.predict(copy)), values(small.predict(ANGER)), atol=0.02)


@pytest.mark.parametrize("rate", [22_050, 44_100, 48_000, 96_000])
def test_another_sample_rate_changes_little(small: Recognizer, tmp_path: Path, rate: int) -> None:
    soundfile.write(tmp_path / "up.wav", read_audio(ANGER, rate), rate, subtype="FLOAT")
    np.testing.assert_allclose(
        values(small.predict(tmp_path / "up.wav")), values(small.predict(ANGER)), atol=2e-3
    )


def test_samples_are_answered_as_their_file(small: Recognizer) -> None:
    samples, rate = soundfile.read(ANGER, dtype="float32")
    expected = small.predict(ANGER)
    assert small.predict(samples, rate) == expected
    assert small.predict(samples.astype(np.float64), rate) == expected
    assert small.predict(np.stack([samples, samples], axis=1), rate) == expected
    for whole in ("int16", "int32"):
        assert small.predict(soundfile.read(ANGER, dtype=whole)[0], rate) == expected


def test_samples_at_another_rate_are_answered_as_their_file(
    small: Recognizer, tmp_path: Path
) -> None:
    samples = read_audio(ANGER, 44_100)
    soundfile.write(tmp_path / "up.wav", samples, 44_100, subtype="FLOAT")
    assert small.predict(samples, 44_100) == small.predict(tmp_path / "up.wav")


def test_a_file_object_is_answered_as_its_file(small: Recognizer) -> None:
    expected = small.predict(ANGER)
    assert small.predict(str(ANGER)) == expected
    assert small.predict(io.BytesIO(ANGER.read_bytes())) == expected
    with ANGER.open("rb") as file:
        assert small.predict(file) == expected
        assert small.predict(file) == expected  # it is rewound


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, lambda b: memoryview(b).cast("b")])
def test_the_bytes_of_a_file_are_answered_as_the_file(
    small: Recognizer, kind: Callable[[bytes], Any]
) -> None:
    expected = small.predict(ANGER)
    held = kind(ANGER.read_bytes())
    assert small.predict(held) == expected
    assert [answer for _, answer in small.predict_many([held, ANGER])] == [expected, expected]
    assert list(small.segments(held)) == list(small.segments(ANGER))
    apart = Listening(small, Manner(per_channel=True))
    assert list(apart.segments(held)) == list(apart.segments(ANGER))
    with pytest.raises(BadAudio, match=r"a file knows its own rate.* numpy\.frombuffer"):
        small.predict(held, 16_000)


def test_bytes_that_are_no_file_are_refused(small: Recognizer) -> None:
    for nothing in (b"", b"not audio at all", memoryview(b"")):
        with pytest.raises(BadAudio):
            small.predict(nothing)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "f2", "f4", "f8"])
def test_numbers_of_any_kind_and_byte_order_are_heard(
    small: Recognizer, dtype: str, order: str
) -> None:
    kind = np.dtype(order + dtype)
    samples = read_audio(ANGER)
    if kind.kind == "f":
        coded, step = samples.astype(kind), np.abs(samples).max() * float(np.finfo(kind).eps)
    else:
        full = 2.0 ** (8 * kind.itemsize - 1)
        coded, step = (samples * full + (full if kind.kind == "u" else 0)).astype(kind), 1 / full
    np.testing.assert_allclose(to_floats(coded), samples, atol=1.01 * step)
    assert small.predict(coded, 16_000) == small.predict(
        coded.astype(kind.newbyteorder("=")), 16_000
    )


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros(16_000, np.int64),
        np.zeros(16_000, np.uint64),
        [1] * 16_000,
        np.zeros(16_000, bool),
        np.zeros(16_000, complex),
        ["a"] * 16_000,
        [[1.0], [1.0, 2.0]],
        {"samples": 1},
    ],
    ids=repr,
)
def test_what_is_no_audio_is_refused_in_one_line(small: Recognizer, samples: Any) -> None:
    with pytest.raises(BadAudio) as refused:
        small.predict(samples, 16_000)
    assert "\n" not in str(refused.value)


def test_a_rate_may_be_any_whole_number(small: Recognizer) -> None:
    samples = read_audio(ANGER)
    expected = small.predict(samples, 16_000)
    live = list(small.segments(samples, 16_000))
    for rate in (16_000.0, np.int32(16_000), np.float32(16_000), np.array(16_000)):
        assert small.predict(samples, rate) == expected
        stream = Stream(small, sample_rate=rate)
        assert [*stream.push(samples), *stream.flush()] == live
        assert stream.timing.heard_s == expected.duration_s


@pytest.mark.parametrize("rate", ["16000", b"16000", 16_000.5, float("nan"), 1 + 0j, [16_000], ()])
def test_a_rate_that_is_none_is_refused_in_one_line(small: Recognizer, rate: Any) -> None:
    for ask in (
        lambda: small.predict(np.ones(16_000), rate),
        lambda: Stream(small, sample_rate=rate),
        lambda: read_audio(ANGER, rate),
    ):
        with pytest.raises(BadAudio, match=r"^sample_rate must be .*, got"):
            ask()


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make clips too long to be held in memory, from a second on."""
    monkeypatch.setattr(lightser.inference.recognizer, "_HELD_S", 1.0)


def test_a_clip_that_is_read_twice_is_answered_as_one_that_is_held(
    small: Recognizer, brief: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_twice = [small.predict(clip) for clip in (ANGER, SADNESS)]
    monkeypatch.undo()
    assert read_twice == [small.predict(clip) for clip in (ANGER, SADNESS)]


def test_a_long_clip_from_a_pipe_is_answered_as_its_file(
    small: Recognizer, brief: None, tmp_path: Path
) -> None:
    read_end, write_end = os.pipe()
    with os.fdopen(write_end, "wb") as pipe:  # 48 kB fit into a pipe
        pipe.write(ANGER.read_bytes())
    with os.fdopen(read_end, "rb") as pipe:
        assert small.predict(pipe) == small.predict(ANGER)

    named = tmp_path / "pipe"
    os.mkfifo(named)
    writer = threading.Thread(target=lambda: named.write_bytes(ANGER.read_bytes()))
    writer.start()
    assert small.predict(named) == small.predict(ANGER)
    writer.join()


def test_company_does_not_change_an_answer(small: Recognizer) -> None:
    alone = [small.predict(clip) for clip in (HAPPINESS, ANGER, SADNESS)]
    together = [answer for _, answer in small.predict_many([SADNESS, ANGER, HAPPINESS])]
    assert together[::-1] == alone


def test_threads_of_one_recogniser_do_not_mix(small: Recognizer) -> None:
    clips = [HAPPINESS, ANGER, SADNESS] * 5
    expected = [small.predict(clip) for clip in clips]
    got: list[Prediction | None] = [None] * len(clips)

    def work(i: int) -> None:
        got[i] = small.predict(clips[i])

    workers = [threading.Thread(target=work, args=(i,)) for i in range(len(clips))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert got == expected


def test_windows_side_by_side_give_the_same_answers(small: Recognizer) -> None:
    three = Recognizer.load(small.folder, threads=3)
    talk = np.concatenate([read_audio(clip) for clip in (ANGER, HAPPINESS, SADNESS) * 3])
    assert three.predict(talk, 16_000) == small.predict(talk, 16_000)
    apart = small.segments(talk, 16_000, window_s=1, hop_s=0.25)
    assert list(three.segments(talk, 16_000, window_s=1, hop_s=0.25)) == list(apart)


def test_windows_are_listened_to_by_as_many_threads_as_were_asked_for(small: Recognizer) -> None:
    seen = set()
    both = threading.Barrier(2, timeout=60)

    class Watched(Recognizer):
        def probabilities(self, samples: Any) -> Any:
            seen.add(threading.current_thread().name)
            both.wait()  # breaks unless another window is listened to at the same time
            return super().probabilities(samples)

    watched = Watched(small.folder, small.card, small._session(), threads=2)
    samples = np.resize([0.0, 1.0], 64_000)
    assert len(list(watched.segments(samples, 16_000, window_s=1, hop_s=1))) == 4
    assert len(seen) == 2


@pytest.mark.parametrize("seconds", [60, 600])
def test_memory_does_not_grow_with_the_recording(
    small: Recognizer, brief: None, tmp_path: Path, seconds: int
) -> None:
    recording = tmp_path / "long.flac"
    clip = read_audio(ANGER, 16_000)
    with soundfile.SoundFile(recording, "w", 16_000, 1, "PCM_16") as file:
        for _ in range(int(seconds * 16_000 / len(clip))):
            file.write(clip)
    tracemalloc.start()
    small.predict(recording)
    for _ in small.segments(recording):
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Ten minutes are 38 MB of samples; two blocks of 8 s and a window are 3.
    assert peak < 8e6


# Many files


def test_a_bad_file_does_not_stop_the_others(small: Recognizer, tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_bytes(b"not audio at all")
    sources = [ANGER, tmp_path / "bad.wav", tmp_path / "none.wav", HAPPINESS]
    answers = list(small.predict_many(sources))
    assert [source for source, _ in answers] == sources
    assert isinstance(answers[1][1], BadAudio) and isinstance(answers[2][1], BadAudio)
    assert answers[3][1] == small.predict(HAPPINESS)


def test_many_files_are_read_only_when_their_turn_comes(small: Recognizer) -> None:
    taken = []

    def sources() -> Any:
        for clip in (ANGER, HAPPINESS):
            taken.append(clip)
            yield clip

    answers = small.predict_many(sources())
    assert taken == []
    next(answers)
    assert taken == [ANGER]


# What cannot be heard

NOISE = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)


@pytest.mark.parametrize(
    ("samples", "complaint"),
    [
        (np.zeros(16_000, np.float32), "silent"),
        (np.full(16_000, 0.25, np.float32), "silent"),
        (NOISE[:1_599], "at least 0.1 s"),
        (NOISE[:0], "at least 0.1 s"),
        (np.where(np.arange(16_000) == 9, np.nan, NOISE), "NaN or infinity"),
        (np.where(np.arange(16_000) == 9, -np.inf, NOISE), "NaN or infinity"),
        (NOISE * 32_768, "full scale is 1; divide them"),
        (NOISE.reshape(2, -1), r"expected \[T, channels\]: transpose"),
        (NOISE.reshape(10, 40, 40), r"got \[10, 40, 40\]"),
        (NOISE.astype(np.int64), "Samples of type int64"),
        (NOISE > 0, "Samples of type bool"),
        (NOISE.astype(np.complex64), "Samples of type complex64"),
        (np.float32(0.1), r"got \[\]"),
    ],
)
def test_samples_that_are_none_are_refused(small: Recognizer, samples: Any, complaint: str) -> None:
    with pytest.raises(BadAudio, match=complaint) as raised:
        small.predict(samples, 16_000)
    assert "\n" not in str(raised.value)


def test_samples_need_their_rate_and_files_know_theirs(small: Recognizer) -> None:
    with pytest.raises(BadAudio, match="need their sample_rate"):
        small.predict(NOISE)
    with pytest.raises(BadAudio, match="a file knows its own rate"):
        small.predict(ANGER, 16_000)
    with pytest.raises(BadAudio, match="4000 to 192000"):
        small.predict(NOISE, 3)


def test_a_silent_file_is_refused(small: Recognizer, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "still.wav", np.zeros(16_000), 16_000)
    with pytest.raises(BadAudio, match=r"still\.wav: silent"):
        small.predict(tmp_path / "still.wav")


@settings(deadline=None)  # other work on the machine is no failure
@given(
    st.lists(st.integers(-32_768, 32_767), min_size=1, max_size=50).map(
        lambda values: np.array(values, np.int16)
    )
)
def test_whole_numbers_are_scaled_as_files_are(samples: np.ndarray) -> None:
    file = io.BytesIO()
    soundfile.write(file, samples, 16_000, format="WAV", subtype="PCM_16")
    file.seek(0)
    np.testing.assert_array_equal(to_floats(samples), soundfile.read(file, dtype="float32")[0])


def test_the_middle_of_eight_unsigned_bits_is_zero() -> None:
    np.testing.assert_array_equal(
        to_floats(np.array([0, 128, 192], np.uint8)), np.array([-1, 0, 0.5], np.float32)
    )


def test_channels_that_cancel_are_heard_as_in_a_file(small: Recognizer, tmp_path: Path) -> None:
    samples, rate = soundfile.read(ANGER, dtype="float32")
    both = np.stack([samples, -samples], axis=1)
    soundfile.write(tmp_path / "both.wav", both, rate, subtype="FLOAT")
    with pytest.warns(LightserWarning, match="only channel 1"):
        in_file = small.predict(tmp_path / "both.wav")
    with pytest.warns(LightserWarning, match="audio: its 2 channels cancel each other"):
        assert small.predict(both, rate).probabilities == in_file.probabilities


def test_a_silent_stretch_is_silence_where_segments_are_asked_for(
    small: Recognizer, tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "still.wav", np.zeros(48_000), 16_000)
    manner = Manner(window_s=1, hop_s=1)
    (said, *others) = Listening(small, manner).stretch(tmp_path / "still.wav", start=0.5, end=2.5)
    assert said[1].label == SILENCE and said[1].start == 0.5 and len(others) == 1
    with pytest.raises(BadAudio, match="silent"):
        list(Listening(small, CLIPS).stretch(tmp_path / "still.wav", start=0.5, end=2.5))


# Windows


@settings(deadline=None)
@given(st.integers(1, 5_000), st.integers(1, 700))
def test_windows_cover_the_clip_evenly_and_are_the_fewest(total: int, window: int) -> None:
    starts = window_starts(total, window)
    assert starts[0] == 0 and starts[-1] + window >= total
    assert starts[-1] + window == total or total <= window
    steps = np.diff(starts)
    assert (steps <= window).all()  # nothing is left out
    assert len(steps) == 0 or steps.max() - steps.min() <= 1  # to the sample
    assert (len(starts) - 1) * window < total  # fewer would not do


@settings(deadline=None)
@given(st.integers(2, 3_000), st.integers(1, 700), st.floats(0, 1))
def test_clips_are_cut_as_they_were_when_scores_were_measured(
    total: int, window: int, share: float
) -> None:
    cut_windows = pytest.importorskip("lightser.training.batches").cut_windows
    least = max(round(share * window), 1)
    samples = np.arange(total, dtype=np.float32)
    padded = pad_to(samples, least)
    ours = cut([padded], window_starts(len(padded), window), window)
    for piece, theirs in zip(ours, cut_windows(samples, window, least), strict=True):
        np.testing.assert_array_equal(piece, theirs)


@settings(deadline=None)
@given(st.integers(1, 2_000), st.integers(1, 300), st.integers(1, 999))
def test_windows_cut_from_blocks_are_those_of_the_whole(
    total: int, window: int, block: int
) -> None:
    samples = np.arange(total, dtype=np.float32)
    starts = window_starts(total, window)
    blocks = [samples[i : i + block] for i in range(0, total, block)]
    got = list(cut(blocks, starts, window))
    assert len(got) == len(starts)
    for start, piece in zip(starts, got, strict=True):
        np.testing.assert_array_equal(piece, samples[start : start + window])


@settings(deadline=None)
@given(st.integers(1, 100), st.integers(1, 100))
def test_padding_puts_the_odd_zero_at_the_end(n: int, length: int) -> None:
    padded = pad_to(np.ones(n, np.float32), length)
    assert len(padded) == max(n, length)
    before = int(np.argmax(padded))
    after = len(padded) - before - n
    assert padded.sum() == n and after - before in (0, 1)


# Words


def test_a_prediction_says_what_matters(small: Recognizer) -> None:
    probabilities = {"anger": 0.7, "fear": 0.2, "neutral": 0.06, "sadness": 0.04}
    prediction = Prediction("anger", 0.7, probabilities, 2.0, 1)
    assert str(prediction) == "anger 70 % (fear 20 %, neutral 6 %)"
    sure = Prediction("anger", 1.0, {"anger": 0.999, "fear": 0.001}, 2.0, 1)
    assert str(sure) == "anger 100 %"
    assert repr(small) == f"<Recognizer small: {', '.join(LABELS)}>"


# Loading


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_small_model(tmp_path / "tiny")


def rewrite(folder: Path, **changes: Any) -> None:
    """Write the card again for files that were changed, as somebody would who means to deceive."""
    (folder / "card.json").unlink()
    write_card(folder, make_card(folder, **changes))


def test_a_path_and_its_text_open_the_same_model(folder: Path) -> None:
    assert Recognizer.load(folder).predict(ANGER) == Recognizer.load(str(folder)).predict(ANGER)


def test_a_plain_name_may_be_a_folder_here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    assert Recognizer.load("tiny").card.name == "tiny"


@pytest.mark.parametrize("name", ["tyni", "", "no such"])
def test_an_unknown_name_is_answered_with_the_known_ones(name: str) -> None:
    with pytest.raises(UnknownName, match=r"Unknown model .*Known: .*default"):
        Recognizer.load(name)


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadModel, match="There is no model folder"):
        Recognizer.load(tmp_path / "none")
    with pytest.raises(BadModel, match="There is no model folder"):
        Recognizer.load("./none")


def test_a_file_of_the_folder_is_not_the_folder(folder: Path) -> None:
    with pytest.raises(BadModel, match="give the model folder around it"):
        Recognizer.load(folder / "model.onnx")


def test_there_is_at_least_one_thread(folder: Path) -> None:
    with pytest.raises(LightserError, match="threads must be 1 or more, got 0"):
        Recognizer.load(folder, threads=0)


def test_a_changed_file_is_refused_unless_told_otherwise(folder: Path) -> None:
    golden = json.loads((folder / "golden.json").read_text())
    golden["note"] = "changed"
    (folder / "golden.json").write_text(json.dumps(golden))
    with pytest.raises(BadModel, match="golden"):
        Recognizer.load(folder)
    Recognizer.load(folder, verify=False)


def test_a_model_that_answers_otherwise_is_refused(folder: Path) -> None:
    onnx.save(make_graph(len(LABELS), seed=1), folder / "model.onnx")
    rewrite(folder)
    with pytest.raises(BadModel, match="answers otherwise than when it was written"):
        Recognizer.load(folder)


def test_labels_that_do_not_fit_the_model_are_refused(folder: Path) -> None:
    rewrite(folder, labels=LABELS[:6])
    with pytest.raises(BadModel, match="gives 7 probabilities; its card has 6 labels"):
        Recognizer.load(folder, verify=False)


def test_a_rate_that_cannot_be_resampled_to_is_refused(folder: Path) -> None:
    card = json.loads((folder / "card.json").read_text())
    card["sample_rate"] = 1_000
    (folder / "card.json").write_text(json.dumps(card))
    with pytest.raises(BadModel, match="sample_rate: 1000; expected 4000 to 192000"):
        Recognizer.load(folder)


def change_graph(folder: Path, change: Callable[[onnx.GraphProto], Any]) -> None:
    model = onnx.load(folder / "model.onnx")
    change(model.graph)
    onnx.save(model, folder / "model.onnx")
    rewrite(folder)


def rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    for value in (*graph.input, *graph.output):
        if value.name == old:
            value.name = new
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]


def test_a_graph_with_other_names_is_refused(folder: Path) -> None:
    change_graph(folder, lambda graph: rename(graph, "samples", "sound"))
    with pytest.raises(BadModel, match=r"takes \['sound'\] and gives \['probabilities'\]"):
        Recognizer.load(folder)


def fix_time(graph: onnx.GraphProto, samples: int) -> None:
    graph.input[0].type.tensor_type.shape.dim[1].dim_value = samples


def test_a_graph_of_one_length_must_say_so_on_its_card(folder: Path) -> None:
    change_graph(folder, lambda graph: fix_time(graph, 32_000))
    with pytest.raises(BadModel, match="takes 32000 samples and no others"):
        Recognizer.load(folder)


def test_a_graph_of_one_length_hears_clips_of_any(tmp_path: Path) -> None:
    free = Recognizer.load(write_small_model(tmp_path / "free", window_s=1.0, min_s=1.0))
    folder = write_small_model(tmp_path / "fixed", window_s=1.0, min_s=1.0)
    model = onnx.load(folder / "model.onnx")
    fix_time(model.graph, 16_000)
    onnx.save(model, folder / "model.onnx")
    rewrite(folder, window_s=1.0, min_s=1.0)
    fixed = Recognizer.load(folder)
    samples = read_audio(ANGER)
    for n in (2_000, 16_000, 16_001, len(samples)):
        assert fixed.predict(samples[-n:], 16_000) == free.predict(samples[-n:], 16_000)


@pytest.mark.parametrize("content", [b"", b"no graph", b"\x08\x0a"])
def test_what_is_no_graph_is_refused_in_one_line(
    folder: Path, content: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / "model.onnx").write_bytes(content)
    rewrite(folder)
    with pytest.raises(BadModel, match="cannot be opened by ONNX Runtime") as raised:
        Recognizer.load(folder)
    assert "\n" not in str(raised.value)
    assert capfd.readouterr() == ("", "")  # the runtime itself stays silent


def test_a_graph_cannot_bring_in_files_that_no_card_speaks_of(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = onnx.load(folder / "model.onnx")
    onnx.save(
        model,
        folder / "model.onnx",
        save_as_external_data=True,
        location="outside.bin",
        size_threshold=0,
    )
    outside = (folder / "outside.bin").rename(folder.parent / "outside.bin")
    rewrite(folder)
    outside.rename(folder / "outside.bin")
    monkeypatch.chdir(folder)
    with pytest.raises(BadModel, match="cannot be opened by ONNX Runtime"):
        Recognizer.load(folder)


@pytest.mark.parametrize(
    ("golden", "complaint"),
    [
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ('{"probabilities": [1], "tolerance": 1e-4}', "expected 7 probabilities"),
        ('{"probabilities": [0,0,0,0,0,0,1], "tolerance": 2}', "a tolerance between 0 and 1"),
        ('{"probabilities": [0,0,0,0,0,0,NaN], "tolerance": 0.1}', "answers otherwise"),
        ('{"probabilities": [0,0,0,0,0,0,1]}', "cannot be read"),
    ],
)
def test_a_golden_answer_that_is_none_is_refused(folder: Path, golden: str, complaint: str) -> None:
    (folder / "golden.json").write_text(golden)
    rewrite(folder)
    with pytest.raises(BadModel, match=complaint):
        Recognizer.load(folder)


def test_a_golden_clip_that_is_none_is_refused(folder: Path) -> None:
    (folder / "golden.flac").write_bytes(b"not audio at all")
    rewrite(folder)
    with pytest.raises(BadModel, match="The golden clip cannot be heard"):
        Recognizer.load(folder)


# What is bundled

every_bundled_model = pytest.mark.parametrize("name", sorted(bundled.bundled_models()))


def test_weights_are_bundled_and_one_of_them_is_the_default() -> None:
    assert bundled.bundled_models()
    assert bundled.default_model() in bundled.bundled_models()


def test_a_copy_without_weights_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled, "WEIGHTS", tmp_path / "none")
    assert bundled.bundled_models() == {}
    with pytest.raises(BadModel, match="comes without weights; give a model folder instead"):
        Recognizer.load()


def test_weights_are_found_by_their_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("first", "second", ".second.123"):
        write_small_model(tmp_path / name)
    (tmp_path / "default.txt").write_text("second\n")
    monkeypatch.setattr(bundled, "WEIGHTS", tmp_path)
    assert list(bundled.bundled_models()) == ["first", "second"]
    assert Recognizer.load().card.name == "second"
    assert Recognizer.load("first").card.name == "first"
    with pytest.raises(UnknownName, match="did you mean 'first'"):
        Recognizer.load("frist")


@every_bundled_model
def test_a_bundled_model_is_whole_and_keeps_its_word(name: str) -> None:
    recognizer = Recognizer.load(name)
    assert recognizer.card.name == name
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prediction = recognizer.predict(ANGER)
    assert sum(prediction.probabilities.values()) == pytest.approx(1, abs=1e-5)


@every_bundled_model
def test_a_bundled_model_knows_the_clips_that_it_was_trained_on(name: str) -> None:
    recognizer = Recognizer.load(name)
    heard = [recognizer.predict(clip).label for clip in (ANGER, SADNESS)]
    assert heard == ["anger", "sadness"]
    if len(recognizer.card.trained_on) == 1:  # who has heard ten times as much remembers less
        assert recognizer.predict(HAPPINESS).label == "happiness"


@every_bundled_model
def test_a_bundled_model_quotes_a_score_on_voices_it_had_not_heard(name: str) -> None:
    card = Recognizer.load(name, verify=False).card
    assert any(score.protocol in ("loso", "loco") for score in card.scores)
    for score in card.scores:
        low, high = score.ua_interval
        assert 0 < low < score.ua < high < 1
    assert card.license and card.intended_use and card.limits


@every_bundled_model
def test_a_bundled_model_answers_a_batch_as_it_answers_each(name: str) -> None:
    recognizer = Recognizer.load(name)
    n = recognizer._window
    samples = np.concatenate([read_audio(c, recognizer.card.sample_rate) for c in (ANGER, SADNESS)])
    windows = np.stack([np.resize(samples, n), np.resize(samples[::-1], n)])
    (together,) = recognizer._session().run(["probabilities"], {"samples": windows})
    alone = [recognizer.probabilities(window) for window in windows]
    np.testing.assert_allclose(together, alone, atol=1e-5)


@every_bundled_model
@pytest.mark.parametrize("n", [1_600, 5_001, 16_000, 31_999, 48_000, 48_257, 100_003])
def test_a_bundled_model_takes_any_length(name: str, n: int) -> None:
    recognizer = Recognizer.load(name)
    samples = np.resize(read_audio(ANGER), n)
    got = values(recognizer.predict(samples, 16_000))
    assert np.isfinite(got).all() and got.sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.skipif(sys.platform == "win32", reason="the home folder is found otherwise there")
def test_recognising_leaves_nothing_behind(tmp_path: Path) -> None:
    code = f"from lightser import Recognizer; Recognizer.load().predict({str(ANGER)!r})"
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert [*tmp_path.iterdir()] == []
