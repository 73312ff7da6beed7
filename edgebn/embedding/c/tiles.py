"""Products in tiles: sums of neighbouring positions by a block of channels, in registers over all taps."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
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
    row_loops,
)
from edgebn.embedding.c.steps import Array, Names
from edgebn.embedding.c.text import Code, Index, add, at, literal, multiply
from edgebn.embedding.c.windows import EDGES, Range

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
        """Positions of a tile, along the last axis."""
        most = max(1, min(REGISTERS // self.block, 8, self.axes[-1].outputs))
        if self.pool is None:
            first, last = self.axes[-1].inside
            return _tile(last - first, most)
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
        """Whether some positions along the last axis are not computed in tiles of that axis."""
        return self.axes[-1].reaches_over if self.pool else self.inner != (0, self.axes[-1].outputs)

    @cached_property
    def upright(self) -> int:
        """Positions of a tile along the last axis but one, where the last axis has its edges."""
        first, last = self.axes[1].inside
        return _tile(last - first, REGISTERS // self.block) if self.pool is None and self.has_edges else 1

    @property
    def has_corners(self) -> bool:
        """Whether some positions are computed one by one."""
        return self.has_edges and (self.upright == 1 or self.axes[1].inside != (0, self.axes[1].outputs))

    def kernels(self) -> Sequence[Kernel]:
        """The inner loops that it calls."""
        sizes = {self.tile} if self.pool or self.inner != (0, 0) else set()
        sizes |= {self.upright} if self.upright > 1 else set()
        sizes |= {1} if self.has_corners else set()
        return [*(Kernel("accumulate", size, self.block) for size in sorted(sizes)), *super().kernels()]

    def stack(self) -> int:
        """Bytes of its sums."""
        return 4 * self.block * (max(self.tile, self.upright) + (1 if self.pool else 0))

    def replaced(self) -> Buffer | None:
        """What is added to it or the like: every element once, as no tiles overlap, and only where its result goes."""
        (first, last), (top, bottom) = self.inner, self.axes[1].inside
        if self.pool or (last - first) % self.tile or (self.upright > 1 and (bottom - top) % self.upright):
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
                self._plain(code, names, group, number, channel)
            else:
                self._with_pool(code, names, self.pool.kind, group, number, channel)

    def _plain(self, code: Code, names: Names, group: Index, number: Index, channel: Index) -> None:
        if self.inner != (0, 0):
            with (
                row_loops(code, self) as (image, rows, _),
                self._tiles(code, "column", self.inner, self.tile) as column,
            ):
                self._tile(code, names, (image, [*rows, column], group), number, channel, self.tile, 2)
        if self.has_edges:
            with (
                code.loop("sample", self.images) as image,
                code.loop("slice", self.extents[0]) as plane,
                _outside(code, "column", self.inner, self.axes[2].outputs) as column,
            ):
                self._edge(code, names, (image, [plane, column], group), number, channel)

    def _edge(
        self, code: Code, names: Names, where: tuple[Index, list[Index], Index], number: Index, channel: Index
    ) -> None:
        """Compute a column at an edge. `where`: image, plane and column, group."""
        image, (plane, column), group = where
        rows = self.axes[1].inside if self.upright > 1 else (0, 0)
        if self.upright > 1:
            with self._tiles(code, "row", rows, self.upright) as row:
                self._tile(code, names, (image, [plane, row, column], group), number, channel, self.upright, 1)
        if self.has_corners:
            with _outside(code, "row", rows, self.axes[1].outputs) as row:
                self._tile(code, names, (image, [plane, row, column], group), number, channel, 1, None)

    @contextlib.contextmanager
    def _tiles(self, code: Code, index: str, bounds: tuple[int, int], tile: int) -> Iterator[Index]:
        """Loop over the tiles of the positions first ≤ p < last along an axis: the first position of each."""
        first, last = bounds
        if last - first == tile:
            with code.block("") if self.has_edges else contextlib.nullcontext():
                yield first
            return
        with code.block(f"for (int start = {first}; start < {last}; start += {tile})"):
            if (last - first) % tile:  # the last tile overlaps the one before
                code(f"const int {index} = start < {last - tile} ? start : {last - tile};")
            yield index if (last - first) % tile else "start"

    def _tile(
        self,
        code: Code,
        names: Names,
        where: tuple[Index, list[Index], Index],
        number: Index,
        channel: Index,
        tile: int,
        along: int | None,
    ) -> None:
        """Compute and store a tile along an axis, or one position if None. `where`: image, position, group."""
        image, position, group = where
        self._start(code, number, tile)
        self._accumulate(code, image, position, group, tile, "sums", along)
        pixel, pitch = position_number(self, image, position), self.axes[2].outputs if along == 1 else 1
        with code.loop("p", tile) as p, self._channels(code) as c:
            element = f"sums[{add(multiply(p, self.block), c)}]"
            place = Place(add(pixel, multiply(p, pitch)), add(channel, c))
            self.store(code, (*self.before, *self.after), element, place, names)

    def _with_pool(self, code: Code, names: Names, kind: str, group: Index, number: Index, channel: Index) -> None:
        with pixel_loops(code, self) as (image, place, pixel):
            code(f"float pooled[{self.block}];")
            initial = "-INFINITE" if kind == "Max" else "0.0f"
            code(f"for (int c = 0; c < {self.block}; c++)", f"    pooled[c] = {initial};")
            with contextlib.ExitStack() as stack:
                letters = ("i", "j", "k")
                steps = (1, 1, self.tile)
                inner = [
                    stack.enter_context(code.loop(letter, size, step))
                    for letter, size, step in zip(letters, self.window, steps, strict=True)
                ]
                position = [
                    add(multiply(index, size), within)
                    for index, size, within in zip(place, self.window, inner, strict=True)
                ]
                self._start(code, number, self.tile)
                self._accumulate_window(code, image, position, group)
                with code.loop("p", self.tile) as p, code.loop("c", self.block) as c:
                    element = f"sums[{add(multiply(p, self.block), c)}]"
                    if self.before:
                        at_position = Place(add(position_number(self, image, position), p), add(channel, c))
                        self.declare(code, self.before, element, at_position, names)
                        element = "value"
                    code(pooling(kind, f"pooled[{c}]", element))
            average = f" * {literal(1 / prod(self.window))}" if kind == "Average" else ""
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
            self._accumulate(code, image, position, group, self.tile, "sums", None if self.has_edges else 2)
            return
        last = self.axes[-1]
        start = add(multiply(position[-1], last.stride), -last.pad)
        reach = (self.tile - 1) * last.stride + (last.kernel - 1) * last.dilation
        with code.block(f"if ({start} >= 0 && {add(start, reach)} < {last.inputs})"):
            self._accumulate(code, image, position, group, self.tile, "sums", 2)
        with code.block("else"), code.block(f"for (int p = 0; p < {self.tile}; p++)"):
            single = [*position[:-1], add(position[-1], "p")]
            self._accumulate(code, image, single, group, 1, f"sums + p * {self.block}", None)

    def _accumulate(
        self,
        code: Code,
        image: Index,
        position: Sequence[Index],
        group: Index,
        tile: int,
        sums: str,
        along: int | None,
    ) -> None:
        """Add all taps of `tile` positions along an axis, along which their windows are inside; of one if None."""
        places = zip(self.axes, position, EDGES, strict=True)
        depth, height, width = (
            Range.whole(axis, add(multiply(index, axis.stride), -axis.pad))
            if number == along
            else Range.of(code, axis, index, edges)
            for number, (axis, index, edges) in enumerate(places)
        )
        with depth.each(code, "plane") as plane:
            self._call(code, tile, image, plane, (depth, height, width), group, sums, along)

    def _call(
        self,
        code: Code,
        tile: int,
        image: Index,
        plane: Index,
        ranges: tuple[Range, Range, Range],
        group: Index,
        sums: str,
        along: int | None,
    ) -> None:
        depth, height, width = ranges
        dense = self.groups * self.inputs  # channels of a position
        rows, columns = self.axes[1], self.axes[2]
        row, column = height.place(height.first), width.place(width.first)
        row_step = rows.dilation * columns.inputs * dense
        pitch = rows.stride * columns.inputs * dense if along == 1 else columns.stride * dense
        step = f"{pitch}, " if tile > 1 else ""
        w_row = columns.kernel * self.inputs * self.block
        with contextlib.ExitStack() as stack:
            tap: Index = width.first
            run: Index = multiply(width.count(), self.inputs)
            if not self.evenly:
                tap = stack.enter_context(width.each(code, "tap"))
                column, run = width.place(tap), self.inputs
            source = element(self, image, [depth.place(plane), row, column], multiply(group, self.inputs))
            taps = add(multiply(plane, rows.kernel * columns.kernel), multiply(height.first, columns.kernel), tap)
            code(
                f"accumulate_{tile}x{self.block}({at('x', source)}, {step}{height.count()}, {row_step}, {run},",
                f"    {at('w', multiply(taps, self.inputs * self.block))}, {w_row}, {sums});",
            )


@contextlib.contextmanager
def _outside(code: Code, index: str, inner: tuple[int, int], outputs: int) -> Iterator[Index]:
    """Loop over all positions of an axis but first ≤ p < last."""
    first, last = inner
    if outputs == 1:
        yield 0
        return
    begin, jump = (0, f"{index} == {first - 1} ? {last - first + 1} : 1") if first else (last, "1")
    step = f"{index}++" if jump == "1" else f"{index} += {jump}"
    with code.block(f"for (int {index} = {begin}; {index} < {outputs}; {step})"):
        yield index


def _tile(positions: int, most: int) -> int:
    """The size up to `most` by which the fewest positions are computed twice; of several the largest."""
    largest = max(1, min(most, positions))
    return min(range(largest, largest // 2, -1), key=lambda size: -(-positions // size) * size)


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
