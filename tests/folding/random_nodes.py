"""The nodes that random graphs are made of. Each reads a tensor of the graph and adds one node or two."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from tests.folding.graph_builder import Builder, Tensor

Shape = tuple[int, ...]


# --- affine maps


def operand(shape: Shape, b: Builder) -> Shape:
    """The shape of a constant that broadcasts against `shape`: most often one value for each channel."""
    channel = (shape[1], *[1] * (len(shape) - 2))
    some_axis = b.choose(*range(1, len(shape)))
    along = tuple(extent if axis == some_axis else 1 for axis, extent in enumerate(shape))
    usual = (channel, (1, *channel), (), channel)
    return b.choose(*usual, *usual, (1,), shape[-1:], along, shape[1:], (1, *shape[1:]))


def batch_norm(b: Builder, x: Tensor) -> Tensor:
    channels = b.shapes[x][1:2]
    variance = b.rng.uniform(0.2, 3.0, channels) * b.choose(np.ones(1), b.rng.choice((1.0, 1e-9, 0.0), channels))
    parameters = (b.scales(channels), b.shifts(channels), b.rng.standard_normal(channels), variance)
    return b.node("BatchNormalization", x, *map(b.constant, parameters), epsilon=b.choose(1e-3, 1e-5))


def multiply_add(b: Builder, x: Tensor) -> Tensor:
    shape = operand(b.shapes[x], b)
    scaled = pair(b, "Mul", x, b.constant(b.scales(shape)))
    return pair(b, "Add", scaled, b.constant(b.shifts(shape)))


def scale(b: Builder, x: Tensor) -> Tensor:
    return pair(b, "Mul", x, b.constant(b.scales(operand(b.shapes[x], b))))


def rescale(b: Builder, x: Tensor) -> Tensor:
    """The same for all channels, as for the pixels of an image."""
    scaled = b.node("Mul", x, b.constant(b.choose(2.0, 0.25, -0.5)))
    return b.node("Add", scaled, b.constant(b.choose(-0.75, 1.5)))


def one_constant(b: Builder, x: Tensor) -> Tensor:
    shape, op_type = operand(b.shapes[x], b), b.choose("Mul", "Add", "Sub", "Div", "Neg")
    if op_type == "Neg":
        return b.node("Neg", x)
    if op_type == "Div":
        return b.node("Div", x, b.constant(1.0 / np.where((scale := b.scales(shape)) == 0.0, 1.0, scale)))
    return pair(b, op_type, x, b.constant(b.scales(shape) if op_type == "Mul" else b.shifts(shape)))


def pair(b: Builder, op_type: str, x: str, y: str) -> Tensor:
    """A node of two inputs, in either order."""
    return b.node(op_type, *b.choose((x, y), (y, x)))


# --- linear operators


def dense(b: Builder, x: Tensor) -> Tensor:
    shape, outputs = b.shapes[x], b.choose(4, 3, 6, 1)
    kernel = (shape[-1], outputs)
    if len(shape) == 2 and b.choose(True, False):
        return gemm(b, x, kernel)
    product = b.node("MatMul", x, b.weight(kernel, kernel[0]))
    return pair(b, "Add", product, b.constant(b.rng.standard_normal(outputs))) if b.choose(True, False) else product


def gemm(b: Builder, x: Tensor, kernel: Shape) -> Tensor:
    turned = b.choose(False, True)
    weights = b.weight(kernel[::-1] if turned else kernel, kernel[0])
    biases = b.choose(((),), ((kernel[1],),), ((1, kernel[1]),), ((1,),))
    bias = [b.weight(shape) for shape in biases if shape]
    options = b.choose({}, {"alpha": 0.5, "beta": -2.0})
    return b.node("Gemm", x, weights, *bias, transB=int(turned), **options)


def conv(b: Builder, x: Tensor) -> Tensor:
    channels, *extents = b.shapes[x][1:]
    groups = b.choose(*(count for count in (1, 2, channels) if channels % count == 0))
    outputs = groups * b.choose(1, 2, 3) if groups > 1 else b.choose(4, 6, 1)
    sizes = [b.choose(*(size for size in (3, 1, 2) if size <= extent)) for extent in extents]
    dilations = [
        2 if 2 * (size - 1) < extent and b.seldom() else 1 for size, extent in zip(sizes, extents, strict=True)
    ]
    strides = [b.choose(1, 1, 2) for _ in sizes]
    kernel = (outputs, channels // groups, *sizes)
    bias = [b.weight((outputs,))] if b.choose(True, False) else []
    weights = b.weight(kernel, prod(kernel[1:]))
    options = padding(b, sizes)
    if options.get("auto_pad", "VALID") != "VALID":
        dilations = [1 for _ in sizes]  # onnxruntime has no other
    return b.node("Conv", x, weights, *bias, group=groups, dilations=dilations, strides=strides, **options)


def padding(b: Builder, sizes: list[int]) -> dict[str, Any]:
    """Of a convolution or pool."""
    match b.choose("none", "same", "any", "auto"):
        case "same":
            return {"pads": [*(size // 2 for size in sizes), *((size - 1) // 2 for size in sizes)]}
        case "any":
            return {"pads": [b.choose(0, 1) if size > 1 else 0 for size in [*sizes, *sizes]]}
        case "auto":
            return {"auto_pad": b.choose("SAME_UPPER", "SAME_LOWER", "VALID")}
    return {}


def conv_transpose(b: Builder, x: Tensor) -> Tensor:
    channels, *extents = b.shapes[x][1:]
    groups = b.choose(*(count for count in (1, 2) if channels % count == 0))
    kernel = (channels, b.choose(2, 1, 3), *(b.choose(2, 3, 1) for _ in extents))
    bias = [b.weight((groups * kernel[1],))] if b.choose(True, False) else []
    strides = [b.choose(2, 1) for _ in extents]
    options: dict[str, Any] = {"group": groups, "strides": strides}
    if all(size > 1 for size in (*kernel[2:], *extents)) and b.seldom():
        options["pads"] = [b.choose(0, 1) for _ in (*extents, *extents)]
    elif b.seldom():
        options["output_padding"] = [stride - 1 for stride in strides]
    elif b.seldom():
        options["dilations"] = [2 for _ in extents]
    elif b.seldom() and all(size >= stride for size, stride in zip(kernel[2:], strides, strict=True)):
        options["output_shape"] = [extent * stride for extent, stride in zip(extents, strides, strict=True)]
    return b.node("ConvTranspose", x, b.weight(kernel, channels), *bias, **options)


# --- what bends


def relu(b: Builder, x: Tensor) -> Tensor:
    return b.node("Relu", x)


def clip(b: Builder, x: Tensor) -> Tensor:
    low, high = b.choose((0.0, 6.0), (-1.0, 1.0), (None, 0.5), (-0.5, None), (0.25, 0.25))
    return b.node("Clip", x, *(None if bound is None else b.constant(bound) for bound in (low, high)))


def bound(b: Builder, x: Tensor) -> Tensor:
    return pair(b, b.choose("Max", "Min"), x, b.constant(b.shifts(operand(b.shapes[x], b))))


def leaky(b: Builder, x: Tensor) -> Tensor:
    if b.choose(True, False):
        return b.node("LeakyRelu", x, alpha=b.choose(0.25, 0.01, -0.5, 1.5, 0.0))
    return b.node("PRelu", x, b.constant(b.scales(operand(b.shapes[x], b))))


def smooth(b: Builder, x: Tensor) -> Tensor:
    return b.node(b.choose("Sigmoid", "Tanh"), x)


# --- pools and means


def pool(b: Builder, x: Tensor) -> Tensor:
    extents = b.shapes[x][2:]
    sizes = [b.choose(*(size for size in (2, 3, 1) if size <= extent)) for extent in extents]
    strides = [b.choose(*range(1, size + 1)) for size in sizes]  # onnxruntime's SAME has no larger ones
    options = {"kernel_shape": sizes, "strides": strides, **padding(b, sizes)}
    if b.choose("MaxPool", "AveragePool") == "MaxPool":
        # on several axes, onnx's shape inference and onnxruntime may not agree
        may_round = "auto_pad" not in options and (len(sizes) == 1 or "pads" not in options)
        rounding = {"ceil_mode": 1} if may_round and b.seldom() else {}
        return b.node("MaxPool", x, **options, **rounding)
    return b.node("AveragePool", x, count_include_pad=b.choose(0, 1), **options)


def global_pool(b: Builder, x: Tensor) -> Tensor:
    return b.node(b.choose("GlobalAveragePool", "GlobalMaxPool"), x)


def reduction(b: Builder, x: Tensor) -> Tensor:
    rank = len(b.shapes[x])
    axes = b.choose(*([axis] for axis in range(1, rank)), [*range(2, rank)] or [1], [-1])
    op_type, keeps = b.choose("ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum"), b.choose(1, 0)
    if keeps == 0 and len(axes) == rank - 1:
        keeps = 1  # tensors of rank 1 are of no interest
    if op_type == "ReduceSum" or b.opset >= 18:
        return b.node(op_type, x, b.constant(np.array(axes)), keepdims=keeps)
    return b.node(op_type, x, axes=axes, keepdims=keeps)


# --- what moves elements


def pad(b: Builder, x: Tensor) -> Tensor:
    shape, mode = b.shapes[x], b.choose("constant", "edge", "reflect")
    axes = [axis for axis in range(1, len(shape)) if shape[axis] > 1 and (axis > 1 or b.seldom())]
    widths = [b.choose(1, 0) if axis in axes else 0 for axis in [*range(len(shape))] * 2]
    value = [b.constant(b.choose(0.0, 1.5, -0.75))] if mode == "constant" else []
    return b.node("Pad", x, b.constant(np.array(widths)), *value, mode=mode)


def pad_by_infinity(b: Builder, x: Tensor) -> Tensor:
    """As it stands before a maximum, which is what other tools make of a padded MaxPool."""
    axes = len(b.shapes[x])
    widths = b.constant(np.array([*([0, 0] + [1] * (axes - 2)) * 2]))
    padded = b.node("Pad", x, widths, b.constant(float(np.finfo(np.float32).min)))
    b.tensors.remove(padded)  # nothing else could bear it
    return b.choose(bound_below, max_pool)(b, padded)


def bound_below(b: Builder, x: Tensor) -> Tensor:
    return b.node("Max", x, b.constant(b.shifts((b.shapes[x][1], *[1] * (len(b.shapes[x]) - 2)))))


def max_pool(b: Builder, x: Tensor) -> Tensor:
    return b.node("MaxPool", x, kernel_shape=[3] * (len(b.shapes[x]) - 2))


def resize(b: Builder, x: Tensor) -> Tensor:
    shape, mode = b.shapes[x], b.choose("nearest", "linear")
    how = {"mode": mode, "coordinate_transformation_mode": b.choose("asymmetric", "half_pixel")}
    if mode == "nearest":
        how["nearest_mode"] = "floor"
    if b.opset < 18 or b.choose(True, False):
        scales = [1.0, 1.0, *(b.choose(2.0, 1.0, 1.5) for _ in shape[2:])]
        return b.node("Resize", x, None, b.constant(np.array(scales)), **how)
    axes = list(range(2, len(shape)))  # the extent of the batch is not known
    sizes = np.array([b.choose(shape[axis], 2 * shape[axis]) for axis in axes])
    return b.node("Resize", x, None, None, b.constant(sizes), axes=axes, **how)


def transpose(b: Builder, x: Tensor) -> Tensor:
    rest = [*range(1, len(b.shapes[x]))]
    return b.node("Transpose", x, perm=[0, *b.choose([*rest[1:], rest[0]], [rest[-1], *rest[:-1]], rest[::-1])])


def reshape(b: Builder, x: Tensor) -> Tensor:
    shape = b.shapes[x]
    first = b.choose(0, -1)
    targets = [[first, prod(shape[1:])], [first, shape[1], prod(shape[2:])]]
    targets += [[first, *shape[1:axis], shape[axis] // 2, 2, *shape[axis + 1 :]] for axis in halves(shape)]
    targets += [[first, *shape[1:-2], shape[-2] * shape[-1]]] if len(shape) > 2 else []
    if b.choose(True, False, False):
        return b.node("Flatten", x)
    return b.node("Reshape", x, b.constant(np.array(b.choose(*targets))))


def halves(shape: Shape) -> list[int]:
    return [axis for axis in range(1, len(shape)) if shape[axis] % 2 == 0 and len(shape) < 5]


def squeeze(b: Builder, x: Tensor) -> Tensor:
    shape = b.shapes[x]
    ones = [axis for axis in range(1, len(shape)) if shape[axis] == 1]
    if ones and len(shape) > 2:
        return b.node("Squeeze", x, b.constant(np.array([b.choose(*ones)])))
    return b.node("Unsqueeze", x, b.constant(np.array([b.choose(*range(1, len(shape) + 1), -1)])))


def take_slice(b: Builder, x: Tensor) -> Tensor:
    shape = b.shapes[x]
    axis = b.choose(*range(1, len(shape)))
    start, stop, step = b.choose((0, -1, 1), (1, 2**31, 1), (0, 2**31, 2), (-1, -(2**31), -1))
    if len(range(*slice(start, stop, step).indices(shape[axis]))) == 0:
        return x
    return b.node("Slice", x, *(b.constant(np.array([each])) for each in (start, stop, axis, step)))


def gather(b: Builder, x: Tensor) -> Tensor:
    axis = b.choose(*range(1, len(b.shapes[x])))
    extent = b.shapes[x][axis]
    picked = b.choose(np.arange(extent)[::-1], b.rng.integers(-extent, extent, 3), b.rng.permutation(extent)[:2])
    return b.node("Gather", x, b.constant(picked), axis=axis)


def split(b: Builder, x: Tensor) -> Tensor:
    shape = b.shapes[x]
    axis = b.choose(*range(1, len(shape)))
    if shape[axis] < 2:
        return x
    return b.choose(*b.several("Split", x, b.constant(np.array([1, shape[axis] - 1])), axis=axis))


def tile(b: Builder, x: Tensor) -> Tensor:
    rank = len(b.shapes[x])
    axis = b.choose(*range(1, rank))
    return b.node("Tile", x, b.constant(np.array([2 if each == axis else 1 for each in range(rank)])))


def nothing(b: Builder, x: Tensor) -> Tensor:
    return b.node(b.choose("Identity", "Dropout"), x)
