"""Told no while still sending: how the answer reaches a client whose body nobody wants."""

import asyncio
import contextlib

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# A connection that is closed while bytes arrive is reset, and the client may lose the answer. So
# some of the rest is heard and forgotten first; after that, whoever still sends is cut off.
LINGER_S = 2.0


class Linger:
    """Hear a little more of a body before an early answer, and close the connection after it."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        is_whole = False

        async def watched_receive() -> Message:
            nonlocal is_whole
            message = await receive()
            is_whole = not message.get("more_body")  # or the client has gone
            return message

        async def hear_the_rest() -> None:
            while not is_whole:
                await watched_receive()

        async def watched_send(message: Message) -> None:
            if message["type"] == "http.response.start" and not is_whole:
                # Who waits for "100 Continue" has sent nothing yet, and would begin to.
                if Headers(scope=scope).get("expect", "").lower() != "100-continue":
                    with contextlib.suppress(asyncio.TimeoutError):
                        await asyncio.wait_for(hear_the_rest(), LINGER_S)
                if not is_whole:
                    MutableHeaders(scope=message)["Connection"] = "close"
            await send(message)

        await self.app(scope, watched_receive, watched_send)
