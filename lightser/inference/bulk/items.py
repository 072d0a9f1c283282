"""The list of files: out of a manifest, or of folders, patterns and URLs, and kept on disk.

It is read row by row, and never held in memory.
"""

import csv
import hashlib
import io
import itertools
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from lightser.errors import BadManifest, LightserError
from lightser.inference.bulk.remote import filesystem_of, is_url, list_audio, require_protocol
from lightser.inference.finding import each_audio

# The columns that mean something to us; all others are carried to the output.
_OURS = ("file", "start", "end", "channel")


@dataclass(frozen=True)
class Item:
    """A file to listen to, or a stretch of it.

    Attributes:
        file: as the user named it.
        start: seconds; None is its beginning.
        end: seconds; None is its end.
        channel: from 1 on; None is all of them mixed.
        carried: what else the manifest says of it, column by column.
    """

    file: str
    start: float | None = None
    end: float | None = None
    channel: int | None = None
    carried: tuple[str, ...] = ()


@dataclass(frozen=True)
class Block:
    """Items that follow each other, as one process takes them.

    Attributes:
        index: of the block.
        first: number of its first item in the whole list, from 0 on.
        items: all of them.
    """

    index: int
    first: int
    items: tuple[Item, ...]


@dataclass(frozen=True)
class ListFacts:
    """What there is to know of a list on disk.

    Attributes:
        files: how many items.
        sha256: of the file.
        columns: names of those that are carried.
        has_channels: whether it names channels.
        has_stretches: whether it names channels, starts or ends.
    """

    files: int
    sha256: str
    columns: tuple[str, ...]
    has_channels: bool
    has_stretches: bool


def read_manifest(path: str, column: str) -> tuple[tuple[str, ...], Iterator[Item]]:
    """Return the names of carried columns, and the items of a manifest, one after another.

    Args:
        path: a CSV with a header, separated by commas, semicolons or tabs; or, if it ends in
            ``.txt``, a list with a file on each line. A URL is read, too.
        column: that names the file.

    Raises:
        BadManifest: it cannot be read, has no such column, or a row says what cannot be.
    """
    lines = _lines(path)
    if path.endswith(".txt"):
        return (), (Item(line.rstrip("\r\n")) for line in lines if line.strip())
    header_line = next(lines, "")
    separator = next((s for s in "\t;" if s in header_line and "," not in header_line), ",")
    header = [cell.strip() for cell in next(csv.reader([header_line], delimiter=separator), [])]
    if column not in header:
        raise BadManifest(
            f"{path}: no column '{column}'; name the column of files with --column "
            f"(there are: {', '.join(header) or 'none'})."
        )
    if twice := sorted({name for name in header if header.count(name) > 1}):
        raise BadManifest(f"{path}: two columns are called '{twice[0]}'; rename one.")
    for name in header:
        if name not in _OURS and name.lower() in _OURS[1:] and name != column:
            raise BadManifest(
                f"{path}: column '{name}' is not '{name.lower()}'; write it like that, or give it "
                "another name."
            )
    ours = {"file": header.index(column)} | {k: header.index(k) for k in _OURS[1:] if k in header}
    carried = [i for i in range(len(header)) if i not in ours.values()]

    def items() -> Iterator[Item]:
        table = csv.reader(lines, delimiter=separator)
        try:
            for cells in table:
                if cells:
                    yield _item(cells, len(header), ours, carried)
        except (csv.Error, ValueError) as error:
            raise BadManifest(f"{path}, line {table.line_num + 1}: {error}") from None

    return tuple(header[i] for i in carried), items()


def _item(cells: list[str], width: int, ours: dict[str, int], carried: list[int]) -> Item:
    """Return the item of a row.

    Raises:
        ValueError: the row says what cannot be.
    """
    if len(cells) != width:
        raise ValueError(
            f"{len(cells)} cells, and there are {width} columns; quote what has commas."
        )
    said = {name: cells[at].strip() for name, at in ours.items() if name != "file"}
    file = cells[ours["file"]]
    if not file.strip():
        raise ValueError("no name of a file.")
    start, end = (_seconds(name, said.get(name, "")) for name in ("start", "end"))
    if end is not None and end <= (start or 0):
        raise ValueError(f"from {start or 0:g} s to {end:g} s is no stretch of time.")
    channel = said.get("channel", "").removesuffix(".0")  # as pandas writes where some are empty
    if channel and not (channel.isdecimal() and int(channel) >= 1):
        raise ValueError(f"channel '{channel}'; channels are counted from 1.")
    rest = tuple(cells[i] for i in carried)
    return Item(file, start, end, int(channel) if channel else None, rest)


