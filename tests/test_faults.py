"""Whatever fails on the way, a run ends in one line, loses nothing, and can be done again."""

import csv
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import pytest
from faults import KINDS, each_fault
from model_folder import ANGER, SADNESS, write_model
from tiny_corpus import tiny_corpus, tiny_recipe

from lightser.bundled import bundled_models
from lightser.card import MODEL, read_card
from lightser.errors import LightserError
from lightser.export import folder
from lightser.training import crossval
from lightser.training.crossval import Plan, make_plan
from lightser.training.jobs import run_job
from lightser.training.recipe import Optim
from lightser.training.system import System


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "small")


def files_in(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def ends_in_words(done: SimpleNamespace, lines: int = 1) -> None:
    """Check that a run has passed, or said why not in so many lines."""
    assert "Traceback" not in done.err
    if done.code:
        assert done.code == 2
        said = done.err.rstrip("\n").split("\n")
        assert said[0].startswith("lightser: ") and len(said) <= lines, done.err


@pytest.mark.parametrize("kind", KINDS)
def test_predict_writes_its_table_whole_or_leaves_what_was_there(
    kind: str, model: Path, tmp_path: Path, lightser: Callable[..., SimpleNamespace]
) -> None:
    out = tmp_path / "out" / "emotions.csv"
    out.parent.mkdir()
    command = ("predict", ANGER, SADNESS, "--model", model, "--window", 1, "--out", out)
    assert lightser(*command).code == 0
    expected = out.read_text()
    for n, fault in each_fault(kind):
        out.write_text("of before")
        with fault:
            done = lightser(*command)
        ends_in_words(done, lines=3)  # each file that cannot be read has a line
        assert list(files_in(out.parent)) == [out.name], n
        if done.code == 0:
            assert out.read_text() == expected, n
        elif "could not be recognised" in done.err or not done.err.count("cannot be written"):
            # What was heard until then is whole lines of the same table, or what was there before.
            rows = out.read_text().splitlines()
            assert rows == ["of before"] or set(rows) <= set(expected.splitlines()), n
        else:
            assert out.read_text() == "of before", n


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_goes_on_after_any_fault_without_loss(
    kind: str, model: Path, tmp_path: Path, lightser: Callable[..., SimpleNamespace]
) -> None:
    out = tmp_path / "out" / "emotions.csv"
    out.parent.mkdir()
    manifest = tmp_path / "files.csv"
    with open(manifest, "w", newline="") as file:
        csv.writer(file).writerows([["file", "end"], [ANGER, 1.0], [SADNESS, 1.5], [ANGER, 2.0]])
    command = (
        "predict",
        "--manifest",
        manifest,
        "--model",
        model,
        "--engine",
        "serial",
        "--out",
        out,
    )
    assert lightser(*command).code == 0
    expected = files_in(out.parent)
    for n, fault in each_fault(kind):
        out.unlink()
        with fault:
            done = lightser(*command)
        ends_in_words(done)
        if out.exists() and "could not be recognised" not in done.err:
            assert out.read_bytes() == expected[out.name], n
        if done.code or "could not be recognised" in done.err:
            again = lightser(*command)
            assert again.code == 0, (n, again.err)
            assert files_in(out.parent) == expected, (n, done.err, again.err)


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_folder_is_exported_whole_or_not_at_all(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of an export but PyTorch's exporter, which writes what it wrote before."""
    place = tmp_path / "out" / "mine"
    known = bundled_models()["emodb-light_sernet"]
    card, graph = read_card(known), (known / MODEL).read_bytes()
    monkeypatch.setattr(folder, "to_onnx", lambda system, path: path.write_bytes(graph))
    system = System.load(known / "weights.safetensors")
    facts = folder.CardFacts(
        **{field.name: getattr(card, field.name) for field in fields(folder.CardFacts)}
    )
    folder.write_model_folder(system, facts, place)
    expected = files_in(place.parent)
    for n, fault in each_fault(kind):
        has_failed = False
        with fault:
            try:
                folder.write_model_folder(system, facts, place, overwrite=True)
            except (LightserError, OSError, MemoryError):  # which the command line says in words
                has_failed = True
        assert files_in(place.parent) == expected, n
        if has_failed:
            folder.write_model_folder(system, facts, place, overwrite=True)
            assert files_in(place.parent) == expected, n


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Path]:
    """Return the plan of a run whose jobs are done, and its folder before they are collected."""
    root = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIGHTSER_CACHE", str(root / "cache"))
        recipe = tiny_recipe(optim=Optim(epochs=1, batch_size=12, learning_rate=1e-3))
        plan = make_plan(recipe, tiny_corpus(), name="tiny", out=root / "out")
        for job in crossval.missing_jobs(plan):
            run_job(job)
    shutil.copytree(plan.out, root / "begun")
    return plan, root / "begun"


@pytest.mark.parametrize("kind", ["read", "write", "rename"])  # of tables, not of sound
def test_results_are_collected_and_reported_after_any_fault_without_loss(
    kind: str, trained: tuple[Plan, Path], lightser: Callable[..., SimpleNamespace]
) -> None:
    plan, begun = trained

    def begin_anew() -> None:
        shutil.rmtree(plan.out, ignore_errors=True)
        shutil.copytree(begun, plan.out)

    begin_anew()
    crossval.run(plan)
    expected = files_in(plan.out)
    page = plan.out.parent / "report.md"
    assert lightser("report", plan.out, "--out", page).code == 0
    said = page.read_text()
    for n, fault in each_fault(kind):
        begin_anew()
        with fault, suppress(LightserError, OSError, MemoryError):  # said by the command line
            crossval.run(plan)
        crossval.run(plan)
        assert files_in(plan.out) == expected, n
        with fault:
            done = lightser("report", plan.out, "--out", page)
        ends_in_words(done)
        assert page.read_text() == said, n
