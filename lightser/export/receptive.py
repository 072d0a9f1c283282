r"""How far a cell of a network sees: receptive fields of convolutions and poolings.

Aftab et al., slides to "Light-SERNet", body part 1. For layers 1 … L with kernels k and strides s,

.. math::
    r_{l-1} = s_l r_l + (k_l - s_l) \quad (1), \qquad
    r_0 = \sum_{l=1}^{L} \Bigl( (k_l - 1) \prod_{i=1}^{l-1} s_i \Bigr) + 1 \quad (2)

A kernel with dilation d is one of d(k - 1) + 1.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

Layers = Sequence[tuple[int, int]]  # kernel and stride of each layer, the first one first


def receptive_field(layers: Layers) -> int:
    """Return the cells of the input that a cell of the last layer sees, by equation 1.

    >>> receptive_field([(11, 1), (2, 2), (3, 1)])
    16
    """
    seen = 1
    for kernel, stride in reversed(layers):
        seen = stride * seen + kernel - stride
    return seen


def receptive_field_in_one(layers: Layers) -> int:
    """Return the same by equation 2, the recursion written out.

    >>> receptive_field_in_one([(11, 1), (2, 2), (3, 1)])
    16
    """
    total, step = 1, 1
    for kernel, stride in layers:
        total += (kernel - 1) * step
        step *= stride
    return total


@dataclass(frozen=True, kw_only=True)
class Axis:
    """Where equation 2 stands along one axis.

    Attributes:
        seen: cells of the input that a cell sees.
        step: cells of the input from one cell to the next: the product of strides.
    """

    seen: int = 1
    step: int = 1

    def through(self, kernel: int, stride: int) -> "Axis":
        return Axis(seen=self.seen + (kernel - 1) * self.step, step=self.step * stride)


@dataclass(frozen=True, kw_only=True)
class Field:
    """What a cell of a map sees of the features, along time and frequency.

    Behind parallel paths it is the smallest rectangle around what any path sees.
    """

    time: Axis = Axis()
    bands: Axis = Axis()

    def through(
        self, *, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int] = (1, 1)
    ) -> "Field":
        """Return the field behind a layer; sizes are given as (time, frequency)."""
        sizes = [d * (k - 1) + 1 for k, d in zip(_pair(kernel), _pair(dilation), strict=True)]
        strides = _pair(stride) if stride else _pair(kernel)  # a pooling's stride is its size
        return replace(
            self,
            time=self.time.through(sizes[0], strides[0]),
            bands=self.bands.through(sizes[1], strides[1]),
        )

    @staticmethod
    def union(fields: Iterable["Field"]) -> "Field":
        """Return the field of a sum, or of a joint map."""
        fields = list(fields)

        def widest(axes: list[Axis]) -> Axis:
            return Axis(seen=max(a.seen for a in axes), step=max(a.step for a in axes))

        return Field(time=widest([f.time for f in fields]), bands=widest([f.bands for f in fields]))


def _pair(sizes: Sequence[int]) -> tuple[int, int]:
    """Return one number for each axis: PyTorch writes equal ones once."""
    first, last = sizes[0], sizes[-1]
    return int(first), int(last)
