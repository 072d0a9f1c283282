"""The engine ``ray``: blocks go over a cluster by Ray Data, and their parts come back to us."""

import logging
import pickle
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

from lightser.cluster import ray_cluster
from lightser.errors import LightserError
from lightser.inference.bulk.items import Block
from lightser.inference.bulk.parts import Parts
from lightser.inference.bulk.processes import all_lines, file_by_file
from lightser.inference.bulk.task import Done, Task, listening_for

# Blocks that may fail for good, each tried four times, before we give up: it is then no single
# file that is at fault.
_MOST_FAILURES = 8


def over_ray(task: Task, blocks: Iterable[Block], parts: Parts, workers: int) -> Iterator[Done]:
    """Take blocks on the cores of a cluster; see :func:`lightser.cluster.ray_cluster`.

    A block whose process or machine is lost is done again elsewhere. What comes back is written
    here, so that the machines need share no disk but the one with the audio.

    Raises:
        LightserError: the machines cannot do it at all, or have another model.
        MissingExtra: Ray is not installed.
    """
    # Names of files shrink to a tenth; a million of them lie in the cluster's memory.
    packed = {block.index: zlib.compress(pickle.dumps(block)) for block in blocks}
    if not packed:
        return
    with ray_cluster(workers) as ray:
        import ray.data
        from ray.exceptions import RayError

        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.max_errored_blocks = _MOST_FAILURES
        rows = [{"block": block} for block in packed.values()]
        answers = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
            _listen, fn_args=(task,), num_cpus=1
        )
        try:
            for answer in answers.iter_rows():
                if answer["problem"]:
                    raise LightserError(answer["problem"])
                del packed[answer["index"]]
                lines = answer["lines"].splitlines(keepends=True)
                yield parts.write(answer["index"], lines)
        except RayError as error:
            reason = str(error).strip().splitlines()[-1]
            raise LightserError(f"The cluster gave up: {reason}") from None
    # What ends every process that takes it: here it is found out which file does.
    for packet in packed.values():
        block = pickle.loads(zlib.decompress(packet))
        yield parts.write(block.index, file_by_file(task, block))


def _listen(row: dict[str, Any], task: Task) -> dict[str, Any]:
    """Return the lines of a block, or why this machine cannot listen at all."""
    block: Block = pickle.loads(zlib.decompress(row["block"]))
    try:
        listening_for(task)
    except LightserError as error:
        return {"index": block.index, "lines": "", "problem": str(error)}
    return {"index": block.index, "lines": "".join(all_lines(task, block)), "problem": ""}
