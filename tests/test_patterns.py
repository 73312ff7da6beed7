"""Every pattern, from Keras to onnxruntime: the BatchNormalizations that go, those that stay, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import edgebn
from edgebn import backends
from tests.keras_patterns import FOLDED, KEPT, build

DYNAMIC = 9
# float32 sums of at most some hundred terms, three layers deep: 6e-7 of the output's scale seen, 10 times allowed
TOLERANCE = 6e-6


def difference(model: Any, path: Path) -> float:
    """The largest difference between onnxruntime and Keras on inputs of both signs, by the output's scale."""
    shape = [extent or DYNAMIC for extent in model.inputs[0].shape[1:]]
    x = np.random.default_rng(1).normal(size=(5, *shape)).astype(np.float32)
    session = backends.onnxruntime().InferenceSession(path, providers=["CPUExecutionProvider"])
    expected = np.asarray(model(x, training=False))
    (actual,) = session.run(None, {session.get_inputs()[0].name: x})
    assert actual.shape == expected.shape
    return float(np.abs(actual - expected).max() / np.abs(expected).max())


def operators(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


@pytest.mark.parametrize("name", FOLDED)
def test_all_of_it_goes(name: str, tmp_path: Path) -> None:
    model, path = build(FOLDED[name]), tmp_path / "model.onnx"
    report = edgebn.fold_export(model, path)
    assert report.folded
    assert not report.kept
    assert "BatchNormalization" not in report.nodes
    assert len(report.nodes) <= report.nodes_before
    assert difference(model, path) <= TOLERANCE


@pytest.mark.parametrize("name", KEPT)
def test_what_stays_has_a_reason(name: str, tmp_path: Path) -> None:
    model, path = build(KEPT[name]), tmp_path / "model.onnx"
    report = edgebn.fold_export(model, path)
    (kept,) = report.kept
    assert KEPT[name][2] in " ".join(stop.reason for stop in kept.stops)
    assert len(report.nodes) <= report.nodes_before
    assert difference(model, path) <= TOLERANCE


def test_the_sum_of_branches_is_one_convolution(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    edgebn.fold_export(build(FOLDED["RepVGG"]), path)
    assert operators(path) == ["Transpose", "Conv", "Sigmoid", "Conv", "Sigmoid", "Transpose"]


def test_a_scale_forgotten_would_be_noticed(tmp_path: Path) -> None:
    model, path = build(FOLDED["Conv → BN → ReLU"]), tmp_path / "model.onnx"
    edgebn.fold_export(model, path)
    norm = next(layer for layer in model.layers if "batch_normalization" in layer.name)
    norm.gamma.assign(norm.gamma * np.array([1, 1, 1, 1.001, 1, 1], np.float32))
    assert difference(model, path) > TOLERANCE
