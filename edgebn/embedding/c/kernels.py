"""The inner loops, as C functions that the steps share.

A sum along one row of numbers can not be vectorised without changing the order of its additions, which no compiler
may do. Here the lanes of a vector are always different sums, and the arrays that hold them fit into the registers:
gcc and clang keep them there, since their sizes are constant and the loops over them are the innermost. The exact
spelling matters: inputs are walked by a pointer, weights by an index; else gcc 12 or clang 14 spills the sums.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgebn.embedding.c.functions import FUNCTIONS
from edgebn.embedding.c.text import Code, add, multiply

LANES = 8
"""Partial sums of a dot product."""

ENOUGH_CHANNELS = 64
"""With fewer, a single position has too few sums to hide the latency of their additions; it then has two of each."""


@dataclass(frozen=True, order=True)
class Kernel:
    """A C function. What `positions` and `channels` mean depends on the kind."""

    kind: str
    positions: int = 0
    channels: int = 0

    @property
    def name(self) -> str:
        """Its C name."""
        if self.kind in FUNCTIONS:
            return self.kind
        return f"{self.kind}_{self.positions}x{self.channels}" if self.kind == "accumulate" else f"dot_{self.channels}"

    def stack(self) -> int:
        """Bytes of its arrays on the stack."""
        sums = LANES if self.kind == "dot" else max(self.positions, 2)
        return 4 * sums * self.channels

    def text(self) -> str:
        """Its C definition."""
        if self.kind in FUNCTIONS:
            return FUNCTIONS[self.kind]
        return _dot(self) if self.kind == "dot" else _accumulate(self)


def _accumulate(kernel: Kernel) -> str:
    return _several(kernel) if kernel.positions > 1 else _single(kernel)


def _several(kernel: Kernel) -> str:
    positions, channels = range(kernel.positions), kernel.channels
    code = Code()
    code(
        "/* sums[p][c] += sum over r < rows, k < length of x[p * step + r * x_row + k] * w[r * w_row + k][c],",
        f"   for p < {kernel.positions}, c < {channels} */",
        f"static inline void {kernel.name}(const float *restrict x, int step, int rows, int x_row, int length,",
        "    const float *restrict w, int w_row, float *restrict sums)",
    )
    with code.block(""):
        code("float " + ", ".join(f"s{p}[{channels}]" for p in positions) + ";")
        with code.block(f"for (int c = 0; c < {channels}; c++)"):
            code(*(f"s{p}[c] = sums[{add(p * channels, 'c')}];" for p in positions))
        with code.block("for (int r = 0; r < rows; r++, x += x_row, w += w_row)"):
            code("const float *in = x;")
            with (
                code.block("for (int k = 0; k < length; k++, in++)"),
                code.block(f"for (int c = 0; c < {channels}; c++)"),
            ):
                code(*(f"s{p}[c] += in[{multiply('step', p)}] * w[k * {channels} + c];" for p in positions))
        with code.block(f"for (int c = 0; c < {channels}; c++)"):
            code(*(f"sums[{add('c', p * channels)}] = s{p}[c];" for p in positions))
    return str(code)


def _single(kernel: Kernel) -> str:
    channels = kernel.channels
    halves = range(1 if channels >= ENOUGH_CHANNELS else 2)
    code = Code()
    code(
        f"/* sums[c] += sum over r < rows, k < length of x[r * x_row + k] * w[r * w_row + k][c], for c < {channels} */",
        f"static inline void {kernel.name}(const float *restrict x, int rows, int x_row, int length,",
        "    const float *restrict w, int w_row, float *restrict sums)",
    )
    with code.block(""):
        code("float " + ", ".join(f"s{half}[{channels}]" for half in halves) + ";")
        with code.block(f"for (int c = 0; c < {channels}; c++)"):
            code("s0[c] = sums[c];", *("s1[c] = 0.0f;" for half in halves[1:]))
        with code.block("for (int r = 0; r < rows; r++, x += x_row, w += w_row)"):
            if len(halves) == 1:
                with (
                    code.block("for (int k = 0; k < length; k++)"),
                    code.block(f"for (int c = 0; c < {channels}; c++)"),
                ):
                    code(f"s0[c] += x[k] * w[k * {channels} + c];")
            else:
                code("int k = 0;")
                with code.block("for (; k + 2 <= length; k += 2)"), code.block(f"for (int c = 0; c < {channels}; c++)"):
                    code(
                        f"s0[c] += x[k] * w[k * {channels} + c];",
                        f"s1[c] += x[k + 1] * w[k * {channels} + {channels} + c];",
                    )
                with code.block("if (k < length)"), code.block(f"for (int c = 0; c < {channels}; c++)"):
                    code(f"s0[c] += x[k] * w[k * {channels} + c];")
        with code.block(f"for (int c = 0; c < {channels}; c++)"):
            code("sums[c] = " + " + ".join(f"s{half}[c]" for half in halves) + ";")
    return str(code)


def _dot(kernel: Kernel) -> str:
    outputs = range(kernel.channels)
    code = Code()
    code(
        f"/* sums[n][lane] += sum over the k = lane (mod {LANES}) below length of x[k] * w[k / {LANES}][n][lane],",
        f"   for n < {kernel.channels}, lane < {LANES}; length is a multiple of {LANES} */",
        f"static inline void {kernel.name}(const float *restrict x, int length, const float *restrict w,",
        "    float *restrict sums)",
    )
    with code.block(""):
        code(f"float {', '.join(f's{n}[{LANES}]' for n in outputs)};")
        with code.block(f"for (int lane = 0; lane < {LANES}; lane++)"):
            code(*(f"s{n}[lane] = sums[{add('lane', n * LANES)}];" for n in outputs))
        with (
            code.block(f"for (int k = 0; k < length; k += {LANES})"),
            code.block(f"for (int lane = 0; lane < {LANES}; lane++)"),
        ):
            for n in outputs:
                place = add(multiply("k", kernel.channels), "lane", n * LANES)
                code(f"s{n}[lane] += x[k + lane] * w[{place}];")
        with code.block(f"for (int lane = 0; lane < {LANES}; lane++)"):
            code(*(f"sums[{add('lane', n * LANES)}] = s{n}[lane];" for n in outputs))
    return str(code)
