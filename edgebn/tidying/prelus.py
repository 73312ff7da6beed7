"""PReLU: one node for folding, of the five that Keras writes; and in the end what onnxruntime computes fastest.

Its own PRelu asks of each element whether it is negative, and takes two to three times as long as a product and a
maximum.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgebn.tidying.matching import maker, source, with_constant
from edgebn.tidying.names import unique, value_names
from edgebn.tidying.turning import constant


def join_prelus(graph: ir.Graph) -> None:
    """relu(x) + c·relu(−x) = prelu(x; −c), for slopes that are written fast. What nobody reads any more is left."""
    taken = value_names(graph)
    for node in graph:
        for first, second in ((0, 1), (1, 0)) if node.op_type == "Add" and node.domain == "" else ():
            x = source(maker(source(node, first), "Relu"))
            below, factor = with_constant(maker(source(node, second), "Mul"))
            slope = constant(factor)
            of_negative = source(maker(source(maker(below, "Relu")), "Neg"))
            if (
                x is not None
                and of_negative is x
                and slope is not None
                and _spreads(slope, x.shape)
                and _is_fast(-slope)
            ):
                name = unique(f"{node.name}/slope", taken)
                value = ir.val(name, const_value=ir.tensor(-slope, name=name))
                graph.register_initializer(value)
                node.op_type = "PRelu"
                node.replace_input_with(0, x)
                node.replace_input_with(1, value)
                break


def spell_prelus(graph: ir.Graph) -> None:
    """prelu(x; k) = leaky_relu(x; k) for one slope; = max(x, k·x) where no slope is above 1."""
    taken = value_names(graph)
    for node in list(graph):
        x, slope = source(node), constant(source(node, 1))
        if node.op_type != "PRelu" or node.domain != "" or x is None or slope is None or not _is_fast(slope):
            continue
        if slope.dtype != np.float32:
            continue
        if _is_uniform(slope):
            node.op_type = "LeakyRelu"
            node.resize_inputs(1)
            node.attributes["alpha"] = ir.AttrFloat32("alpha", float(slope.reshape(-1)[0]))
            continue
        product = ir.node("Mul", [x, node.inputs[1]], name=f"{node.name}/Mul")
        product.outputs[0].name = unique(f"{node.name}/Mul", taken)
        product.outputs[0].type, product.outputs[0].shape = node.outputs[0].type, node.outputs[0].shape
        graph.insert_before(node, product)
        node.op_type = "Max"
        node.replace_input_with(1, product.outputs[0])


def _is_uniform(slope: np.ndarray) -> bool:
    return bool(slope.size and (slope == slope.reshape(-1)[0]).all())


def _is_fast(slope: np.ndarray) -> bool:
    return bool(np.isfinite(slope).all()) and (_is_uniform(slope) or bool((slope <= 1.0).all()))


def _spreads(array: np.ndarray, shape: ir.Shape | None) -> bool:
    """Whether a constant takes the shape of a tensor when the two meet, and not the other way round."""
    extents = list(shape or ())[::-1]
    return array.ndim <= len(extents) and all(
        own in {1, extent} for own, extent in zip(array.shape[::-1], extents, strict=False)
    )
