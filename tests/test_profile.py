"""Profiles tell the truth: counts by hand, folding that changes no answer, reach by gradient."""

import json
import re

import matplotlib.image
import numpy as np
import pytest
import torch
from torch import nn

from lightser.export import profile as profiles
from lightser.export.fold import fold_batch_norms, norms_behind_layers
from lightser.export.profile import measure, profile_system
from lightser.export.receptive import receptive_field, receptive_field_in_one
from lightser.export.subject import find_subject
from lightser.export.trace import trace
from lightser.models import MODELS
from lightser.training.system import System


def with_real_norms(system):
    """Give batch norms statistics and weights as training leaves them: far from 0 and 1."""
    torch.manual_seed(1)
    with torch.no_grad():
        for module in system.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.5)
                module.running_var.uniform_(0.2, 3)
                module.weight.uniform_(0.3, 2)
                module.bias.normal_(0, 0.5)
    return system.eval()


@pytest.fixture(scope="module")
def light_sernet():
    torch.manual_seed(0)
    return with_real_norms(find_subject("light_sernet").system)


@pytest.fixture(scope="module")
def profile(light_sernet):
    return profile_system(light_sernet, 3.0)


# ---- folding


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("light_sernet", 460_740, 459_780),
        ("zhong2020", 888_774, 888_774),  # it has no batch norm
        ("acrnn3d", 9_299_396, 9_299_268),
        ("drn", 9_872_964, 9_869_188),
        ("yenigalla2018", 1_881_404, 1_880_604),
    ],
)
def test_a_folded_network_has_fewer_parameters_and_the_same_answers(name, before, after):
    torch.manual_seed(0)
    system = with_real_norms(find_subject(name).system)
    folded = fold_batch_norms(system)
    numbers = system.parameter_count(), folded.parameter_count()
    print(f"{name}: {numbers[0]:,} parameters, {numbers[1]:,} folded")
    assert numbers == (before, after)
    frames = max(64, system.network.min_frames)
    features = torch.randn(2, frames, system.frontend.n_bands)
    with torch.no_grad():
        expected, given = system.logits(features), folded.logits(features)
    assert expected.std() > 0.01
    scale = max(1.0, float(expected.abs().max()))
    torch.testing.assert_close(given / scale, expected / scale, rtol=0, atol=1e-5)


def test_folding_leaves_the_system_as_it_was_and_no_norm_behind(light_sernet):
    before = {name: tensor.clone() for name, tensor in light_sernet.state_dict().items()}
    folded = fold_batch_norms(light_sernet)
    assert all(torch.equal(t, before[n]) for n, t in light_sernet.state_dict().items())
    assert not [m for m in folded.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms_behind_layers(light_sernet)) == 8


def test_one_bit_layers_keep_their_norm():
    system = with_real_norms(
        System.build(("three_channel", {}), ("bcrnn", {"batch_norm": True}), 4, standardize=True)
    )
    kept = {name: n.weight.clone() for name, n in system.network.norms.named_children()}
    folded = fold_batch_norms(system)
    norms = dict(folded.network.norms.named_children())
    assert len(norms) == 6
    assert all(torch.equal(norm.weight, kept[name]) for name, norm in norms.items())


# ---- counts


def test_counts_of_light_sernet_are_those_worked_out_by_hand(profile):
    frames, bands = (48000 - 1024) // 256 + 1, 40
    macs = frames * bands * 32 * (11 + 9 + 9)
    for height, width, n_in, n_out, taps in (
        (92, 20, 96, 64, 9),
        (46, 10, 64, 96, 9),
        (23, 5, 96, 128, 9),
        (12, 5, 128, 160, 9),
        (6, 5, 160, 320, 1),
    ):
        macs += height * width * n_in * n_out * taps
    assert profile.macs == macs + 320 * 4
    assert profile.macs_per_second == pytest.approx(profile.macs / 3)
    assert (profile.parameters, profile.folded_parameters) == (460_740, 459_780)
    assert profile.weight_bytes == {"float32": 1_839_120, "float16": 919_560, "int8": 459_780}
    assert sum(layer.parameters for layer in profile.layers) == 459_780


