"""What neighbouring windows share: frames of features, and never a bit of the answer."""

import contextlib
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_folder import ANGER, HAPPINESS, LABELS, SADNESS, TAPS, weights, write_model
from onnx import TensorProto, helper, numpy_helper
from onnx.utils import extract_model

from lightser import Recognizer, Segment, Stream
from lightser.audio.files import read_audio
from lightser.inference.graphs import Graph, open_session
from lightser.inference.segments import SILENCE
from lightser.inference.sharing import Halves, Neighbours
from lightser.inference.vad import SpeechGate

RATE = 16_000
SPEECH = np.concatenate([read_audio(clip) for clip in (HAPPINESS, ANGER, SADNESS)])  # 7.2 s
MODELS = ("emodb-light_sernet", "emodb-zhong2020", "together-light_sernet")
FRAME, HOP = TAPS, TAPS // 2  # samples, of the graphs below


class Apart(Recognizer):
    """Puts each window to the whole graph."""

    def neighbours(self, window: int, hop: int) -> None:
        return None


def apart(recognizer: Recognizer) -> Recognizer:
    return Apart(recognizer.folder, recognizer.card, recognizer._session())


def listen(stream: Stream, chunks: Any) -> list[Segment]:
    return [*(s for chunk in chunks for s in stream.push(chunk)), *stream.flush()]


# Graphs that could be shared, and graphs that look like it


def node(kind: str, *given: str, **attributes: Any) -> onnx.NodeProto:
    *inputs, output = given
    return helper.make_node(kind, inputs, [output], **attributes)


def padded(*sides: int) -> list[onnx.NodeProto]:
    return [
        node("Constant", "pads", value_ints=[0, sides[0], 0, sides[1]]),
        node("Pad", "samples", "pads", "heard"),
    ]


AS_THEY_ARE = [node("Identity", "samples", "heard")]
IN_FRAMES = [
    node("Conv", "wave", "identity", "blocks", strides=[HOP]),
    node("Transpose", "blocks", "halves", perm=[0, 2, 1]),
    node("Slice", "halves", "first", "before_last", "one", "left"),
    node("Slice", "halves", "one", "last", "one", "right"),
    node("Concat", "left", "right", "frames", axis=2),
    node("MatMul", "frames", "filters", "bands"),
]
BY_CONVOLUTION = [
    node("Conv", "wave", "kernels", "channels", strides=[HOP]),
    node("Transpose", "channels", "bands", perm=[0, 2, 1]),
]
LOGS = [node("Log", "above", "logs")]
EITHER_WAY = helper.make_graph([node("Identity", "above", "same")], "branch", [], [
    helper.make_tensor_value_info("same", TensorProto.FLOAT, None)
])  # fmt: skip

# What of the graph is other than in the plain one.
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "one window at a time": {"batch": 1},
    "bands by convolution": {"bands": BY_CONVOLUTION},
    "padded at both ends": {"before": padded(HOP, HOP)},
    "padded at the end": {"before": padded(0, HOP)},
    "as loud as each other": {
        "before": [
            node("ReduceMax", "samples", "one", "loudest", keepdims=1),
            node("Div", "samples", "loudest", "heard"),
        ]
    },
    "not beyond full scale": {
        "before": [
            node("Abs", "samples", "sizes"),
            node("ReduceMax", "sizes", "one", "largest", keepdims=1),
            node("Max", "largest", "full", "scale"),
            node("Div", "samples", "scale", "heard"),
        ]
    },
    "two logarithms": {"logs": [node("Log", "above", "logs"), node("Log", "floor", "unused")]},
    "no logarithm": {"logs": [node("Sqrt", "above", "logs")]},
    "bands before frames": {
        "logs": [
            node("Transpose", "above", "turned", perm=[0, 2, 1]),
            node("Log", "turned", "turned_logs"),
            node("Transpose", "turned_logs", "logs", perm=[0, 2, 1]),
        ]
    },
    "a branch": {
        "logs": [
            node("If", "yes", "either", then_branch=EITHER_WAY, else_branch=EITHER_WAY),
            node("Log", "either", "logs"),
        ]
    },
    "one length only": {"time": RATE},
}
SHARED = ("plain", "one window at a time")
PERHAPS = ("bands by convolution",)  # where sums do not depend on their number


