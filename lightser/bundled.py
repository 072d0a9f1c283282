"""Which model is meant: one that comes with the package, or a folder.

A bundled model is a model folder in ``inference/weights/``; the folder's name is the model's. The
one that is meant by "default" stands in ``default.txt`` there, so that adding weights changes
nobody's answers.
"""

import os
from pathlib import Path

from lightser.card import CARD
from lightser.errors import BadModel, UnknownName

WEIGHTS = Path(__file__).parent / "inference" / "weights"
DEFAULT = "default"


def bundled_models() -> dict[str, Path]:
    """Return the folders of the bundled models by name, in alphabetical order."""
    if not WEIGHTS.is_dir():
        return {}
    folders = [path.parent for path in sorted(WEIGHTS.glob(f"*/{CARD}"))]
    # A folder that is being written has a name with a dot in front.
    return {folder.name: folder for folder in folders if not folder.name.startswith(".")}


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
    """Return the folder of a model: "default", the name of a bundled one, or a folder.

    A bundled name wins over a folder of the same name here; write ``./name`` for the folder.

    Raises:
        UnknownName: a plain name that is neither a bundled model nor a folder.
        BadModel: "default" is asked for and there are no bundled weights.
    """
    if not isinstance(model, str):
        return Path(model)
    if model == DEFAULT:
        return bundled_models()[default_model()]
    bundled = bundled_models()
    if model in bundled:
        return bundled[model]
    if os.path.exists(model) or os.path.dirname(model):
        return Path(model)
    raise UnknownName("model", model, [DEFAULT, *bundled])
