"""ONNX Runtime for the page: files that npm brings once, and that are too large for our wheel."""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from importlib.util import find_spec
from pathlib import Path

from lightser.card import file_facts
from lightser.errors import LightserError

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
# The build for WebAssembly alone, without WebGPU: half the size, and fast enough by far.
FILES = {
    "ort.wasm.min.mjs": "219e6a1fc8a9938268d18efca3c91d310bd2f4a59bbd13744df5b2b7fc6cee3b",
    "ort-wasm-simd-threaded.mjs": "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b",  # noqa: E501
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",  # noqa: E501
}
_LICENSE = Path(__file__).parent / "page" / "onnxruntime-web.LICENSE.txt"
_NOTICES = "ThirdPartyNotices.txt"  # which the Python package of the same project carries
_GET = "'lightser serve --get-assets' gets them, by way of npm"


def usual_folder() -> Path:
    """Return where the files are kept unless one says otherwise: in the user's cache."""
    base = os.environ.get("XDG_CACHE_HOME")
    if not base and sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA")
    if not base:
        base = "~/Library/Caches" if sys.platform == "darwin" else "~/.cache"
    return Path(base).expanduser() / "lightser" / f"{PACKAGE}-{VERSION}"


def find_assets(folder: Path | None = None) -> dict[str, Path]:
    """Return the files by name; none if they are not in the usual folder.

    Args:
        folder: that holds them, such as ``dist`` of the npm package; by default the usual one.

    Raises:
        LightserError: they are not in the folder that was given, or are not those of our version.
    """
    where = usual_folder() if folder is None else folder
    if folder is None and not where.is_dir():
        return {}
    for name, expected in FILES.items():
        try:
            found = file_facts(where / name).sha256
        except OSError as error:
            raise LightserError(
                f"'{where / name}' cannot be read ({error.strerror}); {_GET}."
            ) from None
        if found != expected:
            raise LightserError(
                f"'{where / name}' is not the one of {PACKAGE} {VERSION}: SHA-256 "
                f"{found[:12]}…, expected {expected[:12]}…; {_GET}."
            )
    return {name: where / name for name in FILES}


def get_assets(folder: Path | None = None) -> Path:
    """Put the files and their licence into a folder, whole or not at all, and return it.

    Raises:
        LightserError: npm is not here, or fails, or the folder cannot be written to.
    """
    where = usual_folder() if folder is None else folder
    if (npm := shutil.which("npm")) is None:
        raise LightserError(
            f"npm is not here: install Node.js, or copy {', '.join(FILES)} from the npm package "
            f"{PACKAGE} {VERSION} to '{where}'."
        )
    try:
        where.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=where.parent, prefix=".assets-") as temporary:
            ready = Path(temporary) / "ready"
            ready.mkdir()
            _unpack(_pack(npm, Path(temporary)), ready)
            find_assets(ready)
            where.mkdir(exist_ok=True)
            for path in ready.iterdir():
                os.replace(path, where / path.name)
    except OSError as error:
        raise LightserError(f"'{where}' cannot be written to: {error}") from None
    return where


def _pack(npm: str, folder: Path) -> Path:
    """Return the package as npm fetches it; npm checks that it is the one that was published."""
    command = [npm, "pack", f"{PACKAGE}@{VERSION}", "--pack-destination", str(folder), "--silent"]
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    packed = folder / f"{PACKAGE}-{VERSION}.tgz"
    if run.returncode or not packed.is_file():
        said = (run.stderr.strip() or run.stdout.strip() or "no reason given").splitlines()[-1]
        raise LightserError(f"npm could not fetch {PACKAGE} {VERSION}: {said}")
    return packed


def _unpack(packed: Path, folder: Path) -> None:
    with tarfile.open(packed) as archive:
        for name in FILES:
            member = archive.extractfile(f"package/dist/{name}")
            if member is None:
                raise LightserError(f"{PACKAGE} {VERSION} holds no {name}.")
            with member, (folder / name).open("wb") as file:
                shutil.copyfileobj(member, file)
    shutil.copy(_LICENSE, folder / "LICENSE.txt")
    runtime = find_spec("onnxruntime")
    for root in (runtime and runtime.submodule_search_locations) or ():
        if (notices := Path(root) / _NOTICES).is_file():
            shutil.copy(notices, folder / _NOTICES)
