"""Help as wide as the terminal: the lines of our docstrings do not end there."""

from typing import Any


def let_flow(command: Any) -> None:
    """Join the lines of each paragraph of a command's help, and of the commands below it."""
    if command.help:
        command.help = flowing(command.help)
    for below in getattr(command, "commands", {}).values():
        let_flow(below)


def flowing(text: str) -> str:
    r"""Return a text with one line to a paragraph.

    >>> flowing("One\n    line.\n\n    Another\n    one.\n")
    'One line.\n\nAnother one.'
    """
    paragraphs = (" ".join(paragraph.split()) for paragraph in text.split("\n\n"))
    return "\n\n".join(filter(None, paragraphs))
