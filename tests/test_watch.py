"""What one reads while jobs run: nothing that was done before a job was resumed counts."""

import pytest

from lightser.cli import watch
from lightser.cli.watch import Watch


def state(update, seconds):
    return {
        "epoch": update / 10, "train_loss": 0.5, "update": update, "updates": 1000,
        "seconds": seconds,
    }  # fmt: skip


@pytest.fixture
def always(monkeypatch):
    monkeypatch.setattr(watch, "LINE_EVERY_S", -1.0)


def test_the_time_left_is_at_the_pace_since_a_job_was_resumed(always, capsys):
    with Watch(1) as seen:
        seen.running({"a": state(500, 36_000.0)})  # ten hours, most of them asleep
        seen.running({"a": state(600, 36_060.0)})
    first, second = capsys.readouterr().err.splitlines()
    assert first == "a: epoch 50, loss 0.500"
    assert second == "a: epoch 60, loss 0.500, 4 min left"


def test_a_job_that_falls_back_to_its_checkpoint_is_timed_from_there(always, capsys):
    with Watch(1) as seen:
        seen.running({"a": state(500, 36_000.0)})  # as it was told before it was interrupted
        seen.running({"a": state(400, 30_000.0)})
        seen.running({"a": state(500, 30_060.0)})
    assert capsys.readouterr().err.splitlines()[-1].endswith(", 5 min left")
