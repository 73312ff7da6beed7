"""Shapes: inferred for every tensor, and constant wherever they can be."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from math import prod

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from edgebn.tidying.evaluation import Extent, evaluate, product_of, quotient
from edgebn.tidying.evaluation import Extents as Computed
from edgebn.tidying.names import unique, value_names
from edgebn.tidying.turning import constant

Extents = tuple[int | None, ...]

_POOLS = {"AveragePool", "MaxPool", "LpPool"}

_NO_TENSORS = {
    *("Optional", "SequenceConstruct", "SequenceEmpty", "SequenceErase", "SequenceInsert", "SequenceMap"),
    "SplitToSequence",
}

_KNOWS_COMPUTED_SHAPES = 14
"""The first opset in which onnx follows a shape that the graph computes into the Reshape that uses it."""


def infer_shapes(model: ir.Model) -> None:
    """Annotate every tensor whose shape follows from the graph's inputs.

    What the file itself says of a shape counts only where nothing can be inferred, as behind an operator that onnx does
    not know.
    """
    given = {value: value.shape.copy() for value in _computed(model) if value.shape is not None}
    _annotate(model, given)
    while any(_drop_empty_windows(node) for node in model.graph):  # the first alone: the extents behind it were wrong
        _annotate(model, given)


def forget_shapes(graph: ir.Graph) -> None:
    """Take away the annotations of all tensors but the inputs and outputs, which every runtime infers anew."""
    for value in (value for node in graph for value in node.outputs):
        if not value.is_graph_output() and _follows(value):
            value.shape = value.type = None


def _follows(value: ir.Value) -> bool:
    """Whether the shape can be inferred: it is that of an operator of ONNX itself."""
    producer = value.producer()
    return producer is not None and producer.domain == ""


def _computed(model: ir.Model) -> Iterator[ir.Value]:
    return (value for node in model.graph.all_nodes() for value in node.outputs)


def _annotate(model: ir.Model, given: Mapping[ir.Value, ir.Shape]) -> None:
    for value in _computed(model):
        value.shape = given[value].copy() if value.is_graph_output() and value in given else None
    _infer(model)
    unknown = [value for value in _computed(model) if value in given and _is_vague(value.shape)]
    for value in unknown:
        value.shape = _merged(value.shape, given[value])
    if unknown:
        _infer(model)


def _is_vague(shape: ir.Shape | None) -> bool:
    return shape is None or any(is_unknown(extent) for extent in shape)


def is_unknown(extent: int | ir.SymbolicDim) -> bool:
    """Whether this is no number, and no name that the graph's inputs gave it: onnx numbers those, `unk__7`."""
    return isinstance(extent, ir.SymbolicDim) and (extent.value is None or extent.value.startswith("unk__"))


def _merged(inferred: ir.Shape | None, given: ir.Shape) -> ir.Shape:
    """What is known of a shape: as inferred, and else as given."""
    if inferred is not None and len(inferred) != len(given):
        return inferred
    pairs = zip(inferred or given, given, strict=True)
    return ir.Shape([stated if is_unknown(own) else own for own, stated in pairs])


def _infer(model: ir.Model) -> None:
    quiet, opset = logging.getLogger("onnx_ir"), model.opset_imports[""]
    level = quiet.level
    quiet.setLevel(logging.ERROR)
    model.opset_imports[""] = max(opset, _KNOWS_COMPUTED_SHAPES)
    try:
        ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(model)
    finally:
        model.opset_imports[""] = opset
        quiet.setLevel(level)
    for node in model.graph.all_nodes():
        if node.op_type in _NO_TENSORS and node.domain == "":
            node.outputs[0].type = node.outputs[0].shape = None  # the pass takes them for tensors


