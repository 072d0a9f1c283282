"""Tables as people have them: any separator, coding and end of line, decimal commas, times.

Manifests and the tables of corpora are read by this one reader, row by row, so that a list of any
length takes no memory. What stands in a cell is read, or there is a line that says why not.

Standard library only: whoever recognises needs no pandas.
"""

import codecs
import csv
import io
import itertools
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

from lightser.errors import LightserError
from lightser.names import is_unicode

# What others call the columns that say which stretch of which file is meant. We look for them in
# this order, without regard to capitals, blanks, hyphens and underscores.
ALIASES = {
    "file": (
        *("file", "path", "filename", "filepath", "wav", "audio"),
        *("wavfile", "wavpath", "audiofile", "audiopath", "audiofilepath"),
    ),
    "start": ("start", "starttime", "begin", "begintime"),
    "end": ("end", "endtime", "stop", "stoptime"),
    "channel": ("channel",),
}
_UNITS = {
    **dict.fromkeys(("", "s", "sec", "secs", "second", "seconds", "insec", "inseconds"), 1.0),
    **dict.fromkeys(("ms", "msec", "millis", "millisecond", "milliseconds", "inms"), 0.001),
}
# What may be meant as a time, and is not taken for one, as its unit or zero is not known.
_LIKE_A_TIME = re.compile(
    r"(start|begin|end|stop)(\d|sample|frame|min|hour|us|ns).*|onset|offset|from|to|[tx]m(in|ax)"
)

_EMPTY = {"nan", "nat", "<na>", "na", "n/a", "#n/a", "null", "none"}
_NO_TABLE = (
    (b"PK\x03\x04", "a workbook or ZIP archive; save the sheet as 'CSV UTF-8'"),
    (b"\xd0\xcf\x11\xe0", "an Excel workbook; save the sheet as 'CSV UTF-8'"),
    (b"PAR1", "a Parquet file; write it as CSV"),
    (b"\x1f\x8b", "compressed by gzip; unpack it first"),
)
_BLANK = r"[ \t\u00a0\u2007\u2009\u202f]"
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_GROUPED = re.compile(rf"[+-]?\d{{1,3}}(?:(?:{_BLANK}|['’])\d{{3}})+(?:[.,]\d*)?", re.ASCII)
_DOTTED = re.compile(r"[+-]?\d{1,3}(?:\.\d{3})+,\d*|[+-]?\d{1,3}(?:\.\d{3}){2,}", re.ASCII)
_COMMAED = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+\.\d*|[+-]?\d{1,3}(?:,\d{3}){2,}", re.ASCII)
_EITHER = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}", re.ASCII)  # 1.25 or 1250, where commas separate
_CLOCK = re.compile(
    r"(?:(\d+) days?,? *\+?)?(?:(\d+):)?(\d{1,2}):(\d{1,2}(?:[.,]\d*)?)", re.ASCII | re.IGNORECASE
)
_WITH_UNIT = re.compile(
    r"(.*[\d.,])\s*(ms|msec|milliseconds?|s|secs?|seconds?)", re.ASCII | re.IGNORECASE
)


class Row(NamedTuple):
    """A row of a table.

    Attributes:
        line: of the file, from 1 on, on which it begins.
        cells: as many as there are columns, as they stand; without them where there is a problem.
        problem: why it cannot be read; "" if it can.
        text: the row as it stands.
    """

    line: int
    cells: tuple[str, ...]
    problem: str
    text: str


@dataclass(frozen=True)
class Table:
    """A table that is being read.

    Attributes:
        name: of the file, for messages.
        columns: their names, without blanks around them.
        separator: between them.
        rows: one after another; empty ones, and comments, are passed over. Bytes that are not UTF-8
            are kept as the names of files keep them; see :func:`text_of` and :func:`file_in`.
    """

    name: str
    columns: tuple[str, ...]
    separator: str
    rows: Iterator[Row]

    def number(self, cell: str) -> float | None:
        """Return the number in a cell; see :func:`number`."""
        return number(cell, commas_separate=self.separator == ",")

    def seconds(self, cell: str, unit: float = 1.0) -> float | None:
        """Return the time in a cell; see :func:`seconds`."""
        return seconds(cell, unit, commas_separate=self.separator == ",")


