"""Reports, from results folders that a seeded simulation writes on Emo-DB's voices."""

import copy
import io
import json
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib.colors
import matplotlib.text
import numpy as np
import pandas as pd
import pytest
import sklearn.metrics
from matplotlib.figure import Figure
from typer.testing import CliRunner

import lightser.cli.report  # registers its commands
import lightser.report.compare
from lightser.cli import app
from lightser.corpora import CORPORA, emodb
from lightser.errors import BadResults, LightserWarning, UnknownName
from lightser.report import html, plots, tables
from lightser.report.clip import Track, draw_clip, envelope
from lightser.report.compare import compare
from lightser.report.results import Result, families, find_results, read_result, selection_gain
from lightser.training.scores import score_predictions

LABELS = list(CORPORA["emodb"].labels)

# Emo-DB's real structure (535 utterances, 10 speakers); only what a classifier answers is made up.
UTTERANCES = pd.DataFrame(
    {
        "utterance": name,
        "speaker": name[:2],
        "text": name[2:5],
        "truth": emodb.LABELS[name[5]],
    }
    for name in sorted(emodb.published(Path()))
)

# What listeners and machines take for what; logits, rows are the truth.
ALIKE = {
    ("anger", "happiness"): 1.7,
    ("happiness", "anger"): 2.2,
    ("happiness", "fear"): 1.2,
    ("fear", "happiness"): 1.2,
    ("boredom", "neutral"): 1.6,
    ("neutral", "boredom"): 1.6,
    ("boredom", "sadness"): 1.3,
    ("sadness", "boredom"): 0.9,
    ("disgust", "neutral"): 0.8,
}


NOTES = {
    "loso": "One speaker left out in turn; the epoch is chosen on other speakers.",
    "light_sernet": "Ten random 80/20 hold-outs; the best epoch on test is kept.",
    "zhong2020": "Ten random subsets, one of them tested; the voices are in training too.",
}


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """A made-up classifier.

    Attributes:
        name: of the recipe.
        skill: logit of the true class; 3.7 is about 80 per cent.
        protocol: ``"loso"``; ``"light_sernet"``, random hold-outs selected on test; or
            ``"zhong2020"``, one random subset tested nine times.
        seeds: how many.
        changes: laid over ``scores.json``.
        recipe: the resolved recipe.
    """

    name: str
    title: str
    skill: float
    protocol: str = "loso"
    system: str = "light_sernet"
    seeds: int = 1
    epochs: int = 60
    published: dict[str, Any] | None = None
    changes: dict[str, Any] | None = None
    recipe: str = ""


def folds(protocol: str, rng: np.random.Generator) -> Iterator[tuple[str, pd.DataFrame]]:
    if protocol == "loso":
        for speaker, rows in UTTERANCES.groupby("speaker"):
            yield str(speaker), rows
    elif protocol == "zhong2020":
        tested = UTTERANCES.iloc[np.sort(rng.permutation(535)[:54])]
        for fold in range(9):
            yield f"valid{fold}", tested
    else:
        for fold in range(10):
            yield f"holdout{fold}", UTTERANCES.iloc[np.sort(rng.permutation(535)[:107])]


def answers(rows: pd.DataFrame, skill: float, rng: np.random.Generator) -> np.ndarray:
    """Return probabilities ``[N, C]``; a voice and a clip are as hard for every classifier."""
    logits = 1.1 * rng.normal(size=(len(rows), len(LABELS)))
    for i, row in enumerate(rows.itertuples()):
        for (truth, other), pull in ALIKE.items():
            logits[i, LABELS.index(other)] += pull * (truth == row.truth)
        own = np.random.default_rng([int(row.speaker), 7])
        clip = np.random.default_rng(list(row.utterance.encode()))
        hard = 0.7 * own.normal() + 0.8 * clip.normal()
        logits[i, LABELS.index(row.truth)] += skill - hard
    exp = np.exp(1.3 * logits)
    return exp / exp.sum(axis=1, keepdims=True)


def curve(final: float, epochs: int, rng: np.random.Generator, late: int = 0) -> np.ndarray:
    """Return an accuracy that rises to ``final`` and trembles, ``late`` epochs after the start."""
    epoch = np.arange(1, epochs + 1)
    rise = 1 - np.exp(-np.maximum(0, epoch - late) / (0.12 * epochs))
    return np.clip(1 / 7 + (final - 1 / 7) * rise + 0.02 * rng.normal(size=epochs), 0, 1)


def write_results(root: Path, simulated: Simulated) -> Path:
    """Write a results folder as training does."""
    folder = root / simulated.name
    folder.mkdir(parents=True)
    on_test = simulated.protocol == "light_sernet"
    predictions, history = [], []
    for seed in range(simulated.seeds):
        rng = np.random.default_rng([seed, len(simulated.name)])
        for fold, rows in folds(simulated.protocol, rng):
            probabilities = answers(rows, simulated.skill, rng)
            predicted = [LABELS[i] for i in probabilities.argmax(axis=1)]
            table = rows[["utterance", "speaker", "truth"]].assign(
                corpus="emodb", fold=fold, seed=seed, predicted=predicted
            )
            for i, label in enumerate(LABELS):
                table[f"p_{label}"] = probabilities[:, i].round(6)
            predictions.append(table)

            accuracy = float((table["truth"] == table["predicted"]).mean())
            epochs = simulated.epochs
            test = curve(accuracy - 0.045, epochs, rng, late=15 if on_test else 0)
            valid = curve(accuracy - 0.01, epochs, rng)
            watched = test if on_test else valid
            points = pd.DataFrame(
                {
                    "fold": fold,
                    "seed": seed,
                    "epoch": np.arange(1.0, epochs + 1),
                    "update": (len(UTTERANCES) - len(rows)) // 32 * np.arange(1, epochs + 1),
                    "learning_rate": 1e-3,
                    "train_loss": 0.1 + 1.8 * np.exp(-np.arange(epochs) / (0.2 * epochs)),
                    "valid_ua": np.nan if on_test else valid,
                    "valid_wa": np.nan if on_test else valid,
                    "test_ua": test if on_test else np.nan,
                    "test_wa": test if on_test else np.nan,
                    "chosen": (np.arange(epochs) == watched.argmax()).astype(int),
                }
            )
            history.append(points)
    pd.concat(predictions).to_csv(folder / "predictions.csv", index=False)
    pd.concat(history).to_csv(folder / "history.csv", index=False)
    jobs = 10 * simulated.seeds
    scores = {
        "recipe": simulated.name,
        "recipe_sha256": "0" * 64,
        "title": simulated.title,
        "system": simulated.system,
        "commit": "0123456789ab",
        "seeds": list(range(simulated.seeds)),
        "epochs": simulated.epochs,
        "updates": None,
        "quick": False,
        "complete": True,
        "folds_done": jobs,
        "folds_planned": jobs,
        "protocol": simulated.protocol,
        "protocol_note": NOTES[simulated.protocol],
        "selected_on": "test_wa" if on_test else "valid_ua",
        "speaker_independent": simulated.protocol == "loso",
        "transductive": False,
        "corpus": "emodb",
        "labels": LABELS,
        "parameters": 461703,
        "published": simulated.published,
        "machine": "x86_64, cpu",
        "versions": {"torch": "2.13.0", "numpy": "2.4.6", "lightser": "0.1.0"},
        "precision_by_job": {"0": "bfloat16", "1": "bfloat16", "2": "float32"},
        "minutes": 312.4,
        **(simulated.changes or {}),
    }
    (folder / "scores.json").write_text(json.dumps(scores), encoding="utf-8")
    if simulated.recipe:
        (folder / "recipe.toml").write_text(simulated.recipe, encoding="utf-8")
    return folder


