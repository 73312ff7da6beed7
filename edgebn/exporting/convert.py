"""The conversion by tf2onnx, with every BatchNormalization kept apart from its neighbours.

TensorFlow's graph optimiser, which tf2onnx runs, multiplies the scale of a BatchNormalization into the weights before
it wherever it can: in float32, and without a trace. So that the folding can be edgebn's, each layer is traced as

    shift + scale·x

where scale and shift are inputs of the traced function, about which the optimiser knows nothing. Once it has run, and
before the ONNX graph is written, they are replaced by their values. As the first operand, they are also left alone by
tf2onnx's own rewriting of transposes, which moves the Mul and Add through a Transpose but not into a Conv.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from edgebn import backends
from edgebn.algebra import Affine, Array
from edgebn.errors import ConversionError
from edgebn.exporting.handlers import HANDLERS, INPUT, unmarked
from edgebn.exporting.stand_ins import stand_ins
from edgebn.folding import LayerConstant
from edgebn.loading import Source

_AT_CONVERSION = (ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError, NotImplementedError)
_COLOUR = re.compile(r"\x1b\[\d*m")
_PREFIX = "edgebn_"


@dataclass(frozen=True, eq=False)
class Converted:
    """The graph as tf2onnx gives it; `constants` maps the end of a node's name to where its constant comes from."""

    model: onnx.ModelProto
    constants: Mapping[str, LayerConstant]


@dataclass(frozen=True, eq=False)
class _Norm:
    """A BatchNormalization layer, and its affine map at the rank of its input."""

    layer: Any
    path: str
    name: str
    affine: Affine
    variance: Array

    @property
    def parts(self) -> dict[str, Array]:
        return {f"{self.name}_scale": self.affine.scale, f"{self.name}_shift": self.affine.shift}

    def call(self, scale: Any, shift: Any) -> Any:
        """A stand-in for the layer's `call`, with the scale and shift of tensors of the traced function."""
        tensorflow, layer = backends.tensorflow(), self.layer

        def call(inputs: Any, training: Any = None, mask: Any = None) -> Any:
            if training or inputs.dtype != tensorflow.float32:
                return type(layer).call(layer, inputs, training=training, mask=mask)
            scaled = tensorflow.multiply(scale, inputs, name=f"{self.name}_scale")
            return tensorflow.add(shift, scaled, name=f"{self.name}_shift")

        return call


def convert(source: Source, opset: int) -> Converted:
    """Convert `source` to ONNX: inputs are called after their position, `edgebn_input_0`, as are its constants.

    Raises:
        ConversionError: if TensorFlow can not trace the model or tf2onnx can not convert it.
    """
    tensorflow = backends.tensorflow()
    norms = tuple(_norms(source))
    with np.errstate(over="ignore"):  # infinite in Keras too
        values = {name: part.astype(np.float32) for norm in norms for name, part in norm.parts.items()}
    specs = [
        tensorflow.TensorSpec(tensor.shape, tensor.dtype, name=f"{INPUT}{index}")
        for index, tensor in enumerate(source.inputs)
    ]
    specs += [tensorflow.TensorSpec(value.shape, tensorflow.float32, name=name) for name, value in values.items()]

    def function(*tensors: Any) -> tuple[Any, ...]:
        inputs, parts = tensors[: len(source.inputs)], tensors[len(source.inputs) :]
        calls = stand_ins(source)
        for norm, scale, shift in zip(norms, parts[::2], parts[1::2], strict=True):
            calls[norm.layer] = norm.call(scale, shift)
        with _replaced_calls(calls), _inlined_functions():
            return source.call(*inputs)

    traced = tensorflow.function(function, autograph=False)
    model = _converted(traced, specs, opset, values, source.name)
    constants = {
        name: LayerConstant(norm.path, part, norm.variance if part is norm.affine.scale else None)
        for norm in norms
        for name, part in norm.parts.items()
    }
    return Converted(model, constants)


def _norms(source: Source) -> Iterator[_Norm]:
    """The BatchNormalization layers of the model, however deep, each once and in a fixed order."""
    norm_type = backends.keras().layers.BatchNormalization
    for index, (path, layer) in enumerate(source.layers.items()):
        if type(layer) is norm_type and layer.built:
            yield _Norm(layer, path, f"{_PREFIX}{index}", _affine(layer), _float64(layer.moving_variance))


def _affine(layer: Any) -> Affine:
    mean, variance = _float64(layer.moving_mean), _float64(layer.moving_variance)
    gamma = _float64(layer.gamma) if layer.scale else np.ones_like(mean)
    beta = _float64(layer.beta) if layer.center else np.zeros_like(mean)
    channel = Affine.batch_norm(gamma, beta, mean, variance, layer.epsilon)
    shape = [1] * layer.input_spec.ndim
    shape[layer.axis] = mean.size
    return Affine(channel.scale.reshape(shape), channel.shift.reshape(shape))


def _float64(variable: Any) -> Array:
    return np.asarray(variable.numpy(), np.float64)


@contextlib.contextmanager
def _replaced_calls(calls: Mapping[Any, Any]) -> Iterator[None]:
    """Let each layer's `call` be another function."""
    try:
        for layer, call in calls.items():
            object.__setattr__(layer, "call", call)  # past Keras's tracking of attributes
        yield
    finally:
        for layer in calls:
            if "call" in vars(layer):
                object.__delattr__(layer, "call")


@contextlib.contextmanager
def _inlined_functions() -> Iterator[None]:
    """Trace through functions that layers compile for themselves (a convolution in groups), which tf2onnx can not."""
    config = backends.tensorflow().config
    before = config.functions_run_eagerly()
    config.run_functions_eagerly(True)
    try:
        yield
    finally:
        config.run_functions_eagerly(before)


def _converted(
    function: Any, specs: Sequence[Any], opset: int, values: Mapping[str, np.ndarray], name: str
) -> onnx.ModelProto:
    with backends.silenced():
        import tf2onnx

    def fill_in(graph: Any, operations: Sequence[Any]) -> Any:
        for operation in list(operations):
            if operation.type == "Placeholder" and operation.name in values:
                graph.remove_node(operation.name)
                graph.make_const(operation.name, values[operation.name])
        graph.inputs = [node for node in graph.inputs if node.name not in values]
        return graph.get_nodes()

    logger = logging.getLogger("tf2onnx")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with backends.silenced():
            values = {**values, **_captured(function.get_concrete_function(*specs))}
            model: onnx.ModelProto
            model, _ = tf2onnx.convert.from_function(
                function,
                input_signature=specs,
                opset=opset,
                custom_op_handlers=dict(HANDLERS),
                custom_rewriter=[fill_in],
            )
    except (*_AT_CONVERSION, backends.tensorflow().errors.OpError) as error:
        raise ConversionError(f"{name}: tf2onnx can not convert it: {_reason(error)}") from error
    finally:
        logger.setLevel(level)
    return unmarked(model)


def _captured(concrete: Any) -> dict[str, np.ndarray]:
    """The tensors that layers hold outside of variables (Normalization's mean), by the names they have when traced.

    tf2onnx would make inputs of the model of them.
    """
    resource = backends.tensorflow().resource
    return {
        inner.name: outer.numpy()
        for outer, inner in concrete.graph.captures
        if outer.dtype != resource and hasattr(outer, "numpy")
    }


def _reason(error: BaseException) -> str:
    """The line that says what is wrong: the last, but for the arguments of the layer that Keras lists behind it."""
    text = _COLOUR.sub("", str(error)).split("Arguments received by")[0]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__