def read_table(
    raw: BinaryIO, name: str, refusal: type[LightserError], separator: str | None = None
) -> Table:
    """Return a CSV with a head of column names; its rows are read as they are asked for.

    UTF-8 with or without a mark, UTF-16 as Excel's "Unicode text"; lines that end in any way;
    comma, semicolon, tab or bar, whichever makes most columns of the head, or that of a first
    line ``sep=;``. Empty lines, and those that begin with ``#``, may stand before the head.
    A column without a name is called by its number, or passed over where it is the last and empty.

    Args:
        raw: the file, at its beginning; it may be a pipe.
        name: of the file.
        refusal: the kind of error that says what is wrong with it.
        separator: of the columns, where it is known.

    Raises:
        LightserError: ``refusal``; it is no text, or two columns have one name. While rows are
            read: a quotation mark that has no second.
    """
    lines = text_lines(raw, name, refusal)
    skipped = 0
    head = ""
    for head in lines:
        said = re.fullmatch(r'"?sep=(.)"?[,;\t]*', head.strip("\r\n "), re.IGNORECASE)
        if said and separator is None:
            separator = said[1]
        elif head.strip(" \t\r\n,;") and not head.startswith("#"):
            break
        skipped += 1
        head = ""
    separator = separator or max(",;\t|", key=lambda one: len(_cells(head, one)))
    # "file, label": blanks behind separators, in which quoted cells may follow.
    has_blanks = any(cell.startswith(" ") for cell in _cells(head, separator)[1:])
    reader = csv.reader(
        itertools.chain([head], lines),
        delimiter=separator,
        skipinitialspace=has_blanks,
        strict=True,
    )
    try:
        columns = [_stripped(cell) for cell in next(reader, [])]
    except csv.Error as error:
        raise refusal(f"{name}, line {skipped + 1}: {_in_our_words(error)}") from None
    while columns and not columns[-1]:
        columns.pop()
    columns = [text_of(column) or f"column {i}" for i, column in enumerate(columns, 1)]
    if twice := sorted({column for column in columns if columns.count(column) > 1}):
        raise refusal(f"{name}: two columns are called '{twice[0]}'; rename one.")

    def rows() -> Iterator[Row]:
        before = reader.line_num
        try:
            for cells in reader:
                line, before = skipped + before + 1, reader.line_num
                is_comment = len(cells) == 1 < len(columns) and cells[0].startswith("#")
                if is_comment or not any(map(_stripped, cells)):
                    continue
                problem = _misfit(cells, len(columns), separator)
                kept = () if problem else tuple(cells[: len(columns)])
                yield Row(line, kept, problem, separator.join(cells))
        except csv.Error as error:
            line = skipped + before + 1
            raise refusal(f"{name}, line {line}: {_in_our_words(error)}") from None

    return Table(name, tuple(columns), separator, rows())