def test_peak_memory_is_that_of_the_last_path_beside_the_other_two(profile):
    # Path 3 before and after its pooling, and what paths 1 and 2 have left.
    assert profile.peak == 184 * 40 * 32 + 92 * 20 * 32 + 2 * 92 * 20 * 32 == 412_160
    worst = max(profile.network, key=lambda layer: layer.memory)
    assert (worst.name, worst.operation) == ("paths.2", "average pooling")
    assert profile.peak_bytes == {"float32": 4 * 412_160, "float16": 824_320, "int8": 412_160}


class Chain(nn.Module):
    """Two layers and a sum with what was there before, to count by hand."""

    min_frames = 1

    def __init__(self):
        super().__init__()
        self.wide, self.narrow = nn.Linear(40, 100), nn.Linear(100, 40)
        self.classifier = nn.Linear(40, 4)

    def forward(self, features, lengths=None):
        y = torch.relu(self.wide(features))
        return self.classifier((features + torch.relu(self.narrow(y))).mean(dim=1))


def test_memory_lives_from_the_step_that_writes_it_to_the_last_that_reads_it(light_sernet):
    system = System.build(("light_sernet", {}), ("light_sernet", {}), 4, standardize=False)
    system.network = Chain()
    layers = {layer.name: layer for layer in profile_system(system, 3.0).network}
    frames = 184
    assert layers["wide"].memory == frames * (40 + 100)  # the ReLU takes the place of its input
    # The first input waits for the sum: it is still there when the second layer writes.
    assert layers["narrow"].memory == frames * (40 + 100 + 40)
    assert layers["classifier"].memory == 40 + 4
    assert layers["wide"].macs == frames * 40 * 100


def test_nothing_is_computed_to_count(light_sernet):
    steps = trace(light_sernet, 600 * 16000).steps  # ten minutes; the front end hears three seconds
    assert sum(step.macs for step in steps if step.layer.startswith("network")) == 159_325_440


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_registered_network_can_be_profiled(name):
    subject = find_subject(name)
    found = profile_system(subject.system, subject.seconds)
    assert found.system == name
    assert found.parameters == subject.system.parameter_count() >= found.folded_parameters
    assert sum(layer.parameters for layer in found.layers) == found.folded_parameters
    assert found.macs > 0 and found.frontend_macs > 0
    largest = max(np.prod(layer.shape) for layer in found.network)
    assert found.peak >= largest
    json.dumps(found.to_dict())


def test_a_network_hears_as_much_as_it_is_asked_about():
    subject = find_subject("light_sernet", seconds=7)
    found = profile_system(subject.system, subject.seconds)
    assert found.seconds == 7 and found.layers[0].shape == (434, 40)
    image = find_subject("yenigalla2018")  # 256 windows of 25 ms, 16 ms apart
    assert image.seconds == pytest.approx(255 * 0.016 + 0.025)


def test_one_bit_weights_have_the_published_size():
    found = profile_system(find_subject("bcrnn").system, 3.0)
    assert found.weight_bytes["1-bit"] / 2**20 == pytest.approx(4.345, abs=5e-4)


# ---- receptive fields


@pytest.mark.parametrize("seed", range(20))
def test_both_equations_of_the_receptive_field_agree(seed):
    rng = np.random.default_rng(seed)
    layers = [tuple(map(int, rng.integers(1, 8, 2))) for _ in range(rng.integers(1, 8))]
    assert receptive_field(layers) == receptive_field_in_one(layers)


