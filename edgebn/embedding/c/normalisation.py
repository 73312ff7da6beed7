"""Layer normalisation, which becomes steps as the operators that it is made of."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgebn.tidying import unique, value_names

_AXES_ARE_INPUTS = 18
"""The first opset in which ReduceMean is given its axes as a tensor."""


def spell_out_normalisations(model: ir.Model) -> bool:
    """LayerNormalization(x; γ, β) = γ·(x − μ) / √(σ² + ε) + β, in place, where only the first result is used.

    Returns whether there was one.
    """
    taken, opset, found = value_names(model.graph), model.opset_imports[""], False
    for node in list(model.graph):
        used = [value for value in node.outputs[1:] if value.uses() or value.is_graph_output()]
        shape = node.inputs[0].shape if node.inputs and node.inputs[0] is not None else None
        if node.op_type == "LayerNormalization" and node.domain == "" and not used and shape is not None:
            _spell_out(model.graph, node, len(shape), taken, opset)
            found = True
    return found


def _spell_out(graph: ir.Graph, node: ir.Node, rank: int, taken: set[str | None], opset: int) -> None:
    axes = list(range(node.attributes.get_int("axis", -1) % rank, rank))
    x, gamma, beta = (*node.inputs, None)[:3]
    given = [_constant(graph, node, np.array(axes, np.int64), taken)] if opset >= _AXES_ARE_INPUTS else []
    attributes = {} if given else {"axes": axes}
    epsilon = _constant(graph, node, np.float32(node.attributes.get_float("epsilon", 1e-5)), taken)

    def add(op_type: str, *inputs: ir.Value | None, **more: list[int]) -> ir.Value:
        made = ir.node(op_type, inputs, more, name=f"{node.name}/{op_type}")
        made.outputs[0].name, made.outputs[0].type = unique(f"{node.name}/{op_type}", taken), node.outputs[0].type
        graph.insert_before(node, made)
        return made.outputs[0]

    difference = add("Sub", x, add("ReduceMean", x, *given, **attributes))
    variance = add("ReduceMean", add("Mul", difference, difference), *given, **attributes)
    result = add("Mul", add("Div", difference, add("Sqrt", add("Add", variance, epsilon))), gamma)
    result = result if beta is None else add("Add", result, beta)
    old = node.outputs[0]
    result.shape = old.shape
    old.replace_all_uses_with(result, replace_graph_outputs=True)
    graph.remove(node, safe=True)
    result.name = old.name


def _constant(graph: ir.Graph, node: ir.Node, array: np.ndarray | np.float32, taken: set[str | None]) -> ir.Value:
    name = unique(f"{node.name}/constant", taken)
    value = ir.val(name, const_value=ir.tensor(np.asarray(array), name=name))
    graph.register_initializer(value)
    return value
