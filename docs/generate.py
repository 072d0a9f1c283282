"""Write what README.md and docs/ hold of the code: the tree, commands, protocols, corpora, recipes.

It also writes the honest twin of each recipe of the papers, below ``recipes/honest``, and the pages
about ``results/``.

A generated part stands between ``<!-- name -->`` and ``<!-- /name -->``; the rest of a page is its
author's. ``make docs`` runs this, and ``tests/test_docs.py`` holds that nothing is out of date.
"""

import ast
import inspect
import os
import re
import sys
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import typer.main

import lightser.cli
import lightser.cli.report
from lightser.corpora import CORPORA
from lightser.corpora.splits import PROTOCOLS
from lightser.registry import import_siblings
from lightser.report.results import find_results, fingerprint_of, read_result
from lightser.training.crossval import selection
from lightser.training.recipe import Published, read_recipe, recipe_folder

ROOT = Path(__file__).parent.parent
WIDTH = 15  # of the first column of the tree

CHOSEN = {"valid_ua": "UA on validation", "test_wa": "**accuracy on test**", "last": "last"}

RESULTS_PAGES = ("results.html", "results.md")
RESULTS_TITLE = "Published, reproduced, honest"
PAPERS = ("light_sernet", "zhong2020")  # folders of recipes that have honest twins
TWINS = "honest/"  # how the names of those begin

# What an option takes, as --help calls it.
KINDS = {int: "INTEGER", float: "FLOAT", Path: "PATH", str: "TEXT"}

# What the tree says of the folders beside the package.
BESIDE = {
    "recipes/": "one TOML file per published row, and our honest ones",
    "results/": "one folder per recipe: predictions, scores, folds, history",
    "docs/": "guide, decisions, lab log",
    "tests/": "a file per module, and the floors",
}


def row(*cells: object) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def table(head: tuple[str, ...], rows: Iterator[str]) -> str:
    return "\n".join([row(*head), "|" + "---|" * len(head), *rows])


def first_sentence(source: str) -> str:
    """Return how a module's docstring begins, up to its first full stop or semicolon."""
    words = " ".join((ast.get_docstring(ast.parse(source)) or "").split("\n\n")[0].split())
    return re.split(r"(?<=[a-z`)])[.;](?:\s|$)", words)[0].replace("``", "`")


def tree() -> str:
    """Return the package's floors in their order, and the folders beside it, a line for each."""
    floors = (ROOT / "tests" / "test_floors.py").read_text(encoding="utf-8")
    names = ast.literal_eval(re.search(r"^FLOORS = (\[.*?\])", floors, re.M | re.S)[1])  # type: ignore[index]
    lines = ["lightser/"]
    for name in names:
        folder, file = ROOT / "lightser" / name, ROOT / "lightser" / f"{name}.py"
        if folder.is_dir():
            name, file = f"{name}/", folder / "__init__.py"
        else:
            name = file.name
        if file.is_file():
            says = first_sentence(file.read_text(encoding="utf-8"))
            lines.append(f"  {name:<{WIDTH - 2}}{says}")
    lines += [f"{name:<{WIDTH}}{says}" for name, says in BESIDE.items()]
    return "\n".join(["```text", *lines, "```"])


def all_commands() -> dict[str, Any]:
    """Return every command by its words on the command line, such as ``corpus check``."""
    import_siblings(lightser.cli.__name__, lightser.cli.__path__)
    found: dict[str, Any] = {}

    def collect(group: Any, words: str) -> None:
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                collect(command, f"{words}{name} ")
            elif not command.hidden:
                found[words + name] = command

    collect(typer.main.get_command(lightser.cli.app), "")
    return found


def commands() -> str:
    """Return every command with its help and its options."""
    return "\n\n".join(command_section(*item) for item in sorted(all_commands().items()))


def help_of(command: Any) -> tuple[str, str]:
    """Return what a command's help says, and its examples; typer's mark for line ends left out."""
    text = "\n\n".join(filter(None, [command.help, command.epilog])).replace("\b", "")
    prose, _, examples = re.sub(r"Examples?:", "Example:", text).partition("Example:")
    return prose, examples


