"""The table of the laws of folding.

An operator f and an affine A meet in one of two ways. A law says what becomes of both:

    backward   A ∘ f  =  f' ∘ A'        A stands behind f and moves towards the input
    forward    f ∘ A  =  A' ∘ f'        A stands before f and moves towards the output

If A' is the identity, f has absorbed A. A law is a pure function (f, A) → `Outcome`(f', A') or `Refusal`(reason), in
float64. Where several apply to one operator, the first that does not refuse is taken.

To add a law: write the function with its equation, add a row here, and a strategy to the property test.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edgebn.algebra import absorbing, clipping, joining, travelling
from edgebn.algebra.affine import Affine
from edgebn.algebra.operators import (
    Blend,
    Clip,
    Concat,
    Conv,
    ConvTranspose,
    Direction,
    Extremum,
    MatMul,
    Operator,
    Outcome,
    Pad,
    PRelu,
    Product,
    Refusal,
    Reshape,
    Select,
    Sum,
    Transpose,
)


@dataclass(frozen=True)
class Law:
    """One row of the table: which operator, which way, and the function."""

    name: str
    direction: Direction
    operator: type[Operator]
    rule: Callable[[Any, Affine], Outcome | Refusal]


LAWS: tuple[Law, ...] = (
    Law("into the previous MatMul", "backward", MatMul, absorbing.into_previous_matmul),
    Law("into the next MatMul", "forward", MatMul, absorbing.into_next_matmul),
    Law("into the previous Conv", "backward", Conv, absorbing.into_previous_conv),
    Law("into the next Conv", "forward", Conv, absorbing.into_next_conv),
    Law("into the next Conv, behind a Pad by −t/s", "forward", Conv, absorbing.into_next_conv_behind_pad),
    Law("into the next Conv, behind an Add of t/s", "forward", Conv, absorbing.into_next_conv_behind_add),
    Law("into the next Conv, plus a constant map", "forward", Conv, absorbing.into_next_conv_plus_map),
    Law("into the previous ConvTranspose", "backward", ConvTranspose, absorbing.into_previous_conv_transpose),
    Law("into the next ConvTranspose", "forward", ConvTranspose, absorbing.into_next_conv_transpose),
    Law(
        "into the next ConvTranspose, behind an Add of t/s",
        "forward",
        ConvTranspose,
        absorbing.into_next_conv_transpose_behind_add,
    ),
    Law(
        "into the next ConvTranspose, plus a constant map",
        "forward",
        ConvTranspose,
        absorbing.into_next_conv_transpose_plus_map,
    ),
    Law("into the previous affine", "backward", Affine, absorbing.into_previous_affine),
    Law("into the next affine", "forward", Affine, absorbing.into_next_affine),
    Law("back through a clip", "backward", Clip, clipping.back_through_clip),
    Law("on through a clip", "forward", Clip, clipping.on_through_clip),
    Law("back through PRelu", "backward", PRelu, clipping.back_through_prelu),
    Law("on through PRelu", "forward", PRelu, clipping.on_through_prelu),
    Law("back through a maximum", "backward", Extremum, travelling.back_through_extremum),
    Law("on through a maximum", "forward", Extremum, travelling.on_through_extremum),
    Law("back through a mean", "backward", Blend, travelling.back_through_blend),
    Law("on through a mean", "forward", Blend, travelling.on_through_blend),
    Law("back through Pad", "backward", Pad, travelling.back_through_pad),
    Law("on through Pad", "forward", Pad, travelling.on_through_pad),
    Law("back through Transpose", "backward", Transpose, travelling.back_through_transpose),
    Law("on through Transpose", "forward", Transpose, travelling.on_through_transpose),
    Law("back through Reshape", "backward", Reshape, travelling.back_through_reshape),
    Law("on through Reshape", "forward", Reshape, travelling.on_through_reshape),
    Law("back through a selection", "backward", Select, travelling.back_through_select),
    Law("on through a selection", "forward", Select, travelling.on_through_select),
    Law("back through Concat", "backward", Concat, joining.back_through_concat),
    Law("on through Concat", "forward", Concat, joining.on_through_concat),
    Law("back through a sum", "backward", Sum, joining.back_through_sum),
    Law("on through a sum", "forward", Sum, joining.on_through_sum),
    Law("back through a product", "backward", Product, joining.back_through_product),
    Law("on through a product", "forward", Product, joining.on_through_product),
)

_ROWS = {
    (operator, direction): tuple(law for law in LAWS if law.operator is operator and law.direction == direction)
    for operator in {law.operator for law in LAWS}
    for direction in ("backward", "forward")
}


def laws_for(operator: Operator, direction: Direction) -> tuple[Law, ...]:
    """The rows of the table that apply to `operator`, in the order of the table."""
    return _ROWS[type(operator), direction]
