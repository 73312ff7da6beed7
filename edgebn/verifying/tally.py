"""What is collected while samples stream by: of each channel the largest values only, in constant memory."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgebn.report import Comparison, Distance
from edgebn.verifying import compare

_MOST_TIPPED = 0.02
"""The share of elements that rounding may tip; more of them are no accident."""

Columns = NDArray[np.float64]


@dataclass(frozen=True)
class Rule:
    """When an output passes: numpy's rule with these two, or by rounding if there are none."""

    rtol: float | None = None
    atol: float | None = None

    @property
    def name(self) -> str:
        """`numpy` or `rounding`."""
        return "rounding" if self.rtol is None and self.atol is None else "numpy"

    @property
    def tolerances(self) -> tuple[float, float]:
        """Rtol and atol of numpy's rule; what is not given is 0."""
        return self.rtol or 0.0, self.atol or 0.0


@dataclass(frozen=True, eq=False)
class Expected:
    """What one output should be on some samples: by the reference, and in float64 where that can be had.

    `sensitivity` is how far each channel moves when every weight is rounded once. What is no float must be equal, but
    for elements that rounding may tip: `slack` is how far each of those may be off.
    """

    reference: NDArray[Any]
    exact: NDArray[Any] | None
    sensitivity: Columns
    slack: NDArray[np.float64] | None = None

    def truth(self, count: int | None = None) -> NDArray[Any] | None:
        """`exact` of the first samples; where the reference itself is not finite, what that is."""
        if self.exact is None:
            return None
        return compare.excusing(self.exact[:count], self.reference[:count], None)

    def wrong(self, actual: NDArray[Any]) -> int:
        """How many elements of the first samples, none of them floats, are further off than they may be."""
        reference = self.reference[: len(actual)]
        errors = compare.absolute(actual, reference)
        over = errors > (0.0 if self.slack is None else self.slack[: len(actual)])
        excused = int(((errors > 0.0) & ~over).sum())
        return int(over.sum()) + (excused if excused > max(1.0, _MOST_TIPPED * errors.size) else 0)


@dataclass(eq=False)
class ExpectedTally:
    """Of one output on one probe: what its tolerance is made of."""

    trusted: float
    floor: float
    precision: compare.Precision = compare.FLOAT32
    scales: Columns = field(default_factory=lambda: np.zeros(()))
    exact_scales: Columns = field(default_factory=lambda: np.zeros(()))
    reference_error: Columns = field(default_factory=lambda: np.zeros(()))
    sensitivity: Columns = field(default_factory=lambda: np.zeros(()))
    rounding: Columns = field(default_factory=lambda: np.zeros(()))
    has_truth: bool = True
    not_finite: int = 0
    elements: int = 0

    def add(self, expected: Expected) -> None:
        """Take in what is expected of more samples."""
        reference = np.asarray(expected.reference)
        self.scales = np.maximum(self.scales, compare.channels(compare.magnitudes(reference)))
        self.sensitivity = np.maximum(self.sensitivity, expected.sensitivity)
        self.not_finite += int(reference.size - np.isfinite(reference.astype(np.float64, copy=False)).sum())
        self.elements += reference.size
        exact = expected.truth()
        if exact is None:
            self.has_truth = False
            return
        self.exact_scales = np.maximum(self.exact_scales, compare.channels(compare.magnitudes(exact)))
        error = compare.channels(compare.absolute(reference, exact))
        self.reference_error = np.maximum(self.reference_error, error)

    def add_rounding(self, moves: Columns) -> None:
        """Take in how far the file moves on these samples when each of its own results is rounded once.

        A rounding of 1, or of the output where that is larger, is the most that counts. Whoever adds 10⁶ and subtracts
        it again computes something else than the model.
        """
        if moves.shape == self.scales.shape:
            most = self.precision.epsilon * max(1.0, float(self.scales.max(initial=0.0)))
            self.rounding = np.maximum(self.rounding, np.minimum(moves, most))

    @property
    def is_trusted(self) -> bool:
        """Whether the values in float64 count as the truth: the reference itself must not be far from them."""
        largest = self.exact_scales.max(initial=0.0)
        return self.has_truth and bool((self.reference_error <= self.trusted * largest).all())

    def allowed(self) -> tuple[Columns, Columns, Columns]:
        """Of each channel the tolerance, the sensitivity that it rests on, and the scale."""
        if self.is_trusted:
            scales, sensitivity, error = self.exact_scales, self.sensitivity, self.reference_error
            return self._tolerance(scales, error, sensitivity), np.maximum(sensitivity, self.rounding), scales
        sensitivity = self.sensitivity
        if self.has_truth:  # an overflow in float64 is no rounding, nor does another model say how this one rounds
            most = np.where(np.isinf(self.reference_error), 0.0, compare.DISTRUST * self.scales)
            sensitivity = np.minimum(sensitivity, most / compare.SENSITIVITY_FACTOR)
        return self._tolerance(self.scales, None, sensitivity), np.maximum(sensitivity, self.rounding), self.scales

    def _tolerance(self, scales: Columns, error: Columns | None, sensitivity: Columns) -> Columns:
        return compare.tolerance(np.maximum(scales, self.floor), error, sensitivity, self.precision, self.rounding)


