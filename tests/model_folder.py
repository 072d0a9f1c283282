"""A small model folder that ONNX Runtime really runs: eight band energies and a linear layer.

    samples [B, T] -> eight band-pass filters -> mean power -> log -> linear -> softmax [B, C]

Any length from 256 samples on. Its weights are random, so its answers mean nothing, but they depend
on every sample of the clip.
"""

import json
from pathlib import Path

import numpy as np
import onnx
import soundfile
from onnx import TensorProto, helper, numpy_helper

from lightser.card import FORMAT, MODEL, Card, FileFacts, Score, TrainedOn, file_facts, write_card

SAMPLES = Path(__file__).parent.parent / "lightser" / "samples"
ANGER, SADNESS, HAPPINESS = (SAMPLES / f"{n}.flac" for n in ("10b10Wa", "14a04Tc", "08a02Fe"))
LABELS = ("anger", "boredom", "disgust", "fear", "happiness", "neutral", "sadness")
BANDS, TAPS, STRIDE = 8, 256, 128
LEVEL = 10.0  # so that logarithms of speech come out around zero


def weights(n_labels: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return band-pass filters ``[8, 256]``, a matrix ``[8, C]`` and a bias ``[C]``."""
    rng = np.random.default_rng(seed)
    cycles = 2 * np.arange(1, BANDS + 1)[:, None] / TAPS  # per sample: 125 Hz to 1 kHz at 16 kHz
    filters = np.cos(2 * np.pi * cycles * np.arange(TAPS)) * np.hanning(TAPS) / TAPS
    matrix = rng.normal(0.0, 0.4, (BANDS, n_labels))
    bias = rng.normal(0.0, 0.4, n_labels)
    return filters.astype(np.float32), matrix.astype(np.float32), bias.astype(np.float32)


def plain_answer(
    samples: np.ndarray, n_labels: int = len(LABELS), seed: int = 0, temperature: float = 1.5
) -> np.ndarray:
    """Compute in NumPy what the graph computes: ``[T]`` to ``[C]``."""
    filters, matrix, bias = weights(n_labels, seed)
    frames = np.lib.stride_tricks.sliding_window_view(samples, TAPS)[::STRIDE]
    power = np.square(frames @ filters.T).mean(axis=0)
    logits = ((np.log(power + 1e-9) + LEVEL) @ matrix + bias) / temperature
    odds = np.exp(logits - logits.max())
    return odds / odds.sum()


def write_model(
    folder: Path,
    *,
    labels: tuple[str, ...] = LABELS,
    window_s: float = 2.0,
    min_s: float = 0.5,
    seed: int = 0,
    temperature: float = 1.5,
) -> Path:
    """Write a whole model folder at 16 kHz, named as the folder is, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(make_graph(len(labels), seed, temperature), folder / MODEL)
    golden, rate = soundfile.read(HAPPINESS, frames=16_000, dtype="float32")
    soundfile.write(folder / "golden.flac", golden, rate, subtype="PCM_16")
    answer = plain_answer(golden, len(labels), seed, temperature).tolist()
    (folder / "golden.json").write_text(
        json.dumps({"clip": "golden.flac", "probabilities": answer, "tolerance": 1e-4})
    )
    write_card(folder, make_card(folder, labels, window_s, min_s, seed, temperature))
    return folder


def make_graph(n_labels: int, seed: int = 0, temperature: float = 1.5) -> onnx.ModelProto:
    filters, matrix, bias = weights(n_labels, seed)
    constants = {
        "channel": np.array([1], np.int64),
        "filters": filters[:, None],
        "time": np.array([2], np.int64),
        "floor": np.float32(1e-9),
        "level": np.float32(LEVEL),
        "matrix": matrix,
        "bias": bias,
        "temperature": np.float32(temperature),
    }
    nodes = [
        helper.make_node("Unsqueeze", ["samples", "channel"], ["wave"]),
        helper.make_node("Conv", ["wave", "filters"], ["bands"], strides=[STRIDE]),
        helper.make_node("Mul", ["bands", "bands"], ["power"]),
        helper.make_node("ReduceMean", ["power", "time"], ["mean"], keepdims=0),
        helper.make_node("Add", ["mean", "floor"], ["above"]),
        helper.make_node("Log", ["above"], ["logs"]),
        helper.make_node("Add", ["logs", "level"], ["centred"]),
        helper.make_node("MatMul", ["centred", "matrix"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["logits"]),
        helper.make_node("Div", ["logits", "temperature"], ["cooled"]),
        helper.make_node("Softmax", ["cooled"], ["probabilities"], axis=-1),
    ]
    graph = helper.make_graph(
        nodes,
        "band_energies",
        [helper.make_tensor_value_info("samples", TensorProto.FLOAT, ["batch", "time"])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", n_labels])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model


def make_card(
    folder: Path,
    labels: tuple[str, ...] = LABELS,
    window_s: float = 2.0,
    min_s: float = 0.5,
    seed: int = 0,
    temperature: float = 1.5,
) -> Card:
    """Return the card of what lies in ``folder``."""
    files: dict[str, FileFacts] = {path.name: file_facts(path) for path in sorted(folder.iterdir())}
    files.pop("card.json", None)
    return Card(
        format=FORMAT,
        name=folder.name,
        system="band_energies",
        labels=labels,
        sample_rate=16_000,
        window_s=window_s,
        min_s=min_s,
        trained_on=(
            TrainedOn(
                corpus="emodb",
                title="Berlin Database of Emotional Speech",
                license="CC0-1.0",
                url="http://emodb.bilderbar.info",
                utterances=535,
                speakers=10,
                language="de",
            ),
        ),
        license="MIT",
        scores=(
            Score(
                corpus="emodb",
                protocol="loso",
                protocol_note="Every speaker is tested by a model that never heard them.",
                selected_on="last",
                ua=0.143,
                wa=0.141,
                macro_f1=0.1,
                ua_interval=(0.12, 0.17),
                interval="speakers",
                seeds=(0, 1),
                recipe="recipes/test/random.toml",
                commit="0123456",
                n_utterances=535,
            ),
        ),
        recipe="recipes/test/random.toml",
        commit="0123456",
        seed=seed,
        parameters=BANDS * len(labels) + len(labels),
        files=files,
        temperature=temperature,
        intended_use="Tests.",
        limits="Its weights are random.",
        created="2026-01-01",
    )
