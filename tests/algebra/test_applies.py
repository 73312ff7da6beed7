"""Where a law must not refuse: each case stands for a condition that could be too strict."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgebn.algebra import (
    EXCHANGES,
    LAWS,
    Affine,
    Blend,
    Clip,
    Concat,
    Extremum,
    Outcome,
    Pad,
    PRelu,
    Product,
    Refusal,
    Reshape,
    Sum,
    Transpose,
)
from edgebn.algebra.checks import LARGEST, one_value
from tests.algebra.examples import HUGE, SCALES, SHIFTS, SPATIAL, TINY, TURNED, channels, clip, conv, taking


def along(axis: int, extent: int, rank: int) -> Affine:
    """A scale that varies along one axis."""
    shape = [extent if each == axis else 1 for each in range(rank)]
    return Affine(np.arange(1.0, extent + 1.0).reshape(shape), np.zeros(()))


CONSTANT = channels(2, 3)
CHANNELS = ((0, 0), (1, 2), (0, 0), (0, 0))
DEAD = channels([0, 1], 0)

JUST_FINITE = [
    ("into the previous Conv", conv(), HUGE),
    ("into the previous Conv", conv(), channels(LARGEST, 0)),
    ("into the next Conv", conv(), HUGE),
    ("into the next Conv", conv(), channels(1, 0)),
    ("into the next Conv, behind a Pad by −t/s", conv(), channels(1e-38, 1)),
    ("back through a clip", clip(1.0), HUGE),
    ("back through a clip", clip(1.0), channels(LARGEST, 0)),
    ("back through a clip", clip(0.0), channels(3e38, 3e38)),
    ("on through a clip", clip(1.0), channels(1e-38, 0)),
    ("back through Pad", Pad(SPATIAL, 1.0), HUGE),
    ("back through Pad", Pad(SPATIAL, -LARGEST), HUGE),
    ("on through Pad", Pad(SPATIAL, -LARGEST), TINY),
    ("back through PRelu", PRelu(np.array(1e-38)), TURNED),
]

APPLIES = [
    ("into the next Conv, plus a constant map", conv(extents=(512, 256)), SHIFTS),
    ("into the next Conv, behind a Pad by −t/s", conv(), channels(0, 0)),
    ("back through PRelu", PRelu(np.zeros(())), channels([0, 0.5], 0)),
    ("back through a maximum", Extremum((2, 3)), channels([0, 0.5], [0, 1])),
    ("on through a mean", Blend((2, 3), None), SCALES),
    ("back through a mean", Blend((2, 3), None), SCALES),
    ("back through Pad", Pad(((0, 0),) * 4, 1.0), SHIFTS),
    ("on through Pad", Pad(((0, 0),) * 4, 1.0), SHIFTS),
    ("on through Pad", Pad(CHANNELS, 1.0), SHIFTS),
    ("on through Pad", Pad(CHANNELS, 1.0), DEAD),
    # A does not vary where the extents are not known
    ("on through Reshape", Reshape(("n", None, 2), (None, None)), channels(2, 3, 3)),
    ("on through Reshape", Reshape((None, None, 2), (None, 2)), along(2, 2, 3)),
    ("on through Reshape", Reshape((None, None, 3, 2), (None, 3, 2)), along(2, 3, 4)),
    ("on through Reshape", Reshape(("n", 3, "h", 2), ("n", 3, 2, "h")), along(1, 3, 4)),
    # the batch is the one that is not known
    ("on through Reshape", Reshape((None, 2, 3), (None, 6)), along(1, 2, 3)),
    ("on through Reshape", Reshape((None, 2, 3, "c"), (None, 6, "c")), along(1, 2, 4)),
    # a known batch
    ("on through Reshape", Reshape((1, 2, 3), (2, 3)), along(1, 2, 3)),
    ("back through Reshape", Reshape((2, 6), (2, 2, 3)), along(2, 3, 3)),
    ("back through a selection", taking(None), CONSTANT),
    ("back through a selection", taking(0, 0), CONSTANT),
    ("back through a selection", taking(2, 0), SCALES),
    ("back through Concat", Concat(1, (None, None)), CONSTANT),
    ("back through Concat", Concat(2, (None, None)), SCALES),
    ("back through a sum", Sum((1.0, 1.0), ((None, 1, 5, 5), (None, 2, 5, 5)), at=1), channels(2, [3, 4])),
    ("back through a sum", Sum((1.0, 1.0), ((None, 2, 5, 5), (None, 2, 1, 5))), SCALES),
    ("back through a product", Product(((None, 1, 5, 5), (None, 2, 5, 5)), at=1), SCALES),
]


def outcome_of(name: str, operator: Any, affine: Affine) -> Outcome:
    (law,) = (law for law in LAWS if law.name == name)
    assert isinstance(operator, law.operator)
    outcome = law.rule(operator, affine)
    assert isinstance(outcome, Outcome)
    return outcome


@pytest.mark.parametrize(("name", "operator", "affine"), [*JUST_FINITE, *APPLIES])
def test_law_applies(name: str, operator: Any, affine: Affine) -> None:
    assert outcome_of(name, operator, affine).operators


POSSIBLE = [
    ("a Pad before a clip", (clip([5, 1]), channels([0, 1], [0, -1]), conv())),
    ("a Pad before a clip", (clip(0.0), SCALES, conv(pads=((1, 1), (0, 0))))),
    ("an affine as a convolution", (SCALES, conv(groups=2))),
    ("two convolutions of one tensor as one", (conv(), conv())),
    ("two convolutions of one tensor as one", (conv(size=(1, 1), pads=((0, 0), (0, 0))), conv())),
    (  # the last of three taps, two apart
        "two convolutions of one tensor as one",
        (conv(dilations=(2, 2), pads=((4, 0), (4, 0))), conv(size=(1, 1), pads=((0, 0), (0, 0)))),
    ),
]


@pytest.mark.parametrize(("name", "operators"), POSSIBLE)
def test_exchange_is_possible(name: str, operators: tuple[Any, ...]) -> None:
    assert not isinstance(EXCHANGES[name](*operators), Refusal)


UNCHANGED = [
    ("a maximum", Extremum((2, 3)), SHIFTS),
    ("a mean", Blend((2, 3)), SCALES),
    ("PRelu", PRelu(np.full((1, 2, 1, 1), 0.5)), SCALES),
    ("Transpose", Transpose((0, 2, 3, 1)), CONSTANT),
    ("Reshape", Reshape((2, 2, 3, 3), (2, 2, 3, 3)), SCALES),
    ("a selection", taking(1, 0), SCALES),
    ("Concat", Concat(1, (2,)), SCALES),
    ("a sum", Sum((1.0,), ((2, 2, 5, 5),)), SHIFTS),
    ("a product", Product(((2, 2, 5, 5),)), SCALES),
]


@pytest.mark.parametrize(("name", "operator", "affine"), UNCHANGED)
@pytest.mark.parametrize("law", ["back through {}", "on through {}"])
def test_what_stays_as_it_is_stays_the_same_object(law: str, name: str, operator: Any, affine: Affine) -> None:
    """That is how folding knows that a node may stay as it is."""
    (same,) = outcome_of(law.format(name), operator, affine).operators
    assert same is operator


@pytest.mark.parametrize(("bound", "scale"), [(clip(0.0), [2, 0, 3]), (clip(-np.inf, 1.0), [-2, 0, -3])])
@pytest.mark.parametrize("law", ["back through a clip", "on through a clip"])
def test_a_dead_channel_takes_the_side_of_the_others(law: str, bound: Clip, scale: list[float]) -> None:
    """So that one Max is enough, where some channels with a bound above would take a Max and a Min."""
    below, above = (outcome_of(law, bound, channels(sign * np.array(scale), 1)).operators[0] for sign in (1, -1))
    assert np.isfinite(below.lower).all()
    assert (below.upper == np.inf).all()
    assert (above.lower == -np.inf).all()
    assert np.isfinite(above.upper).all()


@pytest.mark.parametrize("law", ["back through a clip", "on through a clip"])
def test_where_all_channels_are_dead_relu_stays_bounded_below(law: str) -> None:
    (moved,) = outcome_of(law, clip(0.0), channels([0, 0], 0)).operators
    assert (moved.lower == 0.0).all()
    assert (moved.upper == np.inf).all()


def test_a_piece_of_a_concatenation_that_is_the_identity_is_left_out() -> None:
    ones, shifted, scaled = outcome_of(
        "back through Concat", Concat(1, (2, 2, 2)), channels([1, 1, 1, 1, 1, 2], [0, 0, 1, 0, 0, 0])
    ).rests
    assert ones is None
    assert shifted is not None
    assert scaled is not None


@pytest.mark.parametrize(
    ("values", "value"),
    [
        ([2.0, 2.0], 2.0),
        ([2.0, 2.0 + 1e-13], 2.0),
        ([-2e9, -2e9 - 1e-4], -2e9 - 1e-4),
        ([2.0, 2.0 + 1e-11], None),
        ([0.0, 1e-13], None),
        ([-2.0, 2.0], None),
        ([np.inf, np.inf], np.inf),
        ([-np.inf, np.inf], None),
        ([2.0, np.inf], None),
        ([np.nan, np.nan], None),
        ([2.0, np.nan], None),
    ],
)
def test_values_are_one_value_if_they_differ_by_rounding_alone(values: list[float], value: float | None) -> None:
    assert one_value(np.array(values)) == value
