"""IEMOCAP: 10,039 turns of 10 actors in 5 sessions of two; English, improvised and scripted.

Busso, Bulut, Lee, Kazemzadeh, Mower, Kim, Chang, Lee and Narayanan, "IEMOCAP: interactive emotional
dyadic motion capture database", Language Resources and Evaluation 42, 2008.

The layout of the release, for session 1::

    Session1/dialog/EmoEvaluation/Ses01F_impro01.txt         who judged what, turn by turn
    Session1/dialog/transcriptions/Ses01F_impro01.txt        words
    Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav

``Ses01F_impro01_M002`` is turn 2 of the man of session 1. The F behind Ses01 is no speaker: it says
whose face wore the markers, and both actors speak in each dialogue.

An evaluation file holds blocks such as::

    [6.2901 - 8.2357]<tab>Ses01F_impro01_F000<tab>neu<tab>[2.5000, 2.5000, 2.5000]
    C-E2:<tab>Neutral;<tab>()
    C-F1:<tab>Neutral; Anger;<tab>(curious)
    A-E3:<tab>val 3; act 2; dom  2;<tab>()

that is: the turn, its consensus and its mean valence, activation and dominance (1 to 5); then
categories (C) and attributes (A) by evaluators (E1, E2, ...) and by the actors themselves (F1, M1).
"""

import json
import math
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from lightser.corpora import CORPORA, Corpus, Problem
from lightser.corpora.utterances import find_audio, make_table
from lightser.errors import BadCorpus, LightserWarning, UnknownName

# First three letters of a category, as evaluators name it and as the consensus writes it.
CATEGORIES = {
    "ang": "anger",
    "dis": "disgust",
    "exc": "excitement",
    "fea": "fear",
    "fru": "frustration",
    "hap": "happiness",
    "neu": "neutral",
    "oth": "other",
    "sad": "sadness",
    "sur": "surprise",
}
NO_CONSENSUS = "xxx"
LABELS = ("anger", "happiness", "neutral", "sadness")
EXCITED = ("merge", "drop", "keep")
STYLES = {"impro": "improvised", "script": "scripted"}

# Turns of the complete release by consensus and style.
COUNTS = {
    "improvised": {
        "anger": 289,
        "excitement": 663,
        "happiness": 284,
        "neutral": 1099,
        "sadness": 608,
    },
    "scripted": {"anger": 814, "excitement": 378, "happiness": 311, "neutral": 609, "sadness": 476},
}

TURN = re.compile(r"\[\s*[\d.]+\s*-\s*[\d.]+\s*\]\s+(\S+)\s+([a-z]{3})\s+\[([^\]]*)\]\s*")
NAME = re.compile(
    r"(?P<dialogue>Ses0(?P<session>[1-5])[FM]_(?P<style>impro|script)\w+)_(?P<actor>[FM])\d{3}"
)
# Both end with the evaluator's comment, () where there is none: without it the line is cut off.
VOTES = re.compile(r"C-(?P<who>[EFM]\d*):(?P<categories>[^(]*)\(.*\)")
RATING = re.compile(r"A-(?P<who>[EFM]\d*):\s*val\b[^;]*;\s*act\b[^;]*;\s*dom\b[^;]*;\s*\(.*\)")
AUDIO = "Session[1-5]/sentences/wav/*/*"
WORDS = re.compile(r"(Ses0\w+)\s+\[[^\]]*\]:\s*(.*)")


@dataclass(frozen=True)
class Turn:
    """What an evaluation file says of a turn.

    Attributes:
        name: utterance, e.g. "Ses01F_impro01_M002".
        consensus: three letters; "xxx" without a majority.
        attributes: mean valence, activation and dominance, 1 to 5; NaN unknown.
        votes: by evaluator ("E1", ..., "F1", "M1"), the categories that they ticked.
        raters: of attributes.
        where: file and line of the turn.
    """

    name: str
    consensus: str
    attributes: tuple[float, float, float]
    where: str
    votes: dict[str, list[str]] = field(default_factory=dict)
    raters: list[str] = field(default_factory=list)


