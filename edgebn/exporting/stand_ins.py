"""Other ways to compute what some layers compute, of which tf2onnx makes a few nodes instead of dozens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from edgebn import backends
from edgebn.exporting.attention import in_products
from edgebn.loading import Source

Call = Callable[..., Any]


def stand_ins(source: Source) -> dict[Any, Call]:
    """A stand-in for the `call` of each layer for which there is one. A class derived from Keras's own has none."""
    layers = backends.keras().layers
    kinds: Mapping[type, Callable[[Any], Call]] = {
        layers.Conv1DTranspose: _as_image,
        layers.Conv2DTranspose: _of_any_size,
        layers.Dense: _as_one_product,
        layers.Embedding: _as_one_gather,
        layers.MultiHeadAttention: in_products,
        layers.TimeDistributed: _as_one_batch,
    }
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


def _of_any_size(layer: Any) -> Call:
    """A Conv2DTranspose of images of unknown size, whose result is the stride times as large, as one node.

    tf2onnx computes its extents at run time, crops and pads, in 40 nodes. Its name for this operation is that of
    another, which only `edgebn.exporting.handlers` knows; the first operand only says the extents of the result.
    """
    tensorflow = backends.tensorflow()
    (height, width), (high, wide) = layer.strides, layer.kernel_size
    plain = layer.output_padding is None and set(layer.dilation_rate) == {1} and layer.data_format == "channels_last"

    def call(inputs: Any) -> Any:
        if not plain or None not in inputs.shape[1:3]:
            return type(layer).call(layer, inputs)
        batch, rows, columns, _ = tensorflow.unstack(tensorflow.shape(inputs))
        more = (max(high - height, 0), max(wide - width, 0)) if layer.padding == "valid" else (0, 0)
        extents = [batch, rows * height + more[0], columns * width + more[1], layer.filters]
        outputs = tensorflow.raw_ops.Conv2DBackpropInputV2(
            input=tensorflow.zeros(extents, inputs.dtype),
            filter=layer.kernel,
            out_backprop=inputs,
            strides=[1, height, width, 1],
            padding=layer.padding.upper(),
        )
        outputs.set_shape([inputs.shape[0], None, None, layer.filters])
        outputs = tensorflow.nn.bias_add(outputs, layer.bias) if layer.use_bias else outputs
        return outputs if layer.activation is None else layer.activation(outputs)

    return call


def _as_one_gather(layer: Any) -> Call:
    """An Embedding as the rows of its table. What is negative counts from the end, for Keras and in ONNX."""
    tensorflow = backends.tensorflow()

    def call(inputs: Any) -> Any:
        if getattr(layer, "quantization_mode", None) or not isinstance(inputs, tensorflow.Tensor):
            return type(layer).call(layer, inputs)
        indices = inputs if inputs.dtype in {tensorflow.int32, tensorflow.int64} else tensorflow.cast(inputs, "int32")
        return tensorflow.cast(tensorflow.gather(layer.embeddings, indices), layer.compute_dtype)

    return call


def _as_one_batch(layer: Any) -> Call:
    """A TimeDistributed with all steps of all samples as one batch, where Keras calls its layer for each step.

    That is the same for every layer that looks at one sample at a time, as Keras's own do, but not one that is given.
    """
    tensorflow = backends.tensorflow()
    own = all(_is_keras_own(each) for each in layer.layer._flatten_layers())

    def call(inputs: Any, training: Any = None, mask: Any = None) -> Any:
        extents = list(inputs.shape[1:])
        if training or mask is not None or not own or None in extents:
            return type(layer).call(layer, inputs, training=training, mask=mask)
        given = {"training": training} if layer.layer._call_has_training_arg else {}
        outputs = layer.layer.call(tensorflow.reshape(inputs, [-1, *extents[1:]]), **given)
        if not isinstance(outputs, tensorflow.Tensor) or None in outputs.shape[1:]:
            return type(layer).call(layer, inputs, training=training, mask=mask)
        return tensorflow.reshape(outputs, [-1, extents[0], *outputs.shape[1:]])

    return call


def _is_keras_own(layer: Any) -> bool:
    return type(layer).__module__.startswith("keras.") and type(layer).__name__ != "Lambda"
