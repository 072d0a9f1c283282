"""What the voice activity gate says of the same speech from full level down to 60 dB below it.

    LIGHTSER_DATA=DIR python benchmarks/gate.py

Clips of Emo-DB, RAVDESS and nEMO as 16-bit samples, each made quieter by so many decibels, and
cut into segments as ``lightser predict --vad`` does. All of them are speech, but RAVDESS begins and
ends a clip with a second of silence. Below: noise in which nobody speaks. With the automatic gain
of :class:`lightser.inference.vad.SpeechDetector`, and with the detector alone, as it was before.
Writes ``benchmarks/gate.md``.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from segments import RATE, SEED, pink

from lightser.audio.files import read_audio
from lightser.corpora import load_corpus
from lightser.errors import LightserError
from lightser.inference import vad
from lightser.inference.segments import Wave
from lightser.whole import write_whole

PAGE = Path(__file__).parent / "gate.md"
N_CLIPS = 60  # of a corpus
WINDOW_S, HOP_S = 1.5, 0.75
LEVELS_DB = (0, -10, -20, -30, -40, -50, -60)
NOISES_DB = (-35, -45, -55, -65, -75, -85)
NOISE_S = 60


def clips_of(corpus: str) -> Iterator[Wave]:
    """Yield some clips of a corpus."""
    table = load_corpus(corpus, Path(os.environ["LIGHTSER_DATA"]) / corpus)
    rng = np.random.default_rng(SEED)
    for file in table["file"].iloc[rng.permutation(len(table))[:N_CLIPS]]:
        yield read_audio(file, RATE)


def quieter(samples: Wave, level_db: float) -> Wave:
    """Return 16-bit samples that are so many decibels above (below 0: below) the given ones."""
    return (np.round(samples * 10 ** (level_db / 20) * 2**15) / 2**15).astype(np.float32)


def silent(samples: Wave) -> tuple[int, int]:
    """Return how many windows the gate takes for silence, and how many there are."""
    gate = vad.SpeechGate()
    detector = vad.SpeechDetector(gate, RATE)
    detector(samples)
    window, hop = round(WINDOW_S * RATE), round(HOP_S * RATE)
    starts = range(0, max(len(samples) - window, 0) + 1, hop)
    shares = [detector.share(start, start + window) for start in starts]
    return sum(share < gate.least for share in shares), len(shares)


def percent(waves: list[Wave], change: Callable[[Wave], Wave]) -> str:
    found = np.sum([silent(change(wave)) for wave in waves], axis=0)
    return f"{100 * found[0] / found[1]:.1f}"


def table() -> str:
    """Return all of it as Markdown."""
    rng = np.random.default_rng(SEED)
    noise = pink(NOISE_S * RATE, rng)
    head = " | ".join(f"{level} dB" for level in LEVELS_DB)
    speech = [f"| corpus | gain | {head} |", "|---|---|" + "---:|" * len(LEVELS_DB)]
    for corpus in ("emodb", "ravdess", "nemo"):
        waves = list(clips_of(corpus))
        for words, loud in (("automatic", vad._LOUD), ("none", 0.0)):
            with mock.patch.object(vad, "_LOUD", loud):
                cells = [percent(waves, lambda wave, db=db: quieter(wave, db)) for db in LEVELS_DB]
            speech.append(f"| {corpus} | {words} | {' | '.join(cells)} |")
            print(speech[-1], flush=True)
    head = " | ".join(f"{level} dB" for level in NOISES_DB)
    still = [f"| noise | gain | {head} |", "|---|---|" + "---:|" * len(NOISES_DB)]
    white = rng.normal(size=len(noise))
    for kind, samples in (("pink", noise), ("white", white)):
        for words, loud in (("automatic", vad._LOUD), ("none", 0.0)):
            with mock.patch.object(vad, "_LOUD", loud):
                cells = [
                    percent([samples], lambda wave, db=db: quieter(wave, db)) for db in NOISES_DB
                ]
            still.append(f"| {kind} | {words} | {' | '.join(cells)} |")
            print(still[-1], flush=True)
    return PREFACE + "\n".join(speech) + BETWEEN + "\n".join(still) + "\n"


PREFACE = f"""# The gate from full level down to 60 dB below it

Written by `benchmarks/gate.py`: {N_CLIPS} clips of each corpus as 16-bit samples, made quieter;
percent of windows of {WINDOW_S:g} s that the gate takes for silence. Somebody speaks in nearly all
of them, but RAVDESS begins and ends a clip with about a second of silence.

"""
BETWEEN = f"""

{NOISE_S} s of noise in which nobody speaks, by its level (root mean square below full scale); here
100 is right.

"""


if __name__ == "__main__":
    try:
        write_whole(PAGE, table())
    except LightserError as error:
        raise SystemExit(f"Error: {error}") from None
