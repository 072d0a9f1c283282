"""The engine ``ray``: blocks go over a cluster, and their parts come back to us.

Plain tasks, not Ray Data: that wants the whole list before it begins, and tries what is lost again
for ever, also where a file of a block is what ends each process that takes it.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from lightser.cluster import ray_cluster
from lightser.errors import LightserError
from lightser.inference.bulk.items import Block
from lightser.inference.bulk.parts import Parts
from lightser.inference.bulk.processes import all_lines, file_by_file
from lightser.inference.bulk.task import Done, Task

# How often a block is tried again when its process or machine is lost.
_MORE_TRIES = 3

# Blocks that may be lost for good before we give up: it is then no single file that is at fault.
_MOST_LOST = 8

# Blocks on their way, for each core: one in work, and one that it need not wait for.
_AHEAD = 2


def over_ray(task: Task, blocks: Iterable[Block], parts: Parts, workers: int) -> Iterator[Done]:
    """Take blocks on the cores of a cluster; see :func:`lightser.cluster.ray_cluster`.

    A block whose process or machine is lost is done again elsewhere. What comes back is written
    here, so that the machines need share no disk but the one with the audio.

    Raises:
        LightserError: the machines cannot do it at all, or have another model.
        MissingExtra: Ray is not installed.
    """
    blocks = iter(blocks)
    lost: list[Block] = []
    with ray_cluster(workers) as ray:
        from ray.exceptions import RayError, RayTaskError

        listen = ray.remote(all_lines).options(num_cpus=1, max_retries=_MORE_TRIES)
        in_work: dict[Any, Block] = {}
        try:
            while True:
                # Machines come and go.
                cores = max(int(ray.cluster_resources().get("CPU", 0)), 1)
                for block in islice(blocks, max(_AHEAD * cores - len(in_work), 0)):
                    in_work[listen.remote(task, block)] = block
                if not in_work:
                    break
                finished, _ = ray.wait([*in_work], timeout=10.0)
                for answer in finished:
                    block = in_work.pop(answer)
                    try:
                        lines = ray.get(answer)
                    except RayTaskError as error:  # as it was raised there
                        raise error.cause from None
                    except RayError as error:
                        lost.append(block)
                        if len(lost) > _MOST_LOST:
                            reason = str(error).strip().splitlines()[0]
                            raise LightserError(f"The cluster gave up: {reason}") from None
                        continue
                    yield parts.write(block.index, lines)
        finally:
            for answer in in_work:
                ray.cancel(answer, force=True)
    # What ends every process that takes it: here it is found out which file does.
    for block in lost:
        yield parts.write(block.index, file_by_file(task, block))
