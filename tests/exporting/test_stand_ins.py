"""Layers that are traced in another way than Keras does: few nodes, and the same function."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgebn
from edgebn import backends
from edgebn.exporting.convert import convert
from edgebn.loading import open_source
from tests import keras_models

RNG = np.random.default_rng(0)
ANY_SIZE = RNG.standard_normal((3, 5, 6, 2)).astype(np.float32)
FILMS = RNG.standard_normal((3, 4, 8, 8, 2)).astype(np.float32)
INDICES = np.array([[0, 4, -1], [-5, 2, 3]], np.int32)


def layers() -> Any:
    return keras_models.layers()


def time_distributed_norm() -> tuple[Any, ...]:
    inner = layers()
    return tuple(
        inner.TimeDistributed(each) for each in (inner.Conv2D(3, 3), inner.BatchNormalization(), inner.Flatten())
    )


CASES: dict[str, tuple[Callable[[], tuple[Any, ...]], tuple[Any, ...], np.ndarray, str]] = {
    "indices from either end": (lambda: (layers().Embedding(5, 4),), (None,), INDICES, "Gather"),
    "indices that are numbers": (
        lambda: (layers().Embedding(5, 4),),
        (3,),
        np.abs(INDICES).astype(np.float32) % 5,
        "Cast Gather",
    ),
    "a film": (time_distributed_norm, (4, 8, 8, 2), FILMS, "Reshape Transpose Conv Transpose Reshape"),
    "rows over time": (
        lambda: (layers().TimeDistributed(layers().Dense(3)),),
        (4, 6),
        RNG.standard_normal((2, 4, 6)).astype(np.float32),
        "Reshape Gemm Reshape",
    ),
}
for padding in ("same", "valid"):
    for size, stride in ((3, 2), (2, 2), (4, 2), (1, 2), ((2, 5), (3, 2)), (3, 1)):
        CASES[f"a transposed convolution, {padding}, {size} by {stride}"] = (
            lambda size=size, stride=stride, padding=padding: (
                layers().Conv2DTranspose(4, size, strides=stride, padding=padding),
                layers().BatchNormalization(),
                layers().ReLU(),
            ),
            (None, None, 2),
            ANY_SIZE,
            "Transpose ConvTranspose Relu Transpose",
        )


@pytest.mark.parametrize("case", CASES)
def test_few_nodes_do_the_same(case: str, tmp_path: Path) -> None:
    make, shape, x, expected = CASES[case]
    tensor = first = layers().Input(shape, dtype=x.dtype.name)
    for layer in make():
        tensor = layer(tensor)
    model = keras_models.randomise(keras_models.functional(first, tensor), np.random.default_rng(0))
    report = edgebn.fold_export(model, path := tmp_path / "model.onnx")
    assert " ".join(report.nodes) == expected
    assert report.kept == ()
    session = backends.onnxruntime().InferenceSession(path, providers=["CPUExecutionProvider"])
    (actual,) = session.run(None, {session.get_inputs()[0].name: x})
    (given,) = keras_models.in_keras(model, x)
    assert actual.shape == given.shape
    assert np.abs(actual - given).max() < 2e-6 * max(1.0, np.abs(given).max())  # sums of at most 50 terms


def test_a_layer_that_is_given_is_asked_for_each_step(tmp_path: Path) -> None:
    keras = backends.keras()

    class Centred(keras.layers.Layer):
        def call(self, inputs: Any) -> Any:
            return inputs - keras.ops.mean(inputs, axis=0, keepdims=True)

        def compute_output_shape(self, input_shape: Any) -> Any:
            return input_shape

    first = layers().Input((4, 6))
    model = keras_models.functional(first, layers().TimeDistributed(Centred())(first))
    edgebn.fold_export(model, path := tmp_path / "model.onnx")
    x = RNG.standard_normal((5, 4, 6)).astype(np.float32)
    session = backends.onnxruntime().InferenceSession(path, providers=["CPUExecutionProvider"])
    (actual,) = session.run(None, {session.get_inputs()[0].name: x})
    assert np.abs(actual - (x - x.mean(axis=0))).max() < 2e-6


def test_a_turned_output_of_one_channel_keeps_its_rank() -> None:
    """tf2onnx's optimisers lose an axis of it, in one conversion of twenty, by the order of the names in a set."""
    for _ in range(40):
        x = backends.keras().Input((None, None, 1))
        halved = layers().Conv2D(4, 3, padding="same", strides=2)(x)
        model = backends.keras().Model(x, layers().Add()([x, layers().Conv2DTranspose(1, 2, strides=2)(halved)]))
        (output,) = convert(open_source(model), 18).model.graph.output
        assert len(output.type.tensor_type.shape.dim) == 4
