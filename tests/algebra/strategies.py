"""What hypothesis draws for the property test of the laws: a `Case` for every row of the table."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from edgebn.algebra import Affine, AveragePool, Clip, Conv, Direction, MatMul, MaxPool, Reshape, Transpose
from tests.reference import Window

# both signs, zero, what a dead channel's variance of 1e-15 gives with and without ε, and plain values
SCALES = st.sampled_from([0.0, 1.0, -1.0, 0.5, -2.25, 1e-4, -1e-4, 31.6, -3.2e3]) | st.floats(-4, 4)
SHIFTS = st.sampled_from([0.0, 1.0, -1.0, 250.0]) | st.floats(-4, 4)
VALUES = st.floats(-3, 3, width=32)


@dataclass(frozen=True, eq=False)
class Case:
    """An operator, an affine beside it, an input, and how a window moves where the operator has one."""

    operator: Any
    affine: Affine
    x: np.ndarray
    window: Window | None = None


@st.composite
def arrays(draw: Any, shape: tuple[int, ...], elements: st.SearchStrategy[float] = VALUES) -> np.ndarray:
    count = math.prod(shape)
    return np.array(draw(st.lists(elements, min_size=count, max_size=count)), np.float64).reshape(shape)


@st.composite
def affines(draw: Any, shape: tuple[int, ...], axes: tuple[int, ...], scales: Any = SCALES) -> Affine:
    """An affine for tensors of `shape` that may vary along `axes`."""
    extents = tuple(extent if axis in axes and draw(st.booleans()) else 1 for axis, extent in enumerate(shape))
    return Affine(draw(arrays(extents, scales)), draw(arrays(extents, SHIFTS)))


@st.composite
def matmuls(draw: Any, direction: Direction) -> Case:
    rows = draw(st.lists(st.integers(1, 3), min_size=1, max_size=2))
    inputs, outputs = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    operator = MatMul(draw(arrays((inputs, outputs))), draw(arrays((outputs,))))
    last = outputs if direction == "backward" else inputs
    affine = draw(affines((*rows, last), (len(rows),)))
    return Case(operator, affine, draw(arrays((*rows, inputs))))


@st.composite
def windows(draw: Any, rank: int, padded: bool) -> Window:
    def each(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(low, high)) for _ in range(rank))

    sizes = each(1, 3)
    pads = [tuple(draw(st.integers(0, size - 1)) if padded else 0 for size in sizes) for _ in range(2)]
    return Window(each(1, 2), each(1, 2), pads[0], pads[1], sizes)


def spatial(window: Window, draw: Any) -> tuple[int, ...]:
    """Extents on which the window fits at least once without its padding."""
    return tuple(
        draw(st.integers(0, 1)) + dilation * (size - 1) + 1
        for dilation, size in zip(window.dilations, window.sizes, strict=True)
    )


@st.composite
def convs(draw: Any, direction: Direction) -> Case:
    window = draw(windows(draw(st.integers(1, 3)), draw(st.booleans())))
    groups, inputs_of_group, outputs_of_group = (draw(st.integers(1, 2)) for _ in range(3))
    kernel = draw(arrays((groups * outputs_of_group, inputs_of_group, *window.sizes)))
    padded = any((*window.pads_before, *window.pads_after))
    operator = Conv(kernel, draw(arrays((len(kernel),))), groups, padded)
    channels = len(kernel) if direction == "backward" else groups * inputs_of_group
    affine = draw(affines((1, channels, *([1] * len(window.sizes))), (1,)))
    return Case(operator, affine, draw(arrays((1, groups * inputs_of_group, *spatial(window, draw)))), window)


@st.composite
def clips(draw: Any, direction: Direction) -> Case:  # noqa: ARG001, one signature for all
    shape = (2, draw(st.integers(1, 3)), draw(st.integers(1, 2)))
    extents = tuple(extent if draw(st.booleans()) else 1 for extent in shape[1:])
    bounds = np.sort(
        np.stack(
            [
                draw(arrays((1, *extents), st.sampled_from([-math.inf, 0.0, -1.0]) | st.floats(-2, 2))),
                draw(arrays((1, *extents), st.sampled_from([math.inf, 6.0, 1.0]) | st.floats(-2, 2))),
            ]
        ),
        axis=0,
    )
    return Case(Clip(bounds[0], bounds[1]), draw(affines(shape, (1, 2))), draw(arrays(shape)))


@st.composite
def pools(draw: Any, direction: Direction, average: bool) -> Case:  # noqa: ARG001, one signature for all
    window = draw(windows(draw(st.integers(1, 2)), draw(st.booleans())))
    channels = draw(st.integers(1, 3))
    padded = any((*window.pads_before, *window.pads_after))
    operator = AveragePool(padded and draw(st.booleans())) if average else MaxPool()
    affine = draw(affines((1, channels, *([1] * len(window.sizes))), (1,)))
    return Case(operator, affine, draw(arrays((1, channels, *spatial(window, draw)))), window)


@st.composite
def transposes(draw: Any, direction: Direction) -> Case:
    shape = tuple(draw(st.lists(st.integers(1, 3), min_size=2, max_size=4)))
    permutation = (0, *draw(st.permutations(range(1, len(shape)))))
    x = draw(arrays(shape))
    there = tuple(shape[axis] for axis in permutation) if direction == "backward" else shape
    return Case(Transpose(permutation), draw(affines(there, tuple(range(1, len(shape))))), x)


@st.composite
def reshapes(draw: Any, direction: Direction) -> Case:
    height, width, channels = (draw(st.integers(1, 3)) for _ in range(3))
    shapes = [(2, height, width, channels), (2, height * width * channels), (2, height, width * channels)]
    before, after = draw(st.permutations(shapes))[:2]
    there = after if direction == "backward" else before
    affine = draw(affines(there, tuple(range(1, len(there)))))
    batch = draw(st.sampled_from([2, None]))
    return Case(Reshape((batch, *before[1:]), (batch, *after[1:])), affine, draw(arrays(before)))


@st.composite
def pairs(draw: Any, direction: Direction) -> Case:  # noqa: ARG001, one signature for all
    shape = (2, draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    return Case(draw(affines(shape, (1, 2))), draw(affines(shape, (1, 2))), draw(arrays(shape)))


CASES: Mapping[type, Callable[[Direction], st.SearchStrategy[Case]]] = {
    MatMul: matmuls,
    Conv: convs,
    Clip: clips,
    MaxPool: lambda direction: pools(direction, average=False),
    AveragePool: lambda direction: pools(direction, average=True),
    Transpose: transposes,
    Reshape: reshapes,
    Affine: pairs,
}
