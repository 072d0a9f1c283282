"""What a file says of its sound, and a view of it that a decoder reads to its end.

Headers lie, and then libsndfile silently drops what they do not count: a size that was never filled
in, or has wrapped at 4 GiB, a second chunk of data, a file that stands behind another. Only what it
does not tell us is looked at here; why, and why not more, stands in
docs/decisions/0015-who-decodes-what.md.
"""

import bisect
import io
import itertools
import math
import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, Literal

# Lengths that a program writes when it cannot go back to fill in the true one (a pipe): the largest
# number that fits, less a header. They promise nothing.
_STREAMED = (
    *(range(2**31 - 2**16, 2**31 + 1), range(2**32 - 2**16, 2**32)),
    *(range(2**63 - 2**16, 2**63), range(2**64 - 2**16, 2**64)),
)
_SCAN_BYTES = 2**20


class _Splice(io.RawIOBase):
    """Bytes and stretches of a file, one behind another, as one seekable file."""

    def __init__(self, file: BinaryIO, pieces: tuple["bytes | tuple[int, int]", ...]):
        super().__init__()
        self._file, self._pieces = file, pieces
        sizes = (len(p) if isinstance(p, bytes) else max(p[1] - p[0], 0) for p in pieces)
        self._starts = [0, *itertools.accumulate(sizes)]
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._starts[-1]}[whence]
        self._at = max(base + offset, 0)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        if self._at >= self._starts[-1]:
            return 0
        n = bisect.bisect_right(self._starts, self._at) - 1
        piece, inside = self._pieces[n], self._at - self._starts[n]
        wanted = min(memoryview(buffer).nbytes, self._starts[n + 1] - self._at)
        if isinstance(piece, bytes):
            data = piece[inside : inside + wanted]
        else:
            self._file.seek(piece[0] + inside)
            data = self._file.read(wanted)
        memoryview(buffer).cast("B")[: len(data)] = data
        self._at += len(data)
        return len(data)


def splice(file: BinaryIO, *pieces: bytes | tuple[int, int]) -> BinaryIO:
    """Return bytes and stretches (first byte, byte behind the last) of ``file`` as one file."""
    return io.BufferedReader(_Splice(file, pieces))


def size_of(file: BinaryIO) -> int:
    """Return the number of bytes of a file."""
    return file.seek(0, os.SEEK_END)


def find(file: BinaryIO, pattern: "re.Pattern[bytes]", at: int) -> int | None:
    """Return the first byte from ``at`` on where a pattern, of 64 bytes at most, matches."""
    while True:
        file.seek(at)
        block = file.read(_SCAN_BYTES)
        if match := pattern.search(block):
            return at + match.start()
        if len(block) <= 64:
            return None
        at += len(block) - 64


# Files that stand one behind another. What begins with one of these, begins anew.
_BEGINNINGS = {
    b"fLaC": rb"fLaC\0\0\0\x22",
    b"#!AM": rb"#!AMR(-WB)?\n",
    b"FLV\1": rb"FLV\x01[\x00-\x05]\0\0\0\x09",
    b"\x1a\x45\xdf\xa3": rb"\x1a\x45\xdf\xa3.{4,40}(webm|matroska)",
    b"\x30\x26\xb2\x75": rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c",
    b".snd": rb"\.snd\0\0",
    b"TTA1": rb"TTA1[\x01\x03]\0",
    b"MAC ": rb"MAC [\x6c-\xb4]\x0f",
    b"ftyp": rb"\0\0\0.ftyp[ -~]{4}",
    b"caff": rb"caff\0\x01\0\0desc",
    b"RIFF": rb"(RIFF|RF64|BW64|RIFX).{4}(WAVE|AVI )",
}


def next_beginning(file: BinaryIO, head: bytes, at: int) -> int | None:
    """Return where, from byte ``at`` on, another file of the kind of ``head`` begins."""
    key = b"ftyp" if head[4:8] == b"ftyp" else head[:4]
    key = b"RIFF" if key in (b"RF64", b"BW64", b"RIFX") else key
    return find(file, re.compile(_BEGINNINGS[key], re.DOTALL), at) if key in _BEGINNINGS else None


# WAV, AIFF, CAF, W64, SVX: chunks of a name, a size, the content, and padding


@dataclass(frozen=True)
class _Layout:
    """How the chunks of a file stand: a name, a size, the content, and padding."""

    magic: bytes  # with which a file begins
    first: int  # byte at which they begin
    order: Literal["little", "big"]  # of the bytes of a size
    name: int = 4  # bytes
    size: int = 4  # bytes
    step: int = 2  # each begins at a multiple of it
    counted: int = 0  # bytes of name and size that the size counts, too


_W64 = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\0\0"


def _layout(head: bytes) -> _Layout | None:
    """Return the layout of a file in chunks that holds nothing but sound."""
    if head[:4] in (b"RIFF", b"RF64", b"RIFX", b"BW64") and head[8:12] == b"WAVE":
        return _Layout(head[:4], 12, "big" if head[:4] == b"RIFX" else "little")
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC", b"8SVX", b"16SV"):
        return _Layout(head[:4], 12, "big")
    if head[:4] == b"caff":
        return _Layout(head[:4], 8, "big", size=8, step=1)
    if head[:16] == _W64:
        return _Layout(_W64, 40, "little", name=16, size=8, step=8, counted=24)
    return None


@dataclass(frozen=True)
class _Chunk:
    name: bytes
    start: int  # byte where its content begins
    size: int  # bytes of content, as declared
    field: tuple[int, int]  # byte where the size stands, and how many bytes it has


