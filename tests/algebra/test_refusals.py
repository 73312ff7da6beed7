"""Each reason for which a law or an exchange refuses, word for word as the user reads it; and that these are all."""

from __future__ import annotations

import ast
import inspect
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from edgebn.algebra import (
    EXCHANGES,
    LAWS,
    Affine,
    Blend,
    Clip,
    Concat,
    Conv,
    Extremum,
    Pad,
    PRelu,
    Product,
    Refusal,
    Reshape,
    Sum,
    absorbing,
    checks,
    clipping,
    exchanges,
    joining,
    travelling,
)
from tests.algebra.examples import (
    BOTH,
    CHANNELS_AND_ROWS,
    HUGE,
    ROWS,
    SCALES,
    SHIFTS,
    SPATIAL,
    TINY,
    TURNED,
    channels,
    clip,
    conv,
    matmul,
    taking,
    transposed,
    window,
)

NO_ADD = "where its scale is 0, no Add before the weights makes up for its shift"
BORDER = "zero padding: the shift would be missing at the border"
UNBORN = "ConvTranspose: not every tap adds its shift, and the extents are not known before run time"
INFINITE = "a folded weight would not be finite in float32"
FAR = "a threshold of the moved clip would not be finite in float32"
UNEQUAL = "the border of Pad would have to be another value in each channel"
FAR_BORDER = "the border of Pad would not be finite in float32"
TURNS = "a negative scale turns the {} into its opposite"
SAMPLES = "it varies along an axis whose elements Reshape moves between samples of the batch"
UNKNOWN_RESHAPE = "Reshape of a tensor whose extents are not known before run time"
UNKNOWN_CONCAT = "Concat of tensors whose extents are not known before run time"
UNKNOWN_PART = "which part of axis 1 is selected is only known at run time"
STRETCHED = ((None, 1, 5, 5), (None, 2, 5, 5))
UNEVEN = "the weights of the pool do not have the same sum everywhere, so that the shift does not pass"


def outside(side: str, known: int = 1, varying: int = 2) -> str:
    return f"it varies along axis {varying}, and the weights only know the {side} channels on axis {known}"


