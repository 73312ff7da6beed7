"""The inputs that verify compares on."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from edgebn.datasets import load_dataset
from edgebn.loading import Tensor
from edgebn.verifying.probes import DIGITS, Probe, probes, takes_digits

IMAGES = (Tensor("image", (None, 28, 28, 1), "float32"),)
TWO = (Tensor("a", (None, 5), "float32"), Tensor("b", (None, None, 3), "float32"))


def drawn(inputs: tuple[Tensor, ...] = TWO, seed: int = 0, fixed_batch: int | None = None) -> list[Probe]:
    return list(probes(inputs, None, seed, fixed_batch))


def arrays(all_probes: Iterable[Probe]) -> list[np.ndarray]:
    return [array for probe in all_probes for array in probe.inputs]


def test_the_same_seed_draws_the_same_inputs_and_another_does_not() -> None:
    first, again, other = (arrays(drawn(seed=seed)) for seed in (3, 3, 4))
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert sum((a != b).any() for a, b in zip(first, other, strict=True)) == len(first) - 2  # all but the zeros


def test_both_signs_many_sizes_and_zero() -> None:
    by_name = {probe.name: probe for probe in drawn()}
    sizes = {name: max(np.abs(array).max() for array in probe.inputs) for name, probe in by_name.items()}
    assert sizes["zeros"] == 0.0
    assert 0.0 < sizes["small"] < 1.0 < sizes["normal"] < 8.0 < sizes["large"]
    for name in sizes.keys() - {"zeros"}:
        for array in by_name[name].inputs:
            assert array.min() < 0.0 < array.max()


def test_every_input_has_its_shape_and_no_two_are_alike() -> None:
    for probe in drawn():
        left, right = probe.inputs
        assert (left.shape, right.shape) == ((32, 5), (32, 32, 3))
        assert left.dtype == right.dtype == np.float32
        assert probe.batch_sizes == (1, 7, 32)
        assert probe.samples == 32
        if probe.name != "zeros":
            assert (left != right[:, 0, :1]).any()


def test_small_batches_run_a_few_samples_and_the_largest_all() -> None:
    (probe, *_) = drawn()
    assert [probe.limit(size) for size in probe.batch_sizes] == [4, 28, 32]


@pytest.mark.parametrize(("fixed", "samples"), [(1, 32), (5, 30), (32, 32), (40, 40)])
def test_a_fixed_batch_is_kept(fixed: int, samples: int) -> None:
    for probe in drawn(fixed_batch=fixed):
        assert probe.batch_sizes == (fixed,)
        assert probe.samples == samples
        assert probe.limit(fixed) % fixed == 0


def test_integers_stay_in_the_range_that_is_known() -> None:
    inputs = tuple(Tensor(dtype, (None, 99), dtype) for dtype in ("uint8", "int32", "int64"))
    for probe in drawn(inputs):
        image, *tokens = probe.inputs
        assert image.dtype == np.uint8
        assert image.max() > 200
        for array in tokens:
            assert {int(value) for value in np.unique(array)} == {0, 1}


@pytest.mark.parametrize("shape", [(784,), (28, 28), (28, 28, 1), (1, 28, 28)])
def test_real_digits_come_first_where_the_model_takes_them(shape: tuple[int, ...]) -> None:
    inputs, dataset = (Tensor("image", (None, *shape), "float32"),), load_dataset("mnist-mini")
    assert takes_digits(inputs)
    first, *others = probes(inputs, dataset, 0, None)
    assert first.name == DIGITS
    assert first.inputs[0].shape == (1000, *shape)
    assert (first.inputs[0].reshape(-1, 784) == dataset.x_test.reshape(-1, 784) / np.float32(255)).all()
    assert first.batch_sizes == (1, 256)
    assert DIGITS not in {probe.name for probe in others}


def test_digits_fill_whole_batches_of_a_fixed_size() -> None:
    (first, *_) = probes(IMAGES, load_dataset("mnist-mini"), 0, 64)
    assert first.samples == 960


@pytest.mark.parametrize(
    "inputs",
    [
        (Tensor("image", (None, 28, 28, 3), "float32"),),
        (Tensor("image", (None, 28, 28, 1), "uint8"),),
        (Tensor("image", (None, None, None, 1), "float32"),),
        IMAGES + IMAGES,
        (),
    ],
)
def test_other_models_take_no_digits(inputs: tuple[Tensor, ...]) -> None:
    assert not takes_digits(inputs)
