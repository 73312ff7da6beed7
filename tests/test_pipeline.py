"""fold_export on the two textbook models: which nodes are left, that they compute the same, and what is written."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import edgebn
from edgebn.exporting import OPSETS
from tests import keras_models

MLP = "Gemm Relu Gemm Softmax"
CNN = "Reshape Conv Relu MaxPool Flatten Gemm Softmax"
CNN_WITH_CLIP = "Reshape Conv Clip MaxPool Flatten Gemm Softmax"
CNN_WITH_BOTH_SIGNS = "Reshape Conv MaxPool Conv Relu Flatten Gemm Softmax"

EXPECTED = {
    ("mlp", "positive"): MLP,
    ("mlp", "mixed"): MLP,
    ("mlp", "negative"): MLP,
    ("mlp", "zero"): MLP,
    ("mlp", "zero and negative"): MLP,
    ("mlp", "dead"): MLP,
    ("mlp", "dead and mixed"): MLP,
    ("cnn", "positive"): CNN,
    ("cnn", "mixed"): CNN_WITH_BOTH_SIGNS,
    ("cnn", "negative"): CNN_WITH_CLIP,
    ("cnn", "zero"): CNN,
    ("cnn", "zero and negative"): CNN_WITH_CLIP,
    ("cnn", "dead"): CNN,
    ("cnn", "dead and mixed"): CNN_WITH_BOTH_SIGNS,
}


def assert_as_exact_as_keras(model: Any, path: Path, architecture: str) -> None:
    """No further from float64 than 4 times Keras in float32, plus 16 roundings of a probability near 1."""
    x = keras_models.samples(architecture)
    truth, (keras,) = keras_models.in_float64(model, x), keras_models.in_keras(model, x)
    (actual,) = keras_models.in_onnxruntime(path, x)
    allowed = 4.0 * np.abs(keras - truth).max() + 16.0 * np.finfo(np.float32).eps
    assert np.abs(actual - truth).max() <= allowed
    assert np.abs(actual - keras).max() <= 2.0 * allowed
    assert (actual.argmax(axis=1) == truth.argmax(axis=1)).all()


@pytest.mark.parametrize(("architecture", "signs"), EXPECTED)
def test_exactly_these_operators_and_exact(architecture: str, signs: str, tmp_path: Path) -> None:
    model, path = keras_models.textbook(architecture, signs), tmp_path / "model.onnx"
    report = edgebn.fold_export(model, path)
    assert keras_models.operators(path) == EXPECTED[architecture, signs] == " ".join(report.nodes)
    assert [fate.layers for fate in report.folded] == [("batch_normalization",)]
    assert report.kept == ()
    assert_as_exact_as_keras(model, path, architecture)


def test_a_weight_changed_by_one_percent_would_be_noticed(tmp_path: Path) -> None:
    model, path = keras_models.textbook("cnn", "mixed"), tmp_path / "model.onnx"
    edgebn.fold_export(model, path)
    kernel, bias = model.get_layer("conv").get_weights()
    kernel[1, 1, 0, 3] *= 1.01
    model.get_layer("conv").set_weights([kernel, bias])
    with pytest.raises(AssertionError):
        assert_as_exact_as_keras(model, path, "cnn")


def test_channels_that_are_all_zero_cost_nothing(tmp_path: Path) -> None:
    model = keras_models.textbook("mlp")
    norm = model.get_layer("batch_normalization")
    norm.set_weights([np.zeros(64), *norm.get_weights()[1:]])
    report = edgebn.fold_export(model, tmp_path / "model.onnx")
    assert len(report.nodes) <= 4
    assert_as_exact_as_keras(model, tmp_path / "model.onnx", "mlp")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, dict[str, Path]]]:
    """Both models, and each as a `.keras` file, an `.h5` file and a SavedModel folder."""
    folder, models = tmp_path_factory.mktemp("saved"), {}
    for architecture, signs in (("mlp", "mixed"), ("cnn", "positive")):
        model = keras_models.textbook(architecture, signs)
        paths = {kind: folder / f"{architecture}{suffix}" for kind, suffix in SUFFIXES.items()}
        model.save(paths["keras"])
        model.save(paths["h5"])
        model.export(paths["SavedModel"], verbose=False)
        models[architecture] = model, paths
    return models


SUFFIXES = {"keras": ".keras", "h5": ".h5", "SavedModel": ""}


@pytest.mark.parametrize("kind", SUFFIXES)
@pytest.mark.parametrize("architecture", ["mlp", "cnn"])
def test_every_format(architecture: str, kind: str, saved: Any, tmp_path: Path) -> None:
    model, paths = saved[architecture]
    report = edgebn.fold_export(paths[kind], tmp_path / "model.onnx")
    assert " ".join(report.nodes) == {"mlp": MLP, "cnn": CNN}[architecture]
    assert [fate.layers for fate in report.folded] == [("batch_normalization",)]
    assert list(report.inputs) == ["image"]
    # a SavedModel forgets what Keras called its outputs
    assert list(report.outputs) == ["output" if kind == "SavedModel" else "probabilities"]
    assert_as_exact_as_keras(model, tmp_path / "model.onnx", architecture)
    assert edgebn.verify(paths[kind], tmp_path / "model.onnx").passed


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("architecture", ["mlp", "cnn"])
def test_every_opset(architecture: str, opset: int, tmp_path: Path) -> None:
    model, path = keras_models.textbook(architecture), tmp_path / "model.onnx"
    report = edgebn.fold_export(model, path, opset=opset)
    written = onnx.load(path)
    assert [(entry.domain, entry.version) for entry in written.opset_import] == [("", opset)]
    assert report.opset == opset
    assert keras_models.operators(path) == {"mlp": MLP, "cnn": CNN}[architecture]
    assert_as_exact_as_keras(model, path, architecture)


@pytest.mark.parametrize("opset", [12, 19, -1, 18.0, "18"])
def test_no_other_opset(opset: Any, tmp_path: Path) -> None:
    with pytest.raises(edgebn.UsageError, match=f"opset {opset}: choose one from 13 to 18"):
        edgebn.fold_export("missing.keras", tmp_path / "model.onnx", opset=opset)


def test_names_and_shapes(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    edgebn.fold_export(keras_models.textbook("cnn"), path)
    graph = onnx.load(path).graph
    assert [(value.name, keras_models.extents(value)) for value in graph.input] == [("image", ["batch", 28, 28, 1])]
    assert [(value.name, keras_models.extents(value)) for value in graph.output] == [("probabilities", ["batch", 10])]
    inferred = onnx.shape_inference.infer_shapes(onnx.load(path), strict_mode=True).graph.value_info
    described = {value.name: keras_models.extents(value) for value in inferred}
    assert {described[node.output[0]][0] for node in graph.node[:-1]} == {"batch"}
    assert not graph.value_info
    assert [node.name for node in graph.node] == [
        "conv/Reshape",
        "conv/Conv",
        "conv/Relu",
        "max_pooling/MaxPool",
        "flatten/Flatten",
        "probabilities/Gemm",
        "probabilities/Softmax",
    ]
    assert [initializer.name for initializer in graph.initializer] == [
        "conv/Reshape/shape",
        "conv/Conv/kernel",
        "conv/Conv/bias",
        "probabilities/Gemm/kernel",
        "probabilities/Gemm/bias",
    ]


@pytest.mark.parametrize("count", [1, 3])
def test_any_batch_size_runs(count: int, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    edgebn.fold_export(keras_models.textbook("cnn"), path)
    (result,) = keras_models.in_onnxruntime(path, keras_models.samples("cnn", count))
    assert result.shape == (count, 10)


def test_conv_attributes_are_explicit(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    edgebn.fold_export(keras_models.textbook("cnn"), path)
    (conv,) = (node for node in onnx.load(path).graph.node if node.op_type == "Conv")
    assert {each.name: onnx.helper.get_attribute_value(each) for each in conv.attribute} == {
        "dilations": [1, 1],
        "group": 1,
        "kernel_shape": [3, 3],
        "pads": [0, 0, 0, 0],
        "strides": [1, 1],
    }


def test_metadata(saved: Any, tmp_path: Path) -> None:
    source, path = saved["cnn"][1]["keras"], tmp_path / "model.onnx"
    edgebn.fold_export(source, path)
    written = onnx.load(path)
    assert {entry.key: entry.value for entry in written.metadata_props} == {
        "edgebn.version": edgebn.__version__,
        "edgebn.source": "cnn.keras",
        "edgebn.source_sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
        "edgebn.folded": '["batch_normalization"]',
        "edgebn.kept": "[]",
    }
    assert (written.producer_name, written.producer_version) == ("edgebn", edgebn.__version__)
    assert written.graph.name == "cnn"
    assert str(tmp_path).encode() not in path.read_bytes()


def test_the_same_model_gives_the_same_bytes(saved: Any, tmp_path: Path) -> None:
    model, paths = saved["cnn"]
    for source in (model, *paths.values()):
        for name in ("first.onnx", "second.onnx"):
            edgebn.fold_export(source, tmp_path / name)
        assert (tmp_path / "first.onnx").read_bytes() == (tmp_path / "second.onnx").read_bytes()


def test_another_weight_gives_another_hash_of_a_model_in_memory(tmp_path: Path) -> None:
    model = keras_models.textbook("mlp")
    before = edgebn.fold_export(model, tmp_path / "model.onnx").source_sha256
    model.weights[0].assign(model.weights[0] + 1.0)
    assert edgebn.fold_export(model, tmp_path / "model.onnx").source_sha256 != before


IN_ANOTHER_PROCESS = """
import hashlib, sys
from pathlib import Path
import edgebn
from tests.exporting.models import nested, recurrent, same_padding

