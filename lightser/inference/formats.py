"""Predictions as text: a table, CSV, JSON, JSON by the line, and what annotation tools read.

A writer takes rows as they come. CSV, JSON and audformat write each at once, so that hours of
segments need no memory and a reader at the other end of a pipe need not wait. Adding a format is
adding a function.
"""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

from lightser.inference.annotations import write_audacity, write_textgrid, write_webvtt
from lightser.inference.audformat_folder import write_audformat
from lightser.inference.recognizer import Prediction
from lightser.inference.segments import Segment
from lightser.names import printable
from lightser.registry import Registry


@dataclass(frozen=True)
class Row:
    """What was heard in a stretch of a file; a whole clip is the stretch from 0 to its end.

    Attributes:
        file: as the user named it.
        start: seconds.
        end: seconds.
        label: the likeliest emotion, or "silence".
        confidence: its probability.
        probabilities: of every label, in the order of the model; empty for silence.
        channel: of the file, from 1 on; None is all of them mixed.
        track: of the file, from 1 on; None where none was asked for.
    """

    file: str
    start: float
    end: float
    label: str
    confidence: float
    probabilities: dict[str, float]
    channel: int | None = None
    track: int | None = None

    @classmethod
    def of(
        cls,
        file: str,
        heard: Prediction | Segment,
        channel: int | None = None,
        track: int | None = None,
    ) -> "Row":
        """Return the row of a clip or of a segment."""
        start, end = (
            (heard.start, heard.end) if isinstance(heard, Segment) else (0.0, heard.duration_s)
        )
        said = (heard.label, heard.confidence, heard.probabilities)
        return cls(file, start, end, *said, channel, track)

    @property
    def voice(self) -> str:
        """Which track and channel it is of, in words; "" is all of them.

        >>> Row("a", 0, 1, "fear", 1, {}, channel=2, track=1).voice
        'track 1, channel 2'
        """
        numbers = {"track": self.track, "channel": self.channel}
        return ", ".join(f"{what} {n}" for what, n in numbers.items() if n is not None)


# Writes rows; the second argument holds the labels of the model.
Writer = Callable[[Iterable[Row], Sequence[str], TextIO], None]

# The same for a format that is a folder.
FolderWriter = Callable[[Iterable[Row], Sequence[str], Path], None]

FORMATS: Registry[Writer] = Registry("format")
FOLDER_FORMATS: dict[str, FolderWriter] = {"audformat": write_audformat}

# These have no place for the name of a file.
ONE_RECORDING = ("textgrid", "audacity", "webvtt")

# What files are called, where the name of the format is not the ending.
ENDINGS = {"vtt": "webvtt"}


def _number(value: float) -> float:
    # A microsecond, and a millionth: finer than any of them is known.
    return round(value, 6)


def _object(row: Row) -> dict[str, Any]:
    probabilities = {label: _number(p) for label, p in row.probabilities.items()}
    numbers = {key: _number(getattr(row, key)) for key in ("start", "end", "confidence")}
    facts = asdict(row) | numbers | {"probabilities": probabilities}
    for name in ("track", "channel"):
        if facts[name] is None:
            del facts[name]
    return facts


def _voices(rows: Iterable[Row]) -> tuple[list[str], Iterator[Row]]:
    """Return what rows are of, tracks or channels or both, and all of them; one is looked at."""
    rows = iter(rows)
    first = next(rows, None)
    if first is None:
        return [], rows
    names = [name for name in ("track", "channel") if getattr(first, name) is not None]
    return names, chain([first], rows)


def write_csv(rows: Iterable[Row], labels: Sequence[str], file: TextIO) -> None:
    """Write ``file,start,end,label,confidence`` and a column ``p_<label>`` for each label.

    ``track`` and ``channel`` come after ``file``, where they are apart. Probabilities of silence
    are empty.
    """
    voices, rows = _voices(rows)
    table = csv.writer(file, lineterminator="\n")
    numbers = ["confidence", *(f"p_{label}" for label in labels)]
    table.writerow(["file", *voices, "start", "end", "label", *numbers])
    for row in rows:
        probabilities = [row.probabilities.get(label) for label in labels]
        table.writerow(
            [
                row.file,
                *(getattr(row, name) for name in voices),
                *map(_number, (row.start, row.end)),
                row.label,
                _number(row.confidence),
                *("" if p is None else _number(p) for p in probabilities),
            ]
        )


def write_json(rows: Iterable[Row], labels: Sequence[str], file: TextIO) -> None:
    """Write one list of objects, an object to a line."""
    before = "[\n  "
    for row in rows:
        file.write(before + json.dumps(_object(row), ensure_ascii=False))
        before = ",\n  "
    file.write("[]\n" if before.startswith("[") else "\n]\n")


def write_jsonl(rows: Iterable[Row], labels: Sequence[str], file: TextIO) -> None:
    """Write one object to a line, each as soon as it is known."""
    for row in rows:
        file.write(json.dumps(_object(row), ensure_ascii=False) + "\n")
        file.flush()


def write_table(rows: Iterable[Row], labels: Sequence[str], file: TextIO) -> None:
    """Write columns of text with a line of names above them, set apart by two spaces or more.

    For eyes and for ``awk``; it is written when the last row is known, since columns are as wide
    as what is in them. No rows are no table.
    """
    voices, rows = _voices(rows)
    lines = [["file", *voices, "start", "end", "label", "confidence", *labels]]
    for row in rows:
        numbers = [row.confidence, *(row.probabilities.get(label) for label in labels)]
        cells = ["-" if number is None else f"{number:.3f}" for number in numbers]
        where = [printable(row.file), *(str(getattr(row, name)) for name in voices)]
        lines.append([*where, f"{row.start:.2f}", f"{row.end:.2f}", row.label, *cells])
    if len(lines) == 1:
        return
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [
            cell.ljust(width) if name in ("file", "label") else cell.rjust(width)
            for cell, width, name in zip(line, widths, lines[0], strict=True)
        ]
        file.write("  ".join(cells).rstrip() + "\n")


FORMATS["table"] = write_table
FORMATS["csv"] = write_csv
FORMATS["json"] = write_json
FORMATS["jsonl"] = write_jsonl
FORMATS["textgrid"] = write_textgrid
FORMATS["audacity"] = write_audacity
FORMATS["webvtt"] = write_webvtt
