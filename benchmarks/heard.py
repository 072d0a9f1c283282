"""Give a model folder of before there were digests those of what it was trained on.

    LIGHTSER_DATA=DIR python benchmarks/heard.py

writes ``heard.bin`` and the card of every bundled model whose corpora are in DIR, after a look at
whether they are as many clips as the card says. Digests are of the copies in DIR; `docs/card.md`
says what that means where these are not the publisher's files.
"""

import os
from dataclasses import replace
from pathlib import Path

from lightser.bundled import bundled_models
from lightser.card import HEARD, file_facts, read_card, verify_files, write_card
from lightser.corpora import load_corpus
from lightser.corpora.heard import digests, write_heard
from lightser.errors import BadCorpus


def add_heard(folder: Path, data: Path) -> int:
    """Write ``heard.bin`` into a model folder, and note it on the card; return how many digests.

    Raises:
        BadCorpus: the corpora in ``data`` are not those that the model was trained on.
    """
    card = read_card(folder)
    members = [trained.corpus for trained in card.trained_on]
    if len(members) == 1:
        table = load_corpus(members[0], data / members[0])
    else:
        table = load_corpus("together", data, members=members)
    for trained in card.trained_on:
        found = int((table["corpus"] == trained.corpus).sum())
        if found != trained.utterances:
            raise BadCorpus(
                f"{folder.name} was trained on {trained.utterances} clips of {trained.corpus}, and "
                f"there are {found}"
            )
    heard = digests(table)
    known = {one for one in heard if one is not None}
    if len(known) < len(set(heard)):
        raise BadCorpus(f"Some clips of {', '.join(members)} cannot be read")
    write_heard(folder, known)
    write_card(folder, replace(card, files=card.files | {HEARD: file_facts(folder / HEARD)}))
    verify_files(folder, read_card(folder))
    return len(known)


if __name__ == "__main__":
    for name, model in bundled_models().items():
        print(f"{name}: {add_heard(model, Path(os.environ['LIGHTSER_DATA']))} digests")
