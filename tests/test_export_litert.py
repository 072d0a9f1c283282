"""LiteRT files answer as PyTorch does, with operations that every LiteRT runtime has.

Conversions are slow, so each network is converted once, and every other form is made from that.
"""

import ast
import json
import re
import resource
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

pytest.importorskip("litert_torch", reason="needs the extra litert")

from ai_edge_litert.tools import flatbuffer_utils
from torch import nn

from lightser.audio.files import read_audio
from lightser.bundled import find_model
from lightser.cli import main
from lightser.errors import BadModel, LightserError
from lightser.export import EXPORTERS, Order, litert, litert_int8, targets  # noqa: F401  they register themselves
from lightser.export.deliver import export_model
from lightser.export.fold import fold_batch_norms
from lightser.export.litert_int8 import to_half, to_int8
from lightser.export.manifest import MANIFEST
from lightser.export.targets.litert import FrontEnd, Network, asking, describe, standardization
from lightser.training.system import System

CLIPS = sorted((Path(litert.__file__).parent.parent / "samples").glob("*.flac"))
WINDOW = 48000
# Of everything below, by TensorFlow's own list of built-in operations.
PLAIN = {
    *("ADD", "AVERAGE_POOL_2D", "BATCH_MATMUL", "CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D"),
    *("DEQUANTIZE", "FULLY_CONNECTED", "LOG", "LOGISTIC", "MAXIMUM", "MEAN", "MUL", "QUANTIZE"),
    *("REDUCE_MAX", "RESHAPE", "SLICE", "SOFTMAX", "SUB", "TANH", "TRANSPOSE"),
}


