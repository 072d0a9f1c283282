"""Memory that this process has held, and that is free: Linux tells, elsewhere it is NaN."""

import math
import re


def forget_peak() -> None:
    """Begin to look for the peak of this process's memory anew."""
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
    except OSError:
        return


def peak_bytes() -> float:
    """Return the most memory that this process held since its peak was forgotten."""
    return _line("/proc/self/status", "VmHWM")


def available_bytes() -> float:
    """Return the memory that new processes can have without others being swapped out."""
    return _line("/proc/meminfo", "MemAvailable")


def _line(file: str, name: str) -> float:
    try:
        with open(file, encoding="ascii", errors="replace") as lines:
            found = re.search(rf"^{name}:\s+(\d+) kB$", lines.read(), re.MULTILINE)
    except OSError:
        found = None
    return int(found[1]) * 1024 if found else math.nan