for model in (nested(), same_padding(), recurrent(), *sys.argv[2:]):
    edgebn.fold_export(model, sys.argv[1])
    print(hashlib.sha256(Path(sys.argv[1]).read_bytes()).hexdigest())
"""


def test_the_same_bytes_in_every_process(saved: Any, tmp_path: Path) -> None:
    # tf2onnx walks through sets of strings, and gives different graphs for the first three models with these two seeds
    arguments = [tmp_path / "model.onnx", saved["mlp"][1]["keras"], saved["cnn"][1]["keras"]]
    outputs = [
        subprocess.run(
            [sys.executable, "-c", IN_ANOTHER_PROCESS, *arguments],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=Path(__file__).parents[1],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for seed in ("1", "4")
    ]
    assert len(outputs[0]) == 5
    assert outputs[0] == outputs[1]
    edgebn.fold_export(saved["cnn"][1]["keras"], tmp_path / "model.onnx")
    assert hashlib.sha256((tmp_path / "model.onnx").read_bytes()).hexdigest() == outputs[0][4]


def test_statistics_that_are_no_statistics_are_left_where_they_are(tmp_path: Path) -> None:
    """A variance below −ε: no number in Keras, and none in the file; numpy's warnings would fail this test."""
    model = keras_models.textbook("mlp")
    (norm,) = [layer for layer in model.layers if hasattr(layer, "moving_variance")]
    norm.moving_variance.assign([-1.0, *np.ones(norm.moving_variance.shape[0] - 1)])
    report = edgebn.fold_export(model, tmp_path / "model.onnx")
    (kept,) = report.kept
    assert kept.health.smallest_variance == -1.0
    assert {stop.reason for stop in kept.stops} == {
        "a folded weight would not be finite in float32",
        "a threshold of the moved clip would not be finite in float32",
    }


