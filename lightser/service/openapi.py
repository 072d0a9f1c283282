"""The API in the words of OpenAPI 3.1, with examples that tests hold against real answers."""

from typing import Any

from lightser import __version__
from lightser.service.limits import LEAST_HOP_S, MOST_WINDOW_S, Limits

# In examples, where nobody says which model answers.
MODEL = "emodb-light_sernet"
_PROBABILITIES = {"anger": 0.91, "fear": 0.06, "neutral": 0.03}

EXAMPLES: dict[str, Any] = {
    "Prediction": {
        "model": MODEL,
        "label": "anger",
        "confidence": 0.91,
        "probabilities": _PROBABILITIES,
        "duration_s": 2.13,
        "windows": 1,
        "warnings": [],
    },
    "Segments": {
        "model": MODEL,
        "window_s": 3.0,
        "hop_s": 1.5,
        "smooth_s": 0.5,
        "vad": True,
        "duration_s": 4.2,
        "segments": [
            {
                "start": 0.0,
                "end": 3.0,
                "label": "anger",
                "confidence": 0.91,
                "probabilities": _PROBABILITIES,
            },
            {
                "start": 1.2,
                "end": 4.2,
                "label": "silence",
                "confidence": 0.55,
                "probabilities": {},
            },
        ],
        "warnings": [],
    },
    "Error": {"error": {"code": "bad_audio", "message": "audio: empty (0 bytes); copy it again"}},
}

# Status: code, and what it means.
REFUSALS = {
    400: ("bad_request, disconnected", "A parameter or a form that cannot be understood."),
    401: ("unauthorized", "A key is needed, or it is another one."),
    404: ("unknown_model, not_found", "No such model, or no such address."),
    408: ("too_slow", "The body took too long to arrive."),
    413: ("body_too_large, audio_too_long", "More than one request may hold."),
    415: ("unsupported_format", "A format that this installation cannot decode."),
    422: ("bad_audio, too_costly", "Not audio, damaged, silent, or too costly."),
    429: ("busy", "Too much at once; Retry-After says when to come again."),
    500: ("internal", "A bug of the service."),
    503: ("not_ready", "The service starts or ends."),
}

_STREAM = """A WebSocket. Send samples as binary messages of any size up to 1 MiB, then the text
`{"type": "end"}`. Text messages come back: `ready` once, `segment` for each window, then `end`;
or `error` before a close with 1008. Parameters of the address: `encoding` (pcm16, float32; little
endian), `sample_rate`, `channels` (interleaved), `model`, and those of /v1/segments. With
`adapt=true` segments say `adapted_to` how many windows, and `end` holds the `adaptation`, which
`{"type": "adaptation", "adaptation": ...}` before the first samples begins another stream with."""


