"""What a model has heard of a voice, without labels: statistics by which its embedding is adapted.

A network standardises its embedding, the pooled vector in front of its classifier, by mean and
deviation of training (:mod:`lightser.models.embedding`). Another voice, room or language lies
elsewhere; its own mean and deviation, from a few recordings without labels, put it where the
classifier expects it. With few recordings they are drawn towards those of training: these count
as much as so many windows more.

A voice that shows one emotion only is the known way to fail: its mean *is* that emotion, and taking
the mean off takes the answer away. Adapt to recordings in which several emotions occur.

Shapes: N windows, P values of the embedding.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightser.errors import BadAdaptation
from lightser.whole import write_whole

FORMAT = 1
# Windows that the mean and the variance of training count as.
MEAN_COUNTS, VARIANCE_COUNTS = 10.0, 10.0

Vector = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Norm:
    """Mean and deviation ``[P]`` by which an embedding is standardised."""

    mean: Vector
    std: Vector


@dataclass(eq=False)
class Adaptation:
    """Running statistics of the embeddings of a voice; of a few kilobytes in a file.

    Attributes:
        model: SHA-256 of the graph that the embeddings are from; those of another mean nothing.
        count: windows heard.
        mean: of their embeddings, ``[P]``.
        m2: sum of their squared deviations from it, ``[P]`` (Welford, Technometrics 4, 1962).
    """

    model: str
    count: int
    mean: Vector
    m2: Vector

    @classmethod
    def empty(cls, model: str, size: int) -> "Adaptation":
        """Return what was heard of nobody."""
        return cls(model, 0, np.zeros(size), np.zeros(size))

    def add(self, embeddings: NDArray[Any]) -> None:
        """Hear windows ``[N, P]``, or one ``[P]``."""
        for embedding in np.asarray(embeddings, np.float64).reshape(-1, len(self.mean)):
            self.count += 1
            before = embedding - self.mean
            self.mean = self.mean + before / self.count
            self.m2 = self.m2 + before * (embedding - self.mean)

    def norm(self, training: Norm) -> Norm:
        """Return mean and deviation to standardise by; those of training, where none was heard."""
        n = self.count
        mean = (n * self.mean + MEAN_COUNTS * training.mean) / (n + MEAN_COUNTS)
        variance = (self.m2 + VARIANCE_COUNTS * training.std**2) / (n + VARIANCE_COUNTS)
        return Norm(mean, np.sqrt(variance))

    def to_json(self) -> str:
        """Return it as text, for :meth:`from_json` here, in JavaScript or in C."""
        facts = {
            "format": FORMAT,
            "model": self.model,
            "count": self.count,
            "mean": self.mean.tolist(),
            "m2": self.m2.tolist(),
        }
        return json.dumps(facts) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, where: str = "the adaptation") -> "Adaptation":
        """Read what :meth:`to_json` wrote.

        Args:
            text: JSON.
            where: what it is called in errors.

        Raises:
            BadAdaptation: it is something else, or holds what are no numbers.
        """
        try:
            facts = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise BadAdaptation(f"{where} is no adaptation: {error}") from None
        if not isinstance(facts, dict) or "m2" not in facts:
            raise BadAdaptation(f"{where} is no adaptation; lightser adapt writes one")
        if facts.get("format") != FORMAT:
            raise BadAdaptation(
                f"{where} has format {facts.get('format')!r}; this version of lightser reads "
                f"{FORMAT}"
            )
        model, count = facts.get("model"), facts.get("count")
        if not isinstance(model, str) or type(count) is not int or count < 0:
            raise BadAdaptation(
                f"{where}: model {model!r}, count {count!r}; a digest and windows go there"
            )
        mean, m2 = (_vector(facts.get(name), f"{where}: {name}") for name in ("mean", "m2"))
        if len(mean) != len(m2):
            raise BadAdaptation(
                f"{where}: {len(mean)} means and {len(m2)} deviations; expected as many"
            )
        if (m2 < 0).any():
            raise BadAdaptation(f"{where}: m2: {m2.min():g} is no sum of squares")
        return cls(model, count, mean, m2)

    def save(self, path: Path) -> None:
        """Write it to a file, whole or not at all.

        Raises:
            LightserError: the file cannot be written.
        """
        write_whole(path, self.to_json())

    @classmethod
    def load(cls, path: Path) -> "Adaptation":
        """Read what :meth:`save` wrote.

        Raises:
            BadAdaptation: there is no such file, or it is something else.
        """
        try:
            text = path.read_bytes()
        except OSError as error:
            raise BadAdaptation(f"'{path}' cannot be read: {error.strerror}") from None
        return cls.from_json(text, f"'{path}'")


def _vector(values: Any, where: str) -> Vector:
    if not isinstance(values, list) or not values:
        raise BadAdaptation(f"{where}: expected a list of numbers")
    for value in values:
        if type(value) not in (int, float) or not math.isfinite(value):
            raise BadAdaptation(f"{where}: {value!r} is no finite number")
    return np.array(values, np.float64)
