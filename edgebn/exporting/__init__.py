"""From a Keras model to an ONNX graph in which every BatchNormalization is intact and known by its layer's name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx
import onnx_ir as ir

from edgebn.errors import ConversionError
from edgebn.exporting.convert import convert
from edgebn.exporting.naming import Names, in_canonical_order, name_inputs, name_outputs
from edgebn.folding import LayerConstant
from edgebn.loading import Source
from edgebn.loading.precision import computes_in, in_precision
from edgebn.tidying import prepare

__all__ = ["OPSETS", "Exported", "export", "name_outputs"]

OPSETS = range(13, 19)
"""The opsets that can be written: from the first that has axes as inputs, to the last that tf2onnx knows."""


@dataclass(frozen=True, eq=False)
class Exported:
    """An ONNX graph, and for the Mul and Add nodes that were BatchNormalization layers where they come from.

    `notes` say, in sentences, in what it is not as the model was.
    """

    model: ir.Model
    layer_constants: Mapping[str, LayerConstant]
    notes: tuple[str, ...] = ()


def export(source: Source, opset: int) -> Exported:
    """Export `source` at `opset`: inputs and outputs named as in `source`, a symbolic batch axis, shapes inferred.

    The same model gives the same graph, node by node and name by name.

    Raises:
        ConversionError: if an operator of the model has no ONNX form; the message names it.
    """
    source, notes = _in_float32(source)
    converted = convert(source, opset)
    model = ir.from_proto(converted.model)
    _check_operators(model, source)
    names = Names(source.layers)
    in_canonical_order(model.graph)
    name_inputs(model.graph, source)
    name_outputs(model.graph, source.outputs)
    prepare(model)
    layer_constants = names.give(model.graph, converted.constants)
    return Exported(model, layer_constants, notes)


def _in_float32(source: Source) -> tuple[Source, tuple[str, ...]]:
    dtype = computes_in(source)
    if dtype is None:
        return source, ()
    twin = in_precision(source, "float32")
    if twin is None:
        raise ConversionError(f"{source.name}: computes in {dtype} and can not be rebuilt in float32; rebuild it so")
    return twin, (f"exported as float32: the Keras model computes in {dtype}",)


def _check_operators(model: ir.Model, source: Source) -> None:
    for node in model.graph.all_nodes():
        if not onnx.defs.has(node.op_type, node.domain):
            raise ConversionError(
                f"{source.name}: tf2onnx has no ONNX form for the operator {node.op_type} (at {node.name}); "
                "replace the layer that it comes from"
            )
