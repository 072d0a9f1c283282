"""From a model folder to an exported one that has been run, or to nothing.

A model folder is made into a temporary folder beside the one asked for. Only when the files in it
have answered as PyTorch does is it renamed, so whatever goes wrong on the way (a full disk, Ctrl+C,
a runtime that computes otherwise) leaves nothing behind.
"""

import dataclasses
import datetime
import inspect
import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import lightser
from lightser.audio.files import read_audio
from lightser.card import (
    GOLDEN_ANSWER,
    GOLDEN_CLIP,
    WEIGHTS,
    Card,
    file_facts,
    read_card,
    verify_files,
    write_card,
)
from lightser.errors import BadModel, LightserError, UnknownName
from lightser.export import EXPORTERS, Answer, Exporter, Order, Written
from lightser.export.folder import SAMPLES, add_license, check_numbers, still_clips
from lightser.export.manifest import MANIFEST, Manifest, Parity
from lightser.export.pretrained import with_encoder_in_network
from lightser.features import FRONTENDS
from lightser.training.system import System
from lightser.whole import free_place, replacing_folder

CALIBRATION_CLIPS = 100
PARITY_CLIPS = 200
# Largest difference of a probability from PyTorch; above, the file is not given to anybody. For
# int8, whose single answers may move, it is the share of clips that must keep their label.
CLOSE = {"float32": 1e-4, "float16": 0.05}
AGREEMENT = 0.9
# How far another processor may be off the answer that was got here for the golden clip.
GOLDEN_TOLERANCE = {"float32": 1e-4, "float16": 0.01, "int8": 0.05}


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A stretch of a file; None is its beginning, or its end."""

    file: str
    start: float | None = None
    end: float | None = None


@dataclass(frozen=True, kw_only=True)
class ClipSet:
    """Clips of a corpus, to calibrate on and to compare on.

    Attributes:
        corpus: its name here.
        title: as its authors call it.
        license: the publisher's terms.
        clips: all of them; which are used is drawn.
        seed: of the draw.
    """

    corpus: str
    title: str
    license: str
    clips: tuple[Clip, ...]
    seed: int = 0

    def draw(self) -> tuple[list[Clip], list[Clip]]:
        """Return at most 100 clips to calibrate on, and at most 200 others to compare on.

        A small set is halved.
        """
        order = np.random.default_rng(self.seed).permutation(len(self.clips))
        n = min(CALIBRATION_CLIPS, len(order) // 2)
        drawn = [self.clips[i] for i in order]
        return drawn[:n], drawn[n : n + PARITY_CLIPS]


@dataclass(frozen=True, kw_only=True)
class Job:
    """One export.

    Attributes:
        exporter: of the target.
        order: what it is to write.
        model: the model folder.
        card: its card.
        system: its weights.
        clips: to calibrate and to compare on; None if nobody gave any.
    """

    exporter: Exporter
    order: Order
    model: Path
    card: Card
    system: System
    clips: ClipSet | None

    def hear(self, clip: Clip) -> NDArray[np.float32]:
        """Return the first window of a clip, padded with zeros to what the system takes."""
        rate = self.system.sample_rate
        samples = read_audio(clip.file, rate, start=clip.start, end=clip.end)
        samples = samples[: self.order.n_samples]
        missing = max(0, self.system.min_samples - len(samples))
        return np.pad(samples, (missing // 2, missing - missing // 2))

    def given(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return what the exported file takes of samples ``[T]``: these, or their features."""
        if self.order.frontend == "in":
            return samples
        with torch.inference_mode():
            return self.system.features(torch.from_numpy(samples)[None])[0].numpy()


