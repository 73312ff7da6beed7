"""Slow, obvious operators to hold the laws against. One output element at a time; no arithmetic shared with edgebn."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgebn.algebra import Affine, AveragePool, Clip, Conv, MatMul, MaxPool, Reshape, Transpose


@dataclass(frozen=True)
class Window:
    """How a convolution or pool moves over the axes from 2 on. One value for each; pads at both ends of each."""

    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads_before: tuple[int, ...]
    pads_after: tuple[int, ...]
    sizes: tuple[int, ...]


def run(operator: Any, x: np.ndarray, window: Window | None = None) -> np.ndarray:
    """What `operator` makes of `x`, axes as in ONNX."""
    match operator:
        case Affine():
            return affine(operator, x)
        case Clip():
            return clip(operator, x)
        case MatMul():
            return matmul(operator, x)
        case Conv():
            return conv(operator, x, window)
        case MaxPool():
            return pool(x, window, lambda values, _: max(values))
        case AveragePool():
            return pool(
                x, window, lambda values, size: sum(values) / (size if operator.counts_padding else len(values))
            )
        case Transpose():
            return transpose(operator, x)
        case Reshape():
            return np.array(list(elements(x))).reshape([e if e is not None else -1 for e in operator.after])
    raise AssertionError(f"no reference for {operator}")


def elements(x: np.ndarray) -> list[float]:
    return [float(x[index]) for index in np.ndindex(*x.shape)]


def at(parameter: np.ndarray, index: tuple[int, ...]) -> float:
    """An element of a parameter that broadcasts: extent 1 stands for every position."""
    return float(parameter[tuple(0 if extent == 1 else i for i, extent in zip(index, parameter.shape, strict=True))])


def affine(a: Affine, x: np.ndarray) -> np.ndarray:
    result = np.empty(x.shape)
    for index in np.ndindex(*x.shape):
        result[index] = at(a.scale, index) * float(x[index]) + at(a.shift, index)
    return result


def clip(c: Clip, x: np.ndarray) -> np.ndarray:
    result = np.empty(x.shape)
    for index in np.ndindex(*x.shape):
        value = float(x[index])
        if value < at(c.lower, index):
            value = at(c.lower, index)
        if value > at(c.upper, index):
            value = at(c.upper, index)
        result[index] = value
    return result


def matmul(m: MatMul, x: np.ndarray) -> np.ndarray:
    inputs, outputs = m.kernel.shape
    result = np.empty((*x.shape[:-1], outputs))
    for row in np.ndindex(*x.shape[:-1]):
        for out in range(outputs):
            terms = [float(x[(*row, i)]) * float(m.kernel[i, out]) for i in range(inputs)]
            result[(*row, out)] = math.fsum([*terms, float(m.bias[out])])
    return result


def conv(c: Conv, x: np.ndarray, w: Window) -> np.ndarray:
    outputs, inputs_of_group = c.kernel.shape[:2]
    outputs_of_group = outputs // c.groups
    result = np.empty((x.shape[0], outputs, *extents(x, w)))
    for n, out, *where in np.ndindex(*result.shape):
        terms = [float(c.bias[out])]
        for i, *tap in np.ndindex(*c.kernel.shape[1:]):
            channel = (out // outputs_of_group) * inputs_of_group + i
            value = sample(x, n, channel, where, tap, w)
            terms.append(0.0 if value is None else value * float(c.kernel[(out, i, *tap)]))
        result[(n, out, *where)] = math.fsum(terms)
    return result


def pool(x: np.ndarray, w: Window, reduce: Any) -> np.ndarray:
    result = np.empty((*x.shape[:2], *extents(x, w)))
    for n, channel, *where in np.ndindex(*result.shape):
        taps = itertools.product(*(range(size) for size in w.sizes))
        values = [value for tap in taps if (value := sample(x, n, channel, where, list(tap), w)) is not None]
        result[(n, channel, *where)] = reduce(values, math.prod(w.sizes))
    return result


def transpose(t: Transpose, x: np.ndarray) -> np.ndarray:
    result = np.empty([x.shape[axis] for axis in t.permutation])
    for index in np.ndindex(*result.shape):
        source = [0] * x.ndim
        for position, axis in zip(index, t.permutation, strict=True):
            source[axis] = position
        result[index] = x[tuple(source)]
    return result


def extents(x: np.ndarray, w: Window) -> list[int]:
    return [
        (x.shape[axis + 2] + w.pads_before[axis] + w.pads_after[axis] - w.dilations[axis] * (w.sizes[axis] - 1) - 1)
        // w.strides[axis]
        + 1
        for axis in range(len(w.sizes))
    ]


def sample(x: np.ndarray, n: int, channel: int, where: list[int], tap: list[int], w: Window) -> float | None:
    """The element under a tap of the window; None on the padded border."""
    position = [
        out * stride - pad + t * dilation
        for out, stride, pad, t, dilation in zip(where, w.strides, w.pads_before, tap, w.dilations, strict=True)
    ]
    if any(p < 0 or p >= extent for p, extent in zip(position, x.shape[2:], strict=True)):
        return None
    return float(x[(n, channel, *position)])
