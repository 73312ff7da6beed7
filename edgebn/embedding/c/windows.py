"""Windows that slide along an axis: which of their taps lie inside of the input."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from edgebn.embedding.c.text import Code, Index, add, atom, multiply

EDGES = (("front", "back"), ("top", "bottom"), ("left", "right"))
"""What the first tap inside, and the first behind it, are called along three axes."""


@dataclass(frozen=True)
class Axis:
    """One spatial axis of a convolution or pool: output o sees inputs o·stride − pad + t·dilation, t < kernel."""

    inputs: int
    outputs: int
    kernel: int = 1
    stride: int = 1
    pad: int = 0
    dilation: int = 1

    @property
    def reaches_over(self) -> bool:
        """Whether some window has a tap outside of the input."""
        return self.pad > 0 or self.reaches_over_the_end

    @property
    def is_plain(self) -> bool:
        """Whether every output sees the one input at its own place."""
        return self.kernel == self.stride == 1 and not self.reaches_over and self.inputs == self.outputs

    @property
    def inside(self) -> tuple[int, int]:
        """The outputs first ≤ o < last whose windows have no tap outside of the input."""
        room = self.inputs - 1 - (self.kernel - 1) * self.dilation + self.pad
        return -(-self.pad // self.stride), min(self.outputs, room // self.stride + 1)

    @property
    def reach(self) -> int:
        """From the first tap of the first window to the last of the last, both included."""
        return (self.outputs - 1) * self.stride + (self.kernel - 1) * self.dilation + 1

    @property
    def reaches_over_the_end(self) -> bool:
        """Whether the last window has a tap behind the input."""
        return self.reach - self.pad > self.inputs


@dataclass(frozen=True)
class Range:
    """The taps first ≤ t < last of a window whose tap 0 lies at `start`."""

    axis: Axis
    start: Index
    first: Index
    last: Index

    @staticmethod
    def whole(axis: Axis, start: Index) -> Range:
        """All taps."""
        return Range(axis, start, 0, axis.kernel)

    @staticmethod
    def of(code: Code, axis: Axis, output: Index, names: tuple[str, str]) -> Range:
        """The taps that are inside, for the window of `output`. Declares what is not known before, under two names."""
        first, last = names
        start = add(multiply(output, axis.stride), -axis.pad)
        if not axis.reaches_over:
            return Range.whole(axis, start)
        if isinstance(start, int):
            return Range(axis, start, *_inside(axis, start))
        origin, d = f"{first}_edge", axis.dilation
        code(f"const int {origin} = {start};")
        begin: Index = 0
        if axis.pad:
            skipped = f"-{origin}" if d == 1 else f"({d - 1} - {origin}) / {d}"
            code(f"const int {first} = {origin} < 0 ? {skipped} : 0;")
            begin = first
        end: Index = axis.kernel
        if axis.reaches_over_the_end:
            room = f"{axis.inputs} - {origin}" if d == 1 else f"({axis.inputs + d - 1} - {origin}) / {d}"
            code(f"const int {last} = {room} < {axis.kernel} ? {room} : {axis.kernel};")
            end = last
        return Range(axis, origin, begin, end)

    def count(self) -> Index:
        """How many taps there are."""
        if isinstance(self.last, int) and isinstance(self.first, int):
            return self.last - self.first
        return f"{self.last} - {atom(self.first)}" if self.first else self.last

    def place(self, tap: Index) -> Index:
        """The input that a tap sees."""
        return add(self.start, multiply(tap, self.axis.dilation))

    @contextlib.contextmanager
    def each(self, code: Code, index: str) -> Iterator[Index]:
        """Loop over the taps."""
        if self.axis.kernel == 1 and not self.axis.reaches_over:
            yield 0
            return
        with code.block(f"for (int {index} = {self.first}; {index} < {self.last}; {index}++)"):
            yield index


def _inside(axis: Axis, start: int) -> tuple[int, int]:
    taps = [tap for tap in range(axis.kernel) if 0 <= start + tap * axis.dilation < axis.inputs]
    return (taps[0], taps[-1] + 1) if taps else (0, 0)
