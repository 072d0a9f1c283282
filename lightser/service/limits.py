"""What one request may cost, and how one that would cost more is refused."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields

from lightser.errors import LightserError

KEYS = "LIGHTSER_API_KEYS"  # the environment variable


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the service lends to strangers.

    Attributes:
        body_bytes: of one request.
        audio_s: seconds of audio of one request.
        requests: that are worked on at once.
        streams: WebSockets that are open at once.
        time_s: seconds for a body to arrive, again for its decoding, and again for its segments.
        header_s: seconds for the head of a request to arrive.
        idle_s: seconds that a stream may be silent on the wire.
        decoder_bytes: of address space of a process that decodes.

    Raises:
        LightserError: one of them is not above 0, or infinite.
    """

    body_bytes: int = 50_000_000
    audio_s: float = 600.0
    requests: int = 8
    streams: int = 8
    time_s: float = 30.0
    header_s: float = 10.0
    idle_s: float = 30.0
    decoder_bytes: int = 2**29

    def __post_init__(self) -> None:
        for limit in fields(self):
            above_zero(f"The limit {limit.name}", getattr(self, limit.name))


def above_zero(what: str, value: float) -> float:
    """Return what a limit, or the option that sets it, says.

    Raises:
        LightserError: it is not above 0, or infinite.
    """
    if not (math.isfinite(value) and value > 0):
        raise LightserError(f"{what} must be finite and above 0, got {value:g}.")
    return value


# Segments may not overlap so much that a second of audio costs minutes.
LEAST_HOP_S = 0.05
MOST_WINDOW_S = 60.0
MOST_OVERLAP = 100  # windows that hear the same sample


def check_window(window_s: float) -> None:
    """Refuse a window that would cost too much; what else is wrong with it, a stream says.

    Raises:
        Refusal: 400.
    """
    if window_s > MOST_WINDOW_S:
        raise bad_request(f"window_s is {window_s:g}; give {MOST_WINDOW_S:g} or less.")


def check_hop(window_s: float, hop_s: float) -> None:
    """Refuse windows that overlap too much; what else is wrong with them, a stream says.

    Raises:
        Refusal: 400.
    """
    least = max(LEAST_HOP_S, window_s / MOST_OVERLAP)
    if hop_s < least:
        raise bad_request(
            f"hop_s is {hop_s:g}; for windows of {window_s:g} s give {least:g} or more."
        )


@dataclass(eq=False)
class Refusal(Exception):
    """A request that is answered with a 4xx or 5xx.

    Attributes:
        status: of HTTP.
        code: for programs, one of those in the API's description.
        message: for people, one line.
        headers: to send along.
    """

    status: int
    code: str
    message: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.message

    @property
    def content(self) -> dict[str, dict[str, str]]:
        """What is sent, as JSON."""
        return {"error": {"code": self.code, "message": self.message}}


def bad_request(message: str) -> Refusal:
    return Refusal(400, "bad_request", message)


def busy(what: str, limit: int) -> Refusal:
    message = f"{limit} {what} are open, and that is the limit; try again."
    return Refusal(429, "busy", message, {"Retry-After": "1"})


class Slots:
    """A number of places, of which each is taken or free."""

    def __init__(self, what: str, limit: int):
        self.what, self.limit, self.taken = what, limit, 0

    @contextmanager
    def take(self) -> Iterator[None]:
        """Hold a place.

        Raises:
            Refusal: 429, there is none.
        """
        if self.taken >= self.limit:
            raise busy(self.what, self.limit)
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1
