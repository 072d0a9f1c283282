"""What a file says of its sound, and a view of it that a decoder reads to its end.

Headers lie, and then libsndfile silently drops what they do not count: a size that was never filled
in, or has wrapped at 4 GiB, a second chunk of data, a file that stands behind another. Only what it
does not tell us is looked at here; why, and why not more, stands in
docs/decisions/0017-who-decodes-what.md.
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
_MOST_PADDING = 2**20  # bytes of nothing behind the sound that are not silence


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
    b"wvpk": rb"wvpk.{4}..\0\0.{4}\0\0\0\0",
    b"MAC ": rb"MAC [\x6c-\xb4]\x0f",
    b"ftyp": rb"\0\0\0.ftyp[ -~]{4}",
    b"caff": rb"caff\0\x01\0\0desc",
    b"RIFF": rb"(RIFF|RF64|BW64|RIFX).{4}(WAVE|AVI )",
    b"FORM": rb"FORM.{4}(AIFF|AIFC|8SVX|16SV)",
    b"riff": re.escape(b"riff\x2e\x91\xcf\x11"),
}


def next_beginning(file: BinaryIO, head: bytes, at: int) -> int | None:
    """Return where, from byte ``at`` on, another file of the kind of ``head`` begins."""
    pattern = _beginning(head)
    return find(file, pattern, at) if pattern else None


def _begins(file: BinaryIO, head: bytes, at: int, end: int) -> bool:
    """Say whether another file of the kind of ``head`` begins at byte ``at``."""
    if at >= end or not (pattern := _beginning(head)):
        return False
    file.seek(at)
    return pattern.match(file.read(64)) is not None


def _beginning(head: bytes) -> "re.Pattern[bytes] | None":
    key = b"ftyp" if head[4:8] == b"ftyp" else head[:4]
    key = b"RIFF" if key in (b"RF64", b"BW64", b"RIFX") else key
    return re.compile(_BEGINNINGS[key], re.DOTALL) if key in _BEGINNINGS else None


# Of WAV, those that libsndfile decodes: PCM, ADPCM, float, A-law, mu-law, IMA ADPCM, GSM 6.10, and
# extensible, whose codec is further in; https://www.rfc-editor.org/rfc/rfc2361
_CODECS = (1, 2, 3, 6, 7, 0x11, 0x31, 0xFFFE)


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
    if head[:4] in (b"RIFF", b"RF64", b"RIFX") and head[8:12] == b"WAVE":
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
        if at > end:
            return


@dataclass(frozen=True)
class Sound:
    """A file, or one of several that stand one behind another, as it is to be decoded.

    Attributes:
        file: itself, or a view in which the header is put right.
        declared: bytes of sound; None where it does not say.
        present: bytes of sound that are there.
        count: frames, where it says so of a coding in blocks.
        warning: what is not as it should be, and is heard all the same.
        mpeg: where the sound is MPEG audio behind another header: that sound.
        is_cut: whether it breaks off in a way that says so.
        is_irregular: why libsndfile does not hear it right, or "".
        foreign: what people call it if libsndfile lacks its coding, or "".
    """

    file: BinaryIO
    declared: int | None = None
    present: int = 0
    count: int | None = None
    warning: str = ""
    mpeg: BinaryIO | None = None
    is_cut: bool = False
    is_irregular: str = ""
    foreign: str = ""


def sounds(file: BinaryIO, head: bytes) -> list[Sound]:
    """Return what there is to decode in a file, by its first bytes: as a rule itself alone."""
    end = size_of(file)
    if head[:4] == b"BW64":  # as RF64, but for the name
        file, head = splice(file, b"RF64", (4, end)), b"RF64" + head[4:]
    if layout := _layout(head):
        return _in_chunks(file, layout, end)
    if head[:4] in (b".snd", b"dns.") and len(head) >= 12:
        return _in_au(file, head, end)
    if head[:4] == b"fLaC":
        return _in_flac(file, head)
    if head[:8] == b"NIST_1A\n":
        return [_in_sphere(file, end)]
    if head[:20] == b"Creative Voice File\x1a":
        return [_in_voc(file, end)]
    if head[:4] == b"#!AM" and (at := next_beginning(file, head, 4)):
        return [Sound(splice(file, (0, at))), *sounds(splice(file, (at, end)), head)]
    return [Sound(file)]


def _in_chunks(file: BinaryIO, layout: _Layout, end: int) -> list[Sound]:
    fmt, count = b"", None
    for data in _chunks(file, layout, layout.first, end):
        if data.name[:4] in (b"data", b"SSND", b"BODY"):
            break
        file.seek(data.start)
        if data.name == b"fmt ":
            fmt = file.read(2)
        elif data.name == b"fact":
            count = int.from_bytes(file.read(4), layout.order)
    else:
        return [Sound(file)]
    present = end - data.start
    if any(data.size in lengths for lengths in _STREAMED) and data.size > present:
        parts, behind = [(data.start, end)], end
    else:
        parts, behind = _more_data(file, layout, data, end)
    total = sum(stop - start for start, stop in parts)
    sound = Sound(file, total, present, count)
    if total > data.size:
        why = f"its header counts {data.size:,} bytes of sound, and {total:,} are there"
        fixed = _with_size(file, layout, data, parts)
        sound = Sound(fixed, total, total, warning=f"{why}; all are heard")
    elif total < data.size and layout.magic in (b"caff", _W64):  # libsndfile wants a number
        sound = Sound(_with_size(file, layout, data, parts), total, total)
    more = []
    if _begins(file, layout.magic, behind, end):
        rest = splice(file, (behind, end))
        more = sounds(rest, rest.read(64))
        sound = replace(sound, file=splice(file, (0, behind)), present=behind - data.start)
    codec = int.from_bytes(fmt, layout.order)
    if codec in (0x50, 0x55):
        sound = replace(sound, mpeg=splice(file, *parts))
    elif fmt and codec not in _CODECS:
        sound = replace(sound, foreign=f"WAV with codec 0x{codec:04x}")
    return [sound, *more]


def _more_data(
    file: BinaryIO, layout: _Layout, data: _Chunk, end: int
) -> tuple[list[tuple[int, int]], int]:
    """Return all stretches of sound, and the byte behind them and what else is of the file."""
    parts = [(data.start, data.start + data.size)]
    behind = parts[0][1] + -parts[0][1] % layout.step
    if behind >= end:
        return parts, end
    if not _is_name(file, behind) and _is_name(file, parts[0][1]):  # its writer did not pad
        behind = parts[0][1]
    first = behind
    for chunk in _chunks(file, layout, behind, end):
        if chunk.name == layout.magic or not chunk.name[:4].isascii():
            break
        if not _is_name(file, behind) or chunk.start + chunk.size > end + layout.step:
            break
        behind = chunk.start + chunk.size
        if chunk.name == b"data":
            parts.append((chunk.start, behind))
        behind += -behind % layout.step
    file.seek(behind)
    tag = file.read(4)
    if (
        behind == first < end - 8
        and tag not in (layout.magic[:4], b"APET")
        and tag[:3] not in (b"TAG", b"ID3")
        and (end - behind > _MOST_PADDING or find(file, re.compile(rb"[^\0]"), behind) is not None)
    ):
        return [(data.start, end)], end
    return parts, min(behind, end)


def _is_name(file: BinaryIO, at: int) -> bool:
    """Say whether four letters, as name a chunk, stand at a byte."""
    file.seek(at)
    return re.fullmatch(rb"[ -~]{4}", file.read(4)) is not None


def _with_size(
    file: BinaryIO, layout: _Layout, data: _Chunk, parts: list[tuple[int, int]]
) -> BinaryIO:
    """Return ``file`` with the true size of its sound in its header."""
    total, (at, width) = sum(stop - start for start, stop in parts), data.field
    if layout.magic == b"RIFF" and total >= 2**32 - 2**16:
        ds64 = struct.pack("<4sI3QI", b"ds64", 28, total, total, 0, 0)
        start = b"RF64\xff\xff\xff\xffWAVE" + ds64
        return splice(file, start, (12, at), b"\xff" * 4, *parts)
    field = (total + layout.counted).to_bytes(width, layout.order)
    return splice(file, (0, at), field, (at + width, data.start), *parts)


def _in_au(file: BinaryIO, head: bytes, end: int) -> list[Sound]:
    """Return what an AU file holds, which has no chunks."""
    start, size = struct.unpack_from(">2I" if head[:1] == b"." else "<2I", head, 4)
    present, behind = end - start, start + size
    if any(size in lengths for lengths in _STREAMED) and size > present:
        return [Sound(file, present, present)]
    if size >= present:
        return [Sound(file, size, present)]
    if _begins(file, head, behind, end):
        rest = splice(file, (behind, end))
        return [Sound(splice(file, (0, behind)), size, size), *sounds(rest, rest.read(64))]
    whole = splice(file, (0, 8), b"\xff" * 4, (12, end))
    why = f"its header counts {size:,} bytes of sound, and {present:,} are there"
    return [Sound(whole, present, present, warning=f"{why}; all are heard")]


def _in_flac(file: BinaryIO, head: bytes) -> list[Sound]:
    """Compare the count in the header with the number in the last frame (RFC 9639, 9.1)."""
    least, most = struct.unpack_from(">2H", head, 8)
    count = int.from_bytes(head[21:26], "big") & (2**36 - 1)
    file.seek(max(size_of(file) - 2**16, 0))
    tail = file.read()
    for match in reversed(list(re.finditer(rb"\xff[\xf8\xf9][^\0-\x0f]", tail))):
        frame = tail[match.start() : match.start() + 17]
        until = _flac_frame_end(frame, least == most, least) if len(frame) > 5 else None
        # In compressed sound there are headers by chance, whose eight bits of checksum fit too.
        if until and (until <= count or _is_flac_frame(tail[match.start() :])):
            break
    else:
        return [Sound(file)]
    if not 0 < count < until:
        return [Sound(file)]
    if at := next_beginning(file, head, 4):
        rest = splice(file, (at, size_of(file)))
        return [Sound(splice(file, (0, at))), *sounds(rest, rest.read(64))]
    field = (int.from_bytes(head[18:26], "big") - count + until).to_bytes(8, "big")
    why = f"its header counts {count:,} samples, and {until:,} are there; all are heard"
    return [Sound(splice(file, (0, 18), field, (26, size_of(file))), warning=why)]


def _flac_frame_end(frame: bytes, is_fixed: bool, block: int) -> int | None:
    """Return the number of the sample behind a frame, by its header; None if it is not one."""
    code, first = frame[2] >> 4, frame[4]
    more = 0 if first < 0x80 else 8 - (first ^ 0xFF).bit_length() - 1  # bytes, as in UTF-8
    number = first if not more else first & (0x3F >> more)
    at = 5 + more
    for byte in frame[5:at]:
        number = number << 6 | byte & 0x3F
    if code in (6, 7):
        size = int.from_bytes(frame[at : at + code - 5], "big") + 1
        at += code - 5
    else:
        size = 192 if code == 1 else 576 << code - 2 if code < 6 else 256 << code - 8
    at += {12: 1, 13: 2, 14: 2}.get(frame[2] & 15, 0)
    crc = 0
    for byte in frame[: at + 1]:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ 0x07) & 0xFF if crc & 0x80 else crc << 1
    if crc or at >= len(frame):
        return None
    is_numbered = is_fixed and frame[1] == 0xF8
    return (number * block if is_numbered else number) + size


def _is_flac_frame(frame: bytes) -> bool:
    """Whether a frame fits its checksum of sixteen bits, which are its last (RFC 9639, 9.3)."""
    crc = 0
    for byte in frame:
        crc = (crc << 8 & 0xFFFF) ^ _CRC16[crc >> 8 ^ byte]
    return crc == 0


def _crc16_of(byte: int) -> int:
    crc = byte << 8
    for _ in range(8):
        crc = (crc << 1 ^ 0x8005) & 0xFFFF if crc & 0x8000 else crc << 1
    return crc


_CRC16 = tuple(map(_crc16_of, range(256)))


def _in_sphere(file: BinaryIO, end: int) -> Sound:
    """Return what the header of a NIST SPHERE file says."""
    file.seek(8)
    begin = file.read(8).strip()  # "   1024\n"
    header = file.read(int(begin)) if begin.isdigit() else b""
    fields = dict(re.findall(rb"^(\w+) -(?:i|s\d+) (\d+)", header, re.MULTILINE))
    try:
        counts = [int(fields[k]) for k in (b"sample_count", b"channel_count", b"sample_n_bytes")]
    except KeyError:
        return Sound(file)
    return Sound(file, math.prod(counts), end - int(begin))


def _in_voc(file: BinaryIO, end: int) -> Sound:
    """Return what a Creative Voice file says: blocks of a type, 24 bits of size, content."""
    declared, present = 0, 0
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
    return Sound(file, declared or None, present)


_ASF_FACTS = b"\xa1\xdc\xab\x8c\x47\xa9\xcf\x11\x8e\xe4\x00\xc0\x0c\x20\x53\x65"


def is_cut_by_size(file: BinaryIO) -> bool:
    """Say whether an AVI or ASF file is shorter than it says; a long AVI has more parts."""
    file.seek(0)
    head = file.read(2**13)
    size = 0
    if head[8:12] == b"AVI ":
        size = int.from_bytes(head[4:8], "little")
    elif head[:4] == b"\x30\x26\xb2\x75" and (at := head.find(_ASF_FACTS)) > 0:
        size = int.from_bytes(head[at + 40 : at + 48], "little")
    return size > size_of(file) and not any(size in lengths for lengths in _STREAMED)