LIGHT_SERNET = """
title = "ours"
system = "light_sernet"
[model]
name = "light_sernet"
[loss]
name = "cross_entropy"
"""
CLASSIC = """
system = "functionals_svm"
[model]
name = "functionals_svm"
"""
AFTAB = {"ua": 94.15, "wa": 94.21, "f1": 94.16, "source": "Aftab et al. 2022, Table 1"}
ZHONG = {"ua": 90.10, "wa": 91.81, "source": "Zhong et al. 2020, Table 4"}

SYSTEMS = [
    Simulated(
        name="light_sernet/table1/emodb-ce-3s",
        title="Light-SERNet, cross-entropy, 3 s",
        skill=4.6,
        protocol="light_sernet",
        epochs=300,
        published=AFTAB,
        recipe=LIGHT_SERNET + '[protocol]\nname = "light_sernet"\n',
    ),
    Simulated(
        name="honest/emodb-light_sernet-published",
        title="Light-SERNet as published, leave one speaker out",
        skill=3.1,
        epochs=300,
        published=AFTAB,
        recipe=LIGHT_SERNET + '[protocol]\nname = "loso"\n',
    ),
    Simulated(
        name="honest/emodb-light_sernet",
        title="Light-SERNet, our training, leave one speaker out",
        skill=3.8,
        seeds=3,
    ),
    Simulated(
        name="zhong2020/table4/emodb-n4-ce",
        title="Zhong 2020, 4 blocks, weighted CE",
        system="zhong2020",
        protocol="zhong2020",
        skill=4.3,
        published=ZHONG,
        changes={"complete": False, "folds_done": 9, "folds_planned": 27},
    ),
    Simulated(
        name="classic/emodb-compare-svm",
        title="ComParE + linear SVM",
        system="functionals_svm",
        skill=3.35,
        recipe=CLASSIC,
        changes={"parameters": None},
    ),
    Simulated(
        name="zhong2020/table4/emodb-n2-ce",
        title="Zhong 2020, 2 blocks, weighted CE",
        system="zhong2020",
        skill=2.2,
        epochs=4,
        published={"ua": 89.0, "wa": 90.0},
        changes={"quick": True},
    ),
]


@pytest.fixture(scope="module")
def results_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("results")
    for simulated in SYSTEMS:
        write_results(root, simulated)
    return root


@pytest.fixture(scope="module")
def results(results_root: Path) -> list[Result]:
    return [read_result(folder) for folder in find_results([results_root])]


def by_name(results: list[Result], name: str) -> Result:
    return next(result for result in results if result.name == name)


@pytest.fixture(scope="module")
def published_one(results: list[Result]) -> Result:
    return by_name(results, "light_sernet/table1/emodb-ce-3s")


@pytest.fixture(scope="module")
def honest_one(results: list[Result]) -> Result:
    return by_name(results, "honest/emodb-light_sernet")


def altered(source: Path, target: Path, **changes: Any) -> Path:
    """Copy a results folder and lay ``changes`` over its scores.json."""
    shutil.copytree(source, target)
    scores = json.loads((target / "scores.json").read_text(encoding="utf-8"))
    (target / "scores.json").write_text(json.dumps(scores | changes), encoding="utf-8")
    return target


def ua_by_scikit_learn(table: pd.DataFrame) -> float:
    """Return the mean recall of the classes that occur."""
    present = sorted(set(table["truth"]))
    return float(
        sklearn.metrics.recall_score(
            table["truth"], table["predicted"], labels=present, average="macro"
        )
    )


# --- scores of a predictions table ---


def test_pooled_scores_of_one_seed_are_those_of_scikit_learn(published_one: Result) -> None:
    table, pooled = published_one.predictions, published_one.scores["pooled"]
    truth, predicted = table["truth"], table["predicted"]
    assert pooled["ua"] == pytest.approx(ua_by_scikit_learn(table))
    assert pooled["wa"] == pytest.approx(sklearn.metrics.accuracy_score(truth, predicted))
    assert pooled["macro_f1"] == pytest.approx(
        sklearn.metrics.f1_score(truth, predicted, average="macro")
    )
    assert pooled["weighted_f1"] == pytest.approx(
        sklearn.metrics.f1_score(truth, predicted, average="weighted")
    )


def test_a_pooled_score_of_several_seeds_is_the_mean_of_each_seeds_own(honest_one: Result) -> None:
    table, scores = honest_one.predictions, honest_one.scores
    seeds = [score_predictions(part, LABELS)["pooled"] for _, part in table.groupby("seed")]
    assert len(seeds) == 3
    for name, value in scores["pooled"].items():
        assert value == pytest.approx(np.mean([seed[name] for seed in seeds]))
    assert scores["by_seed"]["1"] == seeds[1]


def test_the_fold_mean_is_over_every_fold_of_every_seed(honest_one: Result) -> None:
    jobs = honest_one.predictions.groupby(["seed", "fold"])
    recalls = [ua_by_scikit_learn(job) for _, job in jobs]
    ua = honest_one.scores["fold_mean"]["ua"]
    assert len(recalls) == 30
    assert ua["mean"] == pytest.approx(np.mean(recalls))
    assert ua["std"] == pytest.approx(np.std(recalls, ddof=1))


