"""Affine maps: what BatchNormalization, Rescaling, a bias and a Mul or Add by a constant have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


_HALF_ULP = 2.0**-53


def added(value: Array, more: Array, magnitude: Array, terms: int = 1) -> Array:
    """value + more, and 0 where the two cancel up to rounding: a shift that went one way and came back leaves nothing.

    `more` is a sum of `terms` products whose absolute values add up to `magnitude`. Of these and `value`, float64 knows
    the sum to (terms + 3)·2⁻⁵³ times what all of them add up to: that of a value which may itself be such a sum.
    """
    total = np.asarray(value + more, np.float64)
    share = 2.0 * (terms + 3) * _HALF_ULP
    return np.where(np.abs(total) < share * np.abs(value) + share * magnitude, 0.0, total)


@dataclass(frozen=True, eq=False)
class Affine:
    """A(x) = scale⊙x + shift.

    `scale` and `shift` are float64 arrays of one shape, with the rank of the tensor they act on; an axis on which they
    do not depend has extent 1. The batch axis (axis 0) always has extent 1.
    """

    scale: Array
    shift: Array

    def __post_init__(self) -> None:
        scale, shift = np.broadcast_arrays(np.asarray(self.scale, np.float64), np.asarray(self.shift, np.float64))
        object.__setattr__(self, "scale", scale)
        object.__setattr__(self, "shift", shift)

    @classmethod
    def batch_norm(cls, gamma: Array, beta: Array, moving_mean: Array, moving_variance: Array, epsilon: float) -> Self:
        """s = γ/√(σ² + ε), t = β − μ·s, per channel: all four arrays of shape (channels,).

        Not a number where the variance is below −ε, as in every runtime.

        Source: Ioffe and Szegedy, "Batch Normalization", 2015, algorithm 2, lines 10 and 11.
        """
        with np.errstate(all="ignore"):
            scale = np.asarray(gamma, np.float64) / np.sqrt(np.asarray(moving_variance, np.float64) + epsilon)
            return cls(scale, np.asarray(beta, np.float64) - np.asarray(moving_mean, np.float64) * scale)

    @property
    def rank(self) -> int:
        """The rank of the tensors that the map acts on."""
        return self.scale.ndim

    def __call__(self, x: Any) -> Array:
        """s⊙x + t, in float64."""
        return np.asarray(self.scale * x + self.shift, np.float64)

    def after(self, first: Affine) -> Affine:
        """The composition: (self ∘ first)(x) = s·(s₁·x + t₁) + t."""
        moved = self.scale * first.shift
        return Affine(self.scale * first.scale, added(self.shift, moved, np.abs(moved)))

    def transposed(self, permutation: tuple[int, ...]) -> Affine:
        """The map on a tensor whose axes were permuted: new axis k is old axis permutation[k]."""
        return Affine(self.scale.transpose(permutation), self.shift.transpose(permutation))

    def broadcast(self, shape: tuple[int, ...]) -> Affine:
        """The same map with arrays of `shape`, to which its own broadcast."""
        return Affine(np.broadcast_to(self.scale, shape), np.broadcast_to(self.shift, shape))

    def compressed(self) -> Affine:
        """The same map, with extent 1 on every axis along which it does not vary."""
        scale, shift = self.scale, self.shift
        for axis in range(scale.ndim):
            if scale.shape[axis] < 2:
                continue
            first = scale.take([0], axis), shift.take([0], axis)
            if (scale == first[0]).all() and (shift == first[1]).all():
                scale, shift = first
        return Affine(scale, shift)

    def varying_axes(self) -> tuple[int, ...]:
        """The axes along which the map is not constant."""
        return tuple(axis for axis, extent in enumerate(self.compressed().scale.shape) if extent > 1)

    def along(self, axis: int, extent: int) -> Affine:
        """The map of shape (extent,) along `axis`, for a map that varies along no other axis.

        Raises:
            ValueError: if it varies along another axis. Ask `varying_axes` first.
        """
        compressed = self.compressed()
        if any(varying != axis % self.rank for varying in compressed.varying_axes()):
            raise ValueError(f"the map varies along {compressed.varying_axes()}, not along {axis} alone")
        return Affine(*(np.broadcast_to(part.reshape(-1), (extent,)) for part in (compressed.scale, compressed.shift)))
