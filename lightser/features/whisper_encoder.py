"""The first layers of Whisper's encoder as a front end: what it knows of a voice, clip by clip.

Radford, Kim, Xu, Brockman, McLeavey, Sutskever, "Robust Speech Recognition via Large-Scale Weak
Supervision", ICML 2023, https://arxiv.org/abs/2212.04356. Whisper *base*, which hears many
languages, is under the MIT licence. Emotion is in its second and third layer of six: the later ones
know the words.

Shapes: B clips, T samples, F frames, M bands, S steps of the encoder, D width, L layers.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from lightser.errors import BadModel
from lightser.features import FRONTENDS
from lightser.features.mel import slaney_filters
from lightser.features.pretrained import Pretrained
from lightser.features.spectrum import Spectrum
from lightser.features.whisper_weights import read_encoder

FOLDER = "LIGHTSER_WHISPER"  # environment variable: the folder of the model
RATE, HOP, N_FFT = 16000, 160, 400
BANDS, WIDTH, HEADS, HIDDEN, DEPTH = 80, 512, 8, 2048, 6  # of Whisper base
VALUES = 2 * WIDTH  # of a layer: mean and standard deviation
MOST_STEPS = 1500
LONGEST = 2 * MOST_STEPS * HOP  # samples: 30 s
SILENCE = round(0.3 * RATE)  # samples of zeros behind a clip


class WhisperLogMel(nn.Module):
    """Whisper's log-mel spectrogram, ``[B, T]`` to ``[B, F, 80]``, one frame for each 10 ms.

    Section 2.2 of the paper and ``whisper/audio.py``: decades of mel power, at least eight below
    the clip's loudest, moved to about -1 to 1. Whisper fills each clip up to 30 s; here 0.3 s of
    zeros are put behind it, which the encoder needs to find its end, and which are a hundredth of
    the work for a short one. A clip of nearly 30 s has as many of them as there is room for.
    """

    filters: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.sample_rate, self.n_bands, self.hop, self.min_samples = RATE, BANDS, HOP, SILENCE
        self.spectrum = Spectrum(
            n_fft=N_FFT, window_length=N_FFT, hop=HOP, window="hann", center=True, power=2
        )
        filters = slaney_filters(
            sample_rate=RATE, n_fft=N_FFT, n_bands=BANDS, f_min=0, f_max=RATE / 2
        )
        self.register_buffer("filters", filters, persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        zeros = SILENCE
        if not torch.compiler.is_exporting():  # whose callers keep to the window of a card
            zeros = min(SILENCE, LONGEST - samples.shape[1])
        power = self.spectrum(functional.pad(samples, (0, zeros)))[:, :-1]
        decades = (power @ self.filters).clamp(min=1e-10).log10()
        loudest = decades.amax(dim=(1, 2), keepdim=True)
        return (torch.maximum(decades, loudest - 8) + 4) / 4


class _Numbers(nn.Module):
    """Weight and bias of a layer, not to be trained."""

    weight: Tensor
    bias: Tensor

    def __init__(self, *shape: int):
        super().__init__()
        self.register_buffer("weight", torch.zeros(shape), persistent=False)
        self.register_buffer("bias", torch.zeros(shape[0]), persistent=False)


class Layer(nn.Module):
    """A transformer layer with its norms in front (Whisper's residual attention block)."""

    def __init__(self) -> None:
        super().__init__()
        self.attention_norm, self.feed_norm = _Numbers(WIDTH), _Numbers(WIDTH)
        self.attention_in = _Numbers(3 * WIDTH, WIDTH)  # queries, keys, values
        self.attention_out = _Numbers(WIDTH, WIDTH)
        self.feed_in, self.feed_out = _Numbers(HIDDEN, WIDTH), _Numbers(WIDTH, HIDDEN)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self._attention(_norm(x, self.attention_norm))
        hidden = functional.gelu(_linear(_norm(x, self.feed_norm), self.feed_in))
        return x + _linear(hidden, self.feed_out)

    def _attention(self, x: Tensor) -> Tensor:
        q, k, v = (
            part.unflatten(2, (HEADS, -1)).transpose(1, 2)  # type: ignore[no-untyped-call]  # [B, heads, S, D / heads]
            for part in _linear(x, self.attention_in).chunk(3, dim=2)
        )
        heard = functional.scaled_dot_product_attention(q, k, v)
        return _linear(heard.transpose(1, 2).flatten(2), self.attention_out)


def _linear(x: Tensor, numbers: _Numbers) -> Tensor:
    return functional.linear(x, numbers.weight, numbers.bias)


def _norm(x: Tensor, numbers: _Numbers) -> Tensor:
    return functional.layer_norm(x, (WIDTH,), numbers.weight, numbers.bias)


class Encoder(nn.Module):
    """Two convolutions and L layers, log-mel ``[B, F, 80]`` to L states ``[B, S, 512]``.

    S is half of F, rounded up: 50 steps a second. Its weights are zero until they are given.

    Args:
        n_layers: L, of the six.
    """

    positions: Tensor

    def __init__(self, n_layers: int):
        super().__init__()
        self.conv1, self.conv2 = _Numbers(WIDTH, BANDS, 3), _Numbers(WIDTH, WIDTH, 3)
        self.register_buffer("positions", torch.zeros(MOST_STEPS, WIDTH), persistent=False)
        self.layers = nn.ModuleList(Layer() for _ in range(n_layers))

    def forward(self, mel: Tensor) -> list[Tensor]:
        x = mel.transpose(1, 2)
        x = functional.gelu(functional.conv1d(x, self.conv1.weight, self.conv1.bias, padding=1))
        x = functional.conv1d(x, self.conv2.weight, self.conv2.bias, stride=2, padding=1)
        x = functional.gelu(x).transpose(1, 2)
        x = x + self.positions[: x.shape[1]]
        states = []
        for layer in self.layers:
            x = layer(x)
            states.append(x)
        return states


class WhisperEncoder(Pretrained):
    """Mean and standard deviation over the steps of a clip, behind some layers: ``[B, 1, M]``.

    A clip is one frame of features, kilobytes in a cache, so that a network on top is trained in
    seconds. Layer after layer, 512 means and 512 deviations. The weights are those of Whisper base,
    from the folder that ``LIGHTSER_WHISPER`` names; nothing in them is trained, and layers behind
    the last one asked for are left out.

    Args:
        layers: of the encoder's six, counted from 1 at the sound.
    """

    source = "Whisper base"
    license = "MIT"
    license_text = Path(__file__).with_name("whisper.LICENSE.txt")

    def __init__(self, *, layers: Sequence[int] = (2, 3)):
        super().__init__()
        if (
            not layers
            or sorted({*layers}) != [*layers]
            or not 1 <= layers[0] <= layers[-1] <= DEPTH
        ):
            raise ValueError(f"layers must be some of 1 to {DEPTH}, ascending, not {list(layers)}")
        self.layers = tuple(layers)
        self.mel, self.encoder = WhisperLogMel(), Encoder(layers[-1])
        self.sample_rate, self.min_samples = RATE, self.mel.min_samples
        self.hop, self.n_bands = HOP, len(layers) * VALUES

    def forward(self, samples: Tensor) -> Tensor:
        if samples.shape[1] > LONGEST and not torch.compiler.is_exporting():
            raise BadModel(
                f"Whisper hears {LONGEST / RATE:g} s at once, not "
                f"{samples.shape[1] / RATE:.1f} s; give the recipe a window_s of at most that"
            )
        return self.pooled(self.mel(samples))

    def pooled(self, mel: Tensor) -> Tensor:
        """Return the features of log-mel ``[B, F, 80]``."""
        values, states = [], self.encoder(mel)
        for layer in self.layers:
            state = states[layer - 1]
            mean = state.mean(dim=1, keepdim=True)
            values += [mean, (state - mean).square().mean(dim=1, keepdim=True).sqrt()]
        return torch.cat(values, dim=2)

    def weights(self) -> dict[str, Tensor]:
        return dict(self.encoder.named_buffers())

    def read_weights(self) -> None:
        if not (folder := os.environ.get(FOLDER)):
            raise BadModel(
                f"Whisper's weights are not known: set {FOLDER} to the folder of a Whisper base "
                "model (CTranslate2 or Hugging Face)"
            )
        shapes = {name: tuple(tensor.shape) for name, tensor in self.weights().items()}
        self.set_weights(read_encoder(Path(folder), shapes))


FRONTENDS["whisper_logmel"] = WhisperLogMel
FRONTENDS["whisper_encoder"] = WhisperEncoder
