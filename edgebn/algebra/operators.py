"""What the laws need to know of an operator: its arrays and its axes, and nothing of the graph that it stands in.

Layouts are those of ONNX: channels on axis 1 of an image tensor, on the last axis of a matrix product. Weights may be
of any float type; the laws compute in float64.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Self

import numpy as np

from edgebn.algebra.affine import Affine, Array

Extents = tuple[int | None, ...]
"""A shape; None is an extent that is not known before run time."""

NamedExtents = tuple[int | str | None, ...]
"""The same, where a name stands for an unknown extent, the same one wherever it stands."""


@dataclass(frozen=True, eq=False)
class MatMul:
    """y = x·kernel + bias along the last axis. kernel: (in, out); bias: (out,)."""

    kernel: Array
    bias: Array


@dataclass(frozen=True)
class Window:
    """How a convolution moves over the axes from 2 on: one entry for each of them.

    `pads` holds what is added before and after each axis; None where that is decided at run time (`auto_pad` of a
    tensor of unknown extents). `extents` are those of the input.
    """

    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[tuple[int, int], ...] | None
    extents: Extents

    @property
    def padded(self) -> bool:
        """Whether any border may be added."""
        return self.pads is None or any(any(pair) for pair in self.pads)

    def unpadded(self) -> Window:
        """The same movement over an input that has been padded already."""
        pads = self.pads or ()
        extents = tuple(
            None if extent is None else extent + sum(pair) for extent, pair in zip(self.extents, pads, strict=True)
        )
        return Window(self.strides, self.dilations, ((0, 0),) * len(pads), extents)


@dataclass(frozen=True, eq=False)
class Conv:
    """Cross-correlation plus bias. kernel: (out, in/groups, *window); bias: (out,)."""

    kernel: Array
    bias: Array
    groups: int
    window: Window


@dataclass(frozen=True, eq=False)
class ConvTranspose:
    """The transpose of a convolution, plus bias. kernel: (in, out/groups, *window); bias: (out,).

    `outputs` are the extents of its result over the axes from 2 on.
    """

    kernel: Array
    bias: Array
    groups: int
    window: Window
    outputs: Extents


@dataclass(frozen=True, eq=False)
class Clip:
    """y = min(max(x, lower), upper), lower ≤ upper. Both broadcast against the tensor, have its rank, and may be ±∞."""

    lower: Array
    upper: Array

    @classmethod
    def relu(cls, rank: int) -> Self:
        """max(x, 0) on tensors of `rank`."""
        return cls(np.zeros((1,) * rank), np.full((1,) * rank, np.inf))

    def __call__(self, x: Array) -> Array:
        """min(max(x, lower), upper)."""
        return np.minimum(np.maximum(x, self.lower), self.upper)


@dataclass(frozen=True, eq=False)
class PRelu:
    """y = x where x ≥ 0, slope⊙x elsewhere. `slope` broadcasts against the tensor and has its rank."""

    slope: Array


@dataclass(frozen=True)
class Extremum:
    """The largest value (the smallest, if not `largest`) of some elements along `axes`. Padding never wins.

    MaxPool and ReduceMax. If not `keeps_axes`, the axes are gone from the result.
    """

    axes: tuple[int, ...]
    largest: bool = True
    keeps_axes: bool = True


@dataclass(frozen=True)
class Blend:
    """A weighted sum of some elements along `axes`: pools, means, interpolation, a repeated border.

    `total` is the sum of the weights: 1 for a mean; None where it is not the same for all elements of the result, as
    where the zeros of a padded border enter a mean. If not `keeps_axes`, the axes are gone from the result.
    """

    axes: tuple[int, ...]
    total: float | None = 1.0
    keeps_axes: bool = True


@dataclass(frozen=True)
class Pad:
    """A border of the constant `value`. `pads`: what is added before and after each axis."""

    pads: tuple[tuple[int, int], ...]
    value: float


@dataclass(frozen=True)
class Transpose:
    """Output axis k is input axis permutation[k]."""

    permutation: tuple[int, ...]


@dataclass(frozen=True)
class Reshape:
    """The same elements in the same order under another shape."""

    before: NamedExtents
    after: NamedExtents


@dataclass(frozen=True, eq=False)
class Select:
    """Some positions along some axes: Slice, Gather, one output of Split.

    `positions` maps an axis to those taken, in order, or to None where they are not known; `extents` is the input's
    shape. If `shared`, others read the positions that are left out (the other outputs of a Split).
    """

    positions: dict[int, tuple[int, ...] | None]
    extents: Extents
    shared: bool = False


@dataclass(frozen=True)
class Concat:
    """Several tensors one after the other along `axis`, where they have `extents`. `at`: the input that A stands on."""

    axis: int
    extents: Extents
    at: int = 0


@dataclass(frozen=True)
class Sum:
    """Σ sign·x over several tensors of one rank, of `shapes`. `at`: the input that A stands on or that takes t."""

    signs: tuple[float, ...]
    shapes: tuple[Extents, ...]
    at: int = 0


@dataclass(frozen=True)
class Product:
    """The product of several tensors of one rank, of `shapes`. `at`: the input that A stands on or that takes s."""

    shapes: tuple[Extents, ...]
    at: int = 0


Unary = Affine | MatMul | Conv | ConvTranspose | Clip | PRelu | Extremum | Blend | Pad | Transpose | Reshape | Select
Join = Concat | Sum | Product
Operator = Unary | Join

Direction = Literal["backward", "forward"]


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a law gives: the operators, in order, as which f is written from now on, and the affine on its other side.

    `rest` is None if A was absorbed. Backward through an operator of several inputs, `rests` has one affine for each,
    or None for an input that needs none.
    """

    operators: tuple[Operator, ...]
    rest: Affine | None = None
    rests: tuple[Affine | None, ...] = field(default=())


@dataclass(frozen=True)
class Refusal:
    """Why a law does not hold here. The sentence reaches the user word for word."""

    reason: str
