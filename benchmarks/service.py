"""How fast ``lightser serve`` answers, and what it holds in memory before and after.

    python benchmarks/service.py --model default --requests 300

Starts a server on the loopback with its default limits, asks it from this process over 1 to 8
connections that stay open, and writes ``benchmarks/service.md``. Client and server share the
machine, so what the client itself needs is in the figures. Linux.
"""

import argparse
import asyncio
import json
import os
import platform
import re
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import soundfile
from websockets.asyncio.client import connect

import lightser
from lightser import Recognizer

HERE = Path(__file__).parent
CLIP = HERE.parent / "lightser" / "samples" / "10b10Wa.flac"
CONNECTIONS = (1, 2, 4, 8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="default")
    parser.add_argument(
        "--requests", type=int, default=300, help="for a row, of segments a quarter"
    )
    arguments = parser.parse_args()
    others = os.getloadavg()[0]
    command = [sys.executable, "-m", "lightser", "serve", "--port", "0", "--model", arguments.model]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        try:
            port = port_of(server)
            table = asyncio.run(measure(port, server.pid, arguments.requests))
        finally:
            server.terminate()
    card = Recognizer.load(arguments.model).card
    (HERE / "service.md").write_text(as_markdown(table, card.name, card.parameters, others))


def port_of(server: "subprocess.Popen[str]") -> int:
    """Wait until the server says where it listens; forget what else it logs."""
    assert server.stderr is not None
    for line in server.stderr:
        if (event := json.loads(line))["event"] == "listening":
            # A pipe that nobody reads would fill up and stop the server.
            threading.Thread(target=deque, args=(server.stderr, 0), daemon=True).start()
            return int(event["url"].rpartition(":")[2])
    raise SystemExit("The server did not start.")


def resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]


async def measure(port: int, pid: int, n: int) -> list[list[str]]:
    """Return the rows of the table."""
    clip = CLIP.read_bytes()
    await load(port, "/v1/predict", clip, 1, 20)  # so that all is loaded
    before = resident_mb(pid)
    rows = []
    for path, n_asked in (("/v1/predict", n), ("/v1/segments?window_s=1&hop_s=0.25", n // 4)):
        for connections in CONNECTIONS:
            begin = time.perf_counter()
            seconds = await load(port, path, clip, connections, n_asked)
            rate = len(seconds) / (time.perf_counter() - begin)
            name = f"`POST {path}`, {connections} at once"
            rows.append([name, *quantiles(seconds), f"{rate:.0f}"])
    for streams in (1, 4):
        begin = time.perf_counter()
        seconds = await listen(port, streams, n // 5)
        rate = len(seconds) / (time.perf_counter() - begin)
        name = f"`WebSocket /v1/stream`, {streams} at once, a second of audio"
        rows.append([name, *quantiles(seconds), f"{rate:.0f}"])
    # Large bodies, six at a time: what they need must be given back.
    large = np.tile(soundfile.read(CLIP, dtype="int16")[0], 40)
    file = HERE / ".service-large.wav"
    try:
        soundfile.write(file, large, 16_000)
        body = file.read_bytes()
    finally:
        file.unlink(missing_ok=True)
    begin = time.perf_counter()
    seconds = await load(port, "/v1/predict", body, 6, 18)
    rate = len(seconds) / (time.perf_counter() - begin)
    name = f"`POST /v1/predict`, {len(large) / 16_000:.0f} s of WAV ({len(body) / 1e6:.1f} MB), 6"
    rows.append([name + " at once", *quantiles(seconds), f"{rate:.1f}"])
    after = resident_mb(pid)
    await load(port, "/v1/predict", body, 6, 18)
    again = resident_mb(pid)
    rows.append([f"memory of the server: {before:.0f} MB before the first row, {after:.0f} MB after"
                 f" the last, {again:.0f} MB after the last once more", "", "", ""])  # fmt: skip
    return rows


def quantiles(seconds: list[float]) -> list[str]:
    return [f"{1000 * np.quantile(seconds, q):.1f}" for q in (0.5, 0.99)]


async def load(port: int, path: str, body: bytes, connections: int, n: int) -> list[float]:
    """Send a body ``n`` times over some connections; return the seconds of each answer."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n"
    seconds: list[float] = []
    left = iter(range(n))

    async def ask() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in left:
            begin = time.perf_counter()
            writer.write(head.encode() + body)
            await writer.drain()
            answer = await reader.readuntil(b"\r\n\r\n")
            size = re.search(rb"content-length: (\d+)", answer)
            await reader.readexactly(int(size[1]))  # type: ignore[index]
            if not answer.startswith(b"HTTP/1.1 200 "):
                raise SystemExit(answer.decode())
            seconds.append(time.perf_counter() - begin)
        writer.close()

    await asyncio.gather(*(ask() for _ in range(connections)))
    return seconds


async def listen(port: int, streams: int, n: int) -> list[float]:
    """Send seconds of audio, each after the answer to the last; return how long these took."""
    second = soundfile.read(CLIP, dtype="int16", frames=16_000)[0].tobytes()
    seconds: list[float] = []

    async def talk() -> None:
        address = f"ws://127.0.0.1:{port}/v1/stream?window_s=1&hop_s=1&sample_rate=16000"
        async with connect(address) as socket:
            await socket.recv()
            for _ in range(n):
                begin = time.perf_counter()
                await socket.send(second)
                await socket.recv()
                seconds.append(time.perf_counter() - begin)

    await asyncio.gather(*(talk() for _ in range(streams)))
    return seconds


def as_markdown(rows: list[list[str]], model: str, parameters: int, load_average: float) -> str:
    """Return the page."""
    *rows, (memory, *_) = rows
    duration_s = soundfile.info(CLIP).duration
    versions = f"lightser {lightser.__version__}, Python {platform.python_version()}"
    cores = len(os.sched_getaffinity(0))
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"""# The service

Written by `benchmarks/service.py`. Milliseconds from the first byte sent to the last received, and
answers per second. The clip is {CLIP.name}, {duration_s:.1f} s of FLAC; the model is {model},
{parameters:,} parameters. {versions}; {cores} cores, which client and server shared with a load
average of {load_average:.1f} of other work.

| what | p50 | p99 | per second |
|---|---|---|---|
{table}

{memory[0].upper()}{memory[1:]}.
"""


if __name__ == "__main__":
    main()
