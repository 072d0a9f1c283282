"""Microphones, levels, telephone lines and codecs: what each does to a spectrum, and on time."""

import sys

import numpy as np
import pytest
from conftest import SAMPLES

from lightser.audio import lines
from lightser.audio.files import read_audio
from lightser.errors import MissingExtra, UnknownName

RATE = 16_000
CLIPS = sorted(SAMPLES.glob("*.flac"))
LINES = {
    "telephone": lambda x, rng: lines.telephone(x, RATE),
    "microphone": lambda x, rng: lines.microphone(x, RATE, rng=rng),
    "level": lambda x, rng: lines.at_peak(x, -20),
    "devices": lambda x, rng: lines.through_devices(x, RATE, rng=rng),
    **{name: lambda x, rng, name=name: lines.codec(x, RATE, name) for name in lines.CODECS},
}


def speech(index=0):
    return read_audio(CLIPS[index])


def band_db(samples, low_hz, high_hz):
    power = np.square(np.abs(np.fft.rfft(samples.astype(float))))
    hertz = np.fft.rfftfreq(len(samples), 1 / RATE)
    return 10 * np.log10(power[(hertz >= low_hz) & (hertz < high_hz)].sum() + 1e-12)


def lag(heard, samples):
    """Return by how many samples ``heard`` is later, where they agree best."""
    size = 1 << (2 * len(samples)).bit_length()
    product = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(samples, size)))
    best = int(product.argmax())
    return best if best < size // 2 else best - size


@pytest.mark.parametrize("name", LINES)
def test_as_long_in_float32_and_what_goes_in_is_left_alone(name):
    if name in ("mp3", "opus", "amr_nb", "devices"):
        pytest.importorskip("av")
    samples = speech()[:20_001]
    before = samples.copy()
    samples.flags.writeable = False
    once = LINES[name](samples, np.random.default_rng(3))
    assert once.dtype == np.float32 and once.shape == samples.shape
    np.testing.assert_array_equal(samples, before)
    np.testing.assert_array_equal(once, LINES[name](samples, np.random.default_rng(3)))
    assert not np.array_equal(once, samples)
    assert not LINES[name](np.zeros(5_000, np.float32), np.random.default_rng(3)).any()
    assert len(LINES[name](np.zeros(0, np.float32), np.random.default_rng(3))) == 0


@pytest.mark.parametrize("name", ["telephone", "microphone", *lines.CODECS])
def test_nothing_comes_later_than_it_was_said(name):
    if name in ("mp3", "opus", "amr_nb"):
        pytest.importorskip("av")
    found = [lag(LINES[name](clip, np.random.default_rng(0)), clip) for clip in map(speech, (0, 1))]
    assert np.abs(found).max() <= 2


@pytest.mark.parametrize("name", ["telephone", "amr_nb", "gsm"])
def test_what_goes_by_telephone_has_nothing_above_4_khz(name):
    if name == "amr_nb":
        pytest.importorskip("av")
    clip = speech(1)
    heard = LINES[name](clip, None)
    assert band_db(heard, 4_200, 8_000) < band_db(clip, 4_200, 8_000) - 30
    assert band_db(heard, 500, 3_000) == pytest.approx(band_db(clip, 500, 3_000), abs=1.5)


def test_a_telephone_line_has_no_bass():
    clip = speech(1)
    assert band_db(lines.telephone(clip, RATE), 20, 180) < band_db(clip, 20, 180) - 10


@pytest.mark.parametrize(("name", "least_db"), [("mp3", 12), ("opus", 7)])
def test_a_codec_for_wide_bands_keeps_the_speech_and_loses_a_little(name, least_db):
    pytest.importorskip("av")
    clip = speech(1)
    lost = lines.codec(clip, RATE, name) - clip  # Opus comes back half a sample late
    assert least_db < 10 * np.log10(np.square(clip).sum() / np.square(lost).sum()) < 35


def test_a_microphone_has_the_response_that_is_drawn():
    rng = np.random.default_rng(5)
    noise = rng.standard_normal(1 << 17).astype(np.float32)
    heard = lines.microphone(noise, RATE, rng=np.random.default_rng(7))
    for low in (60, 200, 700, 1_500, 3_000, 6_000):
        hertz = np.linspace(low, 1.1 * low, 50)
        wanted = lines.microphone_response(hertz, rng=np.random.default_rng(7))
        measured = band_db(heard, low, 1.1 * low) - band_db(noise, low, 1.1 * low)
        assert measured == pytest.approx(wanted.mean(), abs=0.5)


def test_microphones_differ_and_none_is_beyond_its_ranges():
    hertz = np.geomspace(20, 8_000, 200)
    drawn = [lines.microphone_response(hertz, rng=np.random.default_rng(i)) for i in range(200)]
    at_1khz = np.array([1_000.0])
    for i in range(20):
        assert lines.microphone_response(at_1khz, rng=np.random.default_rng(i)) == 0
    spread = np.std(drawn, axis=0)
    assert spread[(hertz > 3_000)].min() > 1 and np.abs(drawn)[:, hertz > 300].max() < 60


@pytest.mark.parametrize("db", [-40, -6, 0])
def test_a_level_is_that_of_the_loudest_sample_in_16_bits(db):
    heard = lines.at_peak(speech(), db)
    assert 20 * np.log10(np.abs(heard).max()) == pytest.approx(db, abs=0.02)
    steps = heard.astype(float) * 32_767
    np.testing.assert_allclose(steps, steps.round(), atol=1e-2)


def test_devices_are_of_all_kinds():
    pytest.importorskip("av")
    clip = speech()[:16_000]
    heard = [lines.through_devices(clip, RATE, rng=np.random.default_rng(i)) for i in range(40)]
    peaks = np.array([20 * np.log10(np.abs(x).max()) for x in heard])
    assert peaks.min() < -30 and peaks.max() > -6
    narrow = [band_db(x, 4_200, 8_000) < band_db(x, 500, 3_000) - 45 for x in heard]
    assert 4 <= sum(narrow) <= 25


def test_a_codec_that_is_none_is_answered_with_the_nearest():
    with pytest.raises(UnknownName, match="did you mean 'opus'"):
        lines.codec(speech(), RATE, "opsu")


def test_codecs_that_need_an_extra_say_which(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtra, match=r"lightser\[codecs\]"):
        lines.codec(speech(), RATE, "opus")
    assert len(lines.codec(speech(), RATE, "gsm")) == len(speech())
