"""Faults to plant in folding, one at a time: each law off by 1 %, and what a planner may forget."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from edgebn.algebra import (
    LAWS,
    Affine,
    Blend,
    Clip,
    Conv,
    ConvTranspose,
    MatMul,
    Outcome,
    Pad,
    PRelu,
    Product,
    Select,
    Sum,
    Window,
    absorbing,
    exchanges,
    joining,
    laws,
    travelling,
)
from edgebn.folding import View, branches, routes, shaping
from edgebn.folding.spelling import Cost

PLAN, APPLY, CLIPS = (
    sys.modules[f"edgebn.folding.{name}"] for name in ("plan", "apply", "clips")
)  # as attributes, functions

Plant = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True, eq=False)
class Fault:
    """One mistake; `law` is the one that has it, if it is one."""

    name: str
    plant: Plant
    law: str | None = None


def more_scale(part: Any) -> Any:
    """With scales and weights 1 % larger."""
    match part:
        case Affine():
            return Affine(part.scale * 1.01, part.shift)
        case MatMul() | Conv() | ConvTranspose():
            return replace(part, kernel=np.asarray(part.kernel, np.float64) * 1.01)
    return part


def other_sign(part: Any) -> Any:
    """With scales and weights negated."""
    match part:
        case Affine():
            return Affine(-part.scale, part.shift)
        case MatMul() | Conv() | ConvTranspose():
            return replace(part, kernel=-np.asarray(part.kernel, np.float64))
    return part


def no_shift(part: Any) -> Any:
    """Without shifts, and with biases 1 % larger."""
    match part:
        case Affine():
            return Affine(part.scale, np.zeros(()))
        case MatMul() | Conv() | ConvTranspose():
            return replace(part, bias=np.asarray(part.bias, np.float64) * 1.01)
    return part


def other_bounds(part: Any) -> Any:
    """With bounds, slopes and borders 1 % larger."""
    match part:
        case Clip():
            return Clip(part.lower * 1.01, part.upper * 1.01)
        case PRelu():
            return PRelu(part.slope * 1.01)
        case Pad():
            return replace(part, value=part.value * 1.01)
    return part


def law_faults() -> Iterator[Fault]:
    """For every law, those of its parts that it has, spoiled."""
    for law in LAWS:
        spoils = [more_scale, other_sign]
        if law.operator not in {PRelu, Product}:  # which no shift passes
            spoils.append(no_shift)
        if law.operator in {Clip, PRelu, Pad} or "Pad" in law.name:
            spoils.append(other_bounds)
        for spoil in spoils:
            yield Fault(f"{law.name}: {spoil.__name__}", in_row(law.name, partial(spoiling, spoil)), law.name)


def in_row(name: str, change: Callable[[Any], Any]) -> Plant:
    """The law of that name, its function changed."""

    def plant(monkeypatch: pytest.MonkeyPatch) -> None:
        key = next((law.operator, law.direction) for law in LAWS if law.name == name)
        rows = (replace(law, rule=change(law.rule)) if law.name == name else law for law in laws._ROWS[key])
        monkeypatch.setitem(laws._ROWS, key, tuple(rows))

    return plant


def spoiling(spoil: Callable[[Any], Any], right: Callable[..., Any]) -> Callable[..., Any]:
    def wrong(operator: Any, a: Affine) -> Any:
        outcome = right(operator, a)
        return spoiled(outcome, spoil) if isinstance(outcome, Outcome) else outcome

    return wrong


def spoiled(outcome: Outcome, spoil: Callable[[Any], Any]) -> Outcome:
    """With a fault in what is passed on, or if nothing is, in what has absorbed it."""
    if spoil is not other_bounds and outcome.rest is not None:
        return replace(outcome, rest=spoil(outcome.rest))
    if spoil is not other_bounds and outcome.rests:
        return replace(outcome, rests=tuple(None if rest is None else spoil(rest) for rest in outcome.rests))
    return replace(outcome, operators=tuple(spoil(operator) for operator in outcome.operators))


def patched(target: Any, name: str, wrong: Any) -> Plant:
    return lambda monkeypatch: monkeypatch.setattr(target, name, wrong)


def around(target: Any, name: str, change: Callable[[Any], Any]) -> Plant:
    """The function's results go through `change`."""
    right = getattr(target, name)
    return patched(target, name, lambda *given, **named: change(right(*given, **named)))


