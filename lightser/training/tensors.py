"""Tensors to a file that whoever may read its folder can read."""

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save
from torch import Tensor


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write a safetensors file.

    By way of memory: safetensors' own ``save_file`` lets nobody but the owner read what it writes,
    whatever the umask says, and a model folder is for others.
    """
    path.write_bytes(save(dict(tensors), None if metadata is None else dict(metadata)))