def test_several_corpora_are_scored_together_and_each_for_itself(published_one: Result) -> None:
    table = published_one.predictions
    other = table.assign(corpus="nemo", predicted=table["truth"].iloc[::-1].to_numpy())
    scores = score_predictions(pd.concat([table, other]), LABELS)
    assert list(scores["by_corpus"]) == ["emodb", "nemo"]
    assert scores["by_corpus"]["emodb"] == score_predictions(table, LABELS)
    assert scores["by_corpus"]["nemo"] == score_predictions(other, LABELS)
    assert scores["n_speakers"] == 2 * scores["by_corpus"]["nemo"]["n_speakers"]
    several = replace(published_one, scores=published_one.scores | scores)
    lines = tables.to_markdown([several]).splitlines()
    (of_nemo,) = (line for line in lines if line.startswith("| – of these, nEMO |"))
    ua, wa = (100 * scores["by_corpus"]["nemo"]["pooled"][score] for score in ("ua", "wa"))
    assert f"| {ua:.1f} [" in of_nemo and f"| {wa:.1f} |" in of_nemo
    assert of_nemo.count("|") == len(tables.HEADERS) + 1
    page = html.to_html([several], title="t")
    assert "Of these, nEMO" in page and 'scope="row">of these, nEMO</th>' in page


def test_the_order_of_the_rows_does_not_matter(published_one: Result) -> None:
    shuffled = published_one.predictions.sample(frac=1, random_state=3)
    scores = score_predictions(shuffled, LABELS)
    for name in ("pooled", "recalls"):
        assert scores[name] == pytest.approx(published_one.scores[name])
    for name in ("interval_speakers", "interval_utterances"):
        for score in ("ua", "wa"):
            assert scores[name][score] == pytest.approx(published_one.scores[name][score])


def test_the_same_answers_from_a_second_seed_make_no_interval_narrower(
    published_one: Result,
) -> None:
    once = published_one.predictions
    twice = pd.concat([once, once.assign(seed=1)])
    for name in ("interval_speakers", "interval_utterances"):
        assert score_predictions(twice, LABELS)[name] == published_one.scores[name]


def test_the_interval_over_speakers_is_the_wider_one(results: list[Result]) -> None:
    for result in results:
        if result.is_honest:
            (low, high), (narrow_low, narrow_high) = (
                result.scores[f"interval_{over}"]["ua"] for over in ("speakers", "utterances")
            )
            assert low < narrow_low < result.scores["pooled"]["ua"] < narrow_high < high


@pytest.mark.parametrize("speakers", ["03", ["03", ""]], ids=["one", "some unknown"])
def test_there_is_no_interval_over_speakers_who_are_not_known_apart(
    published_one: Result, speakers: Any
) -> None:
    table = published_one.predictions.head(200).copy()
    table["speaker"] = speakers if isinstance(speakers, str) else speakers * 100
    scores = score_predictions(table, LABELS)
    assert scores["interval_speakers"] is None
    assert scores["interval_utterances"] is not None


def test_activation_is_scored_from_the_labels_probabilities(published_one: Result) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    table, told = published_one.predictions, published_one.scores["activation"]
    high = sum(table[f"p_{label}"] for label in ("anger", "fear", "happiness"))
    aroused = table["truth"].isin(["anger", "fear", "happiness"])
    assert told["n"] == len(table)
    assert told["auroc"] == pytest.approx(sklearn.roc_auc_score(aroused, high))
    answer = high > 0.5
    assert told["ua"] == pytest.approx(sklearn.balanced_accuracy_score(aroused, answer))
    assert told["ua"] > published_one.scores["pooled"]["ua"]
    assert 0 <= told["ece"] < 0.5


def test_activation_needs_both_kinds(published_one: Result) -> None:
    table = published_one.predictions
    one_kind = table[table["truth"].isin(["anger", "fear"])]
    assert score_predictions(one_kind, LABELS)["activation"] is None
    others = table.replace({"boredom": "awe"}).rename(columns={"p_boredom": "p_awe"})
    labels = ["awe" if label == "boredom" else label for label in LABELS]
    scores = score_predictions(others, labels)
    assert scores["activation"]["n"] == (table["truth"] != "boredom").sum()


def test_a_class_that_is_never_true_has_no_recall_and_json_can_hold_the_scores(
    published_one: Result,
) -> None:
    table = published_one.predictions
    scores = score_predictions(table[table["truth"] != "disgust"], LABELS)
    assert scores["recalls"]["disgust"] is None
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.drop(columns="speaker"), "lacks the columns speaker"),
        (lambda table: table.drop(columns="p_fear"), "lacks the columns p_fear"),
        (lambda table: table.head(0), "no rows"),
        (lambda table: table.assign(truth="joy"), "'joy' under truth is not one of the labels"),
        (lambda table: table.assign(predicted=np.nan), "'nan' under predicted"),
        (lambda table: table.assign(p_fear=0.9), r"Row 0 \(.*\): the probabilities"),
        (lambda table: table.assign(p_fear="much"), "do not sum to 1"),
    ],
)
def test_a_table_that_cannot_be_scored_is_refused(
    published_one: Result, change: Any, message: str
) -> None:
    with pytest.raises(BadResults, match=message):
        score_predictions(change(published_one.predictions), LABELS)


# --- results folders ---


def test_results_are_found_below_a_folder_and_never_twice(results_root: Path) -> None:
    found = find_results([results_root, results_root / "honest"])
    assert len(found) == len(SYSTEMS)
    assert found == sorted(found)


def test_speakers_keep_their_leading_zeros(honest_one: Result) -> None:
    assert set(honest_one.predictions["speaker"]) == set(emodb.PUBLISHED)


