"""Light-SERNet heard 32 frames at a time has the columns that it has of the whole recording."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import soundfile
import torch
from torch.utils.flop_counter import FlopCounterMode

from lightser.bundled import find_model
from lightser.errors import BadModel, UnknownName
from lightser.export import Order, targets  # noqa: F401  targets register themselves
from lightser.export.deliver import export_model, open_folder
from lightser.export.streaming import CHUNK, ENDLESS, LATE, StreamingLightSernet, in_chunks
from lightser.export.targets import stream
from lightser.training.system import System

SAMPLES = sorted((Path(find_model("default")).parents[2] / "samples").glob("*.flac"))
VOICE = np.concatenate([soundfile.read(file, dtype="float32")[0] for file in SAMPLES])


@pytest.fixture(scope="module")
def system():
    return open_folder(find_model("default"))[1]


@torch.no_grad()
def columns_of(system, features):
    """Return the columns ``[K, 320]`` before the average, of a whole recording ``[1, F, M]``."""
    x = system.standardize(features)[:, None]
    x = torch.cat([path(x, None)[0] for path in system.network.paths], dim=1)
    for block in system.network.body:
        x, _ = block(x, None)
    return x.mean(dim=3)[0].T


@torch.no_grad()
def heard(module, features, end):
    """Feed chunks; return the answer after each, and the newest columns."""
    kept, answers = module.start(), []
    for i, chunk in enumerate(in_chunks(features)):
        answer, *kept = module(chunk, torch.tensor([i]), torch.tensor([end]), *kept)
        answers.append(answer[0])
    return answers, kept[-1][0]


# One column, a chunk and a frame, a window, and lengths that are odd behind each of the poolings.
@pytest.mark.parametrize("n_frames", [1, 33, 184, 187, 190, 210, 447])
def test_columns_and_answer_are_those_of_the_whole_recording(system, n_frames):
    features = system.frontend(torch.from_numpy(VOICE)[None])[:, :n_frames]
    columns = columns_of(system, features)
    module = StreamingLightSernet(system, columns=len(columns))
    answers, newest = heard(module, features, n_frames)
    torch.testing.assert_close(newest, columns, rtol=0, atol=1e-4)
    with torch.no_grad():
        whole = (system.logits(features) / system.temperature).softmax(dim=1)[0]
    torch.testing.assert_close(answers[-1], whole, rtol=0, atol=1e-5)


def test_a_long_stream_is_answered_by_its_last_columns_while_it_goes_on(system):
    features = system.frontend(torch.from_numpy(VOICE)[None])  # 14 columns
    columns = columns_of(system, features)
    answers, _ = heard(StreamingLightSernet(system, columns=4), features, ENDLESS)
    for i in range(LATE + 4, 10):  # those that see the end would see that it goes on
        newest = columns[: i - LATE + 1][-4:].mean(dim=0)
        with torch.no_grad():
            standardized = system.network.embedding(newest)
            logits = system.network.classifier(standardized) / system.temperature
        torch.testing.assert_close(answers[i], logits.softmax(dim=0), rtol=0, atol=1e-5)


def test_what_comes_behind_the_end_does_not_matter(system):
    features = system.frontend(torch.from_numpy(VOICE)[None])
    module = StreamingLightSernet(system, columns=3)
    n_chunks = len(in_chunks(features[:, :70]))
    answers = [
        heard(module, tail, 70)[0][n_chunks - 1]
        for tail in (features, torch.cat([features[:, :70], 9 + 0 * features], dim=1))
    ]
    torch.testing.assert_close(answers[0], answers[1], rtol=0, atol=0)


def test_a_chunk_costs_its_share_of_a_window(system):
    module = StreamingLightSernet(system, columns=6)
    counts = []
    for run in (
        lambda: module(
            torch.zeros(1, CHUNK, 40), torch.tensor([9]), torch.tensor([ENDLESS]), *module.start()
        ),
        lambda: system.network(torch.zeros(1, 184, 40)),
    ):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            run()
        counts.append(counter.get_total_flops())
    assert counts[0] / counts[1] == pytest.approx(CHUNK / 184, rel=0.01)


def test_the_exported_graph_hears_chunks_as_pytorch_hears_clips(system, tmp_path):
    manifest = export_model(
        find_model("default"), tmp_path / "stream", target="stream", frontend="out"
    )
    assert manifest.parity.clips == len(SAMPLES)
    assert manifest.parity.max_difference < 1e-5
    assert manifest.interface["columns"] == 6
    session = onnxruntime.InferenceSession(
        tmp_path / "stream" / "model.onnx", providers=["CPUExecutionProvider"]
    )
    states = [node for node in session.get_inputs() if node.name.startswith("kept_")]
    assert sum(np.prod(node.shape) for node in states) < 12_000
    taken, given = manifest.interface["input"], manifest.interface["output"]
    for ends, described in ((session.get_inputs(), taken), (session.get_outputs(), given)):
        assert {end.name: end.shape for end in ends} == {
            k: e["shape"] for k, e in described.items()
        }
    for name in ("chunk", "frames"):
        assert (taken[name]["type"], taken[name]["shape"]) == ("int64", [1])
    assert {taken[node.name]["type"] for node in states} == {given["probabilities"]["type"]}


def test_only_what_can_be_streamed_is(tmp_path):
    order = Order(precision="float32", frontend="out", n_samples=48000)
    other = System.build(("relative_logmel", {}), ("zhong2020", {}), 7, standardize=True)
    with pytest.raises(BadModel, match="carries light_sernet, and this is 'zhong2020'"):
        stream.write(other, order, tmp_path)
    with pytest.raises(UnknownName, match="front end for stream 'in'"):
        export_model(find_model("default"), tmp_path / "in", target="stream")
