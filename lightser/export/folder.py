"""A model folder: the graph, its weights, its card, and a clip with the answer it must give.

What is in the folder and what the card says is written down in :mod:`lightser.card`.
"""

import copy
import datetime
import json
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import soundfile
import torch
from numpy.typing import NDArray

from lightser.audio.files import read_audio
from lightser.card import (
    CARD,
    GOLDEN_ANSWER,
    GOLDEN_CLIP,
    HEARD,
    INPUT,
    MODEL,
    OUTPUT,
    WEIGHTS,
    Card,
    Score,
    TrainedOn,
    file_facts,
    write_card,
)
from lightser.corpora.heard import write_heard
from lightser.errors import BadModel, LightserError
from lightser.export.onnx import to_onnx
from lightser.features.pretrained import Pretrained
from lightser.training.own_code import OwnCode
from lightser.training.system import System
from lightser.whole import free_place, replacing_folder

TOLERANCE = 1e-4  # of probabilities, between PyTorch here and another runtime elsewhere
SAMPLES = Path(__file__).parent.parent / "samples"
GOLDEN_SAMPLE = "10b10Wa.flac"


@dataclass(frozen=True, kw_only=True)
class CardFacts:
    """What a card says that the system itself does not know; see :class:`lightser.card.Card`."""

    labels: tuple[str, ...]
    window_s: float
    trained_on: tuple[TrainedOn, ...]
    license: str
    scores: tuple[Score, ...]
    recipe: str
    commit: str
    seed: int
    intended_use: str
    limits: str


def free_model_folder(folder: Path, *, overwrite: bool) -> Path:
    """Return the true path of a model folder that may be written.

    Raises:
        LightserError: there is something in the way, or nothing can be written there.
    """
    return free_place(folder, mark=CARD, kind="a model folder", overwrite=overwrite)


def write_model_folder(
    system: System,
    facts: CardFacts,
    folder: Path,
    *,
    overwrite: bool = False,
    code: OwnCode | None = None,
    heard: Collection[bytes] = (),
) -> Card:
    """Write a model folder that has proved itself, or nothing.

    The exported graph is run by ONNX Runtime on the clips that come with lightser before the folder
    gets its name, which is also the model's.

    Args:
        system: with its trained weights and its temperature.
        facts: for the card.
        folder: where it goes; its parent is made if it is not there.
        overwrite: whether a model folder that is there is replaced.
        code: what the system is made of, where that is not all ours. It is put beside the weights,
            and nothing that reads the folder runs it.
        heard: digests of the clips that it was trained on; see :mod:`lightser.corpora.heard`.

    Raises:
        BadModel: ``folder`` is there, or the graph answers otherwise than PyTorch.
        LightserError: the facts do not fit the system, or nothing can be written there.
    """
    if len(facts.labels) != system.n_classes:
        raise LightserError(
            f"{len(facts.labels)} labels do not fit a system of {system.n_classes} classes"
        )
    place = free_model_folder(folder, overwrite=overwrite)
    system = copy.deepcopy(system).cpu().eval()
    with replacing_folder(place) as unfinished:
        to_onnx(system, unfinished / MODEL)
        system.save(unfinished / WEIGHTS)
        _write_golden(system, unfinished, facts.window_s)
        check_parity(system, unfinished / MODEL, facts.window_s)
        files = [MODEL, WEIGHTS, GOLDEN_CLIP, GOLDEN_ANSWER]
        files += add_license(system, unfinished)
        if code is not None:
            (unfinished / code.name).write_text(code.text, encoding="utf-8")
            files.append(code.name)
        if heard:
            write_heard(unfinished, heard)
            files.append(HEARD)
        card = Card(
            name=place.name,
            system=system.describe()["model"]["name"],
            sample_rate=system.sample_rate,
            min_s=system.min_samples / system.sample_rate,
            parameters=system.parameter_count(),
            files={name: file_facts(unfinished / name) for name in files},
            temperature=float(system.temperature),
            created=datetime.date.today().isoformat(),
            **vars(facts),
        )
        write_card(unfinished, card)
    return card


