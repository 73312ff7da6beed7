"""An interface put around a graph: what makes the model's input of the file's in front, what gives the output behind.

    model((scale·x − mean)/std), x in the file's layout and dtype

is written out as Cast, Mul, Add and Transpose before anything is folded: they are an affine and a change of layout like
any other, and go where those go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from edgebn.errors import ConversionError, UsageError
from edgebn.folding import LayerConstant
from edgebn.interface import IMAGE_RANK, Interface, channel_axis, describe, layout_of, reordering
from edgebn.tidying import prepare, unique, value_names

PREPROCESSING = "preprocessing"
"""What the affine is called in reports."""

_ACTIVATIONS = ("Softmax", "LogSoftmax", "Sigmoid")
_ARRANGING = ("Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze")
_DENOTATIONS = {
    "nchw": ("DATA_BATCH", "DATA_CHANNEL", "DATA_FEATURE", "DATA_FEATURE"),
    "nhwc": ("DATA_BATCH", "DATA_FEATURE", "DATA_FEATURE", "DATA_CHANNEL"),
}


@dataclass(frozen=True, eq=False)
class Wrapped:
    """A graph with its interface, the exact constants of the affine in front, and what the file is to say of itself."""

    model: ir.Model
    layer_constants: Mapping[str, LayerConstant]
    metadata: Mapping[str, str]


def wrap(name: str, model: ir.Model, interface: Interface, layout: str | None) -> Wrapped:
    """A copy of `model`, called `name` in errors, with the interface around it. `layout` is that of its own images.

    Raises:
        UsageError: if the interface does not fit the model's input, or there are more or fewer labels than classes.
        ConversionError: if the model has several inputs or outputs, or no row of scores.
    """
    model = model.clone()
    constants: dict[str, LayerConstant] = {}
    if interface.changes_input:
        constants = _put_in_front(name, model, interface, layout)
    if interface.output is not None or interface.labels:
        _check_labels(name, model, interface)
    if interface.output is not None:
        give(name, model, interface.output)
    prepare(model)
    shape = list(model.graph.inputs[0].shape or ()) if interface.changes_input else []
    return Wrapped(model, constants, interface.metadata(shape, interface.layout or layout))


def _put_in_front(name: str, model: ir.Model, interface: Interface, own: str | None) -> dict[str, LayerConstant]:
    """Give the graph the file's input. Returns the exact constants of the new nodes, by the nodes' names."""
    graph, old = model.graph, _only_input(name, model.graph, interface)
    shape = list(old.shape or ())
    if interface.layout is not None and own is None:
        raise UsageError(f"{name}: takes {describe(shape)}, which are no images; leave --layout out")
    layout = interface.layout or own
    new = _new_input(old, [shape[axis] for axis in reordering(own, layout) or range(len(shape))], interface, layout)
    front = _Front(graph, new, old.type)
    if interface.input is not None:
        front.append("Cast", to=ir.DataType.FLOAT)
        for op_type, value in _affine(interface, list(new.shape or ()), layout):
            front.append(op_type, value)
    back = reordering(layout, own)
    if back is not None:
        front.append("Transpose", perm=list(back))
    old.replace_all_uses_with(front.result, replace_graph_outputs=True)
    front.insert()
    graph.inputs[0] = new
    return front.exact


def _new_input(old: ir.Value, shape: list[Any], interface: Interface, layout: str | None) -> ir.Value:
    """The file's input; pixels of an image are marked as that."""
    new = ir.val(old.name or "", ir.DataType.UINT8 if interface.input else old.dtype, ir.Shape(shape))
    if layout is not None and new.dtype == ir.DataType.UINT8 and interface.pixels(shape, layout) is not None:
        new.type = ir.TensorType(ir.DataType.UINT8, denotation="IMAGE")
        new.shape = ir.Shape(shape, denotations=_DENOTATIONS[layout])
    return new


