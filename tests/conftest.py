"""What tests share: where real corpora are, and a few real clips."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest


def pytest_configure(config: pytest.Config) -> None:
    # Not in pyproject.toml: there it would be imported before coverage begins.
    config.addinivalue_line("filterwarnings", "error::lightser.errors.LightserWarning")
    for said_of_others in (
        "The inplace keyword in DataFrame.set_index",  # audformat to pandas
        r"`use_\w+` is deprecated",  # Ray to itself
        r"os.fork\(\) was called",  # JAX, which comes with an exporter, to subprocess
    ):
        config.addinivalue_line("filterwarnings", f"ignore:{said_of_others}")


collect_ignore = ["fuzz.py"]  # by which `make fuzz` runs; it needs Atheris
SAMPLES = Path(__file__).parent.parent / "lightser" / "samples"


@pytest.fixture(scope="session")
def corpus_root() -> Callable[[str], Path]:
    """Return the folder of a real corpus, or skip with how to get it."""

    def root(name: str) -> Path:
        folder = Path(os.environ.get("LIGHTSER_DATA", "")) / name
        if not os.environ.get("LIGHTSER_DATA") or not folder.is_dir():
            pytest.skip(
                f"needs the corpus '{name}': lightser corpus download {name} DIR/{name}, "
                "then LIGHTSER_DATA=DIR"
            )
        return folder

    return root


@pytest.fixture
def lightser(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., SimpleNamespace]:
    """Return a function that runs a command line and returns exit code, stdout and stderr."""
    from lightser.cli import main  # late, as coverage has not begun yet

    def run(*words: object) -> SimpleNamespace:
        monkeypatch.setattr(sys, "argv", ["lightser", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        return SimpleNamespace(code=ended.value.code or 0, **capsys.readouterr()._asdict())

    return run


def heed_interrupts() -> None:
    """Heed Ctrl-C in a process begun from here; who runs tests in the background may ignore it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def forget_own_code() -> None:
    """Forget what recipes have registered, as in a process that has read none."""
    from lightser.training import own_code

    for _, added in own_code._RUN.values():
        for registry, name in added:
            del registry[name]
    own_code._RUN.clear()


@pytest.fixture
def own_code_is_forgotten() -> Iterator[None]:
    """Forget it in the end: other tests go over all networks."""
    yield
    forget_own_code()
