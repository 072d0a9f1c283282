r"""Scores of predictions, and how sure they are: UA, WA, F1, calibration, intervals over speakers.

The field's names: **UA** (unweighted accuracy, UAR, balanced accuracy) is the mean recall over
classes, **WA** (weighted accuracy) is plain accuracy. *Pooled* scores come from one confusion
matrix over all folds; *fold-mean* scores are the mean of each fold's own score. They differ, so
every name says which.

NumPy alone. Letters in shapes: N utterances, C classes, S speakers, D draws of a bootstrap.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightser.errors import BadResults, UnknownName

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]
Score = str | Callable[[Counts], float]

# Bootstrap draws are made this many at a time, so that memory stays small with many groups.
DRAWS_AT_ONCE = 256
# Up to this many speakers, all ways of swapping two systems are gone through.
EXACT_SPEAKERS = 14


# --- from labels to a confusion matrix ---


def class_indices(names: ArrayLike, labels: Sequence[str]) -> NDArray[np.int64]:
    """Return the index in ``labels`` of each of the [N] ``names``.

    Raises:
        BadResults: a name that is not among the labels.

    >>> class_indices(["sadness", "anger"], ["anger", "sadness"]).tolist()
    [1, 0]
    """
    index = {label: i for i, label in enumerate(labels)}
    names = [str(name) for name in np.asarray(names).tolist()]
    unknown = sorted(set(names) - index.keys())
    if unknown:
        raise BadResults(f"'{unknown[0]}' is not one of the labels {', '.join(labels)}")
    return np.array([index[name] for name in names], dtype=np.int64)


def confusion(truth: ArrayLike, predicted: ArrayLike, n_classes: int) -> Counts:
    r"""Return the confusion matrix [C, C]; rows are the truth, columns the predictions.

    .. math:: M_{ij} = |\{n : t_n = i,\ p_n = j\}|

    Args:
        truth: class indices [N].
        predicted: class indices [N].
        n_classes: C.

    Raises:
        BadResults: lengths differ, or an index is not in 0 ... C - 1.

    >>> confusion([0, 0, 1], [0, 1, 1], 2)
    array([[1, 1],
           [0, 1]])
    """
    truth, predicted = _paired(truth, predicted, n_classes)
    counts = np.bincount(truth * n_classes + predicted, minlength=n_classes**2)
    return counts.reshape(n_classes, n_classes).astype(np.int64)


def _paired(
    truth: ArrayLike, predicted: ArrayLike, n_classes: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    truth, predicted = np.asarray(truth), np.asarray(predicted)
    if truth.ndim != 1 or truth.shape != predicted.shape:
        raise BadResults(
            f"Expected as many predictions as truths, got {list(predicted.shape)} "
            f"and {list(truth.shape)}"
        )
    for name, indices in [("truth", truth), ("predicted", predicted)]:
        if len(indices) and not np.issubdtype(indices.dtype, np.integer):
            raise BadResults(f"Expected class indices as {name}, got {indices[0]!r}")
        wrong = indices[(indices < 0) | (indices >= n_classes)]
        if len(wrong):
            raise BadResults(f"Class index {wrong[0]} in {name} is not in 0 to {n_classes - 1}")
    return truth.astype(np.int64), predicted.astype(np.int64)


# --- from a confusion matrix to a score ---
# The private ones take a stack of matrices [..., C, C], for the bootstrap.


def _divide(above: NDArray[Any], below: NDArray[Any]) -> Floats:
    """Return above / below, and NaN for 0/0."""
    quotient: Floats = np.full(np.broadcast(above, below).shape, np.nan)
    np.divide(above, below, out=quotient, where=below > 0)
    return quotient


def _recalls(matrices: NDArray[Any]) -> Floats:
    return _divide(np.diagonal(matrices, axis1=-2, axis2=-1), matrices.sum(axis=-1))


def _f1(matrices: NDArray[Any]) -> Floats:
    hits = np.diagonal(matrices, axis1=-2, axis2=-1)
    return _divide(2 * hits, matrices.sum(axis=-1) + matrices.sum(axis=-2))


def _mean_of_known(values: Floats) -> Floats:
    known = ~np.isnan(values)
    return _divide(np.where(known, values, 0).sum(axis=-1), known.sum(axis=-1))


def _ua(matrices: NDArray[Any]) -> Floats:
    return _mean_of_known(_recalls(matrices))


def _wa(matrices: NDArray[Any]) -> Floats:
    return _divide(np.trace(matrices, axis1=-2, axis2=-1), matrices.sum(axis=(-2, -1)))


def _macro_f1(matrices: NDArray[Any]) -> Floats:
    return _mean_of_known(_f1(matrices))


def _weighted_f1(matrices: NDArray[Any]) -> Floats:
    support = matrices.sum(axis=-1)
    return _divide((np.nan_to_num(_f1(matrices)) * support).sum(axis=-1), support.sum(axis=-1))


SCORES: dict[str, Callable[[NDArray[Any]], Floats]] = {
    "ua": _ua,
    "wa": _wa,
    "macro_f1": _macro_f1,
    "weighted_f1": _weighted_f1,
}


def _one(score: Callable[[NDArray[Any]], Floats], matrix: ArrayLike) -> float:
    matrix = np.asarray(matrix)
    if not matrix.sum() > 0:
        raise BadResults("There are no predictions to score")
    return float(score(matrix))


def recalls(matrix: ArrayLike) -> Floats:
    r"""Return the recall of each class [C]; NaN where a class does not occur in the truth.

    .. math:: R_k = \frac{M_{kk}}{\sum_j M_{kj}}

    >>> recalls([[1, 1, 0], [0, 2, 0], [0, 0, 0]])
    array([0.5, 1. , nan])
    """
    return _recalls(np.asarray(matrix))


def ua(matrix: ArrayLike) -> float:
    r"""Return the unweighted accuracy: the mean recall of the classes that occur in the truth.

    .. math:: \mathrm{UA} = \frac{1}{|K|} \sum_{k \in K} \frac{M_{kk}}{\sum_j M_{kj}},
        \qquad K = \{k : \sum_j M_{kj} > 0\}

    A left-out speaker may lack a class, and a recall of 0/0 is not 0.

    >>> ua([[1, 1], [0, 1]])
    0.75
    """
    return _one(_ua, matrix)


def wa(matrix: ArrayLike) -> float:
    r"""Return the weighted accuracy: the share of utterances that are right.

    .. math:: \mathrm{WA} = \frac{\sum_k M_{kk}}{\sum_{ij} M_{ij}}

    >>> wa([[3, 1], [0, 1]])
    0.8
    """
    return _one(_wa, matrix)


def macro_f1(matrix: ArrayLike) -> float:
    r"""Return the mean F1 of the classes that occur in the truth or in the predictions.

    .. math:: F_k = \frac{2 M_{kk}}{\sum_j M_{kj} + \sum_i M_{ik}}, \qquad
        \mathrm{F1} = \frac{1}{|K|} \sum_{k \in K} F_k

    A class that is predicted but never true has F1 = 0 and counts, as in scikit-learn.

    >>> round(macro_f1([[1, 1], [0, 1]]), 4)
    0.6667
    """
    return _one(_macro_f1, matrix)


def weighted_f1(matrix: ArrayLike) -> float:
    r"""Return the mean F1, each class weighted by how often it is true.

    .. math:: \mathrm{F1_w} = \frac{\sum_k n_k F_k}{\sum_k n_k}, \qquad n_k = \sum_j M_{kj}

    >>> round(weighted_f1([[3, 1], [0, 1]]), 4)
    0.819
    """
    return _one(_weighted_f1, matrix)


# --- calibration ---


@dataclass(frozen=True)
class Reliability:
    """How often predictions of a given confidence are right; the figures of a reliability diagram.

    Attributes:
        edges: of the bins, [bins + 1].
        counts: predictions in each bin, [bins].
        confidence: mean confidence in each bin, [bins]; NaN where the bin is empty.
        accuracy: share of right predictions in each bin, [bins]; NaN where the bin is empty.
    """

    edges: Floats
    counts: Counts
    confidence: Floats
    accuracy: Floats


def reliability(probabilities: ArrayLike, truth: ArrayLike, *, bins: int = 15) -> Reliability:
    """Sort predictions into bins of equal width by their confidence, the highest probability.

    Args:
        probabilities: [N, C].
        truth: class indices [N].
        bins: of (0, 1], each open below and closed above.

    >>> table = reliability([[0.9, 0.1], [0.6, 0.4], [0.8, 0.2]], [0, 1, 0], bins=2)
    >>> table.counts.tolist(), table.accuracy.round(2).tolist()
    ([0, 3], [nan, 0.67])
    """
    probabilities = np.asarray(probabilities, dtype=float)
    if probabilities.ndim != 2 or not np.isfinite(probabilities).all():
        raise BadResults(f"Expected finite probabilities [N, C], got {list(probabilities.shape)}")
    predicted = probabilities.argmax(axis=1)
    truth, predicted = _paired(truth, predicted, probabilities.shape[1])
    confidence = probabilities.max(axis=1)

    edges = np.linspace(0, 1, bins + 1)
    which = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    counts = np.bincount(which, minlength=bins)
    return Reliability(
        edges=edges,
        counts=counts.astype(np.int64),
        confidence=_divide(np.bincount(which, confidence, bins), counts),
        accuracy=_divide(np.bincount(which, truth == predicted, bins), counts),
    )


def calibration_error(probabilities: ArrayLike, truth: ArrayLike, *, bins: int = 15) -> float:
    r"""Return the expected calibration error (ECE) over bins of equal width.

    .. math:: \mathrm{ECE} = \sum_b \frac{n_b}{N} \left| \mathrm{acc}_b - \mathrm{conf}_b \right|

    Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks", ICML 2017, eq. 3.

    >>> round(calibration_error([[0.8, 0.2], [0.8, 0.2]], [0, 1]), 4)
    0.3
    """
    table = reliability(probabilities, truth, bins=bins)
    if not table.counts.sum():
        raise BadResults("There are no predictions to score")
    gaps = np.nan_to_num(np.abs(table.accuracy - table.confidence))
    return float((table.counts * gaps).sum() / table.counts.sum())


# --- two classes ---


def auroc(scores: ArrayLike, truth: ArrayLike) -> float:
    r"""Return the area under the ROC curve: how often a positive has the higher score.

    .. math:: P(s_i > s_j) + \tfrac{1}{2} P(s_i = s_j), \qquad t_i = 1,\ t_j = 0

    Args:
        scores: [N].
        truth: [N] of True (positive) and False.

    Returns:
        0.5 is guessing; NaN where one of the two never occurs.

    >>> auroc([0.9, 0.4, 0.4], [True, True, False])
    0.75
    """
    scores, positive = np.asarray(scores, dtype=float), np.asarray(truth, dtype=bool)
    if scores.shape != positive.shape or scores.ndim != 1 or not np.isfinite(scores).all():
        raise BadResults(f"Expected finite scores [N] and as many truths, got {scores.shape}")
    n_positive = int(positive.sum())
    n_pairs = n_positive * (len(scores) - n_positive)
    if not n_pairs:
        return math.nan
    _, which, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[which]  # of equals, their mean
    return float((ranks[positive].sum() - n_positive * (n_positive + 1) / 2) / n_pairs)


# --- all scores, pooled and by fold ---


def scores(
    truth: ArrayLike,
    predicted: ArrayLike,
    n_classes: int,
    *,
    probabilities: ArrayLike | None = None,
) -> dict[str, float]:
    """Return ua, wa, macro_f1 and weighted_f1, and ece where ``probabilities`` [N, C] are given.

    >>> scores([0, 0, 1], [0, 1, 1], 2)["ua"]
    0.75
    """
    matrix = confusion(truth, predicted, n_classes)
    values = {name: _one(score, matrix) for name, score in SCORES.items()}
    if probabilities is not None:
        values["ece"] = calibration_error(probabilities, truth)
    return values


def pooled(
    truth: ArrayLike,
    predicted: ArrayLike,
    n_classes: int,
    *,
    probabilities: ArrayLike | None = None,
) -> dict[str, float]:
    """Return :func:`scores` of the predictions of all folds put together: one matrix for all."""
    return scores(truth, predicted, n_classes, probabilities=probabilities)


def fold_mean(
    truth: ArrayLike,
    predicted: ArrayLike,
    folds: ArrayLike,
    n_classes: int,
    *,
    probabilities: ArrayLike | None = None,
) -> dict[str, dict[str, float]]:
    r"""Return mean and standard deviation over folds of each fold's own :func:`scores`.

    The deviation is the sample's (n - 1), and 0 for a single fold. A fold that lacks a class
    averages over the classes it has, so this differs from :func:`pooled`.

    Args:
        truth: class indices [N].
        predicted: class indices [N].
        folds: which fold (and seed) each prediction is from, [N].
        n_classes: C.
        probabilities: [N, C], for ece.

    >>> fold_mean([0, 1, 0, 1], [0, 1, 1, 1], ["a", "a", "b", "b"], 2)["ua"]["mean"]
    0.75
    """
    truth, predicted = _paired(truth, predicted, n_classes)
    names, which = np.unique(np.asarray(folds), return_inverse=True)
    table = None if probabilities is None else np.asarray(probabilities)
    by_fold = []
    for fold in range(len(names)):
        here = which == fold
        part = None if table is None else table[here]
        by_fold.append(scores(truth[here], predicted[here], n_classes, probabilities=part))
    if not by_fold:
        raise BadResults("There are no predictions to score")
    summary = {}
    for score in by_fold[0]:
        values = np.array([fold[score] for fold in by_fold])
        deviation = float(values.std(ddof=1)) if len(values) > 1 else 0.0
        summary[score] = {"mean": float(values.mean()), "std": deviation}
    return summary


# --- intervals ---


def _stacked(score: Score) -> Callable[[NDArray[Any]], Floats]:
    if callable(score):
        return lambda matrices: np.array([score(matrix) for matrix in matrices])
    if score not in SCORES:
        raise UnknownName("score", score, SCORES)
    return SCORES[score]


def _confusions_by(groups: ArrayLike, cells: NDArray[np.int64], n_cells: int) -> Counts:
    """Return how often each group falls into each cell of the confusion matrix, [S, n_cells]."""
    names, which = np.unique(np.asarray(groups), return_inverse=True)
    if which.shape != cells.shape:
        raise BadResults(f"Expected a group for each of {len(cells)} predictions, got {len(which)}")
    counts = np.bincount(which * n_cells + cells, minlength=len(names) * n_cells)
    return counts.reshape(len(names), n_cells).astype(np.int64)


def _resampled(by_group: Counts, n: int, rng: np.random.Generator) -> Counts:
    """Draw S groups of S with replacement, ``n`` times; return the summed counts [n, cells].

    How often each group is drawn follows a multinomial law, so no list of utterances is needed.
    """
    n_groups = len(by_group)
    share = np.full(n_groups, 1 / n_groups)
    counts = by_group.astype(np.float64)  # exact up to 2⁵³; integers have no BLAS
    parts = []
    for start in range(0, n, DRAWS_AT_ONCE):
        times_drawn = rng.multinomial(n_groups, share, size=min(DRAWS_AT_ONCE, n - start))  # [D, S]
        parts.append((times_drawn.astype(np.float64) @ counts).astype(np.int64))
    return np.concatenate(parts)


def _percentiles(values: Floats, level: float) -> tuple[float, float]:
    low, high = np.percentile(values, [50 * (1 - level), 50 * (1 + level)])
    return float(low), float(high)


def interval_over_speakers(
    truth: ArrayLike,
    predicted: ArrayLike,
    speakers: ArrayLike,
    score: Score = "ua",
    n: int = 2000,
    rng: np.random.Generator | None = None,
    *,
    n_classes: int | None = None,
    level: float = 0.95,
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of a pooled score, resampling whole speakers.

    Utterances of one voice are not independent, so an interval over utterances is too narrow;
    this one answers "what if other speakers had been recorded?". With few speakers it is still
    somewhat too narrow.

    Args:
        truth: class indices [N].
        predicted: class indices [N].
        speakers: who spoke, [N].
        score: a name of :data:`SCORES`, or a function of one confusion matrix.
        n: draws.
        rng: where chance comes from; by default a generator with seed 0.
        n_classes: C; by default the highest index + 1.
        level: of confidence.

    Returns:
        Low and high end; NaN twice if there is one speaker only.

    >>> rng = np.random.default_rng(0)
    >>> interval_over_speakers([0, 1, 0, 1], [0, 1, 1, 1], ["a", "a", "b", "b"], "wa", rng=rng)
    (0.5, 1.0)
    """
    (ends,) = intervals_over_speakers(
        truth, predicted, speakers, [score], n, rng, n_classes=n_classes, level=level
    )
    return ends


