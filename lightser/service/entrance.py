"""What every request passes on its way in and out: who may come in, and what is noted of it."""

import base64
import binascii
import contextlib
import hashlib
import hmac
import logging
import secrets
import time
from collections.abc import Collection, Iterable
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from lightser.errors import LightserError
from lightser.service.limits import Refusal
from lightser.service.logs import log
from lightser.service.metrics import Metrics

GUARDED = ("/v1/", "/metrics")
# Browsers send no headers of one's own with a WebSocket, but they name protocols that they speak:
# this one, and one more that holds the key.
STREAM_PROTOCOL = "lightser"
KEY_PROTOCOL = "lightser.key."  # then the key in base64url without padding

_FIXED_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'",
}


def as_response(refusal: Refusal) -> Response:
    return JSONResponse(refusal.content, refusal.status, dict(refusal.headers))


class Watch:
    """Note every request: a line in the log, a count, its time. Neither content nor address.

    Args:
        app: what is watched.
        metrics: to count in.
        paths: that are named in metrics; all others are "other", or strangers could fill them.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, paths: Collection[str]):
        self.app, self.metrics, self.paths = app, metrics, frozenset(paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and watch it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        begin = time.perf_counter()
        name = secrets.token_hex(8)
        status = 0 if scope["type"] == "http" else 1006  # until another is sent

        async def watched_send(message: Message) -> None:
            nonlocal status
            if message["type"].endswith("response.start"):
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = name
                for header, value in _FIXED_HEADERS.items():
                    headers.setdefault(header, value)
            elif message["type"] == "websocket.close":
                status = message.get("code", 1000)
            await send(message)

        # What handlers want to have noted.
        facts: dict[str, Any] = {}
        scope.setdefault("state", {})["facts"] = facts
        try:
            await self.app(scope, receive, watched_send)
        except Exception:
            status = 500 if scope["type"] == "http" else 1011
            raise
        finally:
            seconds = time.perf_counter() - begin
            path = scope["path"] if scope["path"] in self.paths else "other"
            self.metrics.count("lightser_requests_total", path=path, status=str(status))
            if scope["type"] == "http":
                self.metrics.took(path, seconds)
            if "code" in facts:
                self.metrics.count("lightser_refusals_total", code=facts["code"])
            log(
                "request" if scope["type"] == "http" else "stream",
                logging.ERROR if status in (500, 1011) else logging.INFO,
                id=name,
                method=scope.get("method", "GET"),
                path=path,
                status=status,
                seconds=round(seconds, 6),
                **facts,
            )


class Excuse:
    """Answer for a bug, here inside, so that what every answer passes is passed; then let it go on.

    Args:
        app: what may fail.
    """

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        is_answered = scope["type"] != "http"

        async def noted_send(message: Message) -> None:
            nonlocal is_answered
            is_answered = True
            await send(message)

        try:
            await self.app(scope, receive, noted_send)
        except Exception:
            if not is_answered:
                bug = Refusal(500, "internal", "A bug of the service; its log says more.")
                await as_response(bug)(scope, receive, send)
            raise


def origin_of(given: str) -> str:
    """Return the origin of a web page as browsers send it, or ``*``.

    Raises:
        LightserError: it is more, less or something else than one.
    """
    origin = given.strip().removesuffix("/").lower()
    try:
        parts = urlsplit(origin)
        is_one = f"{parts.scheme}://{parts.netloc}" == origin and parts.netloc and "@" not in origin
    except ValueError:
        is_one = False
    if origin != "*" and not (is_one and origin.isascii()):
        raise LightserError(
            f"{given!r} is no origin of a web page; give scheme and host alone, as in "
            "https://example.org."
        )
    return origin


class Guard:
    """Ask for a key where there are keys, and for the right origin where a page calls a stream.

    Args:
        app: what is guarded.
        keys: of which one is needed; none are needed if there are none.
        origins: of pages that may open streams, besides the service's own.
    """

    def __init__(self, app: ASGIApp, keys: Iterable[str], origins: Collection[str]):
        self.app, self.origins = app, frozenset(origins)
        self.digests = [_digest(key) for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "lifespan" and scope["path"].startswith(GUARDED):
            headers = Headers(scope=scope)
            refusal = self._key_refusal(headers, scope.get("subprotocols", ()))
            if refusal is None and scope["type"] == "websocket":
                refusal = self._origin_refusal(headers)
            if refusal is not None:
                scope["state"]["facts"]["code"] = refusal.code
                await deny(scope, receive, send, refusal)
                return
        await self.app(scope, receive, send)

    def _key_refusal(self, headers: Headers, protocols: Iterable[str]) -> Refusal | None:
        if not self.digests:
            return None
        given = _given_key(headers, protocols)
        # All are compared, and each as digests of one length, so that time tells nothing.
        matches = [hmac.compare_digest(_digest(given), digest) for digest in self.digests]
        if any(matches):
            return None
        message = "A key is needed: Authorization: Bearer KEY, or X-API-Key: KEY."
        return Refusal(401, "unauthorized", message, {"WWW-Authenticate": "Bearer"})

    def _origin_refusal(self, headers: Headers) -> Refusal | None:
        # CORS does not hold for WebSockets: any page that someone has open could connect.
        origin = headers.get("origin")
        if origin is None or self.origins & {"*", origin}:
            return None
        with contextlib.suppress(ValueError):  # an origin that is none, such as "http://["
            if urlsplit(origin).netloc == headers.get("host"):
                return None
        return Refusal(403, "forbidden_origin", "Pages of this origin may not open streams.")


def _given_key(headers: Headers, protocols: Iterable[str]) -> str:
    """Return the key that a request, or a stream by the protocols it offers, comes with, or ""."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()
    for protocol in protocols:
        if protocol.startswith(KEY_PROTOCOL):
            word = protocol.removeprefix(KEY_PROTOCOL)
            try:
                return base64.urlsafe_b64decode(word + "=" * (-len(word) % 4)).decode()
            except (binascii.Error, UnicodeDecodeError):
                return ""
    return headers.get("x-api-key", "")


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


async def deny(scope: Scope, receive: Receive, send: Send, refusal: Refusal) -> None:
    """Answer a request, or the handshake of a stream, with a refusal."""
    response = as_response(refusal)
    if scope["type"] == "http":
        await response(scope, receive, send)
    elif "websocket.http.response" in scope.get("extensions", {}):
        await WebSocket(scope, receive, send).send_denial_response(response)
    else:
        await send({"type": "websocket.close", "code": 1008, "reason": refusal.message})
