"""A model of any kind as an ONNX graph that is ready to be folded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import onnx_ir as ir
from onnx import version_converter

from edgebn import files
from edgebn.errors import ConversionError, UsageError
from edgebn.exporting import OPSETS, export
from edgebn.exporting.interfaces import own_layout, wrap
from edgebn.folding import LayerConstant, View
from edgebn.interface import LAYOUT, NOTHING, PIXEL_FORMAT, PIXEL_RANGE, Interface
from edgebn.loading import Source, Tensor, kind_of, open_source
from edgebn.loading.keras_metadata import read_metadata
from edgebn.loading.onnx_files import open_onnx
from edgebn.tidying import name_nodes, prepare

DEFAULT_OPSET = 18
_ONNX_PACKAGES = ("edgebn", "numpy", "onnx", "onnx-ir", "onnxruntime")
_KERAS_PACKAGES = ("edgebn", "keras", "numpy", "onnx", "onnx-ir", "onnxruntime", "tensorflow", "tf2onnx")


@dataclass(frozen=True, eq=False)
class Graph:
    """An ONNX graph with known shapes, the file or model it comes from, and the packages that had a part in it.

    `source` is the Keras model, if it was one. `notes` say, in sentences, in what the graph is not as the model was.
    `metadata` are what a file says of what it takes and gives.
    """

    name: str
    sha256: str
    model: ir.Model
    layer_constants: Mapping[str, LayerConstant]
    packages: tuple[str, ...]
    source: Source | None = None
    notes: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """What the graph gives."""
        return tuple(_tensor(value) for value in self.model.graph.outputs)

    @property
    def view(self) -> View:
        """The graph as folding sees it."""
        return View(self.model.graph, self.layer_constants)


def open_graph(
    model_or_path: Any, *, opset: int | None = None, trust: bool = False, interface: Interface = NOTHING
) -> Graph:
    """Open a Keras model and export it, or open an ONNX file, without TensorFlow.

    Args:
        model_or_path: a `keras.Model`, a `.keras` or `.h5` file, a SavedModel folder, or an `.onnx` file.
        opset: version of the ONNX operator set; by default 18 for a Keras model, and an ONNX file keeps its own.
        trust: allow layers that run code which the model file brings along (Lambda).
        interface: what the graph is to take and to give.

    Raises:
        UsageError: if there is nothing at the path, no such opset, or the interface does not fit the model.
        InputError: if the model can not be opened.
        ConversionError: if the model has no ONNX form, or not at this opset.
    """
    if opset is not None and (type(opset) is not int or opset not in OPSETS):
        raise UsageError(f"opset {opset}: choose one from {OPSETS[0]} to {OPSETS[-1]}")
    if isinstance(model_or_path, str | Path) and kind_of(Path(model_or_path)) == "onnx":
        return _with(interface, _from_onnx(Path(model_or_path), opset))
    source = open_source(model_or_path, trust=trust)
    exported = export(source, opset or DEFAULT_OPSET)
    graph = Graph(
        source.name,
        source.sha256,
        exported.model,
        exported.layer_constants,
        _KERAS_PACKAGES,
        source,
        exported.notes,
        read_metadata(model_or_path),
    )
    return _with(interface, graph)


def _with(interface: Interface, graph: Graph) -> Graph:
    """The graph with the interface around it. What an ONNX file says of its own layout counts."""
    if interface == NOTHING:
        return graph
    usual = "nchw" if graph.source is None else "nhwc"
    layout = graph.model.metadata_props.get(LAYOUT) or own_layout(graph.model, usual)
    wrapped = wrap(graph.name, graph.model, interface, layout)
    constants = {**graph.layer_constants, **wrapped.layer_constants}
    props = wrapped.model.metadata_props
    outdated = (
        {PIXEL_FORMAT, PIXEL_RANGE} if interface.input is not None else set()
    )  # said of what is scaled inside now
    for key in outdated & set(props):
        del props[key]
    props.update(wrapped.metadata)
    known = {key: value for key, value in graph.metadata.items() if key not in outdated}
    return replace(graph, model=wrapped.model, layer_constants=constants, metadata={**known, **wrapped.metadata})


def _tensor(value: ir.Value) -> Tensor:
    shape = tuple(extent if isinstance(extent, int) else None for extent in value.shape or ())
    return Tensor(value.name or "", shape, "" if value.dtype is None else value.dtype.numpy().name)


def _from_onnx(path: Path, opset: int | None) -> Graph:
    model = open_onnx(path)
    if opset is not None and opset != model.opset_imports[""]:
        try:
            model = ir.from_proto(version_converter.convert_version(ir.to_proto(model), opset))
        except (RuntimeError, ValueError) as error:
            text = " ".join(str(error).split())[:300]
            raise ConversionError(f"{path}: can not be written at opset {opset}: {text}; leave --opset out") from error
    name_nodes(model.graph)
    prepare(model)
    return Graph(path.name, files.sha256(path), model, {}, _ONNX_PACKAGES)
