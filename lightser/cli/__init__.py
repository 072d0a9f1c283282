"""Words on the command line: one verb per file, thin over the library.

Data goes to stdout, words to stderr. Exit codes: 0 done, 2 the input was wrong (one line), 1 a bug.
"""

import sys

import typer

from lightser.errors import LightserError
from lightser.registry import import_siblings

app = typer.Typer(
    name="lightser",
    help="Lightweight speech emotion recognition.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def main() -> None:
    """Run the command line; our own errors become one line on stderr and exit code 2."""
    import_siblings(__name__, __path__)
    try:
        app()
    except LightserError as error:
        print(f"lightser: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("lightser: interrupted", file=sys.stderr)
        sys.exit(130)
