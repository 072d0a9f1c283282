"""Both networks: sizes as published, equations by plain loops, clips that do or do not mix."""

import inspect
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from torch import nn

import lightser
from lightser.features.logmel import RelativeLogMel, Zhong2020LogMel
from lightser.models import MODELS, masking
from lightser.models.gru import BiGRU, bigru
from lightser.models.light_sernet import LightSernet
from lightser.models.masking import average_pool, frame_mask, silence_padding
from lightser.models.zhong2020 import Attention, Zhong2020

CLIPS = sorted((Path(lightser.__file__).parent / "samples").glob("*.flac"))
quick = settings(max_examples=30, deadline=None, derandomize=True)
PAPERS = ["light_sernet", "zhong2020"]
FRAMES = [40, 25, 61, 48]  # of the clips of different length, odd and even
MASKED = {
    "light_sernet": lambda: LightSernet(4, 40),
    "zhong2020, valid": lambda: Zhong2020(4, 40, masked=True),
    "zhong2020, same": lambda: Zhong2020(4, 40, masked=True, pooling="same"),
    "zhong2020, last states": lambda: Zhong2020(4, 40, masked=True, attention=False),
}


def settled(network):
    """Return a network in evaluation mode, with nothing at a value that hides a mistake."""
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        if parameter.ndim < 2:
            parameter.data = torch.empty_like(parameter).uniform_(0.2, 0.8, generator=generator)
    for name, buffer in network.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.uniform_(0.2, 0.8, generator=generator)
    return network.eval()


def count(network):
    return sum(p.numel() for p in network.parameters())


def batch_of(clips):
    lengths = torch.tensor([len(clip) for clip in clips])
    return nn.utils.rnn.pad_sequence(clips, batch_first=True), lengths


def random_clips(n_bands=40, frames=FRAMES):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(n, n_bands, generator=generator) for n in frames]


# ---- sizes


@pytest.mark.parametrize("n_blocks", range(1, 7))
def test_zhong_has_the_published_number_of_parameters(n_blocks):
    assert count(Zhong2020(4, n_blocks=n_blocks)) == 835_590 + 17_728 * (n_blocks - 1)


@pytest.mark.parametrize("n_blocks", range(1, 7))
def test_same_pooling_costs_one_more_band(n_blocks):
    network = Zhong2020(4, n_blocks=n_blocks, pooling="same")
    assert count(network) == 860_166 + 17_728 * (n_blocks - 1)


def test_a_gru_with_separate_directions_makes_it_1_70_million():
    separate = count(Zhong2020(4, n_blocks=4, shared=False))
    assert f"{separate / 1e6:.2f}" == "1.70"
    assert separate - 888_774 == 1984 * 384 + 128 * 384 + 384


@pytest.mark.parametrize(
    ("n_classes", "trained", "stored"), [(4, 460_740, 462_468), (7, 461_703, 463_431)]
)
def test_light_sernet_has_the_published_number_of_parameters(n_classes, trained, stored):
    network = LightSernet(n_classes)
    statistics = [b for name, b in network.named_buffers() if "running" in name]
    assert count(network) == trained
    assert trained + sum(b.numel() for b in statistics) == stored


def test_light_sernet_has_a_3_s_clip_in_6_by_5_cells_before_the_last_mean():
    shapes = []
    network = LightSernet(4)
    for part in (*network.paths[:1], *network.body):
        part.register_forward_hook(lambda _, __, out: shapes.append(tuple(out[0].shape[1:])))
    network.eval()(torch.zeros(1, 184, 40))
    assert shapes == [
        (32, 92, 20), (64, 46, 10), (96, 23, 5), (128, 12, 5), (160, 6, 5), (320, 6, 5),
    ]  # fmt: skip


