"""Slow, obvious operators to hold the laws against. One element of the result at a time; no arithmetic of edgebn's.

`actual` is what an operator of the algebra leaves open and a graph would say: the picks of a pool, the extents that a
Reshape leads to, the pads that `auto_pad` gives.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from edgebn.algebra import (
    Affine,
    Blend,
    Clip,
    Concat,
    Conv,
    ConvTranspose,
    Extremum,
    MatMul,
    Pad,
    PRelu,
    Product,
    Reshape,
    Select,
    Sum,
    Transpose,
    Window,
)

Index = tuple[int, ...]
Pads = Sequence[tuple[int, int]]
Picks = Mapping[int, Sequence[Sequence[tuple[int, float]]]]
"""For each axis, for each place of the result: the positions that enter it, each with its weight."""

FLOAT32_MAX = 3.4028234663852886e38


def run(operator: Any, inputs: Sequence[np.ndarray], actual: Any = None) -> np.ndarray:
    """What `operator` makes of `inputs`, axes as in ONNX."""
    x = inputs[0]
    match operator:
        case Affine() | Clip() | PRelu():
            return pointwise(operator, x)
        case MatMul():
            return matmul(operator, x)
        case Conv():
            return conv(operator, x, operator.window.pads or actual)
        case ConvTranspose():
            return conv_transpose(operator, x, *actual)
        case Extremum():
            return mix(x, actual, operator, lambda terms: (max if operator.largest else min)(x for x, _ in terms))
        case Blend():
            return mix(x, actual, operator, lambda terms: math.fsum(x * weight for x, weight in terms))
        case _:
            return rearranged(operator, inputs, actual)


def rearranged(operator: Any, inputs: Sequence[np.ndarray], actual: Any) -> np.ndarray:
    x = inputs[0]
    match operator:
        case Pad():
            return pad(operator, x)
        case Transpose():
            return transpose(operator, x)
        case Reshape():
            return np.array([x[index] for index in np.ndindex(*x.shape)]).reshape(actual)
        case Select():
            return select(x, actual)
        case Concat():
            return concat(inputs, operator.axis)
        case Sum():
            return stretched(inputs, lambda each: math.fsum(map(math.prod, zip(operator.signs, each, strict=True))))
        case Product():
            return stretched(inputs, math.prod)
    raise AssertionError(f"no reference for {operator}")


def elementwise(shape: Sequence[int], element: Callable[[Index], float]) -> np.ndarray:
    result = np.empty(tuple(shape))
    for index in np.ndindex(*result.shape):
        result[index] = element(index)
    return result


def at(parameter: np.ndarray, index: Index) -> float:
    """An element of a parameter that broadcasts: extent 1 stands for every position."""
    return float(parameter[tuple(0 if extent == 1 else i for i, extent in zip(index, parameter.shape, strict=True))])


def pointwise(operator: Affine | Clip | PRelu, x: np.ndarray) -> np.ndarray:
    for parameter in vars(operator).values():  # a parameter must not stretch the tensor
        assert all(own in (1, extent) for own, extent in zip(parameter.shape, x.shape, strict=True))
    assert not isinstance(operator, Clip) or (operator.lower <= operator.upper).all()
    function = {Affine: affine, Clip: clip, PRelu: prelu}[type(operator)]
    return elementwise(x.shape, lambda index: function(operator, float(x[index]), index))


def affine(a: Affine, x: float, index: Index) -> float:
    return times(at(a.scale, index), x) + at(a.shift, index)


def times(weight: float, x: float) -> float:
    """The product; 0·∞ is 0, since infinity stands for the largest float (see `pad`)."""
    return 0.0 if weight == 0.0 else weight * x


def clip(c: Clip, x: float, index: Index) -> float:
    if x < at(c.lower, index):
        x = at(c.lower, index)
    if x > at(c.upper, index):
        x = at(c.upper, index)
    return x


def prelu(p: PRelu, x: float, index: Index) -> float:
    return x if x >= 0.0 else at(p.slope, index) * x


def matmul(m: MatMul, x: np.ndarray) -> np.ndarray:
    inputs, outputs = m.kernel.shape
    assert x.shape[-1] == inputs

    def element(index: Index) -> float:
        *row, out = index
        terms = [float(x[(*row, i)]) * float(m.kernel[i, out]) for i in range(inputs)]
        return math.fsum([*terms, float(m.bias[out])])

    return elementwise((*x.shape[:-1], outputs), element)


def conv(c: Conv, x: np.ndarray, pads: Pads) -> np.ndarray:
    outputs, inputs_of_group, *sizes = c.kernel.shape
    outputs_of_group = outputs // c.groups
    assert x.shape[1] == inputs_of_group * c.groups

    def element(index: Index) -> float:
        n, out, *place = index
        terms = [float(c.bias[out])]
        for i, *tap in np.ndindex(inputs_of_group, *sizes):
            channel = (out // outputs_of_group) * inputs_of_group + i
            position = [
                p * stride + t * dilation - before
                for p, t, stride, dilation, (before, _) in zip(
                    place, tap, c.window.strides, c.window.dilations, pads, strict=True
                )
            ]
            terms.append(times(float(c.kernel[(out, i, *tap)]), sample(x, n, channel, position)))
        return math.fsum(terms)

    return elementwise((x.shape[0], outputs, *conv_extents(x.shape[2:], sizes, c.window, pads)), element)


def conv_extents(extents: Sequence[int], sizes: Sequence[int], window: Window, pads: Pads) -> list[int]:
    """How often the window fits."""
    return [
        len(range(0, extent + before + after - dilation * (size - 1), stride))
        for extent, size, stride, dilation, (before, after) in zip(
            extents, sizes, window.strides, window.dilations, pads, strict=True
        )
    ]


def conv_transpose(c: ConvTranspose, x: np.ndarray, pads: Pads, outputs: Sequence[int]) -> np.ndarray:
    inputs, outputs_of_group, *sizes = c.kernel.shape
    inputs_of_group = inputs // c.groups
    assert x.shape[1] == inputs

    def element(index: Index) -> float:
        n, out, *place = index
        terms = [float(c.bias[out])]
        for i, *tap in np.ndindex(inputs_of_group, *sizes):
            channel = (out // outputs_of_group) * inputs_of_group + i
            steps = [
                p + before - t * dilation
                for p, t, dilation, (before, _) in zip(place, tap, c.window.dilations, pads, strict=True)
            ]
            if any(step % stride for step, stride in zip(steps, c.window.strides, strict=True)):
                continue
            position = [step // stride for step, stride in zip(steps, c.window.strides, strict=True)]
            weight = float(c.kernel[(channel, out % outputs_of_group, *tap)])
            terms.append(sample(x, n, channel, position) * weight)
        return math.fsum(terms)

    return elementwise((x.shape[0], outputs_of_group * c.groups, *outputs), element)


def sample(x: np.ndarray, n: int, channel: int, position: Sequence[int]) -> float:
    """An element of the image; 0 beside it."""
    inside = all(0 <= p < extent for p, extent in zip(position, x.shape[2:], strict=True))
    return float(x[(n, channel, *position)]) if inside else 0.0


def mix(
    x: np.ndarray,
    picks: Picks,
    operator: Extremum | Blend,
    combine: Callable[[list[tuple[float, float]]], float],
) -> np.ndarray:
    """Combine, for each element of the result, the elements that `picks` names, with their weights."""
    assert set(picks) == set(operator.axes)

    def element(index: Index) -> float:
        terms = []
        for chosen in itertools.product(
            *(picks[axis][i] if axis in picks else [(i, 1.0)] for axis, i in enumerate(index))
        ):
            position = tuple(each for each, _ in chosen)
            terms.append((float(x[position]), math.prod(weight for _, weight in chosen)))
        return combine(terms)

    result = elementwise([len(picks[a]) if a in picks else extent for a, extent in enumerate(x.shape)], element)
    return result if operator.keeps_axes else np.squeeze(result, operator.axes)


def pad(p: Pad, x: np.ndarray) -> np.ndarray:
    """The largest finite float32 stands for infinity."""
    value = math.copysign(math.inf, p.value) if abs(p.value) >= FLOAT32_MAX else p.value

    def element(index: Index) -> float:
        position = tuple(i - before for i, (before, _) in zip(index, p.pads, strict=True))
        inside = all(0 <= i < extent for i, extent in zip(position, x.shape, strict=True))
        return float(x[position]) if inside else value

    return elementwise([sum(pair) + extent for pair, extent in zip(p.pads, x.shape, strict=True)], element)


def transpose(t: Transpose, x: np.ndarray) -> np.ndarray:
    def element(index: Index) -> float:
        source = [0] * x.ndim
        for position, axis in zip(index, t.permutation, strict=True):
            source[axis] = position
        return float(x[tuple(source)])

    return elementwise([x.shape[axis] for axis in t.permutation], element)


def select(x: np.ndarray, positions: Mapping[int, Sequence[int]]) -> np.ndarray:
    return elementwise(
        [len(positions.get(axis, range(extent))) for axis, extent in enumerate(x.shape)],
        lambda index: float(x[tuple(positions[axis][i] if axis in positions else i for axis, i in enumerate(index))]),
    )


def concat(inputs: Sequence[np.ndarray], axis: int) -> np.ndarray:
    places = [(x, i) for x in inputs for i in range(x.shape[axis])]

    def element(index: Index) -> float:
        x, i = places[index[axis]]
        return float(x[(*index[:axis], i, *index[axis + 1 :])])

    return elementwise([len(places) if a == axis else extent for a, extent in enumerate(inputs[0].shape)], element)


def stretched(inputs: Sequence[np.ndarray], combine: Callable[[list[float]], float]) -> np.ndarray:
    """Combine the elements at one place; a tensor of extent 1 along an axis has the same one all along it."""
    shape = [max(extents) for extents in zip(*(x.shape for x in inputs), strict=True)]
    return elementwise(shape, lambda index: combine([at(x, index) for x in inputs]))
