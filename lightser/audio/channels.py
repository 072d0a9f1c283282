"""Read the channels of a file apart, in blocks: a call recording has a speaker on each.

Shapes: N samples of a block, C channels.
"""

from collections.abc import Iterator

import numpy as np
import soxr

from lightser.audio.files import (
    _CHUNK,
    _QUALITY,
    MIN_SECONDS,
    Samples,
    Source,
    _check_rate,
    _check_reach,
    _open,
    _regroup,
)
from lightser.errors import BadAudio


def stream_channels(
    source: Source, sample_rate: int = 16_000, *, block_s: float = 10.0
) -> Iterator[Samples]:
    """Yield float32 blocks ``[N, C]`` of a file at ``sample_rate`` hertz; see ``stream_audio``.

    Each channel is what ``stream_audio`` would give for a file of that channel alone. Memory does
    not grow with the file.

    Raises:
        BadAudio: if the file cannot be read, is truncated or damaged, holds NaN or infinity, or is
            shorter than 0.1 s.
        MissingExtra: if its format needs the extra ``codecs``.
    """
    _check_rate(sample_rate, "sample_rate")
    with _open(source) as (decoder, name):
        rate, channels = decoder.sample_rate, decoder.channels
        if decoder.frames is not None:
            _check_reach(decoder, name, decoder.frames, stop=None)

        def resampled() -> Iterator[Samples]:
            done = 0
            change = soxr.ResampleStream(
                rate, sample_rate, channels, dtype="float32", quality=_QUALITY
            )
            for block in _regroup(decoder.read(0), max(_CHUNK // channels, 1)):
                if not np.isfinite(block).all():
                    raise BadAudio(
                        f"{name}: holds NaN or infinity after {done / rate:.1f} s; export it again"
                    )
                done += len(block)
                yield (
                    block
                    if rate == sample_rate
                    else _two_dimensional(
                        change.resample_chunk(np.ascontiguousarray(block)), channels
                    )
                )
            _check_reach(decoder, name, done, stop=None)
            if done < MIN_SECONDS * rate:
                raise BadAudio(
                    f"{name}: {done / rate:.3f} s long; at least {MIN_SECONDS} s is needed"
                )
            if rate != sample_rate:
                rest = np.empty((0, channels), np.float32)
                yield _two_dimensional(change.resample_chunk(rest, last=True), channels)

        yield from _regroup(resampled(), max(round(block_s * sample_rate), 1))


def _two_dimensional(block: Samples, channels: int) -> Samples:
    return np.asarray(block, np.float32).reshape(-1, channels)
