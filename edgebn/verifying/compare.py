"""The arithmetic of the verdict: two arrays, and the truth where it is known. Pure functions.

A channel's elements are compared with that channel's own tolerance: a wrong small column must not hide behind a large
one. Channels are counted along the last axis and, from rank 3 on, along axis 1 as well: files come in both layouts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgebn.report import Distance

Array = NDArray[Any]

EPSILON = float(np.finfo(np.float32).eps)
_SMALLEST = float(np.finfo(np.float32).tiny)

_ROUNDED_UP = 1.0 + 2.0**-50
"""More than what the quotient and the product of float64 are rounded by."""

TRUTH_FACTOR = 4.0
"""How much further from the truth than Keras ONNX may be: sums of another order round differently, not worse."""

TRUTH_ROUNDINGS = 16.0
"""Roundings of the channel's scale that are always allowed: Keras may get some of its own right by luck."""

SENSITIVITY_FACTOR = 32.0
"""Per response of the model to rounding each weight once: a sum of n terms rounds up to √n times. 12 times was seen."""

LEAST_SENSITIVITY_FACTOR = 12.0
"""The same where Keras in float32 shows, in all channels, that the model's sums do not round so often."""

DISTRUST = 1e-2
"""If Keras in float32 is further from the truth, by the output's scale, that was rebuilt as another model."""

PLAIN_ROUNDINGS = 84.0
"""The same where the truth is not known: 1e-5 of the channel's scale."""


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


def tolerance(scales: Array, reference_error: Array | None, sensitivity: Array) -> NDArray[np.float64]:
    """How far from the truth ONNX may be if Keras is off by `reference_error`; from Keras if that is None.

    All are per channel. `sensitivity` is how far the channel moves when every weight is rounded once. Without it, a
    sample on which Keras happens to be right would ask the impossible of ONNX: behind large logits softmax multiplies
    every rounding. How many times that counts, the channel says in which Keras is furthest off by its sensitivity; it
    is not right by luck in all of them. What is smaller than the smallest normal number may be flushed to zero.
    """
    if reference_error is None:
        return np.asarray(PLAIN_ROUNDINGS * EPSILON * scales + SENSITIVITY_FACTOR * sensitivity + 2.0 * _SMALLEST)
    seen = TRUTH_FACTOR * share(reference_error, sensitivity).max(initial=0.0)
    factor = min(max(seen, LEAST_SENSITIVITY_FACTOR), SENSITIVITY_FACTOR)
    roundings = TRUTH_FACTOR * reference_error + factor * sensitivity
    return np.asarray(roundings + TRUTH_ROUNDINGS * EPSILON * scales + 2.0 * _SMALLEST)


def share(errors: Array, allowed: Array) -> NDArray[np.float64]:
    """errors / allowed; 0 where there is no error."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.where(errors == 0.0, 0.0, np.where(np.isinf(errors), np.inf, errors / allowed))


def distance(errors: Array, scales: Array) -> Distance:
    """`errors` and `scales` are the largest of each channel. What a flush to zero explains counts as max_abs only."""
    units = np.spacing(np.maximum(scales, _SMALLEST).astype(np.float32)).astype(np.float64)
    normal = np.where(errors <= 2.0 * _SMALLEST, 0.0, errors)
    largest = (part.max(initial=0.0) for part in (errors, share(normal, scales), share(normal, units)))
    return Distance(*map(float, largest))


def numpy_excess(a: Array, b: Array, rtol: float, atol: float) -> float:
    """max (|a − b| − rtol·|b|) / atol: at most 1 where `numpy.allclose(a, b, rtol, atol)`; 0/0 is 0."""
    over = absolute(a, b) - rtol * magnitudes(b)
    return float(share(np.maximum(over, 0.0), np.full((), atol)).max(initial=0.0))


def smallest_rtol(a: Array, b: Array) -> float:
    """max |a − b| / |b|: the smallest rtol by which numpy calls them close if atol is 0. Infinite if b is 0 there."""
    return float(share(absolute(a, b), magnitudes(b)).max(initial=0.0)) * _ROUNDED_UP


def has_labels(shape: tuple[int, ...]) -> bool:
    """Whether an array of this shape is rows of at least two scores."""
    return len(shape) == 2 and shape[1] >= 2


def changed_labels(a: Array, b: Array) -> int | None:
    """In how many rows the largest score stands elsewhere; None unless both are rows of at least two scores."""
    return int((a.argmax(axis=1) != b.argmax(axis=1)).sum()) if has_labels(a.shape) else None
