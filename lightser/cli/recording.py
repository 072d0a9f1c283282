"""A folder that keeps what was heard, and what was said of it."""

import os
import wave
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from lightser.errors import LightserError
from lightser.inference.formats import FORMATS, Row
from lightser.inference.segments import Segment

AUDIO, SEGMENTS = "audio.wav", "segments.jsonl"
_MOST_BYTES = 2**32 - 2**16  # of samples in a WAV, whose sizes have 32 bits: 37 h at 16 kHz


class Recording:
    """Writes ``audio.wav`` (mono, 16 bits) and ``segments.jsonl``, whose times are those of it.

    Both have a dot in front of their names until the recording ends; they are whole at any moment
    until then, too.

    Raises:
        LightserError: the folder holds a recording already, or cannot be written; or, while it
            hears, the recording is as long as a WAV can be, or the disk is full.
    """

    def __init__(self, folder: Path, sample_rate: int, labels: Sequence[str]):
        self._folder, self._labels = folder, labels
        for name in (AUDIO, SEGMENTS, f".{AUDIO}", f".{SEGMENTS}"):
            if (folder / name).exists():
                what = "is of a recording that was cut off" if name[0] == "." else "exists"
                raise LightserError(f"{folder / name} {what}; give another folder to --record.")
        self._written = 0  # bytes
        self._said = 0  # bytes of whole lines
        with ExitStack() as so_far:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                file = so_far.enter_context(open(folder / f".{AUDIO}", "xb"))
                self._segments = so_far.enter_context(
                    open(folder / f".{SEGMENTS}", "x", encoding="utf-8")
                )
            except OSError as error:
                raise LightserError(f"{folder}: cannot be written ({error.strerror}).") from None
            self._open = so_far.pop_all()
        self._audio = wave.open(file, "wb")  # noqa: SIM115  # closed below
        self._audio.setnchannels(1)
        self._audio.setsampwidth(2)
        self._audio.setframerate(sample_rate)

    def hear(self, samples: NDArray[np.float32]) -> None:
        """Keep ``[n]`` samples."""
        pcm = np.clip(np.rint(samples * 2.0**15), -(2**15), 2**15 - 1).astype("<i2")
        if self._written + pcm.nbytes > _MOST_BYTES:
            raise LightserError(
                f"{self._folder}: the recording is as long as a WAV can be; it ends here. "
                "Give another folder to go on."
            )
        with self._kept_so_far():
            self._audio.writeframes(pcm.tobytes())
        self._written += pcm.nbytes

    def say(self, segment: Segment) -> None:
        """Keep a segment."""
        with self._kept_so_far():
            FORMATS["jsonl"]([Row.of(AUDIO, segment)], self._labels, self._segments)
            self._said = self._segments.tell()

    @contextmanager
    def _kept_so_far(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise LightserError(
                f"{self._folder}: cannot be written any more ({error.strerror}); what was heard "
                "until then is kept in it. Make room, and give another folder to go on."
            ) from error

    def __enter__(self) -> "Recording":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._kept_so_far():
            try:
                with self._open:
                    self._audio.close()
            finally:  # it writes what the disk had no room for, and may fail again
                os.truncate(self._folder / f".{SEGMENTS}", self._said)
                for name in (AUDIO, SEGMENTS):
                    os.replace(self._folder / f".{name}", self._folder / name)
