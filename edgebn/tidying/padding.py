"""Borders: a Pad that the Conv or pool behind it can do itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgebn.tidying.names import unique, value_names
from edgebn.tidying.turning import constant

_POOLS = {"AveragePool", "MaxPool"}


def name_no_axes(graph: ir.Graph) -> None:
    """Write a Pad of some axes as one of all axes, most of them by 0: all that follows reads that form."""
    taken = value_names(graph)
    for pad in graph:
        of_some = pad.op_type == "Pad" and pad.domain == "" and len(pad.inputs) > 3
        source, axes = (pad.inputs[0], constant(pad.inputs[3])) if of_some else (None, None)
        given = None if axes is None else constant(pad.inputs[1])
        if axes is None or given is None or source is None or source.shape is None:
            continue
        widths = np.zeros((2, len(source.shape)), np.int64)
        widths[:, axes] = given.reshape(2, -1)
        name = unique(f"{pad.name}/pads", taken)
        value = ir.val(name, const_value=ir.tensor(widths.reshape(-1), name=name))
        graph.register_initializer(value)
        pad.replace_input_with(1, value)
        pad.resize_inputs(3)


def merge_pads(graph: ir.Graph) -> None:
    """Give each reader of a Pad of the spatial axes its widths, where what it pads with itself is the same value.

    A Conv pads with 0, and so does an AveragePool that counts its border. A MaxPool pads with what never wins: −∞, or
    0 where nothing is negative.
    """
    for pad in list(graph):
        widths = _spatial_widths(pad)
        source, result = pad.inputs[0] if pad.inputs else None, pad.outputs[0]
        if widths is None or source is None or result.is_graph_output():
            continue
        for reader in [usage.node for usage in result.uses() if usage.idx == 0]:
            if _takes(reader, pad, widths):
                _give(reader, widths)
                reader.replace_input_with(0, source)


def _give(reader: ir.Node, widths: Sequence[int]) -> None:
    before = reader.attributes.get_ints("pads", (0,) * len(widths))
    joined = [one + other for one, other in zip(before, widths, strict=True)]
    reader.attributes["pads"] = ir.AttrInt64s("pads", joined)
    reader.attributes.pop("auto_pad", None)
    if reader.op_type == "AveragePool":
        reader.attributes["count_include_pad"] = ir.AttrInt64("count_include_pad", 1)


def _spatial_widths(pad: ir.Node) -> list[int] | None:
    """Those of the axes from 2 on, all begins before all ends; None if others are padded too, or by no constant."""
    if pad.op_type != "Pad" or pad.domain != "" or pad.attributes.get_string("mode", "constant") != "constant":
        return None
    widths = constant(pad.inputs[1])
    rank = 0 if widths is None else len(widths) // 2
    if widths is None or rank < 3 or (len(pad.inputs) > 3 and pad.inputs[3] is not None) or (widths < 0).any():
        return None
    pairs = widths.reshape(2, rank)
    return None if pairs[:, :2].any() else [int(width) for width in pairs[:, 2:].reshape(-1)]


def _takes(reader: ir.Node, pad: ir.Node, widths: Sequence[int]) -> bool:
    explicit = reader.attributes.get_string("auto_pad", "NOTSET") in {"NOTSET", "VALID"}
    if reader.domain != "" or reader.graph is not pad.graph or not explicit:
        return False
    value = _value(pad)
    if reader.op_type == "Conv":
        return value == 0.0
    if reader.op_type not in _POOLS or not _sees_all(reader, widths):
        return False
    wins_never = value == -np.inf or (value == 0.0 and _is_never_negative(pad.inputs[0]))
    return wins_never if reader.op_type == "MaxPool" else value == 0.0


def _sees_all(pool: ir.Node, widths: Sequence[int]) -> bool:
    """Whether no window sees nothing but border, and the pool has no border, rounding or positions of its own."""
    sizes, attributes = pool.attributes.get_ints("kernel_shape", ()), pool.attributes
    plain = (
        not any(attributes.get_ints("pads", ())) and not attributes.get_int("ceil_mode", 0) and len(pool.outputs) == 1
    )
    dense = all(dilation == 1 for dilation in attributes.get_ints("dilations", ()))
    return plain and dense and all(width < size for width, size in zip(widths, (*sizes, *sizes), strict=True))


def _value(pad: ir.Node) -> float | None:
    if len(pad.inputs) < 3 or pad.inputs[2] is None:
        return 0.0
    given = constant(pad.inputs[2])
    return None if given is None else float(given.reshape(-1)[0])


def _is_never_negative(value: ir.Value | None) -> bool:
    producer = value.producer() if value is not None else None
    if producer is None or producer.domain != "":
        return False
    lower = producer.inputs[1] if producer.op_type in {"Clip", "Max"} and len(producer.inputs) > 1 else None
    bound = constant(lower)
    return producer.op_type in {"Relu", "Sigmoid"} or (bound is not None and bool((bound >= 0.0).all()))
