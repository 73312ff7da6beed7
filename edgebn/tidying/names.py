"""Names: for constants, that say what they are for; for nodes that have none, or one that another has too."""

from __future__ import annotations

import onnx_ir as ir

_ROLES = {
    ("Add", 1): "shift",
    ("BatchNormalization", 1): "scale",
    ("BatchNormalization", 2): "bias",
    ("BatchNormalization", 3): "mean",
    ("BatchNormalization", 4): "variance",
    ("Clip", 1): "min",
    ("Clip", 2): "max",
    ("Conv", 1): "kernel",
    ("Conv", 2): "bias",
    ("ConvTranspose", 1): "kernel",
    ("ConvTranspose", 2): "bias",
    ("Gemm", 1): "kernel",
    ("Gemm", 2): "bias",
    ("LayerNormalization", 1): "scale",
    ("LayerNormalization", 2): "bias",
    ("MatMul", 1): "kernel",
    ("Max", 1): "lower",
    ("Min", 1): "upper",
    ("Mul", 1): "scale",
    ("Reshape", 1): "shape",
}


def name_constants(model: ir.Model) -> None:
    """Name every initializer after the first node that reads it: `dense/kernel`. Names stay unique."""
    graph = model.graph
    fixed = {*graph.inputs, *graph.outputs}
    constants = [value for value in graph.initializers.values() if value not in fixed]
    for value in constants:
        graph.initializers.pop(value.name or "")
    taken = value_names(graph)
    for value in in_order_of_use(graph, constants):
        usage = next(iter(value.uses()))
        role = _ROLES.get((usage.node.op_type, usage.idx), f"constant_{usage.idx}")
        value.name = unique(f"{usage.node.name or usage.node.op_type}/{role}", taken)
        graph.register_initializer(value)


def name_nodes(graph: ir.Graph) -> None:
    """Give each node without a name, or with a name that an earlier one has, a name of its own: `Conv_3`."""
    taken: set[str | None] = set()
    for index, node in enumerate(graph.all_nodes()):
        node.name = unique(node.name or f"{node.op_type}_{index}", taken)


def in_order_of_use(graph: ir.Graph, constants: list[ir.Value]) -> list[ir.Value]:
    """The constants that are read at all, in the order in which the graph's nodes first read them."""
    order: dict[ir.Value, None] = {}
    wanted = set(constants)
    for node in graph.all_nodes():
        order.update(dict.fromkeys(value for value in node.inputs if value in wanted))
    return list(order)


def value_names(graph: ir.Graph) -> set[str | None]:
    """The names of all tensors of the graph, those inside of bodies included, which see those outside."""
    values = [value for node in graph.all_nodes() for value in node.outputs]
    for each in (graph, *graph.subgraphs()):
        values += [*each.inputs, *each.initializers.values()]
    return {value.name for value in values}


def unique(name: str, taken: set[str | None]) -> str:
    """`name`, or `name_2`, `name_3`… if it is taken; from then on it is."""
    candidate, count = name, 1
    while candidate in taken:
        count += 1
        candidate = f"{name}_{count}"
    taken.add(candidate)
    return candidate
