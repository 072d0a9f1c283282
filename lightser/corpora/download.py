"""Fetch a corpus from where its publisher offers it: checked, resumable, never half there.

The archive grows in ``<name>.part``; when the last byte is there and the checksum is right, it is
renamed, unpacked and removed. A transfer that breaks off leaves the part, and the next call goes on
from there.
"""

import contextlib
import hashlib
import http.client
import os
import shutil
import ssl
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from lightser.corpora import CORPORA, Corpus, Download, missing_and_surplus
from lightser.errors import BadCorpus, LightserError
from lightser.whole import replacing

BLOCK = 1 << 18  # bytes

# What the network may raise; an OSError beside these comes from the disk.
TRANSFER_ERRORS = (
    urllib.error.URLError,
    http.client.HTTPException,
    ssl.SSLError,
    TimeoutError,
    ConnectionError,
)

Progress = Callable[[int, int], object]
"""Called with the bytes that are there, and of all (0 if unknown)."""


class BrokenDownload(LightserError):
    """A transfer that did not bring what was asked for."""


def download_corpus(
    name: str,
    folder: Path | str,
    *,
    progress: Progress = lambda done, total: None,
    timeout_s: float = 60.0,
) -> bool:
    """Fetch the corpus ``name`` into ``folder``; return False if it was whole there already.

    Raises:
        UnknownName: no such corpus.
        BadCorpus: its publisher offers no download, or ``folder`` cannot be written.
        BrokenDownload: the transfer failed; call again to go on from where it broke off.
    """
    corpus, folder = CORPORA[name], Path(folder)
    if not corpus.downloads:
        where = f": see {corpus.url}" if corpus.url else ""
        raise BadCorpus(f"Nobody offers {corpus.title} for direct download{where}")
    if is_whole(corpus, folder):
        return False
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for item in corpus.downloads:
            archive = fetch(item, folder, progress=progress, timeout_s=timeout_s)
            unpack(archive, folder, item.folder)
            archive.unlink()
    except OSError as error:
        raise BadCorpus(f"Cannot write into {folder}: {error.strerror or error}") from error
    return True


def is_whole(corpus: Corpus, folder: Path) -> bool:
    """Return whether ``folder`` has every utterance of the corpus, by name."""
    try:
        table = corpus.load(folder)
        missing, _ = missing_and_surplus(corpus, folder)
    except BadCorpus:
        return False
    return not missing and len(table) == corpus.utterances


def fetch(
    item: Download,
    folder: Path,
    *,
    progress: Progress = lambda done, total: None,
    timeout_s: float = 60.0,
) -> Path:
    """Return the path of the archive in ``folder``, once it is whole and its checksum right.

    Raises:
        BrokenDownload: no answer, a broken transfer (the part stays, for the next call), or a
            checksum other than the publisher's (the part is removed).
    """
    name = PurePosixPath(urllib.parse.urlsplit(item.url).path).name
    archive = folder / name
    part, tag = folder / f"{name}.part", folder / f"{name}.part.tag"
    if archive.is_file():  # from an earlier call that broke off as it unpacked, or brought by hand
        _verify(item, archive)
        return archive

    try:
        _transfer(item, part, tag, progress, timeout_s)
    except TRANSFER_ERRORS as error:
        raise BrokenDownload(_what_broke(item, part, error)) from error
    tag.unlink(missing_ok=True)
    _verify(item, part)
    os.replace(part, archive)
    return archive


def _transfer(item: Download, part: Path, tag: Path, progress: Progress, timeout_s: float) -> None:
    """Append to ``part`` what it lacks; start anew where the server cannot go on."""
    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(item.url, headers={"User-Agent": "lightser"})
    # Going on is safe only with the very file that was begun: the server's tag of it makes sure
    # before, a checksum afterwards.
    if have and (tag.is_file() or item.sha256 or item.md5):
        request.add_header("Range", f"bytes={have}-")
        if tag.is_file():
            request.add_header("If-Range", tag.read_text(encoding="latin-1"))

    try:
        response = urllib.request.urlopen(request, timeout=timeout_s)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and error.headers.get("Content-Range") == f"bytes */{have}":
            return  # everything was there already
        if error.code == 416 and have:
            part.unlink()
            return _transfer(item, part, tag, progress, timeout_s)
        raise

    with response:
        if not (response.status == 206 and _starts_at(response, have)):
            have = 0
        total = have + int(response.headers.get("Content-Length") or 0)
        total = total if total > have else item.size
        _keep_tag(tag, response)
        with part.open("ab" if have else "wb") as file:
            progress(have, total)
            for block in _blocks(response):
                file.write(block)
                have += len(block)
                progress(have, total)
    if have < total:  # the connection was closed as if all had been said
        raise http.client.IncompleteRead(b"", total - have)


