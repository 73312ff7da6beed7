"""Every law against slow reference operators; that every law is tested; and that the test would notice a mistake."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings

from edgebn.algebra import EXCHANGES, LAWS, Law, Operator, Outcome, Refusal, laws_for
from tests.algebra.checking import QUICK, SEARCH, assert_equal, both_sides, chain
from tests.algebra.drawing import Case
from tests.algebra.planting import mistaken_outcomes
from tests.algebra.strategies import CASES

ACCEPTED = 0.3
"""How often each law must apply, as a part of its cases: 0.5 is the least seen. Else little is tested."""

every_law = pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)


@every_law
def test_law_holds_and_applies_often(law: Law) -> None:
    applied = []

    @settings(QUICK, max_examples=120)
    @given(case=CASES[law.name])
    def holds(case: Case) -> None:
        outcome = law.rule(case.operator, case.affine)
        applied.append(not isinstance(outcome, Refusal))
        if not isinstance(outcome, Refusal):
            assert_equal(*both_sides(law.direction, case, outcome), case.size)

    holds()
    assert sum(applied) >= ACCEPTED * len(applied)


@every_law
def test_every_planted_mistake_is_noticed(law: Law) -> None:
    planted: set[str] = set()
    noticed: set[str] = set()

    @settings(SEARCH, max_examples=100)
    @given(case=CASES[law.name])
    def plant(case: Case) -> None:
        outcome = law.rule(case.operator, case.affine)
        for name, wrong in () if isinstance(outcome, Refusal) else mistaken_outcomes(outcome):
            planted.add(name)
            if name not in noticed and not _holds(law, case, wrong):
                noticed.add(name)

    plant()
    assert len(planted) >= 4
    assert planted == noticed


def _holds(law: Law, case: Case, outcome: Outcome) -> bool:
    try:
        assert_equal(*both_sides(law.direction, case, outcome), case.size)
    except AssertionError:
        return False
    return True


@settings(QUICK, max_examples=100)
@given(case=CASES["back through a selection"])
def test_what_others_select_is_left_alone(case: Case) -> None:
    """An affine that went back through one output of a Split must not reach the others."""
    (law,) = laws_for(case.operator, "backward")
    outcome = law.rule(case.operator, case.affine)
    if isinstance(outcome, Refusal) or not case.operator.shared:
        return
    x = case.inputs[0]
    moved = chain([outcome.rest], [x])
    for index in np.ndindex(*x.shape):
        if any(index[axis] not in taken for axis, taken in case.actual.items()):
            assert moved[index] == x[index]


def test_every_law_has_a_case_and_every_operator_both_directions() -> None:
    assert [law.name for law in LAWS] == list(CASES)
    assert {(law.operator, law.direction) for law in LAWS} == set(
        itertools.product(get_args(Operator), ("backward", "forward"))
    )


@pytest.mark.parametrize("rule", [*(law.rule for law in LAWS), *EXCHANGES.values()], ids=lambda rule: rule.__name__)
def test_a_docstring_starts_with_its_equation(rule: Callable[..., Any]) -> None:
    assert "=" in (rule.__doc__ or "").splitlines()[0].split(". ")[0]
