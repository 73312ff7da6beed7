"""From an ONNX graph to steps: what becomes a loop, what is only another view of the same floats, and what is fused."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import Any

import numpy as np
import onnx_ir as ir

from edgebn.embedding.c import pools, products, steps
from edgebn.embedding.c.memory import Buffer, Operand, Shape, channels_last_order, in_order, row_major
from edgebn.embedding.c.pointwise import POINTWISE, Node, Operation
from edgebn.embedding.c.steps import Applied, Array, Step
from edgebn.embedding.c.text import LOCAL_NAMES, identifier
from edgebn.embedding.c.windows import Axis
from edgebn.errors import InputError

NARROW = 12
"""The most columns of a matrix that a single vector is multiplied by as dot products."""


class Lowering:
    """Steps for the nodes of a graph, in topological order. Every shape in the graph is known."""

    def __init__(self, graph: ir.Graph, name: str) -> None:
        self.graph, self.model_name = graph, name
        self.steps: list[Step] = []
        self.names: set[str] = set(LOCAL_NAMES)
        self.inputs: list[Buffer] = []
        self._operands: dict[ir.Value, Operand] = {}
        self._done: set[ir.Node] = set()
        self._rows: dict[ir.Value, Array] = {}
        self._ports: dict[ir.Value, str] = {}

    def run(self) -> list[Buffer]:
        """Lower every node; returns the buffers of the graph's outputs."""
        ports = {value: identifier(value.name or "tensor", self.names) for value in (*self.graph.inputs, *self.graph.outputs)}
        self._ports.update(ports)
        for value in self.graph.inputs:
            buffer = Buffer(ports[value], prod(shape_of(value)), "input")
            self._operands[value] = row_major(buffer, shape_of(value))
            self.inputs.append(buffer)
        for node in self.graph:
            if node not in self._done:
                RULES[node.op_type](self, node)
        return [self._output(value) for value in self.graph.outputs]

    # values

    def operand(self, value: ir.Value) -> Operand:
        """Where a tensor lies."""
        if value not in self._operands:
            data = ir.convenience.get_const_tensor(value)
            assert data is not None, value
            self._operands[value] = self.constant(value.name or "constant", data.numpy())
        return self._operands[value]

    def constant(self, name: str, data: Array) -> Operand:
        """A new constant in the program."""
        array = np.ascontiguousarray(data, np.float32)
        return row_major(Buffer(identifier(name, self.names), array.size, "constant", array), array.shape)

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
        name = self._ports.get(value) or identifier(value.name or "tensor", self.names)
        return Buffer(name, prod(shape), "scratch")

    def bind(self, value: ir.Value, operand: Operand) -> None:
        """Say where a tensor lies: in floats that are there."""
        self._operands[value] = operand

    def function(self, node: ir.Node) -> str:
        """A name for the C function of a node."""
        name = node.name or node.op_type
        layer, _, operator = name.rpartition("/")
        short = layer if layer and operator == node.op_type else name
        return identifier(name if identifier(short, set()) in self.names else short, self.names)

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
        buffer.name = identifier(f"{name}_packed", self.names)
        function = identifier(f"pack_{name}", self.names)
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
        while (reader := self._only_reader(nodes[-1].outputs[0])) is not None and reader.op_type in POINTWISE:
            value = nodes[-1].outputs[0]
            if not self._may_join(reader, value):
                break
            applied = self._on_grid(reader, value, order)
            if applied is None:
                break
            found += applied
            nodes.append(reader)
            self._done.add(reader)
        return found, nodes

    def _only_reader(self, value: ir.Value) -> ir.Node | None:
        uses = list(value.uses())
        return uses[0].node if len(uses) == 1 and not value.is_graph_output() else None

    def _may_join(self, reader: ir.Node, value: ir.Value) -> bool:
        return shape_of(reader.outputs[0]) == shape_of(value) and all(
            each is value or self.is_ready(each) for each in reader.inputs if each is not None
        )

    def operations(self, node: ir.Node, running: ir.Value | None = None) -> list[Operation]:
        """The expressions of a node; what follows another has the running value as its first operand if it may."""
        return list(POINTWISE[node.op_type](Node(node, lambda index: self.argument(node, index), running)))

    def _on_grid(self, reader: ir.Node, value: ir.Value, order: Sequence[int]) -> list[Applied] | None:
        shape, running = shape_of(value), {value, reader.outputs[0]}
        found = []
        for operation in self.operations(reader, value):
            operands: list[Operand | None] = []
            for each in operation.operands:
                if isinstance(each, ir.Value) and each in running:
                    operands.append(None)
                    continue
                operand = self._as_operand(each, reader)
                extents = [shape[axis] for axis in order]
                grid = operand.broadcast(shape).transposed(order).reshaped((prod(extents[:-1]), extents[-1]))
                if grid is None:
                    return None
                operands.append(grid)
            rises = reader.op_type in RISING and all(each is None or each.strides[0] == 0 for each in operands)
            found.append(Applied(operation.expression, tuple(operands), rises))
        return found

    def _as_operand(self, given: ir.Value | Array, node: ir.Node) -> Operand:
        return self.operand(given) if isinstance(given, ir.Value) else self.constant(f"{node.name}_constant", given)

    # rules

    def pointwise(self, node: ir.Node) -> None:
        """A pointwise operator that nothing has taken up, with all that follows it."""
        nodes, operations = [node], [self._whole(node, None)]
        while (reader := self._only_reader(nodes[-1].outputs[0])) is not None and reader.op_type in POINTWISE:
            if not self._may_join(reader, nodes[-1].outputs[0]):
                break
            operations.append(self._whole(reader, nodes[-1].outputs[0]))
            nodes.append(reader)
            self._done.add(reader)
        applied = [each for group in operations for each in group]
        last = nodes[-1].outputs[0]
        reads = tuple(each for one in applied for each in one.operands if each is not None)
        whole = [each for each in reads if 0 not in _real_strides(each)]
        leader = min(whole, key=lambda each: each.buffer.kind == "constant", default=None)
        y = self.new(last, None if leader is None else leader.order())
        self.steps.append(steps.Pointwise(self.function(node), self.comment(*nodes), reads, y, tuple(applied)))

    def _whole(self, node: ir.Node, running: ir.Value | None) -> list[Applied]:
        shape = shape_of(node.outputs[0])
        found = []
        for operation in self.operations(node, running):
            own = {running} | ({node.outputs[0]} if found or running is not None else set())
            operands = tuple(
                None if isinstance(each, ir.Value) and each in own
                else self._as_operand(each, node).broadcast(shape)
                for each in operation.operands
            )
            found.append(Applied(operation.expression, operands))
        return found

    def view(self, node: ir.Node) -> None:
        """Reshape and its kin: the same floats, moved only where no strides describe the result."""
        value, result = node.inputs[0], node.outputs[0]
        assert value is not None
        operand, shape = self.operand(value), shape_of(result)
        reshaped = operand.reshaped(shape)
        if reshaped is None and (order := self._absorbable(operand, result)) is not None:
            flat = in_order(operand.buffer, operand.shape, operand.order())
            if dataclasses.replace(operand, offset=0).lies_as(flat):
                self._rows[result] = order
                reshaped = dataclasses.replace(row_major(operand.buffer, shape), offset=operand.offset)
        if reshaped is None:
            packed = self.copied(operand, range(len(operand.shape)), operand.buffer.name)
            reshaped = packed.reshaped(shape)
        assert reshaped is not None
        self.bind(result, reshaped)

    def _absorbable(self, operand: Operand, result: ir.Value) -> Array | None:
        """Where the rows of the weights behind a flattened image can be brought into the image's order: that order."""
        shape = shape_of(result)
        readers = [use.node for use in result.uses()]
        if len(shape) != 2 or shape[0] != 1 or result.is_graph_output() or not readers:
            return None
        for reader in readers:
            if reader.op_type not in {"Gemm", "MatMul"} or reader.inputs[0] is not result:
                return None
            if self.argument(reader, 1) is None or reader.attributes.get_int("transA", 0):
                return None
        index = np.arange(operand.size).reshape(operand.shape)
        return index.transpose(operand.order()).reshape(-1)

    def transpose(self, node: ir.Node) -> None:
        """Transpose: another view."""
        value = node.inputs[0]
        assert value is not None
        operand = self.operand(value)
        axes = node.attributes.get_ints("perm", tuple(reversed(range(len(operand.shape)))))
        self.bind(node.outputs[0], operand.transposed(axes))

    def identity(self, node: ir.Node) -> None:
        """Identity, and Dropout when nothing is trained."""
        assert node.inputs[0] is not None
        self.bind(node.outputs[0], self.operand(node.inputs[0]))

    def slice(self, node: ir.Node) -> None:
        """Slice: another view."""
        value = node.inputs[0]
        starts, ends, axes, strides = (self.argument(node, index) for index in range(1, 5))
        if value is None or starts is None or ends is None:
            raise self.refusal(node, "needs constant starts and ends")
        operand = self.operand(value)
        chosen = range(len(starts)) if axes is None else [int(axis) for axis in axes]
        for number, axis in enumerate(chosen):
            step = 1 if strides is None else int(strides[number])
            taken = range(operand.shape[axis])[int(starts[number]) : int(ends[number]) : step]
            operand = operand.sliced(axis % len(operand.shape), taken.start if len(taken) else 0, len(taken), step)
        self.bind(node.outputs[0], operand)

    def split(self, node: ir.Node) -> None:
        """Split: a view for each part."""
        assert node.inputs[0] is not None
        operand, start = self.operand(node.inputs[0]), 0
        axis = node.attributes.get_int("axis", 0) % len(operand.shape)
        for output in node.outputs:
            extent = shape_of(output)[axis]
            self.bind(output, operand.sliced(axis, start, extent))
            start += extent

    def concat(self, node: ir.Node) -> None:
        """Concat: each part is copied into its place."""
        parts = [self.operand(value) for value in node.inputs if value is not None]
        y = self.new(node.outputs[0], parts[0].order())
        axis = node.attributes.get_int("axis", 0) % len(y.shape)
        start = 0
        for part in parts:
            place = y.sliced(axis, start, part.shape[axis])
            self._copy(node, part, place)
            start += part.shape[axis]

    def pad(self, node: ir.Node) -> None:
        """Pad with a constant: fill, then copy what is inside."""
        value, pads = node.inputs[0], self.argument(node, 1)
        if node.attributes.get_string("mode", "constant") != "constant" or pads is None or value is None:
            raise self.refusal(node, "pads otherwise than by constant numbers of a constant")
        operand, fill = self.operand(value), self.argument(node, 2)
        axes = self.argument(node, 3)
        rank = len(operand.shape)
        chosen = range(rank) if axes is None else [int(axis) % rank for axis in axes]
        y = self.new(node.outputs[0], operand.order())
        number = 0.0 if fill is None else float(fill.reshape(-1)[0])
        self.steps.append(steps.Fill(self.function(node), self.comment(node), (), y, number))
        place = y
        for index, axis in enumerate(chosen):
            before, after = int(pads[index]), int(pads[index + len(chosen)])
            if before < 0 or after < 0:
                raise self.refusal(node, "has negative pads")
            place = place.sliced(axis, before, operand.shape[axis])
        self._copy(node, operand, place)

    def _copy(self, node: ir.Node, source: Operand, place: Operand) -> None:
        text = f"{node.op_type}: {list(source.shape)} into its place"
        self.steps.append(
            steps.Pointwise(self.function(node), text, (source,), place, (Applied("{0}", (source,)),))
        )

    def softmax(self, node: ir.Node) -> None:
        """Softmax along one axis."""
        assert node.inputs[0] is not None
        x = self.operand(node.inputs[0])
        y = self.new(node.outputs[0], x.order())
        axis = node.attributes.get_int("axis", -1) % len(x.shape)
        self.steps.append(steps.Softmax(self.function(node), self.comment(node), (x,), y, axis))

    def reduce(self, node: ir.Node) -> None:
        """ReduceMean and its kin; over all spatial axes of an image it is a global pool."""
        assert node.inputs[0] is not None
        x = self.operand(node.inputs[0])
        rank = len(x.shape)
        axes = node.attributes.get_ints("axes") or self.argument(node, 1)
        if axes is None and len(node.inputs) > 1 and node.inputs[1] is not None:
            raise self.refusal(node, "needs constant axes")
        if axes is None or len(axes) == 0:
            if node.attributes.get_int("noop_with_empty_axes", 0):
                return self.identity(node)
            axes = range(rank)
        chosen = tuple(sorted(int(axis) % rank for axis in axes))
        shape = tuple(1 if axis in chosen else extent for axis, extent in enumerate(x.shape))
        kind = node.op_type.removeprefix("Reduce")
        result = node.outputs[0]
        y = row_major(self.buffer(result, shape), shape)
        self.steps.append(steps.Reduce(self.function(node), self.comment(node), (x,), y, chosen, kind))
        reshaped = y.reshaped(shape_of(result))
        assert reshaped is not None
        self.bind(result, reshaped)
        return None

    # products

    def conv(self, node: ir.Node) -> None:
        """Conv with constant weights, what follows it, and a pool behind that."""
        weights, bias = self.argument(node, 1), self.argument(node, 2)
        if weights is None or (len(node.inputs) > 2 and node.inputs[2] is not None and bias is None):
            raise self.refusal(node, "has computed weights")
        value = node.inputs[0]
        assert value is not None
        groups = node.attributes.get_int("group", 1)
        axes = self._windows(node, shape_of(value)[2:], shape_of(node.outputs[0])[2:], weights.shape[2:])
        taps = [axis.kernel for axis in axes]
        outputs, inputs = weights.shape[:2]
        moved = np.moveaxis(weights.reshape(groups, outputs // groups, inputs, *taps), (1, 2), (-1, -2))
        if groups > 1 and inputs == 1 and outputs == groups:  # depthwise
            moved = moved.reshape(groups, *taps).transpose(1, 2, 3, 0).reshape(1, *taps, 1, groups)
        x = self.channels_last(value)
        self._product(node, x, shape_of(value)[0], axes, moved, bias, depthwise=groups > 1 and inputs == 1 == outputs // groups)

    def _windows(self, node: ir.Node, inputs: Shape, outputs: Shape, kernel: Sequence[int]) -> tuple[Axis, Axis, Axis]:
        """The spatial axes of a convolution or pool, three of them: those that are missing have one element."""
        rank = len(inputs)
        if rank > 3:
            raise self.refusal(node, f"has {rank} spatial axes, not 1 to 3")
        ones = (1,) * rank
        strides = node.attributes.get_ints("strides") or ones
        dilations = node.attributes.get_ints("dilations") or ones
        pads = list(node.attributes.get_ints("pads") or (0,) * rank)[:rank]
        automatic = node.attributes.get_string("auto_pad", "NOTSET")
        if automatic in {"SAME_UPPER", "SAME_LOWER"}:
            totals = [
                max(0, (out - 1) * stride + (size - 1) * dilation + 1 - extent)
                for extent, out, size, stride, dilation in zip(inputs, outputs, kernel, strides, dilations, strict=True)
            ]
            pads = [total // 2 if automatic == "SAME_UPPER" else total - total // 2 for total in totals]
        axes = [
            Axis(*each) for each in zip(inputs, outputs, kernel, strides, pads, dilations, strict=True)
        ]
        missing = [Axis(1, 1)] * (3 - rank)
        depth, height, width = [*missing, *axes]
        return depth, height, width

    def gemm(self, node: ir.Node) -> None:
        """α·A·B + β·C with constant B, and what follows it."""
        a, b = node.inputs[0], node.inputs[1]
        assert a is not None
        assert b is not None
        matrix = self.known(b)
        if matrix is None:
            raise self.refusal(node, "has computed weights; MatMul may")
        real, flag = node.attributes.get_float, node.attributes.get_int
        matrix = matrix.T if flag("transB", 0) else matrix
        if (rows := self._rows.get(a)) is not None:
            matrix = matrix[rows]
        x = self.operand(a)
        x = x.transposed((1, 0)) if flag("transA", 0) else x
        scaled = np.asarray(matrix * np.float32(real("alpha", 1.0)), np.float32)
        bias, beta = self.argument(node, 2), np.float32(real("beta", 1.0))
        if bias is None and len(node.inputs) > 2 and node.inputs[2] is not None:
            raise self.refusal(node, "has a computed C; write it as an Add")
        if bias is not None and (bias.size == 1 or bias.shape[-1:] == (bias.size,)):
            self._matrix(node, x, scaled, np.broadcast_to(bias.reshape(-1) * beta, scaled.shape[1:]), None)
        else:
            self._matrix(node, x, scaled, None, None if bias is None else bias * beta)

    def matmul(self, node: ir.Node) -> None:
        """A·B; with a constant matrix B as a product with weights."""
        a, b = node.inputs[0], node.inputs[1]
        assert a is not None
        assert b is not None
        matrix = self.known(b)
        if matrix is None or matrix.ndim != 2 or len(shape_of(a)) < 2:
            return self._general_matmul(node, a, b)
        if (rows := self._rows.get(a)) is not None:
            matrix = matrix[rows]
        self._matrix(node, self.operand(a), matrix, None, None)
        return None

    def _general_matmul(self, node: ir.Node, a: ir.Value, b: ir.Value) -> None:
        x, y = self.operand(a), self.operand(b)
        x = dataclasses.replace(x, shape=(1, *x.shape), strides=(0, *x.strides)) if len(x.shape) == 1 else x
        y = dataclasses.replace(y, shape=(*y.shape, 1), strides=(*y.strides, 0)) if len(y.shape) == 1 else y
        lead = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
        shape = (*lead, x.shape[-2], y.shape[-1])
        result = node.outputs[0]
        z = row_major(self.buffer(result, shape), shape)
        operands = x.broadcast((*lead, *x.shape[-2:])), y.broadcast((*lead, *y.shape[-2:]))
        self.steps.append(steps.MatrixProduct(self.function(node), self.comment(node), operands, z))
        reshaped = z.reshaped(shape_of(result))
        assert reshaped is not None
        self.bind(result, reshaped)

    def _matrix(self, node: ir.Node, x: Operand, matrix: Array, bias: Array | None, addend: Array | None) -> None:
        packed = self.copied(x, range(len(x.shape)), x.buffer.name)
        positions = prod(x.shape[:-1])
        weights = matrix.reshape(1, 1, 1, 1, *matrix.shape)
        axes = (Axis(1, 1), Axis(1, 1), Axis(positions, positions))
        first = []
        if addend is not None:
            shape = shape_of(node.outputs[0])
            first = [Applied("{0} + {1}", (None, self.constant(f"{node.name}_bias", addend).broadcast(shape)))]
        self._product(node, packed, 1, axes, weights, bias, first=first)

    def _product(
        self,
        node: ir.Node,
        x: Operand,
        images: int,
        axes: tuple[Axis, Axis, Axis],
        weights: Array,
        bias: Array | None,
        *,
        first: Sequence[Applied] = (),
        depthwise: bool = False,
    ) -> None:
        rank = len(shape_of(node.outputs[0]))
        order = channels_last_order(rank) if node.op_type == "Conv" else tuple(range(rank))
        before, nodes = self.chain(node, order)
        pool, after = (None, []) if depthwise or node.op_type != "Conv" else self._pool_behind(nodes, axes)
        while pool is not None and pool.kind == "Max" and before and before[-1].rises:
            after.insert(0, before.pop())  # max f(x) = f(max x)
        y = self.new(nodes[-1].outputs[0], order)
        if pool is None and all((axis.kernel, axis.stride, axis.pad) == (1, 1, 0) for axis in axes):
            positions = images * prod(axis.outputs for axis in axes)
            images, axes = 1, (Axis(1, 1), Axis(1, 1), Axis(positions, positions))
        given: Any = (
            *(self.function(node), self.comment(*nodes), (x,), y),
            *(images, axes, weights.astype(np.float32), None if bias is None else bias.astype(np.float32)),
            *((*first, *before), pool, tuple(after)),
        )
        self.steps.append(_kind(products.Product(*given), depthwise)(*given))

    def _pool_behind(
        self, nodes: list[ir.Node], axes: tuple[Axis, Axis, Axis]
    ) -> tuple[products.FusedPool | None, list[Applied]]:
        """The pool that alone reads the last of `nodes`, if its windows lie side by side; it is appended to `nodes`."""
        node = self._only_reader(nodes[-1].outputs[0])
        if node is None or node.op_type not in POOLS or len(node.outputs) > 1:
            return None, []
        value = nodes[-1].outputs[0]
        windows = self._pool_windows(node, value)
        if any(
            axis.reaches_over or axis.dilation > 1 or axis.stride != axis.kernel
            for axis in windows
            if axis.outputs > 1 or axis.kernel > 1
        ) or any(axis.outputs * axis.kernel > axis.inputs for axis in windows):
            return None, []
        self._done.add(node)
        after, behind = self.chain(node, channels_last_order(len(shape_of(value))))
        nodes += behind
        del axes
        return products.FusedPool(_pool_kind(node), tuple(axis.kernel for axis in windows)), after

    def _pool_windows(self, node: ir.Node, value: ir.Value) -> tuple[Axis, Axis, Axis]:
        inputs, outputs = shape_of(value)[2:], shape_of(node.outputs[0])[2:]
        if node.op_type.startswith("Global"):
            whole = tuple(Axis(extent, 1, extent, extent) for extent in inputs)
            if len(whole) > 3:
                raise self.refusal(node, "has more than 3 spatial axes")
            depth, height, width = (*[Axis(1, 1)] * (3 - len(whole)), *whole)
            return depth, height, width
        return self._windows(node, inputs, outputs, node.attributes.get_ints("kernel_shape"))

    def pool(self, node: ir.Node) -> None:
        """A pool that no convolution has taken up."""
        if len(node.outputs) > 1 and node.outputs[1].uses():
            raise self.refusal(node, "has Indices as its second output")
        value = node.inputs[0]
        assert value is not None
        axes = self._pool_windows(node, value)
        x = self.channels_last(value)
        after, nodes = self.chain(node, channels_last_order(len(x.shape)))
        y = self.new(nodes[-1].outputs[0], channels_last_order(len(x.shape)))
        pads = list(node.attributes.get_ints("pads", ()))
        ends = [0] * (3 - len(pads) // 2) + pads[len(pads) // 2 :]
        padded = tuple(axis.inputs + axis.pad + end for axis, end in zip(axes, ends, strict=True))
        self.steps.append(
            pools.Pool(
                *(self.function(node), self.comment(*nodes), (x,), y, _pool_kind(node), x.shape[0], x.shape[1], axes),
                bool(node.attributes.get_int("count_include_pad", 0)),
                (padded[0], padded[1], padded[2]),
                tuple(after),
            )
        )

    def _output(self, value: ir.Value) -> Buffer:
        """The buffer that the caller gives for an output: its tensor's own, or one that it is copied into."""
        operand = self.operand(value)
        if operand.buffer.kind == "scratch" and operand.is_whole():
            operand.buffer.kind = "output"
            return operand.buffer
        buffer = Buffer(self._ports[value], operand.size, "output")
        function = identifier(f"write_{value.name}", self.names)
        text = f"Copy: {list(operand.shape)}, row by row"
        place = row_major(buffer, operand.shape)
        self.steps.append(steps.Pointwise(function, text, (operand,), place, (Applied("{0}", (operand,)),)))
        return buffer

    def refusal(self, node: ir.Node, reason: str) -> InputError:
        """The error that says why a node can not be written as C."""
        return InputError(
            f"{self.model_name}: {node.op_type} ({node.name}) {reason}, which the targets c and wasm do not support; "
            "choose another target: python, node, web or c-ort"
        )


def shape_of(value: ir.Value) -> Shape:
    """The shape of a tensor, all of it known."""
    assert value.shape is not None, value
    return tuple(int(extent) for extent in value.shape)


def shape_text(value: ir.Value) -> str:
    """`[32, 26, 26]`: without the batch of one."""
    return str(list(shape_of(value)))


def _real_strides(operand: Operand) -> list[int]:
    return [stride for extent, stride in zip(operand.shape, operand.strides, strict=True) if extent > 1]


def _pool_kind(node: ir.Node) -> str:
    return "Max" if node.op_type.endswith("MaxPool") else "Average"


def _kind(product: products.Product, depthwise: bool) -> type[products.Product]:
    if depthwise:
        return products.Depthwise
    if product.axes[-1].outputs == 1 == product.taps * product.images and product.channels <= NARROW:
        return products.Vector
    return products.FewTaps if products.FewTaps.takes(product) else products.Tiled


def unsupported(graph: ir.Graph) -> Iterator[ir.Node]:
    """The nodes that there is no rule for."""
    return (node for node in graph if node.domain not in {"", "ai.onnx"} or node.op_type not in RULES)


RISING = {"Add", "Clip", "Max", "Min", "Relu", "Sum"}
"""Operators that keep the order of numbers, exactly, if their other operands stay the same."""

POOLS = {"AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool"}

RULES: dict[str, Callable[[Lowering, ir.Node], None]] = {
    **dict.fromkeys(POINTWISE, Lowering.pointwise),
    **dict.fromkeys(POOLS, Lowering.pool),
    **dict.fromkeys(("Flatten", "Reshape", "Squeeze", "Unsqueeze"), Lowering.view),
    **dict.fromkeys(("Identity", "Dropout"), Lowering.identity),
    **dict.fromkeys(("ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum"), Lowering.reduce),
    "Concat": Lowering.concat,
    "Conv": Lowering.conv,
    "Gemm": Lowering.gemm,
    "MatMul": Lowering.matmul,
    "Pad": Lowering.pad,
    "Slice": Lowering.slice,
    "Softmax": Lowering.softmax,
    "Split": Lowering.split,
    "Transpose": Lowering.transpose,
}
