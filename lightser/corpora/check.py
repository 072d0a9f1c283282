"""Is this copy of a corpus whole? What is missing, surplus, there twice, or cannot be read."""

import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lightser.audio.files import audio_info
from lightser.corpora import CORPORA, Corpus, Problem, missing_and_surplus
from lightser.corpora.utterances import content_hash, duplicates
from lightser.errors import LightserError, LightserWarning
from lightser.options import check_options


@dataclass(frozen=True, kw_only=True)
class Check:
    """What was found in a copy of a corpus.

    Attributes:
        corpus: what it should be.
        root: its folder.
        table: its utterances.
        expected: utterances per label in a whole copy; {} where any number is right.
        missing: utterances that the corpus has and this copy has not.
        surplus: audio files that are none of the corpus; the loader leaves them out.
        duplicated: groups of utterances with the same samples, beyond the published ones.
        published_duplicates: the groups that the publisher's own copy holds.
        unreadable: utterance to what is wrong with its audio.
        problems: what is wrong in its annotations, what loses an utterance first.
        sample_rates: hertz, of all that could be read.
        duration_s: of all that could be read.
    """

    corpus: Corpus
    root: Path
    table: pd.DataFrame
    expected: dict[str, int]
    missing: list[str]
    surplus: list[str]
    duplicated: list[list[str]]
    published_duplicates: list[list[str]]
    unreadable: dict[str, str]
    problems: list[Problem]
    sample_rates: list[int]
    duration_s: float

    @property
    def per_label(self) -> "pd.Series[int]":
        """Utterances per label, in the corpus's order."""
        return self.table["label"].value_counts().reindex(self.labels, fill_value=0)

    @property
    def labels(self) -> list[str]:
        """Labels in the corpus's order, then any others."""
        return list(dict.fromkeys([*self.corpus.labels, *sorted(set(self.table["label"]))]))

    @property
    def per_speaker(self) -> pd.DataFrame:
        """Utterances by speaker (rows) and label (columns)."""
        counts = pd.crosstab(self.table["speaker"], self.table["label"])
        return counts.reindex(columns=self.labels, fill_value=0)

    @property
    def faults(self) -> list[str]:
        """What keeps this copy from being whole, in words; [] if it is."""
        faults = [
            f"{count} {what}"
            for count, what in [
                (len(self.missing), "missing"),
                (len(self.unreadable), "unreadable"),
                (sum(len(group) - 1 for group in self.duplicated), "duplicated"),
                (sum(problem.loses for problem in self.problems), "lost by the annotations"),
            ]
            if count
        ]
        counts = self.per_label.to_dict()
        if self.expected and not self.missing and counts != self.expected:
            faults.append("counts per label other than published")
        return faults


def check_corpus(
    name: str,
    root: Path | str,
    *,
    options: dict[str, Any] | None = None,
    threads: int | None = None,
    heard: Callable[[int, int], object] = lambda done, total: None,
) -> Check:
    """Decode every utterance of the copy in ``root``, and compare with what is published.

    Args:
        name: of the corpus.
        root: folder of the copy.
        options: of the loader; where there are any, counts per label are not compared.
        threads: that decode; by default one per core.
        heard: called with the number of utterances decoded, and of all.

    Raises:
        UnknownName: no such corpus, or no such option of it.
        BadRecipe: an option of another kind.
        BadCorpus: ``root`` is not a copy of it.
    """
    corpus, root = CORPORA[name], Path(root)
    check_options("corpus", name, corpus.load, options or {}, given=("root",))
    problems: list[Problem] = []
    if corpus.problems is None:
        table = corpus.load(root, **(options or {}))
    else:
        problems += corpus.problems(root)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LightserWarning)  # of the same problems
            table = corpus.load(root, **{"strict": False, **(options or {})})
    missing, surplus = missing_and_surplus(corpus, root)

    hashes: list[str | None] = []
    rates, durations, unreadable = set(), [], {}
    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        sounds = pool.map(_listen, table["file"], table["start"], table["end"])
        for utterance, sound in zip(table["utterance"], sounds, strict=True):
            if isinstance(sound, LightserError):
                unreadable[utterance] = str(sound)
                hashes.append(None)
            else:
                hashes.append(sound[0])
                rates.add(sound[1])
                durations.append(sound[2])
            heard(len(hashes), len(table))

    readable = table[~table["utterance"].isin(list(unreadable))]
    groups = duplicates(readable, pd.Series([h for h in hashes if h], index=readable.index))
    published = {frozenset(group) for group in corpus.duplicates}
    for member in set(table["corpus"]) & set(CORPORA) - {name}:  # of several corpora together
        published |= {frozenset(f"{member}-{u}" for u in g) for g in CORPORA[member].duplicates}
    return Check(
        corpus=corpus,
        root=root,
        table=table,
        expected={} if options else corpus.counts,
        missing=missing,
        surplus=surplus,
        duplicated=[group for group in groups if frozenset(group) not in published],
        published_duplicates=[group for group in groups if frozenset(group) in published],
        unreadable=unreadable,
        problems=problems,
        sample_rates=sorted(rates),
        duration_s=sum(durations),
    )


def _listen(file: str, start: float, end: float) -> tuple[str, int, float] | LightserError:
    """Return hash, sample rate and seconds of an utterance, or why it cannot be read."""
    try:
        info = audio_info(file)
        until = info.duration_s if np.isnan(end) else end
        since = 0.0 if np.isnan(start) else start
        return content_hash(file, start, end), info.sample_rate, until - since
    except LightserError as error:  # of formats that need an extra, too
        return error
