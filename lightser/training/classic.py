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

from collections.abc import Callable, Sequence
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
        _refuse_other_options(f"front end '{FRONTEND}'", recipe.frontend, "set")
        _refuse_other_options(f"model '{recipe.model.name}'", recipe.model, "costs")
        name = recipe.frontend.options.get("set", "compare")
        costs = recipe.model.options.get("costs", FUNCTIONALS[name].costs)
        if not isinstance(costs, list | tuple) or not costs or not all(map(_is_cost, costs)):
            raise BadRecipe(f"model.costs must be a list of numbers above 0, not {costs!r}")
        return cls(functionals=name, costs=tuple(map(float, costs)))

    def parameter_count(self, n_classes: int) -> int:
        """Return the numbers of a machine for each pair of classes: a weight each, and a bias."""
        return n_classes * (n_classes - 1) // 2 * (FUNCTIONALS[self.functionals].size + 1)


def _refuse_other_options(what: str, choice: Choice, known: str) -> None:
    for option in choice.options:
        if option != known:
            raise UnknownName(f"option of {what}", option, [known])


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
