"""Change the sample rate of audio that is still coming."""

import numpy as np
import soxr

from lightser.audio.files import MAX_RATE, MIN_RATE, Samples
from lightser.errors import BadAudio


class Resampler:
    """The same samples as :func:`~lightser.audio.files.resample`, chunk by chunk.

    What the chunks give, one after another, is what the whole would give, to the last bit; the
    last of it comes with :meth:`flush`, since a filter looks ahead.

    Raises:
        BadAudio: a rate that is not from 4 to 192 kHz.

    >>> resampler = Resampler(48_000, 16_000)
    >>> chunks = [resampler(np.zeros(480, np.float32)) for _ in range(100)]
    >>> sum(map(len, chunks)) + len(resampler.flush())
    16000
    """

    def __init__(self, rate_in: int, rate_out: int):
        for rate in (rate_in, rate_out):
            if not MIN_RATE <= rate <= MAX_RATE:
                raise BadAudio(f"sample_rate {rate} Hz; expected {MIN_RATE} to {MAX_RATE}.")
        self._rates = (rate_in, rate_out)
        self._soxr: soxr.ResampleStream | None = None
        self._begin()

    def _begin(self) -> None:
        if self._rates[0] != self._rates[1]:
            self._soxr = soxr.ResampleStream(*self._rates, 1, dtype="float32", quality="VHQ")

    def __call__(self, chunk: Samples) -> Samples:
        """Take the next ``[N]`` samples; return what is certain of the result by now."""
        if self._soxr is None:
            return chunk
        return np.asarray(self._soxr.resample_chunk(chunk), dtype=np.float32)

    def flush(self) -> Samples:
        """Return the rest; the next chunk begins another recording."""
        if self._soxr is None:
            return np.zeros(0, np.float32)
        rest = self._soxr.resample_chunk(np.zeros(0, np.float32), last=True)
        self._begin()
        return np.asarray(rest, dtype=np.float32)
