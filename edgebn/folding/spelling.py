"""From operators of the algebra back to ONNX: the nodes that each is written as, and what they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgebn.algebra import Affine, Clip, Conv, ConvTranspose, MatMul, Operator, Pad, PRelu, Window
from edgebn.algebra.checks import LARGEST

NORMALIZATION = "BatchNormalization"
_FUSED = {"Relu", "Clip"}  # onnxruntime computes them inside of the Conv or Gemm before them
_FUSING = {"Conv", "Gemm"}
_SLOW = {"Max": 4, "Min": 4}  # by a constant for each channel, measured against Mul, Relu and BatchNormalization
_FREE = {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity"}

Attribute = int | float | str | tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Word:
    """One ONNX node with a single tensor input, followed by constants; None leaves an optional input out.

    If it `keeps` the node that it stands for, that node's other inputs and attributes are taken over as they are. Else
    `attributes` are all that it has, and None means those of that node.
    """

    op_type: str
    constants: tuple[tuple[str, np.ndarray[Any, Any] | None], ...] = ()
    attributes: Mapping[str, Attribute] | None = field(default_factory=dict)
    keeps: bool = False


@dataclass(frozen=True, order=True)
class Cost:
    """Nodes first, then the tensor elements that pass through nodes that can not be fused, slow ones weighted."""

    nodes: int = 0
    elements: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.nodes + other.nodes, self.elements + other.elements)

    def __sub__(self, other: Cost) -> Cost:
        return Cost(self.nodes - other.nodes, self.elements - other.elements)


def spell(operators: Sequence[Operator], original: Operator | None, op_type: str, rank: int) -> tuple[Word, ...]:
    """The ONNX nodes for `operators`, in order, on tensors of `rank`.

    `original` is the operator that the node of type `op_type`, which they replace, stood for.
    """
    return tuple(
        word
        for operator in operators
        for word in ((Word(op_type, keeps=True),) if operator is original else _spell_one(operator, op_type, rank))
    )


def cost(words: Sequence[Word], elements: int, producer: str | None) -> Cost:
    """What the nodes cost on a tensor of `elements` per sample, behind a node of type `producer`."""
    total = Cost()
    for word in words:
        fused = word.op_type in _FUSED and producer in _FUSING
        free = fused or word.op_type in _FUSING or word.op_type in _FREE
        total += Cost(1, 0 if free else _SLOW.get(word.op_type, 1) * elements)
        producer = word.op_type
    return total


def _spell_one(operator: Operator, op_type: str, rank: int) -> tuple[Word, ...]:
    match operator:
        case Affine():
            return _spell_affine(operator)
        case Clip():
            return _spell_clip(operator)
        case MatMul():
            return _spell_matmul(operator, rank)
        case Conv():
            return (_spell_conv(operator),)
        case ConvTranspose():
            return (Word("ConvTranspose", (("kernel", operator.kernel), _bias(operator)), attributes=None),)
        case PRelu():
            return (_spell_prelu(operator),)
        case Pad():
            return (_spell_pad(operator),)
        case _:
            return (Word(op_type, keeps=True),)


def _spell_affine(a: Affine) -> tuple[Word, ...]:
    """Nothing, Add, Mul, or both; one BatchNormalization where that is possible."""
    a = a.compressed()
    scales, shifts = bool((a.scale != 1.0).any()), bool(a.shift.any())
    if scales and shifts and a.rank > 2 and a.varying_axes() == (1,):
        channels = a.scale.shape[1]
        return (
            Word(
                NORMALIZATION,
                (
                    ("scale", a.scale.reshape(-1)),
                    ("bias", a.shift.reshape(-1)),
                    ("mean", np.zeros(channels)),
                    ("variance", np.ones(channels)),
                ),
                {"epsilon": 0.0},
            ),
        )
    mul = (Word("Mul", (("scale", a.scale),)),) if scales else ()
    add = (Word("Add", (("shift", a.shift),)),) if shifts else ()
    return mul + add


def _spell_clip(clip: Clip) -> tuple[Word, ...]:
    """Relu or one Clip for bounds that are the same everywhere, else Max, Min, or both.

    The largest finite float32 stands for no bound: exact for every finite input, and no runtime stumbles over it.
    """
    lower, upper = clip.lower, clip.upper
    bounded_below, bounded_above = bool((lower > -np.inf).any()), bool((upper < np.inf).any())
    if (lower == lower.flat[0]).all() and (upper == upper.flat[0]).all():
        if not bounded_below and not bounded_above:
            return ()
        if not bounded_above and lower.flat[0] == 0.0:
            return (Word("Relu"),)
        low = lower.reshape(-1)[0] if bounded_below else None
        high = upper.reshape(-1)[0] if bounded_above else None
        return (Word("Clip", (("min", low), ("max", high))),)
    largest = (Word("Max", (("lower", np.maximum(lower, -LARGEST)),)),) if bounded_below else ()
    smallest = (Word("Min", (("upper", np.minimum(upper, LARGEST)),)),) if bounded_above else ()
    return largest + smallest


def _spell_matmul(matmul: MatMul, rank: int) -> tuple[Word, ...]:
    if rank == 2:
        return (Word("Gemm", (("kernel", matmul.kernel), _bias(matmul))),)
    product = (Word("MatMul", (("kernel", matmul.kernel),)),)
    return product + ((Word("Add", (("bias", matmul.bias),)),) if matmul.bias.any() else ())


def _spell_conv(conv: Conv) -> Word:
    window: Window = conv.window
    attributes: dict[str, Attribute] = {
        "dilations": window.dilations,
        "group": conv.groups,
        "kernel_shape": tuple(conv.kernel.shape[2:]),
        "strides": window.strides,
    }
    if window.pads is not None:
        attributes["pads"] = tuple(pair[0] for pair in window.pads) + tuple(pair[1] for pair in window.pads)
    constants = (("kernel", conv.kernel), _bias(conv))
    return Word("Conv", constants, attributes if window.pads is not None else None)


def _spell_prelu(prelu: PRelu) -> Word:
    slope = prelu.slope.reshape(-1)[0]
    if (prelu.slope == slope).all():
        return Word("LeakyRelu", attributes={"alpha": float(slope)})
    return Word("PRelu", (("slope", prelu.slope),))


def _spell_pad(pad: Pad) -> Word:
    widths = np.array([*(pair[0] for pair in pad.pads), *(pair[1] for pair in pad.pads)], np.int64)
    return Word("Pad", (("pads", widths), ("value", np.array(pad.value))), {"mode": "constant"})


def _bias(operator: Conv | ConvTranspose | MatMul) -> tuple[str, np.ndarray[Any, Any] | None]:
    return "bias", operator.bias if operator.bias.any() else None
