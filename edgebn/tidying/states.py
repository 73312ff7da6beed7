"""Recurrent layers that begin with zeros, which is what they do if nothing is said."""

from __future__ import annotations

import onnx_ir as ir

from edgebn.tidying.turning import constant

_STATES = {"GRU": (5,), "LSTM": (5, 6), "RNN": (5,)}
"""Which inputs say what a layer begins with."""

_ARRANGES = {"Cast", "Expand", "Identity", "Reshape", "Slice", "Squeeze", "Tile", "Transpose", "Unsqueeze"}


def begin_with_zeros(graph: ir.Graph) -> None:
    """Take from each recurrent layer, in bodies too, a state that is 0 however large the batch is."""
    for node in graph.all_nodes():
        for index in _STATES.get(node.op_type, ()) if node.domain == "" else ():
            if index < len(node.inputs) and _is_zero(node.inputs[index]):
                node.replace_input_with(index, None)


def _is_zero(value: ir.Value | None) -> bool:
    """Whether all elements are 0, as far as constants and what arranges their elements show it."""
    array, node = constant(value), None if value is None else value.producer()
    if array is not None:
        return not array.any()
    if node is None or node.domain != "":
        return False
    if node.op_type == "ConstantOfShape":
        filling = node.attributes.get_tensor("value", None)
        return filling is None or not filling.numpy().any()
    return (node.op_type in _ARRANGES and _is_zero(node.inputs[0])) or (
        node.op_type == "Concat" and all(map(_is_zero, node.inputs))
    )
