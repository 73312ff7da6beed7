"""Finding the nodes around a node: who makes what it reads, who reads what it makes."""

from __future__ import annotations

import onnx_ir as ir

from edgebn.tidying.turning import constant


def maker(value: ir.Value | None, op_type: str) -> ir.Node | None:
    """The node of this type that makes the tensor; None if another does."""
    node = None if value is None else value.producer()
    return node if node is not None and node.op_type == op_type and node.domain == "" else None


def source(node: ir.Node | None, index: int = 0) -> ir.Value | None:
    """What a node, if there is one, reads."""
    return node.inputs[index] if node is not None and index < len(node.inputs) else None


def result(node: ir.Node | None) -> ir.Value | None:
    """What a node, if there is one, makes."""
    return None if node is None else node.outputs[0]


def readers(value: ir.Value | None, op_type: str) -> list[ir.Node]:
    """The nodes of this type that read it, in the graph of the tensor's maker."""
    graph = None if value is None or (producer := value.producer()) is None else producer.graph
    nodes = [] if value is None else [usage.node for usage in value.uses()]
    return [node for node in nodes if node.op_type == op_type and node.domain == "" and node.graph is graph]


def joining(first: ir.Value | None, op_type: str, second: ir.Value | None) -> ir.Node | None:
    """A node of this type that reads both tensors."""
    nodes = [] if second is None else readers(first, op_type)
    return next((node for node in nodes if second in node.inputs), None)


def with_constant(node: ir.Node | None) -> tuple[ir.Value | None, ir.Value | None]:
    """The computed and the constant one of a node's two inputs; None for each if they are not."""
    first, second = source(node), source(node, 1)
    if constant(first) is None and constant(second) is not None:
        return first, second
    return (second, first) if constant(first) is not None and constant(second) is None else (None, None)
