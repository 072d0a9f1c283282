"""Saying that products are computed in another precision than a recipe asks for."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from lightser.training.recipe import Recipe


def say_precision(recipes: "Iterable[Recipe]", device: str) -> None:
    """Say, once, where the device cannot do what recipes ask for."""
    from lightser.training.precision import precision_of

    asked = [r.optim for r in recipes if not r.is_classic]
    if any(precision_of(optim, device) != optim.precision for optim in asked):
        what = "GPU" if device.startswith("cuda") else "processor"
        typer.echo(
            f"This {what} has no units for bfloat16: training computes in float32 and takes longer",
            err=True,
        )
