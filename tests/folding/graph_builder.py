"""A graph under construction: it knows names, shapes and constants, and takes its choices from a string of bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

from tests.folding.float64 import Array, evaluate

BATCH = 11
"""The extent of the batch axis while a graph is built, which no other axis has."""

Tensor = str


@dataclass(frozen=True, eq=False)
class RandomGraph:
    """A model, and the shapes of its inputs, batch first."""

    model: onnx.ModelProto
    shapes: dict[str, tuple[int, ...]]

    def read(self, *, double: bool = False) -> ir.Model:
        """The model anew, which may be changed; if `double`, with all that is float32 in float64, weights and all."""
        proto = onnx.ModelProto()
        proto.CopyFrom(self.model)
        return ir.from_proto(_doubled(proto) if double else proto)

    def inputs(self, batch: int) -> dict[str, Array]:
        """Samples of both signs, in float32; those of a smaller batch are the first of a larger one's."""
        rng = np.random.default_rng(0)
        samples = {name: rng.standard_normal((8, *shape[1:])) * 1.5 for name, shape in self.shapes.items()}
        return {name: x[:batch].astype(np.float32) for name, x in samples.items()}

    def __repr__(self) -> str:
        constants = {each.name: numpy_helper.to_array(each) for each in self.model.graph.initializer}
        lines = [f"{dict(self.shapes)} opset {self.model.opset_import[0].version}"]
        for node in self.model.graph.node:
            attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
            inputs = ", ".join(_shown(name, constants) for name in node.input)
            lines.append(f"  {', '.join(node.output)} = {node.op_type}({inputs}) {attributes or ''}")
        return "\n".join([*lines, f"  => {[each.name for each in self.model.graph.output]}"])


def _doubled(model: onnx.ModelProto) -> onnx.ModelProto:
    constants = [attribute.t for node in model.graph.node for attribute in node.attribute if attribute.HasField("t")]
    for tensor in [*model.graph.initializer, *constants]:
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name))
    for value in [*model.graph.input, *model.graph.output]:
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = TensorProto.DOUBLE
    return model


def _shown(name: str, constants: dict[str, Array]) -> str:
    if name not in constants:
        return name
    array = constants[name]
    return f"{name}={array.tolist()}" if array.size <= 8 else f"{name}:{list(array.shape)}"


