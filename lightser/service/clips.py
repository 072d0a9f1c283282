"""``POST /v1/predict`` and ``POST /v1/segments``: a file in, its emotions out."""

import json
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from lightser.audio.downmix import warn
from lightser.errors import LightserError, UnknownName
from lightser.inference.adaptation import Adaptation
from lightser.inference.recognizer import Prediction, Recognizer
from lightser.inference.segments import Segment
from lightser.inference.smoothing import Smoothing
from lightser.inference.stream import Stream
from lightser.inference.vad import SpeechGate
from lightser.service.bodies import ADAPTATION, read_body
from lightser.service.decoder import Clip
from lightser.service.desk import Desk
from lightser.service.limits import Limits, Refusal, bad_request, check_hop, check_window


async def predict(request: Request) -> Response:
    """Answer with the emotion of a whole clip."""
    desk: Desk = request.app.state.desk
    refuse_unknown(request.query_params, (*ASKED, "track"))
    name, recognizer = asked_for(desk, request.query_params)
    with desk.requests.take():
        clip, before = await _hear_body(request, desk, recognizer)
        prediction, after = await desk.listen(hear_whole, recognizer, clip, before)
    desk.heard(name, [prediction.label])
    answer = {"model": name, **asdict(prediction), "warnings": clip.warnings}
    return JSONResponse(answer | told(after))


async def segments(request: Request) -> Response:
    """Answer with the emotion of each stretch of a clip."""
    desk: Desk = request.app.state.desk
    refuse_unknown(request.query_params, (*ASKED, *CUT, "track"))
    name, recognizer = asked_for(desk, request.query_params)
    cutting = Cutting.of(request.query_params, recognizer)
    with desk.requests.take():
        clip, before = await _hear_body(request, desk, recognizer)
        found, after = await desk.listen(cut, recognizer, clip, cutting, desk.limits, before)
    desk.heard(name, [segment.label for segment in found])
    answer: dict[str, Any] = {
        "model": name,
        **asdict(cutting),
        "duration_s": len(clip.samples) / recognizer.card.sample_rate,
        "segments": [asdict(segment) for segment in found],
        "warnings": clip.warnings,
    }
    return JSONResponse(answer | told(after))


def hear_whole(
    recognizer: Recognizer, clip: Clip, before: Adaptation | None
) -> tuple[Prediction, Adaptation | None]:
    """Return the emotion of a clip, and what was heard of the voice with it, if that is wanted."""
    rate = recognizer.card.sample_rate
    if before is None:
        return recognizer.predict(clip.samples, rate), None
    after = recognizer.adapt([clip.samples], rate, before=before)
    return recognizer.adapted(after).predict(clip.samples, rate), after


def told(adaptation: Adaptation | None) -> dict[str, Any]:
    """Return what an answer says of what was heard of a voice, for the client to keep."""
    return {} if adaptation is None else {ADAPTATION: json.loads(adaptation.to_json())}


def refuse_unknown(query: QueryParams, known: Iterable[str]) -> None:
    """Refuse a query with a slip in it, which else would be answered as if it were not there.

    Raises:
        Refusal: 400, a parameter that is not known.
    """
    for name in query:
        if name not in known:
            raise bad_request(str(UnknownName("query parameter", name[:50], known)))


def asked_for(desk: Desk, query: QueryParams) -> tuple[str, Recognizer]:
    """Return the name of the model that a query asks for, and the model, with the labels it wants.

    Raises:
        Refusal: 404, there is no such model; 400, it cannot choose from these labels.
    """
    name, recognizer = desk.model(query.get("model"))
    labels = query.get("labels")
    if labels is None:
        return name, recognizer
    try:
        return name, recognizer.choosing([label.strip()[:50] for label in labels.split(",")])
    except LightserError as error:
        raise bad_request(str(error)) from None


def begun(recognizer: Recognizer, query: QueryParams, state: str | None) -> Adaptation | None:
    """Return what was heard of a voice before, if it is to be adapted to.

    Args:
        recognizer: that listens.
        query: ``adapt`` says whether.
        state: what the client has kept, as JSON; nothing was heard yet without it.

    Raises:
        Refusal: 400, it cannot be adapted, or the state is none of this model.
    """
    if not switch(query, "adapt"):
        if state is not None:
            raise bad_request(f"A field {ADAPTATION!r} is for adapt=true; say so.")
        return None
    try:
        before = None if state is None else Adaptation.from_json(state)
        return recognizer.adapt([], before=before)
    except LightserError as error:
        raise bad_request(str(error)) from None


