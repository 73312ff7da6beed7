"""The whole C program: steps, what they share, and where in memory their tensors lie."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path

import onnx_ir as ir

from edgebn.embedding.c.functions import FUNCTIONS
from edgebn.embedding.c.kernels import Kernel
from edgebn.embedding.c.lowering import Lowering, shape_of
from edgebn.embedding.c.memory import Buffer, place
from edgebn.embedding.c.normalisation import spell_out_normalisations
from edgebn.embedding.c.rules import RULES, unsupported
from edgebn.embedding.c.steps import Array, Step
from edgebn.embedding.c.text import Code, literals, wrapped
from edgebn.embedding.c.written_out import Streamed
from edgebn.embedding.ports import TYPES
from edgebn.errors import InputError
from edgebn.tidying import fold_constants, name_nodes, prepare

FRAME = 768
"""Bytes of stack allowed beside arrays: return addresses, saved registers and what is spilled; 632 seen, by gcc -O3."""

PASSED = {each for types in TYPES.values() for each in types}
"""Types of numbers that the caller may give or get."""

PASSING = {"Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}
"""Operators that do not mind what they move."""

QUANTISED = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinear", "Integer")


@dataclass(eq=False)
class Program:
    """Steps in order."""

    steps: list[Step]

    # memory

    @cached_property
    def merged(self) -> dict[Buffer, Buffer]:
        """Buffers whose floats are overwritten by the step that reads them last: where its result lies."""
        last_read = {buffer: step for step in self.steps for buffer in step.buffers()}
        found: dict[Buffer, Buffer] = {}
        begun: set[Buffer] = set()
        for step in self.steps:
            result, first = step.writes.buffer, step.writes.buffer not in begun
            begun.add(result)
            buffer = step.replaced() if first else None
            if buffer is None or buffer.kind != "scratch":
                continue
            if last_read.get(buffer) is step and buffer.type == result.type:
                found[buffer] = result
        return found

    def home(self, buffer: Buffer) -> Buffer:
        """The buffer in whose place a buffer lies."""
        while buffer in self.merged:
            buffer = self.merged[buffer]
        return buffer

    @cached_property
    def _placed(self) -> tuple[dict[Buffer, int], int]:
        first: dict[Buffer, int] = {}
        last: dict[Buffer, int] = {}
        for number, step in enumerate(self.steps):
            for buffer in map(self.home, (step.writes.buffer, *step.buffers())):
                if buffer.kind == "scratch":
                    first.setdefault(buffer, number)
                    last[buffer] = number
        return place([(buffer, first[buffer], last[buffer]) for buffer in first])

    @property
    def scratch(self) -> int:
        """Floats of scratch memory."""
        return self._placed[1]

    @property
    def stack(self) -> int:
        """Bytes of stack at most, where vectors have four floats or none; wider ones are spilled as well."""
        return max((step.stack() for step in self.steps), default=0) + FRAME

    @property
    def flash(self) -> int:
        """Bytes of constants."""
        return sum(4 * array.size for array in self.arrays.values())

    @cached_property
    def arrays(self) -> Mapping[str, Array]:
        """All constants by their C names."""
        named: dict[str, Array] = {}
        for step in self.steps:
            named.update(step.arrays())
            for buffer in step.buffers():
                if buffer.data is not None:
                    named[buffer.name] = buffer.data
        return named

    @cached_property
    def kernels(self) -> Sequence[Kernel]:
        """The functions that steps share."""
        order = {name: number for number, name in enumerate(FUNCTIONS)}
        used = {kernel for step in self.steps for kernel in step.kernels()}
        return sorted(used, key=lambda kernel: (order.get(kernel.kind, len(order)), kernel))

    # text

    def functions(self) -> Iterator[str]:
        """The C function of every step."""
        for step in self.steps:
            parameters = [f"const {each.type} *restrict {self._name(step, each)}" for each in self._passed(step)]
            body = Code(1)
            step.emit(body, lambda buffer, step=step: self._name(step, buffer))  # type: ignore[misc]
            code = Code()
            code(f"/* {step.comment} */")
            parameters.append(f"{self.home(step.writes.buffer).type} *restrict y")
            code(f"LAYER void {step.name}({', '.join(parameters)})")
            code("{", *body.lines, "}")
            yield str(code)

    def calls(self) -> Iterator[str]:
        """The body of the function that runs all steps."""
        for step in self.steps:
            arguments = [self._place(buffer) for buffer in (*self._passed(step), step.writes.buffer)]
            yield f"{step.name}({', '.join(arguments)});"

    def declarations(self) -> Iterator[str]:
        """Every constant, without its value."""
        return (f"static const float {name}[{array.size}];" for name, array in self.arrays.items())

    def definitions(self) -> Iterator[str]:
        """Every constant, with its value."""
        for name, array in self.arrays.items():
            values = "\n".join(f"    {line}" for line in wrapped(literals(array)))
            yield f"static const float {name}[{array.size}] = {{\n{values}\n}};"

    def kernel_texts(self) -> Iterator[str]:
        """The functions that steps share, as C."""
        return (kernel.text() for kernel in self.kernels)

    def _passed(self, step: Step) -> list[Buffer]:
        """What the step's function is given to read."""
        own = self.home(step.writes.buffer)
        return [buffer for buffer in step.buffers() if buffer.kind != "constant" and self.home(buffer) is not own]

    def _name(self, step: Step, buffer: Buffer) -> str:
        if self.home(buffer) is self.home(step.writes.buffer):
            return "y"
        if buffer.kind == "constant":
            return buffer.name
        return "x" if buffer is step.reads[0].buffer else buffer.name

    def _place(self, buffer: Buffer) -> str:
        home = self.home(buffer)
        if home.kind != "scratch":
            return home.port
        offset = self._placed[0][home]
        return f"scratch + {offset}" if offset else "scratch"


