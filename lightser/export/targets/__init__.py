"""One file for each target; each registers itself in :data:`lightser.export.EXPORTERS`."""

from lightser.registry import import_siblings

import_siblings(__name__, __path__)
