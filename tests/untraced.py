"""Coverage looks away while slow functions of other libraries run.

Up to Python 3.11 coverage slows down every function, even those whose lines it does not record:
PyTorch's exporter takes twice as long, and exports were a third of all tests.
"""

import functools
import pkgutil
from collections.abc import Callable, Iterator
from typing import Any

import coverage
import pytest

LITERT = (
    "torch.onnx.export",
    "torch.export.export",
    "litert_torch.convert",
    "ai_edge_quantizer.calibrator.Calibrator.calibrate",
    "ai_edge_quantizer.quantizer.Quantizer.quantize",
    "ai_edge_litert.tools.flatbuffer_utils.read_model_from_bytearray",
    "ai_edge_litert.tools.flatbuffer_utils.convert_object_to_bytearray",
)
DRAWING = ("matplotlib.figure.Figure.savefig",)

_away = False


def untraced(*names: str) -> Any:
    """Return a fixture for a test module, which runs the functions of these names without coverage.

    What they call in lightser is not recorded either: other tests have to cover it.
    """

    @pytest.fixture(scope="session", autouse=True)  # before those of a session that export
    def looking_away() -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            for name in names:
                patch.setattr(name, _without_coverage(pkgutil.resolve_name(name)))
            yield

    return looking_away


def _without_coverage(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def quicker(*args: Any, **options: Any) -> Any:
        global _away
        watching = coverage.Coverage.current()
        if _away or watching is None:
            return function(*args, **options)
        _away = True
        watching.stop()
        try:
            return function(*args, **options)
        finally:
            watching.start()
            _away = False

    return quicker
