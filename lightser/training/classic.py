"""A job of the classic: openSMILE functionals and a linear machine, on the folds of networks.

Nothing is trained by gradient, so a recipe of it has no loss and no optimiser; what it has:

    [frontend]
    name = "functionals"
    set = "compare"            # or "egemaps"

    [model]
    name = "functionals_svm"
    costs = [1e-4, 1e-3]       # to choose from; left out, those of the set

Shapes: N clips, C classes, D functionals.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lightser.corpora.splits import Fold
from lightser.errors import BadRecipe, UnknownName
from lightser.models.functionals_svm import FUNCTIONALS, FunctionalsSvm, functionals_of
from lightser.training.recipe import Choice, Recipe

FRONTEND = "functionals"
PACKAGES = ("opensmile", "scikit-learn")
TIMED_CLIPS = 8  # of which functionals are computed to see how long it takes
TIMED_ROWS = 400  # of which a machine is fitted likewise


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a recipe of the classic says.

    Attributes:
        functionals: name of the set.
        costs: of the machine, to choose from.
    """

    functionals: str
    costs: tuple[float, ...]

    @classmethod
    def of(cls, recipe: Recipe) -> "Settings":
        """Read them.

        Raises:
            BadRecipe: another front end, or costs that are none.
            UnknownName: an option that does not exist, or a set of functionals.
        """
        if recipe.frontend.name != FRONTEND:
            raise BadRecipe(
                f"'{recipe.model.name}' hears the front end '{FRONTEND}', not "
                f"'{recipe.frontend.name}'"
            )
        _known(f"front end '{FRONTEND}'", recipe.frontend, {"set": "compare"})
        _known(f"model '{recipe.model.name}'", recipe.model, {"costs": ()})
        name = recipe.frontend.options.get("set", "compare")
        costs = recipe.model.options.get("costs", FUNCTIONALS[name].costs)
        if not isinstance(costs, list | tuple) or not costs or not all(map(_is_cost, costs)):
            raise BadRecipe(f"model.costs must be a list of numbers above 0, not {costs!r}")
        return cls(functionals=name, costs=tuple(map(float, costs)))

    def parameter_count(self, n_classes: int) -> int:
        """Return the numbers of a machine for each pair of classes: a weight each, and a bias."""
        return n_classes * (n_classes - 1) // 2 * (FUNCTIONALS[self.functionals].size + 1)


def _known(what: str, choice: Choice, known: Mapping[str, object]) -> None:
    for option in choice.options:
        if option not in known:
            raise UnknownName(f"option of {what}", option, known)


def _is_cost(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < np.inf


@dataclass(frozen=True)
class Decided:
    """What a machine says of a test part: probabilities ``[N, C]``, and the cost that it chose."""

    utterances: tuple[str, ...]
    probabilities: NDArray[np.float64]
    cost: float


def decide(
    settings: Settings,
    labels: Sequence[str],
    table: pd.DataFrame,
    fold: Fold,
    *,
    cache: Path,
    progress: Callable[[int, int], None],
) -> Decided:
    """Fit a machine to a fold and let it decide the test part.

    A validation part trains it, too: the cost is chosen on speakers left out of training in turn.

    Args:
        settings: of the recipe.
        labels: classes, in the order of the probabilities.
        table: utterances of all parts of the fold.
        fold: who is in which part.
        cache: where functionals are kept.
        progress: called with the functionals of how many clips are there, and of how many in all.

    Raises:
        BadCorpus, MissingExtra: see :class:`~lightser.models.functionals_svm.FunctionalsSvm`.
    """
    names = {*fold.train, *fold.valid, *fold.test}
    rows = table[table["utterance"].isin(names)]
    x = functionals_of(
        settings.functionals, list(rows["file"]), rows["start"], rows["end"], cache=cache,
        progress=progress,
    )  # fmt: skip
    tested = rows["utterance"].isin(fold.test).to_numpy()
    truth, speakers = (rows[column].to_numpy(dtype=str) for column in ("label", "speaker"))
    machine = FunctionalsSvm(settings.costs).fit(x[~tested], truth[~tested], speakers[~tested])
    probabilities = np.zeros((int(tested.sum()), len(labels)))  # of a class never heard: none
    probabilities[:, [list(labels).index(name) for name in machine.labels]] = machine.probabilities(
        x[tested]
    )
    return Decided(tuple(rows["utterance"][tested]), probabilities, machine.cost)


def seconds_of(
    settings: Settings, n_classes: int, table: pd.DataFrame, fold: Fold, cache: Path
) -> tuple[float, float]:
    """Return about how long the functionals of a clip take, and the machine of a fold.

    Functionals are those of a few clips, found or computed; the machine's time grows with the
    square of its clips, and is that of one fitted to noise, which takes the longest.
    """
    rows = table[:: max(1, len(table) // TIMED_CLIPS)]
    start = time.perf_counter()
    functionals_of(
        settings.functionals, list(rows["file"]), rows["start"], rows["end"], cache=cache
    )
    of_clip = (time.perf_counter() - start) / len(rows)

    heard = table["utterance"].isin((*fold.train, *fold.valid))
    n_heard, n_speakers = int(heard.sum()), table["speaker"][heard].nunique()
    n = min(n_heard, max(TIMED_ROWS, 2 * n_classes * n_speakers))
    turn = np.arange(n)
    x = np.random.default_rng(0).normal(size=(n, FUNCTIONALS[settings.functionals].size))
    start = time.perf_counter()
    FunctionalsSvm(settings.costs).fit(
        x, (turn % n_classes).astype(str), (turn // n_classes % n_speakers).astype(str)
    )
    return of_clip, (time.perf_counter() - start) * (n_heard / n) ** 2
