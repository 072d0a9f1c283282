"""From an open file to blocks of samples: libsndfile for most formats, FFmpeg for the rest.

Who decodes what, and what is looked at before, stands in docs/decisions/0017-who-decodes-what.md.

Shapes: N frames of a block, C channels. A frame is one sample of each channel.
"""

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import BinaryIO, Protocol

import soundfile

from lightser.audio.containers import Sound, next_beginning, size_of, sounds, splice
from lightser.audio.ffmpeg import Ffmpeg, NoSound, open_ffmpeg, spread
from lightser.audio.libsndfile import Block, Libsndfile, open_libsndfile
from lightser.audio.mpeg import MpegSound, scan_mpeg
from lightser.audio.ogg import ogg_sounds
from lightser.audio.resampler import resampled
from lightser.audio.signatures import HEAD_BYTES, foreign_name
from lightser.errors import BadAudio, LightserWarning, MissingExtra


class Decoder(Protocol):
    """An open file: what its header says, and its samples."""

    format: str  # for people, e.g. "WAV PCM_16"
    sample_rate: int  # hertz
    channels: int
    tracks: int  # of which one is read
    frames: int | None  # that can be read, if it is certain before reading
    declared: int | None  # frames that the file says it has, if it does
    slack: int  # frames of the codec by which that may be off
    is_cut: bool  # the file breaks off in a way that says so, though not by how much

    def read(self, first: int) -> Iterator[Block]:
        """Yield blocks ``[N, C]`` from frame ``first`` to the end.

        Raises:
            BadAudio: if the samples cannot be decoded.
        """
        ...


