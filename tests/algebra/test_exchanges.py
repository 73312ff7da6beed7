"""Every exchange against slow reference operators, and that the test would notice a mistake."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from edgebn.algebra import EXCHANGES, Clip, Outcome, Refusal
from edgebn.algebra.absorbing import into_next_conv
from tests.algebra.checking import QUICK, SEARCH, assert_equal, chain
from tests.algebra.planting import mistaken
from tests.algebra.strategies_exchanges import EXCHANGE_CASES, Exchange, padded_convs_behind_clips

ACCEPTED = 0.3
"""How often each exchange must be possible, as a part of its cases: 0.5 is the least seen."""

Sides = tuple[np.ndarray, np.ndarray]
every_exchange = pytest.mark.parametrize("name", EXCHANGES)


def relu_sides(case: Exchange, found: tuple[Any, ...]) -> Sides:
    shift, sign, outer = found
    relu = Clip.relu(case.x.ndim)
    return chain(case.operators, [case.x]), chain([shift, sign, relu, outer], [case.x])


def pool_sides(case: Exchange, found: tuple[Any, ...]) -> Sides:
    extremum, clip = case.operators
    before, after = ([clip, extremum], [extremum, *found])
    return chain(before, [case.x], case.actual), chain(after, [case.x], case.actual)


def pad_sides(case: Exchange, found: tuple[Any, ...]) -> Sides:
    clip, a, _ = case.operators
    pad, unpadded = found
    return chain(case.operators, [case.x], case.actual), chain([pad, clip, a, unpadded], [case.x])


def sum_sides(case: Exchange, found: tuple[Any, ...]) -> Sides:
    first, second = (chain([conv], [case.x]) for conv in case.operators)
    assert first.shape == second.shape
    return first + second, chain(found, [case.x])


def conv_sides(case: Exchange, found: tuple[Any, ...]) -> Sides:
    return chain(case.operators[:1], [case.x]), chain(found, [case.x])


SIDES: Mapping[str, Callable[[Exchange, tuple[Any, ...]], Sides]] = {
    "a clip as ReLU": relu_sides,
    "a pool before a clip": pool_sides,
    "a Pad before a clip": pad_sides,
    "two convolutions of one tensor as one": sum_sides,
    "an affine as a convolution": conv_sides,
}


def exchanged(name: str, case: Exchange) -> tuple[Any, ...] | None:
    """What the exchange gives, None if it refuses."""
    found = EXCHANGES[name](*case.operators)
    if isinstance(found, Refusal):
        return None
    return found if isinstance(found, tuple) else (found,)


@every_exchange
def test_exchange_holds_and_is_often_possible(name: str) -> None:
    possible = []

    @settings(QUICK, max_examples=250)
    @given(case=EXCHANGE_CASES[name])
    def holds(case: Exchange) -> None:
        found = exchanged(name, case)
        possible.append(found is not None)
        if found is not None:
            assert_equal(*SIDES[name](case, found), case.size)

    holds()
    assert sum(possible) >= ACCEPTED * len(possible)


@every_exchange
def test_every_planted_mistake_is_noticed(name: str) -> None:
    planted: set[str] = set()
    noticed: set[str] = set()

    @settings(SEARCH, max_examples=100)
    @given(case=EXCHANGE_CASES[name])
    def plant(case: Exchange) -> None:
        for mistake, wrong in mistaken(exchanged(name, case) or ()):
            planted.add(mistake)
            try:
                assert_equal(*SIDES[name](case, wrong), case.size)
            except (AssertionError, ValueError):  # infinities of both signs have no sum
                noticed.add(mistake)

    plant()
    assert len(planted) >= 3
    assert planted == noticed


def test_every_exchange_has_a_case() -> None:
    assert set(EXCHANGES) == set(EXCHANGE_CASES) == set(SIDES)


@settings(QUICK, max_examples=100)
@given(case=padded_convs_behind_clips())
def test_a_pad_before_the_clip_lets_a_padded_convolution_take_the_whole_affine(case: Exchange) -> None:
    """conv₀ ∘ A ∘ clip = conv' ∘ clip ∘ pad, by the exchange and then the law of a convolution that is not padded."""
    clip, a, _ = case.operators
    found = exchanged("a Pad before a clip", case)
    if found is None:
        return
    pad, unpadded = found
    absorbed = into_next_conv(unpadded, a)
    assert isinstance(absorbed, Outcome)
    after = chain([pad, clip, *absorbed.operators], [case.x])
    assert_equal(chain(case.operators, [case.x], case.actual), after, case.size)
