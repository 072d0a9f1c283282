"""The utterance table: one row per utterance, a pandas DataFrame in memory, CSV on disk.

Every loader returns this table, every protocol splits it, and its columns are all that training
knows of a corpus. ``file, start, end`` is audformat's segmented index.
"""

import functools
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from lightser import tables
from lightser.audio.files import audio_info, read_audio
from lightser.audio.signatures import is_audio
from lightser.errors import BadCorpus
from lightser.names import is_unicode, printable
from lightser.whole import write_whole

COLUMNS = {
    "utterance": "unique id: the stem of the file name, or stem[start-end] for a part of a file",
    "file": "absolute path",
    "start": "seconds into the file; NaN: its beginning",
    "end": "seconds into the file; NaN: its end",
    "speaker": 'the person who speaks; "" unknown',
    "label": "category, a full English noun where the corpus allows",
    "corpus": "name of the corpus",
    "language": 'ISO 639-1; "" unknown',
    "gender": '"female", "male" or ""',
    "text": 'id or words of the sentence; "" unknown',
    "session": 'recording session; "" none',
    "style": '"improvised", "scripted", "acted" or ""',
    "votes": 'JSON object, category to number of votes; "" unknown',
    "agreement": "share of votes for the label, 0 to 1; NaN unknown",
}
NUMBERS = ("start", "end", "agreement")
NEVER_EMPTY = ("utterance", "file", "label", "corpus")
GENDERS = ("female", "male", "")
STYLES = ("improvised", "scripted", "acted", "")


def make_table(rows: Iterable[Mapping[Any, Any]], **same: Any) -> pd.DataFrame:
    """Return a checked table of ``rows``; ``same`` holds for every row.

    A row may leave out what it does not know; keys that are no column become columns at the end.

    >>> make_table([{"file": "/a/x.wav", "label": "anger"}], corpus="mine").loc[0, "utterance"]
    'x'
    """
    rows = [{**same, **row} for row in rows]
    for text in (value for row in rows for value in row.values() if isinstance(value, str)):
        if not is_unicode(text):
            raise BadCorpus(f"The name {printable(text)} is not Unicode (UTF-8); rename it")
    table = pd.DataFrame(rows)
    if table.empty:
        raise BadCorpus("The corpus holds no utterances")
    for column in COLUMNS:
        if column not in table and column not in NEVER_EMPTY:
            table[column] = np.nan if column in NUMBERS else ""
    if "utterance" not in table and "file" in table:
        starts = table["start"].astype(float)
        ends = table["end"].astype(float)
        table["utterance"] = [
            name + utterance_id("", start, end)
            for name, start, end in zip(short_names(table["file"]), starts, ends, strict=True)
        ]
    return check_table(table)


def utterance_id(file: str | Path, start: float = np.nan, end: float = np.nan) -> str:
    """Return the id of a file, or of its part from ``start`` to ``end`` (seconds).

    >>> utterance_id("/corpus/wav/03a01Fa.wav"), utterance_id("talk.wav", 1.5, 3)
    ('03a01Fa', 'talk[1.5-3]')
    >>> utterance_id("talk.wav", 61.25)
    'talk[61.25-]'
    """
    if np.isnan(start) and np.isnan(end):
        return Path(file).stem
    until = "" if np.isnan(end) else f"{end:.10g}"
    return f"{Path(file).stem}[{0 if np.isnan(start) else start:.10g}-{until}]"


def short_names(files: Iterable[str]) -> list[str]:
    """Return the stems of files, behind as many of their folders as it takes to tell all apart.

    Two files of one folder that differ in their endings keep one name.

    >>> short_names(["/savee/DC/a01.wav", "/savee/JE/a01.wav", "/savee/DC/a01.wav"])
    ['DC/a01', 'JE/a01', 'DC/a01']
    """
    paths = [(*Path(file).parent.parts, Path(file).stem) for file in files]
    names: list[str] = []
    for depth in range(1, max(map(len, paths), default=0) + 1):
        names = ["/".join(parts[-depth:]) for parts in paths]
        if len(set(names)) == len(set(paths)):
            break
    return names


