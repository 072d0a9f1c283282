"""Losses: values worked out by hand, each other at their limits, levels of agreement, gradients."""

import inspect
import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import nn

from lightser.errors import BadRecipe, UnknownName
from lightser.losses import LOSSES
from lightser.losses.cross_entropy import CrossEntropy
from lightser.losses.focal import Focal, FocalByAgreement
from lightser.losses.generalized_ce import GeneralizedCrossEntropy
from lightser.losses.options import check_options
from lightser.losses.sample_loss import SampleLoss, by_level, class_weights
from lightser.losses.soft_bootstrap import SoftBootstrap, ZhongSoft

quick = settings(max_examples=40, deadline=None, derandomize=True)
# Softmax of these is exactly 1/2, 1/4, 1/4 and 1/8, 3/8, 1/2.
LOGITS = torch.tensor([[0.5, 0.25, 0.25], [0.125, 0.375, 0.5]], dtype=torch.float64).log()
LABELS = torch.tensor([0, 1])
P = [1 / 2, 3 / 8]  # of the true class
WEIGHTS = torch.tensor([1.0, 3.0, 2.0], dtype=torch.float64)


def of_each(loss, logits=LOGITS, labels=LABELS, agreement=None):
    """Return the loss of each clip on its own."""
    rows = range(len(labels))
    shares = [None if agreement is None else agreement[i : i + 1] for i in rows]
    return [loss(logits[i : i + 1], labels[i : i + 1], shares[i]).item() for i in rows]


def random_batch(seed, n_clips=12, n_classes=5, scale=3.0):
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(n_clips, n_classes, generator=generator, dtype=torch.float64)
    labels = torch.randint(n_classes, (n_clips,), generator=generator)
    agreement = torch.rand(n_clips, generator=generator, dtype=torch.float64)
    agreement[::3] = 1.0
    return logits, labels, agreement


# ---- values worked out by hand


def test_cross_entropy_is_minus_log_p():
    assert of_each(CrossEntropy()) == pytest.approx([math.log(2), math.log(8 / 3)])


def test_label_smoothing_spreads_a_share_of_the_target_over_all_classes():
    target = [0.9 + 0.1 / 3, 0.1 / 3, 0.1 / 3]
    expected = -sum(t * math.log(p) for t, p in zip(target, (0.5, 0.25, 0.25), strict=True))
    assert of_each(CrossEntropy(label_smoothing=0.1))[0] == pytest.approx(expected)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 5.0])
def test_focal_scales_cross_entropy_by_a_power_of_what_is_missing(gamma):
    assert of_each(Focal(gamma=gamma)) == pytest.approx(
        [-((1 - p) ** gamma) * math.log(p) for p in P]
    )


@pytest.mark.parametrize("q", [0.1, 0.7, 1.0])
def test_generalized_cross_entropy_is_the_box_cox_of_p(q):
    assert of_each(GeneralizedCrossEntropy(q=q)) == pytest.approx([(1 - p**q) / q for p in P])


@pytest.mark.parametrize("beta", [0.3, 0.95])
@pytest.mark.parametrize("detach", [False, True])
def test_soft_bootstrap_leans_the_target_towards_the_belief(beta, detach):
    def entropy(p):
        return -sum(x * math.log(x) for x in p)

    belief = [entropy((1 / 2, 1 / 4, 1 / 4)), entropy((1 / 8, 3 / 8, 1 / 2))]
    expected = [-beta * math.log(p) + (1 - beta) * h for p, h in zip(P, belief, strict=True)]
    assert of_each(SoftBootstrap(beta=beta, detach=detach)) == pytest.approx(expected)


def test_the_truncated_loss_is_constant_at_and_below_its_threshold():
    loss = GeneralizedCrossEntropy(q=0.7, truncate=0.5)
    ceiling = (1 - 0.5**0.7) / 0.7
    assert of_each(loss) == pytest.approx([ceiling, ceiling])
    logits = LOGITS.clone().requires_grad_()
    loss(logits[1:], LABELS[1:]).backward()
    assert not logits.grad.any()  # 3/8 is below 1/2: it teaches nothing
    sure = torch.tensor([[0.8, 0.1, 0.1]], dtype=torch.float64).log()
    assert loss(sure, LABELS[:1]).item() == pytest.approx((1 - 0.8**0.7) / 0.7)


@pytest.mark.parametrize("lq", [False, True])
def test_zhongs_code_adds_the_belief_at_every_level(lq):
    # Level A: t = y + share p; B: b y + share p; C: c y + share p, with one share for all.
    b, c = 0.6, 0.2
    share = (1 - b) + ((1 - c) if lq else 0)
    belief = -sum(p * math.log(p) for p in (1 / 2, 1 / 4, 1 / 4))
    logits, labels = LOGITS[[0, 0, 0]], LABELS[[0, 0, 0]]
    values = of_each(ZhongSoft(b=b, c=c, lq=lq), logits, labels, torch.tensor([1.0, 0.7, 0.5]))
    expected = [trust * math.log(2) + share * belief for trust in (1, b, c)]
    assert values == pytest.approx(expected)


