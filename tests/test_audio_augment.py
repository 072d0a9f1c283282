"""Augmentation: what each function says it does to a signal, measured on signals."""

import io

import numpy as np
import pytest
import soundfile
from conftest import SAMPLES

from lightser.audio import augment
from lightser.audio.files import read_audio
from lightser.errors import BadAudio

RATE = 16_000
CLIPS = sorted(SAMPLES.glob("*.flac"))


def generator(seed=0):
    return np.random.default_rng(seed)


def tone(hertz, seconds=1.0, amplitude=0.5):
    times = np.arange(round(seconds * RATE)) / RATE
    return (amplitude * np.sin(2 * np.pi * hertz * times)).astype(np.float32)


def speech(index=0):
    return read_audio(CLIPS[index])


def power_db(samples):
    return 10 * np.log10(np.mean(np.square(samples, dtype=np.float64)))


def spectrum(samples):
    return np.abs(np.fft.rfft(samples.astype(np.float64)))


AUGMENTATIONS = {
    "speed": lambda x, rng: augment.speed(x, 1.1),
    "gain": lambda x, rng: augment.gain(x, -6),
    "white noise": lambda x, rng: augment.noise(x, 20, rng=rng),
    "pink noise": lambda x, rng: augment.noise(x, 20, rng=rng, colour="pink"),
    "mix": lambda x, rng: augment.mix(x, tone(100, 0.3), 10),
    "reverb": lambda x, rng: augment.reverb(x, RATE, 0.4, rng=rng),
    "band_limit": lambda x, rng: augment.band_limit(x, RATE),
    "clip": lambda x, rng: augment.clip(x, 6),
    "mu_law": lambda x, rng: augment.mu_law(x),
    "shift": lambda x, rng: augment.shift(x, RATE, 0.1),
    "record_anew": lambda x, rng: augment.record_anew(x, RATE, rng=rng),
}


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_float32_comes_out_and_what_goes_in_is_left_alone(name):
    samples = speech()
    before = samples.copy()
    samples.flags.writeable = False
    heard = AUGMENTATIONS[name](samples, generator())
    assert heard.dtype == np.float32
    assert heard.ndim == 1
    assert np.isfinite(heard).all()
    assert not np.shares_memory(heard, samples)
    np.testing.assert_array_equal(samples, before)
    assert name == "speed" or len(heard) == len(samples)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_the_same_seed_gives_the_same_sound_whatever_else_is_drawn(name):
    once = AUGMENTATIONS[name](speech(), generator(3))
    elsewhere = np.random.get_state()[1].copy()
    np.testing.assert_array_equal(AUGMENTATIONS[name](speech(), generator(3)), once)
    np.testing.assert_array_equal(np.random.get_state()[1], elsewhere)


@pytest.mark.parametrize("name", ["white noise", "pink noise", "reverb", "record_anew"])
def test_another_seed_gives_another_sound(name):
    once, again = (AUGMENTATIONS[name](speech(), generator(seed)) for seed in (1, 2))
    assert not np.array_equal(once, again)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_silence_stays_silence(name):
    assert not AUGMENTATIONS[name](np.zeros(RATE, np.float32), generator()).any()


@pytest.mark.parametrize("factor", [0.25, 0.5, 0.9, 1.1, 1.2345, 2.0, 4.0])
def test_speed_multiplies_frequency_and_divides_length(factor):
    heard = augment.speed(tone(440), factor)
    assert len(heard) == round(RATE / factor)
    expected = tone(440 * factor, 1 / factor)[: len(heard)]
    np.testing.assert_allclose(heard[500:-500], expected[500:-500], atol=1e-4)


def test_speed_brings_nothing_back_from_above_half_the_rate():
    heard = augment.speed(tone(7_000), 1.5)  # would be 10.5 kHz, and alias to 5.5
    assert np.abs(heard[500:-500]).max() < 1e-5


def test_speed_there_and_back_is_the_same_speech():
    samples = augment.band_limit(speech(), RATE, 0, 6_000)  # below where resampling cuts off
    back = augment.speed(augment.speed(samples, 0.8), 1 / 0.8)
    assert len(back) == pytest.approx(len(samples), abs=1)
    inner = slice(500, -500)
    np.testing.assert_allclose(back[: len(samples)][inner], samples[inner], atol=1e-4)


