"""Activation: is a voice aroused or calm, whatever the emotion is called?

It carries over to strangers better than the emotion itself. The labels are grouped as the field
groups them: Schuller, Vlasenko, Eyben, Rigoll and Wendemuth, "Acoustic Emotion Recognition: A
Benchmark Comparison of Performances", ASRU 2009, and, across corpora, Schuller et al.,
"Cross-Corpus Acoustic Emotion Recognition: Variances and Strategies", IEEE Transactions on
Affective Computing 1(2), 2010. Disgust is the one that could stand in either; here it is calm, as
there.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

AROUSED = ("anger", "excitement", "fear", "happiness", "surprise")
CALM = ("boredom", "calm", "disgust", "neutral", "sadness")


def is_known(labels: Sequence[str]) -> bool:
    """Say whether a model of these labels can tell: it has some of either group."""
    return bool({*AROUSED} & {*labels}) and bool({*CALM} & {*labels})


def aroused(probabilities: ArrayLike, labels: Sequence[str]) -> NDArray[np.float64]:
    """Return the probability ``[N]`` of an aroused voice from those of the labels, ``[N, C]``.

    That of the aroused labels over that of all labels of either group; one half where there is
    none. A label of no group says nothing.

    >>> aroused([[0.6, 0.3, 0.1]], ["anger", "neutral", "sadness"]).tolist()
    [0.6]
    """
    shares = np.asarray(probabilities, dtype=float)
    high = shares[:, [label in AROUSED for label in labels]].sum(axis=1)
    both = high + shares[:, [label in CALM for label in labels]].sum(axis=1)
    share: NDArray[np.float64] = np.divide(
        high, both, out=np.full(len(shares), 0.5), where=both > 0
    )
    return share