def _blocks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """Yield what arrives; what arrived of a block before the connection broke, too."""
    try:
        while block := response.read(BLOCK):
            yield block
    except http.client.IncompleteRead as error:
        yield error.partial
        raise


def _starts_at(response: http.client.HTTPResponse, have: int) -> bool:
    return (response.headers.get("Content-Range") or "").startswith(f"bytes {have}-")


def _keep_tag(tag: Path, response: http.client.HTTPResponse) -> None:
    """Write down how the server tells this version of its file from others (RFC 9110, 13.1.5)."""
    entity = response.headers.get("ETag") or ""
    validator = entity if entity and not entity.startswith("W/") else None
    validator = validator or response.headers.get("Last-Modified")
    if validator:
        tag.write_text(validator, encoding="latin-1")
    else:
        tag.unlink(missing_ok=True)


def _what_broke(item: Download, part: Path, error: Exception) -> str:
    """Return one line: what happened, and what to do."""
    if isinstance(error, urllib.error.HTTPError):
        return f"{item.url} answers {error.code} {error.reason}"
    reason = getattr(error, "reason", None) or error
    if isinstance(error, http.client.IncompleteRead):
        reason = "connection closed"
    have = part.stat().st_size if part.is_file() else 0
    if not have:
        return f"Cannot fetch {item.url}: {reason}"
    of = f" of {item.size / 1e6:.1f}" if item.size else ""
    return (
        f"The transfer of {item.url} broke off at {have / 1e6:.1f}{of} MB ({reason}); "
        "run the same again to go on from there"
    )


def _verify(item: Download, part: Path) -> None:
    """Compare with the publisher's checksums; a wrong file is removed."""
    for algorithm, expected in (("sha256", item.sha256), ("md5", item.md5)):
        if expected is None:
            continue
        digest = hashlib.new(algorithm, usedforsecurity=False)
        with part.open("rb") as file:
            while block := file.read(BLOCK):
                digest.update(block)
        if digest.hexdigest() != expected:
            part.unlink()
            raise BrokenDownload(
                f"{item.url} is not what was published: its {algorithm.upper()} is "
                f"{digest.hexdigest()}, not {expected}; what came was removed"
            )


def unpack(archive: Path, folder: Path, inside: str = "") -> None:
    """Unpack the ZIP ``archive`` into ``folder``: each file whole or not at all, none outside.

    Args:
        archive: removed if it is damaged, so that it can be fetched again.
        folder: where to.
        inside: the folder of the archive to take; "" for all.

    Raises:
        BrokenDownload: the archive is damaged, or would write outside ``folder``.
    """
    try:
        with zipfile.ZipFile(archive) as packed:
            for member, target in _members(packed, folder, inside):
                target.parent.mkdir(parents=True, exist_ok=True)
                with (
                    replacing(target) as part,
                    packed.open(member) as source,
                    part.open("wb") as file,
                ):
                    shutil.copyfileobj(source, file)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError, zlib.error) as error:
        archive.unlink()
        raise BrokenDownload(
            f"{archive.name} is a damaged archive ({error}) and was removed; run the same again"
        ) from error


def _members(
    packed: zipfile.ZipFile, folder: Path, inside: str
) -> Iterator[tuple[zipfile.ZipInfo, Path]]:
    """Yield the files to unpack and where to; refuse the archive before the first is written."""
    found = []
    for member in packed.infolist():
        path = PurePosixPath(member.filename.replace("\\", "/"))
        is_link = (member.external_attr >> 16) & 0o170000 == 0o120000
        if path.is_absolute() or ".." in path.parts or ":" in member.filename or is_link:
            raise BrokenDownload(
                f"{packed.filename} holds '{member.filename}', which leads out of the folder; "
                "nothing was unpacked"
            )
        if member.is_dir() or "__MACOSX" in path.parts:
            continue
        with contextlib.suppress(ValueError):  # outside of ``inside``
            found.append((member, folder / path.relative_to(inside)))
    if not found:
        raise BrokenDownload(f"{packed.filename} holds no folder '{inside}'")
    yield from found
