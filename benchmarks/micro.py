"""What a microcontroller pays, with and without stripes, and what a hop costs: micro.md.

    python benchmarks/micro.py

The bundled Light-SERNet in int8, calibrated on the recordings that come with lightser, for several
choices of stripes, and fresh ones for other windows; then the streaming form beside the whole
window, and the C front end hop by hop beside the whole clip. Times are ratios within this run, in
turns, on one thread.
"""

import ctypes
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from lightser.audio.files import read_audio
from lightser.bundled import find_model
from lightser.export import EXPORTERS, Order, targets  # noqa: F401  targets register themselves
from lightser.export.deliver import open_folder, recordings
from lightser.export.litert import operations
from lightser.export.micro import compiled
from lightser.export.micro.arena import arena
from lightser.export.micro.frontend import Quantisation
from lightser.export.micro.sources import write_frontend
from lightser.export.micro.striped import in_stripes
from lightser.export.profile import measure_arena
from lightser.export.streaming import CHUNK
from lightser.export.targets import litert
from lightser.export.targets.micro import FIRST_BODY, SECOND_BODY
from lightser.training.system import System
from lightser.whole import write_whole

PAGE = Path(__file__).parent / "micro.md"
SAMPLES, FRAMES, BANDS, HOP = 48000, 184, 40, 256
STRIPES = (
    {},
    {FIRST_BODY: 2},
    {FIRST_BODY: 5},
    {FIRST_BODY: 3, SECOND_BODY: 8},
    {FIRST_BODY: 4, SECOND_BODY: 8},
    {FIRST_BODY: 5, SECOND_BODY: 8},
    {FIRST_BODY: 6, SECOND_BODY: 8},
    {FIRST_BODY: 8, SECOND_BODY: 8},
)
TURNS = 200


def main() -> None:
    _, system = open_folder(find_model("default"))
    clips = [np.resize(read_audio(clip.file, 16000), SAMPLES) for clip in recordings()]
    order = Order(precision="int8", frontend="out", n_samples=SAMPLES, calibration=clips)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        litert.write(system, order, folder)
        rows = stripes_table((folder / litert.MODEL).read_bytes())
        times = [*network_times(system, folder), *frontend_times(system, clips[0], folder)]
    lines = [
        "Made by: python benchmarks/micro.py",
        "",
        "Rows of the first and second body block's pooling in a stripe; bytes of TensorFlow Lite",
        "Micro's arena by its own account, on a 64-bit processor.",
        "",
        "| stripes | operations | file | maps | kept by operations | arena |",
        "|---|---:|---:|---:|---:|---:|",
        *rows,
        "",
        "| window | arena, layer by layer | arena, in stripes |",
        "|---|---:|---:|",
        *window_rows(),
        "",
        "| one … | time | relative to |",
        "|---|---:|---|",
        *times,
        "",
    ]
    write_whole(PAGE, "\n".join(lines))


def stripes_table(plain: bytes) -> list[str]:
    rows = []
    for stripes in STRIPES:
        content = in_stripes(plain, stripes) if stripes else plain
        taken = arena(content)
        name = " and ".join(map(str, stripes.values())) or "none"
        cells = (sum(operations(content).values()), len(content), taken.maps, taken.kept)
        rows.append(f"| {name} | " + " | ".join(f"{n:,}" for n in (*cells, taken.total)) + " |")
    return rows


def window_rows() -> list[str]:
    rows = []
    for seconds in (1.0, 2.0, 7.0):
        options = {"window_s": seconds, "n_bands": 128, "coefficients": BANDS}
        made = System.build(("relative_logmel", options), ("light_sernet", {}), 7, standardize=True)
        taken = measure_arena(made.eval(), round(seconds * 16000))
        rows.append(f"| {seconds:g} s | {taken['plain']:,} | {taken['striped']:,} |")
    return rows


def network_times(system, folder: Path) -> list[str]:
    """Compare a chunk of the streaming form with a whole window, both in ONNX Runtime."""
    order = Order(precision="float32", frontend="out", n_samples=SAMPLES)
    answers = {}
    for name in ("onnx", "stream"):
        (folder / name).mkdir()
        written = EXPORTERS[name].write(system, order, folder / name)
        answers[name] = EXPORTERS[name].open(folder / name, written.facts)
    features = np.random.default_rng(0).normal(0, 1, (100 * CHUNK, BANDS)).astype(np.float32)
    long, window = in_turns(
        lambda: answers["stream"](features), lambda: answers["onnx"](features[:FRAMES]), turns=5
    )
    return [
        f"| chunk of {CHUNK} frames, streamed | {long / 102 / window:.3f} | a window's network |"
    ]


def frontend_times(system, clip, folder: Path) -> list[str]:
    """Compare a hop, and the features of an answer, with a whole clip, all in C."""
    given = Quantisation(scale=0.045, zero_point=0)
    write_frontend(folder, system, n_samples=SAMPLES, n_frames=FRAMES, given=given)
    library = compiled.library(folder)
    samples = np.round(clip * 32767).astype(np.int16)
    out, stream = np.empty((FRAMES, BANDS), np.int8), np.zeros(1 << 20, np.uint8)
    data, codes, state = (ctypes.c_void_p(a.ctypes.data) for a in (samples, out, stream))
    library.lightser_stream_reset(state)
    for i in range(FRAMES):
        library.lightser_stream_push(state, ctypes.c_void_p(samples[i * HOP :].ctypes.data))
    whole, hop, answer = in_turns(
        lambda: compiled.called(library.lightser_features_int8, samples, out),
        lambda: library.lightser_stream_push(state, data),
        lambda: library.lightser_stream_int8(state, codes),
        turns=TURNS,
    )
    return [
        f"| hop of {HOP} samples, into the stream | {hop / whole:.4f} | a clip's features in C |",
        f"| set of features, out of the stream | {answer / whole:.3f} | a clip's features in C |",
    ]


def in_turns(*calls: Callable[[], object], turns: int) -> list[float]:
    """Return the median seconds of each call."""
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(turns):
        for call, measured in zip(calls, times, strict=True):
            start = time.perf_counter()
            call()
            measured.append(time.perf_counter() - start)
    return [float(np.median(measured)) for measured in times]


if __name__ == "__main__":
    main()
