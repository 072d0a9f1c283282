"""What can happen to a recording: speed, level, noise, a room, a telephone, overload, delay.

For training on more than was recorded, and for measuring how a trained model takes it. Each
function maps float32 ``[T]`` to float32 ``[T]`` (:func:`speed` to another length), changes nothing
in place, and takes every value by argument: how much is drawn from which range is for the caller to
say, and :func:`record_anew` is one such caller. What has to be drawn inside (noise) comes from the
``rng`` given.

Levels are in decibels of amplitude, ``20 log10``, relative to full scale (1.0) or as said.

>>> rng = np.random.default_rng(0)
>>> clip = np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000).astype(np.float32)
>>> heard = noise(speed(clip, rng.uniform(0.9, 1.1)), rng.uniform(10, 30), rng=rng)
"""

from typing import Literal

import numpy as np
import soxr

from lightser.audio.resampler import QUALITY, Samples
from lightser.errors import BadAudio

Colour = Literal["white", "pink"]


def speed(samples: Samples, factor: float) -> Samples:
    """Play faster (``factor`` above 1) or slower, as a tape: tempo and pitch change together.

    Ko et al., "Audio augmentation for speech recognition", Interspeech 2015, use 0.9 and 1.1.

    Args:
        samples: ``[T]``.
        factor: of speed and of all frequencies; what rises above half the sample rate is gone.

    Returns:
        ``[T / factor]``, rounded.

    Raises:
        BadAudio: if ``factor`` is not from 0.25 to 4.

    >>> speed(np.zeros(16_000, np.float32), 1.25).shape
    (12800,)
    """
    if not 0.25 <= factor <= 4:
        raise BadAudio(f"speed: factor must be from 0.25 to 4, got {factor}")
    if factor == 1:
        return samples.copy()
    # Samples taken at `factor` hertz and played at 1 hertz; only the ratio counts.
    return np.asarray(soxr.resample(samples, factor, 1.0, quality=QUALITY), dtype=np.float32)


def gain(samples: Samples, db: float) -> Samples:
    """Make ``[T]`` louder by ``db`` decibels (softer if below 0). Nothing is clipped.

    >>> gain(np.array([0.1, -0.2], np.float32), 20.0)
    array([ 1., -2.], dtype=float32)
    """
    return samples * np.float32(10 ** (db / 20))


def noise(
    samples: Samples,
    snr_db: float,
    *,
    rng: np.random.Generator,
    colour: Colour = "white",
) -> Samples:
    """Add noise that lies ``snr_db`` decibels below the signal.

    Args:
        samples: ``[T]``.
        snr_db: power of ``samples`` over power of the noise, both over the whole clip. Silence
            stays silence.
        rng: draws the noise.
        colour: "white" has equal power per hertz and hisses, "pink" equal power per octave, as
            rooms, wind and traffic nearly do.

    Raises:
        BadAudio: if ``colour`` is another.
    """
    if colour not in ("white", "pink"):
        raise BadAudio(f"noise: colour must be 'white' or 'pink', got '{colour}'")
    if colour == "white":
        drawn = rng.standard_normal(len(samples))
    else:
        size = _fft_size(len(samples) + 1)
        spectrum = np.fft.rfft(rng.standard_normal(size))
        # Power falls with 1/f. There is no octave that holds 0 Hz.
        spectrum[0] = 0
        spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
        drawn = np.fft.irfft(spectrum, size)[: len(samples)]
    return mix(samples, drawn.astype(np.float32), snr_db)


def mix(samples: Samples, other: Samples, snr_db: float) -> Samples:
    """Add another recording, scaled to lie ``snr_db`` decibels below the signal.

    Args:
        samples: ``[T]``.
        other: ``[S]`` at the same rate, e.g. of a street; repeated if shorter, cut if longer.
        snr_db: power of ``samples`` over power of what is added, both over the whole clip.

    Raises:
        BadAudio: if ``other`` is empty.
    """
    if not len(other):
        raise BadAudio("mix: the other recording holds no samples; give one that does")
    added = np.resize(other, len(samples))  # [T]
    power = np.square(samples, dtype=np.float64).mean() if len(samples) else 0.0
    power_added = np.square(added, dtype=np.float64).mean() if len(samples) else 0.0
    if power == 0 or power_added == 0:
        return samples.copy()
    scale = np.sqrt(power / power_added) * 10 ** (-snr_db / 20)
    return samples + np.float32(scale) * added


