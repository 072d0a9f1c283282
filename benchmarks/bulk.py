"""How fast an archive is recognised: workers, batches, and a plain loop, in one run.

    LIGHTSER_DATA=DIR python benchmarks/bulk.py
    LIGHTSER_DATA=DIR python benchmarks/bulk.py --files 2000 --rounds 5

Takes clips of Emo-DB (16 kHz) and nEMO (24 kHz), which lie in memory after a first reading, and
lets each way recognise all of them, turn by turn and several times; the median of each counts.
Writes the table ``benchmarks/bulk.md``. Run it on a machine that does nothing else: what is
compared shares the cores with whatever else runs.
"""

import argparse
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from lightser import Recognizer
from lightser.audio.files import read_audio
from lightser.corpora import load_corpus
from lightser.inference.bulk import predict_archive
from lightser.whole import write_whole

HERE = Path(__file__).parent
CORPORA = ("emodb", "nemo")
BATCHES = (1, 2, 4, 8, 16)
MODELS = ("emodb-light_sernet", "emodb-zhong2020")
SEED = 0


@dataclass(frozen=True)
class Spent:
    """Seconds on the clock, and of all cores together."""

    wall_s: float
    core_s: float


def timed(work: Callable[[], object]) -> Spent:
    """Return what some work takes, that of processes which it started and ended included."""

    def core_s() -> float:
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(u.ru_utime + u.ru_stime for u in used)

    wall, core = time.monotonic(), core_s()
    work()
    return Spent(time.monotonic() - wall, core_s() - core)


def choose_files(n: int) -> list[str]:
    """Return clips of the corpora, half of each, in random order."""
    root = Path(os.environ["LIGHTSER_DATA"])
    rng = np.random.default_rng(SEED)
    files: list[str] = []
    for corpus in CORPORA:
        all_files = load_corpus(corpus, root / corpus)["file"].to_numpy()
        files += list(rng.permutation(all_files)[: n // len(CORPORA)])
    return [str(file) for file in rng.permutation(files)]


def compare(files: list[str], rounds: int, hours: float) -> list[str]:
    """Return rows of the table of ways."""

    def loop() -> None:
        recognizer = Recognizer.load()
        for file in files:
            recognizer.predict(file)

    with tempfile.TemporaryDirectory() as folder:
        manifest = Path(folder) / "files.txt"
        manifest.write_text("\n".join(files))

        def archive(engine: str, workers: int, batch: int = 1) -> None:
            summary = predict_archive(
                Path(folder) / "out.csv",
                manifest=str(manifest),
                engine=engine,
                workers=workers,
                batch=batch,
            )
            assert summary.rows == len(files)

        ways: dict[str, Callable[[], None]] = {
            "loop over `Recognizer.predict`": loop,
            "archive, in this process": lambda: archive("serial", 1),
            "archive, 1 worker": lambda: archive("local", 1),
            "archive, 2 workers": lambda: archive("local", 2),
            "archive, 2 workers, `--batch 8`": lambda: archive("local", 2, 8),
        }
        spent: dict[str, list[Spent]] = {name: [] for name in ways}
        for turn in range(rounds):
            for name, work in ways.items():
                spent[name].append(timed(work))
                print(f"round {turn + 1}: {name}: {spent[name][-1]}", flush=True)
    wall = {name: statistics.median(s.wall_s for s in found) for name, found in spent.items()}
    core = {name: statistics.median(s.core_s for s in found) for name, found in spent.items()}
    first = next(iter(ways))
    return [
        f"| {name} | {len(files) / wall[name]:.0f} | {hours / wall[name] * 3600:.0f} "
        f"| {hours / core[name] * 3600:.0f} | {wall[first] / wall[name]:.2f} |"
        for name in ways
    ]


def ask(recognizer: Recognizer, windows: np.ndarray[Any, Any], size: int) -> np.ndarray[Any, Any]:
    """Return probabilities ``[N, C]`` of windows ``[N, T]``, asked in batches."""
    groups = (windows[i : i + size] for i in range(0, len(windows), size))
    session = recognizer._session
    return np.concatenate([session.run(["probabilities"], {"samples": g})[0] for g in groups])


def batches(files: list[str], rounds: int) -> tuple[list[str], float]:
    """Return rows of the table of batches, and the least share of core time that one takes."""
    rows, shares = [], []
    for model in MODELS:
        recognizer = Recognizer.load(model)
        length = round(recognizer.card.window_s * recognizer.card.sample_rate)
        waves = [np.resize(read_audio(file), length) for file in files[: 4 * max(BATCHES)]]
        windows = np.stack(waves)  # [64, T]
        spent: dict[int, list[float]] = {size: [] for size in BATCHES}
        for _ in range(rounds):
            for size in BATCHES:
                spent[size].append(timed(partial(ask, recognizer, windows, size)).core_s)
        one_by_one = ask(recognizer, windows, 1)
        for size in BATCHES:
            off = float(np.abs(ask(recognizer, windows, size) - one_by_one).max())
            share = statistics.median(spent[size]) / statistics.median(spent[1])
            rows.append(f"| {model} | {size} | {share:.2f} | {off:.0e} |")
            shares += [share] * (size > 1)
    return rows, min(shares)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    files = choose_files(arguments.files)
    hours = sum(len(read_audio(file)) for file in files) / 16_000 / 3600  # and reads them once
    busy = os.getloadavg()[0]
    of_batches, least = batches(files, arguments.rounds)
    ways = compare(files, arguments.rounds, hours)
    lines = [
        "# Archives: how fast",
        "",
        f"Written by `benchmarks/bulk.py`. {len(files)} clips of Emo-DB and nEMO, {hours:.2f} h of "
        f"audio, default model, {os.cpu_count()} cores, medians of {arguments.rounds} rounds. "
        f"Before it began, {busy:.1f} other processes wanted a core"
        + (": the machine was busy, so compare rows and trust no speed." if busy > 0.5 else "."),
        "",
        "Time includes starting processes, opening the model, and writing the table.",
        "",
        "| way | files/s | h of audio an hour | h of audio a core-hour | speed |",
        "|---|---|---|---|---|",
        *ways,
        "",
        "## Batches",
        "",
        "Core time of a window in a batch, relative to windows one by one; 64 windows of 3 s.",
        "",
        "| model | batch | core time | largest difference of a probability |",
        "|---|---|---|---|",
        *of_batches,
        "",
        f"The best batch takes {least:.2f} of the core time of windows one by one. So archives are "
        "recognised one by one on each core unless `--batch` says otherwise, and then no answer "
        "depends on its company.",
    ]
    write_whole(HERE / "bulk.md", "\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
