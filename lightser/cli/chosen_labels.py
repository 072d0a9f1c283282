"""The option ``--labels``: the emotions to choose from."""

from typing import Annotated

import typer

Labels = Annotated[
    str | None,
    typer.Option(
        "--labels",
        metavar="LABEL,...",
        help="Emotions to choose from, if not all that the model knows.",
    ),
]


def read_labels(text: str | None) -> list[str] | None:
    """Return the labels of a list with commas, or None where there is none.

    >>> read_labels("anger, fear")
    ['anger', 'fear']
    """
    return None if text is None else [label.strip() for label in text.split(",")]
