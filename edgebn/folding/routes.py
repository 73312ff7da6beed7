"""Moving an affine through the graph, node by node, by the table of laws.

A `Trail` is the graph as it would be: which nodes stand for other operators than before. A move writes into a trail
and raises `BlockedError` where no law lets the affine pass. Nothing of the graph itself is changed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

import numpy as np
import onnx_ir as ir

from edgebn.algebra import (
    Affine,
    Clip,
    Conv,
    Direction,
    Join,
    Operator,
    Outcome,
    Product,
    Refusal,
    Sum,
    laws_for,
    pad_before_clip,
    shift_first,
)
from edgebn.folding.lifting import Lifted, lift
from edgebn.folding.view import View
from edgebn.report import Step, Stop

_INPUT = "the graph's input has no weights that could take it"

LONGEST = 100
"""How many operators one affine may cross. Real routes have a few dozen, those through a DenseNet included."""


@dataclass(frozen=True, eq=False)
class Edit:
    """What a node is written as: `operators` on its input `data`. `original` is what it stood for before."""

    operators: tuple[Operator, ...]
    data: int
    original: Operator | None


class BlockedError(Exception):
    """No law lets the affine pass."""

    def __init__(self, at: str, reason: str) -> None:
        super().__init__(f"{at}: {reason}")
        self.stop = Stop(at, reason)


@dataclass(eq=False)
class Trail:
    """The nodes that change, the laws that were used, in order, and how many more may be."""

    edits: dict[ir.Node, Edit] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    crossings: int = 0

    def copy(self) -> Trail:
        """The same, to try something that may fail."""
        return Trail(dict(self.edits), list(self.steps), self.crossings)

    def become(self, other: Trail) -> None:
        """Take over what was tried."""
        self.edits, self.steps, self.crossings = other.edits, other.steps, other.crossings


class Router:
    """Moves affines over a graph in which `edits` have been settled already and `dead` nodes do not count."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.edits: dict[ir.Node, Edit] = {}
        self.dead: set[ir.Node] = set()
        self._lifted: dict[ir.Node, Lifted | None] = {}

    def lifted(self, node: ir.Node) -> Lifted | None:
        """What the node stands for in the model as it was given."""
        if node not in self._lifted:
            self._lifted[node] = lift(self.view, node)
        return self._lifted[node]

    def edit(self, node: ir.Node, trail: Trail | None = None) -> Edit | None:
        """What a node of one output and one tensor input stands for; None if no law speaks of it."""
        known = (trail.edits.get(node) if trail else None) or self.edits.get(node)
        if known is not None:
            return known
        lifted = self.lifted(node)
        if lifted is None or len(lifted.data) != 1 or len(lifted.operators) != 1:
            return None
        if isinstance(lifted.operators[0], Join):
            return None
        return Edit(lifted.operators, lifted.data[0], lifted.operators[0])

    def uses(self, value: ir.Value) -> Iterator[tuple[ir.Node, int]]:
        """The nodes and inputs that read the values of a tensor."""
        return (use for use in self.view.uses(value) if use[0] not in self.dead)

    def is_shared(self, value: ir.Value) -> bool:
        """Whether a tensor is read more than once, or is an output of the graph."""
        return value.is_graph_output() or len(list(islice(self.uses(value), 2))) > 1

    def source(self, node: ir.Node, trail: Trail | None = None) -> ir.Value:
        """The tensor that a node of one tensor input acts on."""
        edit = self.edit(node, trail)
        value = node.inputs[edit.data] if edit else None
        if value is None:
            raise ValueError(f"{node.name}: has no single tensor input")
        return value

    def backward(self, value: ir.Value, a: Affine, trail: Trail) -> None:
        """Make `value` what A makes of it, by changing what produces it. Nobody else may read it."""
        rest: Affine | None = a
        while rest is not None and not _is_identity(rest):
            node = self._sole_producer(value)
            edit = self.edit(node, trail)
            if edit is None:
                self._backward_among_several(node, value, rest, trail)
                return
            operators, rest = self._through(edit.operators, rest, "backward", node, trail)
            self._write(node, edit, operators, trail)
            value = self.source(node, trail)

    def forward(self, value: ir.Value, a: Affine, trail: Trail) -> None:
        """Let every reader of `value` expect it without A, by changing the readers.

        What is left of A behind a reader waits until those that came before have gone on: first in, first out, so that
        several that meet behind a join are moved in the order in which they stand there.
        """
        waiting = deque([(value, a)])
        while waiting:
            value, rest = waiting.popleft()
            if _is_identity(rest):
                continue
            if value.is_graph_output():
                raise BlockedError(value.name or "", "the tensor is an output of the graph")
            for node, index in self.uses(value):
                waiting.extend(self._forward_into(node, index, rest, trail))

    def _sole_producer(self, value: ir.Value) -> ir.Node:
        """The node that makes the tensor, if nobody would notice but the one reader from which an affine comes."""
        node = value.producer()
        if node is None:
            kind = "a constant, which is left as it is" if self.view.constant(value) is not None else _INPUT
            raise BlockedError(value.name or "", kind)
        if value.is_graph_output():
            raise BlockedError(name(node), "its result is also an output of the graph")
        if self.is_shared(value):
            raise BlockedError(name(node), "its result has a second reader, which would see the change")
        return node

    def backward_from_within(
        self, node: ir.Node, edit: Edit, a: Affine, behind: tuple[Operator, ...], trail: Trail
    ) -> None:
        """Move A backward from within a node: from behind all but the last of its operators, which becomes `behind`."""
        moved, rest = self._through(edit.operators[:-1], a, "backward", node, trail)
        trail.edits[node] = replace(edit, operators=(*moved, *behind))
        if rest is not None:
            self.backward(self.source(node, trail), rest, trail)

    def _forward_into(self, node: ir.Node, index: int, a: Affine, trail: Trail) -> list[tuple[ir.Value, Affine]]:
        """Change one reader; returns what is left of A, and where."""
        lifted = self.lifted(node)
        edit = self.edit(node, trail)
        if edit is not None:
            if index != edit.data:
                raise BlockedError(name(node), f"it is not the tensor that this {node.op_type} acts on")
            operators, rest = self._through(self._with_pad_before_clip(node, edit, a, trail), a, "forward", node, trail)
            self._write(node, edit, operators, trail)
            return [] if rest is None else [(node.outputs[0], rest)]
        if lifted is None or index not in lifted.data:
            raise BlockedError(name(node), why_opaque(self.view, node))
        rests = []
        for operator, output in zip(lifted.operators, node.outputs, strict=False):
            placed = replace(operator, at=lifted.data.index(index)) if isinstance(operator, Join) else operator
            outcome = self._cross(placed, a, "forward", node, trail)
            if outcome.rest is not None:
                rests.append((output, outcome.rest))
        return rests

    def _through(
        self, operators: Sequence[Operator], a: Affine, direction: Direction, node: ir.Node, trail: Trail
    ) -> tuple[tuple[Operator, ...], Affine | None]:
        """Move A through the operators of one node: as they become, and what is left of A."""
        backward = direction == "backward"
        rest: Affine | None = a
        moved: list[Operator] = []
        for operator in reversed(operators) if backward else operators:
            if rest is None or _is_identity(rest):
                moved.append(operator)
                continue
            if (passed := _past_affine(operators, operator, rest, backward=backward)) is not None:
                moved.append(passed[0])
                rest = passed[1]
                continue
            outcome = self._cross(operator, rest, direction, node, trail)
            if outcome.rests:
                raise ValueError(f"{node.name}: a join among the operators of a node of one input")
            moved.extend(reversed(outcome.operators) if backward else outcome.operators)
            rest = outcome.rest
        return tuple(reversed(moved)) if backward else tuple(moved), rest

    def _cross(self, operator: Operator, a: Affine, direction: Direction, node: ir.Node, trail: Trail) -> Outcome:
        """One operator, by the first of its laws that does not refuse."""
        trail.crossings += 1
        if trail.crossings > LONGEST:
            raise BlockedError(name(node), f"the route is longer than {LONGEST} operators")
        refusal: Refusal | None = None
        compressed = a.compressed()  # the operator may have another extent on an axis on which A does not depend
        for law in laws_for(operator, direction):
            outcome = law.rule(operator, compressed)
            if isinstance(outcome, Outcome):
                absorbs = outcome.rest is None and not outcome.rests
                trail.steps.append(Step(law.name, name(node), absorbs))
                return outcome
            refusal = refusal or outcome
        raise BlockedError(name(node), refusal.reason if refusal else why_opaque(self.view, node))

    def _write(self, node: ir.Node, edit: Edit, operators: tuple[Operator, ...], trail: Trail) -> None:
        if operators != edit.operators:
            trail.edits[node] = replace(edit, operators=operators)

    def _backward_among_several(self, node: ir.Node, value: ir.Value, a: Affine, trail: Trail) -> None:
        """Through a node of several outputs, of which `value` is one, or of several inputs."""
        lifted = self.lifted(node)
        if lifted is None:
            raise BlockedError(name(node), why_opaque(self.view, node))
        if len(lifted.operators) == 1:
            self._backward_into_join(node, lifted, a, trail)
            return
        outcome = self._cross(lifted.operators[value.index() or 0], a, "backward", node, trail)
        source = node.inputs[lifted.data[0]]
        if outcome.rest is not None and source is not None:
            self.backward(source, outcome.rest, trail)

    def _backward_into_join(self, node: ir.Node, lifted: Lifted, a: Affine, trail: Trail) -> None:
        """All inputs take their part of A; where only one can take something, each is tried in turn."""
        operator = lifted.operators[0]
        places = range(len(lifted.data)) if isinstance(operator, Sum | Product) else range(1)
        blocked: BlockedError | None = None
        for at in places:
            attempt = trail.copy()
            try:
                placed = replace(operator, at=at) if isinstance(operator, Join) else operator
                outcome = self._cross(placed, a, "backward", node, attempt)
                for index, rest in zip(lifted.data, outcome.rests, strict=True):
                    value = node.inputs[index]
                    if rest is not None and value is not None:
                        self.backward(value, rest, attempt)
            except BlockedError as reason:
                blocked = blocked or reason
                trail.crossings = attempt.crossings
            else:
                trail.become(attempt)
                return
        raise blocked or BlockedError(name(node), why_opaque(self.view, node))

    def _with_pad_before_clip(self, node: ir.Node, edit: Edit, a: Affine, trail: Trail) -> tuple[Operator, ...]:
        """The node's operators; if it is a padded Conv behind a clip, without the padding, which moves before that."""
        conv = edit.operators[0] if edit.operators else None
        if not isinstance(conv, Conv) or not conv.window.padded or not a.shift.any():
            return edit.operators
        value = self.source(node, trail)
        before = value.producer()
        # who asks for the shape alone counts too: it changes
        clipping = self.edit(before, trail) if before is not None and len(value.uses()) == 1 else None
        clip = clipping.operators[-1] if clipping and clipping.operators else None
        exchanged = pad_before_clip(clip, a, conv) if isinstance(clip, Clip) else None
        if before is None or clipping is None or clip is None or not isinstance(exchanged, tuple):
            return edit.operators
        pad, unpadded = exchanged
        trail.edits[before] = replace(clipping, operators=(*clipping.operators[:-1], pad, clip))
        trail.steps.append(Step("a Pad before a clip", name(before), absorbs=False))
        return (unpadded, *edit.operators[1:])


