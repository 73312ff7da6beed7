"""Names and order that a person can read and that do not depend on the day.

TensorFlow and tf2onnx count: `sequential_1/dense_1/MatMul`, `Transpose__43`, `unk__7`. Here a node is called after its
Keras layer and its operator, `dense/MatMul`, and a tensor after the node that makes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import onnx_ir as ir

from edgebn.folding import LayerConstant
from edgebn.loading import Source, Tensor
from edgebn.tidying import in_order_of_use, unique

_COUNTER = re.compile(r"_\d+$")
_INPUT = re.compile(r"edgebn_input_(\d+)(:0)?")
_SAVED = re.compile(r"^(StatefulPartitionedCall(_\d+)?/)+")
_NORM_PART = re.compile(r"(edgebn_\d+_(?:scale|shift))(_\d+)?(__\d+)?$")
_SAVED_NORM = re.compile(r"(.*/)?batchnorm/(mul_1|add_1)(__\d+)?$")
_EXTENTS = {3: ("length",), 4: ("height", "width"), 5: ("depth", "height", "width")}


def in_canonical_order(graph: ir.Graph) -> None:
    """Sort the nodes by a walk from the outputs, inputs first: an order that only the graph's structure decides."""
    order: dict[ir.Node, None] = {}
    for output in graph.outputs:
        pending = [(output.producer(), False)]
        while pending:
            node, inputs_done = pending.pop()
            if node is None or node in order or node.graph is not graph:
                continue
            if inputs_done:
                order[node] = None
                continue
            pending.append((node, True))
            for body in _bodies(node):
                _share_outputs(body)
                in_canonical_order(body)
            read = [value.producer() for value in node.inputs if value is not None]
            read += [value.producer() for value in _read_by_bodies(node, graph)]
            pending.extend((producer, False) for producer in reversed(read))
    for node in list(graph):
        if node not in order:
            graph.remove(node)
    for node in order:
        graph.remove(node)
    graph.extend(order)


def name_inputs(graph: ir.Graph, source: Source) -> None:
    """Give the graph the inputs of `source`, in its order, those that nothing reads included."""
    found = {match[1]: value for value in graph.inputs if (match := _INPUT.fullmatch(value.name or ""))}
    graph.inputs.clear()
    for index, tensor in enumerate(source.inputs):
        value = found.get(str(index)) or ir.val("", dtype=ir.DataType[tensor.dtype.upper()])
        value.name, value.shape = tensor.name, _input_shape(tensor, len(source.inputs) == 1)
        graph.inputs.append(value)


def name_outputs(graph: ir.Graph, outputs: Sequence[Tensor]) -> None:
    """Give each of these outputs a tensor of its own, with its name and shape."""
    for index, tensor in enumerate(outputs):
        value = graph.outputs[index]
        if value.is_graph_input() or value in graph.outputs[:index]:
            copy = ir.node("Identity", [value], name=f"{tensor.name}/Identity")
            graph.append(copy)
            copy.outputs[0].type = value.type
            value = graph.outputs[index] = copy.outputs[0]
        value.name, value.shape = tensor.name, _output_shape(tensor)


class Names:
    """The names of the layers of a model, by which scopes of TensorFlow are told."""

    def __init__(self, layers: Iterable[str]) -> None:
        self._known = {part for layer in layers for part in layer.split("/")}

    def give(self, graph: ir.Graph, constants: Mapping[str, LayerConstant]) -> dict[str, LayerConstant]:
        """Name all nodes and tensors. Returns `constants`, which are keyed by old names, by new ones."""
        taken = {value.name for value in (*graph.inputs, *graph.outputs)}
        renamed: dict[str, LayerConstant] = {}
        for node in graph.all_nodes():
            constant = self._constant(node, constants)
            layer = constant.layer if constant else self._layer(node.name or "")
            node.name = unique(f"{layer}/{node.op_type}".lstrip("/"), taken)
            if constant is not None:
                renamed[node.name] = constant
            for index, value in enumerate(node.outputs):
                if value.name and value not in graph.outputs:
                    value.name = node.name if index == 0 else f"{node.name}:{index}"
            for body in _bodies(node):
                _name_borders(body, node.name, taken)
        _name_extents(graph)
        return renamed

    def _constant(self, node: ir.Node, constants: Mapping[str, LayerConstant]) -> LayerConstant | None:
        if match := _NORM_PART.search(node.name or ""):
            return constants.get(match[1])
        if node.op_type in {"Mul", "Add"} and (match := _SAVED_NORM.fullmatch(node.name or "")):
            value = next((value.const_value for value in node.inputs if value and value.const_value), None)
            layer = self._layer(f"{match[1] or ''}batchnorm")
            return LayerConstant(layer, value.numpy().astype("float64")) if value is not None else None
        return None

    def _layer(self, scope: str) -> str:
        """`model_1/block_1/dense_1/MatMul` → `block/dense`: each part without the counter that tracing appended."""
        parts = (self._part(part) for part in _SAVED.sub("", scope).split("/")[1:-1])
        return "/".join(part for part in parts if part is not None)

    def _part(self, part: str) -> str | None:
        shortened = _COUNTER.sub("", part)
        return shortened if shortened in self._known else part if part in self._known else None


