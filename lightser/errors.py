"""How lightser fails: on purpose, in one line, with what to do about it.

The command line prints a :class:`LightserError` as one line and exits with 2. Anything else that
escapes is a bug and shows its traceback.
"""

import difflib
from collections.abc import Iterable
from typing import Any


class LightserError(Exception):
    """What the user gave cannot be used."""

    def __reduce__(self) -> tuple[Any, ...]:
        # An error may come out of another process, whatever its constructor took.
        return _restored, (type(self), str(self))


def _restored(kind: "type[LightserError]", message: str) -> LightserError:
    error = kind.__new__(kind)
    Exception.__init__(error, message)
    return error


class UnknownName(LightserError):
    """A name that no registry, recipe or card knows."""

    def __init__(self, kind: str, name: str, known: Iterable[str]):
        known = sorted(known)
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean '{close[0]}'?" if close else "."
        super().__init__(f"Unknown {kind} '{name}'{hint} Known: {', '.join(known) or 'none'}")


class BadAudio(LightserError):
    """Audio that cannot be read, or holds nothing to listen to."""


class BadCorpus(LightserError):
    """A folder that is not the corpus it should be, or a table without what is needed."""


class BadRecipe(LightserError):
    """A recipe that cannot be run as it is written."""


class BadModel(LightserError):
    """A model folder that is incomplete, changed or not ours."""


class BadAdaptation(LightserError):
    """What was heard of a voice, by another model or not by any."""


class BadManifest(LightserError):
    """A list of files that cannot be read, or says what cannot be."""


class BadResults(LightserError):
    """A results folder or predictions table that cannot be scored."""


class MissingExtra(LightserError):
    """A part of lightser whose libraries are not installed."""

    def __init__(self, what: str, extra: str):
        super().__init__(f"{what} needs an extra: pip install 'lightser[{extra}]'")


class LightserWarning(UserWarning):
    """Something odd that did not stop us."""