def test_scores_that_the_predictions_do_not_bear_out_are_corrected_and_reported(
    results_root: Path, tmp_path: Path, honest_one: Result
) -> None:
    flattered = {"pooled": {"ua": 0.99}, "interval_speakers": {"ua": [0.98, 1.0]}}
    folder = altered(results_root / honest_one.name, tmp_path / "flattered", **flattered)
    with pytest.warns(LightserWarning, match="says ua 0.9900, its predictions 0.8676"):
        read = read_result(folder)
    assert read.scores["pooled"] == honest_one.scores["pooled"]
    assert read.scores["interval_speakers"] == honest_one.scores["interval_speakers"]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("scores.json", "{", "Cannot read .*scores.json"),
        ("scores.json", "[]", "is not a JSON object"),
        ("scores.json", "{}", "has no 'labels'"),
        ("scores.json", '{"labels": [1]}', "'labels' must be words"),
        ("scores.json", '{"labels": ["fear"], "pooled": 3}', "'pooled' must be an object, not 3"),
        (
            "scores.json",
            '{"labels": ["fear"], "pooled": {"ua": "much"}}',
            "'pooled.ua' must be a number, not 'much'",
        ),
        ("scores.json", '{"labels": ["fear"], "published": 90.1}', "'published' must be an object"),
        ("scores.json", '{"labels": ["fear"], "left_out": 3}', "'left_out' must be an object"),
        ("scores.json", '{"labels": ["fear"], "length": "half"}', "'length' must be a number"),
        ("predictions.csv", None, "Cannot read .*predictions.csv"),
        ("predictions.csv", "utterance,truth\na,fear\n", "lacks the columns corpus, speaker"),
        ("history.csv", "fold,seed\n03,0\n", "lacks the columns epoch"),
        ("recipe.toml", "[", "Cannot read .*recipe.toml"),
    ],
)
def test_a_broken_results_folder_is_refused_in_one_line(
    results_root: Path, tmp_path: Path, file: str, content: str | None, message: str
) -> None:
    folder = altered(results_root / "light_sernet/table1/emodb-ce-3s", tmp_path / "broken")
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_text(content, encoding="utf-8")
    with pytest.raises(BadResults, match=message) as error:
        read_result(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("seed", ["first", "0.5", ""])
def test_a_seed_that_is_no_whole_number_is_refused_in_one_line(
    results_root: Path, tmp_path: Path, seed: str
) -> None:
    folder = altered(results_root / "light_sernet/table1/emodb-ce-3s", tmp_path / "broken")
    table = pd.read_csv(folder / "predictions.csv", dtype=str)
    table.loc[3, "seed"] = seed
    table.to_csv(folder / "predictions.csv", index=False)
    with pytest.raises(BadResults, match=rf"predictions.csv: seed '{seed}' is not a whole number"):
        read_result(folder)


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_one_folder_that_holds_no_result_is_named_once(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadResults) as error:
        read_result(tmp_path / name)
    assert str(error.value).count(str(tmp_path / name)) == 1
    assert "Errno" not in str(error.value)


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_a_folder_without_results_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadResults, match=name):
        find_results([tmp_path / name])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"selected_on": "test_wa"}, "selected on test"),
        ({"speaker_independent": False}, "test speakers in training"),
        ({"transductive": True}, "uses the test speaker's data"),
    ],
)
def test_a_result_is_honest_only_without_any_help_from_the_test_part(
    honest_one: Result, changes: dict[str, Any], words: str
) -> None:
    helped = replace(honest_one, scores={**honest_one.scores, **changes})
    assert honest_one.is_honest
    assert not helped.is_honest
    assert helped.caveats == [words]


@pytest.mark.parametrize("label_map", [None, {"anger": "anger", "joy": "happiness"}])
def test_scores_over_some_of_a_corpus_classes_say_so_in_every_table(
    honest_one: Result, label_map: dict[str, str] | None
) -> None:
    facts = {"left_out": {"surprise": 669, "calm": 2}, "label_map": label_map}
    partly = replace(honest_one, scores={**honest_one.scores, **facts})
    words = "7 of 9 classes" if label_map is None else "2 of 4 classes"
    assert partly.caveats == [words] and partly.is_honest
    assert words in tables.protocol_cell(partly)
    assert words in tables.to_csv([partly]) and words in tables.to_markdown([partly])
    assert html.to_html([partly]).count(words) >= 3, "the table, the recalls, its own section"
    assert any(words in text for text in texts(plots.intervals([partly])))
    assert honest_one.caveats == []


def test_a_linear_svm_has_no_epoch_to_tell_of(results: list[Result], honest_one: Result) -> None:
    classic = by_name(results, "classic/emodb-compare-svm")
    scores = {**classic.scores, "selected_on": "last"}
    last = replace(classic, scores=scores, history=pd.DataFrame())
    assert tables.protocol_cell(classic) == tables.protocol_cell(last) == "loso"
    assert "last epoch" not in html.to_html([last])
    assert tables.protocol_cell(honest_one) == "loso, epoch chosen on validation"


def test_selection_is_worth_the_best_epochs_less_the_last_ones(published_one: Result) -> None:
    curves = published_one.history.pivot(index="epoch", columns="fold", values="test_wa")
    gain = selection_gain(published_one.history)
    assert gain is not None
    assert gain.gain == pytest.approx((curves.max() - curves.iloc[-1]).mean())
    assert gain.gain > 0


def test_nothing_is_said_of_selection_where_test_was_not_looked_at(honest_one: Result) -> None:
    assert selection_gain(honest_one.history) is None


def test_one_recipe_under_several_protocols_is_a_family_from_lax_to_strict(
    results: list[Result],
) -> None:
    (family,) = families(reversed(results))
    assert [result.name for result in family] == [
        "light_sernet/table1/emodb-ce-3s",
        "honest/emodb-light_sernet-published",
    ]


# --- tables ---


def test_a_table_keeps_honest_results_apart_and_puts_them_first(results: list[Result]) -> None:
    groups = tables.grouped(results)
    assert [heading for _, heading, _ in groups] == [tables.HONEST, tables.LAX]
    for _, heading, group in groups:
        assert all(result.is_honest == (heading == tables.HONEST) for result in group)
        scores = [result.scores["pooled"]["ua"] for result in group]
        assert scores == sorted(scores, reverse=True)


def test_what_was_adapted_to_the_test_speakers_stands_under_a_heading_of_its_own(
    honest_one: Result, published_one: Result
) -> None:
    adapted = replace(honest_one, scores={**honest_one.scores, "transductive": True})
    selected = replace(published_one, scores={**published_one.scores, "transductive": True})
    headings = [tables.heading_of(result) for result in (honest_one, adapted, selected)]
    assert headings == [tables.HONEST, tables.ADAPTED, tables.LAX]


def test_markdown_has_a_cell_under_every_heading(results: list[Result]) -> None:
    awkward = replace(results[0], scores={**results[0].scores, "title": "a|b *c* <d>"})
    text = tables.to_markdown([awkward, *results[1:]])
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 2 * 2 + len(SYSTEMS)
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {len(tables.HEADERS) + 1}
    assert r"a\|b \*c\* \<d>" in text


