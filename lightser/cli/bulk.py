"""Archives on the command line: ``lightser predict`` with a manifest, workers, URLs or Parquet."""

import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from lightser.cluster import name_cluster
from lightser.errors import LightserError

if TYPE_CHECKING:
    from lightser.inference.adaptation import Adaptation
    from lightser.inference.bulk.archive import Progress, Summary
    from lightser.inference.listening import Manner

# Where nobody sees the line change, one is written this often.
_LOG_EVERY_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Archive:
    """What was said on the command line that is about archives.

    Attributes:
        files: sources.
        manifest: instead of them.
        column: of the manifest.
        base: of relative names.
        engine: how blocks of files are worked on.
        address: of a Ray cluster.
        workers: files at a time.
        batch: windows that the model is asked about at once.
        out: the table.
        format: of it.
        adapt: whether to adapt to each voice, or what was heard of one.
    """

    files: Sequence[str]
    manifest: str | None
    column: str
    base: str | None
    engine: str | None
    address: str | None
    workers: int | None
    batch: int | None
    out: Path | None
    format: str | None
    adapt: "bool | Adaptation"

    @property
    def is_meant(self) -> bool:
        """Whether anything was said that only an archive has."""
        ending = self.out.suffix.lower() if self.out else ""
        return (
            any((self.manifest, self.base, self.engine, self.address, self.batch))
            or self.workers is not None
            or (self.format or ending.removeprefix(".")) == "parquet"
            or any("://" in file for file in self.files)
        )


def predict_bulk(
    archive: Archive, manner: "Manner", *, model: str, labels: list[str] | None, threads: int
) -> None:
    """Recognise an archive, with a line that says how far it is and one that says what came of it.

    Exit codes: 0 if the table is written, though some files may be in its side table; 2 if not a
    single file could be recognised; 130 if it was interrupted.
    """
    from lightser.inference.bulk import predict_archive

    if archive.out is None:
        raise LightserError("An archive needs a file to write: --out emotions.parquet, say.")
    engine = archive.engine or "local"
    if archive.address:
        engine = name_cluster(archive.engine or "", archive.address, default="")
    meter = Meter()
    try:
        summary = predict_archive(
            archive.out,
            manifest=archive.manifest,
            sources=archive.files,
            column=archive.column,
            base=archive.base,
            format=archive.format,
            model=model,
            manner=manner,
            labels=labels,
            threads=threads,
            batch=archive.batch or 1,
            engine=engine,
            workers=archive.workers,
            adapt=archive.adapt,
            tell=meter,
        )
    except KeyboardInterrupt:
        meter.end()
        said = f"interrupted, {meter.so_far()}; the same command goes on from there"
        print(f"lightser: {said}", file=sys.stderr)
        raise typer.Exit(130) from None
    finally:
        meter.end()
    report(summary, archive.out, meter.seconds())


def report(summary: "Summary", out: Path, seconds: float) -> None:
    """Say what came of it."""
    print(
        f"lightser: {out}: {summary.rows:,} rows of {summary.files:,} files, "
        f"{summary.heard_s / 3600:,.2f} h of audio, in {clock(seconds)}",
        file=sys.stderr,
    )
    if summary.bad:
        print(
            f"lightser: {summary.bad:,} of {summary.files:,} files could not be recognised: "
            f"{summary.errors}",
            file=sys.stderr,
        )
    if summary.bad == summary.files:
        raise typer.Exit(2)


def clock(seconds: float) -> str:
    """Return hours, minutes and seconds.

    >>> clock(3725.4), clock(4 * 86400)
    ('1:02:05', '4 days, 0:00:00')
    """
    return str(timedelta(seconds=round(seconds)))


class Meter:
    """A line that says how far it is: it changes on a terminal, and is repeated in a log."""

    def __init__(self) -> None:
        self._changes = sys.stderr.isatty()
        self._began = self._told = time.monotonic()
        self._width = 0
        self._last: Progress | None = None

    def __call__(self, progress: "Progress") -> None:
        """Take how far it is, and say so if it is time."""
        if self._last is None:
            self._began = time.monotonic()  # before that, files were listed
        self._last = progress
        now = time.monotonic()
        if now - self._told < (0.2 if self._changes else _LOG_EVERY_S):
            return
        self._told = now
        text = line(progress, now - self._began)
        if self._changes:
            room = shutil.get_terminal_size().columns - 1
            print("\r" + text[:room].ljust(self._width), end="", file=sys.stderr, flush=True)
            self._width = len(text[:room])
        else:
            print(f"lightser: {text}", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Take the line away."""
        if self._width:
            print("\r" + " " * self._width + "\r", end="", file=sys.stderr, flush=True)
            self._width = 0

    def so_far(self) -> str:
        """Return how many files are done."""
        return (
            f"{self._last.done:,} of {self._last.files:,} files are done"
            if self._last
            else ("before the first file was heard")
        )

    def seconds(self) -> float:
        """Return how long it took, from the first file on."""
        return time.monotonic() - self._began


def line(progress: "Progress", seconds: float) -> str:
    """Return how far it is, how fast, and how long it will take, in words.

    >>> from lightser.inference.bulk.archive import Progress
    >>> line(Progress(files=1_000_000, done=250_000, bad=12, fresh=50_000, heard_s=150_000), 200)
    '250,000 of 1,000,000 files (12 bad), 250 files/s, 750 h of audio an hour, 0:50:00 left'
    """
    text = f"{progress.done:,} of {progress.files:,} files"
    if progress.bad:
        text += f" ({progress.bad:,} bad)"
    if not progress.fresh:
        return text
    rate = progress.fresh / max(seconds, 1e-9)
    left = clock((progress.files - progress.done) / rate)
    speed = progress.heard_s / max(seconds, 1e-9)
    return f"{text}, {rate:,.3g} files/s, {speed:,.0f} h of audio an hour, {left} left"
