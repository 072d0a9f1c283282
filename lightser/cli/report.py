"""``lightser report`` and ``lightser compare``: results, as tables, as a page, and in pairs."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lightser.cli import app
from lightser.cli.warned import spoken_warnings
from lightser.errors import BadResults, MissingExtra, UnknownName
from lightser.whole import write_whole

if TYPE_CHECKING:
    from lightser.report.compare import Comparison
    from lightser.report.results import Result

FORMATS = ("table", "markdown", "csv")
SUFFIXES = (".html", ".md", ".csv")
SCORES = {"ua": "UA", "wa": "WA", "macro_f1": "macro F1", "weighted_f1": "weighted F1"}

Folders = Annotated[
    list[Path],
    typer.Argument(metavar="RESULTS", help="Results folders, or folders that hold some."),
]


@app.command(
    epilog="Example: lightser report results; lightser report results --out report.html; "
    "lightser report results --readme README.md"
)
def report(
    results: Folders,
    out: Annotated[
        Path | None,
        typer.Option(help="File to write: .html (a page with every plot), .md or .csv."),
    ] = None,
    format: Annotated[
        str | None, typer.Option(help="What to print: table, markdown or csv.")
    ] = None,
    readme: Annotated[
        Path | None,
        typer.Option(
            help="Put an overview between <!-- results --> and <!-- /results --> of that file."
        ),
    ] = None,
    title: Annotated[str, typer.Option(help="Heading of the page.")] = "Results",
) -> None:
    """Put results into a table or on a page.

    Every score is computed again from the predictions tables. Honest results stand apart from
    those whose protocol saw the test speakers or the test set. Where there are results for rows of
    the papers, .html and .md hold all their tables, published beside ours.
    """
    if format is not None and format not in FORMATS:
        raise UnknownName("format", format, FORMATS)
    if out is not None and out.suffix not in SUFFIXES:
        raise BadResults(f"--out {out} must end in {', '.join(SUFFIXES)}")
    try:
        from lightser.report import tables
        from lightser.report.overview import put_into_readme
        from lightser.report.results import find_results, read_result
    except ImportError as error:
        raise MissingExtra("Reporting", "train") from error

    with spoken_warnings():
        found = [read_result(folder) for folder in find_results(results)]
    if out is not None:
        write(out, found, title)
        typer.echo(out)
    if readme is not None:
        put_into_readme(readme, found)
        typer.echo(readme)
    if format is None and (out is not None or readme is not None):
        return
    if format == "markdown":
        print(tables.to_markdown(found), end="")
    elif format == "csv":
        print(tables.to_csv(found), end="")
    else:
        print_table(found)


def write(out: Path, results: "Sequence[Result]", title: str) -> None:
    """Write a page, a Markdown table or a CSV, by the name's ending."""
    from lightser.report import tables
    from lightser.report.papers import belongs_to_papers
    from lightser.report.rows import page_to_markdown

    if out.suffix == ".html":
        try:
            from lightser.report.html import write_page
        except ImportError as error:
            raise MissingExtra("Plots", "train") from error
        write_page(results, out, title=title)
    elif out.suffix == ".md" and any(map(belongs_to_papers, results)):
        write_whole(out, page_to_markdown(results, title=title))
    else:
        make = tables.to_markdown if out.suffix == ".md" else tables.to_csv
        write_whole(out, make(results))


def print_table(results: "Sequence[Result]") -> None:
    """Print one table for each corpus and kind of protocol, notes below."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from lightser.report import tables

    told = tables.telling(results)
    # In a pipe nobody sees an edge: nothing is wrapped there.
    console = Console() if sys.stdout.isatty() else Console(width=240)
    for corpus, heading, group in tables.grouped(told):
        console.print(
            Text.assemble(
                (tables.short_title(corpus), "bold"),
                "  ",
                (heading, "green" if heading == tables.HONEST else "yellow"),
            )
        )
        drawn = Table(box=None, pad_edge=False, header_style="dim")
        for header in tables.HEADERS:
            drawn.add_column(header, justify="left" if header in tables.HEADERS[:2] else "right")
        for result in group:
            drawn.add_row(*(Text(cell) for cell in tables.cells(result)))
        console.print(drawn)
        console.print()
    for note in tables.NOTES:
        console.print(Text(note, style="dim"))
    n_quick, n_told_quick = (sum(r.is_quick for r in some) for some in (results, told))
    n_quick -= n_told_quick
    runs = [(n_quick, "quick"), (len(results) - len(told) - n_quick, "shorter")]
    counted = " and ".join(f"{n} {kind} run{'s' * (n != 1)}" for n, kind in runs if n)
    if counted:
        console.print(Text(f"Without {counted}; --format csv has all.", style="dim"))


@app.command(
    epilog="Example: lightser compare results/honest/emodb-light_sernet "
    "results/honest/emodb-compare-svm"
)
def compare(
    a: Annotated[Path, typer.Argument(metavar="RESULT_A", help="A results folder.")],
    b: Annotated[Path, typer.Argument(metavar="RESULT_B", help="Another.")],
    score: Annotated[str, typer.Option(help="ua, wa, macro_f1 or weighted_f1.")] = "ua",
) -> None:
    """Test whether one result is better than another on the same utterances.

    The difference comes with its 95 % interval over speakers, and with the p of swapping the two
    systems speaker by speaker.
    """
    if score not in SCORES:
        raise UnknownName("score", score, SCORES)
    try:
        from lightser.report.compare import compare as compare_results
        from lightser.report.results import read_result
    except ImportError as error:
        raise MissingExtra("Comparing", "train") from error

    with spoken_warnings():
        pair = [read_result(folder) for folder in (a, b)]
    found = compare_results(*pair, score=score)
    for line in comparison_lines(pair, found, SCORES[score]):
        print(line)


def comparison_lines(pair: "Sequence[Result]", found: "Comparison", score: str) -> list[str]:
    """Say what was compared, by how much they differ, and how sure that is."""
    lines = []
    for letter, result, value in zip("AB", pair, (found.a, found.b), strict=True):
        caveats = f"  ({'; '.join(result.caveats)})" if result.caveats else ""
        lines.append(f"{letter}      {100 * value:5.1f} {score}  {result.title}{caveats}")
    test = found.test
    difference = f"A - B  {100 * test.difference:+5.1f} points"
    if found.speakers > 1:
        low, high = (100 * end for end in test.interval)
        swaps = "all" if test.exact else "2000 random"
        lines += [
            f"{difference}, 95 % interval [{low:+.1f}, {high:+.1f}] over {found.speakers} speakers",
            f"p      {test.p_permutation:.4f} by {swaps} swaps of the systems, speaker by speaker",
        ]
    else:
        lines.append(f"{difference}; with one speaker nobody can say how sure that is")
    if found.is_one_to_one:
        lines.append(
            f"right  {test.only_a} utterances by A alone, {test.only_b} by B alone "
            f"(McNemar p {test.p_mcnemar:.4f}, as if utterances of one voice were independent)"
        )
    left_out = [
        f"{n} that only {letter} has tested are left out"
        for letter, n in (("A", found.only_a), ("B", found.only_b))
        if n
    ]
    both = f"on     {found.utterances} utterances that both have"
    if found.once_each:  # a report counts each decision once, and so prints another score
        both += ", each counted once, though decided on several times"
    lines.append("; ".join([both, *left_out]))
    return lines
