"""Whose voice each item of an archive is, and what was heard of it: the first of two passes.

A manifest says it in a column ``speaker``. Where there is none, each channel of a file that it
names is a voice, and everything else one.
"""

import json
import warnings
from collections.abc import Iterable
from contextlib import suppress
from itertools import tee
from pathlib import Path

from lightser.errors import LightserError, LightserWarning
from lightser.inference.adaptation import Adaptation
from lightser.inference.bulk.items import Item
from lightser.inference.bulk.remote import absolute, opened
from lightser.inference.listening import Listening
from lightser.whole import replacing

SPEAKER = "speaker"  # the column
EVERYBODY = "*"  # in the place of all names, where one was heard elsewhere


def voice_of(item: Item, speaker_at: int | None) -> str:
    """Return the name of an item's voice.

    Args:
        item: of the archive.
        speaker_at: which of the carried columns names speakers, if one does.
    """
    if speaker_at is not None:
        return item.carried[speaker_at] or f"nobody named, {item.file}"
    return "" if item.channel is None else f"{item.file}, channel {item.channel}"


def learn_voices(
    listening: Listening, items: Iterable[Item], base: str, speaker_at: int | None
) -> dict[str, Adaptation]:
    """Listen to all items, one after another, and return what was heard of each voice.

    What cannot be heard is passed over: the second pass says why.
    """
    voices: dict[str, Adaptation] = {}
    items, again = tee(items)
    for item, source in zip(items, opened(absolute(i.file, base) for i in again), strict=True):
        if isinstance(source, LightserError):
            continue
        voice = voice_of(item, speaker_at)
        with suppress(LightserError), warnings.catch_warnings():
            warnings.simplefilter("ignore", LightserWarning)
            for track in listening.tracks_of(source):
                clip, rate = listening.cut_out(
                    source, start=item.start, end=item.end, channel=item.channel, track=track
                )
                heard = listening.recognizer.adapt([clip], rate, before=voices.get(voice))
                voices[voice] = heard
    return voices


def write_voices(voices: dict[str, Adaptation], path: Path) -> None:
    """Write what was heard, a voice on each line."""
    with replacing(path) as unfinished, open(unfinished, "w", encoding="utf-8") as file:
        for voice, heard in voices.items():
            file.write(json.dumps([voice, heard.to_json()]) + "\n")


def read_voices(path: Path) -> dict[str, Adaptation]:
    """Return what :func:`write_voices` wrote."""
    with open(path, encoding="utf-8") as file:
        return {voice: Adaptation.from_json(text) for voice, text in map(json.loads, file)}
