"""Read the channels of a file apart, in blocks: a call recording has a speaker on each.

Shapes: N samples of a block, C channels.
"""

from collections.abc import Iterator

from lightser.audio.files import Source, _checked, _open, _regroup
from lightser.audio.resampler import Samples, check_rate, resampled


def stream_channels(
    source: Source, sample_rate: int = 16_000, *, block_s: float = 10.0
) -> Iterator[Samples]:
    """Yield float32 blocks ``[N, C]`` of a file at ``sample_rate`` hertz; see ``stream_audio``.

    Each channel is what ``stream_audio`` would give for a file of that channel alone. Memory does
    not grow with the file.

    Raises:
        BadAudio: as ``stream_audio``.
        MissingExtra: if its format needs the extra ``codecs``.
    """
    check_rate(sample_rate, "sample_rate")
    with _open(source) as (decoder, name):
        blocks = (block for _, block in _checked(decoder, name))
        yield from _regroup(
            resampled(blocks, decoder.sample_rate, sample_rate, decoder.channels),
            max(round(block_s * sample_rate), 1),
        )
