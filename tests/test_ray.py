"""Ray: archives and trainings over a cluster of several machines, one of which is lost."""

import csv
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from shutil import copyfile
from typing import Any

import pandas as pd
import pytest
from model_folder import ANGER, HAPPINESS, SADNESS, write_model
from tiny_corpus import tiny_corpus, tiny_recipe

ray = pytest.importorskip("ray", reason="needs the extra ray")

from ray.data import DataContext  # noqa: E402

from lightser.errors import LightserError  # noqa: E402
from lightser.inference.bulk import predict_archive  # noqa: E402
from lightser.inference.bulk.processes import DEADLY  # noqa: E402
from lightser.training.crossval import make_plan, run  # noqa: E402

CLIPS = (ANGER, SADNESS, HAPPINESS)


class Machines:
    """A cluster on this machine: a head that does no work, and nodes of one core each."""

    def __init__(self) -> None:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - a busy machine would starve them
        from ray.cluster_utils import Cluster

        self.store = {"object_store_memory": 80 * 2**20}
        head = {"num_cpus": 0, "include_dashboard": False, **self.store}
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.nodes = [self.cluster.add_node(num_cpus=1, wait=False, **self.store) for _ in range(2)]
        self.cluster.wait_for_nodes()

    def lose_one(self) -> None:
        """Kill a node with all that runs on it."""
        self.cluster.remove_node(self.nodes.pop(0), allow_graceful=False)

    def kill_who_runs(self, task: str) -> int:
        """Kill a process that runs a task, and return how many were."""
        for node in self.nodes:
            (raylet,) = node.all_processes["raylet"]
            pid = raylet.process.pid
            for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
                if f"ray::{task}" in Path(f"/proc/{child}/cmdline").read_text():
                    os.kill(int(child), signal.SIGKILL)
                    return 1
        return 0


# Decoders that crash, as libraries written in C do: on one file always, on another only once. Who
# died is written down.
CRASHES = """
import os, signal, lightser.audio.files as files
plain = files.open_decoder
def crashing(file, name, *track):
    died = {folder!r} + "/" + os.path.basename(name)
    if name.endswith("deadly.flac") or name.endswith("once.flac") and not os.path.exists(died):
        with open("/proc/self/cmdline") as title, open(died, "a") as log:
            log.write(title.read().split("\\0")[0] + "\\n")
        os.kill(os.getpid(), signal.SIGKILL)
    return plain(file, name, *track)
files.open_decoder = crashing
"""


@pytest.fixture(scope="module")
def died(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Have processes that start from now on crash on some files, and write it down in a folder."""
    folder = tmp_path_factory.mktemp("died")
    patch = tmp_path_factory.mktemp("patch")
    (patch / "sitecustomize.py").write_text(CRASHES.format(folder=str(folder)))
    with pytest.MonkeyPatch.context() as context:
        context.setenv("PYTHONPATH", str(patch), prepend=os.pathsep)
        yield folder


@pytest.fixture(scope="module")
def machines(died: Path) -> Iterator[Machines]:
    made = Machines()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", made.cluster.address)
        yield made
    ray.shutdown()
    made.cluster.shutdown()


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_a_training_loses_nothing_when_a_process_is_killed(
    machines: Machines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIGHTSER_CACHE", str(tmp_path / "cache"))
    recipe = tiny_recipe()
    table = tiny_corpus()
    expected = make_plan(recipe, table, name="t", out=tmp_path / "expected")
    run(expected, engine="serial")
    plan = make_plan(recipe, table, name="t", out=tmp_path / "ours")
    killed: list[int] = []

    def progress(states: dict[str, Any]) -> None:
        if states and not sum(killed):  # a job is in its middle
            killed.append(machines.kill_who_runs("_files_of"))

    ran: list[str] = []
    scores = run(plan, engine="ray", progress=progress, done=lambda job, _: ran.append(job.name))
    assert sum(killed) == 1 and scores["complete"]
    assert sorted(ran) == sorted(job.name for job in plan.jobs)
    for file in ("predictions.csv", "history.csv"):
        pd.testing.assert_frame_equal(
            pd.read_csv(tmp_path / "ours" / file), pd.read_csv(tmp_path / "expected" / file)
        )


def test_an_archive_loses_and_doubles_nothing_when_a_machine_is_lost(
    machines: Machines, tmp_path: Path
) -> None:
    model = write_model(tmp_path / "small")
    manifest = tmp_path / "files.csv"
    with open(manifest, "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "end", "id"])
        table.writerows([CLIPS[i % 3], 0.5 + i / 40, i] for i in range(39))
        table.writerow(["gone.wav", "", 39])
    options: dict[str, Any] = {"manifest": str(manifest), "model": model}
    predict_archive(tmp_path / "expected.csv", engine="serial", **options)
    steps: list[int] = []

    def tell(progress: Any) -> None:
        steps.append(progress.done)
        if len(steps) == 8:
            machines.lose_one()

    summary = predict_archive(tmp_path / "said.csv", engine="ray", tell=tell, **options)
    assert (summary.files, summary.rows, summary.bad) == (40, 39, 1)
    assert rows_of(tmp_path / "said.csv") == rows_of(tmp_path / "expected.csv")
    assert steps == [*range(41)], "each block came once"
    assert not ray.is_initialized(), "the cluster is left when the work is done"


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at the process in /proc")
def test_a_file_that_kills_each_process_is_named_and_one_that_killed_once_is_heard(
    machines: Machines, died: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["a.flac", "deadly.flac", "n\udcff.flac", "once.flac", "z.flac"]
    for name in names:
        copyfile(ANGER, tmp_path / name)
    model = write_model(tmp_path / "small")
    monkeypatch.setattr(DataContext.get_current(), "max_errored_blocks", 5)
    summary = predict_archive(
        tmp_path / "said.csv", sources=[str(tmp_path / "*.flac")], model=model, engine="ray"
    )
    assert (summary.files, summary.rows, summary.bad) == (5, 4, 1)
    heard = [Path(row["file"]).name for row in rows_of(tmp_path / "said.csv")]
    assert heard == ["a.flac", "n\ufffd.flac", "once.flac", "z.flac"]
    (bad,) = rows_of(tmp_path / "said.errors.csv")
    assert (Path(bad["file"]).name, bad["reason"]) == ("deadly.flac", DEADLY)
    (once,) = (died / "once.flac").read_text().splitlines()
    *tries, here = (died / "deadly.flac").read_text().splitlines()
    assert len(tries) == 4, "and then never again on the cluster"
    assert all(who.startswith("ray::Map(") for who in [once, *tries]), "a task of Ray Data"
    assert not here.startswith("ray::")
    assert DataContext.get_current().max_errored_blocks == 5, "the settings of others stay"


def test_a_model_that_is_not_there_is_one_line(machines: Machines, tmp_path: Path) -> None:
    model = write_model(tmp_path / "small")

    def tell(progress: Any) -> None:
        (model / "golden.flac").write_bytes(b"changed")  # before any machine has read it

    with pytest.raises(LightserError, match="golden") as error:
        predict_archive(
            tmp_path / "o.csv", sources=[str(ANGER)], model=model, engine="ray", tell=tell
        )
    assert "\n" not in str(error.value)


def test_an_address_where_nobody_listens_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(LightserError, match=r"No Ray cluster at '127.0.0.1:1'") as error:
        predict_archive(tmp_path / "o.csv", sources=[str(ANGER)], engine="ray")
    assert "\n" not in str(error.value) and os.listdir(tmp_path) == []
