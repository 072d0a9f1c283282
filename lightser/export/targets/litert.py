"""LiteRT (TensorFlow Lite), for phones and small computers: one clip of one length at a time."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lightser.card import INPUT, OUTPUT
from lightser.errors import BadModel
from lightser.export import EXPORTERS, FRONTENDS_AT, PRECISIONS, Answer, Exporter, Order, Written
from lightser.export.fold import fold_batch_norms
from lightser.export.parts import FEATURES
from lightser.features.standardize import Standardize
from lightser.training.system import System

if TYPE_CHECKING:
    from ai_edge_litert.interpreter import Interpreter

MODEL = "model.tflite"


class FrontEnd(nn.Module):
    """Samples ``[1, T]`` to standardised features ``[1, F, M]``."""

    def __init__(self, system: System):
        super().__init__()
        self.system = system

    def forward(self, samples: Tensor) -> Tensor:
        standardized: Tensor = self.system.standardize(self.system.features(samples))
        return standardized


class Network(nn.Module):
    """Features ``[1, F, M]`` to probabilities ``[1, C]``.

    Args:
        system: whose network this is; fold its batch norms first.
        standardize: whether the features come as the front end gives them.
    """

    def __init__(self, system: System, *, standardize: bool):
        super().__init__()
        self.system, self.standardize = system, standardize

    def forward(self, features: Tensor) -> Tensor:
        if self.standardize:
            features = self.system.standardize(features)
        logits: Tensor = self.system.network(features)
        return self.system.probabilities(logits)


def write(system: System, order: Order, folder: Path) -> Written:
    """Write ``model.tflite``.

    With the front end inside, features are in float32 whatever the precision of the network, and so
    are samples and probabilities. An int8 file without it takes features that are standardised
    *and* quantised, since a single scale would have to hold bands of very different size.

    Raises:
        BadModel: the converter cannot carry the network, or clips of different length reach it at
            different length.
        MissingExtra: LiteRT's tools are not installed.
    """
    from lightser.export import litert
    from lightser.export.litert_int8 import to_half, to_int8

    example = features_of_one_length(system, order)
    folded = fold_batch_norms(system)
    is_inside, is_int8 = order.frontend == "in", order.precision == "int8"
    network = Network(folded, standardize=not (is_inside or is_int8))
    content = litert.to_litert(network, example)
    if is_int8:
        content = to_int8(content, calibration_features(folded, order))
    elif order.precision == "float16":
        content = to_half(content)
    if is_inside:
        samples = torch.zeros(1, order.n_samples)
        content = litert.joined(litert.to_litert(FrontEnd(folded), samples), content)
    content = litert.finished(content, taken=INPUT if is_inside else FEATURES, given=OUTPUT)
    (folder / MODEL).write_bytes(content)
    interpreter = litert.open_litert(content)
    taken = describe(interpreter.get_input_details()[0])
    if is_int8 and not is_inside:
        taken["standardization"] = standardization(folded)
    return Written(
        files=(MODEL,),
        facts={
            "input": taken,
            "output": describe(interpreter.get_output_details()[0]),
            "operations": litert.operations(content),
        },
        quantisation=QUANTISATION[order.precision],
    )


QUANTISATION: dict[str, dict[str, Any] | None] = {
    "float32": None,
    "float16": {"scheme": "float16", "weights": "float16", "activations": "float32"},
    "int8": {
        "scheme": "static, full integer",
        "weights": "int8, symmetric, a scale for each output channel",
        "activations": "int8, a scale and a zero point for each tensor",
        "ranges": "smallest and largest value seen",
        "biases": "corrected to the float32 means of each layer",
    },
}


@torch.no_grad()
def features_of_one_length(system: System, order: Order) -> Tensor:
    """Return features of silence, in the shape that the features of every clip have.

    Raises:
        BadModel: features are longer for longer clips, or what comes in has no one length.
    """
    shortest, longest = system.min_samples, order.n_samples
    features = system.features(torch.zeros(1, longest))
    one_length = system.features(torch.zeros(1, shortest)).shape == features.shape
    if not one_length or (order.frontend == "in" and shortest < longest):
        rate = system.sample_rate
        hint = "give --frontend out, or export it to onnx" if one_length else "export it to onnx"
        raise BadModel(
            f"A LiteRT file takes clips of one length, and this model hears {shortest / rate:g} to "
            f"{longest / rate:g} s as they are; {hint}"
        )
    return features


@torch.inference_mode()
def calibration_features(system: System, order: Order) -> list[NDArray[np.float32]]:
    """Return the standardised features ``[1, F, M]`` of each clip to calibrate on."""
    front_end = FrontEnd(system)
    return [front_end(torch.from_numpy(samples)[None]).numpy() for samples in order.calibration]


def standardization(system: System) -> dict[str, list[float]] | None:
    """Return what features are to be reduced by and divided by, a number for each band."""
    if not isinstance(system.standardize, Standardize):
        return None
    scale = system.standardize.std + system.standardize.epsilon
    return {"mean": system.standardize.mean.tolist(), "scale": scale.tolist()}


def describe(details: Mapping[str, Any]) -> dict[str, Any]:
    """Return name, type, shape and, of whole numbers, scale and zero point of an end."""
    described = {
        "name": details["name"],
        "type": np.dtype(details["dtype"]).name,
        "shape": [int(size) for size in details["shape"]],
    }
    scale, zero_point = details["quantization"]
    if scale:
        described |= {"scale": float(scale), "zero_point": int(zero_point)}
    return described


def open_model(folder: Path, interface: Mapping[str, Any]) -> Answer:
    """Open ``model.tflite`` in LiteRT, on one thread."""
    from lightser.export.litert import open_litert

    return asking(open_litert((folder / MODEL).read_bytes()), interface)


def asking(interpreter: "Interpreter", interface: Mapping[str, Any]) -> Answer:
    """Return a function that asks an interpreter, whatever its numbers are.

    Args:
        interpreter: ready to be asked.
        interface: of its manifest.
    """
    taken, given = interface["input"], interface["output"]
    entry = interpreter.get_input_details()[0]["index"]
    result = interpreter.get_output_details()[0]["index"]

    def answer(clip: NDArray[np.float32]) -> NDArray[np.float32]:
        interpreter.set_tensor(entry, to_codes(clip, taken)[None])
        interpreter.invoke()
        return from_codes(interpreter.get_tensor(result)[0], given)

    return answer


def to_codes(clip: NDArray[np.float32], taken: Mapping[str, Any]) -> NDArray[Any]:
    """Return samples or features in the numbers that an input takes."""
    if "scale" not in taken:
        return clip
    standard = taken.get("standardization") or {"mean": 0.0, "scale": 1.0}
    mean, deviation = (np.float32(standard[name]) for name in ("mean", "scale"))
    x = (clip - mean) / deviation / np.float32(taken["scale"])
    codes: NDArray[np.int8] = np.clip(np.round(x) + taken["zero_point"], -128, 127).astype(np.int8)
    return codes


def from_codes(answer: NDArray[Any], given: Mapping[str, Any]) -> NDArray[np.float32]:
    """Return probabilities ``[C]`` from the numbers that an output gives."""
    probabilities: NDArray[np.float32] = answer.astype(np.float32)
    if "scale" in given:
        probabilities = (probabilities - given["zero_point"]) * np.float32(given["scale"])
    return probabilities


EXPORTERS["litert"] = Exporter(
    name="litert",
    title="LiteRT, formerly TensorFlow Lite",
    precisions=PRECISIONS,
    frontends=FRONTENDS_AT,
    is_model_folder=False,
    packages=("torch", "litert-torch", "ai-edge-quantizer", "ai-edge-litert"),
    write=write,
    open=open_model,
)
