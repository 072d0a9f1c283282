"""Freed memory is kept, so that a step does not have its arrays handed out anew."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
import numpy as np
from lightser.training.allocator import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(8):
        np.ones(2**22)  # 32 MiB: 8192 pages of 4 KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

fresh = faults()
keep_freed_memory()
faults()  # the heap grows once
print(fresh, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be asked")
def test_arrays_that_are_freed_are_used_again_without_page_faults():
    ran = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    fresh, kept = map(int, ran.stdout.split())
    assert kept < 64 < fresh


HELD = """
import numpy as np
from lightser.memory import resident_bytes
from lightser.training.allocator import give_back_freed_memory, keep_freed_memory

keep_freed_memory()
arrays = [np.ones(2**17) for _ in range(200)]  # of 1 MiB
last = np.ones(2**17)  # keeps the heap from being cut at its end
del arrays
held = resident_bytes()
give_back_freed_memory()
print((held - resident_bytes()) / 2**20)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be asked")
def test_what_was_kept_can_be_given_back():
    ran = subprocess.run([sys.executable, "-c", HELD], capture_output=True, text=True, check=True)
    assert float(ran.stdout) > 150
