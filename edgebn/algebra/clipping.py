"""Laws of operators that are linear in pieces: clips, of which ReLU is one, and PReLU."""

from __future__ import annotations

import numpy as np

from edgebn.algebra.affine import Affine, Array
from edgebn.algebra.checks import LARGEST
from edgebn.algebra.operators import Clip, Outcome, PRelu, Refusal


def back_through_clip(clip: Clip, a: Affine) -> Outcome | Refusal:
    """A ∘ clip(lo, hi) = clip(lo', hi') ∘ A, [lo', hi'] = sorted(s·lo + t, s·hi + t).

    An affine map is monotone, rising for s > 0 and falling for s < 0, so it maps the interval onto an interval. Where
    s = 0 both sides are t, and any interval with t in it will do: one that is bounded on the side of the others.
    Condition: a bound that was finite stays finite in float32.
    """
    constant, bounds = a.scale == 0.0, (clip.lower, clip.upper)
    with np.errstate(invalid="ignore"):  # 0·∞, replaced by t
        images = [np.where(constant, a.shift, a(bound)) for bound in bounds]
    return _overflow(bounds, images) or Outcome((_between(images, clip, a),), a)


def on_through_clip(clip: Clip, a: Affine) -> Outcome | Refusal:
    """clip(lo, hi) ∘ A = A' ∘ clip(lo', hi'), [lo', hi'] = sorted((lo − t)/s, (hi − t)/s), A' = A.

    Where s = 0 the result is the constant clip(t): A' = (0, clip(t)), and any interval will do: one that is bounded on
    the side of the others. Condition: a bound that was finite stays finite in float32.
    """
    constant, bounds = a.scale == 0.0, (clip.lower, clip.upper)
    divisor = np.where(constant, 1.0, a.scale)
    with np.errstate(over="ignore"):
        images = [np.where(constant, 0.0, (bound - a.shift) / divisor) for bound in bounds]
    rest = Affine(a.scale, np.where(constant, clip(a.shift), a.shift))
    return _overflow(bounds, images) or Outcome((_between(images, clip, a),), rest)


def back_through_prelu(prelu: PRelu, a: Affine) -> Outcome | Refusal:
    """s·prelu(x; α) = prelu(k·x; α'): k = s, α' = α where s ≥ 0; k = s·α, α' = 1/α where s < 0.

    Conditions: t = 0; α > 0 where s < 0, since the two halves of the line trade places.
    """
    return _prelu_refusal(prelu, a) or Outcome((_turned(prelu, a),), _other_side(prelu, a))


def on_through_prelu(prelu: PRelu, a: Affine) -> Outcome | Refusal:
    """prelu(s·x; α) = k·prelu(x; α'), k and α' as backward. Conditions: t = 0; α > 0 where s < 0."""
    return _prelu_refusal(prelu, a) or Outcome((_turned(prelu, a),), _other_side(prelu, a))


def _turned(prelu: PRelu, a: Affine) -> PRelu:
    slope, negative = np.broadcast_arrays(np.asarray(prelu.slope, np.float64), a.scale < 0.0)
    if not negative.any():
        return prelu
    return PRelu(np.where(negative, 1.0 / np.where(negative, slope, 1.0), slope))


def _other_side(prelu: PRelu, a: Affine) -> Affine:
    return Affine(np.where(a.scale < 0.0, a.scale * prelu.slope, a.scale), np.zeros(()))


def _prelu_refusal(prelu: PRelu, a: Affine) -> Refusal | None:
    if a.shift.any():
        return Refusal("a shift does not pass PRelu, whose kink is at 0")
    slope, negative = np.broadcast_arrays(prelu.slope, a.scale < 0.0)
    if (negative & ~(slope > 1.0 / LARGEST)).any():
        return Refusal("a negative scale turns PRelu around, which takes a positive slope")
    return None


def _between(images: list[Array], clip: Clip, a: Affine) -> Clip:
    """The clip between the images of the bounds; where s = 0, to one side of them, the one of the other channels."""
    constant = a.scale == 0.0
    from_below = np.isfinite(clip.lower) == ((a.scale > 0.0).any() or constant.all())
    lower = np.where(constant & ~from_below, -np.inf, np.minimum(*images))
    return Clip(lower, np.where(constant & from_below, np.inf, np.maximum(*images)))


def _overflow(bounds: tuple[Array, Array], images: list[Array]) -> Refusal | None:
    overflows = [np.isfinite(bound) & ~(np.abs(image) <= LARGEST) for bound, image in zip(bounds, images, strict=True)]
    if not any(overflow.any() for overflow in overflows):
        return None
    return Refusal("a threshold of the moved clip would not be finite in float32")
