"""Any corpus that comes with a table: a CSV with columns of any name, or an audformat folder.

A CSV of nkululeko (``file,speaker,emotion``) is read as it is. audformat
(https://audeering.github.io/audformat/) is a header ``db.yaml`` with a CSV per table; reading and
writing it takes the package of that name, so that the format is right in all its corners.
"""

import os
import re
import tempfile
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lightser import tables
from lightser.corpora import CORPORA, Corpus, some
from lightser.corpora.utterances import (
    COLUMNS,
    NUMBERS,
    check_table,
    make_table,
    read_csv,
    read_numbers,
    relative_file,
)
from lightser.errors import BadCorpus, LightserWarning, MissingExtra, UnknownName

# What others call our columns, in the order in which we look for them; those of files and times are
# in lightser.tables.
ALIASES = {
    "utterance": ("utterance",),
    "speaker": (
        *("speaker", "speaker_id", "spk", "spk_id", "actor", "actor_id", "subject", "subject_id"),
        *("participant", "participant_id", "talker"),
    ),
    "label": ("label", "emotion", "category", "class"),
    "corpus": ("corpus", "database", "dataset"),
    "language": ("language", "lang"),
    "gender": ("gender", "sex"),
    "text": ("text", "sentence", "transcription", "transcript"),
    "session": ("session",),
    "style": ("style",),
    "votes": ("votes",),
    "agreement": ("agreement", "emotion.confidence"),
}
# What may be meant as a speaker, and is not taken for one.
LIKE_A_SPEAKER = re.compile(
    "speak|spk|actor|subject|participant|talker|person|voice|client|narrator|user|caller|agent"
    "|sprecher|locuteur|hablante|^who$|^name$"
)
UNLABELLED = "unlabelled"  # the label of rows without one, where these are kept
UNLABELLED_WAYS = ("leave out", "keep")
GENDERS = {"female": "female", "f": "female", "w": "female", "male": "male", "m": "male"}

HEADER = "db.yaml"
UTTERANCES = "utterances"  # the name of our table in an audformat folder


def load(
    root: Path,
    *,
    columns: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    audio: str | Path | None = None,
    table: str = "",
    unlabelled: str = "leave out",
) -> pd.DataFrame:
    """Return the table of a CSV, of a folder with one CSV, or of an audformat folder.

    A table that :func:`~lightser.corpora.utterances.write_table` or :func:`write_audformat` has
    written comes back as it was. Of others, we take the columns that we know.

    Args:
        root: the CSV, or the folder.
        columns: from our name of a column to the table's, where :data:`ALIASES` does not find it:
            ``{"label": "annotation", "speaker": "person"}``.
        labels: from the table's name of a label to ours, where they differ: ``{"ang": "anger"}``.
        audio: folder that the paths of files start from; by default that of the table.
        table: audformat's table of the labels, where there are several.
        unlabelled: "leave out" rows without a label, or "keep" them, as "unlabelled".

    Warns:
        LightserWarning: rows are left out; a column may be meant as a speaker or a time, and is not
            taken for one.

    Raises:
        BadCorpus: no such table, or without a file or label.
        MissingExtra: an audformat folder, and the package is not installed.
    """
    if unlabelled not in UNLABELLED_WAYS:
        raise UnknownName("way with rows without a label", unlabelled, UNLABELLED_WAYS)
    if (root / HEADER).is_file():
        rows, start_from = read_audformat(root, columns or {}, table), root
    else:
        path = csv_in(root)
        rows, start_from = read_csv(path), path.parent
    if columns or not all(column in rows for column in COLUMNS):
        rows = renamed(rows, columns or {}, root)
    else:
        rows = read_numbers(rows)
    if labels:
        rows["label"] = rows["label"].replace(dict(labels))
    rows = with_labels(rows, root, keep=unlabelled == "keep")
    base = Path(audio or start_from).absolute()
    rows["file"] = [os.path.normpath(base / tables.file_in(file, base)) for file in rows["file"]]
    return make_table(rows.to_dict("records"), **({} if "corpus" in rows else {"corpus": "table"}))


def with_labels(rows: pd.DataFrame, root: Path, *, keep: bool) -> pd.DataFrame:
    """Return the rows that have a label, or all of them with one.

    Raises:
        BadCorpus: none has a label.
    """
    without = rows["label"].map(lambda label: tables.is_empty(str(label))).astype(bool)
    if not without.any():
        return rows
    if keep:
        return rows.assign(label=rows["label"].mask(without, UNLABELLED))
    if without.all():
        raise BadCorpus(f"{root}: none of the {len(rows)} rows has a label")
    named = some([str(file) for file in rows["file"][without]])
    are = "row without a label is" if without.sum() == 1 else "rows without a label are"
    warnings.warn(
        f"{root}: {without.sum()} {are} left out: {named} (unlabelled=keep keeps them)",
        LightserWarning,
        stacklevel=2,
    )
    return rows[~without].copy()


