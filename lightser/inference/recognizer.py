"""From a clip to an emotion: a model folder, opened, checked and asked."""

import copy
import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lightser.audio.downmix import warn
from lightser.audio.files import check_audible, is_silent
from lightser.audio.resampler import MAX_RATE, MIN_RATE
from lightser.bundled import DEFAULT, bundled_models, find_model
from lightser.card import (
    EMBEDDING,
    GOLDEN_ANSWER,
    GOLDEN_CLIP,
    INPUT,
    MODEL,
    OUTPUT,
    Card,
    read_card,
    verify_files,
)
from lightser.errors import BadAdaptation, BadAudio, BadModel, LightserError, UnknownName
from lightser.inference.adaptation import Adaptation, Norm
from lightser.inference.batches import About, Batches, Clip
from lightser.inference.graphs import open_session
from lightser.inference.head import Head
from lightser.inference.per_process import PerProcess
from lightser.inference.segments import (
    Segment,
    Wave,
    cut,
    in_words,
    name_probabilities,
    pad_to,
    window_starts,
)
from lightser.inference.sharing import Given, Got, Neighbours, Sharing
from lightser.inference.sources import AnyAudio, Audio, mono_blocks, name_of, rereadable
from lightser.inference.stream import Stream

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

# A clip up to this is held in memory; a longer one is read twice instead, once for its length.
_HELD_S = 600.0


@dataclass(frozen=True)
class Prediction:
    """What was heard in a whole clip.

    Attributes:
        label: the likeliest emotion.
        confidence: its probability.
        probabilities: of every label, in the order of the model; they add up to 1. They are
            calibrated: the graph divides its logits by the card's ``temperature``.
        duration_s: seconds of the clip.
        windows: over how many windows the probabilities were averaged.

    >>> print(Prediction("fear", 0.93, {"anger": 0.06, "fear": 0.93, "neutral": 0.01}, 2.5, 1))
    fear 93 % (anger 6 %, neutral 1 %)
    """

    label: str
    confidence: float
    probabilities: dict[str, float]
    duration_s: float
    windows: int

    def __str__(self) -> str:
        return in_words(self.probabilities)


