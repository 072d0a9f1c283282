"""Predictions as an audformat database: a folder with a header and a table for each channel.

audformat is the format of audb and its tools; ``audformat.Database.load(folder)`` reads what is
written here. Nothing of it is needed for writing: the header is YAML, of which JSON is a part, and
tables are CSV. Specification: https://audeering.github.io/audformat/data-introduction.html
"""

import csv
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightser.errors import LightserError
from lightser.inference.segments import SILENCE
from lightser.whole import write_whole

if TYPE_CHECKING:
    from lightser.inference.formats import Row

HEADER = "db.yaml"
_OURS = {"name": "predictions", "source": "lightser"}  # of a header that we have written


def write_audformat(rows: "Iterable[Row]", labels: Sequence[str], folder: Path) -> None:
    """Write ``db.yaml`` and ``db.emotion.csv``, or ``db.channel-1.csv`` and so on.

    Each table has the columns ``emotion``, ``confidence`` and one for each label, by segment. Rows
    are written as they come, to a folder beside this one; the header, without which nobody takes a
    folder for a database, is moved last.

    Raises:
        LightserError: there is something else in this place, or nothing can be written there.
    """
    if folder.exists() and not _may_replace(folder):
        raise LightserError(
            f"{folder}: exists and is no audformat database of predictions; give another."
        )
    beside = Path(os.path.realpath(folder))
    unfinished = beside.with_name(f".{beside.name}.{secrets.token_hex(4)}")
    try:
        beside.parent.mkdir(parents=True, exist_ok=True)
        unfinished.mkdir()
        try:
            tables = _write_tables(rows, labels, unfinished)
            beside.mkdir(exist_ok=True)
            (beside / HEADER).unlink(missing_ok=True)
            for earlier in beside.glob("db.*.csv"):
                earlier.unlink()
            for name in tables:
                os.replace(unfinished / f"db.{name}.csv", beside / f"db.{name}.csv")
            write_whole(beside / HEADER, _header(labels, sorted(tables)))
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    except OSError as error:
        raise LightserError(f"{folder}: cannot be written ({error.strerror}).") from None


def _may_replace(folder: Path) -> bool:
    """Tell an empty folder, or a database that we have written, from what is not ours."""
    if not folder.is_dir():
        return False
    if not any(folder.iterdir()):
        return True
    try:
        header = json.loads((folder / HEADER).read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(header, dict) and _OURS.items() <= header.items()


def _write_tables(rows: "Iterable[Row]", labels: Sequence[str], folder: Path) -> list[str]:
    """Write a table for each channel, and return their names."""
    tables: dict[str, Any] = {}
    with ExitStack() as until_the_end:
        for row in rows:
            name = row.voice.replace(",", "").replace(" ", "-") or "emotion"
            if name not in tables:
                table = folder / f"db.{name}.csv"
                file = until_the_end.enter_context(open(table, "w", encoding="utf-8", newline=""))
                tables[name] = csv.writer(file, lineterminator="\n")
                tables[name].writerow(["file", "start", "end", "emotion", "confidence", *labels])
            path = row.file if row.file == "-" else os.path.abspath(row.file)
            probabilities = (row.probabilities.get(label) for label in labels)
            tables[name].writerow(
                [
                    *(path, _timedelta(row.start), _timedelta(row.end), row.label),
                    round(row.confidence, 6),
                    *("" if p is None else round(p, 6) for p in probabilities),
                ]
            )
    return list(tables)


def _timedelta(seconds: float) -> str:
    """Return a time as pandas writes it.

    >>> _timedelta(90061.5)
    '1 days 01:01:01.500000'
    """
    minutes, millionths = divmod(round(1e6 * seconds), 60_000_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours // 24} days {hours % 24:02}:{minutes:02}:{millionths / 1e6:09.6f}"


def _header(labels: Sequence[str], tables: Sequence[str]) -> str:
    columns = {"emotion": "emotion", "confidence": "probability"}
    columns |= dict.fromkeys(labels, "probability")
    header = _OURS | {
        "description": "Emotions of speech, recognised by lightser. A prediction is no annotation.",
        "usage": "unrestricted",
        "languages": [],
        "schemes": {
            "emotion": {"dtype": "str", "labels": [*labels, SILENCE]},
            "probability": {"dtype": "float", "minimum": 0, "maximum": 1},
        },
        "tables": {
            name: {
                "type": "segmented",
                "columns": {column: {"scheme_id": scheme} for column, scheme in columns.items()},
            }
            for name in tables
        },
    }
    return json.dumps(header, indent=2, ensure_ascii=False) + "\n"