def _past_affine(
    operators: Sequence[Operator], operator: Operator, a: Affine, *, backward: bool
) -> tuple[Affine, Affine] | None:
    """How A goes past a constant that is added behind or before a convolution: it takes the shift, that one the scale.

    Behind it: s·(x + m) + t = s·x + (s·m + t). Before it: (s·x + t) + m = s·(x + (t + m)/s).
    """
    if not isinstance(operator, Affine) or operator is operators[0 if backward else -1]:
        return None
    if backward:
        return Affine(operator.scale, a.scale * operator.shift + a.shift), Affine(a.scale, np.zeros(()))
    return shift_first(operator.after(a))


def name(node: ir.Node) -> str:
    """What the node is called, or else its type."""
    return node.name or node.op_type


def why_opaque(view: View, node: ir.Node) -> str:
    """Why no law speaks of the node."""
    if node.graph is not view.graph:
        return "it is read inside of the body of an If, Loop or Scan"
    if node.op_type in {"Conv", "ConvTranspose", "Gemm", "MatMul"}:
        constant = any(view.argument(node, index) is not None for index in range(2))
        what = "has weights in a form that no law speaks of" if constant else "has no constant weights"
        return f"this {node.op_type} {what}"
    return f"nothing passes {node.op_type}"


def _is_identity(a: Affine) -> bool:
    return bool((a.scale == 1.0).all()) and not a.shift.any()