def make_graph(
    *,
    before: list[onnx.NodeProto] = AS_THEY_ARE,
    bands: list[onnx.NodeProto] = IN_FRAMES,
    logs: list[onnx.NodeProto] = LOGS,
    batch: str | int = "batch",
    time: str | int = "time",
) -> onnx.ModelProto:
    """Band energies in frames, against the loudest of the window, averaged: ``[B, C]``."""
    filters, matrix, bias = weights(len(LABELS), 0)
    constants = {
        "first": np.array([0], np.int64),
        "one": np.array([1], np.int64),
        "before_last": np.array([-1], np.int64),
        "last": np.array([10_000], np.int64),
        "both": np.array([1, 2], np.int64),
        "identity": np.eye(HOP, dtype=np.float32)[:, None],
        "kernels": filters[:, None],
        "filters": filters.T.copy(),
        "floor": np.float32(1e-9),
        "full": np.float32(1),
        "matrix": matrix,
        "bias": bias,
        "yes": np.array(True),
    }
    nodes = [
        *before,
        node("Unsqueeze", "heard", "one", "wave"),
        *bands,
        node("Mul", "bands", "bands", "power"),
        node("Add", "power", "floor", "above"),
        *logs,
        node("ReduceMax", "logs", "both", "loudest_log", keepdims=1),
        node("Sub", "logs", "loudest_log", "relative"),
        node("ReduceMean", "relative", "one", "mean", keepdims=0),
        node("MatMul", "mean", "matrix", "product"),
        node("Add", "product", "bias", "logits"),
        node("Softmax", "logits", "probabilities", axis=-1),
    ]
    graph = helper.make_graph(
        nodes,
        "frames",
        [helper.make_tensor_value_info("samples", TensorProto.FLOAT, [batch, time])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [batch, len(LABELS)])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return model


def write_variant(folder: Path, variant: str) -> Recognizer:
    seconds = {"window_s": 1.0, "min_s": 1.0} if variant == "one length only" else {}
    write_model(folder, **seconds)
    onnx.save(make_graph(**VARIANTS[variant]), folder / "model.onnx")
    return Recognizer.load(folder, verify=False)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Recognizer:
    return write_variant(tmp_path_factory.mktemp("models") / "plain", "plain")


@pytest.fixture(scope="module", params=MODELS)
def bundled(request: pytest.FixtureRequest) -> Recognizer:
    return Recognizer.load(request.param)


# The answer


@pytest.mark.parametrize("hop_s", [1, 0.96, 0.1])
def test_bundled_models_answer_as_without_sharing_to_the_last_bit(
    bundled: Recognizer, hop_s: float
) -> None:
    options = {"window_s": 3, "hop_s": hop_s}
    assert bundled.neighbours(3 * RATE, round(hop_s * RATE)) is not None
    expected = list(apart(bundled).segments(SPEECH, RATE, **options))
    assert list(bundled.segments(SPEECH, RATE, **options)) == expected
    threaded = Recognizer(bundled.folder, bundled.card, bundled._session(), threads=2)
    assert list(threaded.segments(SPEECH, RATE, **options)) == expected
    chunks = np.split(SPEECH, np.sort(np.random.default_rng(0).integers(0, len(SPEECH), 50)))
    assert listen(Stream(bundled, **options), chunks) == expected


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    most=st.sampled_from([1, 5, 100]),
    length=st.integers(0, len(SPEECH)),
    window=st.integers(8_000, 40_000),
    hop=st.sampled_from([0.004, 0.05, 0.1, 0.12, 0.25, 0.3]),
    threads=st.sampled_from([1, 2]),
)
def test_neither_sharing_nor_chunks_nor_threads_change_a_bit(
    plain: Recognizer, seed: int, most: int, length: int, window: int, hop: float, threads: int
) -> None:
    samples = SPEECH[:length]
    rng = np.random.default_rng(seed)
    chunks = np.split(samples, np.sort(rng.integers(0, length + 1, rng.integers(0, most))))
    options = {"window_s": window / RATE, "hop_s": hop}
    recognizer = Recognizer(plain.folder, plain.card, plain._session(), threads=threads)
    expected = listen(Stream(apart(plain), **options), [samples])
    assert listen(Stream(recognizer, **options), chunks) == expected


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    spoken=st.sampled_from([0.1, 0.5, 0.9, 1.0]),
    window=st.integers(8_000, 32_000),
    hop=st.sampled_from([64, 128, 200, 640, 1_600]),
)
def test_windows_that_are_left_out_are_no_matter(
    plain: Recognizer, seed: int, spoken: float, window: int, hop: int
) -> None:
    rng = np.random.default_rng(seed)
    starts = np.arange(0, min(len(SPEECH) - window, 100 * hop), hop)
    starts = starts[rng.random(len(starts)) < spoken]
    windows = [(int(start), SPEECH[start : start + window]) for start in starts]
    neighbours = plain.neighbours(window, hop)
    assert neighbours is not None
    for (_, wave), answer in zip(windows, neighbours.answers(windows), strict=True):
        assert (answer == plain.probabilities(wave)).all()


