"""The norm of an embedding: fitted without changing an answer, and optional inputs of every graph.

Shapes: B clips, P values of the embedding.
"""

import numpy as np
import onnxruntime
import pytest
import torch
from model_folder import ANGER, HAPPINESS, SADNESS
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from lightser import Recognizer
from lightser.audio.files import read_audio
from lightser.bundled import bundled_models, find_model
from lightser.card import MODEL, WEIGHTS
from lightser.export import EXPORTERS, Order, targets  # noqa: F401  targets register themselves
from lightser.export.fold import fold_batch_norms
from lightser.models import MODELS
from lightser.models.embedding import LEAST_STD, set_statistics
from lightser.training.embedding import fit_embedding
from lightser.training.initial import Initial
from lightser.training.system import System

CLIPS = (ANGER, HAPPINESS, SADNESS)
POOLING = ("light_sernet", "zhong2020", "drn", "yenigalla2018")


def bundled(name: str = "emodb-light_sernet") -> System:
    return System.load(find_model(name) / WEIGHTS)


@pytest.fixture(scope="module")
def heard() -> np.ndarray:
    """Three seconds of three voices, and these quieter, ``[6, 48000]``."""
    waves = [np.resize(read_audio(clip, 16_000), 48_000) for clip in CLIPS]
    rng = np.random.default_rng(0)
    return np.stack(waves + [w * 0.1 + 1e-3 * rng.normal(size=len(w)) for w in waves]).astype(
        np.float32
    )


@torch.no_grad()
def features(system: System, heard: np.ndarray) -> list[torch.Tensor]:
    return [system.features(torch.from_numpy(wave)[None])[0] for wave in heard]