def describe(limits: Limits, model_name: str = MODEL) -> dict[str, Any]:
    """Return the description of a service, to be sent as JSON.

    Args:
        limits: of the service.
        model_name: one of its models, for examples.
    """
    upload = (
        f"The file: WAV, FLAC, Ogg, Opus, MP3 or AIFF, and with the extra `codecs` M4A, AAC, WebM. "
        f"At most {limits.body_bytes:,} bytes and {limits.audio_s:g} s."
    )
    model = _parameter("model", {"type": "string"}, "A name from /v1/models.", model_name)
    labels = _parameter(
        "labels",
        {"type": "string"},
        "Emotions to choose from, with commas between; by default all that the model knows.",
        "anger,neutral,sadness",
    )
    window = _parameter(
        "window_s",
        {"type": "number", "minimum": 0.1, "maximum": MOST_WINDOW_S},
        "Seconds that a segment lasts; by default the model's own window.",
        3.0,
    )
    hop = _parameter(
        "hop_s",
        {"type": "number", "minimum": LEAST_HOP_S},
        "Seconds from one segment to the next; by default half a window.",
        1.0,
    )
    smooth = _parameter(
        "smooth_s",
        {"type": "number", "minimum": 0},
        "Seconds over which labels are smoothed; by default 0, which is not at all.",
        0.5,
    )
    vad = _parameter(
        "vad",
        {"type": "boolean"},
        "Whether a stretch in which nobody speaks is `silence`, with no probabilities.",
        True,
    )
    track = _parameter(
        "track",
        {"type": "integer", "minimum": 1},
        "Of a file with several audio tracks; by default the one that a player plays, and a "
        "warning that names the others.",
        1,
    )
    adapt = _parameter(
        "adapt",
        {"type": "boolean"},
        "Whether to adapt to the voice: the answer goes by this audio and all before, and holds "
        "the `adaptation` that the next request sends along, as a field of the form.",
        False,
    )
    asking = [labels, adapt, model]
    cutting = [window, hop, smooth, vad, *asking]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "lightser",
            "version": __version__,
            "summary": "Speech emotion recognition.",
            "description": "Audio is decoded, listened to and forgotten; nothing is stored.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "security": [{}, {"bearer": []}, {"header": []}],
        "paths": {
            "/v1/predict": {
                "post": _upload(
                    "predict", "The emotion of a clip.", upload, [*asking, track], "Prediction"
                )
            },
            "/v1/segments": {
                "post": _upload(
                    "segments",
                    "The emotion of each stretch of a clip.",
                    upload,
                    [*cutting, track],
                    "Segments",
                )
            },
            "/v1/stream": {
                "get": {
                    "operationId": "stream",
                    "summary": "The emotion of live audio.",
                    "description": _STREAM,
                    "parameters": cutting,
                    "responses": {"101": {"description": "A WebSocket is open."}},
                }
            },
            "/v1/models": {
                "get": _get("models", "The card of each model: labels, scores, licence, limits.")
            },
            "/v1/models/{name}/{file}": {
                "get": {
                    **_get(
                        "model_file", "A model's files, for browsers that listen by themselves."
                    ),
                    "parameters": [
                        _in_path("name", {"type": "string"}, "A name from /v1/models."),
                        _in_path("file", {"enum": ["card.json", "model.onnx"]}, "Which of them."),
                    ],
                }
            },
            "/healthz": {"get": _get("healthz", "Whether the process answers.")},
            "/readyz": {"get": _get("readyz", "Whether requests are taken; 503 if not.")},
            "/metrics": {"get": _get("metrics", "Counters for Prometheus.", "text/plain")},
        },
        "components": {
            "schemas": {name: _schema(example) for name, example in EXAMPLES.items()},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


def _parameter(name: str, schema: dict[str, Any], about: str, example: object) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": about, "schema": schema, "example": example}


def _in_path(name: str, schema: dict[str, Any], about: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "description": about, "schema": schema}


def _get(name: str, about: str, media: str = "application/json") -> dict[str, Any]:
    answer = {"description": about, "content": {media: {}}}
    return {"operationId": name, "summary": about, "responses": {"200": answer}}


def _upload(
    name: str, about: str, upload: str, parameters: list[dict[str, Any]], answer: str
) -> dict[str, Any]:
    file = {"type": "string", "format": "binary", "description": upload}
    state = {"type": "string", "description": "With adapt=true, that of the last answer, as JSON."}
    fields = {"file": file, "adaptation": state}
    form = {"type": "object", "properties": fields, "required": ["file"]}
    return {
        "operationId": name,
        "summary": about,
        "parameters": parameters,
        "requestBody": {
            "required": True,
            "description": upload,
            "content": {
                "multipart/form-data": {"schema": form},
                "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            },
        },
        "responses": {
            "200": {"description": about, "content": _content(answer)},
            **{
                str(status): {"description": f"`{code}`: {meaning}", "content": _content("Error")}
                for status, (code, meaning) in REFUSALS.items()
            },
        },
    }


def _content(name: str) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{name}"}
    return {"application/json": {"schema": schema, "example": EXAMPLES[name]}}


def _schema(example: Any, key: str = "") -> dict[str, Any]:
    """Return the schema of which a value is an example; all keys are required."""
    if key == "probabilities":
        share = {"type": "number", "minimum": 0, "maximum": 1}
        return {"type": "object", "additionalProperties": share}
    if isinstance(example, dict):
        properties = {name: _schema(value, name) for name, value in example.items()}
        return {"type": "object", "properties": properties, "required": list(properties)}
    if isinstance(example, list):
        items = _schema(example[0]) if example else {"type": "string"}
        return {"type": "array", "items": items}
    kinds = {str: "string", bool: "boolean", int: "integer", float: "number"}
    return {"type": kinds[type(example)]}
