"""From ONNX nodes to operators of the algebra: what each node means, with its weights as they are stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from edgebn.algebra import (
    Affine,
    Array,
    Clip,
    Conv,
    ConvTranspose,
    MatMul,
    Operator,
    PRelu,
    Product,
    Sum,
    Window,
)
from edgebn.algebra.checks import LARGEST
from edgebn.folding import shaping
from edgebn.folding.view import View

_FLOATS = {ir.DataType.FLOAT, ir.DataType.DOUBLE}  # the laws keep weights within what float32 can hold


@dataclass(frozen=True, eq=False)
class Lifted:
    """A node as operators of the algebra, one for each of its outputs; `data` are the inputs that they act on."""

    operators: tuple[Operator, ...]
    data: tuple[int, ...] = (0,)


def lift(view: View, node: ir.Node) -> Lifted | None:
    """The node as operators of the algebra; None if no law speaks of it, or a weight is not constant."""
    if node.domain != "" or node.graph is not view.graph or node.outputs[0].dtype not in _FLOATS:
        return None
    if node.op_type in _PAIRS:
        return _lift_pair(view, node)
    if node.op_type == "Concat":
        concat = shaping.lift_concat(view, node)
        return None if concat is None else Lifted((concat,), tuple(range(len(node.inputs))))
    if node.op_type == "Split":
        selections = shaping.lift_split(view, node)
        return None if selections is None else Lifted(selections)
    lifted = _LIFTS.get(node.op_type)
    if lifted is None or _used_outputs(node) != [node.outputs[0]] or view.constant(node.inputs[0]) is not None:
        return None
    operator = lifted(view, node)
    return None if operator is None else Lifted((operator,))


def _used_outputs(node: ir.Node) -> list[ir.Value]:
    return [output for output in node.outputs if output.name and (output.uses() or output.is_graph_output())]


def _lift_pair(view: View, node: ir.Node) -> Lifted | None:
    """A node of two inputs: an affine or a clip if one is constant, else a join."""
    constants = [index for index, value in enumerate(node.inputs) if view.constant(value) is not None]
    if not constants:
        join = _lift_join(view, node)
        return None if join is None else Lifted((join,), tuple(range(len(node.inputs))))
    if len(node.inputs) != 2 or len(constants) == 2:
        return None
    at = constants[0]
    operand = _operand(view, node, at)
    operator = None if operand is None else _PAIRS[node.op_type](operand, at == 1)
    return None if operator is None else Lifted((operator,), (1 - at,))


def _operand(view: View, node: ir.Node, at: int) -> Array | None:
    """The constant input `at` of a pair, at the rank of the other one; None if it stretches that."""
    constant, shape = view.reals(node, at), view.shape(node.inputs[1 - at])
    if constant is None or shape is None or constant.ndim > len(shape):
        return None
    constant = constant.reshape((1,) * (len(shape) - constant.ndim) + constant.shape)
    stretches = any(own not in (1, extent) for own, extent in zip(constant.shape, shape, strict=True))
    return None if stretches or (constant.ndim > 0 and constant.shape[0] != 1) else constant


def _lift_join(view: View, node: ir.Node) -> Sum | Product | None:
    shapes = [view.shape(value) for value in node.inputs]
    known = tuple(shape for shape in shapes if shape is not None)
    if len(known) != len(shapes) or len({len(shape) for shape in known}) != 1:
        return None
    if node.op_type in {"Add", "Sub", "Sum"}:
        return Sum((1.0, *[-1.0 if node.op_type == "Sub" else 1.0] * (len(known) - 1)), known)
    return Product(known) if node.op_type == "Mul" else None


def _subtraction(operand: Array, second: bool) -> Affine:
    return Affine(np.ones(()), -operand) if second else Affine(-np.ones(()), operand)


def _division(operand: Array, second: bool) -> Affine | None:
    return Affine(1.0 / operand, np.zeros(())) if second and operand.all() else None


_PAIRS: Mapping[str, Callable[[Array, bool], Operator | None]] = {
    "Add": lambda operand, _: Affine(np.ones(()), operand),
    "Div": _division,
    "Max": lambda operand, _: _clip(operand, None, operand.ndim),
    "Min": lambda operand, _: _clip(None, operand, operand.ndim),
    "Mul": lambda operand, _: Affine(operand, np.zeros(())),
    "Sub": _subtraction,
    "Sum": lambda operand, _: Affine(np.ones(()), operand),
}


def _lift_neg(view: View, node: ir.Node) -> Affine | None:
    rank = _rank(view, node)
    return None if rank is None else Affine(-np.ones((1,) * rank), np.zeros(()))


def _lift_batch_normalization(view: View, node: ir.Node) -> Affine | None:
    rank = _rank(view, node)
    statistics = [view.reals(node, index) for index in range(1, 5)]
    if rank is None or rank < 2 or node.attributes.get_int("training_mode", 0) == 1:
        return None
    gamma, beta, mean, variance = statistics
    if gamma is None or beta is None or mean is None or variance is None:
        return None
    channel = Affine.batch_norm(gamma, beta, mean, variance, node.attributes.get_float("epsilon", 1e-5))
    per_channel = (1, -1) + (1,) * (rank - 2)
    return Affine(channel.scale.reshape(per_channel), channel.shift.reshape(per_channel))


def _lift_relu(view: View, node: ir.Node) -> Clip | None:
    rank = _rank(view, node)
    return None if rank is None else Clip.relu(rank)


def _lift_clip(view: View, node: ir.Node) -> Clip | None:
    rank = _rank(view, node)
    bounds = [view.reals(node, index) for index in (1, 2)]
    computed = any(view.has(node, index + 1) and bound is None for index, bound in enumerate(bounds))
    if rank is None or computed or "min" in node.attributes or "max" in node.attributes:
        return None
    lower, upper = (None if bound is None else bound.reshape((1,) * rank) for bound in bounds)
    return _clip(lower, upper, rank)


def _clip(lower: Array | None, upper: Array | None, rank: int) -> Clip | None:
    """A clip of tensors of `rank`; the largest finite float32 stands for no bound, as `spelling` writes it."""
    low = np.full((1,) * rank, -np.inf) if lower is None else lower
    high = np.full((1,) * rank, np.inf) if upper is None else upper
    low, high = np.where(low <= -LARGEST, -np.inf, low), np.where(high >= LARGEST, np.inf, high)
    return Clip(low, high) if (low <= high).all() else None


def _lift_leaky_relu(view: View, node: ir.Node) -> PRelu | None:
    rank = _rank(view, node)
    return None if rank is None else PRelu(np.full((1,) * rank, node.attributes.get_float("alpha", 0.01)))


def _lift_prelu(view: View, node: ir.Node) -> PRelu | None:
    slope = _operand(view, node, 1) if len(node.inputs) == 2 else None
    return None if slope is None else PRelu(slope)


def _lift_matmul(view: View, node: ir.Node) -> MatMul | None:
    kernel, rank = view.argument(node, 1), _rank(view, node)
    if kernel is None or kernel.ndim != 2 or rank is None or rank < 2:
        return None
    return MatMul(kernel, np.zeros(kernel.shape[1]))


def _lift_gemm(view: View, node: ir.Node) -> MatMul | None:
    attributes = node.attributes
    kernel = view.argument(node, 1)
    if kernel is None or attributes.get_int("transA", 0) != 0:
        return None
    if attributes.get_int("transB", 0):
        kernel = kernel.T
    bias = _bias(view, node, kernel.shape[1])
    alpha, beta = attributes.get_float("alpha", 1.0), attributes.get_float("beta", 1.0)
    return None if bias is None else MatMul(kernel if alpha == 1.0 else np.float64(alpha) * kernel, beta * bias)


def _lift_conv(view: View, node: ir.Node) -> Conv | None:
    kernel = view.argument(node, 1)
    window = None if kernel is None else shaping.window(view, node, kernel.shape[2:])
    bias = None if kernel is None else _bias(view, node, kernel.shape[0])
    if kernel is None or bias is None or window is None:
        return None
    return Conv(kernel, bias, node.attributes.get_int("group", 1), window)


def _lift_conv_transpose(view: View, node: ir.Node) -> ConvTranspose | None:
    kernel, groups = view.argument(node, 1), node.attributes.get_int("group", 1)
    shape = view.shape(node.outputs[0])
    window: Window | None = None if kernel is None else shaping.transposed_window(view, node, kernel.shape[2:])
    bias = None if kernel is None else _bias(view, node, groups * kernel.shape[1])
    if kernel is None or bias is None or window is None or shape is None:
        return None
    return ConvTranspose(kernel, bias, groups, window, shape[2:])


def _bias(view: View, node: ir.Node, outputs: int) -> Array | None:
    """Input 2 as (outputs,), zeros if there is none; None if it is not constant or has another form."""
    if not view.has(node, 2):
        return np.zeros(outputs)
    bias = view.reals(node, 2)
    if bias is None or bias.size not in (1, outputs) or (bias.ndim == 2 and bias.shape[0] != 1):
        return None
    return np.broadcast_to(bias.reshape(-1), (outputs,))


def _rank(view: View, node: ir.Node) -> int | None:
    shape = view.shape(node.inputs[0])
    return None if shape is None else len(shape)


_LIFTS: Mapping[str, Callable[[View, ir.Node], Any]] = {
    "BatchNormalization": _lift_batch_normalization,
    "Clip": _lift_clip,
    "Conv": _lift_conv,
    "ConvTranspose": _lift_conv_transpose,
    "Gemm": _lift_gemm,
    "LeakyRelu": _lift_leaky_relu,
    "MatMul": _lift_matmul,
    "Neg": _lift_neg,
    "PRelu": _lift_prelu,
    "Relu": _lift_relu,
    **shaping.LIFTS,
}
