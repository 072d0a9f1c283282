"""Read audio files of any common format, whole or in blocks.

WAV (8 to 32 bit, float, extensible), FLAC, Ogg Vorbis and Opus, MP3 and AIFF need nothing more;
M4A, AAC, WebM and other formats of phones and browsers need the extra ``codecs``. The format is
found from the content; the extension is not looked at.

Times are those of the recording: where it has a gap, or begins late, there is silence.

What comes out is mono: the mean of all channels. Where channels cancel each other (one was
wired the wrong way round, so that the mean is near silence), the louder one is kept from there on,
with a warning.

Shapes: T samples, N samples of a block, C channels.
"""

import io
import math
import os
import shutil
import stat
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, TypeAlias

import numpy as np
import numpy.typing as npt
import soxr

from lightser.audio.decoders import Decoder, open_decoder
from lightser.audio.resampler import (
    MAX_RATE,
    MIN_RATE,
    QUALITY,
    Samples,
    check_rate,
    resampled,
)
from lightser.errors import BadAudio, LightserWarning

Source: TypeAlias = str | os.PathLike[str] | BinaryIO

MIN_SECONDS = 0.1
# Half a step of 16 bits, -96 dB: what swings less is the recorder's own noise, or nothing.
SILENCE = 2.0**-16
MAX_SAMPLES = 2**29  # 2 GB of float32: 9.3 h at 16 kHz

MOST_CHANNELS = 64  # of samples in memory: more are a recording whose axes are the other way round

# Full scale is 1. A decoder may overshoot it; what is this far off are integers in disguise.
LARGEST_FLOAT = 16.0

_SLACK_SECONDS = 0.05  # by which times in tables and lengths in headers may be off
# Samples (of all channels together) that are mixed at once, whatever the blocks asked for, so that
# these do not change the outcome: 8 s of stereo at 16 kHz.
_CHUNK = 2**18


@dataclass(frozen=True)
class AudioInfo:
    """What a file says of itself.

    Attributes:
        format: container and coding, for people, e.g. ``"WAV PCM_16"``.
        sample_rate: hertz.
        channels: number of channels.
        frames: samples of each channel.
        duration_s: seconds.
        tracks: number of audio tracks, of which this is one.
    """

    format: str
    sample_rate: int
    channels: int
    frames: int
    duration_s: float
    tracks: int = 1


def read_audio(
    source: Source,
    sample_rate: int = 16_000,
    *,
    start: float | None = None,
    end: float | None = None,
    channel: int | None = None,
    track: int | None = None,
    silence: bool = False,
) -> Samples:
    """Read a file as float32 ``[T]``, mono, at ``sample_rate`` hertz.

    Args:
        source: a path, or a binary file object (read from its beginning if it can seek, else from
            where it stands; it stays open).
        sample_rate: of the result; the file may have any rate from 4 to 192 kHz.
        start: seconds from which to read; None is the beginning.
        end: seconds up to which to read; None is the end of the file.
        channel: the one to read, from 1 on; None is all of them mixed.
        track: the one to read, from 1 on; None is the one that a player plays, with a warning where
            there are others.
        silence: whether a file may be silent throughout.

    Raises:
        BadAudio: if the file is missing, not readable, not audio, truncated or damaged, holds NaN,
            infinity or numbers far above full scale, is silent throughout, shorter than 0.1 s, or
            longer than 2 GB of result; or if ``start`` and ``end`` are not a stretch of it, or it
            has no such channel or track.
        MissingExtra: if its format needs the extra ``codecs``.
    """
    check_rate(sample_rate, "sample_rate")
    with _open(source, track) as (decoder, name):
        blocks = []
        size = 0
        for block in resampled(
            _mono(decoder, name, start, end, channel, limit=MAX_SAMPLES / sample_rate),
            decoder.sample_rate,
            sample_rate,
        ):
            blocks.append(block)
            size += len(block)
            if size > MAX_SAMPLES:
                raise _too_long(name, size / sample_rate)
    samples = np.concatenate(blocks)
    if not silence:
        check_audible(samples, name)
    return samples


