"""``lightser corpus``: what a corpus is, whether this copy is whole, its utterance table."""

import inspect
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lightser.cli import app
from lightser.cli.interrupted import resumable
from lightser.cli.own_code import HELP as CODE_HELP
from lightser.cli.own_code import run_own_code
from lightser.cli.predict import check_no_input
from lightser.cli.warned import spoken_warnings
from lightser.errors import BadCorpus, LightserError, MissingExtra, UnknownName
from lightser.names import printable

if TYPE_CHECKING:
    from lightser.corpora import Corpus
    from lightser.corpora.check import Check

HELP = "Corpora: list them, download, check a copy, write its utterance table."
corpus_app = typer.Typer(help=HELP, no_args_is_help=True)
app.add_typer(corpus_app, name="corpus")

Name = Annotated[str, typer.Argument(help="Name of a corpus, from: lightser corpus list")]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of your copy.")]
Options = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        "-o",
        metavar="KEY=VALUE",
        help="Option of the loader, as speaker='/(\\d\\d)' or columns.label=emotion.",
    ),
]
Code = Annotated[Path | None, typer.Option(help=CODE_HELP)]


@corpus_app.callback(help=HELP)
def need_pandas() -> None:
    """Say at once which extra is missing; all of these commands need it."""
    try:
        import pandas  # noqa: F401
    except ImportError as error:
        raise MissingExtra("Reading corpora", "train") from error


@corpus_app.command(
    "list", epilog="Example: lightser corpus list; lightser corpus list emodb (with citation)"
)
def list_corpora(
    name: Annotated[str | None, typer.Argument(help="Say all of this one.")] = None,
    code: Code = None,
) -> None:
    """List the corpora that lightser reads, or say all that it knows of one."""
    from lightser.corpora import CORPORA

    run_own_code(code)
    if name is None:
        show(
            ["corpus", "utterances", "labels", "language", "licence", "download"],
            [facts_in_brief(corpus) for corpus in CORPORA.values()],
        )
    else:
        for fact, value in facts(CORPORA[name]):
            print(f"{fact + ':':<13}{value}" if fact else f"\n{value}")


def facts_in_brief(corpus: "Corpus") -> list[str]:
    """Return a line of the list."""
    return [
        corpus.name,
        str(corpus.utterances or "any"),
        str(len(corpus.labels) or "any"),
        corpus.language or "any",
        corpus.license.split(":")[0],
        "yes" if corpus.downloads else "no",
    ]


def facts(corpus: "Corpus") -> Iterator[tuple[str, str]]:
    """Yield what is known of a corpus: a word, and its value."""
    yield "corpus", corpus.name
    yield "title", corpus.title
    yield "utterances", str(corpus.utterances or "any number")
    counted = [f"{label} {corpus.counts.get(label, '')}".strip() for label in corpus.labels]
    yield "labels", ", ".join(counted) or "those of your copy"
    yield "language", corpus.language or "that of your copy"
    yield "licence", corpus.license
    if corpus.url:
        yield "page", corpus.url
    for item in corpus.downloads:
        yield "download", item.url
    if options := loader_options(corpus):
        yield "options", ", ".join(options)
    if corpus.cite:
        yield "", corpus.cite


@corpus_app.command(epilog="Example: lightser corpus check emodb ~/corpora/emodb")
def check(name: Name, folder: Folder, option: Options = None, code: Code = None) -> None:
    """Say what is missing, surplus, there twice or unreadable in a copy of a corpus.

    Decodes every file. Ends with exit code 2 where the copy is not whole.
    """
    from lightser.corpora import CORPORA
    from lightser.corpora.check import check_corpus

    run_own_code(code)
    options = read_options(CORPORA[name], option or [])
    with spoken_warnings(), progress_bar("Listening") as heard:
        found = check_corpus(name, folder, options=options, heard=heard)
    report(found)
    if found.faults:
        raise BadCorpus(f"This copy of {name} is not whole: {', '.join(found.faults)}")


def report(found: "Check") -> None:
    """Print all of a check."""
    table, speakers = found.table, sorted(set(found.table["speaker"]) - {""})
    rates = ", ".join(f"{rate / 1000:g}" for rate in found.sample_rates) or "?"
    print(
        f"{found.corpus.name} in {found.root}: {len(table)} utterances, "
        f"{len(speakers) or 'unknown'} speakers, {found.duration_s / 60:.1f} minutes at {rates} kHz"
    )
    print()
    show(
        ["label", "utterances", *(["published"] if found.expected else [])],
        [
            [label, str(n), *([str(found.expected.get(label, 0))] if found.expected else [])]
            for label, n in zip(found.labels, found.per_label, strict=True)
        ],
    )
    if speakers:
        print()
        by_speaker = found.per_speaker
        show(
            ["speaker", *found.labels, "all"],
            [
                [str(speaker) or "unknown", *(str(n) for n in row), str(row.sum())]
                for speaker, row in zip(by_speaker.index, by_speaker.to_numpy(), strict=True)
            ],
        )
    print()
    for what, names in [
        ("missing", found.missing),
        ("surplus, left out", found.surplus),
        ("duplicated", [" = ".join(group) for group in found.duplicated]),
        ("published twice", [" = ".join(group) for group in found.published_duplicates]),
        ("unreadable", list(found.unreadable.values())),
        *([("annotations", list(map(str, found.problems)))] if found.corpus.problems else []),
    ]:
        print(f"{what}: {len(names) or 'none'}")
        for one in names:
            print(f"  {printable(one)}")
    print(f"whole: {'no' if found.faults else 'yes' if found.expected else 'all can be read'}")


