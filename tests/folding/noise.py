"""A graph in float64, and how much rounding its float32 form may bring.

Beside each tensor stands its noise: a bound, to first order and in units of the machine epsilon, on the rounding errors
that a float32 evaluation has collected there. Each operator hands on the noise of its inputs by its derivative, and
adds the size of the terms that it rounds itself (Higham, "Accuracy and Stability of Numerical Algorithms", 2002,
section 3.3, running error analysis). So cancellation and large scales are accounted for exactly where they happen, and
an error in an equation, which is no rounding, has nowhere to hide.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from tests.folding.float64 import Array, Attributes, batch_normalization, evaluate, exact


@dataclass(frozen=True, eq=False)
class Noisy:
    """A tensor in float64, and for each element its noise."""

    value: Array
    noise: Array


def run(model: ir.Model, inputs: Mapping[str, Array]) -> list[Noisy]:
    """The outputs of the model. What the caller does not feed is taken from the initializers."""
    stored = {name: value.const_value.numpy() for name, value in model.graph.initializers.items()}
    known = {name: _noiseless(exact(x)) for name, x in (stored | dict(inputs)).items()}
    for node in model.graph:
        attributes = {name: attribute.value for name, attribute in node.attributes.items()}
        operands = [None if value is None else known[value.name] for value in node.inputs]
        for output, result in zip(node.outputs, _operate(node.op_type, attributes, operands), strict=False):
            known[output.name] = result
    return [known[value.name] for value in model.graph.outputs]


def _operate(op_type: str, attributes: Attributes, inputs: Sequence[Noisy | None]) -> list[Noisy]:
    results = evaluate(op_type, attributes, [None if each is None else each.value for each in inputs])
    noises = _NOISE.get(op_type, _moved)(op_type, attributes, inputs, results)
    return [Noisy(result, noise) for result, noise in zip(results, noises, strict=True)]


def _noiseless(x: Array) -> Noisy:
    return Noisy(x, np.zeros(x.shape))


_Given = Sequence[Noisy | None]


def _moved(op_type: str, attributes: Attributes, inputs: _Given, _: list[Array]) -> list[Array]:
    """Elements that are moved or picked take their noise along; a border has none, and no pool picks it."""
    moved = [None if each is None else each.noise if index == 0 else each.value for index, each in enumerate(inputs)]
    if op_type == "Pad" and len(inputs) > 2 and inputs[2] is not None:
        moved[2] = np.zeros(1)
    return evaluate(op_type, attributes, moved)


def _joined(op_type: str, attributes: Attributes, inputs: _Given, _: list[Array]) -> list[Array]:
    return evaluate(op_type, attributes, [each.noise for each in inputs if each is not None])


def _largest(op_type: str, attributes: Attributes, inputs: _Given, _: list[Array]) -> list[Array]:
    """An extremum is never off by more than the one of its arguments that is off most."""
    return evaluate(op_type.replace("Min", "Max"), attributes, [_noise_or_index(each) for each in inputs])


def _noise_or_index(given: Noisy) -> Array:
    return given.noise if given.value.dtype.kind == "f" else given.value


def _size_or_index(given: Noisy) -> Array:
    return np.abs(given.value) if given.value.dtype.kind == "f" else given.value


def _weighted(op_type: str, attributes: Attributes, inputs: _Given, _: list[Array]) -> list[Array]:
    """Σ w·x: the noise of x, and the size of each term, weighted by the sizes of the weights."""
    sizes = [None if each is None else _size_or_index(each) for each in inputs[1:]]
    sizes = [inputs[0].noise + np.abs(inputs[0].value), *sizes]
    return evaluate(op_type, {**attributes, **_magnitudes(attributes)}, sizes)


def _magnitudes(attributes: Attributes) -> Attributes:
    return {name: abs(attributes[name]) for name in ("alpha", "beta") if name in attributes}


def _through_norm(_: str, attributes: Attributes, inputs: _Given, __: list[Array]) -> list[Array]:
    x, gamma, beta, mean, variance = (each for each in inputs if each is not None)
    sizes = [np.abs(part.value) for part in (gamma, beta, mean, variance)]
    sizes[2] = -sizes[2]  # |γ|·(|x| + |μ|)/√(σ² + ε) + |β|
    return [batch_normalization(attributes, x.noise + np.abs(x.value), *sizes)]


def _added(_: str, __: Attributes, inputs: _Given, results: list[Array]) -> list[Array]:
    return [inputs[0].noise + inputs[1].noise + np.abs(results[0])]


def _multiplied(_: str, __: Attributes, inputs: _Given, results: list[Array]) -> list[Array]:
    x, y = inputs
    return [np.abs(x.value) * y.noise + np.abs(y.value) * x.noise + np.abs(results[0])]


def _divided(_: str, __: Attributes, inputs: _Given, results: list[Array]) -> list[Array]:
    return [inputs[0].noise / np.abs(inputs[1].value) + np.abs(results[0])]


def _bent(op_type: str, attributes: Attributes, inputs: _Given, results: list[Array]) -> list[Array]:
    slope = np.abs(inputs[1].value) if op_type == "PRelu" else abs(attributes.get("alpha", 0.01))
    return [np.maximum(slope, 1.0) * inputs[0].noise + np.abs(results[0])]


def _saturated(_: str, __: Attributes, inputs: _Given, results: list[Array]) -> list[Array]:
    """A slope of at most 1; runtimes compute ½ + p/q, and so round a number of size 1 even for a small result."""
    return [inputs[0].noise + np.ones(result.shape) for result in results]


def _clipped(_: str, __: Attributes, inputs: _Given, results: list[Array]) -> list[Array]:
    return [np.broadcast_to(inputs[0].noise, results[0].shape)]


_NOISE: Mapping[str, Callable[[str, Attributes, _Given, list[Array]], list[Array]]] = {
    **dict.fromkeys(("Conv", "ConvTranspose", "Gemm", "MatMul", "AveragePool", "GlobalAveragePool"), _weighted),
    **dict.fromkeys(("ReduceMean", "ReduceSum", "Resize"), _weighted),
    **dict.fromkeys(("Max", "Min", "MaxPool", "GlobalMaxPool", "ReduceMax", "ReduceMin"), _largest),
    **dict.fromkeys(("Add", "Sub"), _added),
    **dict.fromkeys(("Sigmoid", "Tanh"), _saturated),
    **dict.fromkeys(("Relu", "Clip", "Neg"), _clipped),
    **dict.fromkeys(("LeakyRelu", "PRelu"), _bent),
    **dict.fromkeys(
        ("Constant", "ConstantOfShape", "Shape"), lambda *given: [np.zeros(each.shape) for each in given[3]]
    ),
    "BatchNormalization": _through_norm,
    "Concat": _joined,
    "Div": _divided,
    "Mul": _multiplied,
}
