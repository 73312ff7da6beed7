"""Finding routes for affines. A plan says what becomes of each, and changes nothing.

Every maximal run of affine nodes (a BatchNormalization as Keras exports it is a Mul and an Add) is one affine A. They
are settled in topological order. A may go backward, into the operator that makes its tensor, or forward, into all that
read it; or as A = B ∘ C both ways, C backward and B forward, or one of them while the other stays. Each operator on the
way is asked through the table of laws: it absorbs A, passes some A' on, or refuses with a reason. Of the routes found
the cheapest is taken, if it leaves the graph no more expensive than it was; later affines see the graph as it then is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import onnx_ir as ir

from edgebn.algebra import (
    Affine,
    Sum,
)
from edgebn.folding.branches import merge_branches
from edgebn.folding.clips import move_clips_behind_pools, turn_clips_into_relus
from edgebn.folding.ledger import Ledger
from edgebn.folding.preference import Preference
from edgebn.folding.routes import Edit, Router, Trail, name
from edgebn.folding.spelling import NORMALIZATION, Cost
from edgebn.folding.view import View
from edgebn.report import Fate, Folded, Health, Kept, Step, Stop

_DEAD = 1e-8
_MOST_CUTS = 8
_IDENTITY = Affine(np.ones(()), np.zeros(()))
_UNKNOWN = Health(0, 0, None, 0.0, "", 0, 0)
_NO_GAIN = "every exact route would leave more nodes than there are now"
_PREFERRED = "it can be folded, but was asked to stay, for speed"


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


def plan(view: View, steps: int | None = None, preference: Preference = Preference.USUAL) -> Plan:
    """Plan all affines of the graph, in topological order; or the first `steps` of them alone. Nothing is changed.

    The shapes of the graph's tensors must have been inferred; what has no shape is left alone.
    """
    planner = _Planner(view, preference)
    with np.errstate(all="ignore"):  # what is not finite is refused by the laws
        settled = planner.settle(steps)
        if steps is None and preference is not Preference.UNFOLDED:
            move_clips_behind_pools(planner.ledger)
            turn_clips_into_relus(planner.ledger, preference)
    return Plan(planner.fates(), dict(planner.router.edits), settled)


class _Planner:
    """The graph as it will be, and what has become of its affines so far."""

    def __init__(self, view: View, preference: Preference) -> None:
        self.ledger = Ledger(view)
        self.router = self.ledger.router
        self._view = view
        self._preference = preference
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
            if self.ledger.sole(node, Affine) is not None and node not in self._sites:
                site = self._site(node)
                self._sites.update(dict.fromkeys(site.nodes, site))
                self._fates[site] = self._settle(site)
                settled += 1
            elif self._preference is not Preference.UNFOLDED and _is_sum(self.router, node):
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

    def _site(self, node: ir.Node) -> Site:
        """The run of affine nodes that begins with `node`."""
        run, affines = [node], [self.ledger.sole(node, Affine)]
        while (following := self.ledger.only_reader(run[-1].outputs[0])) is not None:
            second = self.ledger.sole(following, Affine)
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
        if self._preference is Preference.UNFOLDED:
            return self._kept(site, Trail(), (Stop(site.name, _PREFERRED),))
        trails, stops = self._routes(site)
        gain, best = _cheapest(trails)
        as_it_is = self._preferred(site, best)
        if as_it_is is not None:
            return self._kept(site, as_it_is, (Stop(site.name, _PREFERRED),))
        if best is not None and self._pays(site, gain):
            self.router.edits.update(best.edits)
            return Folded(site.name, self._layers(site.nodes), self._health(site), tuple(best.steps))
        if trails:
            stops += (Stop(site.name, _NO_GAIN),)
        finite = bool(np.isfinite(site.affine.scale).all() and np.isfinite(site.affine.shift).all())
        ways = (*_parts(site.affine), _Split(stays=site.affine)) if finite else ()
        parts = [self._try(site, split) for split in ways]
        gain, best = _cheapest([(self.ledger.gain(part), part) for part in parts if isinstance(part, Trail)])
        if best is None or gain >= Cost():
            best = Trail()
        return self._kept(site, best, stops)

    def _kept(self, site: Site, trail: Trail, stops: tuple[Stop, ...]) -> Kept:
        self.router.edits.update(trail.edits)
        return Kept(site.name, self._layers(site.nodes), self._health(site), stops, tuple(trail.steps))

    def _preferred(self, site: Site, best: Trail | None) -> Trail | None:
        """The site as one node, if the best route would make a Max or Min and a normalization is preferred to that."""
        if self._preference is not Preference.NORMALIZATIONS or best is None:
            return None
        as_one = self._try(site, _Split(stays=site.affine))
        if isinstance(as_one, Stop) or self.ledger.extremes(best) <= self.ledger.extremes(Trail(), best.edits):
            return None
        written = [word.op_type for word in self.ledger.words(site.nodes[0], as_one)]
        return as_one if written == [NORMALIZATION] else None

    def _routes(self, site: Site) -> tuple[list[tuple[Cost, Trail]], tuple[Stop, ...]]:
        """The routes for all of A with what each costs, and what stops A as a whole each way.

        Once there is one that removes the site and makes nothing else more expensive, no other is looked for.
        """
        trails: list[tuple[Cost, Trail]] = []
        stops: dict[Stop, None] = {}
        ideal = self.ledger.gain(Trail({node: self.ledger.rewritten(node, (), Trail()) for node in site.nodes}))
        for split in _whole(site):
            found = self._try(site, split)
            if isinstance(found, Stop):
                stops.update({found: None} if split.law is None else {})
                continue
            trails.append((self.ledger.gain(found), found))
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
                self.ledger.rewrite(node, (), trail)
            if split.law is not None:
                trail.steps.append(Step(split.law, site.name, absorbs=False))
            if split.back is not None:
                self.router.backward(self.router.source(site.nodes[0]), split.back, trail)
            if split.stays is not None:
                self.ledger.rewrite(site.nodes[0], (split.stays,), trail)
            if split.forward is not None:
                self.router.forward(site.nodes[-1].outputs[0], split.forward, trail)

        return self.ledger.attempt(move)

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
            largest_scale=float(np.abs(scale).max(initial=0.0)),
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
