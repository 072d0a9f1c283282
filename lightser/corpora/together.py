"""Several corpora as one: a folder that holds a folder of each, named as the corpus is.

``~/corpora`` is such a folder if ``emodb``, ``ravdess`` and ``nemo`` are in it. A model that has
heard several studios, languages and ways of acting has less to learn from any one of them, and
protocol ``loco`` says how it does on a corpus that it has not heard.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from lightser.corpora import CORPORA, Corpus, load_corpus
from lightser.corpora.utterances import COLUMNS, check_table
from lightser.errors import BadCorpus


def load(root: Path, *, members: Sequence[str] = (), labels: Sequence[str] = ()) -> pd.DataFrame:
    """Return the tables of the corpora in ``root``, one below the other.

    Utterances and speakers have the corpus's name in front, "emodb-03", as two corpora may call
    two people the same.

    Args:
        root: a folder with a folder for each corpus.
        members: names of corpora; by default all whose folder is there.
        labels: what to keep; by default the labels that every member has, as else a model would
            learn to tell the corpus by its labels.

    Raises:
        UnknownName: no corpus is called as a member.
        BadCorpus: a member is not there or not what it should be, or no label would be left.
    """
    if not root.is_dir():
        raise BadCorpus(f"There is no folder {root}")
    found = [name for name in CORPORA if (root / name).is_dir()]
    members = members or found
    for name in members:
        CORPORA[name]  # an unknown name is answered with the nearest known one
    if len(set(members)) < 2:
        raise BadCorpus(
            f"{root} should hold a folder for each of at least two corpora, named as they are "
            f"({', '.join(CORPORA)}); it holds {', '.join(found) or 'none'}"
        )
    tables = [member(name, root / name) for name in dict.fromkeys(members)]
    known = [set(table["label"]) for table in tables]
    kept = set(labels) or set.intersection(*known)
    if unknown := sorted(kept - set.union(*known)):
        raise BadCorpus(f"Label '{unknown[0]}' is in none of {', '.join(members)}")
    whole = pd.concat(tables)
    whole = whole[whole["label"].isin(kept)]
    if whole["label"].nunique() < 2:
        raise BadCorpus(f"{', '.join(members)} have fewer than two labels in common; name labels")
    return check_table(whole)


def member(name: str, root: Path) -> pd.DataFrame:
    """Return the table of one corpus, with its name before utterances and speakers."""
    if not root.is_dir():
        raise BadCorpus(f"There is no folder {root} for the corpus {name}")
    table = load_corpus(name, root)[[*COLUMNS]]
    speakers = table["speaker"].where(table["speaker"] == "", f"{name}-" + table["speaker"])
    return table.assign(utterance=f"{name}-" + table["utterance"], speaker=speakers)


CORPORA["together"] = Corpus(
    name="together",
    title="Several corpora together",
    labels=(),
    language="",
    license="that of each corpus",
    cite="",
    url="",
    load=load,
)
