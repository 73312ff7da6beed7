"""Where a converted model went wrong: in a layer's export, in a fold, or in the clean-up."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgebn import backends
from edgebn.errors import InputError
from edgebn.folding import LayerConstant, Plan, Preference, View, apply, plan
from edgebn.graphs import Graph
from edgebn.loading import Source
from edgebn.report import Fate
from edgebn.tidying import tidy
from edgebn.verifying.before_writing import QuickCheck
from edgebn.verifying.compare import absolute, max_abs, scale
from edgebn.verifying.onnx_files import OnnxFile, in_memory
from edgebn.verifying.probes import NORMAL, Inputs, random_probe
from edgebn.verifying.reference import Reference, onnx_reference
from edgebn.verifying.sessions import open_runtime

_BLUNDER = 1e-2
"""Of a layer's scale. Roundings of deep models in float32 were seen up to 1e-4 of it, in float16 up to 1e-2."""


_Planning = Callable[[View, int], Plan]

_SAME_WEIGHTS = 1e-6
"""Of the largest weight: what another order of the same arithmetic changes in a folded one."""


def locate(graph: Graph, check: QuickCheck, preference: Preference = Preference.USUAL) -> str:
    """The first layer, or the first fold, by which what `graph` was made from and what is made of it differ.

    The plain graph comes first; then its folds are replayed, up to the first that changes the function.
    """
    if check.differs(graph.model):
        layer = _first_layer(graph.source, graph.model, check) if graph.source is not None else None
        return f"the plain export already differs{layer or ''}"
    planning = partial(plan, preference=preference)
    whole = planning(graph.view)

    def is_wrong(steps: int) -> bool:
        return _differs(check, graph, planning(graph.view, steps))

    first = bisect_left(range(1, whole.settled + 1), True, key=is_wrong) + 1
    if first <= whole.settled:
        return _named(graph, first, planning)
    if _differs(check, graph, whole):
        return "all folds are right; it is how clips are moved behind pools or written as ReLU that changes it"
    return "all folds are right; it is the clean-up behind them that changes it"


def _differs(check: QuickCheck, graph: Graph, planned: Plan) -> bool:
    """Whether the plan changes the function; a graph that does not run any more has been changed."""
    try:
        return check.differs(apply(planned, graph.model))
    except InputError:
        return True


def _named(graph: Graph, step: int, planning: _Planning) -> str:
    """The BatchNormalization or affine that is settled in this step, its laws, and the first channel that is wrong."""
    before = set(planning(graph.view, step - 1).fates)
    fates = [fate for fate in planning(graph.view, step).fates if fate not in before]
    names = ", ".join(name for fate in fates for name in fate.layers or (fate.node,)) or "a layer's bias"
    laws = "; ".join(f"{each.law} ({each.at})" for fate in fates for each in fate.route)
    channel = _channel(graph, fates[0], step, planning) if fates else None
    where = "" if channel is None else f", channel {channel}"
    return f"the fold that changes the function is that of {names}{where}, by the laws: {laws or 'none'}"


