"""Products in tiles: sums of neighbouring positions by a block of channels, in registers over all taps."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from math import prod

import numpy as np

from edgebn.embedding.c.kernels import Kernel
from edgebn.embedding.c.memory import Buffer
from edgebn.embedding.c.products import (
    Place,
    Product,
    element,
    pixel_loops,
    pooling,
    position_number,
)
from edgebn.embedding.c.steps import Array, Names
from edgebn.embedding.c.text import Code, Index, add, at, literal, multiply
from edgebn.embedding.c.windows import EDGES, Axis, Range

Span = tuple[int, int]
"""The positions first ≤ p < last of an axis."""

Sink = Callable[[Index, int, int], None]
"""Writes what becomes of a tile's sums: given its first position, how many there are, and how far they are apart."""

REGISTERS = 80
"""Floats that the vector registers hold as sums: ten of the sixteen of AVX2; gcc 12 wants five for inputs."""


@dataclass(eq=False)
class Tiled(Product):
    """Sums of a tile of neighbouring positions by a block of channels, which stay in registers over all taps."""

    @cached_property
    def block(self) -> int:
        """Channels of a tile."""
        return _block(self.outputs, self.axes[-1].outputs == 1, self.window[-1])

    @cached_property
    def tile(self) -> int:
        """Positions of a tile along the last axis."""
        most = max(1, min(REGISTERS // self.block, 8, self.axes[-1].outputs))
        if self.pool is None or self.pools_all:
            return _tile(self.axes[-1], most)
        return next(size for size in range(most, 0, -1) if self.window[-1] % size == 0)

    @cached_property
    def upright(self) -> int:
        """Positions of a tile along the axis before, in the columns that are in no tile along the last one."""
        return _tile(self.axes[1], REGISTERS // self.block)

    @cached_property
    def pools_all(self) -> bool:
        """Whether a single window of the pool has all positions of an image."""
        return self.pool is not None and self.window == tuple(axis.outputs for axis in self.axes)

    @property
    def blocks(self) -> int:
        """Blocks of a group."""
        return -(-self.outputs // self.block)

    @property
    def evenly(self) -> bool:
        """Whether the neighbours of a tap are contiguous with it: then a row of taps is one run of numbers."""
        return self.groups == 1 and (self.axes[-1].dilation == 1 or self.axes[-1].kernel == 1)

    @cached_property
    def across(self) -> Span:
        """The columns of each row that are computed in tiles."""
        return self._in_tiles(self.axes[2], self.tile)

    @cached_property
    def down(self) -> Span:
        """The rows of each other column that are computed in tiles."""
        others = not _is_all(self.across, self.axes[2])
        return self._in_tiles(self.axes[1], self.upright) if others and self.upright > 1 else (0, 0)

    @property
    def has_singles(self) -> bool:
        """Whether some positions are computed one by one."""
        return not _is_all(self.across, self.axes[2]) and not _is_all(self.down, self.axes[1])

    def _in_tiles(self, axis: Axis, tile: int) -> Span:
        """The positions first ≤ p < last whose windows are inside; in an average each may be in one tile only."""
        first, last = axis.inside
        if self.pool is not None and self.pool.kind == "Average":
            last -= (last - first) % tile
        return (first, last) if last - first >= tile else (0, 0)

    @cached_property
    def sizes(self) -> Sequence[int]:
        """Positions of the tiles of each loop: across, upright, and single ones."""
        if self.pool is None or self.pools_all:
            used = [(self.tile, self.across[1]), (self.upright, self.down[1]), (1, self.has_singles)]
        else:
            used = [(self.tile, 1), (1, self.axes[2].reaches_over)]
        return [size for size, is_used in used if is_used]

    def kernels(self) -> Sequence[Kernel]:
        """The inner loops that it calls."""
        return [*(Kernel("accumulate", size, self.block) for size in sorted({*self.sizes})), *super().kernels()]

    def stack(self) -> int:
        """Bytes of the sums of every loop and its kernel: compilers that unroll them give each a place of its own."""
        copies = sum(Kernel("accumulate", size, self.block).stack() for size in self.sizes)
        return copies + 4 * self.block * (sum(self.sizes) + (1 if self.pool else 0))

    def replaced(self) -> Buffer | None:
        """What is added to it or the like: every element once, as no tiles overlap, and only where its result goes."""
        spans = ((self.across, self.tile), (self.down, self.upright))
        if self.pool or any((last - first) % tile for (first, last), tile in spans):
            return None
        mine = [each for operation in (*self.before, *self.after) for each in operation.operands if each is not None]
        for buffer in (each.buffer for each in mine if each.buffer is not self.reads[0].buffer):
            if buffer.size == self.writes.buffer.size and all(
                each.is_whole() for each in mine if each.buffer is buffer
            ):
                return buffer
        return None

    def arrays(self) -> Mapping[str, Array]:
        """Its weights in the order in which they are read, and its bias."""
        padded = self.blocks * self.block - self.outputs
        groups, channels = self.groups, self.outputs + padded
        wide = np.pad(self.weights.reshape(groups, -1, self.outputs), ((0, 0), (0, 0), (0, padded)))
        laid = wide.reshape(groups, -1, self.blocks, self.block).transpose(0, 2, 1, 3)
        named: dict[str, Array] = {f"{self.name}_weights": laid}
        if self.bias is not None:
            bias = np.pad(self.bias.reshape(groups, self.outputs), ((0, 0), (0, padded)))
            named[f"{self.name}_bias"] = bias.reshape(groups, channels)
        return named

    def emit(self, code: Code, names: Names) -> None:
        """Write the loops."""
        with code.loop("group", self.groups) as group, code.loop("block", self.blocks) as block:
            number = add(multiply(group, self.blocks), block)
            size = self.taps * self.inputs * self.block
            code(f"const float *w = {at(f'{self.name}_weights', multiply(number, size))};")
            channel = add(multiply(group, self.outputs), multiply(block, self.block))
            if self.pool is None:
                with code.loop("sample", self.images) as image:
                    self._each_tile(code, (image, group, number), partial(self._store_tile, code, names, channel))
            else:
                self._with_pool(code, names, self.pool.kind, (group, number), channel)

    def _each_tile(self, code: Code, where: tuple[Index, Index, Index], sink: Sink) -> None:
        """Compute all positions of an image and give them to `sink`. `where`: image, group, number of the block.

        Tiles lie along the rows. The columns at the edges, where windows lack taps, have tiles downwards; only what is
        left of them is computed position by position.
        """
        depth, rows, columns = self.axes
        with code.loop("slice", depth.outputs) as plane:
            others = not _is_all(self.across, columns)
            if self.across[1]:
                scope = _scope(code, needed=others and rows.outputs == 1)
                with (
                    scope,
                    code.loop("row", rows.outputs) as row,
                    _tiles(code, "column", self.across, self.tile) as column,
                ):
                    self._tile(code, where, [plane, row, column], 2, sink)
            if not others:
                return
            with _others(code, "column", self.across, columns.outputs) as column:
                others = not _is_all(self.down, rows)
                if self.down[1]:
                    with _scope(code, needed=others), _tiles(code, "row", self.down, self.upright) as row:
                        self._tile(code, where, [plane, row, column], 1, sink)
                if others:
                    with _others(code, "row", self.down, rows.outputs) as row:
                        self._tile(code, where, [plane, row, column], None, sink)

    def _tile(
        self, code: Code, where: tuple[Index, Index, Index], position: list[Index], along: int | None, sink: Sink
    ) -> None:
        """Compute one tile from `position` on along an axis, or one position."""
        image, group, number = where
        tile = self._length(along)
        self._start(code, number, tile)
        self._accumulate(code, image, position, group, along, "sums")
        sink(position_number(self, image, position), tile, self.axes[2].outputs if along == 1 else 1)

    def _length(self, along: int | None) -> int:
        return 1 if along is None else self.upright if along == 1 else self.tile

    def _store_tile(self, code: Code, names: Names, channel: Index, pixel: Index, tile: int, pitch: int) -> None:
        with code.loop("p", tile) as p, self._channels(code) as c:
            element = f"sums[{add(multiply(p, self.block), c)}]"
            place = Place(add(pixel, multiply(p, pitch)), add(channel, c))
            self.store(code, (*self.before, *self.after), element, place, names)

    def _pool_tile(
        self, code: Code, names: Names, kind: str, channel: Index, pixel: Index, tile: int, pitch: int
    ) -> None:
        alone = tile == self.outputs == 1  # then no loop has braces
        with (
            _scope(code, needed=alone and bool(self.before)),
            code.loop("p", tile) as p,
            self._channels(code) as c,
        ):
            element = f"sums[{add(multiply(p, self.block), c)}]"
            if self.before:
                place = Place(add(pixel, multiply(p, pitch)), add(channel, c))
                self.declare(code, self.before, element, place, names)
                element = "value"
            code(pooling(kind, f"pooled[{c}]", element))

    def _with_pool(self, code: Code, names: Names, kind: str, where: tuple[Index, Index], channel: Index) -> None:
        group, number = where
        sink = partial(self._pool_tile, code, names, kind, channel)
        with pixel_loops(code, self) as (image, place, pixel):
            code(f"float pooled[{self.block}];")
            initial = "-INFINITE" if kind == "Max" else "0.0f"
            code(f"for (int c = 0; c < {self.block}; c++)", f"    pooled[c] = {initial};")
            if self.pools_all:
                self._each_tile(code, (image, group, number), sink)
            else:
                self._each_of_window(code, (image, group, number), place, sink)
            average = f" * {literal(1 / prod(self.window))}" if kind == "Average" else ""
            with self._channels(code) as c:
                self.store(code, self.after, f"pooled[{c}]{average}", Place(pixel, add(channel, c)), names)

    def _each_of_window(
        self, code: Code, where: tuple[Index, Index, Index], place: Sequence[Index], sink: Sink
    ) -> None:
        """Compute the positions of the window at `place`, in tiles along its rows."""
        image, group, number = where
        with contextlib.ExitStack() as stack:
            inner = [
                stack.enter_context(code.loop(letter, size, step))
                for letter, size, step in zip(("i", "j", "k"), self.window, (1, 1, self.tile), strict=True)
            ]
            position = [
                add(multiply(index, size), within)
                for index, size, within in zip(place, self.window, inner, strict=True)
            ]
            self._start(code, number, self.tile)
            self._accumulate_window(code, image, position, group)
            sink(position_number(self, image, position), self.tile, 1)

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
        last = self.axes[-1]
        if not last.reaches_over or self.tile == 1:
            self._accumulate(code, image, position, group, None if last.reaches_over else 2, "sums")
            return
        start = add(multiply(position[-1], last.stride), -last.pad)
        reach = (self.tile - 1) * last.stride + (last.kernel - 1) * last.dilation
        with code.block(f"if ({start} >= 0 && {add(start, reach)} < {last.inputs})"):
            self._accumulate(code, image, position, group, 2, "sums")
        with code.block("else"), code.block(f"for (int p = 0; p < {self.tile}; p++)"):
            single = [*position[:-1], add(position[-1], "p")]
            self._accumulate(code, image, single, group, None, f"sums + p * {self.block}")

    def _accumulate(
        self, code: Code, image: Index, position: Sequence[Index], group: Index, along: int | None, sums: str
    ) -> None:
        """Add all taps of a tile along an axis, off whose edges it is, or of one position."""
        depth, height, width = (
            Range.whole(axis, add(multiply(index, axis.stride), -axis.pad))
            if number == along
            else Range.of(code, axis, index, EDGES[number])
            for number, (axis, index) in enumerate(zip(self.axes, position, strict=True))
        )
        with depth.each(code, "plane") as plane:
            self._call(code, along, image, plane, (depth, height, width), group, sums)

    def _call(
        self,
        code: Code,
        along: int | None,
        image: Index,
        plane: Index,
        ranges: tuple[Range, Range, Range],
        group: Index,
        sums: str,
    ) -> None:
        depth, height, width = ranges
        dense = self.groups * self.inputs  # channels of a position
        rows, columns = self.axes[1], self.axes[2]
        row, column = height.place(height.first), width.place(width.first)
        tile = self._length(along)
        step = rows.stride * columns.inputs * dense if along == 1 else columns.stride * dense
        row_step = rows.dilation * columns.inputs * dense
        w_row = columns.kernel * self.inputs * self.block
        with contextlib.ExitStack() as stack:
            tap: Index = width.first
            run: Index = multiply(width.count(), self.inputs)
            if not self.evenly:
                tap = stack.enter_context(width.each(code, "tap"))
                column, run = width.place(tap), self.inputs
            source = element(self, image, [depth.place(plane), row, column], multiply(group, self.inputs))
            taps = add(multiply(plane, rows.kernel * columns.kernel), multiply(height.first, columns.kernel), tap)
            between = f"{step}, " if tile > 1 else ""
            code(
                f"accumulate_{tile}x{self.block}({at('x', source)}, {between}{height.count()}, {row_step}, {run},",
                f"    {at('w', multiply(taps, self.inputs * self.block))}, {w_row}, {sums});",
            )


def _is_all(span: Span, axis: Axis) -> bool:
    return span == (0, axis.outputs)


def _scope(code: Code, *, needed: bool) -> contextlib.AbstractContextManager[None]:
    """Braces around what declares names that come again."""
    return code.block("") if needed else contextlib.nullcontext()


@contextlib.contextmanager
def _tiles(code: Code, index: str, span: Span, tile: int) -> Iterator[Index]:
    """Loop over the first positions of the tiles of a span, the last of which may overlap the one before."""
    first, last = span
    if last - first == tile:
        yield first
        return
    start = "start" if (last - first) % tile else index
    with code.block(f"for (int {start} = {first}; {start} < {last}; {start} += {tile})"):
        if start != index:
            code(f"const int {index} = start < {last - tile} ? start : {last - tile};")
        yield index


@contextlib.contextmanager
def _others(code: Code, index: str, span: Span, extent: int) -> Iterator[Index]:
    """Loop over the positions of an axis that are not in the span."""
    first, last = span
    begin = 0 if first else last
    if extent - (last - first) == 1:
        yield begin
        return
    step = f"{index} += {index} == {first - 1} ? {last - first + 1} : 1" if first else f"{index}++"
    with code.block(f"for (int {index} = {begin}; {index} < {extent}; {step})"):
        yield index


def _tile(axis: Axis, most: int) -> int:
    """The size up to `most` by which the fewest positions are computed twice; of several the largest."""
    first, last = axis.inside
    largest = max(1, min(most, last - first))
    return min(range(largest, largest // 2, -1), key=lambda size: -(-(last - first) // size) * size)


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
