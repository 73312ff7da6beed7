"""Any pair: two ONNX files, without TensorFlow, and files whose names are others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgebn
from edgebn import backends
from edgebn.verifying import sessions
from edgebn.verifying.onnx_files import OnnxFile
from edgebn.verifying.sessions import Runtime
from tests import keras_models
from tests.verifying.test_mismatch import written

WEIGHTS = {"k": np.random.default_rng(0).normal(size=(6, 2)), "b": np.array([0.25, -1.0])}
GEMM = "(float[n,6] x) => (float[n,2] y) { y = Gemm(x, k, b) }"
SPLIT = "(float[n,6] given) => (float[n,2] made) { m = MatMul(given, k) made = Add(m, b) }"


def test_two_onnx_files_that_are_the_same_function(tmp_path: Path) -> None:
    first, second = written(tmp_path / "a.onnx", GEMM, **WEIGHTS), written(tmp_path / "b.onnx", SPLIT, **WEIGHTS)
    verdict = edgebn.verify(first, second)
    assert verdict.passed
    assert (verdict.reference, verdict.onnx_model) == ("a.onnx", "b.onnx")
    assert "tensorflow" not in verdict.versions
    assert {each.reference_error for each in verdict.comparisons} == {None}


@pytest.mark.parametrize(
    "change", [{"k": WEIGHTS["k"] * 1.0002}, {"b": WEIGHTS["b"] + 2e-4}, {"k": np.abs(WEIGHTS["k"])}]
)
def test_two_onnx_files_that_are_not(change: dict[str, np.ndarray], tmp_path: Path) -> None:
    first = written(tmp_path / "a.onnx", GEMM, **WEIGHTS)
    second = written(tmp_path / "b.onnx", SPLIT, **{**WEIGHTS, **change})
    verdict = edgebn.verify(first, second)
    assert not verdict.passed
    assert verdict.culprit is None or "MatMul" not in verdict.culprit


def test_tensorflow_is_not_imported(tmp_path: Path) -> None:
    first, second = written(tmp_path / "a.onnx", GEMM, **WEIGHTS), written(tmp_path / "b.onnx", SPLIT, **WEIGHTS)
    code = (
        "import sys, edgebn\n"
        "sys.modules['tensorflow'] = sys.modules['keras'] = None\n"
        "edgebn.fold_export(sys.argv[1], sys.argv[3], golden=1)\n"
        "assert edgebn.verify(*sys.argv[1:3]).passed and edgebn.replay(sys.argv[3]).passed"
    )
    arguments = [sys.executable, "-c", code, first, second, tmp_path / "folded.onnx"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def two_inputs() -> Any:
    keras, layers = backends.keras(), keras_models.layers()
    wide, narrow = keras.Input((6,), name="wide"), keras.Input((3,), name="narrow")
    return keras_models.functional([wide, narrow], layers.Add()([layers.Dense(2)(wide), layers.Dense(2)(narrow)]))


def test_inputs_of_other_names_in_another_order_are_told_by_their_shapes(tmp_path: Path) -> None:
    model = two_inputs()
    by_shape = {weight.shape: weight for weight in (np.array(each) for each in model.weights)}
    bias = sum(np.array(each) for each in model.weights if each.shape == (2,))
    text = """(float[n,3] p, float[n,6] q) => (float[n,2] y) {
        l = MatMul(p, k) r = MatMul(q, m) s = Add(l, r) y = Add(s, b) }"""
    path = written(tmp_path / "m.onnx", text, k=by_shape[3, 2], m=by_shape[6, 2], b=bias)
    assert edgebn.verify(model, path).passed


def test_a_wrong_shape_of_onnxs_evaluator_does_not_decide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def evaluator(file: OnnxFile, like: Runtime) -> list[Runtime]:
        def call(feed: dict[str, np.ndarray]) -> list[np.ndarray]:
            return [np.zeros((len(next(iter(feed.values()))), 3), np.float32)]

        return [Runtime(file.name, sessions.EVALUATOR, 0, like.inputs, like.outputs, call)]

    monkeypatch.setattr(sessions, "_evaluator", evaluator)
    path = written(tmp_path / "a.onnx", GEMM, **WEIGHTS)
    verdict = edgebn.verify(path, path)
    assert verdict.passed
    assert verdict.notes == ("y: onnx's reference evaluator gives another shape, (2, 3)",)


def test_sizes_that_the_model_does_not_take_are_not_fed(tmp_path: Path) -> None:
    text = "(float[n,t] x) => (float[n,m,48] y) { y = Reshape(x, rows) }"
    path = written(tmp_path / "a.onnx", text, rows=np.array([0, -1, 48], np.int64))
    assert edgebn.verify(path, path).passed


def test_many_outputs_are_matched_at_once(tmp_path: Path) -> None:
    def many(path: Path, letter: str, last: str) -> Path:
        nodes = " ".join(f"{letter}{i} = Identity(x)" for i in range(14))
        outputs = ", ".join(f"float[n,4] {letter}{i}" for i in range(14))
        text = f"(float[n,4] x) => ({outputs}, float[n,{last}] z{letter}) {{ {nodes} z{letter} = MatMul(x, k) }}"
        return written(path, text, k=np.ones((4, int(last))))

    with pytest.raises(edgebn.InputError, match="not the same model"):
        edgebn.verify(many(tmp_path / "a.onnx", "a", "2"), many(tmp_path / "b.onnx", "b", "3"))
