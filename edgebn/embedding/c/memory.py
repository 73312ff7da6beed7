"""Where tensors lie: strided views of buffers, and a plan that puts the buffers into one scratch array."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import numpy as np

from edgebn.embedding.ports import FLOAT

Shape = tuple[int, ...]
ALIGNMENT = 8
"""In floats: buffers start at multiples of 32 bytes."""


@dataclass(eq=False)
class Buffer:
    """`size` numbers: the caller's (who calls them `port`), in the scratch array, or constant (`data`).

    All are floats but those of some callers: `type` is what C calls them.
    """

    name: str
    size: int
    kind: Literal["input", "output", "scratch", "constant"]
    data: np.ndarray[Any, Any] | None = None
    port: str = ""
    type: str = FLOAT.c


@dataclass(frozen=True)
class Operand:
    """A tensor as it lies in a buffer: element (i, j, …) at offset + i·strides[0] + j·strides[1] + …, in floats."""

    buffer: Buffer
    shape: Shape
    strides: Shape
    offset: int = 0

    @property
    def size(self) -> int:
        """The number of elements."""
        return prod(self.shape)

    def transposed(self, axes: Sequence[int]) -> Operand:
        """The same floats with the axes in another order."""
        return dataclasses.replace(
            self, shape=tuple(self.shape[axis] for axis in axes), strides=tuple(self.strides[axis] for axis in axes)
        )

    def reshaped(self, shape: Shape) -> Operand | None:
        """The same floats in another shape; None where they would have to be moved."""
        strides = _reshaped_strides(self.shape, self.strides, shape)
        return None if strides is None else dataclasses.replace(self, shape=shape, strides=strides)

    def viewed(self, shape: Shape) -> Operand:
        """The same floats in another shape, where that is known to be possible."""
        reshaped = self.reshaped(shape)
        if reshaped is None:
            raise ValueError(f"{self.shape} with strides {self.strides} is no view of {shape}")
        return reshaped

    def sliced(self, axis: int, start: int, extent: int, step: int = 1) -> Operand:
        """Every `step`-th of one axis, from `start` on."""
        shape, strides = list(self.shape), list(self.strides)
        offset = self.offset + start * strides[axis]
        shape[axis], strides[axis] = extent, strides[axis] * step
        return Operand(self.buffer, tuple(shape), tuple(strides), offset)

    def broadcast(self, shape: Shape) -> Operand:
        """The same values repeated along the axes in which `shape` is larger, by ONNX's rules."""
        missing = len(shape) - len(self.shape)
        strides = (0,) * missing + tuple(
            stride if extent == wanted else 0
            for extent, stride, wanted in zip(self.shape, self.strides, shape[missing:], strict=True)
        )
        return dataclasses.replace(self, shape=shape, strides=strides)

    def order(self) -> tuple[int, ...]:
        """The axes from the slowest to the fastest in memory."""
        return tuple(sorted(range(len(self.shape)), key=lambda axis: (-self.strides[axis], axis)))

    def lies_as(self, other: Operand) -> bool:
        """Whether every element of both has the same place in its buffer."""
        return (self.shape, self.offset, _effective(self)) == (other.shape, other.offset, _effective(other))

    def is_whole(self) -> bool:
        """Whether the tensor is its buffer, in row-major order."""
        whole = row_major(self.buffer, self.shape)
        return self.size == self.buffer.size and self.lies_as(whole)


def row_major(buffer: Buffer, shape: Shape) -> Operand:
    """A tensor from the start of a buffer on, the last axis fastest."""
    strides = [prod(shape[axis + 1 :]) for axis in range(len(shape))]
    return Operand(buffer, shape, tuple(strides))


def in_order(buffer: Buffer, shape: Shape, order: Sequence[int]) -> Operand:
    """A tensor from the start of a buffer on, with the axes from the slowest to the fastest given by `order`."""
    strides, size = [0] * len(shape), 1
    for axis in reversed(order):
        strides[axis], size = size, size * shape[axis]
    return Operand(buffer, shape, tuple(strides))


def channels_last_order(rank: int) -> tuple[int, ...]:
    """(0, 2, …, rank − 1, 1)."""
    return (0, *range(2, rank), 1)


def place(lifetimes: Sequence[tuple[Buffer, int, int]]) -> tuple[dict[Buffer, int], int]:
    """Offsets in one array for buffers that are alive from a first to a last step, and the array's size, in floats.

    Largest first, each at the lowest offset where nothing that lives at the same time is in the way.
    """
    placed: list[tuple[int, Buffer, int, int]] = []
    for buffer, first, last in sorted(lifetimes, key=lambda each: (-each[0].size, each[1])):
        offset = 0
        for start, other, other_first, other_last in sorted(placed, key=lambda each: each[0]):
            if first <= other_last and other_first <= last and start < offset + buffer.size:
                offset = max(offset, -(-(start + other.size) // ALIGNMENT) * ALIGNMENT)
        placed.append((offset, buffer, first, last))
    total = max((offset + buffer.size for offset, buffer, _, _ in placed), default=0)
    return {buffer: offset for offset, buffer, _, _ in placed}, total


def _effective(operand: Operand) -> tuple[int, ...]:
    """Strides, 0 along axes of one element, where they say nothing."""
    return tuple(stride if extent > 1 else 0 for extent, stride in zip(operand.shape, operand.strides, strict=True))


def _reshaped_strides(shape: Shape, strides: Shape, wanted: Shape) -> Shape | None:
    runs: list[list[int]] = []  # extent and stride of what lies evenly, the fastest last
    for extent, stride in zip(shape, strides, strict=True):
        if extent == 1:
            continue
        if runs and runs[-1][1] == extent * stride:
            runs[-1] = [runs[-1][0] * extent, stride]
        else:
            runs.append([extent, stride])
    found = []
    for extent in reversed(wanted):
        if extent == 1:
            found.append(0)
            continue
        if not runs or runs[-1][0] % extent:
            return None
        found.append(runs[-1][1])
        runs[-1] = [runs[-1][0] // extent, runs[-1][1] * extent]
        if runs[-1][0] == 1:
            runs.pop()
    return tuple(reversed(found))
