"""The Dockerfile: no container engine is needed to read its instructions and to run its steps."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import urllib.request
import zipfile
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import pytest

from lightser import Recognizer, __version__

ROOT = Path(__file__).parent.parent
ANGER = ROOT / "lightser" / "samples" / "10b10Wa.flac"

# Instruction and its words, one stage after another.
Instruction = tuple[str, str]
KNOWN = {
    *("ARG", "FROM", "WORKDIR", "COPY", "RUN", "LABEL", "ENV", "USER", "EXPOSE", "HEALTHCHECK"),
    *("STOPSIGNAL", "ENTRYPOINT", "CMD"),
}


def instructions() -> list[Instruction]:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n\s*", "", text)
    return [(w[0], w[1]) for line in joined.splitlines() if len(w := line.split(None, 1)) == 2]


def stages() -> list[list[Instruction]]:
    made: list[list[Instruction]] = []
    for name, rest in instructions():
        if name == "FROM":
            made.append([])
        if made:
            made[-1].append((name, rest))
    return made


def last(name: str) -> str:
    """Return the words of the last such instruction of what runs."""
    return [rest for found, rest in stages()[-1] if found == name][-1]


def words_of(name: str) -> list[str]:
    listed = last(name)
    return list(json.loads(listed[listed.index("[") :]))


def environment() -> dict[str, str]:
    return dict(word.split("=", 1) for word in shlex.split(last("ENV")))


def copied() -> list[str]:
    """Return what the build takes from the source tree."""
    return [path for name, rest in stages()[0] if name == "COPY" for path in rest.split()[:-1]]


# What it says


def test_every_instruction_is_one_that_exists() -> None:
    assert {name for name, _ in instructions()} <= KNOWN
    assert len(stages()) == 2


def test_what_runs_is_built_elsewhere_and_holds_no_sources() -> None:
    copies = [rest for name, rest in stages()[-1] if name == "COPY"]
    assert [copy.split()[0] for copy in copies] == ["--from=build"]
    assert all(
        " AS " not in rest or "-slim" in rest for name, rest in stages()[0] if name == "FROM"
    )
    assert not [rest for name, rest in stages()[-1] if name == "RUN"]


def test_it_does_not_run_as_root() -> None:
    user, group = last("USER").split(":")
    assert int(user) >= 10_000 and int(group) >= 10_000
    names = [name for name, _ in stages()[-1]]
    assert names.index("USER") < names.index("ENTRYPOINT")


def test_it_holds_no_secret() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").lower()
    assert not re.search(r"password|token|secret|api_key|lightser_api_keys", text)
    assert not re.search(r"https?://(?!127\.0\.0\.1)", text), "nothing is fetched but packages"


def test_its_command_exists_and_listens_where_the_health_is_looked_for() -> None:
    assert words_of("ENTRYPOINT") == ["lightser"]
    assert words_of("CMD") == ["serve", "--host", "0.0.0.0"]
    port = last("EXPOSE")
    assert f"http://127.0.0.1:{port}/healthz" in last("HEALTHCHECK")
    serve = subprocess.run(
        [sys.executable, "-m", "lightser", "serve", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert port in serve.stdout


def test_the_build_sees_what_it_copies_and_nothing_else() -> None:
    rules = (ROOT / ".dockerignore").read_text(encoding="utf-8").split("\n")
    allowed = {rule[1:] for rule in rules if rule.startswith("!")}
    assert "*" in rules
    assert allowed == set(copied())
    assert all((ROOT / path).exists() for path in allowed)


# What it does


def needed(name: str, extras: frozenset[str]) -> dict[str, Distribution]:
    """Return the distributions that pip would install for a requirement, by name."""
    from packaging.requirements import Requirement

    found: dict[str, Distribution] = {}
    waiting = [(name, extras)]
    seen = set()
    while waiting:
        item = waiting.pop()
        if item in seen:
            continue
        seen.add(item)
        wanted, with_extras = item
        try:
            found[wanted] = distribution(wanted)
        except PackageNotFoundError:
            pytest.skip(f"needs {wanted}, as the extra serve brings it")
        for line in found[wanted].requires or []:
            requirement = Requirement(line)
            if requirement.marker is None or any(
                requirement.marker.evaluate({"extra": extra}) for extra in {"", *with_extras}
            ):
                waiting.append((requirement.name.lower(), frozenset(requirement.extras)))
    return found


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the steps of the build, with packages that are here instead of downloaded ones.

    The environment holds the wheel, and of the packages of this environment those that the wheel
    says it needs for serving.
    """
    pytest.importorskip("hatchling", reason="needs hatchling, to build the wheel without a network")
    if sys.platform != "linux":
        pytest.skip("the image is Linux")
    work = tmp_path_factory.mktemp("image")
    (work / "source").mkdir()
    for path in copied():
        (work / "source" / path).parent.mkdir(parents=True, exist_ok=True)
        (work / "source" / path).symlink_to(ROOT / path)
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(work / "wheels")]
    subprocess.run(build, cwd=work / "source", check=True, capture_output=True)
    (wheel,) = (work / "wheels").glob("*.whl")

    home = work / "lightser"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    (site,) = home.glob("lib/python*/site-packages")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(site)
        (entry,) = [n for n in packed.namelist() if n.endswith("entry_points.txt")]
        assert "lightser = lightser.cli:main" in packed.read(entry).decode()
    distributions = needed("lightser", frozenset({"serve"}))
    del distributions["lightser"]
    assert {"torch", "pandas", "matplotlib", "ray"}.isdisjoint(distributions)
    for found in distributions.values():
        for file in found.files or []:
            if file.parts[0] != ".." and not (site / file.parts[0]).exists():
                (site / file.parts[0]).symlink_to(found.locate_file(file.parts[0]))
    script = home / "bin" / "lightser"
    script.write_text(f"#!{home}/bin/python\nfrom lightser.cli import main\nmain()\n")
    script.chmod(0o755)
    return home


