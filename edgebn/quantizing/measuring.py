"""Two files that should do the same, side by side: how far apart, who decides rightly, which is faster."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgebn.measurements import OutputChange
from edgebn.verifying.sessions import Runtime

_BATCH = 32
Inputs = tuple[NDArray[Any], ...]


def in_whole_batches(inputs: Inputs, batch: int) -> Inputs:
    """The samples, and behind them the first ones again until the last batch is full."""
    count = len(inputs[0])
    order = np.arange(-(-count // batch) * batch) % max(count, 1)
    return inputs if len(order) == count else tuple(array[order] for array in inputs)


@dataclass(eq=False)
class _Tally:
    """Of one output, as samples stream by."""

    output: str
    threshold: float | None = None
    max_abs: float = 0.0
    largest: float = 0.0
    scores: bool = True
    changed: int = 0
    labelled: int = 0
    right: int = 0
    right_in_float32: int = 0

    def add(self, ours: NDArray[Any], smaller: NDArray[Any], labels: NDArray[Any] | None) -> None:
        """Compare more samples."""
        apart = np.abs(np.subtract(smaller, ours, dtype=np.float64))
        self.max_abs = float(np.maximum(self.max_abs, apart.max(initial=0.0)))  # unlike max(), NaN where there is one
        self.largest = float(np.maximum(self.largest, np.abs(ours).max(initial=0.0)))
        mine, theirs = _labels(ours, self.threshold), _labels(smaller, self.threshold)
        self.scores = self.scores and mine is not None
        if mine is None or theirs is None or not self.scores:
            return
        self.changed += int(np.count_nonzero(mine != theirs))
        if labels is not None:
            self.labelled += len(labels)
            self.right_in_float32 += int(np.count_nonzero(mine == labels))
            self.right += int(np.count_nonzero(theirs == labels))

    def change(self) -> OutputChange:
        """What was found."""
        right = (self.right / self.labelled, self.right_in_float32 / self.labelled) if self.labelled else (None, None)
        return OutputChange(self.output, self.max_abs, self.largest, self.changed if self.scores else None, *right)


def _labels(output: NDArray[Any], threshold: float | None) -> NDArray[Any] | None:
    """The label of each sample: the largest of its scores, or the class that the output is; None if it is neither.

    Of a single score it is 1 above the threshold, and 0 below, as Keras's binary accuracy has it.
    """
    if output.ndim == 2 and output.shape[1] > 1:
        return np.asarray(output.argmax(axis=1))
    if output.ndim == 2 and threshold is not None:
        return np.asarray(output[:, 0] > threshold, np.int64)
    return output if output.ndim == 1 and output.dtype.kind in "iu" else None


@dataclass(eq=False)
class Comparing:
    """Both files on samples that stream by; `samples` counts them.

    `thresholds` are of outputs, by their position, of which a single score decides between two classes.
    """

    float32: Runtime
    smaller: Runtime
    thresholds: Mapping[int, float]
    samples: int = 0
    _tallies: list[_Tally] = field(default_factory=list)

    def take(self, chunks: Iterable[tuple[Inputs, NDArray[Any] | None]]) -> tuple[OutputChange, ...]:
        """Run both files on all of it."""
        self._tallies = [
            _Tally(tensor.name, self.thresholds.get(position)) for position, tensor in enumerate(self.float32.outputs)
        ]
        fixed = self.float32.inputs[0].shape[0]
        size = fixed or _BATCH
        for given, labels in chunks:
            count = len(given[0])
            if not count:
                continue
            inputs = in_whole_batches(given, fixed or 1)
            results = [runtime.run(inputs, size) for runtime in (self.float32, self.smaller)]
            for tally, ours, smaller in zip(self._tallies, *results, strict=True):
                tally.add(ours[:count], smaller[:count], labels)
            self.samples += count
        return tuple(tally.change() for tally in self._tallies)
