"""The classic on a corpus: openSMILE functionals and a linear SVM.

    python benchmarks/classic.py emodb=DIR
    python benchmarks/classic.py ravdess=DIR --protocol speaker_kfold

Writes one results folder for each set of functionals, ``results/honest/<corpus>-<set>-svm``, in the
format of the networks' results, and the table ``benchmarks/classic.md`` over all there are. One
thread; functionals are kept in the cache, so that only the first run is slow. What to know of the
machine is in :mod:`lightser.models.functionals_svm`.
"""

import argparse
import hashlib
import json
import os
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd

import lightser
from lightser.corpora import CORPORA, load_corpus
from lightser.corpora.splits import PROTOCOLS, Fold, make_folds, write_folds
from lightser.corpora.utterances import content_hashes
from lightser.errors import LightserError
from lightser.models.functionals_svm import FUNCTIONALS, FunctionalsSvm, functionals_of
from lightser.training.crossval import commit, to_toml
from lightser.training.jobs import cache_folder
from lightser.training.scores import score_predictions
from lightser.whole import write_whole

HERE = Path(__file__).parent
RESULTS = HERE.parent / "results" / "honest"
# The speakers that would validate a network train the classic: it validates inside the training.
WITHOUT_VALIDATION = {"valid_speakers": 0}, {"valid": False}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", help="NAME=DIR")
    parser.add_argument("--protocol", default="loso")
    parser.add_argument("--functionals", choices=FUNCTIONALS, nargs="*", default=list(FUNCTIONALS))
    arguments = parser.parse_args()
    corpus, _, root = arguments.corpus.partition("=")
    table = load_corpus(corpus, root)
    options = WITHOUT_VALIDATION[arguments.protocol == "speaker_kfold"]
    folds = make_folds(arguments.protocol, table, content=list(content_hashes(table)), **options)
    for name in arguments.functionals:
        evaluate(name, corpus, table, folds, arguments.protocol, options)
    write_whole(HERE / "classic.md", as_markdown())


def evaluate(
    name: str,
    corpus: str,
    table: pd.DataFrame,
    folds: list[Fold],
    protocol: str,
    options: dict[str, Any],
) -> None:
    """Cross-validate one set of functionals and write its results folder."""
    began = time.monotonic()
    x = functionals_of(
        name,
        table["file"],
        table["start"],
        table["end"],
        cache=cache_folder().parent,
        progress=lambda done, of: report(name, done, of),
    )
    print(f"{name}: functionals after {time.monotonic() - began:.0f} s")

    began = time.monotonic()
    labels = [label for label in CORPORA[corpus].labels if label in set(table["label"])]
    parts, costs = [], {}
    for fold in folds:
        heard = table["utterance"].isin((*fold.train, *fold.valid)).to_numpy()
        tested = table["utterance"].isin(fold.test).to_numpy()
        speakers, truth = (table[column].to_numpy(dtype=str) for column in ("speaker", "label"))
        machine = FunctionalsSvm(FUNCTIONALS[name].costs)
        machine.fit(x[heard], truth[heard], speakers[heard])
        costs[fold.name] = machine.cost
        parts.append(predictions(machine, x[tested], table[tested], fold, labels))
        print(f"{name}: fold {fold.name}, cost {machine.cost:g}")
    minutes = (time.monotonic() - began) / 60

    decided = pd.concat(parts)
    out = RESULTS / f"{corpus}-{name}-svm"
    out.mkdir(parents=True, exist_ok=True)
    recipe = {
        "title": f"{FUNCTIONALS[name].name} + linear SVM",
        "system": "functionals_svm",
        "corpus": {"name": corpus},
        "model": {"name": "functionals_svm", "functionals": name, "costs": FUNCTIONALS[name].costs},
        "protocol": {"name": protocol, **options},
    }
    facts = json.dumps({k: v for k, v in recipe.items() if k != "title"}, sort_keys=True)
    # One linear machine for each pair of classes.
    n_machines = len(labels) * (len(labels) - 1) // 2
    scores = {
        "recipe": f"honest/{out.name}",
        "recipe_sha256": hashlib.sha256(facts.encode()).hexdigest(),
        "title": recipe["title"],
        "system": "functionals_svm",
        "commit": commit(),
        "seeds": [0],
        "epochs": None,
        "updates": None,
        "quick": False,
        "complete": True,
        "folds_done": len(folds),
        "folds_planned": len(folds),
        "protocol": protocol,
        "protocol_note": PROTOCOLS[protocol].note,
        "selected_on": "last",
        "speaker_independent": PROTOCOLS[protocol].speaker_independent,
        "transductive": False,
        "corpus": corpus,
        "labels": labels,
        "parameters": n_machines * (FUNCTIONALS[name].size + 1),
        "costs": costs,
        "published": None,
        "machine": f"{platform.machine()}, cpu",
        "versions": {p: version(p) for p in ("opensmile", "scikit-learn", "numpy")}
        | {"lightser": lightser.__version__},
        "minutes": round(minutes, 1),
    }
    write_whole(out / "predictions.csv", decided.to_csv(index=False))
    # Scored as it is read: speakers are strings, probabilities have six digits.
    scored = pd.read_csv(out / "predictions.csv", dtype={"speaker": str, "fold": str})
    scores |= score_predictions(scored, labels)
    write_whole(out / "scores.json", json.dumps(scores, indent=1, ensure_ascii=False))
    write_whole(out / "recipe.toml", to_toml(recipe))
    write_folds(folds, out / "folds.json")


