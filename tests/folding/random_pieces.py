"""The pieces that random graphs are made of: nodes in common patterns, with branches, joins and second readers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from onnx import numpy_helper

from tests.folding.graph_builder import BATCH, Builder, Tensor
from tests.folding.random_nodes import (
    Shape,
    batch_norm,
    bound,
    clip,
    conv,
    conv_transpose,
    dense,
    gather,
    gemm,
    global_pool,
    leaky,
    multiply_add,
    nothing,
    one_constant,
    pad,
    pad_by_infinity,
    pair,
    pool,
    reduction,
    relu,
    rescale,
    reshape,
    resize,
    scale,
    smooth,
    split,
    squeeze,
    take_slice,
    tile,
    transpose,
)

LARGEST = 400
"""Tensors of more elements per sample do not grow any more."""


@dataclass(frozen=True)
class Piece:
    """One way to go on from a tensor of between `least` and `most` axes; `often`: how often, against the others."""

    add: Callable[[Builder, Tensor], Any]
    often: int
    least: int = 2
    most: int = 5
    grows: bool = False

    def fits(self, shape: Shape) -> bool:
        """Whether it can go on from a tensor of this shape."""
        if not self.least <= len(shape) <= self.most or shape[0] != BATCH:
            return False
        return not self.grows or prod(shape[1:]) <= LARGEST


# --- kinds of nodes


def linear(b: Builder, x: Tensor) -> Tensor:
    match len(b.shapes[x]):
        case 2:
            return dense(b, x)
        case 3:
            return b.choose(conv, dense, conv_transpose)(b, x)
        case 4 | 5:
            return b.choose(conv, conv, conv, conv_transpose)(b, x)
    return x


def bordered(b: Builder, x: Tensor) -> Tensor:
    """A border and a rescaling, in either order, where the rescaling must go one way or the other."""
    x = b.choose(linear, smooth)(b, x)
    for step in b.choose((rescale, pad), (pad, rescale)):
        x = step(b, x)
    return linear(b, x)


def leaking(b: Builder, x: Tensor) -> Tensor:
    """A leaky bend between a linear operator and a scale, in either order."""
    steps = b.choose((linear, leaky, scale, smooth), (smooth, scale, leaky, linear))
    for step in steps:
        x = step(b, x)
    return x


def pooled(b: Builder, x: Tensor) -> Tensor:
    """A convolution and its activation, normalized and pooled, in the order of the tutorials."""
    for step in (linear, b.choose(relu, bound), b.choose(batch_norm, multiply_add), pool):
        x = step(b, x)
    return x


def dense_in_each_place(b: Builder, x: Tensor) -> Tensor:
    """A Dense of the channels behind a BatchNormalization node: nothing cancels the Transpose between them."""
    rank = len(b.shapes[x])
    x = b.node("Transpose", batch_norm(b, smooth(b, x)), perm=[0, *range(2, rank), 1])
    return b.node("MatMul", x, b.weight(b.shapes[x][-1], b.choose(2, 3)))


def affine(b: Builder, x: Tensor) -> Tensor:
    return b.choose(batch_norm, multiply_add, one_constant, rescale)(b, x)


def bend(b: Builder, x: Tensor) -> Tensor:
    return b.choose(relu, relu, clip, bound, leaky)(b, x)


def move(b: Builder, x: Tensor) -> Tensor:
    shape = b.shapes[x]
    always = [reshape, squeeze, take_slice, gather, split, nothing, reduction]
    images = [pool, pool, pool, pad, resize, global_pool, transpose] if len(shape) > 2 else []
    return b.choose(*(each for each in (*images, *always) if each is not resize or len(shape) < 5))(b, x)


def block(b: Builder, x: Tensor) -> Tensor:
    """Affines, bends and moves between two linear operators."""
    if b.choose(True, True, True, False):
        x = linear(b, x)
    for _ in range(b.choose(1, 2, 3, 4)):
        if not 2 <= len(b.shapes[x]) <= 5:
            return x
        x = b.choose(affine, affine, bend, move)(b, x)
    return linear(b, x) if b.choose(True, True, True, False) else x


# --- several tensors


def stretched(b: Builder, x: Tensor) -> Tensor:
    """A sum or product that repeats one of its tensors along the last axis."""
    extent = b.shapes[x][-1]
    parts = [b.node("MatMul", x, b.weight((extent, outputs), extent)) for outputs in (1, 4)]
    return affine(b, pair(b, b.choose("Add", "Mul"), *parts))


def parted(b: Builder, x: Tensor) -> Tensor:
    """The two parts of a linear operator's result, one of them with an affine, and put together again."""
    x = linear(b, x)
    if b.shapes[x][1] == 1:
        return x
    sizes = b.constant(np.array([1, b.shapes[x][1] - 1]))
    one, other = b.several("Split", x, sizes, axis=1)
    return b.node("Concat", affine(b, one), b.choose(relu, affine)(b, other), axis=1)


