"""Turning regions: Transposes on the way into and out of nodes that work in any layout cancel when all of those turn.

P(f(x)) = f(P(x)) for what acts on each element alone, and for what acts along axes if these are permuted too. A region
is a set of such nodes, connected by tensors of one rank. All of its tensors v become u, with v = P(u): then a Transpose
by P on the way in, or by P⁻¹ on the way out, is gone, and elsewhere one may have to be put in. A region is turned where
fewer are left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx_ir as ir

from edgebn.tidying.layout import disappears_in_products, keeps_order, permutation
from edgebn.tidying.names import unique, value_names
from edgebn.tidying.turning import Permutation, data_inputs, leaves_rank, turn

_SMALLEST_RANK = 3


@dataclass(frozen=True, eq=False)
class _Region:
    """Nodes, in the order of the graph, the tensors that they read from elsewhere, and those that they make."""

    members: frozenset[ir.Node]
    nodes: tuple[ir.Node, ...]
    sources: tuple[ir.Value, ...]
    inner: tuple[ir.Value, ...]

    def outside(self, value: ir.Value) -> list[tuple[ir.Node, int]]:
        """Who reads a tensor of the region, and is not of it."""
        return [(usage.node, usage.idx) for usage in value.uses() if usage.node not in self.members]


def turn_regions(model: ir.Model) -> None:
    """Turn every region where that leaves fewer Transposes, counted first by nodes and then by elements."""
    taken = value_names(model.graph)
    for nodes in _connected(model.graph):
        region = _region(nodes)
        costs = [(_cost(region, each), each) for each in _candidates(region)]
        best, by = min(costs, default=((0, 0), ()))
        if best < (0, 0):
            _turn_region(model.graph, region, by, taken)


def _connected(graph: ir.Graph) -> list[list[ir.Node]]:
    """The connected sets of nodes that can be turned, each in the order of the graph."""
    leaders: dict[ir.Node, ir.Node] = {}

    def leader(node: ir.Node) -> ir.Node:
        while leaders[node] is not node:
            leaders[node] = node = leaders[leaders[node]]
        return node

    for node in graph:
        for value in data_inputs(node, _SMALLEST_RANK):
            leaders.setdefault(node, node)
            producer = value.producer()
            if producer in leaders and not leaves_rank(producer):
                leaders[leader(node)] = leader(producer)
    members: dict[ir.Node, list[ir.Node]] = {}
    for node in leaders:
        members.setdefault(leader(node), []).append(node)
    return list(members.values())


def _region(nodes: Sequence[ir.Node]) -> _Region:
    inner = dict.fromkeys(value for node in nodes if not leaves_rank(node) for value in node.outputs)
    read = dict.fromkeys(value for node in nodes for value in data_inputs(node, _SMALLEST_RANK))
    return _Region(frozenset(nodes), tuple(nodes), tuple(value for value in read if value not in inner), tuple(inner))


def _candidates(region: _Region) -> list[Permutation]:
    """The permutations of the Transposes on the region's border."""
    into = [producer for value in region.sources if _is_transpose(producer := value.producer())]
    out_of = [node for value in region.inner for node, _ in region.outside(value) if _is_transpose(node)]
    found = [permutation(node) for node in into if node is not None]
    found += [_inverse(permutation(node)) for node in out_of]
    return [by for by in dict.fromkeys(found) if all(turn(node, by, try_only=True) for node in region.nodes)]


def _cost(region: _Region, by: Permutation) -> tuple[int, int]:
    """How many Transposes there are more (below zero: less) when the region is turned, and elements in them."""
    nodes = elements = 0
    for value in region.sources:
        change = _change_at_source(region, value, by)
        nodes, elements = nodes + change, elements + change * _elements(value)
    for value in region.inner:
        change = _change_at_result(region, value, by)
        nodes, elements = nodes + change, elements + change * _elements(value)
    return nodes, elements


def _change_at_source(region: _Region, value: ir.Value, by: Permutation) -> int:
    producer = value.producer()
    alone = not value.is_graph_output() and not region.outside(value)
    if not _is_transpose(producer) or producer is None:
        return 1
    if permutation(producer) == by:
        return -1 if alone else 0
    return 0 if alone else 1


