"""``--code FILE``, as the commands take it that may meet somebody's own network or corpus."""

from pathlib import Path

from lightser.errors import MissingExtra

HELP = (
    "A file of Python with what is not lightser's own: the model's network, or the corpus. It is "
    "run; read it first."
)


def run_own_code(file: Path | None) -> None:
    """Run a file, if one is given.

    Raises:
        BadRecipe: it cannot be read or run, or registers nothing.
        MissingExtra: PyTorch is not installed.
    """
    if file is None:
        return
    from lightser.training.own_code import OwnCode  # late, with what needs PyTorch

    code = OwnCode.read(file)
    try:
        code.run()
    except ImportError as error:  # of lightser's own; one of the file's is a BadRecipe
        raise MissingExtra("Code of one's own", "train") from error
