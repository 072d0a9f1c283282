"""Files, sample rates and augmentation of waveforms.

A waveform is ``float32 [T]``, mono, in [-1, 1] unless said otherwise. Needs NumPy, soundfile, soxr.
"""
