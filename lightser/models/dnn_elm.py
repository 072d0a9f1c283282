"""DNN-ELM: a network hears a quarter of a second; an extreme learning machine judges the clip.

Han, Yu, Tashev, "Speech Emotion Recognition Using Deep Neural Network and Extreme Learning
Machine", Interspeech 2014, https://doi.org/10.21437/Interspeech.2014-57. The machine: Huang, Zhu,
Siew, "Extreme learning machine: theory and applications", Neurocomputing 70, 2006.

Counted as parameters are those of the network, which are trained by gradient; ten machines for
seven classes hold 43,200 numbers more, of which 8,400 are solved for and the others drawn.

Its published 48.2 UA is for five other classes (excitement, frustration, happiness, neutral,
surprise), and its quoted 12.3 MB cannot be met: this network is 1.25 MiB.

Shapes: B clips, S segments of a clip, N = 25 frames of a segment, M features of a frame, C classes,
D draws of a machine, H units of each, X inputs.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from lightser.models import MODELS
from lightser.models.segments import LabelledClips, SegmentNetwork, mean_recall, pool

PRESENT = 0.2  # posterior above which a segment counts as showing a class
COSTS = tuple(2.0**k for k in range(-4, 11))


class ExtremeLearningMachine(nn.Module):
    r"""Random hidden units, and output weights in closed form; the mean over D draws.

    .. math::
        H = \sigma(z W + b), \quad \beta = (H^\top H + I / c)^{-1} H^\top T

    where z are inputs standardised on the training part and T is 1 for the true class, else -1.
    Nothing here is trained by gradient. A draw of 120 units is noisy, hence several.

    Args:
        n_inputs: X.
        n_classes: C.
        n_units: H; the published 120.
        n_draws: D.
    """

    mean: Tensor
    std: Tensor
    weight: Tensor
    bias: Tensor
    output: Tensor

    def __init__(self, n_inputs: int, n_classes: int, *, n_units: int = 120, n_draws: int = 10):
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_inputs))
        self.register_buffer("std", torch.ones(n_inputs))
        self.register_buffer("weight", torch.empty(n_draws, n_inputs, n_units).uniform_(-1, 1))
        self.register_buffer("bias", torch.empty(n_draws, 1, n_units).uniform_(-1, 1))
        self.register_buffer("output", torch.zeros(n_draws, n_units, n_classes))

    @torch.no_grad()
    def fit(self, x: Tensor, labels: Tensor, cost: float) -> None:
        """Solve for the output weights, given inputs ``[B, X]`` and labels ``[B]``."""
        x = x.double()
        self.mean.copy_(x.mean(dim=0))
        self.std.copy_(x.std(dim=0, correction=0).clamp(min=1e-6))
        hidden = self._hidden(x)  # [D, B, H]
        targets = 2 * nn.functional.one_hot(labels, self.output.shape[2]).double() - 1
        inner = hidden.transpose(1, 2) @ hidden
        ridge = torch.eye(inner.shape[1], dtype=inner.dtype, device=inner.device) / cost
        self.output.copy_(torch.linalg.solve(inner + ridge, hidden.transpose(1, 2) @ targets))

    def _hidden(self, x: Tensor) -> Tensor:
        z = (x - self.mean.to(x.dtype)) / self.std.to(x.dtype)
        return torch.sigmoid(z @ self.weight.to(x.dtype) + self.bias.to(x.dtype))

    def forward(self, x: Tensor) -> Tensor:
        """Return scores ``[B, C]`` for inputs ``[B, X]``, near 1 for the class, else -1."""
        return (self._hidden(x) @ self.output).mean(dim=0)


def functionals(posteriors: Tensor, real: Tensor) -> Tensor:
    """Return ``[B, 4C]``: maximum, minimum and mean of each class, and how often it is present.

    Args:
        posteriors: of segments, ``[B, S, C]``.
        real: ``[B, S]``, 0 for the padding behind a clip's segments.
    """
    beyond = real[..., None] == 0
    count = real.sum(dim=1)[:, None]
    return torch.cat(
        [
            posteriors.masked_fill(beyond, -torch.inf).amax(dim=1),
            posteriors.masked_fill(beyond, torch.inf).amin(dim=1),
            posteriors.masked_fill(beyond, 0.0).sum(dim=1) / count,
            ((posteriors > PRESENT) & ~beyond).sum(dim=1) / count,
        ],
        dim=1,
    )


class DnnElm(SegmentNetwork):
    """Network and machine, for features of ``frame30``, ``[B, F, M]`` to scores ``[B, C]``.

    Until :meth:`fit_decision` has been called, a clip's decision is the mean of its segments'
    posteriors.

    Args:
        n_classes: emotions.
        n_bands: M, 30.
        n_units: of each of the network's three hidden layers.
        segment_frames: N.
        elm_units: H.
        elm_draws: D.
    """

    pool_segments = "mean"
    is_fitted: Tensor

    def __init__(
        self,
        n_classes: int,
        n_bands: int = 30,
        *,
        n_units: int = 256,
        segment_frames: int = 25,
        elm_units: int = 120,
        elm_draws: int = 10,
    ):
        super().__init__()
        self.segment_frames = segment_frames
        widths = [segment_frames * n_bands, n_units, n_units, n_units]
        self.layers = nn.ModuleList(nn.Linear(n_in, n_out) for n_in, n_out in pairwise(widths))
        self.classifier = nn.Linear(n_units, n_classes)
        for layer in (*self.layers, self.classifier):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.elm = ExtremeLearningMachine(
            4 * n_classes, n_classes, n_units=elm_units, n_draws=elm_draws
        )
        self.register_buffer("is_fitted", torch.zeros(()))

    def segment_logits(self, segments: Tensor) -> Tensor:
        x = segments.flatten(1)  # [B·S, N·M]
        for layer in self.layers:
            x = nn.functional.relu(layer(x))
        logits: Tensor = self.classifier(x)
        return logits

    def decide(self, logits: Tensor, real: Tensor) -> Tensor:
        mean = pool(logits, real, self.pool_segments)
        scores = self.elm(functionals(logits.softmax(dim=2), real))
        # Not `if`: a graph is exported once, whatever has been fitted.
        return torch.where(self.is_fitted > 0, scores, mean)

    @torch.no_grad()
    def fit_decision(self, train: LabelledClips, valid: LabelledClips) -> None:
        """Fit the machine on the training clips, at the cost with the highest UA on validation.

        Without validation clips the cost is 1.
        """
        self.eval()
        x, labels = self._functionals_of(train)
        cost = 1.0
        if valid:
            others, truth = self._functionals_of(valid)
            scores = []
            for candidate in COSTS:
                self.elm.fit(x, labels, candidate)
                scores.append(mean_recall(truth, self.elm(others).argmax(dim=1)))
            cost = COSTS[max(range(len(COSTS)), key=scores.__getitem__)]
        self.elm.fit(x, labels, cost)
        self.is_fitted.fill_(1)

    def _functionals_of(self, clips: LabelledClips) -> tuple[Tensor, Tensor]:
        """Return the inputs of the machine ``[B, X]`` and the labels ``[B]``."""
        device = self.is_fitted.device
        rows = []
        for clip, _ in clips:
            segments = clip.to(device).reshape(-1, self.segment_frames, clip.shape[1])  # [S, N, M]
            posteriors = self.segment_logits(segments).softmax(dim=1)[None]
            rows.append(functionals(posteriors, torch.ones_like(posteriors[..., 0])))
        return torch.cat(rows), torch.tensor([label for _, label in clips], device=device)


MODELS["dnn_elm"] = DnnElm  # 324,868 parameters for four classes, and 2,520 per draw of the machine
