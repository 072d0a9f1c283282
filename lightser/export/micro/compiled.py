"""The C front end, compiled here and called from Python, to try it before it ships."""

import ctypes
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightser.errors import LightserError

STRICT = ("-std=c99", "-O2", "-Wall", "-Wextra", "-Werror")
SCRATCH = 1 << 20  # bytes, more than any scratch pad


def compiler() -> list[str]:
    """Return the command of a C compiler: ``CC``, or ``cc``.

    Raises:
        LightserError: there is none.
    """
    command = shlex.split(os.environ.get("CC", "cc"))
    if not command or shutil.which(command[0]) is None:
        raise LightserError(
            f"No C compiler '{' '.join(command) or 'CC'}', which the front end is tried with; set "
            "CC, or leave the features to your own code: --frontend out"
        )
    return command


def compiled(sources: Sequence[Path], out: Path, *options: str) -> Path:
    """Compile C sources to ``out``, warnings being errors.

    Raises:
        LightserError: there is no compiler, or it refuses them.
    """
    files = [str(source) for source in sources]
    done = subprocess.run(
        [*compiler(), *STRICT, *options, "-o", str(out), *files, "-lm"],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        reason = next((line for line in done.stderr.splitlines() if "error" in line), "no reason")
        raise LightserError(f"The C compiler refuses the front end: {reason[:200]}")
    return out


def features_to_codes(folder: Path, shape: tuple[int, int]) -> Callable[..., NDArray[np.int8]]:
    """Return 16-bit samples ``[T]`` to codes ``[F, M]``, as a device computes them.

    Args:
        folder: with the C sources.
        shape: frames and bands.
    """
    call = library(folder).lightser_features_int8

    def codes(samples: NDArray[np.int16]) -> NDArray[np.int8]:
        out = np.empty(shape, np.int8)
        return called(call, samples, out)

    return codes


def library(folder: Path, *options: str) -> ctypes.CDLL:
    """Return the front end in ``folder`` as a loaded library; the file itself is gone again."""
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "lightser_frontend.so"
        compiled([folder / "lightser_frontend.c"], path, "-shared", "-fPIC", *options)
        return ctypes.CDLL(str(path))


def called(call: Callable[..., int], samples: NDArray[np.int16], out: NDArray) -> NDArray:  # type: ignore[type-arg]
    """Fill ``out`` with the features of samples ``[T]`` by one of the front end's functions.

    Raises:
        LightserError: it refuses the clip.
    """
    scratch = np.empty(SCRATCH, np.uint8)
    heard = np.ascontiguousarray(samples, np.int16)
    pointers = [ctypes.c_void_p(a.ctypes.data) for a in (heard, scratch, out)]
    if call(pointers[0], ctypes.c_size_t(len(heard)), pointers[1], pointers[2]):
        raise LightserError(f"The C front end refuses a clip of {len(heard)} samples")
    return out
