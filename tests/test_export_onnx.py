"""Exported graphs answer as PyTorch does, on real clips of any length and in any batch."""

import json
import logging
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import soundfile
import torch
from test_export_targets import trained_system

import lightser
from lightser.audio.files import read_audio
from lightser.bundled import bundled_models, find_model
from lightser.card import CARD, Score, TrainedOn, read_card, verify_files
from lightser.errors import BadModel, LightserError
from lightser.export import EXPORTERS, Order
from lightser.export import folder as folders
from lightser.export.fold import fold_batch_norms, norms_behind_layers
from lightser.export.folder import CardFacts, check_parity, still_clips, write_model_folder
from lightser.export.onnx import to_onnx
from lightser.export.parts import frontend_graph, save_checked
from lightser.inference.recognizer import Recognizer
from lightser.models import MODELS
from lightser.training.system import System

CLIPS = sorted((Path(lightser.__file__).parent / "samples").glob("*.flac"))
SAMPLES = [soundfile.read(clip, dtype="float32")[0] for clip in CLIPS]
SYSTEMS = {  # each front end, each network, each option that changes the graph
    "light_sernet": (("light_sernet", {}), ("light_sernet", {})),
    "zhong2020": (("zhong2020", {}), ("zhong2020", {})),
    "relative_logmel": (
        ("relative_logmel", {"n_bands": 128, "coefficients": 40, "window_s": 1.0}),
        ("light_sernet", {}),
    ),
    "separate directions": (
        ("relative_logmel", {"window_s": 0.5}),
        ("zhong2020", {"shared": False, "attention": False, "n_blocks": 1}),
    ),
    "same pooling": (
        ("light_sernet", {"window_s": None, "kind": "logmel"}),
        ("zhong2020", {"masked": True, "pooling": "same", "n_blocks": 2}),
    ),
}


# A head that is stretched until answers differ stretches roundings as well: where Zhong's untrained
# network gives a clip to two classes half each, to 1.01e-4 (docs/log.md). Trained for seconds it
# does not need that.
UPDATES = {"zhong2020": 25}


def make_system(frontend, model):
    """Return a system whose answers differ from clip to clip, as a trained one's do."""
    torch.manual_seed(0)
    system = System.build(frontend, model, 7, standardize=frontend[0] != "light_sernet")
    cuts = torch.from_numpy(np.stack([np.resize(s[i::2], 24000) for s in SAMPLES for i in (0, 1)]))
    with torch.no_grad():
        features = system.features(cuts)
        if frontend[0] != "light_sernet":
            system.standardize.fit(features)
        for parameter in system.parameters():
            if parameter.ndim < 2:
                parameter += 0.1 * torch.randn_like(parameter)
        for module in system.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = None  # the plain mean over what it has seen
        system.train()
        system.logits(features)
        system.eval()
        logits = system.logits(features)
        head = system.network.classifier
        head.weight /= logits.std(dim=0)[:, None]
        head.bias.copy_((head.bias - logits.mean(dim=0)) / logits.std(dim=0))
        system.temperature.fill_(0.7)
    return system


@pytest.fixture(scope="module")
def system():
    return make_system(*SYSTEMS["light_sernet"])


