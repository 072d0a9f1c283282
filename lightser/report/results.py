"""Results folders: found, read, and scored again from their predictions tables.

What a report prints is computed here from ``predictions.csv``; ``scores.json`` adds what a
predictions table cannot know (protocol, published figures, machine), and is checked against it.
"""

import hashlib
import json
import math
import sys
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lightser.errors import BadResults, LightserWarning
from lightser.training.scores import read_predictions, reason_of, score_predictions

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HISTORY_COLUMNS = (
    "fold",
    "seed",
    "epoch",
    "update",
    "train_loss",
    "valid_ua",
    "test_wa",
    "chosen",
)
HOLD_OUTS = ("light_sernet", "random_holdout")  # protocols whose parts are called so
# What a recipe may change and still be the same system, trained the same way.
PROTOCOL_KEYS = ("title", "protocol", "seeds", "published")


@dataclass(frozen=True, kw_only=True)
class Result:
    """One results folder.

    Attributes:
        folder: where it lies.
        scores: ``scores.json``, every score in it computed again from ``predictions``.
        predictions: one row per decision; see :mod:`lightser.training.scores`.
        history: one row per fold, seed and epoch; empty where there is none.
        recipe: the resolved recipe; {} where there is none.
    """

    folder: Path
    scores: Mapping[str, Any]
    predictions: pd.DataFrame
    history: pd.DataFrame = field(default_factory=pd.DataFrame)
    recipe: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The recipe's path, or the folder's name."""
        return str(self.scores.get("recipe") or self.folder.name)

    @property
    def title(self) -> str:
        return str(self.scores.get("title") or self.name)

    @property
    def corpus(self) -> str:
        return str(self.scores.get("corpus", ""))

    @property
    def tested(self) -> str:
        """The corpus, or, of several, those whose utterances were scored: ``"nemo+ravdess"``."""
        return "+".join(sorted(self.scores.get("by_corpus") or {})) or self.corpus

    @property
    def labels(self) -> list[str]:
        return list(self.scores["labels"])

    @property
    def seeds(self) -> list[int]:
        return sorted(int(seed) for seed in self.predictions["seed"].unique())

    @property
    def system(self) -> str:
        """Which of the systems it is, for grouping; "" unknown."""
        return str(self.scores.get("system", ""))

    @property
    def is_honest(self) -> bool:
        """Whether nothing of the test speakers was used: not to train, choose or normalise."""
        return self.is_untaught and not self.scores.get("transductive", False)

    @property
    def is_untaught(self) -> bool:
        """Whether no label of the test speakers was used: neither to train nor to choose."""
        return bool(
            self.scores.get("speaker_independent", False)
            and self.scores.get("selected_on") != "test_wa"
        )

    @property
    def tone(self) -> str:
        """The colour of its kind: ``"honest"``, ``"adapted"`` (transductive) or ``"lax"``."""
        return "honest" if self.is_honest else "adapted" if self.is_untaught else "lax"

    @property
    def is_whole(self) -> bool:
        """Whether every planned job ran, at full length."""
        return bool(self.scores.get("complete", True)) and not self.cut_words

    @property
    def length(self) -> float:
        """The share of the recipe's epochs or updates that was run."""
        return float(self.scores.get("length", 1.0))

    @property
    def reach(self) -> tuple[bool, bool, float]:
        """What sorts runs of one recipe by how much they say, the least first.

        A quick run says nothing; a short one of all speakers says more than a part of a long one.
        """
        return not self.is_quick, bool(self.scores.get("complete", True)), self.length

    @property
    def is_quick(self) -> bool:
        """Whether it only shows that everything runs: a few epochs, two folds."""
        return bool(self.scores.get("quick", False))

    @property
    def cut_words(self) -> str:
        """Say how the recipe was cut down, or "": ``quick run``, ``10 % of the epochs``."""
        if self.is_quick:
            return "quick run"
        unit = "epochs" if self.scores.get("updates") is None else "updates"
        return f"{100 * self.length:.3g} % of the {unit}" if self.length < 1 else ""

    @property
    def part_words(self) -> str:
        """Say what is lacking of what was planned, or "": ``3 of 10 hold-outs``."""
        scores = self.scores
        if scores.get("complete", True):
            return ""
        if unread := scores.get("unread"):  # of an evaluation
            return f"{unread} utterance{'s' * (unread != 1)} could not be read"
        parts = "hold-outs" if scores.get("protocol") in HOLD_OUTS else "folds"
        unit = parts if len(scores.get("seeds") or [0]) == 1 else "jobs"
        return f"{scores.get('folds_done')} of {scores.get('folds_planned')} {unit}"

    @property
    def is_classic(self) -> bool:
        """Whether it is the baseline that everybody should beat: functionals and a linear SVM."""
        return str(self.recipe.get("model", {}).get("name", "")) == "functionals_svm"

    @property
    def class_words(self) -> str:
        """Say over how many of the corpus's classes the scores are, or "": ``5 of 6 classes``."""
        left_out = self.scores.get("left_out") or {}
        if not left_out:
            return ""
        tested = len(self.scores.get("label_map") or set(self.predictions["truth"]))
        return f"{tested} of {tested + len(left_out)} classes"

    @property
    def published_statistic(self) -> str:
        """What the paper's figures are: ``"pooled"``, or ``"fold_mean"``, a mean over folds."""
        says = (self.scores.get("published"), self.recipe.get("published"))
        found = [facts["statistic"] for facts in says if facts and "statistic" in facts]
        return str(found[0]) if found else "pooled"

    @property
    def caveats(self) -> list[str]:
        """What must be said wherever this result is printed, in words; the gravest first."""
        scores = self.scores
        words = []
        if scores.get("selected_on") == "test_wa":
            words.append("selected on test")
        if not scores.get("speaker_independent", False):
            words.append("test speakers in training")
        if scores.get("transductive", False):
            words.append("uses the test speaker's data")
        if self.class_words:
            words.append(self.class_words)
        return words + [lacks for lacks in (self.cut_words, self.part_words) if lacks]


