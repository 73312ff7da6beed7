"""Carrying out a plan: the changed nodes written anew, everything else as it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from edgebn.algebra import Array
from edgebn.folding.plan import Plan
from edgebn.folding.spelling import Word, spell
from edgebn.folding.view import View


def apply(plan: Plan, model: ir.Model) -> ir.Model:
    """A new model in which `plan`, made for `model.graph`, has been carried out. `model` stays as it was.

    Weights are rounded to the type of the tensors they meet, once. Initializers are never edited, since others may read
    them; those that nobody reads any more are left for a later clean-up.
    """
    clone = model.clone()
    twins = dict(zip(model.graph, clone.graph, strict=True))
    view = View(clone.graph)
    for node, operators in plan.edits.items():
        data = view.data_input(twins[node])
        if data is None:
            raise ValueError(f"{node.name}: the plan edits a node that has no single tensor input")
        words = spell(operators, node.op_type, len(node.outputs[0].shape or ()))
        if not words and node.outputs[0].is_graph_output():
            words = (Word("Identity"),)  # it carries the output's name
        _replace(clone.graph, twins[node], data, words)
    return clone


def _replace(graph: ir.Graph, node: ir.Node, data: ir.Value, words: Sequence[Word]) -> None:
    """Put one node for each word in the place of `node`, which reads `data` and constants."""
    old, new = node.outputs[0], data
    for position, word in enumerate(words):
        is_last = position == len(words) - 1
        name = f"{node.name}" if is_last else f"{node.name}/{word.op_type}"
        written = ir.node(word.op_type, _inputs(graph, new, word, name), _attributes(node, word), name=name)
        graph.insert_before(node, written)
        new = written.outputs[0]
        new.name, new.type, new.shape = f"{old.name}/{word.op_type}", old.type, old.shape
    old.replace_all_uses_with(new, replace_graph_outputs=True)
    graph.remove(node, safe=True)
    if words:
        new.name = old.name


def _attributes(node: ir.Node, word: Word) -> Mapping[str, ir.Attr | float]:
    return dict(node.attributes) if word.attributes is None else dict(word.attributes)


def _inputs(graph: ir.Graph, data: ir.Value, word: Word, name: str) -> list[ir.Value | None]:
    dtype = (data.dtype or ir.DataType.FLOAT).numpy()
    inputs: list[ir.Value | None] = [data]
    for role, array in word.constants:
        inputs.append(None if array is None else _initializer(graph, f"{name}/{role}", np.asarray(array, dtype)))
    while inputs[-1] is None:
        inputs.pop()
    return inputs


def _initializer(graph: ir.Graph, name: str, array: Array) -> ir.Value:
    unique, count = name, 1
    while unique in graph.initializers:
        count += 1
        unique = f"{name}_{count}"
    value = ir.val(unique, const_value=ir.tensor(np.ascontiguousarray(array), name=unique))
    graph.register_initializer(value)
    return value
