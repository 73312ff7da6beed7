"""Axis 0 need not count samples, and what may vary need not be 32 long: the reference itself says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import edgebn
from edgebn import backends
from edgebn.verifying.onnx_files import open_file
from edgebn.verifying.probes import Plan
from edgebn.verifying.reference import onnx_reference
from edgebn.verifying.samples import Run, stacked
from edgebn.verifying.sizes import sizes_that_run
from tests import keras_models
from tests.verifying.test_mismatch import written

RNG = np.random.default_rng(0)
WHOLE_ARRAYS: dict[str, tuple[str, dict[str, np.ndarray]]] = {
    "a sum along axis 0": ("(float[n,4] x) => (float[n,4] y) { y = CumSum(x, axis) }", {"axis": np.array(0)}),
    "a sum from the end": (
        "(float[n,4] x) => (float[n,4] y) { y = CumSum<reverse=1>(x, axis) }",
        {"axis": np.array(0)},
    ),
    "time first": (
        "(float[t,1,4] x) => (float[t,1,1,5] y) { y, h, c = LSTM<hidden_size=5>(x, w, r) }",
        {"w": RNG.normal(size=(1, 20, 4)), "r": RNG.normal(size=(1, 20, 5))},
    ),
    "a mean over all samples": ("(float[n,4] x) => (float y) { y = ReduceMean<keepdims=0>(x) }", {}),
    "each against their mean": (
        "(float[n,4] x) => (float[n,4] y) { m = ReduceMean<keepdims=1>(x, axes) y = Sub(x, m) }",
        {"axes": np.array([0])},
    ),
    "a constant beside": (
        "(float[n,4] x) => (float[n,3] y, float[9,4] anchors) { y = MatMul(x, k) anchors = Identity(a) }",
        {"k": RNG.normal(size=(4, 3)), "a": RNG.normal(size=(9, 4))},
    ),
    "a scalar as input": ("(float[n,4] x, float s) => (float[n,4] y) { y = Mul(x, s) }", {}),
    "a vector as input": ("(float[4] x) => (float[3] y) { y = MatMul(x, k) }", {"k": RNG.normal(size=(4, 3))}),
    "vectors of other lengths": ("(float[4] x, float[5] z) => (float[9] y) { y = Concat<axis=0>(x, z) }", {}),
    "a number for a batch of two": (
        "(float[n,4] x) => (float[n,4] y) "
        "{ s = Shape<start=0, end=1>(x) e = Equal(s, two) f = Cast<to=1>(e) y = Add(x, f) }",
        {"two": np.array([2])},
    ),
    "a batch of one that is written down": (
        "(float[n,2,2] x) => (float[a,4] y) { y = Reshape(x, one) }",
        {"one": np.array([1, 4])},
    ),
    "how many depends on the numbers": (
        "(float[n,4] x) => (float[m] y) { p = Greater(x, zero) r = Reshape(p, flat) y = Compress(x, r) }",
        {"zero": np.array(0.0), "flat": np.array([-1])},
    ),
    "so many share a softmax": (
        "(float[n,4] x) => (float[m,1] y) { p = Greater(x, zero) r = Reshape(p, flat) c = Compress(x, r) "
        "u = Reshape(c, column) y = Softmax<axis=0>(u) }",
        {"zero": np.array(0.0), "flat": np.array([-1]), "column": np.array([-1, 1])},
    ),
}


@pytest.mark.parametrize("kind", WHOLE_ARRAYS)
def test_models_of_whole_arrays_are_equal_to_themselves(kind: str, tmp_path: Path) -> None:
    text, constants = WHOLE_ARRAYS[kind]
    path = written(tmp_path / "a.onnx", text, **constants)
    verdict = edgebn.verify(path, path)
    assert verdict.passed
    assert verdict.notes[0] == (
        "axis 0 does not count samples that are independent of each other; whole arrays were run"
    )
    assert {each.batch_size for each in verdict.comparisons} == {1}


@pytest.mark.parametrize("kind", ["time first", "a constant beside", "a vector as input"])
def test_a_wrong_file_of_whole_arrays_is_found(kind: str, tmp_path: Path) -> None:
    text, constants = WHOLE_ARRAYS[kind]
    path = written(tmp_path / "a.onnx", text, **constants)
    name, *_ = constants
    wrong = written(tmp_path / "b.onnx", text, **{**constants, name: constants[name] * 1.0002})
    assert not edgebn.verify(path, wrong).passed


@pytest.mark.parametrize("kind", WHOLE_ARRAYS)
def test_models_of_whole_arrays_are_exported_after_a_comparison(kind: str, tmp_path: Path) -> None:
    text, constants = WHOLE_ARRAYS[kind]
    path = written(tmp_path / "a.onnx", text, **constants)
    report = edgebn.fold_export(path, tmp_path / "b.onnx")
    assert not any("not compared" in note for note in report.notes)


@pytest.mark.parametrize("kind", WHOLE_ARRAYS)
def test_golden_vectors_of_whole_arrays_are_replayed(kind: str, tmp_path: Path) -> None:
    text, constants = WHOLE_ARRAYS[kind]
    edgebn.fold_export(written(tmp_path / "a.onnx", text, **constants), tmp_path / "b.onnx", golden=3)
    replayed = edgebn.replay(tmp_path / "b.onnx")
    assert replayed.passed
    assert {each.data_set for each in replayed.replayed} == {f"test_data_set_{index}" for index in range(3)}


def test_golden_vectors_are_those_of_one_run(tmp_path: Path) -> None:
    text, constants = WHOLE_ARRAYS["time first"]
    edgebn.fold_export(written(tmp_path / "a.onnx", text, **constants), tmp_path / "b.onnx", golden=2)
    held = onnx.TensorProto.FromString((tmp_path / "test_data_set_1" / "input_0.pb").read_bytes())
    assert list(held.dims) == [32, 1, 4]


def test_samples_are_samples_where_they_are(tmp_path: Path) -> None:
    path = written(tmp_path / "a.onnx", "(float[n,4] x) => (float[n,4] y) { y = Softmax(x) }")
    verdict = edgebn.verify(path, path)
    assert {each.batch_size for each in verdict.comparisons} == {1, 2, 7, 32}
    assert verdict.notes == ()


def test_a_keras_model_over_its_batch(tmp_path: Path) -> None:
    keras = backends.keras()
    x = keras.Input((4,), name="x")
    model = keras.Model(x, [keras_models.layers().Dense(3)(x), keras.ops.mean(x, axis=0)])
    edgebn.fold_export(model, tmp_path / "model.onnx")
    verdict = edgebn.verify(model, tmp_path / "model.onnx")
    assert verdict.passed
    assert "whole arrays were run" in verdict.notes[0]
    assert all(each.error is not None for each in verdict.comparisons)


@pytest.mark.parametrize("shape", [(50, 1, 4), (3, 50, 1, 4)])
def test_data_for_whole_arrays(shape: tuple[int, ...], tmp_path: Path) -> None:
    """A single array, or several along an axis in front; the probes are as long as they are."""
    text, constants = WHOLE_ARRAYS["time first"]
    path = written(tmp_path / "a.onnx", text, **constants)
    np.savez(tmp_path / "own.npz", x=RNG.normal(size=shape).astype(np.float32))
    verdict = edgebn.verify(path, path, data=tmp_path / "own.npz")
    assert verdict.passed
    assert {each.probe: each.samples for each in verdict.comparisons}["data"] == (1 if len(shape) == 3 else 3)
    assert {"normal", "normal, 32 long", "normal, 1 long"} <= {each.probe for each in verdict.comparisons}


def resized(multiple: int) -> str:
    return f"(float[n,t] x) => (float[n,m,{multiple}] y) {{ y = Reshape(x, rows) }}"


@pytest.mark.parametrize(("multiple", "second"), [(48, 192), (100, 200), (250, 500)])
def test_sizes_that_run_are_found(multiple: int, second: int, tmp_path: Path) -> None:
    path = written(tmp_path / "a.onnx", resized(multiple), rows=np.array([0, -1, multiple]))
    verdict = edgebn.verify(path, path)
    assert verdict.passed
    assert f"normal, {second} long" in {each.probe for each in verdict.comparisons}


def test_where_no_size_runs_the_data_are_enough(tmp_path: Path) -> None:
    path = written(tmp_path / "a.onnx", resized(1500), rows=np.array([0, -1, 1500]))
    with pytest.raises(
        edgebn.InputError, match=r"takes x \(None, None\), and runs on none of the sizes .* up to 1024; give"
    ):
        edgebn.verify(path, path)
    np.savez(tmp_path / "own.npz", x=np.ones((4, 1500), np.float32))
    verdict = edgebn.verify(path, path, data=tmp_path / "own.npz")
    assert verdict.passed
    assert {"data", "normal", "large", "normal, 3000 long"} <= {each.probe for each in verdict.comparisons}


def test_where_no_numbers_come_out_few_sizes_are_tried(tmp_path: Path) -> None:
    path = written(tmp_path / "a.onnx", "(float[n,t] x) => (float[n,t] y) { a = Abs(x) b = Neg(a) y = Log(b) }")
    reference = onnx_reference(open_file(path))
    tried: list[int] = []

    def once(inputs: Any) -> Any:
        tried.append(inputs[0].shape[1])
        return reference.run.once(inputs)

    counted = replace(reference, run=replace(reference.run, once=once))
    assert sizes_that_run(counted, Plan(reference.inputs, {})) == ((32,),)
    assert len(tried) < 10


def test_two_extents_that_differ_are_as_in_the_data(tmp_path: Path) -> None:
    text = "(float[n,h,w] x) => (float[n,a,b] y) { y = Reshape(x, rows) }"
    path = written(tmp_path / "a.onnx", text, rows=np.array([0, 6, 1100]))
    np.savez(tmp_path / "own.npz", x=np.ones((4, 3, 2200), np.float32))
    assert edgebn.verify(path, path, data=tmp_path / "own.npz").passed


def test_a_size_of_which_nothing_is_left_on_the_way_is_none(tmp_path: Path) -> None:
    """TensorFlow goes on with an empty image, and makes numbers of it; ONNX does not, and neither is wrong."""
    layers, keras = keras_models.layers(), backends.keras()
    image = keras.Input((None, None, 1), name="image")
    y = image
    for _ in range(4):
        y = layers.MaxPooling2D()(layers.Conv2D(2, 3)(y))
    model = keras.Model(image, layers.GlobalAveragePooling2D()(layers.Conv2D(2, 3)(y)))
    edgebn.fold_export(model, tmp_path / "model.onnx")
    verdict = edgebn.verify(model, tmp_path / "model.onnx")
    assert verdict.passed
    assert "normal, 128 long" in {each.probe for each in verdict.comparisons}


def test_runs_of_samples() -> None:
    seen: list[int] = []

    def once(inputs: Any) -> list[Any]:
        seen.append(len(inputs[0]))
        return [inputs[0] + 1.0]

    x = np.arange(14.0).reshape(7, 2)
    assert (Run(once, 3)((x,))[0] == x + 1.0).all()
    assert seen == [3, 3, 1]
    assert (Run(once, 3, whole=True)((x,))[0] == x + 1.0).all()
    ragged = stacked([[np.ones((2, 3))], [np.ones((1, 3))]])
    assert ragged[0].shape == (9,)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.ones((10, 4)), "z": np.ones((9, 4))}, "the same number of samples"),
        ({"x": np.ones((10, 4)), "z": np.ones((10, 4)), "y": np.zeros(9, np.int64)}, "the same number of samples"),
        ({"x": np.ones((10, 4)), "z": np.ones((10, 4)), "y": np.full(10, "a")}, "are neither one index of a class"),
    ],
)
def test_data_that_are_wrong_are_no_whole_arrays(arrays: dict[str, np.ndarray], message: str, tmp_path: Path) -> None:
    path = written(tmp_path / "a.onnx", "(float[n,4] x, float[n,4] z) => (float[n,4] s) { s = Add(x, z) }")
    np.savez(tmp_path / "own.npz", **arrays)
    with pytest.raises(edgebn.InputError, match=message):
        edgebn.verify(path, path, data=tmp_path / "own.npz")