def _chunks(file: BinaryIO, layout: _Layout, at: int, end: int) -> Iterator[_Chunk]:
    """Walk over the chunks of a file from byte ``at`` on, as far as they are there."""
    of_data = None  # its size in RF64, whose own field is too narrow, and where that stands
    header = layout.name + layout.size
    for _ in range(1000):  # more chunks than any recorder writes; a hostile file ends here
        if at + header > end:
            return
        file.seek(at)
        name, field = file.read(layout.name), file.read(layout.size)
        size = max(int.from_bytes(field, layout.order) - layout.counted, 0)
        place = at + layout.name, layout.size
        if name == b"ds64":
            of_data = int.from_bytes(file.read(16)[8:], "little"), (at + header + 8, 8)
        if name == b"data" and of_data is not None:
            size, place = of_data
        yield _Chunk(name, at + header, size, place)
        at += header + size
        at += -at % layout.step


@dataclass(frozen=True)
class Sound:
    """A file, or one of several that stand one behind another, as it is to be decoded.

    Attributes:
        file: itself, or a view in which the header is put right.
        declared: bytes of sound; None where it does not say.
        present: bytes of sound that are there.
        count: frames, as a chunk says of a coding in blocks.
        warning: what is not as it should be, and is heard all the same.
        mpeg: where the sound is MPEG audio behind a header.
        is_irregular: whether its time stamps have gaps, which libsndfile does not hear.
    """

    file: BinaryIO
    declared: int | None = None
    present: int = 0
    count: int | None = None
    warning: str = ""
    mpeg: BinaryIO | None = None
    is_irregular: bool = False


def sounds(file: BinaryIO, head: bytes) -> list[Sound]:
    """Return what there is to decode in a file, by its first bytes: as a rule itself alone."""
    end = size_of(file)
    if layout := _layout(head):
        return _in_chunks(file, layout, end)
    if head[:4] in (b".snd", b"dns.") and len(head) >= 12:
        return _in_au(file, head, end)
    if head[:4] == b"fLaC":
        return [_in_flac(file, head)]
    if head[:8] == b"NIST_1A\n":
        return [_in_sphere(file, end)]
    if head[:20] == b"Creative Voice File\x1a":
        return [_in_voc(file, end)]
    if head[:4] == b"#!AM" and (at := next_beginning(file, head, 4)):
        return [Sound(splice(file, (0, at))), *sounds(splice(file, (at, end)), head)]
    return [Sound(file)]


def _in_chunks(file: BinaryIO, layout: _Layout, end: int) -> list[Sound]:
    data = None
    fmt, count = b"", None
    for chunk in _chunks(file, layout, layout.first, end):
        if chunk.name[:4] in (b"data", b"SSND", b"BODY"):
            data = chunk
            break
        file.seek(chunk.start)
        if chunk.name == b"fmt ":
            fmt = file.read(2)
        elif chunk.name == b"fact":
            count = int.from_bytes(file.read(4), layout.order)
    if data is None:
        return [Sound(file)]
    present = max(end - data.start, 0)
    sound = Sound(file, data.size, present, count)
    behind = data.start + data.size
    behind += -behind % layout.step
    parts, more, last = [(data.start, data.start + data.size)], [], behind
    if any(data.size in lengths for lengths in _STREAMED) and data.size > present:
        parts, behind = [(data.start, end)], end
        sound = replace(sound, declared=present)
        if layout.magic == b"caff" and end < 2**63:  # libsndfile wants a number
            sound = replace(sound, file=_with_size(file, layout, data, parts))
    elif behind < end:
        for chunk in _chunks(file, layout, behind, end):
            if chunk.name == layout.magic:
                last = chunk.start - layout.name - layout.size
                rest = splice(file, (last, end))
                rest.seek(0)
                more = sounds(rest, rest.read(64))
                break
            if not _is_name(chunk.name) or chunk.start + chunk.size > end + layout.step:
                if chunk.name.strip(b"\0") and last == behind and not _is_tag(chunk.name):
                    parts, last = [(data.start, end)], end
                break
            last = chunk.start + chunk.size
            if chunk.name == b"data":
                parts.append((chunk.start, last))
            last += -last % layout.step
    total = sum(b - a for a, b in parts)
    if total > data.size:
        why = f"its header counts {data.size} bytes of sound, and {total} are there"
        sound = replace(
            sound,
            file=_with_size(file, layout, data, parts),
            declared=total,
            present=total,
            count=None,
            warning=f"{why}; all of them are heard",
        )
    elif more:
        sound = replace(sound, file=splice(file, (0, last)), present=last - data.start)
    if fmt in (b"\x50\0", b"\x55\0"):
        sound = replace(sound, mpeg=splice(file, *parts))
    return [sound, *more]


def _is_name(name: bytes) -> bool:
    """Say whether this names a chunk: four letters, or a GUID of W64 that begins with them."""
    return name[:4].isascii() and name[:4].decode("ascii").isprintable()


def _is_tag(name: bytes) -> bool:
    return name[:3] in (b"TAG", b"ID3", b"APE")


def _with_size(
    file: BinaryIO, layout: _Layout, data: _Chunk, parts: list[tuple[int, int]]
) -> BinaryIO:
    """Return ``file`` with the true size of its sound in its header."""
    total, (at, width) = sum(b - a for a, b in parts), data.field
    extra = 4 if layout.magic == b"caff" and False else 0
    if total >= 2 ** (8 * width) and layout.magic == b"RIFF":
        ds64 = struct.pack("<4sI3QI", b"ds64", 28, total, total, 0, 0)
        return splice(file, b"RF64\xff\xff\xff\xffWAVE" + ds64, (12, at), b"\xff" * 4, *parts)
    field = (total + layout.counted + extra).to_bytes(width, layout.order)
    return splice(file, (0, at), field, (at + width, data.start), *parts)
