"""The engine ``ray``: blocks go over a cluster as rows of Ray Data, and their parts come back."""

import logging
import pickle
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from itertools import islice
from typing import Any

from lightser.cluster import ray_cluster
from lightser.errors import LightserError, MissingExtra
from lightser.inference.bulk.items import Block
from lightser.inference.bulk.parts import Parts
from lightser.inference.bulk.processes import all_lines, file_by_file
from lightser.inference.bulk.task import Done, Task

# How often a block is tried when its process or machine is lost. Ray Data itself would try for
# ever, also where a file of the block is what ends each process that takes it.
_TRIES = 4

# Blocks that may be lost for good before we give up: it is then no single file that is at fault.
_MOST_LOST = 8

# Blocks of one dataset, for each core and at least. It holds all of them at once, so that a list of
# any length is many datasets; cores idle only when one ends.
_WAVE_OF_A_CORE = 16
_LEAST_WAVE = 256


def over_ray(task: Task, blocks: Iterable[Block], parts: Parts, workers: int) -> Iterator[Done]:
    """Take blocks on the cores of a cluster; see :func:`lightser.cluster.ray_cluster`.

    A block whose process or machine is lost is done again elsewhere. What comes back is written
    here, so that the machines need share no disk but the one with the audio.

    Raises:
        LightserError: the machines cannot do it at all, or have another model.
        MissingExtra: Ray, or what Ray Data needs, is not installed.
    """
    blocks = iter(blocks)
    lost: list[Block] = []
    with ray_cluster(workers) as ray, _quiet_ray_data():
        while True:
            cores = int(ray.cluster_resources().get("CPU", 0))  # machines come and go
            size = max(_WAVE_OF_A_CORE * cores, _LEAST_WAVE)
            wave = {block.index: block for block in islice(blocks, size)}
            if not wave:
                break
            with closing(_answers(task, wave.values())) as answers:
                for index, lines in answers:
                    if lines is not None:
                        yield parts.write(index, lines)
                        continue
                    lost.append(wave[index])
                    if len(lost) > _MOST_LOST:
                        raise LightserError(
                            f"The cluster gave up: {len(lost)} blocks of files were lost with the "
                            f"processes that took them, {_TRIES} times each."
                        )
    # What ends every process that takes it: here it is found out which file does.
    for block in lost:
        yield parts.write(block.index, file_by_file(task, block))


@contextmanager
def _quiet_ray_data() -> Iterator[None]:
    """Have Ray Data log nothing; it would tell of each dataset, on the terminal.

    Raises:
        MissingExtra: it cannot be imported.
    """
    try:
        import pyarrow  # noqa: F401
        import ray.data  # noqa: F401
    except ImportError:
        raise MissingExtra("The engine ray", "ray") from None
    log = logging.getLogger("ray.data")
    before = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        log.setLevel(before)


def _answers(
    task: Task, blocks: Iterable[Block]
) -> Generator[tuple[int, list[str] | None], None, None]:
    """Yield the index and the lines of each block as it is done; no lines if it is lost for good.

    Raises:
        LightserError: as it was raised there, or the cluster cannot do it.
    """
    import ray.data
    from ray.exceptions import RayError, RayTaskError

    # Pickled: names of files need not be Unicode, as text in Arrow must.
    rows = [{"block": pickle.dumps(block)} for block in blocks]
    dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
        partial(_listen, task), num_cpus=1
    )
    context = dataset.context  # a copy of the one that the user may have set
    context.enable_progress_bars = False
    context.max_errored_blocks = 0
    # Room that is kept for an answer; with that of tables, few would fit in a small store.
    context.target_max_block_size = 2**20
    # A block may hold hours of audio, and machines may be away for longer than the default.
    context.execution_no_progress_timeout_s = -1
    batches: Any = iter(
        dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
    )
    with closing(batches):
        try:
            for batch in batches:
                for pickled in batch["answer"].to_pylist():
                    index, answer = pickle.loads(pickled)
                    if isinstance(answer, Exception):
                        raise answer
                    yield index, answer
        except RayError as error:
            # A traceback, of a machine without lightser, say, ends with what is wrong.
            last = -1 if isinstance(error, RayTaskError) else 0
            reason = str(error).strip().splitlines()[last]
            raise LightserError(f"The cluster gave up: {reason}") from None


def _listen(task: Task, row: dict[str, Any]) -> dict[str, Any]:
    """Return the answer to a block: its index, and the lines of its part, or what was raised.

    None stands for the lines if it was lost too often to be tried once more.
    """
    import ray

    block = pickle.loads(row["block"])
    answer: list[str] | Exception | None = None
    tries = ray.get_runtime_context().worker.core_worker.get_current_task_attempt_number()
    if tries < _TRIES:
        try:
            answer = all_lines(task, block)
        except Exception as error:  # Ray Data would wrap it
            answer = error
    return {"answer": pickle.dumps((block.index, answer))}