def _drop_empty_windows(pool: ir.Node) -> bool:
    """Round a pool's extents down where, rounded up, a last window would see nothing but padding.

    That window is counted by onnx's shape inference, and left out by onnxruntime and PyTorch. Returns whether it was.
    """
    extents = _extents(pool.inputs[0]) if pool.inputs else None
    if pool.op_type not in _POOLS or not pool.attributes.get_int("ceil_mode", 0) or extents is None:
        return False
    sizes = pool.attributes.get_ints("kernel_shape", ())
    ones = (1,) * len(sizes)
    strides, dilations = (pool.attributes.get_ints(name, ones) for name in ("strides", "dilations"))
    pads = pool.attributes.get_ints("pads", (0, 0) * len(sizes))
    empty = []
    for axis, extent in enumerate(extents[2:]):
        room = None if extent is None else extent + pads[axis]
        rest = None if room is None else room + pads[axis + len(sizes)] - dilations[axis] * (sizes[axis] - 1) - 1
        if room is None or rest is None or (rest % strides[axis] and -(-rest // strides[axis]) * strides[axis] < room):
            return False  # here, rounding up matters or may matter
        empty.append(rest % strides[axis] > 0)
    if any(empty):
        pool.attributes["ceil_mode"] = ir.AttrInt64("ceil_mode", 0)
    return any(empty)


def make_shapes_constant(model: ir.Model) -> bool:
    """Write what is computed from known extents as constants. Returns whether anything changed.

    A Reshape gets a constant target where at most one extent of its result is unknown: a batch axis that stays the
    first is written as 0, "the same as the input's", another as −1. The chains of Shape, Slice and Concat that computed
    it are left for dead-code removal.
    """
    graph, changed = model.graph, False
    taken, known = value_names(graph), evaluate(graph)
    for value, extents in known.items():
        known_all = all(isinstance(extent, int) for extent in extents.reshape(-1))
        if known_all and not value.is_graph_output() and value.uses():
            array = extents.astype(np.int32 if value.dtype == ir.DataType.INT32 else np.int64)
            value.replace_all_uses_with(_initializer(graph, array, unique(f"{value.name}/known", taken)))
            changed = True
    for node in graph:
        if node.op_type == "Reshape" and node.domain == "" and not node.attributes.get_int("allowzero", 0):
            target = _target(node.inputs[0].shape if node.inputs[0] else None, node.outputs[0].shape)
            target = target or _computed_target(node, known)
            changed |= target is not None and _set_target(graph, node, target, taken)
    return changed


def _computed_target(reshape: ir.Node, known: Mapping[ir.Value, Computed]) -> list[int] | None:
    """The target that a Reshape is given, where it computes at most one extent that is not the input's at its place."""
    data, computed = reshape.inputs[0], known.get(reshape.inputs[1]) if reshape.inputs[1] else None
    if data is None or data.shape is None or computed is None or 0 in computed:
        return None
    extents = [extent if isinstance(extent, int) else extent.value for extent in data.shape]
    names = [extent if isinstance(extent, str) else None for extent in extents] + [None] * len(computed)
    target = [
        extent if isinstance(extent, int) else 0 if extent is not None and extent == name else -1
        for extent, name in zip(_without_rest(computed.tolist(), extents), names, strict=False)
    ]
    return target if target.count(-1) <= 1 and min(target) >= -1 else None


def _without_rest(target: list[Extent], extents: Sequence[Extent]) -> list[Extent]:
    """The target with what a −1 in it stands for, where that is known: the rest of all elements."""
    others = product_of([extent for extent in target if extent != -1])
    rest = quotient(product_of(extents), others) if target.count(-1) == 1 else None
    return [rest if extent == -1 and rest is not None else extent for extent in target]


def write_reshape(
    graph: ir.Graph, node: ir.Node, before: ir.Shape, after: ir.Shape | None, taken: set[str | None]
) -> bool:
    """Make `node` a Reshape of a tensor of shape `before` to `after`; False where a constant can not say that."""
    target = _target(before, after)
    if target is None:
        return False
    node.op_type = "Reshape"
    node.attributes.clear()
    node.resize_inputs(2)
    node.replace_input_with(1, None)
    _set_target(graph, node, target, taken)
    return True


def _extents(value: ir.Value | None) -> Extents | None:
    if value is None or value.shape is None:
        return None
    return tuple(extent if isinstance(extent, int) else None for extent in value.shape)


def _target(before: ir.Shape | None, after: ir.Shape | None) -> list[int] | None:
    """0 for an extent that has the name of the input's at the same place, or is all that is not known; −1 for another.

    None if more than one is not known, or an extent is 0, which would mean something else.
    """
    if before is None or not after or 0 in after:
        return None
    unknown = [axis for axis, extent in enumerate(after) if not isinstance(extent, int)]
    copied = [axis for axis in unknown if axis < len(before) and after[axis] == before[axis] and _has_name(after[axis])]
    unknown_before = [axis for axis, extent in enumerate(before) if not isinstance(extent, int)]
    if unknown == unknown_before == [0] and prod(_known(before)) == prod(_known(after)):
        copied = [0]
    if len(unknown) - len(copied) > 1:
        return None
    return [extent if isinstance(extent, int) else 0 if axis in copied else -1 for axis, extent in enumerate(after)]


def _has_name(extent: int | ir.SymbolicDim) -> bool:
    return not isinstance(extent, int) and extent.value is not None


def _known(shape: ir.Shape) -> list[int]:
    return [extent for extent in shape if isinstance(extent, int)]


def _set_target(graph: ir.Graph, node: ir.Node, target: list[int], taken: set[str | None]) -> bool:
    present = constant(node.inputs[1])
    if present is not None and present.tolist() == target:
        return False
    name = unique(f"{node.outputs[0].name}/shape", taken)
    node.replace_input_with(1, _initializer(graph, np.array(target, np.int64), name))
    return True


def _initializer(graph: ir.Graph, array: np.ndarray, name: str) -> ir.Value:
    value = ir.val(name, const_value=ir.tensor(array, name=name))
    graph.register_initializer(value)
    return value
