"""Files behind URLs, such as ``s3://bucket/clip.wav``, through fsspec."""

import glob
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, BinaryIO

from lightser.audio.signatures import is_named_audio
from lightser.errors import BadAudio, LightserError, MissingExtra

# Files that a process fetches while it listens to another: a store answers late, but many at once.
_AHEAD = 4


def is_url(name: str) -> bool:
    """Tell ``s3://bucket/clip.wav`` from a path.

    >>> is_url("s3://bucket/clip.wav"), is_url("C:/clip.wav")
    (True, False)
    """
    return "://" in name


def require_protocol(url: str) -> None:
    """Refuse a URL that cannot be opened here, wherever it leads.

    Raises:
        MissingExtra: fsspec is not installed.
        LightserError: the protocol is not known, or needs a package of its own.
    """
    try:
        _fsspec(url).get_filesystem_class(url.split("://")[0].split("::")[0])
    except (ImportError, ValueError) as error:  # fsspec says which package is missing
        raise LightserError(f"{url}: {_reason(error)}") from None


def _fsspec(url: str) -> Any:
    try:
        import fsspec
    except ImportError:
        raise MissingExtra(f"{url}: reading from a URL", "bulk") from None
    return fsspec


def filesystem_of(url: str) -> tuple[Any, str]:
    """Return fsspec's file system of a URL, and the path in it.

    Raises:
        MissingExtra: fsspec is not installed.
        LightserError: the protocol is not known, needs a package of its own, or leads nowhere.
    """
    fsspec = _fsspec(url)
    try:
        system, path = fsspec.core.url_to_fs(url)
    except Exception as error:  # a package is missing, a server does not answer, …
        raise LightserError(f"{url}: {_reason(error)}") from None
    return system, path


def list_audio(url: str) -> list[str]:
    """Return the URLs of all audio below a folder, or of what matches a pattern, in order.

    In a folder, what is named like audio is taken, hidden files left out; a single file is taken
    as it is.

    Raises:
        BadAudio: there is nothing, or it cannot be listed.
        LightserError: as :func:`filesystem_of`.
    """
    system, path = filesystem_of(url)
    try:
        if system.isfile(path):  # whatever its name looks like
            return [url]
        if glob.has_magic(path):
            facts = system.glob(path, detail=True)
            found = sorted(name for name, fact in facts.items() if fact["type"] == "file")
        elif system.isdir(path):
            found = [name for name in sorted(system.find(path)) if _is_wanted(name, path)]
        else:
            found = []
    except Exception as error:  # each store has its own kinds, with no common base
        raise BadAudio(f"{url}: cannot be listed ({_reason(error)}).") from None
    if not found:
        raise BadAudio(f"{url}: no audio files there; check the address.")
    return [_url_like(url, path, name) or system.unstrip_protocol(name) for name in found]


def _url_like(url: str, path: str, name: str) -> str | None:
    """Return the URL of a file on the file system, and the server, that another URL is of.

    >>> _url_like("sftp://host/a/*.wav", "/a/*.wav", "/a/b.wav")
    'sftp://host/a/b.wav'
    >>> _url_like("zip://a/*.wav::s3://bucket/c.zip", "a/*.wav", "a/b.wav")
    'zip://a/b.wav::s3://bucket/c.zip'
    """
    own, *inside = url.split("::")
    own = own.rstrip("/")
    if not path or not own.endswith(path.rstrip("/")):
        return None
    return "::".join([own.removesuffix(path.rstrip("/")) + name, *inside])


def _is_wanted(name: str, folder: str) -> bool:
    below = name.removeprefix(folder).lstrip("/").split("/")
    return is_named_audio(name) and not any(part.startswith(".") for part in below)


def fetch(url: str) -> BinaryIO:
    """Return a copy of a file, on disk and without a name; closing it removes it.

    Raises:
        BadAudio: it cannot be fetched.
        LightserError: as :func:`filesystem_of`.
    """
    system, path = filesystem_of(url)
    copy = tempfile.TemporaryFile()  # noqa: SIM115  # the caller closes it
    try:
        with system.open(path, "rb") as file:
            shutil.copyfileobj(file, copy, 2**20)
    except Exception as error:  # each store has its own kinds, with no common base
        copy.close()
        reason = "no such file" if isinstance(error, FileNotFoundError) else _reason(error)
        raise BadAudio(f"{url}: cannot be fetched ({reason}).") from None
    copy.seek(0)
    return copy


def opened(names: Iterable[str]) -> Iterator[str | BinaryIO | LightserError]:
    """Yield each path as it is, each URL as a copy that was fetched ahead or why there is none.

    A copy is closed when the next is asked for.
    """
    with ThreadPoolExecutor(_AHEAD) as pool:  # starts no thread until there is a URL
        ahead: deque[str | Future[BinaryIO]] = deque()
        rest = iter(names)
        while True:
            while len(ahead) < _AHEAD and (name := next(rest, None)) is not None:
                ahead.append(pool.submit(fetch, name) if is_url(name) else name)
            if not ahead:
                return
            first = ahead.popleft()
            if isinstance(first, str):
                yield first
                continue
            try:
                copy = first.result()
            except LightserError as error:
                yield error
                continue
            with copy:
                yield copy


def absolute(name: str, base: str) -> str:
    """Return the name of a file as any process can open it: relative ones are in ``base``.

    >>> absolute("a/b.wav", "s3://bucket/"), absolute("s3://other/b.wav", "/recordings")
    ('s3://bucket/a/b.wav', 's3://other/b.wav')
    """
    if is_url(name):
        return name
    return f"{base.rstrip('/')}/{name}" if is_url(base) else os.path.join(base, name)


def _reason(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
