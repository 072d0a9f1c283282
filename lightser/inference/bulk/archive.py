"""From a list of files to a table of answers, in parts that outlive a kill."""

import csv
import hashlib
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightser
from lightser.bundled import WEIGHTS
from lightser.errors import BadManifest, LightserError
from lightser.inference.adaptation import Adaptation
from lightser.inference.bulk.engines import ENGINES, Engine
from lightser.inference.bulk.items import (
    Item,
    ListFacts,
    blocks_of,
    find_files,
    read_list,
    read_manifest,
    write_list,
)
from lightser.inference.bulk.parts import Parts
from lightser.inference.bulk.remote import absolute, is_url
from lightser.inference.bulk.tables import (
    TABLES,
    Cells,
    Columns,
    TableWriter,
    renamed,
    require_arrow,
)
from lightser.inference.bulk.task import Task, digest_of
from lightser.inference.bulk.voices import EVERYBODY, SPEAKER, learn_voices, write_voices
from lightser.inference.listening import CLIPS, Listening, Manner
from lightser.inference.recognizer import Recognizer
from lightser.names import spoken
from lightser.whole import replacing

# A block is lost with the process that is at it, and is what processes are kept busy with: small
# enough for both where there are few files, large enough for few parts where there are many.
_LARGEST_BLOCK = 256
_FEWEST_BLOCKS = 64


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        files: how many there are.
        done: of them.
        bad: of those that this process has done, how many could not be recognised.
        fresh: files that this process has done.
        heard_s: seconds of audio in those.
    """

    files: int
    done: int
    bad: int
    fresh: int
    heard_s: float


@dataclass(frozen=True)
class Summary:
    """What came of a run.

    Attributes:
        files: how many were asked for.
        bad: how many could not be recognised, or not to their end.
        rows: of the table.
        heard_s: seconds of audio.
        errors: the table of what could not be recognised; None if there is none.
    """

    files: int
    bad: int
    rows: int
    heard_s: float
    errors: Path | None


def predict_archive(
    out: str | os.PathLike[str],
    *,
    manifest: str | None = None,
    sources: Sequence[str] = (),
    column: str = "file",
    base: str | None = None,
    format: str | None = None,
    model: str | os.PathLike[str] = "default",
    manner: Manner = CLIPS,
    labels: Collection[str] | None = None,
    threads: int = 1,
    batch: int = 1,
    engine: str = "local",
    workers: int | None = None,
    adapt: bool | Adaptation = False,
    tell: Callable[[Progress], None] = lambda progress: None,
) -> Summary:
    """Recognise a list of files of any length, and write a table of answers in its order.

    The answers are those of :meth:`Recognizer.predict`, file by file. What is done is kept in
    ``<out>.parts``; the same call after a kill goes on from there. ``out`` appears when all is
    done, and beside it, where something could not be recognised, ``<out's stem>.errors.csv``, which
    is a manifest of what is missing, with the reasons.

    Args:
        out: the table; ``.csv``, ``.jsonl`` or ``.parquet``.
        manifest: a CSV with a column of files, and perhaps ``start``, ``end`` (seconds) and
            ``channel`` (from 1); other columns are carried to the table. Or a ``.txt`` with a file
            on each line.
        sources: instead of it, files, folders, patterns and URLs.
        column: of the manifest, that names the files.
        base: folder or URL in which the manifest's relative names are; by default its own.
        format: if the name of ``out`` does not say it.
        model: a bundled name or a model folder.
        manner: what is wanted of each recording; by default it is a clip, and taken whole.
        labels: to choose from, if not all that the model knows.
        threads: of one prediction.
        batch: windows of one length that the model is asked about at once, whichever clips of a
            block they are from. Above 1, their company may change the last bits of an answer.
        engine: "local", "serial" or "ray".
        workers: files at a time; by default one for each core. Ray's cluster knows its own.
        adapt: whether to adapt to each voice, which takes a first pass over all files in one
            process; voices are told apart by a column ``speaker``, else by channels. Or what was
            heard of one voice, which all go by. Not for segments of each channel, batches or Ray.
        tell: is told how far it is, after each block.

    Raises:
        BadManifest: the manifest cannot be used.
        LightserError: anything else that cannot be; or a run with other files, model, labels or
            manner has begun to write there.
        MissingExtra: Parquet or URLs need the extra ``bulk``, the engine ray needs ``ray``.
    """
    out = Path(out)
    format = format or out.suffix.lower().removeprefix(".")
    write, take = _check(out, format, engine, manifest, sources, base, workers)
    recognizer = Recognizer.load(model, labels=labels, threads=threads)
    Listening(recognizer, manner)  # refuses what does not fit
    recognizer.check_batch(batch)
    if batch > 1 and manner.wants_segments:
        raise LightserError(
            f"A batch of {batch} is for clips taken whole; leave it out where segments are wanted."
        )
    if batch > 1 and manner.track == "all":
        raise LightserError("A batch takes one track of each file; give its number, not all.")
    if adapt:
        recognizer.adapted(adapt if isinstance(adapt, Adaptation) else recognizer.adapt([]))
    if adapt and (batch > 1 or engine == "ray" or manner.per_channel):
        raise LightserError(
            "An archive is adapted to by the engines local and serial, without a batch, and whole "
            "files or channels that a manifest names; leave out the batch, ray or per channel."
        )
    base = base or (_folder_of(manifest) if manifest else os.getcwd())
    base = base if is_url(base) else os.path.abspath(base)
    task = Task(
        model=_name_anywhere(recognizer),
        digest=digest_of(recognizer),
        manner=manner,
        base=base,
        labels=None if labels is None else recognizer.labels,
        threads=threads,
        batch=batch,
    )
    parts = Parts(out.with_name(f"{out.name}.parts"))
    with parts.alone():
        facts = _list_files(parts, manifest, sources, column, base, manner)
        size = _begin_or_go_on(parts, _plan(task, recognizer, facts, adapt), facts.files)
        if adapt:
            speaker_at = facts.columns.index(SPEAKER) if SPEAKER in facts.columns else None
            if not parts.voices.is_file():
                items = read_list(parts.list)
                heard = (
                    {EVERYBODY: adapt}
                    if isinstance(adapt, Adaptation)
                    else learn_voices(Listening(recognizer, manner), items, base, speaker_at)
                )
                write_voices(heard, parts.voices)
            task = replace(
                task,
                voices=str(parts.voices.absolute()),
                voices_digest=hashlib.sha256(parts.voices.read_bytes()).hexdigest(),
                speaker_at=speaker_at,
            )
        finished = parts.finished()
        blocks = (b for b in blocks_of(read_list(parts.list), size) if b.index not in finished)
        done = sum(min(size, facts.files - index * size) for index in finished)
        state = Progress(facts.files, done, 0, 0, 0.0)
        tell(state)
        for part in take(task, blocks, parts, workers or _cores()):
            state = Progress(
                facts.files,
                state.done + part.files,
                state.bad + part.bad,
                state.fresh + part.files,
                state.heard_s + part.seconds,
            )
            tell(state)
        columns = Columns(
            recognizer.labels,
            facts.columns,
            has_channels=facts.has_channels or manner.per_channel,
            has_tracks=manner.track is not None,
            about=f"{lightser.__version__}, model {recognizer.card.name}",
        )
        summary = _assemble(parts, facts, -(-facts.files // size), columns, write, out, base)
        parts.remove()
    return summary


def _check(
    out: Path,
    format: str,
    engine: str,
    manifest: str | None,
    sources: Sequence[str],
    base: str | None,
    workers: int | None,
) -> tuple[TableWriter, Engine]:
    """Return what writes and what works, or refuse what cannot be, before anything is heard."""
    if format not in TABLES:
        raise LightserError(
            f"{out}: an archive is written as {', '.join(TABLES)}; end the name with one of these, "
            "or give the format."
        )
    if format == "parquet":
        require_arrow()
    if is_url(str(out)) or out.is_dir() or not out.parent.is_dir():
        raise LightserError(f"{out}: give the name of a file to write, in a folder that is there.")
    if bool(manifest) == bool(sources):
        raise LightserError("Give a manifest, or files, folders, patterns and URLs; not both.")
    if sources and base:
        raise LightserError(f"The base {base} is for the names in a manifest; leave it out.")
    written = [os.path.realpath(path) for path in (out, _side(out))]
    if any(os.path.realpath(name) in written for name in (manifest, *sources) if name):
        raise LightserError(f"{out}: what is read would be written over; give another name.")
    if "-" in sources:
        raise LightserError("- is one recording from a pipe, and this is for many; leave it out.")
    if workers is not None and workers < 1:
        raise LightserError(f"workers must be 1 or more, got {workers}.")
    return TABLES[format], ENGINES[engine]


def _side(out: Path) -> Path:
    """Return where the table of what could not be recognised goes."""
    return out.with_name(f"{out.stem}.errors.csv")


def _folder_of(manifest: str) -> str:
    return (
        manifest.rpartition("/")[0] if is_url(manifest) else str(Path(manifest).absolute().parent)
    )


def _name_anywhere(recognizer: Recognizer) -> str:
    """Return what another process calls the model, or a machine on which it is installed."""
    folder = recognizer.folder
    return folder.name if folder.parent == WEIGHTS else str(folder.absolute())


def _cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


# Before


def _list_files(
    parts: Parts,
    manifest: str | None,
    sources: Sequence[str],
    column: str,
    base: str,
    manner: Manner,
) -> ListFacts:
    """Write the list of files, whether it is new or that of an earlier run, and describe it."""
    carried: tuple[str, ...] = ()
    items: Iterable[Item] = find_files(sources)
    if manifest:
        carried, items = read_manifest(manifest, column, base)
    facts = write_list(carried, items, parts.new_list)
    if manner.per_channel and facts.has_stretches:
        raise BadManifest(
            "The manifest names stretches or channels, and segments of each channel are wanted; "
            "leave one of them out."
        )
    return facts


def _plan(
    task: Task, recognizer: Recognizer, facts: ListFacts, adapt: bool | Adaptation
) -> dict[str, Any]:
    """Return what must be the same when a run goes on, by the names that people know it by."""
    manner = {
        key.removesuffix("_s").replace("_", " "): repr(value)
        for key, value in vars(task.manner).items()
    }
    voices = "adapted to" if adapt else "not adapted to"
    if isinstance(adapt, Adaptation):
        voices = f"adapted to {hashlib.sha256(adapt.to_json().encode()).hexdigest()[:12]}"
    return {
        "list of files": f"{facts.files} files, {facts.sha256[:12]}",
        "folder of files": task.base,
        "model": f"{recognizer.card.name}, {task.digest[:12]}",
        "choice of labels": ", ".join(recognizer.labels),
        "version of lightser": lightser.__version__,
        "batch": str(task.batch),
        "voices": voices,
        **manner,
    }


def _begin_or_go_on(parts: Parts, plan: dict[str, Any], files: int) -> int:
    """Return how many files a block has; begin a run if there is none.

    Raises:
        LightserError: the run that is there is about something else.
    """
    size = min(_LARGEST_BLOCK, max(1, files // _FEWEST_BLOCKS))
    earlier = parts.plan()
    if earlier is None:
        parts.begin({**plan, "block": size})
        return size
    for what, value in plan.items():
        if earlier.get(what) != value:
            raise LightserError(
                f"{parts.folder} holds a run that began with another {what} "
                f"({earlier.get(what)}; now {value}); go on with that, or remove the folder to "
                "start over."
            )
    parts.new_list.unlink()  # the same as the one that is there
    return int(earlier["block"])


# After


def _assemble(
    parts: Parts,
    facts: ListFacts,
    n_parts: int,
    columns: Columns,
    write: TableWriter,
    out: Path,
    base: str,
) -> Summary:
    """Write the table and the side table from all parts, each whole or not at all.

    The side table is a manifest: names in it are relative to its own folder, or absolute.
    """
    counts = {"rows": 0, "bad": 0, "seconds": 0.0}
    side = _side(out)
    is_base = os.path.realpath(side.parent) == os.path.realpath(base)
    # It may be made of a manifest that was one of these.
    kept = [i for i, name in enumerate(facts.columns) if name != "reason"]

    def rows(errors: Any) -> Iterator[Cells]:
        items = enumerate(read_list(parts.list))
        at, item = next(items)
        for index in range(n_parts):
            for line in parts.read(index):
                if isinstance(line, dict):
                    counts["bad"] += line["bad"]
                    counts["seconds"] += line["seconds"]
                    continue
                number, *heard = line
                while at < number:
                    at, item = next(items)
                carried = [spoken(cell) for cell in item.carried]
                if len(heard) == 1:
                    file = absolute(item.file, base) if item.file and not is_base else item.file
                    known = (spoken(file), *item.stretch, *(carried[i] for i in kept))
                    errors.writerow([*known, spoken(heard[0])])
                    continue
                track, channel, start, end, label, confidence, probabilities = heard
                counts["rows"] += 1
                yield (
                    spoken(item.file),
                    *([track] if columns.has_tracks else []),
                    *([channel] if columns.has_channels else []),
                    *(start, end, label, confidence),
                    *(probabilities or [None] * len(columns.labels)),
                    *carried,
                )

    ours = ("file", "start", "end", "channel")
    header = [*ours, *renamed((facts.columns[i] for i in kept), {*ours, "reason"}), "reason"]
    with (
        replacing(side) as unfinished,
        open(unfinished, "w", encoding="utf-8", newline="") as file,
        replacing(out) as table,  # the larger one, which names itself if the disk is full
    ):
        errors = csv.writer(file, lineterminator="\n")
        errors.writerow(header)
        write(rows(errors), columns, table)
    if not counts["bad"]:
        side.unlink()
    return Summary(
        facts.files,
        int(counts["bad"]),
        int(counts["rows"]),
        counts["seconds"],
        side if counts["bad"] else None,
    )
