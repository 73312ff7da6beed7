"""What hypothesis draws for the exchanges: operators beside each other, and an input."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from edgebn.algebra import Affine, Clip, Conv, Outcome, Window
from edgebn.algebra.clipping import on_through_clip
from tests.algebra.drawing import NUMBERS, affines, magnitude, often, one_of_each, parameters, rarely
from tests.algebra.strategies_moves import SHAPES, extremums
from tests.algebra.strategies_weights import clip_operators, convs, kernel_sizes, per_channel, windows


@dataclass(frozen=True, eq=False)
class Exchange:
    """The operators that an exchange is asked about, an input, and what they leave open (see `tests.reference`)."""

    operators: tuple[Any, ...]
    x: np.ndarray
    actual: Any = None

    @property
    def size(self) -> float:
        """As for a `Case`; a clip multiplies nothing."""
        return magnitude([self.x]) * math.prod(
            magnitude(parameters(operator)) for operator in self.operators if not isinstance(operator, Clip)
        )


@st.composite
def clip_cases(draw: Any) -> Exchange:
    shape = draw(SHAPES)
    return Exchange((draw(clip_operators(shape, one_sided=draw(often))),), draw(NUMBERS).values(*shape))


@st.composite
def pooled_clips(draw: Any) -> Exchange:
    """A pool behind a clip whose bounds are mostly the same all along the axes of the pool."""
    pool = draw(extremums("forward"))
    (x,), picks = pool.inputs, pool.actual
    bounded = [1 if axis in picks and draw(often) else extent for axis, extent in enumerate(x.shape)]
    return Exchange((pool.operator, draw(clip_operators(bounded))), x, picks)


@st.composite
def padded_convs_behind_clips(draw: Any) -> Exchange:
    """A clip, the affine that went on through it, and a convolution."""
    conv = draw(convs("forward"))
    (x,) = conv.inputs
    per_channel_shape = (1, x.shape[1], *([1] * (x.ndim - 2)))
    lower, upper = draw(st.sampled_from([(0.0, np.inf), (0.0, np.inf), (0.0, 6.0), (-3.0, 0.0), (-1.0, 1.0)]))
    extents = (1, *x.shape[1:]) if draw(rarely) else per_channel_shape
    sign = draw(st.sampled_from([1.0, 1.0, -1.0]))
    a = draw(affines(per_channel_shape, axes=(1,), positive=draw(often)))
    outcome = on_through_clip(Clip(np.full(extents, lower), np.full(extents, upper)), Affine(sign * a.scale, a.shift))
    assert isinstance(outcome, Outcome)
    return Exchange((*outcome.operators, outcome.rest, conv.operator), x, conv.actual)


@st.composite
def windows_inside(draw: Any, sizes: tuple[int, ...]) -> tuple[Window, tuple[int, ...], Window]:
    """A window of `sizes`, and the sizes and the window of one whose taps are some of its taps."""
    strides, dilations = (draw(one_of_each(st.integers(1, 2), len(sizes))) for _ in range(2))
    inner_sizes, inner_dilations, outer_pads, inner_pads, extents = [], [], [], [], []
    for size, dilation in zip(sizes, dilations, strict=True):
        first, step = draw(st.integers(0, size - 1)), draw(st.integers(1, 2))
        count = draw(st.integers(1, len(range(first, size, step))))
        behind = size - 1 - (first + (count - 1) * step)
        before, after = draw(one_of_each(st.integers(0, 1), 2))
        inner_sizes.append(count)
        inner_dilations.append(step * dilation)
        inner_pads.append((before, after))
        outer_pads.append((before + first * dilation, after + behind * dilation))
        extents.append(max(1, (size - 1) * dilation + 1 - sum(outer_pads[-1])) + draw(st.integers(0, 2)))
    outer = Window(strides, dilations, tuple(outer_pads), tuple(extents))
    return outer, tuple(inner_sizes), Window(strides, tuple(inner_dilations), tuple(inner_pads), tuple(extents))


@st.composite
def other_taps(
    draw: Any, sizes: tuple[int, ...], outer: Window, inner_sizes: tuple[int, ...], inner: Window
) -> tuple[Window, tuple[int, ...], Window]:
    """The same with any taps on the first axis that lead to results of the same extents."""
    count, dilation = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    before, after = outer.pads[0]
    total = before + after - outer.dilations[0] * (sizes[0] - 1) + dilation * (count - 1)
    first = draw(st.integers(0, max(total, 0)))
    outer = replace(outer, pads=((before, after + max(-total, 0)), *outer.pads[1:]))
    pads = ((first, max(total, 0) - first), *inner.pads[1:])
    inner = replace(inner, dilations=(dilation, *inner.dilations[1:]), pads=pads)
    return outer, (count, *inner_sizes[1:]), inner


@st.composite
def two_convs(draw: Any) -> Exchange:
    """Two convolutions of one tensor, mostly such that the taps of one are among those of the other."""
    numbers, sizes = draw(NUMBERS), draw(kernel_sizes())
    groups, inputs, outputs = draw(one_of_each(st.integers(1, 2), 3))
    outer, inner_sizes, inner = draw(windows_inside(sizes))
    inner_groups = groups
    spoilt = draw(
        st.sampled_from(["nothing"] * 6 + ["taps"] * 3 + ["pads", "strides", "dilations", "groups", "auto_pad"])
    )
    if spoilt == "taps":
        outer, inner_sizes, inner = draw(other_taps(sizes, outer, inner_sizes, inner))
    elif spoilt == "pads":
        outer = replace(outer, pads=(outer.pads[0][::-1], *outer.pads[1:]))
    elif spoilt in {"strides", "dilations"}:
        inner = replace(inner, **{spoilt: (3, *getattr(inner, spoilt)[1:])})
    elif spoilt == "groups":
        inner_groups = 3 - groups
    elif spoilt == "auto_pad":
        inner = replace(inner, pads=None)
    channels, results = 2 * inputs, 2 * outputs
    pair = [
        Conv(numbers.weights(results, channels // count, *each), numbers.weights(results), count, window)
        for each, count, window in ((sizes, groups, outer), (inner_sizes, inner_groups, inner))
    ]
    return Exchange(tuple(draw(st.permutations(pair))), numbers.values(1, channels, *outer.extents))


@st.composite
def affines_beside_convs(draw: Any) -> Exchange:
    """An affine, and a convolution that mostly has as many channels out as in, and strides of 1."""
    numbers, sizes = draw(NUMBERS), draw(kernel_sizes())
    groups, inputs = draw(one_of_each(st.integers(1, 2), 2))
    outputs = inputs if draw(often) else draw(st.integers(1, 2))
    window, _ = draw(windows(sizes))
    window = replace(window, strides=(1,) * len(sizes)) if draw(often) else window
    kernel = numbers.weights(groups * outputs, inputs, *sizes)
    shape = (1, groups * inputs, *window.extents)
    conv = Conv(kernel, numbers.weights(len(kernel)), groups, window)
    return Exchange((draw(per_channel(shape)), conv), numbers.values(*shape))


EXCHANGE_CASES: Mapping[str, st.SearchStrategy[Exchange]] = {
    "a clip as ReLU": clip_cases(),
    "a pool before a clip": pooled_clips(),
    "a Pad before a clip": padded_convs_behind_clips(),
    "two convolutions of one tensor as one": two_convs(),
    "an affine as a convolution": affines_beside_convs(),
}