class _Front:
    """The nodes in front of a graph, in a row behind its new input. What they make is of the given type."""

    def __init__(self, graph: ir.Graph, new: ir.Value, of_type: ir.TypeProtocol | None) -> None:
        self.result = new
        self.exact: dict[str, LayerConstant] = {}
        self._graph, self._type = graph, of_type
        self._nodes: list[ir.Node] = []
        self._taken = value_names(graph)

    def append(self, op_type: str, constant: np.ndarray | None = None, **attributes: Any) -> None:
        """Put one more node behind; `constant`, in float64, is its second input."""
        name = unique(f"{PREPROCESSING}/{op_type}", self._taken)
        inputs = [self.result]
        if constant is not None:
            inputs.append(_initializer(self._graph, unique(f"{name}/constant", self._taken), constant))
            self.exact[name] = LayerConstant(PREPROCESSING, constant)
        node = ir.node(op_type, inputs, attributes, name=name)
        self.result = node.outputs[0]
        self.result.name, self.result.type = name, self._type
        self._nodes.append(node)

    def insert(self) -> None:
        """Put the nodes before all others."""
        first = next(iter(self._graph), None)
        if first is None:
            self._graph.extend(self._nodes)
        else:
            self._graph.insert_before(first, self._nodes)


def _only_input(name: str, graph: ir.Graph, interface: Interface) -> ir.Value:
    if len(graph.inputs) != 1:
        raise ConversionError(f"{name}: has {len(graph.inputs)} inputs; pixels and a layout need a model with one")
    value = graph.inputs[0]
    if value.dtype is None or value.shape is None:
        raise ConversionError(f"{name}: its input {value.name} has no known shape")
    if interface.input is not None and value.dtype != ir.DataType.FLOAT:
        found = value.dtype.numpy().name
        raise ConversionError(f"{name}: takes {found} already; pixels can be made to float32 alone, leave --input out")
    return value


def _affine(interface: Interface, shape: list[Any], layout: str | None) -> list[tuple[str, np.ndarray]]:
    """Mul and Add with their constants in float64, as far as they do something."""
    axis = channel_axis(layout)
    channels = shape[axis] if len(shape) > 1 and isinstance(shape[axis], int) else None
    scale, shift = (np.array(values, np.float64) for values in interface.affine(channels))
    broadcast = (1, -1, 1, 1) if layout == "nchw" and len(shape) == IMAGE_RANK else (-1,)
    scale, shift = (each.reshape(broadcast if each.size > 1 else ()) for each in (scale, shift))
    return [
        *([("Mul", scale)] if (scale != 1.0).any() else []),
        *([("Add", shift)] if shift.any() else []),
    ]


def _initializer(graph: ir.Graph, name: str, value: np.ndarray) -> ir.Value:
    constant = ir.val(name, const_value=ir.tensor(value.astype(np.float32), name=name))
    graph.register_initializer(constant)
    return constant


def _check_labels(name: str, model: ir.Model, interface: Interface) -> None:
    classes = _scores(name, model.graph)
    if interface.labels and len(interface.labels) != classes:
        scores = "1 score, which takes one label" if classes == 1 else f"{classes} classes"
        raise UsageError(f"{name}: has {scores}, but {len(interface.labels)} labels were given")


def _scores(name: str, graph: ir.Graph) -> int:
    """How many scores the only output has; ConversionError if it is no row of scores."""
    if len(graph.outputs) != 1:
        raise ConversionError(f"{name}: has {len(graph.outputs)} outputs; scores and labels need a model with one")
    value = graph.outputs[0]
    shape = list(value.shape or ())
    if len(shape) != 2 or not isinstance(shape[1], int) or value.dtype != ir.DataType.FLOAT:
        raise ConversionError(
            f"{name}: its output {value.name} is {describe(shape) if shape else 'of unknown shape'}, which has no axis "
            "of classes; [batch, classes] in float32 is needed"
        )
    return int(shape[1])


