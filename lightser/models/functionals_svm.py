"""The classic that everybody should beat: openSMILE functionals and a linear SVM.

Functionals: Eyben et al., "The Geneva Minimalistic Acoustic Parameter Set (GeMAPS) for Voice
Research and Affective Computing", 2016 (eGeMAPSv02, 88 of them); Schuller et al., "The INTERSPEECH
2016 Computational Paralinguistics Challenge" (ComParE_2016, 6,373). No network and no PyTorch.

openSMILE is free for research and private use only: its licence forbids commercial use. That is why
it is an extra.

Shapes: N clips, T samples, D functionals, C classes, P costs.
"""

import hashlib
import importlib.metadata
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightser.audio.files import read_audio
from lightser.errors import BadCorpus, MissingExtra
from lightser.registry import Registry
from lightser.whole import replacing

Floats = NDArray[np.float64]
Names = NDArray[np.str_]


@dataclass(frozen=True, kw_only=True)
class Functionals:
    """A feature set of openSMILE.

    Attributes:
        name: as openSMILE calls it.
        size: D.
        costs: of the machine, to choose from. The more functionals, the smaller the cost at which
            the margin is hard.
    """

    name: str
    size: int
    costs: tuple[float, ...]


FUNCTIONALS: Registry[Functionals] = Registry("set of functionals")
FUNCTIONALS["egemaps"] = Functionals(
    name="eGeMAPSv02", size=88, costs=(1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0)
)
FUNCTIONALS["compare"] = Functionals(
    name="ComParE_2016", size=6373, costs=(1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 0.1)
)

SAMPLE_RATE = 16000


