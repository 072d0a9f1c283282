"""Bundled models of Emo-DB on voices of other corpora, as they are and adapted to them.

    python benchmarks/adapt.py ravdess=DIR nemo=DIR

Half of each speaker's clips, drawn at random, are tested, always the same; what the model is
adapted to is drawn from the other half. The model chooses from the five emotions that its corpus
shares with both. Clips are embedded once, so it takes some minutes. Writes the table
``benchmarks/adapt.md``.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lightser import Recognizer, metrics
from lightser.corpora import load_corpus
from lightser.whole import write_whole

PAGE = Path(__file__).parent / "adapt.md"
MODELS = ("emodb-light_sernet", "emodb-zhong2020")
LABELS = ("anger", "fear", "happiness", "neutral", "sadness")
CLIPS = (0, 5, 10, 20)  # that are adapted to

Clip = NDArray[np.float64]  # [W, P] embeddings of its windows


def embedded(recognizer: Recognizer, table: pd.DataFrame) -> list[Clip]:
    """Return the embeddings of each clip of a table."""
    return [recognizer.embed(file) for file in table["file"]]


def answers(
    recognizer: Recognizer, table: pd.DataFrame, clips: list[Clip], n: int, only: str = ""
) -> pd.DataFrame:
    """Return truth and prediction of half of each speaker's clips, adapted to ``n`` of the others.

    Args:
        recognizer: that is adapted.
        table: of utterances.
        clips: their embeddings.
        n: how many are adapted to.
        only: the label of those that are adapted to, if not any.
    """
    rng = np.random.default_rng(0)
    rows = []
    for speaker in sorted(set(table["speaker"])):
        own = rng.permutation(np.flatnonzero(table["speaker"] == speaker))
        tested, others = own[: len(own) // 2], own[len(own) // 2 :]
        if only:
            others = others[(table["label"].to_numpy()[others] == only)]
        heard = recognizer.adapt([])
        for i in others[:n]:
            heard.add(clips[i])
        for i in tested:
            probabilities = recognizer.classify(clips[i], heard).mean(axis=0)
            truth = LABELS.index(str(table["label"].iloc[i]))
            rows.append((speaker, truth, int(probabilities.argmax())))
    return pd.DataFrame(rows, columns=["speaker", "truth", "predicted"])


def ua(table: pd.DataFrame) -> float:
    """Return the unweighted average recall of answers, in percent."""
    return 100 * metrics.ua(metrics.confusion(table["truth"], table["predicted"], len(LABELS)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpora", nargs="+", metavar="NAME=DIR")
    given = parser.parse_args()
    head = "".join(f" {n} clips |" for n in CLIPS[1:])
    lines = [
        "# Models adapted to voices, without labels",
        "",
        f"Written by `benchmarks/adapt.py`. Choosing from five emotions ({', '.join(LABELS)}; "
        "guessing is 20). Half of each speaker's clips are tested, always the same; adapted is to "
        "clips of the other half, without their labels, for each speaker anew, seed 0. UA in "
        "percent, pooled. *One emotion* is ten clips that are all neutral: the known way to fail.",
        "",
        f"| model | corpus | as it is |{head} one emotion |",
        f"|---|---|{'---:|' * (len(CLIPS) + 1)}",
    ]
    for name in MODELS:
        recognizer = Recognizer.load(name, labels=LABELS)
        assert recognizer.labels == LABELS
        for corpus in given.corpora:
            known, _, folder = corpus.partition("=")
            table = load_corpus(known, Path(folder).expanduser())
            table = table[table["label"].isin(LABELS)].reset_index(drop=True)
            clips = embedded(recognizer, table)
            scores = [ua(answers(recognizer, table, clips, n)) for n in CLIPS]
            scores.append(ua(answers(recognizer, table, clips, 10, only="neutral")))
            cells = "".join(f" {score:.1f} |" for score in scores)
            lines.append(f"| `{name}` | `{known}` |{cells}")
            print(lines[-1], flush=True)
    write_whole(PAGE, "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
