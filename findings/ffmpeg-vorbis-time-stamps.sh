#!/usr/bin/env bash
# FFmpeg counts time stamps of Vorbis up where short and long blocks meet: frames that follow each
# other without a gap have time stamps with one.
#
# Seen with PyAV 18.1.0 (its own FFmpeg) on an Ogg Vorbis file that libsndfile wrote (soundfile
# 0.14.0): one second of noise with an attack, 44.1 kHz, mono. A frame ends at sample 3776 by its
# time stamp and length, and the next one begins at 4224, 448 samples later; a frame on, the next
# begins 448 samples too early. Yet all frames, laid end to end, are the 44,100 samples that
# libvorbis decodes, to 1e-5. Who places frames by their time stamps puts 10 ms of silence there.
# Exits 0 while that is so, and 1 when it is no longer.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install -qq --disable-pip-version-check av==18.1.0 soundfile==0.14.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import io
import sys

import av
import numpy as np
import soundfile

noise = 0.05 * np.random.default_rng(0).standard_normal(44_100).astype(np.float32)
noise[5_000:5_050] = 0.9  # an attack, for which the encoder takes short blocks
file = io.BytesIO()
soundfile.write(file, noise, 44_100, format="OGG", subtype="VORBIS")

frames = list(av.open(io.BytesIO(file.getvalue())).decode(audio=0))
laid = np.concatenate([frame.to_ndarray()[0] for frame in frames])
file.seek(0)
libvorbis, _ = soundfile.read(file, dtype="float32")
n = min(len(laid), len(libvorbis))
apart = float(np.abs(laid[:n] - libvorbis[:n]).max())
gaps = [
    (one.pts + one.samples, other.pts)
    for one, other in zip(frames, frames[1:])
    if other.pts != one.pts + one.samples
]
print(f"PyAV {av.__version__}: {len(laid)} samples, libvorbis {len(libvorbis)}, at most {apart:.0e} apart")
print("gaps in time stamps (where a frame ends, where the next one begins):", gaps)
sys.exit(not (gaps and len(laid) == len(libvorbis) and apart < 1e-5))
PYTHON
