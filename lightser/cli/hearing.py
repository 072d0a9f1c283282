"""What ``lightser listen`` listens to: a microphone, or a file that is played as if it were one.

Both have a name, a ``sample_rate``, a switch ``paused``, and chunks that come as time goes by.
"""

import math
import queue
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lightser.errors import LightserError, MissingExtra

CHUNK_S = 0.05
_WAIT_S = 0.05  # for which nothing is looked at, keys included
_BEHIND_S = 60.0  # of audio that may wait for a slow machine; what comes then is lost

Wave = NDArray[np.float32]  # [n]


class Hearing(Protocol):
    """Something that is listened to."""

    name: str
    sample_rate: int
    paused: bool

    def chunks(self) -> Iterator[Wave | None]:
        """Yield audio as it comes, and None now and then while there is none."""
        ...


class Playback:
    """A file, played as a stream: in its own time, or as fast as it is heard.

    Args:
        path: of the file.
        sample_rate: hertz, of the chunks.
        fast: whether it is not played in its own time.
        recorded_at: is called with the file's own rate, when it is played.

    Raises:
        BadAudio: the file cannot be read; what :meth:`chunks` raises, when it comes to it.
    """

    def __init__(
        self,
        path: str,
        sample_rate: int,
        *,
        fast: bool,
        recorded_at: Callable[[int], None] = lambda _: None,
        track: int | None = None,
    ):
        from lightser.audio.files import audio_info

        if not Path(path).is_fifo():  # which can be read but once
            audio_info(path, track=track)  # refuses what cannot be played, before anything is drawn
        self.name, self.sample_rate, self.paused = path, sample_rate, False
        self._fast, self._recorded_at, self._track = fast, recorded_at, track

    def chunks(self) -> Iterator[Wave | None]:
        from lightser.audio.channels import stream_mixed
        from lightser.inference.sources import rereadable

        with rereadable(self.name) as source:
            yield from self._in_time(
                stream_mixed(
                    source,
                    self.sample_rate,
                    block_s=CHUNK_S,
                    recorded_at=self._recorded_at,
                    track=self._track,
                )
            )

    def _in_time(self, waves: Iterator[Wave]) -> Iterator[Wave | None]:
        due = None
        for wave in waves:
            if due is None:  # now, not before a pipe has been read to its end
                due = time.monotonic()
            due += len(wave) / self.sample_rate  # a microphone gives a chunk when it is over
            while self.paused or (not self._fast and time.monotonic() < due):
                now = time.monotonic()
                due = max(due, now) if self.paused else due
                time.sleep(_WAIT_S if self.paused else min(_WAIT_S, max(due - now, 0)))
                yield None
            yield wave


class Microphone:
    """The default microphone, or another, through PortAudio.

    Args:
        device: its number, a part of its name, or None for the default.

    Attributes:
        lost_s: seconds of audio that were lost since the machine was too slow.

    Raises:
        MissingExtra: the extra ``live`` is not installed.
        LightserError: there is no PortAudio, or no such device.
    """

    def __init__(self, device: str | None = None):
        self._sounddevice = sounddevice = _import_sounddevice()
        wanted = int(device) if device and device.isdecimal() else device
        try:
            found: dict[str, Any] = sounddevice.query_devices(wanted, "input")
        except (sounddevice.PortAudioError, ValueError):
            inputs = [d for d in sounddevice.query_devices() if d["max_input_channels"]]
            names = "; ".join(f"{d['index']} {d['name']}" for d in inputs)
            what = "no microphone" if device is None else f"no microphone '{device}'"
            known = f"known are: {names}" if names else "none is known"
            raise LightserError(
                f"There is {what} ({known}); --input FILE plays a recording instead."
            ) from None
        self.name, self.paused, self.lost_s = str(found["name"]), False, 0.0
        self.sample_rate = round(found["default_samplerate"])
        size = round(CHUNK_S * self.sample_rate)
        self._heard: queue.Queue[Wave] = queue.Queue(maxsize=math.ceil(_BEHIND_S / CHUNK_S))
        try:
            self._stream = sounddevice.InputStream(
                device=wanted,
                channels=1,
                samplerate=self.sample_rate,
                blocksize=size,
                dtype="float32",
                callback=self._take,
            )
        except sounddevice.PortAudioError as error:
            raise LightserError(f"'{self.name}' cannot be opened: {error}") from None

    def _take(self, samples: Wave, frames: int, times: Any, status: Any) -> None:
        """Take ``[n, 1]`` samples; PortAudio calls this from a thread of its own."""
        try:
            self._heard.put_nowait(samples[:, 0].copy())
        except queue.Full:
            self.lost_s += frames / self.sample_rate

    def __enter__(self) -> "Microphone":
        self._stream.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stream.close()

    def chunks(self) -> Iterator[Wave | None]:
        while True:
            try:
                wave = self._heard.get(timeout=_WAIT_S)
            except queue.Empty:
                if not self._stream.active:
                    reason = f"'{self.name}' has gone silent; is it plugged in?"
                    raise LightserError(reason) from None
                yield None
            else:
                yield None if self.paused else wave


def _import_sounddevice() -> Any:
    try:
        import sounddevice
    except ImportError:
        raise MissingExtra("Listening to a microphone", "live") from None
    except OSError:  # the wheel is there, the library that it needs is not
        raise LightserError(
            "Listening to a microphone needs PortAudio: apt install libportaudio2, or "
            "brew install portaudio; --input FILE plays a recording instead."
        ) from None
    return sounddevice
