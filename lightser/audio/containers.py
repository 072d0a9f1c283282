"""What the bytes of a file say about it: which container, and whether its end is missing.

Extensions lie; the first bytes do not. Only what the base decoder (libsndfile) cannot open, or does
not tell us, is looked at here.
"""

import math
import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Literal

HEAD_BYTES = 64

# In a folder, what is named like audio is taken for audio, so that a broken file is reported and
# not passed over. Films are not; name them one by one.
EXTENSIONS = (
    *(".wav", ".wave", ".w64", ".rf64", ".aif", ".aiff", ".aifc", ".caf", ".au", ".snd"),
    *(".flac", ".ogg", ".oga", ".opus", ".spx", ".mp3", ".mp2", ".wv", ".ape", ".tta"),
    *(".m4a", ".m4b", ".aac", ".weba", ".webm", ".wma", ".amr", ".3gp"),
)

# Lengths that a program writes when it cannot go back to fill in the true one (a pipe): the largest
# number that fits, less a header. They promise nothing.
_STREAMED = (
    *(range(2**31 - 2**16, 2**31 + 1), range(2**32 - 2**16, 2**32)),
    *(range(2**63 - 2**16, 2**63), range(2**64 - 2**16, 2**64)),
)

_BEGINS, _ENDS = 2, 4  # flags of an Ogg page (RFC 3533, section 6)

# WAV codecs that libsndfile decodes; https://www.rfc-editor.org/rfc/rfc2361
_WAV_CODECS = {
    0x0001,  # PCM
    0x0002,  # Microsoft ADPCM
    0x0003,  # IEEE float
    0x0006,  # A-law
    0x0007,  # mu-law
    0x0011,  # IMA ADPCM
    0x0031,  # GSM 6.10
    0x0055,  # MPEG layer III
    0xFFFE,  # extensible: the codec is further in
}


@dataclass(frozen=True)
class Container:
    """A container that needs FFmpeg: its name for people, and the demuxer that opens it."""

    name: str
    demuxer: str
    # False where the length that FFmpeg reports is a guess from the bit rate.
    knows_its_length: bool = True


# (offset, bytes there, container). The demuxer is named, so that FFmpeg never guesses: one of
# its guesses is a playlist, which would make it open other files and addresses.
_SIGNATURES = (
    (4, b"ftyp", Container("M4A/MP4", "mov")),
    (4, b"moov", Container("QuickTime", "mov")),
    (4, b"mdat", Container("QuickTime", "mov")),
    (0, b"\x1a\x45\xdf\xa3", Container("WebM/Matroska", "matroska")),
    (0, b"\xff\xf1", Container("AAC", "aac", knows_its_length=False)),
    (0, b"\xff\xf9", Container("AAC", "aac", knows_its_length=False)),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", Container("WMA/ASF", "asf")),
    (0, b"#!AMR", Container("AMR", "amr", knows_its_length=False)),
    (0, b"FLV\x01", Container("FLV", "flv")),
    (8, b"AVI ", Container("AVI", "avi", knows_its_length=False)),
    (0, b"\x00\x00\x01\xba", Container("MPEG program stream", "mpeg", knows_its_length=False)),
    (0, b"wvpk", Container("WavPack", "wv")),
    (0, b"MAC ", Container("Monkey's Audio", "ape")),
    (0, b"TTA1", Container("True Audio", "tta")),
    (28, b"\x7fFLAC", Container("Ogg FLAC", "ogg")),
    (28, b"Speex", Container("Ogg Speex", "ogg")),
    (28, b"aac ", Container("CAF AAC", "caf")),
)
_MPEG_TS = Container("MPEG transport stream", "mpegts", knows_its_length=False)


def foreign_container(file: BinaryIO) -> Container | None:
    """Return the container of ``file`` if it is a known one that libsndfile cannot open."""
    file.seek(0)
    head = file.read(HEAD_BYTES)
    for offset, signature, container in _SIGNATURES:
        if head[offset : offset + len(signature)] == signature:
            return container
    # A transport stream has no signature but a sync byte for each packet of 188 bytes.
    file.seek(0)
    if file.read(4 * 188 + 1)[::188] == b"\x47" * 5:
        return _MPEG_TS
    if head[:4] == b"RIFF" and (layout := _layout(head)):
        for chunk in _chunks(file, layout):
            if chunk.name == b"fmt ":
                file.seek(chunk.start)
                codec = int.from_bytes(file.read(2), "little")
                if codec not in _WAV_CODECS:
                    return Container(f"WAV with codec 0x{codec:04x}", "wav")
                break
    return None


@dataclass(frozen=True)
class _Layout:
    """How the chunks of a file stand: a name, a size, the content, and padding."""

    first: int  # byte at which they begin
    order: Literal["little", "big"]  # of the bytes of a size
    name: int = 4  # bytes
    size: int = 4  # bytes
    step: int = 2  # each begins at a multiple of it
    sizes_count_all: bool = False  # name and size, too


_W64 = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\0\0"


def _layout(head: bytes) -> _Layout | None:
    """Return the layout of a file in chunks that holds nothing but sound."""
    if head[:4] in (b"RIFF", b"RF64", b"RIFX") and head[8:12] == b"WAVE":
        return _Layout(12, "big" if head[:4] == b"RIFX" else "little")
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC", b"8SVX", b"16SV"):
        return _Layout(12, "big")
    if head[:4] == b"caff":
        return _Layout(8, "big", size=8, step=1)
    if head[:16] == _W64:
        return _Layout(40, "little", name=16, size=8, step=8, sizes_count_all=True)
    return None


