"""What a process does with a block of files: it listens, and writes down what it heard."""

import hashlib
import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from lightser.card import CARD
from lightser.errors import BadManifest, BadModel, LightserError, LightserWarning
from lightser.inference.adaptation import Adaptation
from lightser.inference.bulk.items import Block, Item
from lightser.inference.bulk.remote import absolute, opened
from lightser.inference.bulk.voices import EVERYBODY, read_voices, voice_of
from lightser.inference.listening import Listening, Manner, as_segment
from lightser.inference.recognizer import Prediction, Recognizer
from lightser.inference.segments import Segment
from lightser.inference.sources import Audio, name_of


@dataclass(frozen=True, kw_only=True)
class Task:
    """Everything that a process must know, wherever it runs.

    Attributes:
        model: a bundled name or a folder.
        digest: of the model, as :func:`digest_of` gives it.
        manner: what is wanted of each recording.
        base: folder or URL in which relative names are.
        labels: to choose from, if not all that the model knows.
        threads: of one prediction.
        batch: windows of one length that the model is asked about at once.
        voices: file with what was heard of each voice, if they are adapted to.
        voices_digest: SHA-256 of that.
        speaker_at: which of the carried columns names speakers, if one does.
    """

    model: str
    digest: str
    manner: Manner
    base: str
    labels: tuple[str, ...] | None = None
    threads: int = 1
    batch: int = 1
    voices: str | None = None
    voices_digest: str = ""
    speaker_at: int | None = None


@dataclass(frozen=True)
class Done:
    """What is known of a part when it is written.

    Attributes:
        index: of its block.
        files: how many.
        bad: how many of them could not be recognised, or not to their end.
        seconds: of audio that was heard.
    """

    index: int
    files: int
    bad: int
    seconds: float


def digest_of(recognizer: Recognizer) -> str:
    """Return the SHA-256 of a model's card, which holds those of its files."""
    return hashlib.sha256((recognizer.folder / CARD).read_bytes()).hexdigest()


@lru_cache(maxsize=1)
def listening_for(task: Task) -> Listening:
    """Open the model, once a process.

    Raises:
        BadModel: it is not the one that the run began with.
    """
    recognizer = Recognizer.load(task.model, labels=task.labels, threads=task.threads)
    if digest_of(recognizer) != task.digest:
        raise BadModel(f"'{recognizer.folder}' is another model than the one the run began with.")
    return Listening(recognizer, task.manner)


@lru_cache(maxsize=1)
def _voices_for(task: Task) -> dict[str, Adaptation]:
    return read_voices(Path(task.voices)) if task.voices else {}


@lru_cache(maxsize=64)
def _listening_to(task: Task, voice: str) -> Listening:
    """Return what listens to a voice; as to all, where nothing was heard of it."""
    voices = _voices_for(task)
    heard = voices.get(voice, voices.get(EVERYBODY))
    listening = listening_for(task)
    return listening if heard is None else listening.adapted([heard])


def lines_of(task: Task, block: Block) -> Iterator[str]:
    """Listen to a block, and yield the lines of its part, in the order of its items.

    A line is a JSON list: ``[item, track, channel, start, end, label, confidence, probabilities]``
    of what was heard, ``[item, reason]`` where something could not be; the last one is an object
    with the counts of :class:`Done`. A file that breaks off may have lines of both kinds.
    """
    listening_for(task)  # before the first file, which has no part in what it may raise
    bad, total_s = 0, 0.0
    with warnings.catch_warnings():
        # Of a million files, many have a channel wired the wrong way round.
        warnings.simplefilter("ignore", LightserWarning)
        each = _in_batches if task.batch > 1 else _one_by_one
        for at, called, heard in each(task, block):
            number = block.first + at
            start = until = block.items[at].start or 0.0
            try:
                for track, channel, segment in heard:
                    until = max(until, segment.end)
                    yield _line(
                        number,
                        track,
                        channel,
                        *(round(t, 6) for t in (segment.start, segment.end)),
                        segment.label,
                        segment.confidence,  # not rounded: tables are, once
                        list(segment.probabilities.values()),
                    )
            except LightserError as error:
                bad += 1
                # The name of the file has a column of its own.
                yield _line(number, str(error).removeprefix(f"{called}: "))
            total_s += until - start
    yield counts_line(len(block.items), bad, total_s)


# What is heard in an item: of which track and channel, and what.
Said = Iterator[tuple[int | None, int | None, Segment]]
# Place of an item in its block, what errors call it, and what is heard in it.
Heard = tuple[int, str, Said]


def _one_by_one(task: Task, block: Block) -> Iterator[Heard]:
    for at, (item, source) in enumerate(_opened(task, block)):
        if isinstance(source, LightserError):
            yield at, item.file, _told(item, source)
        else:
            listening = _listening_to(task, voice_of(item, task.speaker_at))
            yield at, name_of(source), _said(listening, item, source)


def _said(listening: Listening, item: Item, source: str | BinaryIO) -> Said:
    for track in listening.tracks_of(source):
        for channel, segment in listening.stretch(
            source, start=item.start, end=item.end, channel=item.channel, track=track
        ):
            yield track, channel, segment


def _in_batches(task: Task, block: Block) -> Iterator[Heard]:
    listening = listening_for(task)

    def asked() -> Iterator[tuple[tuple[int, str], Audio | LightserError, int | None]]:
        for at, (item, source) in enumerate(_opened(task, block)):
            if isinstance(source, LightserError):
                yield (at, item.file), source, None
                continue
            try:
                (track,) = listening.tracks_of(source)  # "all" is refused
                clip, rate = listening.cut_out(
                    source, start=item.start, end=item.end, channel=item.channel, track=track
                )
                yield (at, name_of(source)), clip, rate
            except LightserError as error:
                yield (at, name_of(source)), error, None

    for (at, called), answer in listening.recognizer.predict_in_batches(asked(), task.batch):
        item = block.items[at]
        yield at, called, _told(item, answer, listening.manner.track)


def _opened(task: Task, block: Block) -> Iterator[tuple[Item, str | BinaryIO | LightserError]]:
    good = (item for item in block.items if not item.problem)
    sources = opened(absolute(item.file, task.base) for item in good)
    for item in block.items:
        yield item, BadManifest(item.problem) if item.problem else next(sources)


def _told(item: Item, answer: Prediction | LightserError, track: int | str | None = None) -> Said:
    """Yield the one segment that an item is, or raise why it is none."""
    if isinstance(answer, LightserError):
        raise answer
    assert track != "all"
    yield track, item.channel, as_segment(answer, item.start or 0.0)  # type: ignore[misc]


def error_line(number: int, reason: str) -> str:
    """Return the line of an item that could not be recognised."""
    return _line(number, reason)


def counts_line(files: int, bad: int, seconds: float) -> str:
    """Return the last line of a part."""
    return json.dumps({"files": files, "bad": bad, "seconds": round(seconds, 3)}) + "\n"


def _line(*cells: Any) -> str:
    return json.dumps(cells) + "\n"
