"""The process that decodes what strangers send: bytes in on stdin, samples out on stdout.

Its memory is limited, it cannot write files, and whoever started it kills it when it takes too
long. If a hostile file makes a decoder crash or swell, this process is what is lost.

A job is ``JOB`` and the bytes of a file. The answer is frames: ``FRAME`` and its bytes, samples as
they come, then ``DONE`` with the file's own rate and the warnings, or ``FAILED`` with the reason,
as JSON.
"""

import io
import json
import os
import struct
import sys
import warnings
from typing import Any, BinaryIO

from lightser.audio.channels import stream_mixed
from lightser.errors import LightserError, LightserWarning

# Bytes of the file, hertz of the samples, most seconds of them, track (0: as a player chooses).
JOB = struct.Struct("<QIdH")
FRAME = struct.Struct("<cI")  # kind, bytes
READY, SAMPLES, DONE, FAILED = b"r", b"s", b"d", b"f"
TOO_LONG = "TooLong"

_ROOM_BYTES = 2**25  # without which nothing could be decoded


def main() -> None:
    """Take jobs until stdin ends."""
    # Whatever a library prints must not end up between the samples.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    limit_process(int(sys.argv[1]))
    bytearray(_ROOM_BYTES)  # raises MemoryError
    send(answers, READY)
    jobs = sys.stdin.buffer
    while len(head := jobs.read(JOB.size)) == JOB.size:
        size, rate, most_s, track = JOB.unpack(head)
        try:
            decode(jobs.read(size), rate, most_s, track or None, answers)
        except LightserError as error:
            fail(answers, type(error).__name__, str(error))
        except Exception as error:  # a decoder that a hostile file has led astray: start anew
            fail(answers, type(error).__name__, "")
            return


def limit_process(n_bytes: int) -> None:
    """Limit the address space to ``n_bytes``, and files to none, where the system can."""
    try:
        import resource
    except ImportError:  # Windows: the time limit remains
        return
    for what, limit in (
        (resource.RLIMIT_AS, n_bytes),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        try:
            resource.setrlimit(what, (limit, limit))
        # macOS has no limit of address space; and a number can be above what a system counts.
        except (ValueError, OSError, OverflowError):
            continue


def decode(body: bytes, rate: int, most_s: float, track: int | None, answers: BinaryIO) -> None:
    """Send the samples of a file, as :func:`stream_mixed` gives them."""
    n_samples, rates = 0, list[int]()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", LightserWarning)
        for block in stream_mixed(io.BytesIO(body), rate, recorded_at=rates.append, track=track):
            n_samples += len(block)
            if n_samples > most_s * rate:
                fail(answers, TOO_LONG, f"The audio is longer than {most_s:g} s.")
                return
            send(answers, SAMPLES, block.tobytes())
    said = [str(w.message) for w in caught if issubclass(w.category, LightserWarning)]
    send(answers, DONE, as_json([*rates, said]))


def send(answers: BinaryIO, kind: bytes, content: bytes = b"") -> None:
    answers.write(FRAME.pack(kind, len(content)))
    answers.write(content)
    answers.flush()


def fail(answers: BinaryIO, kind: str, message: str) -> None:
    send(answers, FAILED, as_json([kind, message]))


def as_json(content: Any) -> bytes:
    return json.dumps(content).encode()


if __name__ == "__main__":
    main()
