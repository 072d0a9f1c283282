"""What is to be profiled, by any name it has: a model folder, a recipe, or a network."""

import dataclasses
import inspect
import math
from dataclasses import dataclass
from pathlib import Path

import torch

from lightser.card import CARD, MODEL
from lightser.errors import LightserError
from lightser.export.deliver import open_folder
from lightser.features import FRONTENDS
from lightser.models import MODELS
from lightser.training.system import System

CLASSES = 4  # of the tables in the papers: IEMOCAP's
SECONDS = 3.0  # of a network that takes clips of any length
# The features that each network was published with, where they have another name.
OWN_FRONTENDS = {
    "acrnn3d": "three_channel",
    "bcrnn": "three_channel",
    "dnn_elm": "frame30",
    "drn": "three_channel",
    "satt2017": "log_spectrogram",
    "yenigalla2018": "mel_image",
}
OTHERS = "relative_logmel"  # that of our own training, for a network of somebody's own


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A system, and what there is of it on disk.

    Attributes:
        name: as it was asked for.
        system: with its weights, or with fresh ones.
        seconds: of the clip, which it takes at once.
        graph: its ONNX file, if there is one.
        files: name to bytes, of its model folder.
    """

    name: str
    system: System
    seconds: float
    graph: Path | None = None
    files: tuple[tuple[str, int], ...] = ()


def find_subject(
    name: str,
    *,
    n_classes: int | None = None,
    seconds: float | None = None,
    folder: Path | None = None,
) -> Subject:
    """Return what is meant by a name.

    A registered network hears as much as is asked for; what says its own window keeps to that.

    Args:
        name: a model folder, a registered network (with the features it was published with), or a
            recipe; a model folder comes first.
        n_classes: of a network or recipe without trained weights; by default 4, or as many as the
            recipe's corpus has.
        seconds: of the clip; by default as much as is heard at once.
        folder: where a bundled model of that name is, if there is one.

    Raises:
        LightserError: it is none of these, cannot be made, or hears another length than asked for.
    """
    subject = _subject(name, n_classes, seconds, folder)
    if seconds is None:
        return subject
    _check_length(subject, seconds)
    return dataclasses.replace(subject, seconds=seconds)


def _subject(
    name: str, n_classes: int | None, seconds: float | None, folder: Path | None
) -> Subject:
    folder = folder or Path(name)
    if (folder / CARD).is_file():
        card, system = open_folder(folder)
        files = tuple((file, facts.bytes) for file, facts in card.files.items())
        return Subject(
            name=name,
            system=system,
            seconds=card.window_s,
            graph=folder / MODEL,
            files=files,
        )
    if name in MODELS:
        frontend = OWN_FRONTENDS.get(name, name if name in FRONTENDS else OTHERS)
        takes_window = "window_s" in inspect.signature(FRONTENDS[frontend]).parameters
        options = {"window_s": seconds} if seconds is not None and takes_window else {}
        system = System.build(
            (frontend, options), (name, {}), n_classes or CLASSES, standardize=True
        )
        return Subject(name=name, system=system.eval(), seconds=seconds_of(system))
    return _recipe(name, n_classes)


def _recipe(name: str, n_classes: int | None) -> Subject:
    # Here, because reading recipes needs more than exporting does.
    from lightser.corpora import CORPORA
    from lightser.training.jobs import build_system
    from lightser.training.recipe import find_recipe, read_recipe

    try:
        path = find_recipe(name)
    except LightserError as error:
        known = ", ".join(sorted(MODELS))
        raise LightserError(f"'{name}' is no model folder, no network ({known}): {error}") from None
    recipe = read_recipe(path)
    classes = n_classes or len(CORPORA[recipe.corpus.name].labels) or CLASSES
    system = build_system(recipe, classes).eval()
    return Subject(name=name, system=system, seconds=recipe.window_s or seconds_of(system))


@torch.no_grad()
def _check_length(subject: Subject, seconds: float) -> None:
    """Refuse a length that the front end would crop or fill up: counts would be of another one."""
    system = subject.system
    rate, asked = system.sample_rate, round(seconds * system.sample_rate)
    shortest, longest = system.min_samples, seconds_of(system, otherwise=math.inf) * rate
    if longest < math.inf:
        # What makes as many frames of its shortest clip as of its longest fills up all between.
        longest = round(longest)
        n_frames = {system.features(torch.zeros(1, n)).shape[1] for n in (shortest, longest)}
        shortest = longest if len(n_frames) == 1 else shortest
    if shortest == longest != asked:
        hears = f"{longest / rate:g} s, no other length"
    elif asked < shortest:
        hears = f"{shortest / rate:g} s or more"
    elif asked > longest:
        hears = f"{longest / rate:g} s at most"
    else:
        return
    raise LightserError(f"--seconds {seconds:g}: '{subject.name}' hears {hears}")


def seconds_of(system: System, otherwise: float = SECONDS) -> float:
    """Return the seconds that a system's front end cuts clips to, if it does."""
    window = getattr(system.frontend, "window_s", None)
    return float(window) if window else otherwise