def intervals_over_speakers(
    truth: ArrayLike,
    predicted: ArrayLike,
    speakers: ArrayLike,
    scores: Sequence[Score],
    n: int = 2000,
    rng: np.random.Generator | None = None,
    *,
    n_classes: int | None = None,
    level: float = 0.95,
) -> list[tuple[float, float]]:
    """Return :func:`interval_over_speakers` of several scores, all from the same draws."""
    stacked = [_stacked(score) for score in scores]
    n_classes = n_classes or _n_classes(truth, predicted)
    truth, predicted = _paired(truth, predicted, n_classes)
    if not len(truth):
        raise BadResults("There are no predictions to score")
    by_speaker = _confusions_by(speakers, truth * n_classes + predicted, n_classes**2)
    if len(by_speaker) < 2:
        return [(math.nan, math.nan)] * len(stacked)
    draws = _resampled(by_speaker, n, rng or np.random.default_rng(0))
    matrices = draws.reshape(-1, n_classes, n_classes)
    return [_percentiles(score(matrices), level) for score in stacked]


def interval_over_utterances(
    truth: ArrayLike,
    predicted: ArrayLike,
    score: Score = "ua",
    n: int = 2000,
    rng: np.random.Generator | None = None,
    *,
    utterances: ArrayLike | None = None,
    n_classes: int | None = None,
    level: float = 0.95,
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of a pooled score, resampling utterances.

    The usual interval of the literature; it takes the speakers as given.

    Args:
        truth: class indices [N].
        predicted: class indices [N].
        score: a name of :data:`SCORES`, or a function of one confusion matrix.
        n: draws.
        rng: where chance comes from; by default a generator with seed 0.
        utterances: which utterance each prediction is of, [N]. Needed where an utterance is
            predicted several times (seeds, repeated hold-outs): its predictions stay together.
        n_classes: C; by default the highest index + 1.
        level: of confidence.
    """
    groups = np.arange(len(np.asarray(truth))) if utterances is None else utterances
    return interval_over_speakers(
        truth, predicted, groups, score, n, rng, n_classes=n_classes, level=level
    )


def _n_classes(*indices: ArrayLike) -> int:
    return 1 + max((int(np.max(part)) for part in map(np.asarray, indices) if part.size), default=0)


# --- two systems on the same utterances ---


@dataclass(frozen=True, kw_only=True)
class PairedTest:
    """Whether system A differs from system B on the same utterances.

    Attributes:
        difference: pooled score of A minus that of B.
        interval: 95 % percentile bootstrap interval of the difference over speakers; NaN twice
            with one speaker.
        p_bootstrap: two-sided share of bootstrap differences on the far side of 0.
        p_permutation: of swapping the systems speaker by speaker; the one to quote.
        exact: whether all swaps were gone through, else they were sampled.
        only_a: utterances that only A has right.
        only_b: utterances that only B has right.
        p_mcnemar: exact McNemar test; takes utterances as independent, which they are not.
    """

    difference: float
    interval: tuple[float, float]
    p_bootstrap: float
    p_permutation: float
    exact: bool
    only_a: int
    only_b: int
    p_mcnemar: float


def paired_test(
    truth: ArrayLike,
    predicted_a: ArrayLike,
    predicted_b: ArrayLike,
    speakers: ArrayLike,
    score: Score = "ua",
    n: int = 2000,
    rng: np.random.Generator | None = None,
    *,
    n_classes: int | None = None,
) -> PairedTest:
    r"""Compare two systems that predicted the same utterances, row by row.

    If the systems are equally good, then for each speaker their predictions could as well have
    been swapped. The permutation test goes through all :math:`2^S` swaps (samples ``n`` of them
    when there are more than 14 speakers) and counts differences as large as the one seen:

    .. math:: p = \frac{|\{s : |\Delta_s| \ge |\Delta|\}|}{2^S}

    With S speakers p cannot be below :math:`2^{1-S}`.

    Args:
        truth: class indices [N].
        predicted_a: class indices [N].
        predicted_b: class indices [N].
        speakers: who spoke, [N].
        score: a name of :data:`SCORES`, or a function of one confusion matrix.
        n: draws.
        rng: where chance comes from; by default a generator with seed 0.
        n_classes: C; by default the highest index + 1.

    >>> truth = [0, 1] * 6
    >>> who = np.repeat(["a", "b", "c", "d", "e", "f"], 2)
    >>> result = paired_test(truth, truth, [0, 0] * 6, who)
    >>> result.difference, result.p_permutation, result.only_a
    (0.5, 0.03125, 6)
    """
    rng = rng or np.random.default_rng(0)
    n_classes = n_classes or _n_classes(truth, predicted_a, predicted_b)
    labels, a = _paired(truth, predicted_a, n_classes)
    _, b = _paired(truth, predicted_b, n_classes)
    if not len(labels):
        raise BadResults("There are no predictions to compare")
    cells = n_classes**2
    by_speaker = np.concatenate(
        [_confusions_by(speakers, labels * n_classes + part, cells) for part in (a, b)], axis=1
    )  # [S, 2 cells], A then B
    stacked = _stacked(score)

    def differences(counts: Counts) -> Floats:
        pair = counts.reshape(-1, 2, n_classes, n_classes)
        return stacked(pair[:, 0]) - stacked(pair[:, 1])

    difference = float(differences(by_speaker.sum(axis=0, keepdims=True))[0])
    interval, p_bootstrap = (math.nan, math.nan), math.nan
    if len(by_speaker) > 1:
        drawn = differences(_resampled(by_speaker, n, rng))
        interval = _percentiles(drawn, 0.95)
        beyond = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
        p_bootstrap = min(1.0, 2 * (beyond + 1) / (n + 1))

    only_a = int(((a == labels) & (b != labels)).sum())
    only_b = int(((b == labels) & (a != labels)).sum())
    return PairedTest(
        difference=difference,
        interval=interval,
        p_bootstrap=p_bootstrap,
        p_permutation=_permutation_p(by_speaker, differences, difference, n, rng),
        exact=len(by_speaker) <= EXACT_SPEAKERS,
        only_a=only_a,
        only_b=only_b,
        p_mcnemar=mcnemar(only_a, only_b),
    )


def _permutation_p(
    by_speaker: Counts,
    differences: Callable[[Counts], Floats],
    difference: float,
    n: int,
    rng: np.random.Generator,
) -> float:
    n_speakers, width = by_speaker.shape
    swapped = np.roll(by_speaker, width // 2, axis=1)  # B, then A
    exact = n_speakers <= EXACT_SPEAKERS
    if exact:
        swaps = np.arange(2**n_speakers)[:, None] >> np.arange(n_speakers) & 1  # [2^S, S]
    else:
        swaps = rng.integers(0, 2, size=(n, n_speakers))
    permuted = differences(swaps @ swapped + (1 - swaps) @ by_speaker)
    # A difference that is equal but for rounding counts as equal.
    as_large = int((np.abs(permuted) >= abs(difference) - 1e-12).sum())
    # What was seen counts as one more draw, so that a sampled p is never 0.
    return as_large / len(swaps) if exact else (as_large + 1) / (n + 1)


def mcnemar(only_a: int, only_b: int) -> float:
    r"""Return the two-sided p of the exact McNemar test.

    .. math:: p = \min\left(1,\ 2^{1-m} \sum_{k=0}^{\min(a,b)} \binom{m}{k}\right), \qquad m = a + b

    Args:
        only_a: utterances that only system A has right.
        only_b: utterances that only system B has right.

    >>> mcnemar(5, 0)
    0.0625
    """
    discordant = only_a + only_b
    # In whole numbers of any size: floats would overflow at a thousand discordant utterances.
    ways = tail = 1
    for k in range(min(only_a, only_b)):
        ways = ways * (discordant - k) // (k + 1)  # of choosing k + 1 among them
        tail += ways
    return min(1.0, 2 * tail / (1 << discordant))
