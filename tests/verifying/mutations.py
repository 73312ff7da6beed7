"""Faults to plant in a right ONNX file, and in a Keras model before it is exported: what exporters really get wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgebn import backends

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
            yield Mutation(f"{node.name}: {what}", with_node(right, index, replacement))
    yield Mutation("an output permuted", permuted(right))


def kernel_faults(kernel: np.ndarray, rng: np.random.Generator) -> Iterator[tuple[str, Edit]]:
    order = np.abs(kernel).reshape(-1).argsort()
    places = {"the largest": order[-1], "the median": order[len(order) // 2], "one": rng.integers(kernel.size)}
    for which, place in places.items():
        yield f"{which} weight by 1 %", at(place, lambda x: 1.01 * x)
    tiny = np.flatnonzero(np.abs(kernel).reshape(-1) > 0.0)
    if tiny.size:
        smallest = tiny[np.abs(kernel).reshape(-1)[tiny].argmin()]
        yield "the smallest weight by 1 %", at(smallest, lambda x: 1.01 * x)
    yield "a negative sign dropped", at(kernel.argmin(), np.abs)
    for axis in (0, 1):
        if kernel.shape[axis] > 1:
            yield f"two channels of axis {axis} swapped", lambda x, axis=axis: swapped(x, axis)
    axes = (2, 3) if kernel.ndim == 4 else (0, 1)
    if kernel.ndim in {2, 4} and kernel.shape[axes[0]] == kernel.shape[axes[1]] > 1:
        yield "transposed", lambda x: x.swapaxes(*axes)
    yield "one unit in the last place everywhere", lambda x: np.nextafter(x, np.float32(np.inf))


def bias_faults(bias: np.ndarray, rng: np.random.Generator) -> Iterator[tuple[str, Edit]]:
    step = 1e-3 * float(np.abs(bias).max())
    yield "one bias by 1e-3 of its scale", at(int(rng.integers(bias.size)), lambda x: x + step)
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
            ("along the batch, as before opset 13", "Softmax", data, {"axis": 0}),
            ("a LogSoftmax", "LogSoftmax", data, attributes),
            ("forgotten", "Identity", data, {}),
        ],
        "MaxPool": [
            ("an average", "AveragePool", data, {"kernel_shape": columns, "strides": attributes.get("strides")})
        ],
        "Add": [("a difference", "Sub", data, {})],
        "Conv": [("padding on the wrong side", "Conv", data, {**attributes, "pads": other_pads(attributes)})],
    }
    for what, op_type, inputs, changed in replacements.get(node.op_type, []):
        if changed != attributes or op_type != node.op_type or inputs != data:
            yield what, helper.make_node(op_type, inputs, list(node.output), node.name, **changed)


def other_pads(attributes: dict[str, Any]) -> list[int]:
    """As much padding, one row and column of it on the other side."""
    pads = list(attributes.get("pads", []))
    half = len(pads) // 2
    begin, end = pads[:half], pads[half:]
    if begin != end:
        return [*end, *begin]
    return [*(max(0, each - 1) for each in begin), *(each + min(1, each) for each in end)]


def keras_faults(build: Callable[[], Any]) -> Iterator[tuple[str, Any]]:
    """Models with one fault in a BatchNormalization, of the first, the middle and the last; to be exported."""
    norm_type = backends.keras().layers.BatchNormalization
    norms = [index for index, layer in enumerate(build().layers) if isinstance(layer, norm_type)]
    for index in sorted({norms[0], norms[len(norms) // 2], norms[-1]}):
        for what, spoil in NORM_FAULTS.items():
            model = build()
            before = [np.array(weight) for weight in model.layers[index].weights] + [model.layers[index].epsilon]
            spoil(model.layers[index])
            after = [np.array(weight) for weight in model.layers[index].weights] + [model.layers[index].epsilon]
            if any(np.any(a != b) for a, b in zip(before, after, strict=True)):
                yield f"{model.layers[index].name}: {what}", model


def assign(norm: Any, part: str, change: Edit) -> None:
    variable = getattr(norm, part)
    variable.assign(change(np.array(variable)))


NORM_FAULTS: dict[str, Callable[[Any], None]] = {
    "epsilon forgotten": lambda norm: setattr(norm, "epsilon", 0.0),
    "negative gammas lose their sign": lambda norm: assign(norm, "gamma", np.abs),
    "the mean forgotten": lambda norm: assign(norm, "moving_mean", np.zeros_like),
    "the variance taken for a deviation": lambda norm: assign(norm, "moving_variance", np.square),
    "beta and mean swapped": lambda norm: assign(norm, "beta", lambda beta: np.array(norm.moving_mean) + 0.0 * beta),
}


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


def with_node(right: onnx.ModelProto, index: int, node: onnx.NodeProto) -> onnx.ModelProto:
    wrong = copied(right)
    wrong.graph.node[index].CopyFrom(node)
    return wrong


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
