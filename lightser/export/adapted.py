"""From a model folder and speech without labels to a model folder that is adapted to it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightser.card import WEIGHTS, Card, read_card, verify_files
from lightser.corpora.heard import read_heard
from lightser.export.folder import CardFacts, write_model_folder
from lightser.training.adapt import adapt_norms, features_to_adapt_to, norms_of
from lightser.training.own_code import OwnCode
from lightser.training.system import System


def check_adaptable(model: Path) -> None:
    """Refuse a model folder that cannot be adapted, before anything is heard.

    Raises:
        BadModel: it is incomplete, or has no batch norm.
    """
    norms_of(System.load(model / WEIGHTS))


def adapted_system(model: Path, clips: Sequence[Sequence[NDArray[np.float32]]]) -> System:
    """Return the system of a model folder, adapted to clips, of each of which it gets the windows.

    Raises:
        BadModel: the folder is incomplete, or its network has no batch norm.
    """
    system = System.load(model / WEIGHTS)
    windows = [window for clip in clips for window in clip]
    adapt_norms(system, features_to_adapt_to(system, windows))
    return system


def write_adapted_model(
    model: Path, clips: Sequence[Sequence[NDArray[np.float32]]], out: Path, *, overwrite: bool
) -> Card:
    """Write a model folder whose batch norms have the statistics of clips.

    Its card has no scores: those of ``model`` were measured on other statistics.

    Args:
        model: the folder that is adapted.
        clips: of each, the windows ``[T]`` at the model's rate.
        out: where the new model goes.
        overwrite: whether a model folder that is there is replaced.

    Raises:
        BadModel: ``model`` is incomplete or changed, or has no batch norm; ``out`` is in the way.
    """
    card = read_card(model)
    verify_files(model, card)
    system = adapted_system(model, clips)
    facts = CardFacts(
        labels=card.labels,
        window_s=card.window_s,
        trained_on=card.trained_on,
        license=card.license,
        scores=(),
        recipe=card.recipe,
        commit=card.commit,
        seed=card.seed,
        intended_use=card.intended_use,
        limits=(
            f"{card.limits} This is {card.name}, adapted to {len(clips)} recordings without "
            "labels; its confidences are calibrated for the voices of before."
        ),
        adapted_to=len(clips),
    )
    code = next((OwnCode.read(model / name) for name in card.files if name.endswith(".py")), None)
    heard = read_heard(model, card) or ()
    return write_model_folder(system, facts, out, overwrite=overwrite, code=code, heard=heard)
