"""Layer normalisation: one node, of the eleven that TensorFlow computes it by."""

from __future__ import annotations

from math import prod

import numpy as np
import onnx_ir as ir

from edgebn.tidying.matching import joining, maker, readers, result, source, with_constant
from edgebn.tidying.names import unique, value_names
from edgebn.tidying.turning import constant

_NAME = "LayerNormalization"
_FIRST_OPSET = 17


def join_layer_normalisations(model: ir.Model) -> None:
    """x·s + (β − μ·s) = γ·LayerNormalization(x) + β,  s = γ / √(σ² + ε),  μ and σ² over the last axes.

    The factor γ and the term β, which may each be missing, are left to folding.
    """
    taken = value_names(model.graph)
    for node in list(model.graph) if model.opset_imports[""] >= _FIRST_OPSET else ():
        if node.op_type == "Reciprocal" and node.domain == "":
            _join(model.graph, node, taken)


def scale_layer_normalisations(graph: ir.Graph) -> None:
    """s·LayerNormalization(x; γ, β) + t = LayerNormalization(x; s·γ, s·β + t), where nobody else reads it."""
    taken = value_names(graph)
    for node in list(graph):
        if node.op_type == _NAME and node.domain == "" and len(node.outputs) == 1:
            for op_type in ("Mul", "Add"):
                _take(graph, node, op_type, taken)


def _join(graph: ir.Graph, reciprocal: ir.Node, taken: set[str | None]) -> None:
    """Write the normalisation by 1 / √(σ² + ε), which `reciprocal` computes, as one node and what follows."""
    variance, under_root = with_constant(maker(source(maker(source(reciprocal), "Sqrt")), "Add"))
    of_squares, epsilon = maker(variance, "ReduceMean"), constant(under_root)
    difference = _squared(source(of_squares))
    x, of_values = source(difference), maker(source(difference, 1), "ReduceMean")
    extents = _extents(x, of_values, of_squares)
    end, gamma, beta = _end(x, reciprocal, result(of_values))
    if epsilon is None or epsilon.size != 1 or x is None or end is None or not extents:
        return
    old, layer = end.outputs[0], (end.name or "").rpartition("/")[0] or end.name
    ones = _constant(graph, f"{layer}/scale", np.ones(extents, np.float32), taken)
    made = ir.node(_NAME, [x, ones], {"axis": -len(extents), "epsilon": float(epsilon.reshape(-1)[0])})
    for node in [made, *(ir.node(op, [None, each]) for op, each in (("Mul", gamma), ("Add", beta)) if each)]:
        if node is not made:
            node.replace_input_with(0, made.outputs[0])
        node.name = f"{layer}/{node.op_type}"
        node.outputs[0].name, node.outputs[0].type = unique(node.name, taken), old.type
        node.outputs[0].shape = old.shape
        graph.insert_before(end, node)
        made = node
    old.replace_all_uses_with(made.outputs[0], replace_graph_outputs=True)
    old.name, made.outputs[0].name = made.outputs[0].name, old.name


def _squared(square: ir.Value | None) -> ir.Node | None:
    """The Sub whose result, times itself, is the tensor."""
    product = maker(square, "Mul")
    return maker(source(product), "Sub") if source(product) is source(product, 1) else None


def _extents(x: ir.Value | None, *means: ir.Node | None) -> tuple[int, ...]:
    """Those of the last axes of x, over which all of `means` go, the first of x itself; () for any other nodes.

    () also for one element, less its own mean: all that the chain makes of it is its rounding.
    """
    if x is None or x.shape is None or x.dtype != ir.DataType.FLOAT or source(means[0]) is not x:
        return ()
    rank = len(x.shape)
    over = {_axes(mean, rank) for mean in means}
    axes = over.pop()
    extents = tuple(extent for extent in x.shape[rank - len(axes) :] if isinstance(extent, int))
    alike = not over and axes == tuple(range(rank - len(extents), rank))
    return extents if alike and prod(extents) > 1 else ()


def _axes(mean: ir.Node | None, rank: int) -> tuple[int, ...]:
    """The axes that a ReduceMean makes 1 long, in order."""
    if mean is None or not mean.attributes.get_int("keepdims", 1):
        return ()
    given = constant(source(mean, 1))
    axes = mean.attributes.get_ints("axes", ()) if given is None else given.tolist()
    return tuple(sorted(int(axis) % rank for axis in axes))


def _end(
    x: ir.Value | None, reciprocal: ir.Node, mean: ir.Value | None
) -> tuple[ir.Node | None, ir.Value | None, ir.Value | None]:
    """The Add that makes x·s + (β − μ·s), s = γ times what `reciprocal` makes; γ and β."""
    scale, gamma = _with_constant_behind(result(reciprocal), "Mul")
    negative = next((node.outputs[0] for node in readers(mean, "Neg")), None)
    product = result(joining(scale, "Mul", x))
    shift, beta = _with_constant_behind(result(joining(scale, "Mul", negative)), "Add")
    end = joining(product, "Add", shift)
    same = end is not None and x is not None and len(end.outputs[0].shape or ()) == len(x.shape or ())
    return end if same else None, gamma, beta


def _with_constant_behind(value: ir.Value | None, op_type: str) -> tuple[ir.Value | None, ir.Value | None]:
    """What a node of this type makes of the tensor and a constant, and that; the tensor itself if there is none."""
    for node in readers(value, op_type):
        if (known := with_constant(node)[1]) is not None:
            return node.outputs[0], known
    return value, None


def _take(graph: ir.Graph, node: ir.Node, op_type: str, taken: set[str | None]) -> None:
    """Let a normalisation do what the Mul or Add behind it does by a constant for each element of its weights."""
    value, weights = node.outputs[0], [constant(each) for each in node.inputs[1:]]
    uses = [*value.uses()]
    behind = uses[0].node if len(uses) == 1 and not value.is_graph_output() else None
    if behind is None or behind not in readers(value, op_type) or any(each is None for each in weights):
        return
    gamma, beta = (np.asarray(each, np.float64) for each in (*weights, np.zeros_like(weights[0]))[:2])
    factor = _spread(constant(with_constant(behind)[1]), gamma.shape, value.shape)
    if factor is None:
        return
    made = (gamma * factor, beta * factor) if op_type == "Mul" else (gamma, beta + factor)
    if any((np.abs(each) > ir.DataType.from_numpy(weights[0].dtype).max).any() for each in made):
        return
    node.resize_inputs(3)
    for index, array in enumerate(made, 1):
        node.replace_input_with(index, _constant(graph, f"{node.name}/{index}", array.astype(weights[0].dtype), taken))
    old = behind.outputs[0]
    old.replace_all_uses_with(value, replace_graph_outputs=True)
    value.name, old.name = old.name, value.name
    graph.remove(behind, safe=True)


def _spread(given: np.ndarray | None, extents: tuple[int, ...], shape: ir.Shape | None) -> np.ndarray | None:
    """A constant for each element that is normalised together; None if it varies along other axes as well."""
    inner = () if given is None else given.shape[-len(extents) :]
    aligned = zip(reversed(inner), reversed(extents), strict=False)
    if given is None or shape is None or given.ndim > len(shape) or given.size != prod(inner):
        return None
    fits = all(own in {1, extent} for own, extent in aligned)
    return np.broadcast_to(given.reshape(inner), extents).astype(np.float64) if fits else None


def _constant(graph: ir.Graph, name: str, array: np.ndarray, taken: set[str | None]) -> ir.Value:
    known = unique(name, taken)
    value = ir.val(known, const_value=ir.tensor(array, name=known))
    graph.register_initializer(value)
    return value
