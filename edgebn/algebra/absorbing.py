"""Laws by which a linear operator takes an affine into its weights.

Equations whose source is not named follow from the operator's definition in the ONNX operator specification by
distributing the sum.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from math import prod

import numpy as np

from edgebn.algebra.affine import Affine, Array, added
from edgebn.algebra.checks import LARGEST, one_value, varies_elsewhere
from edgebn.algebra.operators import Conv, ConvTranspose, MatMul, Outcome, Pad, Refusal, Window

MAX_MAP_ELEMENTS = 1 << 18
"""The largest constant map that is added behind a padded convolution: 1 MB of float32."""

_BORDER = "zero padding: the shift would be missing at the border"


def into_previous_matmul(matmul: MatMul, a: Affine) -> Outcome | Refusal:
    """s(x·K + b) + t = x·(K·s) + (s·b + t). K: (in, out); b, s, t: (out,)."""
    if refusal := varies_elsewhere(a, a.rank - 1, "output"):
        return refusal
    channel = a.along(a.rank - 1, matmul.bias.size)
    return _finite(MatMul(matmul.kernel * channel.scale, _shifted(matmul.bias, channel)))


def into_next_matmul(matmul: MatMul, a: Affine) -> Outcome | Refusal:
    """(s⊙x + t)·K + b = x·(s⊙K) + (t·K + b). K: (in, out); b: (out,); s, t: (in,), per row of K."""
    if refusal := varies_elsewhere(a, a.rank - 1, "input"):
        return refusal
    channel = a.along(a.rank - 1, matmul.kernel.shape[0])
    magnitude = np.abs(channel.shift) @ np.abs(matmul.kernel)
    bias = added(matmul.bias, channel.shift @ matmul.kernel, magnitude, len(matmul.kernel))
    return _finite(MatMul(channel.scale[:, None] * matmul.kernel, bias))


def into_previous_conv(conv: Conv, a: Affine) -> Outcome | Refusal:
    """s·(K⋆x + b) + t = (s·K)⋆x + (s·b + t). K: (out, in/groups, *window); b, s, t: (out,). Any padding, any groups.

    Source: Jacob et al., "Quantization and Training of Neural Networks", 2018, section 3.2.
    """
    if refusal := varies_elsewhere(a, 1, "output"):
        return refusal
    channel = a.along(1, conv.bias.size)
    return _finite(replace(conv, kernel=_per_axis(channel.scale, 0, conv.kernel), bias=_shifted(conv.bias, channel)))


def into_next_conv(conv: Conv, a: Affine) -> Outcome | Refusal:
    """K⋆(s·x + t) + b = K'⋆x + b', K'[o,i,·] = K[o,i,·]·s_i, b'_o = b_o + Σ K[o,i,·]·t_i; i runs over o's group.

    Condition: t = 0, or nothing is padded: a padded border is 0 after A, and would have to be −t/s before it.
    """
    if refusal := varies_elsewhere(a, 1, "input"):
        return refusal
    if conv.window.padded and a.shift.any():
        return Refusal(_BORDER)
    scaled, by_tap = _scaled_inputs(conv, a)
    _, magnitudes = _scaled_inputs(replace(conv, kernel=np.abs(conv.kernel)), Affine(a.scale, np.abs(a.shift)))
    more, magnitude = (each.reshape(len(each), -1).sum(axis=1) for each in (by_tap, magnitudes))
    return _finite(replace(scaled, bias=added(conv.bias, more, magnitude, conv.kernel[0].size)))


def into_next_conv_behind_pad(conv: Conv, a: Affine) -> Outcome | Refusal:
    """K⋆pad₀(s·x + t) + b = K'⋆pad_p(x) + b', K' and b' as without padding, p = −t/s.

    Condition: p is the same for all channels. Where s = 0, t must be 0 too, and any p will do.
    """
    if refusal := varies_elsewhere(a, 1, "input"):
        return refusal
    if conv.window.pads is None:
        return Refusal(f"{_BORDER}, and how much is padded is only known at run time")
    border = _uniform_root(a)
    if border is None:
        return Refusal(_BORDER)
    unpadded = replace(conv, window=conv.window.unpadded())
    absorbed = into_next_conv(unpadded, a)
    if isinstance(absorbed, Refusal):
        return absorbed
    return Outcome((Pad(((0, 0), (0, 0), *conv.window.pads), border), *absorbed.operators))


def into_next_conv_behind_add(conv: Conv, a: Affine) -> Outcome | Refusal:
    """K⋆pad₀(s·x + t) + b = K'⋆pad₀(x + t/s) + b, K'[o,i,·] = K[o,i,·]·s_i: what is padded is 0 before and after s.

    Conditions: t = 0 where s = 0; a constant map behind the convolution, where there can be one, would not be smaller.
    """
    known = conv.window.pads is not None and None not in conv.window.extents
    extents = _conv_outputs(conv.window, conv.kernel.shape[2:]) if known else ()
    inputs = conv.kernel.shape[1] * conv.groups
    return _behind_add(conv, a, inputs, extents, partial(into_next_conv, conv))


def shift_first(a: Affine) -> tuple[Affine, Affine] | None:
    """s·x + t = s·(x + t/s): the shift, and the scale behind it. Where s = 0 there must be no t, and t/s be finite."""
    shift = np.divide(a.shift, a.scale, out=a.shift.copy(), where=a.scale != 0.0)
    if ((a.scale == 0.0) & (a.shift != 0.0)).any() or not (np.abs(shift) <= LARGEST).all():
        return None
    return Affine(np.ones(()), shift), Affine(a.scale, np.zeros(()))


def into_next_conv_plus_map(conv: Conv, a: Affine) -> Outcome | Refusal:
    """K⋆pad₀(s·x + t) + b = (K'⋆pad₀(x) + b) + M, K'[o,i,·] = K[o,i,·]·s_i, M = K⋆pad₀(t), a constant image.

    Condition: height and width are known, and M is of moderate size.
    """
    if refusal := varies_elsewhere(a, 1, "input"):
        return refusal
    window = conv.window
    if window.pads is None or None in window.extents:
        return Refusal(f"{_BORDER}, and the extents are not known before run time")
    taps = [
        _covered(np.arange(extent_out) * stride - before, dilation, size, extent)
        for extent_out, stride, (before, _), dilation, size, extent in zip(
            _conv_outputs(window, conv.kernel.shape[2:]),
            window.strides,
            window.pads,
            window.dilations,
            conv.kernel.shape[2:],
            _known(window.extents),
            strict=True,
        )
    ]
    scaled, by_tap = _scaled_inputs(conv, a)
    return _plus_map(scaled, by_tap, taps)


def into_previous_conv_transpose(conv: ConvTranspose, a: Affine) -> Outcome | Refusal:
    """s·(K⋆ᵀx + b) + t = K'⋆ᵀx + (s·b + t), K'[i,m,·] = K[i,m,·]·s_o, o = g·(out/groups) + m, g the group of i."""
    if refusal := varies_elsewhere(a, 1, "output"):
        return refusal
    channel = a.along(1, conv.bias.size)
    inputs, per_group = conv.kernel.shape[:2]
    of_input = channel.scale.reshape(conv.groups, per_group).repeat(inputs // conv.groups, axis=0)
    kernel = conv.kernel * of_input.reshape(inputs, per_group, *_ones(conv.kernel))
    return _finite(replace(conv, kernel=kernel, bias=_shifted(conv.bias, channel)))


def into_next_conv_transpose(conv: ConvTranspose, a: Affine) -> Outcome | Refusal:
    """K⋆ᵀ(s·x) + b = K'⋆ᵀx + b, K'[i,m,·] = s_i·K[i,m,·]. Condition: t = 0; not every tap reaches every output."""
    if refusal := varies_elsewhere(a, 1, "input"):
        return refusal
    if a.shift.any():
        return Refusal("ConvTranspose: at its border and between strides not every tap adds its shift")
    channel = a.along(1, conv.kernel.shape[0])
    return _finite(replace(conv, kernel=_per_axis(channel.scale, 0, conv.kernel)))


def into_next_conv_transpose_behind_add(conv: ConvTranspose, a: Affine) -> Outcome | Refusal:
    """K⋆ᵀ(s·x + t) + b = K'⋆ᵀ(x + t/s) + b, K'[i,m,·] = s_i·K[i,m,·]. Conditions as for a Conv."""
    return _behind_add(conv, a, conv.kernel.shape[0], conv.outputs, partial(into_next_conv_transpose, conv))


def into_next_conv_transpose_plus_map(conv: ConvTranspose, a: Affine) -> Outcome | Refusal:
    """K⋆ᵀ(s·x + t) + b = (K'⋆ᵀx + b) + M, M = K⋆ᵀt, a constant image. Condition: known extents, M of moderate size."""
    if refusal := varies_elsewhere(a, 1, "input"):
        return refusal
    window = conv.window
    if window.pads is None or None in window.extents or None in conv.outputs:
        return Refusal("ConvTranspose: not every tap adds its shift, and the extents are not known before run time")
    taps = [
        _reached(extent_out, stride, before, dilation, size, extent)
        for extent_out, stride, (before, _), dilation, size, extent in zip(
            _known(conv.outputs),
            window.strides,
            window.pads,
            window.dilations,
            conv.kernel.shape[2:],
            _known(window.extents),
            strict=True,
        )
    ]
    channel = a.along(1, conv.kernel.shape[0])
    grouped = conv.kernel.reshape(conv.groups, -1, *conv.kernel.shape[1:])
    by_tap = np.einsum("gi,gi...->g...", channel.shift.reshape(conv.groups, -1), grouped)
    scaled = replace(conv, kernel=_per_axis(channel.scale, 0, conv.kernel))
    return _plus_map(scaled, by_tap.reshape(conv.bias.size, *conv.kernel.shape[2:]), taps)


def into_previous_affine(first: Affine, a: Affine) -> Outcome | Refusal:
    """A ∘ B = C, s = s_A·s_B, t = s_A·t_B + t_A."""
    return _finite(a.after(first))


def into_next_affine(second: Affine, a: Affine) -> Outcome | Refusal:
    """B ∘ A = C, s = s_B·s_A, t = s_B·t_A + t_B."""
    return _finite(second.after(a))


def _behind_add(
    conv: Conv | ConvTranspose,
    a: Affine,
    inputs: int,
    outputs: Sequence[int | None],
    absorb: Callable[[Affine], Outcome | Refusal],
) -> Outcome | Refusal:
    """The shift as an Add before `conv`, which makes images of `outputs` of those of `inputs` channels; it takes s."""
    if refusal := varies_elsewhere(a, 1, "input"):
        return refusal
    parts = shift_first(a)
    if parts is None:
        return Refusal("where its scale is 0, no Add before the weights makes up for its shift")
    known = outputs and None not in (*outputs, *conv.window.extents)
    if known and conv.bias.size * prod(_known(outputs)) < inputs * prod(_known(conv.window.extents)):
        return Refusal("a constant map behind the weights is smaller than an Add before them")
    outcome = absorb(parts[1])
    return Outcome((parts[0], *outcome.operators)) if isinstance(outcome, Outcome) else outcome


def _shifted(bias: Array, channel: Affine) -> Array:
    """s·b + t."""
    return channel.after(Affine(np.ones(()), bias)).shift


def _scaled_inputs(conv: Conv, a: Affine) -> tuple[Conv, Array]:
    """The convolution of s·x, and what one tap adds for the shift: Σ_i K[o,i,tap]·t_i, (out, *window)."""
    outputs, inputs = conv.kernel.shape[:2]
    channel = a.along(1, inputs * conv.groups)
    group = np.arange(outputs) // (outputs // conv.groups)
    scale, shift = (part.reshape(conv.groups, inputs)[group] for part in (channel.scale, channel.shift))
    kernel = conv.kernel * scale.reshape(outputs, inputs, *_ones(conv.kernel))
    return replace(conv, kernel=kernel), np.einsum("oi,oi...->o...", shift, conv.kernel)


def _plus_map(conv: Conv | ConvTranspose, by_tap: Array, taps: Sequence[Array]) -> Outcome | Refusal:
    """`conv` and, behind it, the image that `by_tap` (out, *window) makes; taps[axis][k, y]: whether y sees tap k."""
    if by_tap.shape[0] * prod(len(seen.T) for seen in taps) > MAX_MAP_ELEMENTS:
        return Refusal("the constant map that would make up for the missing shift is too large")
    image = by_tap
    for seen in taps:
        image = np.tensordot(image, seen, axes=([1], [0]))
    shift = Affine(np.ones(()), image[np.newaxis]).compressed()
    for part in (conv, shift):
        if isinstance(refusal := _finite(part), Refusal):
            return refusal
    return Outcome((conv, shift))


def _covered(starts: Array, dilation: int, size: int, extent: int) -> Array:
    """Whether tap k of a window that starts at starts[y] lies inside of the input: (size, outputs), 1.0 or 0.0."""
    position = starts[np.newaxis] + dilation * np.arange(size)[:, np.newaxis]
    return ((position >= 0) & (position < extent)).astype(np.float64)


def _reached(outputs: int, stride: int, before: int, dilation: int, size: int, extent: int) -> Array:
    """Whether tap k of some input of a transposed convolution falls on output y: (size, outputs), 1.0 or 0.0."""
    seen = np.zeros((size, outputs))
    for tap in range(size):
        hit = np.arange(extent) * stride - before + tap * dilation
        seen[tap, hit[(hit >= 0) & (hit < outputs)]] = 1.0
    return seen


def _conv_outputs(window: Window, sizes: Sequence[int]) -> list[int]:
    """The extents of a convolution's result, for known extents and pads."""
    return [
        (extent + sum(pads) - dilation * (size - 1) - 1) // stride + 1
        for extent, pads, dilation, size, stride in zip(
            _known(window.extents), window.pads or (), window.dilations, sizes, window.strides, strict=True
        )
    ]


def _known(extents: Sequence[int | None]) -> list[int]:
    return [extent for extent in extents if extent is not None]


def _uniform_root(a: Affine) -> float | None:
    """The x at which A(x) = 0 in every channel, where there is one."""
    zero = a.scale == 0.0
    if (zero & (a.shift != 0.0)).any():
        return None
    if zero.all():
        return 0.0
    with np.errstate(over="ignore"):
        root = one_value(-a.shift[~zero] / a.scale[~zero])
    return root if root is not None and abs(root) < LARGEST else None


def _finite(operator: MatMul | Conv | ConvTranspose | Affine) -> Outcome | Refusal:
    """The absorbed form, unless a weight would overflow float32."""
    arrays = (operator.scale, operator.shift) if isinstance(operator, Affine) else (operator.kernel, operator.bias)
    if all((np.abs(array) <= LARGEST).all() for array in arrays):
        return Outcome((operator,))
    return Refusal("a folded weight would not be finite in float32")


def _per_axis(scale: Array, axis: int, kernel: Array) -> Array:
    """`kernel` with its slices along `axis` multiplied by `scale`, in float64."""
    return kernel * scale.reshape([-1 if each == axis else 1 for each in range(kernel.ndim)])


def _ones(kernel: Array) -> tuple[int, ...]:
    return (1,) * (kernel.ndim - 2)
