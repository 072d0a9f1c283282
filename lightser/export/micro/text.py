"""Numbers as C."""

import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

WIDTH = 100


def define(values: Mapping[str, Any]) -> str:
    """Return a ``#define`` for each name, with ``LIGHTSER_`` in front; floats in single precision.

    >>> print(define({"HOP": 256, "RANGE_DB": 80.0, "ZERO_POINT": -5}), end="")
    #define LIGHTSER_HOP 256
    #define LIGHTSER_RANGE_DB 80.0f
    #define LIGHTSER_ZERO_POINT (-5)
    """
    shown = {name: literal(value) for name, value in values.items()}
    return "".join(
        f"#define LIGHTSER_{name} {f'({text})' if text[0] == '-' else text}\n"
        for name, text in shown.items()
    )


def literal(value: Any) -> str:
    """Return a number as C writes it; floats with the digits that single precision needs.

    >>> literal(0.1), literal(2.0), literal(1e-10), literal(3)
    ('0.1f', '2.0f', '1e-10f', '3')
    """
    if isinstance(value, float | np.floating):
        text = repr(float(str(np.float32(value))))
        return f"{text}f"
    return str(int(value))


def array(kind: str, name: str, values: ArrayLike, *, of: str = "static const") -> str:
    """Return the definition of an array of one or two dimensions.

    >>> print(array("float", "window", np.array([0.0, 0.5])), end="")
    static const float window[2] = {
      0.0f, 0.5f
    };
    """
    numbers = np.asarray(values)
    sizes = "".join(f"[{size}]" for size in numbers.shape)
    rows = numbers if numbers.ndim == 2 else [numbers]
    body = ",\n".join(_row(row, braces=numbers.ndim == 2) for row in rows)
    return f"{of} {kind} {name}{sizes} = {{\n{body}\n}};\n"


def byte_array(name: str, content: bytes, *, of: str) -> str:
    """Return the definition of an array of bytes; decimal, since that is shortest."""
    lines = [",".join(map(str, content[i : i + 24])) for i in range(0, len(content), 24)]
    return f"{of} unsigned char {name}[{len(content)}] = {{\n" + ",\n".join(lines) + "\n};\n"


def string(text: str) -> str:
    r"""Return a C string, its special characters escaped.

    >>> print(string('a "b"'))
    "a \042b\042"
    """
    encoded = text.encode()
    shown = "".join(
        chr(b) if 32 <= b < 127 and chr(b) not in '"\\?' else f"\\{b:03o}" for b in encoded
    )
    return f'"{shown}"'


def _row(row: Any, *, braces: bool) -> str:
    text = ", ".join(literal(value) for value in row)
    filled = textwrap.fill(text, WIDTH, initial_indent="  ", subsequent_indent="  ")
    return f"  {{\n{filled}\n  }}" if braces else filled
