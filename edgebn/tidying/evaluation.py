"""What a graph computes of shapes alone: known before it runs, but for the extents that only the input decides.

An extent is an integer, or the name of one that only the input decides (`batch`), or a product of these, or None where
nothing is known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgebn.tidying.turning import constant


@dataclass(frozen=True)
class Product:
    """Of an integer and named extents, in order: not an integer alone, nor one name alone."""

    factor: int
    names: tuple[str, ...]


Extent = int | str | Product | None
Extents = NDArray[np.object_]
_Evaluate = Callable[[ir.Node, Sequence[Extents]], Extents]

_ONE: Extent = 1
_LARGEST = 64
"""What has more elements than this is no shape."""

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
            _note(known, node, _result(node, given) if len(given) == len(inputs) else None)
    return known


def _result(node: ir.Node, given: Sequence[Extents]) -> Extents | None:
    """By the operator's rule; None where an index or an axis is itself what only the input decides."""
    try:
        return _RULES[node.op_type](node, given)
    except (IndexError, TypeError, ValueError):
        return None


def _note(known: dict[ir.Value, Extents], node: ir.Node, value: Extents | None) -> None:
    """Scalars and vectors of integers: a matrix of extents is rare, and needs the axis of every operator."""
    if value is not None and value.size <= _LARGEST and value.ndim <= 1 and node.outputs[0].dtype in _INTEGERS:
        known[node.outputs[0]] = value


def _look_up(known: Mapping[ir.Value, Extents], value: ir.Value | None) -> Extents | None:
    if value is None or value in known:
        return None if value is None else known[value]
    array = constant(value)
    return None if array is None or value.dtype not in _INTEGERS or array.size > _LARGEST else array.astype(object)


def _extents_of(node: ir.Node) -> Extents | None:
    shape = node.inputs[0].shape if node.inputs[0] is not None else None
    if shape is None:
        return None
    start, end = node.attributes.get_int("start", 0), node.attributes.get_int("end", len(shape))
    return np.array([extent if isinstance(extent, int) else extent.value for extent in shape], object)[start:end]


def _axes(node: ir.Node, given: Sequence[Extents]) -> tuple[int, ...]:
    return tuple(int(axis) for axis in (given[1] if len(given) > 1 else node.attributes.get_ints("axes", ())))


def _gather(node: ir.Node, given: Sequence[Extents]) -> Extents:
    return np.asarray(given[0].take(given[1].astype(int), axis=node.attributes.get_int("axis", 0)), object)


def _slice(_: ir.Node, given: Sequence[Extents]) -> Extents:
    start, end = int(given[1][0]), int(given[2][0])
    return given[0][start : end : int(given[4][0]) if len(given) > 4 else 1]


def _squeeze(node: ir.Node, given: Sequence[Extents]) -> Extents:
    return given[0].squeeze(_axes(node, given) or None)


def _product(node: ir.Node, given: Sequence[Extents]) -> Extents:
    """Of all elements of a vector."""
    product = product_of(given[0].reshape(-1).tolist())
    return np.array([product] if node.attributes.get_int("keepdims", 1) else product, object)


def product_of(extents: Sequence[Extent]) -> Extent:
    """Of all of them."""
    return reduce(_times, extents, _ONE)


def quotient(whole: Extent, part: Extent) -> Extent:
    """whole / part, if that is one; None if it is not known to be."""
    if whole is None or part is None:
        return None
    over, under = _factors(whole), _factors(part)
    names = list(over.names)
    for name in under.names:
        if name not in names:
            return None
        names.remove(name)
    return _extent(over.factor // under.factor, names) if under.factor and over.factor % under.factor == 0 else None


def _times(one: Extent, other: Extent) -> Extent:
    if one is None or other is None:
        return None
    first, second = _factors(one), _factors(other)
    return _extent(first.factor * second.factor, [*first.names, *second.names])


def _factors(extent: int | str | Product) -> Product:
    if isinstance(extent, Product):
        return extent
    return Product(extent, ()) if isinstance(extent, int) else Product(1, (extent,))


def _extent(factor: int, names: Sequence[str]) -> Extent:
    if not names or not factor:
        return factor
    return names[0] if factor == 1 and len(names) == 1 else Product(factor, tuple(sorted(names)))


def _elementwise(operate: Callable[[int, int], int]) -> _Evaluate:
    """Of two tensors; not known where either is not."""

    def element(one: Extent, other: Extent) -> Extent:
        return operate(one, other) if isinstance(one, int) and isinstance(other, int) else None

    return lambda _, given: np.asarray(np.frompyfunc(element, 2, 1)(*given), object)


_RULES: Mapping[str, _Evaluate] = {
    "Add": _elementwise(lambda one, other: one + other),
    "Cast": lambda _, given: given[0],
    "Concat": lambda _, given: np.concatenate(list(given)),
    "Gather": _gather,
    "Max": _elementwise(max),
    "Min": _elementwise(min),
    "Mul": lambda _, given: np.asarray(np.frompyfunc(_times, 2, 1)(*given), object),
    "ReduceProd": _product,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Sub": _elementwise(lambda one, other: one - other),
    "Unsqueeze": lambda node, given: np.expand_dims(given[0], _axes(node, given)),
}
