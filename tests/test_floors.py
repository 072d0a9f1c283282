"""The floors of the house: imports go down, and each floor needs only what it says.

To change the architecture, change the lists at the top; they are its diagram.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "lightser"
FILES = sorted(SOURCE.rglob("*.py"))

# Ground first. Data flows the same way, from a waveform to an answer.
FLOORS = [
    "errors", "registry", "options", "names", "tables", "whole", "processes", "memory", "card",
    "bundled", "cluster", "activation",
    "audio", "corpora", "features", "models", "losses", "metrics",
    "training", "report", "export", "inference", "service", "cli",
]  # fmt: skip

# Whoever recognises shares a model folder with whoever trains, and no code above audio.
RECOGNISING = {"inference", "service"}
SHARED = {
    *("errors", "registry", "names", "tables", "whole", "processes", "memory", "card", "bundled"),
    *("cluster", "activation"),
    *("audio", "inference", "service"),
}

# tomli is tomllib where Python is older than 3.11.
STANDARD = {*sys.stdlib_module_names, "tomllib", "tomli"}

# What a floor may need beyond the standard library.
NEEDS = {
    "errors": set(),
    "registry": set(),
    "options": set(),
    "names": set(),
    "tables": set(),
    "whole": set(),
    "processes": set(),
    "memory": set(),
    "card": set(),
    "bundled": set(),
    "cluster": {"ray"},
    "activation": {"numpy"},
    "audio": {"numpy", "soundfile", "soxr", "av"},
    "corpora": {"numpy", "pandas", "audformat", "iso639"},  # iso639 comes with audformat
    "features": {"numpy", "torch", "safetensors"},
    "models": {"numpy", "torch", "opensmile", "sklearn"},
    "losses": {"numpy", "torch"},
    "metrics": {"numpy"},
    "training": {"numpy", "pandas", "torch", "safetensors", "tensorboard", "ray"},
    "report": {"numpy", "pandas", "matplotlib"},
    "export": {
        *("numpy", "torch", "onnx", "onnxscript", "onnxruntime", "safetensors", "soundfile"),
        *("litert_torch", "ai_edge_litert", "ai_edge_quantizer", "tflite_micro", "flatbuffers"),
    },
    "inference": {"numpy", "onnxruntime", "soxr", "webrtcvad", "fsspec", "pyarrow", "ray"},
    "service": {"numpy", "starlette", "uvicorn"},
    "cli": {"numpy", "typer", "rich", "pandas", "torch", "sounddevice"},
}


def name_of(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


def floor_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported(source: str, package: str) -> Iterator[str]:
    """Yield the dotted name of everything that a module of ``package`` imports, anywhere in it.

    Imports within functions and under ``TYPE_CHECKING`` count: they are knowledge too.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            up = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*(up if node.level else []), *filter(None, [node.module])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def imports_of(path: Path) -> list[str]:
    package = ".".join(["lightser", *path.relative_to(SOURCE).parts[:-1]])
    return list(imported(path.read_text(encoding="utf-8"), package))


def floors_in(names: list[str]) -> set[str]:
    """Return the floors among imported names; what the front door offers is inference's."""
    own = [name.split(".")[1] for name in names if name.startswith("lightser.")]
    return {"inference" if name[0].isupper() else name for name in own if name != "__version__"}


on_every_floor = pytest.mark.parametrize(
    "path",
    [path for path in FILES if path.parent != SOURCE or floor_of(path) in FLOORS],
    ids=name_of,
)


@on_every_floor
def test_imports_go_down(path: Path) -> None:
    below = FLOORS[: FLOORS.index(floor_of(path)) + 1]
    upward = floors_in(imports_of(path)) - set(below)
    assert not upward, f"{name_of(path)} reaches up to {sorted(upward)}"


@on_every_floor
def test_a_floor_needs_only_what_it_says(path: Path) -> None:
    roots = {name.split(".")[0] for name in imports_of(path)} - {"lightser"}
    surplus = roots - STANDARD - NEEDS[floor_of(path)]
    assert not surplus, f"{name_of(path)} needs {sorted(surplus)}"


@pytest.mark.parametrize(
    "path", [path for path in FILES if floor_of(path) in RECOGNISING], ids=name_of
)
def test_recognising_shares_no_code_with_training(path: Path) -> None:
    assert floors_in(imports_of(path)) <= SHARED


def test_every_module_is_on_a_floor() -> None:
    doors = {"__init__", "__main__"}
    assert {floor_of(path) for path in FILES} - doors <= set(FLOORS)


def test_every_way_of_importing_is_seen() -> None:
    source = """
from typing import TYPE_CHECKING
import lightser.cli.train
from . import loop
from ..report import tables
from lightser import Recognizer
if TYPE_CHECKING:
    import pandas as pd
def late():
    from lightser.export.onnx import to_onnx
"""
    names = list(imported(source, "lightser.training"))
    assert floors_in(names) == {"cli", "training", "report", "inference", "export"}
    assert "pandas" in names


HEAVY = {"torch", "pandas", "matplotlib", "scipy", "sklearn"}


@pytest.mark.parametrize(
    "module", ["lightser", "lightser.inference", "lightser.cli", "lightser.card"]
)
def test_importing_brings_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & set(run.stdout.split())


def test_help_brings_nothing_heavy() -> None:
    code = (
        "import sys, atexit\n"
        "atexit.register(lambda: print('loaded', *sys.modules))\n"
        "sys.argv = ['lightser', '--help']\n"
        "from lightser.cli import main\n"
        "main()\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Usage" in run.stdout
    assert not (HEAVY | {"onnxruntime"}) & set(run.stdout.split("loaded")[-1].split())
