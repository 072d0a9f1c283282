"""Recognising needs the base install alone: nothing of what training or drawing needs is loaded."""

import subprocess
import sys
from pathlib import Path

import pytest
from model_folder import ANGER, write_model

# What the extras bring. The base is NumPy, ONNX Runtime, soundfile, soxr and typer with rich.
EXTRAS = (
    *("torch", "pandas", "matplotlib", "scipy", "sklearn", "onnx", "onnxscript", "safetensors"),
    *("tensorboard", "librosa", "opensmile", "audformat", "ray", "starlette", "av"),
)

# As if the extras were not installed.
BLOCK = f"""
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {EXTRAS!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Block())
"""


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def loaded_by(code: str) -> set[str]:
    run = python(f"{code}\nimport sys\nprint(*sys.modules)")
    assert run.returncode == 0, run.stderr
    return {name.split(".")[0] for name in run.stdout.splitlines()[-1].split()}


@pytest.mark.parametrize(
    "code",
    [
        "import lightser",
        "from lightser import Prediction, Recognizer, Segment, Stream",
        "import lightser.inference.formats, lightser.inference.finding",
    ],
)
def test_importing_loads_neither_extras_nor_the_runtime(code: str) -> None:
    assert not loaded_by(code) & {*EXTRAS, "onnxruntime"}


def test_importing_the_package_loads_not_even_numpy() -> None:
    assert "numpy" not in loaded_by("import lightser")


def test_reading_what_is_bundled_does_not_load_the_runtime() -> None:
    code = "from lightser.bundled import bundled_models; bundled_models()"
    assert "onnxruntime" not in loaded_by(code)


def test_recognising_loads_no_extra(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "small")
    code = (
        "from lightser import Recognizer\n"
        f"recognizer = Recognizer.load({str(folder)!r})\n"
        f"recognizer.predict({str(ANGER)!r})\n"
        f"list(recognizer.segments({str(ANGER)!r}))\n"
    )
    loaded = loaded_by(code)
    assert not loaded & set(EXTRAS)
    assert "onnxruntime" in loaded


@pytest.mark.parametrize("words", [["predict", str(ANGER)], ["models"], ["--help"]])
def test_the_command_works_without_the_extras(tmp_path: Path, words: list[str]) -> None:
    folder = write_model(tmp_path / "weights" / "small")
    (tmp_path / "weights" / "default.txt").write_text("small")
    code = (
        f"{BLOCK}\n"
        "from pathlib import Path\n"
        "from lightser import bundled\n"
        f"bundled.WEIGHTS = Path({str(folder.parent)!r})\n"
        "from lightser.cli import main\n"
        "main()"
    )
    run = python(code, *words)
    assert run.returncode == 0, run.stderr
    assert len(run.stdout.splitlines()) >= 2


def test_a_picture_without_matplotlib_says_what_to_install(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "small")
    code = f"{BLOCK}\nfrom lightser.cli import main\nmain()"
    words = ["predict", str(ANGER), "--model", str(folder), "--plot", str(tmp_path / "clip.png")]
    run = python(code, *words)
    assert run.returncode == 2
    assert run.stderr == "lightser: Drawing needs an extra: pip install 'lightser[plot]'\n"
    assert run.stdout == "" and not (tmp_path / "clip.png").exists()


def test_code_of_ones_own_without_pytorch_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("")
    code = f"{BLOCK.replace(repr(EXTRAS), repr(('torch',)))}\nfrom lightser.cli import main\nmain()"
    run = python(code, "corpus", "list", "--code", str(tmp_path / "mine.py"))
    assert run.returncode == 2 and run.stdout == ""
    assert run.stderr == (
        "lightser: Code of one's own needs an extra: pip install 'lightser[train]'\n"
    )
