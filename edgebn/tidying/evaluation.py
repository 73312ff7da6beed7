"""What a graph computes of shapes alone: known before it runs, but for the extents that only the input decides.

A vector of extents is held in float64, where NaN stands for an extent that is not known: it spreads through arithmetic
as not knowing does, and whole numbers up to 2⁵³ are exact.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgebn.tidying.turning import constant

Extents = NDArray[np.float64]
_Evaluate = Callable[[ir.Node, Sequence[Extents]], Extents]

_LARGEST = 64
"""Vectors with more elements than this are no shapes."""

_INTEGERS = {ir.DataType.INT32, ir.DataType.INT64}


def evaluate(graph: ir.Graph) -> dict[ir.Value, Extents]:
    """The tensors that follow from shapes and constants, as far as the annotated shapes are known."""
    known: dict[ir.Value, Extents] = {}
    for node in graph:
        if node.op_type == "Shape" and node.domain == "":
            _note(known, node, _extents_of(node))
        elif node.op_type in _RULES and node.domain == "" and any(value in known for value in node.inputs if value):
            inputs = [_look_up(known, value) for value in node.inputs]
            given = [value for value in inputs if value is not None]
            _note(known, node, _RULES[node.op_type](node, given) if len(given) == len(inputs) else None)
    return known


def _note(known: dict[ir.Value, Extents], node: ir.Node, value: Extents | None) -> None:
    if value is not None and value.size <= _LARGEST:
        known[node.outputs[0]] = value


def _look_up(known: Mapping[ir.Value, Extents], value: ir.Value | None) -> Extents | None:
    if value is None or value in known:
        return None if value is None else known[value]
    array = constant(value)
    return None if array is None or value.dtype not in _INTEGERS or array.size > _LARGEST else array.astype(np.float64)


def _extents_of(node: ir.Node) -> Extents | None:
    shape = node.inputs[0].shape if node.inputs[0] is not None else None
    if shape is None:
        return None
    start, end = node.attributes.get_int("start", 0), node.attributes.get_int("end", len(shape))
    return np.array([extent if isinstance(extent, int) else np.nan for extent in shape], np.float64)[start:end]


def _axes(node: ir.Node, given: Sequence[Extents]) -> tuple[int, ...]:
    return tuple(int(axis) for axis in (given[1] if len(given) > 1 else node.attributes.get_ints("axes", ())))


def _gather(node: ir.Node, given: Sequence[Extents]) -> Extents:
    return np.asarray(given[0].take(given[1].astype(int), axis=node.attributes.get_int("axis", 0)))


def _slice(_: ir.Node, given: Sequence[Extents]) -> Extents:
    start, end = int(given[1][0]), int(given[2][0])
    return given[0][start : end : int(given[4][0]) if len(given) > 4 else 1]


def _squeeze(node: ir.Node, given: Sequence[Extents]) -> Extents:
    return given[0].squeeze(_axes(node, given) or None)


def _product(node: ir.Node, given: Sequence[Extents]) -> Extents:
    keeps = bool(node.attributes.get_int("keepdims", 1))
    return np.asarray(given[0].prod(axis=_axes(node, given) or None, keepdims=keeps))


_RULES: Mapping[str, _Evaluate] = {
    "Add": lambda _, given: given[0] + given[1],
    "Cast": lambda _, given: given[0],
    "Concat": lambda _, given: np.concatenate(list(given)),
    "Gather": _gather,
    "Max": lambda _, given: np.maximum(*given),
    "Min": lambda _, given: np.minimum(*given),
    "Mul": lambda _, given: given[0] * given[1],
    "ReduceProd": _product,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Sub": lambda _, given: given[0] - given[1],
    "Unsqueeze": lambda node, given: np.expand_dims(given[0], _axes(node, given)),
}