def export_model(
    model: Path,
    out: Path,
    *,
    target: str = "onnx",
    precision: str = "float32",
    frontend: str = "in",
    clips: ClipSet | None = None,
    overwrite: bool = False,
) -> Manifest:
    """Write a trained model in another form, with a manifest beside it, whole or not at all.

    Args:
        model: a model folder.
        out: the folder to write.
        target: a name in :data:`~lightser.export.EXPORTERS`.
        precision: "float32", "float16" or "int8".
        frontend: "in" for a file that takes samples, "out" for one that takes features.
        clips: int8 is calibrated on some of them; answers are compared on others. Without it they
            are compared on the recordings that come with lightser.
        overwrite: whether an earlier export of that name is replaced.

    Raises:
        UnknownName: no such target, or it does not offer this precision or place of the front end.
        BadModel: the folder is not whole, or does not fit its card; the target cannot carry the
            model; or the exported file answers otherwise than PyTorch.
        LightserError: int8 without clips, or a folder that cannot be written.
    """
    exporter = EXPORTERS[target]
    for kind, asked, offered in (
        (f"precision of {target}", precision, exporter.precisions),
        (f"place of the front end for {target}", frontend, exporter.frontends),
    ):
        if asked not in offered:
            raise UnknownName(kind, asked, offered)
    if precision == "int8" and (clips is None or len(clips.clips) < 2):
        raise LightserError(
            "int8 needs at least two recordings of what the model was trained on, to see the range "
            "of its activations: --calibrate CORPUS=DIR"
        )
    card, trained = open_folder(model)
    system = with_encoder_in_network(trained)
    place = free_place(out, mark=MANIFEST, kind="an export", overwrite=overwrite)
    job = Job(
        exporter=exporter,
        order=Order(
            precision=precision,
            frontend=frontend,
            n_samples=round(card.window_s * card.sample_rate),
            labels=card.labels,
        ),
        model=model,
        card=card,
        system=system,
        clips=clips,
    )
    calibration, compared = clips.draw() if clips else ([], recordings())
    if precision == "int8":
        heard = [job.hear(clip) for clip in calibration]
        job = dataclasses.replace(job, order=dataclasses.replace(job.order, calibration=heard))
    with replacing_folder(place) as folder:
        written = exporter.write(system, job.order, folder)
        written = dataclasses.replace(
            written, files=(*written.files, *add_license(trained, folder))
        )
        answer = exporter.open(folder, written.facts)
        parity = compare(job, answer, [job.hear(clip) for clip in compared])
        check_parity(parity, precision)
        for still in still_clips(job.order.n_samples):
            check_numbers(answer(job.given(still)))
        if exporter.is_model_folder and frontend == "in":
            written = add_card(job, written, answer, parity, folder, place.name)
        manifest = make_manifest(job, written, parity, folder)
        manifest.write(folder)
    return manifest


def open_folder(folder: Path) -> tuple[Card, System]:
    """Return card and system of a model folder that is whole and in agreement with itself.

    Raises:
        BadModel: it is not.
    """
    card = read_card(folder)
    verify_files(folder, card)
    if WEIGHTS not in card.files:
        raise BadModel(
            f"'{folder}' has no {WEIGHTS}, which exports are made from; give the folder of the "
            "trained model, not of an export"
        )
    system = System.load(folder / WEIGHTS)
    for what, said, found in (
        ("labels", len(card.labels), system.n_classes),
        ("sample_rate", card.sample_rate, system.sample_rate),
        ("system", card.system, system.describe()["model"]["name"]),
        ("min_s", round(card.min_s * card.sample_rate), system.min_samples),
    ):
        if said != found:
            raise BadModel(f"'{folder}': its card says {what} {said}, its weights {found}")
    return card, system


def recordings() -> list[Clip]:
    """Return the recordings that come with lightser."""
    return [Clip(file=str(file)) for file in sorted(SAMPLES.glob("*.flac"))]


@torch.inference_mode()
def compare(job: Job, answer: Answer, heard: Sequence[NDArray[np.float32]]) -> Parity:
    """Ask the exported file and PyTorch for the same clips, samples ``[T]`` each."""
    given, expected = [], []
    for samples in heard:
        given.append(answer(job.given(samples)))
        expected.append(job.system(torch.from_numpy(samples)[None])[0].numpy())
    on = "the recordings that come with lightser" if job.clips is None else job.clips.corpus
    return Parity.of(given, expected, on)