def text_lines(raw: BinaryIO, name: str, refusal: type[LightserError]) -> Iterator[str]:
    """Yield the lines of a file, with their ends; what is not UTF-8 is kept as names of files are.

    Args:
        raw: the file, at its beginning; it may be a pipe, and is closed at the end.
        name: of the file.
        refusal: the kind of error that says what is wrong with it.

    Raises:
        LightserError: ``refusal``; it is no text.
    """
    buffered = raw if hasattr(raw, "peek") else io.BufferedReader(raw)  # type: ignore[type-var]
    begin = buffered.peek(64)[:64]
    for mark, what in _NO_TABLE:
        if begin.startswith(mark):
            raise refusal(f"{name}: {what}.")
    coding = "utf-8-sig"
    if begin.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        coding = "utf-16"
    elif begin[1::2].count(0) > len(begin) // 4:
        coding = "utf-16-le"
    elif begin[::2].count(0) > len(begin) // 4:
        coding = "utf-16-be"
    with io.TextIOWrapper(buffered, coding, errors="surrogateescape", newline="") as file:
        number = 0
        try:
            for number, line in enumerate(file, 1):
                if "\0" in line:
                    raise refusal(f"{name}, line {number}: no text; a CSV is wanted.")
                yield line
        except UnicodeError:
            raise refusal(
                f"{name}, line {number + 1}: cannot be read as {coding}; save the table as UTF-8."
            ) from None


def _cells(line: str, separator: str) -> list[str]:
    return next(csv.reader([line], delimiter=separator), [])


def _stripped(cell: str) -> str:
    return cell.strip().strip("\ufeff").strip()


def _in_our_words(error: csv.Error) -> str:
    if "unexpected end" in str(error) or "field larger" in str(error):
        return "a quotation mark is opened here and not closed."
    return f"{error}; quote a cell whole, and double the marks in it."


def _misfit(cells: Sequence[str], width: int, separator: str) -> str:
    """Return why cells do not fit the columns; "" if they do."""
    if len(cells) < width or any(map(_stripped, cells[width:])):
        named = {",": "commas", ";": "semicolons", "\t": "tabs"}.get(separator, separator)
        columns = "1 column" if width == 1 else f"{width} columns"
        are = "is" if width == 1 else "are"
        return f"{len(cells)} cells, and there {are} {columns}; quote what has {named}."
    return ""


# Columns


def key_of(column: str) -> str:
    """Return by what a column is known, however its name is written.

    >>> key_of("File Name") == key_of("file_name") == key_of("filename")
    True
    """
    return re.sub(r"[\W_]+", "", column.casefold())


def find_column(columns: Iterable[str], aliases: Iterable[str]) -> str | None:
    """Return the column that is called by the first alias that any is called by.

    >>> find_column(["id", "Path", "audio"], ALIASES["file"])
    'Path'
    """
    known: dict[str, str] = {}
    for column in columns:
        known.setdefault(key_of(column), column)
    return next((known[key_of(a)] for a in aliases if key_of(a) in known), None)


def find_time(columns: Sequence[str], which: str) -> tuple[str, float] | None:
    """Return the column of a time, and in how many seconds it counts.

    >>> find_time(["file", "Start (ms)"], "start")
    ('Start (ms)', 0.001)
    """
    for alias in ALIASES[which]:
        for unit, factor in _UNITS.items():
            if (column := find_column(columns, [alias + unit])) is not None:
                return column, factor
    return None


def like_a_time(columns: Iterable[str]) -> list[str]:
    """Return the columns that may be meant as times, and are not read as such.

    >>> like_a_time(["file", "onset", "start_frame", "gender"])
    ['onset', 'start_frame']
    """
    return [column for column in columns if _LIKE_A_TIME.fullmatch(key_of(column))]


# Cells


def text_of(cell: str) -> str:
    r"""Return a cell as text, without blanks around it; what is not UTF-8 is Windows-1252.

    >>> text_of(os.fsdecode(b" M\xfcller "))
    'Müller'
    """
    if not is_unicode(cell):
        cell = cell.encode("utf-8", "surrogateescape").decode("cp1252", "replace")
    return _stripped(cell)


def file_in(cell: str, folder: str | os.PathLike[str] | None) -> str:
    """Return the name of a file that a cell means.

    That is the cell itself, unless there is no such file in ``folder``, and one without the blanks
    around it, of its name in Windows-1252, or with slashes for the backslashes of Windows.

    Args:
        cell: of a table.
        folder: in which relative names are; None where nobody can look.
    """
    bare = cell.strip()
    meant = [cell, bare, text_of(cell), bare.replace("\\", "/"), text_of(cell).replace("\\", "/")]
    others = list(dict.fromkeys(meant))
    if len(others) == 1 or not bare:
        return bare
    if folder is not None:
        for name in others:
            if os.path.lexists(os.path.join(folder, name)):
                return name
    return bare


