"""What an export says of itself: ``manifest.json``, beside its files."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightser.card import FileFacts

MANIFEST = "manifest.json"
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Parity:
    """How an exported file's answers compare with PyTorch's, float32, for the same clips.

    Attributes:
        clips: how many were compared.
        on: where they are from.
        max_difference: largest difference of a probability.
        mean_difference: mean over all clips and classes.
        label_agreement: share of clips with the same likeliest label.
    """

    clips: int
    on: str
    max_difference: float
    mean_difference: float
    label_agreement: float

    @staticmethod
    def of(
        given: Sequence[NDArray[np.float32]], expected: Sequence[NDArray[np.float32]], on: str
    ) -> "Parity":
        """Compare answers ``[C]`` clip by clip; a NaN anywhere makes both differences NaN."""
        ours, theirs = np.stack(given), np.stack(expected)
        difference = np.abs(ours - theirs)
        return Parity(
            clips=len(ours),
            on=on,
            max_difference=float(difference.max()),
            mean_difference=float(difference.mean()),
            label_agreement=float((ours.argmax(axis=1) == theirs.argmax(axis=1)).mean()),
        )


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """All that whoever ships an exported file has to know.

    Attributes:
        target: of the registry of export targets.
        precision: "float32", "float16" or "int8".
        frontend: whether the file computes features ("in") or takes them ("out"), and which.
        model: name, system, recipe, commit and seed, and the SHA-256 of its weights.
        labels: in the order of the outputs.
        sample_rate: hertz.
        window_s: longest stretch to give at once, seconds.
        min_s: shortest, seconds.
        files: name to SHA-256 and bytes.
        interface: of the target: names, types and shapes of input and output.
        quantisation: what became of the numbers; None in float32.
        calibration: what the ranges of activations were seen on; None if not needed.
        parity: measured on the finished file before it got its name.
        license: of the weights.
        trained_on: the corpora, with their licences.
        versions: of what made it.
        created: date, ISO 8601.
    """

    target: str
    precision: str
    frontend: Mapping[str, Any]
    model: Mapping[str, Any]
    labels: tuple[str, ...]
    sample_rate: int
    window_s: float
    min_s: float
    files: Mapping[str, FileFacts]
    interface: Mapping[str, Any]
    quantisation: Mapping[str, Any] | None
    calibration: Mapping[str, Any] | None
    parity: Parity
    license: str
    trained_on: tuple[Mapping[str, Any], ...]
    versions: Mapping[str, str]
    created: str
    format: int = field(default=FORMAT)

    def write(self, folder: Path) -> None:
        """Write ``manifest.json`` into a folder that is not yet anybody's."""
        text = json.dumps(asdict(self), indent=2, ensure_ascii=False, allow_nan=False)
        (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
