"""The arithmetic of the verdict, on arrays drawn by hypothesis."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from edgebn.report import Distance
from edgebn.verifying.compare import (
    changed_labels,
    channels,
    max_abs,
    numpy_excess,
    scale,
    smallest_rtol,
    tolerance,
)
from edgebn.verifying.compare import (
    distance as distances,
)

FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)
ANY = st.floats(width=32)
FLOATS = arrays(np.float32, array_shapes(max_dims=3, max_side=4), elements=ANY)
PAIRS = array_shapes(max_dims=3, max_side=4).flatmap(
    lambda shape: st.tuples(arrays(np.float32, shape, elements=ANY), arrays(np.float32, shape, elements=ANY))
)
SCORES = st.tuples(st.integers(1, 6), st.integers(2, 5)).flatmap(
    lambda shape: st.tuples(arrays(np.float32, shape, elements=FINITE), arrays(np.float32, shape, elements=FINITE))
)
drawn = settings(max_examples=200, deadline=None, derandomize=True)


def distance(a: float, b: float) -> float:
    """Of two numbers, by cases."""
    if (math.isnan(a) and math.isnan(b)) or a == b:
        return 0.0
    if not (math.isfinite(a) and math.isfinite(b)):
        return math.inf
    return abs(a - b)


@drawn
@given(pair=PAIRS)
def test_max_abs_is_the_largest_distance(pair: tuple[np.ndarray, np.ndarray]) -> None:
    left, right = pair
    expected = max(distance(float(a), float(b)) for a, b in zip(left.flat, right.flat, strict=True))
    assert max_abs(left, right) == max_abs(right, left) == expected


@drawn
@given(array=FLOATS)
def test_every_array_equals_itself(array: np.ndarray) -> None:
    assert max_abs(array, array.copy()) == 0.0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_on_one_side_only_is_infinitely_far(bad: float) -> None:
    assert max_abs(np.array([1.0, bad]), np.array([1.0, 2.0])) == math.inf
    assert max_abs(np.array([bad]), np.array([-bad if np.isinf(bad) else np.inf])) == math.inf


def test_max_abs_does_not_round_or_overflow_in_float32() -> None:
    one = np.float32(1.0)
    assert max_abs(np.array([np.nextafter(one, np.float32(2.0))]), np.array([one])) == 2.0**-23
    largest = np.finfo(np.float32).max
    assert max_abs(np.array([largest]), np.array([-largest])) == 2.0 * float(largest)


def test_max_abs_of_nothing_is_zero() -> None:
    assert max_abs(np.zeros((0, 10), np.float32), np.zeros((0, 10), np.float32)) == 0.0


@pytest.mark.parametrize(("left", "right"), [((2, 3), (3, 2)), ((2, 3), (6,)), ((1, 3), (2, 3)), ((), (1,))])
def test_max_abs_never_broadcasts(left: tuple[int, ...], right: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="can not be compared"):
        max_abs(np.zeros(left), np.zeros(right))


def test_max_abs_of_integers_and_booleans() -> None:
    assert max_abs(np.array([250], np.uint8), np.array([5], np.uint8)) == 245.0
    assert max_abs(np.array([5], np.uint8), np.array([250], np.uint8)) == 245.0
    assert max_abs(np.array([True]), np.array([False])) == 1.0


@drawn
@given(array=FLOATS)
def test_scale_is_the_largest_finite_magnitude(array: np.ndarray) -> None:
    assert scale(array) == max((abs(float(x)) for x in array.flat if math.isfinite(x)), default=0.0)


def test_scale_of_nothing_finite_is_zero() -> None:
    assert scale(np.zeros((0, 3))) == scale(np.array([np.nan, np.inf])) == 0.0


@drawn
@given(pair=SCORES)
def test_changed_labels_counts_rows_whose_first_maximum_moved(pair: tuple[np.ndarray, np.ndarray]) -> None:
    left, right = (array.tolist() for array in pair)
    expected = sum(a.index(max(a)) != b.index(max(b)) for a, b in zip(left, right, strict=True))
    assert changed_labels(*pair) == changed_labels(*reversed(pair)) == expected


@pytest.mark.parametrize("shape", [(4,), (4, 1), (2, 3, 4)])
def test_labels_are_of_rows_of_scores_only(shape: tuple[int, ...]) -> None:
    assert changed_labels(np.ones(shape), np.ones(shape)) is None


def test_channels_of_both_layouts() -> None:
    values = np.arange(24.0).reshape(2, 3, 4)
    assert channels(values).tolist() == [20.0, 21.0, 22.0, 23.0, 15.0, 19.0, 23.0]
    assert channels(values[:, 0]).tolist() == [12.0, 13.0, 14.0, 15.0]
    assert channels(values[:, 0, 0]).tolist() == [12.0]


def test_a_small_channel_has_a_small_tolerance() -> None:
    scales = np.array([1e3, 1e-3])
    large, small = tolerance(scales, np.zeros(2), np.zeros(2))
    assert large == pytest.approx(1e6 * small)
    assert small < 1e-2 * 1e-3  # a fault of 1 % in the small one is found


def test_the_channel_in_which_keras_is_furthest_off_says_how_often_the_model_rounds() -> None:
    """One that it happens to get right shares in that; all of them right is no luck, and allows less."""
    scales, sensitivity = np.ones(3), np.full(3, 1e-3)
    least, some, most = (tolerance(scales, np.array([0.0, error, 0.0]), sensitivity)[0] for error in (1e-3, 5e-3, 1e-1))
    assert least == pytest.approx(12e-3, rel=1e-3)
    assert some == pytest.approx(20e-3, rel=1e-3)
    assert most == pytest.approx(32e-3, rel=1e-3)
    assert tolerance(scales, None, sensitivity)[0] == pytest.approx(32e-3, rel=1e-3)


@drawn
@given(pair=PAIRS, rtol=st.floats(0.0, 1.0), atol=st.floats(1e-30, 1e3))
def test_numpys_rule_is_numpys(pair: tuple[np.ndarray, np.ndarray], rtol: float, atol: float) -> None:
    left, right = (np.nan_to_num(array.astype(np.float64)) for array in pair)
    allowed = atol + rtol * np.abs(right)
    excess = numpy_excess(left, right, rtol, atol)
    if not np.isclose(np.abs(left - right), allowed, rtol=1e-9, atol=0.0).any():  # a tie is decided by rounding
        assert (excess <= 1.0) == np.allclose(left, right, rtol=rtol, atol=atol)


def test_the_smallest_rtol_passes_and_less_does_not() -> None:
    rng = np.random.default_rng(0)
    b = rng.standard_normal((20, 5))
    a = b * (1.0 + 1e-3 * rng.standard_normal(b.shape))
    least = smallest_rtol(a, b)
    assert numpy_excess(a, b, least, 0.0) <= 1.0
    assert not np.allclose(a, b, rtol=0.999 * least, atol=0.0)


def test_distances_in_units_in_the_last_place() -> None:
    scales = np.array([1.0, 1024.0])
    found = distances(np.array([3 * 2.0**-23, 2.0**-13]), scales)
    assert found == Distance(2.0**-13, 3 * 2.0**-23, 3.0)
    assert distances(np.zeros(2), np.zeros(2)) == Distance(0.0, 0.0, 0.0)
    assert distances(np.array([1e-3]), np.zeros(1)).relative == math.inf
