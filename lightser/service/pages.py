"""The page at ``/``, and the files with which it listens by itself, in the browser."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response

from lightser import __version__
from lightser.card import CARD, MODEL
from lightser.errors import LightserError
from lightser.service.desk import Desk

_PACKAGE = Path(__file__).parent.parent
_PAGE = _PACKAGE / "service" / "page"
_HAS_VAD = find_spec("webrtcvad") is not None  # so that streams here can tell silence
_SAMPLES = {"10b10Wa.flac": "anger", "08a02Fe.flac": "happiness", "14a04Tc.flac": "sadness"}

# Said here, since what the system says of them differs.
_KINDS = {
    ".css": "text/css; charset=utf-8",
    ".flac": "audio/flac",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".onnx": "application/octet-stream",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
}
# Everything comes from here, nothing is inline, nothing may frame it; WebAssembly may be compiled.
_POLICY = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self' 'wasm-unsafe-eval'",
            "style-src 'self'",
            "img-src 'self'",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    ),
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Vary": "Accept",
}


class Pages:
    """What a browser is given.

    Args:
        assets: the files of ONNX Runtime by name; without them, the page asks the service.
    """

    def __init__(self, assets: Mapping[str, Path]):
        # A table of names, so that no address can lead anywhere else.
        self.files = {path.name: path for path in _PAGE.iterdir() if path.suffix in _KINDS}
        for name in _SAMPLES:
            self.files[f"samples/{name}"] = _PACKAGE / "samples" / name
        for path in _web_sources():
            self.files[f"lightser-web/{path.name}"] = path
        self.files |= {f"onnxruntime-web/{name}": path for name, path in assets.items()}
        self.listens = bool(assets)

    async def index(self, request: Request) -> Response:
        """Show the page to a browser, and say to programs what is here."""
        if "text/html" in request.headers.get("accept", ""):
            return _answer(request, self.files["index.html"], _POLICY)
        return JSONResponse(
            {
                "name": "lightser",
                "version": __version__,
                "page": "GET /, with Accept: text/html",
                "predict": "POST /v1/predict",
                "segments": "POST /v1/segments",
                "stream": "WebSocket /v1/stream",
                "models": "GET /v1/models",
                "description": "GET /openapi.json",
            },
            headers={"Vary": "Accept"},
        )

    async def file(self, request: Request) -> Response:
        """Answer with a file of the page."""
        name = request.path_params["path"]
        if name == "setup.json":
            samples = [{"file": file, "label": label} for file, label in _SAMPLES.items()]
            setup = {"in_browser": self.listens, "vad": _HAS_VAD, "samples": samples}
            return JSONResponse(setup)
        if name not in self.files:
            raise HTTPException(404, "Not Found")
        return _answer(request, self.files[name])


async def model_file(request: Request) -> Response:
    """Answer with what a browser needs of a model folder: the card and the graph."""
    desk: Desk = request.app.state.desk
    _, recognizer = desk.model(request.path_params["name"])
    name = request.path_params["file"]
    if name not in (CARD, MODEL):
        raise HTTPException(404, "Not Found")
    return _answer(request, recognizer.folder / name)


def _web_sources() -> list[Path]:
    """Return the modules of lightser-web: in the installed package, or beside it in a checkout.

    Raises:
        LightserError: there are none, and without them the page would do nothing.
    """
    inside = _PAGE / "lightser-web"
    beside = _PACKAGE.parent / "packages" / "lightser-web" / "src"
    sources = sorted((inside if inside.is_dir() else beside).glob("*.js"))
    if not sources:
        raise LightserError(
            f"The page's modules are missing: {inside} holds none; build the wheel from a whole "
            "checkout, with packages/lightser-web/src."
        )
    return sources


def _answer(request: Request, path: Path, headers: Mapping[str, str] | None = None) -> Response:
    """Return a file, or that the browser has it already."""
    response = FileResponse(
        path,
        media_type=_KINDS[path.suffix],
        headers={"Cache-Control": "no-cache", **(headers or {})},  # ask each time whether it is new
        stat_result=path.stat(),
    )
    if request.headers.get("if-none-match") != response.headers["etag"]:
        return response
    kept = {name: response.headers[name] for name in ("etag", "cache-control")}
    return Response(status_code=304, headers={**kept, **(headers or {})})
