"""What all strategies draw from: numbers, affines, and the `Case` that a law is tried on."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from edgebn.algebra import Affine, Array, Operator

# both signs, zero, what a dead channel's variance of 1e-15 gives with and without ε, and plain values
SCALES = np.array([0.0, 0.0, 1.0, 1.0, -1.0, 0.5, -2.25, 1e-4, -1e-4, 31.6, -3.2e3])
SHIFTS = np.array([0.0, 0.0, 0.0, 1.0, -1.0, 250.0])
MAGNITUDES = [(1.0, 1.0)] * 10 + [(1e30, 1e30), (0.0, 1.0), (0.0, 0.0)]
"""Of a scale and of a shift: plain, huge, a dead channel in a layer that is dead."""

often = st.sampled_from([True, True, True, False])
rarely = st.sampled_from([False] * 4 + [True])


@dataclass(frozen=True, eq=False)
class Case:
    """An operator, an affine beside it, its inputs, and what the operator leaves open (see `tests.reference`)."""

    operator: Any
    affine: Affine
    inputs: tuple[np.ndarray, ...]
    actual: Any = None

    @property
    def size(self) -> float:
        """The order of magnitude of the largest number that is added or multiplied on either side of a law."""
        return magnitude(self.inputs) * magnitude(parameters(self.operator)) * magnitude(parameters(self.affine))


def parameters(operator: Operator) -> list[Any]:
    """Its arrays, and the border of a Pad."""
    return [value for value in vars(operator).values() if isinstance(value, np.ndarray | float)]


def magnitude(arrays: Sequence[Any]) -> float:
    """1 + the largest finite absolute value; the largest float32 stands for infinity."""
    sizes = [np.abs(np.asarray(array, np.float64)).ravel() for array in arrays]
    return 1.0 + max((float(size[size < 3e38].max(initial=0.0)) for size in sizes), default=0.0)


class Numbers:
    """Arrays from a seed: drawn element by element, they would cost hypothesis ten times what the laws cost.

    They are read-only: a law that writes into what it is given fails.
    """

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)

    def values(self, *shape: int) -> Array:
        """Tensor elements: plain, with some zeros and ties."""
        plain = self.random.uniform(-3, 3, shape)
        return _read_only(np.where(self.random.random(shape) < 0.2, np.round(plain), plain))

    def weights(self, *shape: int) -> Array:
        """The same, in float32 now and then: laws compute in float64 whatever they are given."""
        weights = self.values(*shape)
        return _read_only(weights.astype(np.float32)) if self.random.random() < 0.25 else weights

    def scales(self, *shape: int) -> Array:
        return self._of(SCALES, shape)

    def shifts(self, *shape: int) -> Array:
        return self._of(SHIFTS, shape)

    def _of(self, special: Array, shape: tuple[int, ...]) -> Array:
        chosen = self.random.choice(special, shape)
        return np.where(self.random.random(shape) < 0.5, chosen, self.random.uniform(-4, 4, shape))


NUMBERS = st.integers(0, 2**32 - 1).map(Numbers)


@st.composite
def affines(
    draw: Any,
    shape: Sequence[int],
    axes: Collection[int],
    inside: Collection[int] = (),
    positive: bool = False,
    shifted: bool = True,
) -> Affine:
    """An affine for tensors of `shape` that may vary along `axes`; rarely along those `inside` of what a law mixes.

    Where it does not vary its extent is 1, or rarely that of the tensor.
    """
    numbers = draw(NUMBERS)
    varying = {axis for axis in axes if draw(often)} | {axis for axis in inside if draw(rarely)}
    extents = [extent if axis in varying else 1 for axis, extent in enumerate(shape)]
    of_scales, of_shifts = draw(st.sampled_from(MAGNITUDES))
    scale, shift = of_scales * numbers.scales(*extents), of_shifts * numbers.shifts(*extents)
    scale = np.ones(extents) if draw(rarely) else np.abs(scale) if positive else scale
    a = Affine(scale, shift if shifted else np.zeros(()))
    return a.broadcast((1, *shape[1:])) if draw(rarely) else a


def one_of_each(strategy: st.SearchStrategy[Any], count: int) -> st.SearchStrategy[tuple[Any, ...]]:
    """A tuple of `count` draws."""
    return st.tuples(*[strategy] * count)


@st.composite
def hidden(draw: Any, extents: Sequence[int]) -> tuple[int | None, ...]:
    """The extents as a graph knows them: all, or only some."""
    return tuple(extents) if draw(often) else tuple(None if draw(st.booleans()) else extent for extent in extents)


def _read_only(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array
