"""Both sides of a law, by the reference operators, and whether they are equal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, settings

from edgebn.algebra import Direction, Join, Operator, Outcome
from tests import reference
from tests.algebra.drawing import Case

# In float64, as a part of `Case.size`: 1e-15 seen of rounding (sums of at most 60 terms), and 3e-14 where a law takes
# values that agree to 1e-12 for one value. Of 1e-12, the smallest scale drawn (1e-4), off by 1 %, is still seen beside
# the largest (3e3, times inputs and weights of 4: 1e-12·5e4 = 5e-8 against 1e-6).
TOLERANCE = 1e-12

QUICK = settings(deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
SEARCH = settings(QUICK, phases=[Phase.generate], report_multiple_bugs=False)


def chain(operators: Sequence[Operator], inputs: Sequence[np.ndarray], actual: Any = None) -> np.ndarray:
    """What `operators`, one after the other, make of `inputs`; the first may read several."""
    for operator in operators:
        inputs = (reference.run(operator, inputs, actual),)
    return inputs[0]


def both_sides(direction: Direction, case: Case, outcome: Outcome) -> tuple[np.ndarray, np.ndarray]:
    """What the law says is equal: before and after the move."""
    inputs, a = case.inputs, case.affine
    if direction == "backward":
        joins = isinstance(case.operator, Join)
        assert (outcome.rest is None) if joins else (outcome.rests == ())
        rests = outcome.rests if joins else (outcome.rest,)
        moved = [x if rest is None else chain([rest], [x]) for rest, x in zip(rests, inputs, strict=True)]
        return chain([case.operator, a], inputs, case.actual), chain(outcome.operators, moved, case.actual)
    assert outcome.rests == ()
    at = case.operator.at if isinstance(case.operator, Join) else 0
    given = [chain([a], [x]) if index == at else x for index, x in enumerate(inputs)]
    rest = () if outcome.rest is None else (outcome.rest,)
    after = chain([*outcome.operators, *rest], inputs, case.actual)
    return chain([case.operator], given, case.actual), after


def assert_equal(expected: np.ndarray, actual: np.ndarray, size: float) -> None:
    """Equal within `TOLERANCE` of `size`; infinities are equal to themselves."""
    assert actual.shape == expected.shape
    assert np.isclose(_as_float32(actual), _as_float32(expected), rtol=0.0, atol=TOLERANCE * size).all()


def _as_float32(x: np.ndarray) -> np.ndarray:
    """In float64, with the infinities that float32 would have."""
    return np.where(np.abs(x) > reference.FLOAT32_MAX, np.copysign(np.inf, x), x)
