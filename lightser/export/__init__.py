"""A trained module to a file that another runtime opens.

A target (ONNX, and what may come) is a file in :mod:`lightser.export.targets`, which registers an
:class:`Exporter`. What is the same for all of them, from reading the model to its manifest, is in
:mod:`lightser.export.deliver`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightser.registry import Registry

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lightser.training.system import System

PRECISIONS = ("float32", "float16", "int8")
FRONTENDS_AT = ("in", "out")  # whether the file computes the features, or is given them

# One clip, samples [T] or features [F, M], to probabilities [C].
Answer = Callable[["NDArray[np.float32]"], "NDArray[np.float32]"]


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be written.

    Attributes:
        precision: one of :data:`PRECISIONS`.
        frontend: ``"in"`` for a file that takes samples, ``"out"`` for one that takes features.
        calibration: clips to see the range of activations on, samples ``[T]``, each at most a
            window and at least what the system takes; for int8 alone.
        n_samples: the window: the longest clip that is given at once.
        labels: of the answers, in their order.
    """

    precision: str
    frontend: str
    n_samples: int
    labels: tuple[str, ...] = ()
    calibration: "Sequence[NDArray[np.float32]]" = ()


@dataclass(frozen=True, kw_only=True)
class Written:
    """What an exporter has written.

    Attributes:
        files: names in the folder, the model first.
        facts: for the manifest, such as names and shapes of input and output.
        quantisation: what became of numbers and activations; None for float32.
    """

    files: tuple[str, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)
    quantisation: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Exporter:
    """A runtime that a system can be exported to.

    Attributes:
        name: as ``--to`` takes it.
        title: in a few words.
        precisions: those it can write.
        frontends: ``"in"``, ``"out"``, or both.
        is_model_folder: whether what it writes with the front end inside is, with a card, a model
            folder for :class:`lightser.Recognizer`.
        packages: whose versions the manifest names.
        write: from a system (on the CPU, in evaluation mode, not to be changed) and an order to
            files in a folder; raises :class:`~lightser.errors.BadModel` where it cannot.
        open: from the folder and the facts that were written to a function that asks the model, in
            its own runtime.
    """

    name: str
    title: str
    precisions: tuple[str, ...]
    frontends: tuple[str, ...]
    is_model_folder: bool
    packages: tuple[str, ...]
    write: "Callable[[System, Order, Path], Written]"
    open: Callable[[Path, Mapping[str, Any]], Answer]


EXPORTERS: Registry[Exporter] = Registry("export target")
