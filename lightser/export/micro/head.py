"""The head of a network for a microcontroller: its embedding is given, and C goes on from there.

The int8 network keeps its own last layer, whose answers are as they were. Where a voice is adapted
to, ``c/lightser_voice.c`` computes that layer in single precision, some thousand products.

Shapes: P values of the embedding, C classes.
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ai_edge_litert import schema_py_generated as schema
from torch import nn

from lightser.card import EMBEDDING, MEAN_COUNTS, VARIANCE_COUNTS
from lightser.errors import BadModel
from lightser.export.litert import packed, unpacked
from lightser.export.micro.frontend import Quantisation
from lightser.export.micro.sources import NOTE, C
from lightser.export.micro.text import array, define
from lightser.training.system import System

VOICE = ("lightser_voice.h", "lightser_voice.c")


def with_embedding(content: bytes) -> bytes:
    """Return a LiteRT file that also gives what its last product takes, as a second output.

    Raises:
        BadModel: there is no such product.
    """
    model = unpacked(content)
    (graph,), (signature,) = model.subgraphs, model.signatureDefs
    last = [op for op in graph.operators if _name(model, op) == "FULLY_CONNECTED"]
    if not last:
        raise BadModel("The network has no last product whose embedding could be given")
    embedding = int(last[-1].inputs[0])
    graph.outputs = np.array([*graph.outputs, embedding], np.int32)
    named = schema.TensorMapT()
    named.name, named.tensorIndex = EMBEDDING.encode(), embedding
    signature.outputs.append(named)
    return packed(model)


def _name(model: Any, operation: Any) -> str:
    code = model.operatorCodes[operation.opcodeIndex]
    names = {value: name for name, value in vars(schema.BuiltinOperator).items()}
    return str(names[max(code.builtinCode, code.deprecatedBuiltinCode)])


def embedding_of(content: bytes) -> tuple[int, Quantisation]:
    """Return how many values the second output of a file has, and how a code is one of them."""
    (graph,) = unpacked(content).subgraphs
    tensor = graph.tensors[graph.outputs[1]]
    scale, zero_point = tensor.quantization.scale[0], tensor.quantization.zeroPoint[0]
    size = int(np.prod(tensor.shape))
    return size, Quantisation(scale=float(scale), zero_point=int(zero_point))


def described_embedding(content: bytes) -> dict[str, Any]:
    """Return what a manifest says of the second output of a file."""
    size, code = embedding_of(content)
    return {"type": "int8", "shape": [size], "scale": code.scale, "zero_point": code.zero_point}


@torch.no_grad()
def write_head(folder: Path, system: System, content: bytes) -> tuple[str, ...]:
    """Write the last layer, the statistics of training, and what computes with them, as C.

    Args:
        folder: where to.
        system: whose head it is, its norm not folded.
        content: the file whose second output is the embedding.

    Returns:
        The names of the files.
    """
    size, code = embedding_of(content)
    norm, layer = system.embedding, system.network.classifier
    assert norm is not None and isinstance(layer, nn.Linear)
    weights, bias = layer.weight / system.temperature, layer.bias / system.temperature
    values = {
        "EMBEDDING": size,
        "EMBEDDING_SCALE": code.scale,
        "EMBEDDING_ZERO_POINT": code.zero_point,
        "MEAN_COUNTS": MEAN_COUNTS,
        "VARIANCE_COUNTS": VARIANCE_COUNTS,
    }
    shapes = {
        "lightser_training_mean": norm.mean,
        "lightser_training_std": norm.std,
        "lightser_head_weights": weights,
        "lightser_head_bias": bias,
    }
    declared = "".join(
        f"extern const float {name}{''.join(f'[{n}]' for n in numbers.shape)};\n"
        for name, numbers in shapes.items()
    )
    guard = "#ifndef LIGHTSER_HEAD_H\n#define LIGHTSER_HEAD_H\n\n"
    linkage = '\n#ifdef __cplusplus\nextern "C" {\n#endif\n\n', "\n#ifdef __cplusplus\n}\n#endif\n"
    header = NOTE + guard + define(values) + linkage[0] + declared + linkage[1] + "#endif\n"
    arrays = [array("float", name, x.numpy(), of="const") for name, x in shapes.items()]
    source = NOTE + '#include "lightser_head.h"\n\n' + "\n".join(arrays)
    (folder / "lightser_head.h").write_text(header, encoding="ascii")
    (folder / "lightser_head.c").write_text(source, encoding="ascii")
    for name in VOICE:
        shutil.copyfile(C / name, folder / name)
    return "lightser_head.h", "lightser_head.c", *VOICE
