"""Folds that others have made: a CSV of folds, and the folds of EmoBox."""

import json
import re
import warnings
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lightser.corpora.splits import (
    PARTS,
    PROTOCOLS,
    Fold,
    Protocol,
    as_mask,
    fold_of,
    round_up,
)
from lightser.corpora.utterances import read_csv
from lightser.errors import BadCorpus, BadRecipe, LightserWarning


def csv(
    table: pd.DataFrame, *, seed: int, file: str | Path, valid_share: float = 0.0
) -> list[Fold]:
    """Take the folds from a CSV with the columns ``utterance`` (or ``file``), ``fold``, ``part``.

    One row per utterance and fold. ``part`` is train, valid (or dev) or test. A ``file`` may be
    absolute, or the end of a path; it stands for all utterances in it. Without ``fold`` there is
    one fold.

    Args:
        table: utterances.
        seed: of the draw of validation utterances.
        file: the CSV.
        valid_share: in folds without validation, the share of train to take for it.
    """
    rows = _read_csv(Path(file))
    key = "utterance" if "utterance" in rows[0] else "file"
    missing = [column for column in (key, "part") if column not in rows[0]]
    if missing:
        raise BadCorpus(
            f"{file} lacks the column '{missing[0]}'; expected utterance (or file), fold, part"
        )
    parts: dict[str, dict[str, list[str]]] = {}
    for line, row in enumerate(rows, start=2):
        part = PART_NAMES.get(row["part"].strip().lower())
        if part is None:
            raise BadCorpus(
                f"{file}, line {line}: part '{row['part']}' is not train, valid or test"
            )
        fold = parts.setdefault(row.get("fold", "fold"), {name: [] for name in PARTS})
        fold[part].append(row[key])
    find = _by_utterance(table) if key == "utterance" else _by_file(table)
    return _folds_of_parts(
        table, parts, find, source=Path(file), valid_share=valid_share, seed=seed
    )


PART_NAMES = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "validation": "valid",
    "val": "valid",
    "dev": "valid",
    "test": "test",
}

PROTOCOLS["csv"] = Protocol(
    name="csv",
    make=csv,
    select="valid_ua",
    speaker_independent=False,
    splits_duplicates=True,
    note="Folds from a file, as given: speakers may occur on both sides.",
)


def emobox(
    table: pd.DataFrame, *, seed: int, folder: str | Path, valid_share: float = 0.2
) -> list[Fold]:
    """Take the folds of the EmoBox benchmark from its folder of a corpus.

    Ma et al., "EmoBox: Multilingual Multi-corpus Speech Emotion Recognition Toolkit and
    Benchmark", Interspeech 2024. The folder holds ``fold_1/<corpus>_train_fold_1.jsonl`` and the
    like; where there is no ``valid`` file, a random fifth of train is taken, as EmoBox does.

    Args:
        table: utterances.
        seed: of the draw of validation utterances.
        folder: of one corpus, e.g. ``EmoBox/data/emodb``.
        valid_share: in folds without validation, the share of train to take for it.
    """
    parts: dict[str, dict[str, list[str]]] = {}
    pattern = re.compile(r".*_(train|valid|test)_fold_(\d+)\.jsonl")
    files = Path(folder).glob("fold_*/*.jsonl")
    for path in sorted(files, key=lambda path: (len(path.parent.name), path)):  # 10 behind 9
        if match := pattern.fullmatch(path.name):
            fold = parts.setdefault(f"fold{match[2]}", {name: [] for name in PARTS})
            fold[match[1]] = _read_emobox(path)
    if not parts:
        raise BadCorpus(f"There are no EmoBox folds (fold_1/*_train_fold_1.jsonl) in {folder}")
    return _folds_of_parts(
        table, parts, _by_file(table), source=Path(folder), valid_share=valid_share, seed=seed
    )


PROTOCOLS["emobox"] = Protocol(
    name="emobox",
    make=emobox,
    select="valid_ua",
    speaker_independent=False,
    splits_duplicates=True,
    note="Folds of EmoBox, as given: on some corpora (Emo-DB) speakers occur on both sides.",
)


def _read_csv(path: Path) -> list[dict[Any, str]]:
    rows = read_csv(path).to_dict("records")
    if not rows:
        raise BadCorpus(f"{path} holds no folds")
    return rows


def _read_emobox(path: Path) -> list[str]:
    """Return the path of the audio in each line of the ``.jsonl``."""
    names = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            names.append(str(json.loads(line)["wav"]))
        except (ValueError, KeyError, TypeError) as error:
            raise BadCorpus(f"{path}, line {number}: no JSON object with 'wav'") from error
    return names


Find = Callable[[str], list[int]]  # from a name in a fold file to rows of the table


def _by_utterance(table: pd.DataFrame) -> Find:
    row_of = {name: row for row, name in enumerate(table["utterance"])}
    return lambda name: [row_of[name]] if name in row_of else []


def _by_file(table: pd.DataFrame) -> Find:
    """Return a finder of the utterances of a file, wherever the corpus lies.

    The suffix does not count, as a WAV may have become a FLAC; and folders count only where
    several files have the same name.
    """
    files = ["/" + Path(file).with_suffix("").as_posix().lstrip("/") for file in table["file"]]
    rows_of = defaultdict(list)
    for row, file in enumerate(files):
        rows_of[file.rsplit("/", 1)[1]].append(row)

    def find(name: str) -> list[int]:
        path = Path(name.replace("\\", "/")).with_suffix("")
        rows = rows_of.get(path.name, [])
        if len({files[row] for row in rows}) > 1:
            tail = "/" + path.as_posix().lstrip("/")
            rows = [row for row in rows if files[row].endswith(tail)]
        if len({files[row] for row in rows}) > 1:
            raise BadCorpus(f"The folds name '{name}', which fits several files of the table")
        return rows

    return find


def _folds_of_parts(
    table: pd.DataFrame,
    parts: dict[str, dict[str, list[str]]],
    find: Find,
    *,
    source: Path,
    valid_share: float,
    seed: int,
) -> list[Fold]:
    if not 0 <= valid_share < 1:
        raise BadRecipe(f"Protocol option valid_share must be from 0 to below 1, got {valid_share}")
    rng = np.random.default_rng(seed)
    folds, listed = [], np.zeros(len(table), dtype=bool)
    for name, names_by_part in parts.items():
        rows: dict[str, list[int]] = {part: [] for part in PARTS}
        seen = np.zeros(len(table), dtype=bool)
        for part, utterance in ((p, u) for p in PARTS for u in names_by_part[p]):
            found = find(utterance)
            if not found:
                raise BadCorpus(f"{source}, fold '{name}': '{utterance}' is not in the table")
            if seen[found].any():
                raise BadCorpus(f"{source}, fold '{name}': '{utterance}' is listed twice")
            seen[found] = True
            rows[part] += found
        listed |= seen
        train, valid, test = (as_mask(rows[part], len(table)) for part in PARTS)
        if not rows["valid"] and valid_share:
            drawn = rng.permutation(rows["train"])[: round_up(valid_share * len(rows["train"]))]
            valid = as_mask(drawn, len(table))
            train &= ~valid
        folds.append(fold_of(table, name, train, valid, test))
    if not listed.all():
        left_out = table["utterance"][~listed]
        warnings.warn(
            f"{source} leaves out {len(left_out)} of {len(table)} utterances, "
            f"e.g. '{left_out.iloc[0]}'",
            LightserWarning,
            stacklevel=4,
        )
    return folds
