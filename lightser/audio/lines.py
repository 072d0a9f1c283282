"""What lies between a voice and a file: a microphone, a level, a telephone line, a codec.

As :mod:`lightser.audio.augment`, on whose functions it stands: float32 ``[T]`` to float32 ``[T]``,
no longer and not delayed, what is drawn comes from the ``rng`` given. Codecs are the real ones:
what is encoded is written as a file in memory and read as any file is. GSM comes with libsndfile,
the others need PyAV, the extra ``codecs``.
"""

import io
from dataclasses import dataclass

import numpy as np
import soundfile
from numpy.typing import NDArray

from lightser.audio.augment import band_limit, gain, mu_law
from lightser.audio.decoders import open_decoder
from lightser.audio.files import resample
from lightser.audio.resampler import Samples
from lightser.errors import LightserError, MissingExtra, UnknownName

Floats = NDArray[np.float64]

TELEPHONE_RATE = 8_000


@dataclass(frozen=True, kw_only=True)
class Codec:
    """How a codec is asked for.

    Attributes:
        encoder: FFmpeg's name; "" is libsndfile's GSM.
        container: FFmpeg's name of the file.
        sample_rate: hertz.
        bit_rate: per second.
        delay_s: by which what is read is later than what was written; measured.
    """

    encoder: str
    container: str
    sample_rate: int
    bit_rate: int
    delay_s: float = 0.0


CODECS = {
    "mp3": Codec(encoder="libmp3lame", container="mp3", sample_rate=16_000, bit_rate=32_000),
    "opus": Codec(
        encoder="libopus",
        container="ogg",
        sample_rate=16_000,
        bit_rate=12_000,
        delay_s=0.0065,
    ),
    "amr_nb": Codec(
        encoder="libopencore_amrnb",
        container="amr",
        sample_rate=TELEPHONE_RATE,
        bit_rate=12_200,
        delay_s=0.005,
    ),
    "gsm": Codec(encoder="", container="wav", sample_rate=TELEPHONE_RATE, bit_rate=13_000),
}


def codec(samples: Samples, sample_rate: int, name: str) -> Samples:
    """Encode and decode ``[T]`` in [-1, 1]; what is beyond is clipped.

    ========== ================================================= ===========
    name       what                                              kilobit/s
    ========== ================================================= ===========
    ``mp3``    MPEG-2 layer III at 16 kHz                        32
    ``opus``   RFC 6716 at 16 kHz                                12
    ``amr_nb`` adaptive multi-rate, narrow band, 3GPP TS 26.071  12.2
    ``gsm``    full rate, ETSI EN 300 961                        13
    ========== ================================================= ===========

    Raises:
        UnknownName: no such codec.
        MissingExtra: it needs PyAV.
        LightserError: this FFmpeg has no such encoder.
    """
    if name not in CODECS:
        raise UnknownName("codec", name, CODECS)
    how = CODECS[name]
    spoken = resample(samples, sample_rate, how.sample_rate)
    words = (np.clip(spoken, -1, 1) * 32_767).round().astype(np.int16)  # [T']
    if not len(words) or not words.any():
        return np.zeros_like(samples)
    with open_decoder(_encoded(words, name, how), name) as decoder:
        heard = np.concatenate([block[:, 0] for block in decoder.read(0)])  # [T'']
        heard = resample(heard, decoder.sample_rate, sample_rate)
    return _as_long(heard[round(how.delay_s * sample_rate) :], samples)


