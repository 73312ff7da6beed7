"""How one node does in another layout what it did: f_P with P(f_P(u)) = f(P(u)).

P permutes axes, and may drop some that are 1 long, but for the last: axis i of P(u) is axis P[i] of u.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

Permutation = tuple[int, ...]
_Turn = Callable[[ir.Node, Permutation, bool], bool]

# fmt: off
_UNARY = frozenset({
    "Abs", "Cast", "Ceil", "Celu", "Clip", "Cos", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid",
    "HardSwish", "Identity", "IsNaN", "LeakyRelu", "Log", "Mish", "Neg", "Not", "Reciprocal", "Relu", "Round", "Selu",
    "Sigmoid", "Sign", "Sin", "Softplus", "Softsign", "Sqrt", "Tanh", "ThresholdedRelu",
})
_BROADCASTING = frozenset({
    "Add", "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Mean", "Min", "Mul", "Or",
    "PRelu", "Pow", "Sub", "Sum", "Where",
})
REDUCTIONS = frozenset({
    "ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare",
})
# fmt: on


def data_inputs(node: ir.Node, least: int) -> list[ir.Value]:
    """The tensors that turn with the node; none if it can not be turned, or their rank is below `least`."""
    if node.domain != "" or node.op_type not in _TURNS or any(output.shape is None for output in node.outputs):
        return []
    inputs = list(node.inputs) if node.op_type in _BROADCASTING | {"Concat"} else list(node.inputs[:1])
    data = [value for value in inputs if value is not None and constant(value) is None]
    ranks = {len(value.shape) if value.shape is not None else 0 for value in data}
    if len(ranks) != 1 or min(ranks) < least or any(value is None for value in inputs):
        return []
    (rank,) = ranks
    ranks_after = {len(output.shape or ()) for output in node.outputs}
    return data if leaves_rank(node) or ranks_after == {rank} else []


def dropped(by: Permutation) -> tuple[int, ...]:
    """The axes of u that P(u) does not have."""
    return tuple(axis for axis in range(max(by) + 1) if axis not in by)


def spread(given: Sequence[Any] | np.ndarray, by: Permutation, filling: Any) -> np.ndarray:
    """What is given for each axis of P(u), for those of u: axes that are dropped get the filling."""
    result = np.full(max(by) + 1, filling, getattr(given, "dtype", object))
    result[list(by)] = given
    return result


def leaves_rank(node: ir.Node) -> bool:
    """Whether the node's result has fewer axes than its input, and stays as it is when the node turns."""
    return node.op_type in REDUCTIONS and not node.attributes.get_int("keepdims", 1)


def turn(node: ir.Node, by: Permutation, try_only: bool = False) -> bool:
    """Let the node act on u where it acted on v = P(u), P = `by`, in place; False, with nothing done, if it can not."""
    return len(by) == len(data_inputs(node, 1)[0].shape or ()) and _TURNS[node.op_type](node, by, try_only)


def _turn_nothing(_: ir.Node, __: Permutation, ___: bool) -> bool:
    return True


def _turn_dropout(node: ir.Node, _: Permutation, __: bool) -> bool:
    """Where it drops nothing: elsewhere what it draws for an element depends on the layout."""
    return len(node.inputs) < 3 or node.inputs[2] is None


def _turn_constants(node: ir.Node, by: Permutation, try_only: bool) -> bool:
    """Constants that vary along an axis, at the full rank, with their axes permuted back."""
    for index, value in enumerate(node.inputs):
        array = constant(value)
        if array is None or array.size == 1:
            continue
        if array.ndim > len(by):
            return False
        if not try_only:
            full = array.reshape((1,) * (len(by) - array.ndim) + array.shape)
            _give(node, index, np.expand_dims(full.transpose(np.argsort(by)), dropped(by)))
    return True


def _turn_axis(node: ir.Node, by: Permutation, try_only: bool) -> bool:
    axis = node.attributes.get_int("axis", -1 if node.op_type.endswith("Softmax") else 0)
    if not try_only:
        node.attributes["axis"] = ir.AttrInt64("axis", by[axis])
    return True


def _turn_concat(node: ir.Node, by: Permutation, try_only: bool) -> bool:
    return _turn_constants(node, by, try_only) and _turn_axis(node, by, try_only)


