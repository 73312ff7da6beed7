"""The steps of a program. Each becomes one C function that reads tensors and writes one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from edgebn.embedding.c.functions import called
from edgebn.embedding.c.kernels import Kernel
from edgebn.embedding.c.memory import Buffer, Operand
from edgebn.embedding.c.text import Code, Index, add, literal, multiply
from edgebn.embedding.ports import FLOAT

Names = Callable[[Buffer], str]
"""The C name of a buffer inside of a step's function."""

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Applied:
    """One expression on the value at hand (None) and on tensors that are strided along the loops of a step.

    `rises`: whether larger values give larger results, in every pixel by the same law.
    """

    expression: str
    operands: tuple[Operand | None, ...]
    rises: bool = False

    def buffers(self) -> Iterator[Buffer]:
        """The buffers that it reads, without constants of one element, which become literals."""
        yield from (each.buffer for each in self.operands if each is not None and not _is_literal(each))


@dataclass(eq=False)
class Step:
    """`reads` are the tensors that it reads, the main one first; `writes` is the one that it writes."""

    name: str
    comment: str
    reads: tuple[Operand, ...]
    writes: Operand

    def buffers(self) -> list[Buffer]:
        """What it reads, each once, the main one first."""
        return list(dict.fromkeys(each.buffer for each in self.reads))

    def arrays(self) -> Mapping[str, Array]:
        """Constants of its own, by their C names."""
        return {}

    def kernels(self) -> Sequence[Kernel]:
        """The functions that it calls."""
        return ()

    def stack(self) -> int:
        """Bytes of arrays on the stack: its own, and those of the kernel that has most."""
        return max((kernel.stack() for kernel in self.kernels()), default=0)

    def replaced(self) -> Buffer | None:
        """What the result may lie in the place of, if that is not read later: it is read element by element."""
        return None

    def emit(self, code: Code, names: Names) -> None:
        """Write the body of its function."""
        raise NotImplementedError


@dataclass(eq=False)
class Pointwise(Step):
    """y = f(a, b, …) element by element. The operands of `operations` have the shape of the result."""

    operations: tuple[Applied, ...]

    def buffers(self) -> list[Buffer]:
        """What it reads: its input, and what its operations read."""
        return list(dict.fromkeys(each for operation in self.operations for each in operation.buffers()))

    def kernels(self) -> Sequence[Kernel]:
        """The inner loops that it calls."""
        return exponentials(self.operations)

    def replaced(self) -> Buffer | None:
        """Its first input, if every element of it is read where its result is written."""
        mine = [each for operation in self.operations for each in operation.operands if each is not None]
        buffer = self.reads[0].buffer if self.reads else None
        same = [each for each in mine if each.buffer is buffer]
        fits = buffer is not None and buffer.size == self.writes.buffer.size
        return buffer if same and fits and all(each.lies_as(self.writes) for each in same) else None

    def emit(self, code: Code, names: Names) -> None:
        """Write the loops."""
        tensors = [each for operation in self.operations for each in operation.operands if each is not None]
        extents, strides = loops((self.writes, *tensors))
        where = dict(zip((self.writes, *tensors), strides, strict=True))
        with nest(code, extents) as index:
            place = f"{names(self.writes.buffer)}[{address(self.writes, where[self.writes], index)}]"
            first = self.operations[0]
            if len(self.operations) == 1:
                text = expression(first, where, index, names)
                kind = self.writes.buffer.type
                code(f"{place} = {text if kind == FLOAT.c else f'({kind})({text})'};")
                return
            kind = "float" if len(self.operations) > 2 else "const float"
            code(f"{kind} value = {expression(first, where, index, names)};")
            for operation in self.operations[1:-1]:
                code(f"value = {expression(operation, where, index, names)};")
            code(f"{place} = {expression(self.operations[-1], where, index, names)};")


@dataclass(eq=False)
class Fill(Step):
    """y = the same number everywhere, before other steps write into parts of it."""

    value: float

    def emit(self, code: Code, names: Names) -> None:
        """Write the loops."""
        with code.loop("i", self.writes.buffer.size) as i:
            code(f"{names(self.writes.buffer)}[{i}] = {literal(self.value)};")


