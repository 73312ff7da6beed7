"""What hypothesis draws for operators that move, pick, pad, mix or join elements."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

from edgebn.algebra import (
    Affine,
    Blend,
    Concat,
    Direction,
    Extremum,
    Pad,
    Product,
    Reshape,
    Select,
    Sum,
    Transpose,
)
from tests.algebra.drawing import NUMBERS, Case, affines, hidden, often, one_of_each, rarely
from tests.reference import FLOAT32_MAX, Picks

AxisPicks = list[list[tuple[int, float]]]

SHAPES = st.integers(1, 2).flatmap(lambda axes: one_of_each(st.integers(1, 3), axes + 2))
"""Batch, channels, and one or two axes of an image."""


@st.composite
def pooled(draw: Any, extent: int, padded: bool, counts_padding: bool) -> AxisPicks:
    """A window along one axis. A mean counts the elements under it, those of the border (as zeros) or not."""
    size, stride = draw(st.integers(1, extent)), draw(st.integers(1, 2))
    dilation = draw(st.integers(1, 2)) if 2 * (size - 1) < extent else 1
    before, after = draw(one_of_each(st.integers(0, size - 1 if padded else 0), 2)) if dilation == 1 else (0, 0)
    picks = []
    for start in range(-before, extent + after - dilation * (size - 1), stride):
        under = [start + dilation * tap for tap in range(size)]
        inside = [position for position in under if 0 <= position < extent]
        picks.append([(position, 1.0 / (size if counts_padding else len(inside))) for position in inside])
    return picks


@st.composite
def interpolated(draw: Any, extent: int) -> AxisPicks:
    """Linear or nearest, half-pixel centres."""
    new, linear = draw(st.integers(1, 5)), draw(st.booleans())
    picks = []
    for place in range(new):
        source = min(max((place + 0.5) * extent / new - 0.5, 0.0), extent - 1.0)
        low, high = math.floor(source), math.ceil(source)
        between = [(low, 1.0 - (source - low)), (high, source - low)]
        picks.append(between if linear else [(round(source), 1.0)])
    return picks


@st.composite
def bordered(draw: Any, extent: int, reflects: bool) -> AxisPicks:
    """The edge repeated, or the image reflected at it."""
    before, after = draw(one_of_each(st.integers(0, extent - 1 if reflects else 2), 2))
    picks = []
    for place in range(-before, extent + after):
        mirrored = abs(place) if place < extent else 2 * (extent - 1) - place
        picks.append([(mirrored if reflects else min(max(place, 0), extent - 1), 1.0)])
    return picks


def whole(extent: int, weight: float) -> AxisPicks:
    return [[(position, weight) for position in range(extent)]]


@st.composite
def some_axes(draw: Any, rank: int) -> tuple[int, ...]:
    return tuple(axis for axis in range(1, rank) if draw(st.booleans())) or (rank - 1,)


@st.composite
def reduction_case(
    draw: Any, direction: Direction, operator: Any, shape: Sequence[int], picks: Picks, positive: bool, shifted: bool
) -> Case:
    """An affine on the side of a reduction that `direction` says."""
    result = [len(picks[axis]) if axis in picks else extent for axis, extent in enumerate(shape)]
    mixed = set(operator.axes)
    beside = list(range(len(shape)))
    if direction == "backward" and not operator.keeps_axes:
        beside = [axis for axis in beside if axis not in mixed]
    extents = result if direction == "backward" else shape
    affine = draw(
        affines(
            [extents[axis] for axis in beside],
            axes=[i for i, axis in enumerate(beside) if axis not in mixed and axis > 0],
            inside=[i for i, axis in enumerate(beside) if axis in mixed],
            positive=positive,
            shifted=shifted,
        )
    )
    return Case(operator, affine, (draw(NUMBERS).values(*shape),), picks)


@st.composite
def extremums(draw: Any, direction: Direction) -> Case:
    shape = draw(SHAPES)
    if draw(st.booleans()):
        axes = tuple(range(2, len(shape)))
        operator = Extremum(axes, draw(st.booleans()))
        picks = {axis: draw(pooled(shape[axis], padded=True, counts_padding=False)) for axis in axes}
    else:
        axes = draw(some_axes(len(shape)))
        operator = Extremum(axes, draw(st.booleans()), draw(st.booleans()))
        picks = {axis: whole(shape[axis], 1.0) for axis in axes}
    return draw(reduction_case(direction, operator, shape, picks, positive=draw(often), shifted=True))


@st.composite
def blends(draw: Any, direction: Direction) -> Case:
    shape = draw(SHAPES)
    kind = draw(st.sampled_from(["pool", "uneven pool", "mean", "sum", "interpolation", "edge", "reflect"]))
    axes = tuple(range(2, len(shape))) if kind in {"pool", "uneven pool"} else draw(some_axes(len(shape)))
    total: float | None = 1.0
    keeps_axes = True
    if kind in {"mean", "sum"}:
        keeps_axes = draw(st.booleans())
        weights = {axis: 1.0 / shape[axis] if kind == "mean" else 1.0 for axis in axes}
        picks = {axis: whole(shape[axis], weights[axis]) for axis in axes}
        known = kind == "mean" or draw(often)
        total = (1.0 if kind == "mean" else math.prod(shape[axis] for axis in axes)) if known else None
    elif kind == "interpolation":
        picks = {axis: draw(interpolated(shape[axis])) for axis in axes}
    elif kind in {"edge", "reflect"}:
        picks = {axis: draw(bordered(shape[axis], kind == "reflect")) for axis in axes}
    else:
        picks = {axis: draw(pooled(shape[axis], True, kind == "uneven pool")) for axis in axes}
        total = 1.0 if kind == "pool" else None
    operator = Blend(axes, total, keeps_axes)
    shifted = draw(rarely) if total is None else True
    return draw(reduction_case(direction, operator, shape, picks, positive=False, shifted=shifted))


@st.composite
def pads(draw: Any, direction: Direction) -> Case:
    """Padded axes on which the affine varies keep its border apart; on others the border must be one value."""
    shape = draw(SHAPES)
    padded = draw(st.sampled_from([(1,), (len(shape) - 1,), (1, 2), tuple(range(2, len(shape)))]))
    widths = [draw(one_of_each(st.integers(0, 2), 2)) if axis in padded else (0, 0) for axis in range(len(shape))]
    value = draw(st.sampled_from([0.0, 0.0, 1.0, -0.5, FLOAT32_MAX, -FLOAT32_MAX]))
    result = [extent + sum(pair) for extent, pair in zip(shape, widths, strict=True)]
    extents = result if direction == "backward" else shape
    axes = [axis for axis in range(1, len(shape)) if axis not in padded or draw(st.booleans())]
    affine = draw(affines(extents, axes, positive=draw(often)))
    if draw(often):
        affine = _with_one_border(affine, direction, value, draw(st.sampled_from([0.0, 1.0, -0.5, 2.75])))
    return Case(Pad(tuple(widths), value), affine, (draw(NUMBERS).values(*shape),))


def _with_one_border(a: Affine, direction: Direction, value: float, other: float) -> Affine:
    """A with another shift, so that it maps `value` to `other` (forward: `other` to `value`) wherever it can."""
    if abs(value) == FLOAT32_MAX:
        return Affine(np.where(a.scale == 0.0, 1.0, a.scale), a.shift)
    scale = a.scale if direction == "backward" else np.where(a.scale == 0.0, 0.5, a.scale)
    return Affine(scale, other - scale * value if direction == "backward" else value - scale * other)


@st.composite
def transposes(draw: Any, direction: Direction) -> Case:
    shape = draw(one_of_each(st.integers(1, 3), draw(st.integers(2, 4))))
    permutation = tuple(draw(st.permutations(range(len(shape)))))
    there = [shape[axis] for axis in permutation] if direction == "backward" else list(shape)
    affine = draw(affines(there, axes=range(1, len(shape))))
    return Case(Transpose(permutation), affine, (draw(NUMBERS).values(*shape),))


@st.composite
def groupings(draw: Any, factors: Sequence[int]) -> list[int]:
    """A shape that the product of `factors` can have, in their order; with a 1 here and there."""
    shape = [factors[0]]
    for factor in factors[1:]:
        if draw(st.booleans()):
            shape.append(factor)
        else:
            shape[-1] *= factor
    if draw(rarely):
        shape.insert(draw(st.integers(1, len(shape))), 1)
    return shape


@st.composite
def named(draw: Any, shape: Sequence[int], hides: Sequence[bool]) -> tuple[int | str | None, ...]:
    """The shape as a graph knows it: a name stands for one extent wherever it stands; None for any."""
    extents: list[int | str | None] = list(shape)
    for axis, extent in enumerate(shape):
        if axis < len(hides) and hides[axis]:
            extents[axis] = f"of {extent}" if draw(st.booleans()) else None
    return tuple(extents)


@st.composite
def reshapes(draw: Any, direction: Direction) -> Case:
    factors = draw(st.lists(st.integers(1, 3), min_size=2, max_size=5))
    before, after = ([2, *draw(groupings(factors))] if draw(often) else draw(groupings([2, *factors])) for _ in "ab")
    hides = [draw(st.booleans()), *(draw(rarely) for _ in before)]
    operator = Reshape(draw(named(before, hides)), draw(named(after, hides)))
    there = after if direction == "backward" else before
    affine = draw(affines(there, axes=range(1, len(there))))
    return Case(operator, affine, (draw(NUMBERS).values(*before),), tuple(after))


@st.composite
def positions_along(draw: Any, extent: int) -> tuple[int, ...]:
    """A slice with any step, or any positions, some of them twice."""
    step = draw(st.sampled_from([1, 1, 2, -1, -2]))
    sliced = tuple(range(extent))[slice(draw(st.integers(0, extent - 1)), None, step)]
    return draw(
        st.sampled_from([sliced, sliced, tuple(draw(st.lists(st.integers(0, extent - 1), min_size=1, max_size=4)))])
    )


@st.composite
def selects(draw: Any, direction: Direction) -> Case:
    shape = draw(SHAPES)
    axes = draw(some_axes(len(shape)))
    taken = {axis: draw(positions_along(shape[axis])) for axis in axes}
    known = {axis: None if draw(rarely) else positions for axis, positions in taken.items()}
    operator = Select(known, draw(hidden(shape)), shared=draw(st.booleans()))
    result = [len(taken.get(axis, range(extent))) for axis, extent in enumerate(shape)]
    there = result if direction == "backward" else shape
    affine = draw(affines(there, axes=range(1, len(shape))))
    return Case(operator, affine, (draw(NUMBERS).values(*shape),), taken)


@st.composite
def concats(draw: Any, direction: Direction) -> Case:
    numbers, shape = draw(NUMBERS), draw(SHAPES)
    axis = draw(st.integers(1, len(shape) - 1))
    extents = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    operator = Concat(axis, draw(hidden(extents)), draw(st.integers(0, len(extents) - 1)))
    inputs = [(*shape[:axis], extent, *shape[axis + 1 :]) for extent in extents]
    there = (*shape[:axis], sum(extents), *shape[axis + 1 :]) if direction == "backward" else inputs[operator.at]
    affine = draw(affines(there, axes=range(1, len(shape))))
    return Case(operator, affine, tuple(numbers.values(*each) for each in inputs))


@st.composite
def stretched_shapes(draw: Any) -> tuple[tuple[int, ...], list[tuple[int, ...]]]:
    """The shape of a sum, and those of two or three tensors of which one at least has each of its extents."""
    shape = draw(SHAPES)
    shapes = [
        tuple(1 if draw(st.integers(0, 2)) == 0 else extent for extent in shape) if index else tuple(shape)
        for index in range(draw(st.integers(2, 3)))
    ]
    return shape, draw(st.permutations(shapes))


@st.composite
def sums(draw: Any, direction: Direction) -> Case:
    numbers, (shape, shapes) = draw(NUMBERS), draw(stretched_shapes())
    signs = tuple(draw(st.sampled_from([1.0, -1.0])) for _ in shapes)
    at = draw(st.integers(0, len(shapes) - 1))
    affine = draw(affines(shape if direction == "backward" else shapes[at], axes=range(1, len(shape))))
    if direction == "forward" and draw(often):
        affine = Affine(np.ones(()), affine.shift)
    operator = Sum(signs, tuple(draw(hidden(each)) for each in shapes), at)
    return Case(operator, affine, tuple(numbers.values(*each) for each in shapes))


@st.composite
def products(draw: Any, direction: Direction) -> Case:
    numbers, (shape, shapes) = draw(NUMBERS), draw(stretched_shapes())
    at = draw(st.integers(0, len(shapes) - 1))
    there = shape if direction == "backward" else shapes[at]
    affine = draw(affines(there, axes=range(1, len(shape)), shifted=draw(rarely)))
    operator = Product(tuple(draw(hidden(each)) for each in shapes), at)
    return Case(operator, affine, tuple(numbers.values(*each) for each in shapes))
