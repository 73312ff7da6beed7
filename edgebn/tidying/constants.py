"""Constants: what is computed of constants alone is a constant, as are weights that the file holds transposed."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import onnx_ir as ir

from edgebn.tidying.names import unique, value_names
from edgebn.tidying.turning import constant

# fmt: off
_EXACT = frozenset({
    "Abs", "Add", "And", "Cast", "Ceil", "Clip", "Concat", "Div", "Equal", "Expand", "Flatten", "Floor", "Gather",
    "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Min", "Mul", "Neg", "Not", "Or", "Reciprocal",
    "ReduceMax", "ReduceMin", "Relu", "Reshape", "Slice", "Split", "Sqrt", "Squeeze", "Sub", "Tile", "Transpose",
    "Unsqueeze", "Where",
})
# fmt: on
"""What moves elements or rounds once, and so gives the same bits on every machine."""

_SMALL = 4096
"""Elements that a result may have though its inputs have fewer."""

_STORED_SMALL = {ir.DataType.FLOAT16, ir.DataType.BFLOAT16}


_FAILS = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What onnx's evaluator raises of a node that it does not know, or that is wrong; the runtime's answer counts then."""


def fold_constants(model: ir.Model, *, widen: bool = False) -> bool:
    """Give who reads a node that acts on constants alone its result. Returns whether there was one.

    Not where that would make the file larger: weights that are spread out, or stored as float16 if not to `widen` them.
    """
    taken, changed = value_names(model.graph), False
    for node in model.graph:
        arrays = [constant(value) for value in node.inputs if value is not None]
        given = [array for array in arrays if array is not None]
        if not (len(given) == len(arrays) > 0 and _is_worth_it(node, given) and (widen or not _widens(node))):
            continue
        for value, result in zip(node.outputs, _results(node, given, model.opset_imports[""]), strict=False):
            known = ir.val(unique(f"{value.name}/constant", taken), const_value=ir.tensor(result))
            model.graph.register_initializer(known)
            _hand_on(node, value, known)
            changed = True
    return changed


def _hand_on(node: ir.Node, value: ir.Value, known: ir.Value) -> None:
    """Let who reads `value` read the constant; an output of the graph is handed on, as it must come from a node."""
    for usage in tuple(value.uses()):
        usage.node.replace_input_with(usage.idx, known)
    if value.is_graph_output():
        node.op_type = "Identity"
        node.attributes.clear()
        node.resize_inputs(1)
        node.replace_input_with(0, known)


def _is_worth_it(node: ir.Node, given: Sequence[np.ndarray]) -> bool:
    if node.domain != "" or node.op_type not in _EXACT:
        return False
    is_output = any(value.is_graph_output() for value in node.outputs)
    if (is_output and len(node.outputs) > 1) or not (is_output or any(value.uses() for value in node.outputs)):
        return False
    most = max(_SMALL, sum(array.size for array in given))
    return all(_elements(value.shape) <= most for value in node.outputs)


def _widens(node: ir.Node) -> bool:
    """Whether it casts what is stored as float16."""
    return node.op_type == "Cast" and node.inputs[0] is not None and node.inputs[0].dtype in _STORED_SMALL


def _elements(shape: ir.Shape | None) -> float:
    """How many elements a tensor has; infinitely many where that is not known before it is computed."""
    known = [extent for extent in shape or () if isinstance(extent, int)]
    return prod(known) if shape is not None and len(known) == len(shape) else float("inf")


def _results(node: ir.Node, given: Sequence[np.ndarray], opset: int) -> Sequence[np.ndarray]:
    """By onnx's own evaluator; none where it can not, or where a number would not be held."""
    from onnx.reference import ReferenceEvaluator  # takes 0.2 s to load, and few graphs need it

    names = [value.name or "" for value in node.inputs if value is not None]
    try:
        with np.errstate(over="raise", divide="raise", invalid="raise"):
            evaluator = ReferenceEvaluator(ir.to_proto(node), opsets={"": opset})
            return [np.asarray(result) for result in evaluator.run(None, dict(zip(names, given, strict=True)))]
    except _FAILS:
        return []