def _turn_gather(node: ir.Node, by: Permutation, try_only: bool) -> bool:
    """Along one axis, with a vector of indices: the rank stays."""
    indices = _argument(node, 1)
    return indices is not None and indices.ndim == 1 and _turn_axis(node, by, try_only)


def _turn_reduction(node: ir.Node, by: Permutation, try_only: bool) -> bool:
    """Axes permuted; where they are dropped, those that stay must keep their order."""
    axes = _argument(node, 1) if len(node.inputs) > 1 else np.array(node.attributes.get_ints("axes", ()))
    if axes is None or len(axes) == 0:
        return False
    turned = sorted([by[int(axis)] for axis in axes] + list(dropped(by) if leaves_rank(node) else ()))
    kept = [by[axis] for axis in range(len(by)) if axis not in {int(each) % len(by) for each in axes}]
    if leaves_rank(node) and kept != sorted(kept):
        return False
    if not try_only and len(node.inputs) > 1:
        _give(node, 1, np.array(turned, np.int64))
    elif not try_only:
        node.attributes["axes"] = ir.AttrInt64s("axes", turned)
    return True


def _turn_pad(node: ir.Node, by: Permutation, try_only: bool) -> bool:
    widths = _argument(node, 1)
    if widths is None or len(widths) != 2 * len(by) or (len(node.inputs) > 3 and node.inputs[3] is not None):
        return False
    if not try_only:
        _give(node, 1, np.concatenate([spread(each, by, 0) for each in np.split(widths, 2)]))
    return True


def _turn_slice(node: ir.Node, by: Permutation, try_only: bool) -> bool:
    starts, axes = _argument(node, 1), _argument(node, 3)
    if starts is None or (len(node.inputs) > 3 and node.inputs[3] is not None and axes is None):
        return False
    if not try_only:
        given = np.arange(len(starts)) if axes is None else axes
        node.resize_inputs(max(4, len(node.inputs)))
        _give(node, 3, np.array([by[int(axis)] for axis in given], np.int64))
    return True


def _turn_tile(node: ir.Node, by: Permutation, try_only: bool) -> bool:
    repeats = _argument(node, 1)
    if repeats is not None and not try_only:
        _give(node, 1, spread(repeats, by, 1))
    return repeats is not None


def _turn_resize(node: ir.Node, by: Permutation, try_only: bool) -> bool:
    """Factors or extents permuted, where channels then come first: the layout that every runtime can resize."""
    at = 3 if len(node.inputs) > 3 and node.inputs[3] is not None else 2
    given, shape = _argument(node, at), node.inputs[0].shape if node.inputs[0] else None
    crops = node.attributes.get_string("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize"
    if given is None or len(given) != len(by) or crops or "axes" in node.attributes or shape is None:
        return False
    turned = spread(given, by, 1)
    outer = spread(list(shape), by, 1)[:2].tolist() if at == 3 else [1.0, 1.0]
    if turned[:2].tolist() != outer:
        return False
    if not try_only:
        _give(node, at, turned)
    return True


def constant(value: ir.Value | None) -> np.ndarray | None:
    """The value of a constant; None for what is computed, fed, or may be overridden by the caller."""
    if value is None or value.const_value is None or value.is_graph_input():
        return None
    return value.const_value.numpy()


def _argument(node: ir.Node, index: int) -> np.ndarray | None:
    return constant(node.inputs[index]) if index < len(node.inputs) else None


def _give(node: ir.Node, index: int, array: np.ndarray) -> None:
    """Let input `index` be a constant of its own: others may read the one that it was."""
    if node.graph is None:
        raise ValueError(f"{node.name}: is in no graph")
    name = f"{node.name}/{index}/turned"
    while name in node.graph.initializers:
        name += "_"
    value = ir.val(name, const_value=ir.tensor(np.asarray(array, order="C"), name=name))
    node.graph.register_initializer(value)
    node.replace_input_with(index, value)


_TURNS: Mapping[str, _Turn] = {
    **dict.fromkeys(_UNARY, _turn_nothing),
    **dict.fromkeys(_BROADCASTING, _turn_constants),
    **dict.fromkeys(("LogSoftmax", "Softmax", "Split"), _turn_axis),
    **dict.fromkeys(REDUCTIONS, _turn_reduction),
    "Concat": _turn_concat,
    "Dropout": _turn_dropout,
    "Gather": _turn_gather,
    "Pad": _turn_pad,
    "Resize": _turn_resize,
    "Slice": _turn_slice,
    "Tile": _turn_tile,
}