async def _hear_body(
    request: Request, desk: Desk, recognizer: Recognizer
) -> tuple[Clip, Adaptation | None]:
    track = request.query_params.get("track", "0")
    if not (track.isdecimal() and int(track) < 2**16):
        raise bad_request(f"track must be a number, counted from 1, got {track[:50]!r}.")
    body = await read_body(request, desk.limits)
    before = begun(recognizer, request.query_params, body.adaptation)
    facts = request.state.facts
    facts["bytes"] = len(body.file)
    clip = await desk.decoders.decode(body.file, recognizer.card.sample_rate, int(track))
    recognizer.heed_rate(clip.recorded_at, clip.warnings.append)
    facts["audio_s"] = round(len(clip.samples) / recognizer.card.sample_rate, 3)
    desk.metrics.count("lightser_audio_seconds_total", facts["audio_s"])
    return clip, before


@dataclass(frozen=True)
class Cutting:
    """How a query wants audio to be cut.

    Attributes:
        window_s: seconds of a segment.
        hop_s: seconds from one segment's start to the next.
        smooth_s: seconds over which labels are smoothed; 0 is not at all.
        vad: whether stretches in which nobody speaks are silence.
    """

    window_s: float
    hop_s: float
    smooth_s: float
    vad: bool

    @classmethod
    def of(cls, query: QueryParams, recognizer: Recognizer) -> "Cutting":
        """Return what a query says, or the defaults.

        Raises:
            Refusal: 400, it does not fit, or cannot be understood.
        """
        window_s = number(query, "window_s", recognizer.card.window_s)
        check_window(window_s)  # before a stream counts its samples, which may be infinite
        hop_s = number(query, "hop_s", window_s / 2)
        smooth_s = number(query, "smooth_s", 0.0)
        cutting = cls(window_s, hop_s, smooth_s, switch(query, "vad"))
        try:
            cutting.stream(recognizer)
        except LightserError as error:
            raise bad_request(str(error)) from None
        check_hop(window_s, hop_s)
        return cutting

    def stream(
        self,
        recognizer: Recognizer,
        sample_rate: int | None = None,
        warn: Callable[[str], None] = warn,
        adaptation: Adaptation | None = None,
    ) -> Stream:
        """Return what cuts audio so; :class:`Stream` says what the arguments mean."""
        return Stream(
            recognizer,
            window_s=self.window_s,
            hop_s=self.hop_s,
            sample_rate=sample_rate,
            smoothing=Smoothing(time_s=self.smooth_s) if self.smooth_s else None,
            gate=SpeechGate() if self.vad else None,
            warn=warn,
            adaptation=adaptation,
        )


ASKED = ("model", "labels", "adapt")  # what a query may say of who answers
CUT = tuple(field.name for field in fields(Cutting))


def cut(
    recognizer: Recognizer,
    clip: Clip,
    cutting: Cutting,
    limits: Limits,
    before: Adaptation | None,
) -> tuple[list[Segment], Adaptation | None]:
    """Return the segments of a clip, and what was heard of the voice with it, if that is wanted.

    Raises:
        Refusal: 422, they take longer than the limit.
    """
    rate = recognizer.card.sample_rate
    stream = cutting.stream(recognizer, adaptation=before)
    found: list[Segment] = []
    latest = time.monotonic() + limits.time_s
    for start in range(0, len(clip.samples), rate):  # by the second, to look at the clock
        found += stream.push(clip.samples[start : start + rate])
        if time.monotonic() > latest:
            message = f"The segments take longer than {limits.time_s:g} s; give a longer hop_s."
            raise Refusal(422, "too_costly", message)
    return found + stream.flush(), stream.adaptation


def switch(query: QueryParams, name: str) -> bool:
    """Return whether a query says ``true``.

    Raises:
        Refusal: 400, it says neither that nor ``false``.
    """
    given = query.get(name, "false")
    if given not in ("true", "false"):
        raise bad_request(f"{name} must be true or false, got {given[:50]!r}.")
    return given == "true"


def number(query: QueryParams, name: str, default: float) -> float:
    """Return a number of a query.

    Raises:
        Refusal: 400, it is none.
    """
    given = query.get(name)
    if given is None:
        return default
    try:
        value = float(given)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise bad_request(f"{name} must be a number, got {given[:50]!r}.")
    return value
