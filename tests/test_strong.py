"""Models in packages of their own: built, installed, found by name, heard without PyTorch."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from model_folder import ANGER, SADNESS, write_model

from lightser import Recognizer, bundled
from lightser.bundled import find_model, installed_models, known_models
from lightser.card import read_card
from lightser.errors import MissingExtra, UnknownName

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "packages" / "lightser-strong"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of installed packages with the wheel in it and nothing else."""
    pytest.importorskip("hatchling", reason="needs hatchling, to build the wheel without a network")
    work = tmp_path_factory.mktemp("strong")
    shutil.copytree(PACKAGE, work / "source")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(work / "wheels")]
    subprocess.run(build, cwd=work / "source", check=True, capture_output=True)
    (wheel,) = (work / "wheels").glob("*.whl")
    assert wheel.stat().st_size < 12e6
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(work / "site")
    return work / "site"


def run(site: Path, *command: str) -> str:
    path = os.pathsep.join([str(site), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_the_model_its_terms_and_no_code(site: Path) -> None:
    folder = site / "lightser_strong" / "strong"
    card = read_card(folder)
    assert card.name == "strong"
    for terms in (folder / "whisper.LICENSE.txt", *site.glob("*.dist-info/licenses/LICENSE*")):
        assert "Permission is hereby granted, free of charge" in terms.read_text()
    assert "OpenAI" in (folder / "whisper.LICENSE.txt").read_text()
    assert card.license.endswith("AND MIT")
    assert card.scores and all(
        score.protocol in ("loso", "loco", "speaker_kfold") for score in card.scores[:1]
    )
    assert [p.name for p in site.rglob("*.py")] == ["__init__.py"]
    assert "import" not in (site / "lightser_strong" / "__init__.py").read_text()


def test_the_model_is_small_and_answers_as_in_float32(site: Path) -> None:
    folder = site / "lightser_strong" / "strong"
    assert (folder / "model.onnx").stat().st_size <= 12e6
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["precision"] == "int8"
    assert manifest["parity"]["label_agreement"] >= 0.98
    assert manifest["parity"]["clips"] >= 200


def test_an_installed_model_is_listed_and_recognises_without_pytorch(site: Path) -> None:
    assert "\nstrong " in run(site, "-m", "lightser", "models")
    answer = run(
        site, "-m", "lightser", "predict", str(ANGER), "--model", "strong", "--format", "json"
    )
    assert "anger" in answer
    code = (
        "import sys; from lightser import Recognizer\n"
        f"print(Recognizer.load('strong').predict({str(SADNESS)!r}).label)\n"
        "assert not {'torch', 'onnx', 'safetensors', 'lightser_strong'} & sys.modules.keys()"
    )
    assert run(site, "-c", code).strip() == "sadness"


def install(site: Path, name: str, module: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a package with a model, as pip would have left it; return the model's folder."""
    write_model(site / module / name)
    (site / module / "__init__.py").write_text("raise AssertionError('code was run')\n")
    info = site / f"{module}-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[lightser.models]\n{name} = {module}\n")
    monkeypatch.syspath_prepend(str(site))
    return site / module / name


def test_a_model_of_any_package_is_found_by_its_name_and_no_code_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = install(tmp_path, "calls", "acme_models", monkeypatch)
    assert installed_models()["calls"] == folder
    assert find_model("calls") == folder
    assert Recognizer.load("calls").card.name == "calls"
    assert list(known_models())[: len(bundled.bundled_models())] == [*bundled.bundled_models()]
    with pytest.raises(UnknownName, match="did you mean 'calls'"):
        find_model("cals")


def test_a_bundled_model_is_not_replaced_by_one_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = bundled.default_model()
    install(tmp_path, name, "acme_models", monkeypatch)
    assert find_model(name).parent == bundled.WEIGHTS
    assert known_models()[name].parent == bundled.WEIGHTS


def test_a_package_without_its_model_is_as_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(install(tmp_path, "calls", "acme_models", monkeypatch))
    assert "calls" not in installed_models()


def test_without_the_package_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled, "entry_points", lambda group: [])
    with pytest.raises(
        MissingExtra, match=r"model 'strong' needs an extra: pip install 'lightser\[strong\]'"
    ):
        find_model("strong")
    with pytest.raises(UnknownName, match="did you mean 'strong'"):
        find_model("strng")
