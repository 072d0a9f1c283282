"""The peak of a process's memory is that of what it did since the peak was forgotten."""

import math
from pathlib import Path

import numpy as np
import pytest

from lightser import memory


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="memory is looked up in /proc")
def test_a_peak_is_seen_and_forgotten():
    memory.forget_peak()
    before = memory.peak_bytes()
    held = np.ones(50_000_000)  # 400 MB
    # Roughly: a system short of memory takes back some of what was read from files meanwhile.
    assert memory.peak_bytes() - before == pytest.approx(held.nbytes, rel=0.4)
    del held
    memory.forget_peak()
    assert memory.peak_bytes() - before < 200e6
    assert 0 < memory.resident_bytes() <= memory.peak_bytes()
    assert 0 < memory.available_bytes() < 1e15


def test_what_a_system_does_not_tell_is_nan(monkeypatch):
    def missing(file, *args, **kwargs):
        raise FileNotFoundError(file)

    monkeypatch.setattr("builtins.open", missing)
    memory.forget_peak()
    assert math.isnan(memory.peak_bytes()) and math.isnan(memory.available_bytes())
