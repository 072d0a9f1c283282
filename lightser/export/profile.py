"""What a system costs: parameters, bytes, products, memory, what it sees, and time.

Counts are exact and come from a trace; times are measured here and now, on one thread.
"""

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lightser.audio.files import read_audio
from lightser.export.fold import fold_batch_norms
from lightser.export.pretrained import with_encoder_in_network
from lightser.export.receptive import Field
from lightser.export.trace import Step, trace
from lightser.models.bcrnn import Bcrnn
from lightser.training.system import System

BYTES = {"float32": 4, "float16": 2, "int8": 1}
FRONTEND = "frontend"
WARM_UP = 3  # runs that do not count: memory is being fetched, kernels chosen

# ATen's words, and ours.
WORDS = {
    "avg_pool2d": "average pooling",
    "max_pool2d_with_indices": "max pooling",
    "cat": "joining",
    "native_layer_norm": "layer norm",
    "_softmax": "softmax",
    **dict.fromkeys(("mm", "bmm", "mv", "addmm", "baddbmm", "addmv"), "product"),
}


@dataclass(frozen=True, kw_only=True)
class LayerCost:
    """A layer with what follows it in place (batch norm, activation), or a pooling, or a sum.

    Attributes:
        name: of the module.
        operation: what costs most in it.
        shape: of what comes out, without the batch.
        macs: multiplications with an addition, for the whole clip.
        parameters: learned numbers.
        memory: most elements that must be in memory at once while it is computed.
        receptive_field: cells of the features (frames, bands) that one cell of the output sees;
            None where it is the whole clip, or part of it by no fixed rule.
    """

    name: str
    operation: str
    shape: tuple[int, ...]
    macs: int
    parameters: int
    memory: int
    receptive_field: tuple[int, int] | None


@dataclass(frozen=True, kw_only=True)
class Latency:
    """How long one clip takes on one thread, in milliseconds.

    Attributes:
        p50: median.
        p95: 95th percentile.
        real_time_factor: median over the clip's duration; below 1 is faster than speech.
        runs: how many were measured.
    """

    p50: float
    p95: float
    real_time_factor: float
    runs: int


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The costs of a system for a clip of some seconds.

    Attributes:
        system: the network's name.
        seconds: of the clip.
        frame_s: seconds from one frame of the features to the next.
        parameters: learned numbers.
        folded_parameters: those left when batch norms are folded into the layers before them.
        weight_bytes: of the folded ones, by precision; ``"1-bit"`` if the network has such layers.
        macs: of the network, for the clip.
        frontend_macs: of the front end, for the clip.
        peak: most elements in memory at once, in the network.
        frontend_peak: likewise in the front end.
        layers: of the network, in order, the front end and standardisation first, as one each.
        arena: bytes that TensorFlow Lite Micro takes for it in int8, see :func:`measure_arena`; why
            it takes none; or None where nobody asked.
    """

    system: str
    seconds: float
    frame_s: float
    parameters: int
    folded_parameters: int
    weight_bytes: dict[str, int]
    macs: int
    frontend_macs: int
    peak: int
    frontend_peak: int
    layers: tuple[LayerCost, ...]
    arena: dict[str, int] | str | None = None

    @property
    def network(self) -> tuple[LayerCost, ...]:
        """The layers behind the front end."""
        return tuple(layer for layer in self.layers if layer.name != FRONTEND)

    @property
    def macs_per_second(self) -> float:
        """Of the network, per second of speech."""
        return self.macs / self.seconds

    @property
    def peak_bytes(self) -> dict[str, int]:
        """Activations of the network at their most, by precision."""
        return {precision: self.peak * size for precision, size in BYTES.items()}

    @property
    def receptive_field(self) -> tuple[int, int] | None:
        """Of the last layer that has one: frames, bands."""
        bounded = [layer.receptive_field for layer in self.layers if layer.receptive_field]
        return bounded[-1] if bounded else None

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, fit for JSON."""
        return {
            **asdict(self),
            "macs_per_second": self.macs_per_second,
            "peak_bytes": self.peak_bytes,
            "receptive_field": self.receptive_field,
        }


def profile_system(system: System, seconds: float) -> Profile:
    """Count what ``system`` costs for a clip of ``seconds``, padded if it takes no shorter one."""
    system = with_encoder_in_network(system)
    folded = fold_batch_norms(system)
    traced = trace(folded, round(seconds * system.sample_rate))
    layers = tuple(_layers(traced.steps, traced.live()))
    network = [layer for layer in layers if layer.name != FRONTEND]
    frontend = [layer for layer in layers if layer.name == FRONTEND]
    hop: int = system.frontend.hop  # type: ignore[assignment]
    return Profile(
        system=system.describe()["model"]["name"],
        seconds=seconds,
        frame_s=hop / system.sample_rate,
        parameters=system.parameter_count(),
        folded_parameters=folded.parameter_count(),
        weight_bytes=_weight_bytes(folded),
        macs=sum(layer.macs for layer in network),
        frontend_macs=sum(layer.macs for layer in frontend),
        peak=max(layer.memory for layer in network),
        frontend_peak=max((layer.memory for layer in frontend), default=0),
        layers=layers,
    )


