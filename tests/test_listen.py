"""``lightser listen``, as a person, a pipe or a script uses it; and the pages that speak of it."""

import json
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from fcntl import ioctl
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from conftest import heed_interrupts
from model_folder import ANGER, HAPPINESS, LABELS, SADNESS, write_model
from rich.console import Console

from lightser import Recognizer, Segment, Stream
from lightser.audio.files import read_audio
from lightser.cli import recording as kept
from lightser.cli.hearing import CHUNK_S, Playback
from lightser.cli.live_view import LiveView, bar, clock, decibels
from lightser.cli.recording import Recording
from lightser.errors import BadAudio, LightserError
from lightser.inference.segments import SILENCE
from lightser.inference.smoothing import Smoothing
from lightser.inference.vad import SpeechGate

ROOT = Path(__file__).parent.parent
RATE = 16_000
QUIET = np.random.default_rng(0).normal(0, 1e-4, 4 * RATE).astype(np.float32)
TALK = np.concatenate([read_audio(ANGER), QUIET, read_audio(SADNESS), read_audio(HAPPINESS)])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "small")


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a recording of three voices with a pause, 11 s."""
    path = tmp_path_factory.mktemp("audio") / "talk.flac"
    soundfile.write(path, TALK, RATE)
    return path


def command(*words: Any) -> list[str]:
    return [sys.executable, "-m", "lightser", "listen", *map(str, words)]


def listen(*words: Any, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*words), capture_output=True, text=True, timeout=60, cwd=ROOT, **options
    )


def segments(model: Path, path: Path, **options: Any) -> list[Segment]:
    """Return what the command should hear."""
    options = {"hop_s": 0.5, "smoothing": Smoothing(), "gate": SpeechGate()} | options
    stream = Stream(Recognizer.load(model), **options)
    return [*stream.push(read_audio(path)), *stream.flush()]


# In a pipe


def test_a_file_that_is_played_is_heard_as_the_stream_hears_it(model: Path, talk: Path) -> None:
    run = listen("--input", talk, "--fast", "--json", "--model", model)
    assert (run.returncode, run.stderr) == (0, "")
    rows = [json.loads(line) for line in run.stdout.splitlines()]
    expected = segments(model, talk)
    assert len(rows) == len(expected) > 15
    for said, segment in zip(rows, expected, strict=True):
        assert (said["file"], said["label"]) == (str(talk), segment.label)
        numbers = (said["start"], said["end"], said["confidence"])
        assert numbers == pytest.approx((segment.start, segment.end, segment.confidence), abs=1e-6)
        assert said["probabilities"] == pytest.approx(segment.probabilities, abs=1e-6)
    assert SILENCE in {said["label"] for said in rows}


def test_gate_smoothing_window_and_hop_are_as_asked(model: Path, talk: Path) -> None:
    words = ["--no-vad", "--smooth", 0, "--window", 1, "--hop", 0.7]
    run = listen("--input", talk, "--fast", "--json", "--model", model, *words)
    rows = [json.loads(line) for line in run.stdout.splitlines()]
    expected = segments(model, talk, window_s=1, hop_s=0.7, smoothing=None, gate=None)
    assert [said["label"] for said in rows] == [segment.label for segment in expected]
    assert SILENCE not in {said["label"] for said in rows}


def test_a_pipe_gets_a_plain_line_for_each_segment(model: Path, talk: Path) -> None:
    run = listen("--input", talk, "--fast", "--model", model)
    lines = run.stdout.splitlines()
    assert len(lines) == len(segments(model, talk))
    assert all(re.fullmatch(r"\d+\.\d\d-\d+\.\d\d s  [a-z]+ \d+ %", line) for line in lines)


def test_how_fast_it_was_is_told_on_request(model: Path, talk: Path) -> None:
    run = listen("--input", talk, "--fast", "--json", "--model", model, "--stats")
    n, heard_s = len(run.stdout.splitlines()), len(TALK) / RATE
    assert run.stderr.startswith(f"lightser: {n} segments of {heard_s:.1f} s of audio in ")
    found = re.search(r"real-time factor (\d\.\d+), latency [\d.]+ ms", run.stderr)
    assert found and 0 < float(found[1]) < 1


def test_a_reader_that_has_enough_gets_no_traceback(model: Path, talk: Path) -> None:
    words = ["--input", talk, "--fast", "--json", "--model", model, "--hop", 0.01]
    with subprocess.Popen(
        command(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout and process.stderr
        process.stdout.readline()  # as head -1 does
        process.stdout.close()
        assert process.stderr.read() == b""


# Time


def test_a_file_plays_in_its_own_time_or_as_fast_as_it_is_heard() -> None:
    duration_s = len(read_audio(HAPPINESS)) / RATE

    def play(fast: bool) -> tuple[float, int]:
        began = time.monotonic()
        chunks = list(Playback(str(HAPPINESS), RATE, fast=fast).chunks())
        heard = [wave for wave in chunks if wave is not None]
        np.testing.assert_array_equal(np.concatenate(heard), read_audio(HAPPINESS))
        return time.monotonic() - began, len(chunks) - len(heard)

    _, waits = play(fast=True)
    assert waits == 0
    lasted, waits = play(fast=False)
    assert lasted >= duration_s and waits > 0


def test_what_is_paused_waits_and_goes_on_where_it_was() -> None:
    playback = Playback(str(HAPPINESS), RATE, fast=True)
    chunks = playback.chunks()
    heard = [next(chunks) for _ in range(3)]
    playback.paused = True
    assert [next(chunks) for _ in range(5)] == [None] * 5
    playback.paused = False
    heard += [wave for wave in chunks if wave is not None]
    np.testing.assert_array_equal(np.concatenate(heard), read_audio(HAPPINESS))  # type: ignore[arg-type]
    assert all(len(wave) == round(CHUNK_S * RATE) for wave in heard[:-1])  # type: ignore[arg-type]


# What is kept


def test_a_recording_keeps_audio_and_segments(model: Path, talk: Path, tmp_path: Path) -> None:
    words = ["--input", talk, "--fast", "--json", "--model", model]
    run = listen(*words, "--record", tmp_path / "kept")
    assert sorted(os.listdir(tmp_path / "kept")) == ["audio.wav", "segments.jsonl"]
    audio, rate = soundfile.read(tmp_path / "kept" / "audio.wav", dtype="int16")
    np.testing.assert_array_equal(audio, soundfile.read(talk, dtype="int16")[0])
    assert rate == RATE
    lines = (tmp_path / "kept" / "segments.jsonl").read_text().splitlines()
    kept, said = ([json.loads(line) for line in x] for x in (lines, run.stdout.splitlines()))
    assert {row.pop("file") for row in kept} == {"audio.wav"}
    assert {row.pop("file") for row in said} == {str(talk)}
    assert kept == said


def test_nothing_that_was_kept_is_overwritten(model: Path, talk: Path, tmp_path: Path) -> None:
    (tmp_path / "audio.wav").write_text("mine")
    run = listen("--input", talk, "--fast", "--model", model, "--record", tmp_path)
    assert (run.returncode, run.stdout) == (2, "")
    assert "audio.wav exists; give another folder" in run.stderr and run.stderr.count("\n") == 1
    assert (tmp_path / "audio.wav").read_text() == "mine" and len(os.listdir(tmp_path)) == 1


def test_a_recording_is_whole_at_any_moment(tmp_path: Path) -> None:
    recording = Recording(tmp_path, RATE, LABELS)
    for n in (1, 2, 3):
        recording.hear(TALK[:RATE])
        assert soundfile.info(tmp_path / ".audio.wav").frames == n * RATE
    with recording:
        pass
    assert sorted(os.listdir(tmp_path)) == ["audio.wav", "segments.jsonl"]


def test_a_recording_that_was_cut_off_is_not_written_over(tmp_path: Path) -> None:
    recording = Recording(tmp_path, RATE, LABELS)
    recording.hear(TALK[:RATE])
    with pytest.raises(LightserError, match="is of a recording that was cut off; give another"):
        Recording(tmp_path, RATE, LABELS)
    assert soundfile.info(tmp_path / ".audio.wav").frames == RATE


def test_a_recording_ends_where_a_wav_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "_MOST_BYTES", 3 * RATE)
    with (
        pytest.raises(LightserError, match="as long as a WAV can be"),
        Recording(tmp_path, RATE, LABELS) as recording,
    ):
        recording.hear(TALK[:RATE])
        recording.hear(TALK[:RATE])
    assert soundfile.info(tmp_path / "audio.wav").frames == RATE
    assert sorted(os.listdir(tmp_path)) == ["audio.wav", "segments.jsonl"]


@pytest.mark.parametrize("samples", [10, 1000])  # for each segment: lines fill it, or audio
def test_a_disk_that_fills_keeps_what_was_heard(tmp_path: Path, samples: int) -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    heard = Segment(0.0, 1.0, "anger", 1.0, dict.fromkeys(LABELS, 1.0))
    try:
        with (
            pytest.raises(LightserError, match=r"kept: cannot be written any more .* is kept in"),
            Recording(tmp_path / "kept", RATE, LABELS) as recording,
        ):
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
            for at in range(0, len(TALK), samples):
                recording.hear(TALK[at : at + samples])
                recording.say(heard)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert sorted(os.listdir(tmp_path / "kept")) == ["audio.wav", "segments.jsonl"]
    assert 0 < soundfile.info(tmp_path / "kept" / "audio.wav").frames < 10_000
    lines = (tmp_path / "kept" / "segments.jsonl").read_text().splitlines()
    assert [json.loads(line)["end"] for line in lines] == [1.0] * len(lines) != []


def test_what_is_too_loud_is_cut_and_does_not_wrap(tmp_path: Path) -> None:
    with Recording(tmp_path, RATE, LABELS) as recording:
        recording.hear(np.array([-2, -1, 0, 1, 2], np.float32))
    kept = soundfile.read(tmp_path / "audio.wav", dtype="int16")[0]
    assert kept.tolist() == [-32768, -32768, 0, 32767, 32767]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_a_polite_end_keeps_what_was_heard(
    model: Path, talk: Path, tmp_path: Path, name: str
) -> None:
    words = ["--input", talk, "--json", "--model", model, "--record", tmp_path / "kept"]
    with subprocess.Popen(
        command(*words, "--window", 0.5), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout and process.stderr
        first = process.stdout.readline()  # it plays in its own time
        process.send_signal(getattr(signal, name))
        rest, said = process.stdout.read(), process.stderr.read()
    assert (process.returncode, said) == (0, "")
    kept = (tmp_path / "kept" / "segments.jsonl").read_text().splitlines()
    assert len(kept) == len((first + rest).splitlines())
    seconds = soundfile.info(tmp_path / "kept" / "audio.wav").duration
    assert 0.5 <= seconds < len(TALK) / RATE
    assert json.loads(kept[-1])["end"] == pytest.approx(seconds)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_pipe_that_does_not_end_is_announced_and_can_be_left(
    model: Path, tmp_path: Path, name: str
) -> None:
    os.mkfifo(tmp_path / "pipe")
    words = ["--input", tmp_path / "pipe", "--model", model]
    with subprocess.Popen(
        command(*words), stderr=subprocess.PIPE, text=True, preexec_fn=heed_interrupts
    ) as process:
        assert process.stderr
        assert "pipe, which is read to its end before" in process.stderr.readline()
        with open(tmp_path / "pipe", "wb") as pipe:  # waits until it is opened there, too
            pipe.write(b"RIFF")
            pipe.flush()
            process.send_signal(getattr(signal, name))
            assert process.wait(60) == 130
        assert process.stderr.read() == "lightser: interrupted\n"


# What goes wrong


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--input", "nowhere.wav"], "no such file"),
        (["--input", str(ROOT / "README.md")], "not audio"),
        (["--input", str(ANGER), "--hop", "9"], "goes unheard"),
        (["--input", str(ANGER), "--smooth", "-1"], "Smoothing over -1.0 s"),
        (["--device", "no such microphone"], "icrophone"),
    ],
)
def test_what_cannot_be_heard_is_one_line(model: Path, words: list[str], complaint: str) -> None:
    run = listen(*words, "--model", model)
    assert (run.returncode, run.stdout) == (2, "")
    assert complaint in run.stderr and run.stderr.count("\n") == 1


def test_segments_before_the_damage_are_said_and_kept(
    model: Path, talk: Path, tmp_path: Path
) -> None:
    content = talk.read_bytes()
    (tmp_path / "cut.flac").write_bytes(content[: len(content) // 2])
    words = ["--input", tmp_path / "cut.flac", "--fast", "--model", model]
    run = listen(*words, "--record", tmp_path / "kept")
    assert run.returncode == 2 and run.stderr.count("\n") == 1
    kept = (tmp_path / "kept" / "segments.jsonl").read_text().splitlines()
    assert len(kept) == len(run.stdout.splitlines())


def without(module: str, error: str) -> subprocess.CompletedProcess[str]:
    """Run ``lightser listen`` where a module cannot be imported."""
    code = f"""
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == {module!r}:
            raise {error}
