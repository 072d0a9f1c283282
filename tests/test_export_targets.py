"""Exports answer as PyTorch does, say what was done to them, or are not there at all."""

import inspect
import json
import math
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import soundfile
import torch

from lightser.card import CARD, TrainedOn, file_facts, read_card, verify_files, write_card
from lightser.errors import BadModel, LightserError, UnknownName
from lightser.export import EXPORTERS, deliver, targets  # noqa: F401  targets register themselves
from lightser.export.deliver import Clip, ClipSet, export_model
from lightser.export.folder import CardFacts, write_model_folder
from lightser.export.manifest import MANIFEST, Parity
from lightser.export.quantize import bits_of_weights
from lightser.features import FRONTENDS
from lightser.inference.recognizer import Recognizer
from lightser.training.system import System

SAMPLES = Path(deliver.__file__).parent.parent / "samples"
LABELS = ("anger", "boredom", "disgust", "fear", "happiness", "neutral", "sadness")
SYSTEMS = {
    "light_sernet": (("relative_logmel", {"window_s": 1.0, "n_bands": 40}), ("light_sernet", {})),
    "zhong2020": (("zhong2020", {}), ("zhong2020", {"n_blocks": 1})),
}
UPDATES = {"light_sernet": 8, "zhong2020": 25}
# Their networks are trained for seconds, so these bounds are loose; what trained weights keep
# stands in docs/export.md.
BOUNDS = {"float32": 1e-4, "float16": 0.05, "int8": 0.35}


def stretches():
    """Return the recordings cut into stretches of a second, each with a number for its voice."""
    cut = []
    for voice, file in enumerate(sorted(SAMPLES.glob("*.flac"))):
        length = soundfile.info(file).duration
        for start in np.arange(0, length - 1, 0.3):
            cut.append((Clip(file=str(file), start=float(start), end=float(start) + 1), voice))
    return cut


CLIPS = ClipSet(
    corpus="samples", title="The samples", license="CC0-1.0", clips=tuple(c for c, _ in stretches())
)


