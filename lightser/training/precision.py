"""What products of a training step are computed in: what the recipe asks for, if the device can."""

import torch

from lightser.training.recipe import Optim


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
