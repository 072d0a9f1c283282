"""A Ray cluster to work on: the one at ``RAY_ADDRESS``, or one that lives as long as the work."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lightser.errors import LightserError, MissingExtra


def name_cluster(engine: str, address: str, *, default: str) -> str:
    """Remember the address of a cluster, and return the engine that works there.

    Args:
        engine: that is asked for.
        address: of the cluster.
        default: the engine where none is asked for; an address asks for Ray.

    Raises:
        LightserError: another engine is asked for.
    """
    if engine not in (default, "ray"):
        raise LightserError(f"--address is that of a Ray cluster; --engine {engine} has none.")
    os.environ["RAY_ADDRESS"] = address  # where Ray itself looks
    return "ray"


@contextmanager
def ray_cluster(workers: int) -> Iterator[Any]:
    """Give the module ``ray``, connected; leave the cluster afterwards.

    Where the environment variable ``RAY_ADDRESS`` names no cluster, one of ``workers`` cores is
    started on this machine and ended with the work. A connection that is there already is used, and
    stays. Ray's usage statistics, which it would send home, are off.

    Raises:
        MissingExtra: Ray is not installed.
        LightserError: there is no cluster at the address.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # read when Ray is imported
    try:
        import ray
    except ImportError:
        raise MissingExtra("The engine ray", "ray") from None
    if ray.is_initialized():
        yield ray
        return
    address = os.environ.get("RAY_ADDRESS")
    # What goes through the store is small: names, answers, weights.
    own: dict[str, Any] = {
        "num_cpus": workers,
        "object_store_memory": 2**28,
        "include_dashboard": False,
    }
    try:
        _look_for(address)
        ray.init(
            address=address or "local",
            log_to_driver=False,
            logging_level=logging.ERROR,
            **({} if address else own),
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise LightserError(
            f"No Ray cluster at '{address}' ({str(error).strip().splitlines()[0]}); "
            "start one with: ray start --head"
        ) from None
    try:
        yield ray
    finally:
        ray.shutdown()


def _look_for(address: str | None) -> None:
    """Raise OSError if nobody listens there; Ray itself would try for many minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=10.0).close()