def _change_at_result(region: _Region, value: ir.Value, by: Permutation) -> int:
    readers = [node for node, _ in region.outside(value)]
    others = [node for node in readers if not _is_transpose(node) and not _would_disappear(node, value, by)]
    return (1 if others or value.is_graph_output() else 0) - len(_undone(value, by, readers))


def _undone(value: ir.Value, by: Permutation, readers: Sequence[ir.Node]) -> list[ir.Node]:
    """The readers of v that become u itself: Transposes by P⁻¹, of which one may be an output of the graph."""
    undone = [node for node in readers if _is_transpose(node) and permutation(node) == _inverse(by)]
    outputs = [node for node in undone if node.outputs[0].is_graph_output()]
    return [node for node in undone if node not in outputs[0 if value.is_graph_output() else 1 :]]


def _would_disappear(node: ir.Node, value: ir.Value, by: Permutation) -> bool:
    """Whether a Transpose of u before `node`, which reads v = P(u), would be gone in the end."""
    only_reshapes = node.op_type in {"Flatten", "Reshape", "Squeeze"} and keeps_order(value.shape, by)
    return only_reshapes or disappears_in_products(node, value)


def _turn_region(graph: ir.Graph, region: _Region, by: Permutation, taken: set[str | None]) -> None:
    results = {value: region.outside(value) for value in region.inner}
    for node in region.nodes:
        turn(node, by)
    for value in region.sources:
        readers = [node for node in region.nodes if value in node.inputs]
        turned = _turned_source(graph, value, by, readers[0], taken)
        for node in readers:
            for index, given in enumerate(node.inputs):
                if given is value:
                    node.replace_input_with(index, turned)
    for value, readers_outside in results.items():
        shape = value.shape
        value.shape = None if shape is None else ir.Shape([shape[axis] for axis in _inverse(by)])
        _turn_back(graph, value, by, readers_outside, taken)


def _turned_source(
    graph: ir.Graph, value: ir.Value, by: Permutation, first: ir.Node, taken: set[str | None]
) -> ir.Value:
    """The tensor u with v = P(u)."""
    producer = value.producer()
    source = producer.inputs[0] if producer is not None and _is_transpose(producer) else None
    if producer is not None and source is not None and permutation(producer) == by:
        return source
    transpose = _transpose(value, _inverse(by), taken)
    graph.insert_before(first, transpose)
    return transpose.outputs[0]


def _turn_back(
    graph: ir.Graph, value: ir.Value, by: Permutation, readers: Sequence[tuple[ir.Node, int]], taken: set[str | None]
) -> None:
    """Give those outside of the region, to whom `value` was P(value), that tensor."""
    producer, was_output = value.producer(), value.is_graph_output()
    undone = _undone(value, by, [node for node, _ in readers])
    others = [(node, index) for node, index in readers if node not in undone]
    for node in undone:
        result = node.outputs[0]
        if result.is_graph_output():
            value.name, result.name = result.name, value.name
        result.replace_all_uses_with(value, replace_graph_outputs=True)
    if producer is None or not (others or was_output):
        return
    transpose = _transpose(value, by, taken)
    graph.insert_after(producer, transpose)
    for node, index in others:
        node.replace_input_with(index, transpose.outputs[0])
    for index, output in enumerate(graph.outputs):
        if was_output and output is value:
            graph.outputs[index] = transpose.outputs[0]
            value.name, transpose.outputs[0].name = transpose.outputs[0].name, value.name


def _transpose(value: ir.Value, by: Permutation, taken: set[str | None]) -> ir.Node:
    node = ir.node("Transpose", [value], {"perm": list(by)}, name=unique(f"{value.name}/Transpose", taken))
    node.outputs[0].name, node.outputs[0].type = node.name, value.type
    if value.shape is not None:
        node.outputs[0].shape = ir.Shape([value.shape[axis] for axis in by])
    return node


def _is_transpose(node: ir.Node | None) -> bool:
    return node is not None and node.op_type == "Transpose" and node.domain == "" and bool(permutation(node))


def _inverse(by: Permutation) -> Permutation:
    return tuple(int(axis) for axis in np.argsort(by))


def _elements(value: ir.Value) -> int:
    return prod(extent for extent in (value.shape or ())[1:] if isinstance(extent, int))