def negated_border(exchanged: Any) -> Any:
    return (
        (replace(exchanged[0], value=-exchanged[0].value), exchanged[1]) if isinstance(exchanged, tuple) else exchanged
    )


def first_taps(positions: Any) -> Any:
    return None if positions is None else [np.arange(len(each)) for each in positions]


def clip_less(clip: Any) -> Any:
    return Clip(clip.lower * 1.01, clip.upper) if isinstance(clip, Clip) else clip


def sign_lost(halves: Any) -> Any:
    if not isinstance(halves, tuple):
        return halves
    shift, sign, outer = halves
    return shift, sign, Affine(np.abs(outer.scale), outer.shift)


def bias_lost(conv: Any) -> Any:
    return replace(conv, bias=np.zeros_like(conv.bias)) if isinstance(conv, Conv) else conv


def shift_for_all(right: Callable[[Sum, Affine], Any]) -> Callable[[Sum, Affine], Any]:
    """A sum of which every tensor gets the shift."""

    def wrong(total: Sum, a: Affine) -> Any:
        outcome = right(total, a)
        return replace(outcome, rests=(a,) * len(outcome.rests)) if isinstance(outcome, Outcome) else outcome

    return wrong


def bounds_in_place(_: Any) -> Callable[[Clip, Affine], Outcome]:
    """A clip of which a negative scale does not turn the bounds around."""

    def wrong(clip: Clip, a: Affine) -> Outcome:
        size = Affine(np.abs(a.scale), a.shift)
        with np.errstate(invalid="ignore"):
            return Outcome((Clip(size(clip.lower), size(clip.upper)),), a)

    return wrong


PLANNER_FAULTS = (
    Fault("a second reader is forgotten", around(View, "uses", lambda uses: islice(uses, 1))),
    Fault("an output of the graph is forgotten", patched(ir.Value, "is_graph_output", lambda _: False)),
    Fault("padding is ignored", patched(Window, "padded", property(lambda _: False))),
    Fault("padding is ignored by means", patched(shaping, "Blend", lambda axes, *rest: Blend(axes, 1.0, *rest[1:]))),
    Fault("a mean takes what varies inside", patched(travelling, "varies_inside", lambda *_: None)),
    Fault("a maximum takes any sign", patched(travelling, "_monotone", lambda f, a: Outcome((f,), a))),
    Fault("a clip takes any sign", in_row("back through a clip", bounds_in_place)),
    Fault("a sum stretches what varies", patched(joining, "_stretches", lambda *_: False)),
    Fault("a sum gets its shift twice", in_row("back through a sum", shift_for_all)),
    Fault("the other outputs of Split are forgotten", patched(shaping, "Select", lambda *given, **_: Select(*given))),
    Fault("the border before a clip has the wrong sign", around(routes, "pad_before_clip", negated_border)),
    Fault("a bias is lost between branches", around(branches, "conv_plus_conv", bias_lost)),
    Fault("taps of branches are not aligned", around(exchanges, "_taps_inside", first_taps)),
    Fault("the constant map ignores the padding", around(absorbing, "_covered", np.ones_like)),
    Fault("the constant map ignores the strides", around(absorbing, "_reached", np.ones_like)),
    Fault("a clip changes behind a pool", around(CLIPS, "extremum_before_clip", clip_less)),
    Fault("a clip as ReLU loses its sign", around(CLIPS, "clip_as_relu", sign_lost)),
)

FAULTS = (*law_faults(), *PLANNER_FAULTS)


def dearest_route(monkeypatch: pytest.MonkeyPatch) -> None:
    worst = partial(max, key=lambda found: found[0], default=(Cost(), None))
    monkeypatch.setattr(PLAN, "_cheapest", worst)
    monkeypatch.setattr(PLAN._Planner, "_pays", lambda *_: True)


FAULTS_BESIDES = (
    Fault("the model that was given is changed", patched(ir.Model, "clone", lambda model: model)),
    Fault("the dearest route is taken", dearest_route),
    Fault("a shape is kept that is no longer right", patched(APPLY, "_keeps_shape", lambda *_: True)),
)
"""What leaves the graph equal, and is still wrong."""
