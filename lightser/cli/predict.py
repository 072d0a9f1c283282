"""``lightser predict``: from files to emotions, as a table or for programs, and as a picture."""

import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, Literal, TextIO, TypeAlias

import typer

from lightser.cli import app
from lightser.cli.bulk import Archive, predict_bulk
from lightser.cli.chosen_labels import Labels, read_labels
from lightser.cli.warned import spoken_warnings
from lightser.errors import BadAudio, LightserError, LightserWarning, MissingExtra, UnknownName
from lightser.names import printable, spoken
from lightser.whole import replacing

if TYPE_CHECKING:
    from lightser.inference import Prediction, Segment
    from lightser.inference.adaptation import Adaptation
    from lightser.inference.formats import Row
    from lightser.inference.listening import Listening

    Heard: TypeAlias = tuple[int | None, Prediction | Segment]

STDIN = "-"


@app.command(
    epilog="Example: lightser predict interview.wav --window 3 --hop 1; "
    "lightser predict recordings/ 'more/*.mp3' --out emotions.csv; "
    "lightser predict call.wav --per-channel --out call.TextGrid; "
    "lightser predict clip.wav --plot clip.png; "
    "lightser predict --manifest files.csv --out emotions.parquet"
)
def predict(
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILES", help="Audio files, folders, patterns, URLs, or - for stdin."
        ),
    ] = None,
    model: Annotated[
        str, typer.Option(help="A name from: lightser models, or a model folder.")
    ] = "default",
    labels: Labels = None,
    window: Annotated[
        float | None, typer.Option(help="Seconds of a segment; without it, clips are taken whole.")
    ] = None,
    hop: Annotated[
        float | None,
        typer.Option(
            help="Seconds from one segment's start to the next; half a window if not given."
        ),
    ] = None,
    per_channel: Annotated[
        bool,
        typer.Option(
            "--per-channel", help="Take each channel for itself, as in recordings of calls."
        ),
    ] = False,
    track: Annotated[
        str | None,
        typer.Option(
            metavar="N|all",
            help="Audio track of films and the like; as a player chooses if not given.",
        ),
    ] = None,
    vad: Annotated[
        bool,
        typer.Option("--vad", help="Say silence of segments in which nobody speaks (extra live)."),
    ] = False,
    smooth: Annotated[
        float | None, typer.Option(help="Seconds over which to smooth the labels of segments.")
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(
            help="table, csv, json, jsonl, audformat, textgrid (Praat), audacity or webvtt; "
            "if not given, as the name of --out says."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="File to write, whole or not at all, instead of stdout; of audformat, a folder."
        ),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Picture of one clip to write: .png, .svg or .pdf.")
    ] = None,
    threads: Annotated[int, typer.Option(help="Windows to listen to side by side.")] = 1,
    manifest: Annotated[
        str | None,
        typer.Option(help="Instead of FILES, a CSV that lists them, or a .txt with one on a line."),
    ] = None,
    column: Annotated[str, typer.Option(help="Column of the manifest that names files.")] = "file",
    base: Annotated[
        str | None,
        typer.Option(help="Folder or URL of relative names; by default that of the manifest."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Files at a time; for archives, one for each core.")
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(
            min=1, help="Windows of clips to give the model at once; for archives, 1 if not given."
        ),
    ] = None,
    adapt: Annotated[
        bool,
        typer.Option(
            "--adapt",
            help="Listen to all first, and go by that: to each speaker of a manifest, each channel "
            "with --per-channel, else as to one voice. It fails on a voice of one emotion only.",
        ),
    ] = False,
    adapted: Annotated[
        Path | None,
        typer.Option(metavar="STATE", help="Go by what lightser adapt has heard of the voice."),
    ] = None,
    engine: Annotated[
        str | None, typer.Option(help="What works on an archive: local, serial or ray.")
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="Of a Ray cluster; auto is the one that runs here.")
    ] = None,
) -> None:
    """Recognise the emotion of recordings.

    Probabilities are calibrated on voices that the model had not heard. With --labels they are
    those given that it is one of these. A file that cannot be read is reported at the end, and the
    others are not held up by it; the exit code is then 2.

    Where a file has several audio tracks, the one that a player plays is heard, and the others are
    named; --track takes another, or all, one after another.

    --hop, --per-channel, --vad and --smooth are about segments, which last as long as the model
    likes them best where --window is not given.

    --manifest, --workers, --batch, --engine, URLs and an --out that ends in .parquet make it an
    archive: files of any number go to a .csv, .jsonl or .parquet, side by side; the same command
    goes on after a kill; files that cannot be read go to a side table, and the exit code is 0.
    """
    from lightser.inference import Recognizer
    from lightser.inference.adaptation import Adaptation
    from lightser.inference.finding import find_audio
    from lightser.inference.formats import FOLDER_FORMATS, FORMATS
    from lightser.inference.listening import Listening, Manner
    from lightser.inference.smoothing import Smoothing
    from lightser.inference.sources import rereadable
    from lightser.inference.vad import SpeechGate

    files = files or []
    heard_before = asked_adaptation(adapt, adapted)
    manner = Manner(
        window_s=window,
        hop_s=hop,
        per_channel=per_channel,
        smoothing=None if smooth is None else Smoothing(time_s=smooth),
        gate=SpeechGate() if vad else None,
        track=read_track(track),
    )
    archive = Archive(
        files=files,
        manifest=manifest,
        column=column,
        base=base,
        engine=engine,
        address=address,
        workers=workers,
        batch=batch,
        out=out,
        format=format,
        adapt=heard_before,
    )
    if archive.is_meant:
        if plot is not None:
            raise LightserError("--plot draws one clip, and this is an archive; leave it out.")
        with spoken_warnings():
            predict_bulk(archive, manner, model=model, labels=read_labels(labels), threads=threads)
        return
    if not files:
        raise LightserError("Give FILES, - for standard input, or a --manifest.")
    format = format or format_of(out)
    recognizer = Recognizer.load(model, labels=read_labels(labels), threads=threads)
    if isinstance(heard_before, Adaptation):
        recognizer = recognizer.adapted(heard_before)
    listen = Listening(recognizer, manner)
    with ExitStack() as open_until_the_end, spoken_warnings():
        names, problems = find_audio(files)
        check_format(format, out, names)
        if plot is not None:
            if manner.track == "all":
                raise LightserError("--plot draws one track; give its number with --track.")
            check_plot(plot, names)
        sources: list[tuple[str, str | BinaryIO]]
        sources = [(name, read_stdin() if name == STDIN else name) for name in names]
        if plot is not None or adapt:  # the rows read it, and the picture, or who adapts
            sources = [(n, open_until_the_end.enter_context(rereadable(s))) for n, s in sources]
        is_drawn = format == "table" and out is None and sys.stdout.isatty()
        # Rows that appear on the terminal one by one are progress enough.
        hidden = out is None and sys.stdout.isatty() and not is_drawn
        with progress(len(names), hidden=hidden) as tell:
            kept: list[Heard] | None = None if plot is None else []
            if adapt and not per_channel:
                listen = adapted_to_all(listen, sources)
            rows = heard(listen, sources, problems, tell, kept, adapt=adapt and per_channel)
            if out is not None:
                rows = or_report(rows, problems, len(names))
            if is_drawn:
                held = list(rows)  # printed when the bar is gone
            elif names and out is not None and format in FOLDER_FORMATS:
                FOLDER_FORMATS[format](rows, recognizer.labels, out)
            elif names:
                with output(out) as file:
                    FORMATS[format](rows, recognizer.labels, file)
        if is_drawn:
            from lightser.cli.row_table import draw_table

            draw_table(held, recognizer.labels)
        if plot is not None and kept and not problems:
            draw_plot(plot, listen, *sources[0], kept)
    report(problems, len(names))


