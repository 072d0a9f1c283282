"""The server: sockets, patience with slow clients, and an end that waits for what is in flight."""

import asyncio
import math
import socket
from typing import Any

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from lightser.errors import LightserError
from lightser.service.limits import Limits
from lightser.service.logs import log
from lightser.service.memory import give_back_large_blocks
from lightser.service.streams import MESSAGE_BYTES

_HEAD_BYTES = 16_384
# Of which most are idle, and soon closed. A process may usually open 1024 files.
_CONNECTIONS = 512
# What is taken from one connection before the others have their turn: h11 needs 16 ms for so many
# bytes in chunks of one.
_PIECE_BYTES = 16_384
# What the chunks of a body may cost besides it: as much as it has bytes, and this.
_SPARE_BYTES = 65_536
# That the system holds for a client on their way; Linux takes twice as much for its books.
_SENT_BYTES = 2**17
# What a client reads at least while it has ``time_s`` for it.
_LEAST_READ_BYTES = 65_536
# Of a stream, that may wait to be read: a ping is answered at once, whoever reads the answer.
_UNREAD_BYTES = 2**20


def run(app: Starlette, host: str, port: int, limits: Limits) -> None:
    """Serve until SIGINT or SIGTERM, and then until all requests are answered.

    Args:
        app: to serve.
        host: name or address to listen on.
        port: to listen on; 0 is any that is free.
        limits: of heads, and of the time to read an answer; bodies are the application's.

    Raises:
        LightserError: the address cannot be listened on.
    """

    class PatientProtocol(_PatientProtocol):
        header_s = limits.header_s
        time_s = limits.time_s

    class PatientStream(_PatientStream):
        time_s = limits.time_s

    config = uvicorn.Config(
        app,
        http=PatientProtocol,
        ws=PatientStream,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=_CONNECTIONS,
        h11_max_incomplete_event_size=_HEAD_BYTES,
        ws_max_size=MESSAGE_BYTES,
        ws_per_message_deflate=False,  # a few bytes would become a MiB
        # The longest that an accepted request may take: to arrive, to be decoded, to be answered.
        timeout_graceful_shutdown=math.ceil(3 * limits.time_s),
    )
    listening = listen_on(host, port)
    give_back_large_blocks()
    try:
        _Server(config).run([listening])
    except KeyboardInterrupt:  # as uvicorn ends after SIGINT
        pass
    finally:
        listening.close()


def listen_on(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to an address.

    Raises:
        LightserError: it cannot be.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        # With the protocol left out, asyncio does not set TCP_NODELAY, and answers are 40 ms late.
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Left to itself, the system holds megabytes for a client, and asks for more only when a
        # third of them was read: slow readers would look like those who do not read at all.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SENT_BYTES)
        listening.bind(address)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise LightserError(
            f"{host}:{port} cannot be listened on ({reason}); give another --port or --host."
        ) from None
    return listening


class _Server(uvicorn.Server):
    """uvicorn, which says where it listens in our own words."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listening in sockets or []:
            host, port = listening.getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            log("listening", url=f"http://{shown}:{port}")


class _Patience(asyncio.Protocol):
    """Waits only so long for an answer to be read; to be put in front of a protocol of uvicorn."""

    time_s: float
    transport: asyncio.Transport
    loop: asyncio.AbstractEventLoop
    _stuck: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        # So that we hear of whatever waits to be read, not just of what fills a buffer.
        transport.set_write_buffer_limits(high=0)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._wait_for_reader(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_waiting_for_reader()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting_for_reader()
        super().connection_lost(exc)

    def _wait_for_reader(self, unread: int) -> None:
        self._stuck = self.loop.call_later(self.time_s, self._look_at_reader, unread)

    def _stop_waiting_for_reader(self) -> None:
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None

    def _look_at_reader(self, before: int) -> None:
        unread = self.transport.get_write_buffer_size()
        if before - unread < _LEAST_READ_BYTES:
            self.transport.abort()
        else:
            self._wait_for_reader(unread)


class _PatientStream(_Patience, WebSocketsSansIOProtocol):
    """uvicorn's WebSocket, whose patience with a client who does not read ends."""

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.transport.get_write_buffer_size() > _UNREAD_BYTES:
            self.transport.abort()


class _PatientProtocol(_Patience, H11Protocol, asyncio.BufferedProtocol):
    """uvicorn's HTTP/1.1, whose patience with a client ends.

    It waits for the head of a request, too, only so long, and takes no body that is chunks rather
    than content.
    """

    header_s: float
    _hurry: asyncio.TimerHandle | None = None
    _spare = _SPARE_BYTES
    _counted: object = None  # the cycle that `_spare` is of

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._piece = bytearray(_PIECE_BYTES)
        self._wait_for_head()

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._piece

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(bytes(self._piece[:nbytes]))

    def data_received(self, data: bytes) -> None:
        cycle, held = self.cycle, 0 if self.cycle is None else len(self.cycle.body)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self.cycle is not cycle:
            held = 0
        if self.cycle is not self._counted:  # another request
            self._counted, self._spare = self.cycle, _SPARE_BYTES
        is_working = self.cycle is not None and not self.cycle.response_complete
        if is_working:
            self._spare += 2 * (len(self.cycle.body) - held) - len(data)
            if self._spare < 0:
                self.transport.abort()
                return
        # A stream has left this protocol behind.
        is_stream = self.transport.get_protocol() is not self
        if is_stream:
            self._stop_waiting_for_reader()
        if is_working or is_stream:
            self._stop_waiting()
        else:
            self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait_for_head(self) -> None:
        if self._hurry is None:
            self._hurry = self.loop.call_later(self.header_s, self._give_up)

    def _stop_waiting(self) -> None:
        if self._hurry is not None:
            self._hurry.cancel()
            self._hurry = None

    def _give_up(self) -> None:
        self._hurry = None
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()
