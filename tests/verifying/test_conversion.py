"""A converter that errs is found out, by the layer; one that does not, is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

import edgebn
from edgebn import graphs, pipeline
from tests import keras_models


def converting(monkeypatch: pytest.MonkeyPatch, spoil: Any) -> None:
    """Let the exporter make the mistake `spoil` in every graph."""

    def opened(*args: Any, **options: Any) -> graphs.Graph:
        graph = graphs.open_graph(*args, **options)
        spoil(graph.model.graph)
        return graph

    monkeypatch.setattr(pipeline, "open_graph", opened)


def test_a_kernel_transposed_by_the_converter_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def transpose_kernel(graph: ir.Graph) -> None:
        kernel = next(node for node in graph if node.op_type == "Conv").inputs[1]
        assert kernel is not None
        assert kernel.const_value is not None
        swapped = np.ascontiguousarray(np.swapaxes(kernel.const_value.numpy(), 2, 3))
        kernel.const_value = ir.tensor(swapped, name=kernel.name)

    converting(monkeypatch, transpose_kernel)
    path = tmp_path / "model.onnx"
    with pytest.raises(edgebn.ConversionError, match=r"first layer that differs is conv, .* Conv"):
        edgebn.fold_export(keras_models.textbook("cnn"), path)
    assert not path.exists()


def test_a_relu_forgotten_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forget(graph: ir.Graph) -> None:
        relu = next(node for node in graph if node.op_type == "Relu")
        relu.outputs[0].replace_all_uses_with(relu.inputs[0])

    converting(monkeypatch, forget)
    with pytest.raises(edgebn.ConversionError, match="another probabilities than the model"):
        edgebn.fold_export(keras_models.textbook("mlp"), tmp_path / "model.onnx")


def test_a_right_conversion_passes(tmp_path: Path) -> None:
    for name in ("mlp", "cnn"):
        assert edgebn.fold_export(keras_models.textbook(name, "dead"), tmp_path / f"{name}.onnx").nodes
