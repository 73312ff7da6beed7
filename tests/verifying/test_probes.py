"""The inputs that verify compares on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgebn.datasets import load_dataset
from edgebn.loading import Tensor
from edgebn.verifying.data import open_data, takes_digits
from edgebn.verifying.probes import HUGE, NOT_FINITE, Plan, Probe, every_index, probes, random_probe, uniform

IMAGES = (Tensor("image", (None, 28, 28, 1), "float32"),)
TWO = (Tensor("a", (None, 5), "float32"), Tensor("b", (None, None, 3), "float32"))
PLAN = Plan(TWO, {})


def drawn(plan: Plan = PLAN) -> dict[str, Probe]:
    return {probe.name: probe for probe in probes(plan)}


def test_the_same_seed_draws_the_same_inputs_and_another_does_not() -> None:
    first, again, other = (drawn(replace(PLAN, seed=seed)) for seed in (3, 3, 4))
    for name, probe in first.items():
        for a, b, c in zip(probe.inputs, again[name].inputs, other[name].inputs, strict=True):
            assert np.array_equal(a, b, equal_nan=True)
            assert np.array_equal(a, c, equal_nan=True) == (name == "constants")


def test_both_signs_many_sizes_and_zero() -> None:
    sizes = {name: max(np.abs(array).max() for array in probe.inputs) for name, probe in drawn().items()}
    assert 0.0 < sizes["tiny"] < 1e-2 < sizes["signed"] < 1.0 < sizes["normal"] < 8.0 < sizes["large"]
    for name in ("normal", "signed", "border", "large", "tiny", "constants"):
        for array in drawn()[name].inputs:
            assert array.min() < 0.0 < array.max()
    assert all(array.min() >= 0.0 for array in drawn()["uniform"].inputs)


def test_samples_of_zeros_of_ones_and_of_a_single_element() -> None:
    by_name = drawn(Plan(IMAGES, {}))
    (constants,), (single,), (border,) = (by_name[name].inputs for name in ("constants", "single elements", "border"))
    assert {float(sample.min()) for sample in constants} == {0.0, 1.0, -1.0, 0.5}
    assert all((sample == sample.flat[0]).all() for sample in constants)
    assert [np.count_nonzero(sample) for sample in single] == [1] * 32
    assert single[0, 0, 0, 0] != 0.0 != single[1, 27, 27, 0]
    assert (border[:, 1:-1, 1:-1] == 0.0).all()
    for edge in (border[:, 0], border[:, -1], border[:, :, 0], border[:, :, -1]):
        assert (edge != 0.0).all()


def test_pixels_where_there_may_be_an_image() -> None:
    (pixels,) = drawn(Plan(IMAGES, {}))["bytes"].inputs
    assert (pixels.min(), pixels.max()) == (0.0, 255.0)
    assert "bytes" not in drawn()


def test_nan_and_infinity_are_fed_and_need_not_pass() -> None:
    by_name = drawn()
    assert {name for name, probe in by_name.items() if not probe.required} == {NOT_FINITE}
    array = by_name[NOT_FINITE].inputs[0]
    assert np.isnan(array).any()
    assert {-np.inf, np.inf} <= set(array[~np.isfinite(array) & ~np.isnan(array)])
    assert (np.isfinite(array).sum(axis=1) == 4).all()


def test_every_input_has_its_shape_and_no_two_are_alike() -> None:
    for name, probe in drawn().items():
        left, right = probe.inputs
        assert (left.shape, right.shape) == ((32, 5), (32, 32, 3))
        assert left.dtype == right.dtype == np.float32
        assert probe.batch_sizes == ((32,) if name == HUGE else (1, 2, 7, 32))
        assert probe.samples == 32
        if name not in {"constants", "single elements"}:
            assert (left != right[:, 0, :1]).any()


def test_what_may_vary_is_drawn_in_another_size_too() -> None:
    probe = random_probe(PLAN, "normal", uniform(TWO, 45))
    assert probe.name == "normal, 45 long"
    assert [array.shape for array in probe.inputs] == [(32, 5), (32, 45, 3)]
    assert PLAN.has_varying_extents
    assert not Plan(IMAGES, {}).has_varying_extents


def test_small_batches_run_a_few_samples_and_the_largest_all() -> None:
    probe = drawn()["normal"]
    assert [probe.limit(size) for size in probe.batch_sizes] == [4, 8, 28, 32]


@pytest.mark.parametrize(("fixed", "samples"), [(1, 32), (5, 30), (32, 32), (40, 40)])
def test_a_fixed_batch_is_kept(fixed: int, samples: int) -> None:
    for probe in drawn(replace(PLAN, fixed_batch=fixed)).values():
        assert probe.batch_sizes == (fixed,)
        assert probe.samples == samples
        assert probe.limit(fixed) % fixed == 0


def test_large_models_get_fewer_samples() -> None:
    for probe in drawn(replace(PLAN, samples=2)).values():
        assert (probe.samples, probe.batch_sizes) == (2, (1, 2))
    assert drawn().keys() - drawn(replace(PLAN, samples=2)).keys() == {HUGE}


def test_integers_stay_in_the_range_that_is_known_and_fill_it() -> None:
    inputs = tuple(Tensor(name, (None, 99), name) for name in ("uint8", "int32", "int64"))
    by_name = drawn(Plan(inputs, {"int64": 1000}))
    assert list(by_name) == ["normal", "constants", "single elements", "border"]
    assert (np.count_nonzero(by_name["single elements"].inputs[0], axis=1) <= 1).all()
    assert not by_name["border"].inputs[0][:, 1:-1].any()
    image, flags, tokens = by_name["normal"].inputs
    assert image.dtype == np.uint8
    assert image.max() > 200
    assert set(np.unique(flags)) == {0, 1}
    assert (tokens.min(), tokens.max()) == (tokens.min(), tokens.max())
    assert tokens.max() > 900
    assert {int(x) for x in np.unique(by_name["constants"].inputs[2])} == {0, 1, 999}


@pytest.mark.parametrize("batch", [None, 5])
@pytest.mark.parametrize(("rows", "length"), [(1000, 99), (5000, 7), (3, 10), (200_000, 4)])
def test_every_row_of_a_table_is_read(rows: int, length: int, batch: int | None) -> None:
    plan = Plan((Tensor("tokens", (batch, length), "int64"),), {"tokens": rows}, fixed_batch=batch)
    parts = list(every_index(plan))
    assert {part.name for part in parts} == {"every index"}
    assert all(part.samples % (batch or 1) == 0 for part in parts)
    assert set(np.unique(np.concatenate([part.inputs[0] for part in parts]))) == set(range(rows))


@pytest.mark.parametrize("shape", [(784,), (28, 28), (28, 28, 1), (1, 28, 28)])
def test_real_digits_where_the_model_takes_them(shape: tuple[int, ...]) -> None:
    inputs, dataset = (Tensor("image", (None, *shape), "float32"),), load_dataset("mnist-mini")
    assert takes_digits(inputs)
    data = open_data("model", inputs, None)
    assert data is not None
    (chunk,) = data.chunks(Plan(inputs, {}))
    assert chunk.inputs[0].shape == (1000, *shape)
    assert (chunk.inputs[0].reshape(-1, 784) == dataset.x_test.reshape(-1, 784) / np.float32(255)).all()
    assert chunk.batch_sizes == (1, 256)
    assert chunk.labels is not None
    assert (chunk.labels == dataset.y_test).all()


def test_digits_fill_whole_batches_of_a_fixed_size() -> None:
    data = open_data("model", IMAGES, None)
    assert data is not None
    assert [chunk.samples for chunk in data.chunks(Plan(IMAGES, {}, fixed_batch=64))] == [960]


@pytest.mark.parametrize(
    "inputs",
    [
        (Tensor("image", (None, 28, 28, 3), "float32"),),
        (Tensor("image", (None, 28, 28, 1), "int32"),),
        (Tensor("image", (None, None, None, 1), "float32"),),
        IMAGES + IMAGES,
        (),
    ],
)
def test_other_models_take_no_digits(inputs: tuple[Tensor, ...]) -> None:
    assert not takes_digits(inputs)


def test_of_larger_samples_there_are_fewer() -> None:
    plan = Plan(TWO, {}, samples=32)
    assert plan.affordable(uniform(TWO, 8)) == 32
    assert plan.affordable(uniform(TWO, 65)) == 16
    assert plan.affordable(uniform(TWO, 1000)) == 2