def load(
    root: Path,
    *,
    labels: Sequence[str] = LABELS,
    excited: str = "merge",
    styles: str = "both",
    self_reports: bool = True,
    strict: bool = True,
) -> pd.DataFrame:
    """Return the table; mean ``valence, activation, dominance`` are columns at the end.

    ``votes`` counts every category that every evaluator ticked. ``agreement`` is the share of them
    that name the consensus, as in Zhong et al. 2020 (Table 1). Excitement and happiness count as
    different there even where their labels are merged, so a merged utterance comes out as harder
    than it was to hear.

    Turns without a majority, and those of other labels, are left out.

    Args:
        root: folder with Session1 to Session5, or the one above it.
        labels: to keep, of :data:`CATEGORIES`.
        excited: "merge": excitement is happiness (1636 of 5531, as most papers); "drop": it is
            left out (as Light-SERNet on improvised speech); "keep": it is a label of its own,
            and must be among ``labels``.
        styles: "improvised", "scripted" or "both".
        self_reports: whether the actors' own votes count, as in the published figures.
        strict: whether anything that loses a turn is an error; else it is a warning, and the
            turn is left out.

    Raises:
        BadCorpus: this is no IEMOCAP, or a turn is lost (see :func:`problems`).
        UnknownName: an option that is none.
    """
    _check_options(labels, excited, styles)
    root = release(root)
    turns, found = read_turns(root)
    audio = find_audio(root, AUDIO)
    found += _audio_problems(root, turns, audio)
    _tell(root, turns, found, strict=strict)

    words = _transcriptions(root)
    rows = []
    for turn in turns:
        match = NAME.fullmatch(turn.name)
        label = label_of(turn, excited)
        if match is None or label not in labels or turn.name not in audio:
            continue
        if styles not in ("both", STYLES[match["style"]]):
            continue
        votes = votes_of(turn, self_reports=self_reports)
        valence, activation, dominance = turn.attributes
        rows.append(
            {
                "utterance": turn.name,
                "file": str(audio[turn.name]),
                "speaker": f"Ses0{match['session']}_{match['actor']}",
                "label": label,
                "gender": {"F": "female", "M": "male"}[match["actor"]],
                "text": words.get(turn.name, ""),
                "session": f"Session{match['session']}",
                "style": STYLES[match["style"]],
                "votes": json.dumps(votes) if votes else "",
                "agreement": agreement_of(turn, self_reports=self_reports),
                "valence": valence,
                "activation": activation,
                "dominance": dominance,
            }
        )
    if not rows:
        raise BadCorpus(f"{root} holds no turns labelled {' or '.join(labels)} (styles: {styles})")
    return make_table(rows, corpus="iemocap", language="en")


def _check_options(labels: Sequence[str], excited: str, styles: str) -> None:
    for label in labels:
        if label not in CATEGORIES.values():
            raise UnknownName("IEMOCAP label", label, CATEGORIES.values())
    if excited not in EXCITED:
        raise UnknownName("way to treat excited", excited, EXCITED)
    if styles not in ("both", *STYLES.values()):
        raise UnknownName("IEMOCAP style", styles, ("both", *STYLES.values()))
    if ("excitement" in labels) != (excited == "keep"):
        raise BadCorpus(
            f"excited is '{excited}' and labels are {', '.join(labels)}: "
            "'keep' goes with the label 'excitement', and 'merge' and 'drop' without it"
        )


def release(root: Path) -> Path:
    """Return the folder that holds Session1, which may be ``root`` or right below it.

    Raises:
        BadCorpus: it is neither.
    """
    for folder in (root, root / "IEMOCAP_full_release"):
        if any(folder.glob("Session[1-5]")):
            return folder
    raise BadCorpus(
        f"{root} is not IEMOCAP: no folders Session1 to Session5 such as "
        "Session1/dialog/EmoEvaluation and Session1/sentences/wav"
    )


# --- evaluation files ---


def read_turns(root: Path) -> tuple[list[Turn], list[Problem]]:
    """Return the turns of all evaluation files in order, and what is wrong with the files.

    Args:
        root: folder with Session1 to Session5.
    """
    turns: list[Turn] = []
    found: list[Problem] = []
    for session in sorted(root.glob("Session[1-5]")):
        folder = session / "dialog" / "EmoEvaluation"
        # macOS leaves a ._x.txt beside x.txt; folders hold the same, evaluator by evaluator.
        files = [path for path in sorted(folder.glob("*.txt")) if not path.name.startswith(".")]
        if not files:
            found.append(Problem(_relative(folder, root), "no evaluation files", True))
        for path in files:
            more_turns, more_problems = read_evaluation(path, _relative(path, root))
            turns += more_turns
            found += more_problems
    return turns, found


