"""The softmax or sigmoid that an output of a graph ends in, and what stands before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from edgebn.interface import recorded
from edgebn.report import LOGITS
from edgebn.verifying.onnx_files import OnnxFile, in_memory

_ACTIVATIONS = frozenset({"Softmax", "LogSoftmax", "Sigmoid"})
_SHAPES = frozenset({"Flatten", "Reshape", "Squeeze", "Unsqueeze"})


@dataclass(frozen=True, eq=False)
class Ending:
    """The last operator of an output, seen through `arranging`, nodes that only arrange elements, the last one first.

    `axis` is that of the output along which a softmax runs, from its end; None for a sigmoid.
    """

    activation: ir.Node
    arranging: tuple[ir.Node, ...]
    axis: int | None

    @property
    def kind(self) -> str:
        """Its operator."""
        return self.activation.op_type


def endings(model: ir.Model) -> dict[int, Ending]:
    """Those of the outputs that end in one, by their position."""
    found = ((position, _ending(value)) for position, value in enumerate(model.graph.outputs))
    return {position: ending for position, ending in found if ending is not None}


def thresholds(model: ir.Model, name: str) -> dict[int, float]:
    """Above what a single score says yes, by the output's position: a probability, or the logit that stands for it."""
    if recorded(model.metadata_props, name).output == "logits":
        return {0: 0.0}
    return {position: 0.5 for position, ending in endings(model).items() if ending.kind == "Sigmoid"}


def with_logits(file: OnnxFile, positions: Sequence[int]) -> OnnxFile:
    """A twin that gives, behind its outputs, what stands before the activation of those, in the output's shape."""
    twin = file.model.clone()
    found = endings(twin)
    for position in positions:
        name = f"{LOGITS}{twin.graph.outputs[position].name}"
        twin.graph.outputs.append(_logits(twin.graph, found[position], name))
    return replace(in_memory(file.name, ir.to_proto(twin).SerializeToString(), twin), sha256=file.sha256)


def _ending(value: ir.Value) -> Ending | None:
    arranging: list[ir.Node] = []
    node = value.producer()
    while node is not None and node.domain == "" and node.op_type in {"Identity", "Transpose", *_SHAPES}:
        arranging.append(node)
        node = None if node.inputs[0] is None else node.inputs[0].producer()
    if node is None or node.domain != "" or node.op_type not in _ACTIVATIONS or node.inputs[0] is None:
        return None
    if node.op_type == "Sigmoid":
        return Ending(node, tuple(arranging), None)
    axis = _axis(node, arranging, value)
    return None if axis is None else Ending(node, tuple(arranging), axis)


def _axis(softmax: ir.Node, arranging: list[ir.Node], output: ir.Value) -> int | None:
    """Along which axis of the output, from its end, the softmax runs; None where that can not be told."""
    if output.shape is None or any(node.op_type in _SHAPES for node in arranging):
        return None
    rank = len(output.shape)
    axis = softmax.attributes.get_int("axis", -1) % rank
    for node in reversed(arranging):
        if node.op_type == "Transpose":
            axis = list(node.attributes.get_ints("perm", range(rank)[::-1])).index(axis)
    return axis - rank


def _logits(graph: ir.Graph, ending: Ending, name: str) -> ir.Value:
    """The activation's input, arranged as its result is."""
    value = ending.activation.inputs[0]
    for node in reversed(ending.arranging):
        twin = ir.node(node.op_type, [value, *node.inputs[1:]], dict(node.attributes), name=f"{name}/{node.op_type}")
        graph.append(twin)
        value = twin.outputs[0]
    shown = ir.node("Identity", [value], name=name)
    shown.outputs[0].name = name
    graph.append(shown)
    return shown.outputs[0]
