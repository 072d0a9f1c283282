"""Protocols: from an utterance table to folds of training, validation and test utterances.

A protocol is a function ``make(table, *, seed, **options) -> list[Fold]`` and what must be said
beside every score that it leads to: how the epoch is chosen, and whether a voice is on both sides.
:func:`make_folds` runs it and then checks the folds against what the protocol promises.

Folds depend on the utterances, the seed and the options, not on the order of the table's rows.
"""

import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from lightser.errors import BadCorpus, BadRecipe, BadResults
from lightser.options import check_options
from lightser.registry import Registry
from lightser.whole import write_whole

Select = Literal["valid_ua", "test_wa", "last"]
Rows = NDArray[np.int64]  # positions in the table
Mask = NDArray[np.bool_]  # one for each row of the table
PARTS = ("train", "valid", "test")
ALL_PAIRS = (("train", "valid"), ("train", "test"), ("valid", "test"))
CONTENT = "content"  # column with an id of the audio itself, where the table has it


@dataclass(frozen=True)
class Fold:
    """Which utterances to train on, to choose the epoch on, and to test on.

    Attributes:
        name: unique among the folds, fit for a file name.
        train: utterance ids.
        valid: utterance ids; empty where the epoch is chosen otherwise.
        test: utterance ids.
    """

    name: str
    train: tuple[str, ...]
    valid: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """A way to split, and what it promises.

    Attributes:
        name: as in recipes.
        make: ``make(table, *, seed, **options)`` returns the folds.
        select: how the epoch is chosen unless the recipe says otherwise: by the UA of the
            validation utterances, by the WA of the *test* utterances, or the last one.
        speaker_independent: no speaker is in two of train, valid and test.
        text_independent: no sentence of test is in train.
        splits_duplicates: utterances with equal content may come to lie on both sides.
        note: one sentence to print with every result.
    """

    name: str
    make: Callable[..., list[Fold]]
    select: Select
    speaker_independent: bool
    note: str
    text_independent: bool = False
    splits_duplicates: bool = False


PROTOCOLS: Registry[Protocol] = Registry("protocol")


def make_folds(
    name: str,
    table: pd.DataFrame,
    seed: int = 0,
    *,
    content: Sequence[str] | None = None,
    **options: Any,
) -> list[Fold]:
    """Return the checked folds of the protocol ``name``.

    Args:
        name: of the protocol.
        table: utterances.
        seed: what chance there is comes from it.
        content: one id per row, equal where the audio is equal (its hash); such utterances are
            kept on one side. By default the column ``content`` of the table, if there is one.
        **options: of the protocol.

    Raises:
        UnknownName: no such protocol, or no such option of it.
        BadRecipe: an option that the table cannot satisfy.
        BadCorpus: a table that lacks what the protocol needs, or folds that break a promise.
    """
    protocol = PROTOCOLS[name]
    require_at_least("seed", seed, 0)
    check_options("protocol", name, protocol.make, options, given=("table", "seed"))
    if not len(table):
        raise BadCorpus("There are no utterances to split")
    if content is not None:
        table = table.assign(**{CONTENT: list(content)})
    table = table.sort_values("utterance", kind="stable", ignore_index=True)
    folds = protocol.make(table, seed=seed, **options)
    check_folds(folds, table, protocol)
    return folds


# --- checks ---


