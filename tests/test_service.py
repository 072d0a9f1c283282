"""``lightser serve``: a real server, real clients, and bodies that mean no good."""

import asyncio
import base64
import contextlib
import io
import itertools
import json
import os
import re
import resource
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from model_folder import ANGER, HAPPINESS, LABELS, SADNESS, write_model
from starlette.testclient import TestClient
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from lightser import Recognizer, Stream
from lightser.cli.serve import read_keys
from lightser.errors import LightserError
from lightser.inference.listening import Listening, Manner
from lightser.inference.smoothing import Smoothing
from lightser.inference.vad import SpeechGate
from lightser.service import pages
from lightser.service.app import make_app
from lightser.service.decoder import Decoders
from lightser.service.entrance import origin_of
from lightser.service.limits import Limits, Refusal
from lightser.service.metrics import Metrics
from lightser.service.openapi import EXAMPLES, REFUSALS, describe

ROOT = Path(__file__).parent.parent
KEY = "0123456789abcdef0123456789abcdef"
PAGE = "https://example.org"


@dataclass
class Server:
    """A running ``lightser serve``, and what it logs."""

    process: subprocess.Popen[str]
    log: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def stream(self) -> str:
        return self.url.replace("http", "ws", 1) + "/v1/stream"

    def resident_mb(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]

    def worked_s(self) -> float:
        """Return the processor time that the server has taken: busy neighbours do not add to it."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def forbid_files() -> None:
    """Let this process write to no file: "nothing is stored" is then true of all that works."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


@contextlib.contextmanager
def serving(*arguments: str | Path) -> Iterator[Server]:
    command = [sys.executable, "-m", "lightser", "serve", "--port", "0", *map(str, arguments)]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, cwd=ROOT, preexec_fn=forbid_files
    ) as process:
        server = Server(process)
        try:
            assert process.stderr is not None
            for line in process.stderr:
                server.log.append(json.loads(line))
                if server.log[-1]["event"] == "listening":
                    break
            server.url = server.log[-1]["url"]

            def read() -> None:
                for line in process.stderr or ():
                    server.log.append(json.loads(line))

            reader = threading.Thread(target=read)
            reader.start()
            yield server
        finally:
            process.terminate()
            process.wait(60)
            reader.join()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "small")


@pytest.fixture(scope="module")
def recognizer(model: Path) -> Recognizer:
    return Recognizer.load(model)


@pytest.fixture(scope="module")
def server(model: Path) -> Iterator[Server]:
    """Return a server as one gets it without options."""
    with serving("--model", model) as started:
        yield started


