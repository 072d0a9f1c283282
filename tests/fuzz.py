"""Coverage-guided fuzzing of what reads strangers' bytes: ``make fuzz``, or

    python tests/fuzz.py audio 60

runs a target for so many seconds with Atheris (https://github.com/google/atheris). What is no
:class:`LightserError` there is a fault, and so are endless loops and gigabytes. The shapes that it
begins with are made here, so that no file of them is kept. An input that is found is written to
``.build/fuzz/``; one that crashes a library and not us is for its authors, and stays out of here.
"""

import asyncio
import contextlib
import csv
import io
import json
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import atheris
import numpy as np
import soundfile

with atheris.instrument_imports(include=["lightser"]):  # before anything else imports it
    from model_folder import ANGER, make_graph, write_model
    from starlette.requests import Request
    from starlette.websockets import WebSocket

    from lightser import Recognizer
    from lightser.audio.channels import stream_mixed
    from lightser.card import CARD, read_card
    from lightser.errors import LightserError
    from lightser.inference.bulk.items import read_manifest
    from lightser.inference.graphs import Graph
    from lightser.inference.sources import to_floats
    from lightser.service.bodies import read_body
    from lightser.service.desk import Desk
    from lightser.service.limits import Limits, Refusal
    from lightser.service.streams import stream

FOUND = Path(__file__).parent.parent / ".build" / "fuzz"
MOST_BYTES = 20_000
Seeds = Iterator[bytes]
Target = Callable[[bytes], None]


# Audio: the bytes of a file


