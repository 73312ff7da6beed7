"""The arithmetic of the verdict: two arrays, and the truth where it is known. Pure functions.

A channel's elements are compared with that channel's own tolerance: a wrong small column must not hide behind a large
one. Channels are counted along the last axis and, from rank 3 on, along axis 1 as well: files come in both layouts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgebn.report import Distance

Array = NDArray[Any]


@dataclass(frozen=True)
class Precision:
    """How floats of a kind round.

    epsilon    of 1; half of it is the largest error of one rounding
    flushed    what may be lost below the smallest normal number, as runtimes may flush to zero
    roundings  of the channel's scale that are allowed where the truth is not known
    """

    epsilon: float
    flushed: float
    roundings: float

    def units(self, sizes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of each size the unit in its last place."""
        _, exponents = np.frexp(sizes)
        return np.asarray(np.ldexp(self.epsilon, exponents - 1))


TRUTH_ROUNDINGS = 16.0
"""Roundings of the channel's scale that are always allowed: Keras may get some of its own right by luck."""

PLAIN_ROUNDINGS = 84.0
"""The same where the truth is not known: 1e-5 of the channel's scale."""

_TINY = float(np.finfo(np.float32).tiny)
_HALF_STEP = 2.0**-24
"""The smallest subnormal number of float16, which runtimes do not flush: they compute such sums in float32."""

PRECISIONS: Mapping[str, Precision] = {
    "bfloat16": Precision(2.0**-7, 2.0 * _TINY, TRUTH_ROUNDINGS),
    "float16": Precision(2.0**-10, TRUTH_ROUNDINGS * _HALF_STEP, TRUTH_ROUNDINGS),
    "float32": Precision(2.0**-23, 2.0 * _TINY, PLAIN_ROUNDINGS),
    "float64": Precision(2.0**-52, 2.0 * float(np.finfo(np.float64).tiny), PLAIN_ROUNDINGS),
}
"""The coarsest first."""

FLOAT32 = PRECISIONS["float32"]
EPSILON = FLOAT32.epsilon

_ROUNDED_UP = 1.0 + 2.0**-50
"""More than what the quotient and the product of float64 are rounded by."""

TRUTH_FACTOR = 4.0
"""How much further from the truth than Keras ONNX may be: sums of another order round differently, not worse."""

SENSITIVITY_FACTOR = 32.0
"""Per response of the model to rounding each weight once: a sum of n terms rounds up to √n times. 12 times was seen."""

LEAST_SENSITIVITY_FACTOR = 12.0
"""The same where Keras in float32 shows, in all channels, that the model's sums do not round so often."""

DISTRUST = 1e-2
"""If Keras in float32 is further from the truth, by the output's scale, that was rebuilt as another model."""


def absolute(a: Array, b: Array) -> NDArray[np.float64]:
    """|a − b| in float64. NaN equals NaN, infinity itself; against anything else they are infinitely far."""
    if a.shape != b.shape:
        raise ValueError(f"arrays of the shapes {a.shape} and {b.shape} can not be compared")
    left, right = np.asarray(a, np.float64), np.asarray(b, np.float64)
    with np.errstate(invalid="ignore"):
        difference = np.abs(left - right)
    if np.isfinite(difference).all():
        return difference
    same = (left == right) | (np.isnan(left) & np.isnan(right))
    return np.where(same, 0.0, np.where(np.isnan(difference), np.inf, difference))


def excusing(actual: Array, reference: Array, exact: Array | None) -> Array:
    """`actual`, but as the reference is where that is not finite: nothing is required of such elements.

    Only a number that is none of the truth's, where there is one, stays as it is: it is no overflow.
    """
    finite = np.isfinite(reference if reference.dtype.kind in "biuf" else np.asarray(reference, np.float64))
    if finite.all():
        return actual
    found = np.asarray(actual, np.float64)
    if exact is None:
        return np.where(finite, found, reference)
    with np.errstate(invalid="ignore"):
        far = np.abs(found - exact) > DISTRUST * np.maximum(np.abs(exact), scale(reference))
    return np.where(finite | (far & np.isfinite(found) & np.isfinite(exact)), found, reference)


def max_abs(a: Array, b: Array) -> float:
    """max |a − b|, as `absolute` has it."""
    return float(absolute(a, b).max(initial=0.0))