@pytest.mark.parametrize("factor", [0, -1, 0.2, 5, float("nan")])
def test_a_speed_out_of_range_is_refused(factor):
    with pytest.raises(BadAudio, match=r"factor must be from 0\.25 to 4, got"):
        augment.speed(tone(440), factor)


@pytest.mark.parametrize("db", [-60, -6, 0, 12])
def test_gain_changes_the_level_by_as_much(db):
    samples = speech()
    assert power_db(augment.gain(samples, db)) == pytest.approx(power_db(samples) + db, abs=1e-4)


@pytest.mark.parametrize("colour", ["white", "pink"])
@pytest.mark.parametrize("snr_db", [-5, 0, 20, 40])
def test_noise_is_as_far_below_the_signal_as_asked(colour, snr_db):
    samples = speech()
    added = augment.noise(samples, snr_db, rng=generator(), colour=colour) - samples
    assert power_db(samples) - power_db(added) == pytest.approx(snr_db, abs=0.01)


@pytest.mark.parametrize(("colour", "slope"), [("white", 0.0), ("pink", -3.01)])
def test_noise_has_the_slope_of_its_colour(colour, slope):
    samples = tone(440, seconds=20)
    added = augment.noise(samples, 0, rng=generator(), colour=colour) - samples
    densities = np.square(spectrum(added))
    hertz_per_bin = 1 / 20
    octaves = [100 * 2**k for k in range(6)]  # 100 Hz to 6.4 kHz
    levels = [
        10 * np.log10(densities[round(low / hertz_per_bin) : round(2 * low / hertz_per_bin)].mean())
        for low in octaves
    ]
    assert np.polyfit(range(6), levels, 1)[0] == pytest.approx(slope, abs=0.1)  # dB per octave


def test_noise_of_another_colour_is_refused():
    with pytest.raises(BadAudio, match="'brown'"):
        augment.noise(tone(440), 10, rng=generator(), colour="brown")


@pytest.mark.parametrize("seconds", [0.1, 1.0, 3.0])
def test_a_recording_of_any_length_is_mixed_in(seconds):
    samples, street = tone(440), tone(100, seconds)
    added = augment.mix(samples, street, 6) - samples
    assert power_db(samples) - power_db(added) == pytest.approx(6, abs=0.01)
    repeated = np.resize(street, RATE)
    assert np.corrcoef(added, repeated)[0, 1] == pytest.approx(1)


def test_an_empty_recording_cannot_be_mixed_in():
    with pytest.raises(BadAudio, match="no samples"):
        augment.mix(tone(440), np.zeros(0, np.float32), 6)


@pytest.mark.parametrize("rt60_s", [0.1, 0.4, 1.5])
def test_a_room_is_60_db_quieter_after_rt60(rt60_s):
    impulse = np.zeros(round(2 * rt60_s * RATE), np.float32)
    impulse[0] = 1
    response = augment.reverb(impulse, RATE, rt60_s, rng=generator())
    # Energy still to come (Schroeder 1965), from where it is 5 to where it is 25 dB down: T20.
    left = 10 * np.log10(np.cumsum(np.square(response[1:], dtype=np.float64)[::-1])[::-1] + 1e-30)
    left -= left[0]
    start, stop = np.argmax(left < -5), np.argmax(left < -25)
    assert 3 * (stop - start) / RATE == pytest.approx(rt60_s, rel=0.1)


@pytest.mark.parametrize("direct_db", [-6, 0, 12])
def test_the_direct_sound_is_as_far_above_the_tail_as_asked(direct_db):
    response = augment.room_response(RATE, 0.5, rng=generator(), direct_db=direct_db)
    assert response[0] == 1
    tail_energy = np.square(response[1:], dtype=np.float64).sum()
    assert -10 * np.log10(tail_energy) == pytest.approx(direct_db, abs=1e-3)


def test_reverb_is_convolution_with_the_room():
    samples = speech()
    room = augment.room_response(RATE, 0.3, rng=generator(5))
    expected = np.convolve(samples, room)[: len(samples)]
    heard = augment.reverb(samples, RATE, 0.3, rng=generator(5))
    np.testing.assert_allclose(heard, expected, atol=1e-5)


def test_reverb_does_not_ring_before_the_sound():
    samples = np.zeros(RATE, np.float32)
    samples[8_000:] = tone(440, 0.5)
    heard = augment.reverb(samples, RATE, 2.0, rng=generator())
    assert np.abs(heard[:8_000]).max() < 1e-6