# From names to rows


def heard(
    listen: "Listening",
    sources: Sequence[tuple[str, str | BinaryIO]],
    problems: list[LightserError],
    tell: Callable[[float, str], None] | None,
    kept: "list[Heard] | None" = None,
    *,
    adapt: bool = False,
) -> "Iterator[Row]":
    """Yield a row for each clip or segment; what cannot be read goes to ``problems``.

    Segments before the damage in a file are kept. ``tell`` is told how many files are done, and the
    name of the one that is next. What was heard is also put into ``kept``. ``adapt`` listens to
    each file first, and goes by that.
    """
    from lightser.audio.files import declared_s
    from lightser.inference.formats import Row
    from lightser.inference.sources import rereadable

    for done, (name, source) in enumerate(sources):
        file = spoken(name)
        if tell:
            tell(done, file)
        try:
            with rereadable(source) as recording:
                one = listen.adapted(listen.learn(recording)) if adapt else listen
                for track in one.tracks_of(recording):
                    if not one.manner.wants_segments:
                        clip = one.recognizer.predict(recording, track=track)
                        if kept is not None:
                            kept.append((None, clip))
                        yield Row.of(file, clip, track=track)
                        continue
                    duration_s = declared_s(recording, track=track) if tell else None
                    for channel, segment in one.segments(recording, track=track):
                        if kept is not None:
                            kept.append((channel, segment))
                        yield Row.of(file, segment, channel, track)
                        if tell and duration_s:
                            tell(done + min(segment.end / duration_s, 1.0), file)
        except LightserError as error:
            problems.append(error)


