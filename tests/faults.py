"""What a machine does now and then: the n-th read, write, rename or allocation fails.

After SQLite's way of testing (https://www.sqlite.org/testing.html, 3.1 and 3.2): n goes up from 1
until a run passes in which nothing failed, so that every place has had its turn.
"""

import builtins
import contextlib
import errno
import io
import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import numpy as np

# Of NumPy, what gives arrays as large as recordings.
ALLOCATES = ("concatenate", "stack", "zeros", "square", "pad", "clip", "abs")
KINDS = ("open", "read", "write", "rename", "allocation")


@dataclass
class Fault:
    """The n-th event of a kind fails, and those before and after it do not.

    Attributes:
        kind: of :data:`KINDS`.
        n: counted from 1.
        seen: events of the kind so far.
    """

    kind: str
    n: int
    seen: int = field(default=0, init=False)

    @property
    def has_struck(self) -> bool:
        return self.seen >= self.n

    def pass_by(self, kind: str) -> None:
        """Raise if this is the event."""
        if kind != self.kind:
            return
        self.seen += 1
        if self.seen == self.n:
            if kind == "allocation":
                raise MemoryError("no memory, for a test")
            code = errno.ENOSPC if kind in ("write", "rename") else errno.EIO
            raise OSError(code, os.strerror(code))

    def before(self, kind: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the same function, which fails where it is the event."""

        def guarded(*arguments: Any, **options: Any) -> Any:
            self.pass_by(kind)
            return function(*arguments, **options)

        return guarded

    def open(
        self,
        file: Any,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        closefd: bool = True,
        opener: Any = None,
    ) -> Any:
        """Open a file as Python does, whose system calls may fail."""
        fault = self
        if isinstance(file, int):  # a pipe or socket that others hold
            return _open(file, mode, buffering, encoding, errors, newline, closefd, opener)
        if "r" in mode:
            fault.pass_by("open")

        class Disk(io.FileIO):
            def readinto(self, buffer: Any) -> int | None:
                fault.pass_by("read")
                return super().readinto(buffer)

            def readall(self) -> bytes:
                fault.pass_by("read")
                return super().readall()

            def write(self, data: Any) -> int | None:
                fault.pass_by("write")
                return super().write(data)

        raw = Disk(file, mode.replace("b", "").replace("t", ""), closefd, opener)
        if buffering == 0:
            return raw
        kind = io.BufferedRandom if "+" in mode else io.BufferedReader if "r" in mode else None
        binary = (kind or io.BufferedWriter)(raw)
        return binary if "b" in mode else io.TextIOWrapper(binary, encoding, errors, newline)


_open = builtins.open


@contextlib.contextmanager
def failing(kind: str, n: int) -> Iterator[Fault]:
    """Let the n-th event of a kind fail, in this process."""
    fault = Fault(kind, n)
    with contextlib.ExitStack() as patches:
        for module, name, replacement in (
            (builtins, "open", fault.open),
            (io, "open", fault.open),
            (os, "replace", fault.before("rename", os.replace)),
            (os, "rename", fault.before("rename", os.rename)),
            *((np, name, fault.before("allocation", getattr(np, name))) for name in ALLOCATES),
        ):
            patches.enter_context(mock.patch.object(module, name, replacement))
        yield fault


def each_fault(kind: str, most: int = 500) -> Iterator[tuple[int, "Turn"]]:
    """Yield n and what lets the n-th event fail, until a turn passes in which none did."""
    for n in itertools.count(1):
        assert n <= most, f"more than {most} events of {kind}"
        turn = Turn(kind, n)
        yield n, turn
        if not any(fault.has_struck for fault in turn.faults):
            return


class Turn:
    """Lets the n-th event of a kind fail, in each ``with`` it is used for."""

    def __init__(self, kind: str, n: int):
        self._kind, self._n = kind, n
        self._open: list[contextlib.AbstractContextManager[Fault]] = []
        self.faults: list[Fault] = []

    def __enter__(self) -> Fault:
        self._open.append(failing(self._kind, self._n))
        self.faults.append(self._open[-1].__enter__())
        return self.faults[-1]

    def __exit__(self, *error: Any) -> None:
        self._open.pop().__exit__(*error)
