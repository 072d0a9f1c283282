"""What a model answers to the utterances of a corpus, as it is or adapted to each speaker."""

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lightser.errors import BadCorpus, LightserError

if TYPE_CHECKING:
    import pandas as pd

    from lightser.inference import Recognizer

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
        BadModel: the network has no batch norm.
    """
    import pandas as pd

    from lightser.cli.adapt import windows_of
    from lightser.export.adapted import adapted_system

    refuse_few(table, n)
    tables: list[pd.DataFrame] = []
    problems: list[LightserError] = []
    done = 0
    rng = np.random.default_rng(0)
    for (corpus, speaker), own in table.groupby(["corpus", "speaker"]):
        order = rng.permutation(len(own))
        clips = []
        for row in own.iloc[order[:n]].to_dict("records"):
            try:
                clips.append(windows_of(samples_of(recognizer, row), recognizer.card, row["file"]))
            except LightserError as error:
                problems.append(error)
        if not clips:
            raise BadCorpus(
                f"Of speaker {speaker} of {corpus} nothing can be heard to adapt to: {problems[-1]}"
            )
        adapted = recognizer.answering(runner_of(adapted_system(recognizer.folder, clips)))
        rest = own.iloc[np.sort(order[n:])]
        answers, bad = predict_all(adapted, rest, names, lambda i, of: None)
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


def runner_of(system: Any) -> "Callable[[NDArray[np.float32]], NDArray[np.float64]]":
    """Return a function of windows ``[B, T]`` to a system's probabilities ``[B, C]``."""
    import torch

    def run(windows: NDArray[np.float32]) -> NDArray[np.float64]:
        with torch.inference_mode():
            answer: NDArray[np.float64] = system(torch.from_numpy(windows)).double().numpy()
        return answer

    return run


def hear(recognizer: "Recognizer", row: "Mapping[Any, Any]") -> dict[str, float]:
    """Return the probabilities of one row of an utterance table: a file, or a part of it."""
    if math.isnan(row["start"]) and math.isnan(row["end"]):
        return recognizer.predict(row["file"]).probabilities
    return recognizer.predict(
        samples_of(recognizer, row), recognizer.card.sample_rate
    ).probabilities


def samples_of(recognizer: "Recognizer", row: "Mapping[Any, Any]") -> NDArray[np.float32]:
    """Return the samples ``[T]`` of one row, at the model's rate."""
    from lightser.audio.files import read_audio

    start, end = (None if math.isnan(row[edge]) else float(row[edge]) for edge in ("start", "end"))
    return read_audio(row["file"], recognizer.card.sample_rate, start=start, end=end)
