"""Coverage looks away from what other tests cover.

Up to Python 3.11 it slows down every function, also of libraries whose lines it does not record:
PyTorch's exporter takes twice as long. Whole tests are marked ``no_cover``; this is for fixtures.
"""

import contextlib
from collections.abc import Iterator

import coverage


@contextlib.contextmanager
def uncovered() -> Iterator[None]:
    watching = coverage.Coverage.current()
    if watching is None:
        yield
        return
    watching.stop()
    try:
        yield
    finally:
        watching.start()
