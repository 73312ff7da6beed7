"""Keras models for tests: weights from a seed, batch normalisations of every sign, and what they compute in float64."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from edgebn import backends
from edgebn.training.architectures import ARCHITECTURES

EPSILON = 1e-3
"""Keras's default, which both architectures have."""

# what γ is multiplied by, in turn from channel to channel, and what some of the moving variances become
SIGNS: Mapping[str, tuple[float, ...]] = {
    "positive": (1.0,),
    "mixed": (1.0, -1.0),
    "negative": (-1.0,),
    "zero": (0.0, 1.0),
    "zero and negative": (0.0, -1.0),
    "dead": (1.0,),
    "dead and mixed": (1.0, -1.0),
}
DEAD = (1e-15, 0.0)


def textbook(architecture: str, signs: str = "positive", seed: int = 0) -> Any:
    """`mlp` or `cnn` with weights and statistics as after some training, and γ of these `SIGNS`."""
    model = ARCHITECTURES[architecture].build()
    rng = np.random.default_rng(seed)
    randomise(model, rng)
    norm = model.get_layer("batch_normalization")
    gamma, beta, mean, variance = norm.get_weights()
    gamma = np.abs(gamma) * np.resize(SIGNS[signs], gamma.shape)
    if signs.startswith("dead"):
        variance[::5], variance[1::5] = DEAD
    norm.set_weights([gamma, beta, mean, variance])
    return model


def randomise(model: Any, rng: np.random.Generator) -> Any:
    """Give the model weights of the size that training gives, and statistics of both signs. Returns the model."""
    for variable in model.weights:
        shape, name = variable.shape, variable.path.rsplit("/", 1)[-1]
        if name == "moving_variance":
            values = rng.uniform(0.3, 2.0, shape)
        elif name == "gamma":
            values = rng.uniform(0.5, 1.5, shape) * rng.choice((-1.0, 1.0), shape)
        elif name.endswith("kernel"):
            values = rng.standard_normal(shape) / np.sqrt(np.prod(shape[:-1]))
        else:
            values = rng.standard_normal(shape) / 4.0
        variable.assign(values.astype(np.float32))
    return model


def functional(inputs: Any, outputs: Any, seed: int = 0) -> Any:
    """The functional model from `inputs` to `outputs`, with random weights."""
    return randomise(backends.keras().Model(inputs, outputs), np.random.default_rng(seed))


def layers() -> Any:
    return backends.keras().layers


def samples(architecture: str, count: int = 16, seed: int = 1) -> np.ndarray:
    """Random images of both signs for `mlp` or `cnn`."""
    shape = (count, *ARCHITECTURES[architecture].input_shape)
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def in_float64(model: Any, x: np.ndarray) -> np.ndarray:
    """What `mlp` or `cnn` computes, by the textbook and with NumPy alone."""
    weights = {layer.name: [weight.astype(np.float64) for weight in layer.get_weights()] for layer in model.layers}
    x = x.astype(np.float64)
    if model.name == "mlp":
        hidden = np.maximum(_batch_norm(_dense(x, *weights["dense"]), *weights["batch_normalization"]), 0.0)
    else:
        activated = np.maximum(_convolution(x, *weights["conv"]), 0.0)
        hidden = _max_pool(_batch_norm(activated, *weights["batch_normalization"])).reshape(len(x), -1)
    logits = _dense(hidden, *weights["probabilities"])
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def in_keras(model: Any, *inputs: np.ndarray) -> list[np.ndarray]:
    """The outputs of the model, in its order; `inputs` are in that of `model.inputs`."""
    keras = backends.keras()
    given = [backends.tensorflow().constant(x) for x in inputs]
    single = isinstance(model, keras.Sequential)
    result = model(given[0] if single else keras.tree.pack_sequence_as(model.input, given), training=False)
    return [np.asarray(each) for each in keras.tree.flatten(result)]


def in_onnxruntime(path: Path, *inputs: np.ndarray) -> list[np.ndarray]:
    """What the file makes of `inputs`, which are in its order, without onnxruntime's optimisations."""
    onnxruntime = backends.onnxruntime()
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feed = {node.name: x for node, x in zip(session.get_inputs(), inputs, strict=True)}
    return list(session.run(None, feed))


def operators(path: Path) -> str:
    return " ".join(node.op_type for node in onnx.load(path).graph.node)


def extents(value: onnx.ValueInfoProto) -> list[int | str]:
    return [extent.dim_param or extent.dim_value for extent in value.type.tensor_type.shape.dim]


def _dense(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    return x @ kernel + bias


def _batch_norm(x: np.ndarray, gamma: Any, beta: Any, mean: Any, variance: Any) -> np.ndarray:
    return np.asarray(gamma * (x - mean) / np.sqrt(variance + EPSILON) + beta)


def _convolution(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """x: (batch, height, width, in); kernel: (height, width, in, out)."""
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:2], axis=(1, 2))
    return np.einsum("nhwiab,abio->nhwo", windows, kernel) + bias


def _max_pool(x: np.ndarray) -> np.ndarray:
    """2 × 2, stride 2."""
    batch, height, width, channels = x.shape
    return np.asarray(x.reshape(batch, height // 2, 2, width // 2, 2, channels).max(axis=(2, 4)))
