"""Global pools behind convolutions: onnxruntime computes both in its own, blocked layout, and a Reduce not."""

from __future__ import annotations

import onnx_ir as ir

from edgebn.tidying.names import unique, value_names
from edgebn.tidying.turning import constant

_POOLS = {"ReduceMean": "GlobalAveragePool", "ReduceMax": "GlobalMaxPool"}
_MAKE_BLOCKS = {"Conv"}
_KEEP_BLOCKS = {
    *("Add", "AveragePool", "BatchNormalization", "Clip", "Concat", "LeakyRelu", "MaxPool", "Mul", "Relu", "Sigmoid"),
    *("Sum", "Tanh"),
}
_IMAGES = 4


def reductions_to_pools(graph: ir.Graph) -> None:
    """Write a mean or maximum over the extents of an image as a global pool, where a convolution made the image.

    Where the axes are dropped, it takes a Flatten more, of few elements.
    """
    blocked: set[ir.Value] = set()
    taken = value_names(graph)
    for node in list(graph):
        if node.domain != "" or not node.outputs:
            continue
        if node.op_type in _MAKE_BLOCKS or (node.op_type in _KEEP_BLOCKS and _all_in(node, blocked)):
            blocked.update(node.outputs)
        elif node.op_type in _POOLS and node.inputs[0] in blocked and _reduces_images(node):
            _to_pool(graph, node, taken)


def _all_in(node: ir.Node, blocked: set[ir.Value]) -> bool:
    """Whether all tensors that the node reads are among `blocked`, and its constants no images."""
    return all(value in blocked or value is None or value.const_value is not None for value in node.inputs)


def _reduces_images(node: ir.Node) -> bool:
    """Whether the node reduces height and width of a float32 tensor of [batch, channels, height, width] alone."""
    image = node.inputs[0]
    if image is None or image.shape is None or len(image.shape) != _IMAGES or image.dtype != ir.DataType.FLOAT:
        return False
    given = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    axes = node.attributes.get_ints("axes", ()) if given is None else given.tolist()
    return sorted(int(axis) % _IMAGES for axis in axes) == [2, 3]


def _to_pool(graph: ir.Graph, node: ir.Node, taken: set[str | None]) -> None:
    drops = not node.attributes.get_int("keepdims", 1)
    node.op_type = _POOLS[node.op_type]
    node.resize_inputs(1)
    node.attributes.clear()
    if drops:
        _flatten(graph, node, taken)


def _flatten(graph: ir.Graph, node: ir.Node, taken: set[str | None]) -> None:
    """Put a Flatten behind the node, which takes its result's place."""
    result = node.outputs[0]
    flatten = ir.node("Flatten", [None], {"axis": 1}, name=f"{node.name}/Flatten")
    flat = flatten.outputs[0]
    flat.type, flat.shape, result.shape = result.type, result.shape, None
    result.replace_all_uses_with(flat, replace_graph_outputs=True)
    flatten.replace_input_with(0, result)
    graph.insert_after(node, flatten)
    flat.name, result.name = result.name, unique(f"{result.name}/pooled", taken)