def reverb(
    samples: Samples,
    sample_rate: int,
    rt60_s: float,
    *,
    rng: np.random.Generator,
    direct_db: float = 0.0,
) -> Samples:
    r"""Put the voice into a room: the direct sound, then noise that dies away exponentially.

    The diffuse field after Polack, "La transmission de l'énergie sonore dans les salles", 1988,
    without early reflections:

    .. math:: h(t) = \delta(t) + a\, n(t)\, 10^{-3 t / RT_{60}}

    Args:
        samples: ``[T]``.
        sample_rate: hertz.
        rt60_s: seconds after which the room is 60 dB quieter; a living room has about 0.4, a
            church 4.
        rng: draws the noise, that is, the room.
        direct_db: energy of the direct sound over that of the tail; falls with distance.

    Returns:
        ``[T]``: the direct sound stays where it is, what rings on after the end is cut.

    Raises:
        BadAudio: if ``rt60_s`` is not above 0 and at most 10.
    """
    if not 0 < rt60_s <= 10:
        raise BadAudio(f"reverb: rt60_s must be above 0 and at most 10 s, got {rt60_s}")
    response = room_response(sample_rate, rt60_s, rng=rng, direct_db=direct_db)
    # Long enough that the end does not come round to the start.
    size = _fft_size(len(samples) + len(response) - 1)
    spectrum = np.fft.rfft(samples, size) * np.fft.rfft(response, size)
    return np.fft.irfft(spectrum, size)[: len(samples)].astype(np.float32)


def room_response(
    sample_rate: int, rt60_s: float, *, rng: np.random.Generator, direct_db: float = 0.0
) -> Samples:
    """Return the impulse response of :func:`reverb`, as long as it takes to fall by 60 dB."""
    time = np.arange(1, max(round(rt60_s * sample_rate), 1) + 1) / sample_rate
    tail = rng.standard_normal(len(time)) * 10 ** (-3 * time / rt60_s)
    tail *= 10 ** (-direct_db / 20) / np.sqrt(np.square(tail).sum())
    return np.concatenate([[1.0], tail]).astype(np.float32)