def _encoded(words: NDArray[np.int16], name: str, how: Codec) -> io.BytesIO:
    """Return a file of them."""
    file = io.BytesIO()
    # What the encoder and its filters still hold at the end comes out with a little more.
    words = np.pad(words, (0, how.sample_rate // 10))
    if not how.encoder:
        soundfile.write(file, words, how.sample_rate, format="WAV", subtype="GSM610")
        file.seek(0)
        return file
    try:
        import av
    except ImportError as error:
        raise MissingExtra(f"The codec {name}", "codecs") from error
    try:
        with av.open(file, "w", format=how.container) as container:
            stream = container.add_stream(how.encoder, rate=how.sample_rate, layout="mono")
            assert isinstance(stream, av.AudioStream)
            stream.bit_rate = how.bit_rate
            frame = av.AudioFrame.from_ndarray(words[None], format="s16", layout="mono")
            frame.sample_rate = how.sample_rate
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    except (av.FFmpegError, ValueError) as error:
        raise LightserError(
            f"This FFmpeg cannot encode {name} ({how.encoder}): {error}; take av from PyPI"
        ) from error
    file.seek(0)
    return file


def telephone(samples: Samples, sample_rate: int) -> Samples:
    """Send ``[T]`` over a digital telephone line: 300 to 3400 Hz, 8 kHz, 8 bits of mu-law.

    ITU-T G.712 and G.711.
    """
    spoken = band_limit(resample(samples, sample_rate, TELEPHONE_RATE), TELEPHONE_RATE)
    return _as_long(resample(mu_law(spoken), TELEPHONE_RATE, sample_rate), samples)


def microphone(samples: Samples, sample_rate: int, *, rng: np.random.Generator) -> Samples:
    """Hear ``[T]`` by another microphone, that is, with an evenness of its own over frequencies.

    The response is drawn (:func:`microphone_response`). Zero phase.
    """
    # The filter rings on either side; silence keeps that from coming round.
    size = 1 << (len(samples) + sample_rate // 4 - 1).bit_length()
    frequencies = np.fft.rfftfreq(size, 1 / sample_rate).astype(np.float64)
    heard = np.fft.rfft(samples, size) * 10 ** (microphone_response(frequencies, rng=rng) / 20)
    return np.fft.irfft(heard, size)[: len(samples)].astype(np.float32)


def microphone_response(frequencies: Floats, *, rng: np.random.Generator) -> Floats:
    """Return decibels at ``frequencies`` (hertz), 0 at 1 kHz.

    Drawn, not measured: lightser ships no measured responses. The ranges are wide enough for
    small electret and MEMS capsules, their cases and what phones make of them: a fall of 12 dB
    per octave below 30 to 250 Hz; one to three peaks or dips of up to 8 dB, half an octave to
    two wide, between 0.5 and 7 kHz; over all, a slope of up to 1.5 dB per octave either way.
    """
    octaves = np.log2(np.maximum(np.append(frequencies, 1_000.0), 1.0) / 1_000)
    low = np.log2(30 / 1_000) + rng.random() * np.log2(250 / 30)
    response = rng.uniform(-1.5, 1.5) * octaves - 10 * np.log10(1 + 2 ** (4 * (low - octaves)))
    for _ in range(rng.integers(1, 4)):
        at = -1 + rng.random() * (1 + np.log2(7))
        response += rng.uniform(-8, 8) * np.exp2(-(((octaves - at) / rng.uniform(0.25, 1)) ** 2))
    relative: Floats = response[:-1] - response[-1]
    return relative


def through_devices(samples: Samples, sample_rate: int, *, rng: np.random.Generator) -> Samples:
    """Send the voice as somebody else might: each of these may happen, one after another.

    ========== ======== =====================================================================
    what       how many drawn from
    ========== ======== =====================================================================
    microphone half     :func:`microphone_response`
    level      all      the loudest sample 40 to 1 dB below full scale, in steps of 16 bits
    line       half     telephone, ``mp3``, ``opus``, ``amr_nb`` or ``gsm``, each alike
    ========== ======== =====================================================================

    Args:
        samples: ``[T]``.
        sample_rate: hertz.
        rng: decides all of it.

    Raises:
        MissingExtra: PyAV is not installed.
    """
    has_microphone, has_line = rng.random(2) < 0.5
    if has_microphone:
        samples = microphone(samples, sample_rate, rng=rng)
    samples = at_peak(samples, rng.uniform(-40, -1))
    if has_line:
        line = ("telephone", *CODECS)[rng.integers(1 + len(CODECS))]
        if line == "telephone":
            return telephone(samples, sample_rate)
        return codec(samples, sample_rate, line)
    return samples


def at_peak(samples: Samples, db: float) -> Samples:
    """Give the loudest of ``[T]`` a level, in dB of full scale, and round to 16 bits.

    Silence stays silence.
    """
    peak = np.abs(samples).max(initial=0.0)
    level = samples if peak == 0 else gain(samples, db - 20 * np.log10(peak))
    return (np.clip(level, -1, 1) * 32_767).round().astype(np.float32) / np.float32(32_767)


def _as_long(heard: Samples, samples: Samples) -> Samples:
    """Return ``heard`` as long as ``samples``: cut, or with zeros behind it."""
    return np.pad(heard[: len(samples)], (0, max(0, len(samples) - len(heard))))
