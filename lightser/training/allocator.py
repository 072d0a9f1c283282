"""Keep the memory that a training step frees, as the next step wants the same again."""

from lightser.memory import ask_glibc

# Parameters of glibc's mallopt(3), from its malloc.h.
TRIM_THRESHOLD, TOP_PAD, MMAP_MAX = -1, -2, -4
KEPT = {MMAP_MAX: 0, TRIM_THRESHOLD: 2**31 - 1, TOP_PAD: 2**26}


def keep_freed_memory() -> None:
    """Ask glibc to keep large arrays that are freed; elsewhere nothing is done.

    A step allocates and frees the same large arrays thousands of times. glibc gives each back to
    the system, which hands out fresh pages that have to be cleared: a seventh of the time of
    Zhong's network on a CPU, a fifth of Light-SERNet's (benchmarks/allocator.md).
    """
    for parameter, value in KEPT.items():
        ask_glibc("mallopt", parameter, value)


def give_back_freed_memory() -> None:
    """Ask glibc to return what it keeps to the system, as no step follows for a while."""
    ask_glibc("malloc_trim", 0)