def reach_by_gradient(network, layer, n_frames, n_bands, draws):
    """Return how many frames and bands of the features can move a cell in the middle of a map.

    A maximum is moved by one cell alone, whose place changes from draw to draw.
    """
    maps = []
    handle = layer.register_forward_hook(lambda module, given, output: maps.append(output))
    moved = torch.zeros(n_frames, n_bands, dtype=torch.bool)
    for seed in range(draws):
        torch.manual_seed(seed)
        features = torch.rand(1, n_frames, n_bands, dtype=torch.float64, requires_grad=True)
        network(features)
        out = maps[-1][0] if isinstance(maps[-1], tuple) else maps[-1]  # [1, C, F, M]
        out[0, :, out.shape[2] // 2, out.shape[3] // 2].sum().backward()
        moved |= features.grad[0] != 0
    handle.remove()
    frames, bands = (moved.any(dim=axis).nonzero()[:, 0] for axis in (1, 0))
    return tuple(int(cells.max() - cells.min()) + 1 for cells in (frames, bands))


@pytest.mark.parametrize("name", ["light_sernet", "zhong2020", "drn"])
def test_reach_by_the_equations_is_that_by_gradient(name):
    # Maps so large that a cell in the middle sees no border, and weights that cancel nothing out.
    sizes = {"light_sernet": (288, 192), "zhong2020": (90, 90), "drn": (192, 240)}
    n_frames, n_bands = sizes[name]
    options = {"width": 4, "heads": 4} if name == "drn" else {}
    channels = 3 if name == "drn" else 1
    network = MODELS[name](n_classes=4, n_bands=n_bands * channels, **options).eval().double()
    if name != "zhong2020":  # there, weights of one sign would make all channels alike
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.abs_().add_(0.01)
    subject = find_subject(name, n_classes=4)
    subject.system.network = MODELS[name](
        n_classes=4, n_bands=subject.system.frontend.n_bands, **options
    )
    found = {
        layer.name: layer.receptive_field
        for layer in profile_system(subject.system, subject.seconds).network
    }
    checked = {
        "light_sernet": [
            "paths.0",
            "paths.1",
            "paths.2",
            "body.0.convolution",
            "body.1",
            "body.3",
            "body.4",
        ],
        "zhong2020": ["stem", "first.depthwise", "blocks.0.depthwise", "blocks.2.depthwise"],
        "drn": ["stem", "blocks.0.second", "blocks.3.first", "blocks.5.second", "blocks.6.second"],
    }[name]
    modules = dict(network.named_modules())
    for layer in checked:
        key = layer if layer in found else f"{layer}.convolution"
        frames, bands = reach_by_gradient(
            network, modules[layer], n_frames, n_bands * channels, 12 if name == "zhong2020" else 1
        )
        if channels == 3:
            bands -= 2 * n_bands  # static, delta and delta-delta lie side by side
        assert (frames, bands) == found[key], layer


class OverTime(nn.Module):
    """Convolutions of one dimension, with the bands for channels: first each for itself."""

    min_frames = 1

    def __init__(self, n_bands: int):
        super().__init__()
        self.apart = nn.Conv1d(n_bands, n_bands, 5, stride=2, groups=n_bands)
        self.joint = nn.Conv1d(n_bands, 8, 3, dilation=2)
        self.classify = nn.Linear(8, 4)

    def forward(self, features, lengths=None):
        x = self.joint(self.apart(features.transpose(1, 2)))
        return self.classify(x.mean(dim=2))


def test_reach_over_time_is_that_by_gradient():
    subject = find_subject("light_sernet", n_classes=4)
    n_bands = subject.system.frontend.n_bands
    subject.system.network = network = OverTime(n_bands)
    layers = profile_system(subject.system, subject.seconds).network
    found = {layer.name: layer.receptive_field for layer in layers}
    features = torch.rand(1, 90, n_bands, requires_grad=True)
    apart = network.apart(features.transpose(1, 2))
    for name, out in (("apart", apart), ("joint", network.joint(apart))):
        (moved,) = torch.autograd.grad(out[0, 3, out.shape[2] // 2], features, retain_graph=True)
        frames, bands = (moved[0] != 0).any(dim=1), (moved[0] != 0).any(dim=0)
        assert found[name] == (int(frames.sum()), int(bands.sum())), name


def test_a_layer_that_hears_the_whole_clip_has_no_bounded_reach(profile):
    by_name = {layer.name: layer for layer in profile.layers}
    assert by_name["classifier"].receptive_field is None
    assert profile.receptive_field == (102, 60)


# ---- time


def test_percentiles_and_real_time_factor_are_of_what_was_timed(monkeypatch):
    ticks = iter([0.0, 0.010, 0.0, 0.020, 0.0, 0.030, 0.0, 0.110])
    monkeypatch.setattr(profiles.time, "perf_counter", lambda: next(ticks))
    calls = []
    found = measure(lambda: calls.append(1), 2.0, 4)
    assert len(calls) == 4 + profiles.WARM_UP
    assert found.p50 == pytest.approx(25) and found.runs == 4
    assert found.p95 == pytest.approx(np.percentile([10, 20, 30, 110], 95))
    assert found.real_time_factor == pytest.approx(0.0125)


# ---- the command


def test_a_network_is_profiled_from_the_command_line_with_a_picture(tmp_path, lightser):
    run = lightser("profile", "light_sernet", "--runs", 2, "--plot", tmp_path / "layers.png")
    assert run.code == 0, run.err
    assert "460,740; 459,780 with batch norms folded" in run.out
    for runtime in ("pytorch", "onnxruntime"):
        assert re.search(rf"^{runtime} +\d+\.\d ms \(95 %: \d+\.\d ms\)", run.out, re.M)
    assert re.search(r"^paths\.2 +average pooling +32×92×20 +412\.2 +4×4$", run.out, re.M)
    picture = matplotlib.image.imread(tmp_path / "layers.png")
    assert min(picture.shape[:2]) > 400 and picture[..., :3].std() > 0.05
    assert [p.name for p in tmp_path.iterdir()] == ["layers.png"]


def test_several_networks_stand_side_by_side_with_the_sizes_that_papers_print(lightser):
    run = lightser("profile", "light_sernet", "bcrnn", "honest/emodb-light_sernet", "--runs", 0)
    assert run.code == 0, run.err
    head, first, second, third = run.out.splitlines()
    assert head.split()[:3] == ["network", "clip", "parameters"]
    assert "0.88 MiB" in first  # what Light-SERNet's Table 2 prints: float16, folded
    assert "4.35 MiB" in second
    assert third.split()[0] == "honest/emodb-light_sernet" and "461,703" in third


def test_json_has_all_and_times_nothing_if_told_so(lightser):
    run = lightser("profile", "zhong2020", "--runs", 0, "--json", "--seconds", 2, "--classes", 7)
    found = json.loads(run.out)
    assert found["seconds"] == 2 and found["latency_ms"] == {}
    assert found["macs_per_second"] == pytest.approx(found["macs"] / 2)
    assert found["layers"][-2]["shape"] == [7]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["light_sernte"], "'light_sernte' is no model folder, no network"),
        (["no/such/folder"], "'no/such/folder' is no model folder"),
        (["drn", "bcrnn", "--plot", "x.png"], "--plot draws one network, and 2 are given"),
        (["drn", "--plot", "x.txt"], "the name must end in .png, .svg or .pdf"),
        (["drn", "--seconds", "-1"], "give more than 0"),
        (["drn", "--seconds", "0.01"], "'drn' hears 0.025 s or more"),
        (["default", "--seconds", "1"], "'default' hears 3 s, no other length"),
        (["zhong2020", "--seconds", "8"], "'zhong2020' hears 7 s at most"),
        (["light_sernet", "--seconds", "0.05"], "give at least one frame, 0.064"),
    ],
)
def test_bad_words_end_in_one_line(words, said, tmp_path, lightser, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = lightser("profile", *words)
    assert run.code == 2
    assert said in run.err and len(run.err.splitlines()) == 1
    assert not list(tmp_path.iterdir())
