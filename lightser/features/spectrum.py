"""From samples to spectra, in operations that every runtime has.

Frames are cut by a strided convolution with an identity kernel, and the Fourier transform is two
small matrix products (Cooley and Tukey, 1965). So the same module trains, and exports to graphs of
free length without a complex type, an STFT operator or megabytes of basis vectors.

Shapes: B clips, T samples, F frames, N points of the transform, K = N/2 + 1 bins.
"""

import math

import torch
from torch import Tensor, nn


class Frames(nn.Module):
    """Cut ``[B, T]`` into overlapping frames ``[B, F, size]``, F = (T - size) // hop + 1.

    Args:
        size: samples in a frame.
        hop: samples between the starts of two frames.
    """

    block: Tensor

    def __init__(self, size: int, hop: int):
        super().__init__()
        # A frame is a run of blocks, and the next frame starts a whole number of blocks later.
        length = math.gcd(size, hop)
        self.blocks, self.step, self.length = size // length, hop // length, length
        self.register_buffer("block", torch.eye(length)[:, None], persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        blocks = nn.functional.conv1d(samples[:, None], self.block, stride=self.length)
        blocks = blocks.transpose(1, 2)  # [B, T // length, length]
        n = blocks.shape[1] - self.blocks + 1
        runs = [blocks[:, i : i + n : self.step] for i in range(self.blocks)]
        return torch.cat(runs, dim=2)  # [B, F, size]


class RealDFT(nn.Module):
    r"""Real and imaginary part of the DFT of real frames ``[..., N]``: two of ``[..., K]``.

    With :math:`N = PQ`, :math:`n = Qp + q` and :math:`k = r + Ps`,

    .. math::
        X_{r + Ps} = \sum_q e^{-2\pi i\,qr/N}\, e^{-2\pi i\,qs/Q}
                     \sum_p x_{Qp + q}\, e^{-2\pi i\,pr/P}

    which costs N(P + Q) instead of N² multiplications and as few constants.

    Args:
        n: points of the transform.
    """

    first: Tensor
    twiddle_cos: Tensor
    twiddle_sin: Tensor
    second_cos: Tensor
    second_sin: Tensor

    def __init__(self, n: int):
        super().__init__()
        self.n = n
        self.p = max(p for p in range(1, math.isqrt(n) + 1) if n % p == 0)
        self.q = n // self.p
        p, q = torch.arange(self.p, dtype=torch.float64), torch.arange(self.q, dtype=torch.float64)
        s = torch.arange(self.q // 2 + 1, dtype=torch.float64)  # beyond lie only mirrored bins
        inner = 2 * math.pi * torch.outer(p, p) / self.p  # [r, p]
        twiddle = 2 * math.pi * torch.outer(p, q) / n  # [r, q]
        outer = 2 * math.pi * torch.outer(q, s) / self.q  # [q, s]
        for name, table in {
            "first": torch.cat([inner.cos(), -inner.sin()]),  # [2P, P]
            "twiddle_cos": twiddle.cos(),
            "twiddle_sin": -twiddle.sin(),
            "second_cos": outer.cos(),
            "second_sin": -outer.sin(),
        }.items():
            self.register_buffer(name, table, persistent=False)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        first, twiddle_cos, twiddle_sin, second_cos, second_sin = (
            table.to(frames.dtype)
            for table in (
                self.first,
                self.twiddle_cos,
                self.twiddle_sin,
                self.second_cos,
                self.second_sin,
            )
        )
        x = frames.reshape(*frames.shape[:-1], self.p, self.q)  # [..., p, q]
        re, im = (first @ x).chunk(2, dim=-2)  # [..., r, q]
        re, im = (
            re * twiddle_cos - im * twiddle_sin,
            re * twiddle_sin + im * twiddle_cos,
        )
        re, im = (
            re @ second_cos - im @ second_sin,
            re @ second_sin + im @ second_cos,
        )  # [..., r, s]
        bins = self.n // 2 + 1
        return (  # k = r + P s: s is the slow index
            re.transpose(-1, -2).flatten(-2)[..., :bins],
            im.transpose(-1, -2).flatten(-2)[..., :bins],
        )


class Spectrum(nn.Module):
    """Magnitude or power spectra of the frames of a waveform, ``[B, T]`` to ``[B, F, K]``.

    The transform is computed in double precision, as librosa does: a logarithm of a quiet band
    beside a loud one shows single precision's rounding. Exported graphs are in single precision.

    Args:
        n_fft: points of the transform.
        window_length: samples under the window, which stands in the middle of ``n_fft``.
        hop: samples between frames.
        window: ``"hann"`` or ``"hamming"``, periodic.
        center: whether frame i is centred on sample i·hop, the ends mirrored (librosa); otherwise
            the first frame starts at the first sample and samples after the last one are dropped.
        power: 2 for the power spectrum, 1 for the magnitude.
    """

    window: Tensor

    def __init__(
        self,
        *,
        n_fft: int,
        window_length: int,
        hop: int,
        window: str,
        center: bool,
        power: int,
    ):
        super().__init__()
        make = {"hann": torch.hann_window, "hamming": torch.hamming_window}[window]
        self.power = power
        # Samples under the zeros around a short window count for nothing: they are never cut out,
        # and the frame they would have centred is mirrored by half a *window*, not half a frame.
        self.mirror = window_length // 2 if center else 0
        self.frames = Frames(window_length, hop)
        self.missing = n_fft - window_length
        self.dft = RealDFT(n_fft)
        self.register_buffer(
            "window",
            make(window_length, periodic=True, dtype=torch.float64),
            persistent=False,
        )

    def forward(self, samples: Tensor) -> Tensor:
        if self.mirror:
            samples = nn.functional.pad(samples[:, None], (self.mirror,) * 2, "reflect")[:, 0]
        dtype = torch.float32 if torch.compiler.is_exporting() else torch.float64
        frames = self.frames(samples).to(dtype) * self.window.to(dtype)  # [B, F, window]
        re, im = self.dft(nn.functional.pad(frames, (0, self.missing)))
        power = re * re + im * im
        spectra: Tensor = power if self.power == 2 else power.sqrt()
        return spectra.float()
