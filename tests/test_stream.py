"""The stream: how audio is chunked is no matter, and it hears what the file says."""

import io
import pickle
import tracemalloc
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from model_folder import ANGER, HAPPINESS, LABELS, SADNESS, plain_answer, write_model

from lightser import Recognizer, Segment, Stream
from lightser.audio.downmix import Downmix
from lightser.audio.files import read_audio, resample
from lightser.audio.resampler import Resampler
from lightser.card import Band, read_card, write_card
from lightser.errors import BadAudio, LightserError, LightserWarning
from lightser.inference.listening import Listening, Manner
from lightser.inference.smoothing import Smoothing

SPEECH = np.concatenate([read_audio(clip) for clip in (HAPPINESS, ANGER, SADNESS)])  # 7.2 s
RATE = 16_000


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Recognizer:
    return Recognizer.load(write_model(tmp_path_factory.mktemp("models") / "small"))


def listen(stream: Stream, chunks: Any) -> list[Segment]:
    return [*(s for chunk in chunks for s in stream.push(chunk)), *stream.flush()]


def split(samples: np.ndarray, seed: int, most: int) -> list[np.ndarray]:
    """Cut at up to ``most`` random places; some chunks are empty."""
    rng = np.random.default_rng(seed)
    return np.split(samples, np.sort(rng.integers(0, len(samples) + 1, rng.integers(0, most))))


# The size of chunks


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    most=st.sampled_from([1, 5, 100, 3_000]),
    length=st.integers(0, len(SPEECH)),
    window_s=st.sampled_from([0.1, 0.37, 1.0, 2.0, 3.3]),
    overlap=st.sampled_from([0.05, 0.3, 0.5, 1.0]),
    rate=st.sampled_from([8_000, 16_000, 22_050, 44_100, 48_000]),
)
def test_chunking_does_not_matter_to_the_last_bit(
    small: Recognizer, seed: int, most: int, length: int, window_s: float, overlap: float, rate: int
) -> None:
    samples = SPEECH[:length]
    stream = Stream(small, window_s=window_s, hop_s=overlap * window_s, sample_rate=rate)
    assert listen(stream, split(samples, seed, most)) == listen(stream, [samples])


@pytest.mark.parametrize("size", [1, 7, 160, 4_096])
def test_equal_chunks_are_heard_as_one(small: Recognizer, size: int) -> None:
    samples = SPEECH[:40_000]
    stream = Stream(small, window_s=1, sample_rate=44_100)
    chunks = [samples[i : i + size] for i in range(0, len(samples), size)]
    assert listen(stream, chunks) == listen(stream, [samples])


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
def test_a_stream_hears_what_the_file_says(small: Recognizer, tmp_path: Path, rate: int) -> None:
    samples = resample(SPEECH, RATE, rate)
    soundfile.write(tmp_path / "speech.wav", samples, rate, subtype="FLOAT")
    stream = Stream(small, window_s=1.5, hop_s=0.4, sample_rate=rate)
    live = listen(stream, split(samples, 1, 200))
    assert live == list(small.segments(tmp_path / "speech.wav", window_s=1.5, hop_s=0.4))
    assert live == list(small.segments(samples, rate, window_s=1.5, hop_s=0.4))


def test_integers_and_channels_are_heard_as_the_floats_they_stand_for(small: Recognizer) -> None:
    whole = soundfile.read(ANGER, dtype="int16")[0]
    stream = Stream(small, window_s=1)
    stereo = np.stack([whole, whole], axis=1)
    expected = list(small.segments(ANGER, window_s=1))
    assert listen(stream, split(whole, 2, 50)) == expected
    assert listen(stream, split(stereo, 3, 50)) == expected


