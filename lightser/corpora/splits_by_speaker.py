"""Speaker-independent protocols: who is tested is never heard in training or validation."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from lightser.corpora.splits import (
    PROTOCOLS,
    Fold,
    Protocol,
    fold_of,
    fold_with,
    others_after,
    require_at_least,
    require_column,
    speakers_of,
)
from lightser.errors import BadCorpus, BadRecipe


def loso(table: pd.DataFrame, *, seed: int, valid_speakers: int = 1) -> list[Fold]:
    """Leave one speaker out; validate on the next one or two, in rotation.

    Args:
        table: utterances.
        seed: which speaker is next.
        valid_speakers: how many speakers to choose the epoch on; 0: none, so that the epoch
            cannot be chosen and the last one counts.
    """
    require_at_least("valid_speakers", valid_speakers, 0)
    speakers = speakers_of(table, "loso", at_least=2 + valid_speakers)
    folds = []
    for speaker in speakers:
        valid = others_after(speakers, speaker, seed)[:valid_speakers]
        folds.append(
            fold_with(table, speaker, table["speaker"].isin(valid), table["speaker"] == speaker)
        )
    return folds


PROTOCOLS["loso"] = Protocol(
    name="loso",
    make=loso,
    select="valid_ua",
    speaker_independent=True,
    note="Each speaker is tested by a model that never heard them.",
)


def loso_session(table: pd.DataFrame, *, seed: int, valid_speakers: int = 1) -> list[Fold]:
    """Leave one session out; validate on speakers of the next session, in rotation.

    Args:
        table: utterances.
        seed: which session is next, and which of its speakers.
        valid_speakers: how many speakers of that session to choose the epoch on; 0: none, and
            the last epoch counts.
    """
    require_at_least("valid_speakers", valid_speakers, 0)
    require_column(table, "session", "loso_session")
    require_column(table, "speaker", "loso_session")
    sessions = sorted(set(table["session"]))
    if len(sessions) < 2:
        raise BadCorpus("Protocol 'loso_session' needs at least 2 sessions; the table has 1")
    folds = []
    for session in sessions:
        neighbour = others_after(sessions, session, seed)[0]
        there = sorted(set(table["speaker"][table["session"] == neighbour]))
        if len(there) < valid_speakers:
            raise BadRecipe(
                f"Protocol option valid_speakers is {valid_speakers}, but session '{neighbour}' "
                f"has {len(there)}"
            )
        start = seed % len(there)
        valid = (there[start:] + there[:start])[:valid_speakers]
        folds.append(
            fold_with(table, session, table["speaker"].isin(valid), table["session"] == session)
        )
    return folds


PROTOCOLS["loso_session"] = Protocol(
    name="loso_session",
    make=loso_session,
    select="valid_ua",
    speaker_independent=True,
    note="Each session is tested by a model that never heard its speakers.",
)


def speaker_kfold(table: pd.DataFrame, *, seed: int, k: int = 5, valid: bool = True) -> list[Fold]:
    """Deal speakers into k groups, equal in size, classes and genders; test each group once.

    Speakers with most utterances are dealt first, each into the group that stays most balanced.

    Args:
        table: utterances.
        seed: breaks ties between speakers, and says which group is next.
        k: groups.
        valid: whether the next group validates; else the last epoch counts.
    """
    require_at_least("k", k, 3 if valid else 2)
    speakers = speakers_of(table, "speaker_kfold", at_least=k)
    group_of = _balanced_groups(table, speakers, k, np.random.default_rng(seed))
    names = [f"group{i}" for i in range(k)]
    group = table["speaker"].map(dict(zip(speakers, group_of, strict=True)))
    return [
        fold_with(
            table,
            name,
            (group == names.index(others_after(names, name, seed)[0])) & valid,
            group == i,
        )
        for i, name in enumerate(names)
    ]


def _balanced_groups(
    table: pd.DataFrame, speakers: Sequence[str], k: int, rng: np.random.Generator
) -> list[int]:
    """Return a group for each speaker; greedy, as in scheduling (longest first)."""
    by_label, by_gender = (
        pd.crosstab(table["speaker"], table[column]).reindex(pd.Index(speakers)).to_numpy(float)
        for column in ("label", "gender")
    )
    size = by_label.sum(axis=1, keepdims=True)
    # Size, each class and each gender as shares of the whole, so that each weighs the same.
    traits = np.concatenate([size, by_label, by_gender], axis=1)  # [speakers, traits]
    traits /= traits.sum(axis=0)
    order = rng.permutation(len(speakers))
    order = order[np.argsort(-size[order, 0], kind="stable")]
    load = np.zeros((k, traits.shape[1]))
    filled = np.zeros(k, dtype=int)
    groups = [0] * len(speakers)
    for position, speaker in enumerate(order):
        cost = ((load + traits[speaker]) ** 2 - load**2).sum(axis=1)
        # No group may stay empty: the last speakers go where there is none yet.
        if len(order) - position <= (filled == 0).sum():
            cost[filled > 0] = np.inf
        groups[speaker] = int(cost.argmin())
        load[groups[speaker]] += traits[speaker]
        filled[groups[speaker]] += 1
    return groups


PROTOCOLS["speaker_kfold"] = Protocol(
    name="speaker_kfold",
    make=speaker_kfold,
    select="valid_ua",
    speaker_independent=True,
    note="Each group of speakers is tested by a model that never heard them.",
)


def text_speaker(
    table: pd.DataFrame, *, seed: int, text_groups: int | None = None, valid_speakers: int = 1
) -> list[Fold]:
    """Test a speaker on sentences, both of which training has never met.

    Sentences are dealt into groups. For each speaker and group there is a fold: the test part is
    that speaker's utterances of that group, and train holds the other speakers' utterances of the
    other groups. The validation speakers are left out of train as well, and validate on all that
    they say: on the few utterances of one group, the choice of the epoch would be chance. So every
    utterance is tested once, and what is neither (other speakers' utterances of those sentences,
    the test speaker's others) is unused.

    Args:
        table: utterances.
        seed: of the deal of sentences, and which speaker validates.
        text_groups: how many groups of sentences; by default 5, or as many as there are
            sentences if there are fewer.
        valid_speakers: how many speakers to choose the epoch on; 0: none, and the last counts.
    """
    require_at_least("valid_speakers", valid_speakers, 0)
    speakers = speakers_of(table, "text_speaker", at_least=2 + valid_speakers)
    require_column(table, "text", "text_speaker")
    texts = sorted(set(table["text"]))
    text_groups = min(5, len(texts)) if text_groups is None else text_groups
    require_at_least("text_groups", text_groups, 2)
    if text_groups > len(texts):
        raise BadRecipe(
            f"Protocol option text_groups is {text_groups}, but there are {len(texts)} sentences"
        )
    shuffled = np.random.default_rng(seed).permutation(np.array(texts, dtype=object)).tolist()

    folds = []
    for speaker in speakers:
        others = others_after(speakers, speaker, seed)
        validates = table["speaker"].isin(others[:valid_speakers])
        for group in range(text_groups):
            held_out = table["text"].isin(shuffled[group::text_groups])
            here = table["speaker"] == speaker
            if not (here & held_out).any():
                continue  # this speaker did not say these sentences
            train = ~(here | validates | held_out)
            folds.append(
                fold_of(table, f"{speaker}-texts{group}", train, validates, here & held_out)
            )
    return folds


PROTOCOLS["text_speaker"] = Protocol(
    name="text_speaker",
    make=text_speaker,
    select="valid_ua",
    speaker_independent=True,
    text_independent=True,
    note="Each speaker is tested on sentences that the model never heard, "
    "nor ever heard that speaker.",
)
