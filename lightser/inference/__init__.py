"""Recognising: model folders, clips, streams and segments. Needs NumPy and ONNX Runtime only."""
