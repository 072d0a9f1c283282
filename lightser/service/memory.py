"""How much memory the server holds, and how it gives back what large bodies needed."""

import ctypes
import os

# Of glibc's malloc.h: blocks of this size and more are mapped one by one, and unmapped when they
# are freed. Without it glibc learns from the first large body to keep its memory, for ever larger
# bodies.
_M_MMAP_THRESHOLD, _LARGE_BYTES = -3, 2**18


def give_back_large_blocks() -> None:
    """Have large blocks of memory returned to the system as soon as they are free, with glibc."""
    try:
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
    except (AttributeError, OSError, TypeError):  # another C library, or Windows
        return


def resident_bytes() -> float:
    """Return the memory that this process holds; NaN where the system does not tell."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return float(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return float("nan")
