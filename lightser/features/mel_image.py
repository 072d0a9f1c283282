"""The mel spectrogram of Yenigalla et al. 2018: an image of 128 bands by 256 windows per clip.

Shapes: B clips, T samples, F frames, M bands.
"""

import torch
from torch import Tensor, nn

from lightser.features import FRONTENDS
from lightser.features.length import FitLength
from lightser.features.mel import htk_filters
from lightser.features.spectrum import Spectrum


class MelImage(nn.Module):
    """Log-mel of the middle four seconds, ``[B, T]`` to ``[B, F, M]`` with F always the same.

    Longer clips are cropped, shorter ones stand between zeros. Size and scale are the paper's;
    window, hop and floor are not in it.

    Args:
        sample_rate: hertz.
        n_mels: M, HTK's triangles from 0 Hz to half the sample rate.
        n_frames: F.
        window_length: samples under the Hann window, 25 ms.
        hop: samples between windows, 16 ms, so that 256 are 4.1 s.
        floor: added to the power before the logarithm.
    """

    filters: Tensor

    def __init__(
        self,
        *,
        sample_rate: int = 16000,
        n_mels: int = 128,
        n_frames: int = 256,
        window_length: int = 400,
        hop: int = 256,
        floor: float = 1e-6,
    ):
        super().__init__()
        self.sample_rate, self.hop, self.n_bands, self.floor = sample_rate, hop, n_mels, floor
        self.min_samples = 1
        # With fewer points the lowest of 128 bands would fall between two bins.
        n_fft = 1024
        size = (n_frames - 1) * hop + window_length
        self.window_s = size / sample_rate
        self.fit = FitLength(size)
        self.spectrum = Spectrum(
            n_fft=n_fft, window_length=window_length, hop=hop, window="hann", center=False, power=2
        )
        filters = htk_filters(
            sample_rate=sample_rate, n_fft=n_fft, n_bands=n_mels, f_min=0, f_max=sample_rate / 2
        )
        self.register_buffer("filters", filters, persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        mel = self.spectrum(self.fit(samples)) @ self.filters
        return torch.log(mel + self.floor)


FRONTENDS["mel_image"] = MelImage
