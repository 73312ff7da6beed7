"""Finding routes for affines. A plan says what becomes of each, and changes nothing.

Every maximal run of affine nodes (a BatchNormalization as Keras exports it is a Mul and an Add) is one affine A.
From where it stands it may move backward, into the operator that makes its tensor, or forward, into all that read it.
Each operator on the way is asked through the table of laws: it absorbs A, passes some A' on, or refuses with a reason.
Of the routes found the cheapest is taken, if it leaves the graph cheaper than it was; later affines see the graph as it
then is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import TypeVar

import numpy as np
import onnx_ir as ir

from edgebn.algebra import Affine, Clip, Direction, MaxPool, Operator, Refusal, as_relu, laws_for
from edgebn.folding.lifting import lift
from edgebn.folding.spelling import Cost, cost, spell
from edgebn.folding.view import View
from edgebn.report import Fate, Folded, Kept, Step, Stop

Chain = tuple[Operator, ...]
_Crossing = tuple[Chain, Affine | None, tuple[Step, ...]]
_Kind = TypeVar("_Kind", bound=Operator)
_NO_GAIN = "every exact route would leave as many nodes as there are now, or more"


@dataclass(frozen=True)
class Plan:
    """What becomes of each affine, and the operators that each changed node is to be written as, in order."""

    fates: tuple[Fate, ...]
    edits: Mapping[ir.Node, Chain]


@dataclass(frozen=True, eq=False)
class _Site:
    """A run of affine nodes, each the only reader of the one before, and the affine that they make together."""

    nodes: tuple[ir.Node, ...]
    affine: Affine

    @property
    def name(self) -> str:
        return self.nodes[-1].name or self.nodes[-1].op_type


@dataclass(frozen=True, eq=False)
class _Route:
    """A way for an affine: the nodes that change, and the laws that were used, in order."""

    edits: Mapping[ir.Node, Chain] = field(default_factory=dict)
    steps: tuple[Step, ...] = ()

    def then(self, other: _Route | Stop) -> _Route | Stop:
        if isinstance(other, Stop):
            return other
        if twice := self.edits.keys() & other.edits.keys():
            return Stop(_name(next(iter(twice))), "two branches of one route meet here")
        return _Route({**self.edits, **other.edits}, self.steps + other.steps)


def plan(view: View) -> Plan:
    """Plan all affines of the graph, in topological order. Nothing is changed.

    The shapes of the graph's tensors must have been inferred; what has no shape is left alone.
    """
    planner = _Planner(view)
    fates = [planner.settle(site) for site in planner.sites()]
    planner.move_clips_behind_pools()
    planner.turn_mixed_clips_into_relus()
    return Plan(tuple(fate for fate in fates if fate is not None), planner.edits())


class _Planner:
    """The graph as it will be: the original nodes, each with the operators that it now stands for."""

    def __init__(self, view: View) -> None:
        self._view = view
        lifted = ((node, lift(view, node)) for node in view.nodes())
        self._original: dict[ir.Node, Chain] = {node: (operator,) for node, operator in lifted if operator is not None}
        self._chains = dict(self._original)

    def edits(self) -> dict[ir.Node, Chain]:
        return {node: chain for node, chain in self._chains.items() if chain is not self._original[node]}

    def sites(self) -> Iterator[_Site]:
        """The runs of affines, each as it stands when the ones before have been settled."""
        seen: set[ir.Node] = set()
        for node in self._view.nodes():
            if node in seen or self._sole(node, Affine) is None:
                continue
            run = [node]
            while (following := self._only_reader(run[-1].outputs[0])) and self._sole(following, Affine) is not None:
                run.append(following)
            seen.update(run)
            composed = self._sole(run[0], Affine)
            for member in run[1:]:
                second = self._sole(member, Affine)
                composed = second.after(composed) if second and composed else composed
            if composed is not None:
                yield _Site(tuple(run), composed)

    def settle(self, site: _Site) -> Fate | None:
        """Take the cheapest route for the site, or keep it. None for a mere bias that found its place."""
        removed = _Route(dict.fromkeys(site.nodes, ()))
        found = [removed.then(self._move(site, *parts)) for parts in _splits(site)]
        routes = [route for route in found if isinstance(route, _Route)]
        best = min(routes, key=self._gain, default=None)
        if best is not None and self._gain(best) < Cost():
            self._chains.update(best.edits)
            return None if self._is_bias(site) else Folded(site.name, self._layers(site), best.steps)
        compact = _Route({**removed.edits, site.nodes[0]: (site.affine,)})
        if self._gain(compact) < Cost():
            self._chains.update(compact.edits)
        stops = tuple(stop for stop in found if isinstance(stop, Stop)) or (Stop(site.name, _NO_GAIN),)
        return None if self._is_bias(site) else Kept(site.name, self._layers(site), stops)

    def move_clips_behind_pools(self) -> None:
        """Put a clip behind the MaxPool that reads it, where that is cheaper: max is monotone, and so is a clip."""
        for node in self._view.nodes():
            clip = self._sole(node, Clip)
            pool = self._next(node) if clip else None
            if clip is None or pool is None or self._sole(pool, MaxPool) is None or not clip.is_constant_over_windows:
                continue
            route = _Route({node: (), pool: (*self._chains[pool], clip)})
            if self._gain(route) < Cost():
                self._chains.update(route.edits)

    def turn_mixed_clips_into_relus(self) -> None:
        """Write a clip from below in some channels and from above in others as Mul by ±1 and Relu.

        The shift before them goes backward, sign and shift behind them forward, each as any affine would.
        """
        for node in self._view.nodes():
            *before, last = self._chains.get(node) or (None,)
            halves = as_relu(last) if isinstance(last, Clip) else None
            if halves is None:
                continue
            shift, sign, outer = halves
            relu = (sign, Clip.relu(sign.rank))
            back = self._before(node, tuple(before), shift, relu)
            route = back.then(self._into_readers(node.outputs[0], outer))
            if isinstance(route, _Route) and self._gain(route) < Cost():
                self._chains.update(route.edits)

    def _before(self, node: ir.Node, chain: Chain, affine: Affine, behind: Chain) -> _Route:
        """The route of A backward from between `chain` and `behind`, which the node stands for; or A stays there."""
        stays = _Route({node: (*chain, affine, *behind)})
        crossing = _through(chain, affine, "backward", _name(node))
        if isinstance(crossing, Stop):
            return stays
        edited, rest, steps = crossing
        route: _Route | Stop = _Route({node: (*edited, *behind)}, steps)
        if rest is not None:
            route = _Route({node: (*edited, *behind)}, steps).then(self._beyond(node, rest, "backward"))
        return stays if isinstance(route, Stop) else route

    def _move(self, site: _Site, split: str | None, back: Affine | None, forward: Affine | None) -> _Route | Stop:
        """The route by which `back` goes backward from the site, and `forward` forward."""
        route: _Route | Stop = _Route(steps=(Step(split, site.name, absorbs=False),) if split else ())
        data = self._view.data_input(site.nodes[0])
        if back is not None and data is not None and isinstance(route, _Route):
            route = route.then(self._into_producer(data, back))
        if forward is not None and isinstance(route, _Route):
            route = route.then(self._into_readers(site.nodes[-1].outputs[0], forward))
        return route

    def _into_producer(self, value: ir.Value, affine: Affine) -> _Route | Stop:
        """Make `value` what A makes of it, by changing what produces it. Nobody else may read it."""
        node = value.producer()
        if node is None:
            return Stop(value.name or "", "the graph's input has no weights that could take it")
        if value.is_graph_output():
            return Stop(_name(node), "its result is also an output of the graph")
        if len(self._view.readers(value)) > 1:
            return Stop(_name(node), "its result has a second reader, which would see the change")
        return self._across(node, affine, "backward")

    def _into_readers(self, value: ir.Value, affine: Affine) -> _Route | Stop:
        """Let every reader of `value` expect it without A, by changing the readers."""
        if value.is_graph_output():
            return Stop(value.name or "", "the tensor is an output of the graph")
        route: _Route | Stop = _Route()
        for reader in self._view.readers(value):
            if isinstance(route, _Route):
                route = route.then(self._across(reader, affine, "forward"))
        return route

    def _across(self, node: ir.Node, affine: Affine, direction: Direction) -> _Route | Stop:
        """Move A through the operators of one node, and on from there if it comes out on the other side."""
        chain = self._chains.get(node)
        if chain is None:
            return Stop(_name(node), _why_opaque(node))
        crossing = _through(chain, affine, direction, _name(node))
        if isinstance(crossing, Stop):
            return crossing
        edited, rest, steps = crossing
        unchanged = all(new is old for new, old in zip(edited, chain, strict=True))
        route = _Route({} if unchanged else {node: edited}, steps)
        return route if rest is None else route.then(self._beyond(node, rest, direction))

    def _beyond(self, node: ir.Node, affine: Affine, direction: Direction) -> _Route | Stop:
        if direction == "forward":
            return self._into_readers(node.outputs[0], affine)
        data = self._view.data_input(node)
        return self._into_producer(data, affine) if data else Stop(_name(node), "it has no single tensor input")

    def _gain(self, route: _Route) -> Cost:
        """What the graph costs more (or, below zero, less) after the route than before."""
        total = Cost()
        for node, chain in route.edits.items():
            total += self._cost(node, chain, route) - self._cost(node, self._chains[node], _Route())
        return total

    def _cost(self, node: ir.Node, chain: Chain, route: _Route) -> Cost:
        shape = self._view.shape(node.outputs[0]) or ()
        elements = prod(extent for extent in shape[1:] if extent is not None)
        return cost(spell(chain, node.op_type, len(shape)), elements, self._producer(node, route))

    def _producer(self, node: ir.Node, route: _Route) -> str | None:
        """The type of the node before, past those that the route removes."""
        data = self._view.data_input(node)
        before = data.producer() if data else None
        while before is not None and route.edits.get(before, self._chains.get(before)) == ():
            data = self._view.data_input(before)
            before = data.producer() if data else None
        return before.op_type if before else None

    def _sole(self, node: ir.Node, kind: type[_Kind]) -> _Kind | None:
        """The operator that the node stands for, if it is a single one of this kind."""
        chain = self._chains.get(node, ())
        return chain[0] if len(chain) == 1 and isinstance(chain[0], kind) else None

    def _only_reader(self, value: ir.Value) -> ir.Node | None:
        readers = self._view.readers(value)
        return readers[0] if len(readers) == 1 and not value.is_graph_output() else None

    def _next(self, node: ir.Node) -> ir.Node | None:
        """The only reader of the node's result, past those that the plan removes."""
        reader = self._only_reader(node.outputs[0])
        while reader is not None and self._chains.get(reader) == ():
            reader = self._only_reader(reader.outputs[0])
        return reader

    def _is_bias(self, site: _Site) -> bool:
        """Whether this is the bias of a layer, and not a layer of its own."""
        return bool((site.affine.scale == 1.0).all()) and not self._layers(site)

    def _layers(self, site: _Site) -> tuple[str, ...]:
        layers = (self._view.layer(node) for node in site.nodes)
        return tuple(dict.fromkeys(layer for layer in layers if layer is not None))


