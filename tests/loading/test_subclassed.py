"""Subclassed models, whose inputs Keras only knows from the shapes that they were called on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgebn
from edgebn import backends


def normalizer() -> Any:
    """Conv2D → BatchNormalization → ReLU → Dense, written as a class."""
    keras = backends.keras()

    @keras.saving.register_keras_serializable("edgebn_tests")
    class Normalizer(keras.Model):  # type: ignore[misc]
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.conv = keras.layers.Conv2D(4, 3, name="conv")
            self.norm = keras.layers.BatchNormalization(name="norm")
            self.flatten = keras.layers.Flatten(name="flatten")
            self.dense = keras.layers.Dense(3, name="dense")

        def call(self, image: Any, training: bool = False) -> Any:
            hidden = keras.ops.relu(self.norm(self.conv(image), training=training))
            return self.dense(self.flatten(hidden))

    return Normalizer(name="normalizer")


def two_inputs() -> Any:
    keras = backends.keras()

    class Adder(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.dense = keras.layers.Dense(3)
            self.norm = keras.layers.BatchNormalization(name="norm")

        def call(self, tensors: Any, training: bool = False) -> Any:
            return self.norm(self.dense(tensors["left"]) + self.dense(tensors["right"]), training=training)

    return Adder()


def test_a_model_that_was_called_is_folded(tmp_path: Path) -> None:
    model, path = normalizer(), tmp_path / "model.onnx"
    model(np.zeros((2, 8, 8, 3), np.float32))
    report = edgebn.fold_export(model, path)
    assert report.nodes == ("Transpose", "Conv", "Relu", "Flatten", "Gemm")
    assert [fate.layers for fate in report.folded] == [("norm",)]
    assert report.inputs == {"input": ("batch", 8, 8, 3)}
    assert edgebn.verify(model, path).passed


def test_from_a_file_too(tmp_path: Path) -> None:
    model = normalizer()
    model(np.zeros((2, 8, 8, 3), np.float32))
    model.save(tmp_path / "model.keras")
    assert len(edgebn.fold_export(tmp_path / "model.keras", tmp_path / "model.onnx").folded) == 1


def test_a_dictionary_of_inputs(tmp_path: Path) -> None:
    model, path = two_inputs(), tmp_path / "model.onnx"
    model({"left": np.zeros((2, 4), np.float32), "right": np.zeros((2, 4), np.float32)})
    report = edgebn.fold_export(model, path)
    assert set(report.inputs) == {"left", "right"}
    assert len(report.folded) == 1
    assert edgebn.verify(model, path).passed


def test_a_model_that_was_never_called_is_refused(tmp_path: Path) -> None:
    with pytest.raises(edgebn.InputError, match="call it once on data"):
        edgebn.fold_export(normalizer(), tmp_path / "model.onnx")
