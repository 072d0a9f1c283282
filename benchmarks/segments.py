"""Segments of a long recording against its known boundaries, with and without gate and smoothing.

    LIGHTSER_DATA=DIR python benchmarks/segments.py
    LIGHTSER_DATA=DIR python benchmarks/segments.py --model my-model/
    LIGHTSER_DATA=DIR python benchmarks/segments.py --hours 10

Joins clips of a corpus in random order, with a pause of 0.5 to 3 s after each, into one recording:
Emo-DB once in a quiet room and once in a noisy one (pink noise, 15 dB below speech), RAVDESS and
nEMO in a quiet one. Each setting of :class:`lightser.Stream` hears them. A segment is right if its
label is that of the clip, or of the pause, at its middle. Writes ``benchmarks/segments.md``.

With ``--hours`` it writes a file of that many hours instead, as ``lightser predict FILE --window 3
--hop 1 --vad --smooth 0.5`` would be given, and listens to it. Writes ``benchmarks/hours.md``: the
memory of the process at each tenth, and how long it took.
"""

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import soundfile

from lightser import Recognizer, Stream
from lightser.audio.files import read_audio
from lightser.corpora import CORPORA, load_corpus
from lightser.errors import LightserError
from lightser.inference.listening import Listening, Manner
from lightser.inference.segments import SILENCE
from lightser.inference.smoothing import Smoothing
from lightser.inference.vad import SpeechGate
from lightser.metrics import confusion, recalls, ua, wa
from lightser.whole import write_whole

HERE = Path(__file__).parent
RATE = 16_000
SEED = 0
CHUNK = 1_600
PAUSE_S = (0.5, 3.0)
ROOM_DB = {"quiet": -75.0, "noisy": -35.0}  # level of the noise, speech is at -20 dB
SPEECH_DB = -20.0

# The default is strictness 2, hangover 0.1 s, least 0.5.
DEFAULT = "default"
GATES = {
    "none": None,
    DEFAULT: SpeechGate(),
    "strictness 3": SpeechGate(strictness=3),
    "no hangover": SpeechGate(hangover_s=0.0),
    "hangover 0.3 s": SpeechGate(hangover_s=0.3),
    "least 0.35": SpeechGate(least=0.35),
    "least 0.65": SpeechGate(least=0.65),
}
SMOOTHINGS = {
    "none": None,
    "0.5 s": Smoothing(time_s=0.5),
    "1 s": Smoothing(time_s=1.0),
    "2 s": Smoothing(time_s=2.0),
}
# Every gate without smoothing, and every smoothing with the default gate.
SETTINGS = [(gate, "none") for gate in GATES]
SETTINGS += [(DEFAULT, smoothing) for smoothing in SMOOTHINGS if smoothing != "none"]
FEW = [("none", "none"), (DEFAULT, "none"), (DEFAULT, "0.5 s"), (DEFAULT, "1 s")]

# Corpus and room: the settings to try.
RECORDINGS = {
    ("emodb", "quiet"): SETTINGS,
    ("emodb", "noisy"): SETTINGS,
    ("ravdess", "quiet"): FEW,
    ("nemo", "quiet"): FEW,
}


@dataclass(frozen=True)
class Recording:
    """Joined clips: samples ``[T]``, and what is spoken from ``bounds[i]`` to ``bounds[i + 1]``."""

    samples: np.ndarray[Any, Any]
    bounds: np.ndarray[Any, Any]  # seconds, [N + 1]
    labels: list[str]  # [N]

    def label_at(self, seconds: float) -> str:
        at = int(np.searchsorted(self.bounds, seconds, side="right")) - 1
        return self.labels[min(max(at, 0), len(self.labels) - 1)]


