r"""Batch norms folded into the layer before them: fewer numbers, fewer steps, the same answers.

After training, a batch norm multiplies each channel by one number and adds another. So does a
change of the weights in front of it (Aftab et al., slides to "Light-SERNet", body part 2; first in
Jacob et al., CVPR 2018, https://arxiv.org/abs/1712.05877):

.. math::
    W_{fold} = \gamma \frac{W}{\sqrt{\sigma^2 + \epsilon}}, \quad
    b_{fold} = \gamma \frac{b - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta
"""

import copy
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lightser.models.embedding import set_statistics
from lightser.training.system import System

Norm = nn.BatchNorm1d | nn.BatchNorm2d
Layer = nn.Conv2d | nn.Linear


def fold_batch_norms(system: System) -> System:
    """Return a copy in evaluation mode, its batch norms folded into the layers before them.

    The norm of an embedding is folded into the classifier behind it.

    A norm stays where there is nothing to fold it into: behind a layer that is used twice, whose
    answer something else reads too (a skip) or changes first (an activation in place), or whose
    weights are not plain numbers (the one-bit layers of BCRNN, which only know signs).
    """
    folded = copy.deepcopy(system).cpu().eval()
    for layer_name, norm_name in norms_behind_layers(folded).items():
        layer, norm = folded.get_submodule(layer_name), folded.get_submodule(norm_name)
        assert isinstance(layer, Layer) and isinstance(norm, Norm)
        fold(layer, norm)
        folded.set_submodule(norm_name, nn.Identity())
    if (embedding := folded.embedding) is not None:
        mean, std = torch.zeros_like(embedding.mean), torch.ones_like(embedding.std)
        set_statistics(folded.network, mean, std)
        folded.set_submodule("network.embedding", nn.Identity())
    return folded


@torch.no_grad()
def fold(layer: Layer, norm: Norm) -> None:
    """Change weights and bias of ``layer`` to do what ``norm`` behind it does, too."""
    assert norm.running_mean is not None and norm.running_var is not None
    # In double precision, so that folding costs one rounding.
    gain = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    bias = torch.zeros_like(gain) if layer.bias is None else layer.bias.double()
    weight = layer.weight * gain.reshape(-1, *[1] * (layer.weight.ndim - 1))
    offset = (bias - norm.running_mean) * gain + norm.bias
    layer.weight = nn.Parameter(weight.float())
    layer.bias = nn.Parameter(offset.float())


@torch.no_grad()
def norms_behind_layers(system: System) -> dict[str, str]:
    """Return the name of each layer that a batch norm alone follows at once, and that of the norm.

    Found by watching where tensors go, without computing them.
    """
    shadow = copy.deepcopy(system).to("meta").eval()
    made_by: dict[int, str] = {}  # storage of an output: name of the layer
    pairs: dict[int, tuple[str, str]] = {}  # the same: names of layer and norm
    readers = _Readers()
    calls: dict[str, int] = {}
    alive: list[Tensor] = []  # or another tensor might get the storage of one that is gone

    def leaves(name: str, output: Tensor) -> None:
        alive.append(output)
        made_by[storage_of(output)] = name
        readers.counts[storage_of(output)] = 0

    def enters(name: str, x: Tensor) -> None:
        if (layer := made_by.get(storage_of(x))) is not None:
            pairs[storage_of(x)] = layer, name

    for name, module in shadow.named_modules():
        if type(module) in (nn.Conv2d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d):
            module.register_forward_pre_hook(
                lambda module, given, name=name: calls.update({name: calls.get(name, 0) + 1})
            )
        if type(module) in (nn.Conv2d, nn.Linear):  # exactly: others have weights of their own kind
            module.register_forward_hook(
                lambda module, given, output, name=name: leaves(name, output)
            )
        if isinstance(module, Norm):
            module.register_forward_pre_hook(
                lambda module, given, name=name: enters(name, given[0])
            )
    with readers:
        shadow(torch.zeros(1, shadow.min_samples, device="meta"))
    return {
        layer: norm
        for storage, (layer, norm) in pairs.items()
        if calls[layer] == calls[norm] == readers.counts[storage] == 1
    }


class _Readers(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Count the operations that read or change each piece of memory; a view does neither.

    Attributes:
        counts: by storage.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counts: Counter[int] = Counter()

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = _storages((args, kwargs))
        made = func(*args, **(kwargs or {}))
        is_change: bool = func._schema.is_mutable  # type: ignore[attr-defined]
        self.counts.update(given if is_change else given - _storages(made))
        return made


def _storages(tree: Any) -> set[int]:
    return {storage_of(leaf) for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)}


def storage_of(x: Tensor) -> int:
    """Return what two tensors have in common if and only if they share memory."""
    return int(x.untyped_storage()._cdata)
