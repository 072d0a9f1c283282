"""All scores of a predictions table, computed from the table and from nothing else.

A predictions table has one row per decision: ``utterance, corpus, speaker, fold, seed, truth,
predicted`` and a probability ``p_<label>`` for each class.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lightser import activation, metrics
from lightser.card import Score
from lightser.errors import BadResults

COLUMNS = ("utterance", "corpus", "speaker", "fold", "seed", "truth", "predicted")
INTERVALS_OF = ("ua", "wa")


def check_predictions(table: pd.DataFrame, labels: Sequence[str]) -> None:
    """Refuse a table that cannot be scored.

    Raises:
        BadResults: a column is missing, there are no rows, a label is not among ``labels``, or
            a row's probabilities are no probabilities.
    """
    wanted = [*COLUMNS, *(f"p_{label}" for label in labels)]
    missing = [column for column in wanted if column not in table]
    if missing:
        raise BadResults(f"The predictions table lacks the columns {', '.join(missing)}")
    if table.empty:
        raise BadResults("The predictions table has no rows")
    for column in ("truth", "predicted"):
        unknown = table.loc[~table[column].isin(list(labels)), column]
        if len(unknown):
            raise BadResults(
                f"'{unknown.iloc[0]}' under {column} is not one of the labels {', '.join(labels)}"
            )
    numbers = table[wanted[len(COLUMNS) :]].apply(pd.to_numeric, errors="coerce").to_numpy(float)
    wrong = ~(np.isfinite(numbers).all(axis=1) & (np.abs(numbers.sum(axis=1) - 1) < 1e-3))
    if wrong.any():
        row = int(wrong.argmax())
        raise BadResults(
            f"Row {row} ({table['utterance'].iloc[row]}): the probabilities "
            f"{numbers[row].tolist()} do not sum to 1"
        )


def read_predictions(path: Path, labels: Sequence[str]) -> pd.DataFrame:
    """Read a predictions table; names stay strings (speaker "03", label "None").

    Raises:
        BadResults: not there, no such table, a label that is not among ``labels``, or a seed that
            is no whole number.
    """
    text = dict.fromkeys(("utterance", "corpus", "speaker", "fold", "truth", "predicted"), str)
    try:
        table = pd.read_csv(path, dtype=text, keep_default_na=False)
    except (OSError, ValueError) as error:
        reason = reason_of(error)
        raise BadResults(f"Cannot read {path} as a predictions table: {reason}") from error
    try:
        check_predictions(table, labels)
    except BadResults as error:
        raise BadResults(f"{path}: {error}") from error
    seeds = pd.to_numeric(table["seed"], errors="coerce")
    wrong = (seeds % 1 != 0).to_numpy()  # what is no number is NaN, and so is its remainder
    if wrong.any():
        raise BadResults(f"{path}: seed '{table['seed'][wrong].iloc[0]}' is not a whole number")
    return table.assign(seed=seeds.astype("int64"))


def reason_of(error: Exception) -> str:
    """Return why a file cannot be read, without its name, which an :class:`OSError` repeats."""
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


def score_predictions(
    table: pd.DataFrame, labels: Sequence[str], *, draws: int = 2000
) -> dict[str, Any]:
    """Return the scores of a predictions table, as fractions and ready for JSON.

    With several seeds, ``pooled`` and ``recalls`` are means over seeds: the decisions of one seed
    go into one confusion matrix, and each seed's score counts once (``by_seed`` holds them).
    ``fold_mean`` is over the (fold, seed) pairs. A bootstrap draw takes a speaker, or an
    utterance, with its decisions of all seeds; where each seed decides on the same utterances,
    the UA and WA of a draw are therefore means over seeds too.

    Args:
        table: predictions.
        labels: in the order of the classes.
        draws: of each bootstrap, from a generator with seed 0: the same table gives the same
            numbers.

    Returns:
        ``n_predictions, n_utterances, n_speakers``; ``pooled`` and each of ``by_seed``
        (``ua, wa, macro_f1, weighted_f1, ece``); ``fold_mean`` (the same, each with ``mean``
        and ``std``); ``recalls`` by label, None for a label that is never the truth;
        ``interval_speakers`` and ``interval_utterances`` (95 %, of ``ua`` and ``wa``, each
        ``[low, high]``); None where there is only one speaker, or somebody's name is unknown;
        ``activation`` (see :func:`score_activation`), None where labels cannot tell.
        Where utterances are of several corpora, ``by_corpus`` has all of this for each.

    Raises:
        BadResults: see :func:`check_predictions`.
    """
    check_predictions(table, labels)
    n_classes = len(labels)
    truth = metrics.class_indices(table["truth"], labels)
    predicted = metrics.class_indices(table["predicted"], labels)
    probabilities = table[[f"p_{label}" for label in labels]].to_numpy(float)
    seeds = table["seed"].to_numpy()
    jobs = (table["seed"].astype(str) + "/" + table["fold"].astype(str)).to_numpy()
    utterances = (table["corpus"].astype(str) + "/" + table["utterance"].astype(str)).to_numpy()
    speakers = (table["corpus"].astype(str) + "/" + table["speaker"].astype(str)).to_numpy()

    all_known = bool((table["speaker"].notna() & (table["speaker"] != "")).all())

    by_seed, recalls = {}, []
    for seed in sorted(set(seeds.tolist())):
        here = seeds == seed
        by_seed[str(seed)] = metrics.pooled(
            truth[here], predicted[here], n_classes, probabilities=probabilities[here]
        )
        recalls.append(metrics.recalls(metrics.confusion(truth[here], predicted[here], n_classes)))
    names = next(iter(by_seed.values()))

    def interval(groups: "np.ndarray[Any, Any]") -> dict[str, list[float]] | None:
        ends = metrics.intervals_over_speakers(
            truth, predicted, groups, INTERVALS_OF, draws, n_classes=n_classes
        )
        if any(math.isnan(low) for low, _ in ends):
            return None
        return {score: list(pair) for score, pair in zip(INTERVALS_OF, ends, strict=True)}

    scores = {
        "n_predictions": len(table),
        "n_utterances": len(set(utterances.tolist())),
        "n_speakers": len(set(speakers.tolist())),
        "pooled": {name: _mean([scores[name] for scores in by_seed.values()]) for name in names},
        "by_seed": by_seed,
        "fold_mean": metrics.fold_mean(
            truth, predicted, jobs, n_classes, probabilities=probabilities
        ),
        "recalls": {
            label: _mean([values[i] for values in recalls]) for i, label in enumerate(labels)
        },
        "interval_speakers": interval(speakers) if all_known else None,
        "interval_utterances": interval(utterances),
        "activation": score_activation(table["truth"].tolist(), probabilities, labels),
    }
    parts = list(table.groupby("corpus", sort=False))
    if len(parts) > 1:
        scores["by_corpus"] = {
            str(name): score_predictions(rows, labels, draws=draws) for name, rows in parts
        }
    return scores


def score_activation(
    truth: Sequence[str], probabilities: "np.ndarray[Any, Any]", labels: Sequence[str]
) -> dict[str, float] | None:
    """Score whether voices were told to be aroused or calm (:mod:`lightser.activation`).

    Args:
        truth: [N] labels; those of neither group are passed over.
        probabilities: [N, C].
        labels: C.

    Returns:
        ``n``, ``auroc``, and ``ua`` and ``ece`` of the likelier of the two; None where the truth,
        or what the model could answer, is of one group alone.
    """
    of_truth = pd.Series(truth).to_numpy()
    is_aroused, is_calm = (
        np.isin(of_truth, group) for group in (activation.AROUSED, activation.CALM)
    )
    if not (activation.is_known(labels) and is_aroused.any() and is_calm.any()):
        return None
    kept = is_aroused | is_calm
    high, true = activation.aroused(probabilities[kept], labels), is_aroused[kept]
    matrix = metrics.confusion(true.astype(int), (high > 0.5).astype(int), 2)
    return {
        "n": int(kept.sum()),
        "auroc": metrics.auroc(high, true),
        "ua": metrics.ua(matrix),
        "ece": metrics.calibration_error(np.stack([1 - high, high], axis=1), true.astype(int)),
    }


def scores_for_card(facts: Mapping[str, Any], chosen_from: Sequence[str] = ()) -> tuple[Score, ...]:
    """Return what a card quotes of a ``scores.json``.

    The first score is of all utterances; where they are of several corpora, one for each follows.
    A corpus of one speaker, or of unknown ones, says nothing of others, and is passed over.

    Args:
        facts: of the results.
        chosen_from: the labels, where they were not all of the model's.
    """
    parts = {facts["corpus"]: facts} | facts.get("by_corpus", {})
    return tuple(
        Score(
            corpus=corpus,
            protocol=facts["protocol"],
            protocol_note=facts["protocol_note"],
            selected_on=facts["selected_on"],
            **{name: round(part["pooled"][name], 6) for name in ("ua", "wa", "macro_f1")},
            ua_interval=tuple(round(end, 6) for end in part["interval_speakers"]["ua"]),
            interval="speakers",
            seeds=tuple(facts["seeds"]),
            recipe=facts.get("recipe") or facts["title"],
            commit=facts["commit"],
            n_utterances=part["n_utterances"],
            labels=tuple(chosen_from),
        )
        for corpus, part in parts.items()
        if part["interval_speakers"]
    )


def _mean(values: Sequence[float]) -> float | None:
    """Return the mean of the numbers that are known, or None."""
    known = [float(value) for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else None
