"""A read-only look at an ONNX graph: its shapes, constants and readers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from edgebn.algebra import Array

_SHAPE_READERS = {"Shape", "Size"}


@dataclass(frozen=True, eq=False)
class LayerConstant:
    """Where a Mul or Add by a constant comes from: the Keras layer's path, and the constant before it was rounded.

    `value` is float64, of as many elements as the constant in the graph, in the same order. `variance` is the layer's
    moving variance, if it is a BatchNormalization.
    """

    layer: str
    value: Array
    variance: Array | None = None


class View:
    """What folding asks of a graph. Nothing here changes it.

    `layer_constants` maps node names to what the exporter knows of their constants.
    """

    def __init__(self, graph: ir.Graph, layer_constants: Mapping[str, LayerConstant] | None = None) -> None:
        self.graph = graph
        self._layer_constants = dict(layer_constants or {})

    def layer(self, node: ir.Node) -> str | None:
        """The Keras layer that the node comes from, where that is known, or the BatchNormalization that it is."""
        if node.op_type == "BatchNormalization" and node.domain == "":
            return node.name
        known = self._layer_constants.get(node.name or "")
        return known.layer if known else None

    def variance(self, node: ir.Node) -> Array | None:
        """The moving variance of the BatchNormalization that the node is or was exported from, where it is known."""
        if node.op_type == "BatchNormalization" and node.domain == "":
            return self.reals(node, 4)
        known = self._layer_constants.get(node.name or "")
        return known.variance if known else None

    def constant(self, value: ir.Value | None) -> np.ndarray[Any, Any] | None:
        """The value of a constant, as stored; None for what is computed, fed, or may be overridden by the caller."""
        if value is None or value.is_graph_input():
            return None
        tensor = ir.convenience.get_const_tensor(value)
        return None if tensor is None else tensor.numpy()

    def argument(self, node: ir.Node, index: int) -> np.ndarray[Any, Any] | None:
        """The constant that is input `index` of the node; None if it has none there."""
        return self.constant(node.inputs[index]) if self.has(node, index) else None

    def has(self, node: ir.Node, index: int) -> bool:
        """Whether the node has an input `index`, constant or not."""
        return index < len(node.inputs) and node.inputs[index] is not None

    def reals(self, node: ir.Node, index: int) -> Array | None:
        """Input `index` of the node in float64, as precise as it is known; None unless it is a constant."""
        constant = self.argument(node, index)
        if constant is None:
            return None
        known = self._layer_constants.get(node.name or "")
        if known is not None and known.value.size == constant.size:
            return known.value.reshape(constant.shape)
        return constant.astype(np.float64)

    def shape(self, value: ir.Value | None) -> tuple[int | None, ...] | None:
        """The shape of a tensor, None for an extent that is not known; None for a tensor of unknown rank."""
        if value is None or value.shape is None:
            return None
        return tuple(extent if isinstance(extent, int) else None for extent in value.shape)

    def named_shape(self, value: ir.Value | None) -> tuple[int | str | None, ...] | None:
        """The same with the names of unknown extents: two of one name are equal, whatever they are."""
        if value is None or value.shape is None:
            return None
        return tuple(extent if isinstance(extent, int) else extent.value for extent in value.shape)

    def uses(self, value: ir.Value) -> Iterator[tuple[ir.Node, int]]:
        """Every node and input by which the values of a tensor are read, those inside of bodies included.

        Who only asks for the shape does not count: no affine changes it.
        """
        return ((usage.node, usage.idx) for usage in value.uses() if usage.node.op_type not in _SHAPE_READERS)

    def nodes(self) -> Iterator[ir.Node]:
        """The nodes of the graph in topological order."""
        return iter(self.graph)

    def nodes_of_bodies(self) -> Iterator[ir.Node]:
        """The nodes inside of the bodies of If, Loop and Scan, however deep."""
        return (node for node in self.graph.all_nodes() if node.graph is not self.graph)
