"""Layout: Transposes that cancel or disappear in the weights behind them, products as Gemm, reshapes as Flatten."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import onnx_ir as ir

from edgebn.tidying.names import unique, value_names
from edgebn.tidying.shapes import is_unknown, write_reshape
from edgebn.tidying.turning import REDUCTIONS, constant, leaves_rank

_IMAGE_LAYOUTS = ((0, 3, 1, 2), (0, 2, 3, 1))
_RESHAPING = ("Flatten", "Reshape", "Squeeze", "Unsqueeze")


def join_transposes(model: ir.Model) -> None:
    """P₂ ∘ P₁ = P with P[k] = P₁[P₂[k]]; an identity is bypassed."""
    for node in model.graph:
        before = _producer(node, "Transpose") if _is(node, "Transpose") else None
        if before is not None and permutation(before) and permutation(node):
            first, second = permutation(before), permutation(node)
            node.replace_input_with(0, before.inputs[0])
            node.attributes["perm"] = ir.AttrInt64s("perm", [first[axis] for axis in second])
        if _is(node, "Transpose") and permutation(node) and permutation(node) == tuple(sorted(permutation(node))):
            _bypass(node)


def transpose_into_product(model: ir.Model) -> None:
    """flatten(P(x))·K = flatten(x)·K', K' the rows of K in the order in which x holds them.

    Where a Transpose is only flattened, and the result only read by products with constant weights.
    """
    for node in model.graph:
        if not (_is(node, "Flatten", "Reshape") and (transpose := _producer(node, "Transpose"))):
            continue
        order = _flattened_order(transpose, node)
        uses = node.outputs[0].uses()
        if order is None or node.outputs[0].is_graph_output():
            continue
        if not all(_takes_rows(usage.node, usage.idx) for usage in uses):
            continue
        for product in [usage.node for usage in uses]:
            _reorder_rows(model.graph, product, order)
        node.replace_input_with(0, transpose.inputs[0])
        if _is(node, "Flatten"):
            node.attributes["axis"] = ir.AttrInt64("axis", 1)


def transposes_into_gemm(model: ir.Model) -> None:
    """xᵀ·K by a Gemm that reads x the other way round, where nobody else needs xᵀ."""
    for node in model.graph:
        transpose = _producer(node, "Transpose") if _is(node, "Gemm") else None
        if transpose is not None and permutation(transpose) == (1, 0) and len(transpose.outputs[0].uses()) == 1:
            node.attributes["transA"] = ir.AttrInt64("transA", 1 - node.attributes.get_int("transA", 0))
            node.replace_input_with(0, transpose.inputs[0])


def transposes_out_of_gemm(graph: ir.Graph) -> None:
    """Let a Transpose turn what a Gemm by constant weights turns itself: it may cancel, and folding knows it."""
    taken = value_names(graph)
    for node in list(graph):
        data = node.inputs[0] if _is(node, "Gemm") and node.attributes.get_int("transA", 0) != 0 else None
        if data is None or data.shape is None or _weights(node) is None:
            continue
        transpose = ir.node("Transpose", [data], {"perm": [1, 0]}, name=f"{node.name}/Transpose")
        turned = transpose.outputs[0]
        turned.name, turned.type = unique(f"{node.name}/Transpose", taken), data.type
        turned.shape = ir.Shape([data.shape[1], data.shape[0]])
        graph.insert_before(node, transpose)
        node.replace_input_with(0, turned)
        del node.attributes["transA"]


def products_to_gemm(model: ir.Model) -> None:
    """Write a MatMul of a matrix by constant weights as Gemm, which has room for a bias."""
    for node in model.graph:
        data = node.inputs[0] if _is(node, "MatMul") else None
        if data is None or data.shape is None or len(data.shape) != 2 or data.const_value is not None:
            continue
        if data.dtype not in {ir.DataType.FLOAT, ir.DataType.DOUBLE}:  # runtimes have no Gemm of integers
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


def _producer(node: ir.Node, *op_types: str) -> ir.Node | None:
    before = node.inputs[0].producer() if node.inputs and node.inputs[0] else None
    return before if before is not None and _is(before, *op_types) else None


def _shapes(node: ir.Node) -> tuple[ir.Shape | None, ir.Shape | None]:
    """Those of a node's first input and output."""
    return node.inputs[0].shape if node.inputs[0] else None, node.outputs[0].shape


def _permuted(shape: ir.Shape | None, by: Sequence[int]) -> ir.Shape | None:
    return None if shape is None else ir.Shape([shape[axis] for axis in by])


def permutation(transpose: ir.Node) -> tuple[int, ...]:
    """That of a Transpose: axis i of its result is axis P[i] of its input; () if it is not known."""
    rank = len(transpose.outputs[0].shape or ())
    return tuple(transpose.attributes.get_ints("perm", tuple(reversed(range(rank)))))


def keeps_order(shape: ir.Shape | None, by: Sequence[int]) -> bool:
    """Whether permuting the axes of a tensor of this shape moves no element: all that pass each other are 1 long."""
    kept = [axis for axis in by if shape is not None and shape[axis] != 1]
    return shape is not None and kept == sorted(kept)