@dataclass(eq=False)
class Tally:
    """Of one output on one probe, as one runtime gives it at one batch size."""

    rule: Rule
    difference: Columns = field(default_factory=lambda: np.zeros(()))
    error: Columns = field(default_factory=lambda: np.zeros(()))
    smallest_rtol: float = 0.0
    excess: float = 0.0
    samples: int = 0
    wrong: int | None = None
    changed_labels: int | None = None

    def add(self, actual: NDArray[Any], expected: Expected, samples: int) -> None:
        """Compare so many more samples; what is expected may be of more than there are."""
        count = len(actual)
        reference = np.asarray(expected.reference[:count])
        exact = None if expected.exact is None else expected.exact[:count]
        actual = compare.excusing(actual, reference, exact)
        self.difference = np.maximum(self.difference, compare.channels(compare.absolute(actual, reference)))
        if (truth := expected.truth(count)) is not None:
            error = compare.channels(compare.absolute(actual, truth))
            self.error = np.maximum(self.error, error)
        self.smallest_rtol = max(self.smallest_rtol, compare.smallest_rtol(actual, reference))
        if self.rule.name == "numpy":
            self.excess = max(self.excess, compare.numpy_excess(actual, reference, *self.rule.tolerances))
        if reference.dtype.kind not in "fV":  # V: numpy's kind of bfloat16
            self.wrong = (self.wrong or 0) + expected.wrong(actual)
        self.samples += samples
        changed = compare.changed_labels(actual, reference)
        self.changed_labels = None if changed is None else (self.changed_labels or 0) + changed

    def fail(self, samples: int) -> None:
        """Take in samples of which there is no result at all, or none of this shape."""
        self.difference = self.error = np.full((), np.inf)
        self.smallest_rtol = self.excess = math.inf
        self.samples += samples

    def may_be_rounding(self, expected: ExpectedTally) -> bool:
        """Whether it fails by numbers, which more rounding than is known of might explain."""
        allowed, _, _ = expected.allowed()
        measured = self.error if expected.is_trusted else self.difference
        return self.rule.name == "rounding" and self.wrong is None and bool((measured > allowed).any())

    def comparison(self, expected: ExpectedTally, **named: Any) -> Comparison:
        """The numbers, and whether they are small enough. `named` are the fields that say what was run."""
        allowed, sensitivity, scales = expected.allowed()
        measured = self.error if expected.is_trusted else self.difference
        shares = compare.share(measured, allowed)
        worst = int(shares.argmax())
        used, tolerance = float(shares[worst]), float(allowed[worst])
        if self.rule.name == "numpy":
            rtol, atol = self.rule.tolerances
            used, tolerance = self.excess, atol + rtol * float(scales[worst])
        elif self.wrong is not None and np.isfinite(used):
            used, tolerance = math.inf if self.wrong else 0.0, 0.0
        return Comparison(
            **named,
            samples=self.samples,
            difference=compare.distance(self.difference, expected.scales, expected.precision),
            error=self._from_truth(expected, self.error),
            reference_error=self._from_truth(expected, expected.reference_error),
            sensitivity=float(sensitivity[worst]),
            scale=float(scales[worst]),
            channel=worst,
            tolerance=tolerance,
            used=used,
            not_finite=expected.not_finite,
            changed_labels=self.changed_labels,
            passed=used <= 1.0 and not math.isnan(used),
        )

    def _from_truth(self, expected: ExpectedTally, errors: Columns) -> Distance | None:
        return compare.distance(errors, expected.exact_scales, expected.precision) if expected.is_trusted else None
