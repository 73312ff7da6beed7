"""From an ONNX graph to steps: what becomes a loop, what is only another view of the same floats, and what is fused."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from math import prod

import numpy as np
import onnx_ir as ir

from edgebn.embedding.c import steps
from edgebn.embedding.c.memory import Buffer, Operand, Shape, channels_last_order, in_order, row_major
from edgebn.embedding.c.pointwise import NEEDS, POINTWISE, Node, Operation
from edgebn.embedding.c.steps import Applied, Array, Step
from edgebn.embedding.names import identifier
from edgebn.embedding.ports import FLOAT, TYPES
from edgebn.errors import InputError

RISING = {"Add", "Clip", "Max", "Min", "Relu", "Sum"}
"""Operators that keep the order of numbers, exactly, if their other operands stay the same."""

Rule = Callable[["Lowering", ir.Node], None]


class Lowering:
    """Steps for the nodes of a graph, in topological order. Every shape in the graph is known.

    Its names in C begin with `layer_`, `tensor_` or `constant_`, as nothing does that the generated functions call
    their own, nor what a compiler knows.
    """

    def __init__(self, graph: ir.Graph, name: str, ports: Sequence[str], public: Collection[str]) -> None:
        """`ports` are the C names under which the caller passes inputs and outputs; `public` are taken as well."""
        self.graph, self.model_name = graph, name
        self._inputs, self._outputs = ports[: len(graph.inputs)], ports[len(graph.inputs) :]
        self.steps: list[Step] = []
        self.names: set[str] = {*ports, *public}
        self._tensors: set[str] = set()
        self._operands: dict[ir.Value, Operand] = {}
        self.done: set[ir.Node] = set()
        self.rows: dict[ir.Value, Array] = {}

    def run(self, rules: Mapping[str, Rule]) -> list[Step]:
        """Lower every node; returns the steps in order."""
        for value, port in zip(self.graph.inputs, self._inputs, strict=True):
            buffer = self.buffer(value, shape_of(value))
            buffer.kind, buffer.port, buffer.type = "input", port, c_type(value, "input")
            self._operands[value] = row_major(buffer, shape_of(value))
        for node in self.graph:
            if node.op_type != "Split" and any(_is_used(value) for value in node.outputs[1:]):
                raise self.refusal(node, "has a second output in use")
            if node not in self.done:
                rules[node.op_type](self, node)
        for value, port in zip(self.graph.outputs, self._outputs, strict=True):
            self._output(value, port)
        return self.steps

    # values

    def operand(self, value: ir.Value) -> Operand:
        """Where a tensor lies."""
        if value not in self._operands:
            data = ir.convenience.get_const_tensor(value)
            array = np.zeros(0) if data is None else data.numpy()
            self._operands[value] = self.constant(value.name or "constant", array)
        return self._operands[value]

    def constant(self, name: str, data: Array) -> Operand:
        """A new constant in the program."""
        array = np.ascontiguousarray(data, np.float32)
        chosen = identifier(f"constant_{name}", self.names | self._tensors)
        self.names.add(chosen)
        self._tensors.add(chosen)
        return row_major(Buffer(chosen, array.size, "constant", array), np.shape(data))

    def known(self, value: ir.Value | None) -> Array | None:
        """The value of a constant, views of constants included; None for what is computed."""
        if value is None:
            return None
        if value in self._operands:
            operand = self._operands[value]
            data = operand.buffer.data
            if data is None:
                return None
            strides = [4 * stride for stride in operand.strides]
            return np.lib.stride_tricks.as_strided(data.reshape(-1)[operand.offset :], operand.shape, strides)
        tensor = None if value.is_graph_input() else ir.convenience.get_const_tensor(value)
        return None if tensor is None else tensor.numpy()

    def is_ready(self, value: ir.Value) -> bool:
        """Whether it is constant or has been computed."""
        return value in self._operands or self.known(value) is not None

    def argument(self, node: ir.Node, index: int) -> Array | None:
        """The constant that is input `index` of the node; None if it has none there."""
        return self.known(node.inputs[index]) if index < len(node.inputs) else None

    def new(self, value: ir.Value, order: Sequence[int] | None = None) -> Operand:
        """A new buffer for a tensor, with its axes in memory in the given order."""
        shape = shape_of(value)
        buffer = self.buffer(value, shape)
        operand = in_order(buffer, shape, order if order is not None else range(len(shape)))
        self._operands[value] = operand
        return operand

    def buffer(self, value: ir.Value, shape: Shape) -> Buffer:
        """A new buffer for a tensor that is computed in the given shape."""
        return Buffer(identifier(f"tensor_{value.name}", self._tensors), prod(shape), "scratch")

    def bind(self, value: ir.Value, operand: Operand) -> None:
        """Say where a tensor lies: in floats that are there."""
        self._operands[value] = operand

    def function(self, node: ir.Node) -> str:
        """A name for the C function of a node: its layer's, if that is free."""
        name = node.name or node.op_type
        layer, _, operator = name.rpartition("/")
        short = layer if layer and operator == node.op_type else name
        return self.unique(name if identifier(f"layer_{short}", set()) in self.names else short)

    def unique(self, name: str) -> str:
        """A C identifier that resembles `name`: no other function has it, nor with an ending any array or tensor."""
        taken = set(self.names)
        base = identifier(f"layer_{name}", taken)
        while not self.names.union(self._tensors).isdisjoint(arrays := {f"{base}_weights", f"{base}_bias"}):
            base = identifier(f"layer_{name}", taken)
        self.names |= {base, *arrays}
        self._tensors |= arrays
        return base

    def comment(self, *nodes: ir.Node) -> str:
        """What the function computes: operators and shapes."""
        first, last = nodes[0], nodes[-1]
        operators = " -> ".join(node.op_type for node in nodes)
        source = next((shape_text(value) for value in first.inputs if value is not None), "")
        return f"{operators}: {source} -> {shape_text(last.outputs[0])}"

    def copied(self, operand: Operand, order: Sequence[int], name: str) -> Operand:
        """The tensor in a buffer of its own, its axes in the given order; itself if it lies so already."""
        buffer = Buffer("", operand.size, "scratch")
        wanted = in_order(buffer, operand.shape, order)
        packed = dataclasses.replace(operand, offset=0)
        if packed.lies_as(wanted):
            return dataclasses.replace(operand, strides=wanted.strides)
        plain = name.removeprefix("tensor_").removeprefix("constant_")
        buffer.name = identifier(f"tensor_{plain}_packed", self._tensors)
        function = self.unique(f"pack_{plain}")
        text = f"Copy: {list(operand.shape)}, its axes in memory in the order {list(order)}"
        self.steps.append(steps.Pointwise(function, text, (operand,), wanted, (Applied("{0}", (operand,)),)))
        return wanted

    def channels_last(self, value: ir.Value) -> Operand:
        """An input of a convolution or pool, its channels the last in memory."""
        operand = self.operand(value)
        return self.copied(operand, channels_last_order(len(operand.shape)), operand.buffer.name)

    # fusion

    def chain(self, node: ir.Node, order: Sequence[int]) -> tuple[list[Applied], list[ir.Node]]:
        """What follows the node element by element, on (pixel, channel), and the nodes from it to the last of these.

        `order` is that of the result's axes in memory, the channels last.
        """
        found: list[Applied] = []
        nodes = [node]
        while (reader := self.only_reader(nodes[-1].outputs[0])) is not None and reader.op_type in POINTWISE:
            value = nodes[-1].outputs[0]
            if not self.may_join(reader, value):
                break
            applied = self._on_grid(reader, value, order)
            if applied is None:
                break
            found += applied
            nodes.append(reader)
            self.done.add(reader)
        return found, nodes

    def only_reader(self, value: ir.Value) -> ir.Node | None:
        """The node that alone reads a tensor, if there is such a one, and the caller does not."""
        uses = list(value.uses())
        return uses[0].node if len(uses) == 1 and not value.is_graph_output() else None

    def may_join(self, reader: ir.Node, value: ir.Value) -> bool:
        """Whether a pointwise reader of `value` can be computed with it: all else that it reads is there.

        A Clip overwrites the running value before it reads its second bound.
        """
        if reader.op_type == "Clip" and value in reader.inputs[1:]:
            return False
        return shape_of(reader.outputs[0]) == shape_of(value) and all(
            each is value or self.is_ready(each) for each in reader.inputs if each is not None
        )

    def operations(self, node: ir.Node, running: ir.Value | None = None) -> list[Operation]:
        """The expressions of a node; what follows another has the running value as its first operand if it may."""
        found = list(POINTWISE[node.op_type](Node(node, lambda index: self.argument(node, index), running)))
        if not found:
            raise self.refusal(node, NEEDS[node.op_type])
        return found

    def _on_grid(self, reader: ir.Node, value: ir.Value, order: Sequence[int]) -> list[Applied] | None:
        shape, running = shape_of(value), {value, reader.outputs[0]}
        found = []
        for operation in self.operations(reader, value):
            operands: list[Operand | None] = []
            for each in operation.operands:
                if isinstance(each, ir.Value) and each in running:
                    operands.append(None)
                    continue
                operand = self.as_operand(each, reader)
                extents = [shape[axis] for axis in order]
                grid = operand.broadcast(shape).transposed(order).reshaped((prod(extents[:-1]), extents[-1]))
                if grid is None:
                    return None
                operands.append(grid)
            rises = reader.op_type in RISING and all(each is None or each.strides[0] == 0 for each in operands)
            found.append(Applied(operation.expression, tuple(operands), rises))
        return found

    def as_operand(self, given: ir.Value | Array, node: ir.Node) -> Operand:
        """Where an operand of an operation lies."""
        return self.operand(given) if isinstance(given, ir.Value) else self.constant(f"{node.name}_constant", given)

    # rules

    def _output(self, value: ir.Value, port: str) -> None:
        """Have a tensor in the caller's hands: in a buffer that is its own, or copied into one."""
        operand = self.operand(value)
        if operand.buffer.kind == "scratch" and operand.is_whole():
            operand.buffer.kind, operand.buffer.port, operand.buffer.type = "output", port, c_type(value, "output")
            return
        name = identifier(f"tensor_{value.name}_output", self._tensors)
        buffer = Buffer(name, operand.size, "output", port=port, type=c_type(value, "output"))
        function = self.unique(f"write_{value.name}")
        text = f"Copy: {list(operand.shape)}, row by row"
        place = row_major(buffer, operand.shape)
        self.steps.append(steps.Pointwise(function, text, (operand,), place, (Applied("{0}", (operand,)),)))

    def refusal(self, node: ir.Node, reason: str) -> InputError:
        """The error that says why a node can not be written as C."""
        return InputError(
            f"{self.model_name}: {node.op_type} ({node.name}) {reason}, which the targets c and wasm do not support; "
            "choose another target: python, node, web or c-ort"
        )


def c_type(value: ir.Value, role: str) -> str:
    """What C calls the numbers of a graph's input or output, as `role` says."""
    found = None if value.dtype is None else TYPES[role].get(value.dtype)
    return (found or FLOAT).c


def first_input(node: ir.Node) -> ir.Value:
    """The first input of a node that must have one."""
    return given_inputs(node)[0]


def given_inputs(node: ir.Node) -> list[ir.Value]:
    """The inputs that are there."""
    return [value for value in node.inputs if value is not None]


def _is_used(value: ir.Value) -> bool:
    return value.is_graph_output() or bool(value.uses())


def shape_of(value: ir.Value) -> Shape:
    """The shape of a tensor, all of it known."""
    return tuple(extent for extent in value.shape or () if isinstance(extent, int))


def shape_text(value: ir.Value) -> str:
    """`[32, 26, 26]`: without the batch of one."""
    return str(list(shape_of(value)))
