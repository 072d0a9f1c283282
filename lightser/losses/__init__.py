"""Losses, one idea per file: logits ``[B, C]``, labels ``[B]``, agreement ``[B]`` to a number."""

from collections.abc import Callable

from torch import nn

from lightser.registry import Registry, import_siblings

LOSSES: Registry[Callable[..., nn.Module]] = Registry("loss")

import_siblings(__name__, __path__)
