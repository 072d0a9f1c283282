"""The log spectrogram of Satt et al. 2017: 40 ms every 10 ms, bins of 10 Hz up to 4 kHz.

Shapes: B clips, T samples, F frames, M bins.
"""

import torch
from torch import Tensor, nn

from lightser.features import FRONTENDS
from lightser.features.spectrum import Spectrum


class LogSpectrogram(nn.Module):
    """Natural logarithm of magnitudes, ``[B, T]`` to ``[B, F, M]``.

    Args:
        sample_rate: hertz.
        bin_hz: hertz between bins; the paper's 10, or 20 in its coarser grid.
        f_max: hertz; the bin there is the first that is left out.
        floor: smallest magnitude.
    """

    def __init__(
        self,
        *,
        sample_rate: int = 16000,
        bin_hz: int = 10,
        f_max: float = 4000.0,
        floor: float = 1e-6,
    ):
        super().__init__()
        if sample_rate % (2 * bin_hz):
            raise ValueError(f"bins of {bin_hz} Hz do not divide half of {sample_rate} Hz")
        self.sample_rate, self.hop = sample_rate, sample_rate // 100
        self.n_bands, self.floor = round(f_max / bin_hz), floor
        self.min_samples = sample_rate // 25
        self.spectrum = Spectrum(
            n_fft=sample_rate // bin_hz,
            window_length=self.min_samples,
            hop=self.hop,
            window="hamming",
            center=False,
            power=1,
        )

    def forward(self, samples: Tensor) -> Tensor:
        magnitudes: Tensor = self.spectrum(samples)[..., : self.n_bands]
        return torch.log(magnitudes.clamp(min=self.floor))


FRONTENDS["log_spectrogram"] = LogSpectrogram
