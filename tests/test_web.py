"""lightser-web: in Node.js and in Chromium, the answers of Python; and the package as installed."""

import functools
import json
import os
import re
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from browser import Tab, browsing
from conftest import SAMPLES
from web import MODULES, ROOT, RUNTIME, WEB, needs_chromium, needs_modules, needs_node

from lightser import Recognizer, Stream
from lightser.audio.files import resample
from lightser.inference.smoothing import Smoothing
from lightser.inference.vad import SpeechDetector, SpeechGate
from lightser.service.assets import VERSION

TOLERANCE = 1e-4
MODELS = ["emodb-light_sernet", "emodb-zhong2020", "together-light_sernet"]
CLIPS = sorted(SAMPLES.glob("*.flac"))
IN_BROWSER = "/lightser/inference/weights/emodb-light_sernet"

pytestmark = [
    needs_node,
    needs_modules,
    # The default model is weak there, and answers all the same.
    pytest.mark.filterwarnings("ignore:recorded at:lightser.errors.LightserWarning"),
]


@pytest.fixture(scope="module")
def recognizers() -> dict[str, Recognizer]:
    return {name: Recognizer.load(name) for name in MODELS}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return real speech as WAVs: at usual rates, in stereo, in 16 bits, short, and long."""
    folder = tmp_path_factory.mktemp("clips")
    made = []

    def write(name: str, samples: Any, rate: int, subtype: str) -> None:
        made.append(folder / f"{name}.wav")
        soundfile.write(made[-1], samples, rate, subtype=subtype)

    speech = [soundfile.read(path, dtype="float32")[0] for path in CLIPS]
    for name, samples in zip(("one", "two", "three"), speech, strict=True):
        write(name, samples, 16_000, "PCM_16")
    for rate in (8_000, 11_025, 22_050, 44_100, 48_000):
        write(f"at-{rate}", resample(speech[0], 16_000, rate), rate, "FLOAT")
    write("stereo", np.stack([speech[1], 0.5 * speech[1]], axis=1), 16_000, "PCM_24")
    write("short", speech[2][8_000:10_000], 16_000, "PCM_16")
    write("long", np.concatenate(speech), 16_000, "PCM_16")
    pause = np.random.default_rng(0).normal(0, 1e-3, 40_000).astype(np.float32)
    write("pauses", np.concatenate([pause, speech[0], pause, speech[1], pause]), 16_000, "PCM_16")
    return made


def test_the_answers_in_node_are_those_of_python(
    recognizers: dict[str, Recognizer], clips: list[Path], tmp_path: Path
) -> None:
    predictions = {
        str(recognizer.folder): [
            {"file": str(clip), **asdict(recognizer.predict(clip))} for clip in clips
        ]
        for recognizer in recognizers.values()
    }
    pauses, long, fast = clips[-1], clips[-2], clips[-5]
    streams = [stream_of(recognizers[MODELS[0]], clip) for clip in (long, fast)]
    gated = stream_of(
        recognizers[MODELS[0]], pauses, {"strictness": 3, "hangoverS": 0, "least": 0.4}
    )
    assert "silence" in {s["label"] for s in gated["segments"]} != {"silence"}
    gates = [gate_of(clip, strictness) for clip in clips for strictness in range(4)]
    voice = voice_of(recognizers[MODELS[0]], clips[:3], long)
    run_node(tmp_path, predictions, [*streams, gated], gates, voice)


def test_the_answers_in_node_are_those_of_python_on_a_corpus(
    recognizers: dict[str, Recognizer], corpus_root: Callable[[str], Path], tmp_path: Path
) -> None:
    recognizer = recognizers[MODELS[0]]
    clips = sorted((corpus_root("emodb") / "wav").glob("*.wav"))[::18]
    assert len(clips) >= 25
    predictions = {
        str(recognizer.folder): [
            {"file": str(clip), **asdict(recognizer.predict(clip))} for clip in clips
        ]
    }
    streams = [stream_of(recognizer, clip) for clip in clips[::10]]
    voice = voice_of(recognizer, clips[1:9], clips[0])
    run_node(tmp_path, predictions, streams, [gate_of(clip, 2) for clip in clips], voice)


def stream_of(
    recognizer: Recognizer, clip: Path, gating: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return a clip's smoothed segments, and how they were asked for."""
    gate = SpeechGate(*gating.values()) if gating else None
    stream = Stream(recognizer, window_s=3, hop_s=0.75, smoothing=Smoothing(1.5, 0.2), gate=gate)
    samples, rate = soundfile.read(clip, dtype="float32")
    segments = [*stream.push(resample(samples, rate, 16_000)), *stream.flush()]
    cut = {"windowS": 3, "hopS": 0.75, "smoothing": {"timeS": 1.5, "margin": 0.2}, "gate": gating}
    return {
        "model": str(recognizer.folder),
        "file": str(clip),
        "cut": cut,
        "segments": [asdict(segment) for segment in segments],
    }


