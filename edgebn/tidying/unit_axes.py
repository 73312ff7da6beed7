"""Axes that are 1 long: a convolution of rows is one of images 1 pixel high, and what follows can be of such too.

TensorFlow puts an Unsqueeze before each convolution of rows and a Squeeze behind it. What stands between the two, no
runtime joins with the convolution, or computes in a layout of its own. So a Squeeze goes behind the nodes that read it,
and an Unsqueeze before a Pad or Resize, until two of them cancel, or stand at an end.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgebn.tidying.names import unique, value_names
from edgebn.tidying.turning import Permutation, constant, data_inputs, dropped, leaves_rank, spread, turn

_RESHAPING = {"Flatten", "Reshape", "Squeeze", "Unsqueeze"}


def lift_unit_axes(graph: ir.Graph) -> None:
    """Let an Unsqueeze stand before a Pad or Resize, and a Transpose behind a Squeeze and before a Pad."""
    taken = value_names(graph)
    for node in graph:
        if _undoes(node):
            node.outputs[0].replace_all_uses_with(node.inputs[0].producer().inputs[0])  # type: ignore[union-attr,arg-type]
        elif _is(node, "Squeeze"):
            _squeeze_before_transpose(graph, node, taken)
        elif _is(node, "Unsqueeze") and not _transpose_of_larger(node):
            _unsqueeze_first(node)
        elif _is(node, "Transpose"):
            _pad_behind(node)


def sink_squeezes(graph: ir.Graph) -> None:
    """Let a Squeeze stand behind what reads it, as far as that takes no more of them than before."""
    taken = value_names(graph)
    for region in _squeezed_regions(graph):
        for node in region.worth_it():
            _squeeze_behind(graph, node, region.by, taken)


@dataclass(eq=False)
class _Squeezed:
    """Squeezes that all drop the same axis, what they make, and the nodes, in order, that could act on what they read.

    `values` are also what those nodes make, if it would be squeezed behind them.
    """

    by: Permutation
    squeezes: int
    values: list[ir.Value]
    nodes: list[ir.Node]

    def worth_it(self) -> list[ir.Node]:
        """The nodes, without the last ones if too many Squeezes would be left."""
        nodes = list(self.nodes)
        while nodes and self._left(set(nodes)) > self.squeezes:
            nodes.pop()
        return nodes

    def _left(self, nodes: set[ir.Node]) -> int:
        """How many tensors somebody still wants squeezed when `nodes` act on what they were before."""
        outside = {node for node in self.nodes if node not in nodes}
        made = [value for value in self.values if value.producer() not in outside]
        return sum(
            value.is_graph_output() or any(self._wants(use.node, nodes) for use in value.uses()) for value in made
        )

    def _wants(self, reader: ir.Node, nodes: set[ir.Node]) -> bool:
        """Whether a Squeeze before `reader` would stay: it joins the same Unsqueeze, or a Reshape to known extents."""
        extents = list(reader.outputs[0].shape or (None, None))[1:] if _is(reader, *_RESHAPING) else [None]
        joins = all(isinstance(extent, int) for extent in extents) or _kept(reader) == self.by
        return reader not in nodes and not joins


def _squeezed_regions(graph: ir.Graph) -> list[_Squeezed]:
    """The connected sets of Squeezes and nodes that could stand before them."""
    regions: dict[ir.Value, _Squeezed] = {}
    for node in graph:
        by, data = _kept(node) if _is(node, "Squeeze") else None, data_inputs(node, 1)
        found = list(dict.fromkeys(regions.get(value) for value in data))
        if by is not None:
            regions[node.outputs[0]] = _Squeezed(by, 1, [node.outputs[0]], [])
        elif (joined := _joined(found)) is not None and turn(node, joined.by, try_only=True):
            joined.nodes.append(node)
            joined.values += () if leaves_rank(node) else node.outputs
            regions.update(dict.fromkeys(joined.values, joined))
    return list(dict.fromkeys(regions.values()))


def _joined(regions: list[_Squeezed | None]) -> _Squeezed | None:
    """Regions that meet in a node as one; None if what it reads is not all squeezed alike."""
    known = [region for region in regions if region is not None]
    if len(known) < len(regions) or len({region.by for region in known}) != 1:
        return None
    values, nodes = ([each for region in known for each in getattr(region, name)] for name in ("values", "nodes"))
    return _Squeezed(known[0].by, sum(region.squeezes for region in known), values, nodes)


def _undoes(node: ir.Node) -> bool:
    """Whether the node puts in the axis that the one before took away, or the other way round."""
    before = node.inputs[0].producer() if node.inputs and node.inputs[0] is not None else None
    by = _kept(node)
    pair = {node.op_type, before.op_type if before is not None else ""}
    return (
        by is not None
        and pair == {"Squeeze", "Unsqueeze"}
        and by == _kept(before)
        and not node.outputs[0].is_graph_output()
    )


def _squeeze_behind(graph: ir.Graph, node: ir.Node, by: Permutation, taken: set[str | None]) -> None:
    """f(squeeze(u)) = squeeze(f'(u))."""
    data = data_inputs(node, 1)
    turn(node, by)
    for index, value in enumerate(node.inputs):
        producer = value.producer() if value is not None and value in data else None
        if producer is not None:
            node.replace_input_with(index, producer.inputs[0])
    for result in () if leaves_rank(node) else node.outputs:
        axes = _constant(graph, f"{result.name}/axes", np.array(dropped(by), np.int64), taken)
        squeeze = ir.node("Squeeze", [None, axes], name=f"{node.name}/Squeeze")
        squeezed = squeeze.outputs[0]
        squeezed.type, squeezed.shape = result.type, result.shape
        result.replace_all_uses_with(squeezed, replace_graph_outputs=True)
        squeeze.replace_input_with(0, result)
        graph.insert_after(node, squeeze)
        squeezed.name, result.name = result.name, unique(f"{result.name}/unsqueezed", taken)
        result.shape = None if squeezed.shape is None else ir.Shape(spread(list(squeezed.shape), by, 1).tolist())


def _unsqueeze_first(unsqueeze: ir.Node) -> None:
    """unsqueeze(f(x)) = f'(unsqueeze(x)), where nobody else reads f(x)."""
    node, by = _only_source(unsqueeze, "Pad", "Resize"), _kept(unsqueeze)
    source = None if node is None else node.inputs[0]
    if node is None or by is None or source is None or source.shape is None or not data_inputs(node, 1):
        return
    if turn(node, by):
        _exchange(node, unsqueeze)
        node.outputs[0].shape = ir.Shape(spread(list(source.shape), by, 1).tolist())


def _pad_behind(transpose: ir.Node) -> None:
    """P(pad(x)) = pad'(P(x)), where nobody else reads the Pad: behind a Transpose stands what may take it."""
    pad = _only_source(transpose, "Pad")
    source = None if pad is None else pad.inputs[0]
    if pad is None or source is None or source.shape is None or not data_inputs(pad, 1):
        return
    perm = transpose.attributes.get_ints("perm", tuple(reversed(range(len(source.shape)))))
    if turn(pad, tuple(np.argsort(perm).tolist())):
        _exchange(pad, transpose)
        pad.outputs[0].shape = ir.Shape([source.shape[axis] for axis in perm])


def _transpose_of_larger(unsqueeze: ir.Node) -> bool:
    """unsqueeze(P(squeeze(u))) = P'(u). Returns whether that is what there was."""
    transpose = _only_source(unsqueeze, "Transpose")
    squeeze = None if transpose is None else transpose.inputs[0].producer()  # type: ignore[union-attr]
    after, before = _kept(unsqueeze), _kept(squeeze)
    if transpose is None or squeeze is None or not _is(squeeze, "Squeeze") or after is None or before is None:
        return False
    perm = transpose.attributes.get_ints("perm", tuple(reversed(range(len(before)))))
    larger = spread([before[axis] for axis in perm], after, dropped(before)[0])
    unsqueeze.op_type = "Transpose"
    unsqueeze.resize_inputs(1)
    unsqueeze.replace_input_with(0, squeeze.inputs[0])
    unsqueeze.attributes["perm"] = ir.AttrInt64s("perm", larger.tolist())
    return True


def _squeeze_before_transpose(graph: ir.Graph, squeeze: ir.Node, taken: set[str | None]) -> None:
    """squeeze(P(u)) = P'(squeeze(u)), P' being P without that axis, where nobody else reads P(u)."""
    transpose, by = _only_source(squeeze, "Transpose"), _kept(squeeze)
    source = None if transpose is None else transpose.inputs[0]
    if transpose is None or by is None or source is None or source.shape is None:
        return
    perm = transpose.attributes.get_ints("perm", tuple(reversed(range(len(by) + 1))))
    gone = perm[dropped(by)[0]]
    axes = _constant(graph, f"{source.name}/axes", np.array([gone], np.int64), taken)
    _exchange(transpose, squeeze)
    transpose.replace_input_with(1, axes)
    left = [perm[axis] - (perm[axis] > gone) for axis in by]
    squeeze.attributes["perm"] = ir.AttrInt64s("perm", left)
    transpose.outputs[0].shape = ir.Shape([extent for axis, extent in enumerate(source.shape) if axis != gone])


def _only_source(node: ir.Node, *op_types: str) -> ir.Node | None:
    """The node of one of these types that makes what `node` reads, if nobody else reads it."""
    value = node.inputs[0]
    producer = None if value is None else value.producer()
    if value is None or producer is None or not _is(producer, *op_types):
        return None
    return producer if len(value.uses()) == 1 and not value.is_graph_output() else None


def _kept(node: ir.Node | None) -> Permutation | None:
    """The axes that a Squeeze of one axis leaves, or that an Unsqueeze had before; None for any other node.

    None also for the last axis, which no Permutation drops.
    """
    if node is None or node.domain != "" or node.op_type not in {"Squeeze", "Unsqueeze"} or len(node.inputs) < 2:
        return None
    axes, large = constant(node.inputs[1]), (node.inputs if _is(node, "Squeeze") else node.outputs)[0]
    rank = 0 if large is None or large.shape is None else len(large.shape)
    if axes is None or axes.size != 1 or rank < 2 or (gone := int(axes.reshape(-1)[0]) % rank) == rank - 1:
        return None
    return tuple(axis for axis in range(rank) if axis != gone)


def _exchange(first: ir.Node, second: ir.Node) -> None:
    """Let each of two nodes in a row do what the other did; the tensors between and behind them keep their names."""
    others = [list(node.inputs[1:]) for node in (second, first)]
    attributes = [list(node.attributes.values()) for node in (second, first)]
    first.op_type, second.op_type = second.op_type, first.op_type
    first.name, second.name = second.name, first.name
    for node, inputs, own in zip((first, second), others, attributes, strict=True):
        node.resize_inputs(1 + len(inputs))
        for index, value in enumerate(inputs, 1):
            node.replace_input_with(index, value)
        node.attributes.clear()
        node.attributes.update({each.name: each for each in own})


def _is(node: ir.Node, *op_types: str) -> bool:
    return node.domain == "" and node.op_type in op_types


def _constant(graph: ir.Graph, name: str, array: np.ndarray, taken: set[str | None]) -> ir.Value:
    known = unique(name, taken)
    value = ir.val(known, const_value=ir.tensor(array, name=known))
    graph.register_initializer(value)
    return value
