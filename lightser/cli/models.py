"""``lightser models``: what is installed, how good it is on voices it has not heard, its terms."""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lightser.cli import app

if TYPE_CHECKING:
    from lightser.card import Card, Score

CHOSEN = {
    "valid_ua": "the best for validation speakers",
    "test_wa": "the best on the test set itself, so these scores flatter",
    "last": "the last",
}


@app.command(
    epilog="Example: lightser models; lightser models default; lightser models my-model/ --json"
)
def models(
    model: Annotated[
        str | None, typer.Argument(metavar="MODEL", help="Say all of this one: a name or a folder.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print cards as JSON.")] = False,
) -> None:
    """List the models that have a name here, or say all that one says of itself.

    Scores are those of the same recipe on speakers that were held out, with the interval that
    another choice of speakers could have given; and on corpora of which the tested model had
    heard nothing.
    """
    from lightser.bundled import default_model, find_model, known_models
    from lightser.card import read_card

    if model is not None:
        folder = find_model(model)
        card = read_card(folder)
        if as_json:
            print(json.dumps(asdict(card), indent=2, ensure_ascii=False))
        else:
            show_card(card, folder)
        return
    cards = {name: read_card(folder) for name, folder in known_models().items()}
    if as_json:
        print(json.dumps({name: asdict(card) for name, card in cards.items()}, indent=2))
        return
    default = default_model()
    show_list(cards, default)


def show_list(cards: "dict[str, Card]", default: str) -> None:
    """Print what one chooses by: a table on a terminal, a line for each model in a pipe."""
    head = ["model", "labels", "UA", "95 %", "measured on", "other corpora", "size", "licence"]
    rows = []
    for name, card in sorted(cards.items(), key=lambda item: item[0] != default):
        score = card.scores[0] if card.scores else None
        rows.append(
            [
                name + (" (default)" if name == default else ""),
                str(len(card.labels)),
                percent(score.ua) if score else "-",
                interval(score) if score else "-",
                f"{score.corpus} {score.protocol}" if score else "-",
                ", ".join(map(elsewhere, by_corpus(card))) or "-",
                size(card.files["model.onnx"].bytes),
                card.license,
            ]
        )
    right = {1, 2, 3, 6}
    if not sys.stdout.isatty():
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        for row in [head, *rows]:
            cells = [
                cell.rjust(width) if i in right else cell.ljust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            print("  ".join(cells).rstrip())
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(
        box=box.SIMPLE,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        header_style="dim",
        show_lines=True,
    )
    for name in ("model", "UA, 95 %", "other corpora"):
        table.add_column(name, no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("licence", overflow="fold")
    for name, labels, ua, ends, measured_on, others, n_bytes, terms in rows:
        name, _, is_default = name.partition(" ")
        table.add_row(
            f"[bold]{name}[/]\n[dim]{labels} labels{', the default' if is_default else ''}[/]",
            f"{ua}  [dim]{ends}\n{measured_on}[/]",
            others.replace(", ", "\n"),
            n_bytes,
            terms,
        )
    console = Console(highlight=False)
    console.print(table)
    console.print(
        "[dim]UA in percent, on voices that were held out; and on other corpora, of which nothing "
        "had been heard.\nof 5: choosing from five labels only, as --labels does. More of one: "
        "lightser models NAME[/]"
    )


def show_card(card: "Card", folder: Path) -> None:
    """Print facts in two columns: wrapped on a terminal, a line for each in a pipe."""
    if not sys.stdout.isatty():
        for fact, value in facts(card, folder):
            print(f"{fact:<13}{value}".rstrip())
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for fact, value in facts(card, folder):
        table.add_row(fact, Text(value, style="bold" if fact == "model" else ""))
    Console(highlight=False).print(table)


def facts(card: "Card", folder: Path) -> Iterator[tuple[str, str]]:
    """Yield what a reader should know of a model: a word, and its value."""
    yield "model", card.name
    yield "system", f"{card.system}, {card.parameters:,} parameters"
    yield "labels", ", ".join(card.labels)
    yield (
        "audio",
        f"{card.sample_rate:,} Hz; at once {card.min_s:g} to {card.window_s:g} s, "
        "longer clips in windows",
    )
    yield "size", f"{size(card.files['model.onnx'].bytes)}, with all files {size(card.size)}"
    for score in card.scores:
        yield "", ""
        ua, wa, f1 = percent(score.ua), percent(score.wa), percent(score.macro_f1)
        yield f"on {score.corpus}", f"UA {ua} %, WA {wa} %, macro F1 {f1} %"
        yield "95 % of UA", f"{interval(score)} %, over {score.interval}"
        yield "protocol", f"{score.protocol}: {score.protocol_note}"
        if score.selected_on:
            yield "epoch", CHOSEN.get(score.selected_on, score.selected_on)
        seeds = ", ".join(map(str, score.seeds))
        yield "tested", f"{score.n_utterances} utterances, seeds {seeds}"
        yield "recipe", f"{score.recipe} at {score.commit[:10]}"
    for band in card.bands:
        heard = "trained on" if band.heard else "not heard"
        yield (
            f"at {band.sample_rate:,} Hz",
            f"UA {percent(band.ua)} % of {band.n_utterances} clips of {band.corpus} ({heard}), "
            f"{percent(band.ua_recorded)} % as recorded",
        )
    yield "", ""
    for corpus in card.trained_on:
        yield "trained on", f"{corpus.title} ({corpus.corpus}), {corpus.license}, {corpus.url}"
        yield "", f"{corpus.utterances} utterances of {corpus.speakers} speakers"
    yield "by", f"{card.recipe} at {card.commit[:10]}, seed {card.seed}, {card.created}"
    calibrated = card.temperature != 1
    fitted = "fitted on held-out voices, in the graph" if calibrated else "not calibrated"
    yield "temperature", f"{card.temperature:.3g}, {fitted}"
    yield "licence", card.license
    yield "folder", str(folder)
    yield "", ""
    yield "for", card.intended_use
    yield "limits", card.limits


def percent(share: float) -> str:
    """Return a share as percent with one decimal.

    >>> percent(0.8057)
    '80.6'
    """
    return f"{100 * share:.1f}"


def by_corpus(card: "Card") -> "list[Score]":
    return sorted(card.elsewhere, key=lambda score: score.corpus)


def elsewhere(score: "Score") -> str:
    """Return for example ``nemo 38.8 of 5``: a score, and from how many labels it chose."""
    chose = f" of {len(score.labels)}" if score.labels else ""
    return f"{score.corpus} {percent(score.ua)}{chose}"


def interval(score: "Score") -> str:
    low, high = score.ua_interval
    return f"{percent(low)}-{percent(high)}"


def size(n_bytes: int) -> str:
    """Return bytes as people say them.

    >>> size(945), size(2_310_000)
    ('945 B', '2.3 MB')
    """
    if n_bytes < 1_000:
        return f"{n_bytes} B"
    return f"{n_bytes / 1e6:.1f} MB" if n_bytes >= 100_000 else f"{n_bytes / 1e3:.1f} kB"
