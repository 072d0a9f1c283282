"""The page of ``lightser serve``: in Chromium, by file, microphone, keyboard, and on a phone."""

import base64
import json
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from browser import Tab, browsing
from conftest import SAMPLES
from model_folder import make_card, write_model
from starlette.testclient import TestClient
from test_service import KEY, Server, serving
from web import RUNTIME, needs_chromium, needs_modules, needs_node

from lightser import Recognizer, Segment, Stream
from lightser.card import write_card
from lightser.errors import LightserError, LightserWarning
from lightser.inference.smoothing import Smoothing
from lightser.inference.vad import SpeechGate
from lightser.report.colours import EMOTION_COLOURS, colours_of
from lightser.service import assets
from lightser.service.app import make_app
from lightser.service.assets import FILES, find_assets, get_assets

TOLERANCE = 1e-3
CLIP = SAMPLES / "14a04Tc.flac"
OTHER = "emodb-zhong2020"
FEWER = ["anger", "disgust", "fear", "neutral", "sadness"]  # without boredom and happiness
HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
PAGE = Path(assets.__file__).parent / "page"


# What the service gives


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return Recognizer.load()


@pytest.fixture(scope="module")
def client(recognizer: Recognizer) -> TestClient:
    return TestClient(make_app({recognizer.card.name: recognizer}))


def test_browsers_get_the_page_and_programs_an_index(client: TestClient) -> None:
    page = client.get("/", headers=HTML)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "<h1>" in page.text
    assert client.get("/").json()["predict"] == "POST /v1/predict"
    assert page.headers["vary"] == client.get("/").headers["vary"] == "Accept"


def test_the_policy_allows_nothing_inline_and_nothing_from_elsewhere(client: TestClient) -> None:
    page = client.get("/", headers=HTML)
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self' 'wasm-unsafe-eval';")
    assert "unsafe-inline" not in policy
    assert "'unsafe-eval'" not in policy
    assert not re.search(r"https?:|\*", policy)
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", page.text)
    other = client.get("/page/main.js").headers["content-security-policy"]
    assert other == "default-src 'none'"


def test_everything_that_the_page_names_is_there(client: TestClient) -> None:
    named = set(re.findall(r'(?:href|src)="(/page/[^"]+)"', (PAGE / "index.html").read_text()))
    seen: set[str] = set()
    while named:
        seen.add(name := named.pop())
        answer = client.get(name)
        assert answer.status_code == 200, name
        if name.endswith(".js"):
            assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
            for found in re.findall(r'(?:from|URL\()\s*"(\./[^"]+\.js)"', answer.text):
                named |= {os.path.normpath(f"{name}/../{found}")} - seen
    assert {"/page/main.js", "/page/lightser-web/core.js"} <= seen
    assert "/page/lightser-web/microphone-worklet.js" in seen
    setup = client.get("/page/setup.json").json()
    assert setup["in_browser"] is False
    for sample in setup["samples"]:
        assert client.get(f"/page/samples/{sample['file']}").content[:4] == b"fLaC"


def test_nothing_else_is_there(client: TestClient) -> None:
    for path in ("app.py", "../app.py", "..%2Fapp.py", "%2Fetc%2Fpasswd", "", "onnxruntime-web/"):
        assert client.get(f"/page/{path}").status_code == 404
    name = client.get("/v1/models").json()["default"]
    for path in (f"{name}/weights.safetensors", f"{name}/..%2Fcard.json", "other/model.onnx"):
        assert client.get(f"/v1/models/{path}").status_code == 404


