"""A table of short stretches of the three sample clips, three speakers, three emotions: real speech
that is always there, to see the machinery of training turn."""

import dataclasses
from pathlib import Path
from typing import Any

import pandas as pd
import soundfile

from lightser.corpora.emodb import LABELS
from lightser.corpora.utterances import make_table
from lightser.training.recipe import Choice, Optim, ProtocolChoice, Recipe

SAMPLES = Path(__file__).parent.parent / "lightser" / "samples"


def tiny_corpus(per_clip: int = 4, seconds: float = 0.7) -> pd.DataFrame:
    """Return utterances of which every speaker says every emotion.

    A stretch of a clip keeps its sound; to have all emotions from all "speakers", the speaker
    column deals the stretches of each clip among three names.
    """
    rows = []
    for clip in sorted(SAMPLES.glob("*.flac")):
        length = soundfile.info(clip).duration
        for i in range(per_clip * 3):
            start = round(i * (length - seconds) / (per_clip * 3 - 1), 3)
            rows.append(
                {
                    "file": str(clip),
                    "start": start,
                    "end": round(start + seconds, 3),
                    "speaker": f"s{i % 3}",
                    "label": LABELS[clip.stem[5]],
                    "agreement": 1.0 if i % 2 else 0.7,
                    "text": str(i // 3),
                }
            )
    return make_table(rows, corpus="emodb", language="de", gender="", session="", style="acted")


def tiny_recipe(**changes: Any) -> Recipe:
    """Return a recipe that trains on it in seconds, but for what is changed."""
    made = Recipe(
        title="tiny",
        system="light_sernet",
        corpus=Choice(name="emodb"),
        frontend=Choice(name="light_sernet", options={"window_s": 0.7}),
        model=Choice(name="light_sernet", options={"momentum": 0.1}),
        optim=Optim(epochs=3, batch_size=4, learning_rate=1e-3),
        protocol=ProtocolChoice(name="loso"),
    )
    return dataclasses.replace(made, **changes)
