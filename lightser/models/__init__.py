"""Networks, one per file: ``[B, F, M]`` features to ``[B, C]`` logits.

Every network takes ``n_classes`` and ``n_bands``, and its ``forward(features, lengths=None)`` the
number of true frames of each clip in a padded batch. ``min_frames`` says how few will do. A network
to which it matters how far a batch is padded takes a third argument, ``stacked``: a batch in a
stack of them (:class:`~lightser.models.masking.Stacked`) is padded further.
"""

from collections.abc import Callable

from torch import nn

from lightser.registry import Registry, import_siblings

MODELS: Registry[Callable[..., nn.Module]] = Registry("model")

import_siblings(__name__, __path__)
