"""The graph as it will be when what is planned has been done, and what it then costs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from math import prod
from typing import TypeVar

import onnx_ir as ir

from edgebn.algebra import Operator
from edgebn.folding.routes import BlockedError, Edit, Router, Trail
from edgebn.folding.spelling import Cost, Word, cost, spell
from edgebn.folding.view import View
from edgebn.report import Stop

_Kind = TypeVar("_Kind", bound=Operator)
_Move = Callable[[Trail], None]


class Ledger:
    """What nodes stand for and are written as, by what `router` has settled and by trails that are not settled yet."""

    def __init__(self, view: View) -> None:
        self.router = Router(view)
        self.view = view

    def attempt(self, move: _Move, trail: Trail | None = None) -> Trail | Stop:
        """The trail after the move, or what stopped it."""
        attempt = trail.copy() if trail else Trail()
        try:
            move(attempt)
        except BlockedError as blocked:
            return blocked.stop
        return attempt

    def rewrite(self, node: ir.Node, operators: tuple[Operator, ...], trail: Trail) -> None:
        """Let the node stand for `operators` from this trail on."""
        trail.edits[node] = self.rewritten(node, operators, trail)

    def rewritten(self, node: ir.Node, operators: tuple[Operator, ...], trail: Trail) -> Edit:
        """What becomes of a node that is to stand for `operators`."""
        edit = self.router.edit(node, trail)
        if edit is None:
            raise ValueError(f"{node.name}: has no single tensor input")
        return replace(edit, operators=operators)

    def gain(self, trail: Trail) -> Cost:
        """What the graph costs more (or, below zero, less) after the trail than before."""
        total = Cost()
        for node in self._affected(trail):
            before, after = self.router.edit(node), self.router.edit(node, trail)
            total += self._cost(node, after, trail) if after else Cost()
            total -= self._cost(node, before, Trail()) if before else Cost()
        return total

    def saved(self) -> int:
        """How many nodes fewer there are by all that has been settled."""
        changed = [node for node in self.router.edits if node not in self.router.dead]
        return len(self.router.dead) + sum(1 - len(self.words(node, Trail())) for node in changed)

    def _affected(self, trail: Trail) -> dict[ir.Node, None]:
        """The nodes that change, and their readers, which may come to stand behind what they can be fused with."""
        readers = (use[0] for node in trail.edits for use in self.router.uses(node.outputs[0]))
        return dict.fromkeys([*trail.edits, *readers])

    def _cost(self, node: ir.Node, edit: Edit, trail: Trail) -> Cost:
        shape = self.view.shape(node.outputs[0]) or ()
        elements = prod(extent for extent in shape[1:] if extent is not None)
        words = _words(node, edit)
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
        words = _words(before, edit)
        return words[-1].op_type if words else before.op_type

    def words(self, node: ir.Node, trail: Trail) -> tuple[Word, ...]:
        """What the node will be written as after the trail."""
        edit = self.router.edit(node, trail)
        return _words(node, edit) if edit else ()

    def extremes(self, trail: Trail, nodes: Iterable[ir.Node] | None = None) -> int:
        """How many Max and Min these nodes are written as after the trail; those that it changes, if none are given."""
        changed = trail.edits if nodes is None else nodes
        return sum(word.op_type in {"Max", "Min"} for node in changed for word in self.words(node, trail))

    def sole(self, node: ir.Node, kind: type[_Kind]) -> _Kind | None:
        """The operator that the node stands for, if it is a single one of this kind."""
        edit = self.router.edit(node)
        operators = edit.operators if edit else ()
        return operators[0] if len(operators) == 1 and isinstance(operators[0], kind) else None

    def only_reader(self, value: ir.Value) -> ir.Node | None:
        """The node that reads the tensor, if it is one alone."""
        return None if self.router.is_shared(value) else next((node for node, _ in self.router.uses(value)), None)

    def next(self, node: ir.Node) -> ir.Node | None:
        """The only reader of the node's result, past those that the plan removes."""
        reader = self.only_reader(node.outputs[0])
        while reader is not None and (edit := self.router.edit(reader)) is not None and not edit.operators:
            reader = self.only_reader(reader.outputs[0])
        return reader


def _words(node: ir.Node, edit: Edit) -> tuple[Word, ...]:
    return spell(edit.operators, edit.original, node.op_type, len(node.outputs[0].shape or ()))
