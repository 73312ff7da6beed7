"""A read-only look at an ONNX graph: its shapes, constants and readers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgebn.algebra import Array


@dataclass(frozen=True, eq=False)
class LayerConstant:
    """Where a Mul or Add by a constant comes from: the Keras layer's path, and the constant before it was rounded.

    `value` is float64, of as many elements as the constant in the graph, in the same order.
    """

    layer: str
    value: Array


class View:
    """What folding asks of a graph. Nothing here changes it.

    `layer_constants` maps node names to what the exporter knows of their constants.
    """

    def __init__(self, graph: ir.Graph, layer_constants: Mapping[str, LayerConstant] | None = None) -> None:
        self.graph = graph
        self._layer_constants = dict(layer_constants or {})

    def layer(self, node: ir.Node) -> str | None:
        """The Keras layer that the node was exported from, where the exporter said so."""
        known = self._layer_constants.get(node.name or "")
        return known.layer if known else None

    def data_input(self, node: ir.Node) -> ir.Value | None:
        """The one input of the node that is not a constant; None if there are none or several."""
        varying = [value for value in node.inputs if value is not None and self.constant(value) is None]
        return varying[0] if len(varying) == 1 else None

    def constant(self, value: ir.Value | None) -> np.ndarray | None:
        """The value of a constant, as stored; None for what is computed, fed, or may be overridden by the caller."""
        if value is None or value.is_graph_input():
            return None
        tensor = ir.convenience.get_const_tensor(value)
        return None if tensor is None else tensor.numpy()

    def reals(self, node: ir.Node, index: int) -> Array | None:
        """Input `index` of the node in float64, as precise as it is known; None unless it is a constant."""
        constant = self.constant(node.inputs[index]) if index < len(node.inputs) else None
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

    def readers(self, value: ir.Value) -> tuple[ir.Node, ...]:
        """Every node that reads the tensor, those inside of If-, Loop- and Scan-bodies included."""
        return tuple(usage.node for usage in value.uses())

    def nodes(self) -> Iterator[ir.Node]:
        """The nodes of the graph in topological order."""
        return iter(self.graph)
