"""Repeated pixels: Unsqueeze, Tile and Reshape, by which TensorFlow and NumPy repeat them, as one Resize.

repeat(x)[…, i, …] = x[…, ⌊i/f⌋, …], along one axis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from edgebn.tidying.evaluation import Extent, Extents, evaluate, product_of
from edgebn.tidying.names import unique, value_names
from edgebn.tidying.turning import constant

_NEAREST = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}

_MOST_AXES = 4
"""Of what runtimes resize fast: onnxruntime takes three to five times as long as a Tile for volumes."""


def repeats_to_resizes(graph: ir.Graph) -> bool:
    """reshape(tile(x)) = resize(squeeze(x)), where Tile repeats an axis 1 long, which Reshape joins with another.

    What put that axis in is left for the Squeeze to undo. Returns whether there was one.
    """
    known, taken, changed = evaluate(graph), value_names(graph), False
    for tile in graph:
        axis, factor = _repeated(tile)
        reshape = _only_reader(tile.outputs[0], "Reshape") if axis else None
        fresh = None if reshape is None else _joins(reshape, tile, axis, factor, known)
        if reshape is None or fresh is None:
            continue
        source = list(tile.inputs[0].shape or ()) if tile.inputs[0] else []
        _become(graph, tile, "Squeeze", [np.array([axis], np.int64)], {}, taken)
        tile.outputs[0].shape = ir.Shape(source[:axis] + source[axis + 1 :])
        scales = np.ones(len(source) - 1, np.float32)
        scales[axis - 1] = factor
        _become(graph, reshape, "Resize", [None, scales], _NEAREST, taken)
        if fresh:
            _unsqueeze(graph, reshape, fresh, taken)
        changed = True
    return changed


def join_resizes(graph: ir.Graph) -> None:
    """Of two Resizes in a row that repeat pixels, the second does it alone."""
    taken = value_names(graph)
    for node in graph:
        producer = node.inputs[0].producer() if node.inputs and node.inputs[0] else None
        second, first = _factors(node), _factors(producer)
        if producer is None or first is None or second is None or len(producer.outputs[0].uses()) != 1:
            continue
        if not producer.outputs[0].is_graph_output():
            node.replace_input_with(0, producer.inputs[0])
            _become(graph, node, "Resize", [None, first * second], _NEAREST, taken)


def _repeated(tile: ir.Node) -> tuple[int, int]:
    """The one axis that a Tile repeats, from 1 on and 1 long, and how often; (0, 0) for any other node."""
    repeats = constant(tile.inputs[1]) if tile.op_type == "Tile" and tile.domain == "" else None
    source = tile.inputs[0]
    if repeats is None or source is None or source.shape is None or source.dtype != ir.DataType.FLOAT:
        return 0, 0
    if len(source.shape) - 1 > _MOST_AXES:
        return 0, 0
    axes = np.flatnonzero(repeats != 1)
    if len(axes) != 1 or source.shape[int(axes[0])] != 1 or tile.outputs[0].is_graph_output():
        return 0, 0
    return int(axes[0]), int(repeats[axes[0]])


def _only_reader(value: ir.Value, op_type: str) -> ir.Node | None:
    readers = [usage.node for usage in value.uses()]
    fits = len(readers) == 1 and readers[0].op_type == op_type and readers[0].domain == ""
    return readers[0] if fits else None


def _joins(
    reshape: ir.Node, tile: ir.Node, axis: int, factor: int, known: Mapping[ir.Value, Extents]
) -> tuple[int, ...] | None:
    """() if a Reshape of what `tile` gives joins `axis` with the one before, and leaves all others; None if not.

    Or one axis, 1 long, that it puts in besides.
    """
    extents = [_extent(each) for each in (tile.inputs[0].shape or ())] if tile.inputs[0] else []
    wanted = [*extents[: axis - 1], product_of([extents[axis - 1], factor]), *extents[axis + 1 :]]
    stated = [_extent(each) for each in (reshape.outputs[0].shape or ())]
    pairs = list(zip(stated, _target(reshape, extents, known), strict=False))
    if len(pairs) != len(stated):
        return None
    fresh = [(), *((place,) for place, extent in enumerate(stated) if extent == 1)]
    return next((each for each in fresh if _are(wanted, [pairs[p] for p in range(len(pairs)) if p not in each])), None)


def _target(reshape: ir.Node, before: Sequence[Extent], known: Mapping[ir.Value, Extents]) -> list[Extent]:
    """The extents that a Reshape is told; 0 says that one is as before. Empty if that is not known."""
    told = reshape.inputs[1] if len(reshape.inputs) > 1 else None
    given = constant(told)
    extents = known.get(told) if told is not None and given is None else given
    if extents is None or reshape.attributes.get_int("allowzero", 0) == 1:
        return []
    return [
        before[place] if extent == 0 and place < len(before) else extent
        for place, extent in enumerate(extents.tolist())
    ]


def _are(wanted: Sequence[Extent], pairs: Sequence[tuple[Extent, Extent]]) -> bool:
    return len(wanted) == len(pairs) and all(
        each is not None and each in pair for each, pair in zip(wanted, pairs, strict=True)
    )


def _unsqueeze(graph: ir.Graph, node: ir.Node, axes: Sequence[int], taken: set[str | None]) -> None:
    """Put these axes into what `node` gives."""
    result = node.outputs[0]
    unsqueeze = ir.node("Unsqueeze", [None, None], name=unique(f"{node.name}/Unsqueeze", taken))
    larger = unsqueeze.outputs[0]
    larger.type, larger.shape = result.type, result.shape
    result.replace_all_uses_with(larger, replace_graph_outputs=True)
    unsqueeze.replace_input_with(0, result)
    unsqueeze.replace_input_with(1, _constant(graph, unsqueeze, np.array(axes, np.int64), taken))
    graph.insert_after(node, unsqueeze)
    larger.name, result.name = result.name, unique(f"{result.name}/repeated", taken)
    result.shape = ir.Shape([extent for axis, extent in enumerate(larger.shape or ()) if axis not in axes])


def _extent(extent: int | ir.SymbolicDim) -> Extent:
    return extent if isinstance(extent, int) else extent.value


def _factors(node: ir.Node | None) -> np.ndarray | None:
    """How often a Resize repeats each axis, if it does that alone."""
    if node is None or node.op_type != "Resize" or node.domain != "" or len(node.inputs) != 3:
        return None
    scales = constant(node.inputs[2])
    plain = all(node.attributes.get_string(name, "") == value for name, value in _NEAREST.items())
    whole = scales is not None and bool((scales == np.rint(scales)).all() and (scales >= 1.0).all())
    return scales if plain and whole and "axes" not in node.attributes else None


def _become(
    graph: ir.Graph,
    node: ir.Node,
    op_type: str,
    constants: list[np.ndarray | None],
    attributes: Mapping[str, str],
    taken: set[str | None],
) -> None:
    """Make another node of `node`, of the same tensor and these constants."""
    node.op_type = op_type
    node.attributes.clear()
    node.attributes.update({name: ir.AttrString(name, value) for name, value in attributes.items()})
    node.resize_inputs(1 + len(constants))
    for index, array in enumerate(constants, 1):
        node.replace_input_with(index, None if array is None else _constant(graph, node, array, taken))


def _constant(graph: ir.Graph, node: ir.Node, array: np.ndarray, taken: set[str | None]) -> ir.Value:
    name = unique(f"{node.name}/{node.op_type}", taken)
    value = ir.val(name, const_value=ir.tensor(array, name=name))
    graph.register_initializer(value)
    return value
