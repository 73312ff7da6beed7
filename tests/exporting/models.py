"""Models with more than one way in or out, with models inside of models, and with every kind of batch normalisation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from edgebn import backends
from tests.keras_models import functional, layers


def named_input(name: str, *shape: int | None, **options: Any) -> Any:
    return backends.keras().Input(shape, name=name, **options)


def two_inputs_two_outputs() -> Any:
    left, right = named_input("zeta", 4), named_input("alpha", 3)
    first = layers().BatchNormalization(name="norm_left")(layers().Dense(5, name="dense_left")(left))
    second = layers().BatchNormalization(name="norm_right")(layers().Dense(6, name="dense_right")(right))
    joined = layers().Concatenate(name="both")([first, second])
    return functional([left, right], [layers().Dense(2, name="scores")(joined), second])


def dictionaries() -> Any:
    left, right = named_input("zeta", 4), named_input("alpha", 3)
    first = layers().BatchNormalization(name="norm_left")(layers().Dense(5, name="dense_left")(left))
    second = layers().BatchNormalization(name="norm_right")(layers().Dense(6, name="dense_right")(right))
    return functional({"zeta": left, "alpha": right}, {"zoom": second, "angle": first})


def lists_inside_of_dictionaries() -> Any:
    image = named_input("image", 4)
    hidden = layers().Dense(3, name="hidden")(image)
    normed = layers().BatchNormalization(name="norm")(hidden)
    return functional(image, {"b": [hidden, normed], "a": layers().Dense(2, name="scores")(normed)})


def an_input_as_output() -> Any:
    left, right = named_input("zeta", 4), named_input("alpha", 3)
    return functional([left, right], [left, layers().BatchNormalization(name="norm")(layers().Dense(3)(right))])


def one_tensor_as_two_outputs() -> Any:
    image = named_input("image", 4)
    normed = layers().BatchNormalization(name="norm")(layers().Dense(3, name="hidden")(image))
    return functional(image, [normed, normed])


def unused_input() -> Any:
    left, right = named_input("zeta", 4), named_input("alpha", 3)
    return functional([left, right], layers().BatchNormalization(name="norm")(layers().Dense(3)(right)))


def nested() -> Any:
    image = named_input("image", 8, 8, 2)
    block = backends.keras().Sequential(
        [
            backends.keras().Input((8, 8, 2)),
            layers().Conv2D(4, 3, name="conv"),
            layers().BatchNormalization(name="norm"),
            layers().ReLU(name="relu"),
        ],
        name="block",
    )
    hidden = layers().Dense(3, name="dense")(layers().Flatten(name="flat")(block(image)))
    return functional(image, layers().Dense(2, name="scores")(layers().BatchNormalization(name="norm")(hidden)))


def called_twice() -> Any:
    image = named_input("image", 4)
    norm = layers().BatchNormalization(name="shared")
    branches = [norm(layers().Dense(3, name=name)(image)) for name in ("left", "right")]
    return functional(image, layers().Concatenate(name="both")(branches))


def conv3d() -> Any:
    volume = named_input("volume", 6, 6, 6, 2)
    hidden = layers().BatchNormalization(name="norm")(layers().Conv3D(5, 3, name="conv")(volume))
    return functional(volume, layers().Dense(3, name="scores")(layers().Flatten(name="flat")(hidden)))


def same_padding() -> Any:
    image = named_input("image", 9, 8, 3)
    hidden = layers().Conv2D(5, 3, padding="same", strides=2, use_bias=False, name="conv")(image)
    activated = layers().LeakyReLU(name="leaky")(layers().BatchNormalization(name="norm")(hidden))
    return functional(image, layers().Dense(3, name="scores")(layers().Flatten(name="flat")(activated)))


def grouped() -> Any:
    image = named_input("image", 6, 6, 4)
    hidden = layers().BatchNormalization(name="norm")(layers().Conv2D(6, 3, groups=2, name="conv")(image))
    return functional(image, layers().Flatten(name="flat")(hidden))


def any_size() -> Any:
    image = named_input("image", None, None, 2)
    hidden = layers().BatchNormalization(name="norm")(layers().Conv2D(5, 3, name="conv")(image))
    return functional(image, layers().GlobalAveragePooling2D(name="pool")(hidden))


def fixed_batch() -> Any:
    image = backends.keras().Input(batch_shape=(4, 6), name="image")
    return functional(image, layers().BatchNormalization(name="norm")(layers().Dense(3, name="hidden")(image)))


def bytes_as_input() -> Any:
    image = named_input("image", 6, 6, 1, dtype="uint8")
    hidden = layers().Conv2D(3, 3, name="conv")(layers().Rescaling(1 / 255, name="scaling")(image))
    return functional(image, layers().Flatten(name="flat")(layers().BatchNormalization(name="norm")(hidden)))


def counted_names() -> Any:
    """Names that look as if TensorFlow had counted, and are the user's."""
    image = named_input("image_1", 6)
    hidden = layers().BatchNormalization(name="norm_1")(layers().Dense(3, name="dense_1")(image))
    return functional(image, layers().Dense(3, name="dense_2")(layers().Activation("relu", name="relu_7")(hidden)))


