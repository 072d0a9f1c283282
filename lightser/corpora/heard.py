"""What a model has heard, known by the sound: ``heard.bin`` in a model folder.

A corpus may come back under another name, as somebody's folder or table, and a score on it would be
one of training. So a model folder keeps a digest of each clip that its weights were trained on: the
first 8 bytes of a SHA-256, sorted, one behind the other. No sound can be made of them.
"""

import hashlib
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lightser.audio.files import audio_info, read_audio
from lightser.card import HEARD, Card
from lightser.errors import BadModel, LightserError

SIZE = 8  # bytes: of a million clips, two are alike by chance once in 37 million times
AROUND = 2048  # samples on either side of the loudest
PEAKS = 10


def digest(samples: NDArray[np.float32]) -> bytes:
    """Return the digest of mono samples ``[T]`` at their own rate.

    It is that of where the ten highest peaks around the loudest sample are, and the loudest beyond
    these, as seen from it. So it is the same for a WAV and the FLAC made of it, under another name,
    with other tags, louder, softer or upside down, with silence before or behind it, of another
    decoder, and for each part that holds its loudest moments. It is another at another sample rate,
    and mostly one after MP3, noise or filters.

    >>> clip = np.random.default_rng(0).normal(size=16_000).astype(np.float32)
    >>> clip[6_000], clip[9_000] = 9, 10
    >>> digest(clip) == digest(np.pad(clip[4_000:12_000] / 2, 500))
    True
    >>> digest(clip) == digest(clip[::2])
    False
    """
    height = np.abs(samples)
    loudest = int(height.argmax())
    begin, end = max(0, loudest - AROUND), loudest + AROUND
    around = np.pad(height[begin:end], 1)
    is_peak = (around[1:-1] > around[:-2]) & (around[1:-1] >= around[2:])
    peaks = np.flatnonzero(is_peak)
    highest = peaks[np.argsort(-around[peaks + 1], kind="stable")[:PEAKS]]
    # Peaks alone may be those of a pitch, which many voices have.
    height[begin:end] = 0
    places = [*np.sort(highest) + begin - loudest, int(height.argmax()) - loudest]
    return hashlib.sha256(np.array(places, "<i4").tobytes()).digest()[:SIZE]


def digests(table: pd.DataFrame, *, threads: int | None = None) -> list[bytes | None]:
    """Return the :func:`digest` of each row of an utterance table; None where it cannot be read."""
    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        return list(pool.map(_digest_of, table["file"], table["start"], table["end"]))


def _digest_of(file: str, start: float, end: float) -> bytes | None:
    try:
        rate = audio_info(file).sample_rate
        first, last = (None if np.isnan(time) else time for time in (start, end))
        return digest(read_audio(file, rate, start=first, end=last))
    except LightserError:  # whoever listens to it says so
        return None


def write_heard(folder: Path, heard: Iterable[bytes]) -> None:
    """Write the digests of what a model has heard into its folder."""
    (folder / HEARD).write_bytes(b"".join(sorted(set(heard))))


def read_heard(folder: Path, card: Card) -> frozenset[bytes] | None:
    """Return the digests of what a model has heard; None if its folder does not say.

    Raises:
        BadModel: the file cannot be read.
    """
    if HEARD not in card.files:
        return None
    try:
        kept = (folder / HEARD).read_bytes()
    except OSError as error:
        raise BadModel(f"'{folder / HEARD}' cannot be read: {error.strerror}.") from None
    if len(kept) % SIZE:
        raise BadModel(f"'{folder / HEARD}' holds no digests of {SIZE} bytes.")
    return frozenset(kept[i : i + SIZE] for i in range(0, len(kept), SIZE))
