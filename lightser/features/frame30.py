"""Thirty features a frame, of the loudest tenth of a clip: the front end of DNN-ELM.

Han, Yu, Tashev, Interspeech 2014: 13 cepstral values, pitch period and harmonics-to-noise ratio,
and their deltas. Pitch after Boersma, "Accurate short-term analysis of the fundamental frequency
and the harmonics-to-noise ratio of a sampled sound", IFA Proceedings 17, 1993: the autocorrelation
of a window, divided by that of the window function.

Shapes: B clips, T samples, F frames, S segments, N frames of a segment.
"""

import math

import torch
from torch import Tensor, nn

from lightser.features import FRONTENDS
from lightser.features.deltas import deltas
from lightser.features.logmel import dct_matrix
from lightser.features.mel import htk_filters
from lightser.features.spectrum import Frames, RealDFT, Spectrum


class Pitch(nn.Module):
    """Pitch period and harmonics-to-noise ratio of frames, ``[B, T]`` to two of ``[B, F]``.

    The period is in milliseconds, the ratio in decibels, within ±30. Every frame gets a period; in
    unvoiced ones the ratio is low.

    Args:
        sample_rate: hertz.
        hop: samples between frames.
        window_s: seconds under the Hann window; periods of up to a third of it are found.
        f_min: hertz, lowest voice.
        f_max: hertz, highest voice.
        octave_cost: what a period of twice the length must be better by, so that of the multiples
            of a period the first one wins.
    """

    window: Tensor
    cosines: Tensor
    own: Tensor
    cost: Tensor

    def __init__(
        self,
        *,
        sample_rate: int = 16000,
        hop: int = 160,
        window_s: float = 0.05,
        f_min: float = 60.0,
        f_max: float = 500.0,
        octave_cost: float = 0.01,
    ):
        super().__init__()
        size = round(window_s * sample_rate)
        self.sample_rate = sample_rate
        self.shortest, longest = math.floor(sample_rate / f_max), math.ceil(sample_rate / f_min)
        # Enough points for the longest lag (and its neighbour) not to wrap around.
        n_fft = 256 * math.ceil((size + longest + 1) / 256)
        self.frames, self.missing, self.dft = Frames(size, hop), n_fft - size, RealDFT(n_fft)
        # The autocorrelation is the inverse transform of the power spectrum, at the lags wanted
        # and their neighbours: column 0 is lag 0.
        lags = torch.tensor([0, *range(self.shortest - 1, longest + 2)], dtype=torch.float64)
        bins = torch.arange(n_fft // 2 + 1, dtype=torch.float64)
        twice = torch.full_like(bins, 2.0)  # each inner bin has a mirror image
        twice[[0, -1]] = 1.0
        cosines = twice[:, None] * torch.cos(2 * math.pi / n_fft * torch.outer(bins, lags)) / n_fft
        window = torch.hann_window(size, dtype=torch.float64)
        spectrum = torch.fft.rfft(window, n_fft).abs().square()
        own = spectrum @ cosines
        octaves = torch.log2(lags[2:-1] / self.shortest)
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("cosines", cosines, persistent=False)
        self.register_buffer("own", own / own[0], persistent=False)
        self.register_buffer("cost", octave_cost * octaves, persistent=False)

    def forward(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        frames = self.frames(samples).to(self.window.dtype)
        frames = (frames - frames.mean(dim=2, keepdim=True)) * self.window
        re, im = self.dft(nn.functional.pad(frames, (0, self.missing)))
        correlation = (re * re + im * im) @ self.cosines  # [B, F, lags]
        energy = correlation[..., :1].clamp(min=1e-12)
        normalised = correlation / energy / self.own
        before, at, after = normalised[..., 1:-2], normalised[..., 2:-1], normalised[..., 3:]
        is_peak = (at >= before) & (at >= after)
        best = torch.where(is_peak, at - self.cost, at - 2).argmax(dim=2, keepdim=True)
        harmonic = at.gather(2, best)[..., 0].clamp(1e-3, 1 - 1e-3)
        period = (best[..., 0] + self.shortest) * (1000 / self.sample_rate)
        ratio = 10 * torch.log10(harmonic / (1 - harmonic))
        return period.float(), ratio.float()


class Frame30(nn.Module):
    """Segments of the loudest tenth of a clip, end to end, ``[B, T]`` to ``[B, S·N, 30]``.

    A frame of 25 ms every 10 ms has twelve MFCC, log energy, pitch period, harmonics-to-noise
    ratio, and the deltas of these. A segment is N frames; one starts at every frame, and of all of
    them those with the highest energy are kept, in order. So neighbours overlap in most frames.

    Args:
        sample_rate: hertz.
        segment_frames: N; the published 25 are 265 ms.
        share: of the segments that is kept, rounded up.
        n_mels: bands under the MFCC.
    """

    filters: Tensor
    dct: Tensor

    def __init__(
        self,
        *,
        sample_rate: int = 16000,
        segment_frames: int = 25,
        share: float = 0.1,
        n_mels: int = 26,
    ):
        super().__init__()
        if not 0 < share <= 1:
            raise ValueError(f"share must be in (0, 1], not {share}")
        self.sample_rate, self.n_bands = sample_rate, 30
        self.segment_frames, self.share = segment_frames, share
        length, self.hop = sample_rate // 40, sample_rate // 100
        self.min_samples = length + (segment_frames - 1) * self.hop
        self.frames = Frames(length, self.hop)
        self.spectrum = Spectrum(
            n_fft=512, window_length=length, hop=self.hop, window="hamming", center=False, power=2
        )
        filters = htk_filters(
            sample_rate=sample_rate, n_fft=512, n_bands=n_mels, f_min=20, f_max=sample_rate / 2
        )
        self.register_buffer("filters", filters, persistent=False)
        self.register_buffer("dct", dct_matrix(n_mels, 13)[:, 1:], persistent=False)
        self.pitch = Pitch(sample_rate=sample_rate, hop=self.hop)
        self.around = length // 2  # a pitch frame is 50 ms, in the middle of which lie the 25

    def forward(self, samples: Tensor) -> Tensor:
        energy = self.frames(samples).square().sum(dim=2)  # [B, F]
        mel = self.spectrum(samples) @ self.filters
        mfcc = mel.clamp(min=1e-10).log() @ self.dct  # [B, F, 12]
        period, ratio = self.pitch(nn.functional.pad(samples, (self.around, self.around)))
        rest = torch.stack([energy.clamp(min=1e-10).log(), period, ratio], dim=2)
        static = torch.cat([mfcc, rest], dim=2)  # [B, F, 15]
        return self._loudest(torch.cat([static, deltas(static)], dim=2), energy)

    def _loudest(self, features: Tensor, energy: Tensor) -> Tensor:
        n = self.segment_frames
        loudness = nn.functional.avg_pool1d(energy[:, None], n, stride=1)[:, 0]  # [B, segments]
        kept = math.ceil(self.share * loudness.shape[1] - 1e-9)
        starts = loudness.topk(kept, dim=1).indices.sort(dim=1).values  # [B, S]
        within = torch.arange(n, device=starts.device)
        frames = (starts[..., None] + within).flatten(1)  # [B, S·N]
        return features.gather(1, frames[..., None].expand(-1, -1, features.shape[2]))


FRONTENDS["frame30"] = Frame30
