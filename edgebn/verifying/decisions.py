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


@dataclass(eq=False)
class DecisionsTally:
    """Of one output, as samples stream by."""

    output: str
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
        ours, theirs = expected.reference.argmax(axis=1), actual.argmax(axis=1)
        if labels is not None:
            self.labelled += len(labels)
            self.reference_right += int((ours == labels).sum())
            self.onnx_right += int((theirs == labels).sum())
        allowed, _, _ = tally.allowed()
        scores = expected.exact if tally.is_trusted and expected.exact is not None else expected.reference
        for row in np.flatnonzero(ours != theirs):
            margin = float(scores[row, ours[row]]) - float(scores[row, theirs[row]])
            tie = bool(abs(margin) <= allowed[ours[row]] + allowed[theirs[row]])
            self.ties, self.real = self.ties + tie, self.real + (not tie)
            if len(self.changes) < SHOWN:
                label = None if labels is None else int(labels[row])
                sample = self.samples + int(row)
                self.changes.append(Change(sample, int(ours[row]), int(theirs[row]), label, margin, tie))
        self.samples += len(actual)

    def decisions(self) -> Decisions:
        """What was found."""
        right = (self.reference_right, self.onnx_right)
        ours, theirs = (each / self.labelled if self.labelled else None for each in right)
        changed = self.ties + self.real
        return Decisions(self.output, self.samples, ours, theirs, changed, self.ties, self.real, tuple(self.changes))
