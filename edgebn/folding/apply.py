"""Carrying out a plan: the changed nodes written anew, everything else as it was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from edgebn.folding.plan import Plan
from edgebn.folding.spelling import Attribute, Word, spell
from edgebn.tidying import unique, value_names


def apply(plan: Plan, model: ir.Model) -> ir.Model:
    """A new model in which `plan`, made for `model.graph`, has been carried out. `model` stays as it was.

    Weights are rounded to the type of the tensors they meet, once. Initializers are never edited, since others may read
    them; those that nobody reads any more, and nodes likewise, are left for a later clean-up.
    """
    clone = model.clone()
    twins = dict(zip(model.graph, clone.graph, strict=True))
    taken = value_names(clone.graph)
    for node, edit in plan.edits.items():
        words = spell(edit.operators, edit.original, node.op_type, len(node.outputs[0].shape or ()))
        if not words and node.outputs[0].is_graph_output():
            words = (Word("Identity"),)  # it carries the output's name
        _replace(clone.graph, twins[node], edit.data, words, taken)
    return clone


def _replace(graph: ir.Graph, node: ir.Node, data: int, words: Sequence[Word], taken: set[str | None]) -> None:
    """Put one node for each word in the place of `node`, which acts on its input `data`."""
    old, new = node.outputs[0], node.inputs[data]
    if new is None:
        raise ValueError(f"{node.name}: has no input {data}")
    for position, word in enumerate(words):
        name = f"{node.name}" if position == len(words) - 1 else f"{node.name}/{word.op_type}"
        if word.keeps:
            inputs: list[ir.Value | None] = list(node.inputs)
            inputs[data] = new
        else:
            inputs = _inputs(graph, new, word, name, taken)
        written = ir.node(word.op_type, inputs, _attributes(node, word), name=name)
        graph.insert_before(node, written)
        new = written.outputs[0]
        new.name, new.type = unique(f"{old.name}/{word.op_type}", taken), old.type
        new.shape = old.shape if position == len(words) - 1 and _keeps_shape(node, words) else None
    old.replace_all_uses_with(new, replace_graph_outputs=True)
    graph.remove(node, safe=True)
    if words:
        new.name = old.name


def _keeps_shape(node: ir.Node, words: Sequence[Word]) -> bool:
    """Whether the result has the shape that it had. It has not if a border was added to what is no Conv, which had it.

    One Conv more, of each channel alone, as which a sign may be written behind the Pad, takes no border away.
    """
    return len(words) == 1 or node.op_type == "Conv" or all(word.op_type != "Pad" for word in words)


def _attributes(node: ir.Node, word: Word) -> dict[str, Any]:
    if word.keeps or word.attributes is None:
        return dict(node.attributes)
    return {name: _plain(value) for name, value in word.attributes.items()}


def _plain(value: Attribute) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _inputs(graph: ir.Graph, data: ir.Value, word: Word, name: str, taken: set[str | None]) -> list[ir.Value | None]:
    dtype = (data.dtype or ir.DataType.FLOAT).numpy()
    inputs: list[ir.Value | None] = [data]
    for role, array in word.constants:
        if array is None:
            inputs.append(None)
        else:
            with np.errstate(over="ignore"):  # infinite before folding too: the laws move nothing that is not finite
                stored = np.asarray(array, None if np.asarray(array).dtype.kind == "i" else dtype)
            inputs.append(_initializer(graph, unique(f"{name}/{role}", taken), stored))
    while inputs[-1] is None:
        inputs.pop()
    return inputs


def _initializer(graph: ir.Graph, name: str, array: np.ndarray[Any, Any]) -> ir.Value:
    value = ir.val(name, const_value=ir.tensor(np.asarray(array, order="C"), name=name))
    graph.register_initializer(value)
    return value