REFUSALS = [
    ("into the previous MatMul", matmul(), channels([1, 2], 0, 3), outside("output", 2, 1)),
    ("into the next MatMul", matmul(), channels([1, 2], 0, 3), outside("input", 2, 1)),
    ("into the previous MatMul", matmul(2.0), channels(3e38, 0, 2), INFINITE),
    ("into the previous MatMul", matmul(2.0), channels([3e38, 1], 0, 2), INFINITE),
    ("into the previous MatMul", matmul(0.0, 2.0), channels(3e38, 0, 2), INFINITE),
    ("into the next MatMul", matmul(2.0), channels(3e38, 0, 2), INFINITE),
    ("into the next MatMul", matmul(2.0), channels(0, 3e38, 2), INFINITE),
    ("into the previous Conv", conv(), ROWS, outside("output")),
    ("into the previous Conv", conv(2.0), HUGE, INFINITE),
    ("into the next Conv", conv(), ROWS, outside("input")),
    ("into the next Conv", conv(), SHIFTS, BORDER),
    ("into the next Conv", conv(pads=None), SHIFTS, BORDER),
    ("into the next Conv", conv(2.0), HUGE, INFINITE),
    ("into the next Conv, behind a Pad by −t/s", conv(), ROWS, outside("input")),
    (
        "into the next Conv, behind a Pad by −t/s",
        conv(pads=None),
        SHIFTS,
        f"{BORDER}, and how much is padded is only known at run time",
    ),
    ("into the next Conv, behind a Pad by −t/s", conv(), SHIFTS, BORDER),
    ("into the next Conv, behind a Pad by −t/s", conv(), channels([0, 1], [1, 0]), BORDER),
    ("into the next Conv, behind a Pad by −t/s", conv(), TINY, BORDER),
    ("into the next Conv, behind a Pad by −t/s", conv(), channels(1e-320, 1e10), BORDER),
    ("into the next Conv, behind a Pad by −t/s", conv(), channels(1, -checks.LARGEST), BORDER),
    ("into the next Conv, behind a Pad by −t/s", conv(2.0), HUGE, INFINITE),
    ("into the next Conv, behind an Add of t/s", conv(), ROWS, outside("input")),
    ("into the next Conv, behind an Add of t/s", conv(), channels([0, 1], [1, 0]), NO_ADD),
    ("into the next Conv, behind an Add of t/s", conv(), channels(1e-30, 1e30), NO_ADD),
    ("into the next Conv, behind an Add of t/s", conv(2.0), HUGE, INFINITE),
    (
        "into the next Conv, behind an Add of t/s",
        conv(extents=(5, 5), strides=(2, 2)),
        SHIFTS,
        "a constant map behind the weights is smaller than an Add before them",
    ),
    ("into the next Conv, plus a constant map", conv(), ROWS, outside("input")),
    (
        "into the next Conv, plus a constant map",
        conv(extents=(5, None)),
        SHIFTS,
        f"{BORDER}, and the extents are not known before run time",
    ),
    (
        "into the next Conv, plus a constant map",
        conv(extents=(512, 257)),
        SHIFTS,
        "the constant map that would make up for the missing shift is too large",
    ),
    ("into the next Conv, plus a constant map", conv(2.0), HUGE, INFINITE),
    ("into the next Conv, plus a constant map", conv(2.0), channels(1, 3e38), INFINITE),
    ("into the previous ConvTranspose", transposed(), ROWS, outside("output")),
    ("into the previous ConvTranspose", transposed(2.0), HUGE, INFINITE),
    ("into the next ConvTranspose", transposed(), ROWS, outside("input")),
    (
        "into the next ConvTranspose",
        transposed(pads=((0, 0), (0, 0))),
        SHIFTS,
        "ConvTranspose: at its border and between strides not every tap adds its shift",
    ),
    ("into the next ConvTranspose", transposed(2.0), HUGE, INFINITE),
    ("into the next ConvTranspose, behind an Add of t/s", transposed(), ROWS, outside("input")),
    ("into the next ConvTranspose, behind an Add of t/s", transposed(), channels([0, 1], [1, 0]), NO_ADD),
    ("into the next ConvTranspose, behind an Add of t/s", transposed(2.0, outputs=(None, 5)), HUGE, INFINITE),
    ("into the next ConvTranspose, plus a constant map", transposed(), ROWS, outside("input")),
    ("into the next ConvTranspose, plus a constant map", transposed(pads=None), SHIFTS, UNBORN),
    ("into the next ConvTranspose, plus a constant map", transposed(extents=(5, None)), SHIFTS, UNBORN),
    ("into the next ConvTranspose, plus a constant map", transposed(outputs=(5, None)), SHIFTS, UNBORN),
    ("into the next ConvTranspose, plus a constant map", transposed(2.0), HUGE, INFINITE),
    ("into the previous affine", HUGE, channels(2, 0), INFINITE),
    ("into the next affine", HUGE, channels(0, 2), INFINITE),
    ("back through a clip", clip(2.0), HUGE, FAR),
    ("back through a clip", clip(-np.inf, -2.0), HUGE, FAR),
    ("back through a clip", clip(2.0), channels([3e38, 1], 0), FAR),
    ("on through a clip", clip(2.0), TINY, FAR),
    ("on through a clip", clip(0.0), channels(1e-320, 1e10), FAR),
    ("back through PRelu", PRelu(np.ones(())), SHIFTS, "a shift does not pass PRelu, whose kink is at 0"),
    ("on through PRelu", PRelu(np.ones(())), SHIFTS, "a shift does not pass PRelu, whose kink is at 0"),
    *(
        (law, PRelu(np.array(slope)), TURNED, "a negative scale turns PRelu around, which takes a positive slope")
        for law in ("back through PRelu", "on through PRelu")
        for slope in (0.0, -0.5, 1e-39)
    ),
    ("back through a maximum", Extremum((2, 3)), TURNED, TURNS.format("maximum")),
    ("on through a maximum", Extremum((2, 3), largest=False), TURNED, TURNS.format("minimum")),
    ("back through a maximum", Extremum((2, 3)), ROWS, "it varies along axis 2, whose elements the maximum mixes"),
    ("on through a maximum", Extremum((2,), False), ROWS, "it varies along axis 2, whose elements the minimum mixes"),
    ("back through a mean", Blend((2, 3)), ROWS, "it varies along axis 2, whose elements the pool or mean mixes"),
    ("on through a mean", Blend((2, 3)), ROWS, "it varies along axis 2, whose elements the pool or mean mixes"),
    ("back through a mean", Blend((2, 3), None), SHIFTS, UNEVEN),
    ("on through a mean", Blend((2, 3), None), SHIFTS, UNEVEN),
    ("back through Pad", Pad(SPATIAL, 0.0), SHIFTS, UNEQUAL),
    ("back through Pad", Pad(CHANNELS_AND_ROWS, 0.0), channels(1, [3, 4, 0]), UNEQUAL),
    ("back through Pad", Pad(SPATIAL, checks.LARGEST), TURNED, UNEQUAL),
    ("back through Pad", Pad(SPATIAL, -checks.LARGEST), channels([0, 1], 0), UNEQUAL),
    ("back through Pad", Pad(SPATIAL, 2.0), HUGE, FAR_BORDER),
    ("back through Pad", Pad(SPATIAL, 1.0), channels(checks.LARGEST, 0), FAR_BORDER),
    ("on through Pad", Pad(SPATIAL, 0.0), SHIFTS, UNEQUAL),
    ("on through Pad", Pad(SPATIAL, checks.LARGEST), TURNED, UNEQUAL),
    ("on through Pad", Pad(SPATIAL, 0.0), TINY, FAR_BORDER),
    ("on through Pad", Pad(SPATIAL, 0.0), channels(1e-320, 1e10), FAR_BORDER),
    ("on through Pad", Pad(CHANNELS_AND_ROWS, 0.0), BOTH, "Pad adds to an axis along which it varies, and to another"),
    (
        "on through Pad",
        Pad(SPATIAL, 0.0),
        channels([0, 1], 1),
        "a scale of 0 would have to make another value of the border of Pad",
    ),
    ("on through Reshape", Reshape(("n", 2), ("m", 4)), channels([1, 2], 0, 2), SAMPLES),
    ("back through Reshape", Reshape(("m", 4), ("n", 2)), channels([1, 2], 0, 2), SAMPLES),
    ("on through Reshape", Reshape(("n", 2), ("n", 3)), channels([1, 2], 0, 2), SAMPLES),
    ("on through Reshape", Reshape(("n", 2), ("m", None)), channels([1, 2], 0, 2), UNKNOWN_RESHAPE),
    ("on through Reshape", Reshape((None, None, 2), (None, 4)), channels([1, 2], 0, 3), UNKNOWN_RESHAPE),
    ("on through Reshape", Reshape((None, None, 2), (None, None, 2)), channels([1, 2], 0, 3), UNKNOWN_RESHAPE),
    ("on through Reshape", Reshape(("n", "h", 4), ("n", None, None, 4)), channels([1, 2], 0, 3), UNKNOWN_RESHAPE),
    ("on through Reshape", Reshape(("n", "h", 2), ("n", None)), Affine([[[1, 2]]], 0), UNKNOWN_RESHAPE),
    ("on through Reshape", Reshape(("n", 6), ("n", 2, None)), channels(range(6), 0, 2), UNKNOWN_RESHAPE),
    ("on through Reshape", Reshape(("n", 2, None), ("n", 6)), channels([1, 2], 0, 3), UNKNOWN_RESHAPE),
    ("back through Reshape", Reshape((None, 4), (None, None, 2)), channels([1, 2], 0, 3), UNKNOWN_RESHAPE),
    ("on through a selection", taking(None), SCALES, UNKNOWN_PART),
    ("back through a selection", taking(None), SCALES, UNKNOWN_PART),
    ("back through a selection", taking(0, 1, extent=None), SCALES, UNKNOWN_PART),
    ("back through a selection", taking(None, shared=True), channels(2, 0), UNKNOWN_PART),
    ("back through a selection", taking(0, 0), SCALES, "a position of axis 1 is selected twice"),
    ("back through Concat", Concat(1, (1, None)), SCALES, UNKNOWN_CONCAT),
    ("on through Concat", Concat(1, (2, None)), SCALES, UNKNOWN_CONCAT),
    (
        "back through a sum",
        Sum((1.0, 1.0), STRETCHED),
        SCALES,
        "Add stretches a tensor along an axis along which the scale varies",
    ),
    (
        "back through a sum",
        Sum((1.0, 1.0), STRETCHED),
        SHIFTS,
        "Add stretches the tensor along an axis along which the shift varies",
    ),
    (
        "on through a sum",
        Sum((1.0, 1.0), STRETCHED, 1),
        SCALES,
        "Add: the other tensor does not have the same scale",
    ),
    ("back through a product", Product(STRETCHED), SHIFTS, "a shift does not pass the product of two tensors"),
    *(
        (
            "back through a product",
            Product(shapes),
            SCALES,
            "Mul stretches the tensor along an axis along which the scale varies",
        )
        for shapes in (STRETCHED, ((None, None, 5, 5), (None, 2, 5, 5)))
    ),
    ("on through a product", Product(STRETCHED, 1), SHIFTS, "a shift does not pass the product of two tensors"),
]

