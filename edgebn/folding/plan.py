"""Finding routes for affines. A plan says what becomes of each, and changes nothing.

Every maximal run of affine nodes (a BatchNormalization as Keras exports it is a Mul and an Add) is one affine A. They
are settled in topological order. A may go backward, into the operator that makes its tensor, or forward, into all that
read it; or as A = B ∘ C both ways, C backward and B forward, or one of them while the other stays. Each operator on the
way is asked through the table of laws: it absorbs A, passes some A' on, or refuses with a reason. Of the routes found
the cheapest is taken, if it leaves the graph no more expensive than it was; later affines see the graph as it then is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from math import prod
from typing import TypeVar

import numpy as np
import onnx_ir as ir

from edgebn.algebra import (
    Affine,
    Clip,
    Conv,
    Extremum,
    Operator,
    Refusal,
    Sum,
    Window,
    affine_as_conv,
    clip_as_relu,
    extremum_before_clip,
)
from edgebn.folding.branches import merge_branches
from edgebn.folding.routes import BlockedError, Edit, Router, Trail, name
from edgebn.folding.spelling import Cost, cost, spell
from edgebn.folding.view import View
from edgebn.report import Fate, Folded, Health, Kept, Step, Stop

_Kind = TypeVar("_Kind", bound=Operator)
_Move = Callable[[Trail], None]
_DEAD = 1e-8
_MOST_CUTS = 8
_IDENTITY = Affine(np.ones(()), np.zeros(()))
_UNKNOWN = Health(0, 0, None, 0.0, "", 0, 0)
_NO_GAIN = "every exact route would leave more nodes than there are now"


@dataclass(frozen=True)
class Plan:
    """What becomes of each affine, and what each changed node is to be written as. `settled` counts the steps."""

    fates: tuple[Fate, ...]
    edits: Mapping[ir.Node, Edit]
    settled: int = 0


@dataclass(frozen=True, eq=False)
class Site:
    """A run of affine nodes, each the only reader of the one before, and the affine that they make together.

    `cuts` are the ways to see it as two, one after the other, between two layers.
    """

    nodes: tuple[ir.Node, ...]
    affine: Affine
    cuts: tuple[tuple[Affine, Affine], ...] = ()

    @property
    def name(self) -> str:
        """That of its last node."""
        return name(self.nodes[-1])


@dataclass(frozen=True, eq=False)
class _Split:
    """A = forward ∘ stays ∘ back, a way to send A off; None for a part that there is not."""

    law: str | None = None
    back: Affine | None = None
    stays: Affine | None = None
    forward: Affine | None = None


def plan(view: View, steps: int | None = None) -> Plan:
    """Plan all affines of the graph, in topological order; or the first `steps` of them alone. Nothing is changed.

    The shapes of the graph's tensors must have been inferred; what has no shape is left alone.
    """
    planner = _Planner(view)
    with np.errstate(all="ignore"):  # what is not finite is refused by the laws
        settled = planner.settle(steps)
        if steps is None:
            planner.move_clips_behind_pools()
            planner.turn_mixed_clips_into_relus()
    return Plan(planner.fates(), dict(planner.router.edits), settled)


class _Planner:
    """The graph as it will be, and what has become of its affines so far."""

    def __init__(self, view: View) -> None:
        self.router = Router(view)
        self._view = view
        self._fates: dict[Site, Fate] = {}
        self._sites: dict[ir.Node, Site] = {}

    def fates(self) -> tuple[Fate, ...]:
        """Those of BatchNormalizations and of other affines that were more than a layer's bias."""
        return tuple(fate for site, fate in self._fates.items() if not self._is_bias(site))

    def settle(self, steps: int | None) -> int:
        """Settle each affine, and each sum of branches, when all before it are settled; returns how many of both."""
        settled = 0
        for node in self._view.nodes():
            if settled == steps:
                break
            if self._sole(node, Affine) is not None and node not in self._sites:
                site = self._site(node)
                self._sites.update(dict.fromkeys(site.nodes, site))
                self._fates[site] = self._settle(site)
                settled += 1
            elif _is_sum(self.router, node):
                self._merge(node)
                settled += 1
            elif node.op_type == "BatchNormalization" and node.domain == "" and node not in self._sites:
                self._keep_unread(node, _unreadable(self._view, node))
        for node in self._view.nodes_of_bodies():
            if node.op_type == "BatchNormalization" and node.domain == "":
                self._keep_unread(node, Stop(name(node), "it stands in the body of an If, Loop or Scan"))
        return settled

    def _keep_unread(self, node: ir.Node, stop: Stop) -> None:
        self._fates[Site((node,), _IDENTITY)] = Kept(name(node), (), _UNKNOWN, (stop,))

    def move_clips_behind_pools(self) -> None:
        """Put a clip behind the pool that reads it, where that is cheaper: max is monotone, and so is a clip."""
        for node in self._view.nodes():
            clip = self._sole(node, Clip)
            pool = self._next(node) if clip else None
            extremum = self._sole(pool, Extremum) if pool else None
            if clip is None or pool is None or extremum is None:
                continue
            moved = extremum_before_clip(extremum, clip)
            if isinstance(moved, Refusal):
                continue
            trail = Trail()
            self._rewrite(node, (), trail)
            self._rewrite(pool, (extremum, moved), trail)
            if self._gain(trail) < Cost():
                self.router.edits.update(trail.edits)

    def turn_mixed_clips_into_relus(self) -> None:
        """Write a clip from below in some channels and from above in others as a sign for each channel and a Relu.

        The shift before them goes backward or stays, sign and shift behind them go forward, each as any affine would.
        Of images, sign and shift are a convolution of each channel alone, which runtimes compute together with a Relu,
        in their own layout; Max and Min are not.
        """
        for node in self._view.nodes():
            edit = self.router.edit(node)
            last = edit.operators[-1] if edit and edit.operators else None
            halves = clip_as_relu(last) if isinstance(last, Clip) else None
            if edit is None or not isinstance(halves, tuple):
                continue
            shift, sign, outer = halves
            relu = (self._for_each_channel(node, sign), Clip.relu(sign.rank))
            trail = self._attempt(partial(self.router.backward_from_within, node, edit, shift, relu))
            if isinstance(trail, Stop):
                relu = (self._for_each_channel(node, sign.after(shift)), relu[1])
                trail = Trail({node: replace(edit, operators=(*edit.operators[:-1], *relu))})
            forward = self._attempt(partial(self.router.forward, node.outputs[0], outer), trail)
            if isinstance(forward, Trail) and self._gain(forward) < Cost():
                self.router.edits.update(forward.edits)

    def _for_each_channel(self, node: ir.Node, a: Affine) -> Operator:
        """A as a convolution of each channel alone, where `node` makes images; else A."""
        channels, *extents = (self._view.shape(node.outputs[0]) or (None, None))[1:]
        if channels is None or not extents:
            return a
        ones = (1,) * len(extents)
        window = Window(ones, ones, ((0, 0),) * len(extents), tuple(extents))
        conv = affine_as_conv(a, Conv(np.ones((channels, 1, *ones)), np.zeros(channels), channels, window))
        return a if isinstance(conv, Refusal) else conv

    def _site(self, node: ir.Node) -> Site:
        """The run of affine nodes that begins with `node`."""
        run, affines = [node], [self._sole(node, Affine)]
        while (following := self._only_reader(run[-1].outputs[0])) is not None:
            second = self._sole(following, Affine)
            if second is None:
                break
            run.append(following)
            affines.append(second)
        parts = [affine for affine in affines if affine is not None]
        if len(parts) < len(run):
            raise ValueError(f"{node.name}: is not affine")
        borders = [at for at in range(1, len(run)) if self._layers(run[at - 1 : at]) != self._layers(run[at : at + 1])]
        cuts = tuple((_composed(parts[:at]), _composed(parts[at:])) for at in borders[:_MOST_CUTS])
        return Site(tuple(run), _composed(parts), cuts)

    def _settle(self, site: Site) -> Fate:
        """Take the cheapest route for the site, or keep it."""
        trails, stops = self._routes(site)
        gain, best = _cheapest(trails)
        if best is not None and self._pays(site, gain):
            self.router.edits.update(best.edits)
            return Folded(site.name, self._layers(site.nodes), self._health(site), tuple(best.steps))
        if trails:
            stops += (Stop(site.name, _NO_GAIN),)
        finite = bool(np.isfinite(site.affine.scale).all() and np.isfinite(site.affine.shift).all())
        ways = (*_parts(site.affine), _Split(stays=site.affine)) if finite else ()
        parts = [self._try(site, split) for split in ways]
        gain, best = _cheapest([(self._gain(part), part) for part in parts if isinstance(part, Trail)])
        if best is None or gain >= Cost():
            best = Trail()
        self.router.edits.update(best.edits)
        return Kept(site.name, self._layers(site.nodes), self._health(site), stops, tuple(best.steps))

    def _routes(self, site: Site) -> tuple[list[tuple[Cost, Trail]], tuple[Stop, ...]]:
        """The routes for all of A with what each costs, and what stops A as a whole each way.

        Once there is one that removes the site and makes nothing else more expensive, no other is looked for.
        """
        trails: list[tuple[Cost, Trail]] = []
        stops: dict[Stop, None] = {}
        ideal = self._gain(Trail({node: self._rewritten(node, (), Trail()) for node in site.nodes}))
        for split in _whole(site):
            found = self._try(site, split)
            if isinstance(found, Stop):
                stops.update({found: None} if split.law is None else {})
                continue
            trails.append((self._gain(found), found))
            if trails[-1][0] <= ideal:
                break
        return trails, tuple(stops)

    def _pays(self, site: Site, gain: Cost) -> bool:
        """Whether the route is worth it: a normalization may go at the price of as many nodes, others must gain."""
        is_norm = self._layers(site.nodes) or any(node.op_type == "BatchNormalization" for node in site.nodes)
        return gain.nodes <= 0 if is_norm else gain < Cost()

    def _try(self, site: Site, split: _Split) -> Trail | Stop:
        """The trail that is left when the parts of a split go their ways, or what stops one of them."""

        def move(trail: Trail) -> None:
            for node in site.nodes:
                self._rewrite(node, (), trail)
            if split.law is not None:
                trail.steps.append(Step(split.law, site.name, absorbs=False))
            if split.back is not None:
                self.router.backward(self.router.source(site.nodes[0]), split.back, trail)
            if split.stays is not None:
                self._rewrite(site.nodes[0], (split.stays,), trail)
            if split.forward is not None:
                self.router.forward(site.nodes[-1].outputs[0], split.forward, trail)

        return self._attempt(move)

    def _attempt(self, move: _Move, trail: Trail | None = None) -> Trail | Stop:
        """The trail after the move, or what stopped it."""
        attempt = trail.copy() if trail else Trail()
        try:
            move(attempt)
        except BlockedError as blocked:
            return blocked.stop
        return attempt

    def _merge(self, node: ir.Node) -> None:
        """Make one convolution of those whose results the node adds; an affine or nothing counts as one."""
        merged = merge_branches(self.router, node)
        if merged is None:
            return
        self.router.edits.update(merged.edits)
        self.router.dead.update(merged.dead)
        step = Step("into a parallel Conv", name(merged.into), absorbs=True)
        for site in {self._sites[node] for node in merged.absorbed}:
            self._fates[site] = Folded(site.name, self._layers(site.nodes), self._health(site), (step,))

    def _rewrite(self, node: ir.Node, operators: tuple[Operator, ...], trail: Trail) -> None:
        trail.edits[node] = self._rewritten(node, operators, trail)

    def _rewritten(self, node: ir.Node, operators: tuple[Operator, ...], trail: Trail) -> Edit:
        edit = self.router.edit(node, trail)
        if edit is None:
            raise ValueError(f"{node.name}: has no single tensor input")
        return replace(edit, operators=operators)

    def _gain(self, trail: Trail) -> Cost:
        """What the graph costs more (or, below zero, less) after the trail than before."""
        total = Cost()
        for node in self._affected(trail):
            before, after = self.router.edit(node), self.router.edit(node, trail)
            total += self._cost(node, after, trail) if after else Cost()
            total -= self._cost(node, before, Trail()) if before else Cost()
        return total

    def _affected(self, trail: Trail) -> dict[ir.Node, None]:
        """The nodes that change, and their readers, which may come to stand behind what they can be fused with."""
        readers = (use[0] for node in trail.edits for use in self.router.uses(node.outputs[0]))
        return dict.fromkeys([*trail.edits, *readers])

    def _cost(self, node: ir.Node, edit: Edit, trail: Trail) -> Cost:
        shape = self._view.shape(node.outputs[0]) or ()
        elements = prod(extent for extent in shape[1:] if extent is not None)
        words = spell(edit.operators, edit.original, node.op_type, len(shape))
        return cost(words, elements, self._op_type_before(node, trail)) if words else Cost()

    def _op_type_before(self, node: ir.Node, trail: Trail) -> str | None:
        """The type of the node that will stand before `node`."""
        before = self.router.source(node, trail).producer()
        edit = self.router.edit(before, trail) if before else None
        while before is not None and edit is not None and not edit.operators:
            before = self.router.source(before, trail).producer()
            edit = self.router.edit(before, trail) if before else None
        if before is None or edit is None:
            return before.op_type if before else None
        words = spell(edit.operators, edit.original, before.op_type, len(before.outputs[0].shape or ()))
        return words[-1].op_type if words else before.op_type

    def _sole(self, node: ir.Node, kind: type[_Kind]) -> _Kind | None:
        """The operator that the node stands for, if it is a single one of this kind."""
        edit = self.router.edit(node)
        operators = edit.operators if edit else ()
        return operators[0] if len(operators) == 1 and isinstance(operators[0], kind) else None

    def _only_reader(self, value: ir.Value) -> ir.Node | None:
        return None if self.router.is_shared(value) else next((node for node, _ in self.router.uses(value)), None)

    def _next(self, node: ir.Node) -> ir.Node | None:
        """The only reader of the node's result, past those that the plan removes."""
        reader = self._only_reader(node.outputs[0])
        while reader is not None and (edit := self.router.edit(reader)) is not None and not edit.operators:
            reader = self._only_reader(reader.outputs[0])
        return reader

    def _is_bias(self, site: Site) -> bool:
        """Whether this is the bias of a layer, and not a layer of its own."""
        is_norm = any(node.op_type == "BatchNormalization" for node in site.nodes)
        return bool((site.affine.scale == 1.0).all()) and not is_norm and not self._layers(site.nodes)

    def _health(self, site: Site) -> Health:
        scale = site.affine.scale
        known = (self._view.variance(node) for node in site.nodes)
        variances = [float(each) for part in known if part is not None for each in part.reshape(-1)]
        source = self.router.source(site.nodes[0])
        producer = source.producer()
        return Health(
            channels=scale.size,
            dead_channels=sum(variance < _DEAD for variance in variances),
            smallest_variance=min(variances, default=None),
            largest_scale=float(np.abs(scale).max()),
            amplifies=name(producer) if producer else source.name or "",
            negative_scales=int((scale < 0.0).sum()),
            zero_scales=int((scale == 0.0).sum()),
        )

    def _layers(self, nodes: Sequence[ir.Node]) -> tuple[str, ...]:
        layers = (self._view.layer(node) for node in nodes)
        return tuple(dict.fromkeys(layer for layer in layers if layer is not None))


