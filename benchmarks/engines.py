"""Jobs per hour of the engines: the same hold-outs of one recipe, at the same time of day.

    LIGHTSER_DATA=DIR python benchmarks/engines.py
    LIGHTSER_DATA=DIR python benchmarks/engines.py --device cuda --jobs 10

Each engine trains some hold-outs of `light_sernet/table1/emodb-ce-3s` for two updates, and then for
34. The difference is 32 updates, without starting processes and reading features; 3900
updates are a job (its evaluations are not counted). Beside the time on the clock stands the
processors' own, which other work on the machine disturbs less. Ray's cluster is this machine alone.
Writes the table ``benchmarks/engines.md``.
"""

import argparse
import os
import platform
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lightser.corpora import load_corpus
from lightser.training.crossval import make_plan, run
from lightser.training.recipe import find_recipe, read_recipe
from lightser.whole import write_whole

HERE = Path(__file__).parent
RECIPE = "light_sernet/table1/emodb-ce-3s"
UPDATES = (2, 34)
FULL = 3900
HEAD = (
    "| engine | at a time | processor seconds an update | full jobs an hour of a processor "
    "| full jobs an hour on the clock |"
)


def seconds(table: Any, folder: Path, engine: str, workers: int, updates: int, args: Any) -> Any:
    """Return how long an engine takes for some hold-outs: on the clock, and of the processors."""
    recipe = read_recipe(
        find_recipe(RECIPE), {"protocol": {"name": "light_sernet", "holdouts": args.jobs}}
    )
    recipe = replace(recipe, optim=replace(recipe.optim, epochs=None, updates=updates))
    shutil.rmtree(folder, ignore_errors=True)
    plan = make_plan(recipe, table, name=RECIPE, out=folder, device=args.device)
    start = np.array([time.perf_counter(), sum(os.times()[:4])])  # children among them
    run(plan, engine=engine, workers=workers)
    return np.array([time.perf_counter(), sum(os.times()[:4])]) - start


def per_hour(seconds: float) -> str:
    """Return how many full jobs an hour has, of updates that take so long."""
    return f"{3600 / FULL / seconds:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--jobs", type=int, default=4)
    args = parser.parse_args()
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    table = load_corpus("emodb", Path(os.environ["LIGHTSER_DATA"]) / "emodb")
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        seconds(table, Path(scratch) / "run", "serial", 1, 1, args)  # features go to the cache
        engines = (("serial", 1), ("local", cores), ("stacked", args.jobs), ("ray", cores))
        for engine, workers in engines:
            if engine == "ray":  # what it needs is read from the disk once
                seconds(table, Path(scratch) / "run", engine, workers, 1, args)
            short, long = (
                seconds(table, Path(scratch) / "run", engine, workers, n, args) for n in UPDATES
            )
            clock, processor = (long - short) / (UPDATES[1] - UPDATES[0]) / args.jobs
            print(f"{engine}: {clock:.2f} s on the clock, {processor:.2f} s", file=sys.stderr)
            # Ray's processes are not ours, and what they took is not known here.
            own = ("–", "–") if engine == "ray" else (f"{processor:.2f}", per_hour(processor))
            rows.append(f"| `{engine}` | {workers} | {own[0]} | {own[1]} | {per_hour(clock)} |")
    where = torch.cuda.get_device_name() if args.device != "cpu" else f"{cores} cores"
    busy = f"load {os.getloadavg()[0]:.1f} at the end" if hasattr(os, "getloadavg") else ""
    lines = [
        f"`python benchmarks/engines.py --device {args.device} --jobs {args.jobs}`: {args.jobs} "
        f"hold-outs of `{RECIPE}`; a job is {FULL} updates of 32 clips. {platform.machine()}, "
        f"{where}, {busy}, PyTorch {torch.__version__}.",
        "",
        HEAD,
        "|---|---:|---:|---:|---:|",
        *rows,
    ]
    write_whole(HERE / "engines.md", "\n".join(lines) + "\n")


if __name__ == "__main__":  # processes of the engine `local` import this file
    main()
