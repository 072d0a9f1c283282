"""What an application compiles: the model as an array, its facts, the front end, and an example."""

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from lightser.export.micro.arena import Arena
from lightser.export.micro.frontend import Quantisation, config, tables
from lightser.export.micro.text import byte_array, define, string
from lightser.training.system import System

C = Path(__file__).parent / "c"
EXAMPLE, DEVICE = "main.c", "device.cc"
FRONTEND = ("lightser_frontend.h", "lightser_frontend.c")
NOTE = "/* Written by lightser export --to micro. */\n"

MODEL_HEADER = """\
#ifndef LIGHTSER_MODEL_H
#define LIGHTSER_MODEL_H

#ifdef __cplusplus
extern "C" {{
#endif

{defines}

/* The model, a TensorFlow Lite file, and what its answers mean, in their order. */
extern const unsigned char lightser_model[LIGHTSER_MODEL_BYTES];
extern const char *const lightser_labels[LIGHTSER_CLASSES];

#ifdef __cplusplus
}}
#endif
#endif
"""

MODEL_SOURCE = """\
#include "lightser_model.h"

const char *const lightser_labels[LIGHTSER_CLASSES] = {{{labels}}};

#if defined(__GNUC__)
#define ALIGNED __attribute__((aligned(16)))
#else
#define ALIGNED
#endif

{model}"""


def write_model(
    folder: Path,
    content: bytes,
    labels: Sequence[str],
    *,
    given: Quantisation,
    answered: Quantisation,
    arena: Arena,
    operations: Iterable[str],
) -> tuple[str, ...]:
    """Write ``lightser_model.h`` and ``.c``, and return their names.

    Args:
        folder: where to.
        content: of the model's file.
        labels: of its answers.
        given: how a feature is a code.
        answered: how a code is a probability.
        arena: that TensorFlow Lite Micro takes for it.
        operations: that are in it, by TensorFlow Lite's names.
    """
    names = sorted(camel(name) for name in operations)
    defines = define(
        {
            "MODEL_BYTES": len(content),
            "CLASSES": len(labels),
            "ARENA_BYTES": arena.total,
            "INPUT_SCALE": given.scale,
            "INPUT_ZERO_POINT": given.zero_point,
            "OUTPUT_SCALE": answered.scale,
            "OUTPUT_ZERO_POINT": answered.zero_point,
            "N_OPERATIONS": len(names),
        }
    )
    defines += "#define LIGHTSER_OPERATIONS(X)" + "".join(f" \\\n  X({name})" for name in names)
    header = NOTE + MODEL_HEADER.format(defines=defines)
    source = NOTE + MODEL_SOURCE.format(
        labels=", ".join(map(string, labels)),
        model=byte_array("lightser_model", content, of="const ALIGNED"),
    )
    (folder / "lightser_model.h").write_text(header, encoding="ascii")
    (folder / "lightser_model.c").write_text(source, encoding="ascii")
    return "lightser_model.h", "lightser_model.c"


def camel(operation: str) -> str:
    """Return the name that TensorFlow Lite Micro's resolver has for an operation.

    >>> camel("AVERAGE_POOL_2D"), camel("FULLY_CONNECTED")
    ('AveragePool2D', 'FullyConnected')
    """
    words = operation.split("_")
    return "".join(word if word[0].isdigit() else word.capitalize() for word in words)


def write_frontend(
    folder: Path, system: System, *, n_samples: int, n_frames: int, given: Quantisation
) -> tuple[str, ...]:
    """Write the front end with its tables, and return the names of its files."""
    guard = "#ifndef LIGHTSER_CONFIG_H\n#define LIGHTSER_CONFIG_H\n\n{}\n#endif\n"
    sizes = NOTE + guard.format(config(system, n_samples, n_frames))
    (folder / "lightser_config.h").write_text(sizes, encoding="ascii")
    (folder / "lightser_tables.h").write_text(NOTE + tables(system, given), encoding="ascii")
    for name in FRONTEND:
        shutil.copyfile(C / name, folder / name)
    return "lightser_config.h", "lightser_tables.h", *FRONTEND


def write_examples(folder: Path) -> tuple[str, ...]:
    """Write an example for a computer, and one for a device, and return their names."""
    for name in (EXAMPLE, DEVICE):
        shutil.copyfile(C / name, folder / name)
    return EXAMPLE, DEVICE
