import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightser import metrics
from lightser.errors import LightserError

SEEDS = range(20)


def draw(seed, *, n=None, n_classes=None):
    """Return truth, predictions and probabilities of a classifier that is right more than not."""
    rng = np.random.default_rng(seed)
    n_classes = n_classes or int(rng.integers(2, 9))
    n = n or int(rng.integers(1, 300))
    # Some classes never occur in the truth, some never in the predictions.
    truth = rng.choice(n_classes, size=n, p=rng.dirichlet(np.full(n_classes, 0.5)))
    logits = rng.normal(size=(n, n_classes)) + 1.5 * np.eye(n_classes)[truth]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return truth, probabilities.argmax(axis=1), probabilities, n_classes


# --- agreement with scikit-learn ---


@pytest.mark.parametrize("seed", SEEDS)
def test_scores_equal_those_of_scikit_learn(seed):
    reference = pytest.importorskip("sklearn.metrics")
    truth, predicted, _, n_classes = draw(seed)
    matrix = metrics.confusion(truth, predicted, n_classes)
    every = list(range(n_classes))

    np.testing.assert_array_equal(
        matrix, reference.confusion_matrix(truth, predicted, labels=every)
    )
    present = np.unique(truth)
    expected_ua = reference.recall_score(
        truth, predicted, labels=present, average="macro", zero_division=0
    )
    assert metrics.ua(matrix) == pytest.approx(expected_ua)
    assert metrics.wa(matrix) == pytest.approx(reference.accuracy_score(truth, predicted))
    for ours, average in [(metrics.macro_f1, "macro"), (metrics.weighted_f1, "weighted")]:
        expected = reference.f1_score(truth, predicted, average=average, zero_division=0)
        assert ours(matrix) == pytest.approx(expected)
    expected_recalls = reference.recall_score(
        truth, predicted, labels=every, average=None, zero_division=np.nan
    )
    np.testing.assert_allclose(metrics.recalls(matrix), expected_recalls)


@pytest.mark.parametrize("seed", SEEDS)
def test_ua_is_balanced_accuracy(seed):
    reference = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(seed)
    truth = np.concatenate([np.arange(4), rng.integers(0, 4, 50)])  # each class occurs
    predicted = rng.integers(0, 4, 54)
    expected = reference.balanced_accuracy_score(truth, predicted)
    assert metrics.ua(metrics.confusion(truth, predicted, 4)) == pytest.approx(expected)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_calibration_error_equals_a_plain_loop_over_bins(seed):
    truth, predicted, probabilities, _ = draw(seed)
    confidence = probabilities.max(axis=1)
    expected = 0.0
    for low, high in itertools.pairwise(np.linspace(0, 1, 11)):
        here = (confidence > low) & (confidence <= high)
        if here.any():
            accuracy = (truth[here] == predicted[here]).mean()
            expected += here.mean() * abs(accuracy - confidence[here].mean())
    assert metrics.calibration_error(probabilities, truth, bins=10) == pytest.approx(expected)


# --- what the words mean ---


def test_ua_leaves_out_a_class_that_is_never_true():
    # Two of two and one of two; the third class is predicted once and never true.
    matrix = [[2, 0, 0], [0, 1, 1], [0, 0, 0]]
    assert metrics.ua(matrix) == 0.75
    assert math.isnan(metrics.recalls(matrix)[2])
    # Its F1 is 0 and counts: (1 + 2/3 + 0) / 3.
    assert metrics.macro_f1(matrix) == pytest.approx((1 + 2 / 3) / 3)


def test_the_published_confusion_matrix_of_light_sernet_gives_its_published_scores():
    # Emo-DB, focal loss: rows fear, sadness, disgust, boredom, happiness, anger, neutral,
    # from the printed recalls (four decimals) times the row totals that they imply.
    totals = [143, 142, 95, 154, 134, 248, 154]
    printed = [
        [0.9650, 0, 0, 0, 0.0280, 0, 0.0070],
        [0, 0.9859, 0, 0.0070, 0, 0, 0.0070],
        [0.0211, 0.0316, 0.9263, 0.0211, 0, 0, 0],
        [0, 0.0195, 0.0130, 0.9221, 0, 0, 0.0455],
        [0.0896, 0, 0.0149, 0, 0.8209, 0.0672, 0.0075],
        [0.0121, 0, 0.0040, 0, 0.0444, 0.9395, 0],
        [0, 0.0195, 0.0065, 0.0325, 0, 0, 0.9416],
    ]
    matrix = np.rint(np.array(printed) * np.array(totals)[:, None]).astype(int)
    assert matrix.sum(axis=1).tolist() == totals
    assert matrix.sum() == 1070
    percent = {name: round(100 * float(score(matrix)), 2) for name, score in metrics.SCORES.items()}
    assert percent == {"ua": 92.88, "wa": 93.08, "macro_f1": 92.75, "weighted_f1": 93.05}


