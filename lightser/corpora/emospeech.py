"""EmoSpeech: 6532 spoken commands, 105 known speakers and others, English and Hindi, 4 emotions.

Banga, Upadhyay, Agarwal, Sharma and Mukherjee, "Indian EmoSpeech Command Dataset: A dataset for
emotion based speech recognition in the wild", arXiv:1910.13801, 2019.

File names such as ``Roads/stop-safe-angry-20190623140352-d14a....wav`` hold the place (the folder),
keyword, what else is heard (safe, scream, gunshots, glass break), emotion, time and a hash of the
speaker. They were recorded in homes, on streets, by a lake and in trains, three seconds each
at 16 kHz. Of 7741 files, 1209 are left out:

* 1116 backgrounds, in which nobody says a keyword, and one clip of emotion "None";
* 83 clips that are there twice, as "safe" and as "scream";
* those in :data:`LEFT_OUT`.

Traps:

* The emotion is what its speaker meant to act, or what the name says; nobody listened again.
  Three recordings have two emotions, one time is "??" (six files, whose names Windows refuses).
* One hash, :data:`UNKNOWN`, is "unknown user": 69 % of the clips. One recording of it is there a
  second time under a speaker's own hash, so those who are known may speak among the unknown, too:
  a protocol that keeps voices apart takes ``known_speakers``, and nothing else.
* "calm" is the only emotion that is none of the aroused ones, and a command said calmly is what
  others call neutral: it is ``neutral`` here.
* "unknown" is a keyword, too: any other words.
"""

import re
from collections.abc import Collection
from pathlib import Path

import pandas as pd

from lightser.corpora import CORPORA, Corpus, Download
from lightser.corpora.utterances import find_audio, make_table
from lightser.errors import BadCorpus

LABELS = {"angry": "anger", "fearful": "fear", "happy": "happiness", "calm": "neutral"}
COUNTS = {"anger": 1110, "fear": 1553, "happiness": 958, "neutral": 2911}

# The languages of the keywords; of "unknown" nobody knows.
KEYWORDS = {
    "bacho": "hi",  # beware
    "go": "en",
    "help": "en",
    "no": "en",
    "stop": "en",
    "yes": "en",
    "unknown": "",
}
UNKNOWN = "d14a028c2a3a2bc9476102bb288234c415a2b01f828ea62ac5b3e42f"

# Names without the hash.
LEFT_OUT = (
    # One recording under two emotions.
    "bacho-safe-calm-20190618164021",
    "bacho-safe-fearful-20190618164021 copy",
    "bacho-safe-angry-1563210779752",
    "bacho-safe-fearful-1563210779752",
    "go-safe-angry-1563121805803",
    "go-safe-fearful-1563121805803",
    # Under two names.
    "help-safe-calm-20190618164152 copy",
    "bacho-safe-angry-123123123123",
    # Digital silence.
    "bacho-safe-calm-1563176322441",
)

NAME = re.compile(
    rf"(?P<keyword>{'|'.join(KEYWORDS)})-(?P<environment>safe|scream|gunshots|glass break)"
    rf"-(?P<emotion>{'|'.join(LABELS)})-(?P<time>[^-]+)-(?P<speaker>[0-9a-f]{{56}})"
)

COMMIT = "85b1ef55e1246a10657590809bc118d6abf136d7"


def files(root: Path) -> dict[str, Path]:
    """Return the audio files in the folders of ``root``, without what is left out (see above)."""
    found = find_audio(root, "*/*")
    return {name: file for name, file in found.items() if not is_left_out(name, found.keys())}


def is_left_out(name: str, names: Collection[str]) -> bool:
    """Say whether a clip among ``names`` is a background, without emotion, or there twice."""
    scream = name.replace("-safe-", "-scream-")
    return (
        name.startswith("background-")
        or "-None-" in name
        or name.rpartition("-")[0] in LEFT_OUT
        or (scream != name and scream in names)
    )


def named(root: Path) -> frozenset[str]:
    """Return those of :func:`files` that are named as the corpus's are.

    No rule or list gives the names of a whole copy; their number does.
    """
    return frozenset(name for name in files(root) if NAME.fullmatch(name))


def load(root: Path, *, known_speakers: bool = False) -> pd.DataFrame:
    """Return the table; ``text`` is the keyword, ``place`` and ``environment`` stand at the end.

    Args:
        root: folder of the folders House, Metro, Misc, Near Lake, Railway, Roads and webservice.
        known_speakers: whether to leave out clips whose speaker is unknown.
    """
    rows = [
        {
            "utterance": name,
            "file": str(file),
            "speaker": "" if match["speaker"] == UNKNOWN else match["speaker"],
            "label": LABELS[match["emotion"]],
            "language": KEYWORDS[match["keyword"]],
            "text": match["keyword"],
            "place": file.parent.name,
            "environment": match["environment"],
        }
        for name, file in files(root).items()
        if (match := NAME.fullmatch(name)) and not (known_speakers and match["speaker"] == UNKNOWN)
    ]
    if not rows:
        raise BadCorpus(
            f"{root} is not EmoSpeech: no clips such as Roads/stop-safe-angry-TIME-HASH.wav"
        )
    return make_table(rows, corpus="emospeech", style="acted")


CORPORA["emospeech"] = Corpus(
    name="emospeech",
    title="Indian EmoSpeech Command Dataset, commands",
    labels=tuple(LABELS.values()),
    language="",
    license="CC-BY-NC-SA-4.0",
    cite="""@misc{banga2019indian,
  title         = {{Indian EmoSpeech Command Dataset}: A dataset for emotion based speech
                   recognition in the wild},
  author        = {Banga, Subham and Upadhyay, Ujjwal and Agarwal, Piyush and Sharma, Aniket and
                   Mukherjee, Prerana},
  year          = {2019},
  eprint        = {1910.13801},
  archiveprefix = {arXiv}
}""",
    url="https://github.com/RakshakTeam/emospeech-dataset-v1",
    load=load,
    utterances=6532,
    counts=COUNTS,
    files=files,
    expected=named,
    downloads=(
        Download(
            url=f"https://github.com/RakshakTeam/emospeech-dataset-v1/archive/{COMMIT}.zip",
            folder=f"emospeech-dataset-v1-{COMMIT}",
        ),
    ),
)
