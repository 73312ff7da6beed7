"""Laws of operators that join several tensors. `at` is the input that A stands on, or that takes what one alone takes.

Source: the operators' definitions in the ONNX operator specification; all are distributive laws.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from edgebn.algebra.affine import Affine, Array
from edgebn.algebra.operators import Concat, Extents, Outcome, Product, Refusal, Sum


def back_through_concat(concat: Concat, a: Affine) -> Outcome | Refusal:
    """A([x₁, x₂, …]) = [A₁(x₁), A₂(x₂), …], A = [A₁, A₂, …]."""
    compressed = a.compressed()
    if compressed.scale.shape[concat.axis] == 1:
        return Outcome((concat,), rests=(compressed,) * len(concat.extents))
    if (offsets := _offsets(concat)) is None:
        return Refusal("Concat of tensors whose extents are not known before run time")
    pieces = (_piece(compressed, concat.axis, *pair) for pair in pairwise(offsets))
    return Outcome((concat,), rests=tuple(pieces))


def on_through_concat(concat: Concat, a: Affine) -> Outcome | Refusal:
    """[…, A(x_at), …] = A'([…, x_at, …]), A' = A on the piece that x_at is, and the identity on the others."""
    if (offsets := _offsets(concat)) is None:
        return Refusal("Concat of tensors whose extents are not known before run time")
    shape = list(a.scale.shape)
    shape[concat.axis] = offsets[-1]
    scale, shift = np.ones(shape), np.zeros(shape)
    piece = tuple(
        slice(offsets[concat.at], offsets[concat.at + 1]) if axis == concat.axis else slice(None)
        for axis in range(a.rank)
    )
    scale[piece], shift[piece] = a.scale, a.shift
    return Outcome((concat,), Affine(scale, shift))


def back_through_sum(total: Sum, a: Affine) -> Outcome | Refusal:
    """s·Σ±x + t = Σ±(s·x) + t, and t goes to the input `at`: ±(s·x ± t)."""
    scale = Affine(a.scale, np.zeros(())).compressed()
    shift = Affine(np.ones(()), a.shift).compressed()
    if any(_stretches(scale, shape, total.shapes) for shape in total.shapes):
        return Refusal("Add stretches a tensor along an axis along which the scale varies")
    if _stretches(shift, total.shapes[total.at], total.shapes):
        return Refusal("Add stretches the tensor along an axis along which the shift varies")
    rests = [None if (a.scale == 1.0).all() else scale] * len(total.shapes)
    if a.shift.any():
        rests[total.at] = Affine(scale.scale, total.signs[total.at] * shift.shift)
    return Outcome((total,), rests=tuple(rests))


def on_through_sum(total: Sum, a: Affine) -> Outcome | Refusal:
    """±(x + t) + y = (±x + y) ± t. Condition: s = 1, or the other tensors would need the same scale."""
    if (a.scale != 1.0).any():
        return Refusal("Add: the other tensor does not have the same scale")
    return Outcome((total,), Affine(np.ones(()), total.signs[total.at] * a.shift))


def back_through_product(product: Product, a: Affine) -> Outcome | Refusal:
    """s·(x·y) = (s·x)·y. Condition: t = 0."""
    if a.shift.any():
        return Refusal("a shift does not pass the product of two tensors")
    if _stretches(a, product.shapes[product.at], product.shapes):
        return Refusal("Mul stretches the tensor along an axis along which the scale varies")
    scale = a.compressed()
    rests = (scale if index == product.at else None for index in range(len(product.shapes)))
    return Outcome((product,), rests=tuple(rests))


def on_through_product(product: Product, a: Affine) -> Outcome | Refusal:
    """(s·x)·y = s·(x·y). Condition: t = 0."""
    if a.shift.any():
        return Refusal("a shift does not pass the product of two tensors")
    return Outcome((product,), a)


def _offsets(concat: Concat) -> list[int] | None:
    """Where each piece begins, and the whole ends; None if an extent is not known."""
    offsets = [0]
    for extent in concat.extents:
        if extent is None:
            return None
        offsets.append(offsets[-1] + extent)
    return offsets


def _piece(a: Affine, axis: int, start: int, stop: int) -> Affine | None:
    """A on the positions from `start` to `stop` of `axis`; None if it is the identity there."""
    scale, shift = (_taken(part, axis, start, stop) for part in (a.scale, a.shift))
    return Affine(scale, shift) if (scale != 1.0).any() or shift.any() else None


def _taken(part: Array, axis: int, start: int, stop: int) -> Array:
    return part[tuple(slice(start, stop) if each == axis else slice(None) for each in range(part.ndim))]


def _stretches(a: Affine, shape: Extents, shapes: tuple[Extents, ...]) -> bool:
    """Whether a tensor of `shape`, one of those joined, is stretched along an axis along which A varies."""
    return any(shape[axis] in (1, None) and any(other[axis] != 1 for other in shapes) for axis in a.varying_axes())
