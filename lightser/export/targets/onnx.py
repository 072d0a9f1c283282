"""ONNX, for servers, phones and browsers: any batch and any length, in three precisions."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray

from lightser.card import EMBEDDING, MODEL, OUTPUT
from lightser.errors import BadModel, LightserError
from lightser.export import EXPORTERS, FRONTENDS_AT, PRECISIONS, Answer, Exporter, Order, Written
from lightser.export.fold import fold_batch_norms
from lightser.export.onebit import with_bits
from lightser.export.onnx import to_onnx
from lightser.export.parts import frontend_graph, headed, joined, network_graph, save_checked
from lightser.export.pretrained import EncodedNetwork
from lightser.export.quantize import bits_of_weights, to_dynamic_int8, to_half, to_int8
from lightser.training.system import System


def write(system: System, order: Order, folder: Path) -> Written:
    """Write ``model.onnx``.

    Features, and the head behind an embedding, are in float32 whatever the precision of the
    network: in a float16 or int8 file they are made apart and then joined.

    Raises:
        BadModel: PyTorch's exporter, ONNX or its runtime cannot carry the network.
    """
    path = folder / MODEL
    quantisation: dict[str, Any] | None = None
    try:
        if order.precision == "float32" and order.frontend == "in":
            to_onnx(system, path)
        else:
            folded = fold_batch_norms(system)
            has_head = system.embedding is not None
            made_of = partial(network_graph, given=EMBEDDING if has_head else OUTPUT)
            if order.precision == "float32":
                network = with_bits(folded, made_of)
            elif order.precision == "float16":
                network = to_half(made_of(folded))
                quantisation = {"scheme": "float16", "numbers": bits_of_weights(network)}
            elif isinstance(system.network, EncodedNetwork):
                network = to_dynamic_int8(made_of(folded))
                quantisation = {
                    "scheme": "dynamic",
                    "weights": "int8, symmetric, a scale for each output channel",
                    "activations": "uint8, a scale and a zero point for each tensor of each clip",
                    "numbers": bits_of_weights(network),
                }
            else:
                network = to_int8(made_of(folded), features_of(system, order))
                quantisation = {
                    "scheme": "static, QDQ",
                    "weights": "int8, symmetric, a scale for each output channel",
                    "activations": "int8, a scale and a zero point for each tensor",
                    "ranges": "smallest and largest value seen",
                    "biases": "corrected to the float32 means of each convolution",
                    "numbers": bits_of_weights(network),
                }
            if order.frontend == "in":
                network = joined(frontend_graph(system), network)
            if has_head:
                network = headed(network, system)
            save_checked(network, path)
    except (LightserError, OSError):
        raise
    except Exception as error:  # PyTorch's exporter, ONNX and its runtime have no common base
        name = system.describe()["model"]["name"]
        reason = " ".join(str(error).split())[:200]
        raise BadModel(f"onnx cannot carry '{name}': {reason}") from error
    graph = onnx.load(path, load_external_data=False)
    taken, *optional = graph.graph.input
    given, *more = graph.graph.output
    return Written(
        files=(MODEL,),
        facts={
            "opset": next(o.version for o in graph.opset_import if o.domain in ("", "ai.onnx")),
            "input": describe(taken),
            "output": describe(given),
            **({"adaptation": [describe(end) for end in (*optional, *more)]} if optional else {}),
            "runtime": f"onnxruntime {onnxruntime.__version__}",
        },
        quantisation=quantisation,
    )


def features_of(system: System, order: Order) -> list[NDArray[np.float32]]:
    """Return the features ``[F, M]`` of each clip to calibrate on."""
    with torch.inference_mode():
        return [
            system.features(torch.from_numpy(samples)[None])[0].numpy()
            for samples in order.calibration
        ]


def describe(value: onnx.ValueInfoProto) -> dict[str, Any]:
    """Return name, type and shape of an input or output; a free dimension by its name."""
    kind = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).name
    dims = value.type.tensor_type.shape.dim
    return {
        "name": value.name,
        "type": kind,
        "shape": [dim.dim_value or dim.dim_param for dim in dims],
    }


def open_model(folder: Path, interface: Mapping[str, Any]) -> Answer:
    """Open ``model.onnx`` in ONNX Runtime, on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        (folder / MODEL).read_bytes(), options, providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name

    def answer(clip: NDArray[np.float32]) -> NDArray[np.float32]:
        (probabilities,) = session.run([OUTPUT], {name: clip[None]})
        return np.asarray(probabilities[0], dtype=np.float32)

    return answer


EXPORTERS["onnx"] = Exporter(
    name="onnx",
    title="ONNX, opened by ONNX Runtime",
    precisions=PRECISIONS,
    frontends=FRONTENDS_AT,
    is_model_folder=True,
    packages=("torch", "onnx", "onnxruntime"),
    write=write,
    open=open_model,
)
