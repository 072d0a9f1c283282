"""The end of a model's graph: from the embedding to probabilities, by the norm of a voice.

Shapes: P values of the embedding, C classes.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightser.card import EMBEDDING, EMBEDDING_MEAN, EMBEDDING_STD, OUTPUT
from lightser.inference.adaptation import Norm
from lightser.inference.graphs import Graph, open_session
from lightser.inference.per_process import PerProcess


class Head:
    """The head of a model.

    Attributes:
        norm: of training.

    Raises:
        ValueError, KeyError: the graph has none.
        Exception: ONNX Runtime does not take it; it has a dozen kinds, with no common base.
    """

    def __init__(self, model: bytes):
        graph = Graph(model)
        mean, std = (graph.floats(name) for name in (EMBEDDING_MEAN, EMBEDDING_STD))
        self.norm = Norm(mean.astype(np.float64), std.astype(np.float64))
        part = graph.extract([EMBEDDING, EMBEDDING_MEAN, EMBEDDING_STD], OUTPUT)
        self._session = PerProcess(lambda: open_session(part), open_session(part))

    def __call__(self, embeddings: NDArray[Any], norm: Norm) -> NDArray[np.float64]:
        """Return ``[..., C]`` probabilities of embeddings ``[..., P]``."""
        rows = embeddings.reshape(-1, embeddings.shape[-1])
        given = {EMBEDDING: rows, EMBEDDING_MEAN: norm.mean, EMBEDDING_STD: norm.std}
        (answers,) = self._session().run(
            None, {name: np.asarray(values, np.float32) for name, values in given.items()}
        )
        return np.asarray(answers, np.float64).reshape(*embeddings.shape[:-1], -1)
