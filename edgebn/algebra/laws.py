"""The laws of folding, and the table of them.

An operator f and an affine A meet in one of two ways. A law says what becomes of both:

    backward   A ∘ f  =  f' ∘ A'        A stands behind f and moves towards the input
    forward    f ∘ A  =  A' ∘ f'        A stands before f and moves towards the output

If A' is the identity, f has absorbed A. A law is a pure function (f, A) → `Outcome`(f', A') or `Refusal`(reason).
To add a law: write the function with its equation, add a row to `LAWS`, and a strategy to the property test.

Everything is float64. Equations whose source is not named follow from the operator's definition in the ONNX operator
specification by distributing the sum.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from edgebn.algebra.affine import Affine, Array
from edgebn.algebra.operators import (
    AveragePool,
    Clip,
    Conv,
    MatMul,
    MaxPool,
    Operator,
    Outcome,
    Refusal,
    Reshape,
    Transpose,
)

Direction = Literal["backward", "forward"]
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Law:
    """One row of the table: which operator, which way, and the function."""

    name: str
    direction: Direction
    operator: type[Operator]
    rule: Callable[[Any, Affine], Outcome | Refusal]


def into_previous_matmul(matmul: MatMul, a: Affine) -> Outcome | Refusal:
    """s(x·K + b) + t = x·(K·s) + (s·b + t). K: (in, out); b, s, t: (out,)."""
    if refusal := _varies_elsewhere(a, a.rank - 1, "output"):
        return refusal
    channel = a.along(a.rank - 1, matmul.bias.size)
    return _finite(MatMul(matmul.kernel * channel.scale, channel(matmul.bias)))


def into_next_matmul(matmul: MatMul, a: Affine) -> Outcome | Refusal:
    """(s⊙x + t)·K + b = x·(s⊙K) + (t·K + b). K: (in, out); b: (out,); s, t: (in,), per row of K."""
    if refusal := _varies_elsewhere(a, a.rank - 1, "input"):
        return refusal
    channel = a.along(a.rank - 1, matmul.kernel.shape[0])
    return _finite(MatMul(channel.scale[:, None] * matmul.kernel, channel.shift @ matmul.kernel + matmul.bias))


def into_previous_conv(conv: Conv, a: Affine) -> Outcome | Refusal:
    """s·(K⋆x + b) + t = (s·K)⋆x + (s·b + t). K: (out, in/groups, *window); b, s, t: (out,). Any padding, any groups.

    Source: Jacob et al., "Quantization and Training of Neural Networks", 2018, section 3.2.
    """
    if refusal := _varies_elsewhere(a, 1, "output"):
        return refusal
    channel = a.along(1, conv.bias.size)
    return _finite(replace(conv, kernel=_per_row(channel.scale, conv.kernel) * conv.kernel, bias=channel(conv.bias)))


def into_next_conv(conv: Conv, a: Affine) -> Outcome | Refusal:
    """K⋆(s·x + t) + b = K'⋆x + b', K'[o,i,·] = K[o,i,·]·s_i, b'_o = b_o + Σ K[o,i,·]·t_i; i runs over o's group.

    Condition: t = 0, or nothing is padded: a padded border is 0 after A, and would have to be −t/s before it.
    """
    if refusal := _varies_elsewhere(a, 1, "input"):
        return refusal
    if conv.padded and a.shift.any():
        return Refusal("zero padding: the shift would be missing at the border")
    outputs, inputs = conv.kernel.shape[:2]
    channel = a.along(1, inputs * conv.groups)
    group = np.arange(outputs) // (outputs // conv.groups)
    scale, shift = (part.reshape(conv.groups, inputs)[group] for part in (channel.scale, channel.shift))
    window_sums = conv.kernel.reshape(outputs, inputs, -1).sum(axis=2)
    kernel = scale.reshape(scale.shape + (1,) * (conv.kernel.ndim - 2)) * conv.kernel
    return _finite(replace(conv, kernel=kernel, bias=conv.bias + (window_sums * shift).sum(axis=1)))


def back_through_clip(clip: Clip, a: Affine) -> Outcome | Refusal:
    """A ∘ clip(lo, hi) = clip(lo', hi') ∘ A, [lo', hi'] = sorted(s·lo + t, s·hi + t).

    An affine map is monotone, rising for s > 0 and falling for s < 0, so it maps the interval onto an interval. Where
    s = 0 both sides are t, and any interval with t in it will do: one that is bounded on the side of the others.
    Condition: a bound that was finite stays finite in float32.
    """
    constant, bounds = a.scale == 0.0, (clip.lower, clip.upper)
    with np.errstate(invalid="ignore"):  # 0·∞, replaced by t
        images = [np.where(constant, a.shift, a(bound)) for bound in bounds]
    from_below = np.isfinite(clip.lower) == (a.scale > 0.0).any()
    lower = np.where(constant & ~from_below, -np.inf, np.minimum(*images))
    upper = np.where(constant & from_below, np.inf, np.maximum(*images))
    return _overflow(bounds, images) or Outcome(Clip(lower, upper), a)


def on_through_clip(clip: Clip, a: Affine) -> Outcome | Refusal:
    """clip(lo, hi) ∘ A = A' ∘ clip(lo', hi'), [lo', hi'] = sorted((lo − t)/s, (hi − t)/s), A' = A.

    Where s = 0 the result is the constant clip(t): A' = (0, clip(t)), and nothing is clipped.
    Condition: a bound that was finite stays finite in float32.
    """
    constant = a.scale == 0.0
    divisor = np.where(constant, 1.0, a.scale)
    bounds = (clip.lower, clip.upper)
    with np.errstate(over="ignore"):
        images = [(bound - a.shift) / divisor for bound in bounds]
    moved = Clip(np.where(constant, -np.inf, np.minimum(*images)), np.where(constant, np.inf, np.maximum(*images)))
    rest = Affine(a.scale, np.where(constant, clip(a.shift), a.shift))
    return _overflow(bounds, images) or Outcome(moved, rest)


def through_max_pool(pool: MaxPool, a: Affine) -> Outcome | Refusal:
    """max(s·x + t) = s·max(x) + t where s ≥ 0, and s and t are constant over the window."""
    if (a.scale < 0.0).any():
        return Refusal("a negative scale turns the maximum of MaxPool into a minimum")
    return _pool_refusal(a, "MaxPool") or Outcome(pool, a)


def through_average_pool(pool: AveragePool, a: Affine) -> Outcome | Refusal:
    """mean(s·x + t) = s·mean(x) + t where s and t are constant over the window.

    Condition: t = 0, or no zero of a padded border enters the mean.
    """
    if pool.counts_padding and a.shift.any():
        return Refusal("AveragePool counts the zeros of its padding, where the shift would be missing")
    return _pool_refusal(a, "AveragePool") or Outcome(pool, a)


def back_through_transpose(transpose: Transpose, a: Affine) -> Outcome:
    """A ∘ P = P ∘ A', A' with its axes permuted by P⁻¹."""
    return Outcome(transpose, a.transposed(tuple(int(axis) for axis in np.argsort(transpose.permutation))))


def on_through_transpose(transpose: Transpose, a: Affine) -> Outcome:
    """P ∘ A = A' ∘ P, A' with its axes permuted by P."""
    return Outcome(transpose, a.transposed(transpose.permutation))


def back_through_reshape(reshape: Reshape, a: Affine) -> Outcome | Refusal:
    """A ∘ R = R ∘ A', A' = R⁻¹(A), one value per element. Condition: see `on_through_reshape`."""
    outcome = on_through_reshape(Reshape(reshape.after, reshape.before), a)
    return outcome if isinstance(outcome, Refusal) else Outcome(reshape, outcome.rest)


def on_through_reshape(reshape: Reshape, a: Affine) -> Outcome | Refusal:
    """R ∘ A = A' ∘ R, A' = R(A), one value per element.

    Condition: A is one scalar, or the batch axis stays first and all other extents are known and keep their product.
    """
    if not a.varying_axes():
        ones = (1,) * len(reshape.after)
        return Outcome(reshape, Affine(*(part.reshape(-1)[:1].reshape(ones) for part in (a.scale, a.shift))))
    before, after = _per_sample(reshape.before), _per_sample(reshape.after)
    if before is None or after is None:
        return Refusal("Reshape of a tensor whose extents are not known before run time")
    if np.prod(before) != np.prod(after):
        return Refusal("Reshape moves elements between samples of the batch")
    return Outcome(reshape, a.reshaped((1, *before), (1, *after)))


def into_previous_affine(first: Affine, a: Affine) -> Outcome | Refusal:
    """A ∘ B = C, s = s_A·s_B, t = s_A·t_B + t_A."""
    return _finite(a.after(first))


def into_next_affine(second: Affine, a: Affine) -> Outcome | Refusal:
    """B ∘ A = C, s = s_B·s_A, t = s_B·t_A + t_B."""
    return _finite(second.after(a))


def as_relu(clip: Clip) -> tuple[Affine, Affine, Affine] | None:
    """clip(x; lo, hi) = C(relu(σ⊙B(x))), B = x − p, C = σ⊙x + p. Returns (B, σ, C) as affines.

    p is the one finite bound of each channel, σ = 1 where it is the lower and −1 where it is the upper one. None if the
    clip has another form: both bounds somewhere, or none.
    """
    lower, upper = np.broadcast_arrays(clip.lower, clip.upper)
    below, above = np.isfinite(lower), np.isfinite(upper)
    if not (below ^ above).all():
        return None
    sign, bound = np.where(below, 1.0, -1.0), np.where(below, lower, upper)
    return Affine(np.ones(()), -bound), Affine(sign, np.zeros(())), Affine(sign, bound)


LAWS: tuple[Law, ...] = (
    Law("into the previous MatMul", "backward", MatMul, into_previous_matmul),
    Law("into the next MatMul", "forward", MatMul, into_next_matmul),
    Law("into the previous Conv", "backward", Conv, into_previous_conv),
    Law("into the next Conv", "forward", Conv, into_next_conv),
    Law("back through Clip", "backward", Clip, back_through_clip),
    Law("on through Clip", "forward", Clip, on_through_clip),
    Law("back through MaxPool", "backward", MaxPool, through_max_pool),
    Law("on through MaxPool", "forward", MaxPool, through_max_pool),
    Law("back through AveragePool", "backward", AveragePool, through_average_pool),
    Law("on through AveragePool", "forward", AveragePool, through_average_pool),
    Law("back through Transpose", "backward", Transpose, back_through_transpose),
    Law("on through Transpose", "forward", Transpose, on_through_transpose),
    Law("back through Reshape", "backward", Reshape, back_through_reshape),
    Law("on through Reshape", "forward", Reshape, on_through_reshape),
    Law("into the previous affine", "backward", Affine, into_previous_affine),
    Law("into the next affine", "forward", Affine, into_next_affine),
)


def laws_for(operator: Operator, direction: Direction) -> tuple[Law, ...]:
    """The rows of the table that apply to `operator`, in the order of the table."""
    return tuple(law for law in LAWS if law.direction == direction and isinstance(operator, law.operator))


def _varies_elsewhere(a: Affine, axis: int, side: str) -> Refusal | None:
    others = [varying for varying in a.varying_axes() if varying != axis]
    if not others:
        return None
    return Refusal(f"it varies along axis {others[0]}, and the weights only know the {side} channels on axis {axis}")


def _pool_refusal(a: Affine, name: str) -> Refusal | None:
    inside = [axis for axis in a.varying_axes() if axis > 1]
    return Refusal(f"it varies along axis {inside[0]}, inside the window of {name}") if inside else None


def _finite(operator: MatMul | Conv | Affine) -> Outcome | Refusal:
    """The absorbed form, unless a weight would overflow float32."""
    arrays = (operator.scale, operator.shift) if isinstance(operator, Affine) else (operator.kernel, operator.bias)
    if all((np.abs(array) <= _LARGEST).all() for array in arrays):
        return Outcome(operator)
    return Refusal("a folded weight would not be finite in float32")


def _overflow(bounds: tuple[Array, Array], images: list[Array]) -> Refusal | None:
    overflows = [np.isfinite(bound) & ~(np.abs(image) <= _LARGEST) for bound, image in zip(bounds, images, strict=True)]
    if not any(overflow.any() for overflow in overflows):
        return None
    return Refusal("a threshold of the moved clip would not be finite in float32")


def _per_row(scale: Array, kernel: Array) -> Array:
    return scale.reshape((-1,) + (1,) * (kernel.ndim - 1))


def _per_sample(shape: tuple[int | None, ...]) -> tuple[int, ...] | None:
    known = tuple(extent for extent in shape[1:] if extent is not None)
    return known if len(known) == len(shape) - 1 else None
