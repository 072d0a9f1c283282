"""One bit for each binary weight: what BCRNN's compression is, as a file.

The file is a safetensors file. A binary layer's weight is a run of bytes, eight weights each, the
first in the highest bit, 1 for +1; the shape stands in the file's metadata. All else is float32.
Batch norm is folded into two numbers a channel, as it would be on a device.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from lightser.errors import BadModel
from lightser.models.bcrnn import Bcrnn, weight_scale
from lightser.training.tensors import write_tensors
from lightser.whole import replacing

MEBI = 2**20


@dataclass(frozen=True, kw_only=True)
class PackedSize:
    """What a packed network is made of.

    Attributes:
        bits: weights of one bit.
        floats: float32 numbers.
        payload: bytes of both, without names and shapes.
        file: bytes on disk.
    """

    bits: int
    floats: int
    payload: int
    file: int

    @property
    def mebibytes(self) -> float:
        """The payload in MiB, the figure that papers print."""
        return self.payload / MEBI


def pack_bits(signs: Tensor) -> Tensor:
    """Return the bytes ``[⌈n / 8⌉]`` of n weights of any shape; what is not negative is a 1.

    >>> pack_bits(torch.tensor([[1.0, -1.0], [-1.0, 1.0]]))
    tensor([144], dtype=torch.uint8)
    """
    return torch.from_numpy(np.packbits((signs >= 0).cpu().numpy().reshape(-1)))


def unpack_bits(packed: Tensor, shape: list[int]) -> Tensor:
    """Return +1 and -1 in ``shape`` from the bytes of :func:`pack_bits`.

    >>> unpack_bits(torch.tensor([144], dtype=torch.uint8), [2, 2])
    tensor([[ 1., -1.],
            [-1.,  1.]])
    """
    bits = np.unpackbits(packed.numpy(), count=int(np.prod(shape)))
    return torch.from_numpy(bits.astype(np.float32) * 2 - 1).reshape(shape)


def write_packed(network: Bcrnn, path: Path) -> PackedSize:
    """Write ``network`` to ``path``, whole or not at all, read it back, and return its size.

    Raises:
        BadModel: what was read back is not what was written.
        LightserError: the file cannot be written.
    """
    tensors, shapes = _packed(network)
    with replacing(path) as unfinished:
        write_tensors(unfinished, tensors, {"binary": json.dumps(shapes)})
        _check(network, _read(unfinished), tensors)
    return PackedSize(
        bits=sum(int(np.prod(shape)) for shape in shapes.values()),
        floats=sum(t.numel() for name, t in tensors.items() if name not in shapes),
        payload=sum(t.numel() * t.element_size() for t in tensors.values()),
        file=path.stat().st_size,
    )


def read_packed(path: Path, network: Bcrnn) -> None:
    """Load into ``network`` what :func:`write_packed` wrote from one of the same shape.

    It then computes what the packed one did, to the rounding of folded batch norms. Latent weights
    are not in the file: training cannot go on from it.

    Raises:
        BadModel: the file is missing or broken, or of a network of another shape.
    """
    try:
        network.load_state_dict(_unfold(network, _read(path)))
    except (KeyError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise BadModel(f"'{path}' does not fit this network: {reason}") from error


def _packed(network: Bcrnn) -> tuple[dict[str, Tensor], dict[str, list[int]]]:
    """Return all that is stored, and the shapes of what is packed."""
    binary = {f"{name}.weight": layer for name, layer in network.binary_layers().items()}
    norms = _norms(network)
    tensors: dict[str, Tensor] = {}
    for name, parameter in network.named_parameters():
        weight = parameter.detach().cpu()
        if name in binary:
            tensors[name] = pack_bits(weight)
            if binary[name].scale:
                tensors[name.replace("weight", "scale")] = weight_scale(weight).flatten()
        elif name.rpartition(".")[0] not in norms:
            tensors[name] = weight.contiguous()
    for name, norm in norms.items():
        gain, offset = _fold(norm)
        tensors |= {f"{name}.weight": gain, f"{name}.bias": offset}
    return tensors, {name: list(layer.weight.shape) for name, layer in binary.items()}


def _norms(network: nn.Module) -> dict[str, nn.BatchNorm1d | nn.BatchNorm2d]:
    return {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)
    }


def _fold(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return factor and summand of each channel, in evaluation mode."""
    assert norm.running_mean is not None and norm.running_var is not None
    gain = norm.weight.detach() / (norm.running_var + norm.eps).sqrt()
    return gain.cpu(), (norm.bias.detach() - norm.running_mean * gain).cpu()


def _read(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a packed file, binary weights as ±1 (times their scales)."""
    try:
        with safe_open(path, "pt") as file:
            shapes = json.loads((file.metadata() or {})["binary"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        for name, shape in shapes.items():
            signs = unpack_bits(tensors[name], shape)
            scale = tensors.pop(name.replace("weight", "scale"), torch.ones(shape[0]))
            tensors[name] = signs * scale.reshape(-1, *[1] * (len(shape) - 1))
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise BadModel(f"Cannot read packed weights from '{path}': {reason}") from error
    return tensors


def _unfold(network: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give the folded norms statistics with which they only multiply and add."""
    state = dict(tensors)
    for name, norm in _norms(network).items():
        channels = norm.num_features
        state[f"{name}.running_mean"] = torch.zeros(channels)
        state[f"{name}.running_var"] = torch.full((channels,), 1 - norm.eps)
        state[f"{name}.num_batches_tracked"] = torch.zeros((), dtype=torch.long)
    return state


def _check(network: Bcrnn, read: dict[str, Tensor], written: dict[str, Tensor]) -> None:
    for name, layer in network.binary_layers().items():
        signs = torch.where(layer.weight.detach().cpu() >= 0, 1.0, -1.0)
        if not torch.equal(torch.sign(read[f"{name}.weight"]), signs):
            raise BadModel(f"The bits of '{name}' did not come back as they were written")
    for name, tensor in written.items():
        if tensor.dtype == torch.float32 and name in read and not torch.equal(read[name], tensor):
            raise BadModel(f"'{name}' did not come back as it was written")
