"""Samples lie along axis 0 of every array, any number of which a model takes in one run.

Where a model's axis 0 is another, as time is in a sequence that comes before its batch, or where it has none, a sample
is all that one run takes. Such samples are stacked along an axis in front, and run one after the other: to all that
compares, they are samples as others are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgebn.loading import Tensor

Inputs = tuple[NDArray[Any], ...]
Outputs = tuple[NDArray[Any], ...]


@dataclass(frozen=True, eq=False)
class Run:
    """A model as a function of samples: `batch` of them in one run, or one if its arrays are `whole`."""

    once: Callable[[Inputs], Sequence[Any]]
    batch: int
    whole: bool = False

    def __call__(self, inputs: Inputs) -> Outputs:
        """The outputs for all samples."""
        if self.whole:
            return stacked([self.once(sample(inputs, index)) for index in range(len(inputs[0]))])
        if len(inputs[0]) <= self.batch:
            return joined([self.once(inputs)])
        starts = range(0, len(inputs[0]), self.batch)
        return joined([self.once(tuple(array[start : start + self.batch] for array in inputs)) for start in starts])


def sample(inputs: Inputs, index: int) -> Inputs:
    """One of the samples, without their axis."""
    return tuple(np.asarray(array[index]) for array in inputs)


def transposed(arrays: Sequence[NDArray[Any]], turned: Sequence[tuple[int, ...]]) -> Outputs:
    """Each array by its axes; as it is where there are none."""
    pairs = zip(arrays, turned, strict=True)
    return tuple(
        np.ascontiguousarray(np.transpose(array, axes)) if axes else np.asarray(array) for array, axes in pairs
    )


def joined(parts: Sequence[Sequence[Any]]) -> Outputs:
    """The outputs of several runs, of which each has samples along axis 0."""
    return tuple(np.concatenate([np.atleast_1d(each) for each in part]) for part in zip(*parts, strict=True))


def stacked(parts: Sequence[Sequence[Any]]) -> Outputs:
    """The outputs of several runs along an axis in front; flat, one behind the other, if their shapes differ."""
    return tuple(_stacked([np.asarray(each) for each in part]) for part in zip(*parts, strict=True))


def _stacked(arrays: list[NDArray[Any]]) -> NDArray[Any]:
    if len({array.shape for array in arrays}) == 1:
        return np.stack(arrays)
    return np.concatenate([array.reshape(-1) for array in arrays])


def whole(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The tensors with an axis for samples in front."""
    return tuple(Tensor(tensor.name, (None, *tensor.shape), tensor.dtype) for tensor in tensors)


def fixed_batch(*sides: Sequence[Tensor]) -> int | None:
    """The one batch size that the inputs of one side allow, if they do not allow all."""
    extents = (tensor.shape[0] for tensors in sides for tensor in tensors if tensor.shape)
    return next((extent for extent in extents if extent is not None), None)


def shares_axis(tensors: Sequence[Tensor]) -> bool:
    """Whether axis 0 of these inputs may be one that they all share."""
    return all(tensor.shape for tensor in tensors) and len({tensor.shape[0] for tensor in tensors}) <= 1