def check_folds(folds: Sequence[Fold], table: pd.DataFrame, protocol: Protocol) -> None:
    """Check that ``folds`` of ``table`` keep what ``protocol`` promises.

    Always: names are unique; train and test are not empty; every utterance is in the table, and
    at most once in a fold; every class of the table is in train. Where promised: no speaker in
    two parts; no sentence of test in train; equal content (column ``content``, if the
    table has it) in one part only.

    Raises:
        BadCorpus: the first promise that is broken, with fold and utterance.
    """
    if not folds:
        raise BadCorpus(f"Protocol '{protocol.name}' makes no folds of this table")
    twice = _first_repeated(fold.name for fold in folds)
    if twice is not None:
        raise BadCorpus(f"Two folds are named '{twice}'")

    labels = dict(zip(table["utterance"], table["label"], strict=True))
    classes = set(labels.values())
    for fold in folds:
        where = f"Fold '{fold.name}' of protocol '{protocol.name}'"
        if not fold.train or not fold.test:
            raise BadCorpus(f"{where} has no utterances to {'test' if fold.train else 'train'} on")
        utterances = [*fold.train, *fold.valid, *fold.test]
        for utterance in utterances:
            if utterance not in labels:
                raise BadCorpus(f"{where} names '{utterance}', which is not in the table")
        twice = _first_repeated(utterances)
        if twice is not None:
            raise BadCorpus(f"{where} holds '{twice}' twice")
        absent = classes - {labels[utterance] for utterance in fold.train}
        if absent:
            raise BadCorpus(f"{where} has no '{min(absent)}' to train on")

    if protocol.speaker_independent:
        require_column(table, "speaker", protocol.name)
        _check_apart(folds, table, "speaker", protocol, ALL_PAIRS)
    if protocol.text_independent:
        require_column(table, "text", protocol.name)
        _check_apart(folds, table, "text", protocol, [("train", "test")])
    if CONTENT in table and not protocol.splits_duplicates:
        _check_apart(folds, table, CONTENT, protocol, ALL_PAIRS)


def _first_repeated(names: Iterable[str]) -> str | None:
    return next((name for name, times in Counter(names).items() if times > 1), None)


def _check_apart(
    folds: Sequence[Fold],
    table: pd.DataFrame,
    column: str,
    protocol: Protocol,
    pairs: Iterable[tuple[str, str]],
) -> None:
    values = dict(zip(table["utterance"], table[column], strict=True))
    for fold in folds:
        for one, other in pairs:
            first = {values[u]: u for u in getattr(fold, one)}
            for utterance in getattr(fold, other):
                if values[utterance] in first:
                    raise BadCorpus(
                        f"Fold '{fold.name}' of protocol '{protocol.name}' has the same {column} "
                        f"in {one} ('{first[values[utterance]]}') and {other} ('{utterance}')"
                        f"{'; keep one of the two' if column == CONTENT else ''}"
                    )


def speakers_on_both_sides(folds: Sequence[Fold], table: pd.DataFrame) -> list[str]:
    """Return the speakers that some fold both trains or validates on and tests on.

    What a protocol promises is one thing; this says what these folds do.
    """
    speaker = dict(zip(table["utterance"], table["speaker"], strict=True))
    both: set[str] = set()
    for fold in folds:
        seen = {speaker[utterance] for utterance in (*fold.train, *fold.valid)}
        both |= seen & {speaker[utterance] for utterance in fold.test}
    return sorted(both)


def require_column(table: pd.DataFrame, column: str, protocol: str) -> None:
    """Refuse a table in which ``column`` is "" somewhere."""
    unknown = table["utterance"][table[column] == ""]
    if len(unknown):
        raise BadCorpus(
            f"Protocol '{protocol}' needs the {column} of every utterance; "
            f"{len(unknown)} of {len(table)} have none, e.g. '{unknown.iloc[0]}'"
        )


# --- on disk ---


def write_folds(folds: Sequence[Fold], path: Path | str) -> None:
    """Write ``folds`` as JSON, whole or not at all."""
    text = json.dumps({"folds": [asdict(fold) for fold in folds]}, indent=1, ensure_ascii=False)
    write_whole(path, text + "\n")