def interval(result: Result, score: str) -> tuple[float, float] | None:
    """Return the 95 % interval over speakers of ``"ua"`` or ``"wa"`` as fractions."""
    ends = result.scores["interval_speakers"]
    return (ends[score][0], ends[score][1]) if ends else None


def published(result: Result, score: str) -> float | None:
    """Return what the paper prints for ``"ua"``, ``"wa"`` or ``"f1"``, as a fraction.

    Recipes, and so ``scores.json``, hold published figures as printed, in per cent. An honest twin
    inherits those of its row, but they were not measured under its protocol: it has none.
    """
    if result.name.startswith("honest/"):
        return None
    value = (result.scores.get("published") or {}).get(score)
    return None if value is None else float(value) / 100


SELECTED_ON = {
    "valid_ua": "epoch chosen on validation",
    "test_wa": "epoch chosen on test",
    "last": "last epoch",
}


def protocol_words(result: Result) -> str:
    """Return the protocol and how it chooses the epoch, in a few words.

    A linear SVM has no epochs: of the classic it is the protocol alone.

    >>> protocol_words(Result(folder=Path(), scores={"protocol": "loso", "selected_on": "last"},
    ...     predictions=pd.DataFrame()))
    'loso, last epoch'
    """
    selected_on = "" if result.is_classic else str(result.scores.get("selected_on"))
    chosen = SELECTED_ON.get(selected_on, "")
    return ", ".join(filter(None, [str(result.scores.get("protocol", "")), chosen]))


def strictness(result: Result) -> tuple[bool, bool, bool]:
    """Return a key that sorts results from the laxest protocol to the strictest."""
    return (
        bool(result.scores.get("speaker_independent", False)),
        result.scores.get("selected_on") != "test_wa",
        bool(result.scores.get("text_independent", False)),
    )


def families(results: Iterable[Result]) -> list[list[Result]]:
    """Return the groups of results whose recipes differ in nothing but the protocol.

    Each is sorted from the laxest protocol to the strictest, so that neighbours show what one
    step costs. Results without a recipe, and those alone of their kind, are left out.
    """
    groups: dict[str, list[Result]] = {}
    for result in results:
        facts = {key: value for key, value in result.recipe.items() if key not in PROTOCOL_KEYS}
        if facts:
            key = json.dumps([facts, result.cut_words], sort_keys=True)
            groups.setdefault(key, []).append(result)
    return [sorted(group, key=strictness) for group in groups.values() if len(group) > 1]


def find_results(paths: Iterable[Path]) -> list[Path]:
    """Return the results folders among ``paths`` and below them, in order of their paths.

    Raises:
        BadResults: a path is not there, or no results folder is below it.
    """
    folders: list[Path] = []
    for path in paths:
        if not path.is_dir():
            raise BadResults(f"There is no results folder {path}")
        found = sorted(file.parent for file in path.rglob("scores.json"))
        if not found:
            raise BadResults(f"No results below {path}: a results folder holds a scores.json")
        folders += [folder for folder in found if folder not in folders]
    return folders


def fingerprint(results: Iterable[Result]) -> str:
    """Return a digest of what results were read from, to tell whether a page is up to date."""
    return fingerprint_of(result.folder for result in results)


def fingerprint_of(folders: Iterable[Path]) -> str:
    """Return :func:`fingerprint` of results folders that have not been read.

    >>> fingerprint_of([])
    'made of results e3b0c44298fc1c14'
    """
    digests = sorted(
        hashlib.sha256((folder / file).read_bytes()).hexdigest()
        for folder in folders
        for file in ("scores.json", "predictions.csv", "history.csv", "recipe.toml")
        if (folder / file).is_file()
    )
    return f"made of results {hashlib.sha256(''.join(digests).encode()).hexdigest()[:16]}"


