"""All that is trained and shipped as one module: front end, standardisation, network, softmax.

Shapes: B clips, T samples, F frames, M bands, C classes.
"""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from lightser.errors import BadModel, BadRecipe
from lightser.features import FRONTENDS
from lightser.features.pretrained import Pretrained
from lightser.features.standardize import Standardize
from lightser.models import MODELS
from lightser.models.embedding import EmbeddingNorm, embedding_of
from lightser.models.masking import frame_mask
from lightser.options import check_options
from lightser.registry import Registry
from lightser.training.tensors import write_tensors
from lightser.whole import replacing

Choice = tuple[str, Mapping[str, Any]]  # a registered name and its options


class System(nn.Module):
    """From waveforms to probabilities; make one with :meth:`build` or :meth:`load`.

    Args:
        frontend: waveform ``[B, T]`` to features ``[B, F, M]``.
        standardize: :class:`~lightser.features.standardize.Standardize`, or the identity.
        network: features ``[B, F, M]`` to logits ``[B, C]``.
        description: what :meth:`build` needs to make the same modules again.
    """

    temperature: Tensor

    def __init__(
        self,
        frontend: nn.Module,
        standardize: nn.Module,
        network: nn.Module,
        description: dict[str, Any],
    ):
        super().__init__()
        self.frontend, self.standardize, self.network = frontend, standardize, network
        self.sample_rate: int = frontend.sample_rate  # type: ignore[assignment]
        self.min_samples: int = frontend.min_samples  # type: ignore[assignment]
        self.n_classes: int = description["n_classes"]
        self.register_buffer("temperature", torch.ones(()))
        self._description = description
        self.side_task: nn.Module | None = None  # while training, if a teacher sets one

    @classmethod
    def build(
        cls, frontend: Choice, model: Choice, n_classes: int, *, standardize: bool
    ) -> "System":
        """Make a system with fresh weights from two registered names and their options.

        Raises:
            UnknownName: a name or an option that does not exist.
            BadRecipe: an option whose value is refused.
        """
        features = _make(FRONTENDS, *frontend)
        n_bands: int = features.n_bands  # type: ignore[assignment]
        network = _make(MODELS, *model, n_classes=n_classes, n_bands=n_bands)
        with _in_a_line(FRONTENDS, frontend[0]):
            _lengthen(features, network.min_frames)  # type: ignore[arg-type]
        description = {
            "frontend": {"name": frontend[0], "options": dict(frontend[1])},
            "model": {"name": model[0], "options": dict(model[1])},
            "n_classes": n_classes,
            "standardize": standardize,
        }
        return cls(
            features, Standardize(n_bands) if standardize else nn.Identity(), network, description
        )

    @classmethod
    def from_description(cls, description: Mapping[str, Any]) -> "System":
        """Make a system with fresh weights from what :meth:`describe` returned."""
        frontend, model = description["frontend"], description["model"]
        return cls.build(
            (frontend["name"], frontend["options"]),
            (model["name"], model["options"]),
            description["n_classes"],
            standardize=description["standardize"],
        )

    def describe(self) -> dict[str, Any]:
        """Return names and options, fit for JSON and for :meth:`from_description`."""
        described: dict[str, Any] = json.loads(json.dumps(self._description))
        return described

    def features(self, samples: Tensor) -> Tensor:
        """Return what may be cached, ``[B, T]`` to ``[B, F, M]``, not standardised.

        Clips below ``min_samples`` get zeros on both sides, an odd one at the end.
        """
        # The exported graph asks its caller for this: its card says `min_s`.
        missing = 0 if torch.compiler.is_exporting() else self.min_samples - samples.shape[1]
        if missing > 0:
            samples = nn.functional.pad(samples, (missing // 2, missing - missing // 2))
        features: Tensor = self.frontend(samples)
        return features

    def logits(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return ``[B, C]`` for features ``[B, F, M]``, each true up to its length ``[B]``.

        What lies beyond is set to 0 *after* standardisation, whatever it was.
        """
        logits: Tensor = self.network(self._standardized(features, lengths), lengths)
        return logits

    @property
    def embedding(self) -> EmbeddingNorm | None:
        """The norm of the network's embedding; None for one that has none to be adapted."""
        return embedding_of(self.network)

    def embed(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the embeddings ``[B, P]`` of features as :meth:`logits` takes them."""
        x = self._standardized(features, lengths)
        return self.network.forward_features(x, lengths)  # type: ignore[operator,no-any-return]

    def classify(
        self, embedding: Tensor, mean: Tensor | None = None, std: Tensor | None = None
    ) -> Tensor:
        """Return probabilities ``[B, C]`` for embeddings ``[B, P]``, in evaluation.

        Args:
            embedding: from :meth:`embed`.
            mean: of a voice, ``[P]``; by default that of training.
            std: the same.
        """
        standardized = self.network.embedding(embedding, mean, std)  # type: ignore[operator]
        return self.probabilities(self.network.classifier(standardized))  # type: ignore[operator]

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return ``[B, C]`` probabilities of logits."""
        return (logits / self.temperature).softmax(dim=1)

    def _standardized(self, features: Tensor, lengths: Tensor | None) -> Tensor:
        x: Tensor = self.standardize(features)
        if lengths is not None:
            x = x.masked_fill(frame_mask(lengths, x.shape[1])[..., None] == 0, 0.0)
        return x

    def forward(self, samples: Tensor) -> Tensor:
        """Return probabilities ``[B, C]`` for waveforms ``[B, T]`` of one length."""
        return self.probabilities(self.logits(self.features(samples)))

    def parameter_count(self) -> int:
        """Return how many numbers are learned, here or, in a pretrained front end, elsewhere."""
        learned = [p for p in self.parameters() if p.requires_grad]
        return sum(tensor.numel() for tensor in (*learned, *pretrained_weights(self).values()))

    def save(self, path: Path) -> None:
        """Write weights and description to one safetensors file, or nothing."""
        weights = {name: tensor.contiguous() for name, tensor in self.state_dict().items()}
        weights |= {name: _halved(tensor) for name, tensor in pretrained_weights(self).items()}
        with replacing(path) as unfinished:
            write_tensors(unfinished, weights, {"system": json.dumps(self._description)})

    @classmethod
    def load(cls, path: Path) -> "System":
        """Read what :meth:`save` wrote, in evaluation mode.

        Raises:
            BadModel: the file is missing, broken or holds other weights than it describes; or its
                network or front end is of somebody's own code, which has not been run.
        """
        try:
            with safe_open(path, "pt") as file:
                metadata = file.metadata() or {}
            if "system" not in metadata:
                raise ValueError("it has no description of its system")
            description = json.loads(metadata["system"])
            _refuse_unknown(description, path)
            system = cls.from_description(description)
            weights = load_file(path)
            if isinstance(system.frontend, Pretrained):
                theirs = [name for name in weights if name.startswith(_FRONTEND)]
                system.frontend.set_weights(
                    {name.removeprefix(_FRONTEND): weights.pop(name) for name in theirs}
                )
            system.load_state_dict(weights)
        except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]  # PyTorch lists every tensor
            raise BadModel(f"Cannot read weights from '{path}': {reason}") from error
        return system.eval()


_FRONTEND = "frontend."


def pretrained_weights(system: System) -> dict[str, Tensor]:
    """Return what a pretrained front end has learned elsewhere, by its name in the system."""
    return {
        f"{place}.{name}": tensor
        for place, module in system.named_modules()
        if isinstance(module, Pretrained)
        for name, tensor in module.weights().items()
    }


def _halved(weights: Tensor) -> Tensor:
    """Return weights in float16, if that holds them to the last bit, as it does Whisper's."""
    half = weights.half()
    return half if torch.equal(half.float(), weights) else weights.contiguous()


def _refuse_unknown(description: Mapping[str, Any], path: Path) -> None:
    """Say whose code a system needs, if not ours."""
    for part, registry in (("frontend", FRONTENDS), ("model", MODELS)):
        if (name := description[part]["name"]) not in registry:
            code = next(path.parent.glob("*.py"), path.parent / "NAME.py")
            raise BadModel(
                f"'{path}' is of the {registry.kind} '{name}', which is not lightser's. Read the "
                f"file that holds it, and have it run with --code {code}"
            )


def _make(
    registry: Registry[Callable[..., nn.Module]],
    name: str,
    options: Mapping[str, Any],
    **given: int,
) -> nn.Module:
    make = registry[name]
    check_options(registry.kind, name, make, options, given=tuple(given))
    with _in_a_line(registry, name):
        return make(**given, **options)


@contextlib.contextmanager
def _in_a_line(registry: Registry[Callable[..., nn.Module]], name: str) -> Iterator[None]:
    """Answer what a module, or PyTorch, cannot be made or computed with."""
    try:
        yield
    except (ValueError, TypeError, RuntimeError, ArithmeticError, IndexError) as error:
        reason = " ".join(str(error).split())[:200]
        raise BadRecipe(f"{registry.kind} '{name}': {reason}") from error


@torch.no_grad()
def _lengthen(frontend: nn.Module, min_frames: int) -> None:
    """Raise ``min_samples`` of a front end to what gives the network its fewest frames."""
    shortest: int = frontend.min_samples  # type: ignore[assignment]
    hop: int = frontend.hop  # type: ignore[assignment]
    n_frames = frontend(torch.zeros(1, shortest)).shape[1]
    frontend.min_samples = shortest + max(0, min_frames - n_frames) * hop