def test_markdown_says_in_words_what_was_selected_on_test(
    results: list[Result], published_one: Result
) -> None:
    for line in tables.to_markdown(results).splitlines():
        assert ("SELECTED ON TEST" in line) == (f"`{published_one.name}`" in line)


def test_a_row_has_pooled_score_interval_and_published_figure(published_one: Result) -> None:
    scores = published_one.scores
    low, high = scores["interval_speakers"]["ua"]
    cells = dict(zip(tables.HEADERS, tables.cells(published_one), strict=True))
    ua = scores["pooled"]["ua"]
    assert cells["UA [95 %]"] == f"{100 * ua:.1f} [{100 * low:.1f}–{100 * high:.1f}]"
    assert cells["Published UA / WA"] == "94.15 / 94.21"
    assert cells["Parameters"] == "461,703"
    assert cells["Runs"] == "10 folds × 1 seed"


@pytest.mark.parametrize("at", ["scores", "recipe"])
def test_a_published_mean_over_folds_is_marked_beside_our_pooled_score(
    published_one: Result, at: str
) -> None:
    facts = getattr(published_one, at)
    says = {**published_one.scores["published"], "statistic": "fold_mean"}
    marked = replace(published_one, **{at: {**facts, "published": says}})
    assert tables.published_cell(marked) == "94.15 / 94.21, fold mean"


def test_what_is_quick_or_incomplete_is_marked(results: list[Result]) -> None:
    quick = tables.cells(by_name(results, "zhong2020/table4/emodb-n2-ce"))
    partial = tables.cells(by_name(results, "zhong2020/table4/emodb-n4-ce"))
    assert "quick run" in quick[1]
    assert partial[-1] == "9 of 27 folds"
    assert "9 of 27 folds" in partial[1]


def test_csv_holds_the_scores_as_fractions(results: list[Result]) -> None:
    table = pd.read_csv(io.StringIO(tables.to_csv(results))).set_index("recipe")
    for result in results:
        row = table.loc[result.name]
        assert row["ua"] == pytest.approx(result.scores["pooled"]["ua"], abs=1e-6)
        assert row["ua_low"] == pytest.approx(result.scores["interval_speakers"]["ua"][0], abs=1e-6)
        assert row["honest"] == result.is_honest
    assert table.loc["light_sernet/table1/emodb-ce-3s", "published_ua"] == 0.9415
    assert table["selection_gain_wa"].notna().sum() == 1


def test_quick_runs_are_told_only_where_there_is_nothing_else(results: list[Result]) -> None:
    quick = [result for result in results if result.is_quick]
    assert quick and tables.telling(quick) == quick
    assert tables.telling(results) == [result for result in results if not result.is_quick]


def test_a_longer_run_takes_the_place_of_a_shorter_one(results: list[Result]) -> None:
    whole = by_name(results, "light_sernet/table1/emodb-ce-3s")
    short = replace(whole, scores={**whole.scores, "length": 0.1})
    quick = replace(whole, scores={**whole.scores, "quick": True})
    assert tables.telling([short, whole, quick]) == [whole]
    assert tables.telling([short, quick]) == [short]


def test_scores_on_other_utterances_are_another_table(results: list[Result]) -> None:
    one = by_name(results, "honest/emodb-light_sernet")
    two, three = (
        replace(one, scores={**one.scores, "corpus": "together", "by_corpus": dict.fromkeys(parts)})
        for parts in ("ab", "abc")
    )
    assert [tested for tested, _, _ in tables.grouped([three, two, one])] == [
        "emodb",
        "a+b",
        "a+b+c",
    ]
    assert [tables.short_title(r.tested) for r in (one, two)] == ["Emo-DB", "a + b"]


def test_what_was_adapted_to_the_test_speakers_has_a_mark_of_its_own(results: list[Result]) -> None:
    honest = by_name(results, "honest/emodb-light_sernet")
    adapted = replace(honest, scores={**honest.scores, "transductive": True})
    assert (honest.tone, adapted.tone) == ("honest", "adapted")
    assert "transductive" in texts(plots.intervals([honest, adapted]))
    assert "lenient" not in texts(plots.intervals([honest, adapted]))


# --- plots ---

OF_ONE = (plots.confusion, plots.learning_curves, plots.speakers, plots.reliability)


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text)]


def test_the_confusion_matrix_shows_every_count_and_its_share(honest_one: Result) -> None:
    table = pd.crosstab(honest_one.predictions["truth"], honest_one.predictions["predicted"])
    shares = table.div(table.sum(axis=1), axis=0)
    shown = Counter(texts(plots.confusion(honest_one)))
    for share, count in zip(shares.to_numpy().ravel(), table.to_numpy().ravel(), strict=True):
        if count:
            assert shown[f"{100 * share:.0f}"]
            assert shown[str(count)]
    numbers = sum(n for text, n in shown.items() if text.isdigit())
    assert numbers == 2 * np.count_nonzero(table)


def test_the_curves_say_what_selection_is_worth(published_one: Result, honest_one: Result) -> None:
    gain = selection_gain(published_one.history)
    assert gain is not None
    assert any(
        f"+{100 * gain.gain:.1f}\npoints" in t for t in texts(plots.learning_curves(published_one))
    )
    assert not any("points" in text for text in texts(plots.learning_curves(honest_one)))


def test_a_dot_marks_the_kept_epoch_of_every_job(honest_one: Result) -> None:
    (axes, _) = plots.learning_curves(honest_one).axes
    (kept,) = (line for line in axes.lines if line.get_label() == "epoch kept")
    chosen = honest_one.history[honest_one.history["chosen"] == 1]
    assert len(kept.get_xdata()) == 30
    assert sorted(kept.get_xdata()) == sorted(chosen["epoch"])


def test_curves_of_a_recipe_that_counts_updates_share_the_updates(honest_one: Result) -> None:
    history = honest_one.history.copy()
    history["update"] = 10 * history.groupby(["fold", "seed"]).cumcount() + 10
    history["epoch"] = history["update"] / history["fold"].map(lambda fold: 11 + int(fold) / 7)
    (_, bottom) = plots.learning_curves(replace(honest_one, history=history)).axes
    assert bottom.get_xlabel() == "update"
    assert bottom.get_xlim()[1] == 600


def test_only_the_loss_is_drawn_where_training_looked_at_nothing(honest_one: Result) -> None:
    history = honest_one.history.assign(valid_ua=np.nan, valid_wa=np.nan)
    (axes,) = plots.learning_curves(replace(honest_one, history=history)).axes
    assert axes.get_ylabel() == "train loss"
    assert len(axes.lines) == 11


