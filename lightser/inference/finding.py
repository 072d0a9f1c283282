"""Which audio files are meant by files, folders and patterns."""

import glob
import os
from collections.abc import Iterable, Iterator

from lightser.audio.containers import EXTENSIONS
from lightser.errors import BadAudio, LightserError

# What begins like audio is audio, whatever its name: (offset, bytes there).
_SIGNATURES = (
    (8, b"WAVE"),  # RIFF, RIFX, RF64
    (0, b"riff\x2e\x91\xcf\x11"),  # Sony Wave64
    (0, b"fLaC"),
    (0, b"OggS"),
    (8, b"AIFF"),
    (8, b"AIFC"),
    (0, b".snd"),
    (0, b"caff"),
    (0, b"ID3"),
)


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

    for parent, folders, files in os.walk(folder, onerror=report):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = os.path.join(parent, name)
            if not name.startswith(".") and is_audio(path):
                yield path


def is_audio(path: str) -> bool:
    """Say whether a file is named like audio, or begins like it."""
    if os.path.exists(path) and not os.path.isfile(path):  # opening a pipe would wait
        return False
    if path.lower().endswith(EXTENSIONS):
        return True
    try:
        with open(path, "rb") as file:
            head = file.read(16)
    except OSError:
        return False
    if any(head[at : at + len(signature)] == signature for at, signature in _SIGNATURES):
        return True
    # MPEG layer III without a tag: eleven bits of sync, and the layer.
    return len(head) > 1 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2
