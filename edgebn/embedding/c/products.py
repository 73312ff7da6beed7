"""Products with constant weights: convolutions, Gemm and MatMul, with what follows element by element, and a pool.

Tensors have their channels last, so that the weights of neighbouring channels fill a vector. y[pixel][channel] is

    after(pool over a window of before(bias[channel] + Σ_taps Σ_inputs x[pixel, tap][input] · w[tap][input][channel]))
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import NamedTuple

import numpy as np

from edgebn.embedding.c.kernels import LANES, Kernel
from edgebn.embedding.c.memory import Buffer
from edgebn.embedding.c.steps import Applied, Array, Names, Step, exponentials, expression
from edgebn.embedding.c.text import Code, Index, add, at, literal, multiply
from edgebn.embedding.c.windows import EDGES, Axis, Range

REGISTERS = 64
"""Floats that the vector registers hold as sums: eight registers of AVX2."""

FEW_TAPS = 16
MOST_AT_ONCE = 4
"""So many positions at once, of so few taps, are written out and leave nothing to loop over but the channels."""


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
        applied = [each for operation in (*self.before, *self.after) for each in operation.buffers()]
        return list(dict.fromkeys([self.reads[0].buffer, *applied]))

    def kernels(self) -> Sequence[Kernel]:
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


@dataclass(eq=False)
class Vector(Product):
    """x·W of one vector by a matrix of few columns: a dot product for each column, in lanes."""

    def kernels(self) -> Sequence[Kernel]:
        return [Kernel("dot", channels=self.channels), *super().kernels()]

    def stack(self) -> int:
        return 4 * self.channels

    def arrays(self) -> Mapping[str, Array]:
        matrix = self.weights.reshape(self.inputs, self.channels)
        lanes = np.zeros((-(-self.inputs // LANES) * LANES, self.channels), np.float32)
        lanes[: self.inputs] = matrix
        laid = lanes.reshape(-1, LANES, self.channels).transpose(0, 2, 1)
        return {f"{self.name}_weights": laid, **_named_bias(self)}

    def emit(self, code: Code, names: Names) -> None:
        n = self.channels
        code(f"float sums[{n}];")
        code(f"for (int n = 0; n < {n}; n++)", f"    sums[n] = {_bias(self, 'n')};")
        code(f"dot_{n}(x, {self.inputs}, {self.name}_weights, sums);")
        with code.block(f"for (int n = 0; n < {n}; n++)"):
            self.store(code, (*self.before, *self.after), "sums[n]", Place(0, "n"), names)


@dataclass(eq=False)
class FewTaps(Product):
    """A convolution of few taps without padding: every tap written out, all channels in one loop."""

    @staticmethod
    def takes(product: Product) -> bool:
        """Whether the product is of this kind."""
        positions = prod(product.window)
        return (
            product.taps > 1
            and product.taps * product.inputs <= FEW_TAPS
            and positions <= MOST_AT_ONCE
            and product.groups == 1
            and not product.padded
        )

    def arrays(self) -> Mapping[str, Array]:
        return {f"{self.name}_weights": self.weights.reshape(-1, self.channels), **_named_bias(self)}

    def emit(self, code: Code, names: Names) -> None:
        positions = list(np.ndindex(self.window))
        sums = [f"s{index}" for index in range(len(positions))]
        with _pixels(code, self) as (image, place, pixel):
            corner = _element(self, image, [
                multiply(index, axis.stride * size)
                for index, axis, size in zip(place, self.axes, self.window, strict=True)
            ])
            code(f"const float *restrict in = {at('x', corner)};")
            with code.loop("c", self.channels) as c:
                start = _bias(self, c)
                code("float " + ", ".join(f"{each} = {start}" for each in sums) + ", w;")
                for number, (tap, source) in enumerate(self._sources()):
                    code(f"w = {self.name}_weights[{add(number * self.channels, c)}];")
                    code(" ".join(
                        f"{each} += in[{_distance(self, position, tap) + source}] * w;"
                        for each, position in zip(sums, positions, strict=True)
                    ))
                self._pooled(code, sums, image, place, Place(pixel, c), names)

    def _sources(self) -> Iterator[tuple[tuple[int, ...], int]]:
        for tap in np.ndindex(tuple(axis.kernel for axis in self.axes)):
            for source in range(self.inputs):
                yield tap, source

    def _pooled(
        self, code: Code, sums: Sequence[str], image: Index, where: Sequence[Index], place: Place, names: Names
    ) -> None:
        if self.pool is None:
            self.store(code, (*self.before, *self.after), sums[0], place, names)
            return
        for index, (each, within) in enumerate(zip(sums, np.ndindex(self.window), strict=True)):
            if self.before:
                with code.block(""):
                    position = [add(multiply(corner, size), offset)
                                for corner, size, offset in zip(where, self.window, within, strict=True)]
                    self.declare(code, self.before, each, Place(_position(self, image, position), place.channel), names)
                    code(_pooling(self.pool.kind, "s0", "value") if index else "s0 = value;")
            elif index:
                code(_pooling(self.pool.kind, "s0", each))
        average = f" * {literal(1 / len(sums))}" if self.pool.kind == "Average" else ""
        self.store(code, self.after, f"s0{average}", place, names)


@dataclass(eq=False)
class Tiled(Product):
    """Sums of a tile of neighbouring positions by a block of channels, which stay in registers over all taps."""

    @cached_property
    def block(self) -> int:
        """Channels of a tile."""
        return _block(self.outputs, self.axes[-1].outputs == 1, self.window[-1])

    @cached_property
    def tile(self) -> int:
        """Positions of a tile, along the last axis."""
        most = max(1, min(REGISTERS // self.block, 8, self.axes[-1].outputs))
        if self.pool is None:
            return most
        return next(size for size in range(most, 0, -1) if self.window[-1] % size == 0)

    @property
    def blocks(self) -> int:
        """Blocks of a group."""
        return -(-self.outputs // self.block)

    @property
    def evenly(self) -> bool:
        """Whether the neighbours of a tap are contiguous with it: then a row of taps is one run of numbers."""
        return self.groups == 1 and (self.axes[-1].dilation == 1 or self.axes[-1].kernel == 1)

    @cached_property
    def inner(self) -> tuple[int, int]:
        """The positions first ≤ p < last along the last axis that are computed in tiles: their windows are inside."""
        first, last = self.axes[-1].inside
        return (first, last) if last - first >= self.tile else (0, 0)

    @property
    def has_edges(self) -> bool:
        """Whether some positions are computed one by one."""
        return self.axes[-1].reaches_over if self.pool else self.inner != (0, self.axes[-1].outputs)

    def kernels(self) -> Sequence[Kernel]:
        tiles = [Kernel("accumulate", self.tile, self.block)] if self.pool or self.inner != (0, 0) else []
        edges = [Kernel("accumulate", 1, self.block)] if self.has_edges else []
        return [*tiles, *edges, *super().kernels()]

    def stack(self) -> int:
        return 4 * self.block * (self.tile + (1 if self.pool else 0))

    def arrays(self) -> Mapping[str, Array]:
        padded = self.blocks * self.block - self.outputs
        groups, channels = self.groups, self.outputs + padded
        wide = np.pad(self.weights.reshape(groups, -1, self.outputs), ((0, 0), (0, 0), (0, padded)))
        laid = wide.reshape(groups, -1, self.blocks, self.block).transpose(0, 2, 1, 3)
        named = {f"{self.name}_weights": laid}
        if self.bias is not None:
            bias = np.pad(self.bias.reshape(groups, self.outputs), ((0, 0), (0, padded)))
            named[f"{self.name}_bias"] = bias.reshape(groups, channels)
        return named

    def emit(self, code: Code, names: Names) -> None:
        with code.loop("group", self.groups) as group, code.loop("block", self.blocks) as block:
            number = add(multiply(group, self.blocks), block)
            size = self.taps * self.inputs * self.block
            code(f"const float *w = {at(f'{self.name}_weights', multiply(number, size))};")
            channel = add(multiply(group, self.outputs), multiply(block, self.block))
            if self.pool is None:
                self._plain(code, names, group, number, channel)
            else:
                self._with_pool(code, names, group, number, channel)

    def _plain(self, code: Code, names: Names, group: Index, number: Index, channel: Index) -> None:
        (first, last), outputs = self.inner, self.axes[-1].outputs
        with _rows(code, self) as (image, rows, row_pixel):
            pixel = multiply(row_pixel, outputs)
            if last - first == self.tile:
                self._tile(code, names, (image, [*rows, first], group), number, Place(add(pixel, first), channel))
            elif last:
                with code.block(f"for (int start = {first}; start < {last}; start += {self.tile})"):
                    column = "start"
                    if (last - first) % self.tile:  # the last tile overlaps the one before
                        column = "column"
                        code(f"const int column = start < {last - self.tile} ? start : {last - self.tile};")
                    self._tile(code, names, (image, [*rows, column], group), number, Place(add(pixel, column), channel))
            if self.has_edges:
                begin, jump = (0, f"column == {first - 1} ? {last - first + 1} : 1") if first else (last, "1")
                step = "column++" if jump == "1" else f"column += {jump}"
                with code.block(f"for (int column = {begin}; column < {outputs}; {step})"):
                    place = Place(add(pixel, "column"), channel)
                    self._tile(code, names, (image, [*rows, "column"], group), number, place, edge=True)

    def _tile(
        self,
        code: Code,
        names: Names,
        where: tuple[Index, list[Index], Index],
        number: Index,
        place: Place,
        *,
        edge: bool = False,
    ) -> None:
        """Compute and store one tile, or one position at an edge. `where`: image, position, group."""
        image, position, group = where
        tile = 1 if edge else self.tile
        self._start(code, number, tile)
        self._accumulate(code, image, position, group, tile, "sums", inside=not edge)
        operations = (*self.before, *self.after)
        with code.loop("p", tile) as p, self._channels(code) as c:
            element = f"sums[{add(multiply(p, self.block), c)}]"
            self.store(code, operations, element, Place(add(place.pixel, p), add(place.channel, c)), names)

    def _with_pool(self, code: Code, names: Names, group: Index, number: Index, channel: Index) -> None:
        assert self.pool is not None
        with _pixels(code, self) as (image, place, pixel):
            code(f"float pooled[{self.block}];")
            initial = "-FLT_MAX" if self.pool.kind == "Max" else "0.0f"
            code(f"for (int c = 0; c < {self.block}; c++)", f"    pooled[c] = {initial};")
            with contextlib.ExitStack() as stack:
                letters = ("i", "j", "k")
                steps = (1, 1, self.tile)
                inner = [stack.enter_context(code.loop(letter, size, step))
                         for letter, size, step in zip(letters, self.window, steps, strict=True)]
                position = [add(multiply(index, size), within)
                            for index, size, within in zip(place, self.window, inner, strict=True)]
                self._start(code, number, self.tile)
                self._accumulate_window(code, image, position, group)
                with code.loop("p", self.tile) as p, code.loop("c", self.block) as c:
                    element = f"sums[{add(multiply(p, self.block), c)}]"
                    if self.before:
                        at_position = Place(add(_position(self, image, position), p), add(channel, c))
                        self.declare(code, self.before, element, at_position, names)
                        element = "value"
                    code(_pooling(self.pool.kind, f"pooled[{c}]", element))
            average = f" * {literal(1 / prod(self.window))}" if self.pool.kind == "Average" else ""
            with self._channels(code) as c:
                self.store(code, self.after, f"pooled[{c}]{average}", Place(pixel, add(channel, c)), names)

    @contextlib.contextmanager
    def _channels(self, code: Code) -> Iterator[Index]:
        """Loop over the channels of the block that exist."""
        limit: Index = self.block
        if self.blocks * self.block > self.outputs:
            left = f"{self.outputs} - block * {self.block}"
            limit = self.outputs if self.blocks == 1 else f"({left} < {self.block} ? {left} : {self.block})"
        with code.loop("c", limit) as c:
            yield c

    def _start(self, code: Code, number: Index, tile: int) -> None:
        code(f"float sums[{tile * self.block}];")
        first = multiply(number, self.block)
        value = f"{self.name}_bias[{add(first, 'c')}]" if self.bias is not None else "0.0f"
        with code.loop("p", tile) as p, code.block(f"for (int c = 0; c < {self.block}; c++)"):
            code(f"sums[{add(multiply(p, self.block), 'c')}] = {value};")

    def _accumulate_window(self, code: Code, image: Index, position: Sequence[Index], group: Index) -> None:
        """Add all taps of the tile at `position` of a window, which may reach over an edge."""
        if not self.has_edges or self.tile == 1:
            self._accumulate(code, image, position, group, self.tile, "sums", inside=not self.has_edges)
            return
        last = self.axes[-1]
        start = add(multiply(position[-1], last.stride), -last.pad)
        reach = (self.tile - 1) * last.stride + (last.kernel - 1) * last.dilation
        with code.block(f"if ({start} >= 0 && {add(start, reach)} < {last.inputs})"):
            self._accumulate(code, image, position, group, self.tile, "sums", inside=True)
        with code.block("else"), code.block(f"for (int p = 0; p < {self.tile}; p++)"):
            single = [*position[:-1], add(position[-1], "p")]
            self._accumulate(code, image, single, group, 1, f"sums + p * {self.block}", inside=False)

    def _accumulate(
        self, code: Code, image: Index, position: Sequence[Index], group: Index, tile: int, sums: str, *, inside: bool
    ) -> None:
        """Add all taps of `tile` positions, which are off the edges if `inside`."""
        last = self.axes[-1]
        depth, height = (Range.of(code, *each) for each in zip(self.axes[:2], position[:2], EDGES[:2], strict=True))
        width = (
            Range.whole(last, add(multiply(position[-1], last.stride), -last.pad))
            if inside
            else Range.of(code, last, position[-1], EDGES[2])
        )
        with depth.each(code, "plane") as plane:
            self._call(code, tile, image, plane, (depth, height, width), group, sums)

    def _call(
        self, code: Code, tile: int, image: Index, plane: Index, ranges: tuple[Range, Range, Range],
        group: Index, sums: str,
    ) -> None:
        depth, height, width = ranges
        dense = self.groups * self.inputs  # channels of a position
        rows, columns = self.axes[1], self.axes[2]
        row, column = height.place(height.first), width.place(width.first)
        step = f"{columns.stride * dense}, " if tile > 1 else ""
        row_step = rows.dilation * columns.inputs * dense
        w_row = columns.kernel * self.inputs * self.block
        with contextlib.ExitStack() as stack:
            tap: Index = width.first
            run: Index = multiply(width.count(), self.inputs)
            if not self.evenly:
                tap = stack.enter_context(width.each(code, "tap"))
                column, run = width.place(tap), self.inputs
            source = _element_at(self, image, [depth.place(plane), row, column], multiply(group, self.inputs))
            taps = add(multiply(plane, rows.kernel * columns.kernel), multiply(height.first, columns.kernel), tap)
            code(
                f"accumulate_{tile}x{self.block}({at('x', source)}, {step}{height.count()}, {row_step}, {run},",
                f"    {at('w', multiply(taps, self.inputs * self.block))}, {w_row}, {sums});",
            )


@dataclass(eq=False)
class Depthwise(Product):
    """A convolution of each channel with its own kernel: `weights` (1, *taps, 1, channels)."""

    @property
    def written_out(self) -> bool:
        """Whether every tap is written out where all of them are inside: then there are only channels to loop over."""
        return self.taps <= FEW_TAPS

    def arrays(self) -> Mapping[str, Array]:
        return {f"{self.name}_weights": self.weights.reshape(-1, self.channels), **_named_bias(self)}

    def emit(self, code: Code, names: Names) -> None:
        edges = self.padded
        if self.written_out:
            with self._loops(code, [axis.inside for axis in self.axes]) as (image, place):
                self._written_out(code, names, image, place)
        if edges or not self.written_out:
            with self._loops(code, [(0, axis.outputs) for axis in self.axes]) as (image, place):
                if self.written_out:
                    code(f"if ({' && '.join(self._inside(place))})", "    continue;")
                self._tap_by_tap(code, names, image, place)

    @contextlib.contextmanager
    def _loops(self, code: Code, bounds: Sequence[tuple[int, int]]) -> Iterator[tuple[Index, list[Index]]]:
        """Loop over images, and over each axis within its bounds: the image and the indices."""
        with contextlib.ExitStack() as stack:
            image = stack.enter_context(code.loop("sample", self.images))
            names = ("slice", "row", "column")
            yield image, [stack.enter_context(code.span(*each)) for each in zip(names, bounds, strict=True)]

    def _inside(self, place: Sequence[Index]) -> Iterator[str]:
        for axis, index in zip(self.axes, place, strict=True):
            first, last = axis.inside
            if first > 0:
                yield f"{index} >= {first}"
            if last < axis.outputs:
                yield f"{index} < {last}"

    def _written_out(self, code: Code, names: Names, image: Index, place: Sequence[Index]) -> None:
        pixel = _position(self, image, place)
        corner = [add(multiply(index, axis.stride), -axis.pad) for index, axis in zip(place, self.axes, strict=True)]
        code(f"const float *restrict in = {at('x', _element_at(self, image, corner, 0, self.channels))};")
        with code.loop("c", self.channels) as c:
            code(f"float sum = {_bias(self, c)};")
            for number, tap in enumerate(np.ndindex(tuple(axis.kernel for axis in self.axes))):
                distance = [each * axis.dilation for each, axis in zip(tap, self.axes, strict=True)]
                source = add(_element_at(self, 0, distance, 0, self.channels), -self.reads[0].offset, c)
                code(f"sum += in[{source}] * {self.name}_weights[{add(number * self.channels, c)}];")
            self.store(code, (*self.before, *self.after), "sum", Place(pixel, c), names)

    def _tap_by_tap(self, code: Code, names: Names, image: Index, place: Sequence[Index]) -> None:
        pixel = _position(self, image, place)
        code(f"float *restrict out = {at(names(self.writes.buffer), multiply(pixel, self.channels))};")
        with code.loop("c", self.channels) as c:
            code(f"out[{c}] = {_bias(self, c)};")
        ranges = [
            Range.of(code, *each)
            for each in zip(self.axes, place, EDGES, strict=True)
        ]
        with contextlib.ExitStack() as stack:
            taps = [stack.enter_context(each.each(code, letter)) for each, letter in zip(ranges, "ijk", strict=True)]
            corner = [each.place(tap) for each, tap in zip(ranges, taps, strict=True)]
            number: Index = 0
            for axis, tap in zip(self.axes, taps, strict=True):
                number = add(multiply(number, axis.kernel), tap)
            code(
                f"const float *restrict in = {at('x', _element_at(self, image, corner, 0, self.channels))};",
                f"const float *restrict w = {at(f'{self.name}_weights', multiply(number, self.channels))};",
            )
            with code.loop("c", self.channels) as c:
                code(f"out[{c}] += in[{c}] * w[{c}];")
        if self.before or self.after:
            with code.loop("c", self.channels) as c:
                self.store(code, (*self.before, *self.after), f"out[{c}]", Place(pixel, c), names, f"out[{c}]")


def _block(outputs: int, single: bool, window: int) -> int:
    """Channels of a tile. Few positions at once call for many channels, so that eight registers are filled."""
    if single:
        sizes: tuple[int, ...] = (64, 48, 40, 32, 56, 24, 16, 8)
    elif window == 2:
        sizes = (32, 16, 8)
    else:
        sizes = (16, 32, 8)
    fitting = [size for size in sizes if outputs % size == 0]
    if fitting:
        return fitting[0]
    return outputs if outputs < 16 or (single and outputs <= REGISTERS) else 16


def _named_bias(product: Product) -> Mapping[str, Array]:
    return {} if product.bias is None else {f"{product.name}_bias": product.bias}


def _bias(product: Product, channel: Index) -> str:
    return "0.0f" if product.bias is None else f"{product.name}_bias[{channel}]"


def _pooling(kind: str, pooled: str, value: str) -> str:
    if kind == "Average":
        return f"{pooled} += {value};"
    return f"{pooled} = {pooled} < {value} ? {value} : {pooled};"


def _position(product: Product, image: Index, position: Sequence[Index]) -> Index:
    """The number of a position: its pixel, if nothing were pooled."""
    number: Index = image
    for axis, index in zip(product.axes, position, strict=True):
        number = add(multiply(number, axis.outputs), index)
    return number


def _distance(product: Product, position: Sequence[int], tap: Sequence[int]) -> int:
    """In floats, from the first tap of the first position to `tap` of `position`."""
    place = [
        at_position * axis.stride + at_tap * axis.dilation
        for at_position, at_tap, axis in zip(position, tap, product.axes, strict=True)
    ]
    return int(_element_at(product, 0, list(place), 0))


def _element(product: Product, image: Index, place: Sequence[Index]) -> Index:
    return _element_at(product, image, place, 0)


def _element_at(
    product: Product, image: Index, place: Sequence[Index], channel: Index, dense: int | None = None
) -> Index:
    """Where an input element lies, in floats from x."""
    depth, height, width = (axis.inputs for axis in product.axes)
    dense = dense or product.groups * product.inputs
    sizes = [depth * height * width * dense, height * width * dense, width * dense, dense]
    terms = [multiply(index, size) for index, size in zip((image, *place), sizes, strict=True)]
    return add(*terms, channel, product.reads[0].offset)


@contextlib.contextmanager
def _rows(code: Code, product: Product) -> Iterator[tuple[Index, list[Index], Index]]:
    """Loop over images and all axes but the last: the image, the indices, and the row's number."""
    depth, height = product.extents[:2]
    with (
        code.loop("sample", product.images) as image,
        code.loop("slice", depth) as plane,
        code.loop("row", height) as row,
    ):
        yield image, [plane, row], add(multiply(add(multiply(image, depth), plane), height), row)


@contextlib.contextmanager
def _pixels(code: Code, product: Product) -> Iterator[tuple[Index, list[Index], Index]]:
    """Loop over every pixel of the result: the image, the indices, and the pixel's number."""
    width = product.extents[-1]
    with _rows(code, product) as (image, place, row), code.loop("column", width) as column:
        yield image, [*place, column], add(multiply(row, width), column)
