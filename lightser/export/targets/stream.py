"""ONNX that is given 32 frames of features at a time, and what it gave back last time."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray

from lightser.card import MODEL, OUTPUT
from lightser.errors import BadModel
from lightser.export import EXPORTERS, Answer, Exporter, Order, Written
from lightser.export.onnx import OLDEST_OPSET, forget_origin
from lightser.export.parts import FEATURES
from lightser.export.quiet import quiet
from lightser.export.streaming import CHUNK, LATE, StreamingLightSernet, in_chunks
from lightser.export.targets.onnx import describe
from lightser.models.light_sernet import LightSernet
from lightser.training.system import System

COUNT, END = "chunk", "frames"


def write(system: System, order: Order, folder: Path) -> Written:
    """Write ``model.onnx``, whose answer is over as many columns as a whole window has.

    Raises:
        BadModel: the network is not Light-SERNet, or PyTorch's exporter cannot carry it.
    """
    if not isinstance(system.network, LightSernet):
        name = system.describe()["model"]["name"]
        raise BadModel(f"stream carries light_sernet, and this is '{name}'; onnx may carry it")
    hop: int = system.frontend.hop  # type: ignore[assignment]
    with torch.no_grad():
        n_frames = system.features(torch.zeros(1, order.n_samples)).shape[1]
        module = StreamingLightSernet(system, columns=-(-n_frames // CHUNK)).eval()
    kept = module.start()
    states = [f"kept_{i}" for i in range(len(kept))]
    numbers = [torch.zeros(1, dtype=torch.int64) for _ in (COUNT, END)]
    with quiet(), torch.no_grad():
        program = torch.onnx.export(
            module,
            (torch.zeros(1, CHUNK, module.n_bands), *numbers, *kept),
            input_names=[FEATURES, COUNT, END, *states],
            output_names=[OUTPUT, *(f"new_{name}" for name in states)],
            opset_version=OLDEST_OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    forget_origin(model)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, folder / MODEL)
    taken = {end.name: describe(end) for end in model.graph.input}
    taken[COUNT]["what"] = "chunks before this one"
    taken[END]["what"] = "frames of the whole recording, 2147483647 as long as it goes on"
    given = {end.name: describe(end) for end in model.graph.output}
    for name in states:
        taken[name]["what"] = "zeros at first"
        given[f"new_{name}"]["what"] = f"{name} of the next chunk"
    return Written(
        files=(MODEL,),
        facts={
            "input": taken,
            "output": given,
            "seconds_per_chunk": CHUNK * hop / system.sample_rate,
            "chunks_late": LATE,
            "columns": module.columns,
        },
    )


def open_model(folder: Path, interface: Mapping[str, Any]) -> Answer:
    """Open ``model.onnx`` in ONNX Runtime; a clip is heard chunk by chunk."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        (folder / MODEL).read_bytes(), options, providers=["CPUExecutionProvider"]
    )
    kept_shapes = {
        name: end["shape"] for name, end in interface["input"].items() if name.startswith("kept_")
    }

    def answer(clip: NDArray[np.float32]) -> NDArray[np.float32]:
        kept = {name: np.zeros(shape, np.float32) for name, shape in kept_shapes.items()}
        end = np.array([len(clip)])
        for i, chunk in enumerate(in_chunks(torch.from_numpy(clip)[None])):
            given = {FEATURES: chunk.numpy(), COUNT: np.array([i]), END: end, **kept}
            probabilities, *new = session.run(None, given)
            kept = dict(zip(kept, new, strict=True))
        return np.asarray(probabilities[0], dtype=np.float32)

    return answer


EXPORTERS["stream"] = Exporter(
    name="stream",
    title="ONNX that hears 32 frames at a time",
    precisions=("float32",),
    frontends=("out",),
    is_model_folder=False,
    packages=("torch", "onnx", "onnxruntime"),
    write=write,
    open=open_model,
)
