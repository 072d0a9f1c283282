"""``lightser adapt``: a model for other voices, from speech without labels."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lightser.cli import app
from lightser.cli.corpus import progress_bar
from lightser.cli.own_code import HELP as CODE_HELP
from lightser.cli.own_code import run_own_code
from lightser.cli.warned import spoken_warnings
from lightser.errors import BadAudio, LightserError, MissingExtra
from lightser.names import printable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lightser.card import Card

LEAST_CLIPS = 10


@app.command(
    epilog="Example: lightser adapt default recordings_of_me/ --out me; "
    "lightser predict clip.wav --model me"
)
def adapt(
    model: Annotated[str, typer.Argument(help="A name from: lightser models, or a model folder.")],
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILES", help="Audio files, folders or patterns: speech."),
    ],
    out: Annotated[Path, typer.Option(help="The model folder to write.")],
    code: Annotated[Path | None, typer.Option(help=CODE_HELP)] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a model folder that is there.")
    ] = False,
) -> None:
    """Adapt a model to a voice, from recordings whose emotions nobody has named.

    Give it recordings of one voice, or of one place, in which all emotions occur that are to be
    told apart. Weights stay as they are; batch norms take their statistics from these recordings.
    Exit code 2 if some could not be read; the others are taken all the same.
    """
    from lightser.audio.files import read_audio
    from lightser.bundled import find_model
    from lightser.inference.finding import find_audio

    try:
        from lightser.export.adapted import check_adaptable, write_adapted_model
        from lightser.export.folder import free_model_folder
    except ImportError as error:
        raise MissingExtra("Adapting", "train") from error
    from lightser.card import read_card

    folder = find_model(model)
    card = read_card(folder)
    free_model_folder(out, overwrite=overwrite)
    run_own_code(code)
    check_adaptable(folder)
    clips = []
    with spoken_warnings():
        names, problems = find_audio(files)
        with progress_bar("Listening") as tell:
            for i, name in enumerate(names):
                tell(i, len(names))
                try:
                    samples = read_audio(name, card.sample_rate)
                    clips.append(windows_of(samples, card, name))
                except LightserError as error:  # of formats that need an extra, too
                    problems.append(error)
        for problem in problems:
            print(f"lightser: {printable(str(problem))}", file=sys.stderr)
        if len(clips) < LEAST_CLIPS:
            raise LightserError(
                f"{len(clips)} recordings of speech say too little of a voice; give at least "
                f"{LEAST_CLIPS}"
            )
        write_adapted_model(folder, clips, out, overwrite=overwrite)
    print(out)
    print(f"lightser: {card.name}, adapted to {len(clips)} recordings", file=sys.stderr)
    if problems:
        raise typer.Exit(2)


def windows_of(
    samples: "NDArray[np.float32]", card: "Card", name: str
) -> "list[NDArray[np.float32]]":
    """Return the windows ``[T]`` of a recording ``[T]`` in which there is something to hear.

    Raises:
        BadAudio: it is silent.
    """
    from lightser.audio.files import check_audible
    from lightser.inference.segments import cut, window_starts

    check_audible(samples, name)
    size = round(card.window_s * card.sample_rate)
    windows = []
    for window in cut([samples], window_starts(len(samples), size), size):
        try:
            check_audible(window, name)
        except BadAudio:
            continue  # a pause
        windows.append(window)
    return windows
