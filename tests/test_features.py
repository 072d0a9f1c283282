"""Front ends against librosa, NumPy and their own formulas, on real clips."""

import os
from pathlib import Path

import hypothesis.strategies as st
import librosa
import numpy as np
import pytest
import scipy.fft
import soundfile
import torch
from hypothesis import given, settings
from numpy.lib.stride_tricks import sliding_window_view

import lightser
from lightser.audio.files import read_audio
from lightser.features import FRONTENDS
from lightser.features.deltas import deltas
from lightser.features.length import FitLength, PercentileLevel, centre_crop
from lightser.features.logmel import RelativeLogMel, Zhong2020LogMel, dct_matrix
from lightser.features.mel import htk_filters, hz_to_mel, mel_to_hz, slaney_filters
from lightser.features.mfcc import LightSernetFeatures
from lightser.features.spectrum import Frames, RealDFT, Spectrum
from lightser.features.standardize import Standardize

# When librosa is first used it compiles functions of its own that nothing here calls, for longer
# than all tests of this file take; without optimisation for two thirds as long.
os.environ.setdefault("NUMBA_OPT", "0")

RATE = 16000
CLIPS = sorted((Path(lightser.__file__).parent / "samples").glob("*.flac"))
SAMPLES = {clip.stem: soundfile.read(clip, dtype="float32")[0] for clip in CLIPS}
quick = settings(max_examples=40, deadline=None, derandomize=True)


def compute(module, samples):
    with torch.no_grad():
        return module(torch.from_numpy(samples)[None])[0].numpy()


def spread(folder, n):
    """Return n clips from all over a corpus."""
    clips = sorted(p for p in folder.rglob("*") if p.suffix in (".wav", ".flac", ".ogg"))
    return [clips[i] for i in np.linspace(0, len(clips) - 1, n).astype(int)]


# ---- Zhong et al. 2020: librosa is the reference


def librosa_log_mel(samples):
    mel = librosa.feature.melspectrogram(
        y=samples,
        sr=RATE,
        n_fft=1024,
        win_length=640,
        hop_length=160,
        window="hamming",
        center=True,
        pad_mode="reflect",
        power=2.0,
        n_mels=128,
    )
    return librosa.power_to_db(mel, ref=1.0, amin=1e-10, top_db=80.0).T


