"""Front ends that were learned elsewhere: numbers out of a file, which nobody trains here."""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Pretrained(nn.Module):
    """A front end with weights. They are buffers, and stand in no state dict: training leaves them.

    Whoever trains calls :meth:`read_weights`; a system that was saved has them in its file.

    Attributes:
        source: what the weights are of, for people.
    """

    source: str

    def read_weights(self) -> None:
        """Read the weights from where the user has them.

        Raises:
            BadModel: there are none, or others.
        """
        raise NotImplementedError

    def weights(self) -> dict[str, Tensor]:
        """Return the weights by name; they are not copied."""
        raise NotImplementedError

    @torch.no_grad()
    def set_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Take over weights.

        Raises:
            ValueError: names or shapes are others.
        """
        own = self.weights()
        if own.keys() != weights.keys():
            raise ValueError(f"{sorted(own.keys() ^ weights.keys())[0]} is not in both")
        for name, tensor in own.items():
            if tensor.shape != weights[name].shape:
                raise ValueError(
                    f"{name} has the shape {list(weights[name].shape)}, not {list(tensor.shape)}"
                )
            tensor.copy_(weights[name])

    def sha256(self) -> str:
        """Return a digest of the weights, the same however they are stored."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.weights().items()):
            digest.update(f"{name} {list(tensor.shape)}\n".encode())
            digest.update(tensor.cpu().numpy().astype("<f4").tobytes())
        return digest.hexdigest()
