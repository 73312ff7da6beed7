"""Small Keras models of which the tests of verify make right and wrong files."""

from __future__ import annotations

from typing import Any

from edgebn import backends
from tests import keras_models


def residual(*, linear: bool = False) -> Any:
    """Padding on both sides and on one, a sum, depthwise, average pools, BatchNormalization before and behind ReLU."""
    layers, x = keras_models.layers(), backends.keras().Input((9, 9, 3), name="image")
    first = layers.BatchNormalization(name="behind")(layers.Conv2D(6, 3, padding="same", activation="relu")(x))
    second = layers.BatchNormalization(name="before")(layers.Conv2D(6, 3, padding="same", name="second")(first))
    joined = layers.ReLU()(layers.Add()([first, second]))
    deep = layers.DepthwiseConv2D(3, strides=2, padding="same")(joined)
    deep = layers.ReLU()(layers.BatchNormalization(name="deep")(deep))
    pooled = layers.GlobalAveragePooling2D()(layers.AveragePooling2D(2, padding="same")(deep))
    activation = "linear" if linear else "softmax"
    return keras_models.functional(x, layers.Dense(4, activation=activation, name="scores")(pooled))


def sequence() -> Any:
    """One axis, and a softmax for each of its steps."""
    layers, x = keras_models.layers(), backends.keras().Input((12, 5), name="steps")
    first = layers.LeakyReLU()(layers.BatchNormalization(name="first")(layers.Conv1D(6, 3, padding="same")(x)))
    second = layers.BatchNormalization(name="second")(layers.Conv1D(5, 3, padding="same", activation="relu")(first))
    return keras_models.functional(x, layers.Dense(4, activation="softmax", name="scores")(second), seed=1)


def gates() -> Any:
    """Sigmoids, and weights so large that most of them saturate."""
    layers, x = keras_models.layers(), backends.keras().Input((10,), name="x")
    hidden = layers.ReLU()(layers.BatchNormalization(name="hidden")(layers.Dense(14)(x)))
    model = keras_models.functional(x, layers.Dense(3, activation="sigmoid", name="gates")(hidden), seed=2)
    kernel, bias = model.get_layer("gates").get_weights()
    model.get_layer("gates").set_weights([50.0 * kernel, 50.0 * bias])
    return model
