"""Tables of answers on disk: CSV, JSON by the line, and Parquet.

A writer takes rows as they come and holds few of them. Columns are those of ``lightser predict``,
and after them those that a manifest brought along.
"""

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from lightser.errors import MissingExtra
from lightser.registry import Registry


@dataclass(frozen=True)
class Columns:
    """What a table holds beside ``file``, ``start``, ``end``, ``label`` and ``confidence``.

    Attributes:
        labels: of the model; each has a column of probabilities, ``p_<label>``.
        carried: of the manifest.
        has_channels: whether ``channel`` is one of them.
        has_tracks: whether ``track`` is one of them.
        about: what made the table, for formats that have a place for it.
    """

    labels: tuple[str, ...]
    carried: tuple[str, ...] = ()
    has_channels: bool = False
    has_tracks: bool = False
    about: str = ""

    @property
    def ours(self) -> tuple[str, ...]:
        """Names of the columns that are not carried."""
        voice = (*["track"] * self.has_tracks, *["channel"] * self.has_channels)
        numbers = (f"p_{label}" for label in self.labels)
        return ("file", *voice, "start", "end", "label", "confidence", *numbers)

    @property
    def all(self) -> tuple[str, ...]:
        """Names of all columns; carried ones that are called like ours begin with ``manifest_``.

        >>> Columns(("anger",), ("id", "label")).all[-2:]
        ('id', 'manifest_label')
        """
        return (*self.ours, *renamed(self.carried, {*self.ours, "probabilities"}))


def renamed(carried: Iterable[str], taken: set[str]) -> tuple[str, ...]:
    """Return names of carried columns, those that are taken behind ``manifest_``.

    >>> renamed(["id", "label", "manifest_label"], {"label"})
    ('id', 'manifest_label', 'manifest_manifest_label')
    """
    names: list[str] = []
    for name in carried:
        while name in taken or name in names:
            name = f"manifest_{name}"
        names.append(name)
    return tuple(names)


# The cells of a row, in the order of Columns.all; probabilities of silence are None.
Cells = tuple[Any, ...]
TableWriter = Callable[[Iterable[Cells], Columns, Path], None]

TABLES: Registry[TableWriter] = Registry("format")


def _short(cell: Any) -> Any:
    return round(cell, 6) if isinstance(cell, float) else cell


def write_csv(rows: Iterable[Cells], columns: Columns, path: Path) -> None:
    """Write a line of names, and a line for each row."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(columns.all)
        table.writerows(map(_short, row) for row in rows)


def write_jsonl(rows: Iterable[Cells], columns: Columns, path: Path) -> None:
    """Write an object for each row, in which ``probabilities`` is one, too."""
    first = len(columns.ours) - len(columns.labels)
    with open(path, "w", encoding="utf-8", newline="") as file:
        for row in rows:
            facts = dict(zip(columns.all, map(_short, row), strict=True))
            pairs = zip(columns.labels, columns.ours[first:], strict=True)
            named = {label: facts.pop(name) for label, name in pairs}
            heard = {} if None in named.values() else named
            before = {name: facts.pop(name) for name in columns.ours[:first]}
            line = before | {"probabilities": heard} | facts
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


# Rows that are compressed together, and held until then.
_ROW_GROUP = 50_000


def write_parquet(rows: Iterable[Cells], columns: Columns, path: Path) -> None:
    """Write typed columns: text, seconds as float64, probabilities as float32.

    Raises:
        MissingExtra: pyarrow is not installed.
    """
    arrow = require_arrow()
    text = arrow.string()
    types = {
        "file": text,
        "track": arrow.int16(),
        "channel": arrow.int16(),
        "start": arrow.float64(),
        "end": arrow.float64(),
        "label": arrow.dictionary(arrow.int16(), text),
        "confidence": arrow.float32(),
        **{f"p_{label}": arrow.float32() for label in columns.labels},
    }
    fields = [(name, types[name]) for name in columns.ours]
    fields += [(name, text) for name in columns.all[len(columns.ours) :]]
    schema = arrow.schema(fields, metadata={"lightser": columns.about})
    with arrow.parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for group in _groups(rows, _ROW_GROUP):
            cells = zip(*group, strict=True)
            arrays = [
                arrow.array(column, type=t) for column, (_, t) in zip(cells, fields, strict=True)
            ]
            writer.write_table(arrow.Table.from_arrays(arrays, schema=schema))


def require_arrow() -> Any:
    """Return pyarrow, with its Parquet.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingExtra("Writing Parquet", "bulk") from None
    return pyarrow


def _groups(rows: Iterable[Cells], size: int) -> Iterator[list[Cells]]:
    rows = iter(rows)
    while group := list(islice(rows, size)):
        yield group


TABLES["csv"] = write_csv
TABLES["jsonl"] = write_jsonl
TABLES["parquet"] = write_parquet