_MOST_PADDING = 8192  # frames by which a coding in blocks fills its last one
_KNOWN = (b"OggS", b"fLaC", b"RIFF", b"RIFX", b"RF64", b"FORM", b"caff", b".snd", b"riff")
_LATER_PIECE = (
    "a later piece of a recording that was made in pieces (MediaRecorder, HLS, DASH), without the "
    "first; join them in order: cat first second ... > whole"
)
# What is often taken for audio, and what helps.
_NOT_AUDIO = (
    (
        rb"version https://git-lfs",
        "a pointer of Git LFS, not the recording; fetch it: git lfs pull",
    ),
    (
        rb"(\.\./)*(\.git|/)?/?annex/objects/",
        "a pointer of git-annex, not the recording; fetch it: git annex get",
    ),
    (
        rb"(?i)\s*(\xef\xbb\xbf)?\s*<(!doctype html|html|head|body|script)",
        "a web page, not a recording, as a server sends in place of one; download it again",
    ),
    (
        rb"\s*(\xef\xbb\xbf)?<\?xml",
        "XML, not a recording, as a server sends in place of one; download it again",
    ),
    (rb"#EXTM3U|\[playlist\]", "a playlist, not a recording; give the files that it names"),
    (rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!", "an archive, not a recording; unpack it"),
    (
        rb".{4}(moof|styp|sidx|msdh)|\x1f\x43\xb6\x75|\xa3[\x40-\xff].{0,7}\x81..[\x00\x80]",
        _LATER_PIECE,
    ),
)


@contextmanager
def open_decoder(file: BinaryIO, name: str, track: int | None = None) -> Iterator[Decoder]:
    """Open a seekable ``file`` by what it contains; ``name`` is for messages.

    Args:
        file: what to read.
        name: for messages.
        track: from 1 on, of a file with several; None is the one that a player plays.

    Raises:
        BadAudio: if it is empty, not audio, or damaged at its start; or has no such track.
        MissingExtra: if it needs FFmpeg and PyAV is not installed.
    """
    file.seek(0)
    head = file.read(HEAD_BYTES)
    if not head:
        raise BadAudio(f"{name}: empty (0 bytes); copy or record it again")
    for pattern, what in _NOT_AUDIO:
        if re.match(pattern, head, re.DOTALL):
            raise BadAudio(f"{name}: {what}")
    parts = _parts(file, head, name)
    with ExitStack() as stack:
        decoders = [_open(part, mpeg, name, track, stack) for part, mpeg in parts]
        if len(decoders) > 1:
            yield _Joined(decoders, name)
        else:
            yield decoders[0]


def _parts(file: BinaryIO, head: bytes, name: str) -> list[tuple[Sound, MpegSound | None]]:
    """Return what stands one behind another in a file, and what is known of MPEG audio."""
    if head[:4] == b"OggS":
        if not (links := ogg_sounds(file)):
            raise BadAudio(f"{name}: {_LATER_PIECE}")
        return [(link, None) for link in links]
    parts: list[tuple[Sound, MpegSound | None]] = []
    for sound in sounds(file, head):
        mpegs = []
        if sound.mpeg or (
            sound.declared is None and not (foreign_name(head) or head[:4] in _KNOWN)
        ):
            where = sound.mpeg or sound.file
            mpegs = [(_mpeg_sound(where, mpeg, sound), mpeg) for mpeg in scan_mpeg(where)]
        parts += mpegs or [(sound, None)]
    return parts


def _mpeg_sound(file: BinaryIO, mpeg: MpegSound, holder: Sound) -> Sound:
    is_cut = mpeg.is_cut or (holder.declared or 0) > holder.present
    why = "" if mpeg.first.layer == 3 else "libsndfile guesses its length"
    return Sound(mpeg.view(file), is_cut=is_cut, is_irregular=why)


def _open(
    sound: Sound, mpeg: MpegSound | None, name: str, track: int | None, stack: ExitStack
) -> Decoder:
    file = sound.file
    file.seek(0)
    head = file.read(HEAD_BYTES)
    kind = foreign_name(head) or sound.foreign or None
    if sound.warning:
        warnings.warn(f"{name}: {sound.warning}", LightserWarning, stacklevel=2)
    reason = sound.is_irregular
    is_mpeg = mpeg is not None
    # What begins like MPEG audio and is none would only make libmpg123 look for it.
    is_like_mpeg = head[:3] == b"ID3" or (head[0] == 0xFF and len(head) > 1 and head[1] > 0xE0)
    if kind is None and is_mpeg >= is_like_mpeg and not (reason and _has_ffmpeg()):
        try:
            decoder = stack.enter_context(open_libsndfile(file, name, is_mpeg=is_mpeg))
        except soundfile.SoundFileError as error:
            reason = getattr(error, "error_string", str(error)).strip(" .")
        else:
            return _informed(decoder, sound, mpeg, name, track)
    if not _has_ffmpeg():
        if kind is not None:
            raise MissingExtra(f"{name}: reading {kind}", "codecs")
        raise _not_read(name, head, sound, reason)
    import av

    try:
        foreign = stack.enter_context(open_ffmpeg(file, name, kind, track))
    except (av.FFmpegError, ValueError, NoSound) as error:
        if isinstance(error, NoSound) and not reason:
            raise
        if kind is not None:
            raise BadAudio(
                f"{name}: {kind} that is truncated or damaged, its index cannot be read; "
                "copy it again"
            ) from error
        raise _not_read(name, head, sound, reason) from error
    foreign.is_cut |= sound.is_cut
    foreign.following = partial(_following, foreign, file, head, name, track)
    return foreign


def _has_ffmpeg() -> bool:
    try:
        import av  # noqa: F401
    except ImportError:
        return False
    return True


def _informed(
    decoder: Libsndfile, sound: Sound, mpeg: MpegSound | None, name: str, track: int | None
) -> Libsndfile:
    """Return a decoder that knows what libsndfile does not tell."""
    if track not in (None, 1):
        raise BadAudio(f"{name}: no track {track}; it has 1, counted from 1")
    decoder.is_cut = sound.is_cut
    if mpeg and mpeg.first.layer < 3:
        if decoder.most < mpeg.samples - mpeg.first.samples:
            raise MissingExtra(f"{name}: reading MPEG layer II of several bit rates", "codecs")
        decoder.declared = None
    elif mpeg:
        decoder.frames = max(decoder.most - mpeg.missing_samples, 0)
    elif sound.is_irregular:
        raise MissingExtra(f"{name}: {sound.is_irregular}; reading it", "codecs")
    elif sound.declared is not None:
        frames = decoder.most
        if sound.count and 0 <= frames - sound.count < _MOST_PADDING:
            frames = decoder.most = decoder.declared = sound.count
        decoder.frames = frames
        if sound.declared > sound.present > 0:
            decoder.declared = round(frames * sound.declared / sound.present)
    elif decoder.format.startswith("OGG"):
        decoder.frames = decoder.most
    elif decoder.format.startswith("FLAC"):
        decoder.following = partial(_following, decoder, sound.file, b"fLaC", name, track)
    return decoder


def _not_read(name: str, head: bytes, sound: Sound, reason: str) -> BadAudio:
    """Return what to raise of a file that no decoder takes."""
    if sound.is_cut:
        return BadAudio(f"{name}: truncated, too little of it is there; copy it again")
    more = "" if _has_ffmpeg() else ", or of a kind that needs: pip install 'lightser[codecs]'"
    if sound.declared is not None or head[:4] in _KNOWN:
        return BadAudio(
            f"{name}: looks like audio but is damaged ({reason}){more}; copy or convert it again"
        )
    return BadAudio(
        f"{name}: not audio that lightser knows (begins with {head[:12]!r}){more}; "
        "convert it to WAV or FLAC"
    )


def _following(
    decoder: Libsndfile | Ffmpeg,
    file: BinaryIO,
    head: bytes,
    name: str,
    track: int | None,
    done: int,
) -> Iterator[Block]:
    """Yield what stands behind the file that was read to its end, if there is anything."""
    at = next_beginning(file, head, max(decoder.end, 4))
    if at is None:
        return
    when = f"from {done / decoder.sample_rate:.2f} s on"
    with open_decoder(splice(file, (at, size_of(file))), name, track) as other:
        if other.sample_rate > decoder.sample_rate:
            raise BadAudio(
                f"{name}: another recording stands behind the first, {when}, with "
                f"{other.sample_rate} Hz after {decoder.sample_rate} Hz; split them"
            )
        what = f"another recording stands behind the first, {when}; all are heard"
        warnings.warn(f"{name}: {what}", LightserWarning, stacklevel=2)
        yield from _alike(other, decoder.sample_rate, decoder.channels)


def _alike(decoder: Decoder, rate: int, channels: int) -> Iterator[Block]:
    """Yield all blocks of a decoder at another rate, and with another number of channels."""
    blocks = resampled(decoder.read(0), decoder.sample_rate, rate, decoder.channels)
    return (spread(block, channels) for block in blocks)


class _Joined:
    """Recordings that stand one behind another in a file, as one, at the highest of their rates."""

    slack = 0

    def __init__(self, decoders: Sequence[Decoder], name: str):
        self._decoders, self._name = decoders, name
        self.format = decoders[0].format
        self.sample_rate = max(decoder.sample_rate for decoder in decoders)
        self.channels = max(decoder.channels for decoder in decoders)
        self.tracks = max(decoder.tracks for decoder in decoders)
        self.is_cut = decoders[-1].is_cut
        self.frames = self._sum([decoder.frames for decoder in decoders])
        self.declared = self._sum([decoder.declared for decoder in decoders])

    def _sum(self, counts: Sequence[int | None]) -> int | None:
        total = 0
        for decoder, count in zip(self._decoders, counts, strict=True):
            if count is None:
                return None
            total += round(count * self.sample_rate / decoder.sample_rate)
        return total

    def read(self, first: int) -> Iterator[Block]:
        done, before = 0, self._decoders[0]
        for decoder in self._decoders:
            is_as = [(d.sample_rate, d.channels) for d in (before, decoder)]
            if decoder is self._decoders[1]:
                how = "{} Hz, {} ch after {} Hz, {} ch".format(*is_as[1], *is_as[0])
                warnings.warn(
                    f"{self._name}: holds {len(self._decoders)} recordings one behind another, "
                    f"the second from {done / self.sample_rate:.2f} s on"
                    + (f" ({how})" if is_as[0] != is_as[1] else "")
                    + "; all are heard",
                    LightserWarning,
                    stacklevel=2,
                )
            for block in _alike(decoder, self.sample_rate, self.channels):
                done += len(block)
                if done > first and len(block):
                    yield block[max(len(block) - (done - first), 0) :]