def test_speakers_are_drawn_with_their_own_ua(honest_one: Result) -> None:
    scores = plots.speaker_scores(honest_one)
    rows = honest_one.predictions.query("speaker == '16' and seed == 2")
    assert scores["16"][0] == 71
    assert scores["16"][1][2] == pytest.approx(ua_by_scikit_learn(rows))
    assert sum(n for n, _ in scores.values()) == 535


def test_the_plot_of_intervals_has_a_diamond_for_each_published_figure_and_none_for_twins(
    results: list[Result],
) -> None:
    assert [r.name for r in results if r.scores["published"] and r.name.startswith("honest/")]
    (axes,) = plots.intervals(results).axes
    diamonds = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "D"]
    assert sorted(diamonds) == pytest.approx([89.0, 90.10, 94.15])


def test_steps_show_what_each_protocol_costs(results: list[Result]) -> None:
    (family,) = families(results)
    lax, strict = (100 * result.scores["pooled"]["ua"] for result in family)
    assert f"{strict - lax:+.1f}".replace("-", "−") in texts(plots.steps(family))


@pytest.mark.parametrize("plot", OF_ONE, ids=lambda plot: plot.__name__)
def test_every_plot_follows_the_theme_of_its_page(published_one: Result, plot: Any) -> None:
    svg = plots.to_svg(plot(published_one, plots.PAGE), "a plot")
    colours = set(re.findall(r"(?:fill|stroke): ([^;\"]+)", svg))
    names = set(vars(plots.PAGE))
    assert colours <= {"none", *(f"var(--{name})" for name in names)}
    assert "var(--ink)" in colours or "var(--muted)" in colours
    assert "font-family" not in svg
    xml.etree.ElementTree.fromstring(svg)


@pytest.mark.parametrize("plot", OF_ONE, ids=lambda plot: plot.__name__)
def test_an_inline_plot_says_every_word_and_number_of_the_figure(
    published_one: Result, plot: Any
) -> None:
    figure = plot(published_one, plots.PAGE)
    figure.axes[-1].set_title("0.125 and 82.55")
    svg = xml.etree.ElementTree.fromstring(plots.to_svg(figure, "a plot, 0.125"))
    said = "\n".join(text.text or "" for text in svg.iter("text"))
    drawn = {part for text in texts(figure) for part in text.split("\n")}
    drawn -= {tick for tick in drawn if tick not in said and re.fullmatch(r"[−\d.]+", tick)}
    assert all(part in said for part in drawn)
    assert "0.125 and 82.55" in said
    assert svg.get("aria-label") == "a plot, 0.125"