@pytest.mark.parametrize("name", SAMPLES)
def test_zhong_log_mel_is_librosas(name):
    samples = SAMPLES[name]
    ours, theirs = compute(Zhong2020LogMel(), samples), librosa_log_mel(samples)
    assert ours.shape == theirs.shape == (len(samples) // 160 + 1, 128)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-3)


@pytest.mark.parametrize("corpus", ["emodb", "ravdess", "nemo"])
def test_zhong_log_mel_is_librosas_on_a_real_corpus(corpus_root, corpus):
    frontend = Zhong2020LogMel(max_frames=None)
    for clip in spread(corpus_root(corpus), 15):
        samples = read_audio(clip, RATE)
        np.testing.assert_allclose(
            compute(frontend, samples),
            librosa_log_mel(samples),
            rtol=0,
            atol=1e-3,
            err_msg=clip.name,
        )


def test_only_the_middle_700_frames_of_a_long_clip_are_heard():
    samples = np.concatenate([*SAMPLES.values(), *SAMPLES.values()])
    whole = compute(Zhong2020LogMel(max_frames=None), samples)
    start = (len(whole) - 700) // 2
    assert len(whole) > 1000
    np.testing.assert_array_equal(compute(Zhong2020LogMel(), samples), whole[start : start + 700])


def test_bands_80_db_below_the_loudest_are_raised_to_there():
    samples = SAMPLES["10b10Wa"].copy()
    samples[:8000] = 0  # half a second of digital silence
    db = compute(Zhong2020LogMel(), samples)
    assert db.min() == pytest.approx(db.max() - 80, abs=1e-4)
    assert (db[:40] == db.min()).all()


# ---- Light-SERNet: formulas in float64 are the reference


def reference_mel_matrix(n_mels=128, low=80.0, high=7600.0):
    def mel(hz):
        return 1127 * np.log(1 + hz / 700)

    matrix = np.zeros((513, n_mels))
    step = (mel(high) - mel(low)) / (n_mels + 1)
    for k in range(1, 513):  # the DC bin belongs to no band
        m = mel(k * RATE / 1024)
        for band in range(n_mels):
            left, centre = mel(low) + band * step, mel(low) + (band + 1) * step
            matrix[k, band] = max(0.0, 1 - abs(m - centre) / (centre - left))
    return matrix


REFERENCE_MEL = reference_mel_matrix()


def reference_light_sernet(samples, kind, *, window_s, requantise):
    x = samples.astype(np.float64)
    size = round(window_s * RATE)
    start = max(0, (len(x) - size) // 2)
    x = x[start : start + size]
    x = np.clip(x / (np.percentile(np.abs(x), 99.9) + np.finfo(float).eps), -1, 1)
    if requantise:
        x = np.round(x * 32768).clip(max=32767) / 32768
    missing = size - len(x)
    x = np.pad(x, (missing // 2, missing - missing // 2))
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1024) / 1024)
    frames = sliding_window_view(x, 1024)[::256]
    spectrum = np.abs(np.fft.rfft(frames * window))
    if kind == "spectrogram":
        return spectrum
    log_mel = np.log(spectrum @ REFERENCE_MEL + 1e-6)
    if kind == "logmel":
        return log_mel
    k, n = np.arange(40)[:, None], np.arange(128)
    dct = np.sqrt(2 / 128) * np.cos(np.pi / 128 * (n + 0.5) * k)
    return np.clip(log_mel @ dct.T, -10, 10)


def light_sernet(kind, window_s, *, requantise):
    frontend = LightSernetFeatures(kind=kind, window_s=window_s)
    frontend.level.requantise = requantise
    return frontend


@pytest.mark.parametrize("window_s", [3.0, 7.0, 1.0])
@pytest.mark.parametrize("kind", ["spectrogram", "logmel", "mfcc"])
def test_light_sernet_features_follow_their_formulas(kind, window_s):
    frontend = light_sernet(kind, window_s, requantise=False)
    for samples in SAMPLES.values():
        expected = reference_light_sernet(samples, kind, window_s=window_s, requantise=False)
        ours = compute(frontend, samples)
        assert ours.shape == expected.shape
        assert len(ours) == {3.0: 184, 7.0: 434, 1.0: 59}[window_s]
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-4)


# With the published rounding to 16 bits, a sample halfway between two steps may go either way in
# single precision. One step is then heard in bands that are all but silent.
ROUNDED = {"logmel": 0.1, "mfcc": 0.05}


@pytest.mark.parametrize("kind", ROUNDED)
def test_rounding_to_16_bits_moves_light_sernet_features_by_little(kind):
    frontend = light_sernet(kind, 3.0, requantise=True)
    for samples in SAMPLES.values():
        expected = reference_light_sernet(samples, kind, window_s=3.0, requantise=True)
        ours = compute(frontend, samples)
        np.testing.assert_allclose(ours, expected, rtol=0, atol=ROUNDED[kind])
        assert np.median(np.abs(ours - expected)) < 1e-4


# nEMO is Ogg: above the codec's reach there is nothing but single precision's rounding of a sample.
@pytest.mark.parametrize(
    ("corpus", "tolerance"), [("emodb", 1e-4), ("ravdess", 1e-4), ("nemo", 5e-3)]
)
def test_light_sernet_mfcc_follow_their_formulas_on_a_real_corpus(corpus_root, corpus, tolerance):
    exact = light_sernet("mfcc", 3.0, requantise=False)
    rounded = light_sernet("mfcc", 3.0, requantise=True)
    for clip in spread(corpus_root(corpus), 15):
        samples = read_audio(clip, RATE)
        expected = reference_light_sernet(samples, "mfcc", window_s=3.0, requantise=False)
        np.testing.assert_allclose(compute(exact, samples), expected, rtol=0, atol=tolerance)
        expected = reference_light_sernet(samples, "mfcc", window_s=3.0, requantise=True)
        np.testing.assert_allclose(
            compute(rounded, samples), expected, rtol=0, atol=ROUNDED["mfcc"]
        )


def test_c0_of_light_sernet_sits_at_a_limit_in_most_frames():
    c0 = np.concatenate([compute(LightSernetFeatures(), s)[:, 0] for s in SAMPLES.values()])
    assert 0.5 < (np.abs(c0) == 10).mean() < 1


def test_an_unknown_kind_of_features_is_refused():
    with pytest.raises(ValueError, match="mfcc, logmel, spectrogram, not 'chroma'"):
        LightSernetFeatures(kind="chroma")


# ---- ours: relative log-mel


def test_relative_log_mel_is_log_mel_below_the_loudest_cell():
    samples = SAMPLES["14a04Tc"]
    frames = sliding_window_view(samples.astype(np.float64), 1024)[::256]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1024) / 1024)
    filters = htk_filters(sample_rate=RATE, n_fft=1024, n_bands=64, f_min=60, f_max=7600).double()
    db = 10 * np.log10(
        np.maximum(np.abs(np.fft.rfft(frames * window)) ** 2 @ filters.numpy(), 1e-10)
    )
    expected = 1 + np.maximum(db - db.max(), -80) / 80
    np.testing.assert_allclose(compute(RelativeLogMel(), samples), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("gain_db", [-30, -10, 3, 20])
def test_gain_does_not_change_relative_log_mel(gain_db):
    frontend, samples = RelativeLogMel(), SAMPLES["10b10Wa"]
    louder = samples * np.float32(10 ** (gain_db / 20))
    # Only what the floor of 1e-10 hides may differ, far below speech.
    np.testing.assert_allclose(compute(frontend, louder), compute(frontend, samples), atol=2e-2)


def test_zeros_around_a_clip_are_zero_in_relative_log_mel_and_its_mfcc():
    samples = np.pad(SAMPLES["08a02Fe"], (0, 8192))
    for coefficients in (None, 20):
        features = compute(RelativeLogMel(coefficients=coefficients), samples)
        assert (features[-20:] == 0).all()
        assert features.shape[1] == (coefficients or 64)


# ---- the parts


@given(
    size=st.integers(1, 40),
    hop=st.integers(1, 40),
    surplus=st.integers(0, 60),
    clips=st.integers(1, 3),
)
@quick
def test_frames_are_the_slices_of_a_plain_loop(size, hop, surplus, clips):
    samples = np.random.default_rng(size * 41 + hop).normal(size=(clips, size + surplus))
    samples = samples.astype(np.float32)
    expected = [samples[:, i : i + size] for i in range(0, surplus + 1, hop)]
    frames = Frames(size, hop)(torch.from_numpy(samples))
    np.testing.assert_array_equal(frames.numpy(), np.stack(expected, axis=1))


@pytest.mark.parametrize("n", [1, 2, 4, 12, 97, 512, 640, 1024, 2048])
def test_the_factored_transform_is_numpys(n):
    frames = np.random.default_rng(n).normal(size=(2, 3, n))
    re, im = RealDFT(n)(torch.from_numpy(frames))
    expected = np.fft.rfft(frames)
    np.testing.assert_allclose(re.numpy() + 1j * im.numpy(), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("window", ["hann", "hamming"])
@pytest.mark.parametrize("n_samples", [512, 513, 1000, 1007])
def test_centred_spectra_are_librosas(window, n_samples):
    samples = np.random.default_rng(0).normal(size=n_samples).astype(np.float32)
    expected = librosa.stft(
        samples, n_fft=512, win_length=320, hop_length=100, window=window, pad_mode="reflect"
    )
    ours = Spectrum(n_fft=512, window_length=320, hop=100, window=window, center=True, power=1)
    np.testing.assert_allclose(compute(ours, samples), np.abs(expected.T), rtol=0, atol=1e-4)


def test_slaney_filters_are_librosas():
    ours = slaney_filters(sample_rate=RATE, n_fft=1024, n_bands=128, f_min=0, f_max=8000)
    theirs = librosa.filters.mel(sr=RATE, n_fft=1024, n_mels=128, htk=False, norm="slaney")
    np.testing.assert_allclose(ours.numpy(), theirs.T, rtol=1e-5, atol=1e-9)


def test_htk_filters_are_straight_in_mels_and_leave_out_the_dc_bin():
    ours = htk_filters(sample_rate=RATE, n_fft=1024, n_bands=128, f_min=80, f_max=7600).numpy()
    np.testing.assert_allclose(ours, REFERENCE_MEL, rtol=0, atol=1e-6)
    assert not ours[0].any()
    low = htk_filters(sample_rate=RATE, n_fft=1024, n_bands=40, f_min=0, f_max=8000).numpy()
    assert not low[0].any()


@given(hz=st.floats(0, 24000), scale=st.sampled_from(["htk", "slaney"]))
@quick
def test_mels_and_hertz_are_inverse_and_librosa_agrees(hz, scale):
    mel = hz_to_mel(np.array(hz), scale)
    assert float(mel_to_hz(mel, scale)) == pytest.approx(hz, rel=1e-9, abs=1e-9)
    assert float(mel) == pytest.approx(
        float(librosa.hz_to_mel(hz, htk=scale == "htk")), rel=1e-4, abs=1e-9
    )


@pytest.mark.parametrize("hz", [200, 1000, 3000, 7000])
def test_a_pure_tone_lights_the_band_that_holds_it(hz):
    tone = np.sin(2 * np.pi * hz * np.arange(RATE) / RATE).astype(np.float32)
    band = compute(Zhong2020LogMel(), tone)[10:-10].mean(axis=0).argmax()
    edges = librosa.mel_frequencies(130, fmin=0, fmax=8000)
    assert edges[band] < hz < edges[band + 2]


def test_the_dct_is_scipys_with_one_scale_for_all_coefficients():
    x = np.random.default_rng(0).normal(size=(5, 128))
    expected = scipy.fft.dct(x, type=2)[:, :40] / 2 * np.sqrt(2 / 128)
    ours = x @ dct_matrix(128, 40).double().numpy()
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-5)
    assert ours[0, 0] == pytest.approx(np.sqrt(2 / 128) * x[0].sum(), abs=1e-5)  # c0 too


@given(n_frames=st.integers(1, 30), width=st.integers(1, 4))
@quick
def test_deltas_are_those_of_a_plain_loop(n_frames, width):
    c = np.random.default_rng(n_frames).normal(size=(n_frames, 3))
    expected = np.zeros_like(c)
    for t in range(n_frames):
        for n in range(1, width + 1):
            later, earlier = c[min(t + n, n_frames - 1)], c[max(t - n, 0)]
            expected[t] += n * (later - earlier) / (2 * sum(k * k for k in range(1, width + 1)))
    ours = deltas(torch.from_numpy(c)[None], width)[0].numpy()
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-12)


