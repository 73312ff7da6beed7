"""What several laws ask of an affine before they apply."""

from __future__ import annotations

import numpy as np

from edgebn.algebra.affine import Affine, Array
from edgebn.algebra.operators import Refusal

LARGEST = float(np.finfo(np.float32).max)


def one_value(values: Array) -> float | None:
    """The value that all of `values` are, up to rounding in float64; None if they differ or one is NaN."""
    distinct = np.unique(values)
    if distinct.size == 1:
        return None if np.isnan(distinct[0]) else float(distinct[0])
    with np.errstate(invalid="ignore"):  # ∞ − ∞ is NaN, which is not close to anything
        close = distinct[-1] - distinct[0] <= 1e-12 * np.abs(distinct).max()
    return float(distinct[0]) if close and np.isfinite(distinct).all() else None


def varies_elsewhere(a: Affine, axis: int, side: str) -> Refusal | None:
    """A refusal if A varies along an axis other than `axis`, where the weights have their `side` channels."""
    others = [varying for varying in a.varying_axes() if varying != axis]
    if not others:
        return None
    return Refusal(f"it varies along axis {others[0]}, and the weights only know the {side} channels on axis {axis}")


def varies_inside(a: Affine, axes: tuple[int, ...], what: str) -> Refusal | None:
    """A refusal if A varies along one of `axes`, whose elements `what` mixes."""
    inside = [axis for axis in a.varying_axes() if axis in axes]
    return Refusal(f"it varies along axis {inside[0]}, whose elements {what} mixes") if inside else None
