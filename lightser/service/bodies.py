"""The file that a request carries, within limits, and never on disk."""

import asyncio
from collections.abc import AsyncGenerator
from typing import NamedTuple

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from lightser.service.limits import Limits, Refusal, bad_request

# The field of a form that holds what was heard of a voice before, and its most bytes.
ADAPTATION = "adaptation"
_ADAPTATION_BYTES = 200_000


class Body(NamedTuple):
    """What a request carries: a file, and what was heard of the voice before, as JSON or not."""

    file: bytes
    adaptation: str | None = None


async def read_body(request: Request, limits: Limits) -> Body:
    """Return the file of a request: its whole body, or the one file of a form.

    Raises:
        Refusal: 400, 408, 413, 415: it is not there, too slow, too large, or compressed.
    """
    if request.headers.get("content-encoding", "identity") != "identity":
        raise Refusal(415, "unsupported_format", "Send the body without Content-Encoding.")
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > limits.body_bytes:
        raise _too_large(limits)
    is_form = request.headers.get("content-type", "").lower().startswith("multipart/")
    read = _read_form if is_form else _read_raw
    try:
        body = await asyncio.wait_for(read(request, limits), limits.time_s)
    except asyncio.TimeoutError:
        message = f"The body took longer than {limits.time_s:g} s to arrive."
        raise Refusal(408, "too_slow", message) from None
    except ClientDisconnect:
        raise Refusal(400, "disconnected", "The client went away.") from None
    if not body.file:
        raise bad_request("The body is empty; send an audio file.")
    return body


async def _chunks(request: Request, limits: Limits) -> AsyncGenerator[bytes, None]:
    total = 0
    async for chunk in request.stream():
        total += len(chunk)
        if total > limits.body_bytes:
            raise _too_large(limits)
        yield chunk


async def _read_raw(request: Request, limits: Limits) -> Body:
    body = bytearray()
    async for chunk in _chunks(request, limits):
        body += chunk
    return Body(bytes(body))


async def _read_form(request: Request, limits: Limits) -> Body:
    parser = MultiPartParser(
        request.headers,
        _chunks(request, limits),
        max_files=1,
        max_fields=8,
        max_part_size=_ADAPTATION_BYTES,
    )
    parser.spool_max_size = limits.body_bytes + 1  # so that nothing is written to disk
    try:
        form = await parser.parse()
    except (MultiPartException, ValueError) as error:  # ValueError: of the parser that it uses
        raise bad_request(
            f"The form cannot be read: {getattr(error, 'message', 'it is damaged')}"
        ) from None
    try:
        for _, part in form.multi_items():
            if isinstance(part, UploadFile):
                field = form.get(ADAPTATION)
                return Body(await part.read(), field if isinstance(field, str) else None)
    finally:
        await form.close()
    raise bad_request("The form holds no file; send one, as -F file=@clip.wav does.")


def _too_large(limits: Limits) -> Refusal:
    message = f"The body is larger than {limits.body_bytes:,} bytes; send a shorter clip."
    return Refusal(413, "body_too_large", message)
