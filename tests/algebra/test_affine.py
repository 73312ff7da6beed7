"""Affine maps: the arithmetic of BatchNormalization, and of what stands beside it."""

from __future__ import annotations

import numpy as np
import pytest

from edgebn.algebra import Affine


def per_channel(scale: list[float], shift: list[float]) -> Affine:
    return Affine(np.array(scale).reshape(1, -1, 1), np.array(shift).reshape(1, -1, 1))


def test_batch_norm_is_the_textbooks() -> None:
    random = np.random.default_rng(0)
    gamma, beta, mean = random.standard_normal((3, 5))
    variance = np.array([1.0, 1e-15, 0.0, 4.0, 0.3])
    x = random.standard_normal((7, 5))
    expected = gamma * (x - mean) / np.sqrt(variance + 1e-3) + beta
    assert np.abs(Affine.batch_norm(gamma, beta, mean, variance, 1e-3)(x) - expected).max() <= 1e-12


def test_statistics_in_float32_are_computed_with_in_float64() -> None:
    gamma, beta, mean, variance = np.array([[0.1], [0.2], [0.3], [0.7]], np.float32)
    exact = Affine.batch_norm(*(each.astype(np.float64) for each in (gamma, beta, mean, variance)), 1e-3)
    rounded = Affine.batch_norm(gamma, beta, mean, variance, 1e-3)
    assert rounded.scale == exact.scale
    assert rounded.shift == exact.shift


def test_the_first_of_two_is_applied_first() -> None:
    first, second = per_channel([2.0], [1.0]), per_channel([-3.0], [5.0])
    assert second.after(first)(10.0) == -3.0 * (2.0 * 10.0 + 1.0) + 5.0


def test_a_map_varies_along_an_axis_if_its_scale_or_its_shift_does() -> None:
    constant = np.ones((1, 2, 3))
    assert Affine(constant, constant).varying_axes() == ()
    assert Affine(constant * [1.0, 2.0, 2.0], constant).varying_axes() == (2,)
    assert Affine(constant, constant * [[1.0], [2.0]]).compressed().scale.shape == (1, 2, 1)


def test_a_map_along_an_axis_is_spread_over_it_and_refuses_another() -> None:
    assert per_channel([2.0], [1.0]).along(2, 3).scale.tolist() == [2.0, 2.0, 2.0]
    with pytest.raises(ValueError, match="varies along"):
        per_channel([1.0, 2.0], [0.0, 0.0]).along(2, 2)


def test_what_cancels_leaves_nothing_and_what_does_not_stays() -> None:
    shift = Affine(np.ones(()), np.array([0.1 + 0.2, 1e-9, np.inf]))
    assert Affine(np.ones(()), np.array([-0.3, 0.0, 0.0])).after(shift).shift.tolist() == [0.0, 1e-9, np.inf]
