"""Ctrl-C: one line, which says how to go on where work is kept; and a polite kill."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from typer.core import TyperGroup

from lightser.cli.flowing import let_flow

_ORDER = (
    *("predict", "listen", "adapt", "serve", "models"),
    *("corpus", "reproduce", "report", "compare", "train", "evaluate"),
    *("export", "profile"),
)


class Interrupted(Exception):
    """A command was ended by Ctrl-C; the message says how to go on, if one can.

    It is no KeyboardInterrupt, since Typer has words of its own for that.
    """


@contextmanager
def resumable(how: str) -> Iterator[None]:
    """Have Ctrl-C say how to go on with what is done in here."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(how) from None


@contextmanager
def ending_in_order() -> Iterator[None]:
    """Have SIGTERM take back what is half done, and end with the code that shells have for it."""

    def end(*_: Any) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:  # whoever began us has other plans
        yield
        return
    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


class Commands(TyperGroup):
    """Commands of which each can be interrupted, and has help as wide as the terminal."""

    def __init__(self, **options: Any):
        super().__init__(**options)
        let_flow(self)

    def list_commands(self, context: Any) -> list[str]:
        """Return names of commands as people come to need them, not as files are read."""
        names = super().list_commands(context)
        return sorted(names, key=lambda name: (_ORDER.index(name) if name in _ORDER else 99, name))

    def invoke(self, *arguments: Any, **options: Any) -> Any:
        """Run the command that was asked for."""
        with resumable(""):
            return super().invoke(*arguments, **options)
