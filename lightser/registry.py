"""How names are found: a dict that explains itself, filled by the files of a folder."""

import importlib
import pkgutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from lightser.errors import UnknownName

T = TypeVar("T")


class Registry(dict[str, T]):
    """Names to things; a missing name is answered with the nearest known one.

    >>> pets: Registry[str] = Registry("pet")
    >>> pets["cat"] = "meow"
    >>> pets["cta"]
    Traceback (most recent call last):
    lightser.errors.UnknownName: Unknown pet 'cta'; did you mean 'cat'? Known: cat
    """

    def __init__(self, kind: str):
        super().__init__()
        self.kind = kind

    def __setitem__(self, name: str, thing: T) -> None:
        if name in self:
            raise ValueError(f"there is a {self.kind} '{name}' already; take another name")
        super().__setitem__(name, thing)
        if (added := _ADDED.get()) is not None:
            added.append((self, name))

    def __missing__(self, name: str) -> T:
        raise UnknownName(self.kind, name, self)


_ADDED: ContextVar[list[tuple[Registry[Any], str]] | None] = ContextVar("added", default=None)


@contextmanager
def registrations() -> Iterator[list[tuple[Registry[Any], str]]]:
    """Give a list of what is registered meanwhile, each registry and name; nothing, if it fails."""
    added: list[tuple[Registry[Any], str]] = []
    token = _ADDED.set(added)
    try:
        yield added
    except BaseException:
        for registry, name in added:
            del registry[name]
        raise
    finally:
        _ADDED.reset(token)


def import_siblings(package: str, path: Iterable[str]) -> None:
    """Import every module of ``package``, so that each registers what it holds."""
    for module in pkgutil.iter_modules(path):
        importlib.import_module(f"{package}.{module.name}")