# ---- each other, at their limits


@given(seed=st.integers(0, 1000))
@quick
def test_at_their_limits_all_losses_are_cross_entropy(seed):
    logits, labels, agreement = random_batch(seed)
    expected = nn.functional.cross_entropy(logits, labels).item()
    for loss in (
        CrossEntropy(),
        Focal(gamma=0),
        FocalByAgreement(a=0, b=0, c=0),
        GeneralizedCrossEntropy(q=1e-9),
        SoftBootstrap(beta=1),
        ZhongSoft(b=1, c=1),
    ):
        assert loss(logits, labels, agreement).item() == pytest.approx(expected, rel=1e-6), loss


@given(seed=st.integers(0, 1000))
@quick
def test_generalized_cross_entropy_with_q_1_is_what_is_missing(seed):
    logits, labels, _ = random_batch(seed)
    missing = 1 - logits.softmax(1).gather(1, labels[:, None]).mean().item()
    assert GeneralizedCrossEntropy(q=1)(logits, labels).item() == pytest.approx(missing)


@given(seed=st.integers(0, 1000), q=st.floats(0.01, 1))
@quick
def test_generalized_cross_entropy_lies_between_its_limits(seed, q):
    logits, labels, _ = random_batch(seed)
    low, value, high = (
        loss(logits, labels).item()
        for loss in (GeneralizedCrossEntropy(q=1), GeneralizedCrossEntropy(q=q), CrossEntropy())
    )
    assert low - 1e-9 <= value <= high + 1e-9


# ---- levels of agreement


