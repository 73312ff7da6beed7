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
from edgebn.counterparts import Counterparts, Difference
from edgebn.errors import InputError
from edgebn.folding import LayerConstant, Plan, Preference, View, apply, plan
from edgebn.graphs import Graph
from edgebn.loading import Source
from edgebn.report import Fate
from edgebn.tidying import tidy
from edgebn.verifying.before_writing import QuickCheck
from edgebn.verifying.compare import max_abs, scale
from edgebn.verifying.onnx_files import OnnxFile, in_memory
from edgebn.verifying.probes import NORMAL, random_probe
from edgebn.verifying.reference import Reference, onnx_reference
from edgebn.verifying.samples import Inputs
from edgebn.verifying.sessions import open_runtime

_BLUNDERS = (1e-2, 1e-3, 1e-4)
"""Of a layer's scale, the largest first. Roundings of deep models in float32 were seen up to 1e-4 of it."""

_Planning = Callable[[View, int], Plan]


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
    results = list(_layer_results(source, check.reference.take(inputs)))
    for blunder in _BLUNDERS:
        for path, result in results:
            nodes = [node for node in model.graph if (node.name or "").startswith(f"{path}/")]
            if nodes and not _gives(model, nodes[-1].outputs[0].name or "", check, inputs, result, blunder):
                operators = ", ".join(dict.fromkeys(node.op_type for node in nodes))
                return f"; the first layer that differs is {path}, which tf2onnx made into {operators}"
    return None


def _gives(
    model: ir.Model, name: str, check: QuickCheck, inputs: Inputs, expected: NDArray[Any], blunder: float
) -> bool:
    """Whether the tensor has the elements that are expected, in whatever order."""
    try:
        (actual,) = _tensors(model, [name], check, inputs)
    except InputError:
        return False
    return _same_elements(actual, expected, blunder)


def _tensors(model: ir.Model, names: list[str], check: QuickCheck, inputs: Inputs) -> tuple[NDArray[Any], ...]:
    """The tensors of these names. Raises InputError if the model does not run on the inputs."""
    file = in_memory("", ir.to_proto(model).SerializeToString(), model).showing(names)
    wanted_names = [tensor.name for tensor in check.reference.inputs]
    found = [value.name or "" for value in model.graph.inputs]
    order = tuple(wanted_names if set(wanted_names) == set(found) else found)
    return open_runtime(file, "off", 1).run(inputs, len(inputs[0]), order)


def _same_elements(actual: NDArray[Any], expected: NDArray[Any], blunder: float) -> bool:
    """Whether one has what the other has, in whatever order: layouts differ."""
    if actual.size != expected.size or actual.dtype.kind != "f":
        return False
    ours, theirs = (np.sort(np.asarray(array, np.float32), axis=None) for array in (actual, expected))
    return max_abs(ours, theirs) <= blunder * scale(theirs)


def _layer_that_is_nowhere(source: Source, model: ir.Model, check: QuickCheck) -> str | None:
    """The first layer whose result no tensor of the file has, nor those of all layers behind it.

    One that was folded into the next is nowhere either, but what is behind it is there.
    """
    inputs = random_probe(check.plan, NORMAL).inputs
    results = dict(_layer_results(source, check.reference.take(inputs)))
    names = [value.name or "" for node in model.graph for value in node.outputs[:1]]
    tensors = _tensors(model, names, check, inputs)
    for blunder in _BLUNDERS:
        there = {path for path, found in results.items() if any(_same_elements(x, found, blunder) for x in tensors)}
        lost = [path for path in results if not ({path} | _behind(source, path)) & there]
        if lost:
            last = [path for path in results if path in there and lost[0] in _behind(source, path)]
            known = f"; that of {last[-1]} is right" if last else ""
            kind = type(source.layers[lost[0]]).__name__
            return f"the first layer whose result it does not have is {lost[0]}, a {kind}{known}"
    return None


def _behind(source: Source, path: str) -> set[str]:
    """The layers that depend on this one's result."""
    layers = {id(layer): name for name, layer in source.layers.items()}
    found, pending = set[str](), [source.layers[path]]
    while pending:
        for node in pending.pop()._outbound_nodes:
            name = layers.get(id(node.operation))
            if name is not None and name not in found:
                found.add(name)
                pending.append(node.operation)
    return found


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
    graph.model.metadata_props.update(graph.metadata)
    check = QuickCheck(reference, in_memory(graph.name, ir.to_proto(graph.model).SerializeToString(), graph.model))
    planned = plan(graph.view)
    whole = apply(planned, graph.model)
    tidy(whole)
    if check.differs(whole):
        return locate(graph, check)
    for ours in (whole, graph.model):
        counterparts = Counterparts(ours, file.model)
        if counterparts.are_equal:  # then it does not matter that the plain graph is another
            break
        fault = _first_fault(counterparts, check)
        if fault is not None:
            return _described(fault, planned if ours is whole else None)
    return None if graph.source is None else _layer_that_is_nowhere(graph.source, file.model, check)


def _first_fault(counterparts: Counterparts, check: QuickCheck) -> Difference | None:
    """The first difference that matters by itself: with all others made as edgebn writes them, the file is wrong.

    If none shows on the few samples that are run, the first of all. None if the file is not right with all of them
    made so: then they do not say what is wrong.
    """
    differences = counterparts.differences
    if not differences or _is_wrong(counterparts.repaired(differences), check):
        return None
    for each in differences:
        if _is_wrong(counterparts.repaired([other for other in differences if other is not each]), check):
            return each
    return differences[0]


def _is_wrong(model: ir.Model | None, check: QuickCheck) -> bool:
    try:
        return model is None or check.differs(model)
    except InputError:
        return True


def _described(fault: Difference, planned: Plan | None) -> str:
    """What it is, and which layers are folded there."""
    name = "" if fault.wanted is None else fault.wanted.name
    if fault.found is None:
        said = f"it lacks the node {name}, which edgebn writes"
    elif fault.wanted is None:
        said = f"it has the node {fault.found.name}, a {fault.found.op_type}, which edgebn does not write"
    else:
        said = f"the first node that is not as edgebn writes it is {fault.found.name or name}: {fault.text}"
    fates = [] if planned is None else planned.fates
    routes = [(", ".join(fate.layers) or fate.node, step) for fate in fates for step in fate.route]
    folded = [f"{layers} ({step.law})" for layers, step in routes if step.at == name]
    return f"{said}; folded into it: {', '.join(folded)}" if folded else said
