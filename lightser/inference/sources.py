"""Whatever is given to listen to, as mono blocks at the model's sample rate."""

import io
import os
import select
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from lightser.audio.channels import stream_mixed
from lightser.audio.downmix import mixed
from lightser.audio.files import (
    LARGEST_FLOAT,
    MIN_SECONDS,
    MOST_CHANNELS,
    Source,
    resample,
)
from lightser.audio.resampler import check_rate
from lightser.errors import BadAudio
from lightser.inference.segments import Wave

# A path, a binary file object, the bytes of a file, or samples [T] or [T, channels].
Audio: TypeAlias = Source | bytes | bytearray | memoryview | NDArray[Any]
AnyAudio = TypeVar("AnyAudio", bound=Audio)

_PIPE_BYTES = 2**16  # that are read at once
_MOST_BITS = 32  # of whole numbers that somebody records


def to_floats(samples: NDArray[Any]) -> NDArray[np.float32]:
    """Return ``[T]`` or ``[T, channels]`` samples as float32 with full scale 1.

    Args:
        samples: floats with full scale 1, or whole numbers of 8, 16 or 32 bits with theirs, signed
            or with zero in the middle; in any byte order.

    Raises:
        BadAudio: another shape or kind of number, NaN or infinity, or floats far above full scale.
    """
    try:
        samples = np.asarray(samples)
    except (TypeError, ValueError, RuntimeError) as error:  # of other libraries' arrays
        reason = (str(error).splitlines() or [""])[0]
        raise BadAudio(
            f"{type(samples).__name__} is no audio: {reason}; give a path, a binary file object, "
            "the bytes of a file, or samples as a NumPy array."
        ) from None
    if samples.ndim not in (1, 2) or (samples.ndim == 2 and samples.shape[1] == 0):
        raise BadAudio(
            f"Expected samples of shape [T] or [T, channels], got {list(samples.shape)}."
        )
    if samples.ndim == 2 and samples.shape[1] > MOST_CHANNELS:
        raise BadAudio(
            f"Samples of shape {list(samples.shape)} would have {samples.shape[1]} channels; "
            "expected [T, channels]: transpose them."
        )
    kind, bits = samples.dtype.kind, 8 * samples.dtype.itemsize
    if kind in "iu" and bits <= _MOST_BITS:
        full = 2.0 ** (bits - 1)
        samples = (samples - (full if kind == "u" else 0.0)) / full  # float64: 32 bits fit
    elif kind in "iu":
        raise BadAudio(
            f"Samples of type {samples.dtype}, whose full scale nobody records; give them the type "
            "that they had, such as samples.astype('int16')."
        )
    elif kind != "f":
        raise BadAudio(
            f"Samples of type {samples.dtype}; give floats, or whole numbers of 8, 16 or 32 bits."
        )
    else:
        largest = float(np.abs(samples).max(initial=0.0))
        if not np.isfinite(largest):
            raise BadAudio("The samples hold NaN or infinity.")
        if largest > LARGEST_FLOAT:
            raise BadAudio(
                f"Float samples reach {largest:g}, and full scale is 1; "
                "divide them by the full scale of where they came from (32768 for 16 bits)."
            )
    return samples.astype(np.float32, copy=False)


def name_of(source: Audio) -> str:
    """Return what to call a source when speaking of it."""
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source)
    name = getattr(source, "name", None)
    return name if isinstance(name, str) else "audio"


def is_samples(source: Audio) -> bool:
    """Tell samples in memory from a path, a file object or the bytes of a file."""
    return not (
        isinstance(source, (str, os.PathLike)) or hasattr(source, "read") or _is_file(source)
    )


def _is_file(source: object) -> bool:
    if isinstance(source, memoryview):
        return source.itemsize == 1  # what views an array of samples is samples
    return isinstance(source, (bytes, bytearray))


def opened(source: Audio) -> Audio:
    """Return the bytes of a file as a file object, and any other source as it is."""
    return io.BytesIO(source) if _is_file(source) else source  # type: ignore[arg-type]


def mono_blocks(
    source: Audio,
    sample_rate: int | None,
    rate: int,
    recorded_at: Callable[[int], None] = lambda _: None,
    track: int | None = None,
) -> Iterator[Wave]:
    """Yield a source as float32 ``[n]`` blocks, mono, at ``rate`` hertz.

    Args:
        source: a path, a binary file object, the bytes of a file, or samples ``[T]`` or
            ``[T, channels]``.
        sample_rate: hertz, of samples in memory; a file knows its own.
        rate: hertz, of the result.
        recorded_at: is called with the source's own rate.
        track: of a file with several, from 1 on; None is the one that a player plays.

    Raises:
        BadAudio: it cannot be read; samples come without their rate, or a file with one.
        MissingExtra: its format needs the extra ``codecs``.
    """
    if not is_samples(source):
        if sample_rate is not None:
            is_path = isinstance(source, (str, os.PathLike))
            raw = "" if is_path else "; of raw samples make an array, by numpy.frombuffer"
            raise BadAudio(
                f"{name_of(source)}: got sample_rate={sample_rate}, but a file knows its own rate; "
                f"leave it out{raw}."
            )
        file: Source = opened(source)  # type: ignore[assignment]  # is_samples has told
        yield from stream_mixed(file, rate, recorded_at=recorded_at, track=track)
        return
    if track is not None:
        raise BadAudio(f"Got track={track}, but samples in memory have no tracks; leave it out.")
    if sample_rate is None:
        raise BadAudio("Samples in memory need their sample_rate, in hertz.")
    sample_rate = check_rate(sample_rate, "sample_rate")
    wave = to_floats(source)  # type: ignore[arg-type]
    if wave.ndim == 2:
        wave = mixed(wave, sample_rate, "audio")
    if len(wave) < MIN_SECONDS * sample_rate:
        raise BadAudio(
            f"{len(wave)} samples at {sample_rate} Hz are {len(wave) / sample_rate:.3f} s; "
            f"at least {MIN_SECONDS} s are needed."
        )
    recorded_at(sample_rate)
    yield resample(wave, sample_rate, rate)


def _read_some(pipe: BinaryIO, *, waits: bool) -> bytes:
    """Return what has come through a pipe; at its end nothing.

    Python heeds a signal between two of its own steps, or when a system call breaks off. One that
    comes right before a call that waits would be heeded when the pipe ends; so we wait in slices.
    """
    while waits and not select.select([pipe], [], [], 0.1)[0]:
        pass
    some: bytes = getattr(pipe, "read1", pipe.read)(_PIPE_BYTES)
    return some


@contextmanager
def rereadable(source: AnyAudio) -> Iterator[AnyAudio | BinaryIO]:
    """Give something that can be read twice: the source itself, or a copy on disk of a pipe."""
    source = opened(source)  # type: ignore[assignment]
    pipe: BinaryIO | None = None
    if isinstance(source, (str, os.PathLike)):
        try:
            if stat.S_ISFIFO(os.stat(source).st_mode):
                pipe = open(source, "rb", buffering=0)  # noqa: SIM115  # closed below
        except (OSError, ValueError):
            pass  # said better when it is read
    elif not is_samples(source):
        seekable = getattr(source, "seekable", None)
        if not (seekable and seekable()):
            pipe = source  # type: ignore[assignment]
    if pipe is None:
        yield source
        return
    with tempfile.TemporaryFile() as copy:
        try:
            while block := _read_some(pipe, waits=pipe is not source):
                copy.write(block)
        except (OSError, TypeError) as error:
            raise BadAudio(f"{name_of(source)}: cannot be read: {error}") from None
        finally:
            if pipe is not source:
                pipe.close()
        yield copy