def heard(clips, least):
    for clip in clips:
        first = round(clip.start * 16000)
        samples, _ = soundfile.read(clip.file, start=first, stop=first + 16000, dtype="float32")
        missing = max(0, least - len(samples))
        yield np.pad(samples, (missing // 2, missing - missing // 2))


def trained_system(frontend, model, updates):
    """Train for seconds to tell the three voices apart: enough for answers that differ."""
    torch.manual_seed(0)
    system = System.build(frontend, model, len(LABELS), standardize=True)
    cut = stretches()
    waves = np.stack(list(heard([clip for clip, _ in cut], system.min_samples)))
    voices = torch.tensor([voice for _, voice in cut])
    with torch.no_grad():
        features = system.features(torch.from_numpy(waves))
        system.standardize.fit(features)
    for module in system.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 0.3
    optimizer = torch.optim.Adam(system.parameters(), 1e-3)
    system.train()
    for _ in range(updates):
        loss = torch.nn.functional.cross_entropy(system.logits(features), voices)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    system.temperature.fill_(1.3)
    return system.eval()


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Return a function from a network's name to its model folder."""
    known = {}

    def make(name):
        if name not in known:
            facts = CardFacts(
                labels=LABELS,
                window_s=1.0,
                trained_on=(
                    TrainedOn(
                        corpus="samples",
                        title="The samples",
                        license="CC0-1.0",
                        url="",
                        utterances=len(CLIPS.clips),
                        speakers=3,
                        language="de",
                    ),
                ),
                license="CC0-1.0",
                scores=(),
                recipe="none",
                commit="0",
                seed=0,
                intended_use="Tests.",
                limits="Trained for seconds.",
            )
            known[name] = tmp_path_factory.mktemp("models") / name
            system = trained_system(*SYSTEMS[name], UPDATES[name])
            write_model_folder(system, facts, known[name])
        return known[name]

    return make


@pytest.fixture(scope="module")
def exports(models, tmp_path_factory):
    """Return a function that exports once and returns the folder and its manifest."""
    known = {}

    def make(name, precision, frontend):
        key = (name, precision, frontend)
        if key not in known:
            out = tmp_path_factory.mktemp("exports") / "exported"
            clips = CLIPS if precision == "int8" else None
            export_model(models(name), out, precision=precision, frontend=frontend, clips=clips)
            known[key] = out, json.loads((out / MANIFEST).read_text(encoding="utf-8"))
        return known[key]

    return make


def left_in(folder):
    return sorted(path.name for path in folder.iterdir())


def ask(folder, given):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options)
    return session.run(None, {session.get_inputs()[0].name: given})[0]


CASES = [
    ("light_sernet", "float32", "out"),
    ("light_sernet", "float16", "in"),
    ("light_sernet", "int8", "in"),
    ("zhong2020", "int8", "in"),
]


@pytest.mark.parametrize(("name", "precision", "frontend"), CASES)
def test_an_export_answers_as_pytorch_does_for_any_length_and_batch(
    exports, models, name, precision, frontend
):
    folder, _ = exports(name, precision, frontend)
    system = System.load(models(name) / "weights.safetensors")
    voice = np.concatenate([soundfile.read(f, dtype="float32")[0] for f in SAMPLES.glob("*.flac")])
    labels = []
    # Odd lengths, and more and fewer frames than the graph was traced with.
    for n_samples in (16000, 16001, 16257, 24113, 41999):
        n_samples = max(n_samples, system.min_samples)
        for n_clips in (1, 3):
            samples = np.resize(voice, (n_clips, n_samples))
            wave = torch.from_numpy(samples)
            with torch.no_grad():
                expected = system(wave).numpy()
                given = samples if frontend == "in" else system.features(wave).numpy()
            answer = ask(folder, given)
            assert answer.shape == (n_clips, 7) and answer.dtype == np.float32
            np.testing.assert_allclose(answer.sum(axis=1), 1, atol=2e-3)
            np.testing.assert_allclose(answer, expected, rtol=0, atol=BOUNDS[precision])
            labels += list(answer.argmax(axis=1) == expected.argmax(axis=1))
    assert np.mean(labels) >= (0.9 if precision == "int8" else 1.0)


@pytest.mark.parametrize(("name", "precision", "frontend"), CASES)
def test_a_manifest_says_what_is_there_and_what_was_measured(exports, name, precision, frontend):
    folder, manifest = exports(name, precision, frontend)
    assert (manifest["target"], manifest["precision"]) == ("onnx", precision)
    for file, facts in manifest["files"].items():
        found = file_facts(folder / file)
        assert (found.bytes, found.sha256) == (facts["bytes"], facts["sha256"])
    assert {*manifest["files"], MANIFEST} == set(left_in(folder))
    parity = manifest["parity"]
    assert parity["clips"] >= 3 and parity["max_difference"] <= BOUNDS[precision]
    assert manifest["license"] == "CC0-1.0" and manifest["trained_on"][0]["corpus"] == "samples"
    described = manifest["frontend"]
    assert described["place"] == frontend
    make = FRONTENDS[described["name"]]
    assert set(described["options"]) == set(inspect.signature(make).parameters)
    assert make(**described["options"]).n_bands == described["bands"]
    taken = manifest["interface"]["input"]
    assert taken["name"] == {"in": "samples", "out": "features"}[frontend]
    assert manifest["interface"]["output"]["shape"] == ["batch", 7]
    if precision == "int8":
        assert manifest["calibration"]["clips"] == min(100, len(CLIPS.clips) // 2)
        assert manifest["calibration"]["trained_on_it"] is True
        assert manifest["quantisation"]["numbers"]["int8"] > 0.9 * 460_000
    else:
        assert manifest["calibration"] is None


def test_calibration_and_comparison_hear_different_clips():
    calibration, compared = CLIPS.draw()
    assert calibration and compared and not set(calibration) & set(compared)
    assert CLIPS.draw() == (calibration, compared)


def test_light_sernet_in_int8_is_half_a_megabyte_and_in_float16_below_one(exports, models):
    folder, _ = exports("light_sernet", "int8", "out")
    assert (folder / "model.onnx").stat().st_size <= 510_000
    graph = onnx.load(folder / "model.onnx")
    whole = bits_of_weights(graph)
    assert whole["int8"] > 457_000 and whole["float32"] < 6000  # the head, which is adapted
    assert not {node.op_type for node in graph.graph.node} & {"BatchNormalization"}
    half = onnx.load(exports("light_sernet", "float16", "in")[0] / "model.onnx")
    assert sum(len(w.raw_data) for w in half.graph.initializer if w.data_type == 10) <= 950_000


def test_a_shared_gru_is_stored_once_and_in_a_byte_each(exports):
    graph = onnx.load(exports("zhong2020", "int8", "in")[0] / "model.onnx").graph
    assert sum(node.op_type == "GRU" for node in graph.node) == 1
    kernels = [w for w in graph.initializer if math.prod(w.dims) == 1984 * 384]
    assert [w.data_type for w in kernels] == [onnx.TensorProto.INT8]


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_an_export_with_its_front_end_is_a_model_folder(exports, models, precision):
    folder, _ = exports("light_sernet", precision, "in")
    card = read_card(folder)
    verify_files(folder, card)
    assert card.name == "exported" and f"in {precision}" in card.limits
    recognizer = Recognizer.load(folder)
    original = Recognizer.load(models("light_sernet"))
    for clip in sorted(SAMPLES.glob("*.flac")):
        ours, theirs = recognizer.predict(clip), original.predict(clip)
        difference = np.subtract([*ours.probabilities.values()], [*theirs.probabilities.values()])
        assert np.abs(difference).max() < BOUNDS[precision]
    with pytest.raises(BadModel, match="give the folder of the trained model, not of an export"):
        export_model(folder, folder.with_name("again"))
    assert left_in(folder.parent) == ["exported"]


# ---- refusals


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"precision": "int8"}, LightserError, "int8 needs at least two recordings"),
        ({"precision": "int4"}, UnknownName, "Unknown precision of onnx 'int4'"),
        ({"target": "onxx"}, UnknownName, "did you mean 'onnx'?"),
        ({"frontend": "off"}, UnknownName, "Unknown place of the front end"),
    ],
)
def test_what_a_target_does_not_offer_is_refused_before_anything_is_read(
    tmp_path, options, error, said
):
    with pytest.raises(error) as raised:
        export_model(Path("no/such/model"), tmp_path / "out", **options)
    assert said in str(raised.value)
    assert left_in(tmp_path) == []