@given(n_samples=st.integers(1, 4000), gain=st.floats(1e-4, 1.0))
@quick
def test_level_is_the_percentile_of_numpy(n_samples, gain):
    x = np.random.default_rng(n_samples).standard_t(3, size=n_samples) * gain
    x = x.astype(np.float32)
    expected = np.clip(x / np.percentile(np.abs(x), 99.9), -1, 1)
    ours = compute(PercentileLevel(requantise=False), x)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=2e-6)


def test_level_of_digital_silence_is_silence():
    assert not compute(PercentileLevel(), np.zeros(500, np.float32)).any()


def test_requantised_levels_are_on_the_16_bit_grid():
    steps = compute(PercentileLevel(), SAMPLES["10b10Wa"]) * 32768
    np.testing.assert_array_equal(steps, np.round(steps))
    assert steps.max() == 32767
    assert steps.min() == -32768


@given(n_samples=st.integers(1, 60), size=st.integers(1, 60))
@quick
def test_clips_are_padded_on_both_sides_with_an_odd_zero_at_the_end(n_samples, size):
    x = np.arange(1, n_samples + 1, dtype=np.float32)
    ours = compute(FitLength(size), x)
    assert len(ours) == size
    if n_samples <= size:
        missing = size - n_samples
        np.testing.assert_array_equal(ours, np.pad(x, (missing // 2, missing - missing // 2)))
    else:
        first = int(ours[0]) - 1
        np.testing.assert_array_equal(ours, x[first : first + size])
        assert abs(first - (n_samples - size) / 2) <= 0.5


@given(n_steps=st.integers(1, 60), size=st.integers(1, 60), trailing=st.sampled_from([(), (2,)]))
@quick
def test_the_middle_is_kept_with_an_odd_step_cut_at_the_end(n_steps, size, trailing):
    x = torch.arange(n_steps * (2 if trailing else 1)).reshape(1, n_steps, *trailing)
    start = max(0, (n_steps - size) // 2)
    assert torch.equal(centre_crop(x, size), x[:, start : start + size])


def test_standardising_takes_mean_and_deviation_over_all_training_frames():
    rng = np.random.default_rng(0)
    clips = [rng.normal(3, 2, size=(n, 5)).astype(np.float32) for n in (4, 40, 100)]
    standardize = Standardize(5)
    standardize.fit(torch.from_numpy(clip) for clip in clips)
    frames = np.concatenate(clips).astype(np.float64)
    np.testing.assert_allclose(standardize.mean.numpy(), frames.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(standardize.std.numpy(), frames.std(axis=0), rtol=1e-5)
    expected = (clips[1] - frames.mean(axis=0)) / (frames.std(axis=0) + 1e-5)
    np.testing.assert_allclose(compute(standardize, clips[1]), expected, rtol=0, atol=1e-5)


def test_a_band_that_never_changes_is_standardised_to_zero():
    standardize = Standardize(2)
    clip = torch.tensor([[7.0, 1.0], [7.0, 3.0]])
    standardize.fit([clip])
    assert torch.isfinite(standardize(clip)).all()
    assert standardize(clip)[:, 0].tolist() == [0, 0]


# ---- what every front end promises


@pytest.mark.parametrize("name", FRONTENDS)
def test_every_front_end_gives_frames_by_bands(name):
    frontend = FRONTENDS[name]()
    for n_samples in (frontend.min_samples, frontend.min_samples + 1, 16001, 48000, 50003):
        n_samples = max(n_samples, frontend.min_samples)
        samples = torch.from_numpy(np.resize(SAMPLES["10b10Wa"], (2, n_samples)))
        features = frontend(samples)
        assert features.shape[0] == 2 and features.shape[2] == frontend.n_bands
        assert features.shape[1] >= 1
        assert features.dtype == torch.float32 and torch.isfinite(features).all()


@pytest.mark.parametrize("name", FRONTENDS)
def test_clips_in_a_batch_do_not_change_each_others_features(name):
    frontend = FRONTENDS[name]()
    clips = [np.resize(clip, 48000) for clip in SAMPLES.values()]
    samples = torch.from_numpy(np.stack([clips[0], clips[1] * 0.1, clips[2] * 3], dtype=np.float32))
    alone = torch.cat([frontend(clip[None]) for clip in samples])
    torch.testing.assert_close(frontend(samples), alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", FRONTENDS)
def test_digital_silence_has_finite_features(name):
    assert torch.isfinite(FRONTENDS[name]()(torch.zeros(1, 48000))).all()


@pytest.mark.parametrize("name", FRONTENDS)
def test_front_ends_keep_no_tensors_in_a_state_dict(name):
    assert not FRONTENDS[name]().state_dict()  # constants are computed, not stored