@pytest.mark.parametrize(
    ("share", "level"),
    [(1.0, 0), (0.99, 1), (0.65, 1), (0.6499, 2), (0.5, 2), (2 / 3, 1), (0.0, 2)],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_levels_begin_at_1_and_at_0_65(share, level, dtype):
    values = [torch.tensor([float(i)]) for i in range(3)]
    assert by_level(torch.tensor([share], dtype=dtype), *values).item() == level


def test_focal_by_agreement_has_an_exponent_for_each_level():
    logits, labels = LOGITS[[0, 0, 0]], LABELS[[0, 0, 0]]
    values = of_each(FocalByAgreement(a=0, b=1, c=3), logits, labels, torch.tensor([1.0, 0.7, 0.5]))
    assert values == pytest.approx([math.log(2), math.log(2) / 2, math.log(2) / 8])


def test_a_corpus_with_many_listeners_divides_the_lower_levels_elsewhere():
    logits, labels, agreement = LOGITS[[0, 0]], LABELS[[0, 0]], torch.tensor([0.9, 0.85])
    loss = FocalByAgreement(b=1, c=3, medium=0.9)
    assert of_each(loss, logits, labels, agreement) == pytest.approx(
        [0.5 * math.log(2), 0.5**3 * math.log(2)]
    )


@pytest.mark.parametrize("make", [SoftBootstrap, GeneralizedCrossEntropy])
def test_a_selective_loss_keeps_cross_entropy_where_all_agree(make):
    logits, labels, agreement = random_batch(5)
    agrees = agreement == 1
    selective = of_each(make(levels=True), logits, labels, agreement)
    plain, clean = of_each(make(), logits, labels), of_each(CrossEntropy(), logits, labels)
    assert agrees.any() and not agrees.all()
    assert selective == pytest.approx(
        [c if agree else p for agree, c, p in zip(agrees, clean, plain, strict=True)]
    )


BY_LEVEL = [
    FocalByAgreement(),
    ZhongSoft(),
    SoftBootstrap(levels=True),
    GeneralizedCrossEntropy(levels=True),
]


@pytest.mark.parametrize("loss", BY_LEVEL, ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize("agreement", [None, torch.tensor([1.0, math.nan])])
def test_a_loss_by_level_refuses_clips_whose_agreement_is_unknown(loss, agreement):
    with pytest.raises(BadRecipe, match=r"needs the annotators' agreement"):
        loss(LOGITS, LABELS, agreement)


@pytest.mark.parametrize(
    "loss", [CrossEntropy(), Focal(), SoftBootstrap(), GeneralizedCrossEntropy()],
    ids=lambda loss: type(loss).__name__,
)  # fmt: skip
def test_a_plain_loss_does_not_look_at_agreement(loss):
    unknown = torch.full((2,), math.nan)
    assert loss(LOGITS, LABELS, unknown).item() == loss(LOGITS, LABELS).item()


# ---- class weights


def test_class_weights_are_the_largest_count_over_each_count_and_a_half():
    weights = class_weights(torch.tensor([100.0, 50.0, 0.0]))
    assert weights.tolist() == pytest.approx([100 / 100.5, 100 / 50.5, 200])


@given(seed=st.integers(0, 1000))
@quick
def test_weighted_cross_entropy_is_pytorchs(seed):
    logits, labels, _ = random_batch(seed, n_classes=3)
    ours = CrossEntropy(WEIGHTS)(logits, labels).item()
    assert ours == pytest.approx(nn.functional.cross_entropy(logits, labels, WEIGHTS).item())


@pytest.mark.parametrize("name", LOSSES)
def test_the_value_of_a_batch_is_the_weighted_mean_of_its_clips(name):
    logits, labels, agreement = random_batch(3, n_classes=3)
    values = of_each(LOSSES[name](), logits, labels, agreement)
    weights = WEIGHTS[labels].tolist()
    expected = sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)
    assert LOSSES[name](WEIGHTS)(logits, labels, agreement).item() == pytest.approx(expected)
    mean = sum(values) / len(values)
    assert LOSSES[name]()(logits, labels, agreement).item() == pytest.approx(mean)


# ---- what every loss promises


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_stays_finite_with_its_gradient_however_sure_the_network_is(name):
    for scale in (1e-3, 30.0, 1e3):
        for wrong in (0, 1):
            logits = (scale * torch.eye(3))[[0, 1, 2]].requires_grad_()
            labels = (torch.arange(3) + wrong) % 3
            value = LOSSES[name]()(logits, labels, torch.tensor([1.0, 0.7, 0.5]))
            value.backward()
            assert torch.isfinite(value) and torch.isfinite(logits.grad).all()
            assert value >= 0


def test_focal_has_a_gradient_where_its_power_has_none():
    logits = torch.tensor([[200.0, 0.0]], requires_grad=True)
    Focal(gamma=0.5)(logits, torch.tensor([0])).backward()
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_of_every_loss_are_right(name):
    logits, labels, agreement = random_batch(1, n_clips=6, scale=1.0)
    loss = LOSSES[name](torch.linspace(1, 2, 5, dtype=torch.float64))
    assert torch.autograd.gradcheck(
        lambda x: loss(x, labels, agreement), logits.requires_grad_(), atol=1e-7
    )


def test_a_detached_belief_gives_the_gradient_of_a_fixed_target():
    logits = LOGITS.clone().requires_grad_()
    SoftBootstrap(beta=0.3, detach=True)(logits, LABELS).backward()
    p = LOGITS.exp()
    target = 0.3 * nn.functional.one_hot(LABELS, 3) + 0.7 * p
    torch.testing.assert_close(logits.grad, (p - target) / len(LABELS))
    flowing = LOGITS.clone().requires_grad_()
    SoftBootstrap(beta=0.3)(flowing, LABELS).backward()
    assert not torch.allclose(flowing.grad, logits.grad)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_is_a_sample_loss_with_weights_that_move_with_it(name):
    loss = LOSSES[name](WEIGHTS)
    assert isinstance(loss, SampleLoss)
    assert loss.to(torch.float32).class_weights.dtype == torch.float32
    assert loss(LOGITS, LABELS, torch.ones(2)).shape == ()


@pytest.mark.parametrize("q", [0.0, -0.5, 1.5])
def test_a_q_outside_its_range_is_refused(q):
    with pytest.raises(ValueError, match=rf"q must be in \(0, 1\], not {q}"):
        GeneralizedCrossEntropy(q=q)


@pytest.mark.parametrize(
    ("make", "options", "answer"),
    [
        (CrossEntropy, {"label_smoothing": 1.5}, "label_smoothing must be from 0 to 1, not 1.5"),
        (CrossEntropy, {"label_smoothing": -0.1}, "label_smoothing must be from 0 to 1, not -0.1"),
        (Focal, {"gamma": -1}, "gamma must be 0 or more, not -1"),
        (Focal, {"gamma": math.nan}, "gamma must be 0 or more, not nan"),
        (FocalByAgreement, {"a": -1}, "a must be 0 or more, not -1"),
        (FocalByAgreement, {"c": -2}, "c must be 0 or more, not -2"),
        (FocalByAgreement, {"medium": 1.2}, "medium is a share of the votes, from 0 to 1, not 1.2"),
        (GeneralizedCrossEntropy, {"truncate": 1.0}, "truncate must be in [0, 1), not 1.0"),
        (SoftBootstrap, {"beta": 2.0}, "beta must be from 0 to 1, not 2.0"),
    ],
)
def test_a_constant_outside_its_range_is_refused(make, options, answer):
    with pytest.raises(ValueError) as caught:
        make(**options)
    assert str(caught.value) == answer


@pytest.mark.parametrize("name", LOSSES)
def test_every_option_of_every_loss_is_a_number_or_a_switch_that_recipes_can_set(name):
    parameters = inspect.signature(LOSSES[name]).parameters
    options = {key: p.default for key, p in parameters.items() if key != "class_weights"}
    assert options
    for key, value in options.items():
        check_options(name, {} if value is None else {key: value})
        with pytest.raises(BadRecipe, match=rf"^loss\.{key} must be (a number|true or false), not"):
            check_options(name, {key: "two"})


def test_class_weights_are_no_option_because_they_come_from_the_training_part():
    with pytest.raises(UnknownName, match="option of loss 'focal' 'class_weights'"):
        check_options("focal", {"class_weights": [1.0, 2.0]})


def test_an_unknown_loss_is_answered_with_the_nearest():
    with pytest.raises(UnknownName, match="did you mean 'focal'"):
        LOSSES["focall"]