@dataclass(frozen=True)
class _Chunk:
    name: bytes
    start: int  # byte where its content begins
    size: int  # bytes of content, as declared


def _chunks(file: BinaryIO, layout: _Layout) -> Iterator[_Chunk]:
    """Walk over the chunks of a file, as far as they are there."""
    size_of_data = None  # of RF64, whose own field is too narrow
    at, end, header = layout.first, file.seek(0, os.SEEK_END), layout.name + layout.size
    for _ in range(1000):  # more chunks than any recorder writes; a hostile file ends here
        if at + header > end:
            return
        file.seek(at)
        name, field = file.read(layout.name), file.read(layout.size)
        size = int.from_bytes(field, layout.order)
        if layout.sizes_count_all:
            size = max(size - header, 0)
        if name == b"ds64":
            size_of_data = int.from_bytes(file.read(16)[8:], "little")
        if name == b"data" and size_of_data is not None:
            size = size_of_data
        yield _Chunk(name, at + header, size)
        at += header + size
        at += -at % layout.step


@dataclass(frozen=True)
class Extent:
    """How many bytes of sound a file declares, and how many are there."""

    declared: int
    present: int


def sound_bytes(file: BinaryIO) -> Extent | None:
    """Return the extent of the sound in a file that declares it; None in others.

    These are WAV, AIFF, CAF, W64, AU, SVX, VOC and NIST SPHERE. A length that the writer could not
    know is taken to be what is there.
    """
    file.seek(0)
    head = file.read(HEAD_BYTES)
    sound = None
    if layout := _layout(head):
        chunks = _chunks(file, layout)
        sound = next((c for c in chunks if c.name[:4] in (b"data", b"SSND", b"BODY")), None)
    elif head[:4] in (b".snd", b"dns.") and len(head) >= 12:  # AU has no chunks
        start, size = struct.unpack_from(">2I" if head[0] == ord(".") else "<2I", head, 4)
        sound = _Chunk(b"", start, size)
    elif head[:8] == b"NIST_1A\n":
        sound = _sphere_sound(file)
    elif head[:20] == b"Creative Voice File\x1a":
        return _voc_extent(file)
    if sound is None:
        return None
    present = max(file.seek(0, os.SEEK_END) - sound.start, 0)
    return Extent(present if _is_streamed(sound.size) else sound.size, present)


def _sphere_sound(file: BinaryIO) -> _Chunk | None:
    """Return where the sound of a NIST SPHERE file is, if its header says how much it is."""
    file.seek(8)
    begin = file.read(8).strip()  # "   1024\n"
    header = file.read(int(begin)) if begin.isdigit() else b""
    fields = dict(re.findall(rb"^(\w+) -(?:i|s\d+) (\d+)", header, re.MULTILINE))
    try:
        counts = [int(fields[k]) for k in (b"sample_count", b"channel_count", b"sample_n_bytes")]
    except KeyError:
        return None
    return _Chunk(b"", int(begin), math.prod(counts))


def _voc_extent(file: BinaryIO) -> Extent | None:
    """Return the extent of a Creative Voice file: blocks of a type, 24 bits of size, content."""
    end, declared, present = file.seek(0, os.SEEK_END), 0, 0
    file.seek(20)
    at = int.from_bytes(file.read(2), "little")
    for _ in range(1000):
        file.seek(at)
        head = file.read(4)
        if len(head) < 4:  # ended, by a block of type 0 or otherwise
            break
        size = int.from_bytes(head[1:], "little")
        if head[0] in (1, 2, 9):  # sound, more of it, sound with a longer header
            declared += size
            present += min(size, end - at - 4)
        at += 4 + size
    return Extent(declared, present) if declared else None


def _is_streamed(size: int) -> bool:
    return any(size in lengths for lengths in _STREAMED)


def ends_early(file: BinaryIO) -> bool:
    """Say whether an Ogg or AVI file breaks off in a way that says so."""
    file.seek(0)
    head = file.read(12)
    if head[:4] == b"OggS":
        return _is_cut_ogg(file)
    if head[:4] == b"RIFF" and head[8:] == b"AVI ":  # long ones have more of these, one by one
        size = int.from_bytes(head[4:8], "little")
        return not _is_streamed(size) and size > file.seek(0, os.SEEK_END)
    return False


def _is_cut_ogg(file: BinaryIO) -> bool:
    """Say whether an Ogg file breaks off inside a page (RFC 3533, section 6)."""
    page = _last_page(file)
    if len(page) < 27 or len(page) < 27 + page[26]:
        return True
    segments = page[27 : 27 + page[26]]
    return len(page) < 27 + len(segments) + sum(segments)


def _last_page(file: BinaryIO) -> bytes:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - 2**16, 0))  # the longest page is 65,307 bytes
    tail = file.read()
    return tail[tail.rfind(b"OggS") :]


def is_joined_ogg(file: BinaryIO) -> bool:
    """Say whether a stream of an Ogg file begins where others have gone on already."""
    at, has_gone_on = 0, False
    while True:
        file.seek(at)
        page = file.read(27 + 255)
        if len(page) < 27 or page[:4] != b"OggS":
            return False
        begins = bool(page[5] & _BEGINS)
        if begins and has_gone_on:
            return True
        has_gone_on = has_gone_on or not begins
        segments = page[27 : 27 + page[26]]
        at += 27 + len(segments) + sum(segments)


def is_unended_ogg(file: BinaryIO) -> bool:
    """Say whether the last page of an Ogg file is not marked as the last, as it has to be."""
    page = _last_page(file)
    return len(page) > 5 and not page[5] & _ENDS
