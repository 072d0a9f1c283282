"""``--corpus NAME=DIR``, as several commands take it; a table may also be a file."""

from pathlib import Path

from lightser.errors import BadCorpus

HELP = "A corpus and where it is, such as emodb=~/corpora/emodb; give it once for each corpus."
TABLE = "table"  # the corpus that is read from a CSV, given itself or in a folder


def corpus_folders(given: list[str], option: str = "--corpus") -> dict[str, Path]:
    """Return name to folder, or to the file of a table of one's own, as an option gives them.

    Raises:
        BadCorpus: not of the form NAME=DIR, or there is no such folder.
        UnknownName: no corpus is called so.
    """
    from lightser.corpora import CORPORA

    folders = {}
    for words in given:
        name, equals, folder = words.partition("=")
        if not equals or not folder:
            raise BadCorpus(
                f"{option} takes NAME=DIR, such as emodb=~/corpora/emodb, not '{words}'"
            )
        CORPORA[name]  # an unknown name is answered with the nearest known one
        folders[name] = Path(folder).expanduser()
        if name == TABLE and folders[name].is_file():
            continue
        if not folders[name].is_dir():
            what = "CSV or folder" if name == TABLE else "folder"
            raise BadCorpus(f"There is no {what} '{folder}' for the corpus {name}")
    return folders
