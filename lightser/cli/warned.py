"""Our own warnings on the command line: one line each on stderr."""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from lightser.errors import LightserWarning
from lightser.names import printable


@contextmanager
def spoken_warnings() -> Iterator[None]:
    """Turn our own warnings into one line each on stderr, when all is done."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", LightserWarning)
        try:
            yield
        finally:
            ours = (w.message for w in caught if issubclass(w.category, LightserWarning))
            for message in dict.fromkeys(map(str, ours)):  # a file may be read more than once
                print(f"lightser: {printable(message)}", file=sys.stderr)
    for other in caught:  # of a library, on its way to whoever listens to those
        if not issubclass(other.category, LightserWarning):
            warnings.showwarning(other.message, other.category, other.filename, other.lineno)
