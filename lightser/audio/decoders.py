"""From an open file to blocks of samples: libsndfile for most formats, FFmpeg for the rest.

Shapes: N frames of a block, C channels. A frame is one sample of each channel.
"""

import io
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, BinaryIO, Protocol, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import soundfile

from lightser.audio.containers import (
    Container,
    ends_early,
    foreign_container,
    is_joined_ogg,
    is_unended_ogg,
    sound_bytes,
)
from lightser.audio.mpeg import scan_mp3
from lightser.audio.signatures import HEAD_BYTES
from lightser.errors import BadAudio, LightserWarning, MissingExtra

Block: TypeAlias = npt.NDArray[np.float32]
Got = TypeVar("Got")

_READ_FRAMES = 8192


class Decoder(Protocol):
    """An open file: what its header says, and its samples."""

    format: str  # for people, e.g. "WAV PCM_16"
    sample_rate: int  # hertz
    channels: int
    frames: int | None  # that can be read, if it is certain before reading
    declared: int | None  # frames that the file says it has, if it does
    is_cut: bool  # the file breaks off in a way that says so, though not by how much

    def read(self, first: int) -> Iterator[Block]:
        """Yield blocks ``[N, C]`` from frame ``first`` to the end.

        Raises:
            BadAudio: if the samples cannot be decoded.
        """
        ...


@contextmanager
def open_decoder(file: BinaryIO, name: str) -> Iterator[Decoder]:
    """Open a seekable ``file`` by what it contains; ``name`` is for messages.

    Raises:
        BadAudio: if it is empty, not audio, or damaged at its start.
        MissingExtra: if it needs FFmpeg and PyAV is not installed.
    """
    file.seek(0)
    head = file.read(HEAD_BYTES)
    if not head:
        raise BadAudio(f"{name}: empty (0 bytes); copy or record it again")
    if container := foreign_container(file):
        with _open_ffmpeg(file, name, container) as decoder:
            yield decoder
    else:
        with _open_libsndfile(file, name, head) as decoder:
            yield decoder


class _Nameless:
    """A file without its name, whose extension ``.raw`` soundfile would believe.

    libsndfile reads it from C, where what is raised would be printed and forgotten, an interrupt
    too, and the file be taken to end there. So it is kept, and raised by :meth:`heeded`.
    """

    def __init__(self, file: BinaryIO):
        self._file = file
        self._raised: BaseException | None = None

    def read(self, size: int) -> bytes:
        return self._kept(self._file.read, size, instead=b"")

    def seek(self, offset: int, whence: int) -> int:
        if whence == os.SEEK_SET and offset < 0:  # where damage leads it; a disk says the same
            return -1
        return self._kept(self._file.seek, offset, whence, instead=0)

    def tell(self) -> int:
        return self._kept(self._file.tell, instead=0)

    def _kept(self, method: Callable[..., Got], *args: int, instead: Got) -> Got:
        try:
            return method(*args)
        except BaseException as error:
            self._raised = self._raised or error
            return instead

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """Raise what the file raised meanwhile, whatever libsndfile made of it."""
        try:
            yield
        finally:
            if raised := self._raised:
                self._raised = None
                raise raised from None


def _reopened(file: BinaryIO) -> int | None:
    """Return a descriptor of a file on disk, for libsndfile to read without asking Python.

    An interrupt that comes while it asks is lost. None where the file has no name, or only its own
    object knows where it is: what is inflated as it is read, say.
    """
    if os.name != "posix" or not isinstance(getattr(file, "raw", file), io.FileIO):
        return None
    try:
        descriptor = os.open(file.name, os.O_RDONLY)
    except (OSError, TypeError):
        return None
    if os.path.samestat(os.fstat(descriptor), os.fstat(file.fileno())):
        return descriptor
    os.close(descriptor)
    return None


