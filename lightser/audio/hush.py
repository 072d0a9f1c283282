"""Keep the lines that C libraries print for themselves from the terminal.

libmpg123, in libsndfile, writes of every oddity of an MP3 to C's ``stderr``, and libsndfile cannot
tell it not to. We say in our own words what cannot be heard.
"""

import ctypes
import os
from threading import Lock
from typing import Any


def _stderr() -> Any:
    """Return where C keeps its stream of errors, and one to nowhere; None if that is unknown."""
    try:
        c = ctypes.CDLL(None)
        name = "stderr" if os.uname().sysname == "Linux" else "__stderrp"
        slot = ctypes.c_void_p.in_dll(c, name)
        c.fopen.restype = ctypes.c_void_p
        return slot, c.fopen(b"/dev/null", b"w")
    except (AttributeError, OSError, TypeError, ValueError):  # Windows, other C libraries
        return None


class Hush:
    """A context, for any threads at once, in which C's ``stderr`` leads nowhere; Python's does."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._inside = 0
        self._place: Any = None
        self._before: Any = None

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._place = self._place or _stderr()
                if self._place and self._place[1]:
                    slot, nowhere = self._place
                    self._before, slot.value = slot.value, nowhere
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside and self._before:
                self._place[0].value, self._before = self._before, None


HUSH = Hush()