def csv_in(root: Path) -> Path:
    """Return the CSV or TSV that ``root`` is, or the only one that it holds."""
    if root.is_file():
        return root
    if not root.is_dir():
        raise BadCorpus(f"There is no table {root}")
    found = sorted(file for file in root.iterdir() if file.suffix.lower() in (".csv", ".tsv"))
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        raise BadCorpus(f"{root} should hold one CSV (it holds {names}): give the path of the CSV")
    return found[0].absolute()


def renamed(rows: pd.DataFrame, columns: Mapping[str, str], root: Path) -> pd.DataFrame:
    """Return the columns that we know, under our names, with values as ours.

    Raises:
        UnknownName: ``columns`` names a column that there is not.
        BadCorpus: no column for the file or the label, or a cell that is no number.
    """
    names = [str(column) for column in rows.columns]
    for ours in columns:
        if ours not in COLUMNS:
            raise UnknownName("column of the utterance table", ours, COLUMNS)
        if columns[ours] not in rows:
            raise UnknownName("column", columns[ours], names)
    left = [name for name in names if name not in columns.values()]
    source: dict[str, str] = {}
    units: dict[str, float] = {}
    for ours in COLUMNS:
        if ours in columns:
            source[ours] = columns[ours]
        elif ours in ("start", "end"):
            if found := tables.find_time(left, ours):
                source[ours], units[ours] = found
        elif theirs := tables.find_column(left, tables.ALIASES.get(ours) or ALIASES[ours]):
            source[ours] = theirs
    for needed in ("file", "label"):
        if needed not in source:
            raise BadCorpus(
                f"The table has no column for the {needed}; it has "
                f"{', '.join(names)}. Name it: columns.{needed} = '...'"
            )
    others = [name for name in names if name not in source.values()]
    if "speaker" not in source:
        mention(root, "the speaker", filter(is_like_a_speaker, others), "speaker")
    mention(root, "a time", tables.like_a_time(others), "start")

    ours_only = pd.DataFrame({ours: rows[theirs] for ours, theirs in source.items()})
    ours_only.attrs = rows.attrs
    for column in ours_only:
        if column not in NUMBERS:
            ours_only[column] = ours_only[column].astype(object).fillna("").astype(str)
    ours_only = read_numbers(ours_only, units)
    if "speaker" in ours_only:
        unknown = ours_only["speaker"].str.lower().isin(["nan", "<na>", "nat"])
        ours_only["speaker"] = ours_only["speaker"].mask(unknown, "")
    if "gender" in ours_only:
        ours_only["gender"] = [GENDERS.get(g.strip().lower(), "") for g in ours_only["gender"]]
    return ours_only


def is_like_a_speaker(column: str) -> bool:
    """Say whether a column that we do not know may name who speaks.

    >>> is_like_a_speaker("Person ID"), is_like_a_speaker("language")
    (True, False)
    """
    return bool(LIKE_A_SPEAKER.search(tables.key_of(column)))


def mention(root: Path, what: str, columns: Iterable[str], ours: str) -> None:
    """Warn of columns that are not taken, and may be meant to be."""
    for column in columns:
        warnings.warn(
            f"{root}: column '{column}' is not taken for {what}; if it is, name it: "
            f"columns.{ours}='{column}'",
            LightserWarning,
            stacklevel=3,
        )


def audformat_package() -> Any:
    """Return the package ``audformat``, or say how to get it."""
    try:
        import audformat
    except ImportError:
        raise MissingExtra("audformat", "audformat") from None
    return audformat


def read_audformat(root: Path, columns: Mapping[str, str], name: str = "") -> pd.DataFrame:
    """Return an audformat table as a flat one: ``file``, ``start``, ``end``, its columns.

    Columns of tables by file, and what a scheme says of its labels (a speaker's gender), are
    joined to it.
    """
    audformat = audformat_package()
    try:
        database = audformat.Database.load(str(root), verbose=False)
    except Exception as error:  # it raises whatever its YAML and pandas raise
        raise BadCorpus(f"Cannot read the audformat folder {root}: {error}") from error

    wanted = {columns.get("label", ""), *ALIASES["label"]}
    with_labels = [table for table in database.tables if wanted & set(database[table].columns)]
    if name and name not in database.tables:
        raise UnknownName("table", name, database.tables)
    if not name and len(with_labels) != 1:
        raise BadCorpus(
            f"{root} has {len(with_labels)} tables with a label among "
            f"{', '.join(database.tables) or 'none'}; name the one to read: table = '...'"
        )
    table = database[name or with_labels[0]]

    rows: pd.DataFrame = audformat.utils.to_segmented_index(table.get()).reset_index()
    for column in ("start", "end"):
        rows[column] = rows[column].dt.total_seconds()
    rows.loc[(rows["start"] == 0) & rows["end"].isna(), "start"] = np.nan  # the whole file
    for other in database.tables.values():
        if other.is_filewise:
            more = other.get()
            rows = rows.join(more[more.columns.difference(rows.columns)], on="file")
    for column, facts in label_facts(database).items():
        if column in rows:
            for fact in facts.columns.difference(rows.columns):
                rows[fact] = rows[column].map(facts[fact])
    if "language" not in rows and len(database.languages) == 1:
        rows["language"] = two_letters(database.languages[0])
    for column in rows.columns.difference([*NUMBERS]):
        if not pd.api.types.is_numeric_dtype(rows[column]):
            rows[column] = rows[column].astype(object).where(rows[column].notna(), "")
    return rows


