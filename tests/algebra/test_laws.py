"""Every law against slow reference operators; that every law is tested; and that the test would notice."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgebn.algebra import (
    LAWS,
    Affine,
    AveragePool,
    Clip,
    Conv,
    Law,
    MatMul,
    MaxPool,
    Operator,
    Outcome,
    Refusal,
    as_relu,
)
from edgebn.algebra import Reshape as ReshapeOperator
from tests import reference
from tests.algebra.strategies import CASES, Case, clips

# float64 sums of at most 60 terms of at most 4e3: 1e-12 of the largest term seen, 100 times that allowed
TOLERANCE = 1e-10


def both_sides(law: Law, case: Case) -> tuple[np.ndarray, np.ndarray] | Refusal:
    """What the law says is equal: before and after the move, by the reference."""
    outcome = law.rule(case.operator, case.affine)
    if isinstance(outcome, Refusal):
        return outcome
    if law.direction == "backward":
        before = reference.run(case.affine, reference.run(case.operator, case.x, case.window))
        moved = case.x if outcome.rest is None else reference.run(outcome.rest, case.x)
        return before, reference.run(outcome.operator, moved, case.window)
    before = reference.run(case.operator, reference.run(case.affine, case.x), case.window)
    after = reference.run(outcome.operator, case.x, case.window)
    return before, after if outcome.rest is None else reference.run(outcome.rest, after)


def check(law: Law, case: Case) -> bool:
    """Assert that the law holds for the case; returns whether it applied."""
    sides = both_sides(law, case)
    if isinstance(sides, Refusal):
        return False
    expected, actual = sides
    size = 1.0 + np.abs(expected).max() + np.abs(case.affine.shift).max() + np.abs(case.affine.scale).max()
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= TOLERANCE * size
    return True


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
@settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_law_holds(law: Law, data: st.DataObject) -> None:
    check(law, data.draw(CASES[law.operator](law.direction)))


def test_every_law_has_a_case_and_every_operator_a_law() -> None:
    assert {law.operator for law in LAWS} == set(CASES) == set(get_args(Operator))
    assert {(law.operator, law.direction) for law in LAWS} == {
        (operator, direction) for operator in CASES for direction in ("backward", "forward")
    }
    assert len({law.name for law in LAWS}) == len(LAWS)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_law_is_documented_by_its_equation(law: Law) -> None:
    assert law.rule.__doc__
    assert "=" in law.rule.__doc__.splitlines()[0]


def planted(law: Law) -> Law:
    """The law with a mistake: what it absorbs or passes on is off by 1 % of its scale, or of its bounds."""

    def wrong(operator: Any, a: Affine) -> Outcome | Refusal:
        outcome = law.rule(operator, a)
        if isinstance(outcome, Refusal):
            return outcome
        if outcome.rest is not None:
            return Outcome(outcome.operator, Affine(outcome.rest.scale * 1.01, outcome.rest.shift + 0.01))
        if isinstance(outcome.operator, Affine):
            return Outcome(Affine(outcome.operator.scale * 1.01, outcome.operator.shift + 0.01))
        return Outcome(replace(outcome.operator, bias=outcome.operator.bias + 0.01))

    return replace(law, rule=wrong)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_a_planted_error_is_noticed(law: Law) -> None:
    @settings(max_examples=50, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(case=CASES[law.operator](law.direction))
    def holds(case: Case) -> None:
        check(planted(law), case)

    with pytest.raises(AssertionError):
        holds()


@settings(max_examples=100, deadline=None, derandomize=True)
@given(case=clips("backward"))
def test_a_clip_by_one_bound_is_a_relu_between_affines(case: Case) -> None:
    parts = as_relu(case.operator)
    lower, upper = case.operator.lower, case.operator.upper
    assert (parts is None) == bool((np.isfinite(lower) == np.isfinite(upper)).any())
    if parts is not None:
        shift, sign, outer = parts
        inner = reference.run(sign, reference.run(shift, case.x))
        result = reference.run(outer, np.where(inner > 0.0, inner, 0.0))
        assert np.abs(result - reference.run(case.operator, case.x)).max() <= 1e-12


def rule(name: str) -> Any:
    return next(law.rule for law in LAWS if law.name == name)


def channels(scale: list[float], shift: list[float], rank: int = 4) -> Affine:
    shape = (1, -1) + (1,) * (rank - 2)
    return Affine(np.array(scale).reshape(shape), np.array(shift).reshape(shape))


CONV = Conv(np.ones((1, 2, 3, 3)), np.zeros(1), 1, padded=True)
OVERFLOWS = channels([3e38, 3e38], [0.0, 0.0])

REFUSALS = [
    ("into the next Conv", CONV, channels([1.0, 1.0], [0.0, 1.0]), "zero padding: the shift would be missing"),
    ("into the next Conv", CONV, OVERFLOWS, None),
    ("into the previous Conv", Conv(np.full((2, 1, 1, 1), 2.0), np.zeros(2), 1, False), OVERFLOWS, "not be finite"),
    (
        "into the next MatMul",
        MatMul(np.full((2, 1), 2.0), np.zeros(1)),
        channels([3e38, 0], [0, 0], 2),
        "not be finite",
    ),
    (
        "into the previous MatMul",
        MatMul(np.ones((1, 2)), np.zeros(2)),
        channels([1, 2], [0, 0], 3),
        "varies along axis 1",
    ),
    ("into the previous Conv", CONV, Affine(np.arange(2.0).reshape(1, 1, 2, 1), np.zeros(())), "varies along axis 2"),
    ("back through Clip", Clip(np.full((1, 1), 9.0), np.full((1, 1), 10.0)), channels([3e38], [0], 2), "not be finite"),
    ("on through Clip", Clip(np.full((1, 1), 9.0), np.full((1, 1), 10.0)), channels([1e-38], [0], 2), "not be finite"),
    ("back through MaxPool", MaxPool(), channels([1.0, -1.0], [0.0, 0.0]), "negative scale"),
    ("on through MaxPool", MaxPool(), Affine(np.arange(2.0).reshape(1, 1, 2, 1), np.zeros(())), "inside the window"),
    ("on through AveragePool", AveragePool(True), channels([1.0], [1.0]), "counts the zeros of its padding"),
    (
        "on through Reshape",
        ReshapeOperator((None, None, 2), (None, 4)),
        channels([1, 2], [0, 0], 3),
        "not known before",
    ),
    ("on through Reshape", ReshapeOperator((None, 2), (None, 4)), channels([1, 2], [0, 0], 2), "between samples"),
]


@pytest.mark.parametrize(("name", "operator", "affine", "reason"), REFUSALS)
def test_refuses_with_a_reason(name: str, operator: Any, affine: Affine, reason: str | None) -> None:
    outcome = rule(name)(operator, affine)
    if reason is None:
        assert isinstance(outcome, Outcome)
    else:
        assert isinstance(outcome, Refusal)
        assert reason in outcome.reason


def test_batch_norm_is_the_textbooks() -> None:
    rng = np.random.default_rng(0)
    gamma, beta, mean = rng.standard_normal((3, 5))
    variance = np.array([1.0, 1e-15, 0.0, 4.0, 0.3])
    x = rng.standard_normal((7, 5))
    expected = gamma * (x - mean) / np.sqrt(variance + 1e-3) + beta
    assert np.abs(Affine.batch_norm(gamma, beta, mean, variance, 1e-3)(x) - expected).max() <= 1e-12


def test_an_affine_along_one_axis_refuses_another() -> None:
    with pytest.raises(ValueError, match="varies along"):
        channels([1.0, 2.0], [0.0, 0.0]).along(2, 2)
