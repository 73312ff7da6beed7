"""Operators that compute each element of their result from the same element of their inputs: their table."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from edgebn.embedding.c.text import literal

EXPONENTIAL = "exponential"
"""The C function that stands for exp: the generated code needs no libm."""

LARGEST = np.finfo(np.float32).max
"""The largest number that is finite."""

GROWTH, TANGENT, SOFTPLUS, ERF = "exponential_less_one", "hyperbolic_tangent", "softplus", "error_function"
"""Those that stand for expm1, tanh, log1p(exp) and erf."""


@dataclass(frozen=True, eq=False)
class Operation:
    """One C expression. `{0}`, `{1}` stand for its operands: tensors of the graph, or arrays made of its constants."""

    expression: str
    operands: tuple[ir.Value | np.ndarray[Any, Any], ...]


@dataclass(frozen=True)
class Node:
    """A node with its constants at hand: `constant(i)` is input i, None if it is absent or computed.

    `running` is the input that was computed just before, if any.
    """

    node: ir.Node
    constant: Callable[[int], np.ndarray[Any, Any] | None]
    running: ir.Value | None = None

    def inputs(self) -> list[ir.Value]:
        """The inputs that are there. Of three and more, whose order is free, the running one is the first."""
        given = [value for value in self.node.inputs if value is not None]
        return sorted(given, key=lambda value: value is not self.running) if len(given) > 2 else given

    def first(self) -> ir.Value:
        """The first input."""
        return next(value for value in self.node.inputs if value is not None)

    def real(self, name: str, default: float) -> str:
        """An attribute as a C literal."""
        return literal(self.node.attributes.get_float(name, default))


Rule = Callable[[Node], Iterator[Operation]]


def _unary(expression: str, **defaults: float) -> Rule:
    def rule(node: Node) -> Iterator[Operation]:
        values = {name: node.real(name, default) for name, default in defaults.items()}
        text = expression
        for name, value in values.items():
            text = text.replace(name, value)
        yield Operation(text, (node.inputs()[0],))

    return rule


def _variadic(expression: str) -> Rule:
    """x₀ ∘ x₁ ∘ …."""

    def rule(node: Node) -> Iterator[Operation]:
        first, *others = node.inputs()
        if not others:
            yield Operation("{0}", (first,))
        value = first
        for other in others:
            yield Operation(expression, (value, other))
            value = node.node.outputs[0]

    return rule


def _largest(node: Node) -> Iterator[Operation]:
    """The larger, and what is not a number wherever it stands; a constant is one."""
    for operation in _variadic("{0} < {1} || {1} != {1} ? {1} : {0}")(node):
        other = operation.operands[-1]
        index = next((index for index, value in enumerate(node.node.inputs) if value is other), -1)
        known = node.constant(index) if index >= 0 else None
        plain = known is not None and not np.isnan(known).any()
        yield dataclasses.replace(operation, expression="{0} < {1} ? {1} : {0}") if plain else operation


def _mean(node: Node) -> Iterator[Operation]:
    yield from _variadic("{0} + {1}")(node)
    yield Operation(f"{{0}} / {literal(len(node.inputs()))}", (node.node.outputs[0],))


def _clip(node: Node) -> Iterator[Operation]:
    """A bound that is missing is the largest float, by ONNX; one that is infinite bounds nothing."""
    value = node.first()
    for index, expression, sign in ((1, "{0} < {1} ? {1} : {0}", -1), (2, "{0} > {1} ? {1} : {0}", 1)):
        given = node.node.inputs[index] if index < len(node.node.inputs) else None
        known = node.constant(index)
        if known is None or np.isfinite(known).all():
            yield Operation(expression, (value, np.array(sign * LARGEST) if given is None else given))
            value = node.node.outputs[0]
    if value is not node.node.outputs[0]:
        yield Operation("{0}", (value,))


def _normalise(node: Node) -> Iterator[Operation]:
    """y = s·x + t,   s = γ / √(σ² + ε),   t = β − s·μ."""
    x = node.first()
    constants = [node.constant(index) for index in range(1, 5)]
    if any(each is None for each in constants) or node.node.attributes.get_int("training_mode", 0) != 0:
        return
    gamma, beta, mean, variance = (np.asarray(each, np.float64) for each in constants)
    scale = gamma / np.sqrt(variance + node.node.attributes.get_float("epsilon", 1e-5))
    column = (-1, *(1,) * (len(x.shape or (0, 0)) - 2))
    factors = ((each.astype(np.float32).reshape(column)) for each in (scale, beta - scale * mean))
    yield Operation("{0} * {1} + {2}", (x, *factors))


def _gelu(node: Node) -> Iterator[Operation]:
    """x·Φ(x), or the approximation by tanh that the node asks for."""
    if node.node.attributes.get_string("approximate", "none") == "tanh":
        inner = f"{TANGENT}(0.79788456f * ({{0}} + 0.044715f * {{0}} * {{0}} * {{0}}))"
    else:
        inner = f"{ERF}({{0}} * 0.70710678f)"
    yield Operation(f"0.5f * {{0}} * (1.0f + {inner})", (node.first(),))


def _power(node: Node) -> Iterator[Operation]:
    """x^p for the p that need no logarithm."""
    exponent = node.constant(1)
    known = None if exponent is None or exponent.size != 1 else POWERS.get(float(exponent.reshape(-1)[0]))
    if known is not None:
        yield Operation(known, (node.first(),))


POWERS = {
    -1.0: "1.0f / {0}",
    -0.5: "1.0f / square_root({0})",
    0.5: "square_root({0})",
    1.0: "{0}",
    2.0: "{0} * {0}",
    3.0: "{0} * {0} * {0}",
}

NEEDS = {
    "BatchNormalization": "has computed statistics",
    "Pow": f"has an exponent that is none of {', '.join(f'{each:g}' for each in POWERS)}",
}
"""Why there may be no C for an operator of the table."""

POINTWISE: dict[str, Rule] = {
    "Abs": _unary("{0} < 0.0f ? -{0} : {0}"),
    "Add": _variadic("{0} + {1}"),
    "BatchNormalization": _normalise,
    "Cast": _unary("(float){0}"),
    "Clip": _clip,
    "Celu": _unary(f"{{0}} < 0.0f ? alpha * {GROWTH}({{0}} / alpha) : {{0}}", alpha=1.0),
    "Div": _variadic("{0} / {1}"),
    "Elu": _unary(f"{{0}} < 0.0f ? alpha * {GROWTH}({{0}}) : {{0}}", alpha=1.0),
    "Erf": _unary(f"{ERF}({{0}})"),
    "Exp": _unary(f"{{0}} > 80.0f ? {EXPONENTIAL}({{0}} - 1.0f) * 2.7182817f : {EXPONENTIAL}({{0}})"),
    "Gelu": _gelu,
    "HardSigmoid": _unary(
        "alpha * {0} + beta < 0.0f ? 0.0f : alpha * {0} + beta > 1.0f ? 1.0f : alpha * {0} + beta", alpha=0.2, beta=0.5
    ),
    "HardSwish": _unary("{0} * ({0} < -3.0f ? 0.0f : {0} > 3.0f ? 1.0f : {0} / 6.0f + 0.5f)"),
    "LeakyRelu": _unary("{0} < 0.0f ? alpha * {0} : {0}", alpha=0.01),
    "Log": _unary("logarithm({0})"),
    "Max": _largest,
    "Mean": _mean,
    "Min": _variadic("{0} > {1} || {1} != {1} ? {1} : {0}"),
    "Mish": _unary(f"{{0}} * {TANGENT}({SOFTPLUS}({{0}}))"),
    "Mul": _variadic("{0} * {1}"),
    "Neg": _unary("-{0}"),
    "PRelu": _variadic("{0} < 0.0f ? {1} * {0} : {0}"),
    "Pow": _power,
    "Reciprocal": _unary("1.0f / {0}"),
    "Relu": _unary("{0} < 0.0f ? 0.0f : {0}"),
    "Selu": _unary(
        f"{{0}} < 0.0f ? gamma * alpha * {GROWTH}({{0}}) : gamma * {{0}}",
        alpha=1.67326319217681884765625,
        gamma=1.05070102214813232421875,
    ),
    "Sigmoid": _unary("1.0f / (1.0f + exponential(-{0}))"),
    "Softplus": _unary(f"{SOFTPLUS}({{0}})"),
    "Softsign": _unary("{0} / (1.0f + ({0} < 0.0f ? -{0} : {0}))"),
    "Sqrt": _unary("square_root({0})"),
    "Sub": _variadic("{0} - {1}"),
    "Sum": _variadic("{0} + {1}"),
    "ThresholdedRelu": _unary("{0} > alpha ? {0} : 0.0f", alpha=1.0),
    "Tanh": _unary(f"{TANGENT}({{0}})"),
}
