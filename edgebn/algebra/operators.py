"""What the laws need to know of an operator: its arrays and its axes, and nothing of the graph that it stands in.

Layouts are those of ONNX: channels on axis 1 of an image tensor, on the last axis of a matrix product.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from edgebn.algebra.affine import Affine, Array


@dataclass(frozen=True, eq=False)
class MatMul:
    """y = x·kernel + bias along the last axis. kernel: (in, out); bias: (out,)."""

    kernel: Array
    bias: Array


@dataclass(frozen=True, eq=False)
class Conv:
    """Cross-correlation plus bias. kernel: (out, in/groups, *window); bias: (out,); `padded` if any border is added."""

    kernel: Array
    bias: Array
    groups: int
    padded: bool


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

    @property
    def is_constant_over_windows(self) -> bool:
        """Whether the bounds depend on no axis that a pool's window spans."""
        return all(extent == 1 for bound in (self.lower, self.upper) for extent in bound.shape[2:])


@dataclass(frozen=True)
class MaxPool:
    """The largest value of a window over axes 2 and up. Padding counts as −∞."""


@dataclass(frozen=True)
class AveragePool:
    """The mean of a window over axes 2 and up. `counts_padding`: zeros of a padded border enter the mean."""

    counts_padding: bool


@dataclass(frozen=True)
class Transpose:
    """Output axis k is input axis permutation[k]."""

    permutation: tuple[int, ...]


@dataclass(frozen=True)
class Reshape:
    """The same elements in the same order under another shape; None is an extent that is not known before run time."""

    before: tuple[int | None, ...]
    after: tuple[int | None, ...]


Operator = Affine | MatMul | Conv | Clip | MaxPool | AveragePool | Transpose | Reshape


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a law gives: the operator as it becomes, and the affine on its other side, None if it was absorbed."""

    operator: Operator
    rest: Affine | None = None


@dataclass(frozen=True)
class Refusal:
    """Why a law does not hold here. The sentence reaches the user word for word."""

    reason: str
