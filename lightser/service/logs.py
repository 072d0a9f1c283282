"""Logs: a JSON object to a line on stderr, never with audio in it."""

import json
import logging
import sys
from datetime import datetime, timezone
from typing import Any

LOGGER = logging.getLogger("lightser.service")


def log(event: str, /, level: int = logging.INFO, **facts: Any) -> None:
    """Write a line: what happened, and numbers and names about it."""
    LOGGER.log(level, event, extra={"facts": facts})


class JsonLines(logging.Formatter):
    """Time, level, event, and whatever facts come along."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


# What they say at a lower level quotes what strangers send.
_DISCREET = ("python_multipart", "websockets")
# What uvicorn says as an error of a handshake that was refused, as it should be.
_REFUSED_HANDSHAKE = "ASGI callable returned without completing handshake"


def log_to_stderr() -> None:
    """Send our lines, and the warnings of all libraries, to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.captureWarnings(True)
    LOGGER.setLevel(logging.INFO)
    for name in _DISCREET:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    logging.getLogger("uvicorn.error").addFilter(
        lambda record: not record.getMessage().startswith(_REFUSED_HANDSHAKE)
    )
