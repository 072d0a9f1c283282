"""Lightweight speech emotion recognition.

Recognise (no PyTorch needed)::

    from lightser import Recognizer

    recognizer = Recognizer.load()
    recognizer.predict("clip.wav")

Training, corpora, export and reports live in the sub-packages of the same names; importing
``lightser`` loads none of them.
"""

from lightser.inference import Prediction, Recognizer, Segment, Stream

__version__ = "0.1.0"

__all__ = ["Prediction", "Recognizer", "Segment", "Stream", "__version__"]
