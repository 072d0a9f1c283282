"""A run in the middle, on disk: tensors in one file, numbers in another, both or neither.

Tensors are safetensors and the rest is JSON: reading a checkpoint runs no code.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from lightser.training.tensors import write_tensors
from lightser.whole import replacing, write_whole

State = dict[str, Tensor]


def save_checkpoint(
    folder: Path,
    *,
    facts: dict[str, Any],
    system: nn.Module,
    optimizer: torch.optim.Optimizer,
    extra: dict[str, State],
) -> None:
    """Write the state of a run; a kill in the middle leaves the one before.

    Args:
        folder: where; made if it is not there.
        facts: what JSON holds, ``update`` among them.
        system: weights and buffers.
        optimizer: its moments.
        extra: further named states, such as the best weights so far.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"system/{name}": tensor for name, tensor in system.state_dict().items()}
    for group, state in extra.items():
        tensors |= {f"{group}/{name}": tensor for name, tensor in state.items()}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{name}": value for name, value in moments.items()}
    name = f"{facts['update']}.safetensors"
    # safetensors wants tensors that are whole and share nothing
    tensors = {key: t.detach().cpu().contiguous().clone() for key, t in tensors.items()}
    with replacing(folder / name) as unfinished:
        write_tensors(unfinished, tensors)
    # from here on the new one counts
    write_whole(folder / "checkpoint.json", json.dumps({**facts, "tensors": name}))
    for old in folder.glob("*.safetensors"):
        if old.name != name:
            old.unlink()


def load_checkpoint(
    folder: Path, *, system: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[dict[str, Any], dict[str, State]] | None:
    """Restore what :func:`save_checkpoint` wrote; return its facts and extra states, or None."""
    try:
        facts = json.loads((folder / "checkpoint.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    groups: dict[str, State] = {}
    for key, tensor in load_file(folder / facts["tensors"]).items():
        group, name = key.split("/", 1)
        groups.setdefault(group, {})[name] = tensor
    system.load_state_dict(groups.pop("system"))
    moments: dict[int, dict[str, Tensor]] = {}
    for key, tensor in groups.pop("optimizer", {}).items():
        index, name = key.split("/")
        moments.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
    return facts, groups


def drop_checkpoint(folder: Path) -> None:
    """Remove a checkpoint that is no longer needed."""
    for file in [*folder.glob("*.safetensors"), folder / "checkpoint.json"]:
        file.unlink(missing_ok=True)