def measure(run: Callable[[], object], seconds: float, runs: int) -> Latency:
    """Return how long ``run`` takes, which hears ``seconds`` of speech."""
    for _ in range(min(WARM_UP, runs)):
        run()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        run()
        times.append(1000 * (time.perf_counter() - start))
    p50, p95 = np.percentile(times, [50, 95])
    return Latency(
        p50=float(p50), p95=float(p95), real_time_factor=float(p50) / 1000 / seconds, runs=runs
    )


def measure_pytorch(system: System, samples: NDArray[np.float32], runs: int) -> Latency:
    """Return how long PyTorch takes for samples ``[T]`` on one thread, samples to probabilities."""
    clip = torch.from_numpy(samples)[None]
    with _one_thread(), torch.inference_mode():
        return measure(lambda: system(clip), len(samples) / system.sample_rate, runs)


def measure_onnx(
    system: System, graph: Path | None, samples: NDArray[np.float32], runs: int, folder: Path
) -> Latency:
    """Return how long ONNX Runtime takes for samples ``[T]`` on one thread.

    Args:
        system: exported to ``folder`` if it has no graph yet.
        graph: samples to probabilities, if there is one.
        samples: of one clip.
        runs: how many to measure.
        folder: to write to.

    Raises:
        BadModel: the system cannot be exported.
    """
    # Here, because without it everything else can be counted.
    from lightser.export import Order
    from lightser.export.targets.onnx import open_model, write

    if graph is None:
        write(system, Order(precision="float32", frontend="in", n_samples=len(samples)), folder)
    answer = open_model(folder if graph is None else graph.parent, {})
    return measure(lambda: answer(samples), len(samples) / system.sample_rate, runs)


def measure_litert(system: System, samples: NDArray[np.float32], runs: int) -> Latency:
    """Return how long LiteRT takes for samples ``[T]`` on one thread, in float32.

    Raises:
        BadModel: the system cannot be converted.
        MissingExtra: LiteRT's tools are not installed.
    """
    from lightser.export.litert import open_litert, to_litert

    clip = torch.from_numpy(samples)[None]
    interpreter = open_litert(to_litert(fold_batch_norms(system), clip))
    entry = interpreter.get_input_details()[0]["index"]

    def ask() -> None:
        interpreter.set_tensor(entry, samples[None])
        interpreter.invoke()

    return measure(ask, len(samples) / system.sample_rate, runs)


def measure_arena(system: System, n_samples: int) -> dict[str, int]:
    """Return the bytes of TensorFlow Lite Micro's arena in int8, ``striped`` and ``plain``.

    Calibrated on the recordings that come with lightser; ranges of activations do not change it.

    Raises:
        BadModel: a microcontroller cannot carry the system.
        MissingExtra: LiteRT's tools or TensorFlow Lite Micro are not installed.
    """
    from lightser.export import Order
    from lightser.export.deliver import recordings
    from lightser.export.targets.micro import write

    clips = [read_audio(clip.file, system.sample_rate) for clip in recordings()]
    order = Order(
        precision="int8",
        frontend="out",
        n_samples=n_samples,
        labels=tuple(map(str, range(system.n_classes))),
        calibration=[np.resize(clip, n_samples) for clip in clips],
    )
    with tempfile.TemporaryDirectory() as folder:
        facts = write(system, order, Path(folder)).facts
    return {
        "striped": facts["arena_bytes"]["total"],
        "plain": facts["arena_bytes_without_stripes"],
    }


def _layers(steps: tuple[Step, ...], live: list[int]) -> Iterator[LayerCost]:
    """Put steps together: a row goes on until another module writes something of its own."""
    rows: list[list[int]] = []
    for i, step in enumerate(steps):
        if not rows or _is_new(steps[rows[-1][0]], step):
            rows.append([])
        rows[-1].append(i)
    for row in rows:
        inside = [steps[i] for i in row]
        heaviest = max(inside, key=lambda step: step.macs)
        own = [step for step in inside if step.writes]  # not the views that the next layer takes
        last = own[-1] if own and _name(inside[0]) != FRONTEND else inside[-1]
        yield LayerCost(
            name=_name(inside[0]),
            operation=WORDS.get(heaviest.operation, heaviest.operation.strip("_")),
            shape=last.shape[1:],
            macs=sum(step.macs for step in inside),
            parameters=sum(step.parameters for step in inside),
            memory=max(live[i] for i in row),
            receptive_field=_cells(last.field),
        )


def _is_new(opened: Step, step: Step) -> bool:
    """Say whether a step opens a row, or goes on with the one that ``opened`` did."""
    if _name(step) == _name(opened):
        return False
    in_place = step.may_overwrite or not step.writes
    return not in_place or FRONTEND in (_name(step), _name(opened))


def _name(step: Step) -> str:
    if step.layer.split(".")[0] == FRONTEND:
        return FRONTEND
    return step.layer.removeprefix("network.") or "system"


def _cells(field: Field | None) -> tuple[int, int] | None:
    return None if field is None else (field.time.seen, field.bands.seen)


def _weight_bytes(folded: System) -> dict[str, int]:
    numbers = folded.parameter_count()
    sizes = {precision: numbers * size for precision, size in BYTES.items()}
    if isinstance(folded.network, Bcrnn):
        bits = sum(layer.weight.numel() for layer in folded.network.binary_layers().values())
        sizes["1-bit"] = bits // 8 + 4 * (numbers - bits)
    return sizes


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        yield
    finally:
        torch.set_num_threads(threads)