def magnitudes(array: Array) -> NDArray[np.float64]:
    """The absolute values; 0 for what is not finite."""
    sizes = np.abs(np.asarray(array, np.float64))
    return sizes if np.isfinite(sizes).all() else np.where(np.isfinite(sizes), sizes, 0.0)


def scale(array: Array) -> float:
    """The largest finite absolute value."""
    return float(magnitudes(array).max(initial=0.0))


def channels(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The largest of the values, none below 0, in each channel: along the last axis, then along axis 1 if another."""
    values = values.reshape(len(values), -1) if values.ndim < 2 else values
    last = values.max(axis=tuple(range(values.ndim - 1)), initial=0.0)
    if values.ndim < 3:
        return np.asarray(last)
    return np.concatenate([last, values.max(axis=(0, *range(2, values.ndim)), initial=0.0)])


def coarsest(names: Iterable[str]) -> Precision:
    """That of the coarsest of these dtypes; float32 if none of them is a float."""
    given = set(names)
    return next((precision for name, precision in PRECISIONS.items() if name in given), FLOAT32)


def tolerance(
    scales: Array,
    reference_error: Array | None,
    sensitivity: Array,
    precision: Precision = FLOAT32,
    rounding: Array | float = 0.0,
) -> NDArray[np.float64]:
    """How far from the truth ONNX may be if Keras is off by `reference_error`; from Keras if that is None.

    All are per channel. `sensitivity` is how far the channel moves when every weight is rounded once. Without it, a
    sample on which Keras happens to be right would ask the impossible of ONNX: behind large logits softmax multiplies
    every rounding. How many times that counts, the channel says in which Keras is furthest off by its sensitivity; it
    is not right by luck in all of them. Where `rounding`, how far it moves when every result of the file is rounded
    once, is more, that counts: what cancels shows in no weight. What is smaller than the smallest normal number may be
    flushed to zero.
    """
    rounded, flushed = precision.epsilon * scales, precision.flushed
    moves = np.maximum(sensitivity, rounding)
    if reference_error is None:
        return np.asarray(precision.roundings * rounded + SENSITIVITY_FACTOR * moves + flushed)
    seen = TRUTH_FACTOR * share(reference_error, sensitivity).max(initial=0.0)
    factor = min(max(seen, LEAST_SENSITIVITY_FACTOR), SENSITIVITY_FACTOR)
    return np.asarray(TRUTH_FACTOR * reference_error + factor * moves + TRUTH_ROUNDINGS * rounded + flushed)


def share(errors: Array, allowed: Array) -> NDArray[np.float64]:
    """errors / allowed; 0 where there is no error."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.where(errors == 0.0, 0.0, np.where(np.isinf(errors), np.inf, errors / allowed))


def distance(errors: Array, scales: Array, precision: Precision = FLOAT32) -> Distance:
    """`errors` and `scales` are the largest of each channel. What a flush to zero explains counts as max_abs only."""
    units = precision.units(np.maximum(scales, precision.flushed / 2.0))
    normal = np.where(errors <= precision.flushed, 0.0, errors)
    largest = (part.max(initial=0.0) for part in (errors, share(normal, scales), share(normal, units)))
    return Distance(*map(float, largest))


def numpy_excess(a: Array, b: Array, rtol: float, atol: float) -> float:
    """max (|a − b| − rtol·|b|) / atol: at most 1 where `numpy.allclose(a, b, rtol, atol)`; 0/0 is 0."""
    over = absolute(a, b) - rtol * magnitudes(b)
    return float(share(np.maximum(over, 0.0), np.full((), atol)).max(initial=0.0))


def smallest_rtol(a: Array, b: Array) -> float:
    """max |a − b| / |b|: the smallest rtol by which numpy calls them close if atol is 0. Infinite if b is 0 there."""
    return float(share(absolute(a, b), magnitudes(b)).max(initial=0.0)) * _ROUNDED_UP


def changed_labels(a: Array, b: Array) -> int | None:
    """In how many rows the largest score stands elsewhere; None unless both are rows of at least two scores."""
    is_rows = a.ndim == 2 and a.shape[1] >= 2
    return int((a.argmax(axis=1) != b.argmax(axis=1)).sum()) if is_rows else None
