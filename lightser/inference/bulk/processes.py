"""Processes that listen side by side, and what is done when one of them dies."""

import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

from lightser.errors import LightserError
from lightser.inference.bulk.items import Block
from lightser.inference.bulk.task import Task, counts_line, error_line, lines_of

DEADLY = "ends the process that reads it: its decoder crashes, or needs too much memory"


@contextmanager
def process_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Give processes that ignore interrupts, and end when we do, however we end."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # of what they load; they are one for each core
    context = multiprocessing.get_context("spawn")  # forking beside threads may hang
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_obey)
    try:
        yield pool
    except BaseException:
        ours = list((pool._processes or {}).values())  # and none that our caller has begun
        pool.shutdown(wait=False, cancel_futures=True)
        for process in ours:
            process.terminate()
        raise
    pool.shutdown()


def _obey() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_it() -> None:
        parent.join()
        os._exit(1)

    # If the parent is killed, its successor does our block again.
    threading.Thread(target=end_with_it, daemon=True).start()


def file_by_file(task: Task, block: Block) -> Iterator[str]:
    """Yield the lines of a block's part, as ``lines_of``; a file that ends its process is an error.

    Raises:
        LightserError: processes cannot be started at all.
    """
    bad, total_s, at = 0, 0.0, 0
    while at < len(block.items):
        with process_pool(1) as pool:
            try:
                pool.submit(os.getpid).result()
            except BrokenProcessPool:
                raise LightserError(
                    "Processes cannot be started here; try the engine serial, and in a script of "
                    "your own begin with: if __name__ == '__main__'."
                ) from None
            while at < len(block.items):
                number = block.first + at
                alone = Block(block.index, number, (block.items[at],))
                at += 1
                try:
                    *lines, last = pool.submit(all_lines, task, alone).result()
                except BrokenProcessPool:
                    bad += 1
                    yield error_line(number, DEADLY)
                    break
                counts = json.loads(last)
                bad, total_s = bad + counts["bad"], total_s + counts["seconds"]
                yield from lines
    yield counts_line(len(block.items), bad, total_s)


def all_lines(task: Task, block: Block) -> list[str]:
    """Return all lines of a block's part."""
    return list(lines_of(task, block))
