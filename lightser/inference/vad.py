"""Whether somebody speaks: WebRTC's voice activity detector, with hangover.

The detector tells speech from noise by the energies of six bands, in frames of 30 ms; it is that of
the WebRTC project (https://webrtc.org), through its Python wheel (extra ``live``). It takes a pause
between two words for silence, so what follows speech counts as speech for a while: the hangover.

It was made for telephones, and takes quiet speech for silence. So it is given the audio louder, by
an automatic gain that follows the loudest of what was heard; nobody else hears that.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from lightser.errors import LightserError, MissingExtra
from lightser.inference.segments import Wave

FRAME_S = 0.03
_RATES = (8_000, 16_000, 32_000, 48_000)  # that the detector takes, in hertz

# Automatic gain: the loudest is brought up to this, full scale being 1. Not more, since the
# detector takes noise for speech where it is loud, and where nobody has spoken yet, noise is the
# loudest. See benchmarks/gate.md.
_LOUD = 0.05
_FAINT = 0.0002  # what never exceeds this is brought up no further
_FORGETS = 0.9966  # of the loudest that remains after a frame: 1 dB a second


@dataclass(frozen=True)
class SpeechGate:
    """When a stretch of audio counts as speech.

    Attributes:
        strictness: of the detector, from 0 (in doubt, speech) to 3 (in doubt, noise).
        hangover_s: seconds that count as speech after the detector's last one.
        least: share of a window that must be speech; below it, the window is silence.

    The defaults are chosen on joined recordings, see ``benchmarks/segments.md``.

    Raises:
        LightserError: a value out of range.
    """

    strictness: int = 2
    hangover_s: float = 0.1
    least: float = 0.5

    def __post_init__(self) -> None:
        if self.strictness not in (0, 1, 2, 3):
            raise LightserError(f"A strictness of {self.strictness}; give 0, 1, 2 or 3.")
        if not (math.isfinite(self.hangover_s) and self.hangover_s >= 0):
            raise LightserError(f"A hangover of {self.hangover_s} s; give 0 or more.")
        if not 0 < self.least <= 1:
            raise LightserError(f"A least share of speech of {self.least}; give above 0, up to 1.")


class SpeechDetector:
    """Tell where in one recording somebody speaks.

    What it says of a frame depends on the audio up to that frame and on nothing else, so chunks of
    any size give the same. Times are samples of the recording.

    Raises:
        MissingExtra: the wheel is not installed.
    """

    def __init__(self, gate: SpeechGate, sample_rate: int):
        try:
            import webrtcvad
        except ImportError:
            raise MissingExtra("Telling speech from silence", "live") from None
        self.gate = gate
        self._rate = sample_rate
        self._frame = round(FRAME_S * sample_rate)  # samples
        self._detector: Any = webrtcvad.Vad(gate.strictness)
        self._loudest = _FAINT
        self._hangover = round(gate.hangover_s / FRAME_S)  # frames
        self._since = self._hangover + 1  # frames since the last one with speech
        self._rest = np.zeros(0, np.float32)  # less than a frame
        self._flags = bytearray()
        self._first = 0  # frame that `_flags` begins with

    def __call__(self, wave: Wave) -> None:
        """Take the next ``[n]`` samples."""
        wave = np.concatenate([self._rest, wave])
        whole = len(wave) - len(wave) % self._frame
        for frame in wave[:whole].reshape(-1, self._frame):
            self._since = 0 if self._is_speech(frame) else self._since + 1
            self._flags.append(self._since <= self._hangover)
        self._rest = wave[whole:].copy()

    def _is_speech(self, frame: Wave) -> bool:
        rate = self._rate
        if rate not in _RATES:
            # The bands of the detector end at 4 kHz, so straight lines between samples will do.
            rate = 16_000
            times = np.arange(round(FRAME_S * rate)) * (len(frame) / round(FRAME_S * rate))
            frame = np.interp(times, np.arange(len(frame)), frame).astype(np.float32)
        self._loudest = max(float(np.abs(frame).max()), self._loudest * _FORGETS, _FAINT)
        gain = max(_LOUD / self._loudest, 1.0)
        scaled = frame.astype(np.float64) * (gain * 2.0**15)
        pcm = np.clip(scaled, -(2**15), 2**15 - 1).astype("<i2")
        return bool(self._detector.is_speech(pcm.tobytes(), rate))

    def flags(self, start: int, end: int) -> bytearray:
        """Return for each whole frame in [``start``, ``end``) whether it is speech, as 0 or 1."""
        first = -(-start // self._frame) - self._first
        return self._flags[max(first, 0) : max(end // self._frame - self._first, 0)]

    def share(self, start: int, end: int) -> float:
        """Return how much of [``start``, ``end``) is speech, from 0 to 1."""
        flags = self.flags(start, end)
        return sum(flags) / len(flags) if flags else 0.0

    def forget(self, before: int) -> None:
        """Drop what is known of samples before ``before``."""
        n = before // self._frame - self._first
        if n > 0:
            del self._flags[:n]
            self._first += n
