"""What neighbouring windows of a long recording could share, and whether the answer stays the same.

    LIGHTSER_DATA=DIR python benchmarks/sharing.py

Joins clips of Emo-DB into two minutes, and asks each bundled model about windows of 3 s: one by
one, as :class:`lightser.Stream` does; eight in a batch; with log-mel frames computed once over the
whole stretch, where windows begin on the same grid of frames, and the rest of the graph window by
window; side by side in two threads, as ``--threads 2`` does; and with two threads inside of each
window. Writes the table ``benchmarks/sharing.md``.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import onnx
import onnxruntime
from onnx.utils import extract_model

from lightser import Recognizer
from lightser.audio.files import read_audio
from lightser.corpora import load_corpus
from lightser.whole import write_whole

HERE = Path(__file__).parent
MODELS = ("emodb-light_sernet", "emodb-zhong2020")
WINDOW, RATE, CLIPS, SEED, ROUNDS = 48_000, 16_000, 45, 0, 5
FRAME, FRAME_HOP = 1024, 256  # samples, of the front end of both models
HOPS_S = (1.0, 0.96)  # 62.5 frames, and 60

Array = np.ndarray[Any, Any]


def session(path: Path | str, threads: int = 1) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def ask(model: onnxruntime.InferenceSession, *given: Array) -> Array:
    names = [taken.name for taken in model.get_inputs()]
    (answer,) = model.run(None, dict(zip(names, given, strict=True)))
    return np.asarray(answer)


def split(path: Path, folder: Path) -> tuple[Any, Any]:
    """Return the graph in two: samples to log-mel frames, and those to probabilities.

    The second takes samples, too, but looks at their number alone.
    """
    graph = onnx.load(path).graph
    (log,) = [node.output[0] for node in graph.node if node.op_type == "Log"]
    extract_model(str(path), str(folder / "front.onnx"), ["samples"], [log])
    extract_model(str(path), str(folder / "back.onnx"), ["samples", log], ["probabilities"])
    return session(folder / "front.onnx"), session(folder / "back.onnx")


def over_a_stretch(front: Any, back: Any, talk: Array, starts: list[int]) -> Array:
    """Return ``[N, C]``: frames once for each grid that windows begin on, the rest by window."""
    n_frames = (WINDOW - FRAME) // FRAME_HOP + 1
    answers = {}
    for offset in sorted({start % FRAME_HOP for start in starts}):
        frames = ask(front, talk[None, offset:])
        for start in starts:
            if start % FRAME_HOP == offset:
                first = start // FRAME_HOP
                heard = frames[:, first : first + n_frames]
                answers[start] = ask(back, talk[None, start : start + WINDOW], heard)[0]
    return np.stack([answers[start] for start in starts])


def seconds(work: Callable[[], Array], clock: Callable[[], float]) -> tuple[float, Array]:
    """Return the shortest of some rounds, and the answers ``[N, C]``."""
    taken = []
    for _ in range(ROUNDS):
        began = clock()
        answers = work()
        taken.append(clock() - began)
    return min(taken), answers


def measure(path: Path, talk: Array, hop_s: float) -> Iterator[tuple[str, float, float]]:
    """Yield ways to ask a model, how much faster each is, and how far off its answers are."""
    whole, wide = session(path), session(path, threads=2)
    starts = list(range(0, len(talk) - WINDOW + 1, round(hop_s * RATE)))
    windows = [talk[None, start : start + WINDOW] for start in starts]
    eights = [np.concatenate(windows[i : i + 8]) for i in range(0, len(windows), 8)]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        front, back = split(path, Path(folder))
        ways: dict[str, tuple[Callable[[], Array], Callable[[], float]]] = {
            "eight in a batch": (
                lambda: np.concatenate([ask(whole, eight) for eight in eights]),
                time.process_time,
            ),
            "frames over the whole stretch": (
                lambda: over_a_stretch(front, back, talk, starts),
                time.process_time,
            ),
            "side by side in two threads": (
                lambda: np.concatenate([*pool.map(lambda window: ask(whole, window), windows)]),
                time.perf_counter,
            ),
            "two threads inside of a window": (
                lambda: np.concatenate([ask(wide, window) for window in windows]),
                time.perf_counter,
            ),
        }
        for way, (work, clock) in ways.items():
            alone_s, alone = seconds(
                lambda: np.concatenate([ask(whole, window) for window in windows]), clock
            )
            shared_s, shared = seconds(work, clock)
            yield way, alone_s / shared_s, float(np.abs(alone - shared).max())


def off_at_once(path: Path, talk: Array, hop_s: float) -> float:
    """Return how far ten seconds given at once are from the mean of their windows."""
    model = session(path)
    starts = range(0, 10 * RATE - WINDOW + 1, round(hop_s * RATE))
    apart = np.mean([ask(model, talk[None, start : start + WINDOW]) for start in starts], axis=0)
    return float(np.abs(ask(model, talk[None, : 10 * RATE]) - apart).max())


def main() -> None:
    rng = np.random.default_rng(SEED)
    table = load_corpus("emodb", Path(os.environ["LIGHTSER_DATA"]) / "emodb")
    files = table["file"].iloc[rng.permutation(len(table))[:CLIPS]]
    talk = np.concatenate([read_audio(file) for file in files])
    rows = []
    for name in MODELS:
        path = Recognizer.load(name).folder / "model.onnx"
        for hop_s in HOPS_S:
            for way, ratio, off in measure(path, talk, hop_s):
                difference = f"{off:.0e}" if off else "none"
                rows.append(f"| {name} | {hop_s:g} s | {way} | {ratio:.2f} | {difference} |")
                print(rows[-1], flush=True)
        off = off_at_once(path, talk, 1.0)
        rows.append(f"| {name} | 1 s | all layers over ten seconds | – | {off:.2f} |")
    about = f"""# What neighbouring windows could share

Written by `benchmarks/sharing.py`: {len(talk) / RATE:.0f} s of Emo-DB in windows of 3 s. The ratio
is the time one by one over the time so, the best of {ROUNDS} rounds each; above 1 is faster. Of one
thread it is CPU time, of two the time on the clock, on a machine of {os.cpu_count()} cores with a
load average of {os.getloadavg()[0]:.1f}, most of it other work. The difference is the largest of
any probability; that of all layers over ten seconds is to the mean of their windows.

| model | hop | how | ratio | difference |
|---|---|---|---|---|
"""
    write_whole(HERE / "sharing.md", about + "\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
