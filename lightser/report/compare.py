"""Two results on the same utterances: which is better, and whether other speakers could turn it."""

from dataclasses import dataclass

import numpy as np

from lightser import metrics
from lightser.errors import BadResults
from lightser.report.results import Result


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Result A against result B.

    Attributes:
        a: pooled score of A on the shared utterances.
        b: pooled score of B on them.
        test: how sure the difference is.
        utterances: how many both have.
        speakers: of these utterances.
        only_a: utterances that A alone has tested.
        only_b: utterances that B alone has tested.
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
    is_one_to_one: bool


def compare(
    a: Result, b: Result, *, score: str = "ua", rng: np.random.Generator | None = None
) -> Comparison:
    """Compare two results on the utterances that both have tested.

    Where an utterance was decided on several times (seeds, repeated hold-outs), each decision of A
    is paired with each of B, so that both systems answer for the same voices equally often.

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
    key, columns = ["corpus", "utterance"], ["corpus", "utterance", "speaker", "truth", "predicted"]
    pairs = a.predictions[columns].merge(
        b.predictions[columns], on=key, how="inner", suffixes=("_a", "_b")
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
    truth, answers_a, answers_b = (
        metrics.class_indices(pairs[column], a.labels)
        for column in ("truth_a", "predicted_a", "predicted_b")
    )
    test = metrics.paired_test(
        truth,
        answers_a,
        answers_b,
        (pairs["corpus"] + "/" + pairs["speaker_a"]).to_numpy(),
        score,
        rng=rng,
        n_classes=len(a.labels),
    )
    of_a, of_b, shared = (
        set(zip(table["corpus"], table["utterance"], strict=True))
        for table in (a.predictions, b.predictions, pairs)
    )
    return Comparison(
        a=metrics.scores(truth, answers_a, len(a.labels))[score],
        b=metrics.scores(truth, answers_b, len(a.labels))[score],
        test=test,
        utterances=len(shared),
        speakers=len(set(zip(pairs["corpus"], pairs["speaker_a"], strict=True))),
        only_a=len(of_a - shared),
        only_b=len(of_b - shared),
        is_one_to_one=len(pairs) == len(shared),
    )
