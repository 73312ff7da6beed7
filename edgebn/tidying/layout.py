"""Layout: Transposes that cancel or disappear in the weights behind them, products as Gemm, reshapes as Flatten."""

from __future__ import annotations

from math import prod

import numpy as np
import onnx_ir as ir


def join_transposes(model: ir.Model) -> None:
    """P₂ ∘ P₁ = P with P[k] = P₁[P₂[k]]; an identity is bypassed."""
    for node in model.graph:
        before = _producer(node, "Transpose") if _is(node, "Transpose") else None
        if before is not None and _permutation(before) and _permutation(node):
            first, second = _permutation(before), _permutation(node)
            node.replace_input_with(0, before.inputs[0])
            node.attributes["perm"] = ir.AttrInt64s("perm", [first[axis] for axis in second])
        if _is(node, "Transpose") and _permutation(node) and _permutation(node) == sorted(_permutation(node)):
            _bypass(node)


def transpose_into_product(model: ir.Model) -> None:
    """flatten(P(x))·K = flatten(x)·K', K' the rows of K in the order in which x holds them.

    Where a Transpose is only flattened, and the result only read by products with constant weights.
    """
    for node in model.graph:
        if not (_is(node, "Flatten", "Reshape") and (transpose := _producer(node, "Transpose"))):
            continue
        order = _flattened_order(transpose, node)
        products = [usage.node for usage in node.outputs[0].uses()]
        if order is None or node.outputs[0].is_graph_output() or not all(_takes_rows(each, node) for each in products):
            continue
        for product in products:
            _reorder_rows(model.graph, product, order)
        node.replace_input_with(0, transpose.inputs[0])


def products_to_gemm(model: ir.Model) -> None:
    """Write a MatMul of a matrix by constant weights as Gemm, which has room for a bias."""
    for node in model.graph:
        data = node.inputs[0] if _is(node, "MatMul") else None
        if data is None or data.shape is None or len(data.shape) != 2 or data.const_value is not None:
            continue
        kernel = _weights(node)
        if kernel is not None and kernel.ndim == 2:
            node.op_type = "Gemm"


def reshapes_to_flatten(model: ir.Model) -> None:
    """Write a Reshape to (batch, everything else) as Flatten, which needs no shape tensor."""
    for node in model.graph:
        before, after = (
            (value.shape if value else None for value in (node.inputs[0], node.outputs[0]))
            if _is(node, "Reshape")
            else (None, None)
        )
        if before is None or after is None or len(after) != 2 or len(before) < 2 or before[0] != after[0]:
            continue
        rest = [extent for extent in before[1:] if isinstance(extent, int)]
        if len(rest) == len(before) - 1 and prod(rest) == after[1] != 0:
            node.op_type = "Flatten"
            node.resize_inputs(1)
            node.attributes.clear()
            node.attributes["axis"] = ir.AttrInt64("axis", 1)


def make_conv_attributes_explicit(model: ir.Model) -> None:
    """Write out every attribute of each Conv, so that readers of the file need not know the defaults."""
    for node in model.graph:
        kernel = node.inputs[1] if _is(node, "Conv") else None
        if kernel is None or kernel.shape is None:
            continue
        window = [extent for extent in kernel.shape[2:] if isinstance(extent, int)]
        explicit: dict[str, list[int]] = {
            "dilations": [1] * len(window),
            "kernel_shape": window,
            "strides": [1] * len(window),
        }
        if node.attributes.get_string("auto_pad", "NOTSET") == "NOTSET":
            explicit["pads"] = [0] * (2 * len(window))
        for name, values in explicit.items():
            node.attributes.setdefault(name, ir.AttrInt64s(name, values))
        node.attributes.setdefault("group", ir.AttrInt64("group", 1))


def _is(node: ir.Node, *op_types: str) -> bool:
    return node.domain == "" and node.op_type in op_types


def _producer(node: ir.Node, op_type: str) -> ir.Node | None:
    before = node.inputs[0].producer() if node.inputs and node.inputs[0] else None
    return before if before is not None and _is(before, op_type) else None


def _permutation(transpose: ir.Node) -> list[int]:
    rank = len(transpose.outputs[0].shape or ())
    return list(transpose.attributes.get_ints("perm", tuple(reversed(range(rank)))))


def _bypass(node: ir.Node) -> None:
    source, result = node.inputs[0], node.outputs[0]
    if source is not None and not result.is_graph_output():
        result.replace_all_uses_with(source)


def _flattened_order(transpose: ir.Node, flatten: ir.Node) -> np.ndarray | None:
    """Where each element of the flattened, transposed sample lies in the sample as it was before."""
    permutation, shape = _permutation(transpose), transpose.inputs[0].shape if transpose.inputs[0] else None
    after = flatten.outputs[0].shape
    if shape is None or after is None or len(after) != 2 or permutation[0] != 0:
        return None
    extents = [extent for extent in shape[1:] if isinstance(extent, int)]
    if len(extents) != len(shape) - 1 or prod(extents) != after[1]:
        return None
    positions = np.arange(prod(extents)).reshape(extents)
    return positions.transpose([axis - 1 for axis in permutation[1:]]).reshape(-1)


def _weights(product: ir.Node) -> np.ndarray | None:
    value = product.inputs[1]
    if value is None or value.is_graph_input() or value.const_value is None:
        return None
    return value.const_value.numpy()


def _takes_rows(product: ir.Node, flatten: ir.Node) -> bool:
    """Whether the node multiplies the flattened tensor by constant weights, one row for each element."""
    if not _is(product, "Gemm", "MatMul") or product.inputs[0] is not flatten.outputs[0]:
        return False
    weights = _weights(product)
    plain = not product.attributes.get_int("transA", 0) and not product.attributes.get_int("transB", 0)
    return weights is not None and weights.ndim == 2 and plain


def _reorder_rows(graph: ir.Graph, product: ir.Node, order: np.ndarray) -> None:
    weights = _weights(product)
    if weights is None:
        raise ValueError(f"{product.name}: its weights are not constants")
    reordered = np.empty_like(weights)
    reordered[order] = weights
    name = f"{product.name}/kernel"
    while name in graph.initializers:
        name += "_"
    value = ir.val(name, const_value=ir.tensor(reordered, name=name))
    graph.register_initializer(value)
    product.replace_input_with(1, value)
