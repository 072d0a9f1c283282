"""What a process must make for itself: sessions, threads and locks do not survive a fork."""

import os
from collections.abc import Callable
from typing import Any, Generic, TypeVar

Made = TypeVar("Made")

# To free a parent's session may wait for a lock that no thread of the child will ever release.
_of_parents: list[Any] = []


class PerProcess(Generic[Made]):
    """A value that is made when it is first asked for, and anew in a process that was forked.

    It may be shared by threads; two that ask for the first time at once may each get their own.

    Args:
        make: makes it.
        made: by this process already, if not None.
    """

    def __init__(self, make: Callable[[], Made], made: Made | None = None):
        self._make = make
        self._made = None if made is None else (os.getpid(), made)

    def __call__(self) -> Made:
        """Return what is this process's own."""
        if self._made is None or self._made[0] != os.getpid():
            _of_parents.append(self._made)
            self._made = os.getpid(), self._make()
        return self._made[1]
