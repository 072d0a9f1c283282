"""Ogg: the streams that stand one behind another, and whether their time stamps have gaps.

libsndfile reads the first stream alone, decodes Opus at whatever rate the header calls that of the
input, and does not hear a gap: of a call in which one side was mute it drops the silence.

RFC 3533 (pages), RFC 7845 (Opus), RFC 6716, section 3.1 (how long a packet lasts).
"""

import re
from dataclasses import dataclass, field, replace
from typing import BinaryIO

from lightser.audio.containers import Sound, find, size_of, splice

_CONTINUES, _BEGINS, _ENDS = 1, 2, 4  # flags of a page
_PAGE = re.compile(rb"OggS\0[\0-\7]")
_MOST_BYTES = 27 + 255 + 32  # a page's header, and enough of what follows it


@dataclass
class _Link:
    """One of the streams that stand one behind another, as its pages tell of it."""

    start: int  # byte
    serial: bytes
    head: bytes  # the beginning of its first packet
    has_gone_on: bool = False
    is_ended: bool = False
    is_lossy: bool = False  # pages are missing
    is_cut: bool = False
    serials: set[bytes] = field(default_factory=set)
    sequence: int = 0
    granule: int | None = None
    packets: int = 0  # since the last page with a time stamp
    odd_at: int | None = None  # samples; where time stamps do not follow from the packets

    def take(self, page: bytes, file: BinaryIO, at: int) -> None:
        flags, granule = page[5], int.from_bytes(page[6:14], "little", signed=True)
        sequence = int.from_bytes(page[18:22], "little")
        self.serials.add(page[14:18])
        if page[14:18] != self.serial:
            return
        self.has_gone_on |= not flags & _BEGINS
        self.is_ended = bool(flags & _ENDS)
        self.is_lossy |= sequence > self.sequence + 1
        self.sequence = sequence
        table = page[27 : 27 + page[26]]
        self.packets += len(table) - table.count(255)
        if granule < 0:  # no packet ends here
            return
        if granule > 0:
            first, last = self.granule is None, self.granule or 0
            low, high = self._lasts(page, file, at)
            is_gap = granule - last > high and not first
            is_low = granule - last < low and not self.is_ended
            if (is_gap or is_low) and self.odd_at is None:
                self.odd_at = last
        self.granule, self.packets = granule or None, 0

    def _lasts(self, page: bytes, file: BinaryIO, at: int) -> tuple[int, int]:
        """Return the least and most samples of the packets since the last time stamp."""
        if self.head[1:7] == b"vorbis":  # half a long block and half of the next, at most
            return 0, self.packets << (self.head[28] >> 4) >> 1
        if self.head[:8] != b"OpusHead" or page[5] & _CONTINUES:
            return 0, 2**62
        n, given = page[26], (self.granule or 0)
        lasts = self.packets * _opus_samples(page[27 + n : 27 + n + 2])
        if int.from_bytes(page[6:14], "little") - given == lasts:
            return lasts, lasts
        # Packets differ: look at each.
        file.seek(at + 27 + n)
        lasts, begins = 0, True
        for size in page[27 : 27 + n]:
            packet = file.read(size)
            lasts += _opus_samples(packet) if begins else 0
            begins = size < 255
        return lasts, lasts


def _opus_samples(packet: bytes) -> int:
    """Return how many samples at 48 kHz an Opus packet lasts, by its first two bytes."""
    if not packet:
        return 0
    kind = packet[0] >> 3
    if kind >= 16:
        frame = 120 << (kind & 3)
    elif kind >= 12:
        frame = 480 << (kind & 1)
    else:
        frame = (480, 960, 1920, 2880)[kind & 3]
    count = (1, 2, 2, packet[1] & 63 if len(packet) > 1 else 0)[packet[0] & 3]
    return frame * count


def ogg_sounds(file: BinaryIO) -> list[Sound]:
    """Return the streams of an Ogg file, one behind another; [] if it begins in the middle of one.

    Opus is made to be decoded at 48 kHz: what the header calls a rate is that of the input, and
    nothing to a decoder (RFC 7845, section 5.1).
    """
    links: list[_Link] = []
    at, end = 0, size_of(file)
    while at < end:
        file.seek(at)
        page = file.read(_MOST_BYTES)
        if not _PAGE.match(page) or len(page) < 27:
            found = find(file, _PAGE, at + 1)
            if found is None:
                if links and b"OggS".startswith(page[:4]):
                    links[-1].is_cut = True
                break
            at = found
            continue
        body = page[27 + page[26] :]
        if page[5] & _BEGINS and (not links or links[-1].has_gone_on):
            links.append(_Link(at, page[14:18], body))
        elif not links:
            return []
        links[-1].take(page, file, at)
        at += 27 + page[26] + sum(page[27 : 27 + page[26]])
        links[-1].is_cut = at > end or len(page) < 27 + page[26]
    return [
        _sound(file, link, until, is_alone=len(links) == 1)
        for link, until in zip(links, [*(link.start for link in links[1:]), end], strict=True)
    ]


def _sound(file: BinaryIO, link: _Link, end: int, *, is_alone: bool) -> Sound:
    sound = Sound(file if is_alone else splice(file, (link.start, end)), is_cut=link.is_cut)
    is_opus = link.head[:8] == b"OpusHead"
    if is_opus and link.head[12:16] != (48_000).to_bytes(4, "little"):
        file.seek(link.start)
        page = file.read(27 + 255 + 255)
        size = 27 + page[26] + sum(page[27 : 27 + page[26]])
        head = bytearray(page[:size])
        at = 27 + page[26] + 12
        head[at : at + 4] = (48_000).to_bytes(4, "little")
        head[22:26] = bytes(4)
        head[22:26] = _checksum(bytes(head)).to_bytes(4, "little")
        sound = replace(sound, file=splice(file, bytes(head), (link.start + size, end)))
    if link.odd_at is not None and not link.is_lossy:
        rate = 48_000 if is_opus else int.from_bytes(link.head[12:16], "little") or 1
        why = f"its time stamps do not follow from its packets, from {link.odd_at / rate:.2f} s on"
        return replace(sound, is_irregular=why)
    if len(link.serials) > 1:
        return replace(sound, is_irregular="several streams side by side")
    if not link.is_ended and not link.is_cut:
        why = "may be truncated, as no page of it is marked as the last"
        return replace(sound, warning=why)
    return sound


def _checksum(page: bytes) -> int:
    crc = 0
    for byte in page:
        crc ^= byte << 24
        for _ in range(8):
            crc = crc << 1 ^ (0x104C11DB7 if crc & 0x80000000 else 0)
    return crc
