"""Engines run jobs: side by side in processes of one thread each, or one after another.

All engines give the same numbers for the same job; an engine only decides where and when.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from lightser.errors import LightserError
from lightser.processes import process_pool
from lightser.registry import Registry
from lightser.training.jobs import Job, run_job

Progress = Callable[[dict[str, dict[str, Any]]], None]
Engine = Callable[[Sequence[Job], int, Progress], Iterator[Job]]

ENGINES: Registry[Engine] = Registry("engine")


def local(jobs: Sequence[Job], workers: int, progress: Progress) -> Iterator[Job]:
    """Run jobs in ``workers`` processes and yield each when it is done.

    An interrupt ends the processes; their checkpoints stay, and the next run goes on from them.

    Raises:
        LightserError: a process was ended from outside.
    """
    with process_pool(workers) as pool:
        waiting = {pool.submit(run_job, job): job for job in jobs}
        while waiting:
            done, _ = wait(waiting, timeout=1.0, return_when=FIRST_COMPLETED)
            progress({job.name: state for job in waiting.values() if (state := state_of(job))})
            for future in done:
                job = waiting.pop(future)
                try:
                    future.result()  # a job that failed raises here
                except BrokenProcessPool:
                    raise LightserError(
                        "A process that trained was ended from outside, perhaps for want of "
                        "memory. The same command goes on from the last checkpoints; give it "
                        "fewer --workers"
                    ) from None
                yield job


def state_of(job: Job) -> dict[str, Any] | None:
    """Return how far a job is, as it has written itself; None before its first evaluation."""
    path: Path = job.folder / "progress.json"
    try:
        state: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return state


def serial(jobs: Sequence[Job], workers: int, progress: Progress) -> Iterator[Job]:
    """Run jobs one after another in this process, to debug them or to check the others."""
    for job in jobs:
        run_job(job)
        progress({job.name: state} if (state := state_of(job)) else {})
        yield job


def ray(jobs: Sequence[Job], workers: int, progress: Progress) -> Iterator[Job]:
    """Run jobs on a Ray cluster; see :mod:`lightser.training.ray_engine`."""
    from lightser.training.ray_engine import over_ray

    return over_ray(jobs, workers, progress)


def stacked(jobs: Sequence[Job], workers: int, progress: Progress) -> Iterator[Job]:
    """Run jobs as one batched network; see :mod:`lightser.training.stacked`."""
    from lightser.training.stacked import over_stacks

    return over_stacks(jobs, workers, progress)


ENGINES["local"] = local
ENGINES["serial"] = serial
ENGINES["ray"] = ray
ENGINES["stacked"] = stacked