def join(b: Builder, x: Tensor) -> Tensor:
    """x with another tensor of the graph that broadcasts against it, or with itself."""
    others = [name for name in b.tensors if broadcasts(b.shapes[name], b.shapes[x])]
    y = b.choose(*others)
    return pair(b, b.choose("Add", "Sub", "Mul"), x, y)


def broadcasts(one: Shape, other: Shape) -> bool:
    same_samples = len(one) == len(other) and one[0] == other[0]
    return same_samples and all(1 in pair or pair[0] == pair[1] for pair in zip(one, other, strict=True))


def concat(b: Builder, x: Tensor) -> Tensor:
    shape = b.shapes[x]
    axis = b.choose(*range(1, len(shape)))
    rest = (*shape[:axis], *shape[axis + 1 :])
    others = [
        name
        for name, other in b.shapes.items()
        if name in b.tensors and len(other) == len(shape) and (*other[:axis], *other[axis + 1 :]) == rest
    ]
    parts = [x, *(b.choose(*others) for _ in range(b.choose(1, 2)))]
    return b.node("Concat", *b.choose(parts, parts[::-1]), axis=b.choose(axis, axis - len(shape)))


def channels_last(b: Builder, x: Tensor) -> Tensor:
    """As Keras has it, and between Transposes as exporters write it."""
    rank = len(b.shapes[x])
    x = b.node("Transpose", x, perm=[0, *range(2, rank), 1])
    for _ in range(b.choose(1, 2)):
        along = b.constant(b.choose(b.scales, b.shifts)(b.shapes[x][-1:]))
        x = b.choose(bend, keep)(b, b.node(b.choose("Mul", "Add"), x, along))
    return linear(b, b.node("Transpose", x, perm=[0, rank - 1, *range(1, rank - 1)]))


def fork(b: Builder, x: Tensor) -> Tensor:
    """Two branches of x of the same shape, joined, and an affine behind them."""
    branch = same_conv_3 if len(b.shapes[x]) > 2 else square
    parts = [b.choose(relu, batch_norm, bound, keep, from_outside)(b, branch(b, x)) for _ in range(2)]
    match b.choose("Concat", "Add", "Mul", "Sub"):
        case "Concat":
            return affine(b, b.node("Concat", *parts, axis=1))
        case "Mul":
            return b.choose(scale, linear)(b, b.node("Mul", *parts))
        case op_type:
            return b.choose(affine, linear)(b, b.node(op_type, *parts))


def from_outside(b: Builder, x: Tensor) -> Tensor:
    """Something that goes nowhere but on."""
    shape = (b.shapes[x][1], *[1] * (len(b.shapes[x]) - 2))
    return b.node(b.choose("Mul", "Add"), b.node("Sigmoid", x), b.constant(b.scales(shape)))


def preactivated(b: Builder, x: Tensor) -> Tensor:
    """DenseNet: an affine and a bend before a padded convolution, whose result is put beside x."""
    bent = b.choose(relu, relu, clip, leaky)(b, b.choose(batch_norm, multiply_add)(b, x))
    y = same_conv(b, bent, b.choose(3, 1))
    return b.node("Concat", x, y, axis=1) if b.choose(True, False) else pair(b, "Add", x, y)


