"""``lightser listen``: emotions as they are heard, from the microphone or a file played as one."""

import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lightser.cli import app
from lightser.cli.chosen_labels import Labels, read_labels
from lightser.cli.keys import Keys
from lightser.cli.warned import spoken_warnings
from lightser.names import printable

if TYPE_CHECKING:
    from lightser.cli.hearing import Hearing
    from lightser.cli.live_view import LiveView
    from lightser.cli.recording import Recording
    from lightser.inference import Segment, Stream

HOP_S = 0.5


@app.command(
    epilog="Example: lightser listen; lightser listen --record monday/; "
    "lightser listen --input interview.wav; "
    "lightser listen --input interview.wav --fast --json"
)
def listen(
    input: Annotated[
        str | None,
        typer.Option("--input", metavar="FILE", help="Play this file instead of a microphone."),
    ] = None,
    fast: Annotated[
        bool, typer.Option("--fast", help="Play the file as fast as it can be heard.")
    ] = False,
    track: Annotated[
        int | None, typer.Option(min=1, help="Audio track of that file, if it has several.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Microphone: its number or a part of its name.")
    ] = None,
    model: Annotated[
        str, typer.Option(help="A name from: lightser models, or a model folder.")
    ] = "default",
    labels: Labels = None,
    window: Annotated[
        float | None, typer.Option(help="Seconds of a segment; the model's own if not given.")
    ] = None,
    hop: Annotated[
        float | None,
        typer.Option(help="Seconds from one segment to the next; half a second if not given."),
    ] = None,
    vad: Annotated[
        bool, typer.Option("--vad/--no-vad", help="Say silence where nobody speaks (extra live).")
    ] = True,
    smooth: Annotated[
        float, typer.Option(help="Seconds over which to smooth the labels; 0 for not at all.")
    ] = 0.5,
    adapt: Annotated[
        bool,
        typer.Option(
            "--adapt",
            help="Adapt to the voice while it is heard. It fails on a voice of one emotion only.",
        ),
    ] = False,
    record: Annotated[
        Path | None, typer.Option(help="Folder in which to keep the audio and the segments.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print each segment as a line of JSON.")
    ] = False,
    stats: Annotated[bool, typer.Option("--stats", help="Say at the end how fast it was.")] = False,
    threads: Annotated[int, typer.Option(help="Windows to listen to side by side.")] = 1,
) -> None:
    """Recognise emotions live.

    On a terminal it draws them, and the space bar pauses, q quits; in a pipe it prints a line for
    each segment. What is heard stays on this machine, and in memory, unless --record is given.
    """
    from lightser.cli.hearing import Microphone, Playback
    from lightser.inference import Recognizer, Stream
    from lightser.inference.smoothing import Smoothing
    from lightser.inference.vad import SpeechGate

    recognizer = Recognizer.load(model, labels=read_labels(labels), threads=threads)
    window = recognizer.card.window_s if window is None else window
    hop = min(HOP_S, window) if hop is None else hop
    smoothing = Smoothing(time_s=smooth) if smooth else None
    gate = SpeechGate() if vad else None

    with ExitStack() as until_the_end, spoken_warnings():
        hearing: Hearing
        if input is not None:
            hearing = Playback(
                input,
                recognizer.card.sample_rate,
                fast=fast,
                recorded_at=recognizer.heed_rate,
                track=track,
            )
            if Path(input).is_fifo():
                words = "a pipe, which is read to its end before it is played"
                print(f"lightser: {printable(input)}: {words}", file=sys.stderr)
        else:
            hearing = microphone = Microphone(device)
        stream = Stream(
            recognizer,
            window_s=window,
            hop_s=hop,
            sample_rate=hearing.sample_rate,
            smoothing=smoothing,
            gate=gate,
            adaptation=recognizer.adapt([]) if adapt else None,
        )
        recording = view = None
        if record is not None:
            from lightser.cli.recording import Recording

            recording = until_the_end.enter_context(
                Recording(record, hearing.sample_rate, recognizer.labels)
            )
        stop = until_the_end.enter_context(stopping())
        keys = until_the_end.enter_context(Keys())
        if sys.stdout.isatty() and not as_json:
            from lightser.cli.live_view import LiveView

            view = until_the_end.enter_context(
                LiveView(
                    title=f"lightser · {recognizer.card.name}",
                    name=printable(hearing.name),
                    labels=recognizer.labels,
                    window_s=window,
                    hop_s=hop,
                    keys="space pause · q quit" if keys.is_live else "Ctrl-C quit",
                )
            )
        if input is None:
            until_the_end.enter_context(microphone)
        for segment in heard(hearing, stream, keys, stop, view, recording):
            if recording:
                recording.say(segment)
            if view:
                if stream.adaptation is not None:
                    view.adapted_to = stream.adaptation.count
                view.say(segment)
            else:
                tell(segment, hearing.name, as_json)

    if input is None and microphone.lost_s:
        print(f"lightser: too slow, {microphone.lost_s:.1f} s were lost", file=sys.stderr)
    if stream.adaptation is not None:
        print(f"lightser: adapted to {stream.adaptation.count} windows", file=sys.stderr)
    if stats:
        print(f"lightser: {stream.timing}", file=sys.stderr)


def heard(
    hearing: "Hearing",
    stream: "Stream",
    keys: Keys,
    stop: Event,
    view: "LiveView | None",
    recording: "Recording | None",
) -> "Iterator[Segment]":
    """Yield segments until the audio ends, or somebody ends it: q, Ctrl-C, or a polite kill."""
    chunks = hearing.chunks()
    first = next(chunks, None)  # which a pipe gives when it has ended
    stop.clear()
    for wave in chain([first], chunks):
        key = keys.pressed()
        if key == "q" or stop.is_set():
            break
        if key == " ":
            hearing.paused = not hearing.paused
        if wave is not None:
            if recording:
                recording.hear(wave)
            if view:
                view.hear(wave, len(wave) / hearing.sample_rate)
            yield from stream.push(wave)
        if view:
            view.paused = hearing.paused
            view.draw()
    yield from stream.flush()


def tell(segment: "Segment", name: str, as_json: bool) -> None:
    """Print a line."""
    if as_json:
        from lightser.inference.formats import FORMATS, Row

        FORMATS["jsonl"]([Row.of(name, segment)], [*segment.probabilities], sys.stdout)
        return
    times = f"{segment.start:.2f}-{segment.end:.2f} s"
    print(f"{times}  {segment.label} {100 * segment.confidence:.0f} %", flush=True)


@contextmanager
def stopping() -> Iterator[Event]:
    """Give what is set by Ctrl-C, SIGTERM or the end of the terminal; where it is set, they raise.

    So what was heard until then is said and kept. Nothing is heard before it is cleared first.
    """
    asked = Event()
    asked.set()

    def stop(*_: Any) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    names = [name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {name: signal.signal(getattr(signal, name), stop) for name in names}
    try:
        yield asked
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)
