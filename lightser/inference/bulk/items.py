"""The list of files: out of a manifest, or of folders, patterns and URLs, and kept on disk.

It is read row by row, and never held in memory.
"""

import csv
import hashlib
import io
import itertools
import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TextIO

from lightser.errors import BadManifest, LightserError, LightserWarning
from lightser.inference.bulk.remote import filesystem_of, is_url, list_audio, require_protocol
from lightser.inference.finding import each_audio
from lightser.names import is_unicode
from lightser.tables import (
    ALIASES,
    Row,
    Table,
    file_in,
    find_column,
    find_time,
    like_a_time,
    read_table,
    text_lines,
    text_of,
)

# The columns that mean something to us; all others are carried to the output.
_OURS = ("file", "start", "end", "channel")
_PROBLEM = "problem"  # of the list on disk


@dataclass(frozen=True)
class Item:
    """A file to listen to, or a stretch of it.

    Attributes:
        file: as the user named it.
        start: seconds; None is its beginning.
        end: seconds; None is its end.
        channel: from 1 on; None is all of them mixed.
        carried: what else the manifest says of it, column by column.
        problem: why its row cannot be used; "" if it can.
        said: start, end and channel as the manifest has them, where there is a problem.
    """

    file: str
    start: float | None = None
    end: float | None = None
    channel: int | None = None
    carried: tuple[str, ...] = ()
    problem: str = ""
    said: tuple[str, str, str] = ("", "", "")

    @property
    def stretch(self) -> tuple[float | str | None, float | str | None, int | str | None]:
        """Start, end and channel: what is meant, or what the manifest says that cannot be."""
        return self.said if self.problem else (self.start, self.end, self.channel)


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


def read_manifest(
    path: str, column: str = "file", base: str | None = None
) -> tuple[tuple[str, ...], Iterator[Item]]:
    """Return the names of carried columns, and the items of a manifest, one after another.

    A row that cannot be used is an item with its problem.

    Args:
        path: a CSV as :func:`lightser.tables.read_table` takes it; or, if it ends in ``.txt``, a
            list with a file on each line. A URL is read, too.
        column: that names the file; "file" is also found under the names that others give it.
        base: folder or URL of relative names.

    Warns:
        LightserWarning: a column may be meant as a time, and is not taken for one.

    Raises:
        BadManifest: it cannot be read, or has no such column.
    """
    folder = None if base is None or is_url(base) else base
    if path.lower().endswith(".txt"):
        lines = (line.rstrip("\r\n") for line in _lines(path))
        return (), (Item(file_in(line, folder)) for line in lines if line.strip())
    with _readable(path):
        table = read_table(_opened(path), path, BadManifest)
    names = ALIASES["file"] if column == "file" else (column,)
    file = column if column in table.columns else find_column(table.columns, names)
    if file is None:
        raise BadManifest(
            f"{path}: no column '{column}'; name the column of files with --column "
            f"(there are: {', '.join(table.columns) or 'none'})."
        )
    others = [name for name in table.columns if name != file]
    units = {}
    ours = {"file": table.columns.index(file)}
    for which in ("start", "end"):
        if found := find_time(others, which):
            ours[which], units[which] = table.columns.index(found[0]), found[1]
    if channel := find_column(others, ALIASES["channel"]):
        ours["channel"] = table.columns.index(channel)
    carried = [i for i in range(len(table.columns)) if i not in ours.values()]
    for name in like_a_time(table.columns[i] for i in carried):
        warnings.warn(
            f"{path}: column '{name}' is not taken for a time; if it is one in seconds, call it "
            "start or end",
            LightserWarning,
            stacklevel=2,
        )

    def items() -> Iterator[Item]:
        with _readable(path):
            for row in table.rows:
                yield _item(row, table, ours, units, carried, folder)

    return tuple(table.columns[i] for i in carried), items()


def _item(
    row: Row,
    table: Table,
    ours: dict[str, int],
    units: dict[str, float],
    carried: list[int],
    folder: str | None,
) -> Item:
    """Return the item of a row."""
    if row.problem:  # nobody knows which cell is which
        text = text_of(row.text)
        problem = f"line {row.line}: {row.problem}"
        return Item(text, carried=("",) * len(carried), problem=problem)
    file = file_in(row.cells[ours["file"]], folder)
    said = {name: text_of(row.cells[at]) for name, at in ours.items() if name != "file"}
    rest = tuple(
        row.cells[i] if is_unicode(row.cells[i]) else text_of(row.cells[i]) for i in carried
    )
    try:
        if not file:
            raise ValueError("no name of a file")
        start, end = (_seconds(table, name, said.get(name, ""), units) for name in ("start", "end"))
        if end is not None and end <= (start or 0):
            raise ValueError(f"from {start or 0:g} s to {end:g} s is no stretch of time")
        return Item(file, start, end, _channel(table, said.get("channel", "")), rest)
    except ValueError as error:
        problem = f"line {row.line}: {error}."
        texts = (said.get("start", ""), said.get("end", ""), said.get("channel", ""))
        return Item(file, carried=rest, problem=problem, said=texts)


def _seconds(table: Table, name: str, cell: str, units: dict[str, float]) -> float | None:
    try:
        return table.seconds(cell, units.get(name, 1.0))
    except ValueError as error:
        raise ValueError(f"{name} {error}") from None


def _channel(table: Table, cell: str) -> int | None:
    try:
        found = table.number(cell)  # pandas writes 1.0 where some are empty
    except ValueError:
        found = 0.0
    if found is not None and (found < 1 or found != int(found)):
        raise ValueError(f"channel '{cell}'; channels are counted from 1")
    return None if found is None else int(found)


def _opened(path: str) -> BinaryIO:
    if is_url(path):
        system, inner = filesystem_of(path)
        return system.open(inner, "rb")  # type: ignore[no-any-return]  # fsspec has no types
    return open(path, "rb")


@contextmanager
def _readable(path: str) -> Iterator[None]:
    """Raise BadManifest where a manifest cannot be read."""
    try:
        yield
    except FileNotFoundError:
        raise BadManifest(f"{path}: no such file; check the path.") from None
    except OSError as error:
        raise BadManifest(f"{path}: cannot be read ({error.strerror or error}).") from None
    except Exception as error:  # each store has its own kinds, with no common base
        if not is_url(path) or isinstance(error, LightserError):
            raise
        raise BadManifest(f"{path}: cannot be read ({error}).") from None


def _lines(path: str) -> Iterator[str]:
    """Yield lines; bytes that are not UTF-8 are kept as the names of files keep them."""
    with _readable(path):
        yield from text_lines(_opened(path), path, BadManifest)


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
        table.writerow([*_OURS, _PROBLEM, *columns])
        for item in items:
            if (
                not item.problem
                and is_url(item.file)
                and (protocol := item.file.split("://")[0]) not in protocols
            ):
                require_protocol(item.file)  # better now than a million times
                protocols.add(protocol)
            table.writerow([item.file, *item.stretch, item.problem, *item.carried])
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
        for name, start, end, channel, problem, *carried in rows:
            if problem:
                said = (start, end, channel)
                yield Item(name, carried=tuple(carried), problem=problem, said=said)
                continue
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