def test_pooled_and_fold_mean_differ_where_folds_differ_in_size():
    truth, predicted = [0, 0, 0, 1, 0], [0, 0, 0, 0, 1]
    folds = ["a", "a", "a", "a", "b"]
    assert metrics.pooled(truth, predicted, 2)["wa"] == 0.6
    by_fold = metrics.fold_mean(truth, predicted, folds, 2)
    assert by_fold["wa"]["mean"] == pytest.approx((0.75 + 0) / 2)
    assert by_fold["wa"]["std"] == pytest.approx(np.std([0.75, 0], ddof=1))


def test_a_single_fold_has_no_deviation():
    assert metrics.fold_mean([0, 1], [0, 1], ["a", "a"], 2)["ua"] == {"mean": 1.0, "std": 0.0}


def test_scores_count_calibration_only_where_there_are_probabilities():
    truth, predicted, probabilities, n_classes = draw(0)
    without = metrics.scores(truth, predicted, n_classes)
    with_them = metrics.scores(truth, predicted, n_classes, probabilities=probabilities)
    assert set(with_them) - set(without) == {"ece"}
    assert with_them["ece"] == metrics.calibration_error(probabilities, truth)


def test_a_classifier_that_is_as_sure_as_it_is_right_has_no_calibration_error():
    probabilities = np.tile([0.75, 0.25], (400, 1))
    truth = np.tile([0, 0, 0, 1], 100)
    assert metrics.calibration_error(probabilities, truth) == pytest.approx(0)
    assert metrics.calibration_error(probabilities, 1 - truth) == pytest.approx(0.5)


def test_reliability_bins_hold_every_prediction_even_at_0_and_1():
    table = metrics.reliability([[1.0, 0.0], [0.5, 0.5], [0.0, 0.0]], [0, 1, 0], bins=4)
    assert table.counts.tolist() == [1, 1, 0, 1]
    assert table.confidence[3] == 1
    assert np.isnan(table.accuracy[2])


@given(st.integers(0, 10_000))
@settings(max_examples=50, deadline=None)
def test_scores_lie_between_0_and_1_and_relabelling_does_not_change_them(seed):
    truth, predicted, _, n_classes = draw(seed)
    matrix = metrics.confusion(truth, predicted, n_classes)
    order = np.random.default_rng(seed).permutation(n_classes)
    for score in (metrics.ua, metrics.wa, metrics.macro_f1, metrics.weighted_f1):
        assert 0 <= score(matrix) <= 1
        assert score(matrix[np.ix_(order, order)]) == pytest.approx(score(matrix))


# --- intervals ---


def slow_interval(truth, predicted, groups, score, n, rng, n_classes):
    """Resample groups by drawing their names and putting their utterances together."""
    names = np.unique(groups)
    values = []
    for _ in range(n):
        rows = np.concatenate(
            [np.flatnonzero(groups == name) for name in rng.choice(names, size=len(names))]
        )
        values.append(score(metrics.confusion(truth[rows], predicted[rows], n_classes)))
    return np.percentile(values, [2.5, 97.5])


@pytest.mark.parametrize("name", metrics.SCORES)
def test_the_interval_over_speakers_equals_resampling_them_one_by_one(name):
    truth, predicted, _, n_classes = draw(3, n=400, n_classes=4)
    speakers = np.random.default_rng(4).integers(0, 8, size=400)
    # Both are estimates from draws; at this many they agree to a fraction of a per cent.
    fast = metrics.interval_over_speakers(
        truth, predicted, speakers, name, 20_000, np.random.default_rng(1), n_classes=n_classes
    )
    slow = slow_interval(
        truth,
        predicted,
        speakers,
        getattr(metrics, name),
        4000,
        np.random.default_rng(2),
        n_classes,
    )
    np.testing.assert_allclose(fast, slow, atol=0.005)