def test_a_model_that_is_not_there_or_was_tampered_with_is_refused(models, tmp_path):
    with pytest.raises(BadModel, match="There is no model folder"):
        export_model(tmp_path / "nobody", tmp_path / "out")
    folder = tmp_path / "model"
    shutil.copytree(models("light_sernet"), folder)
    content = bytearray((folder / "weights.safetensors").read_bytes())
    content[-7] ^= 1  # one bit of one weight
    (folder / "weights.safetensors").write_bytes(content)
    with pytest.raises(BadModel, match=r"was changed since its card was written: SHA-256"):
        export_model(folder, tmp_path / "out")
    assert left_in(tmp_path) == ["model"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"labels": LABELS[:4]}, "its card says labels 4, its weights 7"),
        ({"sample_rate": 8000}, "its card says sample_rate 8000, its weights 16000"),
        ({"system": "drn"}, "its card says system drn, its weights light_sernet"),
    ],
)
def test_a_card_that_does_not_fit_its_weights_is_refused(models, tmp_path, change, said):
    folder = tmp_path / "model"
    shutil.copytree(models("light_sernet"), folder)
    card = read_card(folder)
    write_card(folder, type(card)(**{**vars(card), **change}))
    with pytest.raises(BadModel, match=said):
        export_model(folder, tmp_path / "out")


def test_a_network_that_the_exporter_cannot_carry_is_refused_in_a_line(models, tmp_path):
    class Undecided(torch.nn.Module):
        min_frames = 1

        def forward(self, features, lengths=None):
            return features[:, 0, :7] if features.sum() > 0 else features[:, 1, :7]

    system = System.load(models("light_sernet") / "weights.safetensors")
    system.network = Undecided()
    order = deliver.Order(precision="float32", frontend="out", n_samples=16000)
    with pytest.raises(BadModel, match=r"^onnx cannot carry 'light_sernet': ") as raised:
        EXPORTERS["onnx"].write(system, order, tmp_path)
    assert "\n" not in str(raised.value)
    assert left_in(tmp_path) == []


