"""Read the channels of a file apart, in blocks: a call recording has a speaker on each.

Shapes: N samples of a block, C channels.
"""

from collections.abc import Iterator

import numpy as np

from lightser.audio.files import _CHUNK, MIN_SECONDS, Source, _check_reach, _open, _regroup
from lightser.audio.resampler import Samples, check_rate, resampled
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
    check_rate(sample_rate, "sample_rate")
    with _open(source) as (decoder, name):
        rate, channels = decoder.sample_rate, decoder.channels
        if decoder.frames is not None:
            _check_reach(decoder, name, decoder.frames, stop=None)

        def checked() -> Iterator[Samples]:
            done = 0
            for block in _regroup(decoder.read(0), max(_CHUNK // channels, 1)):
                if not np.isfinite(block).all():
                    raise BadAudio(
                        f"{name}: holds NaN or infinity after {done / rate:.1f} s; export it again"
                    )
                done += len(block)
                yield block
            _check_reach(decoder, name, done, stop=None)
            if done < MIN_SECONDS * rate:
                raise BadAudio(
                    f"{name}: {done / rate:.3f} s long; at least {MIN_SECONDS} s is needed"
                )

        yield from _regroup(
            resampled(checked(), rate, sample_rate, channels),
            max(round(block_s * sample_rate), 1),
        )
