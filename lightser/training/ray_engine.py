"""The engine ``ray``: jobs go over a cluster, each on a core of its own.

Where all machines see the results folder, a job that is tried again goes on from its checkpoint,
and its progress is seen. Where they do not, it begins anew, and what it found comes back with its
answer. The corpus must be at the same path on all of them.

Plain tasks, where archives go with Ray Data: jobs are few and long, their answers are files, and
they tell how far they are while they run.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from lightser.cluster import ray_cluster
from lightser.errors import LightserError
from lightser.training.engines import Progress, state_of
from lightser.training.jobs import LOCK, Job, run_job
from lightser.whole import replacing

# How often a job is tried again when its process or machine is lost. Machines that are lent may
# go often; a job that ends every process that takes it must not be tried for ever.
_MORE_TRIES = 8


def over_ray(jobs: Sequence[Job], workers: int, progress: Progress) -> Iterator[Job]:
    """Run jobs on the cluster at ``RAY_ADDRESS``, or on ``workers`` cores here.

    An interrupt ends the jobs; the next run goes on from their checkpoints.

    Raises:
        LightserError: a job cannot be run, or the cluster gave it up.
        MissingExtra: Ray is not installed.
    """
    jobs = [_absolute(job) for job in jobs]
    with ray_cluster(workers) as ray:
        from ray.exceptions import RayError, RayTaskError

        run = ray.remote(_files_of).options(num_cpus=1, max_retries=_MORE_TRIES)
        waiting = {run.remote(job): job for job in jobs}
        try:
            while waiting:
                done, _ = ray.wait([*waiting], timeout=1.0)
                progress({job.name: s for job in waiting.values() if (s := state_of(job))})
                for answer in done:
                    job = waiting.pop(answer)
                    _keep(job, ray.get(answer))
                    yield job
        except RayTaskError as error:  # as the job raised it
            raise error.cause from None
        except RayError as error:
            reason = str(error).strip().splitlines()[0]
            raise LightserError(f"The cluster gave up a job: {reason}") from None
        finally:
            for answer in waiting:
                ray.cancel(answer, force=True)


def _absolute(job: Job) -> Job:
    """Return the job with paths that mean the same in any process."""
    return replace(job, folder=job.folder.absolute(), cache=job.cache.absolute())


def _files_of(job: Job) -> dict[str, bytes]:
    """Run a job, unless another try has finished it, and return its files by name."""
    # A machine that is only believed to be lost may still be at it, until its try sees that nobody
    # wants it any more: this waits for it.
    run_job(job)
    found = (path for path in job.folder.iterdir() if path.is_file() and path.name != LOCK)
    return {path.name: path.read_bytes() for path in found}


def _keep(job: Job, files: dict[str, bytes]) -> None:
    """Write the files of a job that ran where our disk is not seen."""
    if job.is_done:
        return
    job.folder.mkdir(parents=True, exist_ok=True)
    for name in sorted(files, key=lambda name: name == "predictions.csv"):  # last: it says "done"
        with replacing(job.folder / name) as unfinished:
            unfinished.write_bytes(files[name])
