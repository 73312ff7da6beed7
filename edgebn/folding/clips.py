"""Clips when all affines are settled: behind pools, and as a Relu where that is what a runtime computes fastest."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import onnx_ir as ir

from edgebn.algebra import (
    Affine,
    Clip,
    Conv,
    Extremum,
    Operator,
    Refusal,
    Window,
    affine_as_conv,
    clip_as_relu,
    extremum_before_clip,
)
from edgebn.folding.ledger import Ledger
from edgebn.folding.preference import Preference
from edgebn.folding.routes import Trail
from edgebn.folding.spelling import Cost
from edgebn.report import Stop


def move_clips_behind_pools(ledger: Ledger) -> None:
    """Put a clip behind the pool that reads it, where that is cheaper: max is monotone, and so is a clip."""
    for node in ledger.view.nodes():
        clip = ledger.sole(node, Clip)
        pool = ledger.next(node) if clip else None
        extremum = ledger.sole(pool, Extremum) if pool else None
        if clip is None or pool is None or extremum is None:
            continue
        moved = extremum_before_clip(extremum, clip)
        if isinstance(moved, Refusal):
            continue
        trail = Trail()
        ledger.rewrite(node, (), trail)
        ledger.rewrite(pool, (extremum, moved), trail)
        if ledger.gain(trail) < Cost():
            ledger.router.edits.update(trail.edits)


def turn_clips_into_relus(ledger: Ledger, preference: Preference) -> None:
    """Write a clip from below in some channels and from above in others as a sign for each channel and a Relu.

    The shift before them goes backward or stays, sign and shift behind them go forward, each as any affine would.
    Of images, sign and shift are a convolution of each channel alone, which runtimes compute together with a Relu,
    in their own layout; Max and Min are not. For that, a clip that folding made may take a node of those that it saved.
    A clip with the same bounds everywhere is one Clip, which is as fast.
    """
    spare = ledger.saved()
    for node in ledger.view.nodes():
        edit = ledger.router.edit(node)
        last = edit.operators[-1] if edit and edit.operators else None
        halves = clip_as_relu(last) if isinstance(last, Clip) else None
        if edit is None or not isinstance(last, Clip) or not isinstance(halves, tuple):
            continue
        shift, sign, outer = halves
        relu = (_for_each_channel(ledger, node, sign), Clip.relu(sign.rank))
        trail = ledger.attempt(partial(ledger.router.backward_from_within, node, edit, shift, relu))
        if isinstance(trail, Stop):
            relu = (_for_each_channel(ledger, node, sign.after(shift)), relu[1])
            trail = Trail({node: replace(edit, operators=(*edit.operators[:-1], *relu))})
        forward = ledger.attempt(partial(ledger.router.forward, node.outputs[0], outer), trail)
        if isinstance(forward, Stop):
            continue
        gain = ledger.gain(forward)
        made = last is not edit.original and not _is_one_clip(last)
        for_speed = preference is not Preference.FEWEST_NODES and made and spare > 0
        if gain < Cost() or (for_speed and isinstance(relu[0], Conv) and gain.nodes <= 1 and gain.elements < 0):
            ledger.router.edits.update(forward.edits)
            spare -= gain.nodes


def _is_one_clip(clip: Clip) -> bool:
    return all(bool((bound == bound.flat[0]).all()) for bound in (clip.lower, clip.upper))


def _for_each_channel(ledger: Ledger, node: ir.Node, a: Affine) -> Operator:
    """A as a convolution of each channel alone, where `node` makes images; else A."""
    shape = ledger.view.shape(node.outputs[0]) or ()
    channels, extents = shape[1] if len(shape) > 2 else None, shape[2:]
    if channels is None:
        return a
    ones = (1,) * len(extents)
    window = Window(ones, ones, ((0, 0),) * len(extents), tuple(extents))
    conv = affine_as_conv(a, Conv(np.ones((channels, 1, *ones)), np.zeros(channels), channels, window))
    return a if isinstance(conv, Refusal) else conv
