"""ONNX for operators of TensorFlow that tf2onnx does not know, each by an equation in operators that it does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx

INPUT = "edgebn_input_"
"""How the names of the model's inputs begin."""

MARK = "edgebn_output"
"""An operator that no optimiser knows."""

_Handler = Callable[[Any, Any, str, Any], None]


def _erfc(graph: Any, node: Any, name: str, _: Any) -> None:
    """erfc(x) = 1 − erf(x): the exact GELU."""
    one = _one(graph, node)
    _replace(graph, node, name, lambda x: graph.make_node("Sub", [one, graph.make_node("Erf", [x]).output[0]]))


def _expm1(graph: Any, node: Any, name: str, _: Any) -> None:
    """expm1(x) = exp(x) − 1: CELU. Near 0, off by one rounding of 1."""
    one = _one(graph, node)
    _replace(graph, node, name, lambda x: graph.make_node("Sub", [graph.make_node("Exp", [x]).output[0], one]))


def _conv_transpose(graph: Any, node: Any, name: str, _: Any) -> None:
    """A transposed convolution of images whose result is the stride times as large, but for what VALID adds.

    Of s·(n − 1) + k rows, SAME crops k − s, the smaller half of it in front; where k < s, s − k of zeros are added.
    """
    kernel = graph.get_shape(node.input[1])[:2]
    strides = node.get_attr_value("strides")[1:3]
    crops = node.get_attr_value("padding") == b"SAME"
    more = [max(size - stride, 0) if crops else 0 for size, stride in zip(kernel, strides, strict=True)]
    shapes, dtypes, result = node.output_shapes, node.output_dtypes, node.output[0]
    weights, image = node.input[1], node.input[2]
    graph.remove_node(name)
    first = graph.make_node("Transpose", [image], attr={"perm": [0, 3, 1, 2]}).output[0]
    turned = graph.make_node("Transpose", [weights], attr={"perm": [3, 2, 0, 1]}).output[0]
    attributes = {
        "kernel_shape": kernel,
        "strides": strides,
        "pads": [each // 2 for each in more] + [each - each // 2 for each in more],
        "output_padding": [max(stride - size, 0) for size, stride in zip(kernel, strides, strict=True)],
    }
    made = graph.make_node("ConvTranspose", [first, turned], attr=attributes).output[0]
    last = {"attr": {"perm": [0, 2, 3, 1]}, "name": name, "outputs": [result], "shapes": shapes, "dtypes": dtypes}
    graph.make_node("Transpose", [made], **last)


def _identity(graph: Any, node: Any, _: str, __: Any) -> None:
    """Keep tf2onnx's optimisers from what makes an output: of a Reshape there, one of them drops half."""
    is_whole = any(each.name.startswith(INPUT) for each in graph.inputs)  # and not what a loop runs
    if is_whole and any(node.output[0] in graph.get_node_by_output(output).input for output in graph.outputs):
        node.type = MARK


def unmarked(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with an Identity in front of each output in the place of its mark."""
    for node in model.graph.node:
        if node.op_type == MARK:
            node.op_type = "Identity"
    return model


def _one(graph: Any, node: Any) -> str:
    dtype = np.float64 if graph.get_dtype(node.input[0]) == 11 else np.float32  # 11: ONNX's number for double
    return str(graph.make_const(f"{node.name}/one", np.array(1.0, dtype)).output[0])


def _replace(graph: Any, node: Any, name: str, make: Callable[[str], Any]) -> None:
    """Put what `make` makes of the node's input in its place."""
    shapes, dtypes = node.output_shapes, node.output_dtypes
    source, result = node.input[0], node.output[0]
    graph.remove_node(name)
    made = make(source)
    graph.make_node("Identity", [made.output[0]], name=name, outputs=[result], shapes=shapes, dtypes=dtypes)


HANDLERS: Mapping[str, tuple[_Handler, list[Any]]] = {
    "Conv2DBackpropInputV2": (_conv_transpose, []),
    "Erfc": (_erfc, []),
    "Expm1": (_expm1, []),
    "Identity": (_identity, []),
}
