"""Names of files, which may hold anything, where only Unicode can stand."""

import os


def spoken(name: str) -> str:
    """Return text that any file can hold, of a name that may not be Unicode."""
    return os.fsencode(name).decode("utf-8", "replace")