def report(name: str, done: int, of: int) -> None:
    if done % 100 == 0:
        print(f"{name}: {done} of {of} clips", flush=True)


def predictions(
    machine: FunctionalsSvm, x: np.ndarray[Any, Any], rows: pd.DataFrame, fold: Fold,
    labels: list[str],
) -> pd.DataFrame:  # fmt: skip
    """Return the predictions table of a fold's test part."""
    probabilities = machine.probabilities(x)
    table = pd.DataFrame(
        {
            "utterance": rows["utterance"].to_numpy(),
            "corpus": rows["corpus"].to_numpy(),
            "speaker": rows["speaker"].to_numpy(),
            "fold": fold.name,
            "seed": 0,
            "truth": rows["label"].to_numpy(),
            "predicted": machine.labels[probabilities.argmax(axis=1)],
        }
    )
    for label in labels:
        column = probabilities[:, list(machine.labels).index(label)]
        table[f"p_{label}"] = [f"{p:.6f}" for p in column]
    return table


def as_markdown() -> str:
    """Return the table over all results of the classic."""
    lines = [
        "# The classic, openSMILE functionals and a linear SVM",
        "",
        "Written by `benchmarks/classic.py`. Percent; UA with its 95 % interval over speakers. The",
        "licence of openSMILE forbids commercial use.",
        "",
        "| corpus | protocol | functionals | UA | WA | macro F1 | fold-mean UA |",
        "|---|---|---|---|---|---|---|",
    ]
    for path in sorted(RESULTS.glob("*-svm/scores.json")):
        scores = json.loads(path.read_text(encoding="utf-8"))
        pooled, low_high = scores["pooled"], scores["interval_speakers"]["ua"]
        low, high = (f"{100 * end:.1f}" for end in low_high)
        lines.append(
            f"| {scores['corpus']} | {scores['protocol']} | {scores['title'].split()[0]} "
            f"| {100 * pooled['ua']:.1f} ({low}–{high}) | {100 * pooled['wa']:.1f} "
            f"| {100 * pooled['macro_f1']:.1f} | {100 * scores['fold_mean']['ua']['mean']:.1f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    try:
        main()
    except LightserError as error:
        raise SystemExit(f"Error: {error}") from None
