"""Layer normalisation: one node, of the eleven that TensorFlow computes it by."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import onnx_ir as ir

from edgebn.tidying.matching import joining, maker, readers, result, source, with_constant
from edgebn.tidying.names import unique, value_names
from edgebn.tidying.turning import constant

_NAME = "LayerNormalization"
_FIRST_OPSET = 17


def join_layer_normalisations(model: ir.Model) -> None:
    """x·s + (β − μ·s) = γ·LayerNormalization(x) + β,  s = γ / √(σ² + ε),  μ and σ² over the last axes.

    Over the channels of an image, which TensorFlow puts first, the same of the image with its channels last. The factor
    γ and the term β, which may each be missing, are left to folding.
    """
    taken = value_names(model.graph)
    for node in list(model.graph) if model.opset_imports[""] >= _FIRST_OPSET else ():
        chain = _chain(node) if node.op_type == "Reciprocal" and node.domain == "" else None
        if chain is not None:
            _join(model.graph, chain, taken)


def scale_layer_normalisations(graph: ir.Graph) -> None:
    """s·LayerNormalization(x; γ, β) + t = LayerNormalization(x; s·γ, s·β + t), where nobody else reads it."""
    taken = value_names(graph)
    for node in list(graph):
        if node.op_type == _NAME and node.domain == "" and len(node.outputs) == 1:
            for op_type in ("Mul", "Add"):
                _take(graph, node, op_type, taken)


@dataclass(frozen=True, eq=False)
class _Chain:
    """γ·(z − μ) / √(σ² + ε) + β, which `end` makes of z = x, or of z = P(x) if `by` is P; μ over the last axes of z."""

    x: ir.Value
    epsilon: float
    extents: tuple[int, ...]
    by: tuple[int, ...]
    gamma: ir.Value | None
    beta: ir.Value | None
    end: ir.Node


def _chain(reciprocal: ir.Node) -> _Chain | None:
    """The normalisation by 1 / √(σ² + ε), which `reciprocal` computes, if there is one."""
    variance, under_root = with_constant(maker(source(maker(source(reciprocal), "Sqrt")), "Add"))
    of_squares, epsilon = maker(variance, "ReduceMean"), constant(under_root)
    difference = _squared(source(of_squares))
    x, of_values = source(difference), maker(source(difference, 1), "ReduceMean")
    extents, by = _extents(x, of_values, of_squares)
    end, gamma, beta = _end(x, reciprocal, result(of_values))
    if epsilon is None or epsilon.size != 1 or x is None or end is None or not extents:
        return None
    if by and any(value is None or len(value.uses()) > 1 or value.is_graph_output() for value in end.inputs):
        return None  # two Transposes would be more than what goes
    return _Chain(x, float(epsilon.reshape(-1)[0]), extents, by, gamma, beta, end)


def _join(graph: ir.Graph, chain: _Chain, taken: set[str | None]) -> None:
    """Write a chain as one node and what follows, and with a Transpose before and behind where one is needed."""
    old, layer = chain.end.outputs[0], (chain.end.name or "").rpartition("/")[0] or chain.end.name
    ones = _constant(graph, f"{layer}/scale", np.ones(chain.extents, np.float32), taken)
    attributes: dict[str, Any] = {"axis": -len(chain.extents), "epsilon": chain.epsilon}
    permutations = [[*chain.by], np.argsort(chain.by).tolist()] if chain.by else []
    turns = [ir.node("Transpose", [None], {"perm": by}) for by in permutations]
    nodes = [ir.node(_NAME, [None, ones], attributes)]
    for op_type, each in (("Mul", chain.gamma), ("Add", chain.beta)):
        nodes += [ir.node(op_type, [None, _turned(graph, each, chain, taken)])] if each else []
    made, shape = chain.x, old.shape
    for node in [*turns[:1], *nodes, *turns[1:]]:
        node.replace_input_with(0, made)
        made = node.outputs[0]
        node.name = made.name = unique(f"{layer}/{node.op_type}", taken)
        made.type = old.type
        is_turned = bool(turns) and node is not turns[1]
        made.shape = ir.Shape([shape[axis] for axis in chain.by]) if is_turned and shape is not None else shape
        graph.insert_before(chain.end, node)
    old.replace_all_uses_with(made, replace_graph_outputs=True)
    old.name, made.name = made.name, old.name


def _turned(graph: ir.Graph, given: ir.Value, chain: _Chain, taken: set[str | None]) -> ir.Value:
    """A constant for x as one for z."""
    array = constant(given)
    if array is None or not chain.by:
        return given
    array = array.reshape((1,) * (len(chain.by) - array.ndim) + array.shape).transpose(chain.by)
    return _constant(graph, f"{given.name}/turned", array, taken)


def _squared(square: ir.Value | None) -> ir.Node | None:
    """The Sub whose result, times itself, is the tensor."""
    product = maker(square, "Mul")
    return maker(source(product), "Sub") if source(product) is source(product, 1) else None


def _extents(x: ir.Value | None, *means: ir.Node | None) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Those over which all of `means` go, the first of x itself, and how x is turned for them to be the last; else ().

    () also for one element, less its own mean: all that the chain makes of it is its rounding.
    """
    if x is None or x.shape is None or x.dtype != ir.DataType.FLOAT or source(means[0]) is not x:
        return (), ()
    rank = len(x.shape)
    over = {_axes(mean, rank) for mean in means}
    axes = over.pop()
    by = (0, *range(2, rank), 1) if axes == (1,) and rank > 2 else ()
    extents = tuple(extent for extent in (x.shape[axis] for axis in axes) if isinstance(extent, int))
    are_last = bool(by) or axes == tuple(range(rank - len(axes), rank))
    return (extents, by) if not over and are_last and len(extents) == len(axes) and prod(extents) > 1 else ((), ())


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
    value, weights = node.outputs[0], [each for each in map(constant, node.inputs[1:]) if each is not None]
    uses = [*value.uses()]
    behind = uses[0].node if len(uses) == 1 and not value.is_graph_output() else None
    if behind is None or behind not in readers(value, op_type) or len(weights) < len(node.inputs) - 1:
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
