"""Scores whose softmax or sigmoid is not the last operator: something behind it arranges them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import edgebn
from edgebn import Interface
from tests import keras_models
from tests.test_interfaces import RNG, run


@pytest.mark.parametrize("last", ["Reshape", "Conv2D"])
@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("output", ["logits", "probabilities", "class"])
def test_an_activation_is_seen_through_what_arranges_its_result(
    output: str, activation: str, last: str, tmp_path: Path
) -> None:
    layers = keras_models.layers()
    image = layers.Input((12, 12, 3), name="image")
    x = layers.GlobalAveragePooling2D(keepdims=True)(layers.Conv2D(8, 3)(image))
    if last == "Conv2D":
        x = layers.Conv2D(4, 1, activation=activation)(x)
    else:
        x = layers.Reshape((1, 2, 2))(layers.Dense(4, activation=activation)(layers.Flatten()(x)))
    model, path = keras_models.functional(image, layers.Reshape((4,))(x)), tmp_path / "model.onnx"
    report = edgebn.fold_export(model, path, interface=Interface(output=output))
    names = {"softmax": "Softmax", "sigmoid": "Sigmoid"}
    assert (names[activation] in report.nodes) == (output == "probabilities")
    assert {"Softmax", "Sigmoid"} & set(report.nodes) <= {names[activation]}
    assert edgebn.verify(model, path).passed
    edgebn.fold_export(model, plain := tmp_path / "plain.onnx")
    again = edgebn.fold_export(plain, tmp_path / "again.onnx", interface=Interface(output=output))
    assert (names[activation] in again.nodes) == (output == "probabilities")
    assert edgebn.verify(plain, tmp_path / "again.onnx").passed


@pytest.mark.parametrize("layer", ["softmax", "sigmoid"])
def test_a_softmax_over_parts_of_the_scores_is_none_of_the_classes(layer: str, tmp_path: Path) -> None:
    layers = keras_models.layers()
    row = layers.Input((6,), name="row")
    parts = layers.Activation(layer)(layers.Reshape((2, 2))(layers.Dense(4)(row)))
    model, path = keras_models.functional(row, layers.Flatten()(parts)), tmp_path / "model.onnx"
    report = edgebn.fold_export(model, path, interface=Interface(output="class"))
    assert ("Softmax" in report.nodes) == (layer == "softmax")
    x = RNG.standard_normal((50, 6)).astype(np.float32)
    (expected,) = keras_models.in_keras(model, x)
    assert (run(path, x) == expected.argmax(axis=1)).all()
    assert edgebn.verify(model, path).passed
