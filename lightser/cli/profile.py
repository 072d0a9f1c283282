"""``lightser profile``: what a network costs, before and after it is trained."""

import dataclasses
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lightser.cli import app
from lightser.cli.models import size
from lightser.cli.own_code import HELP as CODE_HELP
from lightser.cli.own_code import run_own_code
from lightser.errors import LightserError, MissingExtra

if TYPE_CHECKING:
    from lightser.export.profile import Latency, Profile
    from lightser.export.subject import Subject


@app.command(
    epilog="Example: lightser profile light_sernet; "
    "lightser profile default --plot layers.png; "
    "lightser profile light_sernet zhong2020 drn bcrnn --runs 0"
)
def profile(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="MODELS…",
            help="Model names or folders, recipes, or networks such as light_sernet. Several are "
            "set side by side.",
        ),
    ],
    seconds: Annotated[
        float | None,
        typer.Option(help="Length of the clip; as much as is heard at once, if not given."),
    ] = None,
    classes: Annotated[
        int | None, typer.Option(help="Of a network or recipe: 4, or those of the corpus.")
    ] = None,
    runs: Annotated[int, typer.Option(help="To time on one thread; 0 times nothing.")] = 30,
    litert: Annotated[
        bool,
        typer.Option(
            "--litert", help="Time LiteRT, too; to convert a network takes from 10 s to a minute."
        ),
    ] = False,
    micro: Annotated[
        bool,
        typer.Option(
            "--micro", help="Measure TensorFlow Lite Micro's arena, too; takes half a minute."
        ),
    ] = False,
    code: Annotated[Path | None, typer.Option(help=CODE_HELP)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    plot: Annotated[
        Path | None,
        typer.Option(help="Picture to write, layers over memory: .png, .svg or .pdf."),
    ] = None,
) -> None:
    """Say what a network costs: parameters, bytes, MACs, memory, receptive field, and time.

    Counts are exact and of the network alone unless it says otherwise; times are from samples to
    probabilities, here and now.
    """
    try:
        from lightser.export.profile import profile_system
        from lightser.export.subject import find_subject
    except ImportError as error:
        raise MissingExtra("Profiling", "export") from error

    if plot is not None:
        check_plot(plot, names)
    if seconds is not None and not 0 < seconds <= 600:
        raise LightserError(f"--seconds {seconds:g}: give more than 0 and at most 600")
    if runs < 0 or (classes is not None and classes < 2):
        raise LightserError("--runs must be 0 or more, and --classes 2 or more")
    run_own_code(code)
    found = []
    for name in names:
        subject = find_subject(name, n_classes=classes, seconds=seconds, folder=bundled(name))
        cost = profile_system(subject.system, subject.seconds)
        times = measured(subject, cost.seconds, runs, litert=litert) if runs else {}
        if micro:
            cost = dataclasses.replace(cost, arena=arena(subject, cost.seconds))
        found.append((subject, cost, times))
    if as_json:
        facts = [as_dict(*one) for one in found]
        print(json.dumps(facts[0] if len(facts) == 1 else facts, indent=2))
    elif len(found) == 1:
        show_one(*found[0])
    else:
        show_several([(subject, cost, times) for subject, cost, times in found])
    if plot is not None:
        draw(plot, found[0][1])


def bundled(name: str) -> Path | None:
    """Return the folder of a bundled model, or None."""
    from lightser.bundled import DEFAULT, find_model, known_models

    return find_model(name) if name == DEFAULT or name in known_models() else None


def measured(
    subject: "Subject", seconds: float, runs: int, *, litert: bool
) -> "dict[str, Latency | str]":
    """Return the time that each runtime takes, or why it could not."""
    import numpy as np

    from lightser.export.profile import measure_litert, measure_onnx, measure_pytorch

    n_samples = n_samples_of(subject, seconds)
    noise = np.random.default_rng(0).normal(0, 0.1, n_samples).astype(np.float32)
    times: dict[str, Latency | str] = {
        "pytorch": measure_pytorch(subject.system, noise, runs),
    }
    with tempfile.TemporaryDirectory() as folder:
        try:
            times["onnxruntime"] = measure_onnx(
                subject.system, subject.graph, noise, runs, Path(folder)
            )
        except LightserError as error:
            times["onnxruntime"] = str(error)
    if litert:
        try:
            times["litert"] = measure_litert(subject.system, noise, runs)
        except LightserError as error:
            times["litert"] = str(error)
    return times


def arena(subject: "Subject", seconds: float) -> dict[str, int] | str:
    """Return the bytes of TensorFlow Lite Micro's arena, or why there are none."""
    from lightser.export.profile import measure_arena

    try:
        return measure_arena(subject.system, n_samples_of(subject, seconds))
    except LightserError as error:
        return str(error)


def n_samples_of(subject: "Subject", seconds: float) -> int:
    """Return the length of a clip, or the shortest that the system takes."""
    return max(round(seconds * subject.system.sample_rate), subject.system.min_samples)


def as_dict(
    subject: "Subject", cost: "Profile", times: "dict[str, Latency | str]"
) -> dict[str, Any]:
    """Return all that was found, fit for JSON."""
    return {
        "name": subject.name,
        **cost.to_dict(),
        "files": dict(subject.files),
        "latency_ms": {
            runtime: {"unavailable": time} if isinstance(time, str) else vars(time)
            for runtime, time in times.items()
        },
    }


