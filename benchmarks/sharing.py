"""What neighbouring windows of a long recording share, and whether the answer stays the same.

    LIGHTSER_DATA=DIR python benchmarks/sharing.py

Joins clips of Emo-DB into two minutes, and asks each bundled model about windows of 3 s: with
frames of features shared, as :class:`lightser.Stream` does, at some hops. For comparison, what it
does not do or does when it is told to: eight windows in a batch; side by side in two threads, as
``--threads 2`` does; two threads inside of each window; and all layers at once over ten seconds.
Writes the table ``benchmarks/sharing.md``.
"""

import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import onnxruntime

from lightser import Recognizer, Stream
from lightser.audio.files import read_audio
from lightser.corpora import load_corpus
from lightser.whole import write_whole

HERE = Path(__file__).parent
MODELS = ("emodb-light_sernet", "emodb-zhong2020")
WINDOW_S, RATE, CLIPS, SEED, ROUNDS = 3, 16_000, 45, 0, 7
WINDOW = WINDOW_S * RATE
HOPS_S = (1.0, 0.96, 0.48, 0.1)  # 62.5 frames, 60, 30, and 6.25

Array = np.ndarray[Any, Any]


class Apart(Recognizer):
    """Puts each window to the whole graph."""

    def neighbours(self, window: int, hop: int) -> None:
        return None


def opened(name: str, kind: type[Recognizer], threads: int = 1) -> Recognizer:
    model = Recognizer.load(name)
    return kind(model.folder, model.card, model._session, threads=threads)


def session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def ask(model: onnxruntime.InferenceSession, windows: Array) -> Array:
    (answers,) = model.run(None, {"samples": windows})
    return np.asarray(answers)


def streamed(recognizer: Recognizer, talk: Array, hop_s: float) -> Array:
    """Return the probabilities ``[N, C]`` of the segments that a stream gives."""
    stream = Stream(recognizer, window_s=WINDOW_S, hop_s=hop_s)
    seconds = (talk[i : i + RATE] for i in range(0, len(talk), RATE))
    segments = [segment for second in seconds for segment in stream.push(second)]
    return np.array([[*segment.probabilities.values()] for segment in segments])


def compare(
    plain: Callable[[], Array], other: Callable[[], Array], clock: Callable[[], float]
) -> tuple[float, float]:
    """Return how much faster the other is, in the best of some rounds, and how far off."""
    taken: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):  # in turn, so that other work on the machine falls on both
        answers = []
        for work, times in zip((plain, other), taken, strict=True):
            began = clock()
            answers.append(work())
            times.append(clock() - began)
    return min(taken[0]) / min(taken[1]), float(np.abs(answers[0] - answers[1]).max())


def measure(name: str, talk: Array) -> Iterator[tuple[str, float, float, float]]:
    """Yield a way to ask a model, the hop, how much faster it is, and how far off."""
    apart, sharing = opened(name, Apart), opened(name, Recognizer)
    for hop_s in HOPS_S:
        streamed(sharing, talk, hop_s)  # finds out what the model allows
        ratio, off = compare(
            partial(streamed, apart, talk, hop_s),
            partial(streamed, sharing, talk, hop_s),
            time.process_time,
        )
        yield "frames shared", hop_s, ratio, off
    path = apart.folder / "model.onnx"
    one, two = session(path, 1), session(path, 2)
    windows = [talk[None, i : i + WINDOW] for i in range(0, len(talk) - WINDOW + 1, RATE)]
    eights = [np.concatenate(windows[i : i + 8]) for i in range(0, len(windows), 8)]

    def asked(model: onnxruntime.InferenceSession, batches: list[Array]) -> Callable[[], Array]:
        return lambda: np.concatenate([ask(model, batch) for batch in batches])

    alone = asked(one, windows)
    yield "eight in a batch", 1.0, *compare(alone, asked(one, eights), time.process_time)
    threaded = opened(name, Recognizer, threads=2)
    yield (
        "frames shared, side by side in two threads",
        1.0,
        *compare(
            partial(streamed, sharing, talk, 1.0),
            partial(streamed, threaded, talk, 1.0),
            time.perf_counter,
        ),
    )
    inside = compare(alone, asked(two, windows), time.perf_counter)
    yield "two threads inside of a window", 1.0, *inside


def off_at_once(name: str, talk: Array) -> float:
    """Return how far ten seconds given at once are from the mean of their windows."""
    model = session(Recognizer.load(name).folder / "model.onnx", 1)
    starts = range(0, 10 * RATE - WINDOW + 1, RATE)
    apart = np.mean([ask(model, talk[None, start : start + WINDOW]) for start in starts], axis=0)
    return float(np.abs(ask(model, talk[None, : 10 * RATE]) - apart).max())


def main() -> None:
    rng = np.random.default_rng(SEED)
    table = load_corpus("emodb", Path(os.environ["LIGHTSER_DATA"]) / "emodb")
    files = table["file"].iloc[rng.permutation(len(table))[:CLIPS]]
    talk = np.concatenate([read_audio(file) for file in files])
    rows = []
    for name in MODELS:
        for way, hop_s, ratio, off in measure(name, talk):
            difference = f"{off:.0e}" if off else "none"
            rows.append(f"| {name} | {way} | {hop_s:g} s | {ratio:.2f} | {difference} |")
            print(rows[-1], flush=True)
        off = off_at_once(name, talk)
        rows.append(f"| {name} | all layers over ten seconds | 1 s | – | {off:.2f} |")
    about = f"""# What neighbouring windows share

Written by `benchmarks/sharing.py`: {len(talk) / RATE:.0f} s of Emo-DB in windows of 3 s. The ratio
is the time without over the time with what is named, the best of {ROUNDS} rounds each, in turn;
above 1 is faster. It is CPU time; of two threads, the time on the clock, on a machine of
{os.cpu_count()} cores with a load average of {os.getloadavg()[0]:.1f}, most of it other work. The
difference is the largest of any probability; that of all layers over ten seconds is to the mean of
their windows.

| model | how | hop | ratio | difference |
|---|---|---|---|---|
"""
    write_whole(HERE / "sharing.md", about + "\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
