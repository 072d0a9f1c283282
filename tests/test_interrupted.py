"""Ctrl-C is answered in one line, exit code 130, and how to go on."""

import contextlib
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import SAMPLES

from lightser.cli import main

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are those of POSIX")

CODE = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"


@pytest.fixture
def heeding() -> Iterator[None]:
    """Have interrupts heeded, even where whoever runs the tests in the background ignores them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def predicting(**streams: Any) -> "subprocess.Popen[str]":
    """Start to read from a pipe that never ends, and interrupt it."""
    words = ["lightser", "predict", "-"]
    code = f"{CODE}import sys; sys.argv = {words}\nfrom lightser.cli import main\nmain()"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, text=True, **streams
    )
    assert process.stdin
    process.stdin.write("RIFF")
    process.stdin.flush()
    # It has opened a temporary file for what comes when it waits for more.
    fds = Path(f"/proc/{process.pid}/fd")
    for _ in range(1200):
        if not fds.exists() or any("/#" in target for target in targets(fds)):
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    return process


def targets(fds: Path) -> Iterator[str]:
    """Yield what a process has open; some of it is closed while one looks."""
    for fd in list(fds.iterdir()):
        with contextlib.suppress(FileNotFoundError):
            yield os.readlink(fd)


def test_an_interrupt_is_one_line() -> None:
    with predicting(stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "lightser: interrupted\n")


def test_on_a_terminal_the_line_stands_below_the_sign_of_the_key() -> None:
    parent, child = pty.openpty()
    with predicting(stdout=child, stderr=child) as process:
        os.close(child)
        process.wait(60)
        shown = b""
        while not shown.endswith(b"interrupted\r\n"):
            shown += os.read(parent, 1_000)
    os.close(parent)
    assert process.returncode == 130
    assert shown.endswith(b"\r\nlightser: interrupted\r\n")
    assert b"Aborted" not in shown


def test_a_polite_kill_leaves_nothing_half_done(tmp_path: Path) -> None:
    words = ["lightser", "predict", str(SAMPLES / "10b10Wa.flac"), "-", "--out", "said.csv"]
    with subprocess.Popen(
        [sys.executable, "-m", *words],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        text=True,
    ) as process:
        while not os.listdir(tmp_path):  # the row of the first
            assert process.poll() is None
            time.sleep(0.01)
        process.terminate()
        assert process.wait(60) == 143
        assert process.stderr and process.stderr.read() == ""
    assert os.listdir(tmp_path) == []


def test_long_work_says_how_to_go_on(
    heeding: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("lightser.corpora.download.fetch", interrupted)
    monkeypatch.setattr(sys, "argv", ["lightser", "corpus", "download", "emodb", str(tmp_path)])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 130
    *_, last = capsys.readouterr().err.splitlines()
    assert last == "lightser: interrupted, the same command goes on with what is there"
