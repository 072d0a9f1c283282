"""Whisper's encoder: transformers is the reference, and folders of two kinds are read alike."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from whisper_folder import (
    hugging_face_names,
    random_weights,
    write_ctranslate2,
    write_hugging_face,
)

import lightser
from lightser.audio.files import read_audio
from lightser.errors import BadModel, BadRecipe, LightserError
from lightser.export.pretrained import with_encoder_in_network
from lightser.features.whisper_encoder import (
    FOLDER,
    LONGEST,
    RATE,
    Encoder,
    WhisperEncoder,
    WhisperLogMel,
)
from lightser.features.whisper_weights import read_encoder
from lightser.models.whisper_encoder import WhisperNetwork
from lightser.training.system import System

CLIPS = sorted((Path(lightser.__file__).parent / "samples").glob("*.flac"))
SPEECH = np.concatenate([read_audio(clip, RATE) for clip in CLIPS] * 5)[: 30 * RATE]
SECONDS = (0.3, 0.5, 1.0, 2.98, 7.7, 15.0, 29.7, 30.0)


@pytest.fixture(scope="module")
def weights():
    return random_weights(3)


@pytest.fixture(scope="module")
def frontend(weights):
    frontend = WhisperEncoder()
    frontend.set_weights(weights)
    return frontend


@pytest.fixture(scope="module")
def system(weights):
    torch.manual_seed(0)
    system = System.build(("whisper_encoder", {}), ("whisper_encoder", {}), 4, standardize=True)
    system.frontend.set_weights(weights)
    rows = [system.features(torch.from_numpy(SPEECH[None, i : i + RATE]))[0] for i in
            range(0, 10 * RATE, RATE)]  # fmt: skip
    system.standardize.fit(rows)
    return system.eval()


def clip(seconds):
    return SPEECH[: round(seconds * RATE)]


# ---- the same as an independent implementation


@pytest.fixture(scope="module")
def transformers():
    return pytest.importorskip("transformers", reason="needs transformers, to compare with it")


@pytest.mark.parametrize("seconds", SECONDS)
def test_the_log_mel_is_that_of_transformers(transformers, seconds):
    samples = clip(seconds)
    padded = np.pad(samples, (0, min(4800, LONGEST - len(samples))))
    extract = transformers.WhisperFeatureExtractor()
    theirs = extract(padded, sampling_rate=RATE, return_tensors="np").input_features[0].T
    ours = WhisperLogMel()(torch.from_numpy(samples)[None])[0].numpy()
    assert len(ours) == len(padded) // 160
    np.testing.assert_allclose(ours, theirs[: len(ours)], rtol=0, atol=1e-4)


@pytest.mark.parametrize("seconds", SECONDS)
@torch.no_grad()
def test_each_layers_states_are_those_of_transformers(transformers, weights, frontend, seconds):
    mel = frontend.mel(torch.from_numpy(clip(seconds))[None])
    n_steps = mel.shape[1] // 2
    config = transformers.WhisperConfig(
        d_model=512,
        encoder_layers=3,
        encoder_attention_heads=8,
        encoder_ffn_dim=2048,
        num_mel_bins=80,
        max_source_positions=n_steps,  # it takes this length and no other
    )
    from transformers.models.whisper.modeling_whisper import WhisperEncoder as Theirs

    theirs = Theirs(config).eval()
    named = hugging_face_names({**weights, "positions": weights["positions"][:n_steps]})
    assert not theirs.load_state_dict(named, strict=False).unexpected_keys
    states = []
    for layer in theirs.layers:
        layer.register_forward_hook(
            lambda module, given, out: states.append(out[0] if isinstance(out, tuple) else out)
        )
    theirs(mel[:, : 2 * n_steps].transpose(1, 2))
    ours = frontend.encoder(mel[:, : 2 * n_steps])
    assert len(ours) == len(states) == 3
    for mine, other in zip(ours, states, strict=True):
        assert 0.1 < mine.std() < 100  # or nothing would be compared
        torch.testing.assert_close(mine, other.reshape(mine.shape), rtol=0, atol=1e-4)


@torch.no_grad()
def test_features_are_means_and_deviations_layer_after_layer(frontend):
    samples = torch.from_numpy(clip(2.0))[None]
    states = frontend.encoder(frontend.mel(samples))
    expected = [f(states[i]) for i in (1, 2) for f in (mean, deviation)]
    torch.testing.assert_close(frontend(samples)[0, 0], torch.cat(expected), rtol=1e-5, atol=1e-5)


def mean(state):
    return state[0].mean(dim=0)


def deviation(state):
    return state[0].std(dim=0, correction=0)


def test_layers_behind_the_last_one_asked_for_are_not_there():
    assert len(WhisperEncoder(layers=[2]).encoder.layers) == 2
    assert WhisperEncoder(layers=[1, 2, 4]).n_bands == 3 * 1024


@pytest.mark.parametrize("layers", [[], [0], [3, 2], [2, 2], [7]])
def test_layers_that_there_are_not_are_refused(layers):
    with pytest.raises(BadRecipe, match="layers must be some of 1 to 6, ascending"):
        System.build(
            ("whisper_encoder", {"layers": layers}), ("whisper_encoder", {}), 4, standardize=True
        )


def test_more_than_30_s_at_once_are_refused(frontend):
    with pytest.raises(
        BadModel, match=r"hears 30 s at once, not 30\.1 s; give the recipe a window"
    ):
        frontend(torch.zeros(1, LONGEST + 1600))


# ---- folders


def test_both_kinds_of_folder_are_read_to_the_last_bit(tmp_path, weights):
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    folders = [
        write_ctranslate2(tmp_path / "half", weights),
        write_ctranslate2(tmp_path / "single", weights, "float32"),
        write_hugging_face(tmp_path / "hf", weights),
        write_hugging_face(tmp_path / "bare", weights, prefix=""),
    ]
    for folder in folders:
        read = read_encoder(folder, shapes)
        assert read.keys() == weights.keys()
        for name, tensor in read.items():
            assert tensor.dtype == torch.float32 and torch.equal(tensor, weights[name]), name


def test_fewer_layers_than_a_folder_has_are_read(tmp_path, weights, monkeypatch):
    monkeypatch.setenv(FOLDER, str(write_ctranslate2(tmp_path, weights)))
    frontend = WhisperEncoder(layers=[1])
    frontend.read_weights()
    assert torch.equal(
        frontend.encoder.layers[0].feed_in.weight, weights["layers.0.feed_in.weight"]
    )


def cut(folder):
    path = folder / "model.bin"
    path.write_bytes(path.read_bytes()[:-100_000])


def other_version(folder):
    path = folder / "model.bin"
    path.write_bytes(b"\x02" + path.read_bytes()[1:])


def other_kind(folder):
    path = folder / "model.bin"
    path.write_bytes(path.read_bytes().replace(b"WhisperSpec", b"Wav2VecSpec"))


def smaller(folder):
    write_ctranslate2(folder, {**random_weights(1), "conv1.weight": torch.zeros(384, 80, 3)})


def quantised(folder):
    write_ctranslate2(folder, {n: (t * 20).round() for n, t in random_weights(1).items()}, "int8")


def without_a_layer(folder):
    weights = random_weights(1)
    del weights["layers.0.feed_out.bias"]
    write_ctranslate2(folder, weights)


def with_nan(folder):
    write_ctranslate2(folder, {**random_weights(1), "conv1.bias": torch.full((512,), torch.nan)})


def pickled(folder):
    (folder / "model.bin").rename(folder / "pytorch_model.bin")


def emptied(folder):
    (folder / "model.bin").unlink()


def hugging_face_of_another_type(folder):
    emptied(folder)
    write_hugging_face(folder, random_weights(1))
    (folder / "config.json").write_text('{"model_type": "wav2vec2"}')


def hugging_face_without_config(folder):
    emptied(folder)
    write_hugging_face(folder, random_weights(1))
    (folder / "config.json").unlink()


def hugging_face_in_brain_floats(folder):
    emptied(folder)
    write_hugging_face(folder, {n: t.bfloat16() for n, t in random_weights(1).items()})


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (shutil.rmtree, "There is no folder"),
        (emptied, "is not the folder of a Whisper model: neither model.safetensors"),
        (pickled, "holds its weights pickled"),
        (cut, "is no whole Whisper model of CTranslate2: .* is cut off"),
        (other_version, "version 2 of its format is not one of"),
        (other_kind, "it is a Wav2VecSpec"),
        (smaller, r"another size: conv1.weight has the shape \[384, 80, 3\], and \[512, 80, 3\]"),
        (quantised, "holds .* in int8; give the model in float16 or float32"),
        (without_a_layer, "it lacks layers.0.feed_out.bias"),
        (with_nan, "holds what is no number in conv1.bias"),
        (hugging_face_of_another_type, "is a model of type 'wav2vec2', not 'whisper'"),
        (hugging_face_without_config, "Cannot read the model in"),
        (hugging_face_in_brain_floats, "in bfloat16; give the model in float16 or float32"),
    ],
)
def test_a_folder_that_is_none_is_refused_in_a_line(tmp_path, monkeypatch, damage, words):
    folder = write_ctranslate2(tmp_path / "model", random_weights(1))
    damage(folder)
    monkeypatch.setenv(FOLDER, str(folder))
    with pytest.raises(LightserError, match=words) as caught:
        WhisperEncoder(layers=[1]).read_weights()
    assert "\n" not in str(caught.value)


def test_without_a_folder_it_is_said_how_to_name_one(monkeypatch):
    monkeypatch.delenv(FOLDER, raising=False)
    with pytest.raises(BadModel, match=f"set {FOLDER} to the folder of a Whisper base model"):
        WhisperEncoder().read_weights()


# ---- in a system


def test_a_saved_system_needs_no_whisper_and_answers_to_the_last_bit(tmp_path, system, monkeypatch):
    monkeypatch.delenv(FOLDER, raising=False)
    system.save(tmp_path / "weights.safetensors")
    samples = torch.from_numpy(clip(2.0))[None]
    with torch.no_grad():
        assert torch.equal(System.load(tmp_path / "weights.safetensors")(samples), system(samples))
    stored = load_file(tmp_path / "weights.safetensors")
    assert stored["frontend.layers.2.feed_in.weight"].dtype == torch.float16
    assert stored["network.classifier.weight"].dtype == torch.float32


def test_numbers_that_float16_does_not_hold_are_stored_in_float32(tmp_path, weights):
    system = System.build(("whisper_encoder", {}), ("whisper_encoder", {}), 4, standardize=True)
    system.frontend.set_weights({**weights, "conv1.bias": torch.full((512,), 1 / 3)})
    system.save(tmp_path / "weights.safetensors")
    assert load_file(tmp_path / "weights.safetensors")["frontend.conv1.bias"].dtype == torch.float32


def test_training_sees_neither_the_encoders_weights_nor_their_gradients(system):
    assert not any(name.startswith("frontend") for name in system.state_dict())
    assert {p.shape for p in system.frontend.parameters()} == set()
    encoder = sum(t.numel() for t in Encoder(3).buffers())
    assert system.parameter_count() == encoder + 2 + 1024 * 4 + 4


def test_weights_of_a_file_that_lack_some_of_the_encoders_are_refused(tmp_path, system):
    from lightser.training.tensors import write_tensors

    path = tmp_path / "weights.safetensors"
    system.save(path)
    stored = load_file(path)
    del stored["frontend.conv2.bias"]
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    write_tensors(path, stored, metadata)
    with pytest.raises(BadModel, match=r"Cannot read weights .* conv2\.bias"):
        System.load(path)


def test_layers_are_summed_by_weights_that_add_up_to_one():
    network = WhisperNetwork(4, 3 * 1024).eval()
    network.layer_weights.data = torch.tensor([0.0, 1.0, -1.0])
    features = torch.randn(2, 1, 3 * 1024, generator=torch.Generator().manual_seed(0))
    w = network.layer_weights.softmax(0)
    expected = sum(w[i] * features[:, 0, 1024 * i : 1024 * (i + 1)] for i in range(3))
    torch.testing.assert_close(network.forward_features(features), expected)


def test_windows_of_a_padded_batch_are_averaged_up_to_their_number():
    network = WhisperNetwork(4, hidden=8).eval()
    clips = torch.randn(2, 3, 2048, generator=torch.Generator().manual_seed(0))
    alone = network(clips[1:, :2])
    together = network(clips, torch.tensor([3, 2]))
    torch.testing.assert_close(together[1:], alone)


def test_features_that_are_no_whole_layers_are_refused():
    with pytest.raises(BadRecipe, match="40 features are not 1024 of each layer"):
        System.build(("relative_logmel", {"coefficients": 40}), ("whisper_encoder", {}), 4,
                     standardize=True)  # fmt: skip


@torch.no_grad()
def test_with_its_encoder_in_the_network_a_system_answers_the_same(system):
    moved = with_encoder_in_network(system)
    assert moved.describe()["frontend"]["name"] == "whisper_logmel"
    assert moved.frontend.n_bands == 80
    samples = torch.from_numpy(clip(2.0))[None]
    torch.testing.assert_close(moved(samples), system(samples), rtol=0, atol=1e-6)
