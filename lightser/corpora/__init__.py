"""Corpora: which utterance, which emotion, whose voice, who agreed; and how to split them.

One corpus per file; each registers a :class:`Corpus` of facts and a loader that returns the
utterance table of :mod:`lightser.corpora.utterances`. Needs NumPy and pandas.
"""

import warnings
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightser.errors import LightserWarning
from lightser.options import check_options
from lightser.registry import Registry, import_siblings

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Download:
    """One ZIP archive that a publisher offers for download.

    Attributes:
        url: where the publisher keeps it.
        sha256: of the whole archive; None where the publisher names none.
        md5: likewise; Zenodo names MD5 sums. It tells a broken transfer, not a forged file.
        size: bytes; 0 if unknown.
        folder: the folder inside the archive that is the corpus; "" for all of it.
    """

    url: str
    sha256: str | None = None
    md5: str | None = None
    size: int = 0
    folder: str = ""


@dataclass(frozen=True)
class Problem:
    """Something in a copy that is not as it should be.

    Attributes:
        where: file, and line where there is one.
        what: is wrong.
        loses: whether an utterance, or its label, is lost by it. What loses nothing may still
            change what is known of an utterance, such as its votes.
    """

    where: str
    what: str
    loses: bool

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """The facts of a corpus, and how to read its folder.

    Attributes:
        name: as on the command line and in recipes.
        title: as its authors call it.
        labels: full English nouns in the order that models use; () where the copy says them.
        language: ISO 639-1 code, or "" where the corpus says it per utterance.
        license: SPDX identifier or the publisher's words.
        cite: BibTeX.
        url: the publisher's page.
        utterances: how many a whole copy has; None where any number is right.
        counts: how many utterances of each label a whole copy has; {} where any number is right.
        load: ``load(root, **options)`` returns the utterance table; it raises
            :class:`~lightser.errors.BadCorpus` where ``root`` is not this corpus.
        files: ``files(root)`` returns the audio files of a copy by utterance; None where the
            corpus has no fixed utterances.
        expected: ``expected(root)`` returns the utterances of a whole copy; None likewise.
        duplicates: groups of utterances that the publisher's own copy holds twice.
        problems: ``problems(root)`` returns what else can be wrong in a copy, line by line, where
            annotations are apart from the audio; ``load`` then takes ``strict=False``, which leaves
            out what is lost by it instead of raising.
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
    files: Callable[[Path], dict[str, Path]] | None = None
    expected: Callable[[Path], Collection[str]] | None = None
    duplicates: tuple[tuple[str, ...], ...] = ()
    problems: Callable[[Path], Sequence[Problem]] | None = None
    downloads: tuple[Download, ...] = ()


CORPORA: Registry[Corpus] = Registry("corpus")


def load_corpus(name: str, root: Path | str, /, **options: Any) -> "pd.DataFrame":
    """Return the utterance table of the corpus ``name`` in the folder ``root``.

    Warns (:class:`~lightser.errors.LightserWarning`) where utterances are missing, or files are
    left out because they are none of the corpus.

    Raises:
        UnknownName: no such corpus, or no such option of it.
        BadRecipe: an option of another kind.
        BadCorpus: ``root`` is not a copy of it.
    """
    corpus, root = CORPORA[name], Path(root)
    check_options("corpus", name, corpus.load, options, given=("root",))
    table = corpus.load(root, **options)
    for what in oddities(corpus, root, None if options else table):
        warnings.warn(
            f"{name} in {root}: {what}; see: lightser corpus check {name} {root}",
            LightserWarning,
            stacklevel=2,
        )
    return table


def oddities(corpus: Corpus, root: Path, table: "pd.DataFrame | None") -> list[str]:
    """Return what is not as published in a copy of a corpus of fixed utterances, in words.

    Args:
        corpus: what it should be.
        root: folder of the copy.
        table: of all its utterances; None where options may have left some out.
    """
    missing, surplus = missing_and_surplus(corpus, root)
    found = []
    if missing:
        found.append(f"{len(missing)} of {corpus.utterances} utterances missing ({some(missing)})")
    if surplus:
        found.append(f"surplus files, left out: {len(surplus)} ({some(surplus)})")
    if corpus.expected and table is not None and not missing and len(table) != corpus.utterances:
        found.append(f"{len(table)} utterances instead of {corpus.utterances}")
    return found


def some(names: list[str], n: int = 3) -> str:
    """Return the first names.

    >>> some(["a", "b", "c", "d"])
    'a, b, c, ...'
    """
    return ", ".join(names[:n]) + (", ..." if len(names) > n else "")


def missing_and_surplus(corpus: Corpus, root: Path) -> tuple[list[str], list[str]]:
    """Return the utterances that this copy lacks, and the files that are none of the corpus."""
    if corpus.files is None or corpus.expected is None:
        return [], []
    here, expected = corpus.files(root), set(corpus.expected(root))
    return sorted(expected - here.keys()), sorted(here.keys() - expected)


import_siblings(__name__, __path__)