@pytest.fixture(scope="module")
def strict(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a server with narrow limits, keys, and one page that may call it."""
    keys = tmp_path_factory.mktemp("keys") / "keys.txt"
    keys.write_text(f"{KEY}\n{KEY[::-1]}\n")
    limits = "--max-mb 1 --max-audio 20 --max-requests 2 --max-streams 2 --max-time 2 --max-idle 1"
    options = ["--keys", keys, "--cors", PAGE, "--decoders", "1", *limits.split()]
    with serving("--model", model, *options) as started:
        yield started


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60) as opened:
        yield opened


@pytest.fixture(scope="module")
def insider(strict: Server) -> Iterator[httpx.Client]:
    headers = {"X-API-Key": KEY}
    with httpx.Client(base_url=strict.url, timeout=60, headers=headers) as opened:
        yield opened


def sound(
    format: str = "WAV", *, rate: int = 16_000, channels: int = 1, repeat: int = 1, **options: Any
) -> bytes:
    """Return a real clip in another coding."""
    samples, own_rate = soundfile.read(SADNESS, dtype="float32")
    samples = np.tile(samples, repeat)
    if rate != own_rate:
        import soxr

        samples = soxr.resample(samples, own_rate, rate)
    if channels > 1:
        samples = np.stack([samples * (0.5 + 0.5 * c / channels) for c in range(channels)], axis=1)
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=format, **options)
    return file.getvalue()


def with_a_pause() -> bytes:
    """Return a clip, three seconds of silence, and the clip again."""
    samples, rate = soundfile.read(SADNESS, dtype="float32")
    file = io.BytesIO()
    talk = np.concatenate([samples, np.zeros(3 * rate, np.float32), samples])
    soundfile.write(file, talk, rate, format="WAV")
    return file.getvalue()


def code_of(response: httpx.Response) -> str:
    error = response.json()["error"]
    assert set(error) == {"code", "message"}
    assert "\n" not in error["message"]
    code: str = error["code"]
    return code


# The same answer as everywhere


CODINGS = {
    "wav16": lambda: sound("WAV"),
    "wav_stereo_44": lambda: sound("WAV", rate=44_100, channels=2, subtype="FLOAT"),
    "flac": lambda: SADNESS.read_bytes(),
    "ogg": lambda: sound("OGG"),
    "mp3_48": lambda: sound("MP3", rate=48_000),
    "aiff_8k": lambda: sound("AIFF", rate=8_000),
    "long": lambda: sound("FLAC", repeat=20),
}


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("way", ["raw", "form"])
def test_the_service_says_what_the_recognizer_says(
    coding: str, way: str, client: httpx.Client, recognizer: Recognizer
) -> None:
    body = CODINGS[coding]()
    sent: dict[str, Any] = {"content": body} if way == "raw" else {"files": {"file": body}}
    answer = client.post("/v1/predict", **sent)
    assert answer.status_code == 200
    expected = asdict(recognizer.predict(io.BytesIO(body)))
    assert answer.json() == {"model": "small", **expected, "warnings": []}


@pytest.mark.parametrize(
    ("window_s", "hop_s"), [(None, None), (1.0, 0.3), (3.0, None), (0.25, 0.05)]
)
def test_segments_are_those_of_the_recognizer(
    window_s: float | None, hop_s: float | None, client: httpx.Client, recognizer: Recognizer
) -> None:
    query = {"window_s": window_s, "hop_s": hop_s}
    body = sound("FLAC", repeat=3)
    answer = client.post(
        "/v1/segments", params={k: v for k, v in query.items() if v}, content=body
    ).json()
    expected = recognizer.segments(io.BytesIO(body), window_s=window_s, hop_s=hop_s)
    assert answer["segments"] == [asdict(segment) for segment in expected]
    assert answer["duration_s"] == recognizer.predict(io.BytesIO(body)).duration_s


def test_segments_are_smoothed_and_gated_where_that_is_asked_for(
    client: httpx.Client, recognizer: Recognizer
) -> None:
    body = with_a_pause()
    query = "window_s=1&hop_s=0.5&smooth_s=2&vad=true"
    answer = client.post(f"/v1/segments?{query}", content=body).json()
    manner = Manner(window_s=1, hop_s=0.5, smoothing=Smoothing(time_s=2), gate=SpeechGate())
    expected = [said for _, said in Listening(recognizer, manner).segments(io.BytesIO(body))]
    assert answer["segments"] == [asdict(segment) for segment in expected]
    assert {"silence"} < {segment["label"] for segment in answer["segments"]}
    assert (answer["smooth_s"], answer["vad"]) == (2.0, True)


def test_labels_are_chosen_from_by_each_request_for_itself(
    client: httpx.Client, recognizer: Recognizer
) -> None:
    body, query = sound("FLAC", repeat=3), "labels=sadness,%20anger"
    some = recognizer.choosing(["anger", "sadness"])
    answer = client.post(f"/v1/predict?{query}", content=body).json()
    assert answer == {"model": "small", **asdict(some.predict(io.BytesIO(body))), "warnings": []}
    answer = client.post(f"/v1/segments?{query}&window_s=1", content=body).json()
    expected = some.segments(io.BytesIO(body), window_s=1)
    assert answer["segments"] == [asdict(segment) for segment in expected]
    assert list(client.post("/v1/predict", content=body).json()["probabilities"]) == list(LABELS)


def test_channels_that_cancel_come_with_a_warning(client: httpx.Client) -> None:
    samples, rate = soundfile.read(ANGER)
    file = io.BytesIO()
    soundfile.write(file, np.stack([samples, -samples], axis=1), rate, format="WAV")
    answer = client.post("/v1/predict", content=file.getvalue())
    assert answer.status_code == 200
    assert "cancel each other" in answer.json()["warnings"][0]


def test_many_at_once_get_the_same_answers(server: Server) -> None:
    clips = [path.read_bytes() for path in (ANGER, SADNESS, HAPPINESS)]

    def ask(body: bytes) -> dict[str, Any]:
        while True:
            answer = httpx.post(f"{server.url}/v1/predict", content=body, timeout=60)
            if answer.status_code != 429:
                return answer.json()  # type: ignore[no-any-return]
            time.sleep(0.05 * int(answer.headers["Retry-After"]))

    alone = [ask(clip) for clip in clips]
    with ThreadPoolExecutor(12) as threads:
        assert list(threads.map(ask, clips * 16)) == alone * 16


def test_answers_are_not_held_back_by_the_socket(server: Server, client: httpx.Client) -> None:
    def ask() -> float:
        begin = time.perf_counter()
        assert client.get("/healthz").status_code == 200
        return time.perf_counter() - begin

    # With Nagle's algorithm on, each takes 40 ms: the head waits for its acknowledgement.
    assert min(ask() for _ in range(50)) < 0.03


def test_several_models_answer_by_name(model: Path, tmp_path: Path) -> None:
    other = write_model(tmp_path / "other", labels=LABELS[:4], seed=3)
    with serving("--model", model, "--model", other) as both:
        listed = httpx.get(f"{both.url}/v1/models").json()
        assert listed["default"] == "small"
        assert [card["name"] for card in listed["models"]] == ["small", "other"]
        body = ANGER.read_bytes()
        answer = httpx.post(f"{both.url}/v1/predict?model=other", content=body).json()
        assert answer["probabilities"] == Recognizer.load(other).predict(ANGER).probabilities
        assert httpx.post(f"{both.url}/v1/predict", content=body).json()["model"] == "small"


# What else is there


def test_the_root_names_what_is_here(client: httpx.Client) -> None:
    answer = client.get("/").json()
    assert {"POST /v1/predict", "GET /openapi.json"} <= set(answer.values())


def test_it_is_healthy_and_ready(client: httpx.Client) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ready", "models": ["small"]}


def test_it_listens_on_this_machine_alone(server: Server) -> None:
    assert server.url.startswith("http://127.0.0.1:")
    listening = Path("/proc/net/tcp").read_text().splitlines()
    port = f":{server.port:04X} 00000000:0000"
    assert [line.split()[1].split(":")[0] for line in listening if port in line] == ["0100007F"]


def test_metrics_count_requests_audio_and_refusals(client: httpx.Client) -> None:
    def read() -> dict[str, float]:
        text = client.get("/metrics").text
        assert all(re.fullmatch(r"# .+|\w+(\{.+\})? [\d.e+-]+", line) for line in text.splitlines())
        rows = (line.rpartition(" ") for line in text.splitlines() if line[0] != "#")
        return {name: float(value) for name, _, value in rows}

    client.post("/v1/predict", content=ANGER.read_bytes())
    client.post("/v1/predict", content=b"no audio")
    before = read()
    heard = client.post("/v1/predict", content=ANGER.read_bytes()).json()
    client.post("/v1/predict", content=b"no audio")
    client.get("/no-such-place")
    after = read()

    def grown(name: str) -> float:
        return after[name] - before.get(name, 0)

    path = 'path="/v1/predict"'
    assert grown(f'lightser_requests_total{{{path},status="200"}}') == 1
    assert grown(f'lightser_requests_total{{{path},status="422"}}') == 1
    assert grown('lightser_requests_total{path="other",status="404"}') == 1
    assert grown('lightser_refusals_total{code="bad_audio"}') == 1
    assert grown("lightser_audio_seconds_total") == pytest.approx(heard["duration_s"], abs=1e-3)
    assert grown(f'lightser_request_seconds_bucket{{{path},le="+Inf"}}') == 2
    assert grown(f"lightser_request_seconds_count{{{path}}}") == 2
    assert after["lightser_requests_open"] == after["lightser_streams_open"] == 0
    assert 1e7 < after["process_resident_memory_bytes"] < 1e9


def test_a_histogram_counts_what_is_below_each_bound() -> None:
    metrics = Metrics()
    for seconds in (0.003, 0.005, 0.02, 99.0):
        metrics.took("/", seconds)
    counts = re.findall(r'_bucket\{path="/",le="(.+)"\} (\d+)', str(metrics))
    assert dict(counts) | {"0.005": "2", "0.01": "2", "0.025": "3", "30": "3", "+Inf": "4"} == dict(
        counts
    )
    with pytest.raises(KeyError):
        metrics.count("a_name_without_help")


def shape(value: Any) -> Any:
    """Return what must not differ between an example and an answer."""
    if isinstance(value, dict):
        is_open = all(isinstance(share, float) for share in value.values())
        return "shares" if is_open else {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__


def test_examples_of_the_description_have_the_shape_of_answers(client: httpx.Client) -> None:
    body = SADNESS.read_bytes()
    real = {
        "Prediction": client.post("/v1/predict", content=body),
        "Segments": client.post("/v1/segments?smooth_s=0.5&vad=true", content=body),
        "Error": client.post("/v1/predict", content=b""),
    }
    assert real.keys() == EXAMPLES.keys()
    for name, answer in real.items():
        assert shape(answer.json()) == shape(EXAMPLES[name])


def test_the_description_holds_together(client: httpx.Client, recognizer: Recognizer) -> None:
    text = client.get("/openapi.json").text
    description = json.loads(text)
    assert description == describe(Limits(), "small")
    for name in re.findall(r'"#/components/schemas/(\w+)"', text):
        assert name in description["components"]["schemas"]
    routes = {route.path for route in make_app({"small": recognizer}).routes}  # type: ignore[attr-defined]
    assert set(description["paths"]) == routes - {"/", "/openapi.json", "/page/{path:path}"}
    code = "".join(path.read_text() for path in (ROOT / "lightser" / "service").glob("*.py"))
    used = set(re.findall(r'Refusal\(\s*(\d{3}), "(\w+)"', code))
    used |= set(re.findall(r'\((\d{3}), "(\w+)"\)', code))
    assert len(used) >= 12
    undescribed = {
        (status, code)
        for status, code in used
        if code not in REFUSALS.get(int(status), ("",))[0] and code != "forbidden_origin"
    }
    assert not undescribed


def test_parameters_of_the_description_can_be_sent(client: httpx.Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    for path in ("/v1/predict", "/v1/segments"):
        query = {p["name"]: p["example"] for p in paths[path]["post"]["parameters"]}
        assert query["model"] == "small"
        answer = client.post(path, params=query, content=SADNESS.read_bytes())
        assert answer.status_code == 200, answer.text
    assert Recognizer.load(EXAMPLES["Prediction"]["model"])  # for those who print it


def test_addresses_that_do_not_exist_are_refused_as_json(client: httpx.Client) -> None:
    assert code_of(client.get("/etc/passwd")) == "not_found"
    refused = client.get("/v1/predict")
    assert (refused.status_code, code_of(refused)) == (405, "method_not_allowed")
    assert refused.headers["Allow"] == "POST"


def test_answers_may_not_be_kept_or_sniffed(client: httpx.Client) -> None:
    headers = client.post("/v1/predict", content=ANGER.read_bytes()).headers
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert re.fullmatch("[0-9a-f]{16}", headers["X-Request-ID"])
    assert "server" not in headers


# Who may come in


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {KEY}"},
        {"Authorization": f"bearer {KEY[::-1]}"},
        {"X-API-Key": KEY},
    ],
)
def test_a_key_opens(headers: dict[str, str], strict: Server) -> None:
    answer = httpx.post(f"{strict.url}/v1/predict", content=ANGER.read_bytes(), headers=headers)
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": f"Bearer {KEY[:-1]}"},
        {"Authorization": f"Basic {KEY}"},
        {"X-API-Key": ""},
        {"X-API-Key": f"{KEY},{KEY[::-1]}"},
    ],
)
@pytest.mark.parametrize("path", ["/v1/predict", "/v1/models", "/metrics", "/v1/no-such-place"])
def test_no_key_or_another_one_does_not(headers: dict[str, str], path: str, strict: Server) -> None:
    refused = httpx.get(strict.url + path, headers=headers)
    assert (refused.status_code, code_of(refused)) == (401, "unauthorized")
    assert refused.headers["WWW-Authenticate"] == "Bearer"


def test_health_needs_no_key(strict: Server) -> None:
    assert httpx.get(f"{strict.url}/healthz").status_code == 200
    assert httpx.get(f"{strict.url}/openapi.json").status_code == 200


def test_only_pages_of_the_list_may_call(insider: httpx.Client, client: httpx.Client) -> None:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}
    allowed = insider.options("/v1/predict", headers={"Origin": PAGE, **asked})
    assert allowed.status_code == 200
    assert allowed.headers["Access-Control-Allow-Origin"] == PAGE
    refused = insider.options("/v1/predict", headers={"Origin": "https://evil.example", **asked})
    assert refused.status_code == 400
    assert "Access-Control-Allow-Origin" not in refused.headers
    answer = client.get("/", headers={"Origin": PAGE})
    assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "holds no key"),
        ("\n \n", "holds no key"),
        ("secret\n", "16 or more"),
        (f"{KEY}é", "characters that HTTP headers do not carry"),
        (f"{KEY}\0", "characters that HTTP headers do not carry"),
        (None, "read"),
    ],
)
def test_keys_that_would_not_guard_are_refused(
    content: str | None, said: str, tmp_path: Path
) -> None:
    keys = tmp_path / "keys.txt"
    if content is not None:
        keys.write_text(content, encoding="utf-8")
    with pytest.raises(LightserError, match=said):
        read_keys(keys)


def test_keys_come_from_a_file_and_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "keys.txt").write_text(f"  {KEY}\n\n", encoding="utf-8-sig")  # as Notepad does
    monkeypatch.setenv("LIGHTSER_API_KEYS", f"{KEY[::-1]}, {KEY * 2},")
    assert set(read_keys(tmp_path / "keys.txt")) == {KEY, KEY[::-1], KEY * 2}
    monkeypatch.delenv("LIGHTSER_API_KEYS")
    assert read_keys(None) == []


def cli(*arguments: object, before: str = "") -> subprocess.CompletedProcess[str]:
    code = f"import sys\n{before}\nfrom lightser.cli import main\nmain()"
    command = [sys.executable, "-c", code, "serve", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--max-mb", "nan"),
        ("--max-mb", "inf"),
        ("--max-mb", "0"),
        ("--decoder-mb", "inf"),
        ("--max-audio", "nan"),
        ("--max-time", "0"),
        ("--max-idle", "-1"),
    ],
)
def test_limits_that_are_none_are_said_in_one_line(option: str, value: str) -> None:
    run = cli(option, value)
    assert run.returncode == 2
    assert run.stderr.splitlines() == [
        f"lightser: {option} must be finite and above 0, got {value}."
    ]


@pytest.mark.parametrize(
    "given", [f"{PAGE}/", PAGE.upper(), "http://localhost:3000", "http://[::1]:3000/", "*"]
)
def test_an_origin_is_taken_as_browsers_send_it(given: str) -> None:
    assert origin_of(given) == given.lower().removesuffix("/")


@pytest.mark.parametrize(
    "given",
    [
        *(
            f"{PAGE}/app",
            f"{PAGE}/?a",
            f"{PAGE}#b",
            "https://me@example.org",
            "https://exämple.org",
        ),
        *("example.org", "https://", "http://[", "", "null"),
    ],
)
def test_an_origin_that_no_browser_sends_is_refused(given: str, recognizer: Recognizer) -> None:
    with pytest.raises(LightserError, match="is no origin of a web page; give scheme and host"):
        make_app({"small": recognizer}, origins=[given])


def test_a_page_without_its_modules_is_not_served(
    recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "page").mkdir()
    monkeypatch.setattr(pages, "_PAGE", tmp_path / "page")
    monkeypatch.setattr(pages, "_PACKAGE", tmp_path / "a" / "lightser")
    with pytest.raises(LightserError, match="The page's modules are missing"):
        make_app({"small": recognizer})


def test_a_port_that_is_taken_is_said_in_one_line(server: Server, model: Path) -> None:
    run = cli("--model", model, "--port", server.port)
    assert run.returncode == 2
    assert f"127.0.0.1:{server.port} cannot be listened on" in run.stderr.splitlines()[-1]


def test_without_the_extra_it_says_how_to_get_it() -> None:
    run = cli(before="sys.modules['starlette'] = None")
    assert run.returncode == 2
    assert "lightser[serve]" in run.stderr


def test_the_description_can_be_printed() -> None:
    run = cli("--openapi", "--max-mb", "7")
    assert json.loads(run.stdout) == describe(Limits(body_bytes=7_000_000))


# Parameters


@pytest.mark.parametrize(
    ("query", "status", "said"),
    [
        ("model=nobody", 404, "Unknown model 'nobody'"),
        ("labels=anger,joy", 400, "Unknown label of small 'joy'"),
        ("labels=anger,anger", 400, "'anger' leaves nothing to choose"),
        ("window_s=long", 400, "window_s must be a number, got 'long'"),
        ("window_s=nan", 400, "must be a number"),
        ("window_s=0.01", 400, "too short"),
        ("window_s=3600", 400, "60 or less"),
        ("window_s=1e308", 400, "60 or less"),
        ("window_s=-1e308", 400, "too short"),
        ("hop_s=1e308", 400, "hop of 1e+308"),
        ("hop_s=0.001", 400, "0.05 or more"),
        ("window_s=50&hop_s=0.1", 400, "0.5 or more"),
        ("window_s=1&hop_s=2", 400, "hop of 2"),
        ("hop_s=-1", 400, "hop of -1"),
        ("smooth_s=-1", 400, "Smoothing over -1.0 s; give 0 or more"),
        ("smooth_s=inf", 400, "must be a number"),
        ("vad=perhaps", 400, "vad must be true or false, got 'perhaps'"),
        ("window=1", 400, "Unknown query parameter 'window'; did you mean 'window_s'?"),
    ],
)
def test_wrong_parameters_are_refused(
    query: str, status: int, said: str, client: httpx.Client
) -> None:
    refused = client.post(f"/v1/segments?{query}", content=ANGER.read_bytes())
    assert refused.status_code == status
    assert said in refused.json()["error"]["message"]


@pytest.mark.parametrize("name", ["body_bytes", "audio_s", "requests", "time_s"])
def test_a_limit_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(LightserError, match=f"{name} must be finite and above 0, got 0"):
        Limits(**{name: 0})


# Hostile bodies


def wav(*, size: int = 2**32 - 40, rate: int = 16_000, channels: int = 1, bits: int = 16) -> bytes:
    """Return a WAV whose header may claim anything; a second of noise follows."""
    align, noise = channels * bits // 8 % 65536, np.random.default_rng(0).bytes(32_000)
    form = struct.pack("<HHIIHH", 1, channels, rate, min(rate * align, 2**32 - 1), align, bits)
    head = b"RIFF" + struct.pack("<I", size) + b"WAVEfmt " + struct.pack("<I", 16) + form
    return head + b"data" + struct.pack("<I", size) + noise


def silence(format: str, seconds: int, rate: int = 16_000) -> bytes:
    file = io.BytesIO()
    second = np.zeros(rate, "int16")
    with soundfile.SoundFile(file, "w", rate, 1, format=format) as opened:
        for _ in range(seconds):
            opened.write(second)
    return file.getvalue()


def hostile_bodies() -> Iterator[tuple[str, bytes]]:
    rng = np.random.default_rng(1)
    real = {"wav": sound(), "flac": SADNESS.read_bytes(), "ogg": sound("OGG"), "mp3": sound("MP3")}
    for name, body in real.items():
        for cut in rng.integers(1, len(body) - 1, 14):
            yield f"truncated {name}", body[:cut]
        for _ in range(14):
            flipped = bytearray(body)
            for at in rng.integers(0, 200, 4):
                flipped[at] = rng.integers(256)
            yield f"flipped head of {name}", bytes(flipped)
        for _ in range(4):
            flipped = bytearray(body)
            for at in rng.integers(0, len(body), 200):
                flipped[at] = rng.integers(256)
            yield f"flipped {name}", bytes(flipped)
        yield f"{name} of nothing but a head", body[:44]
        yield f"{name} within {name}", body[:1000] + body
    magic = [b"RIFF\xff\xff\xff\xffWAVE", b"RF64\xff\xff\xff\xffWAVEds64", b"fLaC", b"OggS\0\2"]
    magic += [b"FORM\xff\xff\xff\xffAIFF", b"caff\0\1\0\0", b"ID3\4\0\0\x7f\x7f\x7f\x7f", b".snd"]
    magic += [b"\0\0\0\x20ftypM4A ", b"\x1a\x45\xdf\xa3", b"\xff\xf1", b"\xff\xfb\x90", b"#!AMR\n"]
    magic += [b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb", b"wvpk", b"MAC ", b"TTA1", b"FLV\1", b"VOX"]
    for head in magic:
        yield f"noise after {head[:4]!r}", head + rng.bytes(5_000)
        yield f"zeros after {head[:4]!r}", head + bytes(50_000)
    for bits, channels in itertools.product([0, 1, 16, 32, 65535], [0, 1, 1024, 65535]):
        yield f"WAV of {channels} channels of {bits} bits", wav(bits=bits, channels=channels)
    for rate in (0, 1, 3_999, 192_001, 2**31, 2**32 - 1):
        yield f"WAV at {rate} Hz", wav(rate=rate)
    for size in (0, 1, 2**31 - 2**17, 2**31 + 2**17, 2**32 - 2**17):
        yield f"WAV that declares {size} bytes", wav(size=size)
    flac = bytearray(real["flac"])
    flac[21:26] = b"\x1f\xff\xff\xff\xff"  # total samples of STREAMINFO: 36 bits
    yield "FLAC that declares 2 million hours", bytes(flac)
    yield "an hour of silence in FLAC", silence("FLAC", 3600)
    yield "minutes of silence in OGG", silence("OGG", 240)
    yield "minutes of silence in MP3", silence("MP3", 240)
    yield "silence at 192 kHz", silence("FLAC", 60, rate=192_000)
    yield "silence", silence("WAV", 2)
    yield "a hundredth of a second", sound()[: 44 + 320]
    yield "text", b"Lorem ipsum dolor sit amet. " * 100
    yield "JSON", json.dumps({"audio": "here"}).encode()
    yield "deep JSON", b"[" * 100_000
    yield "HTML", b"<!doctype html><script>alert(1)</script>"
    yield "a zip", b"PK\3\4" + rng.bytes(2_000)
    yield "a bomb of zlib", zlib.compress(bytes(50_000_000))
    yield "a playlist", b"#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:10,\nfile:///etc/passwd\n"
    yield "a program", Path(sys.executable).read_bytes()[:100_000]
    yield "a picture", b"\x89PNG\r\n\x1a\n" + rng.bytes(1_000)
    yield "one byte", b"\0"
    yield "nothing", b""
    yield "too much", bytes(1_000_001)


def test_two_hundred_hostile_bodies_harm_nobody(strict: Server, insider: httpx.Client) -> None:
    good = SADNESS.read_bytes()
    before = insider.post("/v1/predict", content=good).json()
    bodies = list(hostile_bodies())
    assert len(bodies) >= 200
    statuses: dict[str, int] = {}
    for i, (name, body) in enumerate(bodies):
        path = ("/v1/predict", "/v1/segments")[i % 2]
        if i % 3:
            answer = insider.post(path, content=body)
        else:
            answer = insider.post(path, files={"file": ("../../x.wav", body, "audio/wav")})
        # What was only scratched may still be heard.
        assert answer.status_code in (200, 400, 413, 415, 422), name
        statuses[name] = answer.status_code
        if answer.status_code != 200:
            assert "Traceback" not in answer.text
            code_of(answer)
    assert statuses["an hour of silence in FLAC"] == 413
    assert statuses["minutes of silence in OGG"] == 413
    assert statuses["too much"] == 413
    assert statuses["nothing"] == 400
    assert statuses["a playlist"] == statuses["text"] == 422
    assert len([status for status in statuses.values() if status != 200]) > 60
    assert strict.process.poll() is None
    assert insider.post("/v1/predict", content=good).json() == before


@pytest.mark.parametrize(
    ("headers", "content", "code"),
    [
        ({"Content-Type": "multipart/form-data"}, b"x", "bad_request"),
        ({"Content-Type": "multipart/form-data; boundary=x"}, b"--y\r\n", "bad_request"),
        ({"Content-Type": "multipart/form-data; boundary=x"}, b"--x\r\n\r\n--x--", "bad_request"),
        ({"Content-Type": "multipart/form-data; boundary=x"}, b"\0" * 9999, "bad_request"),
        ({"Content-Type": f"multipart/form-data; boundary={'x' * 300}"}, b"", "bad_request"),
        ({"Content-Encoding": "gzip"}, zlib.compress(b""), "unsupported_format"),
    ],
)
def test_forms_that_are_none_are_refused(
    headers: dict[str, str], content: bytes, code: str, client: httpx.Client
) -> None:
    refused = client.post("/v1/predict", headers=headers, content=content)
    assert refused.status_code in (400, 415)
    assert code_of(refused) == code


def test_a_large_form_is_held_without_a_file(client: httpx.Client) -> None:
    body = sound(repeat=60)
    assert len(body) > 3_000_000
    answer = client.post("/v1/predict", files={"file": body})  # the server may write no files
    assert answer.status_code == 200


def test_a_form_is_one_in_capitals_too(client: httpx.Client) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    body += SADNESS.read_bytes() + b"\r\n--x--\r\n"
    headers = {"Content-Type": "Multipart/Form-Data; boundary=x"}
    assert client.post("/v1/predict", headers=headers, content=body).status_code == 200


def test_a_form_holds_one_file(client: httpx.Client) -> None:
    two = [("file", ANGER.read_bytes()), ("file", SADNESS.read_bytes())]
    assert code_of(client.post("/v1/predict", files=two)) == "bad_request"
    none = client.post("/v1/predict", files={"note": (None, b"no file")})
    assert "holds no file" in none.json()["error"]["message"]


def raw(port: int, *parts: bytes, wait_s: float = 60.0) -> bytes:
    """Send bytes over a socket and return what comes back until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=wait_s) as connection:
        heard = b""
        with contextlib.suppress(ConnectionError):
            for part in parts:
                connection.sendall(part)
            while block := connection.recv(65536):
                heard += block
        return heard


