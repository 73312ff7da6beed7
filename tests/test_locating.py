"""Where it went wrong: each fault that is planted is named by the layer, the law and the channel."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper

import edgebn
from edgebn import pipeline
from edgebn.algebra import Affine, Outcome
from tests import keras_models
from tests.folding.faults import FAULTS
from tests.verifying.test_weak_spots import tampered

PLANTS = {fault.name: fault.plant for fault in FAULTS}


def refused(model: Any, folder: Path) -> str:
    with pytest.raises(edgebn.ConversionError) as caught:
        edgebn.fold_export(model, folder / "model.onnx")
    assert not list(folder.iterdir())
    return str(caught.value)


@pytest.mark.parametrize(
    ("architecture", "fault", "law"),
    [
        ("mlp", "into the previous MatMul: more_scale", "into the previous MatMul (dense/Gemm)"),
        ("cnn", "into the next MatMul: no_shift", "into the next MatMul (probabilities/Gemm)"),
    ],
)
def test_a_law_that_is_wrong_is_named(
    architecture: str, fault: str, law: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    PLANTS[fault](monkeypatch)
    message = refused(keras_models.textbook(architecture), tmp_path)
    assert "the fold that changes the function is that of batch_normalization, channel 0, by the laws: " in message
    assert law in message


def test_the_channel_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A maximum that lets negative scales pass: right but for the channel that has one."""
    model = keras_models.textbook("cnn")
    norm = model.get_layer("batch_normalization")
    gamma = np.abs(np.array(norm.gamma))
    gamma[21] *= -1.0
    norm.gamma.assign(gamma)
    PLANTS["a maximum takes any sign"](monkeypatch)
    message = refused(model, tmp_path)
    assert "batch_normalization, channel 21, by the laws: on through a maximum (max_pooling/MaxPool)" in message


def test_the_second_of_two_folds_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layers, x = keras_models.layers(), edgebn.backends.keras().Input((6,), name="x")
    first = layers.BatchNormalization(name="right")(layers.Dense(4, name="a")(x))
    second = layers.BatchNormalization(name="wrong")(layers.Dense(5, name="b")(layers.Activation("tanh")(first)))
    model = keras_models.functional(x, layers.Activation("tanh")(second))
    from edgebn.folding import routes

    cross = routes.Router._cross

    def spoiled(self: Any, *given: Any) -> Any:
        outcome = cross(self, *given)
        affine = next((each for each in given if isinstance(each, Affine)), None)
        if affine is None or affine.scale.size != 5 or not isinstance(outcome, Outcome):
            return outcome
        kernel = outcome.operators[0]
        return Outcome((type(kernel)(kernel.kernel * 1.01, kernel.bias), *outcome.operators[1:]), outcome.rest)

    monkeypatch.setattr(routes.Router, "_cross", spoiled)
    message = refused(model, tmp_path)
    assert re.search(r"that of wrong, channel \d, by the laws: into the previous MatMul \(b/Gemm\)", message)


def test_the_clean_up_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tidy = pipeline.tidy

    def spoil(model: ir.Model) -> None:
        tidy(model)
        relu = next(node for node in model.graph if node.op_type == "Relu")
        relu.outputs[0].replace_all_uses_with(relu.inputs[0])
        model.graph.remove(relu, safe=True)

    monkeypatch.setattr(pipeline, "tidy", spoil)
    assert "it is the clean-up behind them" in refused(keras_models.textbook("mlp"), tmp_path)


def test_no_verify_writes_it_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    PLANTS["into the previous MatMul: more_scale"](monkeypatch)
    edgebn.fold_export(keras_models.textbook("mlp"), tmp_path / "model.onnx", verify=False)
    verdict = edgebn.verify(keras_models.textbook("mlp"), tmp_path / "model.onnx")
    assert not verdict.passed
    assert verdict.culprit is not None
    assert "the fold that changes the function is that of batch_normalization" in verdict.culprit


def test_an_onnx_file_that_is_folded_wrongly_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source" / "plain.onnx"
    source.parent.mkdir()
    model = keras_models.textbook("mlp")
    with pytest.MonkeyPatch.context() as nothing_folded:
        nothing_folded.setattr(pipeline, "_folded", lambda graph, _: (pipeline.plan(graph.view, 0), graph.model))
        edgebn.fold_export(model, source, verify=False)
    assert "Mul" in {node.op_type for node in onnx.load(source).graph.node}
    PLANTS["into the previous MatMul: no_shift"](monkeypatch)
    with pytest.raises(
        edgebn.ConversionError, match=r"nothing written: the fold that changes the function is that of "
    ):
        edgebn.fold_export(source, tmp_path / "folded.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_file_that_was_changed_is_told_from_what_edgebn_writes(tmp_path: Path) -> None:
    model, path = keras_models.textbook("cnn"), tmp_path / "model.onnx"
    edgebn.fold_export(model, path)
    verdict = edgebn.verify(model, tampered(path, "conv/Conv/bias", lambda bias: bias + np.eye(1, len(bias), 7)[0]))
    assert verdict.culprit is not None
    assert verdict.culprit.startswith("the first node that is not as edgebn writes it is conv/Conv: input 2, ")
    assert " at [7] instead of " in verdict.culprit
    proto = onnx.load(path)
    proto.graph.node[1].attribute.append(onnx.helper.make_attribute("auto_pad", "NOTSET"))
    kernel = next(each for each in proto.graph.initializer if each.name == "conv/Conv/kernel")
    kernel.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(kernel), kernel.name))
    onnx.save(proto, tmp_path / "wrong.onnx")
    culprit = edgebn.verify(model, tmp_path / "wrong.onnx").culprit
    assert culprit is not None
    assert "conv/Conv" in culprit
