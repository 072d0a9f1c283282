"""A model of Emo-DB on voices of other corpora, as it is and adapted to speech without labels.

    python benchmarks/adapt.py ravdess=DIR nemo=DIR

Half of each speaker's clips, drawn at random, are tested, always the same; what the model is
adapted to comes from the other half, or from other speakers. The model chooses from the five
emotions that its corpus shares with both. On one thread a quarter of an hour. Writes the table
``benchmarks/adapt.md``.
"""

import argparse
import os
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightser import metrics
from lightser.audio.files import read_audio
from lightser.bundled import find_model
from lightser.card import read_card
from lightser.corpora import load_corpus
from lightser.training.adapt import adapt_norms, features_to_adapt_to
from lightser.training.batches import cut_windows
from lightser.training.system import System
from lightser.whole import write_whole

PAGE = Path(__file__).parent / "adapt.md"
MODEL = "emodb-light_sernet"
LABELS = ("anger", "fear", "happiness", "neutral", "sadness")
AT_ONCE = 64  # windows

Windows = list[Tensor]  # of a clip, each [F, M]
Choice = Callable[[str, np.random.Generator], "NDArray[np.int64] | None"]


class World:
    """The clips of a corpus, as features, dealt into those that are tested and the others."""

    def __init__(self, name: str, folder: str, system: System, window_s: float):
        table = load_corpus(name, Path(folder))
        self.table: pd.DataFrame = table[table["label"].isin(LABELS)].reset_index(drop=True)
        self.speakers = self.table["speaker"].to_numpy(str)
        self.labels = self.table["label"].to_numpy(str)
        size = round(window_s * system.sample_rate)
        self.clips: list[Windows] = []
        for file in self.table["file"]:
            samples = read_audio(file, system.sample_rate)
            windows = cut_windows(samples, size, system.min_samples)
            self.clips.append(features_to_adapt_to(system, windows))
        rng = np.random.default_rng(0)
        self.tested = np.zeros(len(self.table), dtype=bool)
        for speaker in sorted(set(self.speakers)):
            own = rng.permutation(np.flatnonzero(self.speakers == speaker))
            self.tested[own[: len(own) // 2]] = True

    def others(self, speaker: str, label: str | None = None) -> NDArray[np.int64]:
        """Return a speaker's clips that are not tested, of one label or of all."""
        of = (self.speakers == speaker) & ~self.tested
        return np.flatnonzero(of if label is None else of & (self.labels == label))

    def own(self, n: int | None) -> Choice:
        """Choose so many of a speaker's other clips; all for None."""

        def choose(speaker: str, rng: np.random.Generator) -> NDArray[np.int64] | None:
            rest = rng.permutation(self.others(speaker))
            return rest if n is None else rest[:n] if len(rest) >= n else None

        return choose

    def own_mostly_neutral(self, n: int) -> Choice:
        """Choose so many of a speaker's other clips, four of five neutral."""

        def choose(speaker: str, rng: np.random.Generator) -> NDArray[np.int64] | None:
            neutral = rng.permutation(self.others(speaker, "neutral"))
            rest = rng.permutation(np.setdiff1d(self.others(speaker), neutral))
            k = 4 * n // 5
            return np.concatenate([neutral[:k], rest[: n - k]]) if len(neutral) >= k else None

        return choose

    def of_others(self, n: int) -> Choice:
        """Choose so many clips of other speakers."""

        def choose(speaker: str, rng: np.random.Generator) -> NDArray[np.int64]:
            return rng.permutation(np.flatnonzero(self.speakers != speaker))[:n]

        return choose


@torch.no_grad()
def answers(system: System, clips: list[Windows], columns: list[int]) -> NDArray[np.int64]:
    """Return the answer to each clip, chosen from some of the model's labels."""
    owners = np.repeat(np.arange(len(clips)), [len(clip) for clip in clips])
    windows = torch.stack([window for clip in clips for window in clip])
    logits = torch.cat([system.logits(part) for part in windows.split(AT_ONCE)])[:, columns]
    shares = (logits / system.temperature).softmax(dim=1).double().numpy()
    sums = np.zeros((len(clips), len(columns)))
    np.add.at(sums, owners, shares)
    return sums.argmax(axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpora", nargs="+", help="NAME=DIR")
    torch.set_num_threads(1)
    folder = find_model(MODEL)
    card = read_card(folder)
    columns = [card.labels.index(label) for label in LABELS]

    def fresh() -> System:
        return System.load(folder / "weights.safetensors")

    rows = ["| corpus | adapted to | UA | more than as it is | p |", "|---|---|---:|---:|---:|"]
    for words in parser.parse_args().corpora:
        name, _, place = words.partition("=")
        world = World(name, place, fresh(), card.window_s)
        tested = np.flatnonzero(world.tested)
        truth = np.array([LABELS.index(label) for label in world.labels[tested]])
        speakers = world.speakers[tested]
        before = answers(fresh(), [world.clips[i] for i in tested], columns)
        rows.append(row(name, "nothing, as it is", truth, before, None, speakers))
        choices: dict[str, Choice] = {
            **{f"{n} other clips of the speaker": world.own(n) for n in (10, 20, 40)},
            "all other clips of the speaker": world.own(None),
            "20 of the speaker, 16 of them neutral": world.own_mostly_neutral(20),
            "40 clips of other speakers": world.of_others(40),
            "200 clips of other speakers": world.of_others(200),
        }
        for what, choose in choices.items():
            after = np.empty_like(before)
            rng = np.random.default_rng(0)
            for speaker in sorted(set(speakers)):
                chosen = choose(speaker, rng)
                if chosen is None:
                    break  # there are too few of them
                system = fresh()
                adapt_norms(system, [window for i in chosen for window in world.clips[i]])
                here = speakers == speaker
                after[here] = answers(system, [world.clips[i] for i in tested[here]], columns)
            else:
                rows.append(row(name, what, truth, after, before, speakers))
                print(rows[-1], flush=True)
    write_whole(PAGE, in_words() + "\n".join(rows) + "\n")
    print(PAGE.read_text(encoding="utf-8"))


def row(
    corpus: str,
    what: str,
    truth: NDArray[np.int64],
    predicted: NDArray[np.int64],
    before: NDArray[np.int64] | None,
    speakers: NDArray[np.str_],
) -> str:
    """Return a row of the table."""
    n = len(LABELS)
    ua = metrics.ua(metrics.confusion(truth, predicted, n))
    low, high = metrics.interval_over_speakers(truth, predicted, speakers, "ua", n_classes=n)
    cells = [f"`{corpus}`", what]
    cells.append(f"{100 * ua:.1f} [{100 * low:.1f}–{100 * high:.1f}]")
    if before is None:
        return f"| {' | '.join(cells)} |  |  |"
    test = metrics.paired_test(truth, predicted, before, speakers, n_classes=n)
    low, high = test.interval
    cells.append(f"{100 * test.difference:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]")
    return f"| {' | '.join(cells)} | {test.p_permutation:.4f} |"


def in_words() -> str:
    return (
        "# A model adapted to speech without labels\n\n"
        f"Written by `benchmarks/adapt.py`. `{MODEL}` on the voices of other corpora, choosing "
        f"from {len(LABELS)} emotions ({', '.join(LABELS)}; guessing is {100 / len(LABELS):.0f}). "
        "Half of each speaker's clips are tested, always the same; adapted is to clips of the "
        "other half, or of other speakers, without their labels, for each speaker anew, seed 0. "
        "UA is pooled, with 95 % intervals over speakers; p by swaps of the two, speaker by "
        f"speaker. PyTorch {torch.__version__}.\n\n"
    )


if __name__ == "__main__":
    main()