HEAD = f"POST /v1/predict HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\n".encode()


def test_an_endless_body_is_cut_off(strict: Server) -> None:
    chunk = b"10000\r\n" + bytes(65536) + b"\r\n"
    sent, answer = 0, b""
    with socket.create_connection(("127.0.0.1", strict.port), timeout=60) as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        begin = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - begin < 60:
                connection.sendall(chunk)
                sent += len(chunk)
                time.sleep(0.005)  # so that two seconds of it are not gigabytes
        with contextlib.suppress(ConnectionError):
            answer = connection.recv(65536)
    assert sent > 1_000_000
    assert not answer or b"413" in answer.split(b"\r\n")[0]


def test_an_endless_body_gets_its_answer_if_it_listens(strict: Server) -> None:
    body = b"".join(b"10000\r\n" + bytes(65536) + b"\r\n" for _ in range(20))
    answer = raw(strict.port, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", body)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"body_too_large" in answer
    assert b"connection: close" in answer.lower()


def test_a_size_that_is_declared_is_refused_before_it_is_sent(strict: Server) -> None:
    expecting = HEAD + b"Expect: 100-continue\r\nContent-Length: 99999999999\r\n\r\n"
    answer = raw(strict.port, expecting)  # nobody waits for a body: that would be a 408
    assert answer.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: -1\r\n\r\n",
        b"Content-Length: 10\r\nContent-Length: 20\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nZZZ\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"X: " + b"x" * 500_000 + b"\r\n\r\n",
        b"\0\0\0\r\n\r\n",
    ],
)
def test_http_that_is_none_is_refused(head: bytes, strict: Server) -> None:
    answer = raw(strict.port, HEAD + head)
    assert answer.split(b" ")[1][:1] in (b"4", b"5")
    assert answer.split(b" ")[1] in (b"400", b"408", b"413", b"415", b"501")


