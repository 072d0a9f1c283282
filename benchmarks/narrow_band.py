"""What a model loses on recordings below its own sample rate: a telephone's, a cheap recorder's.

    LIGHTSER_DATA=DIR python benchmarks/narrow_band.py
    LIGHTSER_DATA=DIR python benchmarks/narrow_band.py my-model/ --on-card

Brings the clips of Emo-DB to a lower rate and codes them as lines do, then asks the model about
the file, as ``lightser predict`` would. Of clips that the model was trained on, both figures
flatter; what counts is the loss. Writes ``benchmarks/narrow_band.md`` of the bundled models.
``--on-card`` writes the linear rows onto each model's card: by them whoever recognises is warned.
"""

import argparse
import io
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import soundfile

from lightser import Recognizer
from lightser.audio.files import read_audio
from lightser.bundled import bundled_models, find_model
from lightser.card import Band, read_card, write_card
from lightser.corpora import load_corpus
from lightser.errors import LightserError, LightserWarning
from lightser.metrics import confusion, ua, wa
from lightser.whole import write_whole

PAGE = Path(__file__).parent / "narrow_band.md"
CORPUS = "emodb"
RECORDED, LINEAR = "as recorded", "PCM"
# Hertz (None is the model's own), coding in words, and libsndfile's name of it.
LINES = (
    (None, RECORDED, "PCM_16"),
    (11_025, LINEAR, "PCM_16"),
    (8_000, LINEAR, "PCM_16"),
    (8_000, "µ-law", "ULAW"),
    (8_000, "GSM 06.10", "GSM610"),
)


def through_lines(folder: Path, files: list[str], own_rate: int) -> Iterator[list[io.BytesIO]]:
    """Yield each clip as the files that come out of all lines."""
    for file in files:
        coded = []
        for rate, _, subtype in LINES:
            out = io.BytesIO()
            hertz = rate or own_rate
            soundfile.write(out, read_audio(file, hertz), hertz, format="WAV", subtype=subtype)
            coded.append(out)
        yield coded


def measure(model: str) -> tuple[list[str], tuple[Band, ...]]:
    """Return a model's rows of the table, and its bands for the card."""
    recognizer = Recognizer.load(model)
    card = recognizer.card
    folder = Path(os.environ["LIGHTSER_DATA"]) / CORPUS
    table = load_corpus(CORPUS, folder)
    table = table[table["label"].isin(card.labels)]
    truth = np.array([card.labels.index(label) for label in table["label"]])
    said = np.zeros((len(LINES), len(table)), dtype=int)
    sure = np.zeros(said.shape)
    for n, coded in enumerate(through_lines(folder, list(table["file"]), card.sample_rate)):
        for line, file in enumerate(coded):
            heard = recognizer.predict(file)
            said[line, n] = card.labels.index(heard.label)
            sure[line, n] = heard.confidence
    scores = [confusion(truth, answers, len(card.labels)) for answers in said]
    heard_it = CORPUS in {corpus.corpus for corpus in card.trained_on}
    rows = [
        f"| `{card.name}` | {'yes' if heard_it else 'no'} | {rate or card.sample_rate:,} | {words} "
        f"| {100 * ua(score):.1f} | {100 * wa(score):.1f} "
        f"| {100 * (ua(score) - ua(scores[0])):+.1f} | {mean(of[answers != truth])} |"
        for (rate, words, _), score, answers, of in zip(LINES, scores, said, sure, strict=True)
    ]
    bands = tuple(
        Band(
            sample_rate=rate,
            corpus=CORPUS,
            heard=heard_it,
            ua=round(float(ua(score)), 4),
            ua_recorded=round(float(ua(scores[0])), 4),
            n_utterances=len(table),
        )
        for (rate, words, _), score in zip(LINES, scores, strict=True)
        if rate and words == LINEAR
    )
    return rows, bands


def mean(values: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> str:
    return f"{values.mean():.2f}" if len(values) else "–"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", help="names or folders; all that are bundled if none")
    parser.add_argument("--on-card", action="store_true", help="write the figures onto the cards")
    arguments = parser.parse_args()
    models = arguments.models or list(bundled_models())
    rows = []
    for model in models:
        found, bands = measure(model)
        rows += found
        print(*found, sep="\n", flush=True)
        if arguments.on_card:
            folder = find_model(model)
            write_card(folder, replace(read_card(folder), bands=bands))
    if not arguments.models:
        write_whole(PAGE, PREFACE + "\n".join(rows) + "\n")


PREFACE = """# What is lost below the model's sample rate

Written by `benchmarks/narrow_band.py`: the clips of Emo-DB of the emotions that a model knows,
brought to a lower rate and coded as lines do; percent. A model that has heard these clips in
training is right about nearly all of them: its figures say what a narrow band takes away, and not
how well it does on voices that it has not heard.

| model | has heard these clips | hertz | coding | UA | WA | UA lost | mean confidence where wrong |
|---|---|---:|---|---:|---:|---:|---:|
"""


if __name__ == "__main__":
    import warnings

    warnings.simplefilter("ignore", LightserWarning)  # of what is measured here
    try:
        main()
    except LightserError as error:
        raise SystemExit(f"Error: {error}") from None
