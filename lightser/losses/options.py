"""The options of a loss in a recipe, checked before anything is trained with them."""

import inspect
import math
from collections.abc import Mapping
from typing import Any, get_args

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
    parameters = inspect.signature(make).parameters
    for option, value in options.items():
        if option not in parameters or option == WEIGHTS:
            raise UnknownName(f"option of loss '{name}'", option, parameters)
        _check_kind(f"loss.{option}", value, parameters[option].annotation)
    try:
        make(None, **options)
    except ValueError as error:
        raise BadRecipe(f"loss '{name}': {error}") from None


def _check_kind(what: str, value: Any, kind: Any) -> None:
    """Losses take switches and numbers; a number may be one that can be left out."""
    if bool in (kind, *get_args(kind)):
        fits, words = isinstance(value, bool), "true or false"
    else:
        fits = isinstance(value, (int, float)) and not isinstance(value, bool)
        fits, words = fits and math.isfinite(value), "a number"
    if not fits:
        raise BadRecipe(f"{what} must be {words}, not {value!r}")
