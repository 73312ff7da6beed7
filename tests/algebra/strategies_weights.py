"""What hypothesis draws for operators that have weights, slopes or bounds for each channel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

from edgebn.algebra import Affine, Clip, Conv, ConvTranspose, Direction, MatMul, PRelu, Window
from tests.algebra.drawing import NUMBERS, Case, affines, hidden, often, one_of_each, rarely
from tests.reference import Pads, conv_extents

AffineOf = Callable[[Sequence[int]], st.SearchStrategy[Affine]]
"""A strategy for what stands beside an image tensor of some shape."""


@st.composite
def matmuls(draw: Any, direction: Direction) -> Case:
    numbers = draw(NUMBERS)
    rows = draw(st.lists(st.integers(1, 3), min_size=1, max_size=2))
    inputs, outputs = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    operator = MatMul(numbers.weights(inputs, outputs), numbers.weights(outputs))
    last = outputs if direction == "backward" else inputs
    affine = draw(affines((*rows, last), axes=(len(rows),), inside=range(1, len(rows))))
    return Case(operator, affine, (numbers.values(*rows, inputs),))


@st.composite
def per_channel(draw: Any, shape: Sequence[int]) -> Affine:
    """An affine that a kernel can take, and rarely one that it can not; without a shift in one of two."""
    return draw(affines(shape, axes=(1,), inside=range(2, len(shape)), shifted=draw(st.booleans())))


@st.composite
def with_one_root(draw: Any, shape: Sequence[int]) -> Affine:
    """Mostly an affine that makes 0 of the same value in every channel: s·x − s·p; where s = 0 all do."""
    if not draw(often):
        return draw(affines(shape, axes=(1,)))
    scale = draw(affines(shape, axes=(1,))).scale
    root = draw(st.sampled_from([0.0, 1.0, -0.5]) | st.floats(-4, 4))
    return Affine(scale, -scale * root)


@st.composite
def with_roots(draw: Any, shape: Sequence[int]) -> Affine:
    """Mostly an affine that makes 0 of some value in every channel: s·x − s·p; where s = 0 all do."""
    if draw(rarely):
        return draw(affines(shape, axes=(1,)))
    scale, roots = draw(affines(shape, axes=(1,))).scale, draw(affines(shape, axes=(1,))).shift
    return Affine(scale, -scale * roots)


@st.composite
def windows(draw: Any, sizes: Sequence[int]) -> tuple[Window, Pads]:
    """How a window of `sizes` moves over an image on which it fits, as a graph knows it, and how much is padded."""
    axes = len(sizes)
    strides, dilations = (draw(one_of_each(st.integers(1, 2), axes)) for _ in range(2))
    pads = draw(one_of_each(one_of_each(st.integers(0, 2), 2), axes)) if draw(st.booleans()) else ((0, 0),) * axes
    extents = [
        max(1, dilation * (size - 1) + 1 - sum(pair)) + draw(st.integers(0, 2))
        for size, dilation, pair in zip(sizes, dilations, pads, strict=True)
    ]
    known_pads = None if draw(rarely) else pads
    return Window(strides, dilations, known_pads, tuple(extents)), pads


@st.composite
def kernel_sizes(draw: Any) -> tuple[int, ...]:
    axes = draw(st.sampled_from([1, 1, 2, 2, 3]))
    return draw(one_of_each(st.integers(1, 3 if axes < 3 else 2), axes))


@st.composite
def convs(draw: Any, direction: Direction, affine: AffineOf = per_channel) -> Case:
    numbers, sizes = draw(NUMBERS), draw(kernel_sizes())
    groups, inputs_of_group, outputs_of_group = draw(one_of_each(st.integers(1, 2), 3))
    known, pads = draw(windows(sizes))
    kernel = numbers.weights(groups * outputs_of_group, inputs_of_group, *sizes)
    shape = (1, groups * inputs_of_group, *known.extents)
    result = (1, len(kernel), *conv_extents(known.extents, sizes, known, pads))
    window = Window(known.strides, known.dilations, known.pads, draw(hidden(known.extents)))
    operator = Conv(kernel, numbers.weights(len(kernel)), groups, window)
    beside = draw(affine(result if direction == "backward" else shape))
    return Case(operator, beside, (numbers.values(*shape),), pads)


@st.composite
def conv_transposes(draw: Any, direction: Direction, affine: AffineOf = per_channel) -> Case:
    numbers, sizes = draw(NUMBERS), draw(kernel_sizes())
    groups, inputs_of_group, outputs_of_group = draw(one_of_each(st.integers(1, 2), 3))
    strides, dilations = (draw(one_of_each(st.integers(1, 3), len(sizes))) for _ in range(2))
    extents = draw(one_of_each(st.integers(1, 3), len(sizes)))
    pads, outputs = [], []
    for extent, size, stride, dilation in zip(extents, sizes, strides, dilations, strict=True):
        whole = (extent - 1) * stride + dilation * (size - 1) + 1
        before = draw(st.integers(0, min(2, whole - 1)))
        after = draw(st.integers(1 - stride, min(2, whole - 1 - before)))  # below 0: output_padding
        pads.append((before, max(after, 0)))
        outputs.append(whole - before - after)
    window = Window(strides, dilations, None if draw(rarely) else tuple(pads), draw(hidden(extents)))
    kernel = numbers.weights(groups * inputs_of_group, outputs_of_group, *sizes)
    channels = groups * outputs_of_group
    operator = ConvTranspose(kernel, numbers.weights(channels), groups, window, draw(hidden(outputs)))
    shapes = {"backward": (1, channels, *outputs), "forward": (1, len(kernel), *extents)}
    beside = draw(affine(shapes[direction]))
    return Case(operator, beside, (numbers.values(1, len(kernel), *extents),), (tuple(pads), tuple(outputs)))


@st.composite
def clip_operators(draw: Any, shape: Sequence[int], one_sided: bool = False) -> Clip:
    """Bounds that may differ along every axis but the first, finite on both sides, on one, or on none."""
    numbers = draw(NUMBERS)
    extents = (1, *(extent if draw(st.booleans()) else 1 for extent in shape[1:]))
    if draw(rarely):
        return Clip.relu(len(shape))
    lower, upper = np.sort(numbers.random.uniform(-2, 2, (2, *extents)), axis=0)
    below = numbers.random.random(extents) < draw(st.sampled_from([0.0, 0.5, 1.0]))
    above = ~below if one_sided else numbers.random.random(extents) < draw(st.sampled_from([0.0, 0.5, 1.0]))
    bounds = np.where(below, lower, -np.inf), np.where(above, upper, np.inf)
    return Clip(*(bound.astype(np.float32) for bound in bounds)) if draw(rarely) else Clip(*bounds)


@st.composite
def clips(draw: Any, direction: Direction) -> Case:  # noqa: ARG001, one signature for all
    shape = (2, *draw(one_of_each(st.integers(1, 3), 2)))
    return Case(draw(clip_operators(shape)), draw(affines(shape, axes=(1, 2))), (draw(NUMBERS).values(*shape),))


@st.composite
def prelus(draw: Any, direction: Direction) -> Case:  # noqa: ARG001, one signature for all
    numbers, shape = draw(NUMBERS), (2, *draw(one_of_each(st.integers(1, 3), 2)))
    slopes = numbers.weights(1, *(extent if draw(st.booleans()) else 1 for extent in shape[1:]))
    slopes = np.abs(slopes) if draw(often) else slopes
    affine = draw(affines(shape, axes=(1, 2), positive=draw(st.booleans()), shifted=draw(rarely)))
    return Case(PRelu(slopes), affine, (numbers.values(*shape),))


@st.composite
def pairs(draw: Any, direction: Direction) -> Case:  # noqa: ARG001, one signature for all
    shape = (2, *draw(one_of_each(st.integers(1, 3), 2)))
    first, second = (draw(affines(shape, axes=(1, 2))) for _ in range(2))
    return Case(first, second, (draw(NUMBERS).values(*shape),))
