"""Corpus-independent protocols: another studio, other speakers and, mostly, another language."""

import pandas as pd

from lightser.corpora.splits import PROTOCOLS, Fold, Protocol, fold_with
from lightser.errors import BadCorpus


def loco(table: pd.DataFrame, *, seed: int) -> list[Fold]:
    """Leave one corpus out; nothing validates, and the last epoch counts.

    There is no validation part, as speakers of the corpora that are heard say little of when to
    stop for one that is not.

    Args:
        table: utterances of several corpora.
        seed: changes nothing, as nothing is drawn.
    """
    corpora = sorted(set(table["corpus"]))
    if len(corpora) < 2:
        raise BadCorpus(f"Protocol 'loco' needs at least 2 corpora; the table has '{corpora[0]}'")
    nobody = [False] * len(table)
    return [fold_with(table, corpus, nobody, table["corpus"] == corpus) for corpus in corpora]


PROTOCOLS["loco"] = Protocol(
    name="loco",
    make=loco,
    select="last",
    speaker_independent=True,
    note="Each corpus is tested by a model that has heard nothing of it.",
)
