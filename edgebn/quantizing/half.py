"""Weights as float16, cast to float32 where they are read: half the file, and the arithmetic stays that of float32.

onnxruntime computes such a Cast once, when it loads the file, so that the file is as fast as with float32 weights. To
compute in float16 would be slower on a CPU, where few operators are written for it, and less exact.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

_CAST_BYTES = 100
"""About what one more node takes in the file, its names not counted."""

_ROUNDING = 2.0**-11
"""By which float16 moves a number at most, by that number, unless it is below 2⁻¹⁴."""

_DEAD = 2.0**-64
"""By the largest weight of all: what trained weights fall below only where a regularizer has decayed them for good."""


def halved(model: ir.Model) -> tuple[ir.Model, tuple[str, ...]]:
    """A new model with float16 weights, and the names of those that had to stay float32. `model` stays as it was.

    Biases and other constants of one axis stay as well: they are some hundredth of the file.
    """
    clone, kept = model.clone(), []
    for value in list(clone.graph.initializers.values()):
        weight = _weight(value)
        if weight is None:
            continue
        if holds(weight):
            _halve(clone.graph, value, weight)
        else:
            kept.append(value.name or "")
    return clone, tuple(kept)


def holds(weight: NDArray[np.float32]) -> bool:
    """Whether float16 is precise enough: no number overflows, and no slice along any axis loses all of its bits.

    Below 2⁻¹⁴ float16 has fewer bits, and below 2⁻²⁵ none. That does not matter in a sum with larger weights, but where
    all that belong to one channel are as small, its function would change.
    """
    with np.errstate(over="ignore"):
        error = np.abs(weight.astype(np.float16).astype(np.float32) - weight)
    if not np.isfinite(error).all():
        return False
    largest = np.abs(weight).max(initial=0.0)
    for axis in range(weight.ndim):
        others = tuple(other for other in range(weight.ndim) if other != axis)
        scale = np.abs(weight).max(axis=others)
        lost = error.max(axis=others) > _ROUNDING * scale
        if (lost & (scale > _DEAD * largest)).any():
            return False
    return True


def _weight(value: ir.Value) -> NDArray[Any] | None:
    """The constant, if it is float32, of more than one axis, and large enough that a Cast is worth its node."""
    tensor = value.const_value
    if tensor is None or tensor.dtype != ir.DataType.FLOAT or value.is_graph_input():
        return None
    axes = sum(extent > 1 for extent in tensor.numpy().shape)
    saved = 2 * tensor.size - _CAST_BYTES - 4 * len(value.name or "")
    return tensor.numpy() if axes > 1 and saved > 0 else None


def _halve(graph: ir.Graph, value: ir.Value, weight: NDArray[Any]) -> None:
    name = value.name or ""
    stored = ir.val(f"{name}/float16", const_value=ir.tensor(weight.astype(np.float16), name=f"{name}/float16"))
    cast = ir.node("Cast", [stored], {"to": int(ir.DataType.FLOAT)}, name=f"{name}/Cast")
    value.replace_all_uses_with(cast.outputs[0], replace_graph_outputs=True)
    graph.initializers.pop(name)
    graph.register_initializer(stored)
    graph.insert_before(graph[0], cast)
    cast.outputs[0].name, cast.outputs[0].type, cast.outputs[0].shape = name, value.type, value.shape
