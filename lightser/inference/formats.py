"""Predictions as text: a table, CSV, JSON, and JSON by the line.

A writer takes rows as they come, and all but the table write each at once, so that hours of
segments need no memory and a reader at the other end of a pipe need not wait. Adding a format is
adding a function.
"""

import csv
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TextIO

from lightser.inference.recognizer import Prediction
from lightser.inference.segments import Segment
from lightser.registry import Registry


@dataclass(frozen=True)
class Row:
    """What was heard in a stretch of a file; a whole clip is the stretch from 0 to its end.

    Attributes:
        file: as the user named it.
        start: seconds.
        end: seconds.
        label: the likeliest emotion.
        confidence: its probability.
        probabilities: of every label, in the order of the model.
    """

    file: str
    start: float
    end: float
    label: str
    confidence: float
    probabilities: dict[str, float]

    @classmethod
    def of(cls, file: str, heard: Prediction | Segment) -> "Row":
        """Return the row of a clip or of a segment."""
        start, end = (
            (heard.start, heard.end) if isinstance(heard, Segment) else (0.0, heard.duration_s)
        )
        return cls(file, start, end, heard.label, heard.confidence, heard.probabilities)


# Writes rows; the second argument holds the labels of the model.
Writer = Callable[[Iterable[Row], Sequence[str], TextIO], None]

FORMATS: Registry[Writer] = Registry("format")


def _number(value: float) -> float:
    # A microsecond, and a millionth: finer than any of them is known.
    return round(value, 6)


def _object(row: Row) -> dict[str, Any]:
    probabilities = {label: _number(p) for label, p in row.probabilities.items()}
    numbers = {key: _number(getattr(row, key)) for key in ("start", "end", "confidence")}
    return asdict(row) | numbers | {"probabilities": probabilities}


def write_csv(rows: Iterable[Row], labels: Sequence[str], file: TextIO) -> None:
    """Write ``file,start,end,label,confidence`` and a column ``p_<label>`` for each label."""
    table = csv.writer(file, lineterminator="\n")
    table.writerow(
        ["file", "start", "end", "label", "confidence", *(f"p_{label}" for label in labels)]
    )
    for row in rows:
        numbers = [row.confidence, *(row.probabilities[label] for label in labels)]
        table.writerow(
            [row.file, *map(_number, (row.start, row.end)), row.label, *map(_number, numbers)]
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
    lines = [["file", "start", "end", "label", "confidence", *labels]]
    for row in rows:
        numbers = [row.confidence, *(row.probabilities[label] for label in labels)]
        times = [f"{row.start:.2f}", f"{row.end:.2f}"]
        lines.append([row.file, *times, row.label, *(f"{number:.3f}" for number in numbers)])
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
