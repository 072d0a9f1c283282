"""Networks, one per file: ``[B, F, M]`` features to ``[B, C]`` logits.

Every network takes ``n_classes`` and ``n_bands``, and its ``forward(features, lengths=None)`` the
number of true frames of each clip in a padded batch. ``min_frames`` says how few will do. A network
whose answer depends on how far its batch was padded may be trained in stacks of batches if its
``forward`` takes that as well, as :meth:`lightser.models.zhong2020.Zhong2020.forward` does.
"""

from collections.abc import Callable

from torch import nn

from lightser.registry import Registry, import_siblings

MODELS: Registry[Callable[..., nn.Module]] = Registry("model")

import_siblings(__name__, __path__)
