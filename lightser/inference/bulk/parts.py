"""The folder in which a run keeps what it has done until it is whole.

It lies beside the file to be written and is called after it. It holds ``plan.json`` (what the run
is about), ``files.csv`` (the list), ``voices.jsonl`` (what was heard of them, where it adapts), and
a part for each block of files that is done. A part appears whole or not at all, under a name of its
own, so that one that is made twice is there once.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from lightser.errors import LightserError
from lightser.inference.bulk.task import Done
from lightser.whole import held, replacing, write_whole

_LIST = "files.csv"
_NEW_LIST = "files-new.csv"
_PLAN = "plan.json"
_LOCK = "lock"
_VOICES = "voices.jsonl"


class Parts:
    """The folder of one run; see above.

    Attributes:
        folder: where it is.
        list: the list of files that the run is about.
        new_list: that of a call, of which is still to be seen whether it is the same.
        voices: what was heard of each voice, if they are adapted to.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.list = folder / _LIST
        self.new_list = folder / _NEW_LIST
        self.voices = folder / _VOICES

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other runs out, for as long as this one lives.

        Raises:
            LightserError: another one is at it, or the folder cannot be made.
        """
        try:
            self.folder.mkdir(exist_ok=True)
        except OSError as error:
            raise LightserError(f"{self.folder}: cannot be made ({error.strerror}).") from None
        with contextlib.ExitStack() as until_the_end:
            try:
                until_the_end.enter_context(held(self.folder / _LOCK, wait=False))
            except BlockingIOError:
                raise LightserError(
                    f"{self.folder}: another run is writing there; wait for it, or give another "
                    "--out."
                ) from None
            except OSError as error:
                raise LightserError(
                    f"{self.folder}: cannot be written ({error.strerror})."
                ) from None
            try:
                yield
            finally:
                if not self.finished():  # there is nothing to go on with
                    self._remove_what_has_not_begun()

    def _remove_what_has_not_begun(self) -> None:
        for name in (_PLAN, _LOCK, _LIST, _NEW_LIST, _VOICES):
            (self.folder / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # gone, or with something in it that is not ours
            self.folder.rmdir()

    def plan(self) -> dict[str, Any] | None:
        """Return what a run has begun with here; None if there is none, or it has done nothing."""
        if not self.finished():
            return None
        try:
            found: dict[str, Any] = json.loads((self.folder / _PLAN).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError:
            raise LightserError(
                f"{self.folder}: cannot be read; remove it to start over."
            ) from None
        return found

    def begin(self, plan: dict[str, Any]) -> None:
        """Make it the folder of a new run, about the new list."""
        for path in self.folder.glob("[0-9]*.jsonl"):  # of a run that was done, and killed then
            path.unlink()
        self.voices.unlink(missing_ok=True)
        os.replace(self.new_list, self.list)
        write_whole(self.folder / _PLAN, json.dumps(plan, indent=1) + "\n")

    def path(self, index: int) -> Path:
        """Return where the part of a block is, or will be."""
        return self.folder / f"{index:06d}.jsonl"

    def finished(self) -> set[int]:
        """Return the indices of the parts that are there."""
        return {int(path.stem) for path in self.folder.glob("[0-9]*.jsonl")}

    def write(self, index: int, lines: Iterable[str]) -> Done:
        """Write a part, line by line, and return what its last line says."""
        line = ""
        with replacing(self.path(index)) as unfinished, open(unfinished, "w") as file:
            for line in lines:
                file.write(line)
            file.flush()
            os.fsync(file.fileno())  # or its name may outlive its content when the power fails
        return Done(index, **json.loads(line))

    def read(self, index: int) -> Iterator[Any]:
        """Yield the lines of a part, decoded."""
        with open(self.path(index), encoding="utf-8") as file:
            yield from map(json.loads, file)

    def remove(self) -> None:
        """Remove the folder; the plan first, without which the rest means nothing."""
        (self.folder / _PLAN).unlink()
        shutil.rmtree(self.folder, ignore_errors=True)
