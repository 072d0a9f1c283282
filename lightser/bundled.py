"""Which model is meant: one that comes with the package or with another one, or a folder.

A bundled model is a model folder in ``inference/weights/``; the folder's name is the model's. The
one that is meant by "default" stands in ``default.txt`` there, so that adding weights changes
nobody's answers.

A model that is too large for that comes in a package of its own, which names it by an entry point
in the group ``lightser.models``: the name of the model, and the Python package in which the model's
folder of that name is. No code of it is run.
"""

import os
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from lightser.card import CARD
from lightser.errors import BadModel, MissingExtra, UnknownName

WEIGHTS = Path(__file__).parent / "inference" / "weights"
DEFAULT = "default"
GROUP = "lightser.models"  # of entry points
EXTRAS = ("strong",)  # models in packages of ours, each an extra of its own name


def bundled_models() -> dict[str, Path]:
    """Return the folders of the bundled models by name, in alphabetical order."""
    if not WEIGHTS.is_dir():
        return {}
    folders = [path.parent for path in sorted(WEIGHTS.glob(f"*/{CARD}"))]
    # A folder that is being written has a name with a dot in front.
    return {folder.name: folder for folder in folders if not folder.name.startswith(".")}


def installed_models() -> dict[str, Path]:
    """Return the folders of the models of other packages by name, in alphabetical order."""
    folders: dict[str, Path] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        spec = find_spec(entry.value)
        for place in (spec and spec.submodule_search_locations) or ():
            if (folder := Path(place) / entry.name / CARD).is_file():
                folders.setdefault(entry.name, folder.parent)
    return folders


def known_models() -> dict[str, Path]:
    """Return the folders of all models that have a name here, the bundled ones first."""
    bundled = bundled_models()
    return bundled | {n: folder for n, folder in installed_models().items() if n not in bundled}


def default_model() -> str:
    """Return the name of the model that is taken when none is asked for.

    Raises:
        BadModel: this copy of lightser has no weights in it.
    """
    try:
        name = (WEIGHTS / "default.txt").read_text(encoding="utf-8").strip()
    except OSError:
        name = ""
    if name not in bundled_models():
        raise BadModel("This copy of lightser comes without weights; give a model folder instead.")
    return name


def find_model(model: str | os.PathLike[str] = DEFAULT) -> Path:
    """Return the folder of a model: "default", the name of a known one, or a folder.

    A known name wins over a folder of the same name here; write ``./name`` for the folder.

    Raises:
        UnknownName: a plain name that is neither a known model nor a folder.
        MissingExtra: the name of a model whose package is not installed.
        BadModel: "default" is asked for and there are no bundled weights.
    """
    if not isinstance(model, str):
        return Path(model)
    if model == DEFAULT:
        return bundled_models()[default_model()]
    bundled = bundled_models()
    if model in bundled:
        return bundled[model]
    known = known_models()
    if model in known:
        return known[model]
    if os.path.exists(model) or os.path.dirname(model):
        return Path(model)
    if model in EXTRAS:
        raise MissingExtra(f"The model '{model}'", model)
    raise UnknownName("model", model, [DEFAULT, *known, *EXTRAS])