def test_a_buffer_that_is_filled_again_is_no_matter(small: Recognizer) -> None:
    stream = Stream(small, window_s=1)
    buffer = np.empty(1_600, np.float32)
    segments = []
    for i in range(0, 48_000, 1_600):
        buffer[:] = SPEECH[i : i + 1_600]
        segments += stream.push(buffer)
        buffer[:] = 1.0
    assert [*segments, *stream.flush()] == listen(stream, [SPEECH[:48_000]])


# Windows


def test_each_segment_is_the_models_answer_for_its_stretch(small: Recognizer) -> None:
    segments = listen(Stream(small, window_s=1, hop_s=0.25), [SPEECH])
    for segment in segments:
        stretch = SPEECH[round(segment.start * RATE) : round(segment.end * RATE)]
        assert len(stretch) == RATE
        np.testing.assert_allclose(
            [*segment.probabilities.values()], plain_answer(stretch), atol=1e-5
        )
        assert segment.label == max(segment.probabilities, key=segment.probabilities.__getitem__)
        assert segment.confidence == segment.probabilities[segment.label]
        assert tuple(segment.probabilities) == LABELS


def test_a_window_of_the_clip_is_heard_as_the_clip(small: Recognizer) -> None:
    for clip in (HAPPINESS, ANGER, SADNESS):
        whole = small.predict(clip)
        (segment,) = small.segments(clip, window_s=60)
        assert (segment.start, segment.end) == (0, whole.duration_s)
        assert segment.probabilities == whole.probabilities


def test_the_default_window_is_the_cards_and_the_hop_half_of_it(small: Recognizer) -> None:
    segments = list(small.segments(SPEECH[: 5 * RATE], RATE))
    assert [(s.start, s.end) for s in segments] == [(0, 2), (1, 3), (2, 4), (3, 5)]


@settings(deadline=None, max_examples=100)
@given(
    length=st.integers(1_600, len(SPEECH)),
    window=st.integers(1_600, 40_000),
    hop=st.floats(0.05, 1.0),
)
def test_no_audio_goes_unheard(small: Recognizer, length: int, window: int, hop: float) -> None:
    stream = Stream(small, window_s=window / RATE, hop_s=hop * window / RATE)
    segments = listen(stream, [SPEECH[:length]])
    starts = np.array([round(s.start * RATE) for s in segments])
    ends = np.array([round(s.end * RATE) for s in segments])
    assert starts[0] == 0 and ends[-1] == length
    assert (starts[1:] <= ends[:-1]).all() and (np.diff(starts) > 0).all()
    assert (ends - starts == min(window, length)).all()  # no segment is shorter than the others
    step = max(round(hop * window / RATE * RATE), 1)
    assert (np.diff(starts)[:-1] == step).all()


def test_a_segment_comes_as_soon_as_its_audio_has(small: Recognizer) -> None:
    stream = Stream(small, window_s=1, hop_s=0.5)
    assert stream.push(SPEECH[: RATE - 1]) == []
    assert [s.end for s in stream.push(SPEECH[RATE - 1 : RATE])] == [1.0]
    assert stream.push(SPEECH[RATE : RATE + 7_999]) == []
    assert [s.end for s in stream.push(SPEECH[RATE + 7_999 : RATE + 8_000])] == [1.5]
    assert stream.flush() == []  # all of it has been told


def test_what_follows_the_last_window_is_told_at_the_end(small: Recognizer) -> None:
    stream = Stream(small, window_s=1, hop_s=1)
    assert len(stream.push(SPEECH[:20_000])) == 1
    (last,) = stream.flush()
    assert (last.start, last.end) == (0.25, 1.25)


def test_a_recording_below_a_tenth_of_a_second_tells_nothing(small: Recognizer) -> None:
    stream = Stream(small)
    stream.push(SPEECH[:1_599])
    assert stream.flush() == []
    stream.push(SPEECH[:1_600])
    assert len(stream.flush()) == 1
    assert stream.flush() == []


def test_after_the_end_a_stream_begins_anew(small: Recognizer) -> None:
    stream = Stream(small, window_s=1, sample_rate=44_100)
    first = listen(stream, [SPEECH])
    assert listen(stream, [SPEECH]) == first


