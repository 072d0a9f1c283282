"""What memory this process holds and what is free, and what glibc does with what is freed.

Linux tells; elsewhere numbers are NaN, and nothing is asked.
"""

import ctypes
import math
import re


def resident_bytes() -> float:
    """Return the memory that this process holds."""
    return _bytes("/proc/self/status", "VmRSS")


def peak_bytes() -> float:
    """Return the most memory that this process held since :func:`forget_peak`."""
    return _bytes("/proc/self/status", "VmHWM")


def forget_peak() -> None:
    """Begin to look for the peak of this process's memory anew."""
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
    except OSError:
        return


def available_bytes() -> float:
    """Return the memory that new processes can have without others being swapped out."""
    return _bytes("/proc/meminfo", "MemAvailable")


def ask_glibc(function: str, *arguments: int) -> None:
    """Call a function of glibc's malloc.h; nothing is done with another C library."""
    try:
        getattr(ctypes.CDLL(None), function)(*arguments)
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return


def _bytes(file: str, name: str) -> float:
    try:
        with open(file, encoding="ascii", errors="replace") as lines:
            found = re.search(rf"^{name}:\s+(\d+) kB$", lines.read(), re.MULTILINE)
    except OSError:
        found = None
    return int(found[1]) * 1024 if found else math.nan
