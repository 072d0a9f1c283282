"""The encoder of a Whisper model, read from its folder without the library that wrote it.

Two kinds of folder are known: Hugging Face's (``config.json`` and ``model.safetensors``) and
CTranslate2's (``model.bin``: a header, then name, shape, type and bytes of each tensor). Nothing in
either is run.
"""

import json
import math
import struct
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lightser.errors import BadModel

CTRANSLATE2, HUGGING_FACE, PICKLED = "model.bin", "model.safetensors", "pytorch_model.bin"

# What is called `layers.0.feed_in.weight` here, they call `encoder/layer_0/ffn/linear_0/weight` and
# `encoder.layers.0.fc1.weight`.
_PARTS = {
    "attention_norm": ("self_attention/layer_norm", ("self_attn_layer_norm",)),
    "attention_in": ("self_attention/linear_0", tuple(f"self_attn.{p}_proj" for p in "qkv")),
    "attention_out": ("self_attention/linear_1", ("self_attn.out_proj",)),
    "feed_norm": ("ffn/layer_norm", ("final_layer_norm",)),
    "feed_in": ("ffn/linear_0", ("fc1",)),
    "feed_out": ("ffn/linear_1", ("fc2",)),
}
_OF_A_NORM = {"weight": "gamma", "bias": "beta"}

_VERSIONS = range(4, 7)  # of CTranslate2's file; before, tensors had no types
_TYPES = ("float32", "int8", "int16", "int32", "float16", "bfloat16")  # by its numbers
_BYTES = (4, 1, 2, 4, 2, 2)


def read_encoder(folder: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Return tensors of a Whisper encoder in float32.

    Args:
        folder: of CTranslate2 or of Hugging Face.
        shapes: of the tensors that are wanted, by the names of
            :class:`~lightser.features.whisper_encoder.Encoder`.

    Raises:
        BadModel: the folder holds no Whisper model, one of another size, or one whose numbers are
            neither float32 nor float16.
    """
    path, read, names_of = _found_in(folder)
    tensors = read(path)
    weights = {}
    for name, shape in shapes.items():
        parts = [tensors.get(theirs) for theirs in names_of(name)]
        given = [part for part in parts if part is not None]
        if len(given) < len(parts):
            raise BadModel(f"'{path}' is not the Whisper model asked for: it lacks {name}")
        for part in given:
            if part.dtype not in (torch.float32, torch.float16):
                kind = str(part.dtype).removeprefix("torch.")
                raise BadModel(
                    f"'{path}' holds {name} in {kind}; give the model in float16 or float32"
                )
        whole = torch.cat(given).float()
        if whole.shape != shape:
            raise BadModel(
                f"'{path}' is a Whisper model of another size: {name} has the shape "
                f"{list(whole.shape)}, and {list(shape)} is asked for, that of Whisper base"
            )
        if not bool(torch.isfinite(whole).all()):
            raise BadModel(f"'{path}' holds what is no number in {name}")
        weights[name] = whole
    return weights


_Reader = Callable[[Path], dict[str, Tensor]]
_Names = Callable[[str], list[str]]


def _found_in(folder: Path) -> tuple[Path, _Reader, _Names]:
    """Return the file with the weights, what reads it, and what tells its names by ours."""
    if (folder / CTRANSLATE2).is_file():
        return folder / CTRANSLATE2, _read_ctranslate2, _ctranslate2_names
    if (folder / HUGGING_FACE).is_file():
        return folder / HUGGING_FACE, _read_hugging_face, _hugging_face_names
    if not folder.is_dir():
        raise BadModel(f"There is no folder '{folder}'; give that of a Whisper model")
    if (folder / PICKLED).is_file():
        raise BadModel(
            f"'{folder}' holds its weights pickled, and reading those may run anything; give a "
            "model that is saved as safetensors"
        )
    raise BadModel(
        f"'{folder}' is not the folder of a Whisper model: neither {HUGGING_FACE} (Hugging Face) "
        f"nor {CTRANSLATE2} (CTranslate2) is in it"
    )


def _ctranslate2_names(name: str) -> list[str]:
    if name == "positions":
        return ["encoder/position_encodings/encodings"]
    if not name.startswith("layers."):
        return ["encoder/" + name.replace(".", "/")]
    _, i, part, end = name.split(".")
    theirs = _PARTS[part][0]
    return [f"encoder/layer_{i}/{theirs}/{_OF_A_NORM[end] if 'norm' in part else end}"]


def _hugging_face_names(name: str) -> list[str]:
    if name == "positions":
        return ["encoder.embed_positions.weight"]
    if not name.startswith("layers."):
        return [f"encoder.{name}"]
    _, i, part, end = name.split(".")
    return [f"encoder.layers.{i}.{theirs}.{end}" for theirs in _PARTS[part][1]]


def _read_ctranslate2(path: Path) -> dict[str, Tensor]:
    """Return the encoder's tensors by CTranslate2's names; it writes in ``specs/model_spec.py``.

    Numbers are little-endian; a text has its length in front and a zero at its end.
    """
    data = path.read_bytes()
    at = 0

    def number(form: str) -> int:
        nonlocal at
        (value,) = struct.unpack_from(f"<{form}", data, at)
        at += struct.calcsize(f"<{form}")
        return int(value)

    def text() -> str:
        nonlocal at
        size = number("H")
        at += size
        return data[at - size : at - 1].decode()

    tensors = {}
    try:
        if (version := number("I")) not in _VERSIONS:
            raise ValueError(f"version {version} of its format is not one of {list(_VERSIONS)}")
        if (spec := text()) != "WhisperSpec":
            raise ValueError(f"it is a {spec}")
        number("I")  # revision of what there is in it
        for _ in range(number("I")):
            name = text()
            shape = [number("I") for _ in range(number("B"))]
            kind, n_bytes = number("B"), number("I")
            if math.prod(shape) * _BYTES[kind] != n_bytes or at + n_bytes > len(data):
                raise ValueError(f"{name} is cut off")
            if name.startswith("encoder/"):
                dtype: torch.dtype = getattr(torch, _TYPES[kind])
                values = np.frombuffer(data, np.uint8, n_bytes, at).copy()
                tensors[name] = torch.from_numpy(values).view(dtype).reshape(shape)
            at += n_bytes
    except (struct.error, UnicodeDecodeError, IndexError, ValueError) as error:
        raise BadModel(f"'{path}' is no whole Whisper model of CTranslate2: {error}") from None
    return tensors


def _read_hugging_face(path: Path) -> dict[str, Tensor]:
    """Return the encoder's tensors by Hugging Face's names, from ``encoder.`` on."""
    config = path.with_name("config.json")
    try:
        kind = json.loads(config.read_text(encoding="utf-8"))["model_type"]
        with safe_open(path, "pt") as file:
            names = {name.removeprefix("model."): name for name in file.keys()}  # noqa: SIM118
            tensors = {
                name: file.get_tensor(theirs)
                for name, theirs in names.items()
                if name.startswith("encoder.")
            }
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else error
        raise BadModel(f"Cannot read the model in '{path.parent}': {reason}") from None
    if kind != "whisper":
        raise BadModel(f"'{path.parent}' is a model of type '{kind}', not 'whisper'")
    for name in list(tensors):  # keys have no bias
        if name.endswith("q_proj.bias"):
            key = name.replace("q_proj", "k_proj")
            tensors.setdefault(key, torch.zeros_like(tensors[name]))
    return tensors