def test_streams_of_one_recogniser_do_not_mix(small: Recognizer) -> None:
    one, other = Stream(small, window_s=1), Stream(small, window_s=1)
    got: dict[Stream, list[Segment]] = {one: [], other: []}
    halves = {one: SPEECH[:50_000], other: SPEECH[50_000:100_000]}
    for i in range(0, 50_000, 1_000):
        for stream, samples in halves.items():
            got[stream] += stream.push(samples[i : i + 1_000])
    for stream, samples in halves.items():
        assert [*got[stream], *stream.flush()] == listen(Stream(small, window_s=1), [samples])


@pytest.mark.parametrize("level", [0, 0.25])  # a constant is nothing that sounds
def test_where_nothing_sounds_is_silence_without_a_gate(small: Recognizer, level: float) -> None:
    pause = np.full(RATE * 2, level, np.float32)
    samples = np.concatenate([SPEECH[:RATE], pause, SPEECH[RATE : 2 * RATE]])
    first, *still, last = small.segments(samples, RATE, window_s=1, hop_s=1)
    assert still == [Segment(1, 2, "silence", 1, {}), Segment(2, 3, "silence", 1, {})]
    for spoken, at in ((first, 0), (last, 1)):
        (alone,) = small.segments(SPEECH[at * RATE :][:RATE], RATE, window_s=1)
        assert spoken.probabilities == alone.probabilities


def test_the_faintest_noise_is_put_to_the_model(small: Recognizer) -> None:
    dither = np.resize(np.float32([1, 0, -1, 0]) / 2**15, RATE)
    (segment,) = small.segments(dither, RATE, window_s=1)
    assert segment.label != "silence"


def test_emotions_are_not_smoothed_over_where_nothing_sounds(small: Recognizer) -> None:
    stream = Stream(small, window_s=1, hop_s=1, smoothing=Smoothing(time_s=5))
    samples = np.concatenate([SPEECH[:RATE], np.zeros(RATE, np.float32), SPEECH[RATE : 2 * RATE]])
    _, _, after = stream.push(samples)
    (alone,) = small.segments(SPEECH[RATE : 2 * RATE], RATE, window_s=1)
    assert after.probabilities == alone.probabilities


def test_hours_are_held_no_longer_than_a_window(small: Recognizer) -> None:
    stream = Stream(small, window_s=2, hop_s=2, sample_rate=48_000)
    minute = resample(np.resize(SPEECH, 60 * RATE), RATE, 48_000)

    def hear(minutes: int) -> int:
        tracemalloc.reset_peak()
        for _ in range(minutes):
            for i in range(0, len(minute), 4_800):
                stream.push(minute[i : i + 4_800])
        return tracemalloc.get_traced_memory()[1]

    tracemalloc.start()
    first = hear(1)
    later = hear(20)
    tracemalloc.stop()
    assert later < first + 200_000  # twenty minutes are 77 MB at 16 kHz