def read_evaluation(path: Path, name: str) -> tuple[list[Turn], list[Problem]]:
    """Return the turns of an evaluation file, and what is wrong with it.

    Args:
        path: of the file.
        name: of the file, for the reader.
    """
    turns: dict[str, Turn] = {}
    found: list[Problem] = []
    turn: Turn | None = None  # whose block this is
    is_lost = False  # whether this block's turn is known to be lost, so that it is told once

    for number, line in enumerate(_lines(path), start=1):
        where = f"{name}, line {number}"
        line = line.strip()
        if not line or line.startswith("%"):
            turn, is_lost = None, False
        elif line.startswith("["):
            turn, wrong = _turn(line, path.stem, where)
            if turn is not None:
                first = turns.setdefault(turn.name, turn)
                if first is not turn:
                    turn, wrong = None, f"{first.name} is there twice, see {first.where}"
            if wrong:
                found.append(Problem(where, wrong, loses=turn is None))
            is_lost = turn is None
        elif line.startswith(("C-", "A-")):
            if turn is None and not is_lost:
                found.append(Problem(where, "evaluators without a turn line above them", True))
                is_lost = True
            wrong = _evaluator(line, turn)
            if wrong:
                found.append(Problem(where, wrong, loses=False))
        else:
            found.append(Problem(where, f"cannot make sense of '{line:.60}'", loses=False))

    if not turns:
        found.append(Problem(name, "no turns", loses=True))
    return list(turns.values()), found + _absent_evaluators(list(turns.values()))


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").splitlines()


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _turn(line: str, dialogue: str, where: str) -> tuple[Turn | None, str]:
    """Return the turn of a line and "", or what is wrong with it."""
    match = TURN.fullmatch(line)
    if match is None:
        return None, f"expected [start - end], turn, emotion, [v, a, d], got '{line:.80}'"
    name, consensus, numbers = match.groups()
    parts = NAME.fullmatch(name)
    if parts is None or parts["dialogue"] != dialogue:
        return None, f"'{name}' is no turn of the dialogue {dialogue}"
    if consensus not in CATEGORIES and consensus != NO_CONSENSUS:
        return None, f"'{consensus}' is no emotion; known: {', '.join(CATEGORIES)}, {NO_CONSENSUS}"
    try:
        valence, activation, dominance = (float(number) for number in numbers.split(","))
    except ValueError:
        unknown = (math.nan, math.nan, math.nan)
        wrong = f"expected valence, activation and dominance, got '[{numbers}]'"
        return Turn(name, consensus, unknown, where), wrong
    return Turn(name, consensus, (valence, activation, dominance), where), ""


def _evaluator(line: str, turn: Turn | None) -> str:
    """Note in ``turn`` what an evaluator says; return what is wrong with the line, or ""."""
    if rating := RATING.fullmatch(line):
        if turn is not None:
            turn.raters.append(rating["who"])
        return ""
    match = VOTES.fullmatch(line)
    if match is None:
        return f"cannot make sense of '{line:.60}'"
    categories = [name.strip() for name in match["categories"].split(";") if name.strip()]
    unknown = [name for name in categories if name[:3].lower() not in CATEGORIES]
    if unknown or not categories:
        return (
            f"'{', '.join(unknown)}' is no category" if unknown else "an evaluator without a vote"
        )
    if turn is not None:
        if match["who"] in turn.votes:
            return f"evaluator C-{match['who']} is there twice"
        turn.votes[match["who"]] = [CATEGORIES[name[:3].lower()] for name in categories]
    return ""


def _absent_evaluators(turns: Sequence[Turn]) -> list[Problem]:
    """Return where an evaluator is missing who judged most of the dialogue.

    Actors judge their own turns only, so each actor's turns are looked at by themselves.
    """
    found = []
    for actor in "FM":
        own = [turn for turn in turns if turn.name.rsplit("_", 1)[1].startswith(actor)]
        evaluators = {
            turn.name: [*(f"C-{who}" for who in turn.votes), *(f"A-{who}" for who in turn.raters)]
            for turn in own
        }
        times = Counter(who for present in evaluators.values() for who in set(present))
        usual = sorted(who for who, n in times.items() if n > len(own) / 2)
        for turn in own:
            absent = [who for who in usual if who not in evaluators[turn.name]]
            if absent:
                what = f"{turn.name} lacks {', '.join(absent)}, there for most turns of {actor}"
                found.append(Problem(turn.where, what, loses=False))
    return found


# --- what evaluators say of a turn ---


def label_of(turn: Turn, excited: str) -> str:
    """Return the label, or "" where there is none.

    >>> turn = Turn("Ses01F_impro01_F000", "exc", (3.0, 4.0, 3.0), "")
    >>> label_of(turn, "merge"), label_of(turn, "drop"), label_of(turn, "keep")
    ('happiness', '', 'excitement')
    """
    if turn.consensus == "exc":
        return {"merge": "happiness", "drop": "", "keep": "excitement"}[excited]
    return CATEGORIES.get(turn.consensus, "")


def votes_of(turn: Turn, *, self_reports: bool) -> dict[str, int]:
    """Return how many votes each category has; an evaluator may have several.

    >>> votes = {"E1": ["happiness"], "F1": ["happiness", "excitement"]}
    >>> turn = Turn("Ses01F_impro03_F025", "hap", (4.0, 3.0, 3.0), "", votes)
    >>> votes_of(turn, self_reports=True), votes_of(turn, self_reports=False)
    ({'happiness': 2, 'excitement': 1}, {'happiness': 1})
    """
    counted = (v for who, v in turn.votes.items() if self_reports or who.startswith("E"))
    return dict(Counter(category for categories in counted for category in categories))


