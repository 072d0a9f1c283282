"""What one sees while jobs run: a bar for each on a terminal, a line now and then elsewhere."""

import sys
import time
from types import TracebackType
from typing import Any

LINE_EVERY_S = 60.0


class Watch:
    """Show the states of running jobs on stderr.

    Args:
        n_jobs: how many there are in all.
        n_done: how many were done before.
    """

    def __init__(self, n_jobs: int, n_done: int = 0):
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

        console = Console(stderr=True)
        self.is_live = console.is_terminal
        self.n_jobs, self.n_done = n_jobs, n_done
        self._spoke = time.monotonic()
        self._rows: dict[str, TaskID] = {}
        self._first: dict[str, dict[str, Any]] = {}
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[words]}"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=console,
            disable=not self.is_live,
        )

    def __enter__(self) -> "Watch":
        self._bars.start()
        self._all = self._bars.add_task(
            "jobs", total=self.n_jobs, completed=self.n_done, words=self._count()
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def running(self, states: dict[str, dict[str, Any]]) -> None:
        """Take the states of the jobs that run now."""
        for name, state in states.items():
            first = self._first.get(name)
            if first is None or state["update"] < first["update"]:  # it fell back to a checkpoint
                self._first[name] = state
        if not self.is_live:
            if states and time.monotonic() - self._spoke > LINE_EVERY_S:
                self._spoke = time.monotonic()
                for name, state in states.items():
                    print(f"{name}: {words(state, self._first[name])}", file=sys.stderr, flush=True)
            return
        for name, state in states.items():
            if name not in self._rows:
                self._rows[name] = self._bars.add_task(name, total=state["updates"], words="")
            said = words(state, self._first[name])
            self._bars.update(self._rows[name], completed=state["update"], words=said)

    def done(self, name: str, scores: dict[str, Any]) -> None:
        """Take one job off, and tell the pooled scores so far."""
        self.n_done += 1
        pooled = scores.get("pooled", {})
        line = f"{name} done, {self._count()}"
        if pooled:
            line += f"; so far UA {pooled['ua']:.1%}, WA {pooled['wa']:.1%}"
        if self.is_live:
            if name in self._rows:
                self._bars.remove_task(self._rows.pop(name))
            self._bars.update(self._all, completed=self.n_done, words=self._count())
            self._bars.console.print(line)
        else:
            print(line, file=sys.stderr, flush=True)

    def _count(self) -> str:
        return f"{self.n_done} of {self.n_jobs}"


def words(state: dict[str, Any], first: dict[str, Any]) -> str:
    """Say where a job is, and for how long it will go on at the pace since it was first seen.

    What came before says nothing of this: a job that is resumed may have been on another machine,
    or on this one as it was busy.

    Args:
        state: of the job now.
        first: of the same job as it was first seen; where nothing was done since, no time is said.

    >>> first = {"update": 0, "seconds": 5.0}
    >>> words({"epoch": 3.0, "train_loss": 0.51, "valid_ua": 0.7, "seconds": 35.0,
    ...        "update": 10, "updates": 40, "test_ua": None}, first)
    'epoch 3, loss 0.510, valid UA 70.0%, 2 min left'
    """
    if "what" in state:  # the classic has no epochs
        said = [state["what"]]
    else:
        said = [f"epoch {state['epoch']:.0f}", f"loss {state['train_loss']:.3f}"]
    for part in ("valid", "test"):
        if state.get(f"{part}_ua") is not None:
            said.append(f"{part} UA {state[f'{part}_ua']:.1%}")
    done = state["update"] - first["update"]
    if done:
        pace = (state["seconds"] - first["seconds"]) / done
        said.append(f"{pace * (state['updates'] - state['update']) / 60:.0f} min left")
    return ", ".join(said)
