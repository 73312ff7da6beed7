"""Other ways to compute what some layers compute, of which tf2onnx makes a few nodes instead of dozens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from edgebn import backends
from edgebn.loading import Source

Call = Callable[..., Any]


def stand_ins(source: Source) -> dict[Any, Call]:
    """A stand-in for the `call` of each layer for which there is one. A class derived from Keras's own has none."""
    layers = backends.keras().layers
    kinds: Mapping[type, Callable[[Any], Call]] = {layers.Conv1DTranspose: _as_image, layers.Dense: _as_one_product}
    return {layer: kinds[type(layer)](layer) for layer in source.layers.values() if type(layer) in kinds}


def _as_image(layer: Any) -> Call:
    """A Conv1DTranspose as a convolution of images one pixel high.

    tf2onnx knows the extents of that one's result; those of a Conv1DTranspose it computes at run time, in 30 nodes.
    """
    ops = backends.keras().ops
    height, channels = (1, 3) if layer.data_format == "channels_last" else (2, 1)

    def call(inputs: Any) -> Any:
        (padding,) = layer.output_padding if layer.output_padding else (None,)
        outputs = ops.conv_transpose(
            ops.expand_dims(inputs, height),
            ops.expand_dims(layer.kernel, 0),
            strides=[1, *layer.strides],
            padding=layer.padding,
            output_padding=None if padding is None else (0, padding),
            dilation_rate=(1, *layer.dilation_rate),
            data_format=layer.data_format,
        )
        if layer.use_bias:
            outputs = ops.add(outputs, ops.reshape(layer.bias, [-1 if axis == channels else 1 for axis in range(4)]))
        outputs = ops.squeeze(outputs, height)
        return outputs if layer.activation is None else layer.activation(outputs)

    return call


def _as_one_product(layer: Any) -> Call:
    """A Dense as a product that broadcasts over all axes but the last.

    That is one MatMul. Of Keras's tensordot, tf2onnx makes a MatMul between two Reshapes to shapes that it computes at
    run time. A layer that does more than a Dense of plain weights is left to itself.
    """
    tensorflow = backends.tensorflow()

    def call(inputs: Any, training: Any = None) -> Any:
        plain = not getattr(layer, "quantization_mode", None) and isinstance(inputs, tensorflow.Tensor)
        if training or not plain or inputs.shape.rank in (None, 2):
            return type(layer).call(layer, inputs, training=training)
        outputs = tensorflow.linalg.matmul(inputs, layer.kernel)
        if layer.use_bias:
            outputs = tensorflow.nn.bias_add(outputs, layer.bias)
        return outputs if layer.activation is None else layer.activation(outputs)

    return call
