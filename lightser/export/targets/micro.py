"""TensorFlow Lite Micro, for microcontrollers: arrays and C to compile, features and network."""

import dataclasses
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightser.errors import BadModel
from lightser.export import EXPORTERS, FRONTENDS_AT, Answer, Exporter, Order, Written
from lightser.export.targets import litert as phone
from lightser.models.light_sernet import LightSernet
from lightser.training.system import System

# Rows of the poolings behind the first two body blocks (poolings 0 to 2 are those of the paths)
# that make a stripe. More rows leave larger maps, fewer leave more operations to remember; which is
# best depends on the length of the clip, so they are tried.
FIRST_BODY, SECOND_BODY = 3, 4
STRIPES = tuple({FIRST_BODY: rows, SECOND_BODY: 8} for rows in (4, 5, 6))


def write(system: System, order: Order, folder: Path) -> Written:
    """Write the model as a file and as C, and with the front end inside that, too.

    The model is LiteRT's own int8 file, computed in stripes. Its features are standardised and
    quantised, which the C front end does on the way.

    Raises:
        BadModel: the network is not Light-SERNet, or its features are not written in C.
        LightserError: there is no C compiler to try the front end with.
        MissingExtra: LiteRT's tools or TensorFlow Lite Micro are not installed.
    """
    from lightser.export import litert
    from lightser.export.micro.arena import arena, runtime
    from lightser.export.micro.compiled import compiler
    from lightser.export.micro.frontend import Quantisation, check_frontend
    from lightser.export.micro.head import described_embedding, with_embedding, write_head
    from lightser.export.micro.sources import write_examples, write_frontend, write_model
    from lightser.export.micro.striped import in_stripes

    if not isinstance(system.network, LightSernet):
        name = system.describe()["model"]["name"]
        raise BadModel(f"micro carries light_sernet, and this is '{name}'; litert may carry it")
    runtime()  # before half a minute of converting
    is_inside = order.frontend == "in"
    if is_inside:
        check_frontend(system, order.n_samples)
        compiler()
    with tempfile.TemporaryDirectory() as temporary:
        order_out = dataclasses.replace(order, frontend="out")
        plain = phone.write(system, order_out, Path(temporary))
        content = (Path(temporary) / phone.MODEL).read_bytes()
    if floats := {"DEQUANTIZE", "STABLEHLO_REDUCE_WINDOW"} & set(litert.operations(content)):
        raise BadModel(
            f"The quantiser left layers in float32 ({', '.join(sorted(floats))}), which micro does "
            "not carry; calibrate on more recordings of speech"
        )
    striped = [in_stripes(with_embedding(content), rows) for rows in STRIPES]
    taken = [arena(made) for made in striped]
    best = min(range(len(striped)), key=lambda i: taken[i].total)
    (folder / phone.MODEL).write_bytes(striped[best])
    given, answered = (
        Quantisation(scale=end["scale"], zero_point=end["zero_point"])
        for end in (plain.facts["input"], plain.facts["output"])
    )
    operations = litert.operations(striped[best])
    files = write_model(
        folder,
        striped[best],
        order.labels,
        given=given,
        answered=answered,
        arena=taken[best],
        operations=operations,
    )
    files += write_head(folder, system, striped[best])
    _, n_frames, n_bands = plain.facts["input"]["shape"]
    if is_inside:
        files += write_frontend(
            folder, system, n_samples=order.n_samples, n_frames=n_frames, given=given
        )
        files += write_examples(folder)
    facts = {
        "input": {"name": "samples", "type": "int16", "shape": [order.n_samples]}
        if is_inside
        else plain.facts["input"],
        "features": {"type": "int8", "shape": [n_frames, n_bands]},
        "output": plain.facts["output"],
        "embedding": described_embedding(striped[best]),
        "operations": operations,
        "arena_bytes": dataclasses.asdict(taken[best]),
        "arena_bytes_without_stripes": arena(content).total,
    }
    return Written(files=(phone.MODEL, *files), facts=facts, quantisation=plain.quantisation)


def open_model(folder: Path, interface: Mapping[str, Any]) -> Answer:
    """Open ``model.tflite`` in TensorFlow Lite Micro, behind the C front end if it is there."""
    from lightser.export.micro.arena import open_micro
    from lightser.export.micro.compiled import features_to_codes

    interpreter = open_micro((folder / phone.MODEL).read_bytes())
    if interface["input"]["type"] == "int16":
        in_c = features_to_codes(folder, tuple(interface["features"]["shape"]))

        def codes(clip: NDArray[np.float32]) -> NDArray[np.int8]:
            return in_c(np.clip(np.round(clip * 32768), -32768, 32767).astype(np.int16))

    else:

        def codes(clip: NDArray[np.float32]) -> NDArray[np.int8]:
            return phone.to_codes(clip, interface["input"])

    def answer(clip: NDArray[np.float32]) -> NDArray[np.float32]:
        interpreter.set_input(codes(clip)[None], 0)
        interpreter.invoke()
        return phone.from_codes(interpreter.get_output(0)[0], interface["output"])

    return answer


EXPORTERS["micro"] = Exporter(
    name="micro",
    title="TensorFlow Lite Micro, with the front end in C",
    precisions=("int8",),
    frontends=FRONTENDS_AT,
    is_model_folder=False,
    packages=("torch", "litert-torch", "ai-edge-quantizer", "ai-edge-litert", "tflite-micro"),
    write=write,
    open=open_model,
)
