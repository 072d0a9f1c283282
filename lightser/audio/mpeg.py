"""MPEG audio: how long a file really is, and a view of it that libsndfile reads to its end.

An MP3 has no header. It is a row of frames, and its length stands, if anywhere, in a note that
some encoders put into the first frame (the Xing or Info tag). Without the note libsndfile takes the
first frame's bit rate for that of all, and reads no further than the length that follows from it:
of a file that starts loud and goes on quiet it silently drops the rest, of joined files all but
the first. So we count the frames, and where the note is missing or wrong, put a right one in front;
where sample rate or channels change, what follows is a file of its own.

ISO/IEC 11172-3 and 13818-3; tag: https://gabriel.mp3-tech.org/mp3infotag.html
"""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import BinaryIO

from lightser.audio.containers import size_of, splice

_LOW = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_KBPS = {  # by version and layer
    (1, 1): tuple(range(32, 449, 32)),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): _LOW,
    (2, 3): _LOW,
}
_RATES = (44100, 48000, 32000)
_SEARCH_BYTES = 2**16  # how far behind its tags the first frame may be
_CHAIN = 3  # frames in a row that make an MP3 of what could be chance


@dataclass(frozen=True)
class _Header:
    """The four bytes at the start of a frame."""

    bytes: bytes
    version: int  # 1; 2 stands for 2.5 as well
    layer: int
    is_mono: bool
    sample_rate: int
    size: int  # bytes of the whole frame

    @property
    def samples(self) -> int:
        return {1: 384, 2: 1152, 3: 1152 // self.version}[self.layer]

    def goes_with(self, other: "_Header") -> bool:
        return (self.version, self.layer, self.sample_rate, self.is_mono) == (
            *(other.version, other.layer, other.sample_rate, other.is_mono),
        )


@lru_cache(maxsize=1024)  # a file has few of them
def _header(word: bytes) -> _Header | None:
    """Read a header; None if ``word`` is not one (or of free bit rate)."""
    if len(word) < 4 or word[0] != 0xFF or word[1] & 0xE0 != 0xE0:
        return None
    version_bits, layer, bit_rate = word[1] >> 3 & 3, 4 - (word[1] >> 1 & 3), word[2] >> 4
    rate = word[2] >> 2 & 3
    if version_bits == 1 or layer == 4 or bit_rate in (0, 15) or rate == 3:
        return None
    version = 1 if version_bits == 3 else 2
    sample_rate = _RATES[rate] // {3: 1, 2: 2, 0: 4}[version_bits]
    bits, padding = 1000 * _KBPS[version, layer][bit_rate - 1], word[2] >> 1 & 1
    if layer == 1:
        size = (12 * bits // sample_rate + padding) * 4
    else:
        size = (144 if layer == 2 or version == 1 else 72) * bits // sample_rate + padding
    return _Header(word, version, layer, word[3] >> 6 == 3, sample_rate, size)


@dataclass
class MpegSound:
    """Frames of one sample rate and number of channels, as a walk over them has found them.

    ``declared`` is the number of frames that the note promises, None without one; ``is_cut`` says
    that the last frame is not all there.
    """

    first: _Header
    has_note: bool
    declared: int | None
    frames: int = 0  # with sound
    is_cut: bool = False
    runs: list[tuple[int, int]] = field(default_factory=list)  # bytes of frames without a break
    is_steady: bool = True  # of one bit rate

    @property
    def samples(self) -> int:
        """Samples in its frames."""
        return self.frames * self.first.samples

    @property
    def missing_samples(self) -> int:
        """Samples that the note promises and the file lacks."""
        return max((self.declared or 0) - self.frames, 0) * self.first.samples

    def add(self, at: int, header: _Header, end: int) -> None:
        self.is_cut = at + header.size > end
        self.frames += not self.is_cut
        self.is_steady &= header.bytes[2] >> 4 == self.first.bytes[2] >> 4
        stop = min(at + header.size, end)
        if self.runs and self.runs[-1][1] == at:
            self.runs[-1] = self.runs[-1][0], stop
        else:
            self.runs.append((at, stop))

    def view(self, file: BinaryIO) -> BinaryIO:
        """Return the frames of ``file`` behind a note that is not too low.

        A good note is kept, because it also says how much silence the encoder has put in front.
        Some encoders count the note's own frame or forget one.
        """
        if self.first.layer < 3 or (self.declared is not None and self.declared >= self.frames - 1):
            return splice(file, *self.runs)
        (start, stop), *others = self.runs
        if self.has_note:
            start += self.first.size
        return splice(file, _note(self.first, self.frames), (start, stop), *others)


def scan_mpeg(file: BinaryIO) -> list[MpegSound]:
    """Walk over the frames of ``file``, and return what stands one behind another; [] if none."""
    end = size_of(file)
    start = _skip_id3(file)
    at = _find_frame(file, start, min(start + _SEARCH_BYTES, end), end)
    found: list[MpegSound] = []
    while at is not None and at + 4 <= end:
        file.seek(at)
        header = _header(file.read(4))
        is_known = header is not None and bool(found) and header.goes_with(found[-1].first)
        if header is None or not (is_known or _is_chain(file, at, end)):
            # A tag, or damage: go on where frames begin again.
            at = _find_frame(file, at + 1, end, end)
            continue
        if not is_known:
            file.seek(at)
            note = _read_note(file.read(header.size), header)
            found.append(MpegSound(header, *note, frames=-note[0]))
        found[-1].add(at, header, end)
        at += header.size
    return [part for part in found if part.frames > 0]


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


def _find_frame(file: BinaryIO, at: int, until: int, end: int) -> int | None:
    """Return the first byte in [``at``, ``until``) where a chain of frames begins."""
    while at < until:
        file.seek(at)
        block = file.read(min(_SEARCH_BYTES, until - at))
        if not block:
            return None
        offset = block.find(b"\xff")
        while offset >= 0:
            if _is_chain(file, at + offset, end):
                return at + offset
            offset = block.find(b"\xff", offset + 1)
        at += len(block)
    return None


def _is_chain(file: BinaryIO, at: int, end: int) -> bool:
    like = None
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
    if header.layer == 3 and note[:4] in (b"Xing", b"Info"):
        has_count = len(note) >= 12 and note[7] & 1
        return True, int.from_bytes(note[8:12], "big") if has_count else None
    note = frame[36:]
    if header.layer == 3 and note[:4] == b"VBRI":  # Fraunhofer's
        return True, int.from_bytes(note[14:18], "big")
    return False, None


def _note(like: _Header, frames: int) -> bytes:
    """Return a frame without sound that promises ``frames`` frames of the kind of ``like``."""
    # 128 kbit/s (80 in version 2) without padding or checksum: long enough for the note.
    first, second, third, fourth = like.bytes
    word = bytes((first, second | 1, 9 << 4 | third & 0x0C, fourth))
    header = _header(word)
    assert header is not None
    note = b"Xing" + (1).to_bytes(4, "big") + frames.to_bytes(4, "big")
    return (word.ljust(_note_offset(header), b"\0") + note).ljust(header.size, b"\0")
