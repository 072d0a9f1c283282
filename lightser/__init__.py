"""Lightweight speech emotion recognition.

Recognise (no PyTorch needed)::

    from lightser import Recognizer

    recognizer = Recognizer.load()
    recognizer.predict("clip.wav")                  # a Prediction: label, probabilities
    recognizer.segments("talk.wav", window_s=3)     # Segments, one after another
    Stream(recognizer, hop_s=0.5)                   # the same, of audio that comes in chunks

Training, corpora, export and reports live in the sub-packages of the same names; importing
``lightser`` loads none of them.
"""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightser.inference import Prediction, Recognizer, Segment, Stream

__version__ = "0.1.0"

# ONNX Runtime would note a number for this machine in the user's cache, and what it was used for.
# Whoever wants that sets the variable to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__all__ = ["Prediction", "Recognizer", "Segment", "Stream", "__version__"]


def __dir__() -> list[str]:
    return sorted(__all__)


def __getattr__(name: str) -> Any:
    # ONNX Runtime is loaded when it is first asked for, not by `import lightser.errors`.
    if name in __all__:
        import lightser.inference

        return getattr(lightser.inference, name)
    raise AttributeError(f"module 'lightser' has no attribute '{name}'")