def prose_of(command: Any) -> str:
    return help_of(command)[0].strip()


def examples_of(command: Any) -> list[str]:
    """Return the command lines at the end of a command's help."""
    lines = re.split(r"[\n;]", help_of(command)[1])
    lines = [line.strip().removeprefix("$ ") for line in lines]
    return [re.sub(r"\s+\(.*\)$", "", line) for line in lines if line.startswith("lightser ")]


def value_of(parameter: Any, hint: Any) -> str:
    """Return what an option takes, such as ``INTEGER`` or ``a|b``; nothing for a switch.

    Args:
        parameter: of the command.
        hint: the type of the function's argument. What the parameter knows of it is kept in another
            place by each version of typer.
    """
    if parameter.is_flag:
        return ""
    if parameter.metavar:
        return str(parameter.metavar)
    if typing.get_origin(hint) is typing.Literal:
        return "|".join(map(str, typing.get_args(hint)))
    inner = [kind for kind in typing.get_args(hint) if kind is not type(None)]
    return value_of(parameter, inner[0]) if inner else KINDS[hint]


def default_of(parameter: Any) -> str:
    """Return what an option is if it is not given, as a word; "" if nothing, or if its help says.

    A switch that is off is nothing.
    """
    value, says = parameter.default, parameter.help or ""
    if value is None or value is False or value in ("", [], ()) or "default" in says:
        return ""
    if value is True:
        return str(parameter.opts[0])
    return f"{value:g}" if isinstance(value, float) else str(value)


def command_section(name: str, command: Any) -> str:
    """Return how a command is called, what it does and takes, and its examples."""
    usage = [f"lightser {name}"]
    hints = typing.get_type_hints(inspect.unwrap(command.callback))
    options = []
    for parameter in command.params:
        if parameter.name == "help":
            continue
        if parameter.param_type_name == "argument":
            metavar = (parameter.metavar or parameter.name).upper().rstrip("…")
            once = metavar if parameter.required else f"[{metavar}]"
            usage.append(f"{once}{'…' if parameter.nargs == -1 else ''}")
            words, default = f"`{metavar}`", ""
        else:
            flags = [*parameter.opts, *parameter.secondary_opts]
            takes, default = value_of(parameter, hints[parameter.name]), default_of(parameter)
            words = ", ".join(f"`{flag} {takes}`" if takes else f"`{flag}`" for flag in flags)
        says = " ".join((parameter.help or "").split())
        options.append(row(words, f"{says} (default `{default}`)" if default else says))
    parts = [f"## lightser {name}", f"```text\n{' '.join(usage)} [options]\n```"]
    parts.append(prose_of(command))
    if options:
        parts.append("\n".join(["| | |", "|---|---|", *options]))
    parts.append("```console\n" + "\n".join(f"$ {line}" for line in examples_of(command)) + "\n```")
    return "\n\n".join(parts)


def protocols() -> str:
    return table(
        ("protocol", "speakers on both sides", "epoch chosen on", "what it means"),
        (
            row(
                f"`{p.name}`",
                "no" if p.speaker_independent else "**may be**",
                CHOSEN[p.select],
                p.note,
            )
            for p in sorted(PROTOCOLS.values(), key=lambda p: not p.speaker_independent)
        ),
    )


def corpora() -> str:
    return table(
        ("name", "corpus", "language", "utterances", "licence"),
        (
            row(
                f"`{c.name}`",
                f"[{c.title}]({c.url})" if c.url else c.title,
                c.language or "–",
                c.utterances or "any",
                c.license or "yours",
            )
            for c in CORPORA.values()
        ),
    )


def figures_of(says: Published | None) -> str:
    """Return what a paper prints as ``UA / WA``, or its F1 where it prints neither."""
    if says is None:
        return "–"
    if says.ua is None and says.wa is None:
        return "–" if says.f1 is None else f"F1 {says.f1:.2f}"
    return " / ".join("–" if x is None else f"{x:.2f}" for x in (says.ua, says.wa))


