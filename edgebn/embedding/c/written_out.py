"""Products so short that their taps are written out: a loop over the channels is all that remains."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from edgebn.embedding.c.kernels import LANES, Kernel
from edgebn.embedding.c.memory import Buffer
from edgebn.embedding.c.products import (
    Place,
    Product,
    bias,
    element,
    named_bias,
    pooling,
    position_number,
    row_loops,
)
from edgebn.embedding.c.steps import Array, Names, Step
from edgebn.embedding.c.text import Code, Index, add, at, literal, multiply
from edgebn.embedding.c.windows import EDGES, Range

FEW_TAPS = 16
"""The most taps that are written out."""

NARROW = 12
"""The most columns of a matrix that a single vector is multiplied by as dot products."""

LONGEST_ROW = 4096
"""In bytes: the longest row of pixels that is kept on the stack."""

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
            and not (product.pool and product.before)
        )

    def arrays(self) -> Mapping[str, Array]:
        """Its weights in the order in which they are read, and its bias."""
        return {f"{self.name}_weights": self.weights.reshape(-1, self.channels), **named_bias(self)}

    def emit(self, code: Code, names: Names) -> None:
        """Write the loops."""
        with self.each_row(code, names):
            pass

    @contextlib.contextmanager
    def each_row(self, code: Code, names: Names, local: str | None = None) -> Iterator[Index]:
        """Compute every row of pixels, in an array of the name `local` or in its place in y; the row's number."""
        columns = self.extents[-1]
        with row_loops(code, self) as (image, place, row):
            if local is not None:
                code(f"float {local}[{columns * self.channels}];")
            with code.loop("column", columns) as column:
                self._pixel(code, names, image, [*place, column], add(multiply(row, columns), column), local)
            yield row

    def _pixel(
        self, code: Code, names: Names, image: Index, place: Sequence[Index], pixel: Index, local: str | None
    ) -> None:
        positions = list(np.ndindex(self.window))
        sums = [f"s{index}" for index in range(len(positions))]
        corner = [
            multiply(index, axis.stride * size) for index, axis, size in zip(place, self.axes, self.window, strict=True)
        ]
        code(f"const float *restrict in = {at('x', element(self, image, corner, 0))};")
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
            target = None if local is None else f"{local}[{add(multiply(place[-1], self.channels), c)}]"
            self._pooled(code, sums, Place(pixel, c), names, target)

    def _sources(self) -> Iterator[tuple[tuple[int, ...], int]]:
        for tap in np.ndindex(tuple(axis.kernel for axis in self.axes)):
            for source in range(self.inputs):
                yield tap, source

    def _pooled(self, code: Code, sums: Sequence[str], place: Place, names: Names, target: str | None) -> None:
        kind = self.pool.kind if self.pool else ""
        code(*(pooling(kind, "s0", each) for each in sums[1:]))
        average = f" * {literal(1 / len(sums))}" if kind == "Average" else ""
        self.store(code, (*self.before, *self.after), f"s0{average}", place, names, target)


