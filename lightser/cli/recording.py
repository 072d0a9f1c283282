"""A folder that keeps what was heard, and what was said of it."""

import os
import wave
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from lightser.errors import LightserError
from lightser.inference.formats import FORMATS, Row
from lightser.inference.segments import Segment

AUDIO, SEGMENTS = "audio.wav", "segments.jsonl"


class Recording:
    """Writes ``audio.wav`` (mono, 16 bits) and ``segments.jsonl``, whose times are those of it.

    Both have a dot in front of their names until the recording ends; they are whole at any moment
    until then, too.

    Raises:
        LightserError: the folder holds a recording already, or cannot be written.
    """

    def __init__(self, folder: Path, sample_rate: int, labels: Sequence[str]):
        self._folder, self._labels = folder, labels
        for name in (AUDIO, SEGMENTS):
            if (folder / name).exists():
                raise LightserError(f"{folder / name} exists; give another folder to --record.")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._audio = wave.open(str(folder / f".{AUDIO}"), "wb")  # noqa: SIM115  # closed below
            self._segments = open(folder / f".{SEGMENTS}", "w", encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            raise LightserError(f"{folder}: cannot be written ({error.strerror}).") from None
        self._audio.setnchannels(1)
        self._audio.setsampwidth(2)
        self._audio.setframerate(sample_rate)

    def hear(self, samples: NDArray[np.float32]) -> None:
        """Keep ``[n]`` samples."""
        pcm = np.clip(np.rint(samples * 2.0**15), -(2**15), 2**15 - 1).astype("<i2")
        self._audio.writeframes(pcm.tobytes())

    def say(self, segment: Segment) -> None:
        """Keep a segment."""
        FORMATS["jsonl"]([Row.of(AUDIO, segment)], self._labels, self._segments)

    def __enter__(self) -> "Recording":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._audio.close()
        self._segments.close()
        for name in (AUDIO, SEGMENTS):
            os.replace(self._folder / f".{name}", self._folder / name)
