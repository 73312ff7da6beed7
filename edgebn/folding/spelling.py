"""From operators of the algebra back to ONNX: the nodes that each is written as, and what they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from edgebn.algebra import Affine, Array, Clip, Conv, MatMul, Operator

_LARGEST = float(np.finfo(np.float32).max)
_FUSED = {"Relu", "Clip"}  # onnxruntime computes them inside of the Conv or Gemm before them
_FUSING = {"Conv", "Gemm"}
_SLOW = {"Max": 4, "Min": 4}  # by a constant for each channel, measured against Mul, Relu and BatchNormalization


@dataclass(frozen=True, eq=False)
class Word:
    """One ONNX node with a single tensor input, followed by constants; None leaves an optional input out.

    `attributes` None: those of the node that it replaces.
    """

    op_type: str
    constants: tuple[tuple[str, Array | None], ...] = ()
    attributes: Mapping[str, float] | None = field(default_factory=dict)


@dataclass(frozen=True, order=True)
class Cost:
    """Nodes first, then the tensor elements that pass through nodes that can not be fused, slow ones weighted."""

    nodes: int = 0
    elements: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.nodes + other.nodes, self.elements + other.elements)

    def __sub__(self, other: Cost) -> Cost:
        return Cost(self.nodes - other.nodes, self.elements - other.elements)


def spell(operators: Sequence[Operator], op_type: str, rank: int) -> tuple[Word, ...]:
    """The ONNX nodes for `operators`, in order, on tensors of `rank`; `op_type` is that of the node they replace."""
    return tuple(word for operator in operators for word in _spell_one(operator, op_type, rank))


def cost(words: Sequence[Word], elements: int, producer: str | None) -> Cost:
    """What the nodes cost on a tensor of `elements` per sample, behind a node of type `producer`."""
    total = Cost()
    for word in words:
        fused = word.op_type in _FUSED and producer in _FUSING
        passes = 0 if fused or word.op_type in _FUSING else _SLOW.get(word.op_type, 1)
        total += Cost(1, passes * elements)
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
            bias = ("bias", operator.bias) if operator.bias.any() else ("bias", None)
            return (Word("Conv", (("kernel", operator.kernel), bias), attributes=None),)
        case _:
            return (Word(op_type, attributes=None),)


def _spell_affine(a: Affine) -> tuple[Word, ...]:
    """Nothing, Add, Mul, or both; one BatchNormalization where that is possible."""
    a = a.compressed()
    scales, shifts = bool((a.scale != 1.0).any()), bool(a.shift.any())
    if scales and shifts and a.rank > 2 and a.varying_axes() == (1,):
        channels = a.scale.shape[1]
        return (
            Word(
                "BatchNormalization",
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
    largest = (Word("Max", (("lower", np.maximum(lower, -_LARGEST)),)),) if bounded_below else ()
    smallest = (Word("Min", (("upper", np.minimum(upper, _LARGEST)),)),) if bounded_above else ()
    return largest + smallest


def _spell_matmul(matmul: MatMul, rank: int) -> tuple[Word, ...]:
    if rank == 2:
        bias = ("bias", matmul.bias) if matmul.bias.any() else ("bias", None)
        return (Word("Gemm", (("kernel", matmul.kernel), bias)),)
    product = (Word("MatMul", (("kernel", matmul.kernel),)),)
    return product + ((Word("Add", (("bias", matmul.bias),)),) if matmul.bias.any() else ())
