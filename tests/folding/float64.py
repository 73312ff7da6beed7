"""ONNX operators in float64, written from the specification. Nothing is shared with edgebn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from math import prod
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

Array = np.ndarray
Attributes = Mapping[str, Any]


def evaluate(op_type: str, attributes: Attributes, inputs: Sequence[Array | None]) -> list[Array]:
    """One operator: its outputs."""
    result = OPERATORS[op_type](attributes, *inputs)
    return result if isinstance(result, list) else [result]


def exact(stored: Any) -> Array:
    """A stored tensor, in float64 if it holds floats."""
    array = np.asarray(stored)
    return array.astype(np.float64) if array.dtype.kind == "f" else array


# --- linear operators


def _pads(attributes: Attributes, extents: Sequence[int], sizes: Sequence[int]) -> list[tuple[int, int]]:
    axes = len(sizes)
    strides, dilations = _moves(attributes, axes)
    mode = attributes.get("auto_pad", "NOTSET")
    if mode == "NOTSET":
        pads = attributes.get("pads", [0] * 2 * axes)
        return list(zip(pads[:axes], pads[axes:], strict=True))
    pairs = []
    for extent, size, stride, dilation in zip(extents, sizes, strides, dilations, strict=True):
        total = max((-(-extent // stride) - 1) * stride + (size - 1) * dilation + 1 - extent, 0)
        half = (total // 2, total - total // 2)
        pairs.append((0, 0) if mode == "VALID" else half if mode == "SAME_UPPER" else half[::-1])
    return pairs


def _moves(attributes: Attributes, axes: int) -> tuple[Sequence[int], Sequence[int]]:
    return attributes.get("strides", [1] * axes), attributes.get("dilations", [1] * axes)


def _windows(attributes: Attributes, x: Array, sizes: Sequence[int], border: float) -> Array:
    """(batch, channels, *outputs, *sizes): what each window sees, `border` where it sees padding."""
    axes = len(sizes)
    strides, dilations = _moves(attributes, axes)
    pads = _pads(attributes, x.shape[2:], sizes)
    reach = [(size - 1) * dilation + 1 for size, dilation in zip(sizes, dilations, strict=True)]
    if attributes.get("ceil_mode", 0):
        pads = [_ceiled(*each) for each in zip(pads, x.shape[2:], reach, strides, strict=True)]
    padded = np.pad(x, [(0, 0), (0, 0), *pads], constant_values=border)
    seen = np.lib.stride_tricks.sliding_window_view(padded, reach, tuple(range(2, 2 + axes)))
    return seen[(slice(None), slice(None), *(slice(None, None, step) for step in (*strides, *dilations)))]


def _ceiled(pads: tuple[int, int], extent: int, reach: int, stride: int) -> tuple[int, int]:
    """Pads by which a last, incomplete window is seen too, if it begins before the padding at the end."""
    outputs = -(-(extent + sum(pads) - reach) // stride) + 1
    if (outputs - 1) * stride >= extent + pads[0]:
        outputs -= 1
    return pads[0], max(pads[1], (outputs - 1) * stride + reach - extent - pads[0])


def _conv(attributes: Attributes, x: Array, kernel: Array, bias: Array | None = None) -> Array:
    groups, sizes = attributes.get("group", 1), kernel.shape[2:]
    seen = _windows(attributes, x, sizes, 0.0)
    outputs = seen.shape[2 : 2 + len(sizes)]
    seen = seen.reshape(len(x), groups, kernel.shape[1], prod(outputs), prod(sizes))
    weights = kernel.reshape(groups, -1, kernel.shape[1], prod(sizes))
    result = np.einsum("ngipk,goik->ngop", seen, weights).reshape(len(x), len(kernel), *outputs)
    return result if bias is None else result + bias.reshape(-1, *[1] * len(sizes))


def _conv_transpose(attributes: Attributes, x: Array, kernel: Array, bias: Array | None = None) -> Array:
    groups, sizes, axes = attributes.get("group", 1), kernel.shape[2:], kernel.ndim - 2
    strides, dilations = _moves(attributes, axes)
    extra = attributes.get("output_padding", [0] * axes)
    full = [
        stride * (extent - 1) + dilation * (size - 1) + 1 + more
        for stride, extent, dilation, size, more in zip(strides, x.shape[2:], dilations, sizes, extra, strict=True)
    ]
    pads = attributes.get("pads", [0] * 2 * axes)
    if "output_shape" in attributes:
        total = [whole - wanted for whole, wanted in zip(full, attributes["output_shape"], strict=True)]
        pads = [*(each - each // 2 for each in total), *(each // 2 for each in total)]  # auto_pad NOTSET: more before
    result = np.zeros((len(x), groups, kernel.shape[1], *full))
    inputs, weights = (part.reshape(*shape) for part, shape in _grouped(x, kernel, groups))
    for tap in product(*(range(size) for size in sizes)):
        places = (
            slice(at * dilation, at * dilation + stride * (extent - 1) + 1, stride)
            for at, dilation, stride, extent in zip(tap, dilations, strides, x.shape[2:], strict=True)
        )
        part = np.einsum("ngi...,gio->ngo...", inputs, weights[(..., *tap)])
        result[(slice(None), slice(None), slice(None), *places)] += part
    result = result.reshape(len(x), -1, *full)
    inner = (slice(before, whole - after) for before, after, whole in zip(pads[:axes], pads[axes:], full, strict=True))
    result = result[(slice(None), slice(None), *inner)]
    return result if bias is None else result + bias.reshape(-1, *[1] * axes)


def _grouped(x: Array, kernel: Array, groups: int) -> list[tuple[Array, tuple[int, ...]]]:
    return [(x, (len(x), groups, -1, *x.shape[2:])), (kernel, (groups, -1, *kernel.shape[1:]))]


def _gemm(attributes: Attributes, x: Array, kernel: Array, bias: Array | float | None = None) -> Array:
    x = x.T if attributes.get("transA", 0) else x
    kernel = kernel.T if attributes.get("transB", 0) else kernel
    added = 0.0 if bias is None else attributes.get("beta", 1.0) * bias
    return attributes.get("alpha", 1.0) * (x @ kernel) + added


def batch_normalization(attributes: Attributes, x: Array, *parameters: Array) -> Array:
    """γ·(x − μ)/√(σ² + ε) + β."""
    gamma, beta, mean, variance = (part.reshape(-1, *[1] * (x.ndim - 2)) for part in parameters)
    return gamma * (x - mean) / np.sqrt(variance + attributes.get("epsilon", 1e-5)) + beta


# --- pools and reductions


def _average_pool(attributes: Attributes, x: Array) -> Array:
    sizes = attributes["kernel_shape"]
    inside = tuple(range(-len(sizes), 0))
    if attributes.get("count_include_pad", 0):
        return _windows(attributes, x, sizes, 0.0).mean(inside)
    return np.nanmean(_windows(attributes, x, sizes, np.nan), inside)


def _max_pool(attributes: Attributes, x: Array) -> Array:
    sizes = attributes["kernel_shape"]
    return _windows(attributes, x, sizes, -np.inf).max(tuple(range(-len(sizes), 0)))


def _global(reduce: Callable[..., Array]) -> Callable[..., Array]:
    return lambda _, x: reduce(x, axis=tuple(range(2, x.ndim)), keepdims=True)


def _reduction(reduce: Callable[..., Array]) -> Callable[..., Array]:
    def run_one(attributes: Attributes, x: Array, axes: Array | None = None) -> Array:
        given = attributes.get("axes", ()) if axes is None else axes.tolist()
        if len(given) == 0 and attributes.get("noop_with_empty_axes", 0):
            return x
        return reduce(x, axis=tuple(given) or None, keepdims=bool(attributes.get("keepdims", 1)))

    return run_one


# --- what moves elements


def _pad(attributes: Attributes, x: Array, pads: Array, value: Array | None = None, axes: Array | None = None) -> Array:
    widths, count = [(0, 0)] * x.ndim, len(pads) // 2
    for position, axis in enumerate(range(x.ndim) if axes is None else axes):
        widths[axis] = (int(pads[position]), int(pads[position + count]))
    mode = attributes.get("mode", "constant")
    if mode == "constant":
        return np.pad(x, widths, constant_values=0.0 if value is None else float(value.reshape(-1)[0]))
    return np.pad(x, widths, mode=mode)


def _resize(
    attributes: Attributes, x: Array, _: Any = None, scales: Array | None = None, sizes: Array | None = None
) -> Array:
    """Nearest or linear, one axis after the other, as a product with a matrix of weights."""
    given = scales is not None and scales.size > 0
    for position, axis in enumerate(attributes.get("axes", range(x.ndim))):
        extent = int(x.shape[axis] * scales[position]) if given else int(sizes[position])
        scale = float(scales[position]) if given else extent / x.shape[axis]
        weights = _interpolation(attributes, x.shape[axis], extent, scale)
        x = np.moveaxis(np.moveaxis(x, axis, -1) @ weights, -1, axis)
    return x


def _interpolation(attributes: Attributes, before: int, after: int, scale: float) -> Array:
    """(before, after): the weight of each old position in each new one."""
    positions = np.arange(after)
    match attributes.get("coordinate_transformation_mode", "half_pixel"):
        case "asymmetric":
            at = positions / scale
        case "align_corners":
            at = positions * ((before - 1) / (after - 1) if after > 1 else 0.0)
        case _:
            at = (positions + 0.5) / scale - 0.5
    weights = np.zeros((before, after))
    if attributes.get("mode", "nearest") == "nearest":
        nearest = np.floor(at) if attributes.get("nearest_mode") == "floor" else np.ceil(at - 0.5)
        weights[np.clip(nearest, 0, before - 1).astype(int), positions] = 1.0
        return weights
    at = np.clip(at, 0, before - 1)
    left = np.floor(at).astype(int)
    np.add.at(weights, (left, positions), 1.0 - (at - left))
    np.add.at(weights, (np.minimum(left + 1, before - 1), positions), at - left)
    return weights


def _slice(_: Attributes, x: Array, starts: Array, ends: Array, axes: Any = None, steps: Any = None) -> Array:
    index = [slice(None)] * x.ndim
    for position, axis in enumerate(range(len(starts)) if axes is None else axes):
        step = 1 if steps is None else int(steps[position])
        start, stop, step = slice(int(starts[position]), int(ends[position]), step).indices(x.shape[axis])
        index[axis] = slice(start, None if stop < 0 else stop, step)
    return x[tuple(index)]


def _split(attributes: Attributes, x: Array, sizes: Array | None = None) -> list[Array]:
    axis = attributes.get("axis", 0)
    if sizes is None:
        return np.split(x, attributes["num_outputs"], axis)
    return np.split(x, np.cumsum(sizes)[:-1], axis)


def _reshape(_: Attributes, x: Array, shape: Array) -> Array:
    return x.reshape([x.shape[axis] if extent == 0 else int(extent) for axis, extent in enumerate(shape)])


def _flatten(attributes: Attributes, x: Array) -> Array:
    axis = attributes.get("axis", 1)
    return x.reshape(prod(x.shape[:axis]), -1)


def _transpose(attributes: Attributes, x: Array) -> Array:
    return x.transpose(attributes.get("perm"))


def _prelu(_: Attributes, x: Array, slope: Array) -> Array:
    return np.where(x < 0.0, slope * x, x)


def _clip(_: Attributes, x: Array, low: Array | None = None, high: Array | None = None) -> Array:
    above = x if low is None else np.maximum(x, low)
    return above if high is None else np.minimum(above, high)


def _stored(tensor: Any) -> Array:
    return numpy_helper.to_array(tensor) if isinstance(tensor, onnx.TensorProto) else tensor.numpy()


OPERATORS: Mapping[str, Callable[..., Any]] = {
    "Add": lambda _, x, y: x + y,
    "AveragePool": _average_pool,
    "BatchNormalization": batch_normalization,
    "Clip": _clip,
    "Concat": lambda attributes, *parts: np.concatenate(parts, attributes["axis"]),
    "Constant": lambda attributes: exact(_stored(attributes["value"])),
    "ConstantOfShape": lambda attributes, shape: np.full(shape, float(_stored(attributes["value"])[0])),
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Div": lambda _, x, y: x / y,
    "Dropout": lambda _, x, *__: x,
    "Flatten": _flatten,
    "Gather": lambda attributes, x, at: np.take(x, at, attributes.get("axis", 0)),
    "Gemm": _gemm,
    "GlobalAveragePool": _global(np.mean),
    "GlobalMaxPool": _global(np.max),
    "Identity": lambda _, x: x,
    "LeakyRelu": lambda attributes, x: _prelu({}, x, np.float64(attributes.get("alpha", 0.01))),
    "MatMul": lambda _, x, y: x @ y,
    "Max": lambda _, *parts: np.maximum(*parts),
    "MaxPool": _max_pool,
    "Min": lambda _, *parts: np.minimum(*parts),
    "Mul": lambda _, x, y: x * y,
    "Neg": lambda _, x: -x,
    "PRelu": _prelu,
    "Pad": _pad,
    "ReduceMax": _reduction(np.max),
    "ReduceMean": _reduction(np.mean),
    "ReduceMin": _reduction(np.min),
    "ReduceSum": _reduction(np.sum),
    "Relu": lambda _, x: np.maximum(x, 0.0),
    "Reshape": _reshape,
    "Resize": _resize,
    "Shape": lambda _, x: np.array(x.shape, np.int64),
    "Sigmoid": lambda _, x: 0.5 * (1.0 + np.tanh(0.5 * x)),
    "Slice": _slice,
    "Split": _split,
    "Squeeze": lambda _, x, axes: np.squeeze(x, tuple(axes.tolist())),
    "Sub": lambda _, x, y: x - y,
    "Tanh": lambda _, x: np.tanh(x),
    "Tile": lambda _, x, repeats: np.tile(x, repeats),
    "Transpose": _transpose,
    "Unsqueeze": lambda _, x, axes: np.expand_dims(x, tuple(axes.tolist())),
}