sys.meta_path.insert(0, Missing())
from lightser.cli import main
main()
"""
    words = ["listen", "--model", os.environ["TEST_MODEL"], "--input", str(ANGER), "--fast"]
    words = words[:3] if module == "sounddevice" else words
    return subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)


@pytest.mark.parametrize(
    ("module", "error", "complaint"),
    [
        ("sounddevice", "ModuleNotFoundError", "to a microphone needs an extra: pip install"),
        ("sounddevice", "OSError('PortAudio library not found')", "apt install libportaudio2"),
        ("webrtcvad", "ModuleNotFoundError", "speech from silence needs an extra: pip install"),
    ],
)
def test_what_is_not_installed_is_named_with_how_to_get_it(
    model: Path, monkeypatch: pytest.MonkeyPatch, module: str, error: str, complaint: str
) -> None:
    monkeypatch.setenv("TEST_MODEL", str(model))
    run = without(module, error)
    assert (run.returncode, run.stdout, run.stderr.count("\n")) == (2, "", 1)
    assert complaint in run.stderr


# The microphone


def test_a_microphone_is_heard_through_portaudio(model: Path, tmp_path: Path) -> None:
    """ALSA plays a file into a device of its own, without waiting for time to go by."""
    try:
        import sounddevice  # noqa: F401
    except (ImportError, OSError):
        pytest.skip("needs PortAudio: pip install 'lightser[live]', apt install libportaudio2")
    if sys.platform != "linux" or not Path("/usr/share/alsa/alsa.conf").exists():
        pytest.skip("needs ALSA: apt install libasound2-data")
    TALK.astype("<f4").tofile(tmp_path / "talk.raw")
    (tmp_path / ".asoundrc").write_text(
        'pcm.talk { type rate slave { pcm "file" rate 16000 } }\n'
        'pcm.file { type file slave.pcm "null" file "/dev/null"'
        f' infile "{tmp_path}/talk.raw" format "raw" }}\n'
        'pcm.spoken { type plug slave.pcm "file" }\n'
    )
    words = ["--device", "spoken", "--model", model, "--json", "--record", tmp_path / "kept"]
    with subprocess.Popen(
        command(*words),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"HOME": str(tmp_path)},
    ) as process:
        assert process.stdout and process.stderr
        said = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGTERM)
        process.stdout.read(), process.stderr.read()
    assert process.returncode == 0
    assert said["file"] == "spoken"
    audio, _ = soundfile.read(tmp_path / "kept" / "audio.wav", dtype="float32", frames=RATE)
    np.testing.assert_allclose(audio, TALK[:RATE], atol=2.0**-15)


# On a terminal


class Terminal:
    """A terminal of some size, with a command that runs in it."""

    def __init__(self, words: list[str], *, columns: int = 80, rows: int = 30, **settings: str):
        self.parent, self.child = pty.openpty()
        ioctl(self.child, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.before = termios.tcgetattr(self.child)
        environment = os.environ | {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8"} | settings
        for name in ("NO_COLOR", "COLUMNS", "LINES"):
            environment.pop(name, None)
        ends = dict.fromkeys(("stdin", "stdout", "stderr"), self.child)
        self.process = subprocess.Popen(words, env=environment, **ends)  # type: ignore[call-overload]
        self.shown = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                self.shown += os.read(self.parent, 65_536).decode("utf-8", "replace")
            except OSError:
                return

    def wait_for(self, words: str, timeout_s: float = 60.0) -> None:
        end = time.monotonic() + timeout_s
        while words not in self.shown:
            assert time.monotonic() < end, f"'{words}' is not shown: {self.shown[-2000:]}"
            time.sleep(0.02)

    def press(self, key: str) -> None:
        os.write(self.parent, key.encode())

    def end(self) -> str:
        """Wait for the command, and return all that was shown, without colours."""
        self.process.wait(60)
        self.after = termios.tcgetattr(self.child)
        os.close(self.child)
        self._reader.join(60)
        os.close(self.parent)
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.shown).replace("\r", "")


@pytest.fixture
def on_terminal(request: pytest.FixtureRequest) -> Iterator[Any]:
    started: list[Terminal] = []

    def start(*words: Any, **options: Any) -> Terminal:
        started.append(Terminal(command(*words), **options))
        return started[-1]

    yield start
    for terminal in started:
        if terminal.process.poll() is None:
            terminal.process.kill()
            terminal.process.wait()


def test_a_terminal_shows_bars_level_and_past_and_leaves_a_summary(
    model: Path, talk: Path, on_terminal: Any
) -> None:
    terminal = on_terminal("--input", talk, "--model", model, "--window", 1)
    terminal.wait_for("0:02")
    terminal.press("q")
    shown = terminal.end()
    assert terminal.process.returncode == 0
    for words in (*LABELS, "lightser · small", "talk.flac", "level", " dB", "s ago", "now"):
        assert words in shown
    assert "space pause · q quit" in shown
    summary = shown.rstrip().split("\n")[-1]
    assert len(summary) <= 80
    assert re.match(r"\d:\d\d heard   ● [a-z]+ \d+ %", summary)


def test_space_pauses_and_q_quits_and_the_terminal_is_as_it_was(
    model: Path, talk: Path, tmp_path: Path, on_terminal: Any
) -> None:
    words = ["--input", talk, "--model", model, "--record", tmp_path / "kept"]
    terminal = on_terminal(*words, "--window", 0.5)
    terminal.wait_for("0:01")
    terminal.press(" ")
    terminal.wait_for("paused")
    at = terminal.shown.rfind("paused")
    time.sleep(1.5)
    heard = set(re.findall(r"\d:\d\d(?=\x1b|\s)", terminal.shown[at:]))
    assert len(heard) == 1  # the clock stands
    terminal.press("\x1b[A")  # an arrow is no key of ours
    terminal.press(" ")
    time.sleep(0.3)
    terminal.press("Q")
    terminal.end()
    assert terminal.process.returncode == 0
    assert terminal.after == terminal.before
    assert soundfile.info(tmp_path / "kept" / "audio.wav").duration < 4


def test_a_terminal_without_unicode_gets_ascii(model: Path, talk: Path, on_terminal: Any) -> None:
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    words = ["--input", talk, "--model", model, "--window", 0.5]
    terminal = on_terminal(*words, columns=60, **plain)
    terminal.wait_for("0:01")
    terminal.press("q")
    shown = terminal.end()
    assert terminal.process.returncode == 0 and shown.isascii()
    assert "lightser - small" in shown and re.search(r"anger +[#=+*:. -]+ +\d+ %", shown)


# What is drawn


def view_of(name: str) -> LiveView:
    return LiveView(
        title="lightser", name=name, labels=LABELS, window_s=3, hop_s=0.5, keys="q quit"
    )


def heard_view(monkeypatch: pytest.MonkeyPatch, columns: int, rows: int) -> list[str]:
    """Return the lines of a view that has heard a little."""
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("LINES", str(rows))
    name = "a recording with a very long name " * 4
    view = view_of(name)
    view._console = Console(width=columns, height=rows, force_terminal=True, color_system=None)
    rng = np.random.default_rng(0)
    for i, p in enumerate(rng.dirichlet(np.ones(len(LABELS)), 150)):
        view.hear(TALK[8_000 * (i % 20) :][:8_000], 0.5)
        named = dict(zip(LABELS, p.tolist(), strict=True))
        label = max(named, key=named.__getitem__)
        view.say(Segment(i / 2, i / 2 + 3, label, named[label], named))
    with view._console.capture() as captured:
        view._console.print(view.frame())
    return captured.get().splitlines()


@pytest.mark.parametrize("columns", [28, 40, 60, 80, 200])
@pytest.mark.parametrize("rows", [12, 16, 24, 50])
def test_a_view_fits_its_terminal_and_shows_every_emotion(
    monkeypatch: pytest.MonkeyPatch, columns: int, rows: int
) -> None:
    lines = heard_view(monkeypatch, columns, rows)
    assert max(map(len, lines)) <= columns and len({len(line) for line in lines}) == 1
    assert len(lines) < rows
    for label in LABELS:
        assert any(re.search(rf"{label} .* \d+ %", line) for line in lines)
    assert any("level" in line and " dB" in line for line in lines) == (rows >= 16)
    assert ("now" in lines[-2]) == (rows >= 24)


def test_the_past_is_coloured_by_the_middle_of_each_window() -> None:
    view = view_of("clip")
    for end in np.arange(0.5, 20.5, 0.5):
        view.hear(TALK[:800], 0.5)
        if end >= 3:
            label = "anger" if end - 1.5 < 10 else "sadness"
            probabilities = {name: float(name == label) for name in LABELS}
            view.say(Segment(end - 3, end, label, 1.0, probabilities))
    columns = [view._label_of(column - view._lag, 35) for column in range(40)]
    assert columns == ["anger"] * 20 + ["sadness"] * 20


def test_a_bar_is_as_long_as_its_share() -> None:
    for width in (1, 7, 40):
        bars = [bar(share, width) for share in np.linspace(0, 1, 8 * width + 1)]
        assert len(set(bars)) == 8 * width + 1
        assert {len(cells) for cells in bars} == {width}
        assert [b.count("█") for b in bars] == sorted(b.count("█") for b in bars)


def test_a_meter_reads_decibels_of_full_scale() -> None:
    t = np.arange(RATE) / RATE
    for amplitude in (1.0, 0.5, 0.01):
        sine = (amplitude * np.sin(2 * np.pi * 440 * t)).astype(np.float32)
        expected = 20 * np.log10(amplitude / np.sqrt(2))
        assert decibels(sine) == pytest.approx(expected, abs=0.01)
    assert decibels(np.zeros(0, np.float32)) == -60


def test_a_clock_counts_whole_seconds() -> None:
    assert [clock(s) for s in (0, 59.99, 60, 36_000)] == ["0:00", "0:59", "1:00", "10:00:00"]


def test_a_playback_refuses_a_bad_file_at_once(tmp_path: Path) -> None:
    with pytest.raises(BadAudio, match="no such file"):
        Playback(str(tmp_path / "none.wav"), RATE, fast=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(LightserError, match="cannot be written"):
        Recording(tmp_path / "file" / "below", RATE, LABELS)


# The pages


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    """Return a folder with the recordings that the pages speak of, and ``bin/lightser``."""
    folder = tmp_path_factory.mktemp("home")
    soundfile.write(folder / "talk.wav", TALK, RATE)
    soundfile.write(folder / "call.wav", np.stack([TALK, TALK[::-1]], axis=1), RATE)
    weights = folder / "weights"
    shutil.copytree(model, weights / "small")
    (weights / "default.txt").write_text("small")
    (folder / "bin").mkdir()
    (folder / "bin" / "lightser").write_text(
        f"#!{sys.executable}\n"
        "from pathlib import Path\n"
        "from lightser import bundled\n"
        f"bundled.WEIGHTS = Path({str(weights)!r})\n"
        "from lightser.cli import main\n"
        "main()\n"
    )
    (folder / "bin" / "lightser").chmod(0o755)
    return folder


def examples(page: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```console\n(.*?)^```$", text, re.M | re.S)
    lines = [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]
    return [line for line in lines if line != "lightser listen"]  # it listens until it is told


@pytest.mark.parametrize(
    "line", [*examples("live.md"), *examples("long-recordings.md")], ids=lambda line: line[:60]
)
def test_an_example_of_the_pages_runs_as_it_is_written(home: Path, line: str) -> None:
    environment = os.environ | {
        "PATH": f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    run = subprocess.run(
        ["bash", "-e", "-c", line],
        capture_output=True, text=True, cwd=home, env=environment, timeout=120,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert "Traceback" not in run.stderr
    for name in re.findall(r"--(?:out|plot|record) ([\w./]+)", line):
        assert (home / name).exists()
    if "--out" not in line:
        assert len(run.stdout.splitlines()) >= 2


def test_the_page_shows_the_table_that_was_measured() -> None:
    measured = (ROOT / "benchmarks" / "segments.md").read_text(encoding="utf-8")
    rows = [line for line in measured.splitlines() if line.startswith("|")]
    page = (ROOT / "docs" / "live.md").read_text(encoding="utf-8")
    assert len(rows) > 10
    assert "\n".join(rows) in page
