"""What a model loses by rooms, noise, codecs, telephone lines, distance and level.

    python benchmarks/robustness.py emodb=DIR ravdess=DIR nemo=DIR emotiontts_ko=DIR
    python benchmarks/robustness.py ravdess=DIR nemo=DIR --model default --model runs/mine

The same clips as they are and under each condition, by every bundled model or those named, on each
corpus that a model has not heard; on those that it has where it has heard all of them. Models
choose from the emotions of :data:`LABELS` that the corpus has. Clips are drawn evenly over
emotions; whatever else is drawn depends on the clip alone, so that every model hears the same.
With 200 clips of each corpus a few minutes for each model, on one thread. Writes the table
``benchmarks/robustness.md``; needs the extras ``train`` and ``codecs``.
"""

import argparse
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lightser import Recognizer, metrics
from lightser.audio.augment import Samples, gain, noise, reverb
from lightser.audio.files import read_audio
from lightser.audio.lines import at_peak, codec, telephone
from lightser.bundled import bundled_models
from lightser.cli.evaluate import has_heard
from lightser.corpora import load_corpus
from lightser.errors import LightserWarning
from lightser.whole import write_whole

PAGE = Path(__file__).parent / "robustness.md"
LABELS = ("anger", "fear", "happiness", "neutral", "sadness")
RATE = 16_000
CERTAIN = 0.05  # p below which a loss is marked

Condition = Callable[[Samples, np.random.Generator], Samples]


def far(samples: Samples, rng: np.random.Generator) -> Samples:
    """Hear from across a room: mostly its echo, softly, 20 dB above the microphone's noise."""
    heard = reverb(samples, RATE, 0.6, rng=rng, direct_db=-6)
    return at_peak(noise(heard, 20, rng=rng, colour="pink"), -26)


def softly(samples: Samples, rng: np.random.Generator) -> Samples:
    return np.round(gain(samples, -40) * 32_767).astype(np.float32) / np.float32(32_767)


CONDITIONS: dict[str, Condition] = {
    "room, 0.4 s": lambda x, rng: reverb(x, RATE, 0.4, rng=rng, direct_db=3),
    "room, 0.8 s": lambda x, rng: reverb(x, RATE, 0.8, rng=rng, direct_db=0),
    **{
        f"noise, {snr} dB": partial(
            lambda x, rng, snr: noise(x, snr, rng=rng, colour="pink"), snr=snr
        )
        for snr in (20, 10, 5)
    },
    "MP3, 32 kbit/s": lambda x, rng: codec(x, RATE, "mp3"),
    "Opus, 12 kbit/s": lambda x, rng: codec(x, RATE, "opus"),
    "AMR-NB, 12.2 kbit/s": lambda x, rng: codec(x, RATE, "amr_nb"),
    "telephone, 8 kHz µ-law": lambda x, rng: telephone(x, RATE),
    "far microphone": far,
    "level −40 dB": softly,
}
AS_IT_IS = "as it is"


@dataclass(frozen=True)
class Heard:
    """What a model answers on a corpus: condition to class indices ``[N]``; "as it is" too."""

    model: str
    corpus: str
    labels: tuple[str, ...]
    before: bool  # whether the model has heard the corpus
    truth: NDArray[np.int64]
    speakers: NDArray[np.str_]
    answers: dict[str, NDArray[np.int64]]

    def ua(self, condition: str = AS_IT_IS) -> float:
        n = len(self.labels)
        return metrics.ua(metrics.confusion(self.truth, self.answers[condition], n))

    def lost(self, condition: str) -> str:
        """Return the points of UA that a condition costs, marked where chance alone rarely does."""
        test = metrics.paired_test(
            self.truth, self.answers[condition], self.answers[AS_IT_IS], self.speakers,
            n_classes=len(self.labels),
        )  # fmt: skip
        sure = "*" if test.p_permutation < CERTAIN else ""
        return f"{100 * test.difference:+.1f}{sure}".replace("-", "−")