def check_table(table: pd.DataFrame) -> pd.DataFrame:
    """Return ``table`` with its columns in order, typed, and an index from 0 to n - 1.

    Columns of one's own are kept, behind the others.

    Raises:
        BadCorpus: a column is missing, or a value is one that its column cannot hold.
    """
    missing = [column for column in COLUMNS if column not in table]
    if missing:
        raise BadCorpus(f"The utterance table lacks the columns {', '.join(missing)}")
    if table.empty:
        raise BadCorpus("The utterance table is empty")

    own = [column for column in table.columns if column not in COLUMNS]
    table = table[[*COLUMNS, *own]].reset_index(drop=True)
    for column in COLUMNS:
        if column in NUMBERS:
            table[column] = _numbers(table, column)
        else:
            _refuse(table, column, table[column].isna(), "is missing")
            table[column] = table[column].astype(str)

    for column in NEVER_EMPTY:
        _refuse(table, column, table[column] == "", "is empty")
    absolute = table["file"].map(os.path.isabs).astype(bool)
    _refuse(table, "file", ~absolute, "is not an absolute path")
    _refuse(table, "utterance", table["utterance"].duplicated(), "occurs twice")
    _refuse(table, "gender", ~table["gender"].isin(GENDERS), 'is not "female", "male" or ""')
    _refuse(table, "style", ~table["style"].isin(STYLES), f"is not one of {', '.join(STYLES)}")
    _refuse(table, "start", table["start"] < 0, "is negative")
    _refuse(table, "end", table["end"] <= table["start"].fillna(0), "is not after start")
    agreement = table["agreement"]
    _refuse(table, "agreement", (agreement < 0) | (agreement > 1), "is not a share from 0 to 1")
    _refuse(table, "votes", ~table["votes"].map(_are_votes).astype(bool), "is not a JSON object")
    return table


def _numbers(table: pd.DataFrame, column: str) -> "pd.Series[float]":
    # pd.to_numeric may be off by a bit in the last place; float is not
    numbers = [_number(value) for value in table[column]]
    wrong = pd.Series([number is None for number in numbers], index=table.index)
    _refuse(table, column, wrong, "is not a number")
    return pd.Series(numbers, index=table.index, dtype=float)


def _number(value: Any) -> float | None:
    """Return the number, NaN for an empty cell, None for anything else."""
    if isinstance(value, str) and value == "":
        return np.nan
    try:
        return np.nan if pd.isna(value) else float(value)
    except (TypeError, ValueError):
        return None


def _are_votes(votes: str) -> bool:
    if votes == "":
        return True
    try:
        counts = json.loads(votes)
    except json.JSONDecodeError:
        return False
    return isinstance(counts, dict) and all(isinstance(n, int | float) for n in counts.values())


def _refuse(table: pd.DataFrame, column: str, wrong: "pd.Series[bool]", what: str) -> None:
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        value = table[column].iloc[row]
        shown = repr(value) if isinstance(value, str) else value
        more = f" (and {wrong.sum() - 1} more)" if wrong.sum() > 1 else ""
        raise BadCorpus(
            f"Utterance table, row {row} ({table['utterance'].iloc[row]}): "
            f"{column} {shown} {what}{more}"
        )


def write_table(table: pd.DataFrame, path: Path | str) -> None:
    """Write ``table`` as CSV, whole or not at all.

    A file below the folder of the CSV is written relative to it, so that both can move together;
    any other path stays absolute.
    """
    path = Path(path).absolute()
    table = check_table(table)
    table["file"] = [relative_file(file, path.parent) for file in table["file"]]
    write_whole(path, table.to_csv(index=False, lineterminator="\n"))


def read_table(path: Path | str) -> pd.DataFrame:
    """Return the table of a CSV by :func:`write_table`.

    Raises:
        BadCorpus: it is not there, or not such a table.
    """
    path = Path(path).absolute()
    table = read_numbers(read_csv(path))
    if "file" in table:
        table["file"] = [os.path.normpath(path.parent / file) for file in table["file"]]
    return check_table(table)


def read_csv(path: Path, separator: str | None = None) -> pd.DataFrame:
    """Return a CSV as :func:`lightser.tables.read_table` reads it, all of it as text.

    Speaker "03" stays "03", and text "NA" is a text. Names of files are those on the disk. The
    index holds the lines of the file.

    Args:
        path: of the CSV.
        separator: of its columns, where it is known.

    Raises:
        BadCorpus: it is not there, or has rows that cannot be read; all of them are counted.
    """
    try:
        with open(path, "rb") as raw:
            table = tables.read_table(raw, str(path), BadCorpus, separator)
            rows = list(table.rows)
    except OSError as error:
        raise BadCorpus(f"Cannot read {path} as CSV: {error.strerror}") from error
    refuse_rows(path, {row.line: row.problem for row in rows if row.problem})
    frame = pd.DataFrame(
        [[*map(tables.text_of, row.cells)] for row in rows],
        columns=list(table.columns),
        index=[row.line for row in rows],
        dtype=object,
    )
    file = tables.find_column(table.columns, tables.ALIASES["file"])
    if file is not None:
        at = table.columns.index(file)
        frame[file] = [tables.file_in(row.cells[at], path.parent) for row in rows]
    frame.attrs |= {"path": path, "commas_separate": table.separator == ","}
    return frame


