"""From an open file to blocks of samples, by libsndfile.

Shapes: N frames of a block, C channels. A frame is one sample of each channel.
"""

import io
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, BinaryIO, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import soundfile

from lightser.audio.hush import HUSH
from lightser.errors import BadAudio

Block: TypeAlias = npt.NDArray[np.float32]
Got = TypeVar("Got")

_READ_FRAMES = 8192


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
        if whence == os.SEEK_SET and not 0 <= offset < 2**62:  # where damage leads it
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

    @contextmanager
    def hushed(self) -> Iterator[None]:
        """As :meth:`heeded`, and without what libmpg123 has to say."""
        with HUSH, self.heeded():
            yield


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


class Libsndfile:
    """A file that libsndfile decodes; see :class:`~lightser.audio.decoders.Decoder`."""

    is_cut = False
    tracks = 1
    end = 0

    def __init__(self, sound: Any, name: str, heeded: Callable[[], AbstractContextManager[None]]):
        self._sound, self._name, self._heeded = sound, name, heeded
        self.format = f"{sound.format} {sound.subtype}"
        self.sample_rate: int = sound.samplerate
        self.channels: int = sound.channels
        self.frames: int | None = None
        # libsndfile's way to say that a FLAC does not tell.
        self.declared: int | None = sound.frames if sound.frames < 2**62 else None
        self.most: int = sound.frames  # that are to be read
        self.slack = 0
        self.following: Callable[[int], Iterable[Block]] = lambda done: ()
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
            while done < self.most:
                size = min(_READ_FRAMES, self.most - done)
                with self._heeded():
                    block = self._sound.read(size, dtype="float32", always_2d=True)
                if not len(block):
                    break
                done += len(block)
                if done > first:
                    yield block[max(len(block) - (done - first), 0) :]
            yield from self.following(done)
        except soundfile.SoundFileError as error:
            raise breaks_off(self._name, done / self.sample_rate, self) from error


def breaks_off(name: str, seconds: float, decoder: Any) -> BadAudio:
    """Return what to raise where a decoder meets what it cannot decode."""
    declared = (
        f" of the {decoder.declared / decoder.sample_rate:.2f} s it declares"
        if decoder.declared
        else ""
    )
    return BadAudio(
        f"{name}: truncated or damaged, cannot be decoded beyond {seconds:.2f} s{declared}; "
        "copy it again"
    )


@contextmanager
def open_libsndfile(file: BinaryIO, name: str, *, is_mpeg: bool = False) -> Iterator[Libsndfile]:
    """Open a seekable file; of MPEG audio, libmpg123 is kept quiet.

    Raises:
        soundfile.SoundFileError: libsndfile cannot.
    """
    file.seek(0)
    descriptor = _reopened(file)
    nameless = _Nameless(file)
    heeded = nameless.hushed if is_mpeg else nameless.heeded
    with heeded():
        sound = soundfile.SoundFile(nameless if descriptor is None else descriptor)
    with sound:
        yield Libsndfile(sound, name, heeded)
