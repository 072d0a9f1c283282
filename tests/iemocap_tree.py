"""Writes a small tree in the exact layout of IEMOCAP, which may not be shipped or downloaded.

What a copy of the release holds, and what surrounds it: header lines, three evaluators of
categories and two of attributes in each turn, self-reports in improvised dialogues, dialogues
recorded from either actor's side with turns of both, transcriptions with turns that nobody judged,
folders with the same evaluations by evaluator, and the ``._`` files that macOS leaves behind.

The voices are synthesised: buzzes and noise, one pitch per actor, louder and higher when aroused.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

RATE = 16_000
NAMES = {
    "ang": "Anger",
    "dis": "Disgust",
    "exc": "Excited",
    "fea": "Fear",
    "fru": "Frustration",
    "hap": "Happiness",
    "neu": "Neutral",
    "oth": "Other",
    "sad": "Sadness",
    "sur": "Surprise",
}
# Loudness and pitch, relative to neutral speech.
AROUSAL = {"ang": 1.6, "exc": 1.7, "hap": 1.3, "neu": 1.0, "sad": 0.7}
COMMENTS = ("", "", "", "curious", "mildly aggravated; but (still) polite", "guarded, tense")
SENTENCES = (
    "Excuse me.",
    "Do you have your forms?",
    "What's the problem?",
    "I don't know.",
    "Okay.",
)

# Turns of the release by consensus: all of them, and the improvised ones of five emotions.
ALL = {
    "ang": 1103, "dis": 2, "exc": 1041, "fea": 40, "fru": 1849, "hap": 595,
    "neu": 1708, "oth": 3, "sad": 1084, "sur": 107, "xxx": 2507,
}  # fmt: skip
IMPROVISED = {"ang": 289, "exc": 663, "hap": 284, "neu": 1099, "sad": 608}


@dataclass(frozen=True)
class Written:
    """What was written of a turn, for a test to compare with.

    Attributes:
        votes: by evaluator line ("C-E1"), names of categories.
        attributes: valence, activation, dominance: means of the two evaluators.
    """

    name: str
    consensus: str
    votes: dict[str, list[str]]
    attributes: tuple[float, ...]
    words: str


def write_tree(
    root: Path,
    *,
    rng: np.random.Generator,
    sessions: int = 5,
    turns: int = 10,
    audio: bool = True,
) -> list[Written]:
    """Write an improvised and a scripted dialogue from each actor's side, for each session.

    Args:
        root: "IEMOCAP_full_release".
        rng: where chance comes from.
        sessions: how many of the five.
        turns: in each dialogue, of both actors in alternation.
        audio: whether audio files hold sound; else they are there and empty.

    Returns:
        The turns in the order of the evaluation files.
    """
    written = []
    codes = ["ang", "hap", "neu", "sad", "exc"]
    for session in range(1, sessions + 1):
        for side in "FM":
            for scene in ("impro01", "script01_1"):
                # The first five turns have an emotion each, so that none is missing anywhere.
                drawn = [*rng.permutation(codes), *rng.choice([*codes, "xxx", "fru"], turns)]
                written += write_dialogue(
                    root, f"Ses0{session}{side}_{scene}", drawn[:turns], rng=rng, audio=audio
                )
    return written


def write_release_counts(root: Path, *, rng: np.random.Generator) -> list[Written]:
    """Write a tree with as many turns of each emotion as the release has, without sound."""
    improvised = [code for code, n in IMPROVISED.items() for _ in range(n)]
    scripted = [code for code, n in ALL.items() for _ in range(n - IMPROVISED.get(code, 0))]
    written = []
    for scene, codes in [("impro{:02}", improvised), ("script{:02}_1", scripted)]:
        shuffled = rng.permutation(codes)
        dialogues = [
            (session, side, number)
            for session in "12345"
            for side in "FM"
            for number in range(1, 8)
        ]
        parts = np.array_split(shuffled, len(dialogues))
        for (session, side, number), part in zip(dialogues, parts, strict=True):
            name = f"Ses0{session}{side}_{scene.format(number)}"
            written += write_dialogue(root, name, part, rng=rng, audio=False)
    return written


def write_dialogue(
    root: Path, dialogue: str, codes: Sequence[str], *, rng: np.random.Generator, audio: bool = True
) -> list[Written]:
    """Write the evaluation, transcription and audio files of a dialogue."""
    session = root / f"Session{dialogue[4]}"
    evaluations = session / "dialog" / "EmoEvaluation"
    transcriptions = session / "dialog" / "transcriptions"
    clips = session / "sentences" / "wav" / dialogue
    categorical = evaluations / "Categorical"
    for folder in (evaluations, transcriptions, clips, categorical):
        folder.mkdir(parents=True, exist_ok=True)

    turns = _turns(dialogue, codes, rng)
    blocks, words, start = [], [], 6.2901
    for turn in turns:
        end = start + 1 + 2 * rng.random()
        blocks.append("\n".join(_block(turn, start, end, rng)))
        words.append(f"{turn.name} [{start:08.4f}-{end:08.4f}]: {turn.words}")
        start = end
        _write_clip(clips / f"{turn.name}.wav", turn, rng, audio=audio)
    words.insert(1, f"{dialogue}_MXX0 [{start:08.4f}-{start + 1:08.4f}]: [LAUGHTER]")

    header = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
    text = header + "".join(f"{block}\n\n" for block in blocks)
    (evaluations / f"{dialogue}.txt").write_text(text)
    (evaluations / f"._{dialogue}.txt").write_bytes(b"\x00\x05\x16\x07\xff[")
    (clips / f"._{turns[0].name}.wav").write_bytes(b"\x00\x05\x16\x07\xff[")
    (categorical / f"{dialogue}_e2_cat.txt").write_text(f"{turns[0].name} :Neutral state; ()\n")
    (transcriptions / f"{dialogue}.txt").write_text("\n".join(words) + "\n")
    return turns


def _turns(dialogue: str, codes: Sequence[str], rng: np.random.Generator) -> list[Written]:
    turns = []
    evaluators = [f"C-E{i}" for i in sorted(rng.permutation(4)[:3] + 1)]
    for number, code in enumerate(codes):
        actor = "FM"[number % 2]
        votes = dict(zip(evaluators, _votes(str(code), rng), strict=True))
        if "impro" in dialogue:
            own = [NAMES.get(str(code), "Other")]
            votes[f"C-{actor}1"] = own if rng.random() < 0.7 else [*own, "Surprise"]
        # Two evaluators' whole numbers, so that their mean is exact.
        attributes = tuple(float(x) / 2 for x in rng.integers(2, 11, size=3))
        turns.append(
            Written(
                name=f"{dialogue}_{actor}{number // 2:03}",
                consensus=str(code),
                votes=votes,
                attributes=attributes,
                words=str(rng.choice(SENTENCES)),
            )
        )
    return turns


def _votes(code: str, rng: np.random.Generator) -> list[list[str]]:
    """Return what three evaluators tick so that two of them, or none, agree on ``code``."""
    others = [name for other, name in NAMES.items() if other != code]
    if code == "xxx":
        return [[name] for name in rng.permutation(others)[:3].tolist()]
    third = [NAMES[code]] if rng.random() < 0.5 else [str(rng.choice(others))]
    second = [NAMES[code]]
    if rng.random() < 0.3:
        second.append(str(rng.choice([name for name in others if [name] != third])))
    votes = [[NAMES[code]], second, third]
    return [votes[i] for i in rng.permutation(3)]


def _block(turn: Written, start: float, end: float, rng: np.random.Generator) -> list[str]:
    mean = ", ".join(f"{value:.4f}" for value in turn.attributes)
    lines = [f"[{start:.4f} - {end:.4f}]\t{turn.name}\t{turn.consensus}\t[{mean}]"]
    for who, names in turn.votes.items():
        ticked = " ".join(f"{name};" for name in names)
        lines.append(f"{who}:\t{ticked}\t({rng.choice(COMMENTS)})")
    low = [int(np.floor(value)) for value in turn.attributes]
    high = [int(np.ceil(value)) for value in turn.attributes]
    raters = {"A-E3": low, "A-E4": high}
    raters |= {f"A-{who[2:]}": low for who in turn.votes if not who.startswith("C-E")}
    for who, (valence, activation, dominance) in raters.items():
        lines.append(f"{who}:\tval {valence}; act {activation}; dom  {dominance};\t()")
    return lines


def _write_clip(path: Path, turn: Written, rng: np.random.Generator, *, audio: bool) -> None:
    if not audio:
        path.touch()
        return
    actor = turn.name.rsplit("_", 1)[1][0]
    session = int(turn.name[4])
    arousal = AROUSAL.get(turn.consensus, 1.0)
    pitch = ({"F": 190, "M": 100}[actor] + 6 * session) * arousal**0.5
    time = np.arange(int(RATE * rng.uniform(0.4, 0.8))) / RATE
    phase = 2 * np.pi * np.cumsum(pitch * (1 + 0.03 * np.sin(2 * np.pi * 5 * time))) / RATE
    voiced = sum(np.sin(k * phase) / k for k in range(1, 12))
    breath = rng.normal(size=len(time))
    samples = 0.05 * arousal * np.hanning(len(time)) * (voiced + 0.2 * breath)
    soundfile.write(path, samples, RATE, subtype="PCM_16")
