"""What the graph of an ONNX file says of how to probe it and what to expect. Nothing runs here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import onnx_ir as ir
from onnx_ir.passes import common

from edgebn.tidying import infer_shapes

CLIPS = ("Clip", "LeakyRelu", "Max", "Min", "PRelu", "Relu")
_PASSES_INDICES = frozenset({"Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
_KEEPS_ORDER = _PASSES_INDICES - {"Transpose"} | {"Not"}
_COMPARES = frozenset({"Greater", "GreaterOrEqual", "Less", "LessOrEqual"})
_CALCULATES = frozenset({"Add", "Clip", "Concat", "Div", "Max", "Min", "Mod", "Mul", "Slice", "Sub", "Where"})
ROUNDS_AT_ONE = frozenset(
    {
        *("Celu", "Elu", "Erf", "GRU", "Gelu", "LSTM", "Log", "LogSoftmax", "Mish", "Selu", "Sigmoid", "Softplus"),
    }
)
"""They pass through numbers of size 1 on their way to smaller ones, and so round as if the result were that large."""
_UNKNOWN_EXTENT = 32
_FLOATS = {
    ir.DataType.BFLOAT16: "bfloat16",
    ir.DataType.FLOAT16: "float16",
    ir.DataType.FLOAT: "float32",
    ir.DataType.DOUBLE: "float64",
}


@dataclass(frozen=True)
class Anatomy:
    """Facts of a graph.

    multiplications   of one sample, those of Conv, Gemm and MatMul; extents that may vary are taken as 32
    clips             (input, output) of every node that clips, by the names of the tensors
    index_ranges      how many values an integer input that is an index may take
    tables            how many rows the table has that an integer input looks up behind arithmetic
    rounds_at_one     the outputs that round as numbers of size 1 do
    choices           of every output that is the index of the largest of some scores: their name, axis, keepdims
    thresholds        of every output that says which of two floats is larger: their names, elements in the same order
    made_of_floats    the outputs that are no floats and depend on some: rounding may tip them
    dtypes            of every output those of the floats that it is made of, constants left out
    """

    multiplications: int
    nodes: int
    clips: tuple[tuple[str, str], ...]
    index_ranges: dict[str, int]
    tables: dict[str, int]
    rounds_at_one: frozenset[str]
    choices: dict[str, tuple[str, int, bool]]
    thresholds: dict[str, tuple[str, str]]
    made_of_floats: frozenset[str]
    dtypes: dict[str, frozenset[str]]


def anatomy(model: ir.Model) -> Anatomy:
    """The facts of `model`, which stays as it is."""
    model = model.clone()
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    infer_shapes(model)
    graph = model.graph
    ranges, tables = (
        {value.name or "": _index_range(value, passes) for value in graph.inputs}
        for passes in (_PASSES_INDICES, _PASSES_INDICES | _CALCULATES)
    )
    return Anatomy(
        multiplications=sum(_multiplications(node) for node in graph),
        nodes=len(graph),
        clips=tuple(_clips(graph)),
        index_ranges={name: extent for name, extent in ranges.items() if extent is not None},
        tables={name: rows for name, rows in tables.items() if rows is not None},
        rounds_at_one=frozenset(value.name or "" for value in graph.outputs if _is_rounded_at_one(value)),
        choices=dict(_choices(graph)),
        thresholds=dict(_thresholds(graph)),
        made_of_floats=frozenset(value.name or "" for value in graph.outputs if _is_made_of_floats(value)),
        dtypes=_dtypes(graph),
    )


def _choices(graph: ir.Graph) -> Iterator[tuple[str, tuple[str, int, bool]]]:
    for value in graph.outputs:
        node = _before(value, frozenset({"Cast", "Identity"}))
        if node is not None and node.op_type == "ArgMax" and node.inputs[0] is not None:
            keeps = bool(node.attributes.get_int("keepdims", 1))
            yield value.name or "", (node.inputs[0].name or "", node.attributes.get_int("axis", 0), keeps)


def _thresholds(graph: ir.Graph) -> Iterator[tuple[str, tuple[str, str]]]:
    for value in graph.outputs:
        node = _before(value, _KEEPS_ORDER)
        if node is not None and node.domain == "" and node.op_type in _COMPARES:
            left, right = (each for each in node.inputs if each is not None)
            if all(each.dtype is not None and each.dtype.is_floating_point() for each in (left, right)):
                yield value.name or "", (left.name or "", right.name or "")


def _before(value: ir.Value, passes: frozenset[str]) -> ir.Node | None:
    """The node that makes it, or what the operators that `passes` names make it of."""
    node = value.producer()
    while node is not None and node.op_type in passes and node.inputs[0] is not None:
        node = node.inputs[0].producer()
    return node


def _is_made_of_floats(value: ir.Value) -> bool:
    """Whether a float that is no constant is among what it is made of."""
    pending, seen = [value], set[int]()
    while pending:
        node = pending.pop().producer()
        for each in () if node is None or id(node) in seen else node.inputs:
            if each is not None and each.const_value is None:
                if each.dtype is None or each.dtype.is_floating_point():
                    return True
                pending.append(each)
        seen.add(id(node))
    return False


def _dtypes(graph: ir.Graph) -> dict[str, frozenset[str]]:
    """What rounds on the way to each output: constants do not, however they are stored and cast."""
    found = {value: _float(value) for value in graph.inputs}
    for node in graph:
        before = [found[value] for value in node.inputs if value is not None and value in found]
        if before:
            found.update({value: _float(value).union(*before) for value in node.outputs})
    return {value.name or "": found.get(value, _float(value)) for value in graph.outputs}


def _float(value: ir.Value) -> frozenset[str]:
    name = _FLOATS.get(value.dtype) if value.dtype is not None else None
    return frozenset() if name is None else frozenset({name})


def _multiplications(node: ir.Node) -> int:
    if node.op_type not in {"Conv", "ConvTranspose", "Gemm", "MatMul"}:
        return 0
    data, weight = _extents(node.inputs[0]), _extents(node.inputs[1])
    made = _extents(node.outputs[0])
    if not (data and weight and made):
        return 0
    if node.op_type == "Conv":
        return prod(made[1:]) * prod(weight[1:])
    if node.op_type == "ConvTranspose":
        return prod(data[1:]) * prod(weight[1:])
    return prod(made[1:]) * data[-1]


def _extents(value: ir.Value | None) -> list[int]:
    extents: Any = value.shape if value is not None and value.shape is not None else ()
    return [extent if isinstance(extent, int) else _UNKNOWN_EXTENT for extent in extents]


def _clips(graph: ir.Graph) -> Iterator[tuple[str, str]]:
    for node in graph:
        made = node.outputs[0]
        data = [value for value in node.inputs if value is not None and value.const_value is None]
        if node.op_type in CLIPS and node.domain == "" and len(data) == 1 and made.dtype in {None, ir.DataType.FLOAT}:
            yield data[0].name or "", made.name or ""


def _index_range(value: ir.Value, passes: frozenset[str]) -> int | None:
    """The number of rows of the table that the input looks up, if it is an index; the smallest of several.

    On the way it may go through the operators that `passes` names.
    """
    found, pending = [], [value]
    while pending:
        for node, position in pending.pop().uses():
            if node.op_type == "Gather" and position == 1:
                found.append(_rows(node))
            elif node.op_type in passes and (position == 0 or node.op_type in _CALCULATES):
                pending.append(node.outputs[0])
    return min((rows for rows in found if rows is not None), default=None)


def _rows(gather: ir.Node) -> int | None:
    table = _extents(gather.inputs[0])
    axis = gather.attributes.get_int("axis", 0)
    known = gather.inputs[0] is not None and gather.inputs[0].const_value is not None
    return table[axis] if known and table else None


def _is_rounded_at_one(value: ir.Value) -> bool:
    node = _before(value, _PASSES_INDICES)
    if node is None:
        return False
    factors = (each.producer() for each in node.inputs if each is not None) if node.op_type == "Mul" else ()
    return any(each is not None and each.op_type in ROUNDS_AT_ONE for each in (node, *factors))
