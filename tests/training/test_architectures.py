"""Both models are exactly those of the textbook: layers, sizes, activations, order."""

from __future__ import annotations

from typing import Any

import pytest

from edgebn.training.architectures import ARCHITECTURES

NORM = ("BatchNormalization", {"axis": -1, "momentum": 0.99, "epsilon": 0.001, "center": True, "scale": True})
PROBABILITIES = ("Dense", {"units": 10, "activation": "softmax", "use_bias": True})
CONV = {"filters": 32, "kernel_size": (3, 3), "strides": (1, 1), "padding": "valid", "activation": "relu"}

LAYERS: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "mlp": [
        ("Dense", {"units": 64, "activation": "linear", "use_bias": True}),
        NORM,
        ("Activation", {"activation": "relu"}),
        PROBABILITIES,
    ],
    "cnn": [
        ("Conv2D", {**CONV, "use_bias": True, "dilation_rate": (1, 1), "groups": 1, "data_format": "channels_last"}),
        NORM,
        ("MaxPooling2D", {"pool_size": (2, 2), "strides": (2, 2), "padding": "valid"}),
        ("Flatten", {}),
        PROBABILITIES,
    ],
}
SHAPES = {"mlp": (784,), "cnn": (28, 28, 1)}
PARAMETERS = {
    "mlp": (784 * 64 + 64) + 4 * 64 + (64 * 10 + 10),
    "cnn": (3 * 3 * 1 * 32 + 32) + 4 * 32 + (13 * 13 * 32 * 10 + 10),
}


def test_there_are_these_two() -> None:
    assert list(ARCHITECTURES) == ["mlp", "cnn"]


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name: str) -> None:
    model = ARCHITECTURES[name].build()
    built = [
        (type(layer).__name__, {option: layer.get_config()[option] for option in expected})
        for layer, (_, expected) in zip(model.layers, LAYERS[name], strict=True)
    ]
    assert built == LAYERS[name]


@pytest.mark.parametrize("name", LAYERS)
def test_shapes_and_sizes(name: str) -> None:
    model = ARCHITECTURES[name].build()
    assert ARCHITECTURES[name].input_shape == SHAPES[name]
    assert model.input_shape == (None, *SHAPES[name])
    assert model.output_shape == (None, 10)
    assert model.count_params() == PARAMETERS[name]
    assert model.inputs[0].dtype == "float32"
