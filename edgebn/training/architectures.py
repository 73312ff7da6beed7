"""The two textbook models with BatchNormalization: before the activation in `mlp`, after it in `cnn`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edgebn import backends


@dataclass(frozen=True)
class Architecture:
    """How to build a model for digits, and the shape (without batch) in which it takes one."""

    build: Callable[[], Any]
    input_shape: tuple[int, ...]


def mlp() -> Any:
    """Dense(64) → BatchNormalization → ReLU → Dense(10, softmax), on (batch, 784) pixels in [0, 1]."""
    keras = backends.keras()
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((784,), name="image"),
            layers.Dense(64, name="dense"),
            layers.BatchNormalization(name="batch_normalization"),
            layers.Activation("relu", name="relu"),
            layers.Dense(10, activation="softmax", name="probabilities"),
        ],
        name="mlp",
    )


def cnn() -> Any:
    """Conv2D(32, 3×3, relu) → BatchNormalization → MaxPooling2D → Flatten → Dense(10, softmax).

    On (batch, 28, 28, 1) pixels in [0, 1].
    """
    keras = backends.keras()
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((28, 28, 1), name="image"),
            layers.Conv2D(32, (3, 3), activation="relu", name="conv"),
            layers.BatchNormalization(name="batch_normalization"),
            layers.MaxPooling2D((2, 2), name="max_pooling"),
            layers.Flatten(name="flatten"),
            layers.Dense(10, activation="softmax", name="probabilities"),
        ],
        name="cnn",
    )


ARCHITECTURES: Mapping[str, Architecture] = {
    "mlp": Architecture(mlp, (784,)),
    "cnn": Architecture(cnn, (28, 28, 1)),
}
