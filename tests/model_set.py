"""Keras models to hold edgebn against: those of keras.applications, small, with random weights and statistics."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import onnx_ir as ir

import edgebn
from edgebn import backends, graphs, pipeline
from edgebn.loading import open_source
from edgebn.report import ExportReport
from edgebn.verifying.reference import float64_truth


def lively(model: Any, seed: int = 0) -> Any:
    """Give every BatchNormalization random statistics, gammas of both signs, and betas."""
    keras = backends.keras()
    rng = np.random.default_rng(seed)
    for norm in model._flatten_layers():
        if isinstance(norm, keras.layers.BatchNormalization):
            channels = norm.moving_mean.shape
            norm.moving_mean.assign(rng.normal(0.0, 0.2, channels))
            norm.moving_variance.assign(rng.uniform(0.5, 1.5, channels))
            if norm.scale:
                norm.gamma.assign(rng.choice((-1.0, 1.0), channels) * rng.uniform(0.5, 1.5, channels))
            if norm.center:
                norm.beta.assign(rng.normal(0.0, 0.2, channels))
    return model


def application(name: str, size: int, **options: Any) -> Callable[[], Any]:
    """A model of keras.applications on `size` × `size` images, for 10 classes, without softmax."""

    def build() -> Any:
        keras = backends.keras()
        keras.utils.set_random_seed(0)
        made = getattr(keras.applications, name)
        return lively(
            made(weights=None, input_shape=(size, size, 3), classes=10, classifier_activation=None, **options)
        )

    return build


APPLICATIONS: Mapping[str, Callable[[], Any]] = {
    "DenseNet121": application("DenseNet121", 32),
    "EfficientNetB0": application("EfficientNetB0", 32),
    "EfficientNetV2B0": application("EfficientNetV2B0", 32),
    "InceptionV3": application("InceptionV3", 75),
    "MobileNet": application("MobileNet", 32),
    "MobileNetV2": application("MobileNetV2", 32),
    "MobileNetV3Small": application("MobileNetV3Small", 32),
    "NASNetMobile": application("NASNetMobile", 32),
    "ResNet50": application("ResNet50", 32),
    "ResNet50V2": application("ResNet50V2", 32),
    "Xception": application("Xception", 71),
}


@dataclass(frozen=True)
class Measured:
    """What became of a model. Differences and errors are by the output's scale; `seconds` are of fold_export.

    `error` is that of the folded model from Keras in float64, `plain_error` that of the export without folding,
    `keras_error` that of the Keras model itself.
    """

    report: ExportReport
    norms: int
    gone: int
    difference: float
    error: float
    plain_error: float
    keras_error: float
    seconds: float


def images(name: str, model: Any) -> np.ndarray:
    """Random images as the application takes them: some scale 0 to 255 themselves."""
    x = np.random.default_rng(1).normal(size=(2, *model.input_shape[1:]))
    scales_itself = name.startswith(("Efficient", "MobileNetV3"))
    return (64.0 * x + 128.0 if scales_itself else x).astype(np.float32)


def measured(model: Any, source: Any, folder: Path, x: np.ndarray) -> Measured:
    """Fold-export `source`, and run it, the export without folding, Keras, and Keras in float64 on `x`."""
    opened: list[graphs.Graph] = []

    def opening(*args: Any, **options: Any) -> graphs.Graph:
        opened.append(graphs.open_graph(*args, **options))
        return opened[-1]

    started = time.perf_counter()
    with mock.patch.object(pipeline, "open_graph", opening):
        report = edgebn.fold_export(source, folder / "folded.onnx")
    seconds = time.perf_counter() - started
    opened_model = open_source(model)
    keras, truth = np.asarray(opened_model.call(x)[0]), float64_truth(opened_model)
    assert truth is not None
    (exact,) = truth.run((x,))
    scale = np.abs(exact).max()
    folded = run((folder / "folded.onnx").read_bytes(), x)
    plain = run(ir.to_proto(opened[-1].model).SerializeToString(), x)
    difference = float(np.abs(folded - keras).max() / scale)
    errors = (float(np.abs(each - exact).max() / scale) for each in (folded, plain, keras))
    norm_type = backends.keras().layers.BatchNormalization
    norms = sum(isinstance(layer, norm_type) for layer in model._flatten_layers())
    gone = {layer for fate in report.folded for layer in fate.layers}
    kept = {layer for fate in report.kept for layer in fate.layers}
    return Measured(report, norms, len(gone - kept), difference, *errors, seconds)


def run(content: bytes, x: np.ndarray) -> np.ndarray:
    """What onnxruntime computes, without its optimisations."""
    onnxruntime = backends.onnxruntime()
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: x})[0])
