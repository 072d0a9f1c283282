"""Two results on the same utterances: which is better, and whether other speakers could turn it."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lightser import metrics
from lightser.errors import BadResults
from lightser.report.results import Result

UTTERANCE = ["corpus", "utterance"]
DECISION = [*UTTERANCE, "fold", "seed"]
# An utterance's decisions share its slots, equally if the number of slots allows it: it does unless
# that makes more rows than can be tested in a second or two.
MOST_ROWS, FEWEST_SLOTS = 500_000, 60


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Result A against result B.

    Attributes:
        a: pooled score of A on the shared utterances; where the two were not tested by the same
            folds and seeds, each utterance counts once, however often it was decided on.
        b: the same of B.
        test: how sure the difference is.
        utterances: how many both have.
        speakers: of these utterances.
        only_a: utterances that A alone has tested.
        only_b: utterances that B alone has tested.
        once_each: whether each utterance counts once, though decided on several times by one of
            them or by both.
        is_one_to_one: whether each system decided on each utterance once. Only then are
            ``test.only_a``, ``test.only_b`` and ``test.p_mcnemar`` counts of utterances.
    """

    a: float
    b: float
    test: metrics.PairedTest
    utterances: int
    speakers: int
    only_a: int
    only_b: int
    once_each: bool
    is_one_to_one: bool


def compare(
    a: Result, b: Result, *, score: str = "ua", rng: np.random.Generator | None = None
) -> Comparison:
    """Compare two results on the utterances that both have tested.

    Where both have decided on the same utterances in the same folds with the same seeds, each
    decision of A is paired with that of B. Otherwise each utterance counts once: of k decisions of
    one system on it (seeds, repeated hold-outs), each counts 1/k. So both systems answer for the
    same voices equally often.

    Args:
        a: a result.
        b: another.
        score: ``"ua"``, ``"wa"``, ``"macro_f1"`` or ``"weighted_f1"``.
        rng: where chance comes from; by default a generator with seed 0.

    Raises:
        BadResults: other labels, no utterance in common, or one whose truth or speaker differs.
    """
    if set(a.labels) != set(b.labels):
        raise BadResults(
            f"{a.name} tells {', '.join(a.labels)}; {b.name} tells {', '.join(b.labels)}: "
            "scores over different classes cannot be compared"
        )
    _check_agreement(a, b)
    of_a, of_b = (_keys(result.predictions, UTTERANCE) for result in (a, b))
    shared = of_a.intersection(of_b)
    rows_a, rows_b = (result.predictions.set_index(DECISION).sort_index() for result in (a, b))
    are_alike = rows_a.index.equals(rows_b.index) and not rows_a.index.has_duplicates
    if not are_alike:
        rows_a, rows_b = _once_each(rows_a, rows_b, shared)
    truth, answers_a, answers_b = (
        metrics.class_indices(column, a.labels)
        for column in (rows_a["truth"], rows_a["predicted"], rows_b["predicted"])
    )
    corpora = rows_a.index.get_level_values("corpus")
    speakers, names = pd.factorize(corpora + "/" + rows_a["speaker"])
    test = metrics.paired_test(
        truth, answers_a, answers_b, speakers, score, rng=rng, n_classes=len(a.labels)
    )
    return Comparison(
        a=metrics.scores(truth, answers_a, len(a.labels))[score],
        b=metrics.scores(truth, answers_b, len(a.labels))[score],
        test=test,
        utterances=len(shared),
        speakers=len(names),
        only_a=len(of_a) - len(shared),
        only_b=len(of_b) - len(shared),
        once_each=not are_alike and len(rows_a) > len(shared),
        is_one_to_one=len(rows_a) == len(shared),
    )


def _keys(rows: pd.DataFrame, columns: list[str]) -> pd.MultiIndex:
    """Return what the rows are of, each once."""
    return pd.MultiIndex.from_frame(rows[columns].drop_duplicates())


def _check_agreement(a: Result, b: Result) -> None:
    """Refuse two results that do not share an utterance, or do not agree on who says what."""
    facts = [*UTTERANCE, "speaker", "truth"]
    pairs = (
        a.predictions[facts]
        .drop_duplicates()
        .merge(b.predictions[facts].drop_duplicates(), on=UTTERANCE, suffixes=("_a", "_b"))
    )
    if pairs.empty:
        raise BadResults(f"{a.name} and {b.name} have no utterance in common")
    for column in ("truth", "speaker"):
        differs = pairs[f"{column}_a"] != pairs[f"{column}_b"]
        if differs.any():
            row = pairs[differs].iloc[0]
            raise BadResults(
                f"The {column} of {row['utterance']} is '{row[f'{column}_a']}' in {a.name} and "
                f"'{row[f'{column}_b']}' in {b.name}"
            )


def _once_each(
    rows_a: pd.DataFrame, rows_b: pd.DataFrame, shared: pd.MultiIndex
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return as many rows of A as of B for each shared utterance, and for each the same number.

    Args:
        rows_a: decisions, by :data:`DECISION` and sorted.
        rows_b: the same of the other.
        shared: utterances, by :data:`UTTERANCE`.
    """
    mine = []
    for rows in (rows_a, rows_b):
        names = [rows.index.get_level_values(level) for level in UTTERANCE]
        mine.append(rows[pd.MultiIndex.from_arrays(names).isin(shared)])
    times = [rows.groupby(UTTERANCE).size().to_numpy(np.int64) for rows in mine]  # [U] each
    slots = math.lcm(*np.concatenate(times).tolist())
    if slots * len(shared) > MOST_ROWS:
        slots = FEWEST_SLOTS
    spread_a, spread_b = (rows.iloc[_spread(k, slots)] for rows, k in zip(mine, times, strict=True))
    return spread_a, spread_b


def _spread(times: NDArray[Any], slots: int) -> NDArray[Any]:
    """Return [U * slots] places in a table that has ``times`` [U] rows for each of U utterances.

    >>> _spread(np.array([2, 1]), 4).tolist()
    [0, 0, 1, 1, 2, 2, 2, 2]
    """
    first = np.cumsum(times) - times
    places: NDArray[Any] = first[:, None] + np.arange(slots) * times[:, None] // slots
    return places.ravel()
