"""RAVDESS, speech: 1440 clips, 24 actors, 2 sentences, North American English, 8 emotions.

Livingstone and Russo, "The Ryerson Audio-Visual Database of Emotional Speech and Song (RAVDESS)",
PLoS ONE 13(5), 2018.

File names such as ``Actor_12/03-01-06-01-02-01-12.wav`` hold modality (03, audio only), channel
(01, speech), emotion, intensity, statement, repetition and actor.
"""

import itertools
import re
from pathlib import Path

import pandas as pd

from lightser.corpora import CORPORA, Corpus, Download
from lightser.corpora.utterances import find_audio, make_table
from lightser.errors import BadCorpus

LABELS = {
    "01": "neutral",
    "02": "calm",
    "03": "happiness",
    "04": "sadness",
    "05": "anger",
    "06": "fear",
    "07": "disgust",
    "08": "surprise",
}
INTENSITIES = {"01": "normal", "02": "strong"}
STATEMENTS = {"01": "Kids are talking by the door.", "02": "Dogs are sitting by the door."}
ACTORS = tuple(f"{actor:02d}" for actor in range(1, 25))  # odd: male, even: female

NAME = re.compile(
    r"03-01-(?P<emotion>\d\d)-(?P<intensity>\d\d)-(?P<statement>\d\d)-(?P<repetition>\d\d)"
    r"-(?P<actor>\d\d)"
)
# Songs and films, which unpack into the same folders: part of RAVDESS, not of its speech.
OTHER_CHANNELS = re.compile(r"(01|02|03-02)-.*")


def published(root: Path) -> frozenset[str]:
    """Return the names of the 1440 speech clips: 60 per actor; neutral has no strong intensity."""
    return frozenset(
        f"03-01-{emotion}-{intensity}-{statement}-{repetition}-{actor}"
        for emotion, intensity, statement, repetition, actor in itertools.product(
            LABELS, INTENSITIES, STATEMENTS, ("01", "02"), ACTORS
        )
        if (emotion, intensity) != ("01", "02")
    )


def files(root: Path) -> dict[str, Path]:
    """Return the audio files in ``root/Actor_*``, or else in ``root`` itself, without songs."""
    in_folders = any(root.glob("Actor_*"))
    found = find_audio(root, "Actor_*/*" if in_folders else "*")
    return {name: file for name, file in found.items() if not OTHER_CHANNELS.fullmatch(name)}


def load(root: Path) -> pd.DataFrame:
    """Return the table; ``intensity`` ("normal", "strong") is a column at the end."""
    names = {name: NAME.fullmatch(name) for name in published(root)}
    rows = [
        {
            "utterance": name,
            "file": str(file),
            "speaker": match["actor"],
            "label": LABELS[match["emotion"]],
            "gender": "male" if int(match["actor"]) % 2 else "female",
            "text": STATEMENTS[match["statement"]],
            "intensity": INTENSITIES[match["intensity"]],
        }
        for name, file in files(root).items()
        if (match := names.get(name))
    ]
    if not rows:
        raise BadCorpus(
            f"{root} is not RAVDESS speech: no clips such as Actor_01/03-01-01-01-01-01-01.wav"
        )
    return make_table(rows, corpus="ravdess", language="en", style="acted")


CORPORA["ravdess"] = Corpus(
    name="ravdess",
    title="Ryerson Audio-Visual Database of Emotional Speech and Song (RAVDESS), speech",
    labels=tuple(LABELS.values()),
    language="en",
    license="CC-BY-NC-SA-4.0",
    cite="""@article{livingstone2018ravdess,
  title   = {The {Ryerson} Audio-Visual Database of Emotional Speech and Song ({RAVDESS}):
             A dynamic, multimodal set of facial and vocal expressions in {North American English}},
  author  = {Livingstone, Steven R. and Russo, Frank A.},
  journal = {PLoS ONE},
  volume  = {13},
  number  = {5},
  pages   = {e0196391},
  year    = {2018},
  doi     = {10.1371/journal.pone.0196391}
}""",
    url="https://zenodo.org/records/1188976",
    load=load,
    utterances=1440,
    counts={label: 96 if label == "neutral" else 192 for label in LABELS.values()},
    files=files,
    expected=published,
    # One recording that was published under two names, the second repetition being lost.
    duplicates=(("03-01-03-01-02-01-07", "03-01-03-01-02-02-07"),),
    downloads=(
        Download(
            url="https://zenodo.org/records/1188976/files/Audio_Speech_Actors_01-24.zip?download=1",
            md5="bc696df654c87fed845eb13823edef8a",
            size=208_468_073,
        ),
    ),
)
