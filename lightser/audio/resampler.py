"""Change the sample rate of audio that is still coming.

Shapes: N samples of a chunk, C channels.
"""

from collections.abc import Iterable, Iterator
from numbers import Real
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import soxr

from lightser.errors import BadAudio

Samples: TypeAlias = npt.NDArray[np.float32]

MIN_RATE, MAX_RATE = 4_000, 192_000  # hertz
QUALITY = "VHQ"  # of soxr: aliases below -150 dB


class Resampler:
    """The same samples as :func:`~lightser.audio.files.resample`, chunk by chunk.

    What the chunks give, one after another, is what the whole would give, to the last bit; the
    last of it comes with :meth:`flush`, since a filter looks ahead.

    Args:
        rate_in: hertz.
        rate_out: hertz.
        channels: None takes and gives ``[N]``, a number ``[N, C]``.

    Raises:
        BadAudio: a rate that is not from 4 to 192 kHz.

    >>> resampler = Resampler(48_000, 16_000)
    >>> chunks = [resampler(np.zeros(480, np.float32)) for _ in range(100)]
    >>> sum(map(len, chunks)) + len(resampler.flush())
    16000
    """

    def __init__(self, rate_in: int, rate_out: int, channels: int | None = None):
        self._rates = check_rate(rate_in, "sample_rate"), check_rate(rate_out, "sample_rate")
        self._channels = channels or 1
        self._shape = (-1,) if channels is None else (-1, channels)
        self._soxr: soxr.ResampleStream | None = None
        self._begin()

    def _begin(self) -> None:
        if self._rates[0] != self._rates[1]:
            self._soxr = soxr.ResampleStream(
                *self._rates, self._channels, dtype="float32", quality=QUALITY
            )

    def __call__(self, chunk: Samples) -> Samples:
        """Take the next samples; return what is certain of the result by now."""
        return chunk if self._soxr is None else self._resample(chunk)

    def flush(self) -> Samples:
        """Return the rest; the next chunk begins another recording."""
        nothing: Samples = np.zeros((0, self._channels), np.float32).reshape(self._shape)
        if self._soxr is None:
            return nothing
        rest = self._resample(nothing, last=True)
        self._begin()
        return rest

    def _resample(self, chunk: Samples, *, last: bool = False) -> Samples:
        assert self._soxr is not None
        given = np.ascontiguousarray(chunk)
        resampled = np.asarray(self._soxr.resample_chunk(given, last=last), np.float32)
        return resampled.reshape(self._shape)  # soxr squeezes


def resampled(
    blocks: Iterable[Samples], rate_in: int, rate_out: int, channels: int | None = None
) -> Iterator[Samples]:
    """Yield blocks at another rate, as :class:`Resampler` gives them, the rest at the end.

    What came before damage is given, too.
    """
    resampler = Resampler(rate_in, rate_out, channels)
    try:
        for block in blocks:
            yield resampler(block)
    except BadAudio:
        yield resampler.flush()
        raise
    yield resampler.flush()


def check_rate(rate: float, argument: str) -> int:
    """Return a sample rate of speech as an ``int``, whatever kind of number it is.

    Raises:
        BadAudio: it is none, with the name of the argument in front.

    >>> check_rate(np.float32(44_100), "sample_rate")
    44100
    """
    if getattr(rate, "ndim", None) == 0:  # NumPy's numbers, and arrays of one
        rate = rate.item()  # type: ignore[attr-defined]
    if not isinstance(rate, Real):
        raise BadAudio(f"{argument} must be a number of hertz, got {rate!r}")
    if not MIN_RATE <= rate <= MAX_RATE:
        raise BadAudio(f"{argument} must be from {MIN_RATE} to {MAX_RATE} Hz, got {rate}")
    if rate != int(rate):
        raise BadAudio(f"{argument} must be a whole number of hertz, got {rate}")
    return int(rate)
