"""Whatever fails on the way, a run ends in one line, loses nothing, and can be done again."""

import csv
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from faults import KINDS, each_fault
from model_folder import ANGER, SADNESS, write_model


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
