"""The teacher of a recipe: another recipe, trained inside each fold and asked about its clips.

A small network learns more from a few hundred clips if somebody who knows more says of each how
much of every emotion is in it. The teacher hears nobody but the training speakers of a fold, and is
cross-fitted there: what it says of a clip comes from one that has not heard the clip's speaker
either, and is as unsure as it should be.

Shapes: N training utterances, C classes, F frames, M bands, Q teacher's features.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from lightser.corpora.splits import Fold
from lightser.errors import BadRecipe
from lightser.training.batches import features_of
from lightser.training.recipe import Recipe, Teacher, find_recipe, read_recipe


@dataclass(frozen=True, kw_only=True)
class Teaching:
    """A teacher's recipe, found and read.

    Attributes:
        recipe: how it is trained, in every group of a fold's training speakers.
        pretrained: SHA-256 of the weights of its front end, if that was learned elsewhere.
    """

    recipe: Recipe
    pretrained: str | None

    @property
    def facts(self) -> dict[str, str | None]:
        """What results say of it."""
        return {"recipe_sha256": self.recipe.sha256(), "pretrained_sha256": self.pretrained}


def find_teacher(teacher: Teacher) -> Recipe:
    """Return the recipe of a teacher.

    Raises:
        BadRecipe: there is none of that name, or it is none that can teach.
    """
    recipe = read_recipe(find_recipe(teacher.recipe))
    if recipe.is_classic:
        raise BadRecipe(f"teacher '{teacher.recipe}' is no network; give the recipe of one")
    if recipe.teacher is not None:
        raise BadRecipe(f"teacher '{teacher.recipe}' has a teacher itself; give that one")
    if recipe.init is not None:
        # Of the speakers who are tested, a finished model may have heard some.
        raise BadRecipe(
            f"teacher '{teacher.recipe}' begins from '{recipe.init}'; give one that does not"
        )
    return recipe


def leave_out(rows: pd.DataFrame, count: int, *, seed: int) -> list[Fold]:
    """Deal speakers into groups, each of which one teacher has not heard: the test of its fold.

    Args:
        rows: utterances, with their ``corpus`` and ``speaker``.
        count: of groups; there are no more than speakers.
        seed: of the deal.

    Raises:
        BadRecipe: there are fewer than three speakers.
    """
    speaker = rows["corpus"] + "/" + rows["speaker"]
    speakers = sorted(set(speaker))
    if len(speakers) < 3:
        raise BadRecipe(
            f"a fold trains on {len(speakers)} speakers, of whom a teacher is to leave some out: "
            "that takes three or more; leave out [teacher]"
        )
    shuffled = [speakers[i] for i in np.random.default_rng([seed, 2]).permutation(len(speakers))]
    # Corpus after corpus, so that each group has some of every one.
    dealt = sorted(shuffled, key=lambda name: name.split("/")[0])
    group = {name: i % count for i, name in enumerate(dealt)}
    numbers = speaker.map(group)
    return [
        Fold(
            name=f"teacher{number}",
            train=tuple(rows["utterance"][numbers != number]),
            valid=(),
            test=tuple(rows["utterance"][numbers == number]),
        )
        for number in range(min(count, len(speakers)))
    ]


@torch.no_grad()
def teacher_features(
    rows: pd.DataFrame, teaching: Teaching, frontend: nn.Module, *, cache: Path
) -> Tensor:
    """Return features ``[N, Q]`` of a teacher's front end: means over frames, standardised."""
    windows = features_of(rows, teaching.recipe, frontend, training=False, cache=cache)
    means = torch.stack([torch.cat(of_clip).mean(dim=0) for of_clip in windows])
    return (means - means.mean(dim=0)) / means.std(dim=0, correction=0).clamp(min=1e-4)
