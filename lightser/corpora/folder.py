"""Any corpus that is sorted into folders by label: ``anger/03a01Wa.wav``.

Who speaks is in no folder name, so it takes a pattern that finds the speaker in the path.
"""

import os
import re
import warnings
from pathlib import Path
from typing import NoReturn

import pandas as pd

from lightser.corpora import CORPORA, Corpus
from lightser.corpora.utterances import is_audio_file, make_table
from lightser.errors import BadCorpus, LightserWarning

UNLABELLED = "unlabelled"


def load(
    root: Path, *, speaker: str = "", language: str = "", labelled: bool = True
) -> pd.DataFrame:
    r"""Return the table of ``root/<label>/**/<file>``.

    Args:
        root: folder of one folder per label.
        speaker: regular expression, searched in the path below ``root`` ("anger/03a01Wa.wav",
            with forward slashes). The speaker is its group ``speaker``, or else its first group:
            ``/(\d\d)`` finds "03".
        language: ISO 639-1 code.
        labelled: whether the folders are labels. If not, all audio below ``root`` is taken, of
            label "unlabelled", for whatever needs no more than somebody's speech.

    Warns:
        LightserWarning: without a pattern, speakers cannot be held apart.

    Raises:
        BadCorpus: no such folders, or a pattern that is wrong or finds no speaker in a path.
    """
    if not root.is_dir():
        raise BadCorpus(f"There is no folder {root}")
    everything = audio_below(root.absolute())
    found = [file for file in everything if not labelled or file.parent != root.absolute()]
    if not found:
        where = " in folders by label, as anger/x.wav" if labelled else ""
        raise BadCorpus(f"{root} holds no audio files{where}")
    if beside := [file.name for file in everything if labelled and file.parent == root.absolute()]:
        warnings.warn(
            f"{root}: what is in no folder by label is left out: {beside[0]}"
            + (f" and {len(beside) - 1} more" if len(beside) > 1 else ""),
            LightserWarning,
            stacklevel=2,
        )

    paths = [file.relative_to(root.absolute()) for file in found]
    stems = [path.stem for path in paths]
    # anger/01.wav and fear/01.wav are two utterances; their ids need the folder.
    names = stems if len(set(stems)) == len(stems) else [str(p.with_suffix("")) for p in paths]
    first: dict[str, Path] = {}
    for name, file in zip(names, found, strict=True):
        if first.setdefault(name, file) != file:
            raise BadCorpus(f"{first[name]} and {file} are the same utterance; keep one")
    speakers = [""] * len(paths)
    if speaker:
        pattern = speaker_pattern(speaker)
        speakers = [speaker_of(path.as_posix(), pattern) for path in paths]
    else:
        warnings.warn(
            f"The speakers of {root} are unknown: no protocol can keep a voice out of training. "
            "Give a pattern that finds them in the path, as speaker='/(\\d\\d)' in anger/03a.wav",
            LightserWarning,
            stacklevel=2,
        )
    rows = [
        {
            "utterance": name,
            "file": str(file),
            "speaker": who,
            "label": path.parts[0] if labelled else UNLABELLED,
        }
        for name, file, who, path in zip(names, found, speakers, paths, strict=True)
    ]
    return make_table(rows, corpus="folder", language=language)


def audio_below(root: Path) -> list[Path]:
    """Return the audio files below a folder, in order; what is hidden is left out.

    Raises:
        BadCorpus: a folder cannot be listed.
    """

    def refuse(error: OSError) -> NoReturn:
        raise BadCorpus(f"{error.filename} cannot be listed: {error.strerror}")

    try:
        here = [entry for entry in root.iterdir() if not entry.name.startswith(".")]
    except OSError as error:
        refuse(error)
    found = [entry for entry in here if not entry.is_dir()]
    for folder in filter(Path.is_dir, here):  # or a link to one
        for parent, folders, names in os.walk(folder, onerror=refuse):
            folders[:] = [name for name in folders if not name.startswith(".")]
            found += [Path(parent, name) for name in names if not name.startswith(".")]
    return sorted(filter(is_audio_file, found))


def speaker_pattern(text: str) -> re.Pattern[str]:
    """Return the compiled pattern, which holds a group for the speaker."""
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise BadCorpus(f"The speaker pattern '{text}' is no regular expression: {error}") from None
    if not pattern.groups:
        raise BadCorpus(f"The speaker pattern '{text}' has no group: put the speaker in (...)")
    return pattern


def speaker_of(path: str, pattern: re.Pattern[str]) -> str:
    r"""Return the speaker that the pattern finds in the path.

    >>> speaker_of("anger/03a01Wa.wav", re.compile(r"/(\d\d)"))
    '03'
    """
    match = pattern.search(path)
    who = match and (match["speaker"] if "speaker" in pattern.groupindex else match[1])
    if not who:
        raise BadCorpus(f"The speaker pattern '{pattern.pattern}' finds no speaker in {path}")
    return who


CORPORA["folder"] = Corpus(
    name="folder",
    title="A folder per label, of your own",
    labels=(),
    language="",
    license="unknown: that of your recordings",
    cite="",
    url="",
    load=load,
)
