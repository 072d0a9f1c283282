"""Labels that do not flicker, and silence where nobody speaks."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_folder import ANGER, HAPPINESS, LABELS, SADNESS, write_model

from lightser import Recognizer, Segment, Stream
from lightser.audio.files import read_audio, resample
from lightser.errors import LightserError
from lightser.inference.segments import SILENCE
from lightser.inference.smoothing import Smoother, Smoothing
from lightser.inference.vad import FRAME_S, SpeechDetector, SpeechGate

RATE = 16_000
FRAME = round(FRAME_S * RATE)
CLIPS = [read_audio(clip) for clip in (ANGER, SADNESS, HAPPINESS)]
GAP = np.random.default_rng(0).normal(0, 1e-4, 3 * RATE).astype(np.float32)  # a quiet room, 3 s
TALK = np.concatenate([GAP, CLIPS[0], GAP, CLIPS[1], GAP])


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Recognizer:
    return Recognizer.load(write_model(tmp_path_factory.mktemp("models") / "small"))


def listen(stream: Stream, chunks: Any) -> list[Segment]:
    return [*(s for chunk in chunks for s in stream.push(chunk)), *stream.flush()]


def windows(seed: int, n: int, n_labels: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(n_labels, 0.4), n)


def changes(labels: list[int]) -> int:
    return int(np.count_nonzero(np.diff(labels)))


# Smoothing


def test_smoothed_probabilities_follow_the_exponential() -> None:
    smoother = Smoother(Smoothing(time_s=2.0, margin=0))
    for t in range(10):
        smoother(np.array([1.0, 0.0]), at=t)
    for after in (0.5, 1.0, 2.0, 6.0):
        _, p = smoother(np.array([0.0, 1.0]), at=9 + after)
        assert p[0] == pytest.approx(np.exp(-after / 2.0))


def test_smoothness_does_not_depend_on_the_hop() -> None:
    for hop in (0.1, 0.25, 1.0):
        smoother = Smoother(Smoothing(time_s=1.5))
        smoother(np.array([1.0, 0.0]), at=0)
        for t in np.arange(hop, 3 + hop / 2, hop):
            _, p = smoother(np.array([0.0, 1.0]), at=float(t))
        assert p[0] == pytest.approx(np.exp(-3 / 1.5))


@pytest.mark.parametrize("seed", range(5))
def test_smoothed_probabilities_add_up_to_one(seed: int) -> None:
    smoother = Smoother(Smoothing())
    for t, p in enumerate(windows(seed, 100)):
        _, smoothed = smoother(p, at=t / 2)
        assert smoothed.sum() == pytest.approx(1) and (smoothed >= 0).all()


def test_without_time_and_margin_nothing_changes() -> None:
    smoother = Smoother(Smoothing(time_s=0, margin=0))
    for t, p in enumerate(windows(0, 50)):
        label, smoothed = smoother(p, at=t)
        assert label == p.argmax()
        np.testing.assert_array_equal(smoothed, p)


@pytest.mark.parametrize("seed", range(5))
def test_a_label_stays_until_another_is_ahead_by_the_margin(seed: int) -> None:
    smoother = Smoother(Smoothing(time_s=0.5, margin=0.15))
    before = None
    for t, p in enumerate(windows(seed, 300)):
        label, smoothed = smoother(p, at=t / 2)
        if before is not None and label != before:
            assert smoothed[label] > smoothed[before] + 0.15
        assert smoothed.max() <= smoothed[label] + 0.15
        before = label


def test_smoothing_and_margin_each_make_labels_steadier() -> None:
    def count(time_s: float, margin: float) -> int:
        smoother = Smoother(Smoothing(time_s=time_s, margin=margin))
        return changes([smoother(p, at=t)[0] for t, p in enumerate(windows(1, 500))])

    assert count(2, 0) < count(0, 0)
    assert count(0, 0.3) < count(0, 0)
    assert count(2, 0.1) < count(2, 0)


def test_a_reset_smoother_remembers_nothing() -> None:
    smoother = Smoother(Smoothing(time_s=100, margin=0.5))
    smoother(np.array([1.0, 0.0]), at=0)
    smoother.reset()
    label, p = smoother(np.array([0.1, 0.9]), at=1)
    assert (label, p.tolist()) == (1, [0.1, 0.9])


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: Smoothing(time_s=-1), "over -1 s; give 0 or more"),
        (lambda: Smoothing(time_s=float("nan")), "over nan s"),
        (lambda: Smoothing(margin=1), "margin of 1"),
        (lambda: SpeechGate(strictness=4), "strictness of 4; give 0, 1, 2 or 3"),
        (lambda: SpeechGate(hangover_s=-0.1), "hangover of -0.1 s"),
        (lambda: SpeechGate(least=0), "least share of speech of 0"),
    ],
)
def test_values_out_of_range_are_refused(make: Any, complaint: str) -> None:
    with pytest.raises(LightserError, match=complaint):
        make()


def test_a_smoothed_stream_smooths_what_the_plain_one_says(small: Recognizer) -> None:
    plain = listen(Stream(small, window_s=1, hop_s=0.25), [TALK])
    smoothing = Smoothing(time_s=1.5, margin=0.1)
    got = listen(Stream(small, window_s=1, hop_s=0.25, smoothing=smoothing), [TALK])
    smoother = Smoother(smoothing)
    for segment, raw in zip(got, plain, strict=True):
        number, p = smoother(np.array([*raw.probabilities.values()]), at=raw.end)
        assert (segment.start, segment.end) == (raw.start, raw.end)
        assert segment.label == LABELS[number]
        assert [*segment.probabilities.values()] == pytest.approx(p.tolist())
        assert segment.confidence == segment.probabilities[segment.label]


# Voice activity


@pytest.mark.parametrize("clip", range(3))
def test_speech_is_speech_and_a_quiet_room_is_not(clip: int) -> None:
    detector = SpeechDetector(SpeechGate(), RATE)
    detector(np.concatenate([GAP, CLIPS[clip], GAP]))
    voice = len(GAP) + len(CLIPS[clip])
    # The detector adapts to the room within its first second.
    assert detector.share(RATE, len(GAP)) < 0.1
    assert detector.share(len(GAP), voice) > 0.8
    assert detector.share(voice + RATE, voice + len(GAP)) < 0.1


@pytest.mark.parametrize("hangover_s", [0.0, 0.3, 0.9])
def test_the_hangover_is_as_long_as_it_says(hangover_s: float) -> None:
    def flags(hangover: float) -> np.ndarray:
        detector = SpeechDetector(SpeechGate(hangover_s=hangover), RATE)
        detector(TALK)
        return np.frombuffer(detector.flags(0, len(TALK)), np.uint8)

    plain, held = flags(0), flags(hangover_s)
    n = round(hangover_s / FRAME_S)
    expected = [bool(plain[max(i - n, 0) : i + 1].any()) for i in range(len(plain))]
    assert held.astype(bool).tolist() == expected


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000])
def test_speech_is_found_at_any_rate(rate: int) -> None:
    detector = SpeechDetector(SpeechGate(), rate)
    detector(resample(np.concatenate([GAP, CLIPS[0], GAP]), RATE, rate))
    gap, voice = len(GAP) / RATE, (len(GAP) + len(CLIPS[0])) / RATE
    assert detector.share(rate, round(gap * rate)) < 0.1
    assert detector.share(round(gap * rate), round(voice * rate)) > 0.8


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 2**32),
    most=st.sampled_from([1, 5, 100, 2_000]),
    window_s=st.sampled_from([0.37, 1.0, 2.0]),
    rate=st.sampled_from([8_000, 16_000, 44_100]),
)
def test_gated_and_smoothed_chunks_do_not_matter_to_the_last_bit(
    small: Recognizer, seed: int, most: int, window_s: float, rate: int
) -> None:
    rng = np.random.default_rng(seed)
    cuts = np.sort(rng.integers(0, len(TALK) + 1, rng.integers(0, most)))
    stream = Stream(
        small,
        window_s=window_s,
        sample_rate=rate,
        smoothing=Smoothing(),
        gate=SpeechGate(),
    )
    assert listen(stream, np.split(TALK, cuts)) == listen(stream, [TALK])


@pytest.mark.parametrize("level_db", [-20, -30, -40, -50, -60])
@pytest.mark.parametrize("clip", [HAPPINESS, ANGER, SADNESS], ids=lambda path: path.stem)
def test_quiet_speech_is_speech_and_the_model_hears_it_as_quiet(
    small: Recognizer, clip: Path, level_db: int
) -> None:
    """As 16-bit samples: at -60 dB a loud clip has 5 of these bits left."""
    quiet = np.round(read_audio(clip) * 10 ** (level_db / 20) * 2**15).astype(np.int16)
    options: dict[str, Any] = {"window_s": 60}
    segments = listen(Stream(small, gate=SpeechGate(), **options), [quiet])
    assert segments == listen(Stream(small, **options), [quiet])
    assert SILENCE not in {segment.label for segment in segments}


@pytest.mark.parametrize("level_db", [-35, -60, -85])
def test_noise_is_no_speech_however_loud_the_detector_hears_it(level_db: int) -> None:
    noise = np.random.default_rng(0).normal(size=10 * RATE) * 10 ** (level_db / 20)
    detector = SpeechDetector(SpeechGate(), RATE)
    detector((np.round(noise * 2**15) / 2**15).astype(np.float32))
    assert detector.share(0, 10 * RATE) < 0.2


def test_silence_is_said_where_nobody_speaks(small: Recognizer) -> None:
    segments = listen(Stream(small, window_s=1, hop_s=0.5, gate=SpeechGate()), [TALK])
    plain = listen(Stream(small, window_s=1, hop_s=0.5), [TALK])
    first, second = len(GAP) / RATE, (2 * len(GAP) + len(CLIPS[0])) / RATE
    spoken = [(first, first + len(CLIPS[0]) / RATE), (second, second + len(CLIPS[1]) / RATE)]
    for segment, raw in zip(segments, plain, strict=True):
        if any(a <= segment.start and segment.end <= b for a, b in spoken):
            assert segment == raw
        # Within a second of speech the hangover is over; at the start, the detector has to adapt.
        elif segment.start > 1 and all(
            segment.end <= a or segment.start >= b + 0.8 for a, b in spoken
        ):
            assert (segment.label, segment.probabilities) == (SILENCE, {})
            assert 0.8 < segment.confidence <= 1
    assert {SILENCE} < {segment.label for segment in segments}
    assert str(next(s for s in segments if s.label == SILENCE)).endswith("  silence")


def test_silence_is_not_put_to_the_model(small: Recognizer) -> None:
    asked = []

    class Counting(Recognizer):
        def probabilities(self, samples: Any) -> Any:
            asked.append(len(samples))
            return super().probabilities(samples)

    counting = Counting(small.folder, small.card, small._session())
    segments = listen(Stream(counting, window_s=1, gate=SpeechGate()), [TALK])
    assert len(asked) == sum(segment.label != SILENCE for segment in segments) < len(segments)


def test_after_silence_smoothing_begins_anew(small: Recognizer) -> None:
    options: dict[str, Any] = {"window_s": 1.0, "hop_s": 0.5, "gate": SpeechGate()}
    smoothed = listen(Stream(small, smoothing=Smoothing(time_s=50, margin=0.5), **options), [TALK])
    plain = listen(Stream(small, **options), [TALK])
    pairs = list(zip(smoothed, plain, strict=True))
    after = [i for i in range(1, len(pairs)) if plain[i - 1].label == SILENCE != plain[i].label]
    assert len(after) >= 2
    assert all(smoothed[i] == plain[i] for i in after)
    assert any(a != b for a, b in pairs)


def test_what_is_forgotten_does_not_move_the_rest() -> None:
    one, other = (SpeechDetector(SpeechGate(), RATE) for _ in range(2))
    one(TALK)
    for start in range(0, len(TALK), 7_001):
        other(TALK[start : start + 7_001])
        other.forget(start - RATE)
    tail = len(TALK) - RATE
    assert other.flags(tail, len(TALK)) == one.flags(tail, len(TALK))
    assert len(other._flags) < 60 < len(one._flags)


def test_without_the_wheel_a_gate_says_what_to_install(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "sys.modules['webrtcvad'] = None\n"
        "from lightser.inference.vad import SpeechDetector, SpeechGate\n"
        "SpeechDetector(SpeechGate(), 16000)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "MissingExtra: Telling speech from silence needs an extra" in run.stderr
    assert "lightser[live]" in run.stderr


# Timing


def test_a_stream_knows_how_fast_it_was(small: Recognizer) -> None:
    stream = Stream(small, window_s=1, hop_s=0.5, sample_rate=48_000)
    assert stream.timing.real_time_factor == 0
    chunks = np.array_split(resample(TALK, RATE, 48_000), 100)
    n = len(listen(stream, chunks))
    timing = stream.timing
    assert timing.segments == n
    assert timing.heard_s == pytest.approx(len(TALK) / RATE, abs=1e-4)
    assert 0 < timing.latency_s <= timing.slowest_s <= timing.busy_s
    assert timing.real_time_factor == timing.busy_s / timing.heard_s < 1
    assert f"{n} segments of" in str(timing) and "real-time factor 0." in str(timing)
