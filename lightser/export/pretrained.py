"""What a front end has learned elsewhere, exported as a part of the network.

Features stay in single precision in every export, and a network may be in fewer bits. Of the front
end ``whisper_encoder`` only the log-mel spectrogram is a feature so; its layers are eleven million
numbers, and weigh what a network's weigh.

Shapes: B clips, F frames, M bands, C classes.
"""

import copy

from torch import Tensor, nn

from lightser.features.whisper_encoder import WhisperEncoder
from lightser.models.embedding import embedding_of
from lightser.training.system import System


def with_encoder_in_network(system: System) -> System:
    """Return a system of the same answers whose front end has learned nothing, as most have."""
    if not isinstance(system.frontend, WhisperEncoder):
        return system
    system = copy.deepcopy(system)
    described = system.describe()
    moved = System(
        system.frontend.mel,  # type: ignore[arg-type]
        nn.Identity(),
        EncodedNetwork(system),
        {**described, "frontend": {"name": "whisper_logmel", "options": {}}, "standardize": False},
    )
    moved.temperature.copy_(system.temperature)
    return moved.train(system.training)


class EncodedNetwork(nn.Module):
    """Encoder, standardisation and network of a system as one, ``[B, F, 80]`` to ``[B, C]``."""

    min_frames = 1

    def __init__(self, system: System):
        super().__init__()
        self.encoder, self.standardize = system.frontend, system.standardize
        self.network = system.network
        if (norm := embedding_of(system.network)) is not None:
            self.embedding, self.classifier = norm, system.network.classifier

    def forward_features(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the embedding ``[B, P]`` of clips of one length."""
        values = self.encoder.pooled(features)  # type: ignore[operator]
        return self.network.forward_features(self.standardize(values))  # type: ignore[operator,no-any-return]

    def forward(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        logits: Tensor = self.network(self.standardize(self.encoder.pooled(features)))  # type: ignore[operator]
        return logits
