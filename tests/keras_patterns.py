"""Small Keras models, each a neighbourhood that a BatchNormalization may have to leave: what folding is measured on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from edgebn import backends
from tests.model_set import lively

Tensor = Any


def layers() -> Any:
    return backends.keras().layers


def norm(x: Tensor, **options: Any) -> Tensor:
    return layers().BatchNormalization(**options)(x)


def conv(x: Tensor, filters: int = 6, size: int = 3, **options: Any) -> Tensor:
    return layers().Conv2D(filters, size, **options)(x)


def dense(x: Tensor, units: int = 5, **options: Any) -> Tensor:
    return layers().Dense(units, **options)(x)


def head(x: Tensor) -> Tensor:
    return dense(layers().Flatten()(x))


def residual(x: Tensor) -> Tensor:
    """Two branches that both end in a convolution, normalized after their sum."""
    return layers().Activation("sigmoid")(norm(layers().Add()([conv(x), conv(x, activation=None, use_bias=False)])))


def inverted_concat(x: Tensor) -> Tensor:
    return head(norm(layers().Concatenate()([conv(x, 4, activation="relu"), conv(x, 3, activation="relu")])))


def repvgg(x: Tensor) -> Tensor:
    """Three branches of one tensor, the identity among them, each normalized, and their sum."""
    x = layers().Activation("sigmoid")(conv(x, 6))
    three = norm(conv(x, 6, 3, padding="same", use_bias=False))
    one = norm(conv(x, 6, 1, use_bias=False))
    return layers().Activation("sigmoid")(layers().Add()([three, one, norm(x)]))


def preactivated(x: Tensor) -> Tensor:
    """ResNetV2: the sum is normalized for one branch and goes on as it is in the other."""
    x = layers().Add()([conv(x, 6, padding="same"), conv(x, 6, 1)])
    y = conv(layers().ReLU()(norm(x)), 6, 1)
    return head(layers().Add()([x, y]))


def densely_connected(x: Tensor) -> Tensor:
    for _ in range(3):
        y = conv(layers().ReLU()(norm(x)), 4, 1, use_bias=False)
        x = layers().Concatenate()([x, y])
    return head(layers().ReLU()(norm(x)))


def squeeze_excite(x: Tensor) -> Tensor:
    x = conv(x, 6)
    gate = layers().GlobalAveragePooling2D(keepdims=True)(x)
    gate = conv(gate, 6, 1, activation="sigmoid")
    return head(norm(layers().Multiply()([x, gate])))


def vgg(x: Tensor) -> Tensor:
    for _ in range(4):
        x = norm(conv(x, 6, padding="same", activation="relu"))
    return head(layers().MaxPooling2D()(x))


def shared_norm(x: Tensor) -> Tensor:
    shared = layers().BatchNormalization()
    return layers().Concatenate()([head(shared(conv(x, 6))), head(shared(conv(x, 6)))])


def shared_conv(x: Tensor) -> Tensor:
    shared = layers().Conv2D(6, 3)
    return layers().Concatenate()([head(layers().ReLU()(norm(shared(x)))), head(layers().ReLU()(shared(x)))])


def nested(x: Tensor) -> Tensor:
    keras = backends.keras()
    inner = keras.Sequential([keras.Input(x.shape[1:]), layers().Conv2D(6, 3), layers().BatchNormalization()])
    return head(layers().ReLU()(inner(x)))


IMAGE = (8, 8, 3)
Pattern = tuple[tuple[int | None, ...], Callable[[Tensor], Tensor]]

FOLDED: Mapping[str, Pattern] = {
    "Conv → BN": (IMAGE, lambda x: layers().Activation("sigmoid")(norm(conv(x)))),
    "Conv → BN → ReLU": (IMAGE, lambda x: layers().ReLU()(norm(conv(x, use_bias=False)))),
    "Conv(relu) → BN → MaxPool → Flatten → Dense": (
        IMAGE,
        lambda x: head(layers().MaxPooling2D()(norm(conv(x, activation="relu")))),
    ),
    "Conv(relu, same) → BN → Conv(same)": (
        IMAGE,
        lambda x: conv(norm(conv(x, activation="relu", padding="same")), padding="same"),
    ),
    "Conv(relu) → BN, an output": (IMAGE, lambda x: norm(conv(x, activation="relu"))),
    "Conv(relu) → BN → Sigmoid": (IMAGE, lambda x: layers().Activation("sigmoid")(norm(conv(x, activation="relu")))),
    "Conv(relu6) → BN → Conv": (IMAGE, lambda x: conv(norm(conv(x, activation="relu6")))),
    "Conv(leaky relu) → BN → Conv": (IMAGE, lambda x: conv(norm(conv(x, activation="leaky_relu")))),
    "Conv(tanh) → BN → Conv(valid)": (IMAGE, lambda x: conv(norm(conv(x, activation="tanh")))),
    "Conv(tanh) → BN → Conv(same)": (IMAGE, lambda x: conv(norm(conv(x, activation="tanh")), padding="same")),
    "Conv → BN → ReLU → Conv(same), Sigmoid before": (
        IMAGE,
        lambda x: conv(layers().ReLU()(norm(layers().Activation("sigmoid")(conv(x)))), padding="same"),
    ),
    "BN first → Conv(valid)": (IMAGE, lambda x: conv(norm(x))),
    "BN first → Conv(same)": (IMAGE, lambda x: conv(norm(x), padding="same")),
    "BN → BN": (IMAGE, lambda x: head(norm(norm(layers().Activation("tanh")(conv(x)))))),
    "Dense → BN → ReLU → Dense": ((12,), lambda x: dense(layers().ReLU()(norm(dense(x))))),
    "Dense(relu) → BN → Dense": ((12,), lambda x: dense(norm(dense(x, activation="relu")))),
    "Dense(relu) → BN, an output": ((12,), lambda x: norm(dense(x, activation="relu"))),
    "Dense(selu) → BN → Dropout → Dense": (
        (12,),
        lambda x: dense(layers().Dropout(0.5)(norm(dense(x, activation="selu")))),
    ),
    "Dense of a sequence → BN → ReLU": ((7, 12), lambda x: layers().ReLU()(norm(dense(x)))),
    "Depthwise → BN → ReLU6 → Conv 1×1 → BN": (
        IMAGE,
        lambda x: norm(conv(layers().ReLU(6.0)(norm(layers().DepthwiseConv2D(3)(x))), 5, 1)),
    ),
    "SeparableConv → BN": (IMAGE, lambda x: layers().ReLU()(norm(layers().SeparableConv2D(6, 3)(x)))),
    "grouped Conv → BN → grouped Conv": (
        (8, 8, 4),
        lambda x: layers().ReLU()(conv(norm(conv(x, 6, groups=2)), 4, groups=2)),
    ),
    "dilated Conv → BN": (IMAGE, lambda x: layers().ReLU()(norm(conv(x, dilation_rate=2)))),
    "strided Conv(same) → BN": (IMAGE, lambda x: layers().ReLU()(norm(conv(x, strides=2, padding="same")))),
    "Conv1D → BN → ReLU": ((16, 3), lambda x: layers().ReLU()(norm(layers().Conv1D(6, 3)(x)))),
    "Conv1D(relu, causal) → BN → Conv1D": (
        (16, 3),
        lambda x: layers().Conv1D(4, 3)(norm(layers().Conv1D(6, 3, padding="causal", activation="relu")(x))),
    ),
    "Conv3D → BN → ReLU": ((5, 6, 7, 2), lambda x: layers().ReLU()(norm(layers().Conv3D(4, 2)(x)))),
    "ConvTranspose → BN → ReLU": (
        IMAGE,
        lambda x: layers().ReLU()(norm(layers().Conv2DTranspose(6, 3, strides=2, padding="same")(x))),
    ),
    "Conv1DTranspose → BN → ReLU": (
        (16, 3),
        lambda x: layers().ReLU()(norm(layers().Conv1DTranspose(4, 3, strides=2, padding="same")(x))),
    ),
    "Conv1DTranspose(valid, relu) → BN": (
        (16, 3),
        lambda x: norm(layers().Conv1DTranspose(4, 3, activation="relu")(x)),
    ),
    "Conv3DTranspose → BN → ReLU": (
        (4, 5, 6, 2),
        lambda x: layers().ReLU()(norm(layers().Conv3DTranspose(3, 2, strides=2)(x))),
    ),
    "Conv(relu) → BN → AveragePool → Dense": (
        IMAGE,
        lambda x: head(layers().AveragePooling2D(2)(norm(conv(x, activation="relu")))),
    ),
    "Conv(tanh) → BN → GlobalAveragePool → Dense": (
        IMAGE,
        lambda x: dense(layers().GlobalAveragePooling2D()(norm(conv(x, activation="tanh")))),
    ),
    "Conv → BN → ZeroPadding → Conv": (
        IMAGE,
        lambda x: conv(layers().ReLU()(layers().ZeroPadding2D(1)(norm(conv(x))))),
    ),
    "Conv → UpSampling → BN": (IMAGE, lambda x: layers().ReLU()(norm(layers().UpSampling2D(2)(conv(x))))),
    "Conv → MaxPool → BN → ReLU": (IMAGE, lambda x: head(layers().ReLU()(norm(layers().MaxPooling2D()(conv(x)))))),
    "Conv → Permute → BN over channels": (
        IMAGE,
        lambda x: layers().ReLU()(norm(layers().Permute((3, 1, 2))(conv(x)), axis=1)),
    ),
    "Conv → Reshape → BN": (IMAGE, lambda x: layers().ReLU()(norm(layers().Reshape((36, 6))(conv(x))))),
    "Conv → Cropping → BN": (IMAGE, lambda x: layers().ReLU()(norm(layers().Cropping2D(1)(conv(x))))),
    "two Convs → Concat → BN": (IMAGE, inverted_concat),
    "two Convs → Add → BN": (IMAGE, residual),
    "Rescaling → Conv(same) → BN": (
        IMAGE,
        lambda x: layers().ReLU()(norm(conv(layers().Rescaling(1 / 127.5, -1.0)(x), padding="same"))),
    ),
    "BN without gamma": (IMAGE, lambda x: layers().ReLU()(norm(conv(x), scale=False))),
    "BN without beta": (IMAGE, lambda x: layers().ReLU()(norm(conv(x), center=False))),
    "VGG, four times Conv(relu, same) → BN": (IMAGE, vgg),
    "ResNetV2, BN → ReLU behind a sum": (IMAGE, preactivated),
    "DenseNet": (IMAGE, densely_connected),
    "RepVGG": (IMAGE, repvgg),
    "a BN shared by two branches": (IMAGE, shared_norm),
    "a Conv shared by two branches, one normalized": (IMAGE, shared_conv),
    "a gated tensor → BN → Dense": (IMAGE, squeeze_excite),
    "a nested model": (IMAGE, nested),
    "dynamic height and width": ((None, None, 3), lambda x: layers().ReLU()(norm(conv(x, padding="same")))),
    "TimeDistributed Conv → BN": (
        (3, 8, 8, 2),
        lambda x: layers().ReLU()(norm(layers().TimeDistributed(layers().Conv2D(4, 3))(x))),
    ),
}
"""Patterns whose every BatchNormalization goes."""

KEPT: Mapping[str, tuple[tuple[int | None, ...], Callable[[Tensor], Tensor], str]] = {
    "BN over time behind Dense": (
        (7, 12),
        lambda x: layers().Activation("sigmoid")(norm(dense(x), axis=1)),
        "varies",
    ),
    "between two sigmoids": (
        (12,),
        lambda x: layers().Activation("sigmoid")(norm(layers().Activation("sigmoid")(x))),
        "nothing passes Sigmoid",
    ),
}
"""Patterns with a BatchNormalization that has nowhere to go, and what is said of it."""


def build(pattern: tuple[Any, ...]) -> Any:
    """The model of a pattern, with weights and statistics from a fixed seed."""
    keras = backends.keras()
    keras.utils.set_random_seed(0)
    x = keras.Input(pattern[0])
    return lively(keras.Model(x, pattern[1](x)))
