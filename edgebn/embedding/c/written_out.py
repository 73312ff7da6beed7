"""Products so short that their taps are written out: a loop over the channels is all that remains."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from edgebn.embedding.c.kernels import LANES, Kernel
from edgebn.embedding.c.products import (
    Place,
    Product,
    bias,
    element,
    named_bias,
    pixel_loops,
    pooling,
    position_number,
)
from edgebn.embedding.c.steps import Array, Names
from edgebn.embedding.c.text import Code, Index, add, at, literal, multiply
from edgebn.embedding.c.windows import EDGES, Range

FEW_TAPS = 16
"""The most taps that are written out."""

MOST_AT_ONCE = 4
"""The most positions of a window that are computed at once."""


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
        return {f"{self.name}_weights": self.weights.reshape(-1, self.channels), **named_bias(self)}

    def emit(self, code: Code, names: Names) -> None:
        positions = list(np.ndindex(self.window))
        sums = [f"s{index}" for index in range(len(positions))]
        with pixel_loops(code, self) as (image, place, pixel):
            corner = element(
                self,
                image,
                [
                    multiply(index, axis.stride * size)
                    for index, axis, size in zip(place, self.axes, self.window, strict=True)
                ],
                0,
            )
            code(f"const float *restrict in = {at('x', corner)};")
            with code.loop("c", self.channels) as c:
                start = bias(self, c)
                code("float " + ", ".join(f"{each} = {start}" for each in sums) + ", w;")
                for number, (tap, source) in enumerate(self._sources()):
                    code(f"w = {self.name}_weights[{add(number * self.channels, c)}];")
                    code(
                        " ".join(
                            f"{each} += in[{_distance(self, position, tap) + source}] * w;"
                            for each, position in zip(sums, positions, strict=True)
                        )
                    )
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
                    position = [
                        add(multiply(corner, size), offset)
                        for corner, size, offset in zip(where, self.window, within, strict=True)
                    ]
                    self.declare(
                        code, self.before, each, Place(position_number(self, image, position), place.channel), names
                    )
                    code(pooling(self.pool.kind, "s0", "value") if index else "s0 = value;")
            elif index:
                code(pooling(self.pool.kind, "s0", each))
        average = f" * {literal(1 / len(sums))}" if self.pool.kind == "Average" else ""
        self.store(code, self.after, f"s0{average}", place, names)


@dataclass(eq=False)
class Depthwise(Product):
    """A convolution of each channel with its own kernel: `weights` (1, *taps, 1, channels)."""

    @property
    def written_out(self) -> bool:
        """Whether every tap is written out where all of them are inside: then there are only channels to loop over."""
        return self.taps <= FEW_TAPS

    def arrays(self) -> Mapping[str, Array]:
        return {f"{self.name}_weights": self.weights.reshape(-1, self.channels), **named_bias(self)}

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
        pixel = position_number(self, image, place)
        corner = [add(multiply(index, axis.stride), -axis.pad) for index, axis in zip(place, self.axes, strict=True)]
        code(f"const float *restrict in = {at('x', element(self, image, corner, 0, self.channels))};")
        with code.loop("c", self.channels) as c:
            code(f"float sum = {bias(self, c)};")
            for number, tap in enumerate(np.ndindex(tuple(axis.kernel for axis in self.axes))):
                distance = [each * axis.dilation for each, axis in zip(tap, self.axes, strict=True)]
                source = add(element(self, 0, distance, 0, self.channels), -self.reads[0].offset, c)
                code(f"sum += in[{source}] * {self.name}_weights[{add(number * self.channels, c)}];")
            self.store(code, (*self.before, *self.after), "sum", Place(pixel, c), names)

    def _tap_by_tap(self, code: Code, names: Names, image: Index, place: Sequence[Index]) -> None:
        pixel = position_number(self, image, place)
        code(f"float *restrict out = {at(names(self.writes.buffer), multiply(pixel, self.channels))};")
        with code.loop("c", self.channels) as c:
            code(f"out[{c}] = {bias(self, c)};")
        ranges = [Range.of(code, *each) for each in zip(self.axes, place, EDGES, strict=True)]
        with contextlib.ExitStack() as stack:
            taps = [stack.enter_context(each.each(code, letter)) for each, letter in zip(ranges, "ijk", strict=True)]
            corner = [each.place(tap) for each, tap in zip(ranges, taps, strict=True)]
            number: Index = 0
            for axis, tap in zip(self.axes, taps, strict=True):
                number = add(multiply(number, axis.kernel), tap)
            code(
                f"const float *restrict in = {at('x', element(self, image, corner, 0, self.channels))};",
                f"const float *restrict w = {at(f'{self.name}_weights', multiply(number, self.channels))};",
            )
            with code.loop("c", self.channels) as c:
                code(f"out[{c}] += in[{c}] * w[{c}];")
        if self.before or self.after:
            with code.loop("c", self.channels) as c:
                self.store(code, (*self.before, *self.after), f"out[{c}]", Place(pixel, c), names, f"out[{c}]")


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
        return {f"{self.name}_weights": laid, **named_bias(self)}

    def emit(self, code: Code, names: Names) -> None:
        n = self.channels
        code(f"float sums[{n}];")
        code(f"for (int n = 0; n < {n}; n++)", f"    sums[n] = {bias(self, 'n')};")
        code(f"dot_{n}(x, {self.inputs}, {self.name}_weights, sums);")
        with code.block(f"for (int n = 0; n < {n}; n++)"):
            self.store(code, (*self.before, *self.after), "sums[n]", Place(0, "n"), names)


def _distance(product: Product, position: Sequence[int], tap: Sequence[int]) -> int:
    """In floats, from the first tap of the first position to `tap` of `position`."""
    place = [
        at_position * axis.stride + at_tap * axis.dilation
        for at_position, at_tap, axis in zip(position, tap, product.axes, strict=True)
    ]
    return int(element(product, 0, list(place), 0))
