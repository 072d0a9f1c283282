"""Engines take blocks of files and write their parts: here, side by side, or on a cluster.

All engines write the same parts; an engine only decides where and when.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from lightser.inference.bulk.items import Block
from lightser.inference.bulk.parts import Parts
from lightser.inference.bulk.processes import file_by_file
from lightser.inference.bulk.ray_engine import over_ray
from lightser.inference.bulk.task import Done, Task, lines_of
from lightser.processes import process_pool
from lightser.registry import Registry

# Task, blocks, where parts go, how many at a time; yields what is known of each part once written.
Engine = Callable[[Task, Iterable[Block], Parts, int], Iterator[Done]]

ENGINES: Registry[Engine] = Registry("engine")


def serial(task: Task, blocks: Iterable[Block], parts: Parts, workers: int) -> Iterator[Done]:
    """Take blocks one after another in this process, to debug or to check the others."""
    for block in blocks:
        yield parts.write(block.index, lines_of(task, block))


def local(task: Task, blocks: Iterable[Block], parts: Parts, workers: int) -> Iterator[Done]:
    """Take blocks in ``workers`` processes, each of which decodes and recognises.

    When one of them dies (a decoder that crashes, a system short of memory), the blocks in work are
    done again file by file, so that a file which kills whoever reads it is named, and passed over.
    """
    blocks = iter(blocks)
    in_work: dict[Future[Done], Block] = {}
    while True:
        try:
            yield from _side_by_side(task, blocks, parts, workers, in_work)
            return
        except BrokenProcessPool:
            suspects = list(in_work.values())
            in_work.clear()
            for block in suspects:
                yield parts.write(block.index, file_by_file(task, block))


def _side_by_side(
    task: Task,
    blocks: Iterator[Block],
    parts: Parts,
    workers: int,
    in_work: dict[Future[Done], Block],
) -> Iterator[Done]:
    """Yield parts as they are written; ``in_work`` holds the blocks of which none was yielded."""
    with process_pool(workers) as pool:
        while True:
            while len(in_work) < workers and (block := next(blocks, None)) is not None:
                refused: Future[Done] = Future()
                in_work[refused] = block  # should the pool be broken already
                in_work[pool.submit(_write, task, block, parts.folder)] = block
                del in_work[refused]
            if not in_work:
                return
            finished, _ = wait(in_work, return_when=FIRST_COMPLETED)
            for future in finished:
                done = future.result()
                del in_work[future]
                yield done


def _write(task: Task, block: Block, folder: Path) -> Done:
    return Parts(folder).write(block.index, lines_of(task, block))


ENGINES["serial"] = serial
ENGINES["local"] = local
ENGINES["ray"] = over_ray
