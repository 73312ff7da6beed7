"""Small operators and affines by hand, for cases that are told one by one."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgebn.algebra import Affine, Clip, Conv, ConvTranspose, MatMul, Select, Window


def channels(scale: Any, shift: Any, rank: int = 4) -> Affine:
    shape = (1, -1) + (1,) * (rank - 2)
    return Affine(np.array(scale, float).reshape(shape), np.array(shift, float).reshape(shape))


def window(
    pads: Any = ((1, 1), (1, 1)), extents: Any = (5, 5), strides: Any = (1, 1), dilations: Any = (1, 1)
) -> Window:
    return Window(strides, dilations, pads, extents)


def conv(weight: float = 1.0, groups: int = 1, size: tuple[int, int] = (3, 3), **moves: Any) -> Conv:
    """From two channels to two."""
    return Conv(np.full((2, 2 // groups, *size), weight), np.zeros(2), groups, window(**moves))


def transposed(weight: float = 1.0, outputs: Any = (5, 5), **moves: Any) -> ConvTranspose:
    return ConvTranspose(np.full((2, 1, 3, 3), weight), np.zeros(1), 1, window(**moves), outputs)


def clip(lower: Any, upper: Any = np.inf) -> Clip:
    lower, upper = np.broadcast_arrays(np.array(lower, float), np.array(upper, float))
    return Clip(lower.reshape(1, -1, 1, 1), upper.reshape(1, -1, 1, 1))


def matmul(weight: float = 1.0, bias: float = 0.0) -> MatMul:
    return MatMul(np.full((2, 2), weight), np.full(2, bias))


def taking(*positions: int | None, axis: int = 1, extent: int | None = 4, **others: Any) -> Select:
    return Select({axis: None if None in positions else positions}, (None, extent, 4, 4), **others)


SCALES, SHIFTS, BOTH = channels([1, 2], 0), channels(1, [0, 1]), channels([1, 2], [3, 4])
TURNED = channels([1, -1], 0)
ROWS = Affine(np.arange(1.0, 6.0).reshape(1, 1, 5, 1), np.zeros(()))
HUGE, TINY = channels(3e38, 0), channels(1e-39, 1)
SPATIAL = ((0, 0), (0, 0), (1, 1), (1, 1))
CHANNELS_AND_ROWS = ((0, 0), (0, 1), (1, 1), (0, 0))
