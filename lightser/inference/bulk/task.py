"""What a process does with a block of files: it listens, and writes down what it heard."""

import hashlib
import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from lightser.card import CARD
from lightser.errors import BadModel, LightserError, LightserWarning
from lightser.inference.bulk.items import Block
from lightser.inference.bulk.remote import absolute, opened
from lightser.inference.listening import Listening, Manner
from lightser.inference.recognizer import Recognizer
from lightser.inference.sources import name_of


@dataclass(frozen=True, kw_only=True)
class Task:
    """Everything that a process must know, wherever it runs.

    Attributes:
        model: a bundled name or a folder.
        digest: of the model, as :func:`digest_of` gives it.
        manner: what is wanted of each recording.
        base: folder or URL in which relative names are.
        threads: of one prediction.
    """

    model: str
    digest: str
    manner: Manner
    base: str
    threads: int = 1


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
    recognizer = Recognizer.load(task.model, threads=task.threads)
    if digest_of(recognizer) != task.digest:
        raise BadModel(f"'{recognizer.folder}' is another model than the one the run began with.")
    return Listening(recognizer, task.manner)


def lines_of(task: Task, block: Block) -> Iterator[str]:
    """Listen to a block, and yield the lines of its part, in the order of its items.

    A line is a JSON list: ``[item, channel, start, end, label, confidence, probabilities]`` of
    what was heard, ``[item, reason]`` where something could not be; the last one is an object with
    the counts of :class:`Done`. A file that breaks off may have lines of both kinds.
    """
    listening = listening_for(task)
    bad, total_s = 0, 0.0
    names = (absolute(item.file, task.base) for item in block.items)
    with warnings.catch_warnings():
        # Of a million files, many have a channel wired the wrong way round.
        warnings.simplefilter("ignore", LightserWarning)
        for number, (item, source) in enumerate(
            zip(block.items, opened(names), strict=True), block.first
        ):
            until = item.start or 0.0
            try:
                if isinstance(source, LightserError):
                    raise source
                for channel, heard in listening.stretch(
                    source, start=item.start, end=item.end, channel=item.channel
                ):
                    until = max(until, heard.end)
                    yield _line(
                        number,
                        channel,
                        *(round(t, 6) for t in (heard.start, heard.end)),
                        heard.label,
                        round(heard.confidence, 9),
                        [round(p, 9) for p in heard.probabilities.values()],
                    )
            except LightserError as error:
                bad += 1
                # The name of the file has a column of its own.
                called = item.file if isinstance(source, LightserError) else name_of(source)
                yield _line(number, str(error).removeprefix(f"{called}: "))
            total_s += until - (item.start or 0.0)
    yield counts_line(len(block.items), bad, total_s)


def error_line(number: int, reason: str) -> str:
    """Return the line of an item that could not be recognised."""
    return _line(number, reason)


def counts_line(files: int, bad: int, seconds: float) -> str:
    """Return the last line of a part."""
    return json.dumps({"files": files, "bad": bad, "seconds": round(seconds, 3)}) + "\n"


def _line(*cells: Any) -> str:
    return json.dumps(cells) + "\n"
