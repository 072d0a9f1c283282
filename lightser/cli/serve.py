"""``lightser serve``: the recogniser over HTTP and WebSocket."""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from lightser.cli import app
from lightser.errors import LightserError, MissingExtra
from lightser.service.limits import KEYS, above_zero


@app.command(
    epilog="Example: lightser serve --openapi; lightser serve --port 8080 --cors https://example.org"
)
def serve(
    model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODEL",
            help="A name or a model folder; give several, the first is the default.",
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 is any that is free.")] = 8765,
    keys: Annotated[
        Path | None,
        typer.Option(help=f"File of API keys, one on each line; or set {KEYS}, with commas."),
    ] = None,
    cors: Annotated[
        list[str] | None,
        typer.Option(metavar="ORIGIN", help="Origin of a web page that may call; give several."),
    ] = None,
    max_mb: Annotated[float, typer.Option(help="Megabytes of one request.")] = 50.0,
    max_audio: Annotated[float, typer.Option(help="Seconds of audio of one request.")] = 600.0,
    max_requests: Annotated[int, typer.Option(min=1, help="Requests at once.")] = 8,
    max_streams: Annotated[int, typer.Option(min=1, help="WebSocket streams at once.")] = 8,
    max_time: Annotated[
        float,
        typer.Option(help="Seconds to receive a body, to decode it, and to cut it in segments."),
    ] = 30.0,
    max_idle: Annotated[float, typer.Option(help="Seconds that a stream may send nothing.")] = 30.0,
    decoders: Annotated[
        int | None, typer.Option(min=1, help="Processes that decode; by default one for each core.")
    ] = None,
    decoder_mb: Annotated[
        float, typer.Option(min=256, help="Megabytes of memory that each of them may take.")
    ] = 512.0,
    assets: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder with ONNX Runtime for browsers; by default that of --get-assets.",
        ),
    ] = None,
    get_assets: Annotated[
        bool,
        typer.Option(
            "--get-assets",
            help="Get ONNX Runtime for browsers by way of npm (14 MB), so that the page listens "
            "by itself, and end.",
        ),
    ] = False,
    openapi: Annotated[
        bool, typer.Option("--openapi", help="Print the API's description, and end.")
    ] = False,
) -> None:
    """Serve the recogniser over HTTP and WebSocket, on this machine alone unless told otherwise.

    A browser is shown a page. Nothing is stored. Logs are JSON lines on stderr. Ctrl-C, or SIGTERM,
    ends it when all requests are answered.
    """
    try:
        from lightser.service.app import make_app
        from lightser.service.assets import find_assets
        from lightser.service.assets import get_assets as get
        from lightser.service.server import run
    except ImportError:
        raise MissingExtra("Serving", "serve") from None
    from lightser.inference.recognizer import Recognizer
    from lightser.service.limits import Limits
    from lightser.service.logs import log, log_to_stderr
    from lightser.service.openapi import describe

    limits = Limits(
        body_bytes=in_bytes("--max-mb", max_mb, 1e6),
        audio_s=above_zero("--max-audio", max_audio),
        requests=max_requests,
        streams=max_streams,
        time_s=above_zero("--max-time", max_time),
        header_s=min(max_time, 10.0),
        idle_s=above_zero("--max-idle", max_idle),
        decoder_bytes=in_bytes("--decoder-mb", decoder_mb, 2**20),
    )
    if openapi:
        print(json.dumps(describe(limits), indent=2))
        return
    if get_assets:
        print(f"ONNX Runtime for browsers is in {get(assets)}")
        return
    in_browser = find_assets(assets)
    secrets = read_keys(keys)
    models = {}
    for name in model or ["default"]:
        recognizer = Recognizer.load(name)
        if recognizer.card.name in models:
            raise LightserError(f"Two models are named '{recognizer.card.name}'; serve one.")
        models[recognizer.card.name] = recognizer
    service = make_app(
        models,
        limits=limits,
        keys=secrets,
        origins=cors or [],
        decoders=decoders,
        assets=in_browser,
    )
    log_to_stderr()
    log(
        "serving",
        models=list(models),
        keys=len(secrets),
        origins=cors or [],
        in_browser=bool(in_browser),
    )
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # which uvicorn ends by, when all is answered
    run(service, host, port, limits)


def in_bytes(option: str, megabytes: float, unit: float) -> int:
    """Return what an option says in bytes, of which a megabyte has ``unit``.

    Raises:
        LightserError: it is not above 0, or infinite.
    """
    return round(min(above_zero(option, megabytes) * unit, sys.maxsize))


def read_keys(path: Path | None) -> list[str]:
    """Return the API keys of a file and of the environment.

    Raises:
        LightserError: the file cannot be read, or is empty, or a key is too short to be one, or has
            characters that no client can send.
    """
    found = os.environ.get(KEYS, "").split(",")
    if path is not None:
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise LightserError(f"--keys {path}: cannot be read ({error}).") from None
        if not any(line.strip() for line in lines):
            raise LightserError(f"--keys {path}: holds no key, so anyone could come in.")
        found += lines
    secrets = [key.strip() for key in found if key.strip()]
    for key in secrets:
        if len(key) < 16:
            raise LightserError(
                f"A key of {len(key)} characters can be guessed; use 16 or more, such as those of "
                "openssl rand -hex 16."
            )
        if not (key.isascii() and key.isprintable()):
            raise LightserError(
                "A key has characters that HTTP headers do not carry; use letters and digits of "
                "ASCII, such as those of openssl rand -hex 16."
            )
    return secrets