def windows():
    """Return stretches ``[T]`` of the recordings, each a window long, short ones in silence."""
    cut = []
    for clip in CLIPS:
        samples, _ = soundfile.read(clip, dtype="float32")
        for first in range(0, len(samples) - WINDOW // 3, WINDOW // 6):
            piece = samples[first : first + WINDOW]
            missing = WINDOW - len(piece)
            cut.append(np.pad(piece, (missing // 2, missing - missing // 2)))
    return cut


HEARD = windows()


class Forms:
    """The bundled Light-SERNet, converted once, in all forms."""

    def __init__(self):
        folder = find_model("emodb-light_sernet")
        self.system = fold_batch_norms(System.load(folder / "weights.safetensors"))
        front_end, network = FrontEnd(self.system), Network(self.system, standardize=False)
        with torch.no_grad():
            self.features = [front_end(torch.from_numpy(x)[None]).numpy() for x in HEARD]
            self.expected = [network(torch.from_numpy(x))[0].numpy() for x in self.features]
        front = litert.to_litert(front_end, torch.zeros(1, WINDOW))
        float32 = litert.to_litert(network, torch.zeros(1, 184, 40))
        int8 = to_int8(float32, self.features[::2])
        self.float32 = float32
        self.network = {"float32": float32, "float16": to_half(float32), "int8": int8}
        self.whole = {
            name: litert.finished(litert.joined(front, content), taken="samples", given="p")
            for name, content in self.network.items()
        }
        self.network = {
            name: litert.finished(content, taken="features", given="p")
            for name, content in self.network.items()
        }


@pytest.fixture(scope="session")
def forms():
    return Forms()


def opened(content, **options):
    interpreter = litert.open_litert(content, **options)
    ends = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    return asking(interpreter, {"input": describe(ends[0]), "output": describe(ends[1])})


BOUNDS = {"float32": 1e-5, "float16": 2e-3, "int8": 0.05}


@pytest.mark.parametrize("precision", BOUNDS)
def test_a_file_answers_as_pytorch_does_from_samples_and_from_features(forms, precision):
    from_samples, from_features = (
        opened(contents[precision]) for contents in (forms.whole, forms.network)
    )
    for samples, features, expected in zip(HEARD, forms.features, forms.expected, strict=True):
        for given in (from_samples(samples), from_features(features[0])):
            np.testing.assert_allclose(given, expected, rtol=0, atol=BOUNDS[precision])
    assert np.ptp(forms.expected, axis=0).max() > 0.5  # or agreement would say nothing


def test_a_file_answers_as_pytorch_does_on_two_hundred_real_clips(forms, corpus_root):
    files = sorted(corpus_root("emodb").rglob("*.wav"))
    answer, whole = opened(forms.whole["float32"]), opened(forms.whole["int8"])
    same = []
    for i in np.linspace(0, len(files) - 1, 200).astype(int):
        samples = read_audio(files[i], 16000)[:WINDOW]
        samples = np.pad(samples, (0, WINDOW - len(samples)))
        with torch.no_grad():
            expected = forms.system(torch.from_numpy(samples)[None])[0].numpy()
        np.testing.assert_allclose(answer(samples), expected, rtol=0, atol=1e-4)
        same.append(whole(samples).argmax() == expected.argmax())
    assert np.mean(same) >= 0.97  # calibrated on three recordings; docs/formats.md: on a hundred


@pytest.mark.parametrize("precision", BOUNDS)
def test_every_operation_is_built_into_every_runtime(forms, precision):
    found = litert.operations(forms.whole[precision])
    assert set(found) <= PLAIN
    assert found["AVERAGE_POOL_2D"] == 7 and found["CONV_2D"] + found["DEPTHWISE_CONV_2D"] == 9


def test_light_sernet_is_half_a_megabyte_in_int8_and_below_one_in_float16(forms):
    assert len(forms.network["int8"]) <= 500_000
    assert len(forms.network["float16"]) <= 950_000
    assert len(forms.network["float32"]) <= 1_850_000


def test_int8_is_whole_numbers_from_end_to_end(forms):
    interpreter = litert.open_litert(forms.network["int8"])
    for end in (*interpreter.get_input_details(), *interpreter.get_output_details()):
        assert end["dtype"] == np.int8 and end["quantization"][0] > 0
    kinds = {np.dtype(tensor["dtype"]).name for tensor in interpreter.get_tensor_details()}
    assert kinds <= {"int8", "int32"}
    scales = [len(t["quantization_parameters"]["scales"]) for t in interpreter.get_tensor_details()]
    assert max(scales) == 320  # of the widest layer, a scale for each of its channels


def test_biases_of_int8_bring_each_layer_to_its_mean(forms, monkeypatch):
    monkeypatch.setattr(litert_int8, "correct_biases", lambda int8, float32, inputs: int8)
    as_rounded = opened(
        litert.finished(to_int8(forms.float32, forms.features[::2]), taken="f", given="p")
    )
    corrected = opened(forms.network["int8"])
    off = [
        np.mean(
            [
                np.abs(answer(x[0]) - p).mean()
                for x, p in zip(forms.features, forms.expected, strict=True)
            ]
        )
        for answer in (as_rounded, corrected)
    ]
    assert off[1] < 0.9 * off[0]


def test_int8_computes_the_same_by_reference_kernels_to_a_few_steps(forms):
    fast, reference = (opened(forms.network["int8"], reference=r) for r in (False, True))
    for features in forms.features[::4]:
        np.testing.assert_allclose(fast(features[0]), reference(features[0]), rtol=0, atol=0.02)


def test_weights_lie_inside_the_flatbuffer(forms):
    for content in (*forms.whole.values(), *forms.network.values()):
        model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
        assert not any(buffer.offset for buffer in model.buffers)


def test_a_file_says_nothing_of_the_modules_it_was_made_of(forms):
    for content in forms.whole.values():
        assert b"lightser" not in content and b"Block" not in content


def test_a_file_names_its_ends_in_the_graph_and_in_its_signature(forms):
    runner = litert.open_litert(forms.whole["float32"]).get_signature_runner()
    assert list(runner.get_input_details()) == ["samples"]
    assert list(runner(samples=HEARD[0][None])) == ["p"]


def test_standardisation_outside_is_the_one_inside(forms):
    facts = standardization(forms.system)
    with torch.no_grad():
        features = forms.system.features(torch.from_numpy(HEARD[0])[None]).numpy()
    given = (features - np.float32(facts["mean"])) / np.float32(facts["scale"])
    np.testing.assert_allclose(given, forms.features[0], rtol=0, atol=1e-5)


def test_pooling_counts_only_what_is_there():
    torch.manual_seed(0)
    for size in ((2, 2), (2, 1), (1, 2), (3, 3)):
        for shape in ((1, 3, 7, 9), (1, 3, 8, 9), (1, 3, 7, 8), (1, 3, 8, 6)):
            x = torch.randn(shape)
            pool = torch.nn.AvgPool2d(size, ceil_mode=True, count_include_pad=False)
            given = litert._pool_what_is_there(x, list(size), list(size))
            torch.testing.assert_close(given, pool(x))


@pytest.mark.parametrize(
    "options",
    [
        {"shared": True},
        {"shared": False, "attention": False},
    ],
)
def test_an_unrolled_gru_answers_as_the_rolled_one(options):
    torch.manual_seed(0)
    frontend = ("relative_logmel", {"window_s": 0.3, "n_bands": 24})
    system = System.build(frontend, ("zhong2020", {"n_blocks": 1, **options}), 7, standardize=True)
    for parameter in system.parameters():
        parameter.data *= 2  # so that answers differ
    samples = [samples[20000:24800] for samples in HEARD[:6]]
    with torch.no_grad():
        features = [system.features(torch.from_numpy(x)[None]) for x in samples]
    content = litert.to_litert(Network(system.eval(), standardize=True), features[0])
    answer, answers = opened(content), []
    for x in features:
        with torch.no_grad():
            answers.append(system.logits(x).softmax(1)[0].numpy())
        np.testing.assert_allclose(answer(x[0].numpy()), answers[-1], rtol=0, atol=1e-5)
    assert np.ptp(answers, axis=0).max() > 0.02
    assert set(litert.operations(content)) <= PLAIN | {"MAX_POOL_2D", "SUM", "PRELU"}
    sizes = [tensor["shape"] for tensor in litert.open_litert(content).get_tensor_details()]
    recurrent = sum(sorted(size.tolist()) == [128, 256] for size in sizes)
    assert recurrent == (1 if options["shared"] else 2)  # once, however many steps


def test_convolutions_over_time_are_carried_with_padding_in_words():
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv1d(8, 8, 5, padding="same", groups=8),
        nn.Conv1d(8, 6, 4, padding="same", dilation=3),
        nn.Conv1d(6, 6, 3, padding="valid"),
    ).eval()
    x = torch.randn(1, 8, 30)
    interpreter = litert.open_litert(litert.to_litert(module, x))
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x.numpy())
    interpreter.invoke()
    answer = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_allclose(answer, module(x).detach().numpy(), rtol=0, atol=1e-5)


# ---- as a target


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """Return an int8 file without the front end, from the command line, and its manifest."""
    folder = tmp_path_factory.mktemp("litert")
    for i, clip in enumerate(CLIPS):
        (folder / "voices" / f"voice{i}").mkdir(parents=True)
        (folder / "voices" / f"voice{i}" / clip.name).write_bytes(clip.read_bytes())
    words = ["export", "default", "--to", "litert", "--precision", "int8", "--frontend", "out"]
    words += ["--calibrate", f"folder={folder / 'voices'}", "--out", str(folder / "out")]
    before = sys.argv
    sys.argv = ["lightser", *words]
    try:
        with pytest.raises(SystemExit) as ended:
            main()
    finally:
        sys.argv = before
    assert not ended.value.code
    return folder / "out", json.loads((folder / "out" / MANIFEST).read_text(encoding="utf-8"))


def test_a_manifest_has_all_that_a_device_needs(exported):
    folder, manifest = exported
    (name,) = manifest["files"]
    assert manifest["files"][name]["bytes"] == (folder / name).stat().st_size <= 500_000
    taken, given = manifest["interface"]["input"], manifest["interface"]["output"]
    assert (taken["name"], taken["type"], taken["shape"]) == ("features", "int8", [1, 184, 40])
    assert (given["name"], given["type"], given["shape"]) == ("probabilities", "int8", [1, 7])
    assert taken["scale"] > 0 and given["scale"] == 1 / 256 and given["zero_point"] == -128
    assert len(taken["standardization"]["mean"]) == len(taken["standardization"]["scale"]) == 40
    assert set(manifest["interface"]["operations"]) <= PLAIN
    assert manifest["quantisation"]["scheme"] == "static, full integer"
    assert manifest["calibration"]["corpus"] == "folder" and manifest["calibration"]["clips"] == 1
    assert {"litert-torch", "ai-edge-quantizer", "ai-edge-litert"} <= set(manifest["versions"])
    assert manifest["window_s"] == 3 and len(manifest["labels"]) == 7


def test_an_exported_file_answers_by_its_manifest_alone(exported, forms):
    folder, manifest = exported
    answer = EXPORTERS["litert"].open(folder, manifest["interface"])
    for samples, expected in zip(HEARD, forms.expected, strict=True):
        with torch.no_grad():
            features = forms.system.features(torch.from_numpy(samples)[None])[0].numpy()
        assert np.abs(answer(features) - expected).mean() < 0.1


def test_the_code_of_the_guide_asks_an_exported_file(exported, tmp_path, monkeypatch, capsys):
    folder, manifest = exported
    (tmp_path / "exported").mkdir()
    (tmp_path / "exported" / "whole-numbers").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    guide = Path(__file__).parent.parent / "docs" / "export.md"
    (code,) = re.findall(r"^```py\n(.*?)^```$", guide.read_text("utf-8"), re.M | re.S)
    exec(compile(code, "docs/export.md", "exec"), {})
    answer = ast.literal_eval(capsys.readouterr().out.replace("np.float64", ""))
    assert list(answer) == manifest["labels"] and abs(sum(answer.values()) - 1) < 0.05


def test_clips_of_free_length_are_refused_where_a_file_has_one(tmp_path):
    torch.manual_seed(0)
    for frontend, model, place, said in (
        ("zhong2020", "zhong2020", "out", "hears 0.06.* to 3 s as they are; export it to onnx"),
        ("light_sernet", "light_sernet", "in", "give --frontend out, or export it to onnx"),
    ):
        system = System.build((frontend, {}), (model, {}), 7, standardize=False).eval()
        order = Order(precision="float32", frontend=place, n_samples=WINDOW)
        with pytest.raises(BadModel, match=said):
            EXPORTERS["litert"].write(system, order, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_the_converter_cannot_carry_is_refused_in_a_line():
    class Complex(torch.nn.Module):
        def forward(self, x):
            return torch.view_as_real(torch.fft.fft(x))

    with pytest.raises(BadModel, match=r"^LiteRT cannot carry this network: ") as raised:
        litert.to_litert(Complex(), torch.zeros(1, 16))
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 300


def test_int8_without_recordings_is_refused(forms, tmp_path):
    with pytest.raises(LightserError, match="int8 needs at least two recordings"):
        export_model(find_model("default"), tmp_path / "x", target="litert", precision="int8")
    with pytest.raises(LightserError, match="int8 needs recordings"):
        to_int8(forms.network["float32"], [])


def test_a_full_disk_leaves_nothing_of_a_litert_file(monkeypatch, tmp_path, forms):
    # The network was converted above; here its bytes meet the disk.
    monkeypatch.setattr(litert, "to_litert", lambda module, example: forms.network["float32"])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        with pytest.raises(LightserError, match="out' cannot be written: File too large"):
            export_model(find_model("default"), tmp_path / "out", target="litert", frontend="out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert list(tmp_path.iterdir()) == []


def test_the_profile_times_litert_beside_the_others(tmp_path, capsys, monkeypatch):
    recipe = tmp_path / "small.toml"
    recipe.write_text(
        'title = "small"\nsystem = "light_sernet"\n[corpus]\nname = "emodb"\n'
        '[frontend]\nname = "relative_logmel"\nwindow_s = 0.2\nn_bands = 16\n'
        '[model]\nname = "light_sernet"\n[protocol]\nname = "loso"\n'
        '[optim]\nname = "adamw"\nlearning_rate = 1e-3\nbatch_size = 8\nepochs = 1\n'
    )
    words = ["profile", str(recipe), "--runs", "2", "--litert", "--json"]
    monkeypatch.setattr(sys, "argv", ["lightser", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    times = json.loads(capsys.readouterr().out)["latency_ms"]
    assert set(times) == {"pytorch", "onnxruntime", "litert"}
    assert times["litert"]["p95"] >= times["litert"]["p50"] > 0