def test_zhong_has_the_published_shapes():
    network = Zhong2020(4).eval()
    features = torch.zeros(1, 700, 128)
    stem = network.stem(features[:, None])
    assert stem.shape == (1, 32, 349, 63)
    assert network._pool(network.first(stem, None), None).shape == (1, 64, 174, 31)
    same = Zhong2020(4, pooling="same").eval()
    assert same._pool(same.first(stem, None), None).shape == (1, 64, 175, 32)


# ---- initial values and constants


def test_batch_norm_has_tensorflows_constants():
    norms = [m for m in LightSernet(4).modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == 8
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.01)}


def test_only_the_five_body_kernels_are_penalised():
    network = LightSernet(4)
    names = {id(p): name for name, p in network.named_parameters()}
    assert [names[id(p)] for p in network.penalized()] == [
        f"body.{i}.convolution.weight" for i in range(5)
    ]


def test_kernels_start_glorot_uniform_and_biases_at_zero():
    torch.manual_seed(0)
    for network in (LightSernet(7), Zhong2020(7)):
        for name, parameter in network.named_parameters():
            if name.endswith("bias") and "norm" not in name and not name.startswith(("gru", "att")):
                assert not parameter.any(), name
            if parameter.ndim == 4:
                n_out, n_in, height, width = parameter.shape
                if "depthwise" in name:  # counts all channels as inputs, one as output
                    n_in, n_out = n_out, 1
                limit = (6 / ((n_in + n_out) * height * width)) ** 0.5
                largest = parameter.abs().max().item()
                assert 0.9 * limit < largest <= limit, name


def test_gru_gates_start_open_and_candidates_at_zero():
    gru = BiGRU(8, 4, shared=True)
    assert gru.bias.tolist() == [[1.0] * 8 + [0.0] * 4]


# ---- the GRU against its equations


def loop_gru(x, kernel, recurrent, bias):
    """One direction, one clip, one step at a time: [F, N] to [F, H]."""

    def sigmoid(v):
        return 1 / (1 + np.exp(-v))

    n = recurrent.shape[0]
    h, states = np.zeros(n), []
    for step in x:
        r = sigmoid(step @ kernel[:, :n] + h @ recurrent[:, :n] + bias[:n])
        z = sigmoid(step @ kernel[:, n : 2 * n] + h @ recurrent[:, n : 2 * n] + bias[n : 2 * n])
        c = np.tanh(step @ kernel[:, 2 * n :] + (r * h) @ recurrent[:, 2 * n :] + bias[2 * n :])
        h = z * h + (1 - z) * c
        states.append(h)
    return np.array(states)


@pytest.mark.parametrize("shared", [True, False])
def test_the_gru_follows_its_equations_step_by_step(shared):
    rng = np.random.default_rng(0)
    sets, n_inputs, n_units = (1 if shared else 2), 5, 3
    kernel = rng.normal(size=(sets, n_inputs, 3 * n_units))
    recurrent = rng.normal(size=(sets, n_units, 3 * n_units))
    bias = rng.normal(size=(sets, 3 * n_units))
    x, lengths = rng.normal(size=(4, 9, n_inputs)), [9, 1, 6, 8]
    rows = np.concatenate([clip[:length] for clip, length in zip(x, lengths, strict=True)])
    ours = bigru(*map(torch.from_numpy, (rows, kernel, recurrent, bias)), torch.tensor(lengths), 9)
    for states, clip, length in zip(ours.numpy(), x, lengths, strict=True):
        forward = loop_gru(clip[:length], kernel[0], recurrent[0], bias[0])
        backward = loop_gru(clip[:length][::-1], kernel[-1], recurrent[-1], bias[-1])[::-1]
        np.testing.assert_allclose(states[:length], np.hstack([forward, backward]), atol=1e-12)
        assert not states[length:].any()


@pytest.mark.parametrize("shared", [True, False])
def test_gradients_of_the_gru_are_right(shared):
    torch.manual_seed(0)
    gru = BiGRU(3, 2, shared=shared).double()
    rows = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    weights = [p.detach().requires_grad_() for p in (gru.kernel, gru.recurrent, gru.bias)]
    lengths = torch.tensor([2, 4])
    assert torch.autograd.gradcheck(lambda *a: bigru(*a, lengths, 4), (rows, *weights))


