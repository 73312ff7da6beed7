"""Rules for operators that move, copy or combine elements: from ONNX nodes to views and steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir

from edgebn.embedding.c import steps
from edgebn.embedding.c.lowering import Lowering, first_input, given_inputs, shape_of
from edgebn.embedding.c.memory import Operand, in_order, row_major
from edgebn.embedding.c.pointwise import POINTWISE
from edgebn.embedding.c.steps import Applied, Array


def pointwise(lower: Lowering, node: ir.Node) -> None:
    """A pointwise operator that nothing has taken up, with all that follows it."""
    nodes, operations = [node], [_whole(lower, node, None)]
    while (reader := lower.only_reader(nodes[-1].outputs[0])) is not None and reader.op_type in POINTWISE:
        if not lower.may_join(reader, nodes[-1].outputs[0]):
            break
        operations.append(_whole(lower, reader, nodes[-1].outputs[0]))
        nodes.append(reader)
        lower.done.add(reader)
    applied = [each for group in operations for each in group]
    last = nodes[-1].outputs[0]
    reads = tuple(each for one in applied for each in one.operands if each is not None)
    whole = [each for each in reads if 0 not in _real_strides(each)]
    leader = min(whole, key=lambda each: each.buffer.kind == "constant", default=None)
    y = lower.new(last, None if leader is None else leader.order())
    lower.steps.append(steps.Pointwise(lower.function(node), lower.comment(*nodes), reads, y, tuple(applied)))


def _whole(lower: Lowering, node: ir.Node, running: ir.Value | None) -> list[Applied]:
    shape = shape_of(node.outputs[0])
    found: list[Applied] = []
    for operation in lower.operations(node, running):
        own = {running} | ({node.outputs[0]} if found or running is not None else set())
        operands = tuple(
            None if isinstance(each, ir.Value) and each in own else lower.as_operand(each, node).broadcast(shape)
            for each in operation.operands
        )
        found.append(Applied(operation.expression, operands))
    return found


def view(lower: Lowering, node: ir.Node) -> None:
    """Reshape and its kin: the same floats, moved only where no strides describe the result."""
    value, result = first_input(node), node.outputs[0]
    operand, shape = lower.operand(value), shape_of(result)
    reshaped = operand.reshaped(shape)
    if reshaped is None and (order := _absorbable(lower, operand, result)) is not None:
        flat = in_order(operand.buffer, operand.shape, operand.order())
        if dataclasses.replace(operand, offset=0).lies_as(flat):
            lower.rows[result] = order
            reshaped = dataclasses.replace(row_major(operand.buffer, shape), offset=operand.offset)
    if reshaped is None:
        packed = lower.copied(operand, range(len(operand.shape)), operand.buffer.name)
        reshaped = packed.viewed(shape)
    lower.bind(result, reshaped)


def _absorbable(lower: Lowering, operand: Operand, result: ir.Value) -> Array | None:
    """Where the rows of the weights behind a flattened image can be brought into the image's order: that order."""
    shape = shape_of(result)
    readers = [use.node for use in result.uses()]
    if len(shape) != 2 or shape[0] != 1 or result.is_graph_output() or not readers:
        return None
    for reader in readers:
        if reader.op_type not in {"Gemm", "MatMul"} or reader.inputs[0] is not result:
            return None
        matrix = lower.argument(reader, 1)
        if matrix is None or matrix.ndim != 2 or reader.attributes.get_int("transA", 0) != 0:
            return None
    index = np.arange(operand.size).reshape(operand.shape)
    return index.transpose(operand.order()).reshape(-1)


def transpose(lower: Lowering, node: ir.Node) -> None:
    """Transpose: another view."""
    value = first_input(node)
    operand = lower.operand(value)
    axes = node.attributes.get_ints("perm", tuple(reversed(range(len(operand.shape)))))
    lower.bind(node.outputs[0], operand.transposed(axes))


