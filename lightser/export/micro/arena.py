"""TensorFlow Lite Micro's own interpreter, and how much memory it asks for.

Where it cannot go on it ends the process, and what it has to say it writes to file descriptor 2. So
measuring, which is also the first time that a file is opened, is done in a process of its own.
"""

import re
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from lightser.errors import BadModel, MissingExtra

AMPLE = 64_000_000  # bytes; an arena that any of our networks fits in, for a minute and more
ALIGNMENT = 16  # bytes, of everything in an arena

# Told on standard error by RecordingMicroAllocator.
ALLOCATED = re.compile(r"Arena allocation (total|head|tail) (\d+) bytes")
PROBE = """
import sys
from tflite_micro import runtime
interpreter = runtime.Interpreter.from_bytes(sys.stdin.buffer.read(), arena_size=int(sys.argv[1]))
interpreter.invoke()
interpreter.print_allocations()
"""


@dataclass(frozen=True, kw_only=True)
class Arena:
    """What a model takes of the memory that an application sets aside for it, in bytes.

    Attributes:
        total: all of it.
        maps: inputs, activations and scratch pads, in turn in the same place.
        kept: what operations and tensors remember of themselves. Pointers are in it, so it is
            smaller on a 32-bit processor than where this is measured.
    """

    total: int
    maps: int
    kept: int


def arena(content: bytes) -> Arena:
    """Return what TensorFlow Lite Micro takes for a model, by its own account.

    Raises:
        BadModel: it cannot run the model; with its reason.
        MissingExtra: it is not installed.
    """
    runtime()
    probe = subprocess.run(
        [sys.executable, "-c", PROBE, str(AMPLE)], input=content, capture_output=True
    )
    said = probe.stderr.decode(errors="replace")
    if probe.returncode:
        reason = next((line for line in said.splitlines() if line.strip()), "it crashed")
        raise BadModel(f"TensorFlow Lite Micro cannot run this model: {reason[:200]}")
    sizes = {name: int(size) for name, size in ALLOCATED.findall(said)}
    return Arena(total=sizes["total"], maps=sizes["head"], kept=sizes["tail"])


def arena_bytes(content: bytes) -> int:
    """Return the bytes of the arena that TensorFlow Lite Micro takes for a model."""
    return arena(content).total


def open_micro(content: bytes) -> Any:
    """Return TensorFlow Lite Micro's interpreter, with room to spare."""
    return runtime().Interpreter.from_bytes(content, arena_size=AMPLE)


def runtime() -> Any:
    """Return the Python door to TensorFlow Lite Micro.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        from tflite_micro import runtime
    except ImportError as error:
        raise MissingExtra("Running TensorFlow Lite Micro", "micro") from error
    return runtime