def disappears_in_products(node: ir.Node, value: ir.Value) -> bool:
    """Whether a Transpose of `value`, put in before `node`, could be taken into the weights behind."""
    if not _is(node, "Flatten", "Reshape") or node.outputs[0].is_graph_output():
        return False
    after = node.outputs[0].shape
    extents = [extent for extent in (value.shape or ())[1:] if isinstance(extent, int)]
    if after is None or len(after) != 2 or len(extents) != len(value.shape or ()) - 1 or prod(extents) != after[1]:
        return False
    return all(_takes_rows(usage.node, usage.idx) for usage in node.outputs[0].uses())


def reshapes_to_transposes(model: ir.Model) -> None:
    """Write a Reshape between channels first and last, of a tensor of which that moves no element, as a Transpose."""
    for node in model.graph:
        before, after = _shapes(node) if _is(node, "Reshape") else (None, None)
        for by in _IMAGE_LAYOUTS if before is not None and after is not None and before != after else ():
            if len(before or ()) == len(by) and keeps_order(before, by) and _permuted(before, by) == after:
                node.op_type = "Transpose"
                node.resize_inputs(1)
                node.attributes.clear()
                node.attributes["perm"] = ir.AttrInt64s("perm", by)
                break


def transposes_to_reshapes(model: ir.Model) -> None:
    """Write a Transpose that moves no element as a Reshape, which costs nothing."""
    taken = value_names(model.graph)
    for node in model.graph:
        before, after = _shapes(node) if _is(node, "Transpose") else (None, None)
        if before is not None and keeps_order(before, permutation(node)):
            write_reshape(model.graph, node, before, after, taken)


def join_reshapes(model: ir.Model) -> None:
    """Of two nodes in a row that only reshape, the second does it alone; one that changes nothing is bypassed."""
    taken = value_names(model.graph)
    for node in model.graph:
        before = _producer(node, *_RESHAPING) if _is(node, *_RESHAPING) else None
        if before is not None and before.inputs[0] is not None:
            source, after = before.inputs[0], node.outputs[0].shape
            if source.shape is not None and write_reshape(model.graph, node, source.shape, after, taken):
                node.replace_input_with(0, source)
        given, made = _shapes(node) if _is(node, *_RESHAPING) else (None, None)
        if given is not None and given == made and not any(is_unknown(extent) for extent in given):
            _bypass(node)


def keep_reduced_axes(model: ir.Model) -> None:
    """A reduction whose axes come back, 1 long, in the Reshape behind it need not drop them."""
    for node in model.graph:
        reduction = _producer(node, *REDUCTIONS) if _is(node, *_RESHAPING) else None
        if reduction is None or not leaves_rank(reduction) or len(reduction.outputs[0].uses()) > 1:
            continue
        before, after = reduction.inputs[0].shape if reduction.inputs[0] else None, node.outputs[0].shape
        axes = _axes(reduction)
        if before is None or after is None or not axes or reduction.outputs[0].is_graph_output():
            continue
        kept = [1 if axis in {each % len(before) for each in axes} else before[axis] for axis in range(len(before))]
        if ir.Shape(kept) == after:
            reduction.attributes["keepdims"] = ir.AttrInt64("keepdims", 1)
            reduction.outputs[0].shape = after.copy()
            _bypass(node)


def _axes(reduction: ir.Node) -> list[int]:
    if len(reduction.inputs) < 2:
        return list(reduction.attributes.get_ints("axes", ()))
    given = constant(reduction.inputs[1])
    return [] if given is None else [int(axis) for axis in given]


def _bypass(node: ir.Node) -> None:
    """Let who reads the node read what it reads; what makes an output of the graph is left as an Identity."""
    source, result = node.inputs[0], node.outputs[0]
    if source is not None and not result.is_graph_output():
        result.replace_all_uses_with(source)
    elif source is not None:
        node.op_type = "Identity"
        node.resize_inputs(1)
        node.attributes.clear()


def _flattened_order(transpose: ir.Node, flatten: ir.Node) -> np.ndarray | None:
    """Where each element of the flattened, transposed sample lies in the sample as it was before."""
    by, shape = permutation(transpose), transpose.inputs[0].shape if transpose.inputs[0] else None
    after = flatten.outputs[0].shape
    if shape is None or after is None or len(after) != 2 or by[0] != 0:
        return None
    extents = [extent for extent in shape[1:] if isinstance(extent, int)]
    if len(extents) != len(shape) - 1 or prod(extents) != after[1]:
        return None
    positions = np.arange(prod(extents)).reshape(extents)
    return positions.transpose([axis - 1 for axis in by[1:]]).reshape(-1)


def _weights(product: ir.Node) -> np.ndarray | None:
    return constant(product.inputs[1])


def _takes_rows(product: ir.Node, index: int) -> bool:
    """Whether the node multiplies its input `index` by constant weights, one row for each element."""
    if not _is(product, "Gemm", "MatMul") or index != 0:
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
