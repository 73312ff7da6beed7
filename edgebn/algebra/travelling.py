"""Laws by which an affine passes an operator that moves, picks, pads or mixes elements, and stays an affine.

Equations whose source is not named follow from the operator's definition in the ONNX operator specification.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from edgebn.algebra.affine import Affine, Array
from edgebn.algebra.checks import LARGEST, one_value, varies_inside
from edgebn.algebra.operators import Blend, Extremum, NamedExtents, Outcome, Pad, Refusal, Reshape, Select, Transpose

_BETWEEN_SAMPLES = "it varies along an axis whose elements Reshape moves between samples of the batch"


def back_through_extremum(extremum: Extremum, a: Affine) -> Outcome | Refusal:
    """s·max(x) + t = max(s·x + t) where s ≥ 0, and s and t are constant over the axes; min alike."""
    return _monotone(extremum, _with_axes(extremum, a))


def on_through_extremum(extremum: Extremum, a: Affine) -> Outcome | Refusal:
    """max(s·x + t) = s·max(x) + t where s ≥ 0, and s and t are constant over the axes; min alike."""
    outcome = _monotone(extremum, a)
    return outcome if isinstance(outcome, Refusal) else replace(outcome, rest=_without_axes(extremum, a))


def back_through_blend(blend: Blend, a: Affine) -> Outcome | Refusal:
    """s·Σwx + t = Σw·(s·x + t/Σw) where s and t are constant over the axes. Condition: t = 0, or Σw is known."""
    expanded = _with_axes(blend, a)
    shift = expanded.shift if blend.total is None else expanded.shift / blend.total
    return _linear(blend, expanded, Affine(expanded.scale, shift))


def on_through_blend(blend: Blend, a: Affine) -> Outcome | Refusal:
    """Σw·(s·x + t) = s·Σwx + t·Σw where s and t are constant over the axes. Condition: t = 0, or Σw is known."""
    shift = a.shift if blend.total is None else a.shift * blend.total
    outcome = _linear(blend, a, Affine(a.scale, shift))
    if isinstance(outcome, Refusal) or outcome.rest is None:
        return outcome
    return replace(outcome, rest=_without_axes(blend, outcome.rest))


def back_through_pad(pad: Pad, a: Affine) -> Outcome | Refusal:
    """A ∘ pad_v = pad_{s·v + t} ∘ A. Condition: s·v + t is the same all along the border."""
    a = a.compressed()
    inner, border = _inner_and_border(pad, a)
    if not border.any():
        return Outcome((pad,), inner)
    with np.errstate(invalid="ignore"):  # 0·∞ is NaN, which is refused
        images = a(_infinite(pad.value))
    return _padded_by(pad, images[border], inner)


def on_through_pad(pad: Pad, a: Affine) -> Outcome | Refusal:
    """pad_v ∘ A = A' ∘ pad_{(v − t)/s}. Condition: (v − t)/s is the same all along the border.

    Along an axis on which A varies, A' is A, and the identity on the border, which stays v.
    """
    a = a.compressed()
    padded = [axis for axis, pair in enumerate(pad.pads) if any(pair)]
    varying = a.varying_axes()
    if all(axis in varying for axis in padded):
        widths = [pair if axis in padded else (0, 0) for axis, pair in enumerate(pad.pads)]
        scale, shift = np.pad(a.scale, widths, constant_values=1.0), np.pad(a.shift, widths)
        return Outcome((pad,), Affine(scale, shift))
    if any(axis in varying for axis in padded):
        return Refusal("Pad adds to an axis along which it varies, and to another")
    if not a.scale.all():
        return Refusal("a scale of 0 would have to make another value of the border of Pad")
    with np.errstate(over="ignore"):
        values = (_infinite(pad.value) - a.shift) / a.scale
    return _padded_by(pad, values, a)


def back_through_transpose(transpose: Transpose, a: Affine) -> Outcome:
    """A ∘ P = P ∘ A', A' with its axes permuted by P⁻¹."""
    return Outcome((transpose,), a.transposed(tuple(int(axis) for axis in np.argsort(transpose.permutation))))


def on_through_transpose(transpose: Transpose, a: Affine) -> Outcome:
    """P ∘ A = A' ∘ P, A' with its axes permuted by P."""
    return Outcome((transpose,), a.transposed(transpose.permutation))


def back_through_reshape(reshape: Reshape, a: Affine) -> Outcome | Refusal:
    """A ∘ R = R ∘ A', A' = R⁻¹(A). Condition: see `on_through_reshape`."""
    outcome = on_through_reshape(Reshape(reshape.after, reshape.before), a)
    return outcome if isinstance(outcome, Refusal) else Outcome((reshape,), outcome.rest)


def on_through_reshape(reshape: Reshape, a: Affine) -> Outcome | Refusal:
    """R ∘ A = A' ∘ R, A' = R(A).

    The axes that R leaves alone, first and last, keep their part of A. Over those between, A becomes one value for each
    element. Condition: between, A does not vary, or the extents are known.
    """
    compressed = a.compressed()
    left, right = _untouched(reshape)
    before, after = (shape[left : len(shape) - right] for shape in (reshape.before, reshape.after))
    outer = compressed.scale.shape[:left], compressed.scale.shape[compressed.rank - right :]
    if all(not left <= axis < left + len(before) for axis in compressed.varying_axes()):
        return Outcome((reshape,), _reshaped(compressed, (*outer[0], *(1 for _ in after), *outer[1])))
    numbers, new_numbers = (tuple(extent for extent in shape if isinstance(extent, int)) for shape in (before, after))
    if len(numbers) < len(before) or len(new_numbers) < len(after):
        return Refusal(
            _BETWEEN_SAMPLES
            if left == 0 and _only_first_unknown(before) and _only_first_unknown(after)
            else "Reshape of a tensor whose extents are not known before run time"
        )
    if prod(numbers) != prod(new_numbers):
        return Refusal(_BETWEEN_SAMPLES)
    spread = compressed.broadcast((*outer[0], *numbers, *outer[1]))
    return Outcome((reshape,), _reshaped(spread, (*outer[0], *new_numbers, *outer[1])).compressed())


def on_through_select(select: Select, a: Affine) -> Outcome | Refusal:
    """select(A(x)) = A'(select(x)), A' the selected part of A."""
    scale, shift = a.compressed().scale, a.compressed().shift
    for axis, positions in select.positions.items():
        if scale.shape[axis] == 1:
            continue
        if positions is None:
            return Refusal(f"which part of axis {axis} is selected is only known at run time")
        scale, shift = scale.take(positions, axis), shift.take(positions, axis)
    return Outcome((select,), Affine(scale, shift))


def back_through_select(select: Select, a: Affine) -> Outcome | Refusal:
    """A(select(x)) = select(A'(x)), A' = A where x is selected.

    Elsewhere A' is the identity if others read it, and else as A is where A does not vary. Conditions: the positions
    and extents are known where A varies; no position is selected twice.
    """
    scale, shift = a.compressed().scale, a.compressed().shift
    for axis, positions in select.positions.items():
        if scale.shape[axis] == 1 and not select.shared:
            continue
        extent = select.extents[axis]
        if positions is None or extent is None:
            return Refusal(f"which part of axis {axis} is selected is only known at run time")
        if len(set(positions)) < len(positions):
            return Refusal(f"a position of axis {axis} is selected twice")
        taken = list(positions)
        scale, shift = _scattered(scale, axis, extent, taken, 1.0), _scattered(shift, axis, extent, taken, 0.0)
    return Outcome((select,), Affine(scale, shift))


def _monotone(extremum: Extremum, a: Affine) -> Outcome | Refusal:
    name = "maximum" if extremum.largest else "minimum"
    if (a.scale < 0.0).any():
        return Refusal(f"a negative scale turns the {name} into its opposite")
    return varies_inside(a, extremum.axes, f"the {name}") or Outcome((extremum,), a)


def _linear(blend: Blend, a: Affine, rest: Affine) -> Outcome | Refusal:
    if blend.total is None and a.shift.any():
        return Refusal("the weights of the pool do not have the same sum everywhere, so that the shift does not pass")
    return varies_inside(a, blend.axes, "the pool or mean") or Outcome((blend,), rest)


def _with_axes(reduction: Extremum | Blend, a: Affine) -> Affine:
    """A, on the reduction's result, with the axes that are gone from it, at extent 1."""
    if reduction.keeps_axes:
        return a.compressed()
    return Affine(np.expand_dims(a.scale, reduction.axes), np.expand_dims(a.shift, reduction.axes))


def _without_axes(reduction: Extremum | Blend, a: Affine) -> Affine:
    """A, constant over the reduction's axes, as it stands behind it."""
    compressed = a.compressed()
    if reduction.keeps_axes:
        return compressed
    return Affine(*(np.squeeze(part, reduction.axes) for part in (compressed.scale, compressed.shift)))


def _infinite(value: float) -> float:
    """The largest finite float32 stands for infinity."""
    return float(np.copysign(np.inf, value)) if abs(value) >= LARGEST else value


def _padded_by(pad: Pad, values: Array, rest: Affine) -> Outcome | Refusal:
    """Pad by what all of `values` are; infinity stays infinity."""
    value = one_value(values)
    if value is None:
        return Refusal("the border of Pad would have to be another value in each channel")
    if abs(value) >= LARGEST > abs(pad.value):
        return Refusal("the border of Pad would not be finite in float32")
    return Outcome((replace(pad, value=float(np.clip(value, -LARGEST, LARGEST))),), rest)


def _inner_and_border(pad: Pad, a: Affine) -> tuple[Affine, Array]:
    """A, which stands behind the Pad, without its border; and where the border lies among A's values."""
    varying = a.varying_axes()
    padded = [axis for axis, pair in enumerate(pad.pads) if any(pair)]
    border = np.full(a.scale.shape, any(axis not in varying for axis in padded))
    inner = [slice(None)] * a.rank
    for axis in padded:
        if axis in varying:
            before, after = pad.pads[axis]
            inner[axis] = slice(before, a.scale.shape[axis] - after)
            inside = np.zeros(a.scale.shape[axis], bool)
            inside[inner[axis]] = True
            border |= ~inside.reshape([-1 if each == axis else 1 for each in range(a.rank)])
    return Affine(a.scale[tuple(inner)], a.shift[tuple(inner)]), border


def _untouched(reshape: Reshape) -> tuple[int, int]:
    """How many axes are the same before and after, counted from the first and from the last one."""
    before, after = reshape.before, reshape.after
    shorter = min(len(before), len(after))
    left = 0
    while left < shorter and before[left] is not None and before[left] == after[left]:
        left += 1
    right = 0
    while right < shorter - left and before[-1 - right] is not None and before[-1 - right] == after[-1 - right]:
        right += 1
    rests = before[left : len(before) - right], after[left : len(after) - right]
    if all(_only_first_unknown(rest) for rest in rests):
        products = [prod(each for each in rest[1:] if isinstance(each, int)) for rest in rests]
        left += products[0] == products[1]  # the unknown axis is the same one
    return left, right


def _only_first_unknown(extents: NamedExtents) -> bool:
    return [isinstance(extent, int) for extent in extents] == [False] + [True] * (len(extents) - 1)


def _reshaped(a: Affine, shape: tuple[int, ...]) -> Affine:
    return Affine(a.scale.reshape(shape), a.shift.reshape(shape))


def _scattered(part: Array, axis: int, extent: int, positions: list[int], elsewhere: float) -> Array:
    """`part` put at `positions` of `axis`, which gets `extent` entries, with `elsewhere` in the others."""
    result = np.full([extent if each == axis else size for each, size in enumerate(part.shape)], elsewhere)
    result[tuple(positions if each == axis else slice(None) for each in range(part.ndim))] = part
    return result