def automatic_names() -> Any:
    image = backends.keras().Input((6,))
    return functional(image, layers().Dense(3)(layers().BatchNormalization()(layers().Dense(3)(image))))


def norm_before_dense(**options: Any) -> Any:
    image = named_input("image", 6)
    hidden = layers().BatchNormalization(name="norm", **options)(layers().Dense(4, name="hidden")(image))
    return functional(image, layers().Dense(2, name="scores")(hidden))


def norm_alone() -> Any:
    image = named_input("image", 6)
    return functional(image, layers().BatchNormalization(name="norm")(image))


def norm_along_height() -> Any:
    image = named_input("image", 5, 6, 3)
    hidden = layers().BatchNormalization(axis=1, name="norm")(layers().Conv2D(4, 1, name="conv")(image))
    return functional(image, layers().Conv2D(2, 3, name="scores")(hidden))


def residual() -> Any:
    image = named_input("image", 8, 8, 3)
    hidden = layers().Conv2D(3, 3, padding="same", use_bias=False, name="conv")(image)
    return functional(image, layers().Add(name="sum")([layers().BatchNormalization(name="norm")(hidden), image]))


def recurrent() -> Any:
    steps = named_input("steps", 5, 3)
    hidden = layers().BatchNormalization(name="norm")(layers().GRU(4, return_sequences=True, name="gru")(steps))
    return functional(steps, layers().Dense(2, name="scores")(hidden))


def dense_on_images() -> Any:
    image = named_input("image", 5, None, 3)
    hidden = layers().BatchNormalization(name="norm")(layers().Dense(4, activation="relu", name="hidden")(image))
    return functional(image, layers().Dense(2, use_bias=False, name="scores")(hidden))


def unusual_activations() -> Any:
    """Whose parts tf2onnx does not know: the error function's complement, and exp(x) − 1."""
    image = named_input("image", 6)
    hidden = layers().BatchNormalization(name="norm")(layers().Dense(4, name="hidden")(image))
    activated = layers().Activation("gelu", name="gelu")(hidden)
    return functional(image, layers().Dense(2, activation="celu", name="scores")(activated))


def channels_first_transposed() -> Any:
    signal = named_input("signal", 3, 8)
    upsample = layers().Conv1DTranspose(4, 3, strides=2, padding="same", data_format="channels_first", name="upsample")
    return functional(signal, layers().BatchNormalization(axis=1, name="norm")(upsample(signal)))


# model → operators, layers folded, layers kept
FOLDED: Mapping[Callable[[], Any], tuple[str, list[str], list[str]]] = {
    two_inputs_two_outputs: ("Gemm Gemm Concat Gemm", ["norm_left", "norm_right"], []),
    dictionaries: ("Gemm Gemm", ["norm_right", "norm_left"], []),
    lists_inside_of_dictionaries: ("Gemm Mul Add Gemm", [], ["norm"]),
    an_input_as_output: ("Identity Gemm", ["norm"], []),
    one_tensor_as_two_outputs: ("Gemm Identity", ["norm"], []),
    unused_input: ("Gemm", ["norm"], []),
    nested: ("Transpose Conv Relu Flatten Gemm Gemm", ["block/norm", "norm"], []),
    called_twice: ("Gemm Gemm Concat", ["shared", "shared"], []),
    conv3d: ("Transpose Conv Flatten Gemm", ["norm"], []),
    same_padding: ("Transpose Conv LeakyRelu Flatten Gemm", ["norm"], []),
    grouped: ("Transpose Conv Transpose Flatten", ["norm"], []),
    any_size: ("Transpose Conv GlobalAveragePool Flatten", ["norm"], []),
    fixed_batch: ("Gemm", ["norm"], []),
    bytes_as_input: ("Cast Reshape Conv Transpose Flatten", ["norm"], []),
    counted_names: ("Gemm Relu Gemm", ["norm_1"], []),
    norm_before_dense: ("Gemm Gemm", ["norm"], []),
    norm_alone: ("Mul Add", [], ["norm"]),
    norm_along_height: ("Transpose Conv Mul Add Conv Transpose", [], ["norm"]),
    residual: ("Transpose Conv Transpose", ["norm"], []),
    recurrent: (
        "Shape Cast Slice Concat Cast Expand Transpose Loop Transpose MatMul Add",
        ["norm"],
        [],
    ),
    dense_on_images: ("MatMul Add Max MatMul", ["norm"], []),
    unusual_activations: ("Gemm Mul Erf Sub Mul Gemm Relu Min Exp Sub Add", ["norm"], []),
    channels_first_transposed: ("Unsqueeze ConvTranspose Squeeze", ["norm"], []),
}