@dataclass(eq=False)
class Softmax(Step):
    """y = exp(x − max x) / Σ exp(x − max x) along one axis; or its logarithm, x − max x − log Σ exp(x − max x)."""

    axis: int
    logarithmic: bool = False

    def kernels(self) -> Sequence[Kernel]:
        """The inner loops that it calls."""
        return [Kernel(name) for name in called("logarithm exponential" if self.logarithmic else "exponential")]

    def replaced(self) -> Buffer | None:
        """Its input, if every element is read where its result is written."""
        x = self.reads[0]
        return x.buffer if x.lies_as(self.writes) and x.buffer.size == self.writes.buffer.size else None

    def emit(self, code: Code, names: Names) -> None:
        """Write the loops."""
        x, y = self.reads[0], self.writes
        rest = [axis for axis in range(len(x.shape)) if axis != self.axis]
        extents, strides = loops((x.transposed(rest), y.transposed(rest)))
        with nest(code, extents) as index:
            source, target = (
                f"{names(each.buffer)}[{add(address(each, stride, index), multiply('r', each.strides[self.axis]))}]"
                for each, stride in zip((x, y), strides, strict=True)
            )
            first = f"{names(x.buffer)}[{address(x, strides[0], index)}]"
            code(f"float largest = {first}, sum = 0.0f;")
            every, others = (f"for (int r = {first}; r < {x.shape[self.axis]}; r++)" for first in (0, 1))
            code(others, f"    largest = largest < {source} ? {source} : largest;")
            if self.logarithmic:
                code(every, f"    sum += exponential({source} - largest);", "const float rest = logarithm(sum);")
                code(every, f"    {target} = {source} - largest - rest;")
                return
            with code.block(every):
                code(f"{target} = exponential({source} - largest);", f"sum += {target};")
            code(every, f"    {target} /= sum;")


@dataclass(eq=False)
class ArgMax(Step):
    """y = the index of the largest x along one axis; of several that are largest the first, or the `last`.

    `writes` keeps this axis, with one element.
    """

    axis: int
    last: bool

    def emit(self, code: Code, names: Names) -> None:
        """Write the loops."""
        x, y = self.reads[0], self.writes
        rest = [axis for axis in range(len(x.shape)) if axis != self.axis]
        extents, strides = loops((x.transposed(rest), y.transposed(rest)))
        with nest(code, extents) as index:
            start = address(x, strides[0], index)
            largest, other = (
                f"{names(x.buffer)}[{add(start, multiply(each, x.strides[self.axis]))}]" for each in ("best", "r")
            )
            code("int best = 0;")
            with code.block(f"for (int r = 1; r < {x.shape[self.axis]}; r++)"):
                code(f"best = {largest} {'<=' if self.last else '<'} {other} ? r : best;")
            code(f"{names(y.buffer)}[{address(y, strides[1], index)}] = ({y.buffer.type})best;")


JOINING = {
    "L1": "value += {0} < 0.0f ? -{0} : {0};",
    "L2": "value += {0} * {0};",
    "Max": "value = value < {0} ? {0} : value;",
    "Mean": "value += {0};",
    "Min": "value = value > {0} ? {0} : value;",
    "Sum": "value += {0};",
    "SumSquare": "value += {0} * {0};",
}
"""How an element joins the value of a reduction."""


@dataclass(eq=False)
class Reduce(Step):
    """y = the sum, mean, largest … of x along some axes. `writes` keeps these axes, with one element."""

    axes: tuple[int, ...]
    kind: str

    def kernels(self) -> Sequence[Kernel]:
        """The inner loops that it calls."""
        return [Kernel(name) for name in called("square_root" if self.kind == "L2" else "")]

    def emit(self, code: Code, names: Names) -> None:
        """Write the loops."""
        x, y = self.reads[0], self.writes
        kept = [axis for axis in range(len(x.shape)) if axis not in self.axes]
        outer, strides = loops((x.transposed(kept), y.transposed(kept)))
        inner, inner_strides = loops((x.transposed(self.axes),))
        with nest(code, outer) as index:
            start = address(x, strides[0], index)
            initial = f"{names(x.buffer)}[{start}]" if self.kind in {"Max", "Min"} else "0.0f"
            code(f"float value = {initial};")
            with nest(code, inner, "rstuvw") as inner_index:
                element = f"{names(x.buffer)}[{add(start, offset(inner_strides[0], inner_index))}]"
                code(JOINING[self.kind].format(element))
            mean = f" / {literal(prod(x.shape[axis] for axis in self.axes))}" if self.kind == "Mean" else ""
            value = "square_root(value)" if self.kind == "L2" else f"value{mean}"
            code(f"{names(y.buffer)}[{address(y, strides[1], index)}] = {value};")