class Recognizer:
    """A model that tells the emotion of speech. Open one with :meth:`load`.

    It may be shared by threads, and taken along by processes, forked or spawned: a copy by
    :mod:`pickle` holds no weights, but where the model is and what was asked of it, and is refused
    where another model lies there by then. A copy by :mod:`copy` shares the model.

    Attributes:
        card: what the model says of itself.
        labels: the emotions that it tells, in the order of the model's outputs.
        folder: that it was read from.
        threads: windows that it listens to side by side.
    """

    def __init__(self, folder: Path, card: Card, session: "InferenceSession", *, threads: int = 1):
        self.folder = folder
        self.card = card
        self.labels = card.labels
        self._kept = list(range(len(card.labels)))  # of the model's outputs
        self.threads = threads
        self._verified = False
        self._path = Path(os.path.abspath(folder))  # wherever we work later
        self._session = PerProcess(self._reopened, session)
        self._pool = PerProcess(lambda: ThreadPoolExecutor(threads, "listen"))
        self._window = round(card.window_s * card.sample_rate)  # samples
        self._least = round(card.min_s * card.sample_rate)  # samples
        self._adaptation: Adaptation | None = None  # what it goes by, if it is adapted
        self._head: Head | None = None  # opened when somebody adapts
        self._norm: Norm | None = None  # of the voice that it is adapted to
        self._embedder: Recognizer | None = None  # the same, asked for embeddings
        self._hear_as(OUTPUT)

    @classmethod
    def load(
        cls,
        model: str | os.PathLike[str] = DEFAULT,
        *,
        labels: Collection[str] | None = None,
        threads: int = 1,
        verify: bool = True,
    ) -> "Recognizer":
        """Open a bundled model by name, or a model folder.

        Args:
            model: "default", a name that ``lightser models`` lists, or a folder.
            labels: the emotions to choose from, if not all that the model knows; see
                :meth:`choosing`.
            threads: windows of one recording that are listened to side by side, which changes no
                answer. A single window takes one: models are so small that more would only wait
                for each other.
            verify: whether to check the files against the card, and the model's answer for its
                golden clip against the stored one. It takes some hundredths of a second.

        Raises:
            UnknownName: no bundled model or folder has this name, or the model no such label.
            BadModel: the folder is incomplete or changed, is not a model folder, or answers
                otherwise than when it was written.
            LightserError: ``threads`` is below 1, or fewer than two labels are left.
        """
        if threads < 1:
            raise LightserError(f"threads must be 1 or more, got {threads}.")
        folder = find_model(model)
        card = read_card(folder)
        if not MIN_RATE <= (rate := card.sample_rate) <= MAX_RATE:
            raise BadModel(f"'{folder}': sample_rate: {rate}; expected {MIN_RATE} to {MAX_RATE}.")
        if verify:
            verify_files(folder, card)
        recognizer = cls(folder, card, _open_session(folder), threads=threads)
        recognizer._check_graph()
        if verify:
            recognizer._check_golden()
        recognizer._verified = verify
        return recognizer if labels is None else recognizer.choosing(labels)

    def choosing(self, labels: Collection[str]) -> "Recognizer":
        """Return a recogniser that chooses from some of the model's labels, and shares the model.

        Its probabilities are those given that it is one of these: of each window they are divided
        by their sum.

        Raises:
            UnknownName: the model has no such label.
            LightserError: fewer than two are left.
        """
        known = self.card.labels
        for label in labels:
            if label not in known:
                raise UnknownName(f"label of {self.card.name}", label, known)
        one = copy.copy(self)
        one.labels = tuple(label for label in known if label in labels)
        if len(one.labels) < 2:
            raise LightserError(
                f"labels: '{', '.join(one.labels)}' leaves nothing to choose; give at least two of "
                f"{', '.join(known)}."
            )
        one._kept = [known.index(label) for label in one.labels]
        return one

    def embed(self, source: Audio, sample_rate: int | None = None) -> NDArray[np.float64]:
        """Return the embeddings ``[W, P]`` of a clip's windows, as the network gives them.

        Args:
            source: as :meth:`predict` takes it.
            sample_rate: hertz, of samples in memory.

        Raises:
            BadAudio, MissingExtra: as :meth:`predict`.
            BadAdaptation: the model gives no embedding.
        """
        ask = self._for_embeddings()._ask_model
        with self._windows(source, sample_rate) as (windows, _, _):
            return np.stack(list(self._each(ask, windows)))

    def adapt(
        self,
        sources: Iterable[AnyAudio],
        sample_rate: int | None = None,
        *,
        before: Adaptation | None = None,
        track: int | None = None,
    ) -> Adaptation:
        """Listen to recordings of one voice without labels; :meth:`adapted` then goes by them.

        Give it some in which several emotions occur: of a voice that shows one only, what is taken
        off is that emotion.

        Args:
            sources: each as :meth:`predict` takes it. Windows in which nothing sounds do not count.
            sample_rate: hertz, of samples in memory.
            before: what was heard of this voice before; it is left as it is. Without it, and
                without sources, nothing was heard yet.
            track: as :meth:`predict` takes it.

        Raises:
            BadAudio, MissingExtra: as :meth:`predict`.
            BadAdaptation: the model cannot be adapted, or ``before`` is of another.
        """
        ask = self._for_embeddings()._ask_model
        if before is None:
            adaptation = Adaptation.empty(self._identity, len(self._opened_head().norm.mean))
        else:
            self._check_adaptation(before)
            adaptation = copy.copy(before)
        for source in sources:
            with self._windows(source, sample_rate, track) as (windows, _, _):
                sounding = (window for window in windows if not is_silent(window))
                for embedding in list(self._each(ask, sounding)):  # all of a clip, or none
                    adaptation.add(embedding)
        return adaptation

    def adapted(self, adaptation: Adaptation) -> "Recognizer":
        """Return a recogniser that goes by what was heard of a voice, and shares the model.

        Raises:
            BadAdaptation: the model cannot be adapted, or the adaptation is of another.
        """
        raw = self._for_embeddings()
        self._check_adaptation(adaptation)
        one = copy.copy(self)
        one._output, one._sharing = raw._output, raw._sharing
        one._norm = adaptation.norm(self._opened_head().norm)
        one._adaptation = adaptation
        return one

    def classify(
        self, embeddings: NDArray[np.float64], adaptation: Adaptation
    ) -> NDArray[np.float64]:
        """Return ``[..., C]`` probabilities of embeddings ``[..., P]``, by what was heard so far.

        Raises:
            BadAdaptation: as :meth:`adapted`.
        """
        head = self._opened_head()
        return self._among(head(embeddings, adaptation.norm(head.norm)))

    def __copy__(self) -> "Recognizer":
        one = object.__new__(type(self))
        one.__dict__.update(self.__dict__)
        return one

    def __deepcopy__(self, memo: object) -> "Recognizer":
        return copy.copy(self)  # nothing that two copies share ever changes

    def __reduce__(self) -> tuple[Any, ...]:
        known = bundled_models().get(self.card.name)  # which may lie elsewhere on another machine
        model = self.card.name if known == self._path else str(self._path)
        digest = self.card.files[MODEL].sha256
        how = (self.labels, self.threads, self._verified, self._adaptation)
        return _reopen, (type(self), model, digest, *how)

    def __repr__(self) -> str:
        return f"<Recognizer {self.card.name}: {', '.join(self.labels)}>"

    def predict(
        self, source: Audio, sample_rate: int | None = None, *, track: int | None = None
    ) -> Prediction:
        """Return the emotion of a whole clip.

        A clip shorter than the card's ``min_s`` is padded with zeros on both sides. One longer than
        ``window_s`` is cut into windows of that length, as few as cover it, spread evenly from
        its first sample to its last, and their probabilities are averaged. Hours are read in
        constant memory; to hear how they change, use :meth:`segments`.

        Args:
            source: a path, a binary file object, the bytes of a file, or samples ``[T]`` or
                ``[T, channels]``, floats with full scale 1 or whole numbers of 8, 16 or 32 bits.
            sample_rate: hertz, of samples in memory; a file knows its own.
            track: of a file with several audio tracks, from 1 on; None is the one that a player
                plays, with a warning that names the others.

        Raises:
            BadAudio: it cannot be read, or is silent or shorter than 0.1 s; samples come without
                their rate, or a file with one.
            MissingExtra: its format needs the extra ``codecs``.
        """
        with self._windows(source, sample_rate, track) as (windows, count, seconds):
            mean = _mean(self._each(self._ask, windows), count)
        return self._prediction(mean, count, seconds)

    def predict_many(
        self, sources: Iterable[AnyAudio], sample_rate: int | None = None, *, batch: int = 1
    ) -> Iterator[tuple[AnyAudio, Prediction | LightserError]]:
        """Yield each source with its prediction, or with the reason why there is none, in order.

        A source that is bad, or long, is no matter to the others.

        Args:
            sources: each as :meth:`predict` takes it; it is read before the next one is drawn.
            sample_rate: hertz, of samples in memory.
            batch: windows of one length that the model is asked about at once, whichever sources
                they are from. Above 1, their company may change the last bits of an answer.

        Raises:
            LightserError: ``batch`` is not what the model takes.
        """
        if batch == 1:
            for source in sources:
                try:
                    yield source, self.predict(source, sample_rate)
                except LightserError as error:
                    yield source, error
            return
        asked = ((source, source, sample_rate) for source in sources)
        yield from self.predict_in_batches(asked, batch)

    def predict_in_batches(
        self, asked: Iterable[tuple[About, Audio | LightserError, int | None]], size: int
    ) -> Iterator[tuple[About, Prediction | LightserError]]:
        """Yield what :meth:`predict_many` does of sources that each have a sample rate.

        Args:
            asked: what is to come back with the answer; the source, or why there is none; hertz.
            size: the largest batch.

        Raises:
            LightserError: ``size`` is not what the model takes.
        """
        self.check_batch(size)
        batches = Batches[About](self._ask_all, size)
        for about, source, sample_rate in asked:
            clip = batches.open(about)
            try:
                if isinstance(source, LightserError):
                    raise source
                with self._windows(source, sample_rate) as (windows, _, seconds):
                    for window in windows:
                        batches.add(clip, pad_to(window, self._least))
                clip.end = seconds
            except LightserError as error:
                clip.end = error
            yield from map(self._answered, batches.done())
        yield from map(self._answered, batches.done(at_last=True))

    def segments(
        self,
        source: Audio,
        sample_rate: int | None = None,
        *,
        window_s: float | None = None,
        hop_s: float | None = None,
        track: int | None = None,
    ) -> Iterator[Segment]:
        """Return the segments of a recording, one after another, as :class:`Stream` gives them.

        Args:
            source: as :meth:`predict` takes it.
            sample_rate: hertz, of samples in memory.
            window_s: seconds that a segment lasts; by default the card's ``window_s``.
            hop_s: seconds from one segment's start to the next; by default half a window.
            track: as :meth:`predict` takes it.

        Raises:
            BadAudio: as :meth:`predict`, but silence is a label here.
            LightserError: ``hop_s`` is longer than ``window_s``, or one of them is too short.
        """
        stream = Stream(self, window_s=window_s, hop_s=hop_s)  # here, so that it raises at once
        blocks = mono_blocks(source, sample_rate, self.card.sample_rate, self.heed_rate, track)

        def listen() -> Iterator[Segment]:
            for block in blocks:
                yield from stream.push(block)
            yield from stream.flush()

        return listen()

    def probabilities(self, samples: Wave) -> NDArray[np.float64]:
        """Return ``[C]`` probabilities of mono ``[T]`` samples that have the model's own rate.

        Padded, or cut and averaged, as :meth:`predict` does.
        """
        starts = window_starts(len(samples), self._window)
        return _mean(map(self._ask, cut([samples], starts, self._window)), len(starts))

    def probabilities_of_each(self, stretches: Iterable[Wave]) -> Iterator[NDArray[np.float64]]:
        """Yield what :meth:`probabilities` returns of each, in order, ``threads`` at a time."""
        return self._each(self.probabilities, stretches)

    def embeddings_of_each(self, stretches: Iterable[Wave]) -> Iterator[NDArray[np.float64]]:
        """Yield the embeddings ``[W, P]`` of the windows of each stretch ``[T]``.

        Cut as by :meth:`probabilities`, and ``threads`` stretches at a time.

        Raises:
            BadAdaptation: the model gives none.
        """
        ask = self._for_embeddings()._ask_model

        def embeddings(samples: Wave) -> NDArray[np.float64]:
            starts = window_starts(len(samples), self._window)
            return np.stack([ask(window) for window in cut([samples], starts, self._window)])

        return self._each(embeddings, stretches)

    def neighbours(self, window: int, hop: int) -> Neighbours | None:
        """Return what answers the windows of one recording, each frame of them computed once.

        Its answers are those of :meth:`probabilities`, to the last bit.

        Args:
            window: samples.
            hop: samples from the start of one window to the next.

        Returns:
            None where windows have nothing in common, or the model does not allow to share it.
        """
        if hop >= window or not self._least <= window <= self._window:
            return None
        halves = self._sharing().halves(window, hop)
        if halves is None:
            return None
        return Neighbours(
            halves, window, hop, each=self._each, at_once=4 * self.threads, finish=self._finish
        )

    def neighbours_by_embedding(self, window: int, hop: int) -> Neighbours | None:
        """Return the same as :meth:`neighbours`, with embeddings ``[P]`` for answers.

        Raises:
            BadAdaptation: the model gives none.
        """
        return self._for_embeddings().neighbours(window, hop)

    def check_batch(self, size: int) -> None:
        """Refuse a number of windows that cannot be given to the model at once.

        Raises:
            LightserError: it is below 1, or above what the graph takes.
        """
        if size < 1:
            raise LightserError(f"A batch is of 1 window or more, got {size}.")
        most = self._session().get_inputs()[0].shape[0]
        if isinstance(most, int) and size > 1:
            raise LightserError(
                f"'{self.folder}' takes {most} window at a time; leave out the batch of {size}."
            )

    def said_of_rate(self, sample_rate: int) -> str | None:
        """Return what a listener should know of recordings at so many hertz, if anything.

        That is that the model was found weak below its own rate, with what was measured.
        """
        band = self.card.weak_at(sample_rate)
        if band is None:
            return None
        others = (read_card(folder) for folder in bundled_models().values())
        better = [card.name for card in others if card.bands and not card.weak_at(sample_rate)]
        heard = "that it was trained on" if band.heard else "that it has not heard"
        return (
            f"recorded at {sample_rate:,} Hz, where {self.card.name} is weak: brought to "
            f"{band.sample_rate:,} Hz, clips of {band.corpus} {heard} have UA {100 * band.ua:.0f} "
            f"instead of {100 * band.ua_recorded:.0f}"
            + (f"; {' and '.join(better)} lose less, by --model or load()" if better else "")
        )

    def heed_rate(self, sample_rate: int, warn: Callable[[str], None] = warn) -> None:
        """Warn of recordings at so many hertz where :meth:`said_of_rate` has something to say."""
        if said := self.said_of_rate(sample_rate):
            warn(said)

    @contextmanager
    def _windows(
        self, source: Audio, sample_rate: int | None, track: int | None = None
    ) -> Iterator[tuple[Iterator[Wave], int, float]]:
        """Give the windows ``[T]`` of a whole clip, how many they are, and its seconds.

        Raises:
            BadAudio: as :meth:`predict`.
        """
        rate = self.card.sample_rate
        with rereadable(source) as clip:
            held: list[Wave] = []
            total, low, high = 0, np.inf, -np.inf
            for block in mono_blocks(clip, sample_rate, rate, self.heed_rate, track):
                total += len(block)
                low, high = min(low, block.min()), max(high, block.max())
                if total <= _HELD_S * rate:
                    held.append(block)
                else:
                    held.clear()
            check_audible(np.array([low, high], np.float32), name_of(source))
            is_held = total <= _HELD_S * rate
            blocks = held if is_held else mono_blocks(clip, sample_rate, rate, track=track)
            starts = window_starts(total, self._window)
            yield cut(blocks, starts, self._window), len(starts), total / rate

    def _prediction(self, mean: NDArray[np.float64], windows: int, seconds: float) -> Prediction:
        named = name_probabilities(self.labels, mean)
        return Prediction(*named, duration_s=seconds, windows=windows)

    def _answered(self, clip: Clip[About]) -> tuple[About, Prediction | LightserError]:
        if isinstance(clip.end, LightserError):
            return clip.about, clip.end
        assert clip.end is not None
        mean = np.asarray(clip.total / clip.windows)
        return clip.about, self._prediction(mean, clip.windows, clip.end)

    def _each(self, function: Callable[[Given], Got], given: Iterable[Given]) -> Iterator[Got]:
        if self.threads == 1:
            yield from map(function, given)
            return
        given = iter(given)
        # A few for each thread: hours of windows would be too much to hold.
        while some := list(islice(given, 4 * self.threads)):
            yield from self._pool().map(function, some)

    def _ask(self, window: Wave) -> NDArray[np.float64]:
        """Return ``[C]`` probabilities of one window ``[T]``, by itself.

        A batch would change the last bits of the answer with the company that a window is in.
        """
        return self._finish(self._ask_model(window))

    def _ask_all(self, windows: Wave) -> NDArray[np.float64]:
        """Return ``[B, C]`` probabilities of windows ``[B, T]``."""
        return self._finish(self._run(windows))

    def _ask_model(self, window: Wave) -> NDArray[np.float64]:
        """Return what the graph gives for one window ``[T]``."""
        answer: NDArray[np.float64] = self._run(pad_to(window, self._least)[None])[0]
        return answer

    def _run(self, windows: Wave) -> NDArray[np.float64]:
        (answers,) = self._session().run([self._output], {INPUT: windows})
        return np.asarray(answers, dtype=np.float64)

    def _hear_as(self, output: str) -> None:
        """Ask the graph for one of its outputs from now on."""
        self._output = output
        self._sharing = PerProcess(
            lambda: Sharing((self._path / MODEL).read_bytes, self._ask_model, self._window, output)
        )

    def _finish(self, answers: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return ``[..., C]`` probabilities out of what the graph gives for windows."""
        if self._output == OUTPUT:
            return self._among(answers)
        if self._norm is None:
            return answers  # embeddings are what is wanted
        return self._among(self._opened_head()(answers, self._norm))

    def _for_embeddings(self) -> "Recognizer":
        """Return one whose answers are embeddings.

        Raises:
            BadAdaptation: the model gives none.
        """
        if self._embedder is None:
            self._opened_head()
            one = copy.copy(self)
            one._norm = None
            one._hear_as(EMBEDDING)
            self._embedder = one
        return self._embedder

    @property
    def _identity(self) -> str:
        return self.card.files[MODEL].sha256

    def _check_adaptation(self, adaptation: Adaptation) -> None:
        """Refuse what was heard by another model.

        Raises:
            BadAdaptation: it was.
        """
        size = len(self._opened_head().norm.mean)
        if adaptation.model != self._identity or len(adaptation.mean) != size:
            raise BadAdaptation(
                f"This adaptation is of another model than {self.card.name} "
                f"({len(adaptation.mean)} values of {adaptation.model[:12]}…, not {size} of "
                f"{self._identity[:12]}…); adapt {self.card.name} to the voice anew"
            )

    def _opened_head(self) -> Head:
        """Return the end of the graph, behind its embedding.

        Raises:
            BadAdaptation: the model gives no embedding.
        """
        if self._head is None:
            if len(self._session().get_outputs()) < 2:
                raise BadAdaptation(
                    f"'{self.card.name}' cannot be adapted: its graph gives no embedding. Networks "
                    "such as light_sernet and zhong2020 have one; lightser train and lightser "
                    "export write it from this version on"
                )
            try:
                self._head = Head((self._path / MODEL).read_bytes())
            except Exception as error:  # ONNX Runtime's have no common base
                raise BadModel(
                    f"'{self.folder / MODEL}' has no head behind its embedding: {error}"
                ) from None
        return self._head

    def _among(self, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return ``[..., C]`` probabilities given that it is one of the labels to choose from."""
        if len(self.labels) == len(self.card.labels):
            return probabilities
        kept = probabilities[..., self._kept]
        total = kept.sum(axis=-1, keepdims=True)
        # A float32 graph may be so sure of another label that nothing is left for any of these.
        shares = np.divide(kept, total, out=np.full_like(kept, 1 / kept.shape[-1]), where=total > 0)
        return np.asarray(shares)

    def _reopened(self) -> "InferenceSession":
        """Open the same model again, in a process that was forked.

        Raises:
            BadModel: another one lies there by now.
        """
        if self._verified:
            verify_files(self._path, self.card)
        return _open_session(self._path)

    def _check_graph(self) -> None:
        """Refuse a graph that is not [batch, time] samples to [batch, C] probabilities."""
        inputs, outputs = self._session().get_inputs(), self._session().get_outputs()
        where = f"'{self.folder / MODEL}'"
        names = [o.name for o in outputs]
        if [i.name for i in inputs] != [INPUT] or names not in ([OUTPUT], [OUTPUT, EMBEDDING]):
            raise BadModel(
                f"{where} takes {[i.name for i in inputs]} and gives {names}; "
                "expected ['samples'] and ['probabilities']."
            )
        taken, given = inputs[0], outputs[0]
        if taken.type != "tensor(float)" or len(taken.shape) != 2:
            raise BadModel(
                f"{where} takes {taken.type} of shape {taken.shape}; "
                "expected tensor(float) of [batch, time]."
            )
        time = taken.shape[1]
        if isinstance(time, int) and not time == self._window == self._least:
            raise BadModel(
                f"{where} takes {time} samples and no others; its card says from {self._least} to "
                f"{self._window}."
            )
        classes = given.shape[-1] if given.shape else None
        if isinstance(classes, int) and classes != len(self.labels):
            raise BadModel(
                f"{where} gives {classes} probabilities; its card has {len(self.labels)} labels."
            )

    def _check_golden(self) -> None:
        """Refuse a model that answers otherwise here than where it was written."""
        path = self.folder / GOLDEN_ANSWER
        try:
            golden = json.loads(path.read_text(encoding="utf-8"))
            expected = np.asarray(golden["probabilities"], dtype=np.float64)
            tolerance = float(golden["tolerance"])
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise BadModel(f"'{path}' cannot be read: {error!r}") from None
        if expected.shape != (len(self.labels),) or not 0 < tolerance < 1:
            raise BadModel(
                f"'{path}': expected {len(self.labels)} probabilities and a tolerance between 0 "
                f"and 1, got shape {list(expected.shape)} and {tolerance}."
            )
        try:
            prediction = self.predict(self.folder / GOLDEN_CLIP)
        except BadAudio as error:
            raise BadModel(f"The golden clip cannot be heard: {error}") from None
        got = np.array([*prediction.probabilities.values()])
        difference = float(np.abs(got - expected).max())
        if not difference <= tolerance:  # NaN is refused too
            raise BadModel(
                f"'{self.folder}' answers otherwise than when it was written: {difference:.2g} off "
                f"for its golden clip, {tolerance:g} allowed; try another version of onnxruntime."
            )


def _mean(answers: Iterable[NDArray[np.float64]], n: int) -> NDArray[np.float64]:
    """Return the mean ``[C]`` of ``n`` answers ``[C]``."""
    mean: NDArray[np.float64] = sum(answer / n for answer in answers)  # type: ignore[assignment]
    return mean


@lru_cache(maxsize=4)  # a pool's process gets a copy with every clip
def _reopen(
    kind: type[Recognizer],
    model: str,
    digest: str,
    labels: tuple[str, ...],
    threads: int,
    verify: bool,
    adaptation: Adaptation | None,
) -> Recognizer:
    """Open what :mod:`pickle` wrote of a recogniser.

    Raises:
        LightserError: as :meth:`Recognizer.load`.
        BadModel: it is another model than the one that was pickled.
    """
    recognizer = kind.load(model, threads=threads, verify=verify)
    if recognizer.card.files[MODEL].sha256 != digest:
        raise BadModel(f"'{recognizer.folder}' is another model than when it was pickled.")
    if labels != recognizer.labels:
        recognizer = recognizer.choosing(labels)
    return recognizer if adaptation is None else recognizer.adapted(adaptation)


def _open_session(folder: Path) -> "InferenceSession":
    path = folder / MODEL
    try:
        # The bytes, not the path: so a graph cannot refer to files that no card speaks of.
        return open_session(path.read_bytes())
    except OSError as error:
        raise BadModel(f"'{path}' cannot be read: {error}") from None
    except Exception as error:  # ONNX Runtime has a dozen kinds, with no common base
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise BadModel(f"'{path}' cannot be opened by ONNX Runtime: {reason}") from None