class Builder:
    """A graph under construction. Every tensor has been computed once, of zeros, so that its shape is known.

    Choices are taken from `choices`, a byte each. Weights are random; their seed is the first four.
    """

    def __init__(self, choices: bytes) -> None:
        self._choices = iter(choices)
        self.rng = np.random.default_rng(list(choices[:4]))
        self.opset = self.choose(18, 18, 13)
        self.shapes: dict[Tensor, tuple[int, ...]] = {}
        self.tensors: list[Tensor] = []
        self.nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, Array] = {}
        self._whole: dict[Tensor, Array] = {}
        self._overridable: set[str] = set()
        self._inputs: dict[Tensor, list[int | str]] = {}

    def choose(self, *options: Any) -> Any:
        """One of them; the first is the simplest, and taken when all choices are used up."""
        return options[next(self._choices, 0) % len(options)]

    def seldom(self) -> bool:
        """True once in eight times."""
        return self.choose(*range(8)) == 7

    def input(self, shape: tuple[int, ...], *, dynamic: bool) -> Tensor:
        """An input of the graph; if `dynamic`, its height is symbolic too."""
        name = f"x{len(self._inputs)}"
        self._inputs[name] = [extent if axis != 2 or not dynamic else "height" for axis, extent in enumerate(shape)]
        self._inputs[name][0] = "batch"
        self._remember(name, np.zeros(shape))
        return name

    def constant(self, array: Any) -> str:
        """An initializer; seldom a Constant node, or one that the caller may override."""
        array = np.asarray(array)
        stored = array.astype(np.int64 if array.dtype.kind == "i" else np.float32)
        name = f"c{len(self._constants)}"
        self._constants[name] = stored
        if self.seldom() and self.seldom():
            self._overridable.add(name)
        elif self.seldom() and self.choose(False, True):
            value = numpy_helper.from_array(stored)
            self.nodes.append(helper.make_node("Constant", [], [name], name=f"constant_{name}", value=value))
        return name

    def weight(self, shape: tuple[int, ...], fan_in: int = 1) -> str:
        """Weights; sometimes those that another node has already."""
        same = [name for name, array in self._constants.items() if array.shape == shape and array.dtype.kind == "f"]
        if same and self.seldom():
            return self.choose(*same)
        return self.constant(self.rng.standard_normal(shape) / np.sqrt(fan_in))

    def scales(self, shape: tuple[int, ...]) -> Array:
        """Scales of many kinds: of both signs, zero, those of a dead channel."""
        size = np.exp(0.7 * self.rng.standard_normal(shape))
        match self.choose("mixed", "positive", "negative", "zeros", "tiny", "large", "one", "same"):
            case "mixed":
                return size * self.rng.choice((-1.0, 1.0), shape)
            case "positive":
                return size
            case "negative":
                return -size
            case "zeros":
                return size * self.rng.choice((-1.0, 0.0, 1.0), shape)
            case "tiny":
                return size * self.rng.choice((1.0, 1e-4, -1e-7), shape)
            case "large":
                return size * self.rng.choice((1.0, -31.6), shape)
            case "one":
                return np.ones(shape)
        return np.full(shape, self.choose(2.0, -0.5))

    def shifts(self, shape: tuple[int, ...]) -> Array:
        """Shifts: of both signs, none, the same everywhere."""
        match self.choose("mixed", "none", "same"):
            case "mixed":
                return self.rng.standard_normal(shape)
            case "none":
                return np.zeros(shape)
        return np.full(shape, self.choose(0.5, -1.25))

    def node(self, op_type: str, *inputs: str | None, **attributes: Any) -> Tensor:
        """Add a node; returns its first output."""
        return self.several(op_type, *inputs, **attributes)[0]

    def several(self, op_type: str, *inputs: str | None, **attributes: Any) -> list[Tensor]:
        """Add a node; returns its outputs. All of float type may be read by nodes to come."""
        operands = [None if name is None else self._stand_in(name) for name in inputs]
        results = evaluate(op_type, attributes, operands)
        outputs = [f"t{len(self.shapes) + index}" for index in range(len(results))]
        written = helper.make_node(
            op_type, [name or "" for name in inputs], outputs, name=f"{op_type}_{len(self.nodes)}", **attributes
        )
        self.nodes.append(written)
        for output, result in zip(outputs, results, strict=True):
            self._remember(output, result)
        return outputs

    def _stand_in(self, name: str) -> Array:
        """What an operand is computed from: itself if it is a constant or a shape, else zeros."""
        return self._constants.get(name, self._whole.get(name, np.zeros(self.shapes.get(name, ()))))

    def _remember(self, name: Tensor, value: Array) -> None:
        self.shapes[name] = value.shape
        if value.dtype.kind == "f":
            self.tensors.append(name)
        else:
            self._whole[name] = value

    def leaves(self) -> list[Tensor]:
        """The tensors that nothing reads."""
        read = {name for node in self.nodes for name in node.input}
        return [name for name in self.tensors if name not in read and name not in self._inputs]

    def finish(self) -> RandomGraph:
        """The model. Its outputs are the tensors that nothing reads, but for a dead one, and some that are read."""
        read = {name for node in self.nodes for name in node.input}
        leaves = self.leaves()
        if len(leaves) > 1 and self.seldom():
            leaves.pop(0)
        inner = [
            name for name in self.tensors if name in read and name not in self._inputs and self.choose(*range(32)) == 31
        ]
        stored = [numpy_helper.from_array(array, name) for name, array in self._constants.items() if name in read]
        made = {name for node in self.nodes for name in node.output}
        graph = helper.make_graph(
            self.nodes,
            "random",
            [
                *(
                    helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
                    for name, shape in self._inputs.items()
                ),
                *(_described(self._constants[name], name) for name in sorted(self._overridable & read)),
            ],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in [*leaves, *inner]],
            [tensor for tensor in stored if tensor.name not in made],
        )
        opsets = [helper.make_opsetid("", self.opset)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        return RandomGraph(model, {name: self.shapes[name] for name in self._inputs})


def _described(array: Array, name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
