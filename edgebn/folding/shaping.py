"""From ONNX nodes that move, pick, pad or mix elements to operators of the algebra, and how windows move."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from edgebn.algebra import Blend, Concat, Extremum, Operator, Pad, Reshape, Select, Transpose, Window
from edgebn.folding.view import View


def window(view: View, node: ir.Node, sizes: Sequence[int]) -> Window | None:
    """How a Conv moves; None if the rank of its input is not known."""
    moves = _moves(view, node, len(sizes))
    if moves is None:
        return None
    strides, dilations, extents = moves
    auto_pad = node.attributes.get_string("auto_pad", "NOTSET")
    pads: tuple[tuple[int, int], ...] | None = _explicit_pads(node, len(sizes))
    if auto_pad == "VALID":
        pads = ((0, 0),) * len(sizes)
    elif auto_pad.startswith("SAME"):
        pads = _same_pads(sizes, strides, dilations, extents, upper=auto_pad == "SAME_UPPER")
    return Window(strides, dilations, pads, extents)


def transposed_window(view: View, node: ir.Node, sizes: Sequence[int]) -> Window | None:
    """How a ConvTranspose moves: pads are None where they follow from the shape that its result must have."""
    moves = _moves(view, node, len(sizes))
    if moves is None:
        return None
    strides, dilations, extents = moves
    implied = node.attributes.get_string("auto_pad", "NOTSET") != "NOTSET" or "output_shape" in node.attributes
    return Window(strides, dilations, None if implied else _explicit_pads(node, len(sizes)), extents)


def lift_concat(view: View, node: ir.Node) -> Concat | None:
    """A Concat, unless of tensors of unknown rank."""
    shapes = [view.shape(value) for value in node.inputs]
    known = [shape for shape in shapes if shape is not None]
    if len(known) < len(shapes) or not known:
        return None
    axis = node.attributes.get_int("axis", 0) % len(known[0])
    return Concat(axis, tuple(shape[axis] for shape in known))


def lift_split(view: View, node: ir.Node) -> tuple[Select, ...] | None:
    """A Split as one selection for each output; None if the extents are not known."""
    shape = view.shape(node.inputs[0])
    if shape is None:
        return None
    axis, start, selections = node.attributes.get_int("axis", 0) % len(shape), 0, []
    for output in node.outputs:
        extents = view.shape(output)
        extent = extents[axis] if extents else None
        if extent is None or axis == 0:
            return None
        selections.append(Select({axis: tuple(range(start, start + extent))}, shape, shared=len(node.outputs) > 1))
        start += extent
    return tuple(selections)


def _moves(
    view: View, node: ir.Node, axes: int
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int | None, ...]] | None:
    """Strides, dilations and extents of the input over the axes from 2 on."""
    shape = view.shape(node.inputs[0])
    if shape is None:
        return None
    strides, dilations = (tuple(node.attributes.get_ints(name, (1,) * axes)) for name in ("strides", "dilations"))
    return strides, dilations, shape[2:]


def _explicit_pads(node: ir.Node, axes: int) -> tuple[tuple[int, int], ...]:
    pads = node.attributes.get_ints("pads", (0,) * (2 * axes))
    return tuple(zip(pads[:axes], pads[axes:], strict=True))


def _same_pads(
    sizes: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    extents: Sequence[int | None],
    upper: bool,
) -> tuple[tuple[int, int], ...] | None:
    """The pads by which extents shrink by the stride alone; None if that takes extents that are not known."""
    pads = []
    for size, stride, dilation, extent in zip(sizes, strides, dilations, extents, strict=True):
        if extent is None and stride > 1:
            return None
        last = 0 if extent is None else (-(-extent // stride) - 1) * stride + 1 - extent
        total = max(last + dilation * (size - 1), 0)
        smaller, larger = total // 2, total - total // 2
        pads.append((smaller, larger) if upper else (larger, smaller))
    return tuple(pads)


def _spatial(view: View, node: ir.Node) -> tuple[int, ...] | None:
    shape = view.shape(node.inputs[0])
    return None if shape is None else tuple(range(2, len(shape)))


def _lift_max_pool(view: View, node: ir.Node) -> Extremum | None:
    """None where a window may see nothing but padding: dilated, it can step over all that there is."""
    axes, attributes = _spatial(view, node), node.attributes
    sparse = any(dilation > 1 for dilation in attributes.get_ints("dilations", ()))
    return None if axes is None or (sparse and _is_padded(node)) else Extremum(axes)


def _is_padded(node: ir.Node) -> bool:
    attributes = node.attributes
    return attributes.get_string("auto_pad", "NOTSET").startswith("SAME") or any(attributes.get_ints("pads", ()))


def _lift_average_pool(view: View, node: ir.Node) -> Blend | None:
    axes, attributes = _spatial(view, node), node.attributes
    if axes is None:
        return None
    uneven = attributes.get_int("count_include_pad", 0) and (_is_padded(node) or attributes.get_int("ceil_mode", 0))
    return Blend(axes, None if uneven else 1.0)


def _lift_reduction(view: View, node: ir.Node) -> Blend | Extremum | None:
    shape = view.shape(node.inputs[0])
    axes = None if shape is None else _axes(view, node, len(shape))
    if shape is None or axes is None or 0 in axes:
        return None
    keeps = bool(node.attributes.get_int("keepdims", 1))
    if node.op_type in {"ReduceMax", "ReduceMin"}:
        return Extremum(axes, node.op_type == "ReduceMax", keeps)
    if node.op_type == "ReduceMean":
        return Blend(axes, 1.0, keeps)
    extents = [extent for axis in axes if (extent := shape[axis]) is not None]
    return Blend(axes, float(np.prod(extents)) if len(extents) == len(axes) else None, keeps)


def _axes(view: View, node: ir.Node, rank: int) -> tuple[int, ...] | None:
    """The axes of a reduction, from its attribute or its second input; None if they are not known."""
    given: Any = node.attributes.get_ints("axes", ()) if not view.has(node, 1) else view.argument(node, 1)
    if given is None:
        return None
    if len(given) == 0:
        return () if node.attributes.get_int("noop_with_empty_axes", 0) else tuple(range(rank))
    return tuple(sorted(int(axis) % rank for axis in given))


def _lift_resize(view: View, node: ir.Node) -> Blend | None:
    before, after = view.shape(node.inputs[0]), view.shape(node.outputs[0])
    crops = node.attributes.get_string("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize"
    if before is None or after is None or crops:
        return None
    scaled = _scaled_axes(view, node, len(before))
    pairs = enumerate(zip(before, after, strict=True))
    return Blend(
        tuple(axis for axis, (old, new) in pairs if axis > 0 and (old is None or old != new or axis in scaled))
    )


def _scaled_axes(view: View, node: ir.Node, rank: int) -> set[int]:
    """The axes that a Resize has to scale, if it says so by factors: 1.1 mixes the elements even where 5 stay 5."""
    factors = view.argument(node, 2)
    axes = node.attributes.get_ints("axes", tuple(range(rank)))
    if factors is None or factors.size != len(axes):
        return set()
    return {axis % rank for axis, factor in zip(axes, factors, strict=True) if factor != 1.0}


def _lift_pad(view: View, node: ir.Node) -> Pad | Blend | None:
    shape, widths = view.shape(node.inputs[0]), view.argument(node, 1)
    if shape is None or widths is None or (view.has(node, 3) and view.argument(node, 3) is None):
        return None
    axes = view.argument(node, 3) if view.has(node, 3) else np.arange(len(shape))
    count = len(widths) // 2
    pads = [(0, 0)] * len(shape)
    for position, axis in enumerate(axes if axes is not None else ()):
        pads[int(axis)] = (int(widths[position]), int(widths[position + count]))
    padded = tuple(axis for axis, pair in enumerate(pads) if any(pair))
    if 0 in padded or any(width < 0 for pair in pads for width in pair):
        return None
    if node.attributes.get_string("mode", "constant") != "constant":
        return Blend(padded)
    value = view.reals(node, 2) if view.has(node, 2) else np.zeros(())
    return None if value is None else Pad(tuple(pads), float(value.reshape(-1)[0]))


def _lift_slice(view: View, node: ir.Node) -> Select | None:
    shape = view.shape(node.inputs[0])
    starts, ends, axes, steps = (view.argument(node, index) for index in range(1, 5))
    if shape is None or any(view.has(node, index) and view.argument(node, index) is None for index in range(3, 5)):
        return None
    if starts is None or ends is None:
        return None
    axes = np.arange(len(starts)) if axes is None else axes % len(shape)
    steps = np.ones(len(starts), int) if steps is None else steps
    positions: dict[int, tuple[int, ...] | None] = {}
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        extent = shape[int(axis)]
        taken = None if extent is None else range(*slice(int(start), int(end), int(step)).indices(extent))
        positions[int(axis)] = None if taken is None else tuple(taken)
    return Select(positions, shape)


def _lift_gather(view: View, node: ir.Node) -> Select | None:
    shape, indices = view.shape(node.inputs[0]), view.argument(node, 1)
    if shape is None or indices is None or indices.ndim != 1:
        return None
    axis = node.attributes.get_int("axis", 0) % len(shape)
    extent = shape[axis]
    positions = None if extent is None else tuple(int(index) % extent for index in indices)
    return Select({axis: positions}, shape) if axis else None


def _lift_tile(view: View, node: ir.Node) -> Select | None:
    shape, repeats = view.shape(node.inputs[0]), view.argument(node, 1)
    if shape is None or repeats is None or repeats[0] != 1:
        return None
    positions: dict[int, tuple[int, ...] | None] = {}
    for axis, repeat in enumerate(repeats):
        extent = shape[axis]
        if repeat != 1:
            positions[axis] = None if extent is None else tuple(range(extent)) * int(repeat)
    return Select(positions, shape)


def _lift_transpose(view: View, node: ir.Node) -> Transpose | None:
    shape = view.shape(node.inputs[0])
    if shape is None:
        return None
    return Transpose(tuple(node.attributes.get_ints("perm", tuple(reversed(range(len(shape)))))))


def _lift_reshape(view: View, node: ir.Node) -> Reshape | None:
    before, after = view.named_shape(node.inputs[0]), view.named_shape(node.outputs[0])
    return Reshape(before, after) if before and after else None


def _lift_dropout(view: View, node: ir.Node) -> Reshape | None:
    """Nothing, unless it may be in training."""
    training = view.argument(node, 2)
    return None if view.has(node, 2) and (training is None or training.any()) else _lift_reshape(view, node)


LIFTS: Mapping[str, Callable[[View, ir.Node], Operator | None]] = {
    "AveragePool": _lift_average_pool,
    "Dropout": _lift_dropout,
    "Flatten": _lift_reshape,
    "Gather": _lift_gather,
    "GlobalAveragePool": _lift_average_pool,
    "GlobalMaxPool": _lift_max_pool,
    "Identity": _lift_reshape,
    "MaxPool": _lift_max_pool,
    "Pad": _lift_pad,
    "ReduceMax": _lift_reduction,
    "ReduceMean": _lift_reduction,
    "ReduceMin": _lift_reduction,
    "ReduceSum": _lift_reduction,
    "Reshape": _lift_reshape,
    "Resize": _lift_resize,
    "Slice": _lift_slice,
    "Squeeze": _lift_reshape,
    "Tile": _lift_tile,
    "Transpose": _lift_transpose,
    "Unsqueeze": _lift_reshape,
}