def voice_of(recognizer: Recognizer, heard: list[Path], clip: Path) -> dict[str, Any]:
    """Return what is heard of a voice in some clips, and what is then said of another."""
    state = recognizer.adapt(heard)
    stream = Stream(recognizer, hop_s=0.75, adaptation=state)
    samples, rate = soundfile.read(clip, dtype="float32")
    segments = [*stream.push(resample(samples, rate, 16_000)), *stream.flush()]
    assert stream.adaptation is not None
    return {
        "model": str(recognizer.folder),
        "heard": [str(path) for path in heard],
        "state": json.loads(state.to_json()),
        "file": str(clip),
        "probabilities": recognizer.adapted(state).predict(clip).probabilities,
        "segments": [asdict(segment) for segment in segments],
        "count": stream.adaptation.count,
    }


def gate_of(clip: Path, strictness: int) -> dict[str, Any]:
    """Return how much of each tenth of a second is speech."""
    samples, rate = soundfile.read(clip, dtype="float32", always_2d=True)
    detector = SpeechDetector(SpeechGate(strictness), rate)
    detector(samples.mean(axis=1))
    times = [round(i * rate / 10) for i in range(len(samples) * 10 // rate + 1)]
    return {
        "file": str(clip),
        "gating": {"strictness": strictness},
        "shares": [detector.share(*stretch) for stretch in pairwise(times)],
    }


def run_node(
    tmp_path: Path,
    predictions: dict[str, Any],
    streams: list[dict[str, Any]],
    gates: list[dict[str, Any]],
    voice: dict[str, Any],
) -> None:
    answers = tmp_path / "answers.json"
    asked = {"predictions": predictions, "streams": streams, "gates": gates, "voice": voice}
    answers.write_text(json.dumps(asked))
    run = subprocess.run(
        ["node", "--test", "--test-reporter=tap", "tests/answers.test.js"],
        cwd=WEB,
        env={**os.environ, "LIGHTSER_ANSWERS": str(answers)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "\n# pass 5\n" in run.stdout
    assert "\n# skipped 0\n" in run.stdout
    print(*re.findall(r"# (\d+ Hz: .+)", run.stdout), sep="\n")  # seen with -s


def test_its_own_tests_pass() -> None:
    run = subprocess.run(
        ["node", "--test", "--test-reporter=tap", "tests/parts.test.js", "tests/model.test.js"],
        cwd=WEB,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_runtime_is_of_one_version_everywhere() -> None:
    locked = json.loads((WEB / "package-lock.json").read_text())["packages"]
    assert locked["node_modules/onnxruntime-web"]["version"] == VERSION
    assert locked[""]["dependencies"] == {"onnxruntime-web": f"^{VERSION}"}


# The package, as npm packs it


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project in which the packed package is installed, and nothing of the checkout."""
    if not (MODULES / "typescript").is_dir():
        pytest.skip("needs TypeScript: npm ci in packages/lightser-web")
    folder = tmp_path_factory.mktemp("project")
    command = ["npm", "pack", "--silent", "--pack-destination", str(folder)]
    subprocess.run(command, cwd=WEB, check=True, capture_output=True)
    modules = folder / "node_modules"
    modules.mkdir()
    for path in MODULES.iterdir():
        if not path.name.startswith("."):
            (modules / path.name).symlink_to(path)
    (packed,) = folder.glob("*.tgz")
    with tarfile.open(packed) as archive:
        names = {name.removeprefix("package/") for name in archive.getnames()}
        archive.extractall(folder)
    (folder / "package").rename(modules / "lightser-web")
    assert {"package.json", "README.md", "LICENSE", "src/index.js", "types/index.d.ts"} <= names
    assert {name.split("/")[0] for name in names} == {
        *("package.json", "README.md", "LICENSE", "src", "types"),
    }
    (folder / "package.json").write_text('{"type": "module"}')
    return folder


def test_the_packed_package_runs(project: Path, clips: list[Path]) -> None:
    (project / "use.js").write_text(
        'import { readFile } from "node:fs/promises";\n'
        'import { decodeWav, load } from "lightser-web";\n'
        "const [model, clip] = process.argv.slice(2);\n"
        "const { samples, rate } = decodeWav(new Uint8Array(await readFile(clip)).buffer);\n"
        "const { label } = await (await load(model)).predict(samples, rate);\n"
        "console.log(label);\n"
    )
    model = Recognizer.load().folder
    run = subprocess.run(
        ["node", "use.js", model, clips[0]], cwd=project, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == Recognizer.load().predict(clips[0]).label


def test_its_types_are_those_that_a_user_needs(project: Path) -> None:
    shutil.copy(WEB / "tests" / "usage.ts", project)
    options = ["--noEmit", "--strict", "--target", "es2022", "--module", "nodenext", "usage.ts"]
    run = subprocess.run(
        ["node", "node_modules/typescript/bin/tsc", *options],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout


# In Chromium


NAMES = {
    "#folder": "/packages/lightser-web/src/folder.js",
    "onnxruntime-web/wasm": f"/{RUNTIME.relative_to(ROOT).as_posix()}/ort.wasm.bundle.min.mjs",
}


class Quiet(SimpleHTTPRequestHandler):
    """Files of the checkout, and one page that maps the names of packages to addresses."""

    PAGE = f'<script type="importmap">{json.dumps({"imports": NAMES})}</script>'

    def do_GET(self) -> None:
        if self.path != "/page":
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(self.PAGE.encode())

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory, clips: list[Path]) -> Iterator[Tab]:
    handler = functools.partial(Quiet, directory=str(ROOT))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with browsing(tmp_path_factory.mktemp("browser") / "profile", clips[-2]) as opened:
            opened.open(f"http://127.0.0.1:{server.server_port}/page")
            opened.evaluate(
                "(async () => { window.web = await import('/packages/lightser-web/src/index.js');"
                f"window.recognizer = await web.load('{IN_BROWSER}'); }})()"
            )
            yield opened
        server.shutdown()


def assert_alike(found: dict[str, float], expected: dict[str, float]) -> None:
    assert list(found) == list(expected)
    assert max(abs(found[label] - expected[label]) for label in expected) < TOLERANCE


@needs_chromium
@pytest.mark.parametrize("clip", CLIPS, ids=lambda clip: clip.stem)
def test_the_answers_in_chromium_are_those_of_python(
    tab: Tab, recognizers: dict[str, Recognizer], clip: Path
) -> None:
    found = tab.evaluate(
        f"fetch('/{clip.relative_to(ROOT).as_posix()}').then((r) => r.arrayBuffer())"
        ".then(web.decode).then(({ samples, rate }) => recognizer.predict(samples, rate))"
    )
    expected = recognizers[MODELS[0]].predict(clip)
    assert_alike(found["probabilities"], expected.probabilities)
    assert found["durationS"] == expected.duration_s


@needs_chromium
@pytest.mark.parametrize(
    ("kind", "suffix", "rate"),
    [
        ("OGG", "ogg", 24_000),
        ("FLAC", "flac", 44_100),
        ("MP3", "mp3", 48_000),
        ("WAV", "wav", 8_000),
    ],
)
def test_files_are_decoded_at_their_own_rate(
    tab: Tab, recognizers: dict[str, Recognizer], tmp_path: Path, kind: str, suffix: str, rate: int
) -> None:
    samples, own = soundfile.read(CLIPS[0], dtype="float32")
    clip = tmp_path / f"clip.{suffix}"
    soundfile.write(clip, resample(samples, own, rate), rate, format=kind)
    tab.evaluate(f"window.given = Uint8Array.from({list(clip.read_bytes())}).buffer")
    found = tab.evaluate(
        "web.decode(given).then(async ({ samples, rate }) => "
        "({ rate, ...(await recognizer.predict(samples, rate)) }))"
    )
    assert found["rate"] == rate
    expected = recognizers[MODELS[0]].predict(clip)
    difference = max(abs(found["probabilities"][k] - p) for k, p in expected.probabilities.items())
    # Two decoders of what is lossy agree less.
    assert difference < (TOLERANCE if suffix in ("wav", "flac") else 2e-2)


@needs_chromium
def test_what_is_no_audio_is_refused_by_the_browser(tab: Tab) -> None:
    said = tab.evaluate(
        "web.decode(new TextEncoder().encode('no audio at all').buffer)"
        ".catch((error) => [error instanceof web.BadAudio, error.message])"
    )
    assert said[0]
    assert "cannot decode the file" in said[1]


@needs_chromium
def test_the_microphone_is_heard_as_python_hears_the_same_samples(
    tab: Tab, recognizers: dict[str, Recognizer]
) -> None:
    heard = tab.evaluate(
        """(async () => {
            const microphone = await web.Microphone.open();
            const parts = [];
            let n = 0;
            for await (const chunk of microphone) {
                parts.push(...chunk);
                if ((n += chunk.length) > 4.2 * microphone.sampleRate) break;
            }
            const rate = microphone.sampleRate;
            const samples = Float32Array.from(parts);
            const segments = [];
            for await (const segment of recognizer.segments(samples, rate, { hopS: 0.5 })) {
                segments.push(segment);
            }
            return { rate, segments, samples: Array.from(samples) };
        })()"""
    )
    samples = np.array(heard["samples"], np.float32)
    assert np.abs(samples).max() > 0.05
    stream = Stream(recognizers[MODELS[0]], hop_s=0.5, sample_rate=heard["rate"])
    expected = [*stream.push(samples), *stream.flush()]
    assert [(s["start"], s["end"]) for s in heard["segments"]] == [
        (s.start, s.end) for s in expected
    ]
    for found, segment in zip(heard["segments"], expected, strict=True):
        assert_alike(found["probabilities"], segment.probabilities)


@needs_chromium
def test_listening_ends_when_it_is_told_to(tab: Tab) -> None:
    segments = tab.evaluate(
        """(async () => {
            const gate = await web.loadGate({ strictness: 0 });
            const ending = new AbortController();
            const found = [];
            for await (const segment of web.listen(recognizer, {
                windowS: 1, hopS: 0.5, smoothing: {}, gate, signal: ending.signal,
            })) {
                found.push(segment);
                if (found.length === 2) ending.abort();
            }
            return found;
        })()"""
    )
    assert [(s["start"], s["end"]) for s in segments[:2]] == [(0, 1), (0.5, 1.5)]
    assert 2 <= len(segments) <= 4