def asked_adaptation(adapt: bool, state: Path | None) -> "bool | Adaptation":
    """Return whether to adapt, or what was heard before.

    Raises:
        LightserError: both are asked for.
        BadAdaptation: the file is none.
    """
    from lightser.inference.adaptation import Adaptation

    if state is None:
        return adapt
    if adapt:
        raise LightserError("--adapt listens to these recordings first; leave out --adapted.")
    return Adaptation.load(state)


def adapted_to_all(
    listen: "Listening", sources: Sequence[tuple[str, str | BinaryIO]]
) -> "Listening":
    """Listen to all that can be read, and return what goes by it; what cannot is said later."""
    heard: list[Adaptation] = [listen.recognizer.adapt([])]
    for _, source in sources:
        with suppress(LightserError), warnings.catch_warnings():
            warnings.simplefilter("ignore", LightserWarning)  # the second pass gives it
            heard = listen.learn(source, heard)
    print(f"lightser: adapted to {heard[0].count} windows", file=sys.stderr)
    return listen.adapted(heard)


def or_report(
    rows: "Iterator[Row]", problems: Sequence[LightserError], n_files: int
) -> "Iterator[Row]":
    """Yield rows; if there are none, say why and exit, so that no file is replaced by nothing."""
    first = next(rows, None)
    if first is None:
        report(problems, n_files)
        return
    yield first
    yield from rows


def read_track(given: str | None) -> "int | Literal['all'] | None":
    """Return what --track says."""
    if given is None or given == "all":
        return given  # type: ignore[return-value]
    if given.isdecimal() and int(given) >= 1:
        return int(given)
    raise LightserError(f"--track {given}: give the number of a track, counted from 1, or all.")


def read_stdin() -> BinaryIO:
    if sys.stdin is None or sys.stdin.isatty():  # None: it is closed
        raise BadAudio(
            "- is audio from a pipe, and there is none: cat clip.wav | lightser predict -"
        )
    return sys.stdin.buffer


def report(problems: Sequence[LightserError], n_files: int) -> None:
    """Say what could not be read, and exit with 2 if there is anything to say."""
    if not problems:
        return
    if len(problems) == 1 and n_files <= 1:
        raise problems[0]
    print(f"lightser: {len(problems)} could not be recognised, the rest is done:", file=sys.stderr)
    for problem in problems:
        print(f"  {printable(str(problem))}", file=sys.stderr)
    raise typer.Exit(2)


# Where rows go


def format_of(out: Path | None) -> str:
    """Return the format that a file is named after, else a table.

    >>> format_of(Path("talk.TextGrid")), format_of(Path("talk.vtt")), format_of(Path("talk.txt"))
    ('textgrid', 'webvtt', 'table')
    """
    from lightser.inference.formats import ENDINGS, FORMATS

    ending = out.suffix.lower().removeprefix(".") if out else ""
    return ENDINGS.get(ending, ending if ending in FORMATS else "table")


def check_format(format: str, out: Path | None, names: Sequence[str]) -> None:
    """Refuse a format that is not known or does not fit, before anything is listened to."""
    from lightser.inference.formats import FOLDER_FORMATS, FORMATS, ONE_RECORDING

    if format not in FORMATS and format not in FOLDER_FORMATS:
        raise UnknownName("format", format, [*FORMATS, *FOLDER_FORMATS])
    if format in FOLDER_FORMATS and out is None:
        raise LightserError(f"--format {format} writes a folder; name it with --out.")
    if out is not None:
        check_no_input(out, names)
    if format in ONE_RECORDING and len(names) > 1:
        raise LightserError(
            f"--format {format} describes one recording, and {len(names)} are given; "
            "call it for each."
        )


def check_no_input(path: Path, names: Iterable[str], use: str = "is listened to") -> None:
    """Refuse to replace what is used."""
    target = os.path.realpath(path)
    if any(os.path.realpath(name) == target for name in names):
        raise LightserError(f"{path}: {use}; give the name of another file to write.")


