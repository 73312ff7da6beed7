"""What a Keras model's scores are before and behind its last softmax or sigmoid, told by the TensorFlow graph."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from edgebn import backends
from edgebn.errors import InputError
from edgebn.loading import Source

_ACTIVATIONS = ("Softmax", "LogSoftmax", "Sigmoid")
_OPAQUE = ("PartitionedCall", "StatefulPartitionedCall")


def giving(source: Source, probabilities: bool) -> Source:
    """`source` with probabilities as its only output, or with what stands before the last softmax or sigmoid.

    Its `call` can only be traced, and raises InputError where the graph does not show its last operation.
    """

    def call(*tensors: Any) -> tuple[Any, ...]:
        (result,) = source.call(*tensors)
        operation = _last(result)
        if operation.type in _OPAQUE:
            raise InputError(
                f"{source.name}: does not show what stands before its last softmax, as a SavedModel does not; give the "
                ".keras file instead"
            )
        return (_probabilities(result, operation) if probabilities else _logits(result, operation),)

    return replace(source, call=call)


def _last(tensor: Any) -> Any:
    operation = tensor.op
    while operation.type == "Identity":
        operation = operation.inputs[0].op
    return operation


def _logits(result: Any, operation: Any) -> Any:
    return operation.inputs[0] if operation.type in _ACTIVATIONS else result


def _probabilities(result: Any, operation: Any) -> Any:
    if operation.type in {"Softmax", "Sigmoid"}:
        return result
    tensorflow = backends.tensorflow()
    return tensorflow.sigmoid(result) if result.shape[-1] == 1 else tensorflow.nn.softmax(_logits(result, operation))
