"""The model that ships: a recipe trained on all speakers of a corpus, calibrated on held-out ones.

Its honest score is not its own (nobody is left to test it on) but that of the same recipe under
cross-validation, whose predictions also give the temperature of its softmax.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lightser.card import WEIGHTS
from lightser.corpora.splits import Fold
from lightser.errors import BadRecipe, BadResults
from lightser.training.crossval import Plan, facts_of, other_data
from lightser.training.engines import ENGINES, Progress
from lightser.training.jobs import Job, refuse_classic, refuse_other_job
from lightser.training.scores import read_predictions
from lightser.training.system import System


def train_final(plan: Plan, *, seed: int, progress: Progress = lambda states: None) -> System:
    """Train on every utterance for the recipe's full length, and return the system.

    Raises:
        BadRecipe: the recipe chooses its epoch, so that somebody would have to be left out; or
            there is no network in it.
    """
    refuse_classic(plan.recipe)
    if plan.select != "last":
        raise BadRecipe(
            f"{plan.name} chooses its epoch on {plan.select}, which takes data away from a model "
            'that is to learn from all of it; give the recipe protocol.select = "last"'
        )
    job = whole_job(plan, seed=seed)
    refuse_other_job(job)
    if not job.is_done:
        for _ in ENGINES["local"]([job], 1, progress):
            pass
    return System.load(job.folder / WEIGHTS)


def whole_job(plan: Plan, *, seed: int) -> Job:
    """Return the job that trains on every utterance."""
    fold = Fold(name="all", train=tuple(plan.table["utterance"]), valid=(), test=())
    folder = plan.out / "jobs" / f"all-seed{seed}"
    return replace(plan.jobs[0], fold=fold, seed=seed, folder=folder)


def check_quotable(plan: Plan, results: Path) -> None:
    """Refuse results that are not this recipe's honest score, whole.

    Raises:
        BadResults: with the reason.
    """
    facts = facts_of(results)
    if not facts:
        raise BadResults(f"{results}: no results; make them with lightser reproduce")
    reasons = {
        "of another recipe, of an earlier version of it, or of a shortened run": (
            facts.get("recipe_sha256") != plan.recipe.sha256()
        ),
        "of other labels": facts.get("labels") != list(plan.labels),
        "incomplete": not facts.get("complete") or not (results / "predictions.csv").is_file(),
        "not honest: the test part was heard in training, or chose the epoch": (
            not facts.get("speaker_independent") or facts.get("selected_on") == "test_wa"
        ),
    }
    different = other_data(plan, results)
    reasons[f"of other data ({different})"] = bool(different)
    for reason, is_so in reasons.items():
        if is_so:
            raise BadResults(
                f"{results}: {reason}; a card quotes whole, honest scores of its own recipe"
            )


def calibrate(system: System, results: Path) -> float:
    """Set the system's temperature from held-out predictions of the same recipe, and return it.

    The temperature is the one with the smallest negative log-likelihood (Guo et al., "On
    Calibration of Modern Neural Networks", ICML 2017).
    """
    facts = facts_of(results)
    table = read_predictions(results / "predictions.csv", facts["labels"])
    columns = [f"p_{label}" for label in facts["labels"]]
    index = {label: i for i, label in enumerate(facts["labels"])}
    temperature = best_temperature(
        table[columns].to_numpy(dtype=np.float64), table["truth"].map(index).to_numpy()
    )
    system.temperature.fill_(temperature)
    return temperature


def best_temperature(probabilities: NDArray[np.float64], truth: NDArray[np.int64]) -> float:
    """Return the temperature that makes ``[N, C]`` probabilities most likely for ``[N]`` truths.

    >>> sure = np.array([[0.9, 0.1]] * 10)  # right in six of ten cases
    >>> p = sure ** (1 / best_temperature(sure, np.array([0] * 6 + [1] * 4)))
    >>> (p / p.sum(axis=1, keepdims=True))[0].round(2).tolist()
    [0.6, 0.4]
    """
    logits = torch.from_numpy(np.log(probabilities.clip(1e-6)))
    labels = torch.tensor(truth, dtype=torch.int64)
    log_temperature = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_temperature], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(logits / log_temperature.exp(), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return float(log_temperature.detach().exp())
