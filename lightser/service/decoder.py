"""Decoding strangers' files at arm's length: in processes that can be lost."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import lightser
from lightser.errors import LightserError
from lightser.service.limits import KEYS, Limits, Refusal, busy
from lightser.service.worker import DONE, FAILED, FRAME, JOB, READY, SAMPLES, TOO_LONG

_START_S = 60.0

# How the reasons of a worker are told; all others are a decoder gone astray.
_STATUS = {
    "BadAudio": (422, "bad_audio"),
    "MissingExtra": (415, "unsupported_format"),
    TOO_LONG: (413, "audio_too_long"),
}


@dataclass(frozen=True)
class Clip:
    """A decoded file.

    Attributes:
        samples: mono, float32 ``[T]``.
        recorded_at: hertz of the file.
        warnings: what a listener should know of it.
    """

    samples: NDArray[np.float32]
    recorded_at: int
    warnings: list[str]


class Decoders:
    """Some processes that decode, each one file at a time.

    Args:
        count: of processes.
        limits: of what a file may cost.
        lost: is called with the reason whenever a process was lost to a file.
    """

    def __init__(self, count: int, limits: Limits, lost: Callable[[str], None] = lambda _: None):
        self.limits = limits
        self._lost = lost
        self._workers = [_Worker(limits.decoder_bytes) for _ in range(count)]
        self._free: asyncio.Queue[_Worker] = asyncio.Queue()

    async def start(self) -> None:
        """Start all processes.

        Raises:
            LightserError: one of them does not come up.
        """
        await asyncio.gather(*(worker.start() for worker in self._workers))
        for worker in self._workers:
            self._free.put_nowait(worker)

    async def stop(self) -> None:
        """End all processes."""
        await asyncio.gather(*(worker.stop() for worker in self._workers))

    async def decode(self, body: bytes, rate: int, track: int = 0) -> Clip:
        """Return the samples of a file at ``rate`` hertz, of a track or of a player's choice (0).

        Raises:
            Refusal: 413, 415, 422: the file is too long, of an unsupported format, not audio, or
                costs too much time or memory; 429: no process became free in time;
                503: none starts.
        """
        try:
            worker = await asyncio.wait_for(self._free.get(), self.limits.time_s)
        except asyncio.TimeoutError:
            raise busy("decoders", len(self._workers)) from None
        try:
            if not worker.is_alive:
                await worker.start()
            return await asyncio.wait_for(
                worker.decode(body, rate, self.limits.audio_s, track), self.limits.time_s
            )
        except asyncio.TimeoutError:
            self._lost("time")
            raise Refusal(
                422, "too_costly", f"Decoding took longer than {self.limits.time_s:g} s."
            ) from None
        except LightserError as error:
            raise Refusal(503, "not_ready", str(error)) from None
        except (asyncio.IncompleteReadError, OSError):
            self._lost("crash")
            raise Refusal(
                422, "bad_audio", "Damaged, or needs too much memory: its decoder was lost."
            ) from None
        finally:
            # One that was left in the middle of a file, for whatever reason, is not used again.
            if not worker.is_idle:
                await asyncio.shield(worker.stop())
            self._free.put_nowait(worker)


class _Worker:
    """One process, started when it is needed."""

    def __init__(self, n_bytes: int):
        self._n_bytes = n_bytes
        self._process: asyncio.subprocess.Process | None = None
        self.is_idle = True

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        source = str(Path(lightser.__file__).parent.parent)
        paths = [source, *filter(None, [os.environ.get("PYTHONPATH")])]
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "lightser.service.worker", str(self._n_bytes)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            limit=2**20,
            # Each thread of a linear algebra library would reserve memory that counts.
            # And a process that strangers' files may lead astray must not know who may come in.
            env={
                **{name: value for name, value in os.environ.items() if name != KEYS},
                "OPENBLAS_NUM_THREADS": "1",
                "PYTHONPATH": os.pathsep.join(paths),
                "PYTHONSAFEPATH": "1",
            },
            start_new_session=True,  # Ctrl-C is for the server, which ends it when all is done
        )
        try:
            kind, _ = await asyncio.wait_for(self._answer(), _START_S)
        except (asyncio.TimeoutError, asyncio.IncompleteReadError, OSError):
            kind = b""
        if kind != READY:
            await self.stop()
            raise LightserError(
                f"A decoder does not start with {self._n_bytes / 2**20:.0f} MiB of memory; "
                "allow it more."
            )
        self.is_idle = True

    async def stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        if process.stdin:
            process.stdin.close()

    async def decode(self, body: bytes, rate: int, most_s: float, track: int) -> Clip:
        assert self._process is not None and self._process.stdin is not None
        self.is_idle = False
        self._process.stdin.write(JOB.pack(len(body), rate, most_s, track))
        self._process.stdin.write(body)
        await self._process.stdin.drain()
        blocks = []
        while True:
            kind, content = await self._answer()
            if kind == SAMPLES:
                blocks.append(np.frombuffer(content, np.float32))
            elif kind == DONE:
                self.is_idle = True
                return Clip(np.concatenate(blocks), *json.loads(content))
            elif kind == FAILED:
                reason, message = json.loads(content)
                if reason not in _STATUS:  # it ends itself
                    raise ConnectionAbortedError(reason)
                self.is_idle = True
                raise Refusal(*_STATUS[reason], message)
            else:
                raise ConnectionAbortedError("not an answer")

    async def _answer(self) -> tuple[bytes, bytes]:
        assert self._process is not None and self._process.stdout is not None
        kind, size = FRAME.unpack(await self._process.stdout.readexactly(FRAME.size))
        return kind, await self._process.stdout.readexactly(size)