def compile_graph(model: ir.Model, path: Path, ports: Sequence[str], public: Collection[str] = ()) -> Program:
    """Write a model as a C program; its batch becomes one sample. `ports`: C names of its inputs and outputs.
    `public`: other C names that are taken.

    Raises:
        InputError: if an operator, a shape or a type has no C form here.
    """
    graph = model.graph
    for value in graph.inputs:
        _fix_batch(value)
    declared = [ir.Shape([*(value.shape or ())]) for value in graph.outputs]
    for value in graph.outputs:
        if value.producer() is not None:
            value.shape = None
    name_nodes(graph)
    prepare(model)
    if spell_out_normalisations(model) | fold_constants(model, widen=True):
        prepare(model)
    _check_operators(graph, path)
    _check_types(graph, path)
    for node in graph:
        for value in node.outputs:
            if value.shape is None or not all(isinstance(extent, int) for extent in value.shape):
                raise InputError(
                    f"{path}: the shape of {value.name} can not be told before it runs; use another target"
                )
            if 0 in shape_of(value):
                raise InputError(f"{path}: {value.name} is empty; there is nothing to compute in C")
    for value, shape in zip(graph.outputs, declared, strict=True):
        _check_declared(value, shape, path)
    return Program(_streamed(Lowering(graph, path.name, ports, public).run(RULES)))


def _check_types(graph: ir.Graph, path: Path) -> None:
    """Numbers that are not float only pass, from an input to a Cast, or from an ArgMax on."""
    for node in graph:
        made = [value for value in node.inputs if value is not None and ir.convenience.get_const_tensor(value) is None]
        for value in (*made, *node.outputs):
            passes = node.op_type in PASSING or (value in made and node.op_type == "Cast")
            passes = passes or (value not in made and node.op_type == "ArgMax")
            if value.dtype not in {None, ir.DataType.FLOAT} and not (passes and value.dtype in PASSED):
                raise InputError(
                    f"{path}: {node.op_type} ({node.name}) of {value.dtype.name.lower()} has no C here; "
                    "choose another target: web, c-ort, python or node"
                )


def _streamed(steps: Sequence[Step]) -> list[Step]:
    """The steps with those joined that need not store what lies between them."""
    readers = Counter(buffer for step in steps for buffer in step.buffers())
    found: list[Step] = []
    for step in steps:
        joined = Streamed.joined(found[-1], step) if found and readers[found[-1].writes.buffer] == 1 else None
        if joined is not None and found[-1].writes.buffer.kind == "scratch":
            found[-1] = joined
        else:
            found.append(step)
    return found


def _fix_batch(value: ir.Value) -> None:
    extents = list(value.shape or ())
    if extents and not isinstance(extents[0], int):
        value.shape = ir.Shape([1, *extents[1:]])


def _check_declared(value: ir.Value, declared: ir.Shape, path: Path) -> None:
    sample = [extent if isinstance(extent, int) else 1 for extent in declared]
    if prod(sample) != prod(shape_of(value)):
        raise InputError(
            f"{path}: output {value.name} is of shape {list(shape_of(value))} for one sample, but the file says "
            f"[{', '.join(map(str, declared))}]; only its first extent may be open, and must be the batch"
        )


def _check_operators(graph: ir.Graph, path: Path) -> None:
    nodes = list(unsupported(graph))
    strange = list(dict.fromkeys(node.op_type for node in nodes))
    if any(name.startswith(QUANTISED) or name.endswith(QUANTISED) for name in strange):
        raise InputError(
            f"{path}: is quantised ({', '.join(sorted(strange))}), and C is written in float32: "
            "embed the file that it was made from, or choose another target: python, node, web or c-ort"
        )
    if strange:
        more = f", nor for {', '.join(strange[1:4])}{' and others' * (len(strange) > 4)}" if strange[1:] else ""
        raise InputError(
            f"{path}: there is no C for {strange[0]} ({nodes[0].name}){more}; "
            "choose another target: web, c-ort, python or node"
        )