def test_slow_senders_are_sent_away_and_keep_nobody_out_for_long(
    strict: Server, insider: httpx.Client
) -> None:
    begin = time.monotonic()
    with contextlib.ExitStack() as stack:
        slow = []
        for _ in range(2):  # as many as there are places
            connection = socket.create_connection(("127.0.0.1", strict.port), timeout=60)
            slow.append(stack.enter_context(connection))
            connection.sendall(HEAD + b"Content-Length: 50000\r\n\r\n" + bytes(10))
        while "lightser_requests_open 2" not in insider.get("/metrics").text:
            assert time.monotonic() - begin < 60
        refused = insider.post("/v1/predict", content=ANGER.read_bytes())
        assert (refused.status_code, code_of(refused)) == (429, "busy")
        assert refused.headers["Retry-After"] == "1"
        for connection in slow:
            assert connection.recv(65536).startswith(b"HTTP/1.1 408 ")
    assert insider.post("/v1/predict", content=ANGER.read_bytes()).status_code == 200


@pytest.mark.parametrize("begun", [b"", b"POST /v1/pre", HEAD])
def test_slow_heads_are_sent_away(begun: bytes, strict: Server) -> None:
    begin = time.monotonic()
    assert raw(strict.port, begun) == b""
    assert time.monotonic() - begin > 1


