"""Attention in four products. Of Keras's einsum, tf2onnx makes dozens of nodes that arrange axes of each other's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from edgebn import backends


def in_products(layer: Any) -> Callable[..., Any]:
    """softmax(QKᵀ/√d)·V for each head, of sequences without a mask; any other attention is left to Keras.

    Q, K, V: [batch, heads, length, d], of one projection each.
    """
    tensorflow = backends.tensorflow()

    def call(query: Any, value: Any, key: Any = None, **others: Any) -> Any:
        key = value if key is None else key
        if not _is_plain(layer, (query, key, value), others):
            return type(layer).call(layer, query, value, key, **others)
        queries = _heads(layer, layer.query_dense, query, (0, 2, 1, 3))
        keys = _heads(layer, layer.key_dense, key, (0, 2, 3, 1))
        values = _heads(layer, layer.value_dense, value, (0, 2, 1, 3))
        scores = tensorflow.nn.softmax(tensorflow.matmul(queries * layer._inverse_sqrt_key_dim, keys))
        mixed = tensorflow.transpose(tensorflow.matmul(scores, values), (0, 2, 1, 3))
        width = mixed.shape[2] * mixed.shape[3]
        return _projected(layer.output_dense, tensorflow.reshape(mixed, [*_leading(query), width]))

    return call


def _is_plain(layer: Any, tensors: Sequence[Any], others: dict[str, Any]) -> bool:
    """Whether the call is of sequences, over their length, with nothing left out and nothing else asked for."""
    tensorflow = backends.tensorflow()
    asked = any(value is not None and value is not False for value in others.values())
    more = getattr(layer, "_use_gate", False) or getattr(layer, "_sliding_window", None) is not None
    quantized = getattr(layer.query_dense, "quantization_mode", None)
    masked = any(getattr(each, "_keras_mask", None) is not None for each in tensors)
    sequences = all(isinstance(each, tensorflow.Tensor) and each.shape.rank == 3 and each.shape[2] for each in tensors)
    to_rows = len(layer.output_dense.kernel.shape) == 3
    return sequences and to_rows and tuple(layer.attention_axes) == (1,) and not (asked or more or quantized or masked)


def _heads(layer: Any, dense: Any, sequence: Any, axes: Sequence[int]) -> Any:
    """What a projection gives, [batch, length, heads, d], with its axes in this order."""
    tensorflow = backends.tensorflow()
    projected = _projected(dense, sequence)
    width = dense.kernel.shape[2]
    return tensorflow.transpose(tensorflow.reshape(projected, [*_leading(sequence), layer.num_heads, width]), axes)


def _projected(dense: Any, x: Any) -> Any:
    """x·K + b, K and b with the axes of heads as one."""
    tensorflow = backends.tensorflow()
    product = tensorflow.matmul(x, tensorflow.reshape(dense.kernel, [x.shape[-1], -1]))
    return product if dense.bias is None else tensorflow.nn.bias_add(product, tensorflow.reshape(dense.bias, [-1]))


def _leading(sequence: Any) -> list[Any]:
    """Batch and length, as a Reshape is told them."""
    if sequence.shape[1] is not None:
        return [-1, sequence.shape[1]]
    extents = backends.tensorflow().shape(sequence)
    return [extents[0], extents[1]]