def identity(lower: Lowering, node: ir.Node) -> None:
    """Identity, and Dropout when nothing is trained."""
    training = lower.argument(node, 2)
    if len(node.inputs) > 2 and node.inputs[2] is not None and (training is None or training.any()):
        raise lower.refusal(node, "is in training mode")
    lower.bind(node.outputs[0], lower.operand(first_input(node)))


def cut(lower: Lowering, node: ir.Node) -> None:
    """Slice: another view."""
    value = node.inputs[0]
    starts, ends, axes, strides = (lower.argument(node, index) for index in range(1, 5))
    if value is None or starts is None or ends is None:
        raise lower.refusal(node, "needs constant starts and ends")
    operand = lower.operand(value)
    chosen = range(len(starts)) if axes is None else [int(axis) for axis in axes]
    for number, axis in enumerate(chosen):
        step = 1 if strides is None else int(strides[number])
        taken = range(operand.shape[axis])[int(starts[number]) : int(ends[number]) : step]
        operand = operand.sliced(axis % len(operand.shape), taken.start if len(taken) else 0, len(taken), step)
    lower.bind(node.outputs[0], operand)


def split(lower: Lowering, node: ir.Node) -> None:
    """Split: a view for each part."""
    operand, start = lower.operand(first_input(node)), 0
    axis = node.attributes.get_int("axis", 0) % len(operand.shape)
    for output in node.outputs:
        extent = shape_of(output)[axis]
        lower.bind(output, operand.sliced(axis, start, extent))
        start += extent


def concat(lower: Lowering, node: ir.Node) -> None:
    """Concat: each part is copied into its place."""
    parts = [lower.operand(value) for value in given_inputs(node) if 0 not in shape_of(value)]
    y = lower.new(node.outputs[0], parts[0].order())
    axis = node.attributes.get_int("axis", 0) % len(y.shape)
    start = 0
    for part in parts:
        place = y.sliced(axis, start, part.shape[axis])
        _copy(lower, node, part, place)
        start += part.shape[axis]


def pad(lower: Lowering, node: ir.Node) -> None:
    """Pad with a constant: fill, then copy what is inside."""
    value, pads = node.inputs[0], lower.argument(node, 1)
    if node.attributes.get_string("mode", "constant") != "constant" or pads is None or value is None:
        raise lower.refusal(node, "pads otherwise than by constant numbers of a constant")
    operand, fill = lower.operand(value), lower.argument(node, 2)
    axes = lower.argument(node, 3)
    rank = len(operand.shape)
    chosen = range(rank) if axes is None else [int(axis) % rank for axis in axes]
    if not pads.any():
        lower.bind(node.outputs[0], operand)
        return
    y = lower.new(node.outputs[0], operand.order())
    number = 0.0 if fill is None else float(fill.reshape(-1)[0])
    lower.steps.append(steps.Fill(lower.function(node), lower.comment(node), (), y, number))
    place = y
    for index, axis in enumerate(chosen):
        before, after = int(pads[index]), int(pads[index + len(chosen)])
        if before < 0 or after < 0:
            raise lower.refusal(node, "has negative pads")
        place = place.sliced(axis, before, operand.shape[axis])
    _copy(lower, node, operand, place)


def _copy(lower: Lowering, node: ir.Node, source: Operand, place: Operand) -> None:
    text = f"{node.op_type}: {list(source.shape)} into its place"
    lower.steps.append(steps.Pointwise(lower.function(node), text, (source,), place, (Applied("{0}", (source,)),)))