def agreement_of(turn: Turn, *, self_reports: bool) -> float:
    """Return the share of votes that name the consensus; NaN without votes or consensus."""
    votes = votes_of(turn, self_reports=self_reports)
    if not votes or turn.consensus not in CATEGORIES:
        return math.nan
    return votes.get(CATEGORIES[turn.consensus], 0) / sum(votes.values())


def _transcriptions(root: Path) -> dict[str, str]:
    """Return the words of each turn; {} where there are no transcriptions."""
    words = {}
    for path in sorted(root.glob("Session[1-5]/dialog/transcriptions/*.txt")):
        if not path.name.startswith("."):
            for line in _lines(path):
                if match := WORDS.fullmatch(line.strip()):
                    words[match[1]] = match[2]
    return words


# --- is it whole? ---


def problems(root: Path) -> list[Problem]:
    """Return everything that is wrong with a copy: what loses a turn first.

    Lines of evaluation files that cannot be read; turns without audio and audio without a turn;
    evaluators who are missing in a turn; and counts other than those of the release.
    """
    root = release(root)
    turns, found = read_turns(root)
    found += _audio_problems(root, turns, find_audio(root, AUDIO))
    different = count_difference(turns)
    if different:
        found.append(Problem(str(root), different, loses=False))
    return sorted(found, key=lambda problem: not problem.loses)


def _audio_problems(root: Path, turns: Iterable[Turn], audio: dict[str, Path]) -> list[Problem]:
    judged = {turn.name: turn for turn in turns}
    return [
        *(
            Problem(turn.where, f"{name} has no audio", loses=True)
            for name, turn in judged.items()
            if name not in audio
        ),
        *(
            Problem(_relative(file, root), "this audio is in no evaluation file", loses=True)
            for name, file in audio.items()
            if name not in judged
        ),
    ]


def count_difference(turns: Iterable[Turn]) -> str:
    """Return how the counts differ from those of the complete release, in words; "" if not.

    The release has 1103 anger, 1636 happiness (with 1041 excitement), 1084 sadness and 1708
    neutral; improvised alone and without excitement 289, 284, 608 and 1099.
    """
    seen: Counter[tuple[str, str]] = Counter()
    for turn in turns:
        match = NAME.fullmatch(turn.name)
        if match is not None and turn.consensus in CATEGORIES:
            seen[STYLES[match["style"]], CATEGORIES[turn.consensus]] += 1
    different = [
        f"{style} {label} {seen[style, label]} instead of {n}"
        for style, counts in COUNTS.items()
        for label, n in counts.items()
        if seen[style, label] != n
    ]
    return "not the complete release: " + ", ".join(different) if different else ""


def _tell(root: Path, turns: Sequence[Turn], found: Sequence[Problem], *, strict: bool) -> None:
    """Raise or warn, in one line each: what loses turns, what changes votes, and the counts."""
    lost = [problem for problem in found if problem.loses]
    doubtful = [problem for problem in found if not problem.loses]
    if lost and strict:
        raise BadCorpus(
            f"IEMOCAP in {root}: {_first(lost)}; mend it, or load with strict = false to leave "
            "such turns out"
        )
    lines = []
    if lost:
        lines.append(f"turns were left out: {_first(lost)}")
    if doubtful:
        lines.append(f"votes may be incomplete: {_first(doubtful)}")
    different = count_difference(turns)
    if different:
        lines.append(different)
    for line in lines:
        warnings.warn(f"IEMOCAP in {root}: {line}", LightserWarning, stacklevel=4)


def _first(found: Sequence[Problem]) -> str:
    return f"{found[0]}" + (f" (and {len(found) - 1} more)" if len(found) > 1 else "")


CORPORA["iemocap"] = Corpus(
    name="iemocap",
    title="Interactive Emotional Dyadic Motion Capture Database (IEMOCAP)",
    labels=LABELS,
    language="en",
    license="IEMOCAP release form of the University of Southern California: research, on request",
    cite="""@article{busso2008iemocap,
  title   = {{IEMOCAP}: interactive emotional dyadic motion capture database},
  author  = {Busso, Carlos and Bulut, Murtaza and Lee, Chi-Chun and Kazemzadeh, Abe and
             Mower, Emily and Kim, Samuel and Chang, Jeannette N. and Lee, Sungbok and
             Narayanan, Shrikanth S.},
  journal = {Language Resources and Evaluation},
  volume  = {42},
  number  = {4},
  pages   = {335--359},
  year    = {2008},
  doi     = {10.1007/s10579-008-9076-6}
}""",
    url="https://sail.usc.edu/iemocap/",
    load=load,
    utterances=5531,
    counts={"anger": 1103, "happiness": 1636, "neutral": 1708, "sadness": 1084},
    problems=problems,
)