@contextmanager
def output(path: Path | None) -> Iterator[TextIO]:
    """Open stdout, or a file that appears when it is whole."""
    if path is None:
        yield sys.stdout
        return
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        yield file


# On a terminal


@contextmanager
def progress(n_files: int, *, hidden: bool) -> Iterator[Callable[[float, str], None] | None]:
    """Give a function that shows how many files are done, and which is next; None if none can see.

    It draws on stderr, if that is a terminal.
    """
    if hidden or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,  # it may be a pipe, and what goes there is not for stderr
    ) as bar:
        task = bar.add_task("listening", total=n_files)
        yield lambda done, name: bar.update(
            task, completed=done, description=printable(os.path.basename(name))[-30:]
        )


# As a picture


def check_plot(path: Path, names: Sequence[str]) -> None:
    """Refuse what cannot be drawn, before anything is listened to."""
    try:
        import lightser.report.clip  # noqa: F401
    except ImportError:
        raise MissingExtra("Drawing", "plot") from None
    if len(names) != 1:
        raise LightserError(f"--plot draws one clip, and {len(names)} are given.")
    if path.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise LightserError(f"--plot {path}: the name must end in .png, .svg or .pdf.")
    if not path.parent.is_dir():
        raise LightserError(f"--plot {path}: there is no folder {path.parent}; make it.")
    check_no_input(path, names)


def draw_plot(
    path: Path,
    listen: "Listening",
    name: str,
    source: str | BinaryIO,
    kept: "Sequence[Heard]",
) -> None:
    """Write the picture of one recording, of which ``kept`` was heard; a clip is heard finer."""
    from lightser.audio.files import audio_info, stream_audio
    from lightser.inference import Prediction, Segment
    from lightser.inference.listening import Listening, Manner
    from lightser.report.clip import Track, draw_clip, envelope

    recognizer, rate = listen.recognizer, listen.recognizer.card.sample_rate
    track = listen.manner.track
    assert track != "all"  # it is refused
    found, verdict = iter(kept), None
    _, clip = kept[0]
    if isinstance(clip, Prediction):
        duration_s, verdict = clip.duration_s, (clip.label, clip.confidence)
        window, hop = finer(duration_s, recognizer.card.window_s)
        found = Listening(recognizer, Manner(window_s=window, hop_s=hop)).segments(
            source, track=track
        )
    else:
        duration_s = audio_info(source, track=track).duration_s
    heard: dict[int | None, list[Segment]] = {}
    for channel, segment in found:
        assert isinstance(segment, Segment)
        heard.setdefault(channel, []).append(segment)

    total = round(duration_s * rate)
    tracks = [
        Track(
            envelope(stream_audio(source, rate, channel=channel, track=track), total),
            segments,
            verdict or likeliest(segments),
            f"channel {channel}",
            "whole clip" if verdict else "on average",
        )
        for channel, segments in sorted(heard.items(), key=lambda item: item[0] or 0)
    ]
    first, *others = tracks[0].segments
    step = others[0].start - first.start if others else first.end - first.start
    how = f"windows of {first.end - first.start:.3g} s every {step:.2g} s"
    if listen.manner.smoothing:
        how += f", smoothed over {listen.manner.smoothing.time_s:g} s"
    with replacing(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # a name in letters that the font lacks
        figure = draw_clip(
            tracks,
            recognizer.labels,
            duration_s=duration_s,
            title="standard input" if name == STDIN else printable(spoken(os.path.basename(name))),
            note=f"{recognizer.card.name}, {how}",
        )
        figure.savefig(temporary, format=path.suffix.lower().removeprefix("."))


def likeliest(segments: "Sequence[Segment]") -> tuple[str, float]:
    """Return the label that is likeliest on average where somebody speaks, and its probability."""
    heard = [segment.probabilities for segment in segments if segment.probabilities]
    if not heard:
        return segments[0].label, 1.0
    means = {label: sum(p[label] for p in heard) / len(heard) for label in heard[0]}
    return max(means.items(), key=lambda item: item[1])


def finer(duration_s: float, window_s: float) -> tuple[float, float]:
    """Return the window and hop, in seconds, that show how a clip changes.

    The model's own window for long recordings, about a second for single utterances; and hops that
    make smooth curves, but not more points than a picture can show.

    >>> finer(2.5, 3.0), finer(60.0, 3.0)
    ((1.0, 0.1), (3.0, 0.3))
    """
    window = window_s if duration_s > 2 * window_s else min(1.0, window_s)
    return window, min(max(window / 10, duration_s / 400), window)
