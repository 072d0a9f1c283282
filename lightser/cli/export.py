"""``lightser export``: a trained model for another runtime, run before it is given to anybody."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lightser.cli import app
from lightser.cli.corpus_folders import corpus_folders
from lightser.cli.models import size
from lightser.cli.own_code import HELP as CODE_HELP
from lightser.cli.own_code import run_own_code
from lightser.cli.warned import spoken_warnings
from lightser.errors import MissingExtra

if TYPE_CHECKING:
    from lightser.export.deliver import ClipSet
    from lightser.export.manifest import Manifest


@app.command(
    epilog="Example: lightser export default --to onnx --precision int8 "
    "--calibrate emodb=~/corpora/emodb --out exported/int8"
)
def export(
    model: Annotated[str, typer.Argument(help="A name from: lightser models, or a model folder.")],
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    to: Annotated[str, typer.Option(help="The target: onnx, litert, micro or stream.")] = "onnx",
    precision: Annotated[str, typer.Option(help="float32, float16 or int8.")] = "float32",
    frontend: Annotated[
        str, typer.Option(help="in: the file takes samples; out: it takes features.")
    ] = "in",
    calibrate: Annotated[
        str | None,
        typer.Option(
            metavar="CORPUS=DIR",
            help="Recordings that the model was trained on: int8 is calibrated on a hundred of "
            "them, and answers are compared on two hundred others.",
        ),
    ] = None,
    code: Annotated[Path | None, typer.Option(help=CODE_HELP)] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an export that is there.")
    ] = False,
) -> None:
    """Write a trained model for another runtime, with a manifest beside it.

    The exported file is run and compared with PyTorch before the folder gets its name. One with the
    front end inside is a model folder: `lightser predict --model` takes it.
    """
    from lightser.bundled import find_model

    try:
        from lightser.export import targets  # noqa: F401  they register themselves
        from lightser.export.deliver import export_model
    except ImportError as error:
        raise MissingExtra("Exporting", "export") from error

    folder = find_model(model)
    run_own_code(code)
    with spoken_warnings():
        manifest = export_model(
            folder,
            out,
            target=to,
            precision=precision,
            frontend=frontend,
            clips=None if calibrate is None else clip_set(calibrate),
            overwrite=overwrite,
        )
    print(out)
    print(in_words(manifest), file=sys.stderr)


def clip_set(words: str) -> "ClipSet":
    """Return the recordings of ``CORPUS=DIR``."""
    ((name, folder),) = corpus_folders([words], "--calibrate").items()
    try:
        from lightser.corpora import CORPORA, load_corpus
        from lightser.export.deliver import Clip, ClipSet
    except ImportError as error:
        raise MissingExtra("Calibrating on a corpus", "train") from error

    corpus, table = CORPORA[name], load_corpus(name, folder)
    rows = zip(table["file"], table["start"], table["end"], strict=True)
    return ClipSet(
        corpus=name,
        title=corpus.title,
        license=corpus.license,
        clips=tuple(
            Clip(
                file=str(file),
                start=None if start != start else float(start),  # NaN: the whole file
                end=None if end != end else float(end),
            )
            for file, start, end in rows
        ),
    )


def in_words(manifest: "Manifest") -> str:
    """Return size and agreement in a line."""
    parity = manifest.parity
    model = next(iter(manifest.files.values()))
    return (
        f"{manifest.target} {manifest.precision}, {size(model.bytes)}: at most "
        f"{parity.max_difference:.2g} off PyTorch and the same label for "
        f"{parity.label_agreement:.1%} of {parity.clips} clips of {parity.on}"
    )