def test_silent_windows_are_no_matter(plain: Recognizer) -> None:
    pytest.importorskip("webrtcvad", reason="the gate needs the extra live")
    pause = np.zeros(2 * RATE, np.float32)
    talk = np.concatenate([SPEECH, pause, SPEECH, pause[:8_000], SPEECH])
    options = {"window_s": 1, "hop_s": 0.1, "gate": SpeechGate()}
    segments = listen(Stream(plain, **options), [talk])
    assert {SILENCE} < {segment.label for segment in segments}
    assert segments == listen(Stream(apart(plain), **options), [talk])


def test_a_stream_that_begins_anew_shares_nothing_with_what_it_heard(plain: Recognizer) -> None:
    stream = Stream(plain, window_s=1, hop_s=0.1)
    listen(stream, [SPEECH[::-1]])
    assert listen(stream, [SPEECH]) == listen(Stream(apart(plain), window_s=1, hop_s=0.1), [SPEECH])


def test_streams_in_threads_may_be_the_first_to_ask(plain: Recognizer) -> None:
    fresh = Recognizer(plain.folder, plain.card, plain._session())
    hops = [0.1, 0.2, 0.1, 0.05]

    def hear(hop_s: float) -> list[Segment]:
        return list(fresh.segments(SPEECH, RATE, window_s=1, hop_s=hop_s))

    with ThreadPoolExecutor(4) as pool:
        for hop_s, segments in zip(hops, pool.map(hear, hops), strict=True):
            assert segments == list(apart(plain).segments(SPEECH, RATE, window_s=1, hop_s=hop_s))


