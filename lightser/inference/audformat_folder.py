"""Predictions as an audformat database: a folder with a header and a table for each channel.

audformat is the format of audb and its tools; ``audformat.Database.load(folder)`` reads what is
written here. Nothing of it is needed for writing: the header is YAML, of which JSON is a part, and
tables are CSV. Specification: https://audeering.github.io/audformat/data-introduction.html
"""

import csv
import json
import os
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


def write_audformat(rows: "Iterable[Row]", labels: Sequence[str], folder: Path) -> None:
    """Write ``db.yaml`` and ``db.emotion.csv``, or ``db.channel-1.csv`` and so on.

    Each table has the columns ``emotion``, ``confidence`` and one for each label, by segment. Rows
    are written as they come; the header, without which nobody takes the folder for a database,
    comes last.

    Raises:
        LightserError: there is something else in this place, or nothing can be written there.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        if not (folder / HEADER).is_file():
            raise LightserError(f"{folder}: exists and is no audformat database; give another.")
        (folder / HEADER).unlink()  # from here on until all is written, it is none
        for table in folder.glob("db.*.csv"):
            table.unlink()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LightserError(f"{folder}: cannot be made ({error.strerror}).") from None

    tables: dict[str, Any] = {}
    with ExitStack() as until_the_end:
        for row in rows:
            name = "emotion" if row.channel is None else f"channel-{row.channel}"
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
    write_whole(folder / HEADER, _header(labels, sorted(tables)))


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
    header = {
        "name": "predictions",
        "description": "Emotions of speech, recognised by lightser. A prediction is no annotation.",
        "source": "lightser",
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