def _channel(graph: Graph, fate: Fate, step: int, planning: _Planning) -> int | None:
    """The first channel that is folded wrongly: all others are made the identity, and half of them again and again."""
    nodes = _affine_nodes(graph, fate)
    suspects = list(range(fate.health.channels))
    if not suspects or not _is_wrong_with(graph, nodes, suspects, step, planning):
        return None
    while len(suspects) > 1:
        half = suspects[: len(suspects) // 2]
        suspects = half if _is_wrong_with(graph, nodes, half, step, planning) else suspects[len(half) :]
    return suspects[0]


def _affine_nodes(graph: Graph, fate: Fate) -> list[str]:
    """The names of the Mul and Add that are the layer, or of the affine's last node."""
    of_layer = [name for name, constant in graph.layer_constants.items() if constant.layer in fate.layers]
    names = set(of_layer) | {fate.node}
    chosen = [node for node in graph.model.graph if node.name in names and node.op_type in {"Add", "Mul"}]
    return [node.name or "" for node in chosen if _constant_input(node) is not None]


def _is_wrong_with(graph: Graph, nodes: list[str], suspects: list[int], step: int, planning: _Planning) -> bool:
    """Whether the fold is still wrong if all channels but the suspects are the identity."""
    twin = graph.model.clone()
    constants = dict(graph.layer_constants)
    for node in twin.graph:
        value = _constant_input(node) if node.name in nodes else None
        if value is None or value.const_value is None:
            continue
        masked = _masked(value.const_value.numpy(), suspects, node.op_type)
        fresh = ir.val(f"{value.name}/masked", const_value=ir.tensor(masked, name=f"{value.name}/masked"))
        twin.graph.register_initializer(fresh)
        node.replace_input_with(list(node.inputs).index(value), fresh)
        if node.name in constants:
            exact = _masked(np.asarray(constants[node.name].value), suspects, node.op_type)
            constants[node.name] = replace(constants[node.name], value=exact)
    return _differs_by_itself(graph.name, twin, constants, step, planning)


def _differs_by_itself(
    name: str, model: ir.Model, constants: dict[str, LayerConstant], step: int, planning: _Planning
) -> bool:
    file = in_memory(name, ir.to_proto(model).SerializeToString(), model)
    check = QuickCheck(onnx_reference(file), file)
    try:
        return check.differs(apply(planning(View(model.graph, constants), step), model))
    except InputError:
        return True


def _masked(array: NDArray[Any], kept: list[int], op_type: str) -> NDArray[Any]:
    """1 for Mul and 0 for Add, but for the elements that are kept."""
    masked = np.full(array.size, 1.0 if op_type == "Mul" else 0.0, array.dtype)
    chosen = [index for index in kept if index < array.size]
    masked[chosen] = array.reshape(-1)[chosen]
    return masked.reshape(array.shape)


def _constant_input(node: ir.Node) -> ir.Value | None:
    constants = (value for value in node.inputs if value is not None and value.const_value is not None)
    return next(constants, None)


def _first_layer(source: Source, model: ir.Model, check: QuickCheck) -> str | None:
    """The first layer whose result is not that of the nodes it became: the same numbers in some order."""
    inputs = random_probe(check.plan, NORMAL).inputs
    for path, result in _layer_results(source, check.reference.take(inputs)):
        nodes = [node for node in model.graph if (node.name or "").startswith(f"{path}/")]
        if nodes and not _gives(model, nodes[-1].outputs[0].name or "", check, inputs, result):
            operators = ", ".join(dict.fromkeys(node.op_type for node in nodes))
            return f"; the first layer that differs is {path}, which tf2onnx made into {operators}"
    return None


def _gives(model: ir.Model, name: str, check: QuickCheck, inputs: Inputs, expected: NDArray[Any]) -> bool:
    """Whether the tensor has the elements that are expected, in whatever order."""
    file = in_memory("", ir.to_proto(model).SerializeToString(), model).showing([name])
    wanted_names = [tensor.name for tensor in check.reference.inputs]
    found = [value.name or "" for value in model.graph.inputs]
    names = tuple(wanted_names if set(wanted_names) == set(found) else found)
    try:
        (actual,) = open_runtime(file, "off", 1).run(inputs, len(inputs[0]), names)
    except InputError:
        return False
    wanted = np.sort(np.asarray(expected, np.float32), axis=None)
    return actual.size == wanted.size and max_abs(np.sort(actual, axis=None), wanted) <= _BLUNDER * scale(wanted)


def _layer_results(source: Source, inputs: Inputs) -> Iterator[tuple[str, NDArray[Any]]]:
    """The layers of the outermost model that have one result, in order, and that result on `inputs`."""
    keras = backends.keras()
    for path, layer in source.layers.items():
        if "/" not in path and len(getattr(layer, "_inbound_nodes", ())) == 1 and hasattr(layer.output, "shape"):
            part = keras.Model(source.model.inputs, layer.output) if source.model is not None else None
            if part is not None and not isinstance(layer, keras.layers.InputLayer):
                packed = keras.tree.pack_sequence_as(part.input, list(inputs))
                yield path, np.asarray(part(packed, training=False))


def explain(graph: Graph, reference: Reference, file: OnnxFile) -> str | None:
    """Where `file` differs from what edgebn makes of the model that it should be; None if that can not be told."""
    check = QuickCheck(reference, in_memory(graph.name, ir.to_proto(graph.model).SerializeToString(), graph.model))
    whole = apply(plan(graph.view), graph.model)
    tidy(whole)
    if check.differs(whole):
        return locate(graph, check)
    named = _other_node(whole, file.model) or _other_node(graph.model, file.model)
    if named is None and graph.source is not None and (layer := _first_layer(graph.source, file.model, check)):
        named = layer.removeprefix("; ")
    return named


def _other_node(ours: ir.Model, theirs: ir.Model) -> str | None:
    """The first node of a file that is not the one that edgebn writes; None unless most nodes have a counterpart."""
    known = {node.name: node for node in ours.graph}
    pairs = [(known[node.name], node) for node in theirs.graph if node.name in known]
    if 2 * len(pairs) < max(len(known), len(theirs.graph)):
        return None
    for wanted, found in pairs:
        if (difference := _node_difference(wanted, found)) is not None:
            return f"the first node that is not as edgebn writes it is {found.name}: {difference}"
    missing = [name for name in known if name not in {node.name for node in theirs.graph}]
    return f"it lacks the node {missing[0]}, which edgebn writes" if missing else None


def _node_difference(wanted: ir.Node, found: ir.Node) -> str | None:
    if wanted.op_type != found.op_type:
        return f"{found.op_type} instead of {wanted.op_type}"
    for name in sorted(wanted.attributes.keys() | found.attributes.keys()):
        values = [str(node.attributes[name].value) if name in node.attributes else "absent" for node in (found, wanted)]
        if values[0] != values[1]:
            return f"its attribute {name} is {values[0]} instead of {values[1]}"
    for position, (ours, theirs) in enumerate(zip(wanted.inputs, found.inputs, strict=False)):
        if (difference := _constant_difference(ours, theirs)) is not None:
            return f"input {position}, {difference}"
    return None


def _constant_difference(ours: ir.Value | None, theirs: ir.Value | None) -> str | None:
    if ours is None or theirs is None or ours.const_value is None or theirs.const_value is None:
        return None
    wanted, found = ours.const_value.numpy(), theirs.const_value.numpy()
    if wanted.shape != found.shape:
        return f"{theirs.name}, has the shape {found.shape} instead of {wanted.shape}"
    errors = absolute(found, wanted)
    if wanted.size == 0 or errors.max() <= _SAME_WEIGHTS * scale(wanted):
        return None
    worst = tuple(int(index) for index in np.unravel_index(errors.argmax(), errors.shape))
    return f"{theirs.name}, is {found[worst]:.9g} at {list(worst)} instead of {wanted[worst]:.9g}"