def audio_seeds() -> Seeds:
    """Yield half a second in each format that can be written here, whole and cut short."""
    samples, rate = soundfile.read(ANGER, frames=4_000, dtype="float32")
    for name in set(soundfile.available_formats()) - {"SD2"}:  # which leaves a file of its own
        for channels in (1, 2):
            file = io.BytesIO()
            try:
                soundfile.write(file, np.stack([samples] * channels, axis=1), rate, format=name)
            except (
                TypeError,
                ValueError,
                soundfile.LibsndfileError,
            ):  # a format for something else
                continue
            yield file.getvalue()
            yield file.getvalue()[: len(file.getvalue()) // 2]
    yield from (
        b"ID3\x04\0\0\0\0\0\x0a" + bytes(10),
        b"\xff\xfb\x90\x00" * 200,
        b"RIFF\0\0\0\0WAVE",
    )


def audio(data: bytes) -> None:
    for _ in stream_mixed(io.BytesIO(data)):
        pass


def samples(data: bytes) -> None:
    """Hear any array as samples: its type, its shape, and its numbers."""
    provider = atheris.FuzzedDataProvider(data)
    kind = np.dtype(provider.PickValueInList([*"bBhHiIlLefdg?FD", ">h", ">f", "S2", "U1"]))
    channels = provider.ConsumeIntInRange(0, 70)
    rest = provider.ConsumeBytes(provider.remaining_bytes())
    array = np.frombuffer(rest[: len(rest) // kind.itemsize * kind.itemsize], kind)
    if channels and len(array) % channels == 0:
        array = array.reshape(-1, channels)
    to_floats(array)


# Tables and cards


def table_seeds() -> Seeds:
    for separator in ",;\t":
        for head in (["file"], ["id", "file", "start", "end", "channel"], ["file", "label"]):
            text = io.StringIO()
            rows = [["a.wav", "0.5", "1,5", "1", "ä"], ["b c.wav", "", "NaT", "2", '"']]
            csv.writer(text, delimiter=separator).writerows([head, *rows])
            for encoding in ("utf-8", "utf-8-sig", "utf-16", "latin-1"):
                yield text.getvalue().encode(encoding)


def card_seeds() -> Seeds:
    with tempfile.TemporaryDirectory() as folder:
        whole = (write_model(Path(folder) / "m") / CARD).read_bytes()
    yield whole
    for key in json.loads(whole):
        yield json.dumps({**json.loads(whole), key: None}).encode()
    yield b"[" * 5_000


def in_file(name: str, read: Callable[[Path], Any]) -> Target:
    """Return a target that reads a file of this name."""
    folder = tempfile.mkdtemp()

    def target(data: bytes) -> None:
        path = Path(folder) / name
        path.write_bytes(data)
        read(path)

    return target


# Models: the graph is walked without the package onnx


def graph_seeds() -> Seeds:
    yield make_graph(2).SerializeToString()
    yield make_graph(7).SerializeToString()[:300]
    yield b"\x3a\x02\x0a\x00" + b"\x80" * 20


def graph(data: bytes) -> None:
    with contextlib.suppress(ValueError):  # which is how it says that it is none
        read = Graph(data)
        for node in read.nodes:
            for output in node.outputs:
                Graph(read.extract(["samples"], output))


# The service: bodies and messages


def body_seeds() -> Seeds:
    yield b"\0RIFF"
    for disposition in ('name="file"; filename="a.wav"', 'name="note"', "filename*=UTF-8''a"):
        part = f"--b\r\nContent-Disposition: form-data; {disposition}\r\n\r\nRIFF\r\n--b--\r\n"
        yield b"\1" + part.encode()


def body(data: bytes) -> None:
    """Read a request's body in pieces: of a form, if the first byte is odd."""
    is_form, content = data[:1] >= b"\1", data[1:]
    kind = b"multipart/form-data; boundary=b" if is_form else b"audio/wav"
    pieces = [content[at : at + 7] for at in range(0, len(content), 7)]

    async def receive() -> dict[str, Any]:
        piece = pieces.pop(0) if pieces else b""
        return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

    scope = {"type": "http", "method": "POST", "headers": [(b"content-type", kind)]}
    with contextlib.suppress(Refusal):
        asyncio.run(read_body(Request(scope, receive), Limits()))


def message_seeds() -> Seeds:
    yield b'encoding=pcm16&channels=2&window_s=1\n{"type": "end"}'
    for query in (b"", b"vad=true&smooth_s=1&hop_s=0.5", b"encoding=float32&sample_rate=8000"):
        yield query + b"\n" + bytes(range(256)) * 20


class Conversation:
    """What a client says to a stream: a query in the first line, then messages."""

    def __init__(self) -> None:
        self.recognizer = Recognizer.load(write_model(Path(tempfile.mkdtemp()) / "m"))
        self.desk = Desk({"m": self.recognizer}, Limits(), 1)
        self.desk.is_open = True

    def __call__(self, data: bytes) -> None:
        query, _, rest = data.partition(b"\n")
        messages: list[dict[str, Any]] = [{"type": "websocket.connect"}]
        for at in range(0, len(rest), 1_001):
            piece = rest[at : at + 1_001]
            is_text = piece[:1] in b'"{['
            said = {"text": piece.decode("utf-8", "replace")} if is_text else {"bytes": piece}
            messages.append({"type": "websocket.receive", **said})
        messages.append({"type": "websocket.receive", "text": '{"type": "end"}'})

        async def receive() -> dict[str, Any]:
            return messages.pop(0) if messages else {"type": "websocket.disconnect", "code": 1000}

        async def send(message: dict[str, Any]) -> None:
            json.dumps(str(message))

        scope = {
            "type": "websocket",
            "query_string": query,
            "subprotocols": [],
            "headers": [],
            "app": SimpleNamespace(state=SimpleNamespace(desk=self.desk)),
            "state": {"facts": {}},
            "extensions": {"websocket.http.response": {}},
        }
        asyncio.run(stream(WebSocket(scope, receive, send)))


def read_all(path: Path) -> None:
    _, items = read_manifest(str(path), "file")
    list(items)


TARGETS: dict[str, tuple[Callable[[], Seeds], Callable[[], Target]]] = {
    "audio": (audio_seeds, lambda: audio),
    "samples": (lambda: iter([bytes(100)]), lambda: samples),
    "manifest": (table_seeds, lambda: in_file("files.csv", read_all)),
    "card": (card_seeds, lambda: in_file(CARD, lambda path: read_card(path.parent))),
    "graph": (graph_seeds, lambda: graph),
    "body": (body_seeds, lambda: body),
    "messages": (message_seeds, lambda: Conversation()),
}


def main() -> None:
    name, seconds = sys.argv[1], sys.argv[2]
    seeds, make = TARGETS[name]
    target = make()
    warnings.simplefilter("ignore")

    def guarded(data: bytes) -> None:
        with contextlib.suppress(LightserError):
            target(data)

    found = FOUND / name
    found.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as corpus:
        for n, seed in enumerate(seeds()):
            (Path(corpus) / f"{n:03d}").write_bytes(seed[:MOST_BYTES])
        options = [
            f"-max_total_time={seconds}",
            f"-max_len={MOST_BYTES}",
            f"-artifact_prefix={found}/",
            "-timeout=30",
            "-rss_limit_mb=2048",
            "-print_final_stats=1",
            corpus,
        ]
        atheris.Setup([sys.argv[0], *options], guarded)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
