"""Pools that stand alone: over windows of neighbouring pixels, all channels at once."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from edgebn.embedding.c.kernels import Kernel
from edgebn.embedding.c.memory import Buffer
from edgebn.embedding.c.steps import Applied, Names, Step, exponentials, expression
from edgebn.embedding.c.text import Code, Index, add, at, atom, literal, multiply
from edgebn.embedding.c.windows import EDGES, Axis, Range


@dataclass(eq=False)
class Pool(Step):
    """The largest or the mean of each window. x and y have their channels last; `after` is strided (pixel, channel).

    `counts_padding`: whether what the padding adds to a window counts in a mean; `padded` are the extents with it.
    """

    kind: str
    images: int
    channels: int
    axes: tuple[Axis, Axis, Axis]
    counts_padding: bool
    padded: tuple[int, int, int]
    after: tuple[Applied, ...]

    def buffers(self) -> list[Buffer]:
        """What it reads: its input, and what its operations read."""
        applied = [each for operation in self.after for each in operation.buffers()]
        return list(dict.fromkeys([self.reads[0].buffer, *applied]))

    def kernels(self) -> Sequence[Kernel]:
        """The inner loops that it calls."""
        return exponentials(self.after)

    def emit(self, code: Code, names: Names) -> None:
        """Write the loops."""
        depth, height, width = self.axes
        with (
            code.loop("sample", self.images) as image,
            code.loop("slice", depth.outputs) as plane,
            code.loop("row", height.outputs) as row,
            code.loop("column", width.outputs) as column,
        ):
            place = (plane, row, column)
            ranges = [Range.of(code, *each) for each in zip(self.axes, place, EDGES, strict=True)]
            pixel: Index = image
            for axis, index in zip(self.axes, place, strict=True):
                pixel = add(multiply(pixel, axis.outputs), index)
            code(f"float *restrict out = {at(names(self.writes.buffer), multiply(pixel, self.channels))};")
            with code.loop("c", self.channels) as c:
                code(f"out[{c}] = {'-INFINITE' if self.kind == 'Max' else '0.0f'};")
            self._visit(code, image, ranges)
            self._finish(code, ranges, place, pixel, names)

    def _visit(self, code: Code, image: Index, ranges: Sequence[Range]) -> None:
        with contextlib.ExitStack() as stack:
            taps = [stack.enter_context(each.each(code, letter)) for each, letter in zip(ranges, "ijk", strict=True)]
            source: Index = image
            for each, tap in zip(ranges, taps, strict=True):
                source = add(multiply(source, each.axis.inputs), each.place(tap))
            start = add(multiply(source, self.channels), self.reads[0].offset)
            code(f"const float *restrict in = {at('x', start)};")
            with code.loop("c", self.channels) as c:
                if self.kind == "Max":
                    code(f"out[{c}] = out[{c}] < in[{c}] ? in[{c}] : out[{c}];")
                else:
                    code(f"out[{c}] += in[{c}];")

    def _finish(self, code: Code, ranges: Sequence[Range], place: Sequence[Index], pixel: Index, names: Names) -> None:
        if self.kind == "Max" and not self.after:
            return
        scale = ""
        if self.kind == "Average":
            scale = f" * {self._share(code, ranges, place)}"
        with code.loop("c", self.channels) as c:
            if not self.after:
                code(f"out[{c}] = out[{c}]{scale};")
                return
            code(f"float value = out[{c}]{scale};")
            for operation in self.after:
                where = {each: each.strides for each in operation.operands if each is not None}
                code(f"value = {expression(operation, where, (pixel, c), names)};")
            code(f"out[{c}] = value;")

    def _share(self, code: Code, ranges: Sequence[Range], place: Sequence[Index]) -> str:
        """1 / the number of elements that a window's mean is over."""
        if self.counts_padding:
            ranges = [
                Range.of(code, Axis(extent, axis.outputs, axis.kernel, axis.stride, 0, axis.dilation), index, edge)
                for axis, extent, index, edge in zip(
                    self.axes, self.padded, place, (("fore", "aft"), ("up", "down"), ("port", "star")), strict=True
                )
            ]
        counts = [each.count() for each in ranges]
        number, symbolic = 1, []
        for count in counts:
            if isinstance(count, int):
                number *= count
            else:
                symbolic.append(atom(count))
        if not symbolic:
            return literal(1 / number)
        product = " * ".join([*symbolic, *([str(number)] if number > 1 else [])])
        code(f"const float share = 1.0f / (float)({product});")
        return "share"