def _seconds(name: str, cell: str) -> float | None:
    if not cell:
        return None
    try:
        seconds = float(cell)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ValueError(f"{name} '{cell}'; expected seconds, 0 or more.")
    return seconds


def _lines(path: str) -> Iterator[str]:
    """Yield lines; bytes that are not UTF-8 are kept as the names of files keep them."""
    try:
        if is_url(path):
            system, inner = filesystem_of(path)
            raw = system.open(inner, "rb")
        else:
            raw = open(path, "rb")  # noqa: SIM115  # closed below
        with io.TextIOWrapper(raw, "utf-8-sig", errors="surrogateescape", newline="") as file:
            yield from file
    except FileNotFoundError:
        raise BadManifest(f"{path}: no such file; check the path.") from None
    except OSError as error:
        raise BadManifest(f"{path}: cannot be read ({error.strerror or error}).") from None
    except Exception as error:  # each store has its own kinds, with no common base
        if not is_url(path) or isinstance(error, LightserError):
            raise
        raise BadManifest(f"{path}: cannot be read ({error}).") from None


def find_files(sources: Iterable[str]) -> Iterator[Item]:
    """Yield the audio files of files, folders, patterns and URLs, each once.

    Raises:
        BadAudio: a folder, pattern or URL without audio, or which cannot be listed.
        LightserError: a URL that cannot be opened here.
    """
    seen: set[bytes] = set()
    problems: list[LightserError] = []
    for source in sources:
        for name in list_audio(source) if is_url(source) else each_audio([source], problems):
            # Digests are a fraction of a million paths.
            path = name if is_url(name) else os.path.abspath(name)
            key = hashlib.blake2b(os.fsencode(path), digest_size=16).digest()
            if key not in seen:
                seen.add(key)
                yield Item(name)
    if problems:
        raise problems[0]


def write_list(columns: tuple[str, ...], items: Iterable[Item], path: Path) -> ListFacts:
    """Write the list that a run goes by, and return what there is to know of it.

    Raises:
        BadManifest: there are no items.
        LightserError: a URL whose protocol cannot be opened here.
    """
    protocols: set[str] = set()
    files, has_channels, has_stretches = 0, False, False
    with _open_list(path, "w") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow([*_OURS, *columns])
        for item in items:
            if is_url(item.file) and (protocol := item.file.split("://")[0]) not in protocols:
                require_protocol(item.file)  # better now than a million times
                protocols.add(protocol)
            table.writerow([item.file, item.start, item.end, item.channel, *item.carried])
            files += 1
            has_channels |= item.channel is not None
            has_stretches |= (item.start, item.end, item.channel) != (None, None, None)
    if not files:
        raise BadManifest("The manifest names no files.")
    with open(path, "rb") as raw:
        digest = hashlib.sha256()
        while chunk := raw.read(2**16):
            digest.update(chunk)
    return ListFacts(files, digest.hexdigest(), columns, has_channels, has_stretches)


def read_list(path: Path) -> Iterator[Item]:
    """Yield the items of a list that :func:`write_list` has written."""
    with _open_list(path, "r") as file:
        rows = csv.reader(file)
        next(rows)
        for name, start, end, channel, *carried in rows:
            yield Item(
                name,
                float(start) if start else None,
                float(end) if end else None,
                int(channel) if channel else None,
                tuple(carried),
            )


def blocks_of(items: Iterable[Item], size: int) -> Iterator[Block]:
    """Yield items in blocks of ``size``, the last one smaller."""
    items = iter(items)
    for index in itertools.count():
        block = tuple(itertools.islice(items, size))
        if not block:
            return
        yield Block(index, index * size, block)


def _open_list(path: Path, mode: str) -> TextIO:
    file = open(path, mode, encoding="utf-8", errors="surrogateescape", newline="")  # noqa: SIM115
    assert isinstance(file, io.TextIOWrapper)
    return file
