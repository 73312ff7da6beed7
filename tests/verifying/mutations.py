"""Faults to plant in a right ONNX file, folded or not: what exporters and folders really get wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

Edit = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class Mutation:
    """A wrong file, and what is wrong with it."""

    name: str
    model: onnx.ModelProto


def mutations(right: onnx.ModelProto, seed: int = 0) -> Iterator[Mutation]:
    """Faults of weights, of attributes and of nodes, each in a copy of its own."""
    rng = np.random.default_rng(seed)
    for index, tensor in enumerate(right.graph.initializer):
        array = numpy_helper.to_array(tensor)
        if array.dtype != np.float32 or array.size < 2:
            continue
        edits = kernel_faults(array, rng) if array.ndim > 1 else bias_faults(array, rng)
        for what, edit in edits:
            changed = edit(array.copy()).astype(np.float32)
            if changed.shape == array.shape and (changed != array).any():
                yield Mutation(f"{tensor.name}: {what}", with_constant(right, index, changed))
    for index, node in enumerate(right.graph.node):
        for what, replacement in node_faults(node):
            yield Mutation(f"{node.name}: {what}", with_nodes(right, index, replacement))
        if node.op_type in {"Softmax", "LogSoftmax"}:
            yield Mutation(f"{node.name}: over all but the batch, as before opset 13", coerced(right, index))
    yield Mutation("an output permuted", permuted(right))


def kernel_faults(kernel: np.ndarray, rng: np.random.Generator) -> Iterator[tuple[str, Edit]]:
    flat = np.abs(kernel).reshape(-1)
    order = np.flatnonzero(flat)[flat[np.flatnonzero(flat)].argsort()]
    places = {"the largest": order[-1], "the median": order[len(order) // 2], "the smallest": order[0]}
    places |= {f"the {place}th": place for place in rng.integers(kernel.size, size=3)}
    for which, place in places.items():
        yield f"{which} weight by 1 %", at(place, lambda x: 1.01 * x)
    yield "a negative sign dropped", at(kernel.argmin(), np.abs)
    for axis in (0, 1):
        if kernel.shape[axis] > 1:
            yield f"two channels of axis {axis} swapped", lambda x, axis=axis: swapped(x, axis)
    axes = (2, 3) if kernel.ndim == 4 else (0, 1)
    if kernel.ndim in {2, 4} and kernel.shape[axes[0]] == kernel.shape[axes[1]] > 1:
        yield "transposed", lambda x: x.swapaxes(*axes)
    if kernel.ndim == 2 and kernel.shape[0] != kernel.shape[1]:
        yield "transposed in place", lambda x: x.T.reshape(x.shape)
    yield "one unit in the last place everywhere", lambda x: np.nextafter(x, np.float32(np.inf))


def bias_faults(bias: np.ndarray, rng: np.random.Generator) -> Iterator[tuple[str, Edit]]:
    step = 1e-3 * float(np.abs(bias).max())
    for place in rng.integers(bias.size, size=3):
        yield f"the {place}th bias by 1e-3 of the scale", at(place, lambda x: x + step)
    yield "the largest by 1e-3", at(int(np.abs(bias).argmax()), lambda x: 1.001 * x)
    yield "forgotten", np.zeros_like
    yield "a negative sign dropped", at(int(bias.argmin()), np.abs)
    yield "two channels swapped", lambda x: swapped(x, 0)
    yield "rounded to float16", lambda x: x.astype(np.float16)


def node_faults(node: onnx.NodeProto) -> Iterator[tuple[str, onnx.NodeProto]]:
    attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    data, columns = list(node.input), attributes.get("kernel_shape")
    replacements: dict[str, list[tuple[str, str, list[str], dict[str, Any]]]] = {
        "Relu": [("dropped", "Identity", data, {}), ("a LeakyRelu", "LeakyRelu", data, {"alpha": 0.01})],
        "Gemm": [("alpha", "Gemm", data, {**attributes, "alpha": 1.001}), ("no bias", "Gemm", data[:2], attributes)],
        "Softmax": [
            ("along the batch", "Softmax", data, {"axis": 0}),
            ("a LogSoftmax", "LogSoftmax", data, attributes),
            ("forgotten", "Identity", data, {}),
        ],
        "MaxPool": [
            ("an average", "AveragePool", data, {"kernel_shape": columns, "strides": attributes.get("strides")})
        ],
        "AveragePool": [
            ("a maximum", "MaxPool", data, {**attributes}),
            ("zeros counted that only pad", "AveragePool", data, {**attributes, "count_include_pad": 1}),
        ],
        "Transpose": [("rows for columns", "Transpose", data, {"perm": turned(attributes.get("perm", []))})],
        "Add": [("a difference", "Sub", data, {})],
        "Conv": [
            ("padding on the wrong side", "Conv", data, {**attributes, "pads": other_pads(attributes)}),
            ("no bias", "Conv", data[:2], attributes),
        ],
    }
    for what, op_type, inputs, changed in replacements.get(node.op_type, []):
        without = what == "zeros counted that only pad" and not any(attributes.get("pads", []))
        if not without and (changed != attributes or op_type != node.op_type or inputs != data):
            yield what, helper.make_node(op_type, inputs, list(node.output), node.name, **changed)


def other_pads(attributes: dict[str, Any]) -> list[int]:
    """As much padding, one row and column of it on the other side."""
    pads = list(attributes.get("pads", []))
    half = len(pads) // 2
    begin, end = pads[:half], pads[half:]
    if begin != end:
        return [*end, *begin]
    return [*(max(0, each - 1) for each in begin), *(each + min(1, each) for each in end)]


def turned(order: list[int]) -> list[int]:
    """The last two of three or more axes that are no batch change places."""
    return [*order[:-2], order[-1], order[-2]] if len(order) > 3 else order


def norm_faults(plain: onnx.ModelProto, keras_layers: list[Any]) -> Iterator[Mutation]:
    """Each in the Mul and Add that a BatchNormalization became: of the first, the middle and the last of them."""
    names = {node.name for node in plain.graph.node}
    norms = [
        layer
        for layer in keras_layers
        if type(layer).__name__ == "BatchNormalization" and {f"{layer.name}/Mul", f"{layer.name}/Add"} <= names
    ]
    for norm in {layer.name: layer for layer in (norms[0], norms[len(norms) // 2], norms[-1])}.values():
        right = affine(norm)
        for what, wrong in NORM_FAULTS.items():
            if any((a != b).any() for a, b in zip(affine(norm, **wrong), right, strict=True)):
                yield Mutation(f"{norm.name}: {what}", with_affine(plain, norm.name, *affine(norm, **wrong)))
        moved = with_relu_on_the_other_side(plain, norm.name)
        if moved is not None:
            yield Mutation(f"{norm.name}: on the wrong side of the ReLU", moved)


def affine(norm: Any, **wrong: Callable[..., Any]) -> tuple[np.ndarray, np.ndarray]:
    """γ / √(σ² + ε) and β − μ·γ / √(σ² + ε), with some of the five replaced by what the functions make of all."""
    gamma, beta, mean, variance = (np.asarray(each, np.float64) for each in norm.get_weights())
    known = {"gamma": gamma, "beta": beta, "mean": mean, "variance": variance, "epsilon": norm.epsilon}
    known |= {name: change(**known) for name, change in wrong.items()}
    scale = known["gamma"] / np.sqrt(known["variance"] + known["epsilon"])
    return scale.astype(np.float32), (known["beta"] - known["mean"] * scale).astype(np.float32)


NORM_FAULTS: dict[str, dict[str, Callable[..., Any]]] = {
    "epsilon forgotten": {"epsilon": lambda **_: 0.0},
    "epsilon of another tool": {"epsilon": lambda **_: 1e-5},
    "negative gammas lose their sign": {"gamma": lambda gamma, **_: np.abs(gamma)},
    "the mean forgotten": {"mean": lambda mean, **_: 0.0 * mean},
    "beta forgotten": {"beta": lambda beta, **_: 0.0 * beta},
    "the variance taken for a deviation": {"variance": lambda variance, **_: variance**2},
    "beta and mean swapped": {"beta": lambda mean, **_: mean, "mean": lambda beta, **_: beta},
}


def with_affine(plain: onnx.ModelProto, norm: str, scale: np.ndarray, shift: np.ndarray) -> onnx.ModelProto:
    wrong = copied(plain)
    constants = {tensor.name: tensor for tensor in wrong.graph.initializer}
    for node in wrong.graph.node:
        if node.name in {f"{norm}/Mul", f"{norm}/Add"}:
            (old,) = (constants[name] for name in node.input if name in constants)
            array = (scale if node.op_type == "Mul" else shift).reshape(numpy_helper.to_array(old).shape)
            fresh = numpy_helper.from_array(array, f"{node.name}/wrong")  # others may have the old one as well
            node.input[list(node.input).index(old.name)] = fresh.name
            wrong.graph.initializer.append(fresh)
    return wrong


def with_relu_on_the_other_side(plain: onnx.ModelProto, norm: str) -> onnx.ModelProto | None:
    """ReLU(BN(x)) as BN(ReLU(x)), or the other way round; None if no ReLU is next to it alone."""
    wrong = copied(plain)
    nodes = list(wrong.graph.node)
    first, last = (next(node for node in nodes if node.name == f"{norm}/{part}") for part in ("Mul", "Add"))
    before = next((node for node in nodes if node.output[0] in first.input), None)
    after = [node for node in nodes if last.output[0] in node.input]
    if len(after) == 1 and after[0].op_type == "Relu":
        order, places = [after[0], first, last], [first, last, after[0]]
    elif before is not None and before.op_type == "Relu" and sum(before.output[0] in n.input for n in nodes) == 1:
        order, places = [first, last, before], [before, first, last]
    else:
        return None
    made = {node.output[0] for node in places}
    entering = next(name for name in places[0].input if name not in {t.name for t in wrong.graph.initializer})
    results = [node.output[0] for node in places]
    for node, source, result in zip(order, [entering, *results], results, strict=False):
        data = [index for index, name in enumerate(node.input) if name in made | {entering}]
        node.input[data[0]], node.output[0] = source, result
    indices = sorted(nodes.index(node) for node in places)
    for index, node in zip(indices, [copied_node(node) for node in order], strict=True):
        wrong.graph.node[index].CopyFrom(node)
    return wrong


def coerced(right: onnx.ModelProto, index: int) -> onnx.ModelProto:
    """The softmax runs over all that is behind the batch, as its default was before opset 13."""
    node, wrong = right.graph.node[index], copied(right)
    shape = np.array([0, *(each.dim_value for each in right.graph.output[0].type.tensor_type.shape.dim[1:])], np.int64)
    wrong.graph.initializer.append(numpy_helper.from_array(shape, "shape of old"))
    flat = helper.make_node("Flatten", list(node.input), ["flat"], axis=1)
    softmax = helper.make_node(node.op_type, ["flat"], ["of all"], axis=1)
    back = helper.make_node("Reshape", ["of all", "shape of old"], list(node.output), node.name)
    return with_nodes(wrong, index, flat, softmax, back)


def at(place: int | np.integer[Any], change: Callable[[Any], Any]) -> Edit:
    def edit(array: np.ndarray) -> np.ndarray:
        array.reshape(-1)[place] = change(array.reshape(-1)[place])
        return array

    return edit


def swapped(array: np.ndarray, axis: int) -> np.ndarray:
    """The first two channels change places, or two that differ."""
    order = np.arange(array.shape[axis])
    order[[0, -1]] = order[[-1, 0]]
    return array.take(order, axis)


def with_constant(right: onnx.ModelProto, index: int, array: np.ndarray) -> onnx.ModelProto:
    wrong = copied(right)
    tensor = wrong.graph.initializer[index]
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array), tensor.name))
    return wrong


def with_nodes(right: onnx.ModelProto, index: int, *replacements: onnx.NodeProto) -> onnx.ModelProto:
    """`replacements` in the place of one node."""
    wrong = copied(right)
    nodes = [copied_node(node) for node in wrong.graph.node]
    del wrong.graph.node[:]
    wrong.graph.node.extend([*nodes[:index], *replacements, *nodes[index + 1 :]])
    return wrong


def copied_node(node: onnx.NodeProto) -> onnx.NodeProto:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    return copy


def permuted(right: onnx.ModelProto) -> onnx.ModelProto:
    """The last two columns of the output change places."""
    wrong = copied(right)
    output = wrong.graph.output[0]
    columns = output.type.tensor_type.shape.dim[-1].dim_value
    order = np.r_[0 : columns - 2, columns - 1, columns - 2]
    wrong.graph.initializer.append(numpy_helper.from_array(order.astype(np.int64), "order"))
    for node in wrong.graph.node:
        node.output[:] = ["unordered" if name == output.name else name for name in node.output]
    wrong.graph.node.append(helper.make_node("Gather", ["unordered", "order"], [output.name], "permuted", axis=-1))
    return wrong


def copied(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy
