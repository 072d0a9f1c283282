"""Recognising: model folders, clips, streams and segments. Needs the base of lightser only.

The same audio gets the same answer here, in whatever file, chunks or company it comes.
"""

from lightser.inference.recognizer import Prediction, Recognizer
from lightser.inference.segments import Segment
from lightser.inference.stream import Stream

__all__ = ["Prediction", "Recognizer", "Segment", "Stream"]