def test_the_full_check_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr(onnx.checker, "check_model", lambda _, **options: asked.update(options))
    edgebn.fold_export(keras_models.textbook("mlp"), tmp_path / "model.onnx")
    assert asked == {"full_check": True}


def test_nothing_is_written_over_the_model_or_the_other_result(saved: Any, tmp_path: Path) -> None:
    source = saved["mlp"][1]["keras"]
    before = source.read_bytes()
    for out_path, report in ((source, None), (tmp_path / "a", tmp_path / "a"), (tmp_path / "a", source)):
        with pytest.raises(edgebn.UsageError, match="is read or written twice"):
            edgebn.fold_export(source, out_path, report=report)
    assert source.read_bytes() == before
    assert not list(tmp_path.iterdir())


def test_an_output_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(edgebn.UsageError, match="no such folder"):
        edgebn.fold_export("missing.keras", tmp_path / "folder" / "model.onnx")


def test_neither_a_model_nor_a_path(tmp_path: Path) -> None:
    with pytest.raises(edgebn.UsageError, match="dict: neither a Keras model nor a path to one"):
        edgebn.fold_export({}, tmp_path / "model.onnx")


REPORT = {
    "schema": "edgebn/export-report/1",
    "source": "cnn.keras",
    "source_sha256": str,
    "onnx_model": str,
    "onnx_sha256": str,
    "onnx_bytes": int,
    "opset": 18,
    "inputs": {"image": ["batch", 28, 28, 1]},
    "outputs": {"probabilities": ["batch", 10]},
    "nodes": CNN.split(),
    "nodes_before": 10,
    "folded": [
        {
            "node": "batch_normalization/Add",
            "layers": ["batch_normalization"],
            "health": {
                "channels": 32,
                "dead_channels": 0,
                "smallest_variance": float,
                "largest_scale": float,
                "amplifies": "conv/Relu",
                "negative_scales": 0,
                "zero_scales": 0,
            },
            "route": [
                {"law": "on through a maximum", "at": "max_pooling/MaxPool", "absorbs": False},
                {"law": "on through Reshape", "at": "flatten/Flatten", "absorbs": False},
                {"law": "into the next MatMul", "at": "probabilities/Gemm", "absorbs": True},
            ],
        }
    ],
    "kept": [],
    "notes": [],
    "versions": dict.fromkeys(
        ["edgebn", "keras", "numpy", "onnx", "onnx-ir", "onnxruntime", "tensorflow", "tf2onnx"], str
    ),
    "tuning": None,
    "precision": None,
}


