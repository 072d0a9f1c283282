"""How the server gives back what large bodies needed."""

from lightser.memory import ask_glibc

# Of glibc's malloc.h: blocks of this size and more are mapped one by one, and unmapped when they
# are freed. Without it glibc learns from the first large body to keep its memory, for ever larger
# bodies.
_M_MMAP_THRESHOLD, _LARGE_BYTES = -3, 2**18


def give_back_large_blocks() -> None:
    """Have large blocks of memory returned to the system as soon as they are free, with glibc."""
    ask_glibc("mallopt", _M_MMAP_THRESHOLD, _LARGE_BYTES)
