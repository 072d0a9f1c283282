"""``--corpus NAME=DIR``, as several commands take it."""

from pathlib import Path

from lightser.errors import BadCorpus

HELP = "A corpus and where it is, such as emodb=~/corpora/emodb; give it once for each corpus."


def corpus_folders(given: list[str]) -> dict[str, Path]:
    """Return name to folder.

    Raises:
        BadCorpus: not of the form NAME=DIR, an unknown name, or no such folder.
    """
    from lightser.corpora import CORPORA

    folders = {}
    for words in given:
        name, equals, folder = words.partition("=")
        if not equals or not folder:
            raise BadCorpus(
                f"--corpus takes NAME=DIR, such as emodb=~/corpora/emodb, not '{words}'"
            )
        CORPORA[name]  # an unknown name is answered with the nearest known one
        folders[name] = Path(folder).expanduser()
        if not folders[name].is_dir():
            raise BadCorpus(f"There is no folder '{folder}' for the corpus {name}")
    return folders
