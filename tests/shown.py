"""What pages of the documentation show: blocks of code, and the files among them."""

import re
from pathlib import Path

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
_FILE = re.compile(r"# (\w+\.(?:py|toml))\n")  # its name comes first


def blocks(page: Path, language: str) -> list[str]:
    """Return the text of a page's blocks in a language, in order."""
    text = page.read_text(encoding="utf-8")
    return [body for found, body in _BLOCK.findall(text) if found == language]


def is_file(block: str) -> bool:
    """Return whether a block is a file, to be run by the recipe that names it."""
    return _FILE.match(block) is not None


def write_shown_files(page: Path, folder: Path) -> None:
    """Write the files that a page shows."""
    for block in [*blocks(page, "python"), *blocks(page, "toml")]:
        if named := _FILE.match(block):
            (folder / named[1]).write_text(block)