def _share_outputs(body: ir.Graph) -> None:
    """Let the first of several outputs that are one tensor be that tensor, and each other one an Identity of it.

    tf2onnx has it now one way and now the other.
    """
    made: list[ir.Value] = []
    for index, output in enumerate(body.outputs):
        value = output
        while (producer := value.producer()) is not None and producer.op_type == "Identity":
            source = producer.inputs[0]
            if source is None or source.producer() is None or source.graph is not body:
                break
            value = source
        if value in made:
            copy = ir.node("Identity", [value])
            body.append(copy)
            copy.outputs[0].type, copy.outputs[0].shape = output.type, output.shape
            body.outputs[index] = copy.outputs[0]
        else:
            body.outputs[index] = value
        made.append(value)


def _name_borders(body: ir.Graph, owner: str, taken: set[str | None]) -> None:
    """Name the body of the node `owner`, its inputs and its constants."""
    body.name = f"{owner}/body"
    for value in body.inputs:
        value.name = unique(f"{owner}/input", taken)
    constants = in_order_of_use(body, list(body.initializers.values()))
    body.initializers.clear()
    for value in constants:
        value.name = unique(f"{owner}/constant", taken)
        body.register_initializer(value)


def _name_extents(graph: ir.Graph) -> None:
    """Number the extents that tf2onnx could not tell, `unk__173`, in the order in which they appear.

    In bodies, and behind the nodes that have one, they lose their names: which are the same there is left to chance.
    """
    names: dict[str, str] = {}
    for node in graph.all_nodes():
        for value in node.outputs:
            if value.shape is not None:
                inside = node.graph is not graph or bool(_bodies(node))
                value.shape = ir.Shape([_numbered(extent, None if inside else names) for extent in value.shape])
    for value in (value for body in graph.subgraphs() for value in body.inputs):
        if value.shape is not None:
            value.shape = ir.Shape([_numbered(extent, None) for extent in value.shape])


def _numbered(extent: int | ir.SymbolicDim, names: dict[str, str] | None) -> int | str | None:
    name = None if isinstance(extent, int) else extent.value
    if name is None or not name.startswith("unk__"):
        return extent if isinstance(extent, int) else name
    return None if names is None else names.setdefault(name, f"extent_{len(names)}")


def _read_by_bodies(node: ir.Node, graph: ir.Graph) -> list[ir.Value]:
    """The tensors of `graph` that the bodies of an If, Loop or Scan read."""
    inner = [each for body in _bodies(node) for each in body.all_nodes()]
    return [value for each in inner for value in each.inputs if value is not None and value.graph is graph]


def _bodies(node: ir.Node) -> list[ir.Graph]:
    bodies: list[ir.Graph] = []
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            bodies.append(attribute.as_graph())
        elif attribute.type == ir.AttributeType.GRAPHS:
            bodies.extend(attribute.as_graphs())
    return bodies


def _input_shape(tensor: Tensor, is_only: bool) -> ir.Shape:
    """The shape with a name for each extent that may vary: batch, and by rank length, height and width."""
    rank = len(tensor.shape)
    known = ("batch", *_EXTENTS.get(rank, ()))
    names = [*known, *(f"axis{axis}" for axis in range(len(known), rank))][:rank]
    if not is_only:
        names[1:] = [f"{tensor.name}_{name}" for name in names[1:]]
    return ir.Shape([name if extent is None else extent for name, extent in zip(names, tensor.shape, strict=True)])


def _output_shape(tensor: Tensor) -> ir.Shape:
    return ir.Shape(["batch" if extent is None and axis == 0 else extent for axis, extent in enumerate(tensor.shape)])