def some_clips(name: str, folder: Path, n: int) -> pd.DataFrame:
    """Return ``n`` clips of a corpus, of each emotion as many, as far as there are."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LightserWarning)
        table = load_corpus(name, folder)
    rng = np.random.default_rng(0)
    labels = [label for label in LABELS if label in set(table["label"])]
    each = n // len(labels)
    rows = [rng.permutation(np.flatnonzero(table["label"] == label))[:each] for label in labels]
    return table.iloc[np.concatenate(rows)].reset_index(drop=True)


def conditions_of(samples: Samples, seed: int) -> Iterator[tuple[str, Samples]]:
    yield AS_IT_IS, samples
    for i, (name, change) in enumerate(CONDITIONS.items()):
        yield name, change(samples, np.random.default_rng([seed, i]))


def listen(
    models: dict[str, Recognizer], corpora: dict[str, Path], n_clips: int
) -> Iterator[Heard]:
    """Yield what the models answer, corpus by corpus: each clip is changed once for all."""
    known = {
        name: {corpus for corpus in corpora if has_heard(model.card, {corpus})}
        for name, model in models.items()
    }
    for corpus, folder in corpora.items():
        asked = {
            name: model
            for name, model in models.items()
            if corpus not in known[name] or known[name] == set(corpora)
        }
        if not asked:
            continue
        table = some_clips(corpus, folder, n_clips)
        labels = [label for label in LABELS if label in set(table["label"])]
        choosing = {
            name: model.choosing([label for label in labels if label in model.labels])
            for name, model in asked.items()
        }
        answers: dict[str, dict[str, list[str]]] = {name: {} for name in asked}
        for i, row in enumerate(table.to_dict("records")):
            samples = read_audio(row["file"], RATE)
            for condition, heard in conditions_of(samples, i):
                for name, model in choosing.items():
                    answer = model.predict(heard, RATE).label
                    answers[name].setdefault(condition, []).append(answer)
            if i % 50 == 49:
                print(f"{corpus}: {i + 1} of {len(table)}", flush=True)
        for name in asked:
            yield Heard(
                name, corpus, tuple(labels), corpus in known[name],
                metrics.class_indices(table["label"], labels),
                table["speaker"].to_numpy(str),
                {c: metrics.class_indices(found, labels) for c, found in answers[name].items()},
            )  # fmt: skip


def page(found: list[Heard], n_clips: int) -> str:
    """Return the table in words: a row for a model on a corpus, a column for a condition."""
    lines = [
        "# What models lose",
        "",
        f"Written by `benchmarks/robustness.py`: up to {n_clips} clips of each corpus, evenly over "
        f"those of {', '.join(LABELS)} that it has, from which the models choose. UA as the clips "
        "are, in %, and the points that each condition costs; * marks what swaps of the two, "
        f"speaker by speaker, reach in less than {CERTAIN:.0%} of draws. What is changed is "
        "changed alike for every model.",
        "",
        "| what | how |",
        "|---|---|",
        "| room | dies away by 60 dB in 0.4 or 0.8 s, direct sound 3 or 0 dB above the echo |",
        "| noise | pink, so far below the voice |",
        "| MP3, Opus, AMR-NB | encoded and decoded by LAME, libopus and OpenCORE |",
        "| telephone | 300 to 3400 Hz, 8 kHz, 8 bits of µ-law |",
        "| far microphone | 0.6 s, direct sound 6 dB below the echo, noise 20 dB below both |",
        "| level | 40 dB softer, in steps of 16 bits |",
        "",
    ]
    for heard_before in (False, True):
        rows = [each for each in found if each.before == heard_before]
        if not rows:
            continue
        lines += [
            "## Corpora that the model has heard"
            if heard_before
            else "## Corpora that the model has not heard",
            "",
        ]
        if heard_before:
            lines += [
                "It has heard all of them: UA says nothing here, and what it loses little.",
                "",
            ]
        lines += [
            f"| model | on | {AS_IT_IS} | {' | '.join(CONDITIONS)} |",
            f"|---|---|---:|{'---:|' * len(CONDITIONS)}",
        ]
        for each in sorted(rows, key=lambda each: each.model):
            cells = [f"`{each.model}`", f"`{each.corpus}`, {len(each.labels)} emotions"]
            cells += [f"{100 * each.ua():.1f}", *map(each.lost, CONDITIONS)]
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpora", nargs="+", help="NAME=DIR")
    parser.add_argument("--model", action="append", help="name or folder; all bundled ones")
    parser.add_argument("--clips", type=int, default=200, help="of each corpus")
    parser.add_argument("--out", type=Path, default=PAGE)
    given = parser.parse_args()
    names = given.model or list(bundled_models())
    models = {Path(name).name: Recognizer.load(name) for name in names}
    corpora = {name: Path(folder) for name, _, folder in (c.partition("=") for c in given.corpora)}
    found = list(listen(models, corpora, given.clips))
    write_whole(given.out, page(found, given.clips))
    print(given.out.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
