"""EmotionTTS, emotional part: 300 clips, 13 speakers, Korean, 4 emotions.

Published by Selvas AI and KAIST with the project "Emotional TTS" (No. 10080667) of the Korean
Ministry of Trade, Industry and Energy: 5 % of what was recorded, the first five of each hundred.

``plain-to-emotional/ema/wav/ema00101.wav`` is a plain sentence said in an emotion,
``emotional-to-emotional/nea/wav/nea00101.wav`` one whose words fit it; the number tells the
emotion, a folder ``transcript`` beside ``wav`` the words. Sampled at 22.05 kHz.

Traps:

* The README has 201 to 300 as anger and 301 to 400 as sadness. It is the other way round. Words:
  nea00201 says "it hurts me so to hear that from you", nea00302 "the exam is upon us, and you play
  instead of studying?". Voices, against the same speaker's 001 to 100, means over 15 folders: 201
  to 300 are 3 semitones lower and have 1.4 dB less energy above 1 kHz, 301 to 400 are 1.4
  semitones higher and have 2.5 dB more; in all 15, 301 to 400 are the brighter.
* The README counts 2 women and 3 men in one part and 5 and 5 in the other, each named by a letter:
  women A and B in both. The mean spectrum of ema is as near to that of nea as clips of one speaker
  are to each other, and half as far as the next speaker's; so it is with emb and neb. They are
  taken as the same two women: at worst, that keeps two voices together for nothing.
* The words of emotional-to-emotional say the emotion, and all ten say the same: what a model
  learns of them may be the sentence.
"""

import re
from pathlib import Path

import pandas as pd

from lightser.corpora import CORPORA, Corpus, Download
from lightser.corpora.utterances import find_audio, make_table
from lightser.errors import BadCorpus

FOLDER = "Dataset/SpeechCorpus/Emotional"  # inside the repository
PARTS = {"plain-to-emotional": "em", "emotional-to-emotional": "ne"}
# The hundreds, with sadness before anger (see above).
LABELS = ("neutral", "happiness", "sadness", "anger")
SPEAKERS = {
    "em": {"female": "ab", "male": "fgh"},
    "ne": {"female": "abcde", "male": "klmno"},
}
NAME = re.compile(r"(?P<part>em|ne)(?P<speaker>[a-o])00(?P<hundred>[0-3])0(?P<number>[1-5])")

COMMIT = "5c8ccc80cb11e8de113c25f9ad019dc5d3a8e47b"


def published(root: Path) -> frozenset[str]:
    """Return the names of the 300 clips: five of each emotion by each of 5 and 10 voices."""
    return frozenset(
        f"{part}{speaker}00{hundred}0{number}"
        for part, by_gender in SPEAKERS.items()
        for speaker in "".join(by_gender.values())
        for hundred in range(len(LABELS))
        for number in range(1, 6)
    )


def files(root: Path) -> dict[str, Path]:
    """Return the audio files of both parts, in ``root`` or where the repository has them."""
    inside = root / FOLDER
    here = inside if inside.is_dir() else root
    return {
        name: file for part in PARTS for name, file in find_audio(here, f"{part}/*/wav/*").items()
    }


def load(root: Path) -> pd.DataFrame:
    """Return the table; ``text`` are the words, ``part`` ("em": plain, "ne": fitting) at the end.

    A sentence of the plain part is said in all four emotions.
    """
    names = {name: NAME.fullmatch(name) for name in published(root)}
    rows = [
        {
            "utterance": name,
            "file": str(file),
            "speaker": match["speaker"],
            "label": LABELS[int(match["hundred"])],
            "gender": gender_of(match["part"], match["speaker"]),
            "text": transcript(file),
            "part": match["part"],
        }
        for name, file in files(root).items()
        if (match := names.get(name))
    ]
    if not rows:
        raise BadCorpus(
            f"{root} is not EmotionTTS: no clips such as plain-to-emotional/ema/wav/ema00001.wav"
        )
    return make_table(rows, corpus="emotiontts_ko", language="ko", style="acted")


def gender_of(part: str, speaker: str) -> str:
    return next(gender for gender, letters in SPEAKERS[part].items() if speaker in letters)


def transcript(file: Path) -> str:
    """Return the words of a clip; "" where they are not there."""
    path = file.parent.parent / "transcript" / f"{file.stem}.txt"
    return path.read_text(encoding="utf-8-sig").strip() if path.is_file() else ""


CORPORA["emotiontts_ko"] = Corpus(
    name="emotiontts_ko",
    title="Emotional TTS open database, emotional part",
    labels=LABELS,
    language="ko",
    # The badge names no version; the README adds that any use but research is refused.
    license="CC-BY-NC-SA, no version named: research only",
    cite="""@misc{emotiontts2020open,
  title        = {Emotional {TTS} open database: conversational speech corpus for the emotions and
                  personality of robots},
  author       = {{Selvas AI} and {KAIST}},
  year         = {2020},
  howpublished = {\\url{https://github.com/emotiontts/emotiontts_open_db}}
}""",
    url="https://github.com/emotiontts/emotiontts_open_db",
    load=load,
    utterances=300,
    counts=dict.fromkeys(LABELS, 75),
    files=files,
    expected=published,
    downloads=(
        Download(
            url=f"https://github.com/emotiontts/emotiontts_open_db/archive/{COMMIT}.zip",
            folder=f"emotiontts_open_db-{COMMIT}/{FOLDER}",
        ),
    ),
)