def test_a_score_can_be_a_function_of_a_matrix():
    truth, predicted, _, _ = draw(5, n=100, n_classes=3)
    speakers = np.arange(100) % 5
    by_name = metrics.interval_over_speakers(truth, predicted, speakers, "macro_f1", 300)
    by_function = metrics.interval_over_speakers(truth, predicted, speakers, metrics.macro_f1, 300)
    assert by_name == pytest.approx(by_function)


def test_the_interval_over_speakers_is_wider_where_speakers_differ():
    rng = np.random.default_rng(0)
    speakers = np.repeat(np.arange(10), 50)
    truth = rng.integers(0, 2, size=500)
    skill = np.linspace(0.5, 1, 10)[speakers]  # some voices are easy, some are not
    predicted = np.where(rng.random(500) < skill, truth, 1 - truth)
    over_speakers = metrics.interval_over_speakers(truth, predicted, speakers, "wa")
    over_utterances = metrics.interval_over_utterances(truth, predicted, "wa")
    assert np.diff(over_speakers) > 1.5 * np.diff(over_utterances)


def test_repeated_predictions_of_an_utterance_do_not_narrow_its_interval():
    truth, predicted, _, _ = draw(6, n=200, n_classes=4)
    utterances = np.arange(200)
    once = metrics.interval_over_utterances(truth, predicted, "wa", 20_000)
    five_seeds = metrics.interval_over_utterances(
        np.tile(truth, 5), np.tile(predicted, 5), "wa", 20_000, utterances=np.tile(utterances, 5)
    )
    assert five_seeds == pytest.approx(once)
    naive = metrics.interval_over_utterances(np.tile(truth, 5), np.tile(predicted, 5), "wa")
    assert np.diff(naive) < 0.6 * np.diff(once)


def test_the_interval_covers_the_true_accuracy_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    truth = np.zeros(200, dtype=int)
    covered = 0
    for _ in range(300):
        predicted = (rng.random(200) > 0.8).astype(int)
        low, high = metrics.interval_over_utterances(truth, predicted, "wa", 500, rng, n_classes=2)
        covered += low <= 0.8 <= high
    # 285 expected, with a deviation of 3.8; the percentile interval is a little narrow.
    assert 270 <= covered <= 297


def test_one_speaker_has_no_interval():
    low, high = metrics.interval_over_speakers([0, 1], [0, 1], ["a", "a"])
    assert math.isnan(low)
    assert math.isnan(high)


def test_the_same_generator_gives_the_same_interval():
    truth, predicted, _, _ = draw(7, n=100)
    speakers = np.arange(100) % 7
    first, again = (
        metrics.interval_over_speakers(
            truth, predicted, speakers, "ua", 500, np.random.default_rng(9)
        )
        for _ in range(2)
    )
    assert first == again


# --- two systems ---


def test_the_exact_permutation_test_equals_swapping_speaker_by_speaker():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 120)
    speakers = np.repeat(np.arange(6), 20)
    a = np.where(rng.random(120) < 0.8, truth, rng.integers(0, 3, 120))
    b = np.where(rng.random(120) < 0.7, truth, rng.integers(0, 3, 120))

    def difference(first, second):
        return metrics.ua(metrics.confusion(truth, first, 3)) - metrics.ua(
            metrics.confusion(truth, second, 3)
        )

    seen = difference(a, b)
    as_large = 0
    for swap in itertools.product([False, True], repeat=6):
        swapped = np.array(swap)[speakers]
        delta = difference(np.where(swapped, b, a), np.where(swapped, a, b))
        as_large += abs(delta) >= abs(seen) - 1e-12
    result = metrics.paired_test(truth, a, b, speakers)
    assert result.exact
    assert result.difference == pytest.approx(seen)
    assert result.p_permutation == as_large / 64


def test_sampled_swaps_agree_with_all_swaps(monkeypatch):
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 3, 200)
    speakers = np.repeat(np.arange(10), 20)
    a = np.where(rng.random(200) < 0.75, truth, 0)
    b = np.where(rng.random(200) < 0.65, truth, 1)
    exact = metrics.paired_test(truth, a, b, speakers)
    monkeypatch.setattr(metrics, "EXACT_SPEAKERS", 0)
    sampled = metrics.paired_test(truth, a, b, speakers, n=20_000)
    assert exact.exact
    assert not sampled.exact
    assert sampled.p_permutation == pytest.approx(exact.p_permutation, abs=0.02)