def check_parity(parity: Parity, precision: str) -> None:
    """Refuse a file that answers otherwise than PyTorch.

    Raises:
        BadModel: how far it is off, and how far it may be.
    """
    on = f"{parity.clips} clips of {parity.on}"
    allowed = CLOSE.get(precision, math.inf)
    if not parity.max_difference <= allowed:  # NaN is refused too
        raise BadModel(
            f"The {precision} file is {parity.max_difference:.2g} off PyTorch on {on}; "
            f"{allowed:g} is allowed"
        )
    if parity.label_agreement < AGREEMENT and precision == "int8":
        raise BadModel(
            f"The int8 file gives the label that PyTorch gives for {parity.label_agreement:.0%} of "
            f"{on}; {AGREEMENT:.0%} are asked for. This network needs float16"
        )


def add_card(
    job: Job, written: Written, answer: Answer, parity: Parity, folder: Path, name: str
) -> Written:
    """Make the folder one that ``lightser predict --model`` takes, and return what is in it.

    The golden answer is the exported file's own, so that it is recognised elsewhere; the scores are
    still those of the model in float32, and the card says so.
    """
    precision = job.order.precision
    shutil.copyfile(job.model / GOLDEN_CLIP, folder / GOLDEN_CLIP)
    heard = job.hear(Clip(file=str(folder / GOLDEN_CLIP)))
    golden = {
        "clip": GOLDEN_CLIP,
        "probabilities": [round(float(p), 8) for p in answer(heard)],
        "tolerance": GOLDEN_TOLERANCE[precision],
    }
    (folder / GOLDEN_ANSWER).write_text(json.dumps(golden, indent=2) + "\n", encoding="utf-8")
    files = (*written.files, GOLDEN_CLIP, GOLDEN_ANSWER)
    note = (
        f" These weights are the scored ones in {precision}: same label for "
        f"{parity.label_agreement:.1%} of {parity.clips} clips of {parity.on}."
    )
    exported = dataclasses.replace(
        job.card,
        name=name,
        files={name: file_facts(folder / name) for name in files},
        limits=job.card.limits + ("" if precision == "float32" else note),
        created=datetime.date.today().isoformat(),
    )
    write_card(folder, exported)
    return dataclasses.replace(written, files=(*files, "card.json"))


def frontend_in_full(system: System) -> dict[str, Any]:
    """Return name and all options of a front end, those that were left as they are too."""
    described = system.describe()["frontend"]
    known = inspect.signature(FRONTENDS[described["name"]]).parameters
    options = {name: option.default for name, option in known.items()} | described["options"]
    return {"name": described["name"], "options": options}


def was_trained_on(card: Card, corpus: str) -> bool | None:
    """Return whether a model was trained on a corpus; None where names do not tell."""
    names = {trained.corpus for trained in card.trained_on}
    if corpus in names and corpus in ("folder", "table"):  # of which there are many
        return None
    return corpus in names


def make_manifest(job: Job, written: Written, parity: Parity, folder: Path) -> Manifest:
    """Return the manifest of what was written to ``folder``."""
    order, card, system, clips = job.order, job.card, job.system, job.clips
    calibration = None
    if order.calibration and clips is not None:
        calibration = {
            "corpus": clips.corpus,
            "title": clips.title,
            "license": clips.license,
            "clips": len(order.calibration),
            "of": len(clips.clips),
            "seed": clips.seed,
            "seconds": round(sum(map(len, order.calibration)) / system.sample_rate, 1),
            "trained_on_it": was_trained_on(card, clips.corpus),
        }
    return Manifest(
        target=job.exporter.name,
        precision=order.precision,
        frontend={
            "place": order.frontend,
            **frontend_in_full(system),
            "bands": system.frontend.n_bands,
            "hop_samples": system.frontend.hop,
        },
        model={
            "name": card.name,
            "system": card.system,
            "recipe": card.recipe,
            "commit": card.commit,
            "seed": card.seed,
            "weights_sha256": card.files[WEIGHTS].sha256,
        },
        labels=card.labels,
        sample_rate=card.sample_rate,
        window_s=card.window_s,
        min_s=card.min_s,
        files={name: file_facts(folder / name) for name in written.files},
        interface=dict(written.facts),
        quantisation=written.quantisation,
        calibration=calibration,
        parity=parity,
        license=card.license,
        trained_on=tuple(asdict(corpus) for corpus in card.trained_on),
        versions={"lightser": lightser.__version__}
        | {name: version(name) for name in job.exporter.packages},
        created=datetime.date.today().isoformat(),
    )
