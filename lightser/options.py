"""The options of a registered thing, checked by its signature before it is made with them."""

import inspect
import math
import os
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args, get_origin

from lightser.errors import BadRecipe, UnknownName


def check_options(
    kind: str,
    name: str,
    make: Callable[..., Any],
    options: Mapping[str, Any],
    *,
    given: Collection[str] = (),
) -> None:
    """Refuse options that do not fit the names and annotations of a signature.

    Args:
        kind: of the thing, as registries and recipes call it: ``"loss"``.
        name: it is registered under.
        make: what takes the options by their names.
        options: what a recipe says.
        given: parameters that no recipe sets.

    Raises:
        UnknownName: there is no such option.
        BadRecipe: an option is of another kind, or one is lacking that must be given.
    """
    parameters = inspect.signature(make).parameters
    known = {key: p for key, p in parameters.items() if key not in given}
    for option, value in options.items():
        if option not in known:
            raise UnknownName(f"option of {kind} '{name}'", option, known)
        if words := _must_be(value, known[option].annotation):
            raise BadRecipe(f"{kind}.{option} must be {words}, not {value!r}")
    for option, parameter in known.items():
        if parameter.default is parameter.empty and option not in options:
            raise BadRecipe(f"{kind} '{name}' needs the option {option}")


def _must_be(value: Any, kind: Any) -> str:
    """Say what a value must be to be of an annotated kind, or "" if it is.

    >>> _must_be("no", bool), _must_be(3, str | None), _must_be(["a", 3], Sequence[str])
    ('true or false', 'a text', 'a list, each item a text')
    """
    base, inner = get_origin(kind) or kind, get_args(kind)
    if base in (typing.Union, types.UnionType):
        if value is None and types.NoneType in inner:
            return ""
        words = [_must_be(value, arm) for arm in inner if arm is not types.NoneType]
        return "" if "" in words else " or ".join(dict.fromkeys(words))
    if base is bool:
        return "" if isinstance(value, bool) else "true or false"
    if base is int:
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        return "" if is_whole else "a whole number"
    if base is float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return "" if is_number and math.isfinite(value) else "a number"
    if base in (str, Path):
        return "" if isinstance(value, str | os.PathLike) else "a text"
    if base in (Sequence, list, tuple) and inner:
        is_list = isinstance(value, Sequence) and not isinstance(value, str)
        wrong = not is_list or any(_must_be(item, inner[0]) for item in value)
        return f"a list, each item {_must_be(None, inner[0])}" if wrong else ""
    if base in (Mapping, dict) and inner:
        wrong = not isinstance(value, Mapping) or any(
            _must_be(item, inner[1]) for item in value.values()
        )
        return f"a table, each value {_must_be(None, inner[1])}" if wrong else ""
    return ""  # what else there is, its maker knows
