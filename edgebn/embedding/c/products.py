"""Products with constant weights: convolutions, Gemm and MatMul, with what follows element by element, and a pool.

Tensors have their channels last, so that the weights of neighbouring channels fill a vector. y[pixel][channel] is

    after(pool over a window of before(bias[channel] + Σ_taps Σ_inputs x[pixel, tap][input] · w[tap][input][channel]))
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

from edgebn.embedding.c.kernels import Kernel
from edgebn.embedding.c.memory import Buffer
from edgebn.embedding.c.steps import Applied, Array, Names, Step, exponentials, expression
from edgebn.embedding.c.text import Code, Index, add, multiply
from edgebn.embedding.c.windows import Axis


@dataclass(frozen=True)
class FusedPool:
    """A pool whose windows lie side by side: (1, height, width) in positions of the product."""

    kind: str
    window: tuple[int, ...]


class Place(NamedTuple):
    """The number of a pixel, and of a channel."""

    pixel: Index
    channel: Index


@dataclass(eq=False)
class Product(Step):
    """A product over windows of `axes`, the last of which is the fastest. A matrix product has one tap.

    `weights` (groups, *taps, inputs, channels of a group), `bias` (channels). The operands of `before` and `after` are
    strided along (pixel, channel). `images` is how many there are in the batch.
    """

    images: int
    axes: tuple[Axis, Axis, Axis]
    weights: Array
    bias: Array | None
    before: tuple[Applied, ...]
    pool: FusedPool | None
    after: tuple[Applied, ...]

    @property
    def groups(self) -> int:
        """Groups of channels that do not mix."""
        return int(self.weights.shape[0])

    @property
    def inputs(self) -> int:
        """Input channels of a group."""
        return int(self.weights.shape[-2])

    @property
    def outputs(self) -> int:
        """Output channels of a group."""
        return int(self.weights.shape[-1])

    @property
    def channels(self) -> int:
        """Output channels."""
        return self.groups * self.outputs

    @property
    def taps(self) -> int:
        """Elements of a kernel."""
        return prod(axis.kernel for axis in self.axes)

    @property
    def window(self) -> tuple[int, ...]:
        """Positions along each axis that make one pixel of the result."""
        return self.pool.window if self.pool else (1, 1, 1)

    @property
    def extents(self) -> list[int]:
        """Pixels of the result along each axis."""
        return [axis.outputs // size for axis, size in zip(self.axes, self.window, strict=True)]

    @property
    def padded(self) -> bool:
        """Whether some window reaches over the border."""
        return any(axis.reaches_over for axis in self.axes)

    def buffers(self) -> list[Buffer]:
        """What it reads: its input, and what its operations read."""
        applied = [each for operation in (*self.before, *self.after) for each in operation.buffers()]
        return list(dict.fromkeys([self.reads[0].buffer, *applied]))

    def kernels(self) -> Sequence[Kernel]:
        """The inner loops that it calls."""
        return exponentials((*self.before, *self.after))

    def store(
        self,
        code: Code,
        operations: Sequence[Applied],
        value: str,
        place: Place,
        names: Names,
        target: str | None = None,
    ) -> None:
        """`target` (y[pixel][channel], unless it is known by another name) = what the operations make of `value`."""
        if target is None:
            target = f"{names(self.writes.buffer)}[{add(multiply(place.pixel, self.channels), place.channel)}]"
        if operations:
            self.declare(code, operations[:-1], value, place, names)
            value = self._expression(operations[-1], place, names)
        code(f"{target} = {value};")

    def declare(self, code: Code, operations: Sequence[Applied], value: str, place: Place, names: Names) -> None:
        """Declare `value`, and what the operations make of it."""
        code(f"{'float' if operations else 'const float'} value = {value};")
        code(*(f"value = {self._expression(operation, place, names)};" for operation in operations))

    def _expression(self, operation: Applied, place: Place, names: Names) -> str:
        where = {each: each.strides for each in operation.operands if each is not None}
        return expression(operation, where, (place.pixel, place.channel), names)


def named_bias(product: Product) -> Mapping[str, Array]:
    """The bias by its C name, if there is one."""
    return {} if product.bias is None else {f"{product.name}_bias": product.bias}


def bias(product: Product, channel: Index) -> str:
    """The bias of a channel."""
    return "0.0f" if product.bias is None else f"{product.name}_bias[{channel}]"


def pooling(kind: str, pooled: str, value: str) -> str:
    """The statement by which a value joins a window."""
    if kind == "Average":
        return f"{pooled} += {value};"
    return f"{pooled} = {pooled} < {value} ? {value} : {pooled};"


def position_number(product: Product, image: Index, position: Sequence[Index]) -> Index:
    """The number of a position: its pixel, if nothing were pooled."""
    number: Index = image
    for axis, index in zip(product.axes, position, strict=True):
        number = add(multiply(number, axis.outputs), index)
    return number


def element(product: Product, image: Index, place: Sequence[Index], channel: Index, dense: int | None = None) -> Index:
    """Where an input element lies, in floats from x."""
    depth, height, width = (axis.inputs for axis in product.axes)
    dense = dense or product.groups * product.inputs
    sizes = [depth * height * width * dense, height * width * dense, width * dense, dense]
    terms = [multiply(index, size) for index, size in zip((image, *place), sizes, strict=True)]
    return add(*terms, channel, product.reads[0].offset)


@contextlib.contextmanager
def row_loops(code: Code, product: Product) -> Iterator[tuple[Index, list[Index], Index]]:
    """Loop over images and all axes but the last: the image, the indices, and the row's number."""
    depth, height = product.extents[:2]
    with (
        code.loop("sample", product.images) as image,
        code.loop("slice", depth) as plane,
        code.loop("row", height) as row,
    ):
        yield image, [plane, row], add(multiply(add(multiply(image, depth), plane), height), row)


@contextlib.contextmanager
def pixel_loops(code: Code, product: Product) -> Iterator[tuple[Index, list[Index], Index]]:
    """Loop over every pixel of the result: the image, the indices, and the pixel's number."""
    width = product.extents[-1]
    with row_loops(code, product) as (image, place, row), code.loop("column", width) as column:
        yield image, [*place, column], add(multiply(row, width), column)
