"""Random protocols: as the two papers split, and the same with the test side left alone.

A voice is on both sides in all of them, so their scores say little about a new speaker.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from lightser.corpora.splits import (
    PROTOCOLS,
    Fold,
    Protocol,
    Rows,
    as_mask,
    deal,
    fold_with,
    require_at_least,
    require_share,
    round_up,
    single_units,
    units_of,
)


def zhong2020(table: pd.DataFrame, *, seed: int, rotate_test: bool = False) -> list[Fold]:
    """Deal into ten subsets, stratified; one is tested, one validates, eight train.

    Zhong et al. 2020, section 4.2: "8 subsets were used for training, one for validation and one
    for testing (fixed test set). The experimental results are the average of 9 times cross
    validation." Grouping as in their script: session, style, gender and label.

    Args:
        table: utterances.
        seed: of the deal.
        rotate_test: instead of the fixed test subset, test every subset once (ten folds), so
            that the whole corpus is tested.
    """
    pairs = [(i, (i + 1) % 10) for i in range(10)] if rotate_test else [(9, v) for v in range(9)]
    return _zhong_folds(table, pairs, seed)


def zhong2020_pairs(table: pd.DataFrame, *, seed: int) -> list[Fold]:
    """Five pairs of the ten subsets of :func:`zhong2020`, as the authors' command history has it.

    (test, validation) = (9, 8), (7, 6), (5, 4), (3, 2), (1, 0): half of the corpus is never
    tested.

    Args:
        table: utterances.
        seed: of the deal.
    """
    return _zhong_folds(table, [(t, t - 1) for t in (9, 7, 5, 3, 1)], seed)


def _zhong_folds(table: pd.DataFrame, pairs: list[tuple[int, int]], seed: int) -> list[Fold]:
    keys = list(zip(*(table[c] for c in ("session", "style", "gender", "label")), strict=True))
    subsets = deal(single_units(table), keys, 10, np.random.default_rng(seed))
    masks = [as_mask(rows, len(table)) for rows in subsets]
    return [fold_with(table, f"test{t}-valid{v}", masks[v], masks[t]) for t, v in pairs]


PROTOCOLS["zhong2020"] = Protocol(
    name="zhong2020",
    make=zhong2020,
    select="valid_ua",
    speaker_independent=False,
    splits_duplicates=True,
    note="As published: random subsets, so speakers occur on both sides, "
    "and by default one tenth of the corpus is tested nine times.",
)

PROTOCOLS["zhong2020_pairs"] = Protocol(
    name="zhong2020_pairs",
    make=zhong2020_pairs,
    select="valid_ua",
    speaker_independent=False,
    splits_duplicates=True,
    note="As the authors' scripts: random subsets, so speakers occur on both sides, "
    "and half of the corpus is never tested.",
)


def light_sernet(table: pd.DataFrame, *, seed: int, holdouts: int = 10) -> list[Fold]:
    r"""Hold a random fifth out, ten times independently; nothing is kept for validation.

    What the published confusion matrices of Aftab et al. 2022 add up to:
    :math:`10 \lceil 0.2 N \rceil` = 1070, 4560 and 11,070 decisions for 535, 2280 and 5531
    utterances. Some utterances are tested several times and some never; scores are pooled.

    Args:
        table: utterances.
        seed: of the draws.
        holdouts: how many.
    """
    require_at_least("holdouts", holdouts, 1)
    return [
        _hold_out(table, single_units(table), i, seed, test_share=0.2, valid_share=0.0)
        for i in range(holdouts)
    ]


PROTOCOLS["light_sernet"] = Protocol(
    name="light_sernet",
    make=light_sernet,
    select="test_wa",
    speaker_independent=False,
    splits_duplicates=True,
    note="As published: selected on test, and speakers occur on both sides of a random split.",
)


def random_holdout(
    table: pd.DataFrame,
    *,
    seed: int,
    holdouts: int = 10,
    test_share: float = 0.2,
    valid_share: float = 0.1,
) -> list[Fold]:
    """Hold a random share out, several times, and choose the epoch on a part of the rest.

    With the same seed the test sides are those of ``light_sernet`` (where no content occurs
    twice), so that the two differ in what the selection on test is worth, and in nothing else.

    Args:
        table: utterances.
        seed: of the draws.
        holdouts: how many.
        test_share: of all utterances, rounded up.
        valid_share: of the others, rounded up.
    """
    require_at_least("holdouts", holdouts, 1)
    require_share("test_share", test_share)
    require_share("valid_share", valid_share)
    return [
        _hold_out(table, units_of(table), i, seed, test_share=test_share, valid_share=valid_share)
        for i in range(holdouts)
    ]


def _hold_out(
    table: pd.DataFrame,
    units: list[Rows],
    i: int,
    seed: int,
    *,
    test_share: float,
    valid_share: float,
) -> Fold:
    # One generator per hold-out: more hold-outs leave the first ones as they were.
    shuffled = np.random.default_rng([seed, i]).permutation(len(units))
    n_test = round_up(test_share * len(table))
    n_valid = round_up(valid_share * (len(table) - n_test))
    sizes = np.cumsum([len(units[unit]) for unit in shuffled])
    ends = np.searchsorted(sizes, [n_test, n_test + n_valid]) + 1  # the unit that fills it up
    test = np.concatenate([units[unit] for unit in shuffled[: ends[0]]])
    valid = [row for unit in shuffled[ends[0] : ends[1]] for row in units[unit]] if n_valid else []
    return fold_with(table, f"holdout{i}", as_mask(valid, len(table)), as_mask(test, len(table)))


PROTOCOLS["random_holdout"] = Protocol(
    name="random_holdout",
    make=random_holdout,
    select="valid_ua",
    speaker_independent=False,
    note="Random hold-outs: speakers occur on both sides.",
)


def random_kfold(
    table: pd.DataFrame, *, seed: int, k: int = 5, valid_share: float = 0.1
) -> list[Fold]:
    """Deal utterances into k parts, stratified by label; test each part once.

    Args:
        table: utterances.
        seed: of the deal.
        k: parts.
        valid_share: share of the other parts, stratified as well, to choose the epoch on.
    """
    require_at_least("k", k, 2)
    require_share("valid_share", valid_share)
    rng = np.random.default_rng(seed)
    units = units_of(table)
    parts = deal(units, _labels_of(table, units), k, rng)
    folds = []
    for i, part in enumerate(parts):
        test = as_mask(part, len(table))
        rest = [unit for unit in units if not test[unit[0]]]
        # Dealt into 1/share parts, of which one validates.
        n_parts = max(2, round(1 / valid_share))
        valid = deal(rest, _labels_of(table, rest), n_parts, rng)[0]
        folds.append(fold_with(table, f"part{i}", as_mask(valid, len(table)), test))
    return folds


def _labels_of(table: pd.DataFrame, units: Sequence[Rows]) -> list[str]:
    labels = table["label"].to_numpy()
    return [labels[unit[0]] for unit in units]


PROTOCOLS["random_kfold"] = Protocol(
    name="random_kfold",
    make=random_kfold,
    select="valid_ua",
    speaker_independent=False,
    note="Random folds, stratified by label: speakers occur on both sides.",
)