def read_result(folder: Path) -> Result:
    """Read one results folder and score its predictions again.

    Warns (:class:`~lightser.errors.LightserWarning`) where ``scores.json`` says otherwise.

    Raises:
        BadResults: a file is missing or cannot be understood.
    """
    if not folder.is_dir():
        raise BadResults(f"There is no results folder {folder}")
    path = folder / "scores.json"
    if not path.exists():
        raise BadResults(f"No results in {folder}: a results folder holds a scores.json")
    written = _read_json(path)
    _check_scores(written, path)
    labels = written["labels"]
    predictions = read_predictions(folder / "predictions.csv", labels)
    computed = score_predictions(predictions, labels)
    for name, value in computed["pooled"].items():
        before = (written.get("pooled") or {}).get(name)
        if before is not None and not math.isclose(before, value, abs_tol=1e-6):
            warnings.warn(
                f"{folder}: scores.json says {name} {before:.4f}, its predictions {value:.4f}; "
                "printed is the latter",
                LightserWarning,
                stacklevel=2,
            )
    return Result(
        folder=folder,
        scores={**written, **computed},
        predictions=predictions,
        history=_read_history(folder / "history.csv"),
        recipe=_read_recipe(folder / "recipe.toml"),
    )


def chosen_epochs(history: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of ``history`` whose weights were kept, one per fold and seed."""
    return history[history["chosen"].astype(int) == 1]


def progress_axis(history: pd.DataFrame) -> str:
    """Return what folds have in common, ``"epoch"`` or ``"update"``.

    Folds of different size reach the same epoch at different updates, and the other way round;
    whichever the recipe counts in takes fewer values.
    """
    return "epoch" if history["epoch"].nunique() <= history["update"].nunique() else "update"


@dataclass(frozen=True, kw_only=True)
class SelectionGain:
    """What choosing the epoch on the test set is worth, in accuracy (fractions).

    Attributes:
        last: mean over jobs of the test accuracy after the last epoch.
        best: mean over jobs of the highest test accuracy of any epoch.
    """

    last: float
    best: float

    @property
    def gain(self) -> float:
        return self.best - self.last


def selection_gain(history: pd.DataFrame) -> SelectionGain | None:
    """Compare the best epoch *on test* with the last; None where test was not looked at.

    >>> history = pd.DataFrame({"fold": "a", "seed": 0, "update": [9, 18, 27],
    ...     "test_wa": [0.5, 0.9, 0.8]})
    >>> round(selection_gain(history).gain, 3)
    0.1
    """
    if "test_wa" not in history or history["test_wa"].isna().all():
        return None
    jobs = history.dropna(subset=["test_wa"]).sort_values("update").groupby(["fold", "seed"])
    last, best = jobs["test_wa"].last(), jobs["test_wa"].max()
    return SelectionGain(last=float(last.mean()), best=float(best.mean()))


def probabilities(result: Result) -> NDArray[np.float64]:
    """Return the probabilities ``[N, C]`` of the result's N decisions, in label order."""
    return result.predictions[[f"p_{label}" for label in result.labels]].to_numpy(float)


OBJECTS = (  # of scores.json
    "pooled", "published", "left_out", "label_map", "versions", "precision_by_job",
)  # fmt: skip


def _check_scores(written: Mapping[str, Any], path: Path) -> None:
    """Refuse a scores.json in which something that is read here is of another kind."""
    labels = written.get("labels")
    if not isinstance(labels, list) or not labels:
        raise BadResults(f"{path} has no 'labels'")
    if not all(isinstance(label, str) for label in labels):
        raise BadResults(f"{path}: 'labels' must be words, not {labels}")
    for name in OBJECTS:
        if not isinstance(written.get(name), dict | None):
            raise BadResults(f"{path}: '{name}' must be an object, not {written[name]!r}")
    figures = {"length": written.get("length")}
    for name, keys in (("pooled", None), ("published", ("ua", "wa", "f1"))):
        inner = written.get(name) or {}
        figures |= {f"{name}.{key}": inner.get(key) for key in (keys or inner)}
    for name, value in figures.items():
        if not isinstance(value, int | float | None):
            raise BadResults(f"{path}: '{name}' must be a number, not {value!r}")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadResults(f"Cannot read {path}: {reason_of(error)}") from error
    if not isinstance(content, dict):
        raise BadResults(f"{path} is not a JSON object")
    return content


def _read_recipe(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise BadResults(f"Cannot read {path}: {reason_of(error)}") from error


def _read_history(path: Path) -> pd.DataFrame:
    if not path.is_file():
        return pd.DataFrame()
    try:
        history = pd.read_csv(path, dtype={"fold": str}, keep_default_na=False, na_values=[""])
    except (OSError, ValueError) as error:
        raise BadResults(f"Cannot read {path}: {reason_of(error)}") from error
    missing = [column for column in HISTORY_COLUMNS if column not in history]
    if missing:
        raise BadResults(f"{path} lacks the columns {', '.join(missing)}")
    return history
