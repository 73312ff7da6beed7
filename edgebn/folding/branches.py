"""Branches that read one tensor and are added: linear, and so one convolution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgebn.algebra import Affine, Conv, Refusal, Sum, affine_as_conv, conv_plus_conv
from edgebn.folding.routes import Edit, Router


@dataclass(frozen=True, eq=False)
class Merged:
    """One convolution, `into`, in the place of two branches and of the node that added them.

    `dead` nodes compute nothing that is read any more; those that were affine are `absorbed`.
    """

    edits: Mapping[ir.Node, Edit]
    into: ir.Node
    dead: frozenset[ir.Node]
    absorbed: frozenset[ir.Node]


@dataclass(frozen=True, eq=False)
class _Branch:
    """What stands between `source` and a sum: a convolution, or an affine map, or nothing."""

    source: ir.Value
    conv_node: ir.Node | None
    conv: Conv | None
    affine: Affine | None
    affine_nodes: tuple[ir.Node, ...]


def merge_branches(router: Router, node: ir.Node) -> Merged | None:
    """The two branches that `node` adds as one convolution; None if they are not two maps of one tensor."""
    lifted = router.lifted(node)
    total = lifted.operators[0] if lifted else None
    if lifted is None or not isinstance(total, Sum) or total.signs != (1.0, 1.0):
        return None
    values = [node.inputs[index] for index in lifted.data]
    branches = [_branch(router, value) for value in values if value is not None]
    branches.sort(key=lambda branch: branch.conv is None)
    first, second = branches
    if first.conv is None or first.conv_node is None or first.source is not second.source:
        return None
    conv = _merged(first.conv, second)
    if isinstance(conv, Refusal):
        return None
    edit = router.edit(first.conv_node)
    at = next(index for index in lifted.data if _reaches(router, node.inputs[index], first.conv_node))
    if edit is None:
        return None
    edits = {first.conv_node: Edit((conv,), edit.data, edit.original), node: Edit((), at, None)}
    dead = frozenset(second.affine_nodes) | ({second.conv_node} if second.conv_node else frozenset())
    return Merged(edits, first.conv_node, dead, frozenset(second.affine_nodes))


def _merged(conv: Conv, other: _Branch) -> Conv | Refusal:
    if other.conv is not None:
        return conv_plus_conv(conv, other.conv)
    rank = conv.kernel.ndim
    affine = other.affine or Affine(np.ones((1,) * rank), np.zeros(()))
    as_conv = affine_as_conv(affine, conv)
    return as_conv if isinstance(as_conv, Refusal) else conv_plus_conv(conv, as_conv)


def _branch(router: Router, value: ir.Value) -> _Branch:
    """The branch that ends in `value`. Nobody else may read what it is made of."""
    affine: Affine | None = None
    nodes: list[ir.Node] = []
    shared = False
    while True:
        producer = value.producer()
        edit = router.edit(producer) if producer is not None else None
        if producer is None or edit is None:
            break
        shared = shared or router.is_shared(value)
        if not edit.operators:
            value = router.source(producer)
            continue
        operator = edit.operators[0]
        if len(edit.operators) > 1 or shared:
            break
        if isinstance(operator, Conv) and affine is None:
            return _Branch(_origin(router, router.source(producer)), producer, operator, None, tuple(nodes))
        if not isinstance(operator, Affine):
            break
        affine = operator if affine is None else affine.after(operator)
        nodes.append(producer)
        value = router.source(producer)
    return _Branch(value, None, None, affine, tuple(nodes))


def _origin(router: Router, value: ir.Value) -> ir.Value:
    """The tensor that `value` is, past nodes that the plan removes."""
    producer = value.producer()
    edit = router.edit(producer) if producer is not None else None
    while producer is not None and edit is not None and not edit.operators:
        value = router.source(producer)
        producer = value.producer()
        edit = router.edit(producer) if producer is not None else None
    return value


def _reaches(router: Router, value: ir.Value | None, conv_node: ir.Node) -> bool:
    return value is not None and _origin(router, value).producer() is conv_node