@corpus_app.command(
    epilog="Example: lightser corpus table emodb ~/corpora/emodb --out emodb.csv",
)
def table(
    name: Name,
    folder: Folder,
    out: Annotated[
        Path | None,
        typer.Option(help="CSV file, or folder for audformat; without it, CSV goes to stdout."),
    ] = None,
    format: Annotated[str, typer.Option(help="csv or audformat.")] = "csv",
    option: Options = None,
    code: Code = None,
) -> None:
    """Write the utterance table: who says what, in which emotion, in which file.

    Files below the folder of the table are written relative to it, others absolute.
    """
    from lightser.corpora import CORPORA, load_corpus
    from lightser.corpora.table import write_audformat
    from lightser.corpora.utterances import write_table

    if format not in ("csv", "audformat"):
        raise UnknownName("format", format, ("csv", "audformat"))
    if format == "audformat" and out is None:
        raise BadCorpus("audformat is a folder: say where with --out DIR")
    run_own_code(code)
    with spoken_warnings():
        utterances = load_corpus(name, folder, **read_options(CORPORA[name], option or []))
    if out is None:
        utterances.to_csv(sys.stdout, index=False, lineterminator="\n")
        return
    lists = [str(folder)] if folder.is_file() else []
    check_no_input(out, [*lists, *utterances["file"]], "is read here")
    if format == "audformat":
        write_audformat(utterances, out, CORPORA[name])
    else:
        write_table(utterances, out)
    print(f"{len(utterances)} utterances written to {out}", file=sys.stderr)


@corpus_app.command(epilog="Example: lightser corpus download emodb ~/corpora/emodb")
def download(
    name: Name,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to.")],
    code: Code = None,
) -> None:
    """Fetch a corpus from its publisher, where the publisher allows it.

    A transfer that breaks off goes on from there when you run the same again.
    """
    from lightser.corpora import CORPORA, load_corpus
    from lightser.corpora.download import download_corpus

    run_own_code(code)
    corpus = CORPORA[name]
    print(f"{corpus.title}; licence: {corpus.license}; {corpus.url}", file=sys.stderr)
    on = resumable("the same command goes on with what is there")
    with on, progress_bar("Fetching", bytes=True) as progress:
        fetched = download_corpus(name, folder, progress=progress)
    with spoken_warnings():
        utterances = load_corpus(name, folder)
    was = "fetched into" if fetched else "already in"
    print(f"{len(utterances)} of {corpus.utterances} utterances {was} {folder}", file=sys.stderr)
    print(f"Please cite it: lightser corpus list {name}", file=sys.stderr)


def loader_options(corpus: "Corpus") -> dict[str, Any]:
    """Return the options of a corpus's loader, each with its default."""
    parameters = inspect.signature(corpus.load).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def read_options(corpus: "Corpus", texts: Sequence[str]) -> dict[str, Any]:
    """Return loader options from ``key=value`` and ``key.inner=value``.

    A value that JSON reads as true, false, a number or a list is that; any other is text, and
    where a loader takes several values, texts with commas between them.

    Raises:
        UnknownName: the loader has no such option.

    >>> from lightser.corpora import CORPORA
    >>> read_options(CORPORA["together"], ["members=emodb,nemo"])
    {'members': ['emodb', 'nemo']}
    """
    options: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise LightserError(f"--option {text}: write KEY=VALUE")
        key, _, inner = key.strip().partition(".")
        if key not in (known := loader_options(corpus)):
            raise UnknownName(f"{corpus.name} option", key, known)
        if inner:
            options.setdefault(key, {})[inner] = value
            continue
        options[key] = json_or_text(value)
        if isinstance(known[key], tuple) and isinstance(options[key], str):
            options[key] = [part.strip() for part in value.split(",")]
    return options


def json_or_text(value: str) -> Any:
    """Return what JSON makes of ``value``, or the text itself.

    >>> json_or_text("true"), json_or_text("2"), json_or_text("03")
    (True, 2, '03')
    """
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value


def show(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: drawn on a terminal, plain columns in a pipe or file. Numbers stand right."""
    numeric = [all(row[i].isdigit() for row in rows) and i > 0 for i in range(len(head))]
    if sys.stdout.isatty():
        from rich import box
        from rich.console import Console
        from rich.table import Table

        drawn = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
        for name, is_number in zip(head, numeric, strict=True):
            drawn.add_column(name, justify="right" if is_number else "left")
        for row in rows:
            drawn.add_row(*row)
        Console().print(drawn)
        return
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    for row in [head, *rows]:
        cells = [
            cell.rjust(width) if is_number else cell.ljust(width)
            for cell, width, is_number in zip(row, widths, numeric, strict=True)
        ]
        print("  ".join(cells).rstrip())


@contextmanager
def progress_bar(title: str, bytes: bool = False) -> Iterator[Callable[[int, int], None]]:
    """Give a function that takes (done, total) and draws a bar on stderr, if that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = [DownloadColumn(), TransferSpeedColumn()] if bytes else [MofNCompleteColumn()]
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        *columns,
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total or None)
