"""Corpora: which utterance, which emotion, whose voice, who agreed; and how to split them.

One corpus per file; each registers a :class:`Corpus` of facts and a loader that returns the
utterance table of :mod:`lightser.corpora.utterances`. Needs NumPy and pandas.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightser.registry import Registry, import_siblings

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Download:
    """One file that a publisher offers for download.

    Attributes:
        url: where the publisher documents it.
        sha256: of the whole file; None where the publisher's file has no fixed bytes.
        size: bytes, for the progress bar; 0 if unknown.
        unpack: whether it is an archive to unpack into the corpus folder.
    """

    url: str
    sha256: str | None
    size: int = 0
    unpack: bool = True


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """The facts of a corpus, and how to read its folder.

    Attributes:
        name: as on the command line and in recipes.
        title: as its authors call it.
        labels: full English nouns in the order that models use.
        language: ISO 639-1 code, or "" where the corpus says it per utterance.
        license: SPDX identifier or the publisher's words.
        cite: BibTeX.
        url: the publisher's page.
        utterances: how many a whole copy has; None where any number is right.
        load: ``load(root, **options)`` returns the utterance table; it raises
            :class:`~lightser.errors.BadCorpus` where ``root`` is not this corpus.
        downloads: where the publisher allows downloading.
    """

    name: str
    title: str
    labels: tuple[str, ...]
    language: str
    license: str
    cite: str
    url: str
    load: "Callable[..., pd.DataFrame]"
    utterances: int | None = None
    counts: dict[str, int] = field(default_factory=dict)
    downloads: tuple[Download, ...] = ()


CORPORA: Registry[Corpus] = Registry("corpus")


def load_corpus(name: str, root: Path | str, **options: Any) -> "pd.DataFrame":
    """Return the utterance table of the corpus ``name`` in the folder ``root``.

    Raises:
        UnknownName: no such corpus.
        BadCorpus: ``root`` is not a copy of it.
    """
    return CORPORA[name].load(Path(root), **options)


import_siblings(__name__, __path__)
