"""Labels, not only numbers: who decides how often rightly, and what the samples are on which the two disagree."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgebn.report import Change, Decisions
from edgebn.verifying.tally import Expected, ExpectedTally

SHOWN = 20
"""How many changes a report lists."""


def has_labels(shape: tuple[int, ...], threshold: float | None) -> bool:
    """Whether an output of this shape is rows of scores: of two at least, or of one that has a threshold."""
    return len(shape) == 2 and (shape[1] >= 2 or (shape[1] == 1 and threshold is not None))


@dataclass(eq=False)
class DecisionsTally:
    """Of one output, as samples stream by. A single score gives the label 1 above `threshold`, and 0 below."""

    output: str
    threshold: float | None = None
    samples: int = 0
    labelled: int = 0
    reference_right: int = 0
    onnx_right: int = 0
    ties: int = 0
    real: int = 0
    changes: list[Change] = field(default_factory=list)

    def add(
        self,
        actual: NDArray[Any],
        expected: Expected,
        tally: ExpectedTally,
        labels: NDArray[Any] | None,
    ) -> None:
        """Compare the labels of more samples. `tally` knows how far a score may be off."""
        ours, theirs = self._labels(expected.reference), self._labels(actual)
        if labels is not None:
            self.labelled += len(labels)
            self.reference_right += int((ours == labels).sum())
            self.onnx_right += int((theirs == labels).sum())
        allowed, _, _ = tally.allowed()
        scores = expected.exact if tally.is_trusted and expected.exact is not None else expected.reference
        for row in np.flatnonzero(ours != theirs):
            margin, rounding = self._margin(scores[row], ours[row], theirs[row], allowed)
            tie = bool(abs(margin) <= rounding)
            self.ties, self.real = self.ties + tie, self.real + (not tie)
            if len(self.changes) < SHOWN:
                label = None if labels is None else int(labels[row])
                sample = self.samples + int(row)
                self.changes.append(Change(sample, int(ours[row]), int(theirs[row]), label, margin, tie))
        self.samples += len(actual)

    def _labels(self, scores: NDArray[Any]) -> NDArray[np.int64]:
        if scores.shape[1] == 1 and self.threshold is not None:
            return np.asarray(scores[:, 0] > self.threshold, np.int64)
        return np.asarray(scores.argmax(axis=1))

    def _margin(self, scores: NDArray[Any], ours: int, theirs: int, allowed: NDArray[Any]) -> tuple[float, float]:
        """By how much the scores of a sample prefer `ours`, and how much of that rounding may do."""
        if len(scores) == 1 and self.threshold is not None:
            return float(abs(scores[0] - self.threshold)), float(allowed[0])
        return float(scores[ours]) - float(scores[theirs]), float(allowed[ours] + allowed[theirs])

    def decisions(self) -> Decisions:
        """What was found."""
        right = (self.reference_right, self.onnx_right)
        ours, theirs = (each / self.labelled if self.labelled else None for each in right)
        changed = self.ties + self.real
        return Decisions(self.output, self.samples, ours, theirs, changed, self.ties, self.real, tuple(self.changes))
