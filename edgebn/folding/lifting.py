"""From ONNX nodes to operators of the algebra: what each node means, in float64."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir

from edgebn.algebra import (
    Affine,
    Array,
    AveragePool,
    Clip,
    Conv,
    MatMul,
    MaxPool,
    Operator,
    Reshape,
    Transpose,
)
from edgebn.folding.view import View

_FLOATS = {ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16}
_LARGEST = float(np.finfo(np.float32).max)


def lift(view: View, node: ir.Node) -> Operator | None:
    """The node as an operator of the algebra; None if no law speaks of it, or a weight is not constant."""
    lifted = _LIFTS.get(node.op_type) if node.domain == "" and node.graph is view.graph else None
    if lifted is None or _used_outputs(node) != 1 or node.outputs[0].dtype not in _FLOATS:
        return None
    return lifted(view, node)


def _used_outputs(node: ir.Node) -> int:
    return sum(1 for output in node.outputs if output.name and (output.uses() or output.is_graph_output()))


def _operand(view: View, node: ir.Node) -> Array | None:
    """The constant of a node that joins one to a tensor, at the tensor's rank; None if it stretches the tensor."""
    data = view.data_input(node)
    shape = view.shape(data)
    constants = [index for index, value in enumerate(node.inputs) if value is not data]
    if data is None or shape is None or len(constants) != 1 or len(node.inputs) != 2:
        return None
    constant = view.reals(node, constants[0])
    if constant is None or constant.ndim > len(shape):
        return None
    constant = constant.reshape((1,) * (len(shape) - constant.ndim) + constant.shape)
    stretches = any(own not in (1, extent) for own, extent in zip(constant.shape, shape, strict=True))
    return None if stretches or (constant.ndim > 0 and constant.shape[0] != 1) else constant


def _lift_mul(view: View, node: ir.Node) -> Affine | None:
    constant = _operand(view, node)
    return None if constant is None else Affine(constant, np.zeros(()))


def _lift_add(view: View, node: ir.Node) -> Affine | None:
    constant = _operand(view, node)
    return None if constant is None else Affine(np.ones(()), constant)


def _lift_sub(view: View, node: ir.Node) -> Affine | None:
    constant = _operand(view, node)
    if constant is None:
        return None
    subtracts_constant = view.constant(node.inputs[1]) is not None
    return Affine(np.ones(()), -constant) if subtracts_constant else Affine(-np.ones(()), constant)


def _lift_div(view: View, node: ir.Node) -> Affine | None:
    constant = _operand(view, node)
    if constant is None or view.constant(node.inputs[1]) is None or not constant.all():
        return None
    return Affine(1.0 / constant, np.zeros(()))


def _lift_neg(view: View, node: ir.Node) -> Affine | None:
    shape = view.shape(node.inputs[0])
    return None if shape is None else Affine(-np.ones((1,) * len(shape)), np.zeros(()))


def _lift_batch_normalization(view: View, node: ir.Node) -> Affine | None:
    shape = view.shape(node.inputs[0])
    statistics = [view.reals(node, index) for index in range(1, 5)]
    training = node.attributes.get_int("training_mode", 0)
    if shape is None or len(shape) < 2 or training or any(part is None for part in statistics):
        return None
    gamma, beta, mean, variance = (part for part in statistics if part is not None)
    channel = Affine.batch_norm(gamma, beta, mean, variance, node.attributes.get_float("epsilon", 1e-5))
    per_channel = (1, -1) + (1,) * (len(shape) - 2)
    return Affine(channel.scale.reshape(per_channel), channel.shift.reshape(per_channel))


def _lift_relu(view: View, node: ir.Node) -> Clip | None:
    shape = view.shape(node.inputs[0])
    return None if shape is None else _clip(np.zeros(()), None, len(shape))


def _lift_clip(view: View, node: ir.Node) -> Clip | None:
    shape = view.shape(node.inputs[0])
    bounds = [view.reals(node, index) for index in (1, 2)]
    given = [index < len(node.inputs) and node.inputs[index] is not None for index in (1, 2)]
    computed = any(known and bound is None for known, bound in zip(given, bounds, strict=True))
    if shape is None or computed or "min" in node.attributes or "max" in node.attributes:
        return None
    return _clip(bounds[0], bounds[1], len(shape))


def _lift_max(view: View, node: ir.Node) -> Clip | None:
    constant = _operand(view, node)
    return None if constant is None else _clip(constant, None, constant.ndim)


