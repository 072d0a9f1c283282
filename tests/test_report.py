"""Reports, from results folders that a seeded simulation writes on Emo-DB's voices."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lightser.corpora import CORPORA, emodb

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


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """A made-up classifier.

    Attributes:
        name: of the recipe.
        skill: logit of the true class; 3.7 is about 80 per cent.
        protocol: ``"loso"``, or ``"light_sernet"`` for random hold-outs selected on test.
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
        "protocol_note": "Ten random 80/20 hold-outs; the best epoch on test is kept."
        if on_test
        else "One speaker left out in turn; the epoch is chosen on other speakers.",
        "selected_on": "test_wa" if on_test else "valid_ua",
        "speaker_independent": not on_test,
        "transductive": False,
        "corpus": "emodb",
        "labels": LABELS,
        "parameters": 461703,
        "published": simulated.published,
        "machine": "x86_64, cpu",
        "versions": {"torch": "2.13.0", "numpy": "2.4.6", "lightser": "0.1.0"},
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
        skill=3.3,
        published=ZHONG,
        changes={"complete": False, "folds_done": 10, "folds_planned": 30},
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