# What does not fit


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"window_s": 0}, "window of 0 s is too short"),
        ({"window_s": 0.05}, "0.1 or more"),
        ({"window_s": float("nan")}, "window of nan s"),
        ({"window_s": float("inf")}, "window of inf s"),
        ({"window_s": 1, "hop_s": 0}, "hop of 0 s does not fit"),
        ({"window_s": 1, "hop_s": 1.01}, "or audio goes unheard"),
        ({"window_s": 1, "hop_s": float("nan")}, "hop of nan s"),
        ({"hop_s": 2.5}, "does not fit a window of 2.0 s"),
        ({"sample_rate": 3_999}, "sample_rate must be from 4000 to 192000 Hz"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    small: Recognizer, options: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(LightserError, match=complaint):
        Stream(small, **options)


def test_segments_refuse_options_before_anything_is_read(small: Recognizer) -> None:
    with pytest.raises(LightserError, match="does not fit"):
        small.segments("nowhere.wav", window_s=1, hop_s=2)


def test_a_refused_chunk_leaves_the_stream_as_it_was(small: Recognizer) -> None:
    stream = Stream(small, window_s=1, sample_rate=44_100)
    head, tail = SPEECH[:30_000], SPEECH[30_000:60_000]
    segments = stream.push(head)
    for bad in (tail * np.nan, tail * 32_768, tail.astype(np.int64), tail.reshape(2, -1)):
        with pytest.raises(BadAudio):
            stream.push(bad)
    assert [*segments, *stream.push(tail), *stream.flush()] == listen(stream, [SPEECH[:60_000]])


# Resampling


@settings(deadline=None, max_examples=50)
@given(
    seed=st.integers(0, 2**32),
    rates=st.tuples(*[st.sampled_from([4_000, 11_025, 16_000, 44_100, 96_000])] * 2),
)
def test_resampling_by_chunks_is_resampling_the_whole(seed: int, rates: tuple[int, int]) -> None:
    resampler = Resampler(*rates)
    chunks = [resampler(chunk) for chunk in split(SPEECH, seed, 300)]
    got = np.concatenate([*chunks, resampler.flush()])
    np.testing.assert_array_equal(got, resample(SPEECH, *rates))


def test_a_flushed_resampler_begins_anew() -> None:
    resampler = Resampler(44_100, 16_000)
    twice = [np.concatenate([resampler(SPEECH), resampler.flush()]) for _ in range(2)]
    np.testing.assert_array_equal(*twice)


# Channels


def mixing(seconds: float, switch_s: float, seed: int, channels: int = 2) -> np.ndarray:
    """Return channels of speech that are equal at first, and cancel each other from a time on."""
    n, switch = round(seconds * RATE), round(switch_s * RATE)
    rng = np.random.default_rng(seed)
    mono = np.resize(SPEECH, n)[:, None]
    signs = np.where(np.arange(channels) % 2, -1, 1) * rng.uniform(0.9, 1.0, channels)
    before = mono[:switch] * rng.uniform(0.9, 1.0, channels)
    return np.concatenate([before, mono[switch:] * signs]).astype(np.float32)


@settings(deadline=None, max_examples=40)
@given(
    seconds=st.floats(0.3, 7.0),  # at 16 kHz; a third of it where these are said to be at 44.1
    share=st.sampled_from([0.0, 0.05, 0.4, 0.9, 1.0]),
    seed=st.integers(0, 2**32),
    channels=st.sampled_from([1, 2, 4]),
    rate=st.sampled_from([8_000, 16_000, 44_100]),
)
def test_a_stream_hears_the_channels_of_a_file_to_the_last_bit(
    small: Recognizer, seconds: float, share: float, seed: int, channels: int, rate: int
) -> None:
    samples = mixing(seconds, share * seconds, seed, channels)
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype="FLOAT")
    stream = Stream(small, window_s=0.7, hop_s=0.3, sample_rate=rate, warn=(said := []).append)
    live = listen(stream, split(samples, seed, 50))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert live == list(small.segments(file, window_s=0.7, hop_s=0.3))
        assert live == list(small.segments(samples, rate, window_s=0.7, hop_s=0.3))
    # Of the file and of samples in memory; where it began does not hang on who was asked.
    words = {str(one.message).partition(": ")[2] for one in caught}
    assert words == {one.partition(": ")[2] for one in said} and len(said) <= 1


@pytest.mark.parametrize("louder", [0, 1])
def test_of_channels_that_cancel_a_stream_keeps_the_louder(small: Recognizer, louder: int) -> None:
    pair = np.stack([SPEECH, -SPEECH], axis=1)
    pair[:, 1 - louder] *= 0.9
    stream = Stream(small, window_s=1, warn=(said := []).append)
    assert listen(stream, split(pair, 5, 100)) == listen(stream, [pair[:, louder]])
    assert said == [
        "audio: its 2 channels cancel each other from about 0.0 s; "
        f"only channel {louder + 1}, the loudest, is kept from there on"
    ]