def test_answers_that_are_off_or_no_numbers_are_refused():
    rng = np.random.default_rng(0)
    right = list(rng.dirichlet(np.ones(7), 20).astype(np.float32))
    deliver.check_parity(Parity.of(right, right, "x"), "float32")
    off = [right[0] + np.float32(2e-4), *right[1:]]
    with pytest.raises(BadModel, match=r"float32 file is 0\.0002 off PyTorch on 20 clips of x"):
        deliver.check_parity(Parity.of(off, right, "x"), "float32")
    with pytest.raises(BadModel, match="off PyTorch"):
        deliver.check_parity(Parity.of([right[0] * np.nan, *right[1:]], right, "x"), "int8")
    swapped = [np.roll(p, 1) for p in right[:3]] + right[3:]
    with pytest.raises(BadModel, match=r"PyTorch gives for 85% of 20 clips of x; 90% are asked"):
        deliver.check_parity(Parity.of(swapped, right, "x"), "int8")


def test_an_export_is_kept_unless_told_otherwise_and_nothing_else_is_ever_replaced(
    models, tmp_path
):
    model, out = models("light_sernet"), tmp_path / "out"
    export_model(model, out, frontend="out")
    (out / "note.txt").write_text("old")
    with pytest.raises(BadModel, match="exists; give another --out, or --overwrite it"):
        export_model(model, out, frontend="out")
    export_model(model, out, frontend="out", overwrite=True)
    assert left_in(out) == [MANIFEST, "model.onnx"] and left_in(tmp_path) == ["out"]
    (tmp_path / "letters").mkdir()
    with pytest.raises(BadModel, match="is not an export"):
        export_model(model, tmp_path / "letters", overwrite=True)


def test_a_full_disk_ends_in_a_line_and_leaves_nothing(models, tmp_path):
    model = models("light_sernet")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:  # no file above 100 kB: the graph does not fit, as on a disk that is full
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        with pytest.raises(LightserError, match="out' cannot be written: File too large"):
            export_model(model, tmp_path / "out", frontend="out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert left_in(tmp_path) == []


# Python tells of each renaming before it is done: by then, all that was exported is written.
INTERRUPTED = """
import signal, sys

def interrupt(event, arguments):
    if event == "os.rename" and str(arguments[1]).endswith("out"):
        signal.raise_signal(signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.addaudithook(interrupt)

from lightser.cli import main
main()
"""


def test_an_interrupted_export_leaves_nothing(models, tmp_path):
    words = ["export", models("light_sernet"), "--out", tmp_path / "out"]
    command = [sys.executable, "-c", INTERRUPTED, *map(str, words)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (130, "")
    assert run.stderr.splitlines()[-1] == "lightser: interrupted"
    assert "Traceback" not in run.stderr
    assert left_in(tmp_path) == []


# ---- the command


def test_a_model_is_exported_from_the_command_line(models, tmp_path, lightser):
    voices = tmp_path / "voices"  # a corpus of the kind "folder": a label for each sub-folder
    for i, samples in enumerate(heard(CLIPS.clips[::2], 0)):
        (voices / LABELS[i % 2]).mkdir(parents=True, exist_ok=True)
        soundfile.write(voices / LABELS[i % 2] / f"{i}.wav", samples, 16000)
    out = tmp_path / "deep" / "int8"
    words = ("--precision", "int8", "--frontend", "out", "--calibrate", f"folder={voices}")
    run = lightser("export", models("light_sernet"), "--to", "onnx", *words, "--out", out)
    assert run.code == 0, run.err
    assert run.out.strip() == str(out)
    assert "onnx int8, 0.5 MB: at most" in run.err
    manifest = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
    assert manifest["calibration"]["corpus"] == "folder"
    assert manifest["calibration"]["trained_on_it"] is False
    assert CARD not in left_in(out)


def test_a_mistake_on_the_command_line_is_one_line(models, tmp_path, lightser):
    run = lightser("export", models("light_sernet"), "--precision", "int8", "--out", tmp_path / "x")
    assert run.code == 2 and len(run.err.splitlines()) == 1
    assert "--calibrate CORPUS=DIR" in run.err
    run = lightser("export", "emodb-lihgt_sernet", "--out", tmp_path / "x")
    assert run.code == 2 and "Unknown model 'emodb-lihgt_sernet'" in run.err
    assert left_in(tmp_path) == []