def label_facts(database: Any) -> dict[str, pd.DataFrame]:
    """Return what a database's schemes say of their labels: by scheme, a row per label."""
    facts = {}
    for name, scheme in database.schemes.items():
        if isinstance(scheme.labels, str):  # the name of a table
            facts[name] = database[scheme.labels].get()
        elif isinstance(scheme.labels, dict):
            entries = {k: v for k, v in scheme.labels.items() if isinstance(v, dict)}
            if entries:
                facts[name] = pd.DataFrame.from_dict(entries, orient="index")
    return facts


def two_letters(language: str) -> str:
    """Return ISO 639-1 from audformat's ISO 639-3: "de" from "deu"."""
    from iso639 import Lang  # comes with audformat

    return str(Lang(language).pt1)


def write_audformat(table: pd.DataFrame, folder: Path, corpus: Corpus | None = None) -> None:
    """Write ``table`` as the audformat database in ``folder``: header and one CSV.

    Files below ``folder`` are written relative to it: write into the corpus's own folder, and the
    database can be moved and shared. ``corpus`` gives the header's licence, source and citation.
    """
    audformat = audformat_package()
    table = check_table(table)
    license = corpus.license if corpus else ""
    database = audformat.Database(
        name=corpus.name if corpus else table["corpus"].iloc[0],
        source=corpus.url if corpus else "",
        usage=usage_of(license, audformat.define.Usage),
        languages=sorted(set(table["language"]) - {""}),
        license=license or None,
        description=corpus.title if corpus else None,
        meta={"citation": corpus.cite} if corpus and corpus.cite else None,
    )
    files = [relative_file(file, folder.absolute()) for file in table["file"]]
    ends = [pd.NaT if np.isnan(end) else pd.Timedelta(seconds=end) for end in table["end"]]
    starts = [pd.Timedelta(seconds=start) for start in table["start"].fillna(0.0)]
    database[UTTERANCES] = audformat.Table(audformat.segmented_index(files, starts, ends))
    for column in table.columns.difference(["file", "start", "end"], sort=False):
        database.schemes[column] = scheme_of(table[column], corpus, audformat)
        database[UTTERANCES][column] = audformat.Column(
            scheme_id=column, description=COLUMNS.get(column)
        )
        database[UTTERANCES][column].set(table[column].to_numpy())

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".audformat-") as part:
            database.save(part, storage_format="csv", verbose=False)
            # the header last: without it, the folder is no database
            for name in (f"db.{UTTERANCES}.csv", HEADER):
                os.replace(Path(part) / name, folder / name)
    except OSError as error:
        raise BadCorpus(f"Cannot write {folder}: {error.strerror or error}") from error


def usage_of(license: str, usage: Any) -> str:
    """Return audformat's word for what one may do with the data."""
    if license.startswith("CC0"):
        return str(usage.UNRESTRICTED)
    return str(usage.RESEARCH if "-NC" in license else usage.OTHER)


def scheme_of(values: "pd.Series[Any]", corpus: Corpus | None, audformat: Any) -> Any:
    """Return the scheme that says what a column may hold."""
    if values.name == "agreement":
        return audformat.Scheme("float", minimum=0, maximum=1)
    if values.name == "label":
        seen = sorted(set(values))
        return audformat.Scheme(labels=list(corpus.labels) if corpus and corpus.labels else seen)
    if pd.api.types.is_integer_dtype(values):
        return audformat.Scheme("int")
    return audformat.Scheme("float" if pd.api.types.is_float_dtype(values) else "str")


CORPORA["table"] = Corpus(
    name="table",
    title="A CSV or audformat table, of your own",
    labels=(),
    language="",
    license="unknown: that of your recordings",
    cite="",
    url="",
    load=load,
)
