"""Words on the command line: one verb per file, thin over the library.

Data goes to stdout, words to stderr. Exit codes: 0 done, 2 the input was wrong (one line), 1 a bug,
130 interrupted, 143 killed politely.
"""

import errno
import io
import os
import sys
from typing import Annotated

import typer

import lightser
from lightser.cli.interrupted import Commands, Interrupted, ending_in_order
from lightser.errors import LightserError
from lightser.names import printable
from lightser.registry import import_siblings

app = typer.Typer(
    name="lightser",
    cls=Commands,
    help="Lightweight speech emotion recognition.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _say_version(wanted: bool) -> None:
    if wanted:
        print(f"lightser {lightser.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_say_version, is_eager=True, help="Say it, and exit."),
    ] = False,
) -> None:
    """Lightweight speech emotion recognition."""


def main() -> None:
    """Run the command line; our own errors, and interrupts, become one line on stderr."""
    import_siblings(__name__, __path__)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # it is closed
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):  # for names of files and signs of any language
        is_seen = sys.stdout.isatty()
        sys.stdout.reconfigure(encoding=None if is_seen else "utf-8", errors="replace")
    try:
        try:
            with ending_in_order():
                app()
        finally:
            sys.stdout.flush()  # while a full disk can still be told
    except OSError as error:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  # or Python tries again, and complains
        if error.errno == errno.EPIPE:
            sys.exit(1)  # who read it has enough
        reason = "no space left to write to; make room, then try again"
        if error.errno != errno.ENOSPC:
            where = f"{error.filename}: " if error.filename else ""
            reason = f"{where}cannot be read or written ({error.strerror or error}); try again"
        print(f"lightser: {printable(reason)}", file=sys.stderr)
        sys.exit(2)
    except MemoryError:
        print("lightser: no memory left; end other programs, then try again", file=sys.stderr)
        sys.exit(2)
    except LightserError as error:
        print(f"lightser: {printable(str(error))}", file=sys.stderr)
        sys.exit(2)
    except (Interrupted, KeyboardInterrupt) as end:
        words = f"interrupted, {end}" if str(end) else "interrupted"
        after = "\n" if sys.stderr.isatty() else ""  # of the ^C that a terminal shows
        print(f"{after}lightser: {words}", file=sys.stderr)
        sys.exit(130)
