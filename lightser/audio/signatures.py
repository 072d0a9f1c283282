"""What is audio, by name and by first bytes: the one list that all of lightser goes by."""

import os
from collections.abc import Sequence
from pathlib import Path

HEAD_BYTES = 4 * 188 + 1  # which tell a transport stream

# In a folder, what is named like audio is taken for audio, so that a broken file is reported and
# not passed over. Films are taken for their sound.
EXTENSIONS = (
    *(".wav", ".wave", ".bwf", ".rf64", ".w64", ".aif", ".aiff", ".aifc", ".caf", ".au", ".snd"),
    *(".flac", ".ogg", ".oga", ".ogx", ".opus", ".spx", ".mp3", ".mp2", ".mpa", ".mpga", ".sph"),
    *(".m4a", ".m4b", ".m4r", ".qta", ".aac", ".adts", ".mka", ".weba", ".wma", ".amr", ".awb"),
    *(".3gp", ".3gpp", ".3ga", ".3g2", ".aa", ".ac3", ".eac3", ".ec3", ".dts", ".wv", ".ape"),
    *(".tta", ".tak", ".mpc", ".voc", ".svx", ".8svx", ".mp4", ".m4v", ".mov", ".webm", ".mkv"),
    *(".avi", ".flv", ".wmv", ".asf", ".ogv", ".mpg", ".mpeg", ".vob", ".mts", ".m2ts"),
)

# (offset, bytes there, name for people): what libsndfile reads, ...
_BASE = (
    (8, b"WAVE", "WAV"),  # RIFF, RIFX, RF64, BW64
    (0, b"riff\x2e\x91\xcf\x11", "W64"),
    (0, b"fLaC", "FLAC"),
    (0, b"OggS", "Ogg"),
    (8, b"AIFF", "AIFF"),
    (8, b"AIFC", "AIFF"),
    (0, b".snd", "AU"),
    (0, b"caff", "CAF"),
    (0, b"ID3", "MP3"),
)
# ... and what only FFmpeg does.
_FOREIGN = (
    (4, b"ftyp", "M4A/MP4"),
    (4, b"moov", "QuickTime"),
    (4, b"mdat", "QuickTime"),
    (0, b"\x1a\x45\xdf\xa3", "WebM/Matroska"),
    (0, b"\xff\xf1", "AAC"),
    (0, b"\xff\xf9", "AAC"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "WMA/ASF"),
    (0, b"#!AMR", "AMR"),
    (0, b"FLV\x01", "FLV"),
    (8, b"AVI ", "AVI"),
    (0, b"\x00\x00\x01\xba", "MPEG program stream"),
    (0, b"wvpk", "WavPack"),
    (0, b"MAC ", "Monkey's Audio"),
    (0, b"TTA1", "True Audio"),
    (28, b"\x7fFLAC", "Ogg FLAC"),
    (28, b"Speex", "Ogg Speex"),
)
_PICTURES = (b"heic", b"heix", b"mif1", b"msf1", b"avif", b"avis", b"crx ", b"jxl ")


def foreign_name(head: bytes) -> str | None:
    """Return what people call a format that only FFmpeg reads, by the first bytes of a file."""
    for offset, signature, name in _FOREIGN:
        if head[offset : offset + len(signature)] == signature:
            return name
    # A transport stream has no signature but a sync byte for each packet of 188 bytes.
    return "MPEG transport stream" if head[::188][:5] == b"\x47" * 5 else None


def is_audio(path: str | os.PathLike[str]) -> bool:
    """Say whether a file is named like audio, or begins like it."""
    if os.path.exists(path) and not os.path.isfile(path):  # opening a pipe would wait
        return False
    if is_named_audio(os.fspath(path)):
        return True
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError:
        return False
    if any(head[at : at + len(signature)] == signature for at, signature, _ in _BASE):
        return True
    if (name := foreign_name(head)) and name != "Monkey's Audio":  # "MAC addresses"
        return head[8:12] not in _PICTURES
    # MPEG layer III without a tag: eleven bits of sync, and the layer.
    return len(head) > 1 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2


def is_named_audio(name: str) -> bool:
    """Say whether a file is named like audio.

    >>> is_named_audio("call.M4A"), is_named_audio("s3://bucket/call.txt")
    (True, False)
    """
    return name.lower().endswith(EXTENSIONS)


def passed_over(folder: str | Path, names: Sequence[str]) -> str:
    """Return a line that names and counts the files of a folder that are no audio.

    >>> passed_over("talks", ["a.txt", "b.pdf", "c.doc", "d.csv", "e.json"])
    'talks: 5 files are not audio and are passed over: a.txt, b.pdf, c.doc and 2 more'
    """
    first, more = ", ".join(names[:3]), f" and {len(names) - 3} more" if len(names) > 3 else ""
    are = "files are not audio and are" if len(names) > 1 else "file is not audio and is"
    return f"{folder}: {len(names)} {are} passed over: {first}{more}"