class _Libsndfile:
    is_cut = False

    def __init__(self, sound: Any, name: str, heeded: Callable[[], AbstractContextManager[None]]):
        self._sound, self._name, self._heeded = sound, name, heeded
        self.format = f"{sound.format} {sound.subtype}"
        self.sample_rate: int = sound.samplerate
        self.channels: int = sound.channels
        self.frames: int | None = None
        # libsndfile's way to say that a FLAC does not tell.
        self.declared: int | None = sound.frames if sound.frames < 2**62 else None
        self._is_seekable: bool = sound.seekable()  # GSM, say, has to be read from its beginning
        # SoundFile.read() seeks after each block, which takes time in a compressed file and fails
        # at the end of one that is cut. We only read forward.
        sound.seekable = lambda: False

    def read(self, first: int) -> Iterator[Block]:
        if first >= self._sound.frames:
            return
        done = 0
        try:
            if first and self._is_seekable:
                with self._heeded():
                    self._sound.seek(first)
                done = first
            while True:
                with self._heeded():
                    block = self._sound.read(_READ_FRAMES, dtype="float32", always_2d=True)
                if not len(block):
                    return
                done += len(block)
                if done > first:
                    yield block[max(len(block) - (done - first), 0) :]
        except soundfile.SoundFileError as error:
            raise _breaks_off(self._name, done, self) from error


def _breaks_off(name: str, done: int, decoder: Decoder) -> BadAudio:
    declared = (
        f" of the {decoder.declared / decoder.sample_rate:.2f} s it declares"
        if decoder.declared
        else ""
    )
    return BadAudio(
        f"{name}: truncated or damaged, cannot be decoded beyond "
        f"{done / decoder.sample_rate:.2f} s{declared}; copy it again"
    )


@contextmanager
def _open_libsndfile(file: BinaryIO, name: str, head: bytes) -> Iterator[Decoder]:
    extent, is_cut, mp3 = sound_bytes(file), ends_early(file), None
    if head[:4] == b"OggS" and not is_cut:
        _check_ogg(file, name)
    if extent is None and head[:4] not in (b"OggS", b"fLaC") and (mp3 := scan_mp3(file)):
        file = mp3.view(file)
    file.seek(0)
    descriptor = _reopened(file) if mp3 is None else None
    nameless = _Nameless(file)
    try:
        with nameless.heeded():
            sound = soundfile.SoundFile(nameless if descriptor is None else descriptor)
    except soundfile.SoundFileError as error:
        if is_cut:
            raise BadAudio(
                f"{name}: truncated, too little of it is there; copy it again"
            ) from error
        reason = getattr(error, "error_string", str(error)).strip(" .")
        if extent is not None or mp3 or head[:4] in (b"OggS", b"fLaC", b"RIFF", b"FORM", b"caff"):
            raise BadAudio(
                f"{name}: looks like audio but is damaged ({reason}); copy or convert it again"
            ) from error
        raise BadAudio(
            f"{name}: not audio that lightser knows (begins with {head[:12]!r}); "
            "convert it to WAV or FLAC"
        ) from error
    with sound:
        decoder = _Libsndfile(sound, name, nameless.heeded)
        decoder.is_cut = is_cut
        if extent is not None:
            if extent.declared == 0 < extent.present:
                raise BadAudio(
                    f"{name}: its recorder did not finish it, the header declares no sound though "
                    f"{extent.present} bytes follow; mend it, e.g. ffmpeg -i {name} mended.wav"
                )
            if sound.subtype == "MPEG_LAYER_III":  # whose frames libsndfile guesses
                decoder.declared = None
                decoder.is_cut = extent.declared > extent.present
            else:
                decoder.frames = sound.frames
                if extent.declared > extent.present > 0:
                    decoder.declared = round(sound.frames * extent.declared / extent.present)
        elif mp3:
            decoder.frames = max(sound.frames - mp3.missing_samples, 0)
            decoder.is_cut = mp3.is_cut
        elif sound.format == "OGG":
            decoder.frames = sound.frames
        elif sound.format == "MP3":
            decoder.declared = None  # layers I and II: an estimate from the first frame
        yield decoder


