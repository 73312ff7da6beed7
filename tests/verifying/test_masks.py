"""What a mask hides is seen where it hides nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import edgebn
from edgebn import backends
from edgebn.loading import Tensor
from edgebn.verifying.masks import MASKS, mask_probes
from edgebn.verifying.probes import Plan, Probe
from tests import keras_models
from tests.verifying.test_mismatch import written

KERNEL = 0.3 * np.random.default_rng(0).normal(size=(16, 8))
MASKED = "(float[n,16] x, {dtype}[n,8] m) => (float[n,8] z) {{ h = MatMul(x, k) c = Cast<to=1>(m) {hides} }}"
USUAL = "i = Sub(one, c) l = Mul(i, low) z = Add(h, l)"
INVERTED = "l = Mul(c, low) z = Add(h, l)"
CONSTANTS = {"one": np.array(1.0), "low": np.array(-1e9)}


@pytest.mark.parametrize("hides", [USUAL, INVERTED])
@pytest.mark.parametrize("dtype", ["float", "int64", "bool"])
def test_a_fault_behind_a_mask(dtype: str, hides: str, tmp_path: Path) -> None:
    text = MASKED.format(dtype=dtype, hides=hides)
    constants = CONSTANTS if "one" in hides else {"low": CONSTANTS["low"]}
    right = written(tmp_path / "right.onnx", text, k=KERNEL, **constants)
    wrong = KERNEL.copy()
    wrong[3, 2] *= 1.01
    assert edgebn.verify(right, written(tmp_path / "same.onnx", text, k=KERNEL, **constants)).passed
    verdict = edgebn.verify(right, written(tmp_path / "wrong.onnx", text, k=wrong, **constants))
    assert not verdict.passed
    assert {each.channel for each in verdict.comparisons if each.required and not each.passed} == {2}


def test_which_elements_a_mask_hides(tmp_path: Path) -> None:
    """What asks for a 0 is asked of all elements, or of none, but where some are 0."""
    head = "(float[n,300] x, float[n,300] m) => (float[n,300] z)"
    text = f"{head} {{ r = Gather<axis=1>(m, o) c = Equal(r, l) z = Where(c, l, x) }}"
    orders = {"right": np.arange(300), "wrong": np.r_[0, 298:0:-1, 299]}
    right, wrong = (written(tmp_path / f"{name}.onnx", text, o=o, l=np.array(0.0)) for name, o in orders.items())
    failed = {each.probe for each in edgebn.verify(right, wrong).comparisons if each.required and not each.passed}
    assert failed == {MASKS}


@pytest.mark.parametrize("factor", [1.0, 20.0])
def test_attention_with_a_mask(factor: float, tmp_path: Path) -> None:
    layers, keras = keras_models.layers(), backends.keras()
    x, mask = keras.Input((5, 6), name="x"), keras.Input((5, 5), name="mask")
    attention = layers.MultiHeadAttention(2, 4, name="attention")
    model = keras_models.functional([x, mask], attention(x, x, attention_mask=mask))
    model.set_weights([factor * weight for weight in model.get_weights()])
    edgebn.fold_export(model, tmp_path / "model.onnx", verify=False)
    for seed in range(3):
        assert edgebn.verify(model, tmp_path / "model.onnx", seed=seed).passed


def inputs(count: int) -> tuple[Tensor, ...]:
    return tuple(Tensor(f"x{index}", (None, 3), "float32") for index in range(count))


def constant(probe: Probe) -> frozenset[int]:
    return frozenset(place for place, array in enumerate(probe.inputs) if len(np.unique(array)) == 1)


def test_of_every_two_inputs_one_is_a_mask_while_the_other_is_none() -> None:
    assert list(mask_probes(Plan(inputs(1), {}))) == []
    for count, most in ((2, 5), (3, 13), (4, 13), (9, 17), (40, 25)):
        found = list(mask_probes(Plan(inputs(count), {})))
        assert len(found) <= most
        assert all(0 < len(constant(probe)) < count for probe in found if probe.name != MASKS)
        separated = {(a, b) for probe in found for a in constant(probe) for b in set(range(count)) - constant(probe)}
        assert separated == {(a, b) for a in range(count) for b in range(count) if a != b}


def test_an_index_is_no_mask() -> None:
    tokens, mask = (Tensor(name, (None, 9), "int32") for name in ("tokens", "mask"))
    found = {probe.name: probe for probe in mask_probes(Plan((tokens, mask), {"tokens": 100}))}
    assert list(found) == ["mask all 1", "mask all 0", MASKS]
    assert set(np.unique(found[MASKS].inputs[1])) == {0, 1}
    assert all(probe.inputs[0].max() > 50 for probe in found.values())
