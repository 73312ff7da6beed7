"""Whole ONNX graphs for hypothesis to draw.

What is drawn is one string of bytes, from which the builder takes its choices one after the other. (Hypothesis derives
most of its examples from earlier ones by copying choices; where each is drawn for itself, every other graph is a twin.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from hypothesis import strategies as st

from tests.folding.graph_builder import BATCH, Builder, RandomGraph
from tests.folding.random_pieces import PIECES, linear

LONGEST = 6
CHOICES = 400

INPUTS: Sequence[tuple[int, ...]] = (
    (BATCH, 4, 6, 5),
    (BATCH, 6, 7, 7),
    (BATCH, 2, 4, 6),
    (BATCH, 6),
    (BATCH, 4, 6),
    (BATCH, 2, 4, 3, 4),
)


def random_graphs() -> st.SearchStrategy[RandomGraph]:
    """Graphs of one or two inputs, up to `LONGEST` pieces of one to ten nodes, and one or more outputs."""
    return st.binary(min_size=CHOICES, max_size=CHOICES).map(build)


def build(choices: bytes) -> RandomGraph:
    """The graph that the choices make."""
    builder = Builder(choices)
    shape, dynamic = builder.choose(*INPUTS), builder.seldom()
    builder.input(shape, dynamic=dynamic)
    if builder.seldom():
        builder.input(builder.choose(shape, *INPUTS), dynamic=dynamic)
    for _ in range(builder.choose(*range(1, LONGEST + 1))):
        x = next_tensor(builder)
        builder.choose(*fitting(builder.shapes[x]))(builder, x)
    for leaf in builder.leaves():
        if builder.choose(True, True, True, False):
            linear(builder, leaf)
    return builder.finish()


def next_tensor(builder: Builder) -> str:
    """The latest tensor that can be used; seldom another one, so that it gets a second reader."""
    usable = [name for name in builder.tensors if fitting(builder.shapes[name])]
    return builder.choose(*usable) if builder.seldom() else usable[-1]


@cache
def fitting(shape: tuple[int, ...]) -> list[Callable[[Builder, str], Any]]:
    """What can be added behind a tensor of this shape, each as often as it is to be."""
    return [piece.add for piece in PIECES if piece.fits(shape) for _ in range(piece.often)]
