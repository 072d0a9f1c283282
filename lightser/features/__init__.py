"""Features as PyTorch modules, ``[B, T]`` waveforms to ``[B, F, M]``: frames by bands.

A front end is a module from samples to what a network reads. It is part of the exported graph, so
there is no second implementation anywhere. Each says its ``sample_rate`` in hertz, its number of
bands ``n_bands``, the samples from frame to frame ``hop``, and the fewest that it takes,
``min_samples``.
"""

from collections.abc import Callable

from torch import nn

from lightser.registry import Registry, import_siblings

FRONTENDS: Registry[Callable[..., nn.Module]] = Registry("front end")

import_siblings(__name__, __path__)