@dataclass(eq=False)
class MatrixProduct(Step):
    """Y = A·B where both are computed. Shapes: A (…, m, k), B (…, k, n), Y (…, m, n), leading axes broadcast."""

    def emit(self, code: Code, names: Names) -> None:
        """Write the loops."""
        a, b = self.reads
        y = self.writes
        (m, k), n = a.shape[-2:], b.shape[-1]
        lead = tuple(range(len(y.shape) - 2))
        extents, strides = loops([each.transposed(lead) for each in (a, b, y)])
        pointer = [names(each.buffer) for each in (a, b, y)]
        with nest(code, extents, "pqrs") as index, code.loop("i", m) as i:
            rows = [address(each, stride, index) for each, stride in zip((a, b, y), strides, strict=True)]
            row = add(rows[2], multiply(i, y.strides[-2]))
            result = f"{pointer[2]}[{add(row, multiply('j', y.strides[-1]))}]"
            left = f"{pointer[0]}[{add(rows[0], multiply(i, a.strides[-2]), multiply('l', a.strides[-1]))}]"
            right = f"{pointer[1]}[{add(rows[1], multiply('l', b.strides[-2]), multiply('j', b.strides[-1]))}]"
            code(f"for (int j = 0; j < {n}; j++)", f"    {result} = 0.0f;")
            with code.block(f"for (int l = 0; l < {k}; l++)"):
                code(f"for (int j = 0; j < {n}; j++)", f"    {result} += {left} * {right};")


def loops(operands: Sequence[Operand]) -> tuple[list[int], list[list[int]]]:
    """The fewest loops that visit every element of all operands, which are of one shape, slowest first.

    Returns their extents, and for each operand its strides along them. The order is that of the last operand's memory
    if there is one of several, else of the first.
    """
    leader = operands[0]
    axes = [axis for axis in leader.order() if leader.shape[axis] > 1]
    extents: list[int] = []
    strides: list[list[int]] = [[] for _ in operands]
    for axis in axes:
        extent = leader.shape[axis]
        steps = [operand.strides[axis] for operand in operands]
        if extents and all(own[-1] == extent * step for own, step in zip(strides, steps, strict=True)):
            extents[-1] *= extent
            for own, step in zip(strides, steps, strict=True):
                own[-1] = step
        else:
            extents.append(extent)
            for own, step in zip(strides, steps, strict=True):
                own.append(step)
    return extents, strides


class nest:  # noqa: N801
    """Nested loops over `extents`; the context is the tuple of their indices, `letters` and then numbered ones."""

    def __init__(self, code: Code, extents: Sequence[int], letters: str = "ijklmn") -> None:
        more = (f"{letters[0]}{number}" for number in range(len(letters), len(extents)))
        self._loops = [code.loop(index, extent) for index, extent in zip((*letters, *more), extents, strict=False)]

    def __enter__(self) -> tuple[Index, ...]:
        return tuple(loop.__enter__() for loop in self._loops)

    def __exit__(self, *error: object) -> None:
        for loop in reversed(self._loops):
            loop.__exit__(None, None, None)


def offset(strides: Sequence[int], index: Sequence[Index]) -> Index:
    """Σ index·stride."""
    return add(*(multiply(each, stride) for each, stride in zip(index, strides, strict=True)))


def address(operand: Operand, strides: Sequence[int], index: Sequence[Index]) -> Index:
    """Where the element at `index` lies in the operand's buffer."""
    return add(offset(strides, index), operand.offset)


def expression(
    operation: Applied, strides: Mapping[Operand, Sequence[int]], index: Sequence[Index], names: Names
) -> str:
    """The operation as C. `strides` are those of its operands along the loops with the given indices."""
    return operation.expression.format(
        *("value" if each is None else _element(each, strides[each], index, names) for each in operation.operands)
    )


def exponentials(operations: Sequence[Applied]) -> Sequence[Kernel]:
    """The functions of one number that operations call."""
    return [Kernel(name) for name in called(" ".join(each.expression for each in operations))]


def _element(operand: Operand, strides: Sequence[int], index: Sequence[Index], names: Names) -> str:
    if _is_literal(operand):
        text = literal(np.asarray(operand.buffer.data).reshape(-1)[operand.offset])
        return f"({text})" if text.startswith("-") else text
    return f"{names(operand.buffer)}[{address(operand, strides, index)}]"


def _is_literal(operand: Operand) -> bool:
    return operand.buffer.kind == "constant" and all(
        stride == 0 or extent == 1 for extent, stride in zip(operand.shape, operand.strides, strict=True)
    )
