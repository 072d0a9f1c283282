"""The system as one module: what it computes, how it is named, how it is written and read."""

import json
import os
import stat

import pytest
import torch
from safetensors.torch import load_file, save_file

from lightser.errors import BadModel, BadRecipe, UnknownName
from lightser.features.standardize import Standardize
from lightser.models import MODELS
from lightser.training.system import System


@pytest.fixture
def system():
    torch.manual_seed(0)
    system = System.build(
        ("zhong2020", {"n_bands": 40}),
        ("zhong2020", {"masked": True, "n_blocks": 2}),
        7,
        standardize=True,
    )
    system.standardize.mean.uniform_(-30, -20)
    system.standardize.std.uniform_(5, 10)
    return system.eval()


def noise(n_clips, n_samples):
    generator = torch.Generator().manual_seed(n_samples)
    return 0.1 * torch.randn(n_clips, n_samples, generator=generator)


def test_probabilities_are_the_softmax_of_logits_over_the_temperature(system):
    samples = noise(3, 16000)
    features = system.features(samples)
    torch.testing.assert_close(features, system.frontend(samples))
    standardised = (features - system.standardize.mean) / (system.standardize.std + 1e-5)
    logits = system.logits(features)
    torch.testing.assert_close(logits, system.network(standardised, None))
    torch.testing.assert_close(system(samples), logits.softmax(dim=1))
    system.temperature.fill_(2.5)
    torch.testing.assert_close(system(samples), (logits / 2.5).softmax(dim=1))


def test_padding_is_zero_after_standardisation_whatever_it_was(system):
    seen = []
    system.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
    features, lengths = torch.randn(2, 60, 40), torch.tensor([60, 25])
    quiet = system.logits(features, lengths)
    network_input, given_lengths = seen[0]
    assert torch.equal(given_lengths, lengths)
    assert not network_input[1, 25:].any() and network_input[1, :25].all()
    features[1, 25:] = torch.nan  # not even this is heard
    torch.testing.assert_close(system.logits(features, lengths), quiet)


def test_clips_that_are_too_short_get_zeros_on_both_sides_with_an_odd_one_at_the_end(system):
    clip = noise(1, 100)
    missing = system.min_samples - 100
    assert missing % 2 == 1
    padded = torch.nn.functional.pad(clip, (missing // 2, missing // 2 + 1))
    torch.testing.assert_close(system(clip), system.logits(system.frontend(padded)).softmax(dim=1))


@pytest.mark.parametrize(
    ("frontend", "options"),
    [
        ("zhong2020", {}),
        ("light_sernet", {}),
        ("light_sernet", {"window_s": None}),
        ("relative_logmel", {"window_s": 0.08}),
    ],
)
@pytest.mark.parametrize("model", ["zhong2020", "light_sernet"])
def test_the_shortest_clip_has_the_fewest_frames_that_the_network_takes(frontend, options, model):
    system = System.build((frontend, options), (model, {}), 4, standardize=False).eval()
    features = system.frontend(noise(1, system.min_samples))
    assert features.shape[1] >= system.network.min_frames
    assert torch.isfinite(system(noise(1, system.min_samples))).all()
    assert system.min_samples == system.frontend.min_samples


def test_a_system_is_made_again_from_its_description(system):
    description = json.loads(json.dumps(system.describe()))
    assert description == {
        "frontend": {"name": "zhong2020", "options": {"n_bands": 40}},
        "model": {"name": "zhong2020", "options": {"masked": True, "n_blocks": 2}},
        "n_classes": 7,
        "standardize": True,
    }
    again = System.from_description(description)
    shapes = {name: tensor.shape for name, tensor in system.state_dict().items()}
    assert {name: tensor.shape for name, tensor in again.state_dict().items()} == shapes
    assert again.network.masked


def test_a_description_is_a_copy(system):
    system.describe()["model"]["options"]["n_blocks"] = 6
    assert system.describe()["model"]["options"]["n_blocks"] == 2


def test_standardising_is_a_choice():
    plain = System.build(("light_sernet", {}), ("light_sernet", {}), 4, standardize=False)
    fitted = System.build(("light_sernet", {}), ("light_sernet", {}), 4, standardize=True)
    assert isinstance(fitted.standardize, Standardize)
    features = torch.randn(1, 184, 40)
    assert torch.equal(plain.standardize(features), features)


def test_parameters_are_those_that_are_trained():
    system = System.build(("light_sernet", {}), ("light_sernet", {}), 4, standardize=True)
    assert system.parameter_count() == 460_740
    for parameter in system.network.classifier.parameters():
        parameter.requires_grad = False
    assert system.parameter_count() == 460_740 - (320 * 4 + 4)


def test_what_is_saved_is_what_is_loaded(system, tmp_path):
    path = tmp_path / "weights.safetensors"
    system.temperature.fill_(1.7)
    system.save(path)
    again = System.load(path)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert not again.training
    for name, tensor in system.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
    samples = noise(2, 9000)
    assert torch.equal(again(samples), system(samples))


def test_saving_over_a_file_replaces_it(system, tmp_path):
    path = tmp_path / "weights.safetensors"
    system.save(path)
    with torch.no_grad():
        system.network.classifier.bias.fill_(3)
    system.save(path)
    assert (System.load(path).network.classifier.bias == 3).all()


def test_weights_may_be_read_by_whom_the_umask_lets(system, tmp_path):
    before = os.umask(0o027)
    try:
        system.save(tmp_path / "weights.safetensors")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "weights.safetensors").stat().st_mode) == 0o640


