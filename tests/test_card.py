"""The model card: whatever is written is read back, and whatever is wrong is said."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from model_folder import make_card, write_model

from lightser.card import Card, FileFacts, file_facts, read_card, verify_files, write_card
from lightser.errors import BadModel, LightserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_model(tmp_path / "tiny")


def edit(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / "card.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def test_a_card_is_read_as_it_was_written(folder: Path) -> None:
    assert read_card(folder) == make_card(folder)


def test_writing_a_card_leaves_nothing_but_the_card(folder: Path) -> None:
    before = sorted(folder.iterdir())
    write_card(folder, read_card(folder))
    assert sorted(folder.iterdir()) == before


def test_a_card_is_readable_by_everyone(folder: Path) -> None:
    assert (folder / "card.json").stat().st_mode & 0o777 == 0o644


def test_a_card_cannot_be_written_into_nothing(folder: Path) -> None:
    with pytest.raises(LightserError, match=r"card\.json: cannot be written"):
        write_card(folder / "no" / "folder", read_card(folder))


def test_a_card_that_cannot_be_put_in_place_leaves_nothing_behind(folder: Path) -> None:
    card = read_card(folder)
    (folder / "card.json").unlink()
    (folder / "card.json").mkdir()
    before = sorted(folder.iterdir())
    with pytest.raises(LightserError, match=r"card\.json: a folder"):
        write_card(folder, card)
    assert sorted(folder.iterdir()) == before


LATER = {"bands": ()}  # what the first cards could not say


@pytest.mark.parametrize("key", LATER)
def test_cards_of_before_can_be_read(folder: Path, key: str) -> None:
    edit(folder, lambda data: data.pop(key))
    assert getattr(read_card(folder), key) == LATER[key]


KEYS = [field.name for field in dataclasses.fields(Card) if field.name not in LATER]


@pytest.mark.parametrize("key", KEYS)
def test_a_missing_key_is_named(folder: Path, key: str) -> None:
    edit(folder, lambda data: data.pop(key))
    with pytest.raises(BadModel, match=key):
        read_card(folder)


def test_an_unknown_key_is_passed_over(folder: Path) -> None:
    card = read_card(folder)
    edit(folder, lambda data: data.update(invented_later=1))
    assert read_card(folder) == card


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("format", 2, "format 2; this version of lightser reads 1"),
        ("format", "1", "format '1'"),
        ("labels", ["anger"], "at least two"),
        ("labels", ["anger", "anger"], "twice"),
        ("labels", ["anger", ""], "empty"),
        ("labels", "anger", "expected a list, got 'anger'"),
        ("labels", ["anger", 3], r"labels\[1\]: expected a text, got 3"),
        ("sample_rate", 0, "not above 0"),
        ("sample_rate", 16000.5, "expected a whole number"),
        ("sample_rate", True, "expected a whole number"),
        ("window_s", 0.1, "shorter than min_s"),
        ("min_s", -1.0, "not above 0"),
        ("window_s", float("nan"), "expected a finite number"),
        ("window_s", float("inf"), "expected a finite number"),
        ("temperature", 0, "not above 0"),
        ("scores", {}, "expected a list, got an object"),
        ("trained_on", ["emodb"], r"trained_on\[0\]: expected an object"),
        ("files", {"model.onnx": {"sha256": "0", "bytes": 1}}, "'golden.flac' is missing"),
        ("files", {"../passwd": {"sha256": "0", "bytes": 1}}, "not a plain file name"),
        ("files", {"/etc/passwd": {"sha256": "0", "bytes": 1}}, "not a plain file name"),
        ("files", {"model.onnx": {"sha256": "0"}}, "'bytes' is missing"),
    ],
)
def test_a_wrong_value_is_named(folder: Path, key: str, value: Any, complaint: str) -> None:
    edit(folder, lambda data: data.update({key: value}))
    with pytest.raises(BadModel, match=complaint) as raised:
        read_card(folder)
    assert "\n" not in str(raised.value)


def test_a_whole_number_is_a_number(folder: Path) -> None:
    edit(folder, lambda data: data.update(window_s=2))
    assert read_card(folder).window_s == 2.0


def test_an_interval_has_two_ends(folder: Path) -> None:
    edit(folder, lambda data: data["scores"][0].update(ua_interval=[0.1]))
    with pytest.raises(BadModel, match=r"scores\[0\]: ua_interval: expected 2 values, got 1"):
        read_card(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000])
def test_what_is_no_card_is_said_in_one_line(folder: Path, text: str) -> None:
    (folder / "card.json").write_text(text)
    with pytest.raises(BadModel) as raised:
        read_card(folder)
    assert "\n" not in str(raised.value)


def test_a_folder_that_is_none_is_said(folder: Path) -> None:
    with pytest.raises(BadModel, match="no model folder"):
        read_card(folder / "nowhere")
    with pytest.raises(BadModel, match="is a file; give the model folder around it"):
        read_card(folder / "model.onnx")
    (folder / "card.json").unlink()
    with pytest.raises(BadModel, match="has no card"):
        read_card(folder)


def test_files_as_they_were_written_are_verified(folder: Path) -> None:
    verify_files(folder, read_card(folder))


@pytest.mark.parametrize("name", ["model.onnx", "golden.flac", "golden.json"])
def test_one_changed_bit_is_found(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(BadModel, match=f"{name}' was changed since its card was written"):
        verify_files(folder, read_card(folder))


def test_a_file_that_was_cut_short_is_found(folder: Path) -> None:
    content = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(content[:-1])
    with pytest.raises(BadModel, match=f"has {len(content) - 1} bytes, its card says"):
        verify_files(folder, read_card(folder))


def test_a_missing_file_is_found(folder: Path) -> None:
    (folder / "golden.flac").unlink()
    with pytest.raises(BadModel, match="is missing; copy the model folder again"):
        verify_files(folder, read_card(folder))


def test_who_may_not_read_a_file_is_told_who_can_change_that(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = read_card(folder)

    def refuse(path: Path) -> FileFacts:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("lightser.card.file_facts", refuse)
    with pytest.raises(BadModel, match=r"may not be read by .*user.*; .*chmod -R a\+rX") as caught:
        verify_files(folder, card)
    assert "copy the model folder" not in str(caught.value)


def test_the_size_is_that_of_all_files(folder: Path) -> None:
    files = [path for path in folder.iterdir() if path.name != "card.json"]
    assert read_card(folder).size == sum(path.stat().st_size for path in files)


def test_facts_of_a_file_are_those_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert file_facts(tmp_path / "abc") == FileFacts(sha256=sha256, bytes=3)


def test_reading_a_card_needs_the_standard_library_alone() -> None:
    code = "import lightser.card, sys; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"numpy", "onnxruntime", "soundfile", "typer"} & set(run.stdout.split())
