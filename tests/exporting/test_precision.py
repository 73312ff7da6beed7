"""Models that compute below float32, and constants that layers hold outside of variables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import edgebn
from edgebn import backends
from edgebn.loading import open_source
from edgebn.loading.precision import computes_in, in_precision


def convolution(policy: str) -> Any:
    """Conv2D → BatchNormalization → Dense under a dtype policy."""
    keras = backends.keras()
    layers = keras.layers
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(policy)
    try:
        image = keras.Input((8, 8, 3))
        hidden = layers.BatchNormalization(name="norm")(layers.Conv2D(6, 3)(image))
        return keras.Model(image, layers.Dense(3)(layers.Flatten()(hidden)))
    finally:
        keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_mixed_precision_model_is_exported_as_float32_and_says_so(dtype: str, tmp_path: Path) -> None:
    model, path = convolution(f"mixed_{dtype}"), tmp_path / "model.onnx"
    report = edgebn.fold_export(model, path)
    assert report.nodes == ("Transpose", "Conv", "Flatten", "Gemm")
    assert report.notes == (f"exported as float32: the Keras model computes in {dtype}",)
    assert {tensor.data_type for tensor in onnx.load(path).graph.initializer} == {onnx.TensorProto.FLOAT}
    x = np.random.default_rng(0).normal(size=(3, 8, 8, 3)).astype(np.float32)
    exact = in_precision(open_source(model), "float64")
    assert exact is not None
    session = backends.onnxruntime().InferenceSession(path, providers=["CPUExecutionProvider"])
    (actual,) = session.run(None, {"input": x})
    assert np.abs(actual - np.asarray(exact.call(x)[0])).max() <= 1e-5  # 6e-7 seen; float16 itself is 1e-3 away
    assert edgebn.verify(model, path).passed


def test_a_model_in_float64_is_exported_as_float32_and_says_so(tmp_path: Path) -> None:
    """Few runtimes have convolutions in float64."""
    model, path = convolution("float64"), tmp_path / "model.onnx"
    report = edgebn.fold_export(model, path)
    assert report.nodes == ("Transpose", "Conv", "Flatten", "Gemm")
    assert report.notes == ("exported as float32: the Keras model computes in float64",)
    assert edgebn.verify(model, path).passed


def test_a_float32_model_has_nothing_to_say(tmp_path: Path) -> None:
    model = convolution("float32")
    assert computes_in(open_source(model)) is None
    assert edgebn.fold_export(model, tmp_path / "model.onnx").notes == ()


def test_constants_outside_of_variables_are_no_inputs(tmp_path: Path) -> None:
    keras, path = backends.keras(), tmp_path / "model.onnx"
    image = keras.Input((8, 8, 3))
    normalized = keras.layers.Normalization(mean=[1.0, 2.0, 3.0], variance=[1.0, 4.0, 9.0])(image)
    model = keras.Model(image, keras.layers.Conv2D(4, 3)(normalized))
    report = edgebn.fold_export(model, path)
    assert list(report.inputs) == ["input"]
    assert report.nodes == ("Transpose", "Conv", "Transpose")
    assert edgebn.verify(model, path).passed
