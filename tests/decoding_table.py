"""What every format decodes to: a table in the manner of FFmpeg's FATE, and how it is renewed.

``python tests/decoding_table.py`` writes ``decoding_table.csv`` anew, beside this file. Look at the
difference: it is what a new libsndfile, FFmpeg or lightser has changed.

A row is a second of the clip 10b10Wa, coded and decoded again: how many samples come out and, of a
lossless coding, the CRC-32 of them as 16-bit numbers. Of a lossy one, whose encoders change from
version to version, it is the level of each tenth, in decibels, which may be 2.5 dB off.
"""

import csv
import io
import sys
import zlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from lightser.audio.files import read_audio, resample

TABLE = Path(__file__).with_suffix(".csv")
CLIP = Path(__file__).parent.parent / "lightser" / "samples" / "10b10Wa.flac"
TOLERANCE_DB = 2.5
HEAD = ("format", "coding", "rate", "channels", "samples", "crc32", "levels_db")

# (format, coding, rates, is lossless): what libsndfile writes ...
BASE = [
    *(("WAV", c, (8_000, 16_000, 44_100), True) for c in ("PCM_16", "PCM_24", "FLOAT")),
    *(("WAV", c, (8_000, 16_000), False) for c in ("ULAW", "ALAW", "IMA_ADPCM", "MS_ADPCM")),
    ("WAV", "PCM_U8", (16_000,), False),
    ("WAV", "GSM610", (8_000,), False),
    *((f, "PCM_16", (16_000, 48_000), True) for f in ("WAVEX", "RF64", "W64", "AIFF", "AU")),
    ("CAF", "PCM_16", (16_000,), True),
    ("CAF", "ALAC_16", (16_000, 44_100), True),
    ("FLAC", "PCM_16", (8_000, 16_000, 44_100), True),
    ("FLAC", "PCM_24", (48_000,), True),
    ("OGG", "VORBIS", (8_000, 16_000, 44_100), False),
    ("OGG", "OPUS", (8_000, 16_000, 48_000), False),
    ("MP3", "MPEG_LAYER_III", (8_000, 16_000, 44_100), False),
]
# ... and what FFmpeg does: (format, coding, sample format, rates, is lossless).
FOREIGN = [
    ("ipod", "aac", "fltp", (16_000, 44_100), False),
    ("ipod", "alac", "s16p", (16_000, 44_100), True),
    ("adts", "aac", "fltp", (16_000, 48_000), False),
    ("flv", "aac", "fltp", (44_100,), False),
    ("mpegts", "aac", "fltp", (48_000,), False),
    ("webm", "libopus", "flt", (48_000,), False),
    ("matroska", "libmp3lame", "fltp", (16_000, 44_100), False),
    ("matroska", "pcm_s16le", "s16", (16_000,), True),
    ("mov", "pcm_s16le", "s16", (16_000,), True),
    ("caf", "adpcm_ima_qt", "s16p", (16_000,), False),
    ("asf", "wmav2", "fltp", (8_000, 16_000, 44_100), False),
    ("avi", "pcm_s16le", "s16", (16_000,), True),
    ("ogg", "flac", "s16", (16_000,), True),
    ("wv", "wavpack", "s16p", (16_000,), True),
    ("tta", "tta", "s16", (16_000,), True),
    ("mp2", "mp2", "s16", (48_000,), False),
    ("ac3", "ac3", "fltp", (48_000,), False),
]


def clip(rate: int, channels: int = 1) -> "np.ndarray[Any, Any]":
    """Return a second of speech ``[T, C]``, equal in all channels."""
    speech = resample(read_audio(CLIP, end=1.0), 16_000, rate)
    return np.repeat(speech[:, None], channels, axis=1)


def by_libsndfile(samples: Any, rate: int, file_format: str, coding: str) -> bytes:
    """Return samples ``[T, C]`` as a file."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=file_format, subtype=coding)
    return file.getvalue()


def by_ffmpeg(
    samples: Any,
    rate: int,
    container: str,
    coding: str,
    sample_format: str = "fltp",
    *,
    late_s: float = 0.0,
    gap_at_s: float = np.inf,
    gap_s: float = 0.0,
    options: dict[str, str] | None = None,
    tracks: int = 1,
    silent: int = -1,
) -> bytes:
    """Return samples ``[T, C]`` as a file: late, with a gap, or with some tracks of the same."""
    import av

    file = io.BytesIO()
    layout = {1: "mono", 2: "stereo"}[samples.shape[1]]
    with av.open(file, "w", format=container, options=options or {}) as out:
        streams = []
        for _ in range(tracks):
            stream = out.add_stream(coding, rate=rate, layout=layout)
            stream.format, stream.bit_rate = sample_format, 12_200 if "amr" in coding else 48_000
            streams.append(stream)
        for n, stream in enumerate(streams):
            heard = np.zeros_like(samples) if n == silent else samples
            convert = av.AudioResampler(
                sample_format, layout, rate, frame_size=stream.codec_context.frame_size or 1024
            )
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(heard, np.float32).reshape(1, -1), format="flt", layout=layout
            )
            frame.rate, frame.pts, at = rate, 0, 0
            for part in [*convert.resample(frame), *convert.resample(None)]:
                gap = gap_s if at >= gap_at_s * rate else 0.0
                part.pts, part.time_base = at + round((late_s + gap) * rate), Fraction(1, rate)
                at += part.samples
                out.mux(stream.encode(part))
            out.mux(stream.encode(None))
    return file.getvalue()


def files() -> Iterator[tuple[tuple[str, str, int, int], bool, bytes]]:
    """Yield format, coding, rate and channels of each row, whether it is lossless, and its file."""
    for file_format, coding, rates, lossless in BASE:
        for rate in rates:
            for channels in (1, 2)[: 1 if coding == "GSM610" else 2]:
                data = by_libsndfile(clip(rate, channels), rate, file_format, coding)
                yield (file_format, coding, rate, channels), lossless, data
    for container, coding, sample_format, rates, lossless in FOREIGN:
        for rate in rates:
            for channels in (1, 2):
                data = by_ffmpeg(clip(rate, channels), rate, container, coding, sample_format)
                yield (container, coding, rate, channels), lossless, data


def row_of(about: tuple[str, str, int, int], lossless: bool, data: bytes) -> dict[str, str]:
    """Return the row of a file: as it is decoded, at its own rate."""
    samples = read_audio(io.BytesIO(data), about[2])
    row = dict(zip(HEAD, map(str, (*about, len(samples))), strict=False)) | {"crc32": ""}
    if lossless:
        whole = np.round(samples * 2**15).astype("<i2")
        return row | {"crc32": f"{zlib.crc32(whole.tobytes()):08x}", "levels_db": ""}
    tenths = np.array_split(samples, 10)
    levels = [20 * np.log10(max(np.sqrt(np.mean(t**2)), 1e-4)) for t in tenths]
    return row | {"levels_db": " ".join(f"{level:.1f}" for level in levels)}


def read_table() -> dict[tuple[str, ...], dict[str, str]]:
    """Return the committed rows, by what they are of."""
    with TABLE.open(newline="") as file:
        return {tuple(row[name] for name in HEAD[:4]): row for row in csv.DictReader(file)}


if __name__ == "__main__":
    rows = [row_of(*file) for file in files()]
    with TABLE.open("w", newline="") as table:
        writer = csv.DictWriter(table, HEAD, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(f"{len(rows)} rows written to {TABLE}", file=sys.stderr)
