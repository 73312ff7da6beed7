"""Sums that cancel leave nothing but rounding, which the weights do not show; and a fault is still one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import edgebn
from edgebn import backends
from edgebn.verifying.onnx_files import in_memory
from edgebn.verifying.rounding import twins
from tests import keras_models
from tests.folding import graphs
from tests.verifying.mutations import mutations

CANCELLING = ("celu", "tanh_shrink", "hard_tanh")


def activated(activation: str) -> Any:
    backends.keras().utils.set_random_seed(0)
    layers = keras_models.layers()
    x = backends.keras().Input((16,), name="x")
    y = layers.Dense(8, activation=activation)(layers.Dense(32, activation=activation)(x))
    return backends.keras().Model(x, layers.Dense(4)(y))


@pytest.mark.parametrize("activation", CANCELLING)
def test_what_cancels_is_no_fault_and_faults_are(activation: str, tmp_path: Path) -> None:
    model, path = activated(activation), tmp_path / "model.onnx"
    edgebn.fold_export(model, path)
    assert edgebn.verify(model, path).passed
    faults = [
        fault for fault in mutations(onnx.load(path)) if fault.name.endswith(("largest weight by 1 %", "swapped"))
    ]
    assert len(faults) >= 9
    for fault in faults:
        path.write_bytes(fault.model.SerializeToString())
        assert not edgebn.verify(model, path).passed, fault.name


@pytest.mark.parametrize("seed", [0, 1])
def test_gates_round_at_one(seed: int, tmp_path: Path) -> None:
    """All of a channel may be near 0 on a few samples, where sigmoid is no more exact than at 1."""
    backends.keras().utils.set_random_seed(seed)
    layers, x = keras_models.layers(), backends.keras().Input((None, 4), name="x")
    model = backends.keras().Model(x, layers.Bidirectional(layers.LSTM(5))(x))
    edgebn.fold_export(model, tmp_path / "model.onnx")


LINEAR = "(float[n,16] x) => (float[n,8] y) { h = Gemm(x, w) y = Identity(h) }"
BEHIND = "(float[n,16] x) => (float[n,8] y) { h = Gemm(x, w) far = Add(h, b) y = Sub(far, b) }"


@pytest.mark.parametrize("far", [1e4, 1e6, 1e30])
def test_what_a_file_adds_and_subtracts_again_excuses_nothing(far: float, tmp_path: Path) -> None:
    weights = {"w": np.random.default_rng(0).normal(size=(16, 8))}
    right, wrong = tmp_path / "right.onnx", tmp_path / "wrong.onnx"
    ir.save(graphs.model(LINEAR, **weights), right)
    ir.save(graphs.model(BEHIND, **weights, b=np.array(far)), wrong)
    assert not edgebn.verify(right, wrong).passed


def test_two_outputs_of_unequal_width_of_which_one_is_wrong(tmp_path: Path) -> None:
    text = "(float[n,16] x) => (float[n,8] p, float[n,16] s) { p = Gemm(x, w) h = Gemm(x, v) s = Sigmoid(h) }"
    rng = np.random.default_rng(0)
    w, v = rng.normal(size=(16, 8)), rng.normal(size=(16, 16))
    right, wrong = tmp_path / "right.onnx", tmp_path / "wrong.onnx"
    ir.save(graphs.model(text, w=w, v=v), right)
    v[3, 2] *= 1.01
    ir.save(graphs.model(text, w=w, v=v), wrong)
    verdict = edgebn.verify(right, wrong)
    assert not verdict.passed
    assert "[3, 2]" in (verdict.culprit or "")


def results(text: str, x: np.ndarray, **constants: np.ndarray) -> list[np.ndarray]:
    model = graphs.model(text, **constants)
    file = in_memory("a.onnx", ir.to_proto(model).SerializeToString(), model)
    return [graphs.run(twin.model, x)[0] for twin in twins(file)]


def test_each_result_moves_by_a_unit_up_and_down() -> None:
    x = np.full((1, 64), 2.0**-20, np.float32)
    one = {"one": np.array(1.0)}
    up, down = results("(float[n,64] x) => (float[n,64] y) { a = Add(x, one) y = Sub(a, one) }", x, **one)
    assert set(np.unique(up - down)) == {-(2.0**-22), 2.0**-22}
    assert (up + down == 2 * x).all()


def test_numbers_that_pass_one_on_the_way_move_by_a_unit_of_it() -> None:
    x = np.full((1, 64), 2.0**-20, np.float32)
    up, down = results("(float[n,64] x) => (float[n,64] y) { a = Elu(x) y = Neg(a) }", x)
    assert set(np.unique(up - down)) == {-(2.0**-22), 2.0**-22}


def test_what_only_chooses_does_not_move() -> None:
    x = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    text = "(float[n,3,4] x) => (float[n,4,3] y) { a = Relu(x) b = Transpose<perm=[0,2,1]>(a) y = Identity(b) }"
    up, down = results(text, x)
    assert (up == down).all()


@pytest.mark.parametrize("activation", CANCELLING)
def test_golden_vectors_of_what_cancels_are_replayed(activation: str, tmp_path: Path) -> None:
    edgebn.fold_export(activated(activation), tmp_path / "model.onnx", golden=8)
    assert edgebn.replay(tmp_path / "model.onnx").passed
