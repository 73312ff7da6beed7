"""Two graphs of one model, node by node: what differs between them, and the one with any of it made as in the other.

Names, the order of nodes, and attributes that say what is so anyway do not count. Whether what remains matters, only
running can tell: `repaired` is for that.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes import common

_TRIVIAL = {"pads": 0, "output_padding": 0, "strides": 1, "dilations": 1}
"""What all extents of an attribute are where it is absent, however many they be."""

_ROUNDED, _NOTHING = 1e-6, 1e-9
"""Of an element, and of the largest one: what another order of the same arithmetic changes in a folded weight."""


@dataclass(frozen=True, eq=False)
class Difference:
    """A node of the one graph without the same in the other: `wanted` is none where it is too much, `found` too few."""

    wanted: ir.Node | None
    found: ir.Node | None
    text: str


class Counterparts:
    """What `theirs` has for the nodes of `ours`. Neither is changed."""

    def __init__(self, ours: ir.Model, theirs: ir.Model) -> None:
        self._ours, self._theirs = _lifted(ours), _lifted(theirs)
        self._pairs = _paired(_in_order(self._ours.graph), _in_order(self._theirs.graph))

    @property
    def differences(self) -> list[Difference]:
        """All of them, from the inputs to the outputs; none if most nodes have no counterpart, as in another form."""
        same = [wanted for wanted, found in self._pairs if wanted and found and _operator(wanted) == _operator(found)]
        if 2 * len(same) < max(len(self._ours.graph), len(self._theirs.graph)):
            return []
        return [
            Difference(wanted, found, text)
            for wanted, found in self._pairs
            if (text := _difference(wanted, found)) is not None
        ]

    @property
    def are_equal(self) -> bool:
        """Whether each node has its counterpart, and is no other than that."""
        return all(_difference(wanted, found) is None for wanted, found in self._pairs)

    def repaired(self, differences: Collection[Difference]) -> ir.Model | None:
        """A copy of theirs in which these are as in ours; None if a node has not the tensors that it needs there."""
        twin = self._theirs.clone()
        twins = dict(zip(self._theirs.graph, list(twin.graph), strict=True))
        values = self._values(twins, twin.graph)
        try:
            for each in differences:
                _repair(twin.graph, each, None if each.found is None else twins[each.found], values)
        except _CanNotBeRepairedError:
            return None
        twin.graph.sort()
        return twin

    def _values(self, twins: Mapping[ir.Node, ir.Node], graph: ir.Graph) -> dict[ir.Value, ir.Value]:
        """For tensors of ours those of the twin of theirs."""
        inputs = {value.name: value for value in graph.inputs}
        by_name = all(value.name in inputs for value in self._ours.graph.inputs)
        pairs = zip(self._ours.graph.inputs, graph.inputs, strict=False)
        found = {ours: inputs[ours.name] if by_name else theirs for ours, theirs in pairs}
        for wanted, other in self._pairs:
            if wanted is not None and other is not None:
                found.update(zip(wanted.outputs, twins[other].outputs, strict=False))
        return found


class _CanNotBeRepairedError(Exception):
    """A node takes other tensors than its counterpart, or takes some without naming them as its inputs."""


def constant_difference(ours: NDArray[Any], theirs: NDArray[Any]) -> tuple[int, ...] | None:
    """Where two arrays of one shape differ most, by more than rounding; None if they do not."""
    wanted, found = (np.asarray(each, np.float64) for each in (ours, theirs))
    with np.errstate(invalid="ignore"):
        errors = np.where(wanted == found, 0.0, np.abs(found - wanted))
    errors = np.where(np.isnan(errors), np.inf, errors)
    finite = np.where(np.isfinite(wanted), np.abs(wanted), 0.0)
    rounding = _ROUNDED * finite + _NOTHING * finite.max(initial=0.0) if ours.dtype.kind == "f" else 0.0 * finite
    excess = np.where(errors > rounding, errors, 0.0)
    if not excess.any():
        return None
    return tuple(int(index) for index in np.unravel_index(excess.argmax(), excess.shape))


def _lifted(model: ir.Model) -> ir.Model:
    twin = model.clone()
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(twin)
    for node in list(twin.graph):
        if node.op_type == "Cast" and node.inputs[0] is not None and node.inputs[0].const_value is not None:
            _hold(twin.graph, node, node.inputs[0].const_value)
    return twin


def _hold(graph: ir.Graph, cast: ir.Node, constant: ir.TensorProtocol) -> None:
    """Hold a constant as it is cast to: weights are often stored in fewer bits."""
    (made,) = cast.outputs
    dtype = ir.DataType(cast.attributes.get_int("to", ir.DataType.FLOAT))
    if dtype not in {ir.DataType.FLOAT, ir.DataType.DOUBLE} or made.is_graph_output():
        return
    held = ir.val(made.name, const_value=ir.tensor(constant.numpy().astype(dtype.numpy())))
    made.replace_all_uses_with(held)
    graph.remove(cast, safe=True)
    graph.register_initializer(held)


def _in_order(graph: ir.Graph) -> list[ir.Node]:
    """By what depends on what, and by the order of inputs: whatever the order in which a file lists its nodes."""
    order: dict[ir.Node, None] = {}
    pending: list[tuple[ir.Node, bool]] = [(node, False) for node in _producers(reversed(graph.outputs))]
    while pending:
        node, done = pending.pop()
        if done:
            order[node] = None
        elif node not in order:
            pending.append((node, True))
            pending.extend((each, False) for each in _producers(reversed(node.inputs)))
    return list(order)


def _producers(values: Any) -> Iterator[ir.Node]:
    for value in values:
        if value is not None and (node := value.producer()) is not None:
            yield node


def _paired(ours: list[ir.Node], theirs: list[ir.Node]) -> list[tuple[ir.Node | None, ir.Node | None]]:
    """By name if most have one in common, else in order, by operators; those without a counterpart stand alone."""
    names = {node.name: node for node in theirs}
    known = {node.name for node in ours} & names.keys()
    if 2 * len(known) > max(len(ours), len(theirs)):
        alone = [(None, node) for node in theirs if node.name not in known]
        return [*((node, names.get(node.name)) for node in ours), *alone]
    pairs: list[tuple[ir.Node | None, ir.Node | None]] = []
    operators = [_operator(node) for node in ours], [_operator(node) for node in theirs]
    matched = difflib.SequenceMatcher(a=operators[0], b=operators[1], autojunk=False)
    for _, start, end, first, last in matched.get_opcodes():
        left, right = ours[start:end], theirs[first:last]
        if len(left) == len(right):
            pairs.extend(zip(left, right, strict=True))
        else:
            pairs.extend([*((node, None) for node in left), *((None, node) for node in right)])
    return pairs


def _difference(wanted: ir.Node | None, found: ir.Node | None) -> str | None:
    if wanted is None or found is None:
        return "is not there" if found is None else "is too much"
    if _is_product(wanted) and _is_product(found):
        return _constants_difference(wanted, found)
    if (wanted.domain, wanted.op_type) != (found.domain, found.op_type):
        return f"{found.op_type} instead of {wanted.op_type}"
    ours, theirs = _attributes(wanted), _attributes(found)
    for name in sorted(ours.keys() | theirs.keys()):
        values = ours.get(name), theirs.get(name)
        if values[0] != values[1] and not (None in values and _is_so_anyway(wanted, found, name, values)):
            if _has_bodies(wanted) or _has_bodies(found):
                return f"its attribute {name} is another"
            return f"its attribute {name} is {theirs.get(name, 'absent')} instead of {ours.get(name, 'absent')}"
    return _constants_difference(wanted, found)


def _is_so_anyway(wanted: ir.Node, found: ir.Node, name: str, values: tuple[Any, Any]) -> bool:
    """Whether the value that one of two nodes has for an attribute says what is so where it is absent."""
    node, value = (wanted, values[0]) if values[1] is None else (found, values[1])
    return value == _defaults(node).get(name) or (name in _TRIVIAL and set(value) <= {_TRIVIAL[name]})


def _operator(node: ir.Node) -> str:
    return "MatMul" if _is_product(node) else node.op_type


def _is_product(node: ir.Node) -> bool:
    """Whether it is a MatMul, or a Gemm that is one."""
    plain = len([value for value in node.inputs if value is not None]) == 2 and _attributes(node) == _defaults(node)
    return node.domain == "" and (node.op_type == "MatMul" or (node.op_type == "Gemm" and plain))


def _constants_difference(wanted: ir.Node, found: ir.Node) -> str | None:
    if len(_constants(wanted)) != len(_constants(found)):
        return f"has {len(_constants(found))} constants instead of {len(_constants(wanted))}"
    for (_, mine), (position, other) in zip(_constants(wanted), _constants(found), strict=True):
        if (text := _constants_differ(mine, other)) is not None:
            return f"input {position}, {other.name}, {text}"
    return None


def _constants(node: ir.Node) -> list[tuple[int, ir.Value]]:
    return [(place, value) for place, value in enumerate(node.inputs) if value is not None and value.const_value]


def _constants_differ(ours: ir.Value, theirs: ir.Value) -> str | None:
    if ours.const_value is None or theirs.const_value is None:
        return None
    wanted, found = ours.const_value.numpy(), theirs.const_value.numpy()
    if wanted.shape != found.shape:
        return f"has the shape {found.shape} instead of {wanted.shape}"
    place = constant_difference(wanted, found)
    return None if place is None else f"is {found[place]:.9g} at {list(place)} instead of {wanted[place]:.9g}"


def _attributes(node: ir.Node) -> dict[str, Any]:
    """Name → value, with what is so if nothing is said, by the operator's definition."""
    said = {name: _said(attribute.value) for name, attribute in node.attributes.items()}
    values = {**_defaults(node), **{name: list(v) if isinstance(v, tuple) else v for name, v in said.items()}}
    kernel = node.inputs[1].const_value if node.op_type in {"Conv", "ConvTranspose"} and node.inputs[1] else None
    shape = values.get("kernel_shape") or ([] if kernel is None else list(kernel.shape.numpy()[2:]))
    if shape:
        values["kernel_shape"] = list(shape)
        axes = len(shape)
        values = {"strides": [1] * axes, "dilations": [1] * axes, "pads": [0] * 2 * axes, **values}
    if values.get("auto_pad") == "VALID":
        values["auto_pad"] = "NOTSET"
    return values


