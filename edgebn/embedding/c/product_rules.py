"""Rules for convolutions, matrix products and pools: from ONNX nodes to steps, with what they can take along."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import onnx_ir as ir

from edgebn.embedding.c import pools, products, steps, tiles, written_out
from edgebn.embedding.c.lowering import Lowering, first_input, given_inputs, shape_of
from edgebn.embedding.c.memory import Operand, Shape, channels_last_order, in_order, row_major
from edgebn.embedding.c.steps import Applied, Array
from edgebn.embedding.c.windows import Axis

SAME = {"SAME_UPPER", "SAME_LOWER"}
"""Values of auto_pad with which an operator pads."""

CONVOLUTIONS = {"Conv", "ConvTranspose"}

POOLS = {"AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool"}


def conv(lower: Lowering, node: ir.Node) -> None:
    """Conv with constant weights, what follows it, and a pool behind that."""
    weights, bias = lower.argument(node, 1), lower.argument(node, 2)
    if weights is None or (len(node.inputs) > 2 and node.inputs[2] is not None and bias is None):
        raise lower.refusal(node, "has computed weights")
    value = first_input(node)
    groups = node.attributes.get_int("group", 1)
    axes = _windows(lower, node, shape_of(value)[2:], shape_of(node.outputs[0])[2:], weights.shape[2:])
    taps = [axis.kernel for axis in axes]
    outputs, inputs = weights.shape[:2]
    moved = np.moveaxis(weights.reshape(groups, outputs // groups, inputs, *taps), (1, 2), (-1, -2))
    if groups > 1 and inputs == 1 and outputs == groups:  # depthwise
        moved = moved.reshape(groups, *taps).transpose(1, 2, 3, 0).reshape(1, *taps, 1, groups)
    x = lower.channels_last(value)
    _product(
        lower, node, x, shape_of(value)[0], axes, moved, bias, depthwise=groups > 1 and inputs == 1 == outputs // groups
    )


def conv_transpose(lower: Lowering, node: ir.Node) -> None:
    """ConvTranspose: the pixels among zeros, convolved with the kernel turned round."""
    weights, bias = lower.argument(node, 1), lower.argument(node, 2)
    if weights is None or (len(node.inputs) > 2 and node.inputs[2] is not None and bias is None):
        raise lower.refusal(node, "has computed weights")
    if node.attributes.get_int("group", 1) != 1:
        raise lower.refusal(node, "has groups")
    value = first_input(node)
    spread = _spread(lower, node, shape_of(value)[2:], shape_of(node.outputs[0])[2:], weights.shape[2:])
    x = _apart(lower, node, value, spread)
    turned = np.flip(weights, tuple(range(2, weights.ndim)))
    depth, height, width = [*[Axis(1, 1)] * (3 - len(spread)), *(axis for axis, _, _ in spread)]
    taps = [axis.kernel for axis in (depth, height, width)]
    moved = np.moveaxis(turned, (0, 1), (-2, -1)).reshape(1, *taps, *turned.shape[:2])
    _product(lower, node, x, shape_of(value)[0], (depth, height, width), moved, bias)


def _spread(
    lower: Lowering, node: ir.Node, inputs: Shape, outputs: Shape, kernel: Sequence[int]
) -> list[tuple[Axis, int, int]]:
    """For each spatial axis the convolution, where the first pixel goes, and how far apart pixels are."""
    rank = len(inputs)
    if rank > 3:
        raise lower.refusal(node, f"has {rank} spatial axes, not 1 to 3")
    ints, ones = node.attributes.get_ints, (1,) * rank
    strides, dilations = ints("strides") or ones, ints("dilations") or ones
    begins, automatic = list(ints("pads") or (0,) * rank)[:rank], node.attributes.get_string("auto_pad", "NOTSET")
    if automatic in SAME or ints("output_shape"):
        more = ints("output_padding") or (0,) * rank
        totals = [
            (count - 1) * stride + extra + (size - 1) * dilation + 1 - out
            for count, stride, extra, size, dilation, out in zip(
                inputs, strides, more, kernel, dilations, outputs, strict=True
            )
        ]
        begins = [total // 2 if automatic == "SAME_UPPER" else total - total // 2 for total in totals]
    found = []
    for count, out, size, stride, begin, dilation in zip(
        inputs, outputs, kernel, strides, begins, dilations, strict=True
    ):
        extent, first = out + (size - 1) * dilation, (size - 1) * dilation - begin
        if first < 0 or first + (count - 1) * stride >= extent:
            raise lower.refusal(node, "cuts off what it makes of the border")
        found.append((Axis(extent, out, size, 1, 0, dilation), first, stride))
    return found


def _apart(lower: Lowering, node: ir.Node, value: ir.Value, axes: Sequence[tuple[Axis, int, int]]) -> Operand:
    """The pixels of a tensor in their places among zeros."""
    x = lower.operand(value)
    shape = (*x.shape[:2], *(axis.inputs for axis, _, _ in axes))
    buffer = lower.buffer(value, shape)
    whole = place = in_order(buffer, shape, channels_last_order(len(shape)))
    for number, (_, first, stride) in enumerate(axes, 2):
        place = place.sliced(number, first, x.shape[number], stride)
    text = f"{node.op_type}: {list(x.shape)} among zeros, {list(shape)}"
    lower.steps.append(steps.Fill(lower.function(node), text, (), whole, 0.0))
    lower.steps.append(steps.Pointwise(lower.function(node), text, (x,), place, (Applied("{0}", (x,)),)))
    return whole


def _windows(
    lower: Lowering, node: ir.Node, inputs: Shape, outputs: Shape, kernel: Sequence[int]
) -> tuple[Axis, Axis, Axis]:
    """The spatial axes of a convolution or pool, three of them: those that are missing have one element."""
    rank = len(inputs)
    if rank > 3:
        raise lower.refusal(node, f"has {rank} spatial axes, not 1 to 3")
    ones = (1,) * rank
    strides = node.attributes.get_ints("strides") or ones
    dilations = node.attributes.get_ints("dilations") or ones
    pads = list(node.attributes.get_ints("pads") or (0,) * rank)[:rank]
    automatic = node.attributes.get_string("auto_pad", "NOTSET")
    if automatic in SAME:
        totals = [
            max(0, (out - 1) * stride + (size - 1) * dilation + 1 - extent)
            for extent, out, size, stride, dilation in zip(inputs, outputs, kernel, strides, dilations, strict=True)
        ]
        pads = [total // 2 if automatic == "SAME_UPPER" else total - total // 2 for total in totals]
    axes = [Axis(*each) for each in zip(inputs, outputs, kernel, strides, pads, dilations, strict=True)]
    missing = [Axis(1, 1)] * (3 - rank)
    depth, height, width = [*missing, *axes]
    return depth, height, width


def gemm(lower: Lowering, node: ir.Node) -> None:
    """α·A·B + β·C with constant B, and what follows it."""
    a, b = given_inputs(node)[:2]
    matrix = lower.known(b)
    if matrix is None:
        raise lower.refusal(node, "has computed weights; MatMul may")
    real, flag = node.attributes.get_float, node.attributes.get_int
    matrix = matrix.T if flag("transB", 0) else matrix
    if (rows := lower.rows.get(a)) is not None:
        matrix = matrix[rows]
    x = lower.operand(a)
    x = x.transposed((1, 0)) if flag("transA", 0) else x
    scaled = np.asarray(matrix * np.float32(real("alpha", 1.0)), np.float32)
    bias, beta = lower.argument(node, 2), np.float32(real("beta", 1.0))
    if bias is None and len(node.inputs) > 2 and node.inputs[2] is not None:
        raise lower.refusal(node, "has a computed C; write it as an Add")
    if bias is not None and (bias.size == 1 or bias.shape[-1:] == (bias.size,)):
        _matrix(lower, node, x, scaled, np.broadcast_to(bias.reshape(-1) * beta, scaled.shape[1:]), None)
    else:
        _matrix(lower, node, x, scaled, None, None if bias is None else bias * beta)


def matmul(lower: Lowering, node: ir.Node) -> None:
    """A·B; with a constant matrix B as a product with weights."""
    a, b = given_inputs(node)[:2]
    matrix = lower.known(b)
    if matrix is None or matrix.ndim != 2 or len(shape_of(a)) < 2:
        return _general_matmul(lower, node, a, b)
    if (rows := lower.rows.get(a)) is not None:
        matrix = matrix[rows]
    _matrix(lower, node, lower.operand(a), matrix, None, None)
    return None


def _general_matmul(lower: Lowering, node: ir.Node, a: ir.Value, b: ir.Value) -> None:
    x, y = lower.operand(a), lower.operand(b)
    x = dataclasses.replace(x, shape=(1, *x.shape), strides=(0, *x.strides)) if len(x.shape) == 1 else x
    y = dataclasses.replace(y, shape=(*y.shape, 1), strides=(*y.strides, 0)) if len(y.shape) == 1 else y
    lead = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    shape = (*lead, x.shape[-2], y.shape[-1])
    result = node.outputs[0]
    z = row_major(lower.buffer(result, shape), shape)
    operands = x.broadcast((*lead, *x.shape[-2:])), y.broadcast((*lead, *y.shape[-2:]))
    lower.steps.append(steps.MatrixProduct(lower.function(node), lower.comment(node), operands, z))
    lower.bind(result, z.viewed(shape_of(result)))


def _matrix(
    lower: Lowering, node: ir.Node, x: Operand, matrix: Array, bias: Array | None, addend: Array | None
) -> None:
    packed = lower.copied(x, range(len(x.shape)), x.buffer.name)
    positions = prod(x.shape[:-1])
    weights = matrix.reshape(1, 1, 1, 1, *matrix.shape)
    axes = (Axis(1, 1), Axis(1, 1), Axis(positions, positions))
    first = []
    if addend is not None:
        shape = shape_of(node.outputs[0])
        first = [Applied("{0} + {1}", (None, lower.constant(f"{node.name}_bias", addend).broadcast(shape)))]
    _product(lower, node, packed, 1, axes, weights, bias, first=first)


def _product(
    lower: Lowering,
    node: ir.Node,
    x: Operand,
    images: int,
    axes: tuple[Axis, Axis, Axis],
    weights: Array,
    bias: Array | None,
    *,
    first: Sequence[Applied] = (),
    depthwise: bool = False,
) -> None:
    rank = len(shape_of(node.outputs[0]))
    order = channels_last_order(rank) if node.op_type in CONVOLUTIONS else tuple(range(rank))
    before, nodes = lower.chain(node, order)
    pool, after = (None, []) if depthwise or node.op_type not in CONVOLUTIONS else _pool_behind(lower, nodes, axes)
    while pool is not None and pool.kind == "Max" and before and before[-1].rises:
        after.insert(0, before.pop())  # max f(x) = f(max x)
    y = lower.new(nodes[-1].outputs[0], order)
    if all(axis.is_plain for axis in axes):
        images, axes, pool = _flat(images, axes, pool)
    given: Any = (
        *(lower.function(node), lower.comment(*nodes), (x,), y),
        *(images, axes, weights.astype(np.float32), None if bias is None else bias.astype(np.float32)),
        *((*first, *before), pool, tuple(after)),
    )
    lower.steps.append(_kind(products.Product(*given), depthwise)(*given))


def _flat(
    images: int, axes: tuple[Axis, Axis, Axis], pool: products.FusedPool | None
) -> tuple[int, tuple[Axis, Axis, Axis], products.FusedPool | None]:
    """Positions that are each by itself as one long row: of all images, or of each if a pool has the whole image."""
    outputs = tuple(axis.outputs for axis in axes)
    if pool is not None and pool.window != outputs:
        return images, axes, pool
    positions = prod(outputs) * (1 if pool else images)
    window = (1, 1, positions)
    flat = (Axis(1, 1), Axis(1, 1), Axis(positions, positions))
    return (images, flat, products.FusedPool(pool.kind, window)) if pool else (1, flat, None)


def _pool_behind(
    lower: Lowering, nodes: list[ir.Node], axes: tuple[Axis, Axis, Axis]
) -> tuple[products.FusedPool | None, list[Applied]]:
    """The pool that alone reads the last of `nodes`, if its windows lie side by side; it is appended to `nodes`."""
    node = lower.only_reader(nodes[-1].outputs[0])
    if node is None or node.op_type not in POOLS or len(node.outputs) > 1:
        return None, []
    value = nodes[-1].outputs[0]
    windows = _pool_windows(lower, node, value)
    if any(
        axis.reaches_over or axis.dilation > 1 or axis.stride != axis.kernel
        for axis in windows
        if axis.outputs > 1 or axis.kernel > 1
    ) or any(axis.outputs * axis.kernel > axis.inputs for axis in windows):
        return None, []
    lower.done.add(node)
    after, behind = lower.chain(node, channels_last_order(len(shape_of(value))))
    nodes += behind
    del axes
    return products.FusedPool(_pool_kind(node), tuple(axis.kernel for axis in windows)), after


def _pool_windows(lower: Lowering, node: ir.Node, value: ir.Value) -> tuple[Axis, Axis, Axis]:
    inputs, outputs = shape_of(value)[2:], shape_of(node.outputs[0])[2:]
    if node.op_type.startswith("Global"):
        whole = tuple(Axis(extent, 1, extent, extent) for extent in inputs)
        if len(whole) > 3:
            raise lower.refusal(node, "has more than 3 spatial axes")
        depth, height, width = (*[Axis(1, 1)] * (3 - len(whole)), *whole)
        return depth, height, width
    return _windows(lower, node, inputs, outputs, node.attributes.get_ints("kernel_shape"))


def pool(lower: Lowering, node: ir.Node) -> None:
    """A pool that no convolution has taken up."""
    value = first_input(node)
    axes = _pool_windows(lower, node, value)
    x = lower.channels_last(value)
    after, nodes = lower.chain(node, channels_last_order(len(x.shape)))
    y = lower.new(nodes[-1].outputs[0], channels_last_order(len(x.shape)))
    padded = _padded(node, axes)
    lower.steps.append(
        pools.Pool(
            *(lower.function(node), lower.comment(*nodes), (x,), y, _pool_kind(node), x.shape[0], x.shape[1], axes),
            bool(node.attributes.get_int("count_include_pad", 0)),
            padded,
            tuple(after),
        )
    )


def _padded(node: ir.Node, axes: tuple[Axis, Axis, Axis]) -> tuple[int, int, int]:
    """The spatial extents of a pool's input with what is padded before and behind it."""
    if node.attributes.get_string("auto_pad", "NOTSET") in SAME:
        depth, height, width = (max(axis.inputs + axis.pad, axis.reach) for axis in axes)
        return depth, height, width
    pads = list(node.attributes.get_ints("pads", ()))
    ends = [0] * (3 - len(pads) // 2) + pads[len(pads) // 2 :]
    depth, height, width = (axis.inputs + axis.pad + end for axis, end in zip(axes, ends, strict=True))
    return depth, height, width


def _pool_kind(node: ir.Node) -> str:
    return "Max" if node.op_type.endswith("MaxPool") else "Average"


def _kind(product: products.Product, depthwise: bool) -> type[products.Product]:
    if depthwise:
        return written_out.Depthwise
    if written_out.Vector.takes(product):
        return written_out.Vector
    return written_out.FewTaps if written_out.FewTaps.takes(product) else tiles.Tiled