def _lift_min(view: View, node: ir.Node) -> Clip | None:
    constant = _operand(view, node)
    return None if constant is None else _clip(None, constant, constant.ndim)


def _clip(lower: Array | None, upper: Array | None, rank: int) -> Clip | None:
    """A clip of tensors of `rank`; the largest finite float32 stands for no bound, as `spelling` writes it."""
    low = np.full((1,) * rank, -np.inf) if lower is None else lower.reshape(lower.shape or (1,) * rank)
    high = np.full((1,) * rank, np.inf) if upper is None else upper.reshape(upper.shape or (1,) * rank)
    low, high = np.where(low <= -_LARGEST, -np.inf, low), np.where(high >= _LARGEST, np.inf, high)
    return Clip(low, high) if low.ndim == high.ndim == rank and (low <= high).all() else None


def _lift_matmul(view: View, node: ir.Node) -> MatMul | None:
    kernel = view.reals(node, 1)
    shape = view.shape(node.inputs[0])
    if kernel is None or kernel.ndim != 2 or shape is None or len(shape) < 2:
        return None
    return MatMul(kernel, np.zeros(kernel.shape[1]))


def _lift_gemm(view: View, node: ir.Node) -> MatMul | None:
    attributes = node.attributes
    kernel, bias = view.reals(node, 1), view.reals(node, 2)
    has_bias = len(node.inputs) > 2 and node.inputs[2] is not None
    if kernel is None or attributes.get_int("transA", 0) != 0 or (has_bias and bias is None):
        return None
    if attributes.get_int("transB", 0):
        kernel = kernel.T
    outputs = kernel.shape[1]
    if bias is None:
        bias = np.zeros(outputs)
    if bias.size not in (1, outputs) or (bias.ndim == 2 and bias.shape[0] != 1):
        return None
    alpha, beta = attributes.get_float("alpha", 1.0), attributes.get_float("beta", 1.0)
    return MatMul(alpha * kernel, beta * np.broadcast_to(bias.reshape(-1), (outputs,)))


def _lift_conv(view: View, node: ir.Node) -> Conv | None:
    kernel, bias = view.reals(node, 1), view.reals(node, 2)
    has_bias = len(node.inputs) > 2 and node.inputs[2] is not None
    if kernel is None or (has_bias and bias is None):
        return None
    if bias is None:
        bias = np.zeros(kernel.shape[0])
    return Conv(kernel, bias, node.attributes.get_int("group", 1), _is_padded(node))


def _is_padded(node: ir.Node) -> bool:
    return node.attributes.get_string("auto_pad", "NOTSET").startswith("SAME") or any(
        node.attributes.get_ints("pads", ())
    )


def _lift_max_pool(view: View, node: ir.Node) -> MaxPool | None:  # noqa: ARG001, one signature for all
    return MaxPool()


def _lift_average_pool(view: View, node: ir.Node) -> AveragePool | None:  # noqa: ARG001, one signature for all
    counts_padding = node.attributes.get_int("count_include_pad", 0) == 1
    return AveragePool(counts_padding and _is_padded(node))


def _lift_transpose(view: View, node: ir.Node) -> Transpose | None:
    shape = view.shape(node.inputs[0])
    if shape is None:
        return None
    permutation = tuple(node.attributes.get_ints("perm", tuple(reversed(range(len(shape))))))
    return Transpose(permutation) if permutation[0] == 0 else None


def _lift_reshape(view: View, node: ir.Node) -> Reshape | None:
    before, after = view.shape(node.inputs[0]), view.shape(node.outputs[0])
    return Reshape(before, after) if before and after and view.data_input(node) is node.inputs[0] else None


_LIFTS: Mapping[str, Callable[[View, ir.Node], Operator | None]] = {
    "Add": _lift_add,
    "AveragePool": _lift_average_pool,
    "BatchNormalization": _lift_batch_normalization,
    "Clip": _lift_clip,
    "Conv": _lift_conv,
    "Div": _lift_div,
    "Flatten": _lift_reshape,
    "Gemm": _lift_gemm,
    "GlobalAveragePool": _lift_average_pool,
    "GlobalMaxPool": _lift_max_pool,
    "MatMul": _lift_matmul,
    "Max": _lift_max,
    "MaxPool": _lift_max_pool,
    "Min": _lift_min,
    "Mul": _lift_mul,
    "Neg": _lift_neg,
    "Relu": _lift_relu,
    "Reshape": _lift_reshape,
    "Squeeze": _lift_reshape,
    "Sub": _lift_sub,
    "Transpose": _lift_transpose,
    "Unsqueeze": _lift_reshape,
}