def _cheapest(trails: Sequence[tuple[Cost, Trail]]) -> tuple[Cost, Trail | None]:
    """The first of the cheapest, and its cost."""
    return min(trails, key=lambda trail: trail[0], default=(Cost(), None))


def _unreadable(view: View, node: ir.Node) -> Stop:
    """Why a BatchNormalization is no affine by constants."""
    if node.attributes.get_int("training_mode", 0) == 1:
        return Stop(name(node), "it is in training mode")
    if any(view.argument(node, index) is None for index in range(1, 5)):
        return Stop(name(node), "its weights are not constants")
    if view.shape(node.inputs[0]) is None:
        return Stop(name(node), "the shape of its input is not known")
    return Stop(name(node), "it does not compute in float32 or float64")


def _composed(affines: Sequence[Affine]) -> Affine:
    """All of them, the first one first."""
    return reduce(lambda first, second: second.after(first), affines)


def _whole(site: Site) -> Iterator[_Split]:
    """The ways to send all of A off."""
    a = site.affine
    yield _Split(back=a)
    yield _Split(forward=a)
    for first, second in site.cuts:
        yield _Split("the first back, the others on", back=first, forward=second)
    scale, shift = Affine(a.scale, np.zeros(())), Affine(np.ones(()), a.shift)
    if a.shift.any() and (a.scale != 1.0).any():
        yield _Split("scale back, shift on", back=scale, forward=shift)
        if a.scale.all():
            yield _Split("shift back, scale on", back=Affine(np.ones(()), a.shift / a.scale), forward=scale)
    signs = np.where((a.scale > 0.0) | ((a.scale == 0.0) & (a.scale > 0.0).any()), 1.0, -1.0)
    if (signs < 0.0).any():
        sign, magnitude = Affine(signs, np.zeros(())), Affine(np.abs(a.scale), a.shift)
        yield _Split("sign back, magnitude on", back=sign, forward=magnitude)


def _parts(a: Affine) -> Iterator[_Split]:
    """The ways to send off the scale while the shift stays."""
    if (a.scale != 1.0).any() and a.shift.any():
        scale = Affine(a.scale, np.zeros(()))
        yield _Split("scale back, shift stays", back=scale, stays=Affine(np.ones(()), a.shift))
        if a.scale.all():
            yield _Split("scale on, shift stays", stays=Affine(np.ones(()), a.shift / a.scale), forward=scale)


def _is_sum(router: Router, node: ir.Node) -> bool:
    lifted = router.lifted(node)
    return lifted is not None and isinstance(lifted.operators[0], Sum) and router.edit(node) is None
