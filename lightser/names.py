"""Names of files, which may hold anything, where only Unicode can stand, or only what shows."""

import os
import unicodedata


def spoken(name: str) -> str:
    """Return text that any file can hold, of a name that may not be Unicode."""
    return os.fsencode(name).decode("utf-8", "replace")


def is_unicode(name: str) -> bool:
    """Say whether a name of a file can stand in a text."""
    return not any("\ud800" <= c <= "\udfff" for c in name)


def printable(text: str) -> str:
    r"""Return text of one line, with escapes for what a terminal would obey and not show.

    >>> print(printable("två\nlines.wav, \x1b[31mred.wav"))
    två\nlines.wav, \x1b[31mred.wav
    """
    obeyed = ("Cc", "Cs", "Zl", "Zp")  # controls, halves of characters, ends of lines
    return "".join(
        c.encode("unicode_escape").decode() if unicodedata.category(c) in obeyed else c
        for c in text
    )