def test_a_file_that_cannot_be_read_is_answered_in_one_line(system, tmp_path):
    path = tmp_path / "weights.safetensors"
    with pytest.raises(BadModel, match="No such file"):
        System.load(path)
    system.save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(
        BadModel, match=r"Cannot read weights from '.*weights.safetensors'"
    ) as caught:
        System.load(path)
    assert "\n" not in str(caught.value)
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(BadModel, match="no description of its system"):
        System.load(path)


def test_weights_that_do_not_fit_their_description_are_refused(system, tmp_path):
    path = tmp_path / "weights.safetensors"
    system.save(path)
    weights = load_file(path)
    del weights["network.classifier.bias"]
    save_file(weights, path, {"system": json.dumps(system.describe())})
    with pytest.raises(BadModel, match="Cannot read weights") as caught:
        System.load(path)
    assert "\n" not in str(caught.value)


def test_a_slip_in_a_name_or_an_option_is_answered_with_the_nearest():
    good = ("light_sernet", {})
    with pytest.raises(UnknownName, match="Unknown front end 'light_sernett'; did you mean"):
        System.build(("light_sernett", {}), good, 4, standardize=False)
    with pytest.raises(
        UnknownName, match="option of model 'light_sernet' 'dropuot'; did you mean 'dropout'"
    ):
        System.build(good, ("light_sernet", {"dropuot": 0.1}), 4, standardize=False)
    with pytest.raises(UnknownName, match="'n_classes'"):  # is not the recipe's to choose
        System.build(good, ("light_sernet", {"n_classes": 3}), 4, standardize=False)


def test_a_value_that_a_module_refuses_is_a_bad_recipe():
    with pytest.raises(BadRecipe, match="model 'zhong2020': pooling must be 'valid' or 'same'"):
        System.build(("zhong2020", {}), ("zhong2020", {"pooling": "full"}), 4, standardize=False)
    with pytest.raises(BadRecipe, match="front end 'light_sernet': kind must be one of"):
        System.build(("light_sernet", {"kind": "plp"}), ("light_sernet", {}), 4, standardize=False)


def test_class_and_band_numbers_reach_the_network():
    for name in ("light_sernet", "zhong2020"):
        assert name in MODELS
        system = System.build(("light_sernet", {"kind": "logmel"}), (name, {}), 3, standardize=True)
        assert system.eval()(noise(2, 48000)).shape == (2, 3)
        assert system.n_classes == 3
