"""The arithmetic of the verdict: two arrays, and the truth where it is known. Pure functions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

EPSILON = float(np.finfo(np.float32).eps)

TRUTH_FACTOR = 4.0
"""How much further from the truth than Keras ONNX may be: sums of another order round differently, not worse."""

TRUTH_ROUNDINGS = 16.0
"""Roundings of the output's scale that are always allowed: Keras may get some of its own right by luck."""

SENSITIVITY_FACTOR = 32.0
"""Per response of the model to rounding each weight once: a sum of n terms rounds up to √n times. 12 times was seen."""

DISTRUST = 1e-2
"""If Keras in float32 is further from the truth, by the output's scale, that was rebuilt as another model."""

PLAIN_ROUNDINGS = 84.0
"""The same where the truth is not known: 1e-5 of the output's scale."""


def max_abs(a: NDArray[Any], b: NDArray[Any]) -> float:
    """max |a − b|, in float64. NaN equals NaN, infinity itself; against anything else they are infinitely far."""
    if a.shape != b.shape:
        raise ValueError(f"arrays of the shapes {a.shape} and {b.shape} can not be compared")
    left, right = np.asarray(a, np.float64), np.asarray(b, np.float64)
    same = (left == right) | (np.isnan(left) & np.isnan(right))
    with np.errstate(invalid="ignore"):
        difference = np.where(same, 0.0, np.abs(left - right))
    return float(np.where(np.isnan(difference), np.inf, difference).max(initial=0.0))


def scale(array: NDArray[Any]) -> float:
    """The largest finite absolute value."""
    magnitudes = np.abs(np.asarray(array, np.float64))
    return float(magnitudes[np.isfinite(magnitudes)].max(initial=0.0))


def tolerance(output_scale: float, keras_error: float | None, sensitivity: float) -> float:
    """How far from the truth ONNX may be if Keras is off by `keras_error`; from Keras if that is None.

    `sensitivity` is how far the output moves when every weight is rounded once. Without it, a sample on which Keras
    happens to be right would ask the impossible of ONNX: behind large logits softmax multiplies every rounding.
    """
    if keras_error is None:
        return PLAIN_ROUNDINGS * EPSILON * output_scale + SENSITIVITY_FACTOR * sensitivity
    roundings = TRUTH_ROUNDINGS * EPSILON * output_scale
    return TRUTH_FACTOR * keras_error + SENSITIVITY_FACTOR * sensitivity + roundings


def changed_labels(a: NDArray[Any], b: NDArray[Any]) -> int | None:
    """In how many rows the largest score stands elsewhere; None unless both are rows of at least two scores."""
    if a.ndim != 2 or a.shape[1] < 2:
        return None
    return int((a.argmax(axis=1) != b.argmax(axis=1)).sum())
