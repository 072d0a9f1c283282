"""Files are whole or not there, whoever is interrupted, and whoever writes at the same time."""

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lightser.errors import BadModel, LightserError
from lightser.whole import free_place, replacing, replacing_folder, write_whole


def test_a_text_is_written_as_it_is(tmp_path: Path) -> None:
    write_whole(tmp_path / "a.txt", "Wut\r\nÄrger\n")
    assert (tmp_path / "a.txt").read_bytes() == "Wut\r\nÄrger\n".encode()
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("end", [KeyboardInterrupt, ValueError])
def test_who_breaks_off_leaves_what_was_there(tmp_path: Path, end: type[BaseException]) -> None:
    (tmp_path / "a.npy").write_text("before")
    with pytest.raises(end), replacing(tmp_path / "a.npy") as unfinished:
        assert unfinished.parent == tmp_path and unfinished.suffix == ".npy"
        unfinished.write_text("half")
        raise end
    assert (tmp_path / "a.npy").read_text() == "before"
    assert os.listdir(tmp_path) == ["a.npy"]


def test_a_kill_leaves_what_was_there(tmp_path: Path) -> None:
    write_whole(tmp_path / "a", "before")
    code = (
        "import os, sys; from lightser.whole import replacing\n"
        "with replacing(sys.argv[1]) as unfinished:\n"
        "    unfinished.write_text('half'); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a")], check=False)
    assert (tmp_path / "a").read_text() == "before"


def test_many_who_write_one_file_leave_one_whole(tmp_path: Path) -> None:
    texts = [letter * 200_000 for letter in "abcdefgh"]
    threads = [threading.Thread(target=write_whole, args=(tmp_path / "a", t)) for t in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "a").read_text() in texts
    assert os.listdir(tmp_path) == ["a"]


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_whole(tmp_path / "link", "text")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real").read_text() == "text"


def test_a_device_stays_in_its_place() -> None:
    write_whole(os.devnull, "text")
    assert not stat.S_ISREG(os.stat(os.devnull).st_mode)


def test_a_file_may_be_read_by_whom_the_umask_lets(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "a", "text")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("no/such/folder.txt", r"no/such/folder.txt: cannot be written \(No such file"),
        ("file/inside.txt", r"inside.txt: cannot be written \(Not a directory"),
        ("folder", "folder: a folder; give the name of a file"),
    ],
)
def test_what_cannot_be_written_is_named(tmp_path: Path, name: str, complaint: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(LightserError, match=complaint):
        write_whole(tmp_path / name, "text")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def made(path: Path, overwrite: bool = True) -> Path:
    return free_place(path, mark="mark", kind="a thing", overwrite=overwrite)


@pytest.fixture
def thing(tmp_path: Path) -> Path:
    (tmp_path / "thing").mkdir()
    (tmp_path / "thing" / "mark").write_text("old")
    return tmp_path / "thing"


@pytest.mark.parametrize("name", ["thing", "thing/.", "thing/../thing", "link"])
def test_a_folder_is_replaced_by_any_of_its_names(tmp_path: Path, thing: Path, name: str) -> None:
    (tmp_path / "link").symlink_to(thing)
    with replacing_folder(made(tmp_path / name)) as unfinished:
        (unfinished / "mark").write_text("new")
    assert (thing / "mark").read_text() == "new"
    assert sorted(os.listdir(tmp_path)) == ["link", "thing"]


@pytest.mark.parametrize("end", [KeyboardInterrupt, OSError])
def test_a_folder_comes_back_if_the_new_one_cannot_take_its_place(
    tmp_path: Path, thing: Path, end: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def break_off(path: Path, target: Path) -> Path:
        if target == thing and (path / "new").exists():
            raise end
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", break_off)
    said = LightserError if end is OSError else end
    with pytest.raises(said), replacing_folder(thing) as unfinished:
        (unfinished / "new").touch()
    assert (thing / "mark").read_text() == "old"
    assert os.listdir(tmp_path) == ["thing"]


def test_a_place_that_is_not_free_is_refused_before_the_work(
    tmp_path: Path, thing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "letters").mkdir()
    with pytest.raises(BadModel, match="thing' exists; give another --out, or --overwrite it"):
        made(thing, overwrite=False)
    with pytest.raises(BadModel, match="letters' is not a thing"):
        made(tmp_path / "letters")
    with pytest.raises(LightserError, match=r"mark/new' cannot be written: (Not a|File exists)"):
        made(thing / "mark" / "new")
    monkeypatch.chdir(thing)
    (thing / "sub").mkdir()
    for name in (".", "sub/.."):
        with pytest.raises(LightserError, match="You are inside '"):
            made(Path(name))
    monkeypatch.chdir("sub")
    with pytest.raises(LightserError, match="You are inside"):
        made(Path(".."))
    assert sorted(os.listdir(tmp_path)) == ["letters", "thing"]