def test_the_image_serves_is_healthy_and_writes_nothing(installed: Path, tmp_path: Path) -> None:
    settings = environment()
    assert settings["PATH"] == "/opt/lightser/bin:$PATH"
    settings |= {"PATH": f"{installed}/bin:/usr/bin:/bin", "HOME": "/nonexistent"}
    command = [*words_of("ENTRYPOINT"), *words_of("CMD"), "--port", "0"]
    before = sorted(installed.rglob("*"))
    with subprocess.Popen(
        command, env=settings, cwd=tmp_path, stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stderr
            lines = (json.loads(line) for line in server.stderr)
            url = next(line["url"] for line in lines if line["event"] == "listening")
            port = url.rpartition(":")[2]
            health = [w.replace(last("EXPOSE"), port) for w in words_of("HEALTHCHECK")]
            assert subprocess.run(health, env=settings, cwd=tmp_path, timeout=60).returncode == 0
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}/v1/predict", data=ANGER.read_bytes()
            )
            with urllib.request.urlopen(request, timeout=60) as reply:
                answer = json.load(reply)
            assert answer["label"] == Recognizer.load().predict(ANGER).label
            for path in ("main.js", "lightser-web/core.js"):
                with urllib.request.urlopen(f"{url}/page/{path}", timeout=60) as reply:
                    assert reply.headers.get_content_type() == "text/javascript", path
            server.send_signal(getattr(signal, last("STOPSIGNAL")))
            # uvicorn ends as the signal says once all is answered; a container's first process
            # does not die of one, and returns 0.
            assert server.wait(60) in (0, -signal.SIGTERM)
        finally:
            server.kill()
    assert sorted(installed.rglob("*")) == before
    assert os.listdir(tmp_path) == []
    health[-1] = health[-1].replace(port, "9")  # nobody listens there
    dead = subprocess.run(health, env=settings, capture_output=True, timeout=60, check=False)
    assert dead.returncode == 1


def test_the_wheel_is_this_version(installed: Path) -> None:
    run = subprocess.run(
        [installed / "bin" / "python", "-c", "import lightser; print(lightser.__version__)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=installed,
    )
    assert run.stdout.strip() == __version__