def resize(lower: Lowering, node: ir.Node) -> None:
    """Resize and Upsample to a whole multiple, by repeating the nearest: y[k·i + r] = x[i], r < k."""
    x, shape = lower.operand(first_input(node)), shape_of(node.outputs[0])
    factors = [extent // old for extent, old in zip(shape, x.shape, strict=True)]
    if node.attributes.get_string("mode", "nearest") != "nearest":
        raise lower.refusal(node, "interpolates between neighbours")
    if not all(_repeats(node, old, extent) for old, extent in zip(x.shape, shape, strict=True)):
        raise lower.refusal(node, "does not repeat every element equally often")
    y = lower.new(node.outputs[0], x.order())
    apart, single = (
        [each for pair in zip(x.shape, last, strict=True) for each in pair] for last in (factors, [1] * len(shape))
    )
    _copy(lower, node, x.viewed(tuple(single)).broadcast(tuple(apart)), y.viewed(tuple(apart)))


def _repeats(node: ir.Node, old: int, new: int) -> bool:
    """Whether each of `old` elements along an axis becomes `new`/`old` neighbouring ones, by the node's rounding."""
    if new % old:
        return False
    if node.op_type == "Upsample" or new == old:
        return True
    text = node.attributes.get_string
    place = np.arange(new)
    by = {
        "asymmetric": place * old / new,
        "half_pixel": (place + 0.5) * old / new - 0.5,
        "pytorch_half_pixel": (place + 0.5) * old / new - 0.5 if new > 1 else place * 0.0,
        "tf_half_pixel_for_nn": (place + 0.5) * old / new,
    }.get(text("coordinate_transformation_mode", "half_pixel"))
    rounding: Mapping[str, Callable[[Array], Array]] = {
        "round_prefer_floor": lambda each: np.ceil(each - 0.5),
        "round_prefer_ceil": lambda each: np.floor(each + 0.5),
        "floor": np.floor,
        "ceil": np.ceil,
    }
    chosen = rounding[text("nearest_mode", "round_prefer_floor")]
    return by is not None and bool((chosen(by).clip(0, old - 1) == place // (new // old)).all())


def softmax(lower: Lowering, node: ir.Node) -> None:
    """Softmax or LogSoftmax along one axis."""
    x = lower.operand(first_input(node))
    y = lower.new(node.outputs[0], x.order())
    axis = node.attributes.get_int("axis", -1) % len(x.shape)
    logarithmic = node.op_type == "LogSoftmax"
    lower.steps.append(steps.Softmax(lower.function(node), lower.comment(node), (x,), y, axis, logarithmic))


def arg_max(lower: Lowering, node: ir.Node) -> None:
    """ArgMax along one axis."""
    x, result = lower.operand(first_input(node)), node.outputs[0]
    axis = node.attributes.get_int("axis", 0) % len(x.shape)
    shape = (*x.shape[:axis], 1, *x.shape[axis + 1 :])
    y = row_major(lower.buffer(result, shape), shape)
    last = node.attributes.get_int("select_last_index", 0) != 0
    lower.steps.append(steps.ArgMax(lower.function(node), lower.comment(node), (x,), y, axis, last))
    lower.bind(result, y.viewed(shape_of(result)))


def reduce(lower: Lowering, node: ir.Node) -> None:
    """ReduceMean and its kin; over all spatial axes of an image it is a global pool."""
    x = lower.operand(first_input(node))
    rank = len(x.shape)
    axes = node.attributes.get_ints("axes") or lower.argument(node, 1)
    if axes is None and len(node.inputs) > 1 and node.inputs[1] is not None:
        raise lower.refusal(node, "needs constant axes")
    if axes is None or len(axes) == 0:
        if node.attributes.get_int("noop_with_empty_axes", 0):
            return identity(lower, node)
        axes = range(rank)
    chosen = tuple(sorted(int(axis) % rank for axis in axes))
    shape = tuple(1 if axis in chosen else extent for axis, extent in enumerate(x.shape))
    kind = node.op_type.removeprefix("Reduce")
    result = node.outputs[0]
    y = row_major(lower.buffer(result, shape), shape)
    lower.steps.append(steps.Reduce(lower.function(node), lower.comment(node), (x,), y, chosen, kind))
    lower.bind(result, y.viewed(shape_of(result)))
    return None


def _real_strides(operand: Operand) -> list[int]:
    return [stride for extent, stride in zip(operand.shape, operand.strides, strict=True) if extent > 1]