def read_numbers(frame: pd.DataFrame, units: Mapping[str, float] | None = None) -> pd.DataFrame:
    """Return a frame of :func:`read_csv` with seconds and shares as numbers, NaN where it is empty.

    Args:
        frame: whose columns are called as ours.
        units: in how many seconds ``start`` and ``end`` count, where they are other than 1.

    Raises:
        BadCorpus: what is no number; all of them are counted.
    """
    problems: dict[Any, str] = {}
    for column in NUMBERS:
        if column not in frame:
            continue
        read = tables.number
        if column in ("start", "end"):
            read = functools.partial(tables.seconds, unit=(units or {}).get(column, 1.0))
        numbers = []
        for line, cell in frame[column].items():
            found = cell
            if isinstance(cell, str):
                try:
                    found = read(cell, commas_separate=frame.attrs["commas_separate"])
                except ValueError as error:
                    found, problems[line] = None, f"{column} {error}"
            numbers.append(np.nan if found is None else found)
        frame[column] = pd.Series(numbers, index=frame.index, dtype=float)
    if problems:
        refuse_rows(frame.attrs["path"], problems)
    return frame


def refuse_rows(path: Path, problems: Mapping[Any, str]) -> None:
    """Raise if there are problems in rows of a CSV, by line.

    Raises:
        BadCorpus: with the first of them.
    """
    if problems:
        first = [f"line {line}: {problem}" for line, problem in [*problems.items()][:3]]
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        raise BadCorpus(f"Cannot read {path}, {'; '.join(first)}{more}")


def relative_file(file: str, folder: Path) -> str:
    """Return ``file`` relative to ``folder`` with forward slashes, or as it is if it is outside."""
    try:
        return Path(file).relative_to(folder).as_posix()
    except ValueError:
        return file


def agreement_level(agreement: ArrayLike) -> NDArray[np.str_]:
    """Return Zhong's level of each share of votes: A (all), B (at least 0.65), C, or "" (unknown).

    Zhong et al., "A Lightweight Model Based on Separable Convolution for Speech Emotion
    Recognition", Interspeech 2020, section 4.1.

    >>> agreement_level([1, 0.95, 0.65, 0.5, float("nan")]).tolist()
    ['A', 'B', 'B', 'C', '']
    """
    shares = np.asarray(agreement, dtype=float)
    return np.select([np.isnan(shares), shares >= 1, shares >= 0.65], ["", "A", "B"], "C")


def find_audio(root: Path, pattern: str) -> dict[str, Path]:
    """Return the audio files of ``root`` that match the glob ``pattern``, by stem, in order.

    Hidden files are left out: macOS puts a ``._x.wav`` beside ``x.wav`` when it unpacks.

    Raises:
        BadCorpus: ``root`` is no folder, or two files are the same utterance (``x.wav``,
            ``x.flac``).
    """
    if not root.is_dir():
        raise BadCorpus(f"There is no folder {root}")
    found: dict[str, Path] = {}
    for file in sorted(root.absolute().glob(pattern)):
        if not is_audio(file) or file.name.startswith("."):
            continue
        if file.stem in found:
            raise BadCorpus(f"{found[file.stem]} and {file} are the same utterance; keep one")
        found[file.stem] = file
    return found


def content_hash(file: str | Path, start: float = np.nan, end: float = np.nan) -> str:
    """Return the SHA-256 of the decoded mono samples at the file's own rate, and of that rate.

    Equal for a WAV and the FLAC made of it, and for the same audio under two names.

    Raises:
        BadAudio: the file cannot be read.
    """
    rate = audio_info(file).sample_rate
    samples = read_audio(
        file,
        rate,
        start=None if np.isnan(start) else start,
        end=None if np.isnan(end) else end,
    )
    digest = hashlib.sha256(f"{rate} Hz ".encode())
    digest.update(np.ascontiguousarray(samples, dtype="<f4").tobytes())
    return digest.hexdigest()


def content_hashes(table: pd.DataFrame, *, threads: int | None = None) -> "pd.Series[str]":
    """Return :func:`content_hash` of each row; decoding and hashing release Python's lock."""
    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        hashes = list(pool.map(content_hash, table["file"], table["start"], table["end"]))
    return pd.Series(hashes, index=table.index, name="content")


def duplicates(table: pd.DataFrame, hashes: "pd.Series[str] | None" = None) -> list[list[str]]:
    """Return the groups of utterances with the same content, each in the order of the table.

    Args:
        table: utterances.
        hashes: from :func:`content_hashes`, if they are there already.
    """
    if hashes is None:
        hashes = content_hashes(table)
    groups = table["utterance"].groupby(hashes.to_numpy(), sort=False)
    return [group.tolist() for _, group in groups if len(group) > 1]
