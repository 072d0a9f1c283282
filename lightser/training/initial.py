"""Begin where a trained model ended: a recipe's ``init``.

A corpus of one's own is small. What a network has learned of voices elsewhere is worth more there
than a random start; it goes on learning on the new corpus, all of it.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from lightser.bundled import find_model
from lightser.card import WEIGHTS, Card, read_card, verify_files
from lightser.corpora.heard import digests, read_heard
from lightser.errors import BadModel, BadRecipe
from lightser.features.pretrained import Pretrained
from lightser.models.embedding import set_statistics
from lightser.training.system import System


@dataclass(frozen=True, kw_only=True)
class Initial:
    """A model folder to begin from.

    Attributes:
        folder: where it is.
        card: what it says of itself.
    """

    folder: Path
    card: Card

    @classmethod
    def of(cls, model: str) -> "Initial":
        """Look a model up: the name of a bundled one, or a folder.

        Raises:
            UnknownName: there is none of that name.
            BadModel: the folder is no model folder, or has no weights to go on with.
        """
        folder = find_model(model).absolute()
        card = read_card(folder)
        if WEIGHTS not in card.files:
            raise BadModel(f"'{folder}' has no {WEIGHTS} to begin from")
        return cls(folder=folder, card=card)

    @property
    def facts(self) -> dict[str, str]:
        """What results say of it."""
        return {"model": self.card.name, "weights_sha256": self.card.files[WEIGHTS].sha256}

    def refuse_heard(self, corpora: Collection[str]) -> None:
        """Refuse to go on with a corpus that the model was trained on.

        Raises:
            BadRecipe: with the name of the corpus.
        """
        for known in self.card.trained_on:
            if known.corpus in corpora:
                raise BadRecipe(
                    f"init '{self.card.name}' was trained on {known.corpus}, so that nobody in it "
                    "is left to be tested; begin from a model of other corpora"
                )

    def refuse_clips(self, table: pd.DataFrame) -> None:
        """Refuse to go on with clips that the model was trained on, under whatever name.

        Raises:
            BadRecipe: with how many there are.
        """
        known = read_heard(self.folder, self.card)
        if known and (again := sum(one in known for one in digests(table))):
            raise BadRecipe(
                f"init '{self.card.name}' was trained on {again} of these {len(table)} clips; "
                "begin from a model that has heard none of them"
            )

    def known_to(self, system: System) -> System:
        """Return what the model is, for a system of the same front end and the same network.

        Raises:
            BadModel: the folder was changed, or has other weights than it describes.
            BadRecipe: another front end or network.
        """
        verify_files(self.folder, self.card)
        known = System.load(self.folder / WEIGHTS)
        mine, theirs = system.describe(), known.describe()
        for part in ("frontend", "model"):
            if mine[part] != theirs[part]:
                raise BadRecipe(
                    f"init '{self.card.name}' has the {part} {_said(theirs[part])}, the recipe "
                    f"{_said(mine[part])}; give the recipe the same"
                )
        return known

    @torch.no_grad()
    def give_to(self, system: System, labels: Sequence[str]) -> None:
        """Give a system the weights of network and front end; its standardisation stays its own.

        What there is for each class goes to the class of the same label; a label that the model
        does not know keeps its fresh weights.

        Args:
            system: with the same front end and the same network.
            labels: of its classes, in order.

        Raises:
            BadModel, BadRecipe: as :meth:`known_to`.
        """
        known = self.known_to(system)
        if isinstance(system.frontend, Pretrained) and isinstance(known.frontend, Pretrained):
            system.frontend.set_weights(known.frontend.weights())
        if (norm := known.embedding) is not None:  # trained as it is, or else fitted anew
            set_statistics(known.network, torch.zeros_like(norm.mean), torch.ones_like(norm.std))
        wider = System.from_description({**known.describe(), "n_classes": known.n_classes + 1})
        of_more = wider.network.state_dict()  # of other shape where one is for each class
        weights = system.network.state_dict()
        for name, tensor in known.network.state_dict().items():
            if tensor.shape == of_more[name].shape:
                weights[name].copy_(tensor)
            elif len(tensor) == len(self.card.labels):
                for i, label in enumerate(labels):
                    if label in self.card.labels:
                        weights[name][i].copy_(tensor[self.card.labels.index(label)])


def _said(choice: dict[str, Any]) -> str:
    options = ", ".join(f"{key} = {value!r}" for key, value in sorted(choice["options"].items()))
    return f"'{choice['name']}' ({options})" if options else f"'{choice['name']}'"
