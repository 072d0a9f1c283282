"""What updates cost, and what memory they hold, by what becomes of arrays that are freed.

    LIGHTSER_DATA=DIR python benchmarks/allocator.py [--rounds 2]

Every way trains the same first job of a recipe for the same updates, in a process of its own and
one after another, round after round. Linux with glibc. Writes the table
``benchmarks/allocator.md``.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from lightser.corpora import load_corpus
from lightser.memory import ask_glibc, peak_bytes
from lightser.training.allocator import KEPT, MMAP_MAX
from lightser.training.crossval import make_plan
from lightser.training.jobs import job_run
from lightser.training.loop import take_step
from lightser.training.recipe import find_recipe, read_recipe
from lightser.whole import write_whole

HERE = Path(__file__).parent
RECIPES = {  # and how many updates
    "zhong2020/table4/emodb-n2-ce": 20,
    "light_sernet/table1/emodb-ce-3s": 24,
}
FIRST = 4  # updates that are not counted
MMAP_THRESHOLD = -3  # of glibc's mallopt(3), from its malloc.h
SMALL = {MMAP_THRESHOLD: 2**22} | {k: v for k, v in KEPT.items() if k != MMAP_MAX}
WAYS = {  # what glibc is asked for, and whether PyTorch asks for huge pages
    "given back": ({}, False),
    "kept": (KEPT, False),
    "given back, huge pages": ({}, True),
    "kept, huge pages": (KEPT, True),
    "kept below 4 MiB, huge pages": (SMALL, True),
}


def updates(name: str, way: str) -> None:
    """Take a recipe's first updates, and print the mean time of one and the peak of memory."""
    for parameter, value in WAYS[way][0].items():
        ask_glibc("mallopt", parameter, value)
    torch.set_num_threads(1)
    table = load_corpus("emodb", Path(os.environ["LIGHTSER_DATA"]) / "emodb")
    recipe = read_recipe(find_recipe(name))
    with tempfile.TemporaryDirectory() as scratch:
        job = make_plan(recipe, table, name=name, out=Path(scratch)).jobs[0]
        run, answer = job_run(job), None
        for update in range(RECIPES[name]):
            if update == FIRST:
                began = time.process_time()
            task = next(run) if answer is None else run.send(answer)
            answer = take_step(task, recipe.optim, job.device)
        seconds = (time.process_time() - began) / (RECIPES[name] - FIRST)
    print(json.dumps({"seconds": seconds, "bytes": peak_bytes()}))


def measured(name: str, way: str) -> dict[str, float]:
    """Return what :func:`updates` prints in a process of its own."""
    pages = {"THP_MEM_ALLOC_ENABLE": "1"} if WAYS[way][1] else {}
    ran = subprocess.run(
        [sys.executable, __file__, name, way],
        env=os.environ | pages, stdout=subprocess.PIPE, check=True, text=True,
    )  # fmt: skip
    found: dict[str, float] = json.loads(ran.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    rows = []
    for name in RECIPES:
        found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
        for _ in range(args.rounds):  # in turn, so that other work on the machine falls on all
            for way, of in found.items():
                of.append(measured(name, way))
                print(f"{name}, {way}: {of[-1]}", file=sys.stderr, flush=True)
        plain = np.array([one["seconds"] for one in found["given back"]])
        for way, of in found.items():
            ratios = np.array([one["seconds"] for one in of]) / plain
            held = np.median([one["bytes"] for one in of]) / 1e9
            rows.append(
                f"| `{name}` | {way} | {np.median(ratios):.2f} | {ratios.min():.2f} to "
                f"{ratios.max():.2f} | {held:.1f} GB |"
            )
    about = f"""# What becomes of arrays that are freed

Written by `benchmarks/allocator.py --rounds {args.rounds}` on a machine of {os.cpu_count()} cores,
PyTorch {torch.__version__}: processor time of an update, over that of giving freed memory back in
the same round (the median, and the least and most), below 1 is faster; and the most memory the
process has held. Updates: {", ".join(f"{n} of `{name}`" for name, n in RECIPES.items())}, less the
first {FIRST}.

| recipe | freed memory is | time | from round to round | held |
|---|---|---:|---:|---:|
"""
    write_whole(HERE / "allocator.md", about + "\n".join(rows) + "\n")


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] in RECIPES:
        updates(*sys.argv[1:])
    else:
        main()
