"""Whatever is given to listen to, as mono blocks at the model's sample rate."""

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from lightser.audio.files import (
    LARGEST_FLOAT,
    MIN_SECONDS,
    Source,
    mixed,
    resample,
    stream_audio,
)
from lightser.errors import BadAudio
from lightser.inference.segments import Wave

# A path, a binary file object, or samples [T] or [T, channels].
Audio: TypeAlias = Source | NDArray[Any]
AnyAudio = TypeVar("AnyAudio", bound=Audio)

# Zero and full scale of integer samples.
_SCALES = {
    np.dtype(np.uint8): (128.0, 128.0),
    np.dtype(np.int16): (0.0, 2.0**15),
    np.dtype(np.int32): (0.0, 2.0**31),
}
_MOST_CHANNELS = 64


def to_mono(samples: NDArray[Any]) -> Wave:
    """Return ``[T]`` or ``[T, channels]`` samples as float32 ``[T]``, channels averaged.

    Args:
        samples: as :func:`to_floats` takes them.

    Raises:
        BadAudio: as :func:`to_floats`.
    """
    wave = to_floats(samples)
    return wave.mean(axis=1, dtype=np.float64).astype(np.float32) if wave.ndim == 2 else wave


def to_floats(samples: NDArray[Any]) -> NDArray[np.float32]:
    """Return ``[T]`` or ``[T, channels]`` samples as float32 with full scale 1.

    Args:
        samples: floats with full scale 1, or whole numbers of 8 (unsigned), 16 or 32 bits with
            theirs.

    Raises:
        BadAudio: another shape or kind of number, NaN or infinity, or floats far above full scale.
    """
    samples = np.asarray(samples)
    if samples.ndim not in (1, 2) or (samples.ndim == 2 and samples.shape[1] == 0):
        raise BadAudio(
            f"Expected samples of shape [T] or [T, channels], got {list(samples.shape)}."
        )
    if samples.ndim == 2 and samples.shape[1] > _MOST_CHANNELS:
        raise BadAudio(
            f"Samples of shape {list(samples.shape)} would have {samples.shape[1]} channels; "
            "expected [T, channels]: transpose them."
        )
    if samples.dtype in _SCALES:
        zero, full = _SCALES[samples.dtype]
        samples = (samples - zero) / full  # float64: 32 bits fit
    elif samples.dtype.kind != "f":
        raise BadAudio(f"Samples of type {samples.dtype}; give floats, uint8, int16 or int32.")
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
    """Tell samples in memory from a path or a file object."""
    return not isinstance(source, (str, os.PathLike)) and not hasattr(source, "read")


def mono_blocks(source: Audio, sample_rate: int | None, rate: int) -> Iterator[Wave]:
    """Yield a source as float32 ``[n]`` blocks, mono, at ``rate`` hertz.

    Args:
        source: a path, a binary file object, or samples ``[T]`` or ``[T, channels]``.
        sample_rate: hertz, of samples in memory; a file knows its own.
        rate: hertz, of the result.

    Raises:
        BadAudio: it cannot be read; samples come without their rate, or a file with one.
        MissingExtra: its format needs the extra ``codecs``.
    """
    if not is_samples(source):
        if sample_rate is not None:
            raise BadAudio(
                f"{name_of(source)}: got sample_rate={sample_rate}, but a file knows its own rate; "
                "leave it out."
            )
        yield from stream_audio(source, rate)  # type: ignore[arg-type]  # is_samples has told
        return
    if sample_rate is None:
        raise BadAudio("Samples in memory need their sample_rate, in hertz.")
    wave = to_floats(source)  # type: ignore[arg-type]
    if wave.ndim == 2:
        wave = mixed(wave, sample_rate, "audio")
    if len(wave) < MIN_SECONDS * sample_rate:
        raise BadAudio(
            f"{len(wave)} samples at {sample_rate} Hz are {len(wave) / sample_rate:.3f} s; "
            f"at least {MIN_SECONDS} s are needed."
        )
    yield resample(wave, sample_rate, rate)


@contextmanager
def rereadable(source: AnyAudio) -> Iterator[AnyAudio | BinaryIO]:
    """Give something that can be read twice: the source itself, or a copy on disk of a pipe."""
    pipe: BinaryIO | None = None
    if isinstance(source, (str, os.PathLike)):
        try:
            if stat.S_ISFIFO(os.stat(source).st_mode):
                pipe = open(source, "rb")  # noqa: SIM115  # closed below
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
            shutil.copyfileobj(pipe, copy)
        except (OSError, TypeError) as error:
            raise BadAudio(f"{name_of(source)}: cannot be read: {error}") from None
        finally:
            if pipe is not source:
                pipe.close()
        yield copy