@dataclass(eq=False)
class Depthwise(Product):
    """A convolution of each channel with its own kernel: `weights` (1, *taps, 1, channels)."""

    @property
    def written_out(self) -> bool:
        """Whether every tap is written out where all of them are inside: then there are only channels to loop over."""
        return self.taps <= FEW_TAPS

    def arrays(self) -> Mapping[str, Array]:
        """Its weights in the order in which they are read, and its bias."""
        return {f"{self.name}_weights": self.weights.reshape(-1, self.channels), **named_bias(self)}

    def emit(self, code: Code, names: Names) -> None:
        """Write the loops."""
        inner = [axis.inside for axis in self.axes]
        written_out = self.written_out and all(first < last for first, last in inner)
        if written_out:
            with self._loops(code, inner) as (image, place):
                self._written_out(code, names, image, place)
        if self.padded or not written_out:
            with self._loops(code, [(0, axis.outputs) for axis in self.axes]) as (image, place):
                if written_out:  # gcc 12 vectorises nothing whose restrict pointers are declared behind an if
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
        code(f"const float *restrict window = {at('x', element(self, image, corner, 0, self.channels))};")
        with code.loop("c", self.channels) as c:
            code(f"float sum = {bias(self, c)};")
            for number, tap in enumerate(np.ndindex(tuple(axis.kernel for axis in self.axes))):
                distance = [each * axis.dilation for each, axis in zip(tap, self.axes, strict=True)]
                source = add(element(self, 0, distance, 0, self.channels), -self.reads[0].offset, c)
                code(f"sum += window[{source}] * {self.name}_weights[{add(number * self.channels, c)}];")
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

    @staticmethod
    def takes(product: Product) -> bool:
        """Whether the product is of this kind."""
        positions = product.images * prod(axis.outputs for axis in product.axes)
        return positions * product.taps * product.groups == 1 and not product.padded and product.channels <= NARROW

    @property
    def in_lanes(self) -> int:
        """Inputs that fill lanes; the rest is added one by one."""
        return self.inputs // LANES * LANES

    def kernels(self) -> Sequence[Kernel]:
        """The inner loops that it calls."""
        return [Kernel("dot", channels=self.channels), *super().kernels()]

    def arrays(self) -> Mapping[str, Array]:
        """Its weights in the order in which they are read, and its bias."""
        matrix = self.weights.reshape(self.inputs, self.channels)
        lanes, rest = matrix[: self.in_lanes], matrix[self.in_lanes :]
        laid = lanes.reshape(-1, LANES, self.channels).transpose(0, 2, 1)
        return {f"{self.name}_weights": np.concatenate([laid.reshape(-1), rest.T.reshape(-1)]), **named_bias(self)}

    def stack(self) -> int:
        """Bytes of its sums, and of its kernel's."""
        return super().stack() + 4 * self.channels * LANES

    def emit(self, code: Code, names: Names) -> None:
        """Write the loops."""
        self.start(code)
        x = at("x", self.reads[0].offset)
        code(f"dot_{self.channels}({x}, {self.in_lanes}, {self.name}_weights, sums);")
        self.end(code, names)

    def start(self, code: Code) -> None:
        """Declare the sums, all 0."""
        size = self.channels * LANES
        code(f"float sums[{size}];")
        code(f"for (int i = 0; i < {size}; i++)", "    sums[i] = 0.0f;")

    def end(self, code: Code, names: Names) -> None:
        """Add up the lanes, add what fills none, and store."""
        begin, rest = self.in_lanes, self.inputs - self.in_lanes
        with code.loop("n", self.channels) as n:
            code(f"float sum = {bias(self, n)};")
            with code.block(f"for (int lane = 0; lane < {LANES}; lane++)"):
                code(f"sum += sums[{add(multiply(n, LANES), 'lane')}];")
            if rest:
                place = add(multiply(n, rest), "k", begin * self.channels)
                with code.block(f"for (int k = 0; k < {rest}; k++)"):
                    code(f"sum += x[{add('k', begin + self.reads[0].offset)}] * {self.name}_weights[{place}];")
            self.store(code, (*self.before, *self.after), "sum", Place(0, n), names)


@dataclass(eq=False)
class Streamed(Step):
    """A convolution whose rows of pixels are multiplied by a matrix as they come: only one of them is ever stored."""

    convolution: FewTaps
    product: Vector

    @staticmethod
    def joined(first: Step, second: Step) -> Streamed | None:
        """The two steps in one, if they are of that kind, and nothing else reads what lies between them."""
        if not isinstance(first, FewTaps) or not isinstance(second, Vector):
            return None
        between, read = first.writes.buffer, second.reads[0]
        row = 4 * first.extents[-1] * first.channels
        if read.buffer is not between or read.size != between.size or first.channels % LANES or row > LONGEST_ROW:
            return None
        comment = f"{first.comment}, then {second.comment}"
        return Streamed(second.name, comment, first.reads, second.writes, first, second)

    def buffers(self) -> list[Buffer]:
        """What it reads: its input, and what its operations read."""
        between = self.convolution.writes.buffer
        own = [*self.convolution.buffers(), *self.product.buffers()]
        return [buffer for buffer in dict.fromkeys(own) if buffer is not between]

    def arrays(self) -> Mapping[str, Array]:
        """Its weights in the order in which they are read, and its bias."""
        return {**self.convolution.arrays(), **self.product.arrays()}

    def kernels(self) -> Sequence[Kernel]:
        """The inner loops that it calls."""
        return [*self.convolution.kernels(), *self.product.kernels()]

    def stack(self) -> int:
        """Bytes of a row of pixels, and of what its product has."""
        return self.product.stack() + 4 * self.convolution.channels * self.convolution.extents[-1]

    def emit(self, code: Code, names: Names) -> None:
        """Write the loops."""
        outputs, length = self.product.channels, self.convolution.channels * self.convolution.extents[-1]
        self.product.start(code)
        with self.convolution.each_row(code, names, "pixels") as row:
            weights = at(f"{self.product.name}_weights", multiply(row, length * outputs))
            code(f"dot_{outputs}(pixels, {length}, {weights}, sums);")
        self.product.end(code, names)


def _distance(product: Product, position: Sequence[int], tap: Sequence[int]) -> int:
    """In floats, from the first tap of the first position to `tap` of `position`."""
    place = [
        at_position * axis.stride + at_tap * axis.dilation
        for at_position, at_tap, axis in zip(position, tap, product.axes, strict=True)
    ]
    return int(element(product, 0, list(place), 0))