def probabilities(system: System, heard: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return system(torch.from_numpy(heard)).numpy()


@pytest.mark.parametrize("name", POOLING)
def test_the_norm_is_the_identity_before_it_is_fitted_and_no_parameter(name):
    torch.manual_seed(0)
    network = MODELS[name](4, 128 if name == "yenigalla2018" else 120).eval()
    x = torch.randn(2, 70, 128 if name == "yenigalla2018" else 120)
    embedding = network.forward_features(x)
    assert torch.equal(network.embedding(embedding), embedding)
    assert torch.equal(network(x), network.classifier(embedding))
    assert not list(network.embedding.parameters())


def test_fitting_standardises_what_was_heard_and_changes_no_answer(heard):
    system = bundled()
    before = probabilities(system, heard)
    fit_embedding(system, features(system, heard))
    with torch.no_grad():
        raw = system.embed(torch.stack(features(system, heard)))
        standardized = system.network.embedding(raw)
    np.testing.assert_allclose(probabilities(system, heard), before, atol=2e-6)
    norm = system.network.embedding
    np.testing.assert_allclose(standardized.mean(dim=0).numpy(), 0, atol=1e-4)
    is_live = (
        raw.std(dim=0, correction=0) > LEAST_STD * raw.std(dim=0, correction=0).mean()
    ).numpy()
    assert is_live.sum() > 200
    np.testing.assert_allclose(standardized.std(dim=0, correction=0).numpy()[is_live], 1, rtol=1e-3)
    assert float(norm.std.min()) > 0


def test_fitting_twice_is_as_once_and_a_single_window_deviates_by_nothing(heard):
    once, twice = bundled(), bundled()
    fit_embedding(once, features(once, heard))
    fit_embedding(twice, features(twice, heard[:2]))
    fit_embedding(twice, features(twice, heard))
    for name, tensor in once.state_dict().items():
        torch.testing.assert_close(twice.state_dict()[name], tensor, rtol=1e-3, atol=1e-4)
    fit_embedding(twice, features(twice, heard[:1]))
    assert torch.equal(twice.network.embedding.std, torch.ones(320))


def test_weights_of_before_there_was_a_norm_can_be_loaded(tmp_path, heard):
    system = bundled()
    set_statistics(system.network, torch.zeros(320), torch.ones(320))
    path = tmp_path / WEIGHTS
    system.save(path)
    expected = probabilities(system, heard)
    weights = load_file(path)
    del weights["network.embedding.mean"], weights["network.embedding.std"]
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    save_file(weights, path, metadata)
    np.testing.assert_array_equal(probabilities(System.load(path), heard), expected)


def test_a_network_that_begins_from_another_trains_on_the_embedding_as_it_is(heard):
    initial = Initial.of("emodb-light_sernet")
    system = bundled()
    for parameter in system.parameters():
        parameter.data.zero_()
    initial.give_to(system, initial.card.labels)
    norm = system.network.embedding
    assert torch.equal(norm.mean, torch.zeros(320)) and torch.equal(norm.std, torch.ones(320))
    np.testing.assert_allclose(
        probabilities(system, heard), probabilities(bundled(), heard), atol=2e-6
    )


def test_folding_takes_the_norm_into_the_classifier(heard):
    system = bundled()
    folded = fold_batch_norms(system)
    assert "network.embedding.mean" not in folded.state_dict()
    np.testing.assert_allclose(
        probabilities(folded, heard), probabilities(system, heard), atol=1e-5
    )


# ---- graphs


@pytest.fixture(scope="module")
def graphs(tmp_path_factory, heard):
    """Return a function from a precision and a place of the front end to a file and its session."""
    known = {}

    def make(precision, frontend):
        if (precision, frontend) not in known:
            folder = tmp_path_factory.mktemp("graph")
            order = Order(
                precision=precision,
                frontend=frontend,
                n_samples=48_000,
                labels=Recognizer.load().labels,
                calibration=list(heard),
            )
            EXPORTERS["onnx"].write(bundled(), order, folder)
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 4
            known[precision, frontend] = onnxruntime.InferenceSession(
                str(folder / MODEL), options, providers=["CPUExecutionProvider"]
            )
        return known[precision, frontend]

    return make


@pytest.mark.parametrize("frontend", ["in", "out"])
@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
def test_every_graph_gives_embeddings_and_takes_the_statistics_of_a_voice(
    precision, frontend, graphs, heard
):
    session, system = graphs(precision, frontend), bundled()
    assert len(session.get_inputs()) == 1
    optional = {i.name: i.shape for i in session.get_overridable_initializers()}
    assert optional == {"embedding_mean": [320], "embedding_std": [320]}
    given = heard if frontend == "in" else torch.stack(features(system, heard)).numpy()
    taken = {session.get_inputs()[0].name: given}
    p, embedding = session.run(["probabilities", "embedding"], taken)
    with torch.no_grad():
        exact = system.embed(torch.stack(features(system, heard)))
    close = {"float32": 1e-4, "float16": 0.05, "int8": 0.5}[precision]
    assert np.abs(embedding - exact.numpy()).max() < close * float(exact.std())

    # The head is exact, whatever the network is computed in.
    norm = system.network.embedding
    for mean, std in ((norm.mean, norm.std), (norm.mean + norm.std, 0.5 * norm.std)):
        voice = {"embedding_mean": mean.numpy(), "embedding_std": std.numpy()}
        (got,) = session.run(["probabilities"], {**taken, **voice})
        with torch.no_grad():
            expected = system.classify(torch.from_numpy(embedding), mean, std).numpy()
        np.testing.assert_allclose(got, expected, atol=2e-6)
        if mean is norm.mean:
            np.testing.assert_array_equal(got, p)
    assert np.abs(got - p).max() > 0.05  # of another voice


def test_a_network_without_an_embedding_is_exported_as_before(tmp_path):
    torch.manual_seed(0)
    system = System.build(("frame30", {}), ("dnn_elm", {}), 4, standardize=True).eval()
    assert system.embedding is None
    fit_embedding(system, [])  # nothing to fit


@pytest.mark.parametrize("name", bundled_models())
def test_bundled_models_can_be_adapted(name, heard):
    recognizer, system = Recognizer.load(name), bundled(name)
    expected = torch.stack([system.embed(f[None])[0] for f in features(system, heard)]).detach()
    for wave, embedding in zip(heard, expected, strict=True):
        (got,) = recognizer.embed(wave, 16_000)
        np.testing.assert_allclose(got, embedding.numpy(), atol=1e-3)
    assert recognizer.embed(np.tile(heard[0], 3), 16_000).shape[0] == 3
    norm = system.embedding
    assert norm is not None and not torch.equal(norm.mean, torch.zeros_like(norm.mean))
