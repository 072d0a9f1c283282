"""What the bytes of a file say about it: which container, and whether its end is missing.

Extensions lie; the first bytes do not. Only what the base decoder (libsndfile) cannot open, or does
not tell us, is looked at here.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

HEAD_BYTES = 64

# Lengths that a program writes when it cannot go back to fill in the true one (a pipe): the largest
# number that fits, less a header. They promise nothing.
_STREAMED = (range(2**31 - 2**16, 2**31 + 1), range(2**32 - 2**16, 2**32))

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
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        for chunk in _chunks(file, head):
            if chunk.name == b"fmt ":
                file.seek(chunk.start)
                codec = int.from_bytes(file.read(2), "little")
                if codec not in _WAV_CODECS:
                    return Container(f"WAV with codec 0x{codec:04x}", "wav")
                break
    return None


@dataclass(frozen=True)
class _Chunk:
    name: bytes
    start: int  # byte where its content begins
    size: int  # bytes of content, as declared


def _chunks(file: BinaryIO, head: bytes) -> Iterator[_Chunk]:
    """Walk over the chunks of an IFF file (WAV, RF64, AIFF), as far as they are there."""
    order = "little" if head[:4] in (b"RIFF", b"RF64") else "big"
    size_of_data = None  # of RF64, whose own field is too narrow
    at = 12
    for _ in range(1000):  # more chunks than any recorder writes; a hostile file ends here
        file.seek(at)
        field = file.read(8)
        if len(field) < 8:
            return
        name, size = field[:4], int.from_bytes(field[4:], order)  # type: ignore[arg-type]
        if name == b"ds64":
            size_of_data = int.from_bytes(file.read(16)[8:], "little")
        if name == b"data" and size_of_data is not None:
            size = size_of_data
        yield _Chunk(name, at + 8, size)
        at += 8 + size + size % 2


@dataclass(frozen=True)
class Extent:
    """How many bytes of sound a file declares, and how many are there."""

    declared: int
    present: int


def sound_bytes(file: BinaryIO) -> Extent | None:
    """Return the extent of the sound in a WAV or AIFF file; None in others.

    A length that the writer could not know is taken to be what is there.
    """
    file.seek(0)
    head = file.read(12)
    is_wav = head[:4] in (b"RIFF", b"RIFX", b"RF64") and head[8:] == b"WAVE"
    is_aiff = head[:4] == b"FORM" and head[8:] in (b"AIFF", b"AIFC")
    if not (is_wav or is_aiff):
        return None
    for chunk in _chunks(file, head):
        if chunk.name in (b"data", b"SSND"):
            present = max(file.seek(0, os.SEEK_END) - chunk.start, 0)
            streamed = any(chunk.size in lengths for lengths in _STREAMED)
            return Extent(present if streamed else chunk.size, present)
    return None


def is_cut_ogg(file: BinaryIO) -> bool:
    """Say whether an Ogg file breaks off inside a page (RFC 3533, section 6)."""
    file.seek(0)
    if file.read(4) != b"OggS":
        return False
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - 2**16, 0))  # the longest page is 65,307 bytes
    tail = file.read()
    page = tail[tail.rfind(b"OggS") :]
    if len(page) < 27 or len(page) < 27 + page[26]:
        return True
    segments = page[27 : 27 + page[26]]
    return len(page) < 27 + len(segments) + sum(segments)