def test_a_stream_waits_for_no_more_than_a_tenth_of_a_second_of_channels(small: Recognizer) -> None:
    stream = Stream(small, window_s=1.05, hop_s=0.35)
    pair = np.stack([SPEECH, SPEECH], axis=1)
    for at in range(0, len(pair), 160):
        for segment in stream.push(pair[at : at + 160]):
            assert at + 160 <= round((segment.end + 0.1) * RATE)


def test_channels_may_come_and_go(small: Recognizer) -> None:
    stream = Stream(small, window_s=1)
    pair = np.stack([SPEECH[:30_007], SPEECH[:30_007]], axis=1)
    chunks = [pair, SPEECH[30_007:40_000], np.stack([SPEECH[40_000:]] * 3, axis=1)]
    assert listen(stream, chunks) == listen(stream, [SPEECH])


def test_channels_with_nothing_in_common_are_averaged() -> None:
    one, other = np.split(np.resize(SPEECH, 4 * RATE), 2)
    mix = Downmix(RATE, "call", warn=pytest.fail)
    pair = np.stack([one, other], axis=1)
    mono = np.concatenate([mix(pair), mix.flush()])
    np.testing.assert_allclose(mono, (one + other) / 2, atol=1e-7)


# Telephone band


def weak_below(folder: Path, rate: int) -> Recognizer:
    card = read_card(write_model(folder))
    facts = {"corpus": "emodb", "heard": True, "ua_recorded": 0.9, "n_utterances": 535}
    bands = (Band(sample_rate=12_000, ua=0.85, **facts), Band(sample_rate=rate, ua=0.4, **facts))
    write_card(folder, replace(card, bands=bands))
    return Recognizer.load(folder)


@pytest.mark.parametrize("rate", [8_000, 6_000, 4_000])
def test_who_is_heard_below_the_models_rate_is_told_once_where_it_is_weak(
    tmp_path: Path, rate: int
) -> None:
    weak = weak_below(tmp_path / "m", 8_000)
    samples = resample(SPEECH, RATE, rate)
    soundfile.write(tmp_path / "line.wav", samples, rate)
    soundfile.write(tmp_path / "two.wav", np.stack([samples, samples], axis=1), rate)
    apart = Listening(weak, Manner(per_channel=True))
    for heard in (
        lambda: weak.predict(tmp_path / "line.wav"),
        lambda: weak.predict(samples, rate),
        lambda: list(weak.segments(tmp_path / "line.wav")),
        lambda: list(apart.segments(tmp_path / "two.wav")),
        lambda: listen(Stream(weak, sample_rate=rate), [samples]),
        lambda: pickle.loads(pickle.dumps(weak)).predict(samples, rate),
    ):
        with pytest.warns(LightserWarning) as said:
            heard()
        (only,) = said
        assert str(only.message).startswith(
            f"recorded at {rate:,} Hz, where m is weak: brought to 8,000 Hz, clips of emodb that "
            "it was trained on have UA 40 instead of 90"
        )


@pytest.mark.parametrize("rate", [9_000, 12_000, 14_000, 16_000, 48_000])
def test_nobody_is_warned_where_little_is_lost_or_nothing_known(tmp_path: Path, rate: int) -> None:
    weak = weak_below(tmp_path / "m", 8_000)
    assert weak.predict(resample(SPEECH, RATE, rate), rate)  # a warning would be an error
    Stream(weak, sample_rate=rate)


def test_a_segment_says_when_and_what() -> None:
    segment = Segment(1.0, 2.5, "anger", 0.9, {"anger": 0.9, "fear": 0.1})
    assert str(segment) == "1.00-2.50 s  anger 90 % (fear 10 %)"