def band_limit(
    samples: Samples, sample_rate: int, low_hz: float = 300.0, high_hz: float = 3_400.0
) -> Samples:
    """Keep a band of frequencies alone: by default that of a telephone (ITU-T G.712).

    Args:
        samples: ``[T]``.
        sample_rate: hertz.
        low_hz: what is below is gone, 100 Hz further down entirely.
        high_hz: what is above is gone, 100 Hz further up entirely.

    Returns:
        ``[T]``, without delay.

    Raises:
        BadAudio: if ``low_hz`` is not below ``high_hz``.
    """
    if not low_hz < high_hz:
        raise BadAudio(f"band_limit: low_hz ({low_hz}) must be below high_hz ({high_hz})")
    # The filter rings for about 1 / (100 Hz) on either side; silence keeps that from coming round.
    size = _fft_size(len(samples) + sample_rate // 10)
    frequency = np.fft.rfftfreq(size, 1 / sample_rate)
    outside = np.maximum(low_hz - frequency, frequency - high_hz).clip(0, 100) / 100  # 0 to 1
    kept = np.fft.rfft(samples, size) * (0.5 + 0.5 * np.cos(np.pi * outside))
    limited: Samples = np.fft.irfft(kept, size)[: len(samples)].astype(np.float32)
    return limited


def clip(samples: Samples, depth_db: float) -> Samples:
    """Cut off the peaks, as an overdriven microphone does.

    Args:
        samples: ``[T]``.
        depth_db: how far below the highest peak the cut lies, 0 or more.

    Raises:
        BadAudio: if ``depth_db`` is negative.
    """
    if not depth_db >= 0:
        raise BadAudio(f"clip: depth_db must be 0 or more, got {depth_db}")
    ceiling = np.abs(samples).max(initial=0.0) * np.float32(10 ** (-depth_db / 20))
    clipped: Samples = np.clip(samples, -ceiling, ceiling)
    return clipped


def mu_law(samples: Samples, bits: int = 8) -> Samples:
    """Pass ``[T]`` in [-1, 1] through a mu-law codec, as a digital telephone line does.

    ITU-T G.711 in its continuous form (mu = 255): loud and soft sounds get the same number of steps
    in proportion. What is beyond full scale is clipped; silence stays silence.

    Args:
        samples: ``[T]``.
        bits: of a code word; 8 is G.711, fewer are worse.

    Raises:
        BadAudio: if ``bits`` is not from 2 to 16.
    """
    if not 2 <= bits <= 16:
        raise BadAudio(f"mu_law: bits must be from 2 to 16, got {bits}")
    mu = 255.0
    steps = 2 ** (bits - 1) - 1  # on either side of zero
    bounded = np.clip(samples.astype(np.float64), -1, 1)
    compressed = np.sign(bounded) * np.log1p(mu * np.abs(bounded)) / np.log1p(mu)
    coded = np.round(compressed * steps) / steps
    expanded: Samples = (np.sign(coded) * np.expm1(np.abs(coded) * np.log1p(mu)) / mu).astype(
        np.float32
    )
    return expanded


def shift(samples: Samples, sample_rate: int, shift_s: float) -> Samples:
    """Move the sound later by ``shift_s`` seconds (earlier if below 0) within the same length.

    What leaves at one end is lost, and zeros enter at the other.

    >>> shift(np.arange(1, 6, dtype=np.float32), 1, 2)
    array([0., 0., 1., 2., 3.], dtype=float32)
    """
    by = round(shift_s * sample_rate)
    by = max(-len(samples), min(by, len(samples)))
    moved = np.zeros_like(samples)
    if by >= 0:
        moved[by:] = samples[: len(samples) - by]
    else:
        moved[:by] = samples[-by:]
    return moved


def record_anew(samples: Samples, sample_rate: int, *, rng: np.random.Generator) -> Samples:
    """Record the voice as somebody else might: each of these may happen, one after another.

    ========== ======== =====================================================================
    what       how many drawn from
    ========== ======== =====================================================================
    a room     half     dies away in 0.1 to 0.8 s, 0 to 12 dB below the direct sound
    a band     half     from 50 to 300 Hz on; up to 3.4 to 7.6 kHz, on a logarithmic scale
    noise      8 of 10  5 to 35 dB below the voice; white or pink
    overload   1 of 10  peaks cut by up to 6 dB
    ========== ======== =====================================================================

    Args:
        samples: ``[T]``.
        sample_rate: hertz.
        rng: decides all of it.

    Returns:
        ``[T]``; the level may be another.
    """
    has_room, has_band, has_noise, is_clipped = rng.random(4) < (0.5, 0.5, 0.8, 0.1)
    if has_room:
        rt60_s, direct_db = rng.uniform(0.1, 0.8), rng.uniform(0, 12)
        samples = reverb(samples, sample_rate, rt60_s, rng=rng, direct_db=direct_db)
    if has_band:
        low_hz, high_hz = rng.uniform(50, 300), 3_400 * (7_600 / 3_400) ** rng.random()
        samples = band_limit(samples, sample_rate, low_hz, high_hz)
    if has_noise:
        colour: Colour = "white" if rng.random() < 0.5 else "pink"
        samples = noise(samples, rng.uniform(5, 35), rng=rng, colour=colour)
    return clip(samples, rng.uniform(0, 6)) if is_clipped else samples.copy()


def _fft_size(least: int) -> int:
    """Return the next power of two; a transform of prime length takes ten times as long."""
    return 1 << max(least - 1, 1).bit_length()