def test_a_browser_is_not_sent_again_what_it_has(client: TestClient) -> None:
    first = client.get("/page/main.js")
    assert first.headers["cache-control"] == "no-cache"
    again = client.get("/page/main.js", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_a_model_is_given_as_it_is(client: TestClient, recognizer: Recognizer) -> None:
    for file in ("card.json", "model.onnx"):
        answer = client.get(f"/v1/models/{recognizer.card.name}/{file}")
        assert answer.content == (recognizer.folder / file).read_bytes()


def test_colours_are_those_of_figures_and_terminal() -> None:
    text = (PAGE / "colours.js").read_text()
    block = text[text.index("{") : text.index("}")]
    assert dict(re.findall(r'(\w+): "(#\w{6})"', block)) == EMOTION_COLOURS


# ONNX Runtime for browsers


def test_the_command_finds_no_files_where_nobody_put_any(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert find_assets() == {}
    with pytest.raises(LightserError, match="lightser serve --get-assets"):
        find_assets(tmp_path)


@needs_modules
def test_files_of_another_version_are_refused(tmp_path: Path) -> None:
    assert find_assets(RUNTIME).keys() == FILES.keys()
    for name in FILES:
        (tmp_path / name).write_bytes((RUNTIME / name).read_bytes())
    (tmp_path / "ort.wasm.min.mjs").write_text("export {}")
    with pytest.raises(LightserError, match="is not the one of onnxruntime-web"):
        find_assets(tmp_path)


@needs_modules
def test_what_npm_packs_is_unpacked_with_its_licence(tmp_path: Path) -> None:
    packed = tmp_path / "packed.tgz"
    with tarfile.open(packed, "w:gz", compresslevel=1) as archive:
        for name in FILES:
            archive.add(RUNTIME / name, f"package/dist/{name}")
    (folder := tmp_path / "ready").mkdir()
    assets._unpack(packed, folder)
    assert find_assets(folder).keys() == FILES.keys()
    assert "Microsoft" in (folder / "LICENSE.txt").read_text()


def test_without_npm_one_is_told_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LightserError, match=r"install Node\.js, or copy ort\.wasm\.min\.mjs"):
        get_assets(tmp_path / "assets")
    assert [*tmp_path.iterdir()] == []


@needs_node
def test_where_npm_fails_nothing_is_left(tmp_path: Path) -> None:
    target = tmp_path / "assets" / "here"
    environment = {
        **os.environ,
        "npm_config_offline": "true",
        "npm_config_cache": str(tmp_path / "cache"),
    }
    command = ["-m", "lightser", "serve", "--get-assets", "--assets", str(target)]
    run = subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 2
    assert "npm could not fetch onnxruntime-web" in run.stderr
    assert "Traceback" not in run.stderr
    assert [*target.parent.iterdir()] == []


# In Chromium


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the samples, one after another: a microphone's WAV, and a recording of windows."""
    path = tmp_path_factory.mktemp("talk") / "talk.wav"
    clips = [soundfile.read(clip, dtype="int16")[0] for clip in sorted(SAMPLES.glob("*.flac"))]
    soundfile.write(path, np.concatenate(clips), 16_000)
    return path


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model whose windows are shorter than any step of the page."""
    folder = write_model(tmp_path_factory.mktemp("models") / "short", window_s=0.2, min_s=0.1)
    # Its golden clip was answered as one window.
    answer = Recognizer.load(folder, verify=False).predict(folder / "golden.flac")
    golden = json.loads((folder / "golden.json").read_text())
    golden["probabilities"] = list(answer.probabilities.values())
    (folder / "golden.json").write_text(json.dumps(golden))
    write_card(folder, make_card(folder, window_s=0.2, min_s=0.1))
    return folder


@pytest.fixture(scope="module")
def server(short: Path) -> Iterator[Server]:
    models = ("--model", "default", "--model", OTHER, "--model", short)
    with serving("--assets", RUNTIME, *models) as started:
        yield started


# Keeps what the page hears by the microphone, and what it saves.
SPY = """
window.heard = [];
const Original = window.AudioWorkletNode;
window.AudioWorkletNode = class extends Original {
  constructor(context, ...others) {
    super(context, ...others);
    window.heard = [];
    window.heardRate = context.sampleRate;
    this.port.addEventListener("message", ({ data }) => window.heard.push(data.slice()));
  }
};
URL.createObjectURL = (blob) => { window.saved = blob.text(); return "#saved"; };
"""


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory, server: Server, talk: Path) -> Iterator[Tab]:
    pause = np.random.default_rng(0).normal(0, 100, 64_000).astype(np.int16)  # a room, four seconds
    microphone = tmp_path_factory.mktemp("microphone") / "microphone.wav"
    spoken, rate = soundfile.read(talk, dtype="int16")
    soundfile.write(microphone, np.concatenate([pause, spoken]), rate)
    with browsing(tmp_path_factory.mktemp("browser") / "profile", microphone) as opened:
        opened.call("Page.addScriptToEvaluateOnNewDocument", source=SPY)
        yield opened
        assert opened.complaints == []  # of the policy, say
        own = (server.url, server.url.replace("http", "ws", 1))
        assert [url for url in opened.requests if not url.startswith((*own, "about:"))] == []


@pytest.fixture(params=["browser", "service"])
def page(request: pytest.FixtureRequest, tab: Tab, server: Server) -> Tab:
    """Return the page with each of the two who can listen."""
    tab.resize(1100, 900)
    show(tab, server.url, request.param)
    return tab


def show(tab: Tab, url: str, engine: str) -> None:
    tab.open(f"{url}/")
    wait_until_ready(tab)
    if tab.evaluate("document.body.dataset.engine") != engine:
        choose_engine(tab, engine)
        tab.wait_for(f"document.body.dataset.engine === '{engine}'")
        wait_until_ready(tab)


def wait_until_ready(tab: Tab) -> None:
    tab.wait_for("document.body.dataset.engine && !document.getElementById('choose').disabled")


def drop(tab: Tab, clip: Path) -> None:
    """Drop a file onto the page, and wait until all of it is heard."""
    give(tab, clip)
    wait_until_done(tab)


def give(tab: Tab, clip: Path) -> None:
    """Drop a file onto the page."""
    content = base64.b64encode(clip.read_bytes()).decode()
    tab.evaluate(
        "(() => { delete document.getElementById('stage').dataset.done;"
        f"const bytes = Uint8Array.from(atob('{content}'), (c) => c.charCodeAt(0));"
        "const dataTransfer = new DataTransfer();"
        f"dataTransfer.items.add(new File([bytes], '{clip.name}'));"
        "dispatchEvent(new DragEvent('drop', { dataTransfer, cancelable: true })); })()"
    )


def choose_engine(tab: Tab, engine: str) -> None:
    tab.evaluate(f"document.querySelector('[name=engine][value={engine}]').click()")


def choose_model(tab: Tab, name: str) -> None:
    tab.evaluate(
        "(() => { const select = document.querySelector('#choices select');"
        f"select.value = '{name}'; select.dispatchEvent(new Event('change')); }})()"
    )


def toggle(tab: Tab, *labels: str) -> None:
    """Tick or untick emotions to choose from, and wait until what is shown is heard again."""
    clicks = "".join(f"{box(label)}.click();" for label in labels)
    tab.evaluate(f"(() => {{ delete document.getElementById('stage').dataset.done; {clicks} }})()")
    wait_until_done(tab)


def box(label: str) -> str:
    return (
        "[...document.querySelectorAll('#bars label')]"
        f".find((one) => one.textContent === '{label}').control"
    )


def wait_until_done(tab: Tab) -> None:
    tab.wait_for(
        "document.getElementById('stage').dataset.done"
        " || !document.getElementById('trouble').hidden"
    )


def saved(tab: Tab) -> dict[str, Any]:
    tab.evaluate("document.getElementById('save-json').click()")
    return dict(json.loads(tab.evaluate("window.saved")))


def text(tab: Tab, name: str) -> str:
    return str(tab.evaluate(f"document.getElementById('{name}').innerText"))


def assert_alike(found: list[dict[str, Any]], expected: list[Segment]) -> None:
    assert [(s["start"], s["end"]) for s in found] == [(s.start, s.end) for s in expected]
    for mine, segment in zip(found, expected, strict=True):
        assert list(mine["probabilities"]) == list(segment.probabilities)
        for label, share in segment.probabilities.items():
            assert mine["probabilities"][label] == pytest.approx(share, abs=TOLERANCE)


@needs_chromium
@needs_modules
def test_a_file_is_answered_as_in_python_whoever_listens(
    page: Tab, recognizer: Recognizer, talk: Path
) -> None:
    posted = sum("/v1/predict" in url for url in page.requests)
    for clip in (CLIP, talk):
        drop(page, clip)
        answer = saved(page)
        whole = recognizer.predict(clip)
        assert answer["whole"]["label"] == whole.label
        assert f"{whole.label} {100 * whole.confidence:.0f} %" in page.evaluate(
            "document.getElementById('say').textContent"
        )
        for label, share in whole.probabilities.items():
            assert answer["whole"]["probabilities"][label] == pytest.approx(share, abs=TOLERANCE)
        assert_alike(answer["segments"], [*recognizer.segments(clip, hop_s=0.25)])
        rows = page.evaluate("document.querySelectorAll('#table tbody tr').length")
        assert rows == len(answer["segments"])
    posted = sum("/v1/predict" in url for url in page.requests) - posted
    engine = page.evaluate("document.body.dataset.engine")
    assert posted == (0 if engine == "browser" else 2)
    where = "this browser" if engine == "browser" else "127.0.0.1"
    assert where in text(page, "engine")


@needs_chromium
@needs_modules
def test_files_of_a_corpus_are_answered_as_in_python(
    tab: Tab, server: Server, recognizer: Recognizer, corpus_root: Callable[[str], Path]
) -> None:
    clips = sorted((corpus_root("emodb") / "wav").glob("*.wav"))[::60]
    show(tab, server.url, "browser")
    for clip in clips:
        drop(tab, clip)
        answer = saved(tab)["whole"]["probabilities"]
        for label, share in recognizer.predict(clip).probabilities.items():
            assert answer[label] == pytest.approx(share, abs=1e-4)


@needs_chromium
@needs_modules
def test_the_microphone_is_answered_as_in_python_whoever_listens(
    page: Tab, recognizer: Recognizer
) -> None:
    page.evaluate("document.getElementById('speak').click()")
    # all of the pause and of the clips, wherever in them the microphone begins
    page.wait_for("window.heard.length * 1024 > 11.2 * window.heardRate")
    page.wait_for("document.getElementById('heard').querySelector('b') !== null")
    page.evaluate("document.getElementById('stop').click()")
    wait_until_done(page)
    answer = saved(page)
    content = page.evaluate(
        "new Promise((resolve) => { const reader = new FileReader();"
        "reader.onload = () => resolve(reader.result.split(',')[1]);"
        "reader.readAsDataURL(new Blob(window.heard)); })"
    )
    samples = np.frombuffer(base64.b64decode(content), np.float32)
    assert np.abs(samples).max() > 0.05
    rate = page.evaluate("window.heardRate")
    # without chunks that came when the microphone was closed already
    length = float(page.evaluate("document.getElementById('timeline').ariaValueMax"))
    samples = samples[: round(length * rate / 1024) * 1024]
    stream = Stream(
        recognizer, hop_s=0.5, sample_rate=rate, smoothing=Smoothing(), gate=SpeechGate()
    )
    expected = [*stream.push(samples), *stream.flush()]
    assert len(expected) >= 3
    assert_alike(answer["segments"], expected)
    assert [s["label"] for s in answer["segments"]] == [s.label for s in expected]
    assert "silence" in {s.label for s in expected} != {"silence"}
    toggle(page, "boredom", "happiness")  # of what was spoken, which is heard again
    fewer = Stream(
        recognizer.choosing(FEWER),
        hop_s=0.5, sample_rate=rate, smoothing=Smoothing(), gate=SpeechGate(),
    )  # fmt: skip
    again = saved(page)
    assert_alike(again["segments"], expected := [*fewer.push(samples), *fewer.flush()])
    assert [s["label"] for s in again["segments"]] == [s.label for s in expected]
    assert list(again["whole"]["probabilities"]) == FEWER
    streams = [url for url in page.requests if "/v1/stream" in url]
    assert len(streams) == (2 if page.evaluate("document.body.dataset.engine") == "service" else 0)
    page.requests.clear()


@needs_chromium
@needs_modules
def test_another_model_is_chosen_on_the_page(page: Tab) -> None:
    drop(page, CLIP)
    choose_model(page, OTHER)
    page.wait_for(f"document.getElementById('facts-list').innerText.includes('{OTHER}')")
    assert page.evaluate("document.getElementById('result').hidden")  # what another one heard
    wait_until_ready(page)
    drop(page, CLIP)
    answer = saved(page)
    assert answer["model"] == OTHER
    for label, share in Recognizer.load(OTHER).predict(CLIP).probabilities.items():
        assert answer["whole"]["probabilities"][label] == pytest.approx(share, abs=TOLERANCE)


@needs_chromium
@needs_modules
def test_emotions_that_cannot_occur_are_left_out(
    page: Tab, recognizer: Recognizer, talk: Path
) -> None:
    some = recognizer.choosing(FEWER)
    page.requests.clear()
    drop(page, talk)
    page.evaluate(f"{box('happiness')}.focus()")
    toggle(page, "happiness", "boredom")
    assert page.evaluate(f"document.activeElement === {box('happiness')}")
    answer = saved(page)
    assert list(answer["whole"]["probabilities"]) == FEWER
    for label, share in some.predict(talk).probabilities.items():
        assert answer["whole"]["probabilities"][label] == pytest.approx(share, abs=TOLERANCE)
    assert_alike(answer["segments"], [*some.segments(talk, hop_s=0.25)])
    heads = page.evaluate("[...document.querySelectorAll('#table th')].map((th) => th.textContent)")
    assert heads == ["from", "to", "emotion", *FEWER]

    drop(page, CLIP)  # the choice holds for what comes next
    assert list(saved(page)["whole"]["probabilities"]) == FEWER
    toggle(page, "disgust", "fear", "anger")
    assert page.evaluate(f"{box('neutral')}.disabled && {box('sadness')}.disabled")
    assert list(saved(page)["whole"]["probabilities"]) == ["neutral", "sadness"]
    toggle(page, "anger")
    assert not page.evaluate(f"{box('neutral')}.disabled")
    asked = [url for url in page.requests if "labels=" in url]
    assert bool(asked) == (page.evaluate("document.body.dataset.engine") == "service")

    choose_model(page, OTHER)  # which has a choice of its own
    page.wait_for(f"document.getElementById('facts-list').innerText.includes('{OTHER}')")
    wait_until_ready(page)
    drop(page, CLIP)
    assert set(saved(page)["whole"]["probabilities"]) == set(recognizer.labels)


@needs_chromium
@needs_modules
def test_what_the_browser_heard_is_not_sent_for_another_choice(tab: Tab, server: Server) -> None:
    show(tab, server.url, "browser")
    drop(tab, CLIP)
    choose_engine(tab, "service")
    tab.wait_for("document.body.dataset.engine === 'service'")
    wait_until_ready(tab)
    tab.requests.clear()
    tab.evaluate(f"{box('boredom')}.click()")
    tab.wait_for("!document.getElementById('trouble').hidden")
    assert text(tab, "trouble").startswith("This browser heard that, so it is not sent")
    assert tab.requests == []
    drop(tab, CLIP)
    assert "boredom" not in saved(tab)["whole"]["probabilities"]
    choose_engine(tab, "browser")  # which may hear again what the service heard
    tab.wait_for("document.body.dataset.engine === 'browser'")
    wait_until_ready(tab)
    toggle(tab, "boredom")
    assert "boredom" in saved(tab)["whole"]["probabilities"]


# Holds back what is asked of the service until `release()`, and keeps what was asked for.
HOLD = """
window.asked = [];
window.release = null;
const held = new Promise((resolve) => (window.release = resolve));
const original = window.fetch;
window.fetch = async (path, ...others) => {
  window.asked.push(String(path));
  if (String(path).startsWith("/v1/predict")) await held;
  return original(path, ...others);
};
"""


@needs_chromium
@needs_modules
def test_a_choice_counts_from_when_it_is_made(tab: Tab, server: Server, talk: Path) -> None:
    show(tab, server.url, "service")
    tab.evaluate(f"(() => {{ {HOLD} }})()")
    give(tab, talk)
    tab.wait_for("window.asked.length === 1")
    choose_engine(tab, "browser")
    choose_model(tab, OTHER)
    give(tab, CLIP)  # while the service works on the first
    tab.evaluate("window.release()")
    tab.wait_for(f"document.getElementById('stage').dataset.done === '{CLIP.name}'")
    answer = saved(tab)
    assert answer["model"] == OTHER
    expected = Recognizer.load(OTHER).predict(CLIP).probabilities
    for label, share in answer["whole"]["probabilities"].items():
        assert share == pytest.approx(expected[label], abs=TOLERANCE)
    posted = [path for path in tab.evaluate("window.asked") if "/v1/models/" not in path]
    assert len(posted) == 1
    assert posted[0].startswith("/v1/predict?")
    assert tab.evaluate("document.body.dataset.engine") == "browser"
    assert tab.evaluate("document.querySelector('[name=engine]:checked').value") == "browser"


@needs_chromium
@needs_modules
def test_what_is_still_being_heard_is_heard_by_who_is_chosen_meanwhile(
    tab: Tab, server: Server
) -> None:
    show(tab, server.url, "service")
    tab.evaluate(f"(() => {{ {HOLD} }})()")
    give(tab, CLIP)
    tab.wait_for("window.asked.length === 1")
    choose_model(tab, OTHER)
    tab.evaluate("window.release()")
    wait_until_done(tab)
    assert saved(tab)["model"] == OTHER and saved(tab)["source"] == CLIP.name
    assert tab.evaluate("document.getElementById('working').hidden")


@needs_chromium
@needs_modules
@pytest.mark.parametrize("by_key", [True, False])
def test_what_was_spoken_is_kept_whoever_is_chosen_then(
    tab: Tab, server: Server, by_key: bool
) -> None:
    show(tab, server.url, "browser")
    tab.evaluate("document.getElementById('speak').click()")
    tab.wait_for("window.heard.length * 1024 > 4 * window.heardRate")
    if by_key:
        tab.evaluate("document.getElementById('stop').focus()")
        tab.press("Enter", 13, "\r")
    else:
        choose_engine(tab, "service")
    wait_until_done(tab)
    assert tab.evaluate("document.getElementById('stage').dataset.done") == "Microphone"
    assert tab.evaluate("document.getElementById('stop').hidden")
    assert not tab.evaluate("document.getElementById('play').disabled")
    if by_key:
        assert tab.evaluate("document.activeElement.id") == "timeline"


@needs_chromium
@needs_modules
def test_a_microphone_that_nobody_allows_holds_up_nothing(tab: Tab, server: Server) -> None:
    show(tab, server.url, "browser")
    tab.evaluate(
        "(() => { const devices = navigator.mediaDevices;"
        "const before = devices.getUserMedia.bind(devices);"
        "devices.getUserMedia = (wanted) => new Promise((resolve) => { window.allow = async () => {"
        "window.late = await before(wanted); resolve(window.late); }; }); })()"
    )
    tab.evaluate("document.getElementById('speak').click()")
    tab.wait_for("Boolean(window.allow)")
    drop(tab, CLIP)
    assert saved(tab)["source"] == CLIP.name
    tab.evaluate("window.allow()")  # too late: nobody listens to it
    tab.wait_for("window.late?.getTracks().every((track) => track.readyState === 'ended')")


@needs_chromium
@needs_modules
def test_a_microphone_that_cannot_be_heard_is_given_back(tab: Tab, server: Server) -> None:
    show(tab, server.url, "browser")
    tab.evaluate(
        "(() => { const devices = navigator.mediaDevices;"
        "const before = devices.getUserMedia.bind(devices);"
        "devices.getUserMedia = async (wanted) => (window.lent = await before(wanted));"
        "window.AudioWorkletNode = class { constructor() { throw new Error('other rates'); } };"
        "})()"
    )
    tab.evaluate("document.getElementById('speak').click()")
    tab.wait_for("!document.getElementById('trouble').hidden")
    assert text(tab, "trouble") == "The microphone cannot be heard here: other rates"
    assert tab.evaluate("window.lent.getTracks().every((track) => track.readyState === 'ended')")


@needs_chromium
@needs_modules
def test_what_is_still_being_heard_is_heard_by_another_choice_of_emotions(
    tab: Tab, server: Server, tmp_path: Path
) -> None:
    show(tab, server.url, "service")
    drop(tab, SAMPLES / "10b10Wa.flac")
    tab.evaluate(f"(() => {{ {HOLD} }})()")
    give(tab, CLIP)
    tab.wait_for("window.asked.length === 1")
    tab.evaluate(f"{box('boredom')}.click()")
    tab.evaluate("window.release()")
    tab.wait_for(f"document.getElementById('stage').dataset.done === '{CLIP.name}'")
    assert "boredom" not in saved(tab)["whole"]["probabilities"]
    (broken := tmp_path / "broken.wav").write_text("no audio")
    show(tab, server.url, "browser")
    drop(tab, CLIP)
    drop(tab, broken)
    toggle(tab, "boredom")  # what is shown, and not what could not be heard
    assert tab.evaluate("document.getElementById('stage').dataset.done") == CLIP.name
    assert "boredom" not in saved(tab)["whole"]["probabilities"]


@needs_chromium
@needs_modules
def test_nothing_is_sent_where_the_browser_that_was_chosen_fails(tab: Tab, server: Server) -> None:
    show(tab, server.url, "service")
    tab.evaluate(f"(() => {{ {HOLD} }})()")
    tab.evaluate(
        "(() => { const before = window.fetch; window.fetch = (path, ...others) =>"
        "String(path).endsWith('.onnx') ? Promise.reject(new TypeError()) : before(path, ...others)"
        "; window.release(); })()"
    )
    choose_engine(tab, "browser")
    give(tab, CLIP)
    wait_until_done(tab)
    assert text(tab, "trouble").startswith("This browser cannot listen (The service does not")
    assert "No audio was sent" in text(tab, "trouble")
    assert tab.evaluate("document.body.dataset.engine") == "service"
    assert tab.evaluate("document.querySelector('[name=engine]:checked').value") == "service"
    assert [path for path in tab.evaluate("window.asked") if "/v1/models/" not in path] == []
    drop(tab, CLIP)  # which is given to the service
    assert [path.split("?")[0] for path in tab.evaluate("window.asked")][-2:] == [
        "/v1/predict",
        "/v1/segments",
    ]


@needs_chromium
@needs_modules
def test_steps_are_no_longer_than_windows(page: Tab, short: Path) -> None:
    choose_model(page, "short")
    page.wait_for("document.getElementById('facts-list').innerText.includes('short')")
    wait_until_ready(page)
    drop(page, CLIP)
    assert page.evaluate("document.getElementById('trouble').hidden"), text(page, "trouble")
    expected = [*Recognizer.load(short).segments(CLIP, hop_s=0.2)]
    assert_alike(saved(page)["segments"], expected)


@needs_chromium
@needs_modules
def test_channels_that_cancel_are_heard_and_said(
    page: Tab, recognizer: Recognizer, tmp_path: Path
) -> None:
    samples, rate = soundfile.read(CLIP, dtype="float32")
    wrong = tmp_path / "wrong.wav"
    soundfile.write(wrong, np.stack([samples, -samples], axis=1), rate)
    drop(page, wrong)
    assert "2 channels cancel each other from about 0.0 s" in text(page, "warnings")
    with pytest.warns(LightserWarning, match="cancel each other"):
        whole = recognizer.predict(wrong)
    found = saved(page)["whole"]
    for label, share in whole.probabilities.items():
        assert found["probabilities"][label] == pytest.approx(share, abs=TOLERANCE)
    assert len(found["warnings"]) == 1
    drop(page, CLIP)
    assert text(page, "warnings") == ""


@needs_chromium
@needs_modules
def test_the_page_answers_while_it_resamples(tab: Tab, server: Server, tmp_path: Path) -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, 20 * 44_100)
    soundfile.write(tmp_path / "long.wav", samples, 44_100)
    show(tab, server.url, "browser")
    tab.evaluate(
        "(() => { window.turns = []; const channel = new MessageChannel();"
        "channel.port1.onmessage = () => { window.turns.push(performance.now());"
        "if (!document.getElementById('stage').dataset.done) channel.port2.postMessage(0); };"
        "setTimeout(() => channel.port2.postMessage(0)); })()"
    )
    drop(tab, tmp_path / "long.wav")
    gaps = tab.evaluate("window.turns.slice(1).map((turn, i) => turn - window.turns[i])")
    assert len(gaps) > 20
    # A second of it takes as long as all gaps that it makes; 20 s at once would be most of them.
    assert max(gaps) < sum(gaps) / 4


@needs_chromium
@needs_modules
def test_what_is_no_audio_is_said_in_words(page: Tab, tmp_path: Path) -> None:
    (broken := tmp_path / "broken.wav").write_text("no audio")
    drop(page, broken)
    assert not page.evaluate("document.getElementById('trouble').hidden")
    assert len(text(page, "trouble")) > 20
    refusals = [line for line in page.complaints if "status of 422" in line]
    for line in refusals:  # which Chromium logs, and nobody can prevent
        page.complaints.remove(line)
    drop(page, CLIP)
    assert page.evaluate("document.getElementById('trouble').hidden")


@needs_chromium
@needs_modules
def test_where_nobody_speaks_it_says_silence(tab: Tab, server: Server, tmp_path: Path) -> None:
    samples, rate = soundfile.read(CLIP, dtype="float32")
    soundfile.write(tmp_path / "pause.wav", np.append(samples, np.zeros(5 * rate, "f4")), rate)
    show(tab, server.url, "browser")
    drop(tab, tmp_path / "pause.wav")
    spoken = len(samples) / rate
    for segment in saved(tab)["segments"]:
        assert (segment["label"] == "silence") == (segment["start"] >= spoken)
        assert (segment["probabilities"] == {}) == (segment["label"] == "silence")
    last = "document.querySelector('#table tbody tr:last-child').textContent"
    assert tab.evaluate(last).endswith("silence")


@needs_chromium
@needs_modules
def test_it_is_used_with_keys_alone(tab: Tab, server: Server) -> None:
    tab.resize(1100, 900)
    show(tab, server.url, "browser")
    for _ in range(12):
        tab.press("Tab", 9)
        if tab.evaluate("document.activeElement.textContent") == "anger":
            break
    tab.press("Enter", 13, "\r")
    wait_until_done(tab)
    assert tab.evaluate("document.activeElement.id") == "timeline"
    position = "Number(document.getElementById('timeline').getAttribute('aria-valuenow'))"
    tab.press("ArrowRight", 39)
    tab.press("ArrowRight", 39)
    assert 0 < tab.evaluate(position) < 1
    words = tab.evaluate("document.getElementById('timeline').getAttribute('aria-valuetext')")
    assert re.fullmatch(r"0\.\d s, [a-z]+ \d+ %", words)
    tab.press("End", 35)
    length = soundfile.info(SAMPLES / "10b10Wa.flac").duration
    assert tab.evaluate(position) == pytest.approx(length, abs=0.01)
    drop(tab, CLIP)  # of which nothing was heard yet
    slider = "document.getElementById('timeline')"
    assert tab.evaluate(position) == 0
    assert tab.evaluate(f"{slider}.getAttribute('aria-valuetext')") is None
    ending = float(tab.evaluate(f"{slider}.getAttribute('aria-valuemax')"))
    assert ending == pytest.approx(soundfile.info(CLIP).duration, abs=0.01)
    tab.press("End", 35)
    assert tab.evaluate(position) == pytest.approx(ending, abs=0.01)
    tab.press("Home", 36)
    assert tab.evaluate(position) == 0
    tab.press(" ", 32, " ")
    tab.wait_for(f"{position} > 0.2")
    assert tab.evaluate("document.getElementById('play').getAttribute('aria-label')") == "Pause"
    tab.press(" ", 32, " ")
    assert tab.evaluate("document.getElementById('play').getAttribute('aria-label')") == "Play"


@needs_chromium
@needs_modules
def test_everything_that_can_be_used_has_a_name(tab: Tab, server: Server) -> None:
    show(tab, server.url, "browser")
    drop(tab, CLIP)
    tab.call("Accessibility.enable")
    nodes = tab.call("Accessibility.getFullAXTree")["nodes"]
    tab.call("Accessibility.disable")
    usable = {
        "button", "checkbox", "link", "slider", "radio", "combobox", "textbox", "DisclosureTriangle"
    }  # fmt: skip
    found = [node for node in nodes if node.get("role", {}).get("value") in usable]
    assert {"button", "checkbox", "link", "slider", "radio"} <= {
        node["role"]["value"] for node in found
    }
    assert [node for node in found if not node.get("name", {}).get("value")] == []


@needs_chromium
@needs_modules
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_fits_a_phone_and_can_be_read_in_both_themes(
    tab: Tab, server: Server, dark: bool
) -> None:
    tab.resize(375, 812, dark=dark)
    show(tab, server.url, "browser")
    for state in ("empty", "result", "table"):
        if state == "result":
            drop(tab, CLIP)
        if state == "table":
            tab.evaluate("document.getElementById('more').open = true")
        assert tab.evaluate("document.documentElement.scrollWidth") == 375
        small = tab.evaluate(
            "[...document.querySelectorAll('button:not(.sample), select')]"
            ".filter((b) => b.offsetHeight && b.offsetHeight < 36).map((b) => b.id)"
        )
        assert small == []
    style = "getComputedStyle(document.body).getPropertyValue"
    colour = {
        name: tab.evaluate(f"{style}('--{name}')")
        for name in ("ink", "muted", "accent", "warn", "paper", "ground", "on-accent")
    }
    pairs = [
        (text, back) for text in ("ink", "muted", "accent", "warn") for back in ("paper", "ground")
    ]
    for text_colour, back in [*pairs, ("on-accent", "accent")]:
        assert contrast(colour[text_colour], colour[back]) >= 4.5, (text_colour, back)
    assert (luminance(colour["paper"]) < 0.1) == dark


def luminance(colour: str) -> float:
    """Return the relative luminance of ``#rrggbb`` by WCAG 2."""
    values = np.array([int(colour.strip()[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


# Two seconds go to the service by WebSocket, as the page's microphone would send them.
STREAM_WITH_KEY = """import("/page/engines.js").then(async ({ask, ServiceEngine}) => {
  const {models: [card]} = await (await ask("/v1/models", KEY)).json();
  const heard = [];
  const talk = await new ServiceEngine(card, KEY).stream(
    16000, {windowS: 1, hopS: 1}, ({start, end}) => heard.push([start, end]));
  await talk.push(new Float32Array(32000).fill(0.1));
  await talk.end();
  return heard;
})"""


def offer(tab: Tab, key: str) -> None:
    tab.evaluate(
        f"document.getElementById('key').value = {json.dumps(key)};"
        "document.getElementById('key-form').requestSubmit()"
    )


@needs_chromium
def test_without_the_files_the_service_listens_and_keys_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recognizer: Recognizer
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    keys = tmp_path / "keys.txt"
    keys.write_text(KEY)
    with ExitStack() as stack:
        server = stack.enter_context(serving("--keys", keys))
        tab = stack.enter_context(browsing(tmp_path / "profile"))
        tab.open(f"{server.url}/")
        tab.wait_for("!document.getElementById('key-form').hidden")
        assert tab.evaluate("document.getElementById('trouble').hidden")
        for key, words in (
            (KEY[::-1], "That key is not one of this service's."),
            (f"{KEY}…", "Keys have letters, digits and signs of ASCII alone; that one has others."),
        ):
            offer(tab, key)
            tab.wait_for(f"document.getElementById('trouble').textContent === {json.dumps(words)}")
            assert not tab.evaluate("document.getElementById('trouble').hidden")
            assert not tab.evaluate("document.getElementById('key-form').hidden")
        offer(tab, KEY)
        wait_until_ready(tab)
        assert tab.evaluate("document.getElementById('trouble').hidden")
        tab.wait_for("document.activeElement.id === 'choose'")
        assert tab.evaluate("document.body.dataset.engine") == "service"
        assert text(tab, "engine").endswith(server.url.removeprefix("http://"))
        assert "Audio is sent to the service" in text(tab, "privacy")
        assert tab.evaluate("document.querySelector('[name=engine]')") is None
        tab.evaluate(SPY)
        drop(tab, CLIP)
        assert saved(tab)["whole"]["label"] == recognizer.predict(CLIP).label
        tab.evaluate("document.getElementById('again').click()")
        tab.wait_for("!document.getElementById('trouble').hidden")
        assert text(tab, "trouble") == "There is no microphone."
        assert tab.evaluate(STREAM_WITH_KEY.replace("KEY", json.dumps(KEY))) == [[0, 1], [1, 2]]
    refused = httpx.codes.UNAUTHORIZED
    assert [line for line in tab.complaints if f"status of {refused}" not in line] == []


@needs_node
def test_spare_colours_are_given_alike(tmp_path: Path) -> None:
    labels = ["sad", "anger", "awe", "pride", "Happy"]
    script = tmp_path / "colours.mjs"
    script.write_text(
        (PAGE / "colours.js").read_text()
        + f"\nconsole.log(JSON.stringify(coloursOf({json.dumps(labels)})));"
    )
    run = subprocess.run(["node", script], capture_output=True, text=True, check=True)
    assert json.loads(run.stdout) == colours_of(labels)
