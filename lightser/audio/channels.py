"""Read the channels of a file in blocks, mixed or apart: a call recording has a speaker on each.

Shapes: N samples of a block, C channels.
"""

from collections.abc import Callable, Iterable, Iterator

from lightser.audio.downmix import Downmix
from lightser.audio.files import Source, _checked, _open, _regroup
from lightser.audio.resampler import Samples, check_rate, resampled
from lightser.errors import BadAudio


def stream_mixed(
    source: Source,
    sample_rate: int = 16_000,
    *,
    block_s: float = 10.0,
    recorded_at: Callable[[int], None] = lambda _: None,
    track: int | None = None,
) -> Iterator[Samples]:
    """Yield float32 blocks ``[N]`` of all channels, mixed as :class:`Downmix` does; else as below.

    Raises:
        BadAudio: as ``stream_audio``.
        MissingExtra: if its format needs the extra ``codecs``.
    """
    check_rate(sample_rate, "sample_rate")
    with _open(source, track) as (decoder, name):
        recorded_at(decoder.sample_rate)
        blocks = (block for _, block in _checked(decoder, name))
        mono = _mono(blocks, Downmix(decoder.sample_rate, name))
        yield from _regroup(
            resampled(mono, decoder.sample_rate, sample_rate),
            max(round(block_s * sample_rate), 1),
        )


def stream_channels(
    source: Source,
    sample_rate: int = 16_000,
    *,
    block_s: float = 10.0,
    recorded_at: Callable[[int], None] = lambda _: None,
    track: int | None = None,
) -> Iterator[Samples]:
    """Yield float32 blocks ``[N, C]`` of a file at ``sample_rate`` hertz; see ``stream_audio``.

    Each channel is what ``stream_audio`` would give for a file of that channel alone. Memory does
    not grow with the file.

    Args:
        source: as ``stream_audio`` takes it.
        sample_rate: hertz, of the result.
        block_s: seconds of a block.
        recorded_at: is called with the file's own sample rate, before the first block.
        track: of a file with several, from 1 on; None is the one that a player plays.

    Raises:
        BadAudio: as ``stream_audio``.
        MissingExtra: if its format needs the extra ``codecs``.
    """
    check_rate(sample_rate, "sample_rate")
    with _open(source, track) as (decoder, name):
        recorded_at(decoder.sample_rate)
        blocks = (block for _, block in _checked(decoder, name))
        yield from _regroup(
            resampled(blocks, decoder.sample_rate, sample_rate, decoder.channels),
            max(round(block_s * sample_rate), 1),
        )


def _mono(blocks: Iterable[Samples], mix: Downmix) -> Iterator[Samples]:
    """Yield blocks ``[N]`` of blocks ``[N, C]``, also of what came before damage."""
    try:
        for block in blocks:
            yield mix(block)
    except BadAudio:
        yield mix.flush()
        raise
    yield mix.flush()