def extractor(name: str) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Return a function from samples ``[T]`` at 16 kHz to functionals ``[D]``.

    Raises:
        UnknownName: no such set.
        MissingExtra: openSMILE is not installed.
    """
    functionals = FUNCTIONALS[name]
    try:
        import opensmile
    except ImportError:
        raise MissingExtra("openSMILE", "opensmile") from None
    smile = opensmile.Smile(
        feature_set=opensmile.FeatureSet[functionals.name],
        feature_level=opensmile.FeatureLevel.Functionals,
    )

    def extract(samples: NDArray[np.float32]) -> NDArray[np.float32]:
        frame = smile.process_signal(samples, SAMPLE_RATE)
        return np.asarray(frame.to_numpy()[0], dtype=np.float32)

    return extract


def functionals_folder(cache: Path, name: str) -> Path:
    """Return where the installed openSMILE's functionals are kept; another version has others.

    Raises:
        UnknownName: no such set.
        MissingExtra: openSMILE is not installed.
    """
    try:
        version = importlib.metadata.version("opensmile")
    except importlib.metadata.PackageNotFoundError:
        raise MissingExtra("openSMILE", "opensmile") from None
    return cache / "functionals" / f"{FUNCTIONALS[name].name}-{version}"


def functionals_of(
    name: str,
    files: Sequence[str],
    starts: Iterable[float],
    ends: Iterable[float],
    *,
    cache: Path,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> NDArray[np.float32]:
    """Return the functionals ``[N, D]`` of N stretches of audio, kept on disk by file content.

    A clip costs 0.1 to 0.2 s, so what this version of openSMILE has once computed is read. Clips
    are gone through in an order of chance: jobs that begin side by side share the work, as each
    finds what the others have done.

    Args:
        name: of the set.
        files: of the clips.
        starts: in seconds; NaN is the beginning.
        ends: in seconds; NaN is the end.
        cache: a folder.
        progress: called with clips done and clips in all.

    Raises:
        UnknownName, MissingExtra: see :func:`extractor`.
        BadAudio: a file cannot be read.
    """
    extract = None
    folder = functionals_folder(cache, name)
    folder.mkdir(parents=True, exist_ok=True)
    rows: dict[int, NDArray[np.float32]] = {}
    spans = list(zip(files, starts, ends, strict=True))
    for i in random.SystemRandom().sample(range(len(spans)), len(spans)):  # not the fork's order
        file, start, end = spans[i]
        content = hashlib.sha256(Path(file).read_bytes()).hexdigest()[:32]
        path = folder / f"{content}-{start}-{end}.npy"
        try:
            row = np.load(path)
        except (OSError, ValueError, EOFError):  # not there, or cut off
            extract = extract or extractor(name)
            span = [None if np.isnan(at) else float(at) for at in (start, end)]
            row = extract(read_audio(file, SAMPLE_RATE, start=span[0], end=span[1]))
            with replacing(path) as unfinished:
                np.save(unfinished, row)
        rows[i] = row
        progress(len(rows), len(spans))
    return np.stack([rows[i] for i in range(len(spans))])


class FunctionalsSvm:
    """A linear machine per pair of classes; the cost is chosen on speakers left out in turn.

    Everything is fitted on what :meth:`fit` is given, and inside it once more for each speaker that
    is left out: mean and deviation of the functionals, machines, cost, and the temperature that
    makes probabilities of their votes.

    A clip goes to the class that wins most duels; margins break ties. ``predict`` of scikit-learn
    gives a tie to the class whose name comes first, so that names change the score: on Emo-DB, one
    speaker left out, ComParE_2016 has 79.8 UA here, 79.6 there with the corpus's letters for names,
    and 79.1 with English nouns.

    Args:
        costs: to choose from; of equals, the first.

    Attributes:
        cost: the one chosen.
        inner_ua: ``[P]``, UA of each cost over the speakers left out.
    """

    cost: float
    inner_ua: Floats

    def __init__(self, costs: Sequence[float]):
        self.costs = tuple(costs)

    def fit(self, x: NDArray[Any], labels: Names, speakers: Names) -> "FunctionalsSvm":
        """Fit to functionals ``[N, D]``, labels ``[N]`` and speakers ``[N]``.

        Raises:
            BadCorpus: there are fewer than two speakers, or leaving one out removes a class.
            MissingExtra: scikit-learn is not installed.
        """
        self.labels = np.unique(labels)
        if len(set(speakers)) < 2:
            raise BadCorpus("Choosing the cost on left-out speakers needs at least two of them")
        votes = np.empty((len(self.costs), len(x), len(self.labels)))
        for speaker in np.unique(speakers):
            left_out = speakers == speaker
            if len(lost := set(self.labels) - set(labels[~left_out])):
                raise BadCorpus(f"Only speaker '{speaker}' has '{min(lost)}' in training")
            votes[:, left_out] = _votes(x[~left_out], labels[~left_out], x[left_out], self.costs)
        truth = np.searchsorted(self.labels, labels)
        self.inner_ua = np.array([_mean_recall(truth, v.argmax(axis=1)) for v in votes])
        best = int(self.inner_ua.argmax())
        self.cost = self.costs[best]
        self.sharpness = _sharpness(votes[best], truth)
        self._train = x, labels
        return self

    def probabilities(self, x: NDArray[Any]) -> Floats:
        """Return ``[N, C]`` for functionals ``[N, D]``; classes in the order of ``labels``."""
        votes = _votes(*self._train, x, (self.cost,))[0]
        return np.exp(_log_softmax(self.sharpness * votes))


def _votes(
    train: NDArray[Any], labels: Names, test: NDArray[Any], costs: Sequence[float]
) -> Floats:
    """Return ``[P, N, C]``: how many duels each class wins; their margins break ties.

    All costs share one matrix of inner products: there are many more functionals than clips.
    """
    try:
        from sklearn.svm import SVC
    except ImportError:
        raise MissingExtra("The support vector machine", "opensmile") from None
    train, test = train.astype(np.float64), test.astype(np.float64)
    mean, std = train.mean(axis=0), train.std(axis=0)
    std[std < 1e-12] = 1.0  # a functional that never varies says nothing
    train, test = (train - mean) / std, (test - mean) / std
    kernel, against = train @ train.T, test @ train.T
    votes = [
        SVC(C=cost, kernel="precomputed").fit(kernel, labels).decision_function(against)
        for cost in costs
    ]
    if votes[0].ndim == 1:  # of two classes scikit-learn tells the second's margin alone
        votes = [np.stack([-margin, margin], axis=1) for margin in votes]
    return np.stack(votes)


def _mean_recall(truth: NDArray[np.int64], predicted: NDArray[np.int64]) -> float:
    return float(np.mean([(predicted[truth == k] == k).mean() for k in np.unique(truth)]))


def _log_softmax(x: Floats) -> Floats:
    x = x - x.max(axis=1, keepdims=True)
    return np.asarray(x - np.log(np.exp(x).sum(axis=1, keepdims=True)))


def _sharpness(votes: Floats, truth: NDArray[np.int64]) -> float:
    """Return the factor of the votes at which the truth is likeliest, to one part in a hundred."""
    factors = np.exp(np.arange(np.log(0.01), np.log(100), 0.01))
    likelihood = [_log_softmax(f * votes)[np.arange(len(truth)), truth].mean() for f in factors]
    return float(factors[int(np.argmax(likelihood))])
