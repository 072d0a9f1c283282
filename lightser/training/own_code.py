"""Code of one's own: a file beside a recipe that registers a network, loss, front end or corpus.

It is written as the files of lightser are, and ends as they do: ``MODELS["name"] = Network``. To
read it is to run it, so it is only ever read where a recipe or a command line names it.
"""

import hashlib
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from lightser.errors import BadRecipe
from lightser.registry import Registry, registrations


@dataclass(frozen=True, kw_only=True)
class OwnCode:
    """A file of Python as it was when it was read, whatever becomes of the file.

    Attributes:
        path: of the file.
        text: what is in it.
    """

    path: str
    text: str

    @classmethod
    def read(cls, path: Path) -> "OwnCode":
        """Read a file, and do not run it yet.

        Raises:
            BadRecipe: it is no file of Python, or cannot be read.
        """
        if path.suffix != ".py":
            raise BadRecipe(f"code must be a file of Python, NAME.py, not '{path.name}'")
        try:
            return cls(path=str(path.absolute()), text=path.read_text(encoding="utf-8"))
        except OSError as error:
            raise BadRecipe(f"Cannot read the code {path}: {error.strerror or error}") from None
        except UnicodeDecodeError:
            raise BadRecipe(f"The code {path} is not UTF-8") from None

    @property
    def name(self) -> str:
        """Name of the file."""
        return Path(self.path).name

    @property
    def sha256(self) -> str:
        """Digest of what is in it."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def facts(self) -> dict[str, str]:
        """What results say of it."""
        return {"file": self.name, "sha256": self.sha256}

    def run(self) -> None:
        """Register what is in it; once in a process, and again only when the file has changed.

        Raises:
            BadRecipe: it cannot be run, or registers nothing, or a name that is taken; with the
                line.
        """
        # What it may add to is filled first, so that what it adds is its own. Not above, because it
        # takes PyTorch, which finding recipes does not.
        import lightser.corpora
        import lightser.features
        import lightser.losses
        import lightser.models  # noqa: F401

        if any(self.sha256 == digest for digest, _ in _RUN.values()):
            return
        for registry, name in _RUN.pop(self.path, ("", []))[1]:
            del registry[name]  # of an earlier version of the file
        module = ModuleType(f"lightser_own_code_{self.sha256[:16]}")
        module.__file__ = self.path
        sys.modules[module.__name__] = module  # where dataclasses, say, look their own module up
        try:
            with registrations() as added:
                exec(compile(self.text, self.path, "exec"), vars(module))
        except Exception as error:
            raise BadRecipe(self._in_a_line(error)) from error
        if not added:
            raise BadRecipe(
                f"{self.name} registers nothing; let it end as the files of lightser do, such as "
                'with MODELS["my_network"] = MyNetwork'
            )
        _RUN[self.path] = (self.sha256, added)

    def brings(self, registry: Registry[Any], name: str) -> bool:
        """Whether a registered thing is its own; it has been run."""
        mine = [added for digest, added in _RUN.values() if digest == self.sha256]
        return any(of is registry and name == one for added in mine for of, one in added)

    def _in_a_line(self, error: Exception) -> str:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == self.path]
        said = str(error)
        if isinstance(error, SyntaxError) and error.filename == self.path:
            lines, said = [error.lineno], error.msg
        at = f", line {lines[-1]}" if lines else ""
        said = " ".join(said.split())[:200]
        return f"{self.name}{at}: {type(error).__name__}: {said}"


# Of each path: the digest of what was run, and what it registered.
_RUN: dict[str, tuple[str, list[tuple[Registry[Any], str]]]] = {}