def recipes() -> str:
    folder = recipe_folder()
    rows = []
    for path in sorted(folder.rglob("*.toml")):
        if path.stem == "base":
            continue
        recipe = read_recipe(path)
        name = path.relative_to(folder).with_suffix("").as_posix()
        # A twin inherits its row's figures, which were not measured under its protocol.
        figures = "–" if name.startswith(TWINS) else figures_of(recipe.published)
        chosen = "–" if recipe.is_classic else CHOSEN[selection(recipe)]
        rows.append(row(f"`{name}`", recipe.title, f"`{recipe.protocol.name}`", chosen, figures))
    return table(("recipe", "what", "protocol", "epoch chosen on", "published UA / WA"), iter(rows))


PARTS: dict[str, dict[str, Callable[[], str]]] = {
    "README.md": {"tree": tree},
    "docs/commands.md": {"commands": commands},
    "docs/corpora.md": {"corpora": corpora},
    "docs/protocols.md": {"protocols": protocols},
    "docs/recipes.md": {"recipes": recipes},
}


def twin(name: str, path: Path) -> str:
    """Return the recipe that runs another one under an honest protocol."""
    recipe = read_recipe(path)
    folder = "../" * (name.count("/") + 1)
    iemocap = recipe.corpus.name == "iemocap"
    protocol = 'name = "loso_session"' if iemocap else 'name = "loso"\nvalid_speakers = 1'
    return (
        f"# {name} under an honest protocol: nothing else is changed.\n"
        f'extends = "{folder}{name}.toml"\ntitle = "{recipe.title}, honest"\n\n'
        f"[protocol]\n{protocol}\n"
    )


def twins() -> Iterator[tuple[Path, str, str]]:
    """Yield the honest twin of each recipe of the papers: its path, its text, what it should be."""
    folder = recipe_folder()
    for path in sorted(p for paper in PAPERS for p in (folder / paper).rglob("*.toml")):
        if path.stem != "base":
            own = folder / "honest" / path.relative_to(folder)
            text = own.read_text(encoding="utf-8") if own.is_file() else ""
            yield own, text, twin(path.relative_to(folder).with_suffix("").as_posix(), path)


def renewed(text: str, parts: dict[str, Callable[[], str]]) -> str:
    """Return a page with its generated parts as they should be."""
    for name, make in parts.items():
        start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        before, found, rest = text.partition(start)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            raise SystemExit(f"no {start} ... {end} to write between")
        text = f"{before}{start}\n\n{make()}\n\n{end}{after}"
    return text


def pages() -> Iterator[tuple[Path, str, str]]:
    """Yield each page with generated parts: its path, its text, and what it should be."""
    yield from twins()
    for name, parts in PARTS.items():
        path = ROOT / name
        text = path.read_text(encoding="utf-8")
        yield path, text, renewed(text, parts)


def stale_results_pages() -> list[Path]:
    """Return the pages about ``results/`` that were made of others."""
    wanted = fingerprint_of(find_results([ROOT / "results"]))
    pages = [ROOT / "docs" / name for name in RESULTS_PAGES]
    return [p for p in pages if not p.is_file() or wanted not in p.read_text(encoding="utf-8")]


def write_results_pages() -> None:
    """Write the pages about ``results/``, as ``lightser report`` does.

    Always, as what makes them may have changed, too: the same code and results make the same page.
    """
    results = [read_result(folder) for folder in find_results([Path("results")])]
    for name in RESULTS_PAGES:
        path = ROOT / "docs" / name
        before = path.read_bytes() if path.is_file() else b""
        lightser.cli.report.write(path, results, RESULTS_TITLE)
        if path.read_bytes() != before:
            print(f"renewed {path.relative_to(ROOT)}", file=sys.stderr)


if __name__ == "__main__":
    os.chdir(ROOT)
    for path, text, wanted in pages():
        if text != wanted:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted, encoding="utf-8", newline="\n")
            print(f"renewed {path.relative_to(ROOT)}", file=sys.stderr)
    write_results_pages()
