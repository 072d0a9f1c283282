"""``lightser adapt``: what a voice sounds like, from recordings without labels."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from lightser.cli import app
from lightser.cli.corpus import progress_bar
from lightser.cli.warned import spoken_warnings
from lightser.errors import BadAudio, LightserError
from lightser.names import printable

FEW = 10  # recordings, below which little is known of a voice


@app.command(
    epilog="Example: lightser adapt default recordings_of_me/ --out me.json; "
    "lightser predict clip.wav --adapted me.json"
)
def adapt(
    model: Annotated[str, typer.Argument(help="A name from: lightser models, or a model folder.")],
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILES", help="Audio files, folders or patterns: speech."),
    ],
    out: Annotated[Path, typer.Option(help="The state to write: a file of some kilobytes.")],
) -> None:
    """Hear what a voice sounds like, from recordings whose emotions nobody has named.

    Give it recordings of one voice, or of one place, in which several emotions occur: it takes off
    what they have in common, and of a voice that shows one emotion only that is the emotion. Exit
    code 2 if some could not be read; the others are taken all the same.
    """
    from lightser.cli.predict import check_no_input
    from lightser.inference import Recognizer
    from lightser.inference.finding import find_audio

    recognizer = Recognizer.load(model)
    heard = recognizer.adapt([])
    n_recordings = 0
    with spoken_warnings():
        names, problems = find_audio(files)
        check_no_input(out, names)
        with progress_bar("Listening") as tell:
            for i, name in enumerate(names):
                tell(i, len(names))
                try:
                    heard = recognizer.adapt([name], before=heard)
                    n_recordings += 1
                except LightserError as error:  # of formats that need an extra, too
                    problems.append(error)
        for problem in problems:
            print(f"lightser: {printable(str(problem))}", file=sys.stderr)
        if not n_recordings:
            raise BadAudio("Nothing could be heard, so that there is nothing to adapt to.")
        heard.save(out)
    print(out)
    few = f"; it is better to have {FEW} or more" if n_recordings < FEW else ""
    print(
        f"lightser: {recognizer.card.name}, adapted to {n_recordings} recordings "
        f"({heard.count} windows){few}",
        file=sys.stderr,
    )
    if problems:
        raise typer.Exit(2)
