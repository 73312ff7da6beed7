"""What a Keras model's scores are before and behind its last softmax or sigmoid, told by the TensorFlow graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from edgebn import backends
from edgebn.errors import InputError
from edgebn.loading import Source

_ACTIVATIONS = ("Softmax", "LogSoftmax", "Sigmoid")
_OPAQUE = ("PartitionedCall", "StatefulPartitionedCall")


def giving(source: Source, probabilities: bool) -> Source:
    """`source` with probabilities as its only output, or with what stands before the last softmax or sigmoid.

    The `call` of a Keras model can then only be traced, and raises InputError where the graph does not show its last
    operation.
    """
    if source.model is None:
        return replace(source, call=_inlined(source, probabilities))

    def call(*tensors: Any) -> tuple[Any, ...]:
        (result,) = source.call(*tensors)
        return (_scores(source.name, result, probabilities),)

    return replace(source, call=call)


def _inlined(source: Source, probabilities: bool) -> Callable[..., tuple[Any, ...]]:
    """What a SavedModel calls, as one graph with constant weights that ends in the scores: its own hides them."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    tensorflow = backends.tensorflow()
    signature = [tensorflow.TensorSpec(tensor.shape, tensor.dtype) for tensor in source.inputs]
    traced = tensorflow.function(source.call, autograph=False).get_concrete_function(*signature)
    with backends.silenced():
        frozen = convert_variables_to_constants_v2(traced)
    with frozen.graph.as_default():
        scores = _scores(source.name, frozen.outputs[0], probabilities)
    pruned = frozen.prune(frozen.inputs, [scores])
    return lambda *tensors: tuple(pruned(*map(tensorflow.convert_to_tensor, tensors)))


def _scores(name: str, result: Any, probabilities: bool) -> Any:
    if _last(result).type in _OPAQUE:
        raise InputError(f"{name}: a compiled function hides what stands before its last softmax")
    return _probabilities(result) if probabilities else _logits(result)


def _last(tensor: Any) -> Any:
    """The last operation that does more than arrange the elements."""
    operation = tensor.op
    while operation.type in _ARRANGES:
        operation = operation.inputs[0].op
    return operation


def _logits(result: Any) -> Any:
    """The scores themselves where they end in no softmax over the classes, and no sigmoid."""
    last = _last(result)
    over_classes = last.type == "Sigmoid" or last.outputs[0].shape[-1] == result.shape[-1]
    return next(iter(_before(result).values()), result) if over_classes else result


def _probabilities(result: Any) -> Any:
    logits = _logits(result)
    if logits is not result and _last(result).type in {"Softmax", "Sigmoid"}:
        return result
    tensorflow = backends.tensorflow()
    return tensorflow.sigmoid(logits) if result.shape[-1] == 1 else tensorflow.nn.softmax(logits)


def with_logits(source: Source) -> Source:
    """`source` whose call, traced, gives two tuples: its outputs, and for each {kind: logits} if it has some, or {}.

    Logits are what stands before the last softmax or sigmoid, in the shape of the output; the kind is its operator.
    """

    def call(*tensors: Any) -> tuple[Any, ...]:
        results = tuple(source.call(*tensors))
        return results, tuple(map(_before, results))

    return replace(source, call=call)


def _before(result: Any) -> dict[str, Any]:
    """Seen through what only arranges the elements, which is then done to the logits as well."""
    arranged: list[Any] = []
    operation = result.op if backends.tensorflow().is_symbolic_tensor(result) else None
    while operation is not None and operation.type in _ARRANGES:
        arranged.append(operation)
        operation = operation.inputs[0].op
    if operation is None or operation.type not in _ACTIVATIONS:
        return {}
    logits = operation.inputs[0]
    for each in reversed(arranged):
        logits = _ARRANGES[each.type](logits, each)
    return {operation.type: logits}


_ARRANGES: dict[str, Callable[[Any, Any], Any]] = {
    "Identity": lambda tensor, _: tensor,
    "Reshape": lambda tensor, operation: backends.tensorflow().reshape(tensor, operation.inputs[1]),
    "Squeeze": lambda tensor, operation: backends.tensorflow().squeeze(tensor, operation.get_attr("squeeze_dims")),
    "Transpose": lambda tensor, operation: backends.tensorflow().transpose(tensor, operation.inputs[1]),
}