EVERYWHERE = "not bounded on exactly one side everywhere"
NOT_ONE_VALUE = "the clip does not map one value to the padding in all channels"
OFF_THE_TAPS = "the taps of one convolution do not fall on taps of the other"
CHANGES = "the convolution changes the extents or the number of channels"

NOT_EXCHANGED = [
    ("a clip as ReLU", (clip(0.0, 6.0),), EVERYWHERE),
    ("a clip as ReLU", (clip([0.0, -np.inf]),), EVERYWHERE),
    (
        "a pool before a clip",
        (Extremum((1,)), clip([0, 1])),
        "the bounds of the clip vary inside the window of the pool",
    ),
    (
        "a pool before a clip",
        (Extremum((2, 3)), Clip(ROWS.shift, ROWS.scale)),
        "the bounds of the clip vary inside the window of the pool",
    ),
    ("a Pad before a clip", (clip(0.0), SCALES, conv(pads=None)), "how much is padded is only known at run time"),
    (
        "a Pad before a clip",
        (Clip(ROWS.shift, ROWS.scale), SCALES, conv()),
        "the clip, or what follows it, varies along a padded axis",
    ),
    (
        "a Pad before a clip",
        (Clip(ROWS.shift, ROWS.scale), SCALES, conv(pads=((0, 1), (0, 0)))),
        "the clip, or what follows it, varies along a padded axis",
    ),
    ("a Pad before a clip", (clip(0.0), ROWS, conv()), "the clip, or what follows it, varies along a padded axis"),
    ("a Pad before a clip", (clip(0.0), SHIFTS, conv()), NOT_ONE_VALUE),
    ("a Pad before a clip", (clip([-3, -np.inf], [np.inf, -4]), BOTH, conv()), NOT_ONE_VALUE),
    (
        "two convolutions of one tensor as one",
        (conv(), conv(strides=(1, 2))),
        "the two convolutions have other strides or groups",
    ),
    (
        "two convolutions of one tensor as one",
        (conv(), conv(groups=2)),
        "the two convolutions have other strides or groups",
    ),
    (
        "two convolutions of one tensor as one",
        (conv(), Conv(np.ones((1, 2, 3, 3)), np.zeros(1), 1, window())),
        "the two convolutions have other channels",
    ),
    ("two convolutions of one tensor as one", (conv(), conv(pads=None)), OFF_THE_TAPS),
    ("two convolutions of one tensor as one", (conv(pads=None), conv()), OFF_THE_TAPS),
    *(
        ("two convolutions of one tensor as one", pair, OFF_THE_TAPS)
        for pair in (
            # the extents of the results differ
            (conv(), conv(size=(1, 1))),
            # a tap before the first one, behind the last one, between two
            (conv(pads=((0, 2), (1, 1))), conv(size=(2, 2), pads=((1, 0), (0, 1)))),
            (conv(pads=((2, 0), (1, 1))), conv(size=(2, 2), pads=((0, 1), (0, 1)))),
            (conv(size=(2, 3), dilations=(2, 1)), conv(size=(3, 1), pads=((1, 1), (0, 0)))),
        )
    ),
    ("an affine as a convolution", (SCALES, conv(strides=(1, 2))), CHANGES),
    ("an affine as a convolution", (SCALES, Conv(np.ones((1, 2, 3, 3)), np.zeros(1), 1, window())), CHANGES),
    ("an affine as a convolution", (ROWS, conv()), "it varies along another axis than the channels"),
    ("an affine as a convolution", (ROWS.after(SCALES), conv()), "it varies along another axis than the channels"),
]


@pytest.mark.parametrize(("name", "operator", "affine", "reason"), REFUSALS)
def test_law_refuses_with_a_reason(name: str, operator: Any, affine: Affine, reason: str) -> None:
    (law,) = (law for law in LAWS if law.name == name)
    assert isinstance(operator, law.operator)
    assert law.rule(operator, affine) == Refusal(reason)


@pytest.mark.parametrize(("name", "operators", "reason"), NOT_EXCHANGED)
def test_exchange_refuses_with_a_reason(name: str, operators: tuple[Any, ...], reason: str) -> None:
    assert EXCHANGES[name](*operators) == Refusal(reason)


@pytest.mark.parametrize("module", [absorbing, checks, clipping, exchanges, joining, travelling])
def test_every_reason_has_a_case(module: ModuleType) -> None:
    """Each piece of text in a call of `Refusal` is part of a reason above."""
    reasons = [reason for *_, reason in (*REFUSALS, *NOT_EXCHANGED)]
    calls = [
        node
        for node in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Refusal"
    ]
    for node in (each for call in calls for each in ast.walk(call)):
        text = node.value if isinstance(node, ast.Constant) else getattr(module, getattr(node, "id", ""), None)
        assert not isinstance(text, str) or any(text in reason for reason in reasons), text