def stream_audio(
    source: Source,
    sample_rate: int = 16_000,
    *,
    block_s: float = 10.0,
    channel: int | None = None,
    track: int | None = None,
) -> Iterator[Samples]:
    """Yield what :func:`read_audio` returns in blocks of ``block_s`` seconds, the last one shorter.

    Decodes and resamples as it goes: memory does not grow with the file. A source that cannot seek
    (a pipe) is first copied to a temporary file.

    Silence passes: whoever streams hears it before knowing what follows. Damage is reported when
    it is reached.

    Raises:
        BadAudio: as :func:`read_audio`, but for silence and length; or if ``block_s`` is not
            above 0.
        MissingExtra: if the format needs the extra ``codecs``.
    """
    check_rate(sample_rate, "sample_rate")
    size = round(block_s * sample_rate) if math.isfinite(block_s) else 0
    if size < 1:
        raise BadAudio(f"block_s must be at least one sample (above 0 s), got {block_s}")
    with _open(source, track) as (decoder, name):
        yield from _regroup(
            resampled(_mono(decoder, name, None, None, channel), decoder.sample_rate, sample_rate),
            size,
        )


def audio_info(source: Source, *, track: int | None = None) -> AudioInfo:
    """Read what a file says of itself, without decoding it where it says all.

    The number of frames is what the header declares; it is counted, which takes time, in files that
    do not declare one.

    Raises:
        BadAudio: if the file is missing, not readable, not audio, or can be seen to be truncated.
        MissingExtra: if its format needs the extra ``codecs``.
    """
    with _open(source, track) as (decoder, name):
        if decoder.frames is not None:
            _check_reach(decoder, name, decoder.frames, stop=None)
        frames = _known(decoder)
        if frames is None:
            frames = sum(len(block) for block in decoder.read(0))
        rate = decoder.sample_rate
        seconds = frames / rate
        return AudioInfo(decoder.format, rate, decoder.channels, frames, seconds, decoder.tracks)


def declared_s(source: Source, *, track: int | None = None) -> float | None:
    """Return the seconds that a file says it has, or None where it does not say; none are decoded.

    Raises:
        BadAudio: if the file is missing, not readable, or not audio.
        MissingExtra: if its format needs the extra ``codecs``.
    """
    with _open(source, track) as (decoder, _):
        frames = _known(decoder)
        return None if frames is None else frames / decoder.sample_rate


def resample(samples: npt.ArrayLike, rate_in: int, rate_out: int) -> Samples:
    """Change the sample rate of ``[T]`` or ``[T, C]`` by soxr at its very high quality.

    The result has ``T * rate_out / rate_in`` samples, rounded, and no delay.

    Raises:
        BadAudio: if a rate is not from 4 to 192 kHz, the shape is another, or it would be of more
            than 64 channels.

    >>> resample([0.0] * 44_100, 44_100, 16_000).shape
    (16000,)
    """
    check_rate(rate_in, "rate_in")
    check_rate(rate_out, "rate_out")
    signal = np.asarray(samples, dtype=np.float32)
    if signal.ndim not in (1, 2) or 0 in signal.shape[1:]:
        raise BadAudio(f"Expected samples of shape [T] or [T, channels], got {list(signal.shape)}")
    if signal.ndim == 2 and signal.shape[1] > MOST_CHANNELS:  # at which soxr may end the process
        raise BadAudio(
            f"Samples of shape {list(signal.shape)} would have {signal.shape[1]} channels; "
            "expected [T, channels]: transpose them"
        )
    if rate_in == rate_out:
        return signal
    changed: Samples = soxr.resample(signal, rate_in, rate_out, quality=QUALITY)
    return changed


def is_silent(samples: Samples) -> bool:
    """Return whether ``[T]`` samples are silent throughout: constant but for half a 16-bit step."""
    return float(samples.max() - samples.min()) / 2 < SILENCE


def check_audible(samples: Samples, name: str) -> None:
    """Refuse ``[T]`` samples that are silent throughout.

    Raises:
        BadAudio: with ``name`` in front.
    """
    if is_silent(samples):
        raise BadAudio(
            f"{name}: silent throughout (nothing above {20 * math.log10(SILENCE):.0f} dB); "
            "check the recording"
        )