def add_license(system: System, folder: Path) -> list[str]:
    """Put the licence of a pretrained front end beside what was made of it; return its name."""
    if not isinstance(system.frontend, Pretrained):
        return []
    text = system.frontend.license_text
    shutil.copyfile(text, folder / text.name)
    return [text.name]


def check_parity(
    system: System, model: Path, window_s: float, clips: Sequence[Path] | None = None
) -> float:
    """Return the largest difference of a probability between an exported graph and PyTorch.

    Args:
        system: what was exported, on the CPU and in evaluation mode.
        model: the ONNX file.
        window_s: seconds heard of each clip.
        clips: to compare on; by default those that come with lightser.

    Raises:
        BadModel: it is above 1e-4, or the graph gives no numbers, be it for silence.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4  # it would warn of inputs that may be left out
    session = onnxruntime.InferenceSession(
        str(model), sess_options=options, providers=["CPUExecutionProvider"]
    )
    worst = 0.0
    for clip in sorted(SAMPLES.glob("*.flac")) if clips is None else clips:
        samples = _window(read_audio(clip, system.sample_rate), system, window_s)
        (given,) = session.run([OUTPUT], {INPUT: samples[None]})
        difference = float(np.abs(given[0] - _probabilities(system, samples)).max())
        if not difference <= TOLERANCE:  # NaN is refused too
            raise BadModel(
                f"The exported graph is {difference:.2g} off PyTorch for '{clip.name}'; "
                f"{TOLERANCE:g} is allowed"
            )
        worst = max(worst, difference)
    for samples in still_clips(round(window_s * system.sample_rate)):
        (given,) = session.run([OUTPUT], {INPUT: samples[None]})
        check_numbers(given[0])
    return worst


def still_clips(n_samples: int) -> list[NDArray[np.float32]]:
    """Return clips ``[T]`` in which a model may divide by nothing: silence, and a click in it."""
    silence, click = np.zeros((2, n_samples), np.float32)
    click[n_samples // 3] = 0.5
    return [silence, click]


def check_numbers(probabilities: NDArray[np.float32]) -> None:
    """Refuse the answer of an export to a silent clip where it is none.

    Raises:
        BadModel: it is NaN or infinite.
    """
    if not np.isfinite(probabilities).all():
        raise BadModel("The exported file gives no numbers for a clip that is silent, or all but")


def _window(samples: NDArray[np.float32], system: System, window_s: float) -> NDArray[np.float32]:
    """Return what a caller may give the graph: at most a window, and not less than it takes."""
    samples = samples[: round(window_s * system.sample_rate)]
    missing = max(0, system.min_samples - len(samples))
    return np.pad(samples, (missing // 2, missing - missing // 2))


def _probabilities(system: System, samples: NDArray[np.float32]) -> NDArray[np.float32]:
    with torch.no_grad():
        return np.asarray(system(torch.from_numpy(samples)[None])[0])


def _write_golden(system: System, folder: Path, window_s: float) -> None:
    """Write a clip of at most one window, and PyTorch's answer for it."""
    clip = folder / GOLDEN_CLIP
    samples, rate = soundfile.read(SAMPLES / GOLDEN_SAMPLE, dtype="int16")
    if len(samples) <= window_s * rate:
        shutil.copyfile(SAMPLES / GOLDEN_SAMPLE, clip)
    else:
        soundfile.write(clip, samples[: int(window_s * rate)], rate, subtype="PCM_16")
    heard = _window(read_audio(clip, system.sample_rate), system, window_s)
    golden = {
        "clip": GOLDEN_CLIP,
        "probabilities": [round(float(p), 8) for p in _probabilities(system, heard)],
        "tolerance": TOLERANCE,
    }
    (folder / GOLDEN_ANSWER).write_text(json.dumps(golden, indent=2) + "\n", encoding="utf-8")
