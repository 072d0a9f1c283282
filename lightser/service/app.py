"""The application: which address is answered by what."""

from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute

from lightser.errors import LightserError
from lightser.inference.recognizer import Recognizer
from lightser.service import clips, streams
from lightser.service.desk import Desk
from lightser.service.entrance import Excuse, Guard, Watch, as_response, origin_of
from lightser.service.limits import Limits, Refusal
from lightser.service.linger import Linger
from lightser.service.openapi import describe
from lightser.service.pages import Pages, model_file


def make_app(
    models: Mapping[str, Recognizer],
    *,
    limits: Limits | None = None,
    keys: Iterable[str] = (),
    origins: Collection[str] = (),
    decoders: int | None = None,
    assets: Mapping[str, Path] | None = None,
) -> Starlette:
    """Return the ASGI application; its lifespan starts and ends the processes that decode.

    Args:
        models: recognisers by name; the first answers where none is asked for.
        limits: what a request may cost.
        keys: of which a client must send one; none is needed if there are none.
        origins: of web pages that may call, such as ``https://example.org``; ``*`` is all.
        decoders: number of processes that decode; by default one for each core.
        assets: files of ONNX Runtime with which the page listens in the browser, by name.

    Raises:
        LightserError: no model is given, an origin is none, or this installation lacks its page.
    """
    limits = limits or Limits()
    origins = [origin_of(origin) for origin in origins]
    desk = Desk(models, limits, decoders)
    pages = Pages(assets or {})

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        try:
            await desk.open()
            yield
        finally:
            await desk.close()

    routes: list[BaseRoute] = [
        Route("/", pages.index),
        Route("/page/{path:path}", pages.file),
        Route("/v1/predict", clips.predict, methods=["POST"]),
        Route("/v1/segments", clips.segments, methods=["POST"]),
        WebSocketRoute("/v1/stream", streams.stream),
        Route("/v1/models", list_models),
        Route("/v1/models/{name}/{file}", model_file),
        Route("/healthz", healthy),
        Route("/readyz", ready),
        Route("/metrics", metrics),
        Route("/openapi.json", openapi),
    ]
    cors = Middleware(
        CORSMiddleware,
        allow_origins=origins,
        allow_methods=["GET", "POST"],
        allow_headers=["Authorization", "Content-Type", "X-API-Key"],
        expose_headers=["Retry-After", "X-Request-ID"],
    )
    app = Starlette(
        routes=routes,
        lifespan=lifespan,
        middleware=[
            Middleware(Watch, desk.metrics, [route.path for route in routes]),  # type: ignore[attr-defined]
            Middleware(Linger),
            *([cors] if origins else []),
            Middleware(Guard, keys, origins),
            Middleware(Excuse),
        ],
        exception_handlers={
            Refusal: refuse,
            LightserError: refuse_audio,
            HTTPException: refuse_address,
        },
    )
    app.state.desk = desk
    return app


async def list_models(request: Request) -> Response:
    """Answer with the card of each model, the one that answers by default first."""
    desk: Desk = request.app.state.desk
    cards = [{**asdict(model.card), "name": name} for name, model in desk.models.items()]
    return JSONResponse({"default": cards[0]["name"], "models": cards})


async def healthy(request: Request) -> Response:
    """Answer at all."""
    return JSONResponse({"status": "ok"})


async def ready(request: Request) -> Response:
    """Answer with 503 before the first and after the last request that would be taken."""
    desk: Desk = request.app.state.desk
    if not desk.is_open:
        raise Refusal(503, "not_ready", "The service starts or ends.")
    return JSONResponse({"status": "ready", "models": list(desk.models)})


async def metrics(request: Request) -> Response:
    """Answer with counters, for Prometheus."""
    desk: Desk = request.app.state.desk
    return PlainTextResponse(
        str(desk.metrics), media_type="text/plain; version=0.0.4; charset=utf-8"
    )


async def openapi(request: Request) -> Response:
    """Answer with the description of all this."""
    desk: Desk = request.app.state.desk
    return JSONResponse(describe(desk.limits, next(iter(desk.models))))


# What goes wrong, as JSON. Starlette types handlers by Exception alone.


async def refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    request.state.facts["code"] = error.code
    return as_response(error)


async def refuse_audio(request: Request, error: Exception) -> Response:
    # Whatever else the recogniser refuses is about the clip: it is silent, or not in full scale.
    return await refuse(request, Refusal(422, "bad_audio", str(error)))


async def refuse_address(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "bad_request")
    message = f"{error.detail}; GET / names what is here."
    return await refuse(request, Refusal(error.status_code, code, message, error.headers or {}))