def matches(value: Any, golden: Any) -> bool:
    """Whether a JSON value is the golden one, in which a type stands for any value of it. Keys in the same order."""
    if isinstance(golden, type):
        return isinstance(value, golden)
    if isinstance(golden, dict):
        return list(value) == list(golden) and all(matches(value[key], golden[key]) for key in golden)
    if isinstance(golden, list):
        return len(value) == len(golden) and all(map(matches, value, golden))
    return bool(value == golden)


def test_report(saved: Any, tmp_path: Path) -> None:
    path, report_path = tmp_path / "model.onnx", tmp_path / "report.json"
    report = edgebn.fold_export(saved["cnn"][1]["keras"], path, report=report_path)
    written = json.loads(report_path.read_text("utf-8"))
    assert report_path.read_text("utf-8") == report.to_json()
    assert matches(written, REPORT)
    assert written["onnx_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert written["onnx_bytes"] == path.stat().st_size
    assert written["versions"] == {package: metadata.version(package) for package in REPORT["versions"]}
    assert report.folded[0].into == ("probabilities/Gemm",)


def test_nothing_is_written_over_a_part_of_the_model(saved: Any, tmp_path: Path) -> None:
    folder = saved["mlp"][1]["SavedModel"]
    with pytest.raises(edgebn.UsageError, match="is a part of the model"):
        edgebn.fold_export(folder, Path(folder) / "saved_model.pb")
    edgebn.fold_export(saved["mlp"][1]["keras"], tmp_path / "plain.onnx")
    external = {"save_as_external_data": True, "location": "weights.bin", "size_threshold": 0}
    onnx.save(onnx.load(tmp_path / "plain.onnx"), tmp_path / "model.onnx", **external)
    with pytest.raises(edgebn.UsageError, match="is a part of the model"):
        edgebn.fold_export(tmp_path / "model.onnx", tmp_path / "weights.bin")
