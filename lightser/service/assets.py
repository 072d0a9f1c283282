"""What the page needs to listen by itself: files of others, which npm brings once."""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from lightser.card import file_facts
from lightser.errors import LightserError


@dataclass(frozen=True)
class Package:
    """Files of an npm package.

    Attributes:
        name: of the package, with its scope.
        version: the one that is served.
        folder: of the package that holds the files.
        files: SHA-256 by name.
        license: its text, in a package that does not carry it; else it is the package's own.
    """

    name: str
    version: str
    folder: str
    files: dict[str, str]
    license: Path | None = None

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


PACKAGES = (
    # The build for WebAssembly alone, without WebGPU: half the size, and fast enough by far.
    Package(
        "onnxruntime-web",
        "1.30.0",
        "package/dist",
        {
            "ort.wasm.min.mjs": "219e6a1fc8a9938268d18efca3c91d310bd2f4a59bbd13744df5b2b7fc6cee3b",
            "ort-wasm-simd-threaded.mjs": "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b",  # noqa: E501
            "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",  # noqa: E501
        },
        Path(__file__).parent / "page" / "onnxruntime-web.LICENSE.txt",
    ),
    # WebRTC's voice activity detector, for the microphone.
    Package(
        "@echogarden/fvad-wasm",
        "0.2.0",
        "package",
        {
            "fvad.js": "418edaf7ac18a92a59586a339a7aadcbca67718f64029d8ea739f2b6cc007539",
            "fvad.wasm": "f81d42b107a2198a3aa0f8ae4f27a8b7a2cc4218896adae5ff82012178eff727",
        },
    ),
)
FILES = {name: package for package in PACKAGES for name in package.files}
_NOTICES = "ThirdPartyNotices.txt"  # of ONNX Runtime, which its Python package carries
_GET = "'lightser serve --get-assets' gets them, by way of npm"


def usual_folder() -> Path:
    """Return where the files are kept unless one says otherwise: in the user's cache."""
    base = os.environ.get("XDG_CACHE_HOME")
    if not base and sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA")
    if not base:
        base = "~/Library/Caches" if sys.platform == "darwin" else "~/.cache"
    versions = "+".join(f"{Path(p.name).name}-{p.version}" for p in PACKAGES)
    return Path(base).expanduser() / "lightser" / versions


def find_assets(folder: Path | None = None) -> dict[str, Path]:
    """Return the files by name; none if they are not in the usual folder.

    Args:
        folder: that holds them; by default the usual one.

    Raises:
        LightserError: they are not in the folder that was given, or are not those of our version.
    """
    where = usual_folder() if folder is None else folder
    if folder is None and not where.is_dir():
        return {}
    for name, package in FILES.items():
        expected = package.files[name]
        try:
            found = file_facts(where / name).sha256
        except OSError as error:
            raise LightserError(
                f"'{where / name}' cannot be read ({error.strerror}); {_GET}."
            ) from None
        if found != expected:
            raise LightserError(
                f"'{where / name}' is not the one of {package}: SHA-256 "
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
            f"npm is not here: install Node.js, or copy {', '.join(FILES)} from the npm packages "
            f"{' and '.join(map(str, PACKAGES))} to '{where}'."
        )
    try:
        where.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=where.parent, prefix=".assets-") as temporary:
            ready = Path(temporary) / "ready"
            ready.mkdir()
            for package in PACKAGES:
                _unpack(package, _pack(package, npm, Path(temporary)), ready)
            _copy_notices(ready)
            find_assets(ready)
            where.mkdir(exist_ok=True)
            for path in ready.iterdir():
                os.replace(path, where / path.name)
    except OSError as error:
        raise LightserError(f"'{where}' cannot be written to: {error}") from None
    return where


def _pack(package: Package, npm: str, folder: Path) -> Path:
    """Return the package as npm fetches it; npm checks that it is the one that was published."""
    wanted = f"{package.name}@{package.version}"
    command = [npm, "pack", wanted, "--pack-destination", str(folder), "--silent"]
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    plain = package.name.removeprefix("@").replace("/", "-")
    packed = folder / f"{plain}-{package.version}.tgz"
    if run.returncode or not packed.is_file():
        said = (run.stderr.strip() or run.stdout.strip() or "no reason given").splitlines()[-1]
        raise LightserError(f"npm could not fetch {package}: {said}")
    return packed


def _unpack(package: Package, packed: Path, folder: Path) -> None:
    license = folder / f"{Path(package.name).name}.LICENSE.txt"
    wanted = {f"{package.folder}/{name}": folder / name for name in package.files}
    if package.license:
        shutil.copy(package.license, license)
    else:
        wanted["package/LICENSE"] = license
    with tarfile.open(packed) as archive:
        for name, path in wanted.items():
            member = archive.extractfile(name)
            if member is None:
                raise LightserError(f"{package} holds no {name}.")
            with member, path.open("wb") as file:
                shutil.copyfileobj(member, file)


def _copy_notices(folder: Path) -> None:
    runtime = find_spec("onnxruntime")
    for root in (runtime and runtime.submodule_search_locations) or ():
        if (notices := Path(root) / _NOTICES).is_file():
            shutil.copy(notices, folder / _NOTICES)