def give(name: str, model: ir.Model, output: str) -> None:
    """Let the only output of `model`, in place, be logits, probabilities or the class. Raises ConversionError.

    argmax(softmax(z)) = argmax(sigmoid(z)) = argmax(z).
    """
    graph, count = model.graph, _scores(name, model.graph)
    if output == "class" and count < 2:
        raise ConversionError(f"{name}: gives one score, of which no class can be told; ask for its probability")
    scores = graph.outputs[0]
    activation, arranging = _activation(name, scores)
    keeps = output == "probabilities" and activation is not None and activation.op_type != "LogSoftmax"
    if activation is not None and not keeps:
        scores = _bared(scores, activation, arranging)
    _set_output(graph, scores, output, keeps=keeps, sigmoid=count == 1)


def _activation(name: str, value: ir.Value) -> tuple[ir.Node | None, tuple[ir.Node, ...]]:
    """The softmax or sigmoid that makes the scores, and the nodes behind it that only arrange them, the last first.

    None if there is none, or if a softmax runs over something else than the classes.
    """
    classes, arranging, node = list(value.shape or ())[-1], [], value.producer()
    while node is not None and node.op_type in _ARRANGING and node.domain == "" and node.inputs[0] is not None:
        arranging.append(node)
        node = node.inputs[0].producer()
    if node is None or node.op_type not in _ACTIVATIONS or node.domain != "" or node.inputs[0] is None:
        return None, ()
    if node.op_type != "Sigmoid" and not _runs_over(node, classes):
        if arranging:
            return None, ()
        raise ConversionError(f"{name}: its {node.op_type} runs over the batch, which is no axis of classes")
    return node, tuple(arranging)


def _runs_over(softmax: ir.Node, classes: int | ir.SymbolicDim) -> bool:
    """Whether the softmax is over all that belongs to a sample, `classes` numbers: [batch, 1, 1, classes]."""
    shape = list(softmax.outputs[0].shape or ())
    axis = softmax.attributes.get_int("axis", -1)
    others = [extent for place, extent in enumerate(shape) if place not in {0, axis % max(len(shape), 1)}]
    return bool(shape) and axis % len(shape) != 0 and shape[axis] == classes and all(extent == 1 for extent in others)


def _bared(scores: ir.Value, activation: ir.Node, arranging: Sequence[ir.Node]) -> ir.Value:
    """The scores without the activation: what stands before it, arranged as its result was."""
    bare = activation.inputs[0]
    if not arranging and bare is not None:
        return bare
    arranging[-1].replace_input_with(0, bare)
    return scores


def _set_output(graph: ir.Graph, scores: ir.Value, output: str, *, keeps: bool, sigmoid: bool) -> None:
    taken, result = value_names(graph), scores
    if output == "probabilities" and not keeps:
        op_type, attributes = ("Sigmoid", {}) if sigmoid else ("Softmax", {"axis": 1})
        result = _behind(graph, scores, op_type, attributes, taken)
    elif output == "class":
        result = _behind(graph, scores, "ArgMax", {"axis": 1, "keepdims": 0}, taken)
        result.type, result.shape = ir.TensorType(ir.DataType.INT64), ir.Shape(list(scores.shape or ())[:1])
    elif scores.is_graph_input():
        result = _behind(graph, scores, "Identity", {}, taken)
    graph.outputs[0] = result
    for other in (value for value in _values(graph) if value.name == output and value is not result):
        other.name = unique(output, taken)
    result.name = output


def _values(graph: ir.Graph) -> list[ir.Value]:
    return [value for node in graph for value in node.outputs]


def _behind(graph: ir.Graph, data: ir.Value, op_type: str, attributes: dict[str, Any], taken: set[Any]) -> ir.Value:
    node = ir.node(op_type, [data], attributes, name=unique(f"output/{op_type}", taken))
    made = node.outputs[0]
    made.name, made.type, made.shape = node.name, data.type, None if data.shape is None else data.shape.copy()
    graph.append(node)
    return made


def own_layout(model: ir.Model, usual: str) -> str | None:
    """The layout of the images that the model takes; None if it does not take images, or not only."""
    value = model.graph.inputs[0] if len(model.graph.inputs) == 1 else None
    return None if value is None or value.shape is None else layout_of(list(value.shape), usual)
