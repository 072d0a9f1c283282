"""MP3: how long a file really is, and a view of it that libsndfile reads to its end.

An MP3 has no header. It is a row of frames, and its length stands, if anywhere, in a note that
some encoders put into the first frame (the Xing or Info tag). Without the note libsndfile takes the
first frame's bit rate for that of all, and reads no further than the length that follows from it:
of a file that starts loud and goes on quiet it silently drops the rest, of joined files all but
the first. So we count the frames, and where the note is missing or wrong, put a right one in front.

ISO/IEC 11172-3 and 13818-3, layer III; tag: https://gabriel.mp3-tech.org/mp3infotag.html
"""

import io
import os
from dataclasses import dataclass
from typing import Any, BinaryIO

_KBPS = {
    1: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = (44100, 48000, 32000)
_SEARCH_BYTES = 2**16  # how far behind its tags the first frame may be
_CHAIN = 3  # frames in a row that make an MP3 of what could be chance


@dataclass(frozen=True)
class _Header:
    """The four bytes at the start of a frame."""

    bytes: bytes
    version: int  # 1; 2 stands for 2.5 as well
    is_mono: bool
    sample_rate: int
    size: int  # bytes of the whole frame

    @property
    def samples(self) -> int:
        return 1152 if self.version == 1 else 576

    def goes_with(self, other: "_Header") -> bool:
        return (self.version, self.sample_rate) == (other.version, other.sample_rate)


def _header(field: bytes) -> _Header | None:
    """Read a layer III header; None if ``field`` is not one (or of free bit rate)."""
    if len(field) < 4 or field[0] != 0xFF or field[1] & 0xE6 != 0xE2:
        return None
    version_bits, bit_rate, rate = field[1] >> 3 & 3, field[2] >> 4, field[2] >> 2 & 3
    if version_bits == 1 or bit_rate in (0, 15) or rate == 3:
        return None
    version = 1 if version_bits == 3 else 2
    sample_rate = _RATES[rate] // {3: 1, 2: 2, 0: 4}[version_bits]
    bytes_per_kbps = 144_000 if version == 1 else 72_000
    size = bytes_per_kbps * _KBPS[version][bit_rate - 1] // sample_rate + (field[2] >> 1 & 1)
    return _Header(field, version, field[3] >> 6 == 3, sample_rate, size)


@dataclass(frozen=True)
class Mp3:
    """What a walk over all frames has found.

    ``declared`` is the number of frames that the note promises, None without one; ``is_cut`` says
    that the last frame is not all there.
    """

    start: int  # byte of the first frame with sound, or of the note
    frames: int  # frames with sound
    declared: int | None
    is_cut: bool
    first: _Header
    sound_start: int  # byte of the first frame with sound

    @property
    def missing_samples(self) -> int:
        """Samples that the note promises and the file lacks."""
        return max((self.declared or 0) - self.frames, 0) * self.first.samples

    def view(self, file: BinaryIO) -> BinaryIO:
        """Return ``file`` without what precedes the sound, and with a note that is not too low.

        A good note is kept, because it also says how much silence the encoder has put in front.
        Some encoders count the note's own frame or forget one.
        """
        if self.declared is not None and self.declared >= self.frames - 1:
            return io.BufferedReader(_Joined(b"", file, self.start))
        note = _note(self.first, self.frames)
        return io.BufferedReader(_Joined(note, file, self.sound_start))


def scan_mp3(file: BinaryIO) -> Mp3 | None:
    """Walk over the frames of ``file``; None if it is not an MP3 (layer III, fixed sample rate)."""
    end = file.seek(0, os.SEEK_END)
    start = _skip_id3(file)
    first_at = _find_frame(file, start, min(start + _SEARCH_BYTES, end), end, like=None)
    if first_at is None:
        return None
    file.seek(first_at)
    first = _header(file.read(4))
    assert first is not None  # _find_frame has read it
    file.seek(first_at)
    has_note, declared = _read_note(file.read(first.size), first)

    frames, at, is_cut = 0, first_at, False
    while at + 4 <= end:
        file.seek(at)
        header = _header(file.read(4))
        if header is None or not header.goes_with(first):
            # A tag, or damage: go on where frames begin again.
            found = _find_frame(file, at + 1, end, end, like=first)
            if found is None:
                break
            at = found
            continue
        is_cut = at + header.size > end
        frames += not is_cut
        at += header.size
    return Mp3(
        start=first_at,
        frames=frames - has_note,
        declared=declared,
        is_cut=is_cut,
        first=first,
        sound_start=first_at + first.size if has_note else first_at,
    )


def _skip_id3(file: BinaryIO) -> int:
    """Return the byte behind the ID3v2 tags that ``file`` begins with."""
    at = 0
    while True:
        file.seek(at)
        tag = file.read(10)
        if len(tag) < 10 or tag[:3] != b"ID3":
            return at
        # Seven bits a byte, so that no size looks like a frame.
        at += 10 + (tag[6] << 21 | tag[7] << 14 | tag[8] << 7 | tag[9])


def _find_frame(
    file: BinaryIO, at: int, until: int, end: int, *, like: _Header | None
) -> int | None:
    """Return the first byte in [``at``, ``until``) where a chain of frames begins."""
    while at < until:
        file.seek(at)
        block = file.read(min(_SEARCH_BYTES, until - at))
        if not block:
            return None
        offset = block.find(b"\xff")
        while offset >= 0:
            if _is_chain(file, at + offset, end, like):
                return at + offset
            offset = block.find(b"\xff", offset + 1)
        at += len(block)
    return None


def _is_chain(file: BinaryIO, at: int, end: int, like: _Header | None) -> bool:
    for n in range(_CHAIN):
        file.seek(at)
        header = _header(file.read(4))
        if header is None or (like is not None and not header.goes_with(like)):
            return n > 0 and at == end  # the last frames of the file
        like = like or header
        at += header.size
    return True


def _note_offset(header: _Header) -> int:
    """Return where the note stands in its frame: behind the side information, which is zero."""
    if header.version == 1:
        return 21 if header.is_mono else 36
    return 13 if header.is_mono else 21


def _read_note(frame: bytes, header: _Header) -> tuple[bool, int | None]:
    """Say whether ``frame`` is a note instead of sound, and how many frames it promises."""
    note = frame[_note_offset(header) :]
    if note[:4] in (b"Xing", b"Info"):
        has_count = len(note) >= 12 and note[7] & 1
        return True, int.from_bytes(note[8:12], "big") if has_count else None
    note = frame[36:]
    if note[:4] == b"VBRI":  # Fraunhofer's
        return True, int.from_bytes(note[14:18], "big")
    return False, None


def _note(like: _Header, frames: int) -> bytes:
    """Return a frame without sound that promises ``frames`` frames of the kind of ``like``."""
    # 128 kbit/s (80 in version 2) without padding or checksum: long enough for the note.
    first, second, third, fourth = like.bytes
    field = bytes((first, second | 1, 9 << 4 | third & 0x0C, fourth))
    header = _header(field)
    assert header is not None
    note = b"Xing" + (1).to_bytes(4, "big") + frames.to_bytes(4, "big")
    return (field.ljust(_note_offset(header), b"\0") + note).ljust(header.size, b"\0")


class _Joined(io.RawIOBase):
    """Some bytes, then a file from byte ``start`` on, as one seekable file."""

    def __init__(self, prefix: bytes, file: BinaryIO, start: int):
        super().__init__()
        self._prefix, self._file, self._start = prefix, file, start
        self._size = len(prefix) + file.seek(0, os.SEEK_END) - start
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(base + offset, 0)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        wanted = memoryview(buffer).nbytes
        data = self._prefix[self._at : self._at + wanted]
        if len(data) < wanted:
            self._file.seek(self._start + max(self._at - len(self._prefix), 0))
            data += self._file.read(wanted - len(data))
        memoryview(buffer).cast("B")[: len(data)] = data
        self._at += len(data)
        return len(data)
