"""Processes that work side by side, and end with us."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager


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

    # If the parent is killed, its successor does our work again.
    threading.Thread(target=end_with_it, daemon=True).start()