@pytest.fixture(scope="module")
def model(system, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "emodb-test"
    write_model_folder(system, FACTS, folder)
    return folder


@pytest.fixture(scope="module")
def exported(system, model, tmp_path_factory):
    """Return a function from a system's name to the system and its session, exported once."""
    path = model / "model.onnx"
    known = {"light_sernet": (system, open_graph(path), path)}

    def export(name):
        if name not in known:
            path = tmp_path_factory.mktemp("exported") / "model.onnx"
            if name in UPDATES:
                system = trained_system(*SYSTEMS[name], UPDATES[name])
            else:
                system = make_system(*SYSTEMS[name])
            to_onnx(system, path)
            known[name] = system, open_graph(path), path
        return known[name]

    return export


def open_graph(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def ask(session, samples):
    return session.run(["probabilities"], {"samples": samples})[0]


def answer(system, samples):
    with torch.no_grad():
        return system(torch.from_numpy(samples)).numpy()


def lengthened(system, samples):
    missing = max(0, system.min_samples - len(samples))
    return np.pad(samples, (missing // 2, missing - missing // 2))


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_graph_answers_as_pytorch_does_on_real_clips(exported, name):
    system, session, _ = exported(name)
    answers = []
    for samples in SAMPLES:
        samples = lengthened(system, samples)[None]
        answers.append(ask(session, samples))
        np.testing.assert_allclose(answers[-1], answer(system, samples), rtol=0, atol=1e-4)
    spread = np.ptp(np.concatenate(answers), axis=0).max()
    assert spread > 0.05  # or agreement would say nothing


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_graph_takes_any_length_and_any_batch(exported, name):
    system, session, _ = exported(name)
    voice = np.concatenate(SAMPLES)
    shortest = system.min_samples
    # From the shortest on, where samples do not fill hops, with odd and even numbers of frames.
    for n_samples in (shortest, shortest + 1, shortest + 161, shortest + 419, 16001, 48001):
        n_samples = max(n_samples, shortest)
        for n_clips in (1, 3):
            samples = np.resize(voice, (n_clips, n_samples))
            given = ask(session, samples)
            assert given.shape == (n_clips, 7)
            np.testing.assert_allclose(given.sum(axis=1), 1, rtol=0, atol=1e-5)
            np.testing.assert_allclose(given, answer(system, samples), rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["zhong2020", "light_sernet"])
def test_a_graph_hears_the_middle_of_a_minute_as_pytorch_does(exported, name):
    system, session, _ = exported(name)
    minute = np.resize(np.concatenate(SAMPLES), (1, 60 * 16000))
    np.testing.assert_allclose(ask(session, minute), answer(system, minute), rtol=0, atol=1e-4)


def test_only_the_middle_of_a_long_clip_speaks_for_its_level(exported):
    _, session, _ = exported("light_sernet")
    samples = np.resize(np.concatenate(SAMPLES), (1, 80000))
    loud_ends = samples.copy()
    loud_ends[:, :16000] *= 3
    loud_ends[:, -16000:] *= 3
    np.testing.assert_array_equal(ask(session, loud_ends), ask(session, samples))


@pytest.mark.parametrize("name", SYSTEMS)
def test_clips_in_a_batch_do_not_mix_in_a_graph(exported, name):
    system, session, _ = exported(name)
    size = max(24000, system.min_samples)
    samples = np.stack([np.resize(s, size) for s in SAMPLES])
    alone = np.concatenate([ask(session, clip[None]) for clip in samples])
    np.testing.assert_allclose(ask(session, samples), alone, rtol=0, atol=1e-4)


@pytest.mark.parametrize("corpus", ["emodb", "ravdess", "nemo"])
@pytest.mark.parametrize("name", ["light_sernet", "zhong2020", "relative_logmel"])
def test_a_graph_answers_as_pytorch_does_on_a_real_corpus(exported, corpus_root, corpus, name):
    system, session, _ = exported(name)
    agrees_on_a_corpus(system, session, corpus_root(corpus), bound=1e-4)


@pytest.mark.parametrize("corpus", ["emodb", "ravdess", "nemo"])
@pytest.mark.parametrize("name", sorted(bundled_models()))
def test_a_bundled_graph_answers_as_its_weights_do_in_pytorch(corpus_root, corpus, name):
    folder = find_model(name)
    system = System.load(folder / "weights.safetensors")
    session = open_graph(folder / "model.onnx")
    agrees_on_a_corpus(system, session, corpus_root(corpus), bound=1e-5)


def agrees_on_a_corpus(system, session, root, *, bound, n_clips=66):  # 198 of three corpora
    clips = sorted(p for p in root.rglob("*") if p.suffix in (".wav", ".flac", ".ogg"))
    for i in np.linspace(0, len(clips) - 1, n_clips).astype(int):
        samples = lengthened(system, read_audio(clips[i], 16000))[None]
        given, expected = ask(session, samples), answer(system, samples)
        np.testing.assert_allclose(given, expected, rtol=0, atol=bound, err_msg=clips[i].name)


def test_a_gru_is_one_node_and_shared_weights_are_stored_once(exported):
    _, _, path = exported("zhong2020")
    graph = onnx.load(path).graph
    operations = [node.op_type for node in graph.node]
    assert operations.count("GRU") == 1
    assert not {"Where", "Loop", "Scan", "If", "STFT"} & set(operations)  # no masks, no steps
    largest = max(np.prod(weights.dims) for weights in graph.initializer)
    assert largest == 1984 * 384
    assert path.stat().st_size < 4.0e6  # 0.89 million parameters and the constants of features


def test_a_file_says_nothing_of_the_machine_it_was_made_on(exported):
    _, _, path = exported("zhong2020")
    content = path.read_bytes()
    assert b'File "' not in content
    assert str(Path(lightser.__file__).parent).encode() not in content


def test_a_graph_names_its_ends_and_passes_the_checker(exported):
    _, session, path = exported("light_sernet")
    onnx.checker.check_model(str(path), full_check=True)
    (samples,), (probabilities, embedding) = session.get_inputs(), session.get_outputs()
    assert (samples.name, samples.type, samples.shape) == (
        "samples",
        "tensor(float)",
        ["batch", "time"],
    )
    assert (probabilities.name, probabilities.shape) == ("probabilities", ["batch", 7])
    assert (embedding.name, embedding.shape) == ("embedding", ["batch", 320])
    assert onnx.load(path).opset_import[0].version == 18


def test_export_leaves_the_system_as_it_was_and_says_nothing(tmp_path, capfd):
    system = make_system(("relative_logmel", {"window_s": 1.0}), ("light_sernet", {})).train()
    before = {name: tensor.clone() for name, tensor in system.state_dict().items()}
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        to_onnx(system, tmp_path / "model.onnx", opset=20)
    assert system.training and logger.level == level
    for name, tensor in system.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert capfd.readouterr() == ("", "")
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]
    assert onnx.load(tmp_path / "model.onnx").opset_import[0].version == 20
    samples = lengthened(system, SAMPLES[0])[None]
    given = ask(open_graph(tmp_path / "model.onnx"), samples)
    np.testing.assert_allclose(given, answer(system.eval(), samples), rtol=0, atol=1e-5)


def test_an_opset_that_is_too_old_is_refused(tmp_path):
    system = System.build(("light_sernet", {}), ("light_sernet", {}), 7, standardize=False)
    with pytest.raises(LightserError, match="opset 17 is too old; use 18"):
        to_onnx(system, tmp_path / "model.onnx", opset=17)
    assert not list(tmp_path.iterdir())


# ---- model folders

FACTS = CardFacts(
    labels=("anger", "boredom", "disgust", "fear", "happiness", "neutral", "sadness"),
    window_s=3.0,
    trained_on=(
        TrainedOn(
            corpus="emodb",
            title="Emo-DB",
            license="CC0-1.0",
            url="http://emodb.bilderbar.info",
            utterances=535,
            speakers=10,
            language="de",
        ),
    ),
    license="CC0-1.0",
    scores=(
        Score(
            corpus="emodb",
            protocol="loso",
            protocol_note="each speaker is tested by a model that has not heard them",
            selected_on="last",
            ua=0.8,
            wa=0.81,
            macro_f1=0.79,
            ua_interval=(0.75, 0.85),
            interval="speakers",
            seeds=(0,),
            recipe="recipes/honest/emodb-light_sernet.toml",
            commit="0123abc",
            n_utterances=535,
        ),
    ),
    recipe="recipes/honest/emodb-light_sernet.toml",
    commit="0123abc",
    seed=0,
    intended_use="tests",
    limits="its weights are random",
)


def test_a_model_folder_is_whole_and_its_card_is_true(system, model):
    card = read_card(model)
    verify_files(model, card)
    files = {"model.onnx", "weights.safetensors", "golden.flac", "golden.json"}
    assert {p.name for p in model.iterdir()} == files | {CARD}
    assert set(card.files) == files
    assert (card.name, card.system, card.labels) == ("emodb-test", "light_sernet", FACTS.labels)
    assert (card.sample_rate, card.window_s, card.parameters) == (16000, 3.0, 461_703)
    assert round(card.min_s * card.sample_rate) == system.min_samples
    assert card.temperature == pytest.approx(0.7)
    assert card.scores == FACTS.scores and card.trained_on == FACTS.trained_on
    assert not [p for p in model.parent.iterdir() if p != model]


def test_a_recogniser_opens_the_folder_and_answers_as_pytorch_does(system, model):
    recognizer = Recognizer.load(model)
    for clip, samples in zip(CLIPS, SAMPLES, strict=True):
        prediction = recognizer.predict(clip)
        expected = answer(system, samples[None])[0]
        np.testing.assert_allclose([*prediction.probabilities.values()], expected, atol=1e-5)
        assert prediction.label == FACTS.labels[expected.argmax()]


def test_the_weights_in_a_folder_make_the_system_again(system, model):
    again = System.load(model / "weights.safetensors")
    assert again.describe() == system.describe()
    np.testing.assert_array_equal(answer(again, SAMPLES[0][None]), answer(system, SAMPLES[0][None]))


def test_the_golden_answer_is_pytorchs_for_the_golden_clip(system, model):
    golden = json.loads((model / "golden.json").read_text())
    samples, rate = soundfile.read(model / golden["clip"], dtype="float32")
    assert rate == 16000 and golden["tolerance"] == 1e-4
    np.testing.assert_allclose(golden["probabilities"], answer(system, samples[None])[0], atol=1e-6)


def test_a_folder_that_is_there_is_kept_unless_told_otherwise(system, model):
    before = (model / CARD).stat().st_mtime_ns
    with pytest.raises(BadModel, match="exists; give another --out, or --overwrite it"):
        write_model_folder(system, FACTS, model)
    assert (model / CARD).stat().st_mtime_ns == before


def test_only_a_model_folder_is_ever_overwritten(system, tmp_path):
    letters = tmp_path / "letters"
    letters.mkdir()
    (letters / "dear.txt").write_text("do not lose me")
    with pytest.raises(BadModel, match="is not a model folder"):
        write_model_folder(system, FACTS, letters, overwrite=True)
    assert [p.name for p in letters.iterdir()] == ["dear.txt"]


def test_overwriting_replaces_the_folder_and_leaves_nothing_beside_it(
    system, model, tmp_path, monkeypatch
):
    graph = model / "model.onnx"  # of the same system: exported again it would be the same
    monkeypatch.setattr(folders, "to_onnx", lambda system, path: shutil.copyfile(graph, path))
    folder = tmp_path / "model"
    short = CardFacts(**{**vars(FACTS), "window_s": 1.0})
    shutil.copytree(model, folder)
    (folder / "old.txt").write_text("from before")
    write_model_folder(system, short, folder, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    assert not (folder / "old.txt").exists()
    # The golden clip is one window at most, so that the answer is one run of the graph.
    assert soundfile.info(folder / "golden.flac").duration == 1.0
    assert Recognizer.load(folder).card.window_s == 1.0


def test_a_graph_that_answers_otherwise_is_not_given_to_anybody(
    system, exported, tmp_path, monkeypatch
):
    _, _, another = exported("relative_logmel")
    monkeypatch.setattr(folders, "to_onnx", lambda system, path: shutil.copyfile(another, path))
    with pytest.raises(BadModel, match=r"off PyTorch for '.*flac'; 0\.0001 is allowed"):
        write_model_folder(system, FACTS, tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_parity_is_measured_on_the_clips_that_are_asked_for(system, model):
    assert check_parity(system, model / "model.onnx", 3.0) < 1e-5
    assert check_parity(system, model / "model.onnx", 0.5, CLIPS[:1]) < 1e-5


def test_labels_must_fit_the_system(system, tmp_path):
    facts = CardFacts(**{**vars(FACTS), "labels": ("anger", "joy")})
    with pytest.raises(LightserError, match="2 labels do not fit a system of 7 classes"):
        write_model_folder(system, facts, tmp_path / "model")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("lacking", ["onnx", "onnxscript"])
def test_without_the_extra_one_line_says_which_is_needed(lacking):
    code = (
        f"import sys; sys.modules['{lacking}'] = None\n"
        "from lightser.errors import MissingExtra\n"
        "try:\n    import lightser.export.onnx\n"
        "except MissingExtra as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "lightser[export]" in done.stdout


# Silence


@pytest.mark.parametrize(
    ("frontend", "network"),
    [
        (("light_sernet", {}), "light_sernet"),
        (("light_sernet", {"kind": "logmel"}), "light_sernet"),
        (("three_channel", {"preset": "paper"}), "acrnn3d"),
        (("three_channel", {"preset": "code"}), "acrnn3d"),
        (("zhong2020", {}), "zhong2020"),
        (("mel_image", {}), "yenigalla2018"),
        (("log_spectrogram", {}), "satt2017"),
        (("frame30", {}), "dnn_elm"),
    ],
)
def test_a_graph_has_the_features_of_silence_and_of_a_click_in_it(frontend, network, tmp_path):
    system = System.build(frontend, (network, {}), 7, standardize=False).eval()
    path = tmp_path / "frontend.onnx"
    save_checked(frontend_graph(system), path)
    session = open_graph(path)
    for still in still_clips(max(48_000, system.min_samples)):
        (given,) = session.run(None, {"samples": still[None]})
        with torch.no_grad():
            expected = system.features(torch.from_numpy(still)[None]).numpy()
        assert np.isfinite(given).all()
        if network != "dnn_elm":  # which takes the loudest frames, and here most are equally loud
            np.testing.assert_allclose(given, expected, rtol=1e-4, atol=1e-3)


def test_a_graph_without_numbers_for_silence_is_refused(tmp_path):
    system = make_system(*SYSTEMS["light_sernet"])

    class Dividing(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, samples):
            return self.inner(samples / samples.abs().amax(dim=1, keepdim=True))

    path = tmp_path / "model.onnx"
    to_onnx(system, path)
    assert check_parity(system, path, 3.0) < 1e-4
    system.frontend = Dividing(system.frontend)
    to_onnx(system, path)
    with pytest.raises(BadModel, match="no numbers for a clip that is silent"):
        check_parity(system, path, 3.0)


@pytest.mark.parametrize(("precision", "frontend"), [("float32", "out"), ("float16", "in")])
def test_a_network_of_one_number_of_frames_is_exported_apart(precision, frontend, tmp_path):
    torch.manual_seed(0)
    system = System.build(("mel_image", {}), ("yenigalla2018", {}), 7, standardize=False).eval()
    order = Order(precision=precision, frontend=frontend, n_samples=48_000, labels=("a",) * 7)
    exporter = EXPORTERS["onnx"]
    facts = exporter.write(system, order, tmp_path).facts
    answer = exporter.open(tmp_path, facts)
    wave = torch.from_numpy(np.resize(SAMPLES[0], (1, 48_000)))
    with torch.no_grad():
        features, expected = system.features(wave), system(wave)
    got = answer((wave if frontend == "in" else features)[0].numpy())
    np.testing.assert_allclose(got, expected[0].numpy(), atol=1e-3)
    if frontend == "out":
        assert facts["input"]["shape"] == ["batch", features.shape[1], features.shape[2]]


def test_a_network_without_convolutions_is_exported_in_int8(tmp_path):
    torch.manual_seed(0)
    system = System.build(("frame30", {}), ("dnn_elm", {}), 7, standardize=False).eval()
    heard = [np.resize(samples, 48_000) for samples in SAMPLES]
    order = Order(
        precision="int8", frontend="in", n_samples=48_000, labels=("a",) * 7, calibration=heard
    )
    exporter = EXPORTERS["onnx"]
    answer = exporter.open(tmp_path, exporter.write(system, order, tmp_path).facts)
    with torch.no_grad():
        expected = system(torch.from_numpy(heard[0])[None])[0].numpy()
    np.testing.assert_allclose(answer(heard[0]), expected, atol=0.05)


# Batch norms


class Norms(torch.nn.Module):
    """Three batch norms, of which the first alone can be folded."""

    min_frames = 1

    def __init__(self, n_classes, n_bands=40):
        super().__init__()
        self.convolutions = torch.nn.ModuleList(
            torch.nn.Conv2d(n_in, 8, 3, padding=1) for n_in in (1, 8, 8)
        )
        self.norms = torch.nn.ModuleList(torch.nn.BatchNorm2d(8) for _ in range(3))
        self.classifier = torch.nn.Linear(8, n_classes)

    def forward(self, features, lengths=None):
        plain, skipped, changed = self.convolutions
        x = self.norms[0](plain(features[:, None])).relu()
        y = skipped(x)
        y = y + self.norms[1](y).relu()  # which reads what the norm reads
        z = self.norms[2](changed(y).relu_())
        return self.classifier(z.mean(dim=(2, 3)))


def test_norms_are_folded_where_nothing_else_reads_the_layer(monkeypatch):
    monkeypatch.setitem(MODELS, "norms", Norms)
    torch.manual_seed(0)
    system = System.build(("relative_logmel", {}), ("norms", {}), 7, standardize=False).eval()
    with torch.no_grad():
        for norm in system.network.norms:
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
            norm.weight.normal_()
    assert norms_behind_layers(system) == {"network.convolutions.0": "network.norms.0"}
    wave = torch.from_numpy(SAMPLES[0])[None]
    with torch.no_grad():
        torch.testing.assert_close(fold_batch_norms(system)(wave), system(wave))