def keep(_: Builder, x: Tensor) -> Tensor:
    return x


def square(b: Builder, x: Tensor) -> Tensor:
    return gemm(b, x, (b.shapes[x][1], b.shapes[x][1]))


def same_conv_3(b: Builder, x: Tensor) -> Tensor:
    return same_conv(b, x, 3)


def residual(b: Builder, x: Tensor) -> Tensor:
    """f(x) + x, f linear, perhaps with an affine or a bend."""
    y = same_conv(b, x, b.choose(3, 1)) if len(b.shapes[x]) > 2 else square(b, x)
    y = b.choose(keep, batch_norm, relu)(b, y)
    return pair(b, "Add", y, x)


def same_conv(b: Builder, x: Tensor, size: int, groups: int = 1) -> Tensor:
    channels, axes = b.shapes[x][1], len(b.shapes[x]) - 2
    weights = b.weight((channels, channels // groups, *[size] * axes), channels)
    return b.node("Conv", x, weights, group=groups, pads=[size // 2] * 2 * axes)


def branches(b: Builder, x: Tensor) -> Tensor:
    """RepVGG: two convolutions of x, and x itself, each perhaps normalized, all added."""
    groups = b.choose(1, b.shapes[x][1])
    parts = [same_conv(b, x, 3, groups), same_conv(b, x, 1, groups), x]
    parts = [batch_norm(b, part) if b.choose(True, False) else part for part in parts]
    return pair(b, "Add", pair(b, "Add", *parts[:2]), parts[2])


def gate(b: Builder, x: Tensor) -> Tensor:
    """Squeeze and excite."""
    pooled = b.node("GlobalAveragePool", x)
    return pair(b, "Mul", x, b.node("Sigmoid", same_conv(b, pooled, 1)))


# --- what is not about samples


def over_samples(b: Builder, x: Tensor) -> Tensor:
    """Something done while the batch and the next axis are one."""
    shape = b.shapes[x]
    rows = b.node("Reshape", x, b.constant(np.array([-1, *shape[2:]])))
    done = b.node("Relu", multiply_add(b, rows)) if len(shape) > 3 else one_constant(b, rows)
    return b.node("Reshape", done, b.constant(np.array([-1, *shape[1:]])))


def batch_second(b: Builder, x: Tensor) -> Tensor:
    """Something done while the batch is axis 1."""
    swapped = [1, 0, *range(2, len(b.shapes[x]))]
    return b.node("Transpose", relu(b, one_constant_last(b, b.node("Transpose", x, perm=swapped))), perm=swapped)


def one_constant_last(b: Builder, x: Tensor) -> Tensor:
    return pair(b, "Mul", x, b.constant(b.scales(b.shapes[x][-1:])))


def shape_reader(b: Builder, x: Tensor) -> Tensor:
    """A constant of the shape of x, which depends on no value of x."""
    shape = b.node("Shape", x)
    return b.node("ConstantOfShape", shape, value=numpy_helper.from_array(np.array([1.5], np.float32)))


PIECES: tuple[Piece, ...] = (
    Piece(relu, 1),
    Piece(block, 16),
    Piece(affine, 4),
    Piece(bend, 2),
    Piece(move, 3),
    Piece(linear, 4),
    Piece(smooth, 2),
    Piece(leaking, 2),
    Piece(stretched, 3, most=3),
    Piece(parted, 2),
    Piece(dense_in_each_place, 4, least=3),
    Piece(pooled, 2, least=3),
    Piece(bordered, 4, least=3, grows=True),
    Piece(pad_by_infinity, 1, least=3, grows=True),
    Piece(tile, 1, grows=True),
    Piece(join, 2),
    Piece(concat, 2, grows=True),
    Piece(residual, 2),
    Piece(fork, 3),
    Piece(channels_last, 2, least=3),
    Piece(branches, 2, least=3),
    Piece(preactivated, 3, least=3, grows=True),
    Piece(gate, 1, least=3),
    Piece(over_samples, 1, least=3),
    Piece(batch_second, 1, least=3),
    Piece(shape_reader, 1),
)