def test_a_system_does_not_differ_from_itself():
    truth, predicted, _, n_classes = draw(8, n=100)
    result = metrics.paired_test(
        truth, predicted, predicted, np.arange(100) % 6, n_classes=n_classes
    )
    assert result.difference == 0
    assert result.interval == (0, 0)
    assert (result.p_permutation, result.p_bootstrap, result.p_mcnemar) == (1, 1, 1)


def test_swapping_the_systems_turns_the_difference_round():
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 4, 300)
    speakers = rng.integers(0, 9, 300)
    a = np.where(rng.random(300) < 0.8, truth, 0)
    b = np.where(rng.random(300) < 0.6, truth, 0)
    one = metrics.paired_test(truth, a, b, speakers)
    other = metrics.paired_test(truth, b, a, speakers)
    assert one.difference == -other.difference > 0
    assert one.interval == pytest.approx((-other.interval[1], -other.interval[0]))
    assert one.p_permutation == other.p_permutation
    assert (one.only_a, one.only_b) == (other.only_b, other.only_a)


def test_under_the_null_small_p_values_are_as_rare_as_they_should_be():
    rng = np.random.default_rng(3)
    speakers = np.repeat(np.arange(8), 10)
    rejected = 0
    for _ in range(300):
        truth = rng.integers(0, 2, 80)
        a, b = (np.where(rng.random(80) < 0.7, truth, 1 - truth) for _ in range(2))
        rejected += metrics.paired_test(truth, a, b, speakers, n=10, rng=rng).p_permutation <= 0.05
    assert rejected <= 27  # 15 expected at most, with a deviation of 3.8


@pytest.mark.parametrize("only_a, only_b", [(0, 0), (1, 0), (5, 0), (7, 3), (12, 12), (40, 25)])
def test_mcnemar_equals_the_binomial_test(only_a, only_b):
    stats = pytest.importorskip("scipy.stats")
    expected = 1.0
    if only_a + only_b:
        expected = stats.binomtest(only_a, only_a + only_b, 0.5).pvalue
    assert metrics.mcnemar(only_a, only_b) == pytest.approx(expected)


def test_mcnemar_holds_for_thousands_of_utterances():
    assert metrics.mcnemar(2500, 2600) == pytest.approx(0.16566, abs=1e-5)
    assert metrics.mcnemar(5000, 1000) == 0.0


# --- two classes ---


@pytest.mark.parametrize("steps", [2, 5, 10_000])
def test_the_area_under_the_roc_curve_is_that_of_scikit_learn(steps):
    sklearn = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(steps)
    truth = rng.random(300) < 0.3
    scores = np.floor(steps * (rng.random(300) + 0.3 * truth)) / steps  # few steps: many equals
    assert metrics.auroc(scores, truth) == pytest.approx(sklearn.roc_auc_score(truth, scores))
    assert metrics.auroc(-scores, truth) == pytest.approx(1 - metrics.auroc(scores, truth))


def test_there_is_no_area_where_one_class_never_occurs():
    assert np.isnan(metrics.auroc([0.1, 0.9], [True, True]))
    assert np.isnan(metrics.auroc([], []))


# --- refusals ---


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: metrics.confusion([0, 1], [0], 2), "as many predictions as truths"),
        (lambda: metrics.confusion([0, 3], [0, 1], 3), "index 3 in truth is not in 0 to 2"),
        (lambda: metrics.confusion([0, 1], [-1, 1], 2), "index -1 in predicted"),
        (lambda: metrics.confusion(["anger"], ["anger"], 2), "class indices as truth, got"),
        (lambda: metrics.ua(np.zeros((3, 3))), "no predictions"),
        (lambda: metrics.scores([], [], 2), "no predictions"),
        (lambda: metrics.class_indices(["angry"], ["anger"]), "'angry' is not one of the labels"),
        (lambda: metrics.auroc([np.nan, 1], [True, False]), "finite scores"),
        (lambda: metrics.calibration_error([[np.nan, 1]], [0]), "finite probabilities"),
        (
            lambda: metrics.interval_over_speakers([0], [0], ["a"], "macrof1"),
            "did you mean 'macro_f1'",
        ),
        (lambda: metrics.interval_over_speakers([0, 1], [0, 1], ["a"]), "group for each of 2"),
        (lambda: metrics.paired_test([0, 1], [0, 1], [0], ["a", "b"]), "as many predictions"),
    ],
)
def test_what_cannot_be_scored_is_refused_in_one_line(call, words):
    with pytest.raises(LightserError, match=words) as raised:
        call()
    assert "\n" not in str(raised.value)
