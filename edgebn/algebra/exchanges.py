"""Exchanges: equal ways to write operators that stand beside each other, with no affine that needs a home.

Like the laws, pure functions whose docstrings are their equations; `EXCHANGES` is the table of all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgebn.algebra.affine import Affine
from edgebn.algebra.checks import LARGEST
from edgebn.algebra.operators import Clip, Conv, Extremum, Pad, Refusal


def clip_as_relu(clip: Clip) -> tuple[Affine, Affine, Affine] | Refusal:
    """clip(x; lo, hi) = C(relu(σ⊙B(x))), B = x − p, C = σ⊙x + p. Returns (B, σ, C) as affines.

    p is the one finite bound of each channel, σ = 1 where it is the lower and −1 where it is the upper one.
    """
    lower, upper = np.broadcast_arrays(clip.lower, clip.upper)
    below, above = np.isfinite(lower), np.isfinite(upper)
    if (below == above).any():
        return Refusal("not bounded on exactly one side everywhere")
    bound = np.where(below, lower, upper)
    sign = np.where(below, 1.0, -1.0)
    return Affine(np.ones(()), -bound), Affine(sign, np.zeros(())), Affine(sign, bound)


def extremum_before_clip(extremum: Extremum, clip: Clip) -> Clip | Refusal:
    """max(clip(x; lo, hi)) = clip(max(x); lo, hi), min alike: a clip is monotone. Returns the clip behind.

    Condition: lo and hi are constant over the axes.
    """
    for bound in (clip.lower, clip.upper):
        if any(bound.shape[axis] > 1 for axis in extremum.axes):
            return Refusal("the bounds of the clip vary inside the window of the pool")
    if extremum.keeps_axes:
        return clip
    return Clip(np.squeeze(clip.lower, extremum.axes), np.squeeze(clip.upper, extremum.axes))


def pad_before_clip(clip: Clip, a: Affine, conv: Conv) -> tuple[Pad, Conv] | Refusal:
    """pad₀ ∘ A ∘ clip = A ∘ clip ∘ pad_v, with v = ∓∞ such that A(clip(v)) = 0. Returns the Pad and the unpadded Conv.

    After a ReLU that A went through (see `on_through_clip`), its bound is where A is zero, and so the Pad can stand
    before it, by the lowest or the highest float.
    """
    if conv.window.pads is None:
        return Refusal("how much is padded is only known at run time")
    padded = [axis for axis, pair in enumerate(conv.window.pads, start=2) if any(pair)]
    for parameter in (clip.lower, clip.upper, a.compressed().scale):
        if any(parameter.shape[axis] > 1 for axis in padded):
            return Refusal("the clip, or what follows it, varies along a padded axis")
    for value in (-LARGEST, LARGEST):
        with np.errstate(over="ignore"):
            border = a(clip(np.full((1,) * a.rank, value)))
        if (np.abs(border) <= 1e-12 * np.abs(a.shift)).all():
            unpadded = replace(conv, window=conv.window.unpadded())
            return Pad(((0, 0), (0, 0), *conv.window.pads), value), unpadded
    return Refusal("the clip does not map one value to the padding in all channels")


def conv_plus_conv(first: Conv, second: Conv) -> Conv | Refusal:
    """K₁⋆x + b₁ + K₂⋆x + b₂ = (K₁ + K₂')⋆x + (b₁ + b₂), K₂' = K₂ among zeros, so that its taps fall where they did.

    Source: Ding et al., "RepVGG: Making VGG-style ConvNets Great Again", 2021, section 3.3.
    Conditions: the same strides and groups; one window lies inside of the other.
    """
    large, small = (first, second) if first.kernel[0, 0].size >= second.kernel[0, 0].size else (second, first)
    if large.groups != small.groups or large.window.strides != small.window.strides:
        return Refusal("the two convolutions have other strides or groups")
    if large.kernel.shape[:2] != small.kernel.shape[:2]:
        return Refusal("the two convolutions have other channels")
    positions = _taps_inside(large, small)
    if positions is None:
        return Refusal("the taps of one convolution do not fall on taps of the other")
    kernel = np.array(large.kernel, np.float64)
    kernel[np.ix_(*(np.arange(extent) for extent in kernel.shape[:2]), *positions)] += small.kernel
    return replace(large, kernel=kernel, bias=np.asarray(large.bias, np.float64) + small.bias)


def affine_as_conv(a: Affine, like: Conv) -> Conv | Refusal:
    """s⊙x + t = K⋆x + t, K[c, c, 0] = s_c and zero elsewhere. With the groups and strides of `like`.

    Conditions: strides of 1; as many channels out as in; A varies along the channels alone.
    """
    outputs, inputs = like.kernel.shape[:2]
    spatial = like.kernel.ndim - 2
    if any(stride != 1 for stride in like.window.strides) or outputs != inputs * like.groups:
        return Refusal("the convolution changes the extents or the number of channels")
    if any(axis != 1 for axis in a.varying_axes()):
        return Refusal("it varies along another axis than the channels")
    channel = a.along(1, outputs)
    kernel = np.zeros((outputs, inputs))
    kernel[np.arange(outputs), np.arange(outputs) % inputs] = channel.scale
    window = replace(like.window, dilations=(1,) * spatial, pads=((0, 0),) * spatial)
    return Conv(kernel.reshape(outputs, inputs, *((1,) * spatial)), channel.shift, like.groups, window)


def _taps_inside(large: Conv, small: Conv) -> list[NDArray[np.intp]] | None:
    """For each axis, which taps of `large` the taps of `small` fall on; None if there is one that does not."""
    if large.window.pads is None or small.window.pads is None:
        return None
    positions: list[NDArray[np.intp]] = []
    for axis, (outer, inner) in enumerate(zip(large.window.pads, small.window.pads, strict=True)):
        step, size = large.window.dilations[axis], large.kernel.shape[axis + 2]
        offsets = np.arange(small.kernel.shape[axis + 2]) * small.window.dilations[axis] + outer[0] - inner[0]
        if (offsets % step).any() or (offsets < 0).any() or (offsets // step >= size).any():
            return None
        ends = [
            sum(pads) - conv.window.dilations[axis] * (conv.kernel.shape[axis + 2] - 1)
            for conv, pads in ((large, outer), (small, inner))
        ]
        if ends[0] != ends[1]:  # the two results have other extents
            return None
        positions.append(offsets // step)
    return positions


EXCHANGES: Mapping[str, Callable[..., Any]] = {
    "a clip as ReLU": clip_as_relu,
    "a pool before a clip": extremum_before_clip,
    "a Pad before a clip": pad_before_clip,
    "two convolutions of one tensor as one": conv_plus_conv,
    "an affine as a convolution": affine_as_conv,
}