def mixed(samples: Samples, rate: int, name: str) -> Samples:
    """Return the mean ``[T]`` of all channels of ``[T, C]``, as it is made of a file's.

    Where they cancel each other it is one of them, with a warning.
    """
    mix, size = _Downmix(name, rate), max(_CHUNK // samples.shape[1], 1)
    starts = range(0, len(samples), size)
    parts = [mix(samples[start : start + size], at=start) for start in starts]
    return np.concatenate(parts) if parts else samples[:, 0]


# From a source to a decoder


@contextmanager
def _open(source: Source, track: int | None = None) -> Iterator[tuple[Decoder, str]]:
    with _seekable(source) as (file, name), open_decoder(file, name, track) as decoder:
        if not MIN_RATE <= decoder.sample_rate <= MAX_RATE:
            raise BadAudio(
                f"{name}: sample rate {decoder.sample_rate} Hz; "
                f"lightser reads {MIN_RATE} to {MAX_RATE} Hz"
            )
        yield decoder, name


@contextmanager
def _seekable(source: Source) -> Iterator[tuple[BinaryIO, str]]:
    """Open ``source`` for seeking and name it; a file object is left open."""
    if isinstance(source, (str, os.PathLike)):
        path = os.fspath(source)
        with _open_path(path) as opened, _rewound(opened, path) as file:
            yield file, path
        return
    if not hasattr(source, "read"):
        raise BadAudio(
            f"Expected a path or a binary file object, got {type(source).__name__}; "
            "samples that are in memory need no reading"
        )
    given = getattr(source, "name", None)
    name = given if isinstance(given, str) else "audio"
    if isinstance(source, io.TextIOBase):
        raise BadAudio(f"{name}: opened as text; open it as binary, with mode 'rb'")
    with _rewound(source, name) as file:
        yield file, name


def _open_path(path: str) -> BinaryIO:
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise BadAudio(f"{path}: a folder, not a file; give the files in it")
        if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
            raise BadAudio(f"{path}: a device, not a file; give a file or a pipe")
        return open(path, "rb")
    except FileNotFoundError as error:
        raise BadAudio(f"{path}: no such file; check the path") from error
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise BadAudio(f"{path!r}: cannot be opened ({reason}); check who may read it") from error


@contextmanager
def _rewound(file: BinaryIO, name: str) -> Iterator[BinaryIO]:
    """Give ``file`` back if it can seek from its end as decoders must, else a copy on disk."""
    try:
        file.seek(0, os.SEEK_END)
        file.seek(0)
    except (AttributeError, OSError, ValueError):  # gzip raises ValueError
        with tempfile.TemporaryFile() as copy:
            try:
                shutil.copyfileobj(file, copy)
            except (OSError, EOFError, ValueError, TypeError) as error:  # closed, cut, text, …
                raise BadAudio(f"{name}: cannot be read ({error}); open it again") from error
            yield copy
    else:
        try:
            yield file
        except OSError as error:  # its disk fails, its store is gone
            reason = error.strerror or error
            raise BadAudio(f"{name}: cannot be read ({reason}); copy it again") from error


# From a decoder to blocks


def _mono(
    decoder: Decoder,
    name: str,
    start: float | None,
    end: float | None,
    channel: int | None,
    *,
    limit: float = math.inf,
) -> Iterator[Samples]:
    """Yield blocks ``[N]`` of one channel, or of all mixed, at the file's own rate."""
    if channel is not None and not 1 <= channel <= decoder.channels:
        raise BadAudio(f"{name}: no channel {channel}; it has {decoder.channels}, counted from 1")
    mix = _Downmix(name, decoder.sample_rate)
    for at, chunk in _checked(decoder, name, start, end, limit=limit):
        yield mix(chunk, at=at) if channel is None else chunk[:, channel - 1]


def _checked(
    decoder: Decoder,
    name: str,
    start: float | None = None,
    end: float | None = None,
    *,
    limit: float = math.inf,
) -> Iterator[tuple[int, Samples]]:
    """Yield blocks ``[N, C]`` at the file's own rate, each with its first frame's number.

    What cannot be used is refused. ``limit`` is the number of seconds above which not to begin.
    """
    rate = decoder.sample_rate
    if not 0 <= (start or 0) < (math.inf if end is None else end) or not math.isfinite(end or 0):
        raise BadAudio(f"{name}: from {start} s to {end} s is no stretch of time; give start < end")
    first = round((start or 0) * rate)
    stop = None if end is None else round(end * rate)
    known = _known(decoder)
    if decoder.frames is not None:
        _check_reach(decoder, name, decoder.frames, stop)
    seconds = ((stop or known or 0) - first) / rate
    if seconds > limit:
        raise _too_long(name, seconds)

    done = first
    for chunk in _regroup(
        _until(decoder.read(first), None if stop is None else stop - first),
        max(_CHUNK // decoder.channels, 1),
    ):
        largest = float(np.abs(chunk).max())
        if not math.isfinite(largest):
            at = np.flatnonzero(~np.isfinite(chunk).all(axis=1))[0]
            value = chunk[at][~np.isfinite(chunk[at])][0]
            raise BadAudio(
                f"{name}: holds {value} instead of a number at {(done + at) / rate:.3f} s; "
                "export it again"
            )
        if largest > LARGEST_FLOAT:
            raise BadAudio(
                f"{name}: its samples reach {largest:g}, and full scale is 1; export it again"
            )
        yield done, chunk
        done += len(chunk)

    if done == first and start:
        total = "" if known is None else f" ({known / rate:.2f} s)"
        raise BadAudio(f"{name}: start {start} s is past its end{total}")
    _check_reach(decoder, name, done, stop)
    if done == 0:
        raise BadAudio(f"{name}: holds no samples, only a header; record it again")
    if (done - first) / rate < MIN_SECONDS:
        raise BadAudio(
            f"{name}: {(done - first) / rate:.3f} s long; at least {MIN_SECONDS} s is needed"
        )


def _known(decoder: Decoder) -> int | None:
    """Return how many frames there are, as far as can be told without decoding them."""
    return decoder.frames if decoder.frames is not None else decoder.declared


def _check_reach(decoder: Decoder, name: str, present: int, stop: int | None) -> None:
    """Refuse a file that holds less than asked for: up to ``stop``, or all that it declares."""
    rate = decoder.sample_rate
    slack = _SLACK_SECONDS * rate
    if decoder.declared is not None and present + max(slack, decoder.slack) < min(
        decoder.declared, decoder.declared if stop is None else stop
    ):
        raise BadAudio(
            f"{name}: truncated or damaged, declares {decoder.declared / rate:.2f} s and holds "
            f"{present / rate:.2f} s; copy it again"
        )
    if stop is not None and present + slack < stop:
        raise BadAudio(f"{name}: end {stop / rate:.2f} s is past its end ({present / rate:.2f} s)")
    if decoder.is_cut and stop is None:
        raise BadAudio(
            f"{name}: truncated, breaks off after {present / rate:.2f} s in the middle of a "
            "packet; copy it again"
        )


def _too_long(name: str, seconds: float) -> BadAudio:
    return BadAudio(
        f"{name}: {seconds / 3600:.1f} h by its header, more than read_audio takes (2 GB); "
        "use stream_audio, or give start and end"
    )


class _Downmix:
    """The mean of all channels, or one of them from where they cancel each other on."""

    def __init__(self, name: str, rate: int):
        self._name, self._rate = name, rate
        self._kept: int | None = None

    def __call__(self, chunk: Samples, *, at: int) -> Samples:
        channels = chunk.shape[1]
        if self._kept is None and channels > 1:
            # In double precision, so that equal channels give exactly themselves.
            mean: npt.NDArray[np.float64] = chunk.mean(axis=1, dtype=np.float64)
            powers = np.square(chunk, dtype=np.float64).mean(axis=0)  # [C]
            # Channels that have nothing in common keep 1/C of their power in the mean.
            is_audible = powers.max() > SILENCE**2
            if is_audible and np.square(mean).mean() < 0.1 * powers.mean() / channels:
                self._kept = int(powers.argmax())
                warnings.warn(
                    f"{self._name}: its {channels} channels cancel each other from about "
                    f"{at / self._rate:.1f} s; only channel {self._kept + 1}, the loudest, is "
                    "kept from there on",
                    LightserWarning,
                    stacklevel=2,
                )
            else:
                return mean.astype(np.float32)
        return chunk[:, self._kept or 0]


# Blocks


def _until(blocks: Iterable[Samples], frames: int | None) -> Iterator[Samples]:
    """Yield ``blocks`` up to a number of frames; None is all."""
    left = math.inf if frames is None else frames
    for block in blocks:
        if len(block) >= left:
            yield block[: int(left)]
            return
        left -= len(block)
        yield block


def _regroup(blocks: Iterable[Samples], size: int) -> Iterator[Samples]:
    """Yield the same frames in blocks of ``size``, the last one shorter, also before damage."""
    held: list[Samples] = []
    count = 0
    try:
        for block in blocks:
            while count + len(block) >= size:
                cut = size - count
                yield np.concatenate([*held, block[:cut]])
                held, count, block = [], 0, block[cut:]
            if len(block):
                held.append(block)
                count += len(block)
    except BadAudio:
        if held:
            yield np.concatenate(held)
        raise
    if held:
        yield np.concatenate(held)
