"""nEMO: 4481 clips, 9 actors, 90 sentences, Polish, 6 emotions.

Christop, "nEMO: Dataset of Emotional Speech in Polish", LREC-COLING 2024.

``data.tsv`` holds a line per clip; the clips are in ``samples``.
"""

from pathlib import Path

import pandas as pd

from lightser.corpora import CORPORA, Corpus, Download
from lightser.corpora.utterances import find_audio, make_table, read_csv
from lightser.errors import BadCorpus

# From the adjectives and nouns of data.tsv.
LABELS = {
    "anger": "anger",
    "fear": "fear",
    "happiness": "happiness",
    "neutral": "neutral",
    "sadness": "sadness",
    "surprised": "surprise",
}
COUNTS = {
    "anger": 749,
    "fear": 736,
    "happiness": 749,
    "neutral": 809,
    "sadness": 769,
    "surprise": 669,
}
COLUMNS = ("file_id", "emotion", "raw_text", "speaker_id", "gender", "age")

# The published commit that holds data.tsv and all samples.
COMMIT = "06f1f83dde8f1a780443a57d53b2af3971af34ab"


def listed(root: Path) -> frozenset[str]:
    """Return the names of the clips in ``data.tsv``."""
    return frozenset(Path(file).stem for file in lines(root)["file_id"])


def files(root: Path) -> dict[str, Path]:
    """Return the audio files in ``root/samples``, whatever they were encoded to."""
    return find_audio(root, "samples/*")


def age_of(text: str, root: Path) -> int:
    try:
        return int(text)
    except ValueError:
        raise BadCorpus(f"{root}: '{text}' is no age in its data.tsv; get it again") from None


def load(root: Path) -> pd.DataFrame:
    """Return the table; ``text`` is the sentence as written, ``age`` a column at the end."""
    found = files(root)
    by_name = lines(root).sort_values("file_id")  # the published order is shuffled
    rows = [
        {
            "utterance": name,
            "file": str(found[name]),
            "speaker": line["speaker_id"].strip(),  # the published file pads it with spaces
            "label": label_of(line["emotion"], root),
            "gender": line["gender"],
            "text": line["raw_text"],
            "age": age_of(line["age"], root),
        }
        for line in by_name.to_dict("records")
        if (name := Path(line["file_id"]).stem) in found
    ]
    if not rows:
        raise BadCorpus(
            f"{root} holds nEMO's data.tsv, but none of its clips in {root / 'samples'}"
        )
    return make_table(rows, corpus="nemo", language="pl", style="acted")


def lines(root: Path) -> pd.DataFrame:
    """Return ``data.tsv`` as strings."""
    path = root / "data.tsv"
    if not path.is_file():
        raise BadCorpus(f"{root} is not nEMO: it holds no data.tsv")
    table = read_csv(path, separator="\t")
    if missing := [column for column in COLUMNS if column not in table]:
        raise BadCorpus(f"{path} is not nEMO's: it lacks the columns {', '.join(missing)}")
    return table


def label_of(emotion: str, root: Path) -> str:
    """Return our name of an emotion in ``data.tsv``."""
    if emotion not in LABELS:
        raise BadCorpus(
            f"{root / 'data.tsv'} is not nEMO's: emotion '{emotion}' is none of {', '.join(LABELS)}"
        )
    return LABELS[emotion]


CORPORA["nemo"] = Corpus(
    name="nemo",
    title="nEMO: Dataset of Emotional Speech in Polish",
    labels=tuple(LABELS.values()),
    language="pl",
    license="CC-BY-NC-SA-4.0",
    cite="""@inproceedings{christop2024nemo,
  title     = {{nEMO}: Dataset of Emotional Speech in {Polish}},
  author    = {Christop, Iwona},
  booktitle = {Proc. LREC-COLING 2024},
  pages     = {12111--12116},
  year      = {2024},
  url       = {https://aclanthology.org/2024.lrec-main.1059}
}""",
    url="https://github.com/amu-cai/nEMO",
    load=load,
    utterances=4481,
    counts=COUNTS,
    files=files,
    expected=listed,
    # GitHub packs the archive anew at each request: the commit fixes its content, not its bytes.
    downloads=(
        Download(
            url=f"https://github.com/amu-cai/nEMO/archive/{COMMIT}.zip", folder=f"nEMO-{COMMIT}"
        ),
    ),
)
