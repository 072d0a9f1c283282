"""Folders of a Whisper model as CTranslate2 and Hugging Face write them, of random numbers."""

import json
import struct
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from lightser.features.whisper_encoder import Encoder

HUGGING_FACE = {
    "attention_norm": "self_attn_layer_norm",
    "attention_out": "self_attn.out_proj",
    "feed_norm": "final_layer_norm",
    "feed_in": "fc1",
    "feed_out": "fc2",
}
CTRANSLATE2 = {
    "attention_norm": "self_attention/layer_norm",
    "attention_in": "self_attention/linear_0",
    "attention_out": "self_attention/linear_1",
    "feed_norm": "ffn/layer_norm",
    "feed_in": "ffn/linear_0",
    "feed_out": "ffn/linear_1",
}
TYPES = {"float32": 0, "int8": 1, "float16": 4}


def random_weights(n_layers: int) -> dict[str, Tensor]:
    """Return an encoder's tensors, each a float16, that leave its states of the order of one."""
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for name, tensor in Encoder(n_layers).named_buffers():
        size = tensor[0].numel() if tensor.ndim > 1 else 100
        values = torch.randn(tensor.shape, generator=generator) / size**0.5
        if name == "positions":
            values = values / 10
        if name.endswith("norm.weight"):
            values = values + 1
        if name.endswith("attention_in.bias"):
            values[512:1024] = 0  # keys have none
        weights[name] = values.half().float()
    return weights


def write_ctranslate2(folder: Path, weights: dict[str, Tensor], kind: str = "float16") -> Path:
    """Write ``model.bin``, and return the folder."""
    named = {"encoder/num_heads": np.array(8, np.int8), "decoder/scale": np.array(1, np.int8)}
    for name, tensor in weights.items():
        values = tensor.numpy().astype(kind)
        if name == "positions":
            named["encoder/position_encodings/encodings"] = values
        elif name.startswith("layers."):
            _, i, part, end = name.split(".")
            end = {"weight": "gamma", "bias": "beta"}[end] if "norm" in part else end
            named[f"encoder/layer_{i}/{CTRANSLATE2[part]}/{end}"] = values
        else:
            named["encoder/" + name.replace(".", "/")] = values

    def text(words: str) -> bytes:
        return struct.pack("<H", len(words) + 1) + words.encode() + b"\0"

    data = struct.pack("<I", 6) + text("WhisperSpec") + struct.pack("<II", 3, len(named))
    for name, values in named.items():
        data += text(name) + struct.pack(f"<B{values.ndim}I", values.ndim, *values.shape)
        data += struct.pack("<BI", TYPES[values.dtype.name], values.nbytes) + values.tobytes()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.bin").write_bytes(data + struct.pack("<I", 0))
    return folder


def hugging_face_names(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return an encoder's tensors as ``transformers`` calls them."""
    named = {}
    for name, tensor in weights.items():
        if name == "positions":
            named["embed_positions.weight"] = tensor
        elif name.startswith("layers."):
            _, i, part, end = name.split(".")
            if part != "attention_in":
                named[f"layers.{i}.{HUGGING_FACE[part]}.{end}"] = tensor
                continue
            for letter, piece in zip("qkv", tensor.chunk(3), strict=True):
                if (letter, end) != ("k", "bias"):
                    named[f"layers.{i}.self_attn.{letter}_proj.{end}"] = piece.clone()
        else:
            named[name] = tensor
    return named


def write_hugging_face(folder: Path, weights: dict[str, Tensor], prefix: str = "model.") -> Path:
    """Write ``config.json`` and ``model.safetensors``, and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "whisper"}))
    named = {f"{prefix}encoder.{k}": v for k, v in hugging_face_names(weights).items()}
    save_file(named, folder / "model.safetensors")
    return folder
