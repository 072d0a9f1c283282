"""What the endpoints share: models, limits, decoders, and threads to listen in."""

import asyncio
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from lightser.errors import LightserError, UnknownName
from lightser.inference.recognizer import Recognizer
from lightser.memory import resident_bytes
from lightser.service.decoder import Decoders
from lightser.service.limits import Limits, Refusal, Slots
from lightser.service.metrics import Metrics

Result = TypeVar("Result")


class Desk:
    """Everything that is there once, however many requests there are.

    Args:
        models: recognisers by name; the first answers where none is asked for.
        limits: of requests.
        decoders: how many processes decode; by default as many as there are cores to use, but
            not more than requests.
    """

    def __init__(self, models: Mapping[str, Recognizer], limits: Limits, decoders: int | None):
        if not models:
            raise LightserError("No model is given to serve.")
        self.models, self.limits, self.metrics = dict(models), limits, Metrics()
        n_cores = (
            len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        )
        n_cores = n_cores or 1
        self.decoders = Decoders(
            min(limits.requests, n_cores) if decoders is None else decoders,
            limits,
            lambda reason: self.metrics.count("lightser_decoders_lost_total", reason=reason),
        )
        self.requests = Slots("requests", limits.requests)
        self.streams = Slots("streams", limits.streams)
        self.is_open = False
        self._threads = ThreadPoolExecutor(n_cores, thread_name_prefix="listen")
        self.metrics.gauge(
            "lightser_requests_open", "Requests in work.", lambda: self.requests.taken
        )
        self.metrics.gauge("lightser_streams_open", "Open streams.", lambda: self.streams.taken)
        self.metrics.gauge("process_resident_memory_bytes", "Of the server.", resident_bytes)

    async def open(self) -> None:
        """Start what must run before the first request."""
        await self.decoders.start()
        self.is_open = True

    async def close(self) -> None:
        """End it, when the last request is answered."""
        self.is_open = False
        await self.decoders.stop()
        self._threads.shutdown()

    def model(self, name: str | None) -> tuple[str, Recognizer]:
        """Return a model by name, or the first.

        Raises:
            Refusal: 404.
        """
        if name is None:
            return next(iter(self.models.items()))
        if name not in self.models:
            raise Refusal(404, "unknown_model", str(UnknownName("model", name[:50], self.models)))
        return name, self.models[name]

    async def listen(self, function: Callable[..., Result], /, *arguments: object) -> Result:
        """Run what takes time in a thread; no more run at once than there are cores."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: function(*arguments))

    def heard(self, model: str, labels: list[str]) -> None:
        """Count answers."""
        for label in labels:
            self.metrics.count("lightser_predictions_total", model=model, label=label)
