"""Small models of random layers, as exporters write them: what is fused, tiled, padded and streamed must all be met."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Rng = np.random.Generator


class Net:
    """A graph under construction; `value` is the tensor that was added last."""

    def __init__(self, rng: Rng, shape: tuple[int, ...]) -> None:
        self.rng, self.shape, self.value = rng, shape, "image"
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def add(self, operator: str, *others: str, **attributes: object) -> str:
        """A node that reads the last tensor, then the others."""
        name = f"t{len(self.nodes)}"
        given = {key: each for key, each in attributes.items() if each is not None}
        self.nodes.append(helper.make_node(operator, [self.value, *others], [name], name=f"{operator}_{name}", **given))
        self.value = name
        return name

    def constant(self, *shape: int, dtype: type = np.float32) -> str:
        array = (self.rng.standard_normal(shape) * 0.4).astype(dtype)
        return self.stored(array)

    def stored(self, array: np.ndarray) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def model(self) -> onnx.ModelProto:
        inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", *self.shape])]
        outputs = [helper.make_tensor_value_info(self.value, TensorProto.FLOAT, None)]
        graph = helper.make_graph(self.nodes, "net", inputs, outputs, self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        return onnx.shape_inference.infer_shapes(model, data_prop=True)


def conv(net: Net, channels: int, kernel: tuple[int, ...], inputs: int, group: int = 1, **attributes: object) -> str:
    weights = net.constant(channels, inputs // group, *kernel)
    bias = [net.constant(channels)] if net.rng.random() < 0.8 else []
    return net.add("Conv", weights, *bias, group=group, **attributes)


def random_convolution(rng: Rng) -> onnx.ModelProto:
    """One convolution of any kind, and what may follow it."""
    rank = int(rng.choice([1, 2, 2, 2, 2, 3]))
    group = int(rng.choice([1, 1, 1, 2, 3]))
    depthwise = rng.random() < 0.3
    inputs = int(rng.choice([1, 2, 3, 5, 8])) * group
    channels = int(rng.choice([1, 3, 5, 8, 10, 16, 17, 24, 32, 40])) * group
    if depthwise:
        group = inputs = int(rng.choice([2, 5, 8, 16]))
        channels = inputs * int(rng.choice([1, 1, 2]))
    kernel = tuple(int(each) for each in rng.integers(1, 5, rank))
    dilations = [int(each) for each in rng.choice([1, 1, 1, 2], rank)]
    extents = tuple(int(rng.integers((size - 1) * d + 1, 14)) for size, d in zip(kernel, dilations, strict=True))
    pads = [int(each) for each in rng.integers(0, 3, 2 * rank)] if rng.random() < 0.6 else [0] * (2 * rank)
    net = Net(rng, (inputs, *extents))
    conv(
        net,
        channels,
        kernel,
        inputs,
        group,
        dilations=dilations,
        pads=pads,
        strides=[int(each) for each in rng.choice([1, 1, 2, 3], rank)],
    )
    shape = _shape(net)
    _activation(net, channels, rank)
    if rank == 2 and rng.random() < 0.6:
        window = [int(rng.integers(1, min(extent, 4) + 1)) for extent in shape[2:]]
        net.add(str(rng.choice(["MaxPool", "AveragePool"])), kernel_shape=window, strides=window)
        if rng.random() < 0.5:
            _activation(net, channels, rank)
    elif rng.random() < 0.6:
        net.add(str(rng.choice(["GlobalMaxPool", "GlobalAveragePool"])))
    if rng.random() < 0.5:
        net.add("Flatten")
        net.add("Gemm", net.constant(_shape(net)[1], int(rng.choice([1, 2, 7, 10, 12, 13, 64]))))
        net.add("Softmax", axis=1)
    return net.model()


def textbook(rng: Rng) -> onnx.ModelProto:
    """What every course begins with."""
    net = Net(rng, (1, 12, 10))
    conv(net, 16, (3, 3), 1)
    net.add("Relu")
    net.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    net.add("Flatten")
    net.add("Gemm", net.constant(_shape(net)[1], 10), net.constant(10))
    net.add("Softmax", axis=1)
    return net.model()


def residual(rng: Rng) -> onnx.ModelProto:
    """Two branches that are added, a channels-last input, and a global pool."""
    net = Net(rng, (9, 7, 3))
    net.add("Transpose", perm=[0, 3, 1, 2])
    conv(net, 16, (3, 3), 3, pads=[1, 1, 1, 1])
    trunk = net.add("Relu")
    conv(net, 16, (3, 3), 16, pads=[1, 1, 1, 1])
    net.add("Add", trunk)
    net.add("Relu")
    net.add(str(rng.choice(["GlobalAveragePool", "GlobalMaxPool"])))
    net.add("Flatten")
    net.add("Gemm", net.constant(16, 5), net.constant(5))
    return net.model()


def excitation(rng: Rng) -> onnx.ModelProto:
    """Channels weighted by what they are on the whole; then back to channels last."""
    net = Net(rng, (4, 6, 5))
    trunk = conv(net, 12, (3, 3), 4, pads=[1, 1, 1, 1])
    net.add("ReduceMean", axes=[2, 3], keepdims=1)
    conv(net, 12, (1, 1), 12)
    net.add("HardSigmoid")
    net.add("Mul", trunk)
    net.add("Transpose", perm=[0, 2, 3, 1])
    return net.model()


def pieces(rng: Rng) -> onnx.ModelProto:
    """Slices, pads and concatenations of images, flattened in their own order."""
    net = Net(rng, (6, 8, 8))
    trunk = conv(net, 6, (3, 3), 6)
    starts, ends, axes = (net.stored(np.array(each, np.int64)) for each in ([1], [5], [1]))
    part = net.add("Slice", starts, ends, axes)
    net.value = trunk
    net.add("Sigmoid")
    net.add("Concat", part, axis=1)
    net.add("Pad", net.stored(np.array([0, 0, 1, 0, 0, 0, 0, 2], np.int64)))
    net.add("AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    net.add("Flatten")
    return net.model()


def attention(rng: Rng) -> onnx.ModelProto:
    """Products of computed matrices."""
    net = Net(rng, (5, 8))
    query = net.add("MatMul", net.constant(8, 8))
    net.value = "image"
    keys = net.add("MatMul", net.constant(8, 8))
    net.add("Transpose", perm=[0, 2, 1])
    turned = net.value
    net.value = query
    net.add("MatMul", turned)
    net.add("Softmax", axis=-1)
    net.add("MatMul", keys)
    net.add("Add", "image")
    return net.model()


def decoder(rng: Rng) -> onnx.ModelProto:
    """What makes images larger."""
    net = Net(rng, (4, 3, 5))
    net.add("ConvTranspose", net.constant(4, 6, 3, 3), net.constant(6), strides=[2, 2], auto_pad="SAME_UPPER")
    net.add("Elu")
    net.add("ConvTranspose", net.constant(6, 5, 2, 2), strides=[2, 2])
    net.add("Relu")
    scales = net.stored(np.array([1, 1, 2, 3], np.float32))
    net.add("Resize", "", scales, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")
    pads = [1, 0, 0, 1]
    net.add("ConvTranspose", net.constant(5, 1, 4, 3), strides=[1, 2], pads=pads, output_padding=[0, 1])
    net.add("Sigmoid")
    return net.model()


def _activation(net: Net, channels: int, rank: int) -> None:
    kind = str(net.rng.choice(["", "Relu", "LeakyRelu", "clip", "Tanh", "HardSwish"]))
    if kind == "clip":
        net.add("Max", net.constant(channels, *(1,) * rank))
        net.add("Min", net.constant())
    elif kind:
        net.add(kind)


def _shape(net: Net) -> list[int]:
    value = net.model().graph.output[0].type.tensor_type
    return [each.dim_value for each in value.shape.dim]


FIXED: dict[str, Callable[[Rng], onnx.ModelProto]] = {
    "textbook": textbook,
    "residual": residual,
    "excitation": excitation,
    "pieces": pieces,
    "attention": attention,
    "decoder": decoder,
}
