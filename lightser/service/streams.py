"""``WebSocket /v1/stream``: samples in as they are recorded, segments out as they are known."""

import asyncio
import contextlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.datastructures import QueryParams
from starlette.websockets import WebSocket, WebSocketDisconnect

from lightser.audio.resampler import MAX_RATE, MIN_RATE
from lightser.errors import LightserError
from lightser.inference.segments import Segment
from lightser.service.bodies import ADAPTATION
from lightser.service.clips import (
    ASKED,
    CUT,
    Cutting,
    asked_for,
    begun,
    number,
    refuse_unknown,
    told,
)
from lightser.service.desk import Desk
from lightser.service.entrance import STREAM_PROTOCOL, deny
from lightser.service.limits import Refusal, bad_request

ENCODINGS: dict[str, np.dtype[Any]] = {"pcm16": np.dtype("<i2"), "float32": np.dtype("<f4")}
MOST_CHANNELS = 8
# What one message may hold, whatever the rate: some seconds. uvicorn refuses more, with 1009.
MESSAGE_BYTES = 2**20

_UNACCEPTABLE = 1008  # policy violation


async def stream(socket: WebSocket) -> None:
    """Listen until the client says ``{"type": "end"}``, or is refused."""
    desk: Desk = socket.app.state.desk
    try:
        with desk.streams.take():
            talk = Talk(socket, desk)
            speaks = STREAM_PROTOCOL in socket.scope["subprotocols"]
            await socket.accept(STREAM_PROTOCOL if speaks else None)
            await talk.run()
    except Refusal as refusal:
        socket.state.facts["code"] = refusal.code
        await deny(socket.scope, socket.receive, socket.send, refusal)


class Talk:
    """One stream and what was agreed on in its address.

    Raises:
        Refusal: 400, 404: what the address asks for does not exist.
    """

    def __init__(self, socket: WebSocket, desk: Desk):
        self.socket, self.desk = socket, desk
        query = socket.query_params
        refuse_unknown(query, (*ASKED, *CUT, "encoding", "sample_rate", "channels"))
        self.name, recognizer = asked_for(desk, query)
        self.cutting = Cutting.of(query, recognizer)
        self.encoding = query.get("encoding", "pcm16")
        if self.encoding not in ENCODINGS:
            known = " or ".join(ENCODINGS)
            raise bad_request(f"encoding must be {known}, got {self.encoding[:50]!r}.")
        own_rate = recognizer.card.sample_rate
        self.sample_rate = whole(query, "sample_rate", own_rate, MIN_RATE, MAX_RATE)
        self.channels = whole(query, "channels", 1, 1, MOST_CHANNELS)
        self.labels = recognizer.labels
        self._samples = 0  # of each channel, that were heard
        self._rest = b""  # of a sample that the last message ended in
        self._warnings: list[str] = []  # that are still to be said
        self._recognizer = recognizer
        self._begin(None)

    async def run(self) -> None:
        """Say what was agreed on, then answer messages, one by one."""
        await self._say(
            "ready",
            model=self.name,
            labels=self.labels,
            **asdict(self.cutting),
            sample_rate=self.sample_rate,
            channels=self.channels,
            encoding=self.encoding,
        )
        try:
            await self._tell([])
            while (samples := await self._hear()) is not None:
                for second in self._seconds(samples):
                    await self._tell(await self.desk.listen(self._stream.push, second))
                    self._samples += len(second)
            await self._tell(await self.desk.listen(self._stream.flush))
            if self._rest:
                raise bad_request(
                    f"The stream ends in the middle of a sample: {len(self._rest)} of "
                    f"{self._frame} bytes ({self.encoding}, {self.channels} channels)."
                )
            ended = told(self._stream.adaptation)
            await self._say("end", duration_s=self._samples / self.sample_rate, **ended)
            await self.socket.close()
        except (LightserError, Refusal) as error:
            code = error.code if isinstance(error, Refusal) else "bad_audio"
            self.socket.state.facts["code"] = code
            with contextlib.suppress(WebSocketDisconnect):
                await self._say("error", code=code, message=str(error))
                await self.socket.close(_UNACCEPTABLE, code)
        except WebSocketDisconnect as gone:
            self.socket.state.facts["gone"] = gone.code
        finally:
            duration_s = self._samples / self.sample_rate
            self.socket.state.facts["audio_s"] = round(duration_s, 3)
            self.desk.metrics.count("lightser_audio_seconds_total", duration_s)

    def _begin(self, state: str | None) -> None:
        """Listen to a voice of which so much was heard before."""
        before = begun(self._recognizer, self.socket.query_params, state)
        self._stream = self.cutting.stream(
            self._recognizer, self.sample_rate, self._warnings.append, before
        )

    async def _hear(self) -> NDArray[Any] | None:
        """Return the samples ``[n, C]`` that a message completes, or None at the end."""
        idle_s = self.desk.limits.idle_s
        try:
            message = await asyncio.wait_for(self.socket.receive(), idle_s)
        except asyncio.TimeoutError:
            raise Refusal(408, "too_slow", f"Nothing came for {idle_s:g} s.") from None
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1005))
        content = message.get("bytes")
        if content is None:
            said = _read(message["text"])
            if said.get("type") == "end":
                return None
            if said.get("type") == ADAPTATION and not self._samples and not self._rest:
                self._begin(json.dumps(said.get(ADAPTATION)))
                return np.zeros((0, self.channels), ENCODINGS[self.encoding])
            raise bad_request(
                'Send samples as binary messages, or the text {"type": "end"}; before the first '
                'samples {"type": "adaptation", "adaptation": ...}, with adapt=true.'
            )
        content = self._rest + content
        whole = len(content) - len(content) % self._frame
        self._rest = content[whole:]
        samples = np.frombuffer(content[:whole], ENCODINGS[self.encoding])
        return samples.reshape(-1, self.channels)

    def _seconds(self, samples: NDArray[Any]) -> Iterator[NDArray[Any]]:
        # So that no thread is held for long.
        for start in range(0, len(samples), self.sample_rate):
            yield samples[start : start + self.sample_rate]

    @property
    def _frame(self) -> int:
        """Bytes of a sample of all channels."""
        return ENCODINGS[self.encoding].itemsize * self.channels

    async def _tell(self, segments: list[Segment]) -> None:
        while self._warnings:
            await self._say("warning", message=self._warnings.pop(0))
        heard = self._stream.adaptation
        adapted = {} if heard is None else {"adapted_to": heard.count}
        for segment in segments:
            await self._say("segment", **asdict(segment), **adapted)
        self.desk.heard(self.name, [segment.label for segment in segments])

    async def _say(self, kind: str, **content: Any) -> None:
        try:
            await self.socket.send_json({"type": kind, **content})
        except RuntimeError:  # closed meanwhile
            raise WebSocketDisconnect(1006) from None


def _read(text: str) -> dict[str, Any]:
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return message if isinstance(message, dict) else {}


def whole(query: QueryParams, name: str, default: int, least: int, most: int) -> int:
    """Return a whole number of a query.

    Raises:
        Refusal: 400, it is none, or out of range.
    """
    value = number(query, name, float(default))
    if not (value.is_integer() and least <= value <= most):
        raise bad_request(f"{name} must be a whole number from {least} to {most}, got {value:g}.")
    return int(value)
