"""Which audio files are meant by files, folders and patterns."""

import glob
import os
import warnings
from collections.abc import Iterable, Iterator

from lightser.audio.signatures import is_audio, passed_over
from lightser.errors import BadAudio, LightserError, LightserWarning


def find_audio(names: Iterable[str]) -> tuple[list[str], list[LightserError]]:
    """Return the audio files that are meant, each once, and what is wrong with the names.

    Args:
        names: files, and ``-``, which are taken as they are; folders, of which all audio is taken
            in alphabetical order, sub-folders included and hidden ones left out; patterns with
            ``*``, ``?``, ``[]`` or ``**``, where the shell has not replaced them.
    """
    problems: list[LightserError] = []
    found: dict[str, str] = {}
    for file in each_audio(names, problems):
        found.setdefault(file if file == "-" else os.path.abspath(file), file)
    return list(found.values()), problems


def each_audio(names: Iterable[str], problems: list[LightserError]) -> Iterator[str]:
    """Yield the audio files that are meant, one after another, not looking for repetitions.

    Warns (:class:`~lightser.errors.LightserWarning`) of what a folder holds beside them.

    Args:
        names: as :func:`find_audio` takes them.
        problems: to which is added what is wrong with the names.
    """
    for name in names:
        if name != "-" and os.path.isdir(name):
            files, complaint = _audio_below(name, problems), "a folder without audio files"
        elif not os.path.lexists(name) and glob.has_magic(name):
            matches = sorted(glob.glob(name, recursive=True))
            files = (file for file in matches if os.path.isfile(file))
            complaint = "no file matches this pattern"
        else:
            yield name
            continue
        first = next(files, None)
        if first is None:
            problems.append(BadAudio(f"{name}: {complaint}."))
            continue
        yield first
        yield from files


def _audio_below(folder: str, problems: list[LightserError]) -> Iterator[str]:
    def report(error: OSError) -> None:
        problems.append(BadAudio(f"{error.filename}: cannot be listed ({error.strerror})."))

    others: list[str] = []
    for parent, folders, files in os.walk(folder, onerror=report):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(name for name in files if not name.startswith(".")):
            path = os.path.join(parent, name)
            if is_audio(path):
                yield path
            else:
                others.append(os.path.relpath(path, folder))
    if others:
        warnings.warn(passed_over(folder, others), LightserWarning, stacklevel=3)
