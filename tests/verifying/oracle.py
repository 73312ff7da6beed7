"""What an ONNX graph computes in float64, and how far rounding may move it in float32. Nothing of edgebn's is used.

The inputs are its own, and so is the measure of rounding: the graph runs several times with random errors, as
stochastic arithmetic has it. A weight and the result of an operation on numbers err by up to u = 2⁻²⁴ of themselves, a
sum of n products by u·√n of the larger of the sum and of the root of its squares: a random walk.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from numpy.lib.stride_tricks import sliding_window_view
from onnx import helper, numpy_helper

Arrays = list[np.ndarray]
Attributes = dict[str, Any]

HALF_ULP = 2.0**-24
TRIALS = 6
MORE_THAN_ROUNDING = 4.0
"""Times the furthest that any trial came away on any sample: no rounding does that."""

FLUSHED = 2.0**-126
"""Numbers below the smallest normal one may count as 0."""


@dataclass(frozen=True, eq=False)
class Oracle:
    """The right graph and inputs to judge others on: batches of samples, each of one kind."""

    right: onnx.ModelProto
    batches: tuple[np.ndarray, ...]

    def is_more_than_rounding(self, wrong: onnx.ModelProto) -> bool:
        """Whether on some batch some channel of some output moves further than rounding moves it in the right graph."""
        return any(self._differs(wrong, index) for index in range(len(self.batches)))

    def _differs(self, wrong: onnx.ModelProto, index: int) -> bool:
        try:
            found = outputs(wrong, self.batches[index])
        except (ValueError, IndexError):  # shapes that do not fit
            return True
        exact, rounding = self._rounded[index]
        for ours, theirs, moved in zip(exact, found, rounding, strict=True):
            if ours.shape != theirs.shape or not np.isfinite(theirs).all():
                return True
            if (largest(theirs - ours) > MORE_THAN_ROUNDING * moved + FLUSHED).any():
                return True
        return False

    @cached_property
    def _rounded(self) -> list[tuple[Arrays, Arrays]]:
        """For each batch the outputs, and of each how far rounding moves its channels."""
        found = []
        for index, batch in enumerate(self.batches):
            exact = outputs(self.right, batch)
            rng = np.random.default_rng((91, index))
            runs = [outputs(self.right, batch, rng) for _ in range(TRIALS)]
            moves = [np.max([largest(run[place] - each) for run in runs], axis=0) for place, each in enumerate(exact)]
            found.append((exact, moves))
        return found


def largest(differences: np.ndarray) -> np.ndarray:
    """Of each channel of the last axis."""
    return np.asarray(np.abs(differences).reshape(-1, differences.shape[-1]).max(axis=0))


def batches(shape: tuple[int, ...], digits: np.ndarray | None = None, seed: int = 2024) -> tuple[np.ndarray, ...]:
    """Samples of one shape: random at several scales, dark but for a pixel or a corner, even ones; digits, if any."""
    rng = np.random.default_rng(seed)
    count = 8
    random = [scale * rng.standard_normal((count, *shape)) for scale in (1e-2, 1.0, 30.0)]
    positive = rng.uniform(0.0, 1.0, (count, *shape))
    pixel = np.zeros((count, int(np.prod(shape))))
    pixel[np.arange(count), rng.integers(0, pixel.shape[1], count)] = 3.0
    even = np.ones((count, *shape)) * rng.normal(0.0, 1.0, (count, *[1] * len(shape)))
    given = [] if digits is None else [digits.reshape(-1, *shape)[:count]]
    return tuple(each.astype(np.float64) for each in (*random, positive, pixel.reshape(-1, *shape), even, *given))


def outputs(model: onnx.ModelProto, x: np.ndarray, noise: np.random.Generator | None = None) -> Arrays:
    """The outputs for `x`, in float64; with the errors of float32 drawn from `noise`, if that is given."""
    values = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    for name, each in values.items():
        if each.dtype == np.float32:
            rounded = 0.0 if noise is None else noise.uniform(-HALF_ULP, HALF_ULP, each.shape)
            values[name] = each.astype(np.float64) * (1.0 + rounded)
    values[model.graph.input[0].name] = x
    for node in model.graph.node:
        attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        result, squares, terms = OPERATORS[node.op_type]([values[name] for name in node.input], attributes)
        values[node.output[0]] = result if noise is None else result + _error(result, squares, terms, noise)
    return [values[each.name] for each in model.graph.output]


def _error(result: np.ndarray, squares: np.ndarray | None, terms: int, noise: np.random.Generator) -> np.ndarray:
    """`squares` is the sum of the squares of the terms that the result is the sum of; None if it errs not at all."""
    if squares is None:
        return np.zeros(result.shape)
    sizes = np.maximum(np.abs(result), np.sqrt(np.maximum(squares, 0.0)))
    return np.asarray(HALF_ULP * np.sqrt(terms) * sizes * noise.uniform(-1.0, 1.0, result.shape))


Result = tuple[np.ndarray, np.ndarray | None, int]
Operator = Callable[[Arrays, Attributes], Result]


def pointwise(function: Callable[..., Any]) -> Operator:
    """Rounded once."""

    def run(inputs: Arrays, _: Attributes) -> Result:
        result = np.asarray(function(*inputs))
        return result, result**2, 1

    return run


def arranging(function: Callable[[Arrays, Attributes], Any]) -> Operator:
    """Not rounded."""
    return lambda inputs, attributes: (np.asarray(function(inputs, attributes)), None, 0)


def matmul(inputs: Arrays, _: Attributes) -> Result:
    x, kernel = inputs
    return x @ kernel, x**2 @ kernel**2, kernel.shape[-2]


def gemm(inputs: Arrays, attributes: Attributes) -> Result:
    x, kernel, *bias = inputs
    kernel = kernel.T if attributes.get("transB") else kernel
    product, squares, terms = matmul([attributes.get("alpha", 1.0) * x, kernel], {})
    return (product + bias[0], squares + bias[0] ** 2, terms + 1) if bias else (product, squares, terms)


def conv(inputs: Arrays, attributes: Attributes) -> Result:
    """x[n, c, …] and kernel[m, c / groups, …]; any number of axes."""
    x, kernel, *bias = inputs
    groups = attributes.get("group", 1)
    patches = windows(x, kernel.shape[2:], attributes, 0.0)
    axes = kernel.ndim - 2
    rows = patches.reshape(*patches.shape[: 1 + axes], groups, -1)
    columns = kernel.reshape(groups, kernel.shape[0] // groups, -1)
    result, squares = (
        np.moveaxis(np.einsum("...gk,gmk->...gm", a, b, optimize=True).reshape(*rows.shape[: 1 + axes], -1), -1, 1)
        for a, b in ((rows, columns), (rows**2, columns**2))
    )
    if not bias:
        return result, squares, columns.shape[-1]
    added = bias[0].reshape(-1, *[1] * axes)
    return result + added, squares + added**2, columns.shape[-1] + 1


def windows(x: np.ndarray, shape: tuple[int, ...], attributes: Attributes, filler: float) -> np.ndarray:
    """Axes n, places…, c, positions in the window…."""
    axes = len(shape)
    pads, strides = attributes.get("pads", [0] * 2 * axes), attributes.get("strides", [1] * axes)
    assert set(attributes.get("dilations", [1])) == {1}
    assert not attributes.get("ceil_mode")
    assert attributes.get("auto_pad", b"NOTSET") == b"NOTSET"
    x = np.pad(x, [(0, 0), (0, 0), *zip(pads[:axes], pads[axes:], strict=True)], constant_values=filler)
    found = sliding_window_view(x, shape, axis=tuple(range(2, 2 + axes)))
    return np.moveaxis(found[(slice(None), slice(None), *(slice(None, None, step) for step in strides))], 1, 1 + axes)


def max_pool(inputs: Arrays, attributes: Attributes) -> np.ndarray:
    shape = tuple(attributes["kernel_shape"])
    found = windows(inputs[0], shape, attributes, -np.inf)
    return np.moveaxis(found.max(axis=tuple(range(-len(shape), 0))), -1, 1)


def average_pool(inputs: Arrays, attributes: Attributes) -> Result:
    shape = tuple(attributes["kernel_shape"])
    axes = tuple(range(-len(shape), 0))
    found = windows(inputs[0], shape, attributes, 0.0)
    counted = attributes.get("count_include_pad", 0)
    real = windows(np.ones_like(inputs[0]), shape, attributes, 1.0 if counted else 0.0).sum(axis=axes)
    result, squares = (np.moveaxis(each, -1, 1) for each in (found.sum(axes) / real, (found**2).sum(axes) / real**2))
    return result, squares, int(np.prod(shape))


def mean(inputs: Arrays, attributes: Attributes) -> Result:
    axes = tuple(int(axis) for axis in (inputs[1] if len(inputs) > 1 else attributes["axes"]))
    keeps, count = bool(attributes.get("keepdims", 1)), int(np.prod([inputs[0].shape[axis] for axis in axes]))
    result, squares = (each.mean(axis=axes, keepdims=keeps) for each in (inputs[0], inputs[0] ** 2))
    return result, squares / count, count


def global_average_pool(inputs: Arrays, _: Attributes) -> Result:
    return mean(inputs, {"axes": range(2, inputs[0].ndim)})


def softmax(inputs: Arrays, attributes: Attributes) -> Result:
    """The exponential of a difference, a sum and a quotient."""
    axis = attributes.get("axis", -1)
    powers = np.exp(inputs[0] - inputs[0].max(axis=axis, keepdims=True))
    result = powers / powers.sum(axis=axis, keepdims=True)
    return result, (1.0 + np.abs(inputs[0] - inputs[0].max(axis=axis, keepdims=True))) ** 2 * result**2, 3


def log_softmax(inputs: Arrays, attributes: Attributes) -> Result:
    axis = attributes.get("axis", -1)
    shifted = inputs[0] - inputs[0].max(axis=axis, keepdims=True)
    result = shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))
    return result, 1.0 + result**2, 3


def reshape(inputs: Arrays, _: Attributes) -> np.ndarray:
    data, shape = inputs
    return data.reshape([data.shape[axis] if extent == 0 else int(extent) for axis, extent in enumerate(shape)])


def flatten(inputs: Arrays, attributes: Attributes) -> np.ndarray:
    return inputs[0].reshape(int(np.prod(inputs[0].shape[: attributes.get("axis", 1)])), -1)


OPERATORS: dict[str, Operator] = {
    "Add": pointwise(np.add),
    "AveragePool": average_pool,
    "Conv": conv,
    "Flatten": arranging(flatten),
    "Gather": arranging(lambda inputs, attributes: inputs[0].take(inputs[1], attributes.get("axis", 0))),
    "Gemm": gemm,
    "GlobalAveragePool": global_average_pool,
    "Identity": arranging(lambda inputs, _: inputs[0]),
    "LeakyRelu": lambda inputs, attributes: pointwise(
        lambda x: np.where(x < 0.0, attributes.get("alpha", 0.01) * x, x)
    )(inputs, {}),
    "LogSoftmax": log_softmax,
    "MatMul": matmul,
    "Max": arranging(lambda inputs, _: np.maximum(*inputs)),
    "MaxPool": arranging(max_pool),
    "Min": arranging(lambda inputs, _: np.minimum(*inputs)),
    "Mul": pointwise(np.multiply),
    "ReduceMean": mean,
    "Relu": arranging(lambda inputs, _: np.maximum(inputs[0], 0.0)),
    "Reshape": arranging(reshape),
    "Sigmoid": pointwise(lambda x: 0.5 + 0.5 * np.tanh(0.5 * x)),
    "Softmax": softmax,
    "Squeeze": arranging(lambda inputs, _: np.squeeze(inputs[0], tuple(int(axis) for axis in inputs[1]))),
    "Sub": pointwise(np.subtract),
    "Tanh": pointwise(np.tanh),
    "Transpose": arranging(lambda inputs, attributes: inputs[0].transpose(attributes["perm"])),
    "Unsqueeze": arranging(lambda inputs, _: np.expand_dims(inputs[0], tuple(int(axis) for axis in inputs[1]))),
}