def is_empty(cell: str) -> bool:
    """Say whether a cell says nothing, in the words of pandas, R, Excel or audformat.

    >>> is_empty(" "), is_empty("NaT"), is_empty("0")
    (True, True, False)
    """
    text = cell.strip()
    return not text or text.lower() in _EMPTY


def number(cell: str, *, commas_separate: bool = False) -> float | None:
    """Return the number in a cell, None if it is empty; commas may be decimal.

    Args:
        cell: of a table.
        commas_separate: whether the table's columns are; then "1,250" may be 1.25 or 1250.

    Raises:
        ValueError: with the reason.

    >>> number("0,5"), number("1 234,5"), number("1,234.5"), number("\u22121"), number("NaN")
    (0.5, 1234.5, 1234.5, -1.0, None)
    """
    if is_empty(cell):
        return None
    text = _stripped(cell).replace("\u2212", "-")
    if commas_separate:
        _refuse_either(text)
    if _GROUPED.fullmatch(text):
        text = re.sub(rf"{_BLANK}|['’]", "", text)
    elif _DOTTED.fullmatch(text):
        text = text.replace(".", "")
    elif _COMMAED.fullmatch(text):
        text = text.replace(",", "")
    if text.count(",") == 1 and "." not in text:
        text = text.replace(",", ".")
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"'{_stripped(cell)}' is no number")
    return float(text)


def _refuse_either(text: str) -> None:
    if _EITHER.fullmatch(text):
        dotted, whole = text.replace(",", "."), text.replace(",", "")
        raise ValueError(f"'{text}' may be {dotted} or {whole}; write which of them")


def seconds(cell: str, unit: float = 1.0, *, commas_separate: bool = False) -> float | None:
    """Return the seconds in a cell, None if it is empty.

    Args:
        cell: a number, one with its unit (s, ms), minutes and seconds, hours, or days too.
        unit: seconds in which a bare number counts.
        commas_separate: as for :func:`number`.

    Raises:
        ValueError: it is no time from 0 on.

    >>> seconds("0,5"), seconds("0 days 00:00:00.5"), seconds("1:02.5"), seconds("500 ms")
    (0.5, 0.5, 62.5, 0.5)
    >>> seconds("1250", 0.001), seconds("NaT")
    (1.25, None)
    """
    text = _stripped(cell).replace("\u2212", "-")
    if re.fullmatch(r"\d+ days?", text, re.ASCII | re.IGNORECASE):  # as pandas shortens it
        text += " 0:00:00"
    if clock := _CLOCK.fullmatch(text):
        days, hours, minutes = (int(part or 0) for part in clock.groups()[:3])
        rest = float(clock[4].replace(",", "."))
        if rest >= 60 or (minutes >= 60 and clock[2] is not None):
            raise ValueError(f"'{text}' is no time: it has more than 59 minutes or seconds")
        return ((days * 24 + hours) * 60 + minutes) * 60 + rest
    bare = text
    if said := _WITH_UNIT.fullmatch(text):
        bare, unit = said[1], 0.001 if said[2].lower().startswith("m") else 1.0
    if commas_separate:
        _refuse_either(bare)
    try:
        found = number(bare)
    except ValueError:
        raise ValueError(
            f"'{text}' is no time; expected seconds, as 1.5, or hours, minutes and seconds, "
            "as 0:00:01.5"
        ) from None
    if found is None:
        return None
    found = found if unit == 1 else found / 1000
    if not 0 <= found < float("inf"):
        raise ValueError(f"'{text}' is before the beginning; expected seconds, 0 or more")
    return found
