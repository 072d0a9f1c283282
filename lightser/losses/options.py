"""The options of a loss in a recipe, checked before anything is trained with them."""

import inspect
from collections.abc import Mapping
from typing import Any

from lightser import options as kinds
from lightser.errors import BadRecipe, UnknownName
from lightser.losses import LOSSES

WEIGHTS = "class_weights"  # is counted in the training part; a recipe only says whether


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Refuse options with which a loss cannot be made.

    Args:
        name: of the loss.
        options: what the recipe gives it; not the class weights.

    Raises:
        UnknownName: there is no such loss, or it has no such option.
        BadRecipe: an option is of another kind, or out of its range.
    """
    make = LOSSES[name]
    if WEIGHTS in options:
        raise UnknownName(f"option of loss '{name}'", WEIGHTS, inspect.signature(make).parameters)
    kinds.check_options("loss", name, make, options)
    try:
        make(None, **options)
    except ValueError as error:
        raise BadRecipe(f"loss '{name}': {error}") from None
