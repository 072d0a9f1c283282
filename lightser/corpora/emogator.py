"""EmoGator: 32130 vocal bursts without words, 357 people, 30 emotions.

Buhl, "EmoGator: A New Open Source Vocal Burst Dataset with Baseline Machine Learning
Classification Methodologies", arXiv:2301.00508, 2023.

``data/mp3/000001-06-2.mp3`` holds person, category and which of three tries. Each of the 357 sent
90 clips, of two seconds at most, recorded on whatever they had.

Traps:

* It is no speech: laughs, sighs, groans, shrieks. A network may learn from it what a voice does in
  an emotion, and nothing of how a sentence sounds in it. It says nothing of a model of speech to
  test one on it.
* 30 categories, of which eight are what other corpora know under seven labels: those of
  :data:`SAME`. Both surprises are surprise, and amusement (laughter) and elation (joy) happiness.
  The others keep their names; what they stand near (distress, pain: fear? sadness?) is anybody's
  guess. ``category`` at the end of the table is the published name.
* The emotion is what the person was asked for; nobody listened again. Person 000160 recorded next
  to nothing: 88 of the 90 clips stay below -65 dB of full scale.
"""

import itertools
import re
from pathlib import Path

import pandas as pd

from lightser.corpora import CORPORA, Corpus, Download
from lightser.corpora.utterances import find_audio, make_table
from lightser.errors import BadCorpus

# From 01 to 30.
CATEGORIES = (
    "Adoration",
    "Amusement",
    "Anger",
    "Awe",
    "Confusion",
    "Contempt",
    "Contentment",
    "Desire",
    "Disappointment",
    "Disgust",
    "Distress",
    "Ecstasy",
    "Elation",
    "Embarrassment",
    "Fear",
    "Guilt",
    "Interest",
    "Neutral",
    "Pain",
    "Pride",
    "Realization",
    "Relief",
    "Romantic Love",
    "Sadness",
    "Serenity",
    "Shame",
    "Surprise (Negative)",
    "Surprise (Positive)",
    "Sympathy",
    "Triumph",
)
SAME = {
    "Amusement": "happiness",
    "Elation": "happiness",
    "Surprise (Negative)": "surprise",
    "Surprise (Positive)": "surprise",
}
LABELS = tuple(dict.fromkeys(SAME.get(name, name.lower()) for name in CATEGORIES))
NAME = re.compile(r"(?P<speaker>\d{6})-(?P<category>\d\d)-(?P<instance>[123])")
SPEAKERS, INSTANCES = 357, 3

# Two tries of one person at one category that are the same samples: who, which, tries.
TWICE = """
    000104-27-12  000142-02-23  000156-21-12  000160-11-12  000160-15-12
    000160-19-23  000160-23-23  000183-09-23  000202-03-12  000202-07-12
    000212-07-23  000234-24-23  000240-23-12  000242-10-12  000242-13-23
    000242-14-23  000247-06-12  000294-02-23  000295-12-12  000317-25-12
"""

COMMIT = "51eeca515a95f168ab73391cd9e7c975ab964429"


def published(root: Path) -> frozenset[str]:
    """Return the names of the 32130 clips: 90 per person, three of each category."""
    return frozenset(
        f"{speaker:06d}-{category:02d}-{instance}"
        for speaker, category, instance in itertools.product(
            range(1, SPEAKERS + 1), range(1, len(CATEGORIES) + 1), range(1, INSTANCES + 1)
        )
    )


def files(root: Path) -> dict[str, Path]:
    """Return the audio files in ``root/data/mp3``, or else in ``root`` itself."""
    return find_audio(root, "data/mp3/*" if (root / "data/mp3").is_dir() else "*")


def load(root: Path) -> pd.DataFrame:
    """Return the table; ``category``, as published, is a column at the end."""
    names = {name: NAME.fullmatch(name) for name in published(root)}
    rows = [
        {
            "utterance": name,
            "file": str(file),
            "speaker": match["speaker"],
            "label": SAME.get(category, category.lower()),
            "category": category,
        }
        for name, file in files(root).items()
        if (match := names.get(name)) and (category := CATEGORIES[int(match["category"]) - 1])
    ]
    if not rows:
        raise BadCorpus(f"{root} is not EmoGator: no clips such as data/mp3/000001-01-1.mp3")
    return make_table(rows, corpus="emogator", style="acted")


CORPORA["emogator"] = Corpus(
    name="emogator",
    title="EmoGator, vocal bursts",
    labels=LABELS,
    language="",  # no words
    license="Apache-2.0",
    cite="""@misc{buhl2023emogator,
  title         = {{EmoGator}: A New Open Source Vocal Burst Dataset with Baseline Machine Learning
                   Classification Methodologies},
  author        = {Buhl, Fred W.},
  year          = {2023},
  eprint        = {2301.00508},
  archiveprefix = {arXiv}
}""",
    url="https://github.com/fredbuhl/EmoGator",
    load=load,
    utterances=len(CATEGORIES) * SPEAKERS * INSTANCES,
    counts={
        label: SPEAKERS * INSTANCES * [SAME.get(c, c.lower()) for c in CATEGORIES].count(label)
        for label in LABELS
    },
    files=files,
    expected=published,
    duplicates=tuple(
        (f"{twice[:-2]}{twice[-2]}", f"{twice[:-2]}{twice[-1]}") for twice in TWICE.split()
    ),
    downloads=(
        Download(
            url=f"https://github.com/fredbuhl/EmoGator/archive/{COMMIT}.zip",
            folder=f"EmoGator-{COMMIT}",
        ),
    ),
)