def _check_ogg(file: BinaryIO, name: str) -> None:
    """Refuse streams of which libsndfile reads but the first; warn of one that may go on."""
    if is_joined_ogg(file):
        raise BadAudio(
            f"{name}: Ogg files joined one behind another, of which only the first would be heard; "
            f"convert it, e.g. ffmpeg -i {name} whole.flac"
        )
    if is_unended_ogg(file):
        warnings.warn(
            f"{name}: may be truncated, as no page of it is marked as the last",
            LightserWarning,
            stacklevel=2,
        )


class _Ffmpeg:
    is_cut = False
    frames: int | None = None

    def __init__(self, container: Any, name: str, kind: Container):
        self._container, self._name = container, name
        self._stream = container.streams.audio[0]
        self.format = f"{kind.name} {self._stream.codec_context.name}"
        self.sample_rate: int = self._stream.rate
        self.channels: int = self._stream.channels
        self.declared: int | None = None
        self._stop: int | None = None
        if not kind.knows_its_length:
            return
        if self._stream.duration:
            seconds = float(self._stream.duration * self._stream.time_base)
            self.declared = round(seconds * self.sample_rate)
            # What the codec adds to fill its last packet. A count of packets says that the
            # index is whole; in a fragmented file the duration is that of the first fragment.
            if kind.demuxer == "mov" and self._stream.frames:
                self._stop = self.declared
        elif container.duration and not container.streams.video:
            self.declared = round(container.duration * self.sample_rate / 1_000_000)

    def read(self, first: int) -> Iterator[Block]:
        done = 0
        for block in self._blocks():
            if self._stop is not None:
                block = block[: max(self._stop - done, 0)]
            done += len(block)
            if done > first:
                yield block[max(len(block) - (done - first), 0) :]

    def _blocks(self) -> Iterator[Block]:
        import av

        # Changes the sample format alone. Not frame.to_ndarray(), which runs over the end of the
        # planes of 8 and more channels (PyAV 18).
        interleave = av.AudioResampler(format="flt")
        done = 0
        try:
            for frame in self._container.decode(self._stream):
                if (frame.sample_rate, frame.layout.nb_channels) != (
                    self.sample_rate,
                    self.channels,
                ):
                    raise BadAudio(
                        f"{self._name}: changes from {self.sample_rate} Hz, {self.channels} "
                        f"channels to {frame.sample_rate} Hz, {frame.layout.nb_channels} after "
                        f"{done / self.sample_rate:.2f} s; convert it to WAV or FLAC"
                    )
                for part in interleave.resample(frame):
                    done += part.samples
                    yield self._interleaved(part)
            if done:
                for part in interleave.resample(None):  # what it holds back
                    yield self._interleaved(part)
        except (av.FFmpegError, IndexError, ValueError) as error:  # as PyAV meets odd tracks
            raise _breaks_off(self._name, done, self) from error

    def _interleaved(self, frame: Any) -> Block:
        return np.asarray(frame.to_ndarray(), dtype=np.float32).reshape(-1, self.channels)


@contextmanager
def _open_ffmpeg(file: BinaryIO, name: str, kind: Container) -> Iterator[Decoder]:
    try:
        import av
    except ImportError as error:
        raise MissingExtra(f"{name}: reading {kind.name}", "codecs") from error
    is_cut = ends_early(file)
    file.seek(0)
    try:
        # From 19 on, PyAV keeps what is no UTF-8 in a tag; before that it had to be asked to.
        lenient = {} if int(av.__version__.split(".")[0]) >= 19 else {"metadata_errors": "ignore"}
        container = av.open(file, format=kind.demuxer, **lenient)
    except av.FFmpegError as error:
        raise BadAudio(
            f"{name}: {kind.name} that is truncated or damaged, its index cannot be read; "
            "copy it again"
        ) from error
    with container:
        if not container.streams.audio:
            raise BadAudio(f"{name}: {kind.name} without a sound track; give one that has sound")
        coding = container.streams.audio[0].codec_context
        if coding is None or not (coding.sample_rate and coding.channels):
            raise BadAudio(
                f"{name}: {kind.name} whose coding FFmpeg does not know; convert it to WAV or FLAC"
            )
        decoder = _Ffmpeg(container, name, kind)
        decoder.is_cut = is_cut
        yield decoder
