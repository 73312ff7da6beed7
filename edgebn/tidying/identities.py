"""Nodes that hand on what they are given. The graph's outputs keep their names."""

from __future__ import annotations

import onnx_ir as ir

_VARIADIC = {"Concat", "Max", "Mean", "Min", "Sum"}


def drop_identities(graph: ir.Graph) -> None:
    """Let who reads an Identity, or a Concat, Sum or Max of one tensor, read what that reads.

    One whose result is an output of the graph goes if the node before it can take over the output's name: not if that
    one's result is an output too, or an input or a constant. Bodies are left as they are.
    """
    for node in list(graph):
        source = node.inputs[0] if _hands_on(node) else None
        if source is None:
            continue
        result = node.outputs[0]
        if not result.is_graph_output():
            result.replace_all_uses_with(source)
        elif source.producer() in graph and not source.is_graph_output():
            source.name, source.shape = result.name, result.shape or source.shape
            result.replace_all_uses_with(source, replace_graph_outputs=True)
        else:
            continue
        graph.remove(node, safe=True)


def _hands_on(node: ir.Node) -> bool:
    alone = node.op_type == "Identity" or (node.op_type in _VARIADIC and len(node.inputs) == 1)
    return node.domain == "" and alone
