"""A table of short stretches of the three sample clips, three speakers, three emotions: real speech
that is always there, to see the machinery of training turn."""

from pathlib import Path

import pandas as pd
import soundfile

from lightser.corpora.emodb import LABELS
from lightser.corpora.utterances import make_table

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
