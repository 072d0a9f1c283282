"""What a model answers to the utterances of a corpus, as it is or adapted to each speaker."""

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from lightser.errors import BadCorpus, LightserError

if TYPE_CHECKING:
    import pandas as pd

    from lightser.inference import Recognizer
    from lightser.inference.sources import Audio

FOLD = "all"

Tell = Callable[[int, int], None]


def predict_all(
    recognizer: "Recognizer", table: "pd.DataFrame", names: Mapping[str, str], tell: Tell
) -> "tuple[pd.DataFrame, list[LightserError]]":
    """Return the predictions table of an utterance table, and why some rows are not in it.

    Args:
        recognizer: that is asked.
        table: of utterances.
        names: label of the corpus to label of the model.
        tell: is told (done, total).
    """
    import pandas as pd

    rows, problems = [], []
    for i, row in enumerate(table.to_dict("records")):
        tell(i, len(table))
        try:
            probabilities = hear(recognizer, row)
        except LightserError as error:
            problems.append(error)
            continue
        rows.append(
            {
                "utterance": row["utterance"],
                "corpus": row["corpus"],
                "speaker": row["speaker"],
                "fold": FOLD,
                "seed": recognizer.card.seed,
                "truth": names[str(row["label"])],
                "predicted": max(probabilities, key=lambda label: probabilities[label]),
                **{f"p_{label}": round(p, 6) for label, p in probabilities.items()},
            }
        )
    return pd.DataFrame(rows), problems


def predict_adapted(
    recognizer: "Recognizer",
    table: "pd.DataFrame",
    names: Mapping[str, str],
    tell: Tell,
    *,
    n: int,
) -> "tuple[pd.DataFrame, list[LightserError]]":
    """Return what :func:`predict_all` does, each speaker heard by a model adapted to that voice.

    Args:
        recognizer: of the model that is adapted, for each speaker anew.
        table: of utterances.
        names: label of the corpus to label of the model.
        tell: is told (done, total).
        n: of each speaker's utterances, drawn at random, are adapted to, without their labels, and
            not scored.

    Raises:
        BadCorpus: a speaker is unknown, or has no more utterances than these.
        BadAdaptation: the model cannot be adapted.
    """
    import pandas as pd

    refuse_few(table, n)
    tables: list[pd.DataFrame] = []
    problems: list[LightserError] = []
    done = 0
    rng = np.random.default_rng(0)
    for (corpus, speaker), own in table.groupby(["corpus", "speaker"]):
        order = rng.permutation(len(own))
        heard = recognizer.adapt([])
        for row in own.iloc[order[:n]].to_dict("records"):
            try:
                source, rate = source_of(recognizer, row)
                heard = recognizer.adapt([source], rate, before=heard)
            except LightserError as error:
                problems.append(error)
        if not heard.count:
            raise BadCorpus(
                f"Of speaker {speaker} of {corpus} nothing can be heard to adapt to: {problems[-1]}"
            )
        rest = own.iloc[np.sort(order[n:])]
        answers, bad = predict_all(recognizer.adapted(heard), rest, names, lambda i, of: None)
        tables.append(answers)
        problems += bad
        done += len(own)
        tell(done, len(table))
    return pd.concat(tables), problems


def refuse_few(table: "pd.DataFrame", n: int) -> None:
    """Refuse a table in which somebody has no utterances left to be tested on.

    Raises:
        BadCorpus: with who.
    """
    if not (table["speaker"].notna() & (table["speaker"] != "")).all():
        raise BadCorpus(
            "Some speakers are unknown, and a model is adapted to each; leave out --adapt"
        )
    for (corpus, speaker), own in table.groupby(["corpus", "speaker"]):
        if len(own) <= n:
            raise BadCorpus(
                f"Speaker {speaker} of {corpus} has {len(own)} utterances, and {n} would be "
                "adapted to; give a smaller --adapt"
            )


def hear(recognizer: "Recognizer", row: "Mapping[Any, Any]") -> dict[str, float]:
    """Return the probabilities of one row of an utterance table: a file, or a part of it."""
    return recognizer.predict(*source_of(recognizer, row)).probabilities


def source_of(recognizer: "Recognizer", row: "Mapping[Any, Any]") -> "tuple[Audio, int | None]":
    """Return one row as recognisers take it: a file, or samples ``[T]`` and their rate."""
    from lightser.audio.files import read_audio

    start, end = (None if math.isnan(row[edge]) else float(row[edge]) for edge in ("start", "end"))
    if start is None and end is None:
        return row["file"], None
    rate = recognizer.card.sample_rate
    return read_audio(row["file"], rate, start=start, end=end), rate