def facts(
    subject: "Subject", cost: "Profile", times: "dict[str, Latency | str]"
) -> Iterator[tuple[str, str]]:
    """Yield what is known of a network as a whole: a word, and its value."""
    yield "network", cost.system
    yield "clip", f"{cost.seconds:g} s"
    yield "parameters", f"{cost.parameters:,}; {cost.folded_parameters:,} with batch norms folded"
    yield "weights", ", ".join(f"{name} {size(n)}" for name, n in cost.weight_bytes.items())
    if subject.files:
        yield "files", ", ".join(f"{name} {size(n)}" for name, n in subject.files)
    yield (
        "MACs",
        f"{cost.macs / 1e6:,.1f} M, {cost.macs_per_second / 1e6:,.1f} M a second of "
        f"speech; features {cost.frontend_macs / cost.seconds / 1e6:,.1f} M a second",
    )
    peaks = ", ".join(f"{name} {n / 1000:,.0f} kB" for name, n in cost.peak_bytes.items())
    worst = max(cost.network, key=lambda layer: layer.memory)
    yield "peak memory", f"{peaks}, at {worst.name} ({worst.operation})"
    if isinstance(cost.arena, str):
        yield "arena", cost.arena
    elif cost.arena:
        yield (
            "arena",
            f"{cost.arena['striped'] / 1000:,.0f} kB in TensorFlow Lite Micro, int8, in stripes; "
            f"{cost.arena['plain'] / 1000:,.0f} kB layer by layer",
        )
    if (field := cost.receptive_field) is not None:
        yield (
            "receptive field",
            f"{field[0]} frames ({field[0] * cost.frame_s:.2f} s) × {field[1]} bands, in its last "
            "layer of bounded reach",
        )
    for runtime, time in times.items():
        if isinstance(time, str):
            yield runtime, time
        else:
            yield (
                runtime,
                f"{time.p50:.1f} ms (95 %: {time.p95:.1f} ms), {time.real_time_factor:.4f} of the "
                "clip's length, on one thread",
            )


def show_one(subject: "Subject", cost: "Profile", times: "dict[str, Latency | str]") -> None:
    """Print facts, and a row for each layer."""
    for fact, value in facts(subject, cost, times):
        print(f"{fact:<17}{value}")
    print()
    head = ["layer", "operation", "shape", "M MAC", "parameters", "kB int8", "field"]
    rows = []
    for layer in cost.layers:
        field = layer.receptive_field
        rows.append(
            [
                layer.name,
                layer.operation,
                "×".join(map(str, layer.shape)),
                f"{layer.macs / 1e6:,.2f}" if layer.macs else "",
                f"{layer.parameters:,}" if layer.parameters else "",
                f"{layer.memory / 1000:,.1f}",
                f"{field[0]}×{field[1]}" if field else "",
            ]
        )
    show(head, rows, right={3, 4, 5, 6})


def show_several(found: "Sequence[tuple[Subject, Profile, dict[str, Latency | str]]]") -> None:
    """Print a row for each network: the size columns of a paper's table."""
    head = ["network", "clip", "parameters", "folded", "float32", "float16", "int8", "1-bit"]
    head += ["M MAC/s", "peak, int8", "arena", "PyTorch ms", "ONNX ms", "LiteRT ms"]
    rows = []
    for subject, cost, times in found:
        weights = {name: f"{n / 2**20:.2f} MiB" for name, n in cost.weight_bytes.items()}
        latencies = [times.get(runtime) for runtime in ("pytorch", "onnxruntime", "litert")]
        rows.append(
            [
                subject.name,
                f"{cost.seconds:g} s",
                f"{cost.parameters:,}",
                f"{cost.folded_parameters:,}",
                *(weights.get(name, "") for name in ("float32", "float16", "int8", "1-bit")),
                f"{cost.macs_per_second / 1e6:,.1f}",
                f"{cost.peak / 1000:,.0f} kB",
                f"{cost.arena['striped'] / 1000:,.0f} kB" if isinstance(cost.arena, dict) else "",
                *("" if t is None or isinstance(t, str) else f"{t.p50:.1f}" for t in latencies),
            ]
        )
    used = [i for i in range(len(head)) if any(row[i] for row in rows)]
    show(
        [head[i] for i in used],
        [[row[i] for i in used] for row in rows],
        right=set(range(1, len(used))),
    )


def show(head: Sequence[str], rows: Sequence[Sequence[str]], right: set[int]) -> None:
    """Print a table: drawn on a terminal, plain columns in a pipe."""
    if sys.stdout.isatty():
        from rich import box
        from rich.console import Console
        from rich.table import Table

        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
        for i, name in enumerate(head):
            table.add_column(name, justify="right" if i in right else "left")
        for row in rows:
            table.add_row(*row)
        Console(highlight=False).print(table)
        return
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in [head, *rows]:
        cells = [
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())


def check_plot(path: Path, names: Sequence[str]) -> None:
    """Refuse what cannot be drawn before anything is computed."""
    try:
        import lightser.report.footprint  # noqa: F401
    except ImportError as error:
        raise MissingExtra("Drawing", "train") from error
    if len(names) != 1:
        raise LightserError(f"--plot draws one network, and {len(names)} are given")
    if path.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise LightserError(f"--plot {path}: the name must end in .png, .svg or .pdf")


def draw(path: Path, cost: "Profile") -> None:
    """Write the picture of layers over memory, in int8: a kilobyte is a thousand cells."""
    from lightser.report.footprint import footprint
    from lightser.whole import replacing

    figure = footprint(
        f"{cost.system}, {cost.seconds:g} s: activations in int8",
        [
            layer.name
            if layer.name.endswith(layer.operation)
            else f"{layer.name} · {layer.operation}"
            for layer in cost.network
        ],
        [layer.memory / 1000 for layer in cost.network],
    )
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=200, format=path.suffix.lower()[1:])
