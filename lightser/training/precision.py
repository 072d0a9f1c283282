"""What products of a training step are computed in: what the recipe asks for, if the device can."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lightser.training.recipe import Optim

# What autocast computes so in our networks.
PRODUCTS = {
    torch.conv1d, torch.conv2d, torch.einsum, torch.baddbmm, torch.bmm, torch.matmul,
    Tensor.matmul, nn.functional.linear, nn.functional.prelu,
}  # fmt: skip


def precision_of(optim: Optim, device: str) -> str:
    """Return ``bfloat16`` where the recipe asks for it and the device computes it, or ``float32``.

    Without units for it, a convolution in bfloat16 takes dozens of times as long as in float32.
    """
    return optim.precision if _has_bfloat16(torch.device(device).type) else "float32"


def _has_bfloat16(kind: str) -> bool:
    if kind == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # What PyTorch itself asks before it hands a convolution to oneDNN and not to plain loops.
    if kind == "cpu" and torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return False


def half_precision(optim: Optim, device: str) -> torch.autocast:
    """Return the context that computes products as :func:`precision_of` says."""
    is_half = precision_of(optim, device) == "bfloat16"
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=is_half)


def half_precision_in_stacks(optim: Optim, device: str) -> AbstractContextManager[object]:
    """Return the same for what is inside :func:`torch.func.vmap`, where autocast does nothing."""
    return _Halved() if precision_of(optim, device) == "bfloat16" else nullcontext()


class _Halved(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func in PRODUCTS:
            args = [x.bfloat16() if _is_number(x) else x for x in args]
        if func is nn.functional.batch_norm:  # whose statistics are not halved
            x, *others = args
            return func(x.float(), *others, **(kwargs or {})).to(x.dtype)
        return func(*args, **(kwargs or {}))


def _is_number(x: Any) -> bool:
    return isinstance(x, Tensor) and x.is_floating_point()