@pytest.mark.parametrize("rt60_s", [0, -1, 11, float("nan")])
def test_a_room_that_cannot_be_is_refused(rt60_s):
    with pytest.raises(BadAudio, match="rt60_s must be above 0 and at most 10 s, got"):
        augment.reverb(tone(440), RATE, rt60_s, rng=generator())


@pytest.mark.parametrize(
    ("hertz", "survives"),
    [
        (100, False),
        (200, False),
        (300, True),
        (1_000, True),
        (3_400, True),
        (3_500, False),
        (7_000, False),
    ],
)
def test_a_telephone_keeps_300_to_3400_hertz(hertz, survives):
    heard = augment.band_limit(tone(hertz), RATE)
    inner = slice(2_000, -2_000)  # where the tone begins and ends it is not one frequency
    if survives:
        np.testing.assert_allclose(heard[inner], tone(hertz)[inner], atol=2e-3)
    else:
        assert np.abs(heard[inner]).max() < 2e-3


def test_a_band_upside_down_is_refused():
    with pytest.raises(BadAudio, match=r"low_hz \(4000\) must be below high_hz \(300\)"):
        augment.band_limit(tone(440), RATE, 4_000, 300)


@pytest.mark.parametrize("depth_db", [0, 3, 20])
def test_clipping_cuts_the_peaks_and_nothing_else(depth_db):
    samples = speech()
    heard = augment.clip(samples, depth_db)
    ceiling = np.abs(samples).max() * 10 ** (-depth_db / 20)
    assert np.abs(heard).max() == pytest.approx(ceiling, rel=1e-6)
    below = np.abs(samples) < 0.999 * ceiling
    np.testing.assert_array_equal(heard[below], samples[below])


def test_clipping_by_less_than_nothing_is_refused():
    with pytest.raises(BadAudio, match="got -3"):
        augment.clip(tone(440), -3)


def test_mu_law_has_the_quality_of_the_telephone_standard():
    samples = 0.5 * speech()
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format="WAV", subtype="ULAW")
    standard = read_audio(file)
    ours = augment.mu_law(samples)
    loss, standard_loss = power_db(ours - samples), power_db(standard - samples)
    assert loss == pytest.approx(standard_loss, abs=1)
    assert power_db(samples) - loss > 35


def test_mu_law_of_what_has_passed_it_changes_nothing():
    once = augment.mu_law(speech())
    np.testing.assert_allclose(augment.mu_law(once), once, atol=1e-7)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_mu_law_leaves_as_many_values_as_its_bits_can_name(bits):
    ramp = np.linspace(-1, 1, 100_001, dtype=np.float32)
    assert len(np.unique(augment.mu_law(ramp, bits))) == 2**bits - 1


def test_mu_law_clips_what_is_beyond_full_scale():
    heard = augment.mu_law(np.array([-3.0, 3.0], np.float32))
    np.testing.assert_allclose(heard, [-1, 1], atol=1e-6)


@pytest.mark.parametrize("bits", [1, 17])
def test_mu_law_of_too_few_or_many_bits_is_refused(bits):
    with pytest.raises(BadAudio, match=f"got {bits}"):
        augment.mu_law(tone(440), bits)


@pytest.mark.parametrize("shift_s", [-0.5, -0.01, 0.0, 0.2])
def test_shift_moves_the_sound_and_keeps_the_length(shift_s):
    samples = np.zeros(RATE, np.float32)
    samples[8_000] = 1
    assert np.flatnonzero(augment.shift(samples, RATE, shift_s)) == [8_000 + round(shift_s * RATE)]


@pytest.mark.parametrize("shift_s", [-5, -1, 1, 5])
def test_a_shift_out_of_the_clip_leaves_silence(shift_s):
    assert not augment.shift(tone(440), RATE, shift_s).any()


def test_recording_anew_leaves_some_clips_and_changes_most_by_as_much_as_it_says():
    samples, rng = speech(), generator()
    left, snrs = 0, []
    for _ in range(200):
        heard = augment.record_anew(samples, RATE, rng=rng)
        left += np.array_equal(heard, samples)
        snrs.append(power_db(samples) - power_db(heard - samples + 1e-9))
    # neither room, band, noise nor overload: 0.5 * 0.5 * 0.2 * 0.9
    assert 1 <= left <= 22
    assert np.median(snrs) == pytest.approx(10, abs=8)
    assert min(snrs) > -15  # the voice can always be heard
