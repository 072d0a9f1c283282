"""What is done when a process that listens dies: its block again, file by file."""

import json
import os
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool

from lightser.errors import LightserError
from lightser.inference.bulk.items import Block
from lightser.inference.bulk.task import Task, counts_line, error_line, lines_of
from lightser.processes import process_pool

DEADLY = "ends the process that reads it: its decoder crashes, or needs too much memory"


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