def join(corpus: str, room: str, n_clips: int, known: Sequence[str]) -> Recording:
    """Return clips with labels that the model knows one after another, with pauses, in a room."""
    rng = np.random.default_rng(SEED)
    table = load_corpus(corpus, Path(os.environ["LIGHTSER_DATA"]) / corpus)
    table = table[table["label"].isin(known)]
    table = table.iloc[rng.permutation(len(table))[:n_clips]]
    pieces, labels = [], []
    for file, label in zip(table["file"], table["label"], strict=True):
        clip = read_audio(file)
        clip = clip * 10 ** (SPEECH_DB / 20) / np.sqrt(np.square(clip).mean())
        pieces += [clip, np.zeros(round(rng.uniform(*PAUSE_S) * RATE), np.float32)]
        labels += [label, SILENCE]
    bounds = np.cumsum([0, *map(len, pieces)]) / RATE
    samples = np.concatenate(pieces)
    samples = samples + pink(len(samples), rng) * 10 ** (ROOM_DB[room] / 20)
    return Recording(samples.astype(np.float32), bounds, labels)


def pink(n: int, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """Return noise ``[n]`` of power 1, with 3 dB less in each octave above 40 Hz."""
    size = 2**20  # 65 s, repeated
    spectrum = rng.normal(size=size // 2 + 1) + 1j * rng.normal(size=size // 2 + 1)
    hertz = np.fft.rfftfreq(size, 1 / RATE)
    noise = np.fft.irfft(spectrum / np.sqrt(np.maximum(hertz, 40.0)), size)
    return np.resize(noise / noise.std(), n)


class Remembering(Recognizer):
    """A recogniser that is asked about the same windows by many streams, and thinks once."""

    def __init__(self, other: Recognizer):
        super().__init__(other.folder, other.card, other._session())
        self.known: dict[bytes, Any] = {}
        self.asked = 0

    def probabilities(self, samples: Any) -> Any:
        self.asked += 1
        key = samples.tobytes()[:: 61 * 4] + len(samples).to_bytes(8, "little")
        if key not in self.known:
            self.known[key] = super().probabilities(samples)
        return self.known[key]


def hear(
    recognizer: Remembering,
    recording: Recording,
    window_s: float,
    hop_s: float,
    gate: str,
    smooth: str,
) -> dict[str, float]:
    """Return the scores of one setting on one recording."""
    stream = Stream(
        recognizer,
        window_s=window_s,
        hop_s=hop_s,
        sample_rate=RATE,
        gate=GATES[gate],
        smoothing=SMOOTHINGS[smooth],
    )
    recognizer.asked = 0
    segments = []
    for start in range(0, len(recording.samples), CHUNK):
        segments += stream.push(recording.samples[start : start + CHUNK])
    segments += stream.flush()

    names = [*recognizer.labels, SILENCE]
    truth = np.array([names.index(recording.label_at((s.start + s.end) / 2)) for s in segments])
    said = np.array([names.index(s.label) for s in segments])
    matrix = confusion(truth, said, len(names))
    spoken = truth != len(names) - 1
    # Where somebody speaks, silence is a mistake as any other.
    emotions = recalls(confusion(truth[spoken], said[spoken], len(names)))[:-1]
    minutes = len(recording.samples) / RATE / 60
    return {
        "ua": ua(matrix),
        "wa": wa(matrix),
        "emotions": float(np.nanmean(emotions)),
        "silence": float(recalls(matrix)[-1]),
        "changes": float(np.count_nonzero(np.diff(said))) / minutes,
        "true_changes": float(np.count_nonzero(np.diff(truth))) / minutes,
        "asked": recognizer.asked / len(segments),
        "segments": len(segments),
    }


def as_markdown(rows: list[tuple[str, str, str, str, dict[str, float]]], about: str) -> str:
    lines = [
        "# Segments of joined recordings, with and without gate and smoothing",
        "",
        f"Written by `benchmarks/segments.py`. {about}",
        "",
        "| corpus | room | gate | smoothing | UA | WA | UA of emotions | recall of silence "
        "| changes per minute | model asked |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for corpus, room, gate, smooth, s in rows:
        percents = (f"{100 * s[k]:.1f}" for k in ("ua", "wa", "emotions", "silence"))
        lines.append(
            f"| {corpus} | {room} | {gate} | {smooth} | {' | '.join(percents)} "
            f"| {s['changes']:.1f} (true: {s['true_changes']:.1f}) | {100 * s['asked']:.0f} % |"
        )
    return "\n".join(lines) + "\n"


def compare(recognizer: Recognizer, n_clips: int, window_s: float, hop_s: float) -> str:
    """Return the table over all recordings and settings."""
    rows, minutes = [], {}
    for (corpus, room), settings in RECORDINGS.items():
        recording = join(corpus, room, n_clips, recognizer.labels)
        minutes[corpus] = len(recording.samples) / RATE / 60
        remembering = Remembering(recognizer)
        for gate, smooth in settings:
            scores = hear(remembering, recording, window_s, hop_s, gate, smooth)
            rows.append((corpus, room, gate, smooth, scores))
            said = {k: round(v, 3) for k, v in scores.items()}
            print(corpus, room, gate, smooth, said, flush=True)
    card = recognizer.card
    heard = [c.corpus for c in card.trained_on if c.corpus in minutes]
    lengths = ", ".join(f"{corpus} {m:.0f} minutes" for corpus, m in minutes.items())
    about = (
        f"{n_clips} clips of each corpus, of the emotions that the model knows, with their pauses "
        f"({lengths}); model {card.name}, windows of {window_s:g} s every {hop_s:g} s. Percent; UA "
        "and WA are over emotions and silence, UA of emotions over the segments in whose middle "
        "somebody speaks."
    )
    if heard:
        about += (
            f" The model was trained on the clips of {' and '.join(heard)}, so that its rows "
            "compare settings, and are no measure of how well it does on voices that it has not "
            "heard; those of other corpora are, on other languages and studios."
        )
    return as_markdown(rows, about)


def write_talk(path: Path, hours: float) -> None:
    """Write a recording of so many hours: the same joined clips again and again."""
    talk = join("emodb", "quiet", 300, CORPORA["emodb"].labels).samples
    left = round(hours * 3600 * RATE)
    with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16") as file:
        while left > 0:
            file.write(talk[:left])
            left -= len(talk)


def memory(recognizer: Recognizer, hours: float) -> str:
    """Return a table of the memory of the process while it listens to a file of so many hours."""
    manner = Manner(window_s=3.0, hop_s=1.0, smoothing=Smoothing(), gate=SpeechGate())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "talk.wav"
        write_talk(path, hours)
        megabytes = path.stat().st_size / 1e6
        rows, n, began = [], 0, time.process_time()
        for _, segment in Listening(recognizer, manner).segments(path):
            n += 1
            if segment.end >= len(rows) * hours * 360:
                pages = int(Path("/proc/self/statm").read_text().split()[1])
                held = pages * resource.getpagesize() / 2**20
                rows.append(f"| {segment.end / 3600:.2f} h | {n} | {held:.1f} MiB |")
                print(rows[-1], flush=True)
        busy_s = time.process_time() - began
    about = f"""# Hours in constant memory

Written by `benchmarks/segments.py --hours {hours:g}`: a WAV of {hours:g} h ({megabytes:,.0f} MB, 16
bits at 16 kHz), in which 300 clips of Emo-DB and their pauses come again and again, is listened to
as `lightser predict FILE --window 3 --hop 1 --vad --smooth 0.5` does. {n:,} segments took
{busy_s:.0f} s of one core, {busy_s / hours:.1f} s for an hour of audio.

| heard | segments | memory of the process |
|---|---|---|
"""
    return about + "\n".join(rows) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="default")
    parser.add_argument("--clips", type=int, default=300, help="how many clips to join")
    parser.add_argument("--window", type=float, help="seconds; the model's own if not given")
    parser.add_argument("--hop", type=float, default=0.5, help="seconds")
    parser.add_argument("--hours", type=float, help="measure memory over so much audio")
    arguments = parser.parse_args()
    recognizer = Recognizer.load(arguments.model)
    if arguments.hours:
        table = memory(recognizer, arguments.hours)
        write_whole(HERE / "hours.md", table)
        print(table)
        return
    window_s = arguments.window or recognizer.card.window_s
    table = compare(recognizer, arguments.clips, window_s, arguments.hop)
    if arguments.model == "default":
        write_whole(HERE / "segments.md", table)
    print(table)


if __name__ == "__main__":
    try:
        main()
    except LightserError as error:
        raise SystemExit(f"Error: {error}") from None
