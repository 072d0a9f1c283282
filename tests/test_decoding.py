"""One decoder that hears what a player plays: times, joined files, headers that lie, tracks.

The inputs are made here, of the CC0 clips; ``decoding_table.py`` says what every format decodes to.
"""

import io
import os
import struct
import subprocess
import sys
import warnings

import numpy as np
import pytest
from conftest import SAMPLES
from decoding_table import BASE, TOLERANCE_DB, by_ffmpeg, by_libsndfile, files, read_table, row_of

from lightser.audio.channels import stream_channels
from lightser.audio.decoders import open_decoder
from lightser.audio.ffmpeg import MAX_GAP_S, open_ffmpeg
from lightser.audio.files import audio_info, read_audio, resample, stream_audio
from lightser.audio.ogg import _checksum
from lightser.errors import BadAudio, LightserWarning, MissingExtra

pytest.importorskip("av")

RATE = 16_000
FIRST, SECOND = (read_audio(SAMPLES / f"{name}.flac") for name in ("10b10Wa", "14a04Tc"))
SECONDS = len(FIRST) / RATE, len(SECOND) / RATE


def read(data, rate=RATE, **options):
    return read_audio(io.BytesIO(data), rate, **options)


def heard(data, *, warning="", **options):
    """Return the seconds that are heard of a file, and check what is said of it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", LightserWarning)
        seconds = len(read(data, **options)) / RATE
    said = " ".join(str(w.message) for w in caught)
    assert warning in said if warning else not said
    return seconds


def base(samples, file_format, coding=None, rate=RATE):
    return by_libsndfile(resample(samples, RATE, rate)[:, None], rate, file_format, coding)


def foreign(samples, rate, *arguments, **options):
    return by_ffmpeg(resample(samples, RATE, rate)[:, None], rate, *arguments, **options)


# The table, and the two decoders


def test_every_format_decodes_to_what_the_table_says():
    known = read_table()
    rows = [row_of(*file) for file in files()]
    assert [tuple(row.values())[:4] for row in rows] == list(known)
    for row in rows:
        about, expected = tuple(row.values())[:4], known[tuple(row.values())[:4]]
        assert (row["samples"], row["crc32"]) == (expected["samples"], expected["crc32"]), about
        levels = [np.array(r["levels_db"].split(), float) for r in (row, expected)]
        assert np.abs(np.subtract(*levels)).max(initial=0) <= TOLERANCE_DB, about


# What libsndfile and FFmpeg do not agree on, in samples and in amplitude, and why.
DIFFERENT = {
    "MS_ADPCM": (500, 0.01),  # it rounds otherwise, and does not know how far a block is filled
    "ALAC_16": (4096, 0.0),  # FFmpeg takes off what fills the last packet, which is not counted
    "OPUS": (0, 1e-6),
    "IMA_ADPCM": (0, 2e-4),  # it rounds to 16 bits otherwise
    "GSM610": (0, 2e-3),  # its own decoder against libgsm's
    "VORBIS": (0, 1e-5),  # its own decoder against libvorbis
    "MPEG_LAYER_III": (1152, 2e-3),  # its own decoder against libmpg123; the last frame's end
    "PCM_24": (0, 2**-22),
}


@pytest.mark.parametrize(("file_format", "coding", "rates", "lossless"), BASE)
def test_two_decoders_give_the_same_samples(file_format, coding, rates, lossless):
    for rate in rates:
        if coding == "VORBIS" and rate != RATE:
            continue  # FFmpeg keeps 448 or 576 samples that stand before the first time stamp
        file = io.BytesIO(base(FIRST[:RATE], file_format, coding, rate))
        with open_decoder(file, "x") as decoder:
            first = np.concatenate(list(decoder.read(0)))
        with open_ffmpeg(file, "x", None) as decoder:
            second = np.concatenate(list(decoder.read(0)))
        most, apart = DIFFERENT.get(coding, (0, 0.0))
        assert abs(len(first) - len(second)) <= most, rate
        size = min(len(first), len(second))
        assert np.abs(first[:size] - second[:size]).max() <= apart, rate


# Time is the container's

CLOCKED = [
    ("mp4", "aac", "fltp", 48_000),
    ("ipod", "alac", "s16p", 16_000),
    ("webm", "libopus", "flt", 48_000),
    ("matroska", "aac", "fltp", 16_000),
    ("matroska", "libmp3lame", "fltp", 16_000),
    ("flv", "aac", "fltp", 44_100),
    ("mpegts", "aac", "fltp", 48_000),
    ("asf", "wmav2", "fltp", 16_000),
    ("ogg", "libopus", "flt", 48_000),
    ("ogg", "flac", "s16", 16_000),
]


@pytest.mark.parametrize(("container", "codec", "sample_format", "rate"), CLOCKED)
def test_a_gap_is_silence_and_what_follows_is_in_its_place(container, codec, sample_format, rate):
    both = np.concatenate([FIRST, SECOND])
    data = foreign(both, rate, container, codec, sample_format, gap_at_s=2.0, gap_s=6.0)
    with pytest.warns(LightserWarning, match="nothing was recorded for a while"):
        samples = read(data)
    assert len(samples) / RATE == pytest.approx(sum(SECONDS) + 6, abs=0.1)
    assert not samples[int(2.5 * RATE) : int(7.9 * RATE)].any()
    whole = read(foreign(both, rate, container, codec, sample_format))
    level = [np.sqrt(np.mean(s**2)) for s in (samples[9 * RATE : 10 * RATE], whole[3 * RATE :])]
    assert level[0] == pytest.approx(np.sqrt(np.mean(whole[3 * RATE : 4 * RATE] ** 2)), rel=0.1)
    blocks = stream_audio(io.BytesIO(data), RATE, block_s=0.7)
    with pytest.warns(LightserWarning, match="nothing was recorded"):
        np.testing.assert_array_equal(np.concatenate(list(blocks)), samples)


@pytest.mark.parametrize(
    ("container", "codec", "sample_format", "rate"),
    [c for c in CLOCKED if c[0] in ("mp4", "ipod", "webm", "matroska", "flv", "asf")],
)
def test_what_begins_late_is_late(container, codec, sample_format, rate):
    options = {"avoid_negative_ts": "disabled"}
    data = foreign(FIRST, rate, container, codec, sample_format, late_s=4.0, options=options)
    samples = read(data)
    assert len(samples) / RATE == pytest.approx(SECONDS[0] + 4, abs=0.1)
    assert not samples[: int(3.9 * RATE)].any()


def test_one_lost_packet_is_no_damage():
    data = foreign(FIRST, 48_000, "webm", "libopus", "flt", gap_at_s=1.0, gap_s=0.06)
    assert heard(data) == pytest.approx(SECONDS[0] + 0.06, abs=0.01)


def test_a_gap_above_the_limit_is_said_and_not_allocated():
    data = foreign(FIRST, 48_000, "mp4", "aac", gap_at_s=1.0, gap_s=MAX_GAP_S + 100)
    assert heard(data, warning="above 3600 s, is left out") == pytest.approx(SECONDS[0], abs=0.1)


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
@pytest.mark.parametrize("codec", ["wmav1", "wmav2"])
def test_wma_of_any_rate_is_no_truncated_file(codec, rate):
    assert heard(foreign(FIRST, rate, "asf", codec)) == pytest.approx(SECONDS[0], abs=0.15)
    data = foreign(np.tile(FIRST, 3), rate, "asf", codec)
    with pytest.raises(BadAudio, match="truncated"):
        read(data[: int(0.7 * len(data))])


# Whole, or said

JOINED = [(name, None) for name in ("WAV", "AIFF", "AU", "W64", "RF64", "CAF", "FLAC")]


@pytest.mark.parametrize(("file_format", "coding"), [*JOINED, ("OGG", "VORBIS"), ("MP3", None)])
@pytest.mark.parametrize("rates", [(8_000, 44_100), (44_100, 8_000)])
def test_files_one_behind_another_are_all_heard(file_format, coding, rates):
    parts = [base(s, file_format, coding, r) for s, r in zip((FIRST, SECOND), rates, strict=True)]
    with pytest.warns(LightserWarning, match=r"from 2\.65 s on.*all are heard"):
        samples = read(b"".join(parts))
    assert len(samples) / RATE == pytest.approx(sum(SECONDS), abs=0.01)
    alone = np.concatenate([read(part) for part in parts])
    inner = slice(len(FIRST) + RATE // 2, len(FIRST) + 2 * RATE)
    assert np.corrcoef(samples[inner], alone[inner])[0, 1] > 0.95


@pytest.mark.parametrize(
    ("container", "codec", "sample_format", "rate"),
    [
        *CLOCKED,
        ("tta", "tta", "s16", RATE),
        ("wv", "wavpack", "s16p", RATE),
        ("caf", "alac", "s16p", RATE),
        ("adts", "aac", "fltp", 48_000),
        ("ac3", "ac3", "fltp", 48_000),
    ],
)
def test_foreign_files_one_behind_another_are_all_heard(container, codec, sample_format, rate):
    parts = [foreign(s, rate, container, codec, sample_format) for s in (FIRST, SECOND)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LightserWarning)
        samples = read(b"".join(parts))
    assert len(samples) / RATE == pytest.approx(sum(SECONDS), abs=0.25)


def test_an_mp3_that_changes_its_channels_is_heard_whole():
    stereo = np.repeat(SECOND[:, None], 2, axis=1)
    data = base(FIRST, "MP3") + by_libsndfile(stereo, RATE, "MP3", None)
    seconds = heard(data, warning="16000 Hz, 2 ch after 16000 Hz, 1 ch")
    assert seconds == pytest.approx(sum(SECONDS), abs=0.01)
    with pytest.warns(LightserWarning):
        blocks = list(stream_channels(io.BytesIO(data), RATE))
    assert {block.shape[1] for block in blocks} == {2}


def test_an_mpeg_layer_2_whose_bit_rate_falls_is_heard_whole(monkeypatch):
    import av

    high = foreign(FIRST, 48_000, "mp2", "mp2", "s16")
    file = io.BytesIO()
    with av.open(file, "w", format="mp2") as out:
        stream = out.add_stream("mp2", rate=48_000, layout="mono")
        stream.format, stream.bit_rate = "s16", 32_000
        frame = av.AudioFrame.from_ndarray(
            resample(SECOND, RATE, 48_000).reshape(1, -1), format="flt", layout="mono"
        )
        frame.rate = 48_000
        convert = av.AudioResampler("s16", "mono", 48_000, frame_size=1152)
        for part in [*convert.resample(frame), *convert.resample(None)]:
            out.mux(stream.encode(part))
        out.mux(stream.encode(None))
    low = file.getvalue()
    assert len(high) / SECONDS[0] > 1.3 * len(low) / SECONDS[1]
    assert heard(high + low) == pytest.approx(sum(SECONDS), abs=0.06)
    monkeypatch.setitem(sys.modules, "av", None)  # as if not installed
    with pytest.raises(MissingExtra, match="MPEG layer II of several bit rates"):
        read(high + low)


# Byte where the size stands behind the name of its chunk, and how it is written.
SIZES = {
    "WAV": (b"data", 4, "<I"),
    "RF64": (b"ds64", 16, "<Q"),
    "W64": (b"data", 16, "<Q"),
    "AIFF": (b"SSND", 4, ">I"),
    "CAF": (b"data", 4, ">Q"),
    "AU": (b".snd", 8, ">I"),
}


@pytest.mark.parametrize("file_format", SIZES)
@pytest.mark.parametrize("size", [0, 60_000])
def test_sound_beyond_what_a_header_counts_is_heard(file_format, size):
    data = bytearray(base(FIRST, file_format))
    name, offset, form = SIZES[file_format]
    struct.pack_into(form, data, data.find(name) + offset, size)
    assert heard(bytes(data), warning="all are heard") == pytest.approx(SECONDS[0], abs=0.001)


def test_a_size_that_has_wrapped_at_4_gib_is_put_right(tmp_path):
    path = tmp_path / "huge.wav"
    head = bytearray(base(FIRST, "WAV")[:44])
    total = 2**32 + 100_000
    struct.pack_into("<I", head, 40, total % 2**32)
    path.write_bytes(head + np.full(60_000, 0x0101, "<i2").tobytes())
    os.truncate(path, 44 + total)  # a hole: no disk
    with open(path, "r+b") as file:
        file.seek(-2 * RATE, os.SEEK_END)
        file.write(np.tile([0x0202, -0x0202], RATE // 2).astype("<i2").tobytes())
    with pytest.warns(LightserWarning, match="all are heard"):
        assert audio_info(path).frames == total // 2
    with pytest.warns(LightserWarning, match="all are heard"):
        end = read_audio(path, start=total / 2 / RATE - 1)
    np.testing.assert_allclose(np.abs(end), 0x0202 / 2**15)


@pytest.mark.parametrize(
    "tail",
    [
        b"LIST" + struct.pack("<I", 20) + bytes(20),
        b"id3 " + struct.pack("<I", 5) + b"abcde\0",
        b"TAG" + bytes(125),
        bytes(5_000),
    ],
)
def test_what_is_no_sound_behind_the_sound_is_not_heard(tail):
    assert heard(base(FIRST, "WAV") + tail) == SECONDS[0]


def test_a_wav_of_two_chunks_of_data_is_heard_whole():
    first, second = base(FIRST, "WAV"), base(SECOND, "WAV")
    seconds = heard(first + second[36:], warning="all are heard")
    assert seconds == pytest.approx(sum(SECONDS))


@pytest.mark.parametrize("count", [1, 20_000, len(FIRST) - 1])
def test_a_flac_that_counts_too_few_samples_is_heard_whole(count):
    data = bytearray(base(FIRST, "FLAC"))
    data[21], data[22:26] = data[21] & 0xF0, count.to_bytes(4, "big")
    assert heard(bytes(data), warning=f"counts {count:,} samples") == pytest.approx(SECONDS[0])


@pytest.mark.parametrize("coding", ["IMA_ADPCM", "MS_ADPCM"])
def test_the_length_of_a_coding_in_blocks_is_what_its_fact_chunk_says(coding):
    data = bytearray(base(FIRST, "WAV", coding))
    struct.pack_into("<I", data, data.find(b"fact") + 8, len(FIRST))
    assert len(read(bytes(data))) == len(FIRST)


# Whoever can decode is asked


@pytest.mark.parametrize("rate", [0, 8_000, 16_000, 44_100, 96_000])
def test_opus_is_decoded_at_48_khz_whatever_its_header_calls_the_rate(rate):
    data = bytearray(base(FIRST, "OGG", "OPUS", 48_000))
    expected = read(bytes(data))
    at = data.find(b"OpusHead") + 12
    data[at : at + 4] = rate.to_bytes(4, "little")
    size = 27 + data[26] + sum(data[27 : 27 + data[26]])
    data[22:26] = bytes(4)
    data[22:26] = _checksum(bytes(data[:size])).to_bytes(4, "little")
    assert audio_info(io.BytesIO(data)).sample_rate == 48_000
    np.testing.assert_array_equal(read(bytes(data)), expected)


@pytest.mark.parametrize("wide", [False, True])
def test_silence_in_amr_is_heard(wide):
    # Frames of silence (SID, NO_DATA) between two of speech of the least bit rate.
    magic, sid, speech = (
        (b"#!AMR-WB\n", bytes([9 << 3 | 4]) + bytes(5), bytes([4]) + bytes(17))
        if wide
        else (b"#!AMR\n", bytes([8 << 3 | 4]) + bytes(5), bytes([4]) + bytes(12))
    )
    frames = [*[speech] * 50, sid, *[bytes([15 << 3 | 4])] * 7, sid, *[speech] * 50]
    data = magic + b"".join(frames)
    samples = read_audio(io.BytesIO(data), RATE, silence=True)
    assert len(samples) == pytest.approx(0.02 * len(frames) * RATE, abs=2)


def test_bw64_adts_behind_id3_and_caf_of_unknown_length_are_heard():
    bw64 = b"BW64" + base(FIRST, "RF64")[4:]
    assert heard(bw64) == SECONDS[0]
    aac = foreign(FIRST, 48_000, "adts", "aac")
    tag = b"ID3\x04\0\0\0\0\0\x20" + b"PRIV" + bytes(28)
    assert heard(tag + aac) == heard(aac)
    assert heard(aac[300:]) == pytest.approx(SECONDS[0], abs=0.15)  # begun in the middle
    caf = bytearray(base(FIRST, "CAF"))
    caf[caf.find(b"data") + 4 : caf.find(b"data") + 12] = b"\xff" * 8
    assert heard(bytes(caf)) == SECONDS[0]


# Tracks


@pytest.mark.parametrize("container", ["mp4", "matroska", "mov", "mpegts"])
def test_a_player_s_track_is_heard_and_the_others_are_named(container):
    data = foreign(FIRST, 48_000, container, "aac", tracks=2, silent=1)
    assert heard(data, warning="track 1 is heard, and not track 2") == pytest.approx(
        SECONDS[0], abs=0.1
    )
    assert heard(data, track=1) == pytest.approx(SECONDS[0], abs=0.1)
    with pytest.raises(BadAudio, match="silent throughout"):
        read(data, track=2)
    with pytest.raises(BadAudio, match="no track 3; it has 2, counted from 1"):
        read(data, track=3)
    assert audio_info(io.BytesIO(data), track=1).tracks == 2


def test_a_track_that_carries_nothing_is_not_a_player_s():
    data = foreign(FIRST, 48_000, "mp4", "aac", tracks=2, silent=0)
    assert heard(data, warning="track 2 is heard") == pytest.approx(SECONDS[0], abs=0.1)


def test_a_file_of_one_track_has_no_second():
    assert len(read(base(FIRST, "WAV"), track=1)) == len(FIRST)
    with pytest.raises(BadAudio, match="no track 2; it has 1"):
        read(base(FIRST, "WAV"), track=2)


# What is no audio is called what it is


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"/annex/objects/SHA256E-s1--0.wav", "git annex get"),
        (b"\n <!DOCTYPE html><p>404", "a web page"),
        (b"<?xml version='1.0'?><Error/>", "XML"),
        (b"#EXTM3U\na.wav", "a playlist"),
        (b"PK\x03\x04" + bytes(100), "an archive"),
        (b"\0\0\0\x18moof" + bytes(99), "a later piece"),
        (b"\x1f\x43\xb6\x75" + bytes(99), "a later piece"),
        (b"\xa3\x44\x00\x81\x00\x10\x80" + bytes(99), "a later piece"),
    ],
)
def test_what_is_taken_for_audio_is_called_what_it_is(data, message):
    with pytest.raises(BadAudio, match=message) as error:
        read(data)
    assert "\n" not in str(error.value)


def test_a_later_piece_of_an_ogg_is_called_so():
    data = base(np.tile(FIRST, 3), "OGG", "OPUS", 48_000)
    with pytest.raises(BadAudio, match="a later piece"):
        read(data[data.find(b"OggS", 9_000) :])


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d[: len(d) // 2],
        lambda d: d[:9_000] + bytes(3_000) + d[9_000:],
        lambda d: d[3_000:],
        lambda d: d[:20_000] + bytes(c ^ 0x55 for c in d[20_000:20_400]) + d[20_400:],
        lambda d: b"\xff\xfb\x90\0" * 2 + np.random.default_rng(0).bytes(30_000),
    ],
)
def test_lines_of_other_libraries_do_not_reach_the_terminal(tmp_path, change):
    data = change(base(np.concatenate([FIRST, SECOND]), "MP3"))
    (tmp_path / "x.mp3").write_bytes(data)
    words = "import sys; from lightser.cli import main; sys.argv[1:] = ['predict', 'x.mp3']; main()"
    done = subprocess.run([sys.executable, "-c", words], cwd=tmp_path, capture_output=True)
    assert all(line.startswith(b"lightser: ") for line in done.stderr.splitlines()), done.stderr


@pytest.mark.parametrize("shape", [(2, 44_100), (1, 100, 2), (10, 0)])
def test_an_array_of_a_wrong_shape_is_refused_before_it_is_resampled(shape):
    with pytest.raises(BadAudio, match="shape"):
        resample(np.zeros(shape), 48_000, RATE)