# The work


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows by the frames of each call of a front."""
    counts: list[int] = []
    frames = Halves.frames

    def count(self: Halves, wave: np.ndarray) -> np.ndarray:
        found = frames(self, wave)
        counts.append(len(found))
        return found

    monkeypatch.setattr(Halves, "frames", count)
    return counts


@pytest.mark.parametrize("hop_s, grids", [(1, 2), (0.96, 1), (0.1, 4)])
def test_of_each_grid_a_frame_is_computed_once(
    bundled: Recognizer, counted: list[int], hop_s: float, grids: int
) -> None:
    window, hop = 3 * RATE, round(hop_s * RATE)
    frame_hop, size = 256, 1_024  # of both models
    assert grids == math.lcm(hop, frame_hop) // hop
    assert bundled.neighbours(window, hop) is not None  # has been proved
    counted.clear()
    stream = Stream(bundled, window_s=3, hop_s=hop_s)
    full = stream.push(SPEECH)
    per_window = (window - size) // frame_hop + 1
    expected = 0
    for grid in range(grids):
        ends = [round(s.end * RATE) for s in full[grid::grids]]
        expected += per_window + (ends[-1] - ends[0]) // frame_hop
    assert sum(counted) == expected < 0.85 * per_window * len(full)


def test_blocks_of_frames_have_one_size(bundled: Recognizer, counted: list[int]) -> None:
    bundled.neighbours(3 * RATE, RATE // 10)
    counted.clear()
    Stream(bundled, window_s=3, hop_s=0.1).push(SPEECH)
    assert counted[:4] == [184] * 4 and set(counted[4:]) == {25}


def test_what_is_kept_does_not_grow(plain: Recognizer) -> None:
    stream = Stream(plain, window_s=1, hop_s=0.05)  # 6.25 frames
    sizes = set()
    for _ in range(10):
        stream.push(SPEECH)
        assert stream._neighbours is not None
        kept = stream._neighbours._kept.values()
        assert all(frames.base is None for frames in kept)  # no more is held than is seen
        sizes.add(sum(frames.nbytes for frames in kept))
    of_a_window = (RATE - FRAME) // HOP + 1
    assert sizes == {4 * (of_a_window - 25) * 8 * 4}  # grids, frames, bands, bytes


# Where a model allows it


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_model_is_shared_where_it_can_be_and_answers_the_same(
    tmp_path: Path, variant: str
) -> None:
    recognizer = write_variant(tmp_path / "model", variant)
    talk = 3 * SPEECH  # beyond full scale here and there
    assert np.abs(talk).max() > 1
    for hop in (1_600, 70 * HOP):
        if variant not in PERHAPS:
            assert (recognizer.neighbours(RATE, hop) is not None) == (variant in SHARED)
        segments = list(recognizer.segments(talk, RATE, window_s=1, hop_s=hop / RATE))
        expected = list(apart(recognizer).segments(talk, RATE, window_s=1, hop_s=hop / RATE))
        assert segments == expected


def test_a_model_without_frames_is_put_each_window_whole(tmp_path: Path) -> None:
    assert Recognizer.load(write_model(tmp_path / "small")).neighbours(RATE, 1_600) is None


@pytest.mark.parametrize(
    "window, hop, why",
    [
        (RATE, RATE, "windows do not overlap"),
        (RATE, 15_999, "no two of them that overlap begin on one grid"),
        (RATE, 15_936, "the next one on the grid has only the end in common"),
        (7_999, 1_600, "shorter windows are padded"),
        (32_001, 1_600, "longer windows are cut"),
    ],
)
def test_windows_with_nothing_in_common_share_nothing(
    plain: Recognizer, window: int, hop: int, why: str
) -> None:
    assert plain.neighbours(window, hop) is None, why


def test_a_model_is_not_taken_apart_before_windows_overlap(plain: Recognizer) -> None:
    read = []

    class Watched(Recognizer):
        def neighbours(self, window: int, hop: int) -> Neighbours | None:
            read.append((window, hop))
            return super().neighbours(window, hop)

    watched = Watched(plain.folder, plain.card, plain._session())
    watched.predict(SPEECH, RATE)
    list(watched.segments(SPEECH, RATE, window_s=1, hop_s=1))
    list(watched.segments(SPEECH[:8_000], RATE, window_s=1, hop_s=0.1))
    assert read == [(RATE, RATE)]
    assert "_halves" not in vars(watched._sharing)


@pytest.mark.parametrize("changed", ["blocks", "windows"])
def test_a_machine_on_which_bits_depend_on_the_length_does_not_share(
    plain: Recognizer, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    frames = Halves.frames

    def otherwise(self: Halves, wave: np.ndarray) -> np.ndarray:
        found = frames(self, wave)
        if changed == "windows" or len(found) < 100:
            found[-1] = np.nextafter(found[-1], np.float32(np.inf))
        return found

    monkeypatch.setattr(Halves, "frames", otherwise)
    fresh = Recognizer(plain.folder, plain.card, plain._session())
    assert fresh.neighbours(RATE, 1_600) is None


def test_a_model_file_that_has_gone_or_changed_is_not_shared(tmp_path: Path) -> None:
    gone, changed = (write_variant(tmp_path / name, "plain") for name in ("gone", "changed"))
    (gone.folder / "model.onnx").unlink()
    model = onnx.load(changed.folder / "model.onnx")
    (bias,) = [weight for weight in model.graph.initializer if weight.name == "bias"]
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + 0.1, "bias"))
    onnx.save(model, changed.folder / "model.onnx")
    for recognizer in (gone, changed):
        expected = list(apart(recognizer).segments(SPEECH, RATE, window_s=1, hop_s=0.1))
        assert list(recognizer.segments(SPEECH, RATE, window_s=1, hop_s=0.1)) == expected


# Graphs without the package onnx


@pytest.mark.parametrize("name", MODELS)
def test_a_part_of_a_graph_is_that_of_the_package_onnx(name: str, tmp_path: Path) -> None:
    path = Recognizer.load(name).folder / "model.onnx"
    graph = Graph(path.read_bytes())
    (log,) = [node.outputs[0] for node in graph.nodes if node.op_type == "Log"]
    samples = SPEECH[None, : 3 * RATE]
    known = {"samples": samples}
    for inputs, output in ((["samples"], log), (["samples", log], "probabilities")):
        extract_model(str(path), str(tmp_path / "part.onnx"), inputs, [output])
        written = graph.extract(inputs, output)
        onnx.checker.check_model(written)
        expected, part = onnx.load(tmp_path / "part.onnx"), onnx.load_from_string(written)
        assert list(part.graph.node) == list(expected.graph.node)
        assert list(part.opset_import) == list(expected.opset_import)
        used = {name for each in part.graph.node for name in (*each.input, *each.output)}
        for kind in ("input", "output", "initializer"):
            got, wanted = getattr(part.graph, kind), getattr(expected.graph, kind)
            if kind == "input":  # those that may be left out stay so, where onnx drops them
                constants = {v.name for v in part.graph.initializer}
                got = [v for v in got if v.name not in constants]
            assert {v.name: v for v in got} == {v.name: v for v in wanted if v.name in used}
        answers = []
        for content in (written, (tmp_path / "part.onnx").read_bytes()):
            session = open_session(content)
            names = [taken.name for taken in session.get_inputs()]
            answers += session.run(None, {name: known[name] for name in names})
        assert (answers[0] == answers[1]).all()
        known[output] = answers[0]


def test_an_input_that_a_part_does_not_need_is_left_out() -> None:
    graph = Graph(make_graph().SerializeToString())
    part = onnx.load_from_string(graph.extract(["samples", "logs"], "probabilities"))
    assert [given.name for given in part.graph.input] == ["logs"]


@settings(deadline=None, max_examples=100)
@given(
    damage=st.one_of(
        st.binary(max_size=200).map(lambda content: lambda model: content),
        st.floats(0, 0.999).map(lambda share: lambda model: model[: int(share * len(model))]),
        st.tuples(st.floats(0, 0.999), st.integers(0, 255)).map(
            lambda at: (
                lambda model: (
                    model[: int(at[0] * len(model))]
                    + bytes([at[1]])
                    + model[int(at[0] * len(model)) + 1 :]
                )
            )
        ),
    )
)
def test_a_damaged_graph_is_read_or_refused_as_one(damage: Callable[[bytes], bytes]) -> None:
    content = damage(make_graph().SerializeToString())
    with contextlib.suppress(ValueError):
        Graph(content)


@pytest.mark.parametrize("size", [0, 10])
def test_what_is_no_model_is_refused(size: int) -> None:
    with pytest.raises(ValueError):
        Graph(make_graph().SerializeToString()[:size])
