"""From an open file to blocks of samples, by FFmpeg, each where its time stamp says.

Shapes: N frames of a block, C channels. A frame is one sample of each channel.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, BinaryIO

import numpy as np

from lightser.audio.containers import is_cut_by_size
from lightser.audio.libsndfile import Block, breaks_off
from lightser.audio.resampler import MAX_RATE, MIN_RATE, Resampler
from lightser.errors import BadAudio, LightserWarning

# A gap, or a late start, up to which silence is put: above it, it is more likely an error.
MAX_GAP_S = 3600.0
_LEAST_GAP_S = 0.005  # by which the time stamps of some containers are rounded
_TOLD_GAP_S = 0.5  # from which a gap is worth a word
_BLOCK = 2**16
# Of a codec, by which a length may be off: what it puts in front, and fills its last one with.
_SLACK_FRAMES = 4

# What FFmpeg may take a file for. Among what it may not are playlists, which would make it open
# other files and addresses; and those whose time stamps are those of a film have a clock.
_CLOCKED = {
    *("mov", "mp4", "m4a", "3gp", "3g2", "mj2", "matroska", "webm", "mpegts", "mpeg", "flv", "asf"),
    *("ogg", "rm"),
}
_RAW = {
    *("aac", "ac3", "eac3", "amr", "amrnb", "amrwb", "mp3", "dts", "dtshd", "truehd", "mlp"),
    *("loas", "latm", "avi", "gsm", "adx", "aa", "voc"),
}
_COUNTED = {
    *("caf", "wav", "w64", "flac", "aiff", "au", "wv", "ape", "tta", "tak", "mpc", "mpc8", "ogg"),
    *("iff", "nistsphere", "shn", "aax", "oma", "dsf"),
}
_ALLOWED = ",".join(sorted(_CLOCKED | _RAW | _COUNTED))
# Those whose length is a guess from the bit rate, or from the size.
_GUESSED = {*_RAW, "mpegts", "mpeg", "asf"}
# Those whose clock begins anywhere, and not at the recording's zero.
_FREE_CLOCKS = {"mpegts", "mpeg"}
# FFmpeg's own decoders of AMR do not know the noise that stands for silence, and that of Opus is
# 42 µs off the reference, by which libsndfile decodes. Not all builds have the others.
_BETTER = {"amrnb": "libopencore_amrnb", "amrwb": "libopencore_amrwb", "opus": "libopus"}


class NoSound(BadAudio):
    """A file that FFmpeg reads, and in which there is nothing to hear."""


class _Bytes:
    """A file without its name, by whose extension FFmpeg would guess."""

    def __init__(self, file: BinaryIO):
        self.read, self.seek, self.tell = file.read, file.seek, file.tell


class Ffmpeg:
    """A file that FFmpeg decodes; see :class:`~lightser.audio.decoders.Decoder`."""

    is_cut = False
    frames: int | None = None

    def __init__(self, container: Any, name: str, kind: str | None, track: int):
        self._container, self._name = container, name
        self.tracks = len(container.streams.audio)
        self._stream = container.streams.audio[track - 1]
        self._codec = self._stream.codec_context
        coding = self._codec.name
        formats = set(container.format.name.split(","))
        self.format = f"{kind or container.format.name.split(',')[0].upper()} {coding}"
        self.sample_rate: int = self._stream.rate
        self.channels: int = self._stream.channels
        if self._codec.name in _BETTER:
            self._codec = _decoder_of(_BETTER[coding], self._codec) or self._codec
        self._is_amr = self._codec.name in ("amrnb", "amrwb")
        self.declared: int | None = None
        self.slack = 0
        self.following: Callable[[int], Iterable[Block]] = lambda done: ()
        self.end = 0  # byte behind the last packet so far
        self._has_clock = bool(formats & _CLOCKED)
        self._is_free = bool(formats & _FREE_CLOCKS)
        begin = (container.start_time or 0) / 1_000_000 if self._is_free else 0.0
        self._zero: float = begin
        self._stop: int | None = None
        if formats & _GUESSED:
            return
        stream = self._stream
        if stream.duration:
            start = max(stream.start_time or 0, 0)
            seconds = float((stream.duration + start) * stream.time_base)
            self.declared = round((seconds - begin) * self.sample_rate)
            # What the codec adds to fill its last packet. A count of packets says that the
            # index is whole; in a fragmented file the duration is that of the first fragment.
            if ("mov" in formats and stream.frames) or formats & {"caf", "wav", "ogg"}:
                self._stop = self.declared
        elif container.duration and not container.streams.video:
            self.declared = round(container.duration * self.sample_rate / 1_000_000)

    def read(self, first: int) -> Iterator[Block]:
        done = 0
        for block in self._whole():
            done += len(block)
            if done > first and len(block):
                yield block[max(len(block) - (done - first), 0) :]

    def _whole(self) -> Iterator[Block]:
        done = 0
        for block in self._placed():
            if self._stop is not None:
                block = block[: max(self._stop - done, 0)]
            done += len(block)
            yield block
        yield from self.following(done)

    def _placed(self) -> Iterator[Block]:
        """Yield blocks, and silence where time stamps leave a gap."""
        rate, done, shift, due, told, longest = self.sample_rate, 0, 0, None, 0, 0
        for at, block, size in self._decoded():
            longest = max(
                longest, size
            )  # where short and long ones meet, FFmpeg counts Vorbis's up
            slack = max(longest // 2, round(_LEAST_GAP_S * rate))
            if self._has_clock and at is not None:
                if at < 0:  # what the codec needs to begin; our own decoders have taken it off
                    block = block[-at:] if self._codec is self._stream.codec_context else block
                    at = 0
                if due is not None and at < due - rate // 2:
                    shift = at - done
                    self._warn(f"time stamps go back by {(due - at) / rate:.2f} s", done)
                gap = at - shift - done
                if gap > MAX_GAP_S * rate:
                    what = f"a gap of {gap / rate:.0f} s, above {MAX_GAP_S:.0f} s, is left out"
                    self._warn(f"{what}: what follows has times that are as much too early", done)
                    shift += gap
                    self.declared = self.declared and self.declared - gap
                    self._stop = self._stop and self._stop - gap
                elif gap > slack:
                    told += gap
                    if told > _TOLD_GAP_S * rate >= told - gap and done:
                        self._warn("nothing was recorded for a while, which is silence", done)
                    for start in range(0, gap, _BLOCK):
                        size = min(_BLOCK, gap - start)
                        yield np.zeros((size, self.channels), np.float32)
                    done += gap
                due = at + len(block)
            done += len(block)
            yield block

    def _decoded(self) -> Iterator[tuple[int | None, Block, int]]:
        """Yield where each block is to stand, the block, and the codec's frame, in frames."""
        import av

        interleave: Any = None
        change: Resampler | None = None
        now = (self.sample_rate, self.channels)
        done = 0

        def blocks(frame: Any) -> Iterator[Block]:  # None: what is held back
            for part in interleave.resample(frame) if interleave else ():
                block = np.asarray(part.to_ndarray(), np.float32).reshape(-1, now[1])
                yield spread(change(block) if change else block, self.channels)
            if frame is None and change:
                yield spread(change.flush(), self.channels)

        try:
            for packet in self._container.demux(self._stream):
                if packet.size and self._is_amr and bytes(packet)[0] >> 3 & 15 >= 8:
                    # FFmpeg's own decoders do not know frames of silence (SID, NO_DATA).
                    silence = np.zeros((self.sample_rate // 50, self.channels), np.float32)
                    done += len(silence)
                    yield self._place(packet), silence, len(silence)
                    continue
                for frame in self._codec.decode(packet if packet.size else None):
                    is_as = frame.sample_rate, frame.layout.nb_channels
                    if interleave is None or is_as != now:
                        yield from ((None, block, 0) for block in blocks(None))
                        if is_as != now:
                            self._check_change(now, is_as, done)
                        # Changes the sample format alone. Not frame.to_ndarray(), which runs over
                        # the end of the planes of 8 and more channels (PyAV 18).
                        now, interleave, change = is_as, av.AudioResampler(format="flt"), None
                        if now[0] != self.sample_rate:
                            change = Resampler(now[0], self.sample_rate, now[1])
                    at = self._place(frame)
                    lasts = round(frame.samples * self.sample_rate / now[0])
                    self.slack = max(self.slack, _SLACK_FRAMES * lasts)
                    for block in blocks(frame):
                        done += len(block)
                        yield at, block, lasts
                if packet.pos is not None:
                    self.end = max(self.end, packet.pos + packet.size)
            yield from ((None, block, 0) for block in blocks(None))
        except (av.FFmpegError, IndexError, ValueError) as error:  # as PyAV meets odd tracks
            if self.declared and done >= self.declared:  # it has begun what stands behind
                return
            raise breaks_off(self._name, done / self.sample_rate, self) from error

    def _place(self, frame: Any) -> int | None:
        """Return where a frame or packet belongs, in samples; None if it does not say."""
        if frame.pts is None or not frame.time_base:
            return None
        return round((float(frame.pts * frame.time_base) - self._zero) * self.sample_rate)

    def _check_change(self, was: tuple[int, int], now: tuple[int, int], done: int) -> None:
        """Refuse a change in the middle that would lose what is heard; say of another."""
        how = f"changes from {was[0]} Hz, {was[1]} ch to {now[0]} Hz, {now[1]} ch"
        if now[0] > self.sample_rate or not MIN_RATE <= now[0] <= MAX_RATE:
            raise BadAudio(
                f"{self._name}: {how} after {done / self.sample_rate:.2f} s; convert it to WAV or "
                "FLAC"
            )
        self._warn(how, done)

    def _warn(self, what: str, done: int) -> None:
        said = f"{self._name}: {what}, at {done / self.sample_rate:.2f} s"
        warnings.warn(said, LightserWarning, stacklevel=2)


def spread(block: Block, channels: int) -> Block:
    """Return ``[N, C]`` with another number of channels: each as it was, or the mean of all."""
    if block.shape[1] == channels:
        return block
    return np.repeat(block.mean(axis=1, keepdims=True), channels, axis=1)


def _decoder_of(name: str, like: Any) -> Any:
    import av

    try:
        codec: Any = av.CodecContext.create(name, "r")
    except (av.FFmpegError, ValueError):  # not built in
        return None
    codec.options = {"request_sample_fmt": "flt"}
    codec.layout, codec.sample_rate = like.layout, like.sample_rate
    if like.extradata:
        codec.extradata = like.extradata
    return codec


def _open(file: BinaryIO) -> Any:
    import av

    file.seek(0)
    # From 19 on, PyAV keeps what is no UTF-8 in a tag; before that it had to be asked to.
    is_new = int(av.__version__.split(".")[0]) >= 19
    lenient: dict[str, Any] = {} if is_new else {"metadata_errors": "ignore"}
    return av.open(_Bytes(file), options={"format_whitelist": _ALLOWED}, **lenient)


def _best_track(file: BinaryIO, name: str) -> int:
    """Return the track that a player plays, from 1 on: of those that carry anything, the default.

    Says which others there are.
    """
    with _open(file) as container:
        tracks = container.streams.audio
        if len(tracks) < 2:
            return 1
        carried = dict.fromkeys((track.index for track in tracks), 0)
        for n, packet in enumerate(container.demux(tracks)):
            carried[packet.stream.index] += packet.size
            if n > 2000:
                break
        most = max(carried.values())
        is_default = [bool(getattr(track, "disposition", 0) & 1) for track in tracks]
        best = max(
            range(len(tracks)),
            key=lambda n: (8 * carried[tracks[n].index] > most, is_default[n], -n),
        )
        others = ", ".join(_called(n, track) for n, track in enumerate(tracks, 1) if n != best + 1)
    warnings.warn(
        f"{name}: has {len(tracks)} audio tracks; {_called(best + 1, tracks[best])} is heard, and "
        f"not {others}: --track takes another, or all",
        LightserWarning,
        stacklevel=2,
    )
    return best + 1


def _called(n: int, track: Any) -> str:
    facts = [track.metadata.get(key, "") for key in ("language", "title", "handler_name")]
    words = [w for w in facts if w and w not in ("und", "SoundHandler")]
    return f"track {n} ({', '.join(words)})" if words else f"track {n}"


@contextmanager
def open_ffmpeg(
    file: BinaryIO, name: str, kind: str | None, track: int | None = None
) -> Iterator[Ffmpeg]:
    """Open a seekable file.

    Args:
        file: what to read.
        name: for messages.
        kind: what people call its format; None asks FFmpeg.
        track: from 1 on; None is the one that a player plays.

    Raises:
        NoSound: it has no track with sound, or not this one.
        av.FFmpegError: FFmpeg does not know it.
    """
    is_cut = is_cut_by_size(file)
    with ExitStack() as stack:
        container = stack.enter_context(_open(file))
        tracks = container.streams.audio
        kind = kind or container.format.long_name
        if not tracks:
            raise NoSound(f"{name}: {kind} without a sound track; give one that has sound")
        if track is not None and not 1 <= track <= len(tracks):
            raise NoSound(f"{name}: no track {track}; it has {len(tracks)}, counted from 1")
        if track is None and len(tracks) > 1:
            container.close()
            track = _best_track(file, name)
            container = stack.enter_context(_open(file))
        coding = container.streams.audio[(track or 1) - 1].codec_context
        if coding is None or not (coding.sample_rate and coding.channels):
            raise NoSound(
                f"{name}: {kind} whose coding FFmpeg does not know; convert it to WAV or FLAC"
            )
        decoder = Ffmpeg(container, name, kind, track or 1)
        decoder.is_cut = is_cut
        yield decoder