def test_a_gradient_reaches_the_first_step_from_the_last():
    x = torch.randn(1, 200, 4, requires_grad=True)
    gru = BiGRU(4, 8, shared=True)
    gru(x)[0, -1, :8].sum().backward()
    assert x.grad[0, -1].abs().sum() > 0 and x.grad[0, 150].abs().sum() > 0


# ---- masks and pooling against plain loops


@given(n_frames=st.integers(1, 9), n_bands=st.integers(1, 7), seed=st.integers(0, 99))
@quick
def test_average_pooling_counts_only_the_cells_that_are_there(n_frames, n_bands, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2, 3, n_frames, n_bands))
    lengths = rng.integers(1, n_frames + 1, size=2)
    for size in ((2, 2), (2, 1)):
        expected = np.zeros((2, 3, -(-n_frames // 2), -(-n_bands // size[1])))
        for clip, length in enumerate(lengths):
            x[clip, :, length:] = 0
            for i in range(-(-length // 2)):
                for j in range(expected.shape[3]):
                    cells = x[
                        clip, :, 2 * i : min(2 * i + 2, length), size[1] * j : size[1] * (j + 1)
                    ]
                    expected[clip, :, i, j] = cells.mean(axis=(1, 2))
        pooled = average_pool(torch.from_numpy(x), torch.from_numpy(lengths), size)
        np.testing.assert_allclose(pooled.numpy(), expected, rtol=0, atol=1e-12)


def test_average_pooling_without_lengths_is_tensorflows_same():
    x = torch.arange(15.0).reshape(1, 1, 5, 3)
    assert average_pool(x, None, (2, 2))[0, 0].tolist() == [[2, 3.5], [8, 9.5], [12.5, 14]]


@pytest.mark.parametrize("n", range(3, 12))
def test_same_max_pooling_is_tensorflows(n):
    x = torch.randn(1, 2, n, n + 1, generator=torch.Generator().manual_seed(n))
    pooled = Zhong2020(2, pooling="same")._pool(x, None)
    before = [max(0, (-(-size // 2) - 1) * 2 + 3 - size) // 2 for size in (n, n + 1)]
    for i in range(pooled.shape[2]):
        for j in range(pooled.shape[3]):
            top, left = 2 * i - before[0], 2 * j - before[1]
            window = x[..., max(0, top) : top + 3, max(0, left) : left + 3]
            assert torch.equal(pooled[..., i, j], window.amax(dim=(2, 3)))
    assert pooled.shape[2:] == (-(-n // 2), -(-(n + 1) // 2))


def test_silence_behind_a_clip_is_zero_and_the_clip_is_left_alone():
    x = torch.randn(2, 3, 5, 4)
    silenced = silence_padding(x, torch.tensor([2, 5]))
    assert torch.equal(silenced[0, :, :2], x[0, :, :2]) and torch.equal(silenced[1], x[1])
    assert not silenced[0, :, 2:].any()
    assert silence_padding(x, None) is x


def test_attention_is_a_weighted_mean_of_the_true_steps():
    attention = Attention(6)
    x = torch.randn(2, 5, 6)
    mask = frame_mask(torch.tensor([3, 5]), 5)
    w, b, u = attention.score.weight[0], attention.score.bias, attention.scale
    for clip, length, ours in zip(x, (3, 5), attention(x, mask), strict=True):
        logits = torch.stack([u * torch.sigmoid(w @ step + b) for step in clip[:length]])
        weights = logits.exp() / logits.exp().sum()
        torch.testing.assert_close(ours, (weights * clip[:length]).sum(0))


# ---- clips in a batch


@pytest.mark.parametrize("name", MASKED)
def test_clips_of_different_length_do_not_mix_in_masked_mode(name):
    network, clips = settled(MASKED[name]()), random_clips()
    alone = torch.cat([network(clip[None]) for clip in clips])
    torch.testing.assert_close(network(*batch_of(clips)), alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", MASKED)
def test_what_lies_behind_a_clip_is_not_heard_in_masked_mode(name):
    network, clips = settled(MASKED[name]()), random_clips()
    features, lengths = batch_of(clips)
    quiet = network(features, lengths)
    noisy = features.clone()
    for row, length in zip(noisy, lengths, strict=True):
        row[length:] = 100.0
    torch.testing.assert_close(network(noisy, lengths), quiet, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pooling", ["valid", "same"])
def test_clips_do_mix_in_zhongs_faithful_mode(pooling):
    # A trap of the published code, kept on purpose: answers depend on the batch's longest clip.
    network = settled(Zhong2020(4, 40, pooling=pooling))
    clips = random_clips()
    alone = torch.cat([network(clip[None]) for clip in clips])
    together = network(*batch_of(clips))
    longest = int(np.argmax(FRAMES))
    torch.testing.assert_close(together[longest], alone[longest], rtol=1e-4, atol=1e-5)
    for i in range(len(clips)):
        assert i == longest or (together[i] - alone[i]).abs().max() > 1e-3


@pytest.mark.parametrize("longest", range(203, 207))  # the pooling's grid depends on it
@pytest.mark.parametrize("attention", [True, False])
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("pooling", ["valid", "same"])
@pytest.mark.parametrize("n_blocks", [1, 4])
def test_to_compute_clips_of_like_length_together_changes_nothing(
    n_blocks, pooling, masked, attention, longest, monkeypatch
):
    network = settled(
        Zhong2020(4, 20, n_blocks=n_blocks, pooling=pooling, masked=masked, attention=attention)
    )
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 1:  # biases, so that padding does not stay zero
                parameter.normal_(std=0.3, generator=torch.Generator().manual_seed(0))
    features, lengths = batch_of(random_clips(20, [7, 40, longest, 45, 90, 95]))
    by_length = network(features, lengths)
    monkeypatch.setattr(masking, "UNLIKE", 1000)
    torch.testing.assert_close(network(features, lengths), by_length, rtol=1e-4, atol=1e-5)
    # in a stack whose longest clips, of other batches, are longer
    stacked = masking.Stacked(torch.full((6,), longest), ((3, 48), (2, 99), (1, 222)))
    further = nn.functional.pad(features, (0, 0, 0, 222 - longest))
    if pooling == "same" and not masked:
        with pytest.raises(NotImplementedError, match="grid"):
            network(further, lengths, stacked)
    else:
        told = network(further, lengths, stacked)
        torch.testing.assert_close(told, by_length, rtol=1e-4, atol=1e-5)


def test_faithful_attention_weighs_the_zeros_behind_a_clip():
    network = settled(Zhong2020(4, 40))
    with torch.no_grad():
        network.attention.scale.zero_()  # uniform weights: a mean over all steps of the batch
    seen = []
    network.attention.register_forward_hook(lambda _, inputs, out: seen.append((inputs, out)))
    network(*batch_of(random_clips()))
    (states, mask), pooled = seen[0]
    assert mask is None
    torch.testing.assert_close(pooled, states.mean(dim=1))
    assert not states[1, 10:].any()  # 25 frames leave 5 of 14 steps


@pytest.mark.parametrize("name", MASKED)
def test_gradients_of_a_padded_batch_are_those_of_its_clips(name):
    network, clips = settled(MASKED[name]()), random_clips()
    network(*batch_of(clips)).square().sum().backward()
    together = [p.grad.clone() for p in network.parameters()]
    network.zero_grad()
    for clip in clips:
        network(clip[None]).square().sum().backward()
    for (parameter_name, parameter), gradient in zip(
        network.named_parameters(), together, strict=True
    ):
        scale = parameter.grad.abs().max().item()
        torch.testing.assert_close(
            gradient, parameter.grad, rtol=1e-3, atol=1e-4 * max(scale, 1e-3), msg=parameter_name
        )


# ---- what every network promises


@pytest.mark.parametrize("name", MODELS)
def test_every_network_turns_features_into_logits(name):
    n_bands = inspect.signature(MODELS[name]).parameters["n_bands"].default
    network = MODELS[name](n_classes=5, n_bands=n_bands).eval()
    with torch.no_grad():
        logits = network(torch.randn(2, network.min_frames, n_bands))
    assert logits.shape == (2, 5) and torch.isfinite(logits).all()


# ---- what both papers' networks promise


@pytest.mark.parametrize("name", PAPERS)
def test_both_networks_take_any_length_from_their_fewest_frames_on(name):
    network = MODELS[name](n_classes=5, n_bands=40).eval()
    for n_frames in (*range(network.min_frames, network.min_frames + 9), 184, 333):
        logits = network(torch.randn(2, n_frames, 40))
        assert logits.shape == (2, 5) and torch.isfinite(logits).all()


@pytest.mark.parametrize("options", [{}, {"pooling": "same"}])
def test_zhong_does_not_take_fewer_frames_than_it_says(options):
    network = Zhong2020(5, 40, **options)
    with pytest.raises(RuntimeError):
        network(torch.randn(1, network.min_frames - 1, 40))


@pytest.mark.parametrize("name", PAPERS)
def test_every_parameter_of_both_networks_learns(name):
    network = settled(MODELS[name](n_classes=5, n_bands=40))
    nn.functional.cross_entropy(network(torch.randn(4, 61, 40)), torch.arange(4)).backward()
    for parameter_name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, parameter_name


@pytest.mark.parametrize("name", PAPERS)
def test_both_networks_have_an_embedding_before_their_classifier(name):
    network = settled(MODELS[name](n_classes=5, n_bands=40))
    features = torch.randn(2, 61, 40)
    embedding = network.forward_features(features)
    torch.testing.assert_close(network.classifier(embedding), network(features))


@pytest.mark.parametrize("name", PAPERS)
def test_the_same_seed_gives_the_same_network(name):
    states = []
    for _ in range(2):
        torch.manual_seed(7)
        states.append(MODELS[name](n_classes=5, n_bands=40).state_dict())
    for key in states[0]:
        assert torch.equal(states[0][key], states[1][key]), key


def test_an_unknown_pooling_is_refused():
    with pytest.raises(ValueError, match="'valid' or 'same', not 'full'"):
        Zhong2020(4, pooling="full")


# ---- learning


def real_cuts(frontend):
    """Return features of one-second cuts of three real clips, and whose each is."""
    features, labels = [], []
    for label, clip in enumerate(CLIPS):
        samples, rate = soundfile.read(clip, dtype="float32")
        for start in (0, len(samples) - rate):
            cut = torch.from_numpy(samples[start : start + rate])
            with torch.no_grad():
                features.append(frontend(cut[None])[0])
            labels.append(label)
    x = torch.stack(features)
    return (x - x.mean(dim=(0, 1))) / (x.std(dim=(0, 1)) + 1e-5), torch.tensor(labels)


@pytest.mark.parametrize("name", PAPERS)
def test_both_networks_learn_a_handful_of_real_clips_by_heart(name):
    frontend = RelativeLogMel(window_s=1.0) if name == "light_sernet" else Zhong2020LogMel()
    features, labels = real_cuts(frontend)
    torch.manual_seed(0)
    network = MODELS[name](n_classes=3, n_bands=features.shape[2])
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    with torch.no_grad():
        before = nn.functional.cross_entropy(network(features), labels).item()
    for _ in range(40):
        loss = nn.functional.cross_entropy(network(features), labels)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        if loss.item() < 0.05:
            break
    assert before > 0.5 and loss.item() < 0.05
    assert torch.equal(network(features).argmax(dim=1), labels)