def files_open(server: Server) -> int:
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


@contextlib.contextmanager
def not_reading(server: Server, requests: int) -> Iterator[socket.socket]:
    """Give a connection that asks for a file of the page many times, and hears nothing of it."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(60)
        connection.connect(("127.0.0.1", server.port))
        ask = b"GET /page/samples/10b10Wa.flac HTTP/1.1\r\nHost: x\r\n\r\n"
        with contextlib.suppress(ConnectionError):
            connection.sendall(ask * requests)
        yield connection


def test_who_never_reads_is_sent_away(strict: Server) -> None:
    before = files_open(strict)
    with contextlib.ExitStack() as stack:
        for n in range(10, 100, 2):  # some of these leave less than a buffer unread
            stack.enter_context(not_reading(strict, n))
        deadline = time.monotonic() + 60
        while files_open(strict) <= before + 5:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        deadline = time.monotonic() + 60  # the server waits for two seconds
        while files_open(strict) > before:
            assert time.monotonic() < deadline, (before, files_open(strict))
            time.sleep(0.1)


def test_who_reads_slowly_gets_all_of_it(strict: Server) -> None:
    with not_reading(strict, 80) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        heard = 0
        begin = time.monotonic()
        while block := connection.recv(65536):
            heard += len(block)
            last = block
            time.sleep(len(block) / 1e6)  # a megabyte a second
    assert time.monotonic() - begin > 3
    assert heard > 80 * ANGER.stat().st_size
    assert last.endswith(b'{"status":"ok"}')


def frame(kind: int, content: bytes) -> bytes:
    """Return a WebSocket frame as clients send it, masked with zeros."""
    n = len(content)
    length = struct.pack("B", 128 | n) if n < 126 else struct.pack(">BQ", 255, n)
    return bytes([128 | kind]) + length + bytes(4) + content


@pytest.mark.parametrize("kind", ["audio", "pings"])
def test_a_stream_that_never_reads_is_sent_away(model: Path, kind: str) -> None:
    asked = "window_s=0.5&hop_s=0.05&encoding=float32&sample_rate=4000"
    head = (
        f"GET /v1/stream?{asked} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade"
        f"\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {'A' * 22}==\r\n\r\n"
    )
    # Pauses are silence: a second of them is twenty answers, and the model is asked for none.
    sent = frame(2, bytes(2**20)) if kind == "audio" else frame(9, bytes(125)) * 5000

    with serving("--model", model, "--max-time", "2", "--max-idle", "2") as server:

        def open_streams() -> int:
            told = httpx.get(f"{server.url}/metrics", timeout=60).text
            return int(re.search(r"^lightser_streams_open (\d+)", told, re.MULTILINE)[1])

        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.settimeout(1)
            connection.connect(("127.0.0.1", server.port))
            connection.sendall(head.encode())
            while open_streams() == 0:
                time.sleep(0.05)
            with contextlib.suppress(OSError):  # sent away, or nobody takes any more
                for _ in range(40):
                    connection.sendall(sent)
            deadline = time.monotonic() + 60
            while open_streams():
                assert time.monotonic() < deadline
                time.sleep(0.1)


def test_who_never_reads_does_not_hold_up_the_end(model: Path) -> None:
    with serving("--model", model, "--max-time", "2") as leaving, not_reading(leaving, 200):
        time.sleep(0.5)
        leaving.process.send_signal(signal.SIGTERM)
        leaving.process.wait(60)
    # After six seconds uvicorn gives up, and complains.
    assert [line for line in leaving.log if line["level"] == "error"] == []


def test_a_body_of_chunks_of_one_byte_is_cut_off_and_holds_nobody_up(
    server: Server, client: httpx.Client
) -> None:
    sent = [0]
    ending = threading.Event()

    def send() -> None:
        head = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
            connection.sendall(head)
            with contextlib.suppress(ConnectionError):
                while not ending.is_set():
                    connection.sendall(b"1\r\nx\r\n" * 1000)
                    sent[0] += 6000

    thread = threading.Thread(target=send)
    thread.start()
    slowest = 0.0
    begin = time.monotonic()
    while thread.is_alive() and time.monotonic() - begin < 60:
        asked = server.worked_s()
        assert client.get("/healthz").status_code == 200
        slowest = max(slowest, server.worked_s() - asked)
    was_cut_off = not thread.is_alive()
    ending.set()
    thread.join()
    assert (slowest < 1, was_cut_off) == (True, True), (slowest, sent)
    assert sent[0] + 6000 >= 65_536  # less was within what is spared


def test_small_chunks_are_taken(client: httpx.Client) -> None:
    body = sound(repeat=5)
    assert len(body) * 6 / 16 > 65_536  # what their heads take
    pieces = (body[at : at + 16] for at in range(0, len(body), 16))
    assert client.post("/v1/predict", content=pieces).status_code == 200


def test_who_goes_away_in_the_middle_frees_the_place(strict: Server, insider: httpx.Client) -> None:
    for _ in range(10):
        with socket.create_connection(("127.0.0.1", strict.port), timeout=60) as connection:
            connection.sendall(HEAD + b"Content-Length: 50000\r\n\r\n" + bytes(10))
    deadline = time.monotonic() + 60
    while "lightser_requests_open 0" not in insider.get("/metrics").text:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert insider.post("/v1/predict", content=ANGER.read_bytes()).status_code == 200


# Decoders


def decoding(limits: Limits, *bodies: bytes, harm: Any = None) -> list[Any]:
    """Return what one decoder makes of bodies; ``harm`` is done to it during the first."""

    async def decode() -> list[Any]:
        decoders = Decoders(1, limits)
        await decoders.start()
        results: list[Any] = []
        try:
            for body in bodies:
                task = asyncio.create_task(decoders.decode(body, 16_000))
                if harm is not None and not results:
                    await asyncio.sleep(0)
                    harm(decoders._workers[0]._process)
                try:
                    results.append(await task)
                except Refusal as refusal:
                    results.append(refusal)
        finally:
            await decoders.stop()
        return results

    return asyncio.run(decode())


def test_a_decoder_that_dies_is_replaced() -> None:
    good = SADNESS.read_bytes()
    lost, heard = decoding(Limits(), good, good, harm=lambda process: process.kill())
    assert (lost.status, lost.code) == (422, "bad_audio")
    assert "its decoder was lost" in lost.message
    np.testing.assert_array_equal(heard.samples, soundfile.read(SADNESS, dtype="float32")[0])


def test_a_decoder_that_hangs_is_replaced() -> None:
    def stop(process: asyncio.subprocess.Process) -> None:
        process.send_signal(signal.SIGSTOP)

    good = SADNESS.read_bytes()
    lost, heard = decoding(Limits(time_s=1.5), good, good, harm=stop)
    assert (lost.status, lost.code) == (422, "too_costly")
    assert len(heard.samples) == soundfile.info(SADNESS).frames


def test_a_decoder_out_of_memory_is_replaced() -> None:
    good = SADNESS.read_bytes()
    limits = Limits(decoder_bytes=300 * 2**20, body_bytes=400 * 2**20)
    lost, heard = decoding(limits, bytes(320 * 2**20), good)
    assert (lost.status, lost.code) == (422, "bad_audio")
    assert len(heard.samples) == soundfile.info(SADNESS).frames


def test_a_decoder_without_the_memory_to_begin_is_said() -> None:
    with pytest.raises(LightserError, match="does not start with 20 MiB"):
        decoding(Limits(decoder_bytes=20 * 2**20))


def test_a_decoder_does_not_know_the_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGHTSER_API_KEYS", KEY)
    monkeypatch.setenv("LIGHTSER_OTHER", "something else")
    known = b""

    def look(process: asyncio.subprocess.Process) -> None:
        nonlocal known
        known = Path(f"/proc/{process.pid}/environ").read_bytes()

    decoding(Limits(), SADNESS.read_bytes(), harm=look)
    assert b"LIGHTSER_OTHER=something else" in known
    assert KEY.encode() not in known


def test_memory_above_what_a_system_counts_is_no_limit() -> None:
    (heard,) = decoding(Limits(decoder_bytes=2**70), SADNESS.read_bytes())
    assert len(heard.samples) == soundfile.info(SADNESS).frames


def test_a_decoder_may_take_little_memory_and_write_no_files(tmp_path: Path) -> None:
    code = (
        "import numpy as np\n"
        "from lightser.service.worker import limit_process\n"
        "limit_process(2**29)\n"
        "for harm in (lambda: np.ones(2**27), lambda: open('x', 'wb', 0).write(b'x')):\n"
        "    try:\n"
        "        harm()\n"
        "    except (MemoryError, OSError) as error:\n"
        "        print(type(error).__name__)\n"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=env
    )
    assert [line.strip("_").removeprefix("Array") for line in run.stdout.split()] == [
        "MemoryError",
        "OSError",
    ]


# Streams


@contextlib.contextmanager
def talking(server: Server, query: str = "", **options: Any) -> Iterator[ClientConnection]:
    headers = options.pop("headers", {"X-API-Key": KEY})
    with connect(
        f"{server.stream}?{query}", additional_headers=headers, max_size=None, **options
    ) as talk:
        yield talk


def until_the_end(talk: ClientConnection) -> list[dict[str, Any]]:
    messages = []
    with contextlib.suppress(ConnectionClosed):
        while True:
            messages.append(json.loads(talk.recv(timeout=60)))
    return messages


def refused_with(server: Server, query: str = "", **options: Any) -> tuple[int, str]:
    with pytest.raises(InvalidStatus) as caught, talking(server, query, **options):
        pass
    response = caught.value.response
    return response.status_code, json.loads(response.body)["error"]["code"]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("encoding", "rate", "channels"), [("pcm16", 16_000, 1), ("float32", 44_100, 2)]
)
def test_a_stream_gives_the_segments_of_the_recording(
    encoding: str, rate: int, channels: int, seed: int, server: Server, recognizer: Recognizer
) -> None:
    kind = {"pcm16": "int16", "float32": "float32"}[encoding]
    body = sound(rate=rate, channels=channels, repeat=3, subtype="FLOAT")
    samples, _ = soundfile.read(io.BytesIO(body), dtype=kind, always_2d=True)
    rng = np.random.default_rng(seed)
    cuts = np.sort(rng.integers(0, len(samples), 12))
    query = f"encoding={encoding}&sample_rate={rate}&channels={channels}&window_s=1&hop_s=0.4"
    with talking(server, query) as talk:
        for chunk in np.split(samples, cuts):
            for start in range(0, len(chunk), 50_000):
                talk.send(chunk[start : start + 50_000].tobytes())
        talk.send(json.dumps({"type": "end"}))
        first, *found, last = until_the_end(talk)
    stream = Stream(recognizer, window_s=1, hop_s=0.4, sample_rate=rate)
    expected = [*stream.push(samples), *stream.flush()]
    assert found == [{"type": "segment", **asdict(segment)} for segment in expected]
    assert first["type"] == "ready"
    assert first["labels"] == list(LABELS)
    assert (first["encoding"], first["sample_rate"], first["channels"]) == (
        encoding,
        rate,
        channels,
    )
    assert last == {"type": "end", "duration_s": len(samples) / rate}


@pytest.mark.parametrize(
    ("encoding", "channels", "size"),
    [("pcm16", 1, 3_001), ("float32", 2, 4_099), ("pcm16", 3, 997)],
)
def test_a_message_may_split_a_sample(
    encoding: str, channels: int, size: int, server: Server, recognizer: Recognizer
) -> None:
    kind = {"pcm16": "int16", "float32": "float32"}[encoding]
    body = sound(channels=channels, subtype="FLOAT")
    samples, _ = soundfile.read(io.BytesIO(body), dtype=kind, always_2d=True)
    sent = samples.tobytes()
    with talking(server, f"encoding={encoding}&channels={channels}&window_s=1") as talk:
        for start in range(0, len(sent), size):
            talk.send(sent[start : start + size])
        talk.send(json.dumps({"type": "end"}))
        _, *found, last = until_the_end(talk)
    stream = Stream(recognizer, window_s=1)
    expected = [*stream.push(samples), *stream.flush()]
    assert found == [{"type": "segment", **asdict(segment)} for segment in expected]
    assert last == {"type": "end", "duration_s": len(samples) / 16_000}


def test_a_stream_that_ends_within_a_sample_gives_its_segments_and_says_so(
    server: Server, recognizer: Recognizer
) -> None:
    samples, rate = soundfile.read(SADNESS, dtype="int16")
    with talking(server, f"sample_rate={rate}&window_s=1&hop_s=1") as talk:
        talk.send(samples.tobytes() + b"?")
        talk.send(json.dumps({"type": "end"}))
        _, *found, last = until_the_end(talk)
    stream = Stream(recognizer, window_s=1, hop_s=1)
    expected = [*stream.push(samples), *stream.flush()]
    assert found == [{"type": "segment", **asdict(segment)} for segment in expected]
    assert (last["type"], last["code"]) == ("error", "bad_request")
    assert "in the middle of a sample: 1 of 2 bytes" in last["message"]


def test_channels_of_a_stream_that_cancel_are_heard_as_in_a_file_and_said(
    server: Server, client: httpx.Client
) -> None:
    samples, rate = soundfile.read(SADNESS, dtype="float32")
    both = np.stack([samples, -samples], axis=1)
    file = io.BytesIO()
    soundfile.write(file, both, rate, format="WAV", subtype="FLOAT")
    answer = client.post("/v1/segments?window_s=1", content=file.getvalue()).json()
    query = f"encoding=float32&channels=2&sample_rate={rate}&window_s=1"
    with talking(server, query) as talk:
        for start in range(0, len(both), 1_000):
            talk.send(both[start : start + 1_000].tobytes())
        talk.send(json.dumps({"type": "end"}))
        _, *found, _ = until_the_end(talk)
    segments = [message for message in found if message["type"] == "segment"]
    assert segments == [{"type": "segment", **segment} for segment in answer["segments"]]
    (said,) = (message["message"] for message in found if message["type"] == "warning")
    assert [said] == answer["warnings"] and "only channel 1, the loudest" in said


def test_a_stream_is_smoothed_and_gated_where_that_is_asked_for(
    server: Server, recognizer: Recognizer
) -> None:
    samples, rate = soundfile.read(io.BytesIO(with_a_pause()), dtype="int16")
    query = f"sample_rate={rate}&window_s=1&hop_s=0.5&smooth_s=2&vad=true"
    with talking(server, query) as talk:
        talk.send(samples.tobytes())
        talk.send(json.dumps({"type": "end"}))
        first, *found, _ = until_the_end(talk)
    stream = Stream(
        recognizer, window_s=1, hop_s=0.5, smoothing=Smoothing(time_s=2), gate=SpeechGate()
    )
    expected = [*stream.push(samples), *stream.flush()]
    assert found == [{"type": "segment", **asdict(segment)} for segment in expected]
    assert {"silence"} < {segment["label"] for segment in found}
    assert (first["smooth_s"], first["vad"]) == (2.0, True)


def test_a_segment_comes_while_the_audio_still_does(server: Server) -> None:
    samples, rate = soundfile.read(SADNESS, dtype="int16")
    with talking(server, f"window_s=1&hop_s=1&sample_rate={rate}") as talk:
        assert json.loads(talk.recv(timeout=60))["type"] == "ready"
        talk.send(samples[: rate + 1].tobytes())
        assert json.loads(talk.recv(timeout=60))["end"] == 1.0


@pytest.mark.parametrize(
    ("query", "refusal"),
    [
        ("encoding=mp3", (400, "bad_request")),
        ("samplerate=8000", (400, "bad_request")),
        ("sample_rate=1", (400, "bad_request")),
        ("sample_rate=16000.5", (400, "bad_request")),
        ("sample_rate=1e99", (400, "bad_request")),
        ("channels=9", (400, "bad_request")),
        ("hop_s=0.0001", (400, "bad_request")),
        ("window_s=1e308", (400, "bad_request")),
        ("smooth_s=-1", (400, "bad_request")),
        ("vad=1", (400, "bad_request")),
        ("model=nobody", (404, "unknown_model")),
    ],
)
def test_a_stream_that_cannot_be_is_refused_at_the_handshake(
    query: str, refusal: tuple[int, str], server: Server
) -> None:
    assert refused_with(server, query) == refusal


@pytest.mark.parametrize(
    ("query", "message", "code"),
    [
        ("", "hello", "bad_request"),
        ("", "[" * 10_000, "bad_request"),
        ("", '{"type": "begin"}', "bad_request"),
        ("", '"end"', "bad_request"),
        ("encoding=float32", np.full(100, np.nan, np.float32).tobytes(), "bad_audio"),
        ("encoding=float32", np.full(100, 1e30, np.float32).tobytes(), "bad_audio"),
    ],
)
def test_a_stream_of_something_else_ends_with_a_reason(
    query: str, message: bytes | str, code: str, server: Server
) -> None:
    with talking(server, query) as talk:
        talk.send(message)
        *_, last = until_the_end(talk)
        assert (last["type"], last["code"]) == ("error", code)
        assert talk.protocol.close_code == 1008


def test_a_message_that_is_too_large_ends_the_stream(server: Server) -> None:
    with talking(server) as talk:
        with contextlib.suppress(ConnectionClosed):
            talk.send(bytes(2**20 + 2))
        until_the_end(talk)
        assert talk.protocol.close_code == 1009


def test_a_stream_that_falls_silent_ends(strict: Server) -> None:
    with talking(strict) as talk:
        *_, last = until_the_end(talk)
    assert last["code"] == "too_slow"


def test_streams_are_counted_and_their_places_come_back(
    strict: Server, insider: httpx.Client
) -> None:
    with talking(strict), talking(strict):
        assert refused_with(strict) == (429, "busy")
    for _ in range(6):  # gone without a word
        with talking(strict) as talk:
            talk.send(bytes(2_000))
            talk.socket.close()
            deadline = time.monotonic() + 60
            while "lightser_streams_open 0" not in insider.get("/metrics").text:
                assert time.monotonic() < deadline
                time.sleep(0.02)


def test_streams_need_keys_and_the_right_page(strict: Server, server: Server) -> None:
    assert refused_with(strict, headers={}) == (401, "unauthorized")
    evil = {"Origin": "https://evil.example", "X-API-Key": KEY}
    assert refused_with(strict, headers=evil) == (403, "forbidden_origin")
    assert refused_with(server, headers=evil) == (403, "forbidden_origin")
    assert refused_with(server, headers={"Origin": "http://["}) == (403, "forbidden_origin")
    with talking(strict, headers={"Origin": PAGE, "X-API-Key": KEY}) as talk:
        assert json.loads(talk.recv(timeout=60))["type"] == "ready"
    with talking(server, headers={"Origin": server.url}) as talk:
        assert json.loads(talk.recv(timeout=60))["type"] == "ready"


@pytest.mark.parametrize("key", [KEY, KEY[:-1] + "x", "", "*"])
def test_streams_take_a_key_as_browsers_can_send_it(strict: Server, key: str) -> None:
    word = base64.urlsafe_b64encode(key.encode()).decode().rstrip("=") if key != "*" else "*"
    offered = {"headers": {"Origin": PAGE}, "subprotocols": ["lightser", f"lightser.key.{word}"]}
    if key != KEY:
        assert refused_with(strict, **offered) == (401, "unauthorized")
        return
    with talking(strict, **offered) as talk:
        assert json.loads(talk.recv(timeout=60))["type"] == "ready"
        assert talk.subprotocol == "lightser", "the key is not sent back"


# Over time


def test_memory_returns_to_where_it_was(server: Server) -> None:
    url = f"{server.url}/v1/predict"

    def burst(body: bytes, n: int) -> float:
        with ThreadPoolExecutor(6) as threads:
            ways = [{"content": body}, {"files": {"file": body}}] * (n // 2)
            answers = threads.map(lambda way: httpx.post(url, timeout=60, **way), ways)
            assert {answer.status_code for answer in answers} == {200}
        return server.resident_mb()

    large = sound("WAV", repeat=100)
    assert len(large) > 5_000_000
    before = burst(SADNESS.read_bytes(), 24)
    after = [burst(large, 12) for _ in range(2)]
    deadline = time.monotonic() + 60  # the last body may still be about to go
    while server.resident_mb() > before + 25:
        assert time.monotonic() < deadline, (before, after, server.resident_mb())
        time.sleep(0.1)


def test_what_is_in_flight_is_finished(model: Path) -> None:
    body = ANGER.read_bytes()
    with serving("--model", model) as leaving:
        head = f"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", leaving.port), timeout=60) as connection:
            connection.sendall(head.encode() + body[:1000])
            while "lightser_requests_open 1" not in httpx.get(f"{leaving.url}/metrics").text:
                time.sleep(0.02)
            leaving.process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            with pytest.raises(httpx.ConnectError):
                httpx.get(leaving.url)
            assert leaving.process.poll() is None
            connection.sendall(body[1000:])
            answer = b""
            while block := connection.recv(65536):
                answer += block
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b'"label"' in answer
        leaving.process.wait(60)
    assert leaving.process.returncode in (0, -signal.SIGTERM)


def test_logs_are_json_lines_without_what_was_said(server: Server, client: httpx.Client) -> None:
    name = "the-name-of-a-patient.flac"
    files = {"file": (name, SADNESS.read_bytes())}
    answer = client.post("/v1/predict?model=small", files=files)
    client.post("/v1/predict", content=b"spoken words")
    wanted = answer.headers["X-Request-ID"]
    deadline = time.monotonic() + 60
    while not (lines := [line for line in server.log if line.get("id") == wanted]):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    (line,) = lines
    assert line.keys() == {
        *("time", "level", "event", "id", "method", "path", "status", "seconds"),
        *("bytes", "audio_s"),
    }
    assert (line["status"], line["bytes"]) == (200, len(SADNESS.read_bytes()))
    text = json.dumps(server.log)
    assert name not in text
    assert "spoken words" not in text
    assert not any(label in text for label in LABELS)
    assert [line for line in server.log if line["level"] != "info"] == []


# The guide


def guide() -> str:
    return (ROOT / "docs" / "service.md").read_text(encoding="utf-8")


def test_curl_of_the_guide_works(server: Server) -> None:
    console = "".join(re.findall(r"^```console\n(.*?)^```$", guide(), re.M | re.S))
    commands = re.findall(r"^\$ (curl (?:.*\\\n)*.*)$", console, re.M)
    assert len(commands) >= 4
    for command in commands:
        words = shlex.split(command.replace("\\\n", " ").replace("127.0.0.1:8765", server.url[7:]))
        run = subprocess.run([*words, "-sSf"], capture_output=True, text=True, cwd=ROOT)
        assert run.returncode == 0, (command, run.stderr)
        assert run.stdout


def test_python_of_the_guide_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    blocks = re.findall(r"^```py\n(.*?)^```$", guide(), re.M | re.S)
    assert len(blocks) >= 3
    with serving() as server:  # the default model, which can be adapted
        for block in blocks:
            exec(block.replace("127.0.0.1:8765", server.url[7:]), {"__name__": "guide"})


def test_the_guide_tells_of_every_option_and_code() -> None:
    text = guide()
    run = cli("--help", before="import os; os.environ.update(COLUMNS='200', TERM='dumb')")
    options = set(re.findall(r"--[a-z][a-z-]+", run.stdout)) - {"--help"}
    assert len(options) > 10
    assert {option for option in options if option not in text} == set()
    codes = {code for codes, _ in REFUSALS.values() for code in codes.split(", ")}
    assert {code for code in codes if f"`{code}`" not in text} == set()


def test_an_answer_for_a_bug_has_what_every_answer_has(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model, folder)
    recognizer = Recognizer.load(folder)
    name = recognizer.card.name
    app = make_app({name: recognizer}, origins=[PAGE])
    (folder / "model.onnx").unlink()
    asking = TestClient(app, raise_server_exceptions=False)
    said = asking.get(f"/v1/models/{name}/model.onnx", headers={"Origin": PAGE})
    assert (said.status_code, said.json()["error"]["code"]) == (500, "internal")
    known = asking.get("/nothing", headers={"Origin": PAGE})
    assert set(known.headers) <= set(said.headers)
    assert said.headers["access-control-allow-origin"] == PAGE


# A voice, which the client keeps


@pytest.fixture(scope="module")
def adaptable() -> Iterator[TestClient]:
    recognizer = Recognizer.load()
    with TestClient(make_app({recognizer.card.name: recognizer}, decoders=1)) as client:
        yield client


def test_a_voice_is_adapted_to_from_answer_to_answer(adaptable: TestClient) -> None:
    recognizer = Recognizer.load()
    heard = recognizer.adapt([])
    form: dict[str, Any] = {}
    for clip in (ANGER, SADNESS):
        heard = recognizer.adapt([clip], before=heard)
        files = {"file": clip.read_bytes()} | form
        answer = adaptable.post("/v1/predict?adapt=true", files=files).json()
        assert answer["adaptation"] == json.loads(heard.to_json())
        expected = recognizer.adapted(heard).predict(clip).probabilities
        assert answer["probabilities"] == expected
        form = {"adaptation": (None, json.dumps(answer["adaptation"]))}
    plain = adaptable.post("/v1/predict", content=SADNESS.read_bytes()).json()
    assert "adaptation" not in plain and plain["probabilities"] != expected

    files = {"file": ANGER.read_bytes()} | form
    cut = adaptable.post("/v1/segments?adapt=true&window_s=1&hop_s=0.5", files=files).json()
    stream = Stream(recognizer, window_s=1, hop_s=0.5, adaptation=heard)
    samples, _ = soundfile.read(ANGER, dtype="float32")
    assert cut["segments"] == [asdict(s) for s in [*stream.push(samples), *stream.flush()]]
    assert stream.adaptation is not None
    assert cut["adaptation"] == json.loads(stream.adaptation.to_json())


def test_a_stream_learns_a_voice_and_gives_it_back(adaptable: TestClient) -> None:
    recognizer = Recognizer.load()
    before = recognizer.adapt([ANGER])
    samples, _ = soundfile.read(SADNESS, dtype="int16")
    address = "/v1/stream?adapt=true&window_s=1&hop_s=0.5"
    with adaptable.websocket_connect(address) as talk:
        assert talk.receive_json()["type"] == "ready"
        talk.send_json({"type": "adaptation", "adaptation": json.loads(before.to_json())})
        talk.send_bytes(samples.tobytes())
        talk.send_json({"type": "end"})
        messages = []
        while not messages or messages[-1]["type"] != "end":
            messages.append(talk.receive_json())
    *segments, end = messages
    stream = Stream(recognizer, window_s=1, hop_s=0.5, adaptation=before)
    expected = [*stream.push(samples), *stream.flush()]
    assert [s["probabilities"] for s in segments] == [s.probabilities for s in expected]
    assert stream.adaptation is not None
    assert segments[-1]["adapted_to"] == stream.adaptation.count > before.count
    assert end["adaptation"] == json.loads(stream.adaptation.to_json())


@pytest.mark.parametrize(
    ("query", "state", "said"),
    [
        ("adapt=true", "{", "is no adaptation"),
        ("adapt=true", "other", "is of another model than emodb-light_sernet"),
        ("adapt=perhaps", None, "adapt must be true or false"),
        ("", "own", "is for adapt=true"),
    ],
)
def test_a_voice_that_is_none_is_refused(
    query: str, state: str | None, said: str, adaptable: TestClient
) -> None:
    own = Recognizer.load().adapt([]).to_json()
    other = json.dumps(json.loads(own) | {"model": "0" * 64})
    form = (
        {}
        if state is None
        else {"adaptation": (None, {"own": own, "other": other}.get(state, state))}
    )
    answer = adaptable.post(f"/v1/predict?{query}", files={"file": ANGER.read_bytes(), **form})
    assert answer.status_code == 400 and said in answer.json()["error"]["message"]


def test_a_model_that_cannot_be_adapted_is_said(client: httpx.Client) -> None:
    answer = client.post("/v1/predict", params={"adapt": True}, content=SADNESS.read_bytes())
    assert answer.status_code == 400
    assert "'small' cannot be adapted" in answer.json()["error"]["message"]
