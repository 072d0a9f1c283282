"""Write a file or a folder whole or not at all.

Until it is done, it has another name in the same folder: a reader never finds half of it, and who
is killed, or finds the disk full, leaves what was there before.
"""

import contextlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from lightser.errors import BadModel, LightserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Give a new name beside ``path``, with its ending; what is there at the end becomes ``path``.

    A link is followed, not replaced; a device or a pipe is written to as it is. Many may write one
    file at the same time: the last to be done wins.

    Raises:
        LightserError: it cannot be written, or is a folder.
    """
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise LightserError(f"{path}: a folder; give the name of a file to write.")
    is_device = target.exists() and not target.is_file()
    unfinished = target.with_name(f".{target.stem}.{secrets.token_hex(4)}{target.suffix}")
    try:
        yield target if is_device else unfinished
        if not is_device:
            os.replace(unfinished, target)
    except OSError as error:
        raise LightserError(f"{path}: cannot be written ({error.strerror or error}).") from error
    finally:
        with contextlib.suppress(OSError):  # moved, or never there
            unfinished.unlink()


def free_place(path: Path, *, mark: str, kind: str, overwrite: bool) -> Path:
    """Return the true path of a folder that may be written: ask before the work, not behind it.

    Args:
        path: of the folder; its parent is made if it is not there.
        mark: a file by which one that may be replaced is known.
        kind: what such a folder is, in words.
        overwrite: whether one that is there may be replaced.

    Raises:
        BadModel: there is something in the way.
        LightserError: nothing can be written there.
    """
    place = Path(os.path.realpath(path))
    if place.exists() and not (overwrite and (place / mark).is_file()):
        hint = f"is not {kind}" if overwrite else "exists; give another --out, or --overwrite it"
        raise BadModel(f"'{path}' {hint}")
    if place in (Path.cwd(), *Path.cwd().parents):
        raise LightserError(f"You are inside '{path}'; replace it from elsewhere")
    with _beside(place) as trial:
        trial.mkdir()
    return place


def writable_folder(path: Path) -> None:
    """Make a folder, if it is not there, in which something can be written: ask before the work.

    Raises:
        LightserError: it cannot be made, or nothing can be written there.
    """
    if path.exists() and not path.is_dir():
        raise LightserError(f"'{path}' is no folder; give another one to write to")
    try:
        path.mkdir(parents=True, exist_ok=True)
        trial = path / f".{secrets.token_hex(4)}"
        trial.mkdir()
        trial.rmdir()
    except OSError as error:
        raise LightserError(f"'{path}' cannot be written: {error.strerror or error}") from error


@contextlib.contextmanager
def replacing_folder(place: Path) -> Iterator[Path]:
    """Give a folder to fill beside ``place``, which it becomes if all goes well.

    A folder of that name makes way, and comes back if the new one cannot take its place.

    Raises:
        LightserError: it cannot be written.
    """
    with _beside(place) as unfinished, _beside(place) as old:
        unfinished.mkdir()
        yield unfinished
        try:
            if place.exists():
                place.rename(old)
            unfinished.rename(place)
        finally:
            if old.exists() and not place.exists():
                old.rename(place)


@contextlib.contextmanager
def _beside(place: Path) -> Iterator[Path]:
    """Give a new name for a folder beside ``place``, and remove what has it at the end."""
    folder = place.with_name(f".{place.name}.{secrets.token_hex(4)}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        yield folder
    except OSError as error:
        raise LightserError(f"'{place}' cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_whole(path: Path | str, text: str) -> None:
    """Write a text file in UTF-8, its lines ended as they are in ``text``.

    Raises:
        LightserError: it cannot be written.
    """
    with replacing(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8", newline="")


@contextlib.contextmanager
def held(path: Path, *, wait: bool, waits: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Keep others out who would hold the same file; it is made if it is not there.

    The system lets go of it when our process ends, however it ends. On Windows nobody is kept out.

    Args:
        path: of an empty file.
        wait: for another one to let go.
        waits: called where that is necessary.

    Raises:
        BlockingIOError: another one holds it, and waiting is not wanted.
    """
    with open(path, "a") as file:
        if fcntl:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not wait:
                    raise
                waits()
                fcntl.flock(file, fcntl.LOCK_EX)
        yield