@pytest.mark.parametrize("plot", OF_ONE, ids=lambda plot: plot.__name__)
def test_a_plot_is_the_same_to_the_byte_when_it_is_drawn_again(
    published_one: Result, plot: Any
) -> None:
    first, second = (plots.to_svg(plot(published_one, plots.PAGE), "a plot") for _ in range(2))
    assert first == second


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of WCAG 2.1 of two colours."""

    def luminance(colour: str) -> float:
        channels = np.array(matplotlib.colors.to_rgb(colour))
        linear = np.where(
            channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4
        )
        return float(linear @ [0.2126, 0.7152, 0.0722])

    high, low = sorted([luminance(one), luminance(other)], reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [plots.LIGHT, plots.DARK], ids=["light", "dark"])
@pytest.mark.parametrize("colour", ["ink", "muted", "honest", "lax"])
def test_text_can_be_read_on_its_paper(theme: plots.Theme, colour: str) -> None:
    assert contrast(getattr(theme, colour), theme.paper) >= 4.5


def test_the_page_and_the_plots_have_the_same_colours() -> None:
    css = html.CSS.read_text(encoding="utf-8")
    light, dark = (dict(re.findall(r"--(\w+): (#\w{6})", part)) for part in css.split("dark) {", 1))
    for name in vars(plots.LIGHT):
        assert light[name] == getattr(plots.LIGHT, name)
        assert dark[name] == getattr(plots.DARK, name)


# --- the page ---


class Page(HTMLParser):
    """What a page holds: ids, links, what it asks of the network, and its text."""

    VOID = frozenset({"meta", "br", "link", "img", "input", "hr"})

    def __init__(self, text: str):
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: Counter[str] = Counter()
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.ids += [value for name, value in attrs if name == "id" and value]
        self.links += [value for name, value in attrs if name in ("href", "src") and value]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data


@pytest.fixture(scope="module")
def page_text(results: list[Result]) -> str:
    return html.to_html(results[::-1], title="Results")


@pytest.fixture(scope="module")
def page(page_text: str) -> Page:
    return Page(page_text)


def test_the_page_asks_nothing_of_the_network(page: Page, page_text: str) -> None:
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert all(link.startswith("#") for link in page.links)
    assert all(target.startswith("#") for target in re.findall(r"url\((.*?)\)", page_text))
    assert "@import" not in page_text
    assert "://" not in page_text


def test_every_tag_is_closed_every_id_is_its_own_and_every_link_leads_somewhere(
    page: Page, page_text: str
) -> None:
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert {link[1:] for link in page.links} <= set(page.ids)
    assert set(re.findall(r"url\(#(.*?)\)", page_text)) <= set(page.ids)


def test_the_page_shows_four_plots_of_each_result_that_is_not_quick_and_two_of_all(
    page: Page, results: list[Result]
) -> None:
    whole = [result for result in results if not result.scores["quick"]]
    assert len(whole) == len(SYSTEMS) - 1
    assert page.tags["article"] == len(whole)
    assert page.tags["svg"] == page.tags["figure"] == 4 * len(whole) + 2


def test_the_page_prints_what_the_table_prints(page: Page, results: list[Result]) -> None:
    text = page.text.replace("\N{NO-BREAK SPACE}", " ")
    for result in tables.telling(results):
        assert result.title in text
        assert tables.fold_mean_cell(result) in text
        assert tables.percent(result.scores["pooled"]["ua"]) in text
        assert tables.published_cell(result) in text
        for words in result.caveats:
            assert words in text


def test_the_page_says_what_the_protocol_is_worth(page: Page, results: list[Result]) -> None:
    (family,) = families(results)
    lax, strict = (result.scores["pooled"]["ua"] for result in family)
    assert f"{100 * (lax - strict):.1f} points are the protocol's" in page.text


def test_the_best_honest_result_leads_the_page_and_quick_ones_never_do(
    results: list[Result],
) -> None:
    quick = by_name(results, "zhong2020/table4/emodb-n2-ce")
    flattered = copy.deepcopy(quick)
    flattered.scores["pooled"]["ua"] = 0.999
    lead = Page(html.to_html([flattered, *(r for r in results if r is not quick)])).text
    assert "best honest result of whole runs is 86.8 UA" in lead


def test_intervals_that_overlap_are_no_verdict_and_the_page_names_the_paired_test(
    page: Page,
) -> None:
    words = "may still differ: lightser compare, the paired test, is the way to ask"
    assert words in page.text and "neither wins" not in page.text


def test_what_a_result_lacks_stands_beside_its_title_wherever_it_is_drawn(
    results: list[Result], page: Page
) -> None:
    partial = by_name(results, "zhong2020/table4/emodb-n4-ce")
    title = f"{partial.title} (9 of 27 folds)"
    assert title in page.text
    assert title in texts(plots.intervals(results))
    wordy = replace(partial, scores={**partial.scores, "title": 80 * "x"})
    (label,) = (text for text in texts(plots.intervals([wordy])) if "x" in text)
    assert label.startswith("xx") and "x…x" in label and label.endswith("x (9 of 27 folds)")
    assert len(label) == 56


def test_recalls_say_in_words_which_are_honest(page: Page) -> None:
    recalls = page.text.partition("Recall by class")[2].partition("One by one")[0]
    places = [recalls.index(words) for words in ("Honest", "ComParE", "Lenient", "Zhong 2020")]
    assert places == sorted(places)


def test_recalls_of_other_classes_have_a_table_of_their_own(honest_one: Result) -> None:
    labels = honest_one.labels
    scores = {**honest_one.scores, "labels": labels[:-1]}
    fewer = replace(honest_one, folder=Path("fewer"), scores=scores)
    found = html._recalls([honest_one, fewer]).split('<table class="recalls"')[1:]
    assert [f">{labels[-1]}</th>" in table for table in found] == [True, False]


def test_what_a_recipe_says_cannot_break_the_page(honest_one: Result) -> None:
    words = "<script>alert('&')</script> \"quoted\" #000001"
    scores = {
        **honest_one.scores,
        "title": words,
        "recipe": words,
        "protocol_note": words,
        "published": {"ua": 90, "source": words},
    }
    text = html.to_html([replace(honest_one, scores=scores)], title=words)
    page = Page(text)
    assert page.open == []
    assert "script" not in page.tags
    assert page.text.count(words) > 4


# --- the picture of one clip ---


@dataclass(frozen=True)
class Stretch:
    start: float
    end: float
    label: str
    probabilities: dict[str, float]


@pytest.mark.parametrize("scope", ["whole clip", "channel 2", ""])
def test_a_verdict_says_what_it_is_about_in_smaller_words_to_its_left(scope: str) -> None:
    wave = envelope([np.linspace(-1, 1, 100, dtype=np.float32)], 100)
    calm = [Stretch(0.0, 1.0, "neutral", {"anger": 0.1, "neutral": 0.9})]
    given = {} if scope == "whole clip" else {"scope": scope}
    track = Track(wave, calm, ("anger", 1.0), "", **given)
    figure = draw_clip([track], ["anger", "neutral"], duration_s=1.0, title="clip.wav")
    figure.draw_without_rendering()
    shown = {text.get_text(): text for text in figure.findobj(matplotlib.text.Text)}
    verdict = shown["anger 100 %"]
    assert (f"{scope}:" in shown) == bool(scope)
    if scope:
        about = shown[f"{scope}:"]
        assert about.get_fontsize() < verdict.get_fontsize()
        assert about.get_color() != verdict.get_color()
        (left, right) = (text.get_window_extent() for text in (about, verdict))
        assert left.x1 < right.x0 and abs(left.y0 - right.y0) < 12


def test_a_long_title_gives_way_to_the_verdict() -> None:
    wave = envelope([np.linspace(-1, 1, 100, dtype=np.float32)], 100)
    heard = [Stretch(0.0, 1.0, "happiness", {"anger": 0.0, "happiness": 1.0})]
    track = Track(wave, heard, ("happiness", 1.0), scope="whole clip")
    title = "W" * 90 + "M" * 100 + ".wav"
    figure = draw_clip([track], ["anger", "happiness"], duration_s=1.0, title=title)
    figure.draw_without_rendering()
    shown = {text.get_text(): text for text in figure.findobj(matplotlib.text.Text)}
    (name,) = (words for words in shown if words.endswith("M.wav"))
    assert name.startswith("WW") and "…" in name
    scope = shown["whole clip:"]
    assert shown[name].get_window_extent().x1 < scope.get_window_extent().x0


# --- two results ---


def test_a_result_equals_itself(honest_one: Result) -> None:
    found = compare(honest_one, honest_one)
    assert found.test.difference == 0
    assert found.test.p_permutation == 1
    assert found.a == pytest.approx(honest_one.scores["pooled"]["ua"])


def test_comparing_the_other_way_round_turns_the_sign(
    honest_one: Result, results: list[Result]
) -> None:
    classic = by_name(results, "classic/emodb-compare-svm")
    there, back = compare(honest_one, classic), compare(classic, honest_one)
    ours, theirs = (r.scores["pooled"]["ua"] for r in (honest_one, classic))
    assert there.test.difference == pytest.approx(ours - theirs) == -back.test.difference
    assert there.test.p_permutation == back.test.p_permutation
    assert there.test.interval[0] > 0
    assert there.utterances == 535
    assert there.speakers == 10


def test_only_utterances_that_both_have_tested_are_compared(
    published_one: Result, results: list[Result]
) -> None:
    classic = by_name(results, "classic/emodb-compare-svm")
    found = compare(published_one, classic, score="wa")
    tested = set(published_one.predictions["utterance"])
    assert found.utterances == len(tested) < 535
    assert (found.only_a, found.only_b) == (0, 535 - len(tested))
    assert not found.is_one_to_one and found.once_each


def test_repeated_hold_outs_on_the_same_parts_are_paired_decision_by_decision(
    published_one: Result,
) -> None:
    table = published_one.predictions
    rng = np.random.default_rng(0)
    other = table.assign(predicted=table["truth"].where(rng.random(len(table)) < 0.6, "anger"))
    worse = replace(published_one, predictions=other.sample(frac=1, random_state=1))
    for score in ("ua", "wa", "weighted_f1"):
        found = compare(published_one, worse, score=score)
        assert found.a == pytest.approx(published_one.scores["pooled"][score])
        expected = score_predictions(other, LABELS)["pooled"][score]
        assert found.b == pytest.approx(expected)
        assert found.test.difference == pytest.approx(found.a - found.b)
    assert not found.once_each and not found.is_one_to_one
    assert found.utterances == table["utterance"].nunique() < len(table)


def weighted_ua(table: pd.DataFrame) -> float:
    """Return UA with each utterance of weight 1, shared by the decisions on it."""
    weights = 1 / table.groupby("utterance")["utterance"].transform("size")
    return float(
        sklearn.metrics.recall_score(
            table["truth"], table["predicted"], average="macro", sample_weight=weights
        )
    )


def test_repeated_hold_outs_on_other_parts_count_each_utterance_once(
    published_one: Result,
) -> None:
    table = published_one.predictions
    times = table.groupby("utterance")["utterance"].transform("size")
    rng = np.random.default_rng(0)
    # Right where it was tested often: decisions weighted by their number would flatter it.
    other = table.assign(predicted=table["truth"].where(times > 2, "anger"))
    other = other[rng.random(len(other)) < 0.7].assign(seed=1)
    found = compare(published_one, replace(published_one, predictions=other))
    shared = table[table["utterance"].isin(other["utterance"])]
    assert found.a == pytest.approx(weighted_ua(shared))
    assert found.b == pytest.approx(weighted_ua(other))
    assert found.test.difference == pytest.approx(found.a - found.b)
    assert abs(found.b - ua_by_scikit_learn(other)) > 0.02
    assert found.once_each and not found.is_one_to_one
    back = compare(replace(published_one, predictions=other), published_one)
    assert (back.a, back.b) == (found.b, found.a)
    assert back.test.difference == -found.test.difference


def test_more_decisions_than_can_be_spread_evenly_are_spread_almost_evenly(
    published_one: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = published_one.predictions.assign(seed=1)
    second = replace(published_one, predictions=other[::2])
    exact = compare(published_one, second)
    monkeypatch.setattr(lightser.report.compare, "MOST_ROWS", 0)
    rough = compare(published_one, second)
    assert rough.a == pytest.approx(exact.a, abs=0.002)
    assert rough.b == pytest.approx(exact.b, abs=0.002)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.assign(corpus="nemo"), "no utterance in common"),
        (lambda table: table.assign(truth="fear"), "The truth of"),
        (lambda table: table.assign(speaker="17"), "The speaker of"),
    ],
)
def test_results_that_do_not_belong_together_are_refused(
    honest_one: Result, change: Any, message: str
) -> None:
    with pytest.raises(BadResults, match=message):
        compare(honest_one, replace(honest_one, predictions=change(honest_one.predictions)))


def test_results_over_other_classes_are_refused(honest_one: Result) -> None:
    fewer = replace(honest_one, scores={**honest_one.scores, "labels": LABELS[1:]})
    with pytest.raises(BadResults, match="cannot be compared"):
        compare(honest_one, fewer)


# --- the command line ---


def test_report_writes_a_page_that_is_the_same_in_any_order_and_prints_its_name(
    results_root: Path, tmp_path: Path, page_text: str
) -> None:
    out = tmp_path / "page.html"
    done = CliRunner().invoke(app, ["report", str(results_root), "--out", str(out)])
    assert done.stdout == f"{out}\n"
    written = out.read_text(encoding="utf-8")
    assert written == page_text, "which has the results in the opposite order"
    page = Page(written)
    assert page.tags["article"] == len(SYSTEMS) - 1  # one is quick
    assert "x86_64, cpu; torch 2.13.0" in page.text
    assert "; 2 jobs in bfloat16, 1 job in float32" in page.text
    assert [file.name for file in tmp_path.iterdir()] == ["page.html"]


def test_report_prints_the_table_whole_where_nobody_sees_an_edge(
    results_root: Path, results: list[Result]
) -> None:
    printed = CliRunner().invoke(app, ["report", str(results_root)]).stdout
    for result in tables.telling(results):
        assert result.title in printed
    assert printed.count("SELECTED ON TEST") == 1
    assert "Without 1 quick run; --format csv has all." in printed


@pytest.mark.parametrize("format", ["markdown", "csv"])
def test_report_prints_other_formats(
    results_root: Path, results: list[Result], format: str
) -> None:
    printed = CliRunner().invoke(app, ["report", str(results_root), "--format", format]).stdout
    made = {"markdown": tables.to_markdown, "csv": tables.to_csv}[format]
    assert printed == made(results)


@pytest.mark.parametrize(
    ("words", "error"),
    [(["--out", "page.pdf"], BadResults), (["--format", "html"], UnknownName)],
)
def test_report_refuses_what_it_cannot_make(
    results_root: Path, words: list[str], error: type[Exception]
) -> None:
    done = CliRunner().invoke(app, ["report", str(results_root), *words])
    assert isinstance(done.exception, error)
    assert done.stdout == ""


def test_compare_prints_difference_interval_and_p(results_root: Path) -> None:
    words = ["honest/emodb-light_sernet", "classic/emodb-compare-svm"]
    done = CliRunner().invoke(app, ["compare", *(str(results_root / word) for word in words)])
    assert re.search(
        r"A - B +\+6\.2 points, 95 % interval \[\+\d.*\] over 10 speakers", done.stdout
    )
    assert re.search(r"p +0\.\d{4} by all swaps", done.stdout)
    assert "535 utterances that both have" in done.stdout


def test_compare_says_where_each_utterance_counts_once(results_root: Path) -> None:
    words = ["light_sernet/table1/emodb-ce-3s", "classic/emodb-compare-svm"]
    done = CliRunner().invoke(app, ["compare", *(str(results_root / word) for word in words)])
    assert "that both have, each counted once, though decided on several times" in done.stdout


def test_compare_names_a_folder_that_is_not_there_once(results_root: Path) -> None:
    nowhere = results_root / "nowhere"
    done = CliRunner().invoke(app, ["compare", str(nowhere), str(results_root / SYSTEMS[0].name)])
    assert isinstance(done.exception, BadResults)
    assert str(done.exception) == f"There is no results folder {nowhere}"


def test_report_needs_no_torch(results_root: Path) -> None:
    code = (
        "import sys; from lightser.cli import app, main; import lightser.cli.report;"
        f"app(['report', {str(results_root)!r}], standalone_mode=False);"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