def _said(value: Any) -> Any:
    """The value of an attribute; of a graph, which equals itself alone, what it is written as."""
    return ir.to_proto(value).SerializeToString(deterministic=True) if isinstance(value, ir.Graph) else value


def _has_bodies(node: ir.Node) -> bool:
    """Whether it holds graphs, as Loop, Scan and If do."""
    return any(isinstance(attribute.value, ir.Graph) for attribute in node.attributes.values())


def _defaults(node: ir.Node) -> dict[str, Any]:
    version = node.graph.opset_imports.get("", 18) if isinstance(node.graph, ir.Graph) and node.domain == "" else None
    try:
        schema = onnx.defs.get_schema(node.op_type, version or 18, node.domain)
    except onnx.defs.SchemaError:
        return {}
    known = {name: each.default_value for name, each in schema.attributes.items() if each.default_value.name}
    return {name: _plain(onnx.helper.get_attribute_value(value)) for name, value in known.items()}


def _plain(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else list(value) if isinstance(value, Sequence) else value


def _repair(graph: ir.Graph, each: Difference, found: ir.Node | None, values: dict[ir.Value, ir.Value]) -> None:
    if each.wanted is None and found is not None:
        data = [value for value in found.inputs if value is not None and value.const_value is None]
        _replace(graph, found, ir.node("Identity", data[:1], name=f"{found.name}/none"))
    elif each.wanted is not None and found is None:
        _insert(graph, each.wanted, values)
    elif each.wanted is not None and found is not None:
        data = [value for value in found.inputs if value is not None and value.const_value is None]
        fresh = _copied(graph, each.wanted, data)
        _replace(graph, found, fresh)
        values.update(zip(each.wanted.outputs, fresh.outputs, strict=False))


def _copied(graph: ir.Graph, node: ir.Node, data: Sequence[ir.Value]) -> ir.Node:
    """`node` on other data, in a graph that gets its constants; not one whose graphs take what is outside of them."""
    if _has_bodies(node):
        raise _CanNotBeRepairedError
    given, inputs = iter(data), list[ir.Value | None]()
    for place, value in enumerate(node.inputs):
        if value is None or value.const_value is None:
            inputs.append(None if value is None else next(given, None))
            if value is not None and inputs[-1] is None:
                raise _CanNotBeRepairedError
        else:
            constant = ir.val(f"{node.name}/{place}/repaired", const_value=value.const_value)
            graph.register_initializer(constant)
            inputs.append(constant)
    if next(given, None) is not None:
        raise _CanNotBeRepairedError
    attributes = list(node.attributes.values())
    return ir.Node(node.domain, node.op_type, inputs, attributes, num_outputs=len(node.outputs), name=node.name)


def _replace(graph: ir.Graph, old: ir.Node, new: ir.Node) -> None:
    if len(old.outputs) != len(new.outputs):
        raise _CanNotBeRepairedError
    ir.convenience.replace_nodes_and_values(graph, old, [old], [new], old.outputs, new.outputs)


def _insert(graph: ir.Graph, wanted: ir.Node, values: dict[ir.Value, ir.Value]) -> None:
    """Behind what it stands behind in the other graph, before all that takes that."""
    data = [value for value in wanted.inputs if value is not None and value.const_value is None]
    if len(data) != 1 or len(wanted.outputs) != 1:
        raise _CanNotBeRepairedError
    source = data[0]
    while source not in values:  # one that is not there either
        node = source.producer()
        before = [] if node is None else [each for each in node.inputs if each is not None and each.const_value is None]
        if len(before) != 1:
            raise _CanNotBeRepairedError
        source = before[0]
    value = values[source]
    fresh = _copied(graph, wanted, [value])
    shown, name = [place for place, each in enumerate(graph.outputs) if each is value], value.name
    value.replace_all_uses_with(fresh.outputs[0], replace_graph_outputs=True)
    graph.append(fresh)
    fresh.replace_input_with(next(place for place, each in enumerate(fresh.inputs) if each is fresh.outputs[0]), value)
    fresh.outputs[0].name = f"{wanted.name}/inserted"
    if shown:
        fresh.outputs[0].type, fresh.outputs[0].shape = value.type, value.shape
        value.name, fresh.outputs[0].name = f"{name}/before", name
    values[wanted.outputs[0]] = fresh.outputs[0]
