"""The documentation tells the truth: its commands, options, links, code and generated parts."""

import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from shown import blocks, is_file, write_shown_files

from lightser.corpora import CORPORA
from lightser.corpora.splits import PROTOCOLS
from lightser.training.recipe import find_recipes, read_recipe

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "lightser" / "samples").glob("*.md")),
]
# What a base install does not bring.
EXTRAS = [
    "torch",
    "pandas",
    "matplotlib",
    "onnx",
    "onnxscript",
    "safetensors",
    "sklearn",
    "tomli",
    "starlette",
    "ai_edge_litert",
    "litert_torch",
    "tflite_micro",
    "pyarrow",
    "ray",
]

generate = runpy.run_path(str(ROOT / "docs" / "generate.py"))
COMMANDS: dict[str, Any] = generate["all_commands"]()


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def calls(text: str) -> Iterator[list[str]]:
    """Yield the words of every ``lightser ...`` line of a console block, comments left out."""
    for line in text.replace("\\\n", " ").splitlines():
        if line.removeprefix("$ ").startswith("lightser "):
            for part in line.removeprefix("$ ").split(" | "):
                words = shlex.split(part, comments=True)
                if words[:1] == ["lightser"]:
                    yield words[1:]


def misfit(words: list[str]) -> str:
    """Return what in a command line does not exist, or ""."""
    if words in (["--help"], ["--version"]):
        return ""
    name = next((n for n in (" ".join(words[:2]), words[0]) if n in COMMANDS), None)
    if name is None:
        return f"no command '{' '.join(words[:2])}'"
    flags = {"--help"} | {
        flag for p in COMMANDS[name].params for flag in [*p.opts, *p.secondary_opts]
    }
    used = [word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)]
    return ", ".join(f"{name} has no option {flag}" for flag in used if flag not in flags)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_of_a_page_exists(page: Path) -> None:
    wrong = [misfit(words) for block in blocks(page, "console") for words in calls(block)]
    assert not any(wrong), "; ".join(filter(None, wrong))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_named_in_a_sentence_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"`lightser ([a-z]+(?: [a-z]+)?)", text)
    groups = {name.split()[0] for name in COMMANDS}
    assert [name for name in named if name.split()[0] not in groups] == []


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_helps_with_an_example_that_fits(name: str) -> None:
    examples = [words for line in generate["examples_of"](COMMANDS[name]) for words in calls(line)]
    own = [words for words in examples if " ".join(words).startswith(name)]
    assert own, f"lightser {name} --help has no example"
    assert [misfit(words) for words in own if misfit(words)] == []


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_without_the_extras_a_command_ends_in_words(name: str, tmp_path: Path) -> None:
    (words,) = calls(generate["examples_of"](COMMANDS[name])[0])
    code = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({EXTRAS!r}))  # as if they were not installed\n"
        f"sys.argv = ['lightser', *{words!r}]\n"
        "from lightser.cli import main\n"
        "main()\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert "Traceback" not in run.stderr, run.stderr.splitlines()[-1]
    assert run.returncode in (0, 2)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_is_in_the_guide(name: str) -> None:
    written = [page for page in PAGES if name_of(page) != "docs/commands.md"]
    assert any(f"lightser {name}" in page.read_text(encoding="utf-8") for page in written)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_make_target_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"`make ([a-z]+)", text)
    named += re.findall(r"^\$ make ([a-z]+)", "\n".join(blocks(page, "console")), re.M)
    assert set(named) <= targets


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_to_our_own_files_lead_somewhere(page: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        path, _, anchor = unquote(link).partition("#")
        if re.match(r"\w+:", path):
            continue
        target = (page.parent / path) if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_python_of_a_page_runs(
    page: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    space: dict[str, Any] = {"__name__": "page"}
    for code in blocks(page, "python"):
        if not is_file(code):
            exec(compile(code, name_of(page), "exec"), space)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_recipe_that_a_command_names_exists(page: Path, tmp_path, monkeypatch) -> None:
    write_shown_files(page, tmp_path)
    monkeypatch.chdir(tmp_path)
    for block in blocks(page, "console"):
        for name, *words in calls(block):
            if name in ("train", "reproduce"):
                assert find_recipes(list(takewhile(lambda word: word[0] != "-", words)))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_recipes_of_a_page_can_be_read(page: Path, tmp_path, own_code_is_forgotten) -> None:
    write_shown_files(page, tmp_path)
    for block in blocks(page, "toml"):
        is_whole = "extends" in tomllib.loads(block)
        base = "" if is_whole else 'extends = "honest/emodb-light_sernet"\n'
        (tmp_path / "shown.toml").write_text(base + block)
        recipe = read_recipe(tmp_path / "shown.toml")
        assert recipe.corpus.name in CORPORA
        assert recipe.protocol.name in PROTOCOLS


def test_every_extra_that_an_error_names_exists() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = set(pyproject["project"]["optional-dependencies"])
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "lightser").rglob("*.py"))
    named = set(re.findall(r"MissingExtra\([^()]*\"(\w+)\"\s*\)", code))
    assert "train" in named
    assert named <= extras
    page = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.M)) == extras


def test_generated_parts_are_up_to_date() -> None:
    stale = [path.name for path, text, wanted in generate["pages"]() if text != wanted]
    assert stale == [], "make docs renews them"


def test_the_pages_about_results_are_made_of_the_results_that_are_there() -> None:
    stale = [path.name for path in generate["stale_results_pages"]()]
    assert stale == [], "make docs renews them"


def test_readme_names_two_commands_that_set_everything_up() -> None:
    console = "\n".join(blocks(ROOT / "README.md", "console"))
    assert re.search(r"^\$ make demo\b", console, re.M)
    assert re.search(r"^\$ make test\b", console, re.M)


def test_continuous_integration_runs_the_readme_command() -> None:
    assert "make --no-print-directory test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_the_version_is_the_same_everywhere() -> None:
    from lightser import __version__

    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {__version__}\n" in citation
