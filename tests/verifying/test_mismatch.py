"""Files that are not of the model at all: one clear error; and outputs that can be matched are matched by name."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

import edgebn
from edgebn import backends
from tests import keras_models
from tests.folding import graphs

INT = np.int64


@pytest.fixture(scope="module")
def model() -> Any:
    image = backends.keras().Input((6,), name="image")
    return keras_models.functional(image, keras_models.layers().Dense(2, name="scores")(image))


def written(path: Path, text: str, model: Any = None, **constants: np.ndarray) -> Path:
    """An ONNX file with the graph `text`; `k` and `b` are the kernel and bias of the model."""
    if model is not None:
        kernel, bias = model.layers[-1].get_weights()
        constants = {"k": kernel, "b": bias, **constants}
    path.write_bytes(ir.to_proto(graphs.model(text, **constants)).SerializeToString())
    return path


MISMATCHES = {
    "two inputs": (
        "(float[n,6] image, float[n,6] z) => (float[n,2] y) { s = Add(image, z) y = Gemm(s, k, b) }",
        "has 1 inputs, the ONNX file 2",
    ),
    "two outputs": (
        "(float[n,6] image) => (float[n,2] y, float[n,2] z) { y = Gemm(image, k, b) z = Gemm(image, k, b) }",
        "has 1 outputs, the ONNX file 2",
    ),
    "rank of the input": (
        "(float[n,6,1] x) => (float[n,2] y) { s = Squeeze(x, two) y = Gemm(s, k, b) }",
        "its input image is float32 .None, 6., that of the ONNX file float32 .None, 6, 1.",
    ),
    "extent of the input": (
        "(float[n,5] x) => (float[n,2] y) { y = MatMul(x, five) }",
        "that of the ONNX file float32 .None, 5.",
    ),
    "dtype of the input": (
        "(double[n,6] x) => (float[n,2] y) { c = Cast<to=1>(x) y = Gemm(c, k, b) }",
        "that of the ONNX file float64",
    ),
    "strings as input": (
        "(string[n,6] x) => (float[n,2] y) { c = Cast<to=1>(x) y = Gemm(c, k, b) }",
        "that of the ONNX file string",
    ),
    "dtype of the output": (
        "(float[n,6] x) => (double[n,2] y) { g = Gemm(x, k, b) y = Cast<to=11>(g) }",
        "its output scores is float32 .* float64",
    ),
    "extent of the output": (
        "(float[n,6] x) => (float[n,3] y) { y = MatMul(x, three) }",
        "its output scores .* float32 .None, 3.",
    ),
    "rank of the output": (
        "(float[n,6] x) => (float y) { y = ReduceSum<keepdims=0>(x) }",
        "its output scores .* float32 \\(\\)",
    ),
}


@pytest.mark.parametrize("kind", MISMATCHES)
def test_another_number_shape_or_dtype_is_said(kind: str, model: Any, tmp_path: Path) -> None:
    text, message = MISMATCHES[kind]
    constants = {"two": np.array([2], INT), "five": np.ones((5, 2)), "three": np.ones((6, 3))}
    used = {name: array for name, array in constants.items() if name in text}
    given = model if " k" in text else None
    with pytest.raises(edgebn.InputError, match=message):
        edgebn.verify(model, written(tmp_path / "other.onnx", text, given, **used))


FAILING = {
    "twice as many samples": (
        "(float[n,6] x) => (float[a,c] y) { g = Gemm(x, k, b) y = Concat<axis=0>(g, g) }",
        r"its output scores has the shape \(4, 2\), that of the ONNX file \(8, 2\); they are not the same model",
    ),
    "nothing": (
        "(float[n,6] x) => (float[a,2] y) { g = Gemm(x, k, b) y = Slice(g, none, none) }",
        r"that of the ONNX file \(0, 2\)",
    ),
    "one sample alone": (
        "(float[n,6] x) => (float[a,c] y) { r = Reshape(x, one) y = Gemm(r, k, b) }",
        r"onnxruntime can not run it on \(2, 6\): .*Reshape",
    ),
    "one sample alone, then a class": (
        "(float[n,6] x) => (int32[a] y) "
        "{ r = Reshape(x, one) g = Gemm(r, k, b) c = ArgMax<axis=1, keepdims=0>(g) y = Cast<to=6>(c) }",
        r"onnxruntime can not run it on \(2, 6\)",
    ),
}


@pytest.mark.parametrize("kind", FAILING)
@pytest.mark.parametrize("rule", [{}, {"atol": 1.0}])
def test_a_file_without_a_result_where_the_model_has_one_differs(
    kind: str, rule: dict[str, float], model: Any, tmp_path: Path
) -> None:
    text, message = FAILING[kind]
    given = model
    if "ArgMax" in text:
        given = backends.keras().Model(model.input, backends.keras().ops.argmax(model.output, axis=1))
    constants = {"none": np.array([0], INT), "one": np.array([1, 6], INT)}
    used = {name: array for name, array in constants.items() if f"{name})" in text}
    verdict = edgebn.verify(given, written(tmp_path / "other.onnx", text, model, **used), **rule)
    assert not verdict.passed
    assert re.search(message, verdict.notes[0])
    assert "\n" not in verdict.notes[0]
    assert "finite" not in str(verdict.notes)
    assert verdict.max_abs == math.inf


@pytest.mark.parametrize("batch", ["n", "1", "5"])
def test_the_right_function_passes_whoever_wrote_it(batch: str, model: Any, tmp_path: Path) -> None:
    text = f"(float[{batch},6] x) => (float[{batch},2] y) {{ m = MatMul(x, k) y = Add(m, b) }}"
    verdict = edgebn.verify(model, written(tmp_path / "right.onnx", text, model))
    assert verdict.passed
    run = {each.batch_size for each in verdict.comparisons if each.threads}
    assert run == ({1, 2, 7, 32} if batch == "n" else {int(batch)})
    assert verdict.data is None
    assert verdict.decisions == ()


@pytest.fixture(scope="module")
def two_outputs() -> Any:
    image = backends.keras().Input((6,), name="image")
    dense = keras_models.layers().Dense
    return keras_models.functional(image, [dense(2, name="left")(image), dense(2, name="right")(image)])


@pytest.mark.parametrize(
    ("outputs", "computed", "passes"),
    [
        (("left", "right"), ("left", "right"), True),
        (("right", "left"), ("right", "left"), True),
        (("y", "z"), ("left", "right"), True),
        (("right", "z"), ("left", "right"), True),  # not all names agree, so none counts
        (("left", "right"), ("right", "left"), False),
        (("y", "z"), ("right", "left"), False),
    ],
)
def test_outputs_are_matched_by_name_else_by_position(
    outputs: tuple[str, str], computed: tuple[str, str], passes: bool, two_outputs: Any, tmp_path: Path
) -> None:
    (first, second), constants = outputs, {}
    for index, name in enumerate(computed):
        constants[f"k{index}"], constants[f"b{index}"] = two_outputs.get_layer(name).get_weights()
    text = (
        f"(float[n,6] x) => (float[n,2] {first}, float[n,2] {second}) "
        f"{{ {first} = Gemm(x, k0, b0) {second} = Gemm(x, k1, b1) }}"
    )
    verdict = edgebn.verify(two_outputs, written(tmp_path / "two.onnx", text, **constants))
    assert verdict.passed == passes
    assert {each.output for each in verdict.comparisons} == {"left", "right"}


def test_a_fault_is_found_without_a_truth_too(tmp_path: Path) -> None:
    class Special(backends.keras().layers.Layer):  # type: ignore[misc]
        def __init__(self, factor: float) -> None:
            super().__init__()
            self.factor = factor

        def call(self, x: Any) -> Any:
            return self.factor * x

    image = backends.keras().Input((6,), name="image")
    special = keras_models.functional(image, Special(2.0)(keras_models.layers().Dense(2, name="scores")(image)))
    kernel, bias = special.get_layer("scores").get_weights()
    text = "(float[n,6] x) => (float[n,2] y) { y = Gemm(x, k, b) }"
    right, wrong = (
        edgebn.verify(special, written(tmp_path / "model.onnx", text, k=factor * kernel, b=2.0 * bias))
        for factor in (2.0, 2.0002)
    )
    assert right.passed
    assert not wrong.passed
    assert {(each.reference_error, each.error) for each in right.comparisons} == {(None, None)}


def test_data_is_refused_where_the_model_takes_no_digits(model: Any, tmp_path: Path) -> None:
    path = written(tmp_path / "right.onnx", "(float[n,6] x) => (float[n,2] y) { y = Gemm(x, k, b) }", model)
    with pytest.raises(edgebn.UsageError, match="not images of 28 × 28 pixels; leave --data out"):
        edgebn.verify(model, path, data="mnist-mini")


def test_the_two_files_swapped(model: Any, tmp_path: Path) -> None:
    model.save(tmp_path / "model.keras")
    path = written(tmp_path / "m.onnx", "(float[n,6] x) => (float[n,2] y) { y = Gemm(x, k, b) }", model)
    with pytest.raises(edgebn.InputError, match=r"is a Keras model .keras., but an ONNX file is expected here; swap"):
        edgebn.verify(path, tmp_path / "model.keras")
    with pytest.raises(edgebn.UsageError, match="no such file"):
        edgebn.verify(model, tmp_path / "missing.onnx")


def test_a_truncated_onnx_file(model: Any, tmp_path: Path) -> None:
    path = written(tmp_path / "m.onnx", "(float[n,6] x) => (float[n,2] y) { y = Gemm(x, k, b) }", model)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(edgebn.InputError, match="a truncated or damaged ONNX file"):
        edgebn.verify(model, path)