def read_folds(path: Path | str) -> list[Fold]:
    """Return the folds written by :func:`write_folds`.

    Raises:
        BadResults: the file is not there, or does not hold folds.
    """
    try:
        entries = json.loads(Path(path).read_text(encoding="utf-8"))["folds"]
        return [Fold(str(e["name"]), *(_ids(e[part]) for part in PARTS)) for e in entries]
    except OSError as error:
        raise BadResults(f"Cannot read the folds in {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise BadResults(f"{path} does not hold folds: {error!r}") from error


def _ids(entry: object) -> tuple[str, ...]:
    if not isinstance(entry, list) or not all(isinstance(name, str) for name in entry):
        raise TypeError(f"expected a list of utterances, got {entry!r:.60}")
    return tuple(entry)


# --- parts that protocols share ---


def fold_with(table: pd.DataFrame, name: str, valid: ArrayLike, test: ArrayLike) -> Fold:
    """Return the fold with the rows ``valid`` and ``test`` (masks [N]); the rest is train."""
    valid, test = np.asarray(valid, dtype=bool), np.asarray(test, dtype=bool)
    return fold_of(table, name, ~(valid | test), valid, test)


def fold_of(
    table: pd.DataFrame, name: str, train: ArrayLike, valid: ArrayLike, test: ArrayLike
) -> Fold:
    """Return the fold with the rows of three masks [N]."""
    names = table["utterance"].to_numpy()
    parts = (tuple(map(str, names[np.asarray(mask)])) for mask in (train, valid, test))
    return Fold(_file_name(name), *parts)


def _file_name(name: str) -> str:
    """Return ``name`` with what a file name cannot hold written as %hex; no two become equal.

    >>> _file_name("Ses01_F"), _file_name("a/b 1")
    ('Ses01_F', 'a%2Fb%201')
    """
    return re.sub(r"[^\w.-]", lambda sign: f"%{ord(sign[0]):X}", name)


def as_mask(rows: Iterable[int], n: int) -> Mask:
    """Return the mask [n] that is true at ``rows``."""
    mask = np.zeros(n, dtype=bool)
    mask[list(rows)] = True
    return mask


def speakers_of(table: pd.DataFrame, protocol: str, *, at_least: int) -> list[str]:
    """Return the speakers in order, or say that they are unknown or too few."""
    require_column(table, "speaker", protocol)
    speakers = sorted(set(table["speaker"]))
    if len(speakers) < at_least:
        raise BadCorpus(
            f"Protocol '{protocol}' needs at least {at_least} speakers with these options; "
            f"the table has {len(speakers)}"
        )
    return speakers


def others_after(items: Sequence[str], item: str, seed: int) -> list[str]:
    """Return the other ``items``, from the one behind ``item`` on and round; seeds start later.

    With the first as validation for each left-out speaker, every speaker validates once.

    >>> others_after(["a", "b", "c", "d"], "c", seed=0)
    ['d', 'a', 'b']
    >>> others_after(["a", "b", "c", "d"], "c", seed=1)
    ['a', 'b', 'd']
    """
    i = list(items).index(item)
    others = [*items[i + 1 :], *items[:i]]
    start = seed % len(others) if others else 0
    return others[start:] + others[:start]


def units_of(table: pd.DataFrame) -> list[Rows]:
    """Return what must stay together: the rows of equal content, else each row alone."""
    if CONTENT not in table:
        return single_units(table)
    _, which = np.unique(table[CONTENT].to_numpy(dtype=str), return_inverse=True)
    return [np.flatnonzero(which == unit) for unit in dict.fromkeys(which.tolist())]


def single_units(table: pd.DataFrame) -> list[Rows]:
    """Return each row alone."""
    return [np.array([row]) for row in range(len(table))]


def deal(
    units: Sequence[Rows], keys: Sequence[Hashable], n_parts: int, rng: np.random.Generator
) -> list[Rows]:
    """Deal units into parts like cards: group by key, shuffle each group, go round.

    The round goes on from group to group, so that the parts differ by one unit at most, and each
    key's units as well.
    """
    groups = defaultdict(list)
    for unit, key in enumerate(keys):
        groups[key].append(unit)
    order = [int(unit) for group in groups.values() for unit in rng.permutation(group)]
    return [
        np.concatenate([units[unit] for unit in order[part::n_parts]] or [np.array([], dtype=int)])
        for part in range(n_parts)
    ]


def round_up(number: float) -> int:
    """Round up, but not because of how floats are stored: 0.2 * 5 utterances are 1, not 2."""
    return math.ceil(round(number, 9))


def require_at_least(option: str, value: int, least: int) -> None:
    if not isinstance(value, int) or value < least:
        raise BadRecipe(f"Protocol option {option} must be a whole number >= {least}, got {value}")


def require_share(option: str, value: float) -> None:
    if not 0 < value < 1:
        raise BadRecipe(f"Protocol option {option} must be between 0 and 1, got {value}")