def _through(chain: Chain, affine: Affine, direction: Direction, at: str) -> _Crossing | Stop:
    """Move A through the operators of one node: the operators as they become, what is left of A, and the laws used."""
    backward = direction == "backward"
    rest: Affine | None = affine
    moved: list[Operator] = []
    steps: list[Step] = []
    for operator in reversed(chain) if backward else chain:
        if rest is None:
            moved.append(operator)
            continue
        (law,) = laws_for(operator, direction)
        outcome = law.rule(operator, rest)
        if isinstance(outcome, Refusal):
            return Stop(at, outcome.reason)
        moved.append(outcome.operator)
        rest = outcome.rest
        steps.append(Step(law.name, at, absorbs=rest is None))
    return tuple(reversed(moved)) if backward else tuple(moved), rest, tuple(steps)


def _splits(site: _Site) -> Iterator[tuple[str | None, Affine | None, Affine | None]]:
    """The ways to send an affine off: A whole, or A = B ∘ C with C going backward and B forward."""
    yield None, site.affine, None
    yield None, None, site.affine
    scale = site.affine.scale
    signs = np.where((scale > 0.0) | ((scale == 0.0) & (scale > 0.0).any()), 1.0, -1.0)
    if (signs < 0.0).any():
        sign, magnitude = Affine(signs, np.zeros(())), Affine(np.abs(scale), site.affine.shift)
        yield "sign back, magnitude on", sign, magnitude


def _name(node: ir.Node) -> str:
    return node.name or node.op_type


def _why_opaque(node: ir.Node) -> str:
    if node.op_type in {"Conv", "Gemm", "MatMul"}:
        return f"the weights of this {node.op_type} are not constants"
    return f"nothing passes {node.op_type}"
