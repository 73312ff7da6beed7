"""The committed models: the card, the record and the golden vectors say the truth about the files beside them."""

from __future__ import annotations

import hashlib
import json
import re
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import edgebn
from edgebn import backends
from tests import keras_models

MODELS = Path(__file__).parents[1] / "models"
NAMES = ("mlp", "cnn")
OPERATORS = {"mlp": "Gemm Relu Gemm Softmax", "cnn": "Reshape Conv Relu MaxPool Flatten Gemm Softmax"}
ACCURACY = {"mlp": 0.965, "cnn": 0.965}
MNIST = MODELS.parents[1] / "shared" / "data" / "mnist.npz"
ABSOLUTE = re.compile(r"(?:^|[\s\"'`(=])(/(?:[\w.-]+/)+[\w.-]*|[A-Za-z]:\\)")

pytestmark = pytest.mark.parametrize("name", NAMES)


def file(name: str, suffix: str) -> Path:
    return MODELS / name / f"{name}{suffix}"


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def card(name: str) -> dict[str, str]:
    """The rows of the table in the model's README."""
    return dict(re.findall(r"^\| ([^|]+) \| (.+) \|$", (MODELS / name / "README.md").read_text("utf-8"), re.MULTILINE))


def record(name: str) -> dict[str, Any]:
    return dict(json.loads(file(name, ".training.json").read_text("utf-8")))


def golden(name: str, part: str) -> tuple[str, np.ndarray]:
    """The name and value of a tensor of the standard test data set."""
    tensor = onnx.TensorProto.FromString((MODELS / name / "test_data_set_0" / f"{part}_0.pb").read_bytes())
    return tensor.name, numpy_helper.to_array(tensor)


def test_the_file_gives_the_golden_outputs(name: str) -> None:
    (input_name, x), (output_name, expected) = golden(name, "input"), golden(name, "output")
    graph = onnx.load(file(name, ".onnx")).graph
    assert ([value.name for value in graph.input], [value.name for value in graph.output]) == (
        [input_name],
        [output_name],
    )
    assert x.dtype == expected.dtype == np.float32
    assert expected.shape == (10, 10)
    for rows in (slice(None), slice(3, 4)):
        (actual,) = keras_models.in_onnxruntime(file(name, ".onnx"), x[rows])
        assert np.abs(actual - expected[rows]).max() <= 1e-5  # what the card promises


def test_the_golden_inputs_are_one_digit_of_each_class(name: str) -> None:
    _, x = golden(name, "input")
    _, expected = golden(name, "output")
    assert x.min() == 0.0
    assert x.max() == 1.0
    assert (np.abs(expected.sum(axis=1) - 1.0) <= 1e-6).all()
    assert (expected.argmax(axis=1) == np.arange(10)).sum() >= 9  # the models are right on 29 of 30


def test_a_golden_output_of_another_class_would_be_noticed(name: str) -> None:
    _, expected = golden(name, "output")
    assert np.abs(np.roll(expected, 1, axis=0) - expected).max() > 0.5


def test_the_golden_outputs_are_those_of_the_keras_model_in_float64(name: str) -> None:
    model = backends.keras().saving.load_model(file(name, ".keras"), compile=False)
    exact = keras_models.in_float64(model, golden(name, "input")[1])
    assert np.abs(golden(name, "output")[1] - exact).max() <= 2.0**-24  # rounded once


def test_the_card_agrees_with_the_files(name: str) -> None:
    rows, onnx_file, keras_file = card(name), file(name, ".onnx"), file(name, ".keras")
    assert rows[f"SHA-256 of {name}.onnx"] == f"`{sha256(onnx_file)}`"
    assert rows[f"SHA-256 of {name}.keras"] == f"`{sha256(keras_file)}`"
    assert rows["size"] == f"{name}.onnx {onnx_file.stat().st_size:,} bytes"
    assert rows["operators"].replace(" → ", " ") == keras_models.operators(onnx_file) == OPERATORS[name]
    graph = onnx.load(onnx_file).graph
    for role, value in (("input", graph.input[0]), ("output", graph.output[0])):
        shape = ", ".join(map(str, keras_models.extents(value)))
        assert rows[role].startswith(f"`{value.name}`, float32 [{shape}]")


def test_the_card_agrees_with_the_record(name: str) -> None:
    page, training = (MODELS / name / "README.md").read_text("utf-8"), record(name)
    assert training["schema"] == "edgebn/training-record/1"
    assert training["model_sha256"] == sha256(file(name, ".keras"))
    assert (training["train_samples"], training["test_samples"], training["epochs"]) == (60_000, 10_000, 5)
    assert card(name)["test accuracy"].startswith(f"{training['test_accuracy']:.2%} of ")
    assert training["test_accuracy"] >= ACCURACY[name]
    assert training["data_sha256"] in page
    for key, text in (("epochs", "{} epochs"), ("batch_size", "batch size {}"), ("seed", "seed {}")):
        assert text.format(training[key]) in page
    for package in ("edgebn", "keras", "tensorflow"):
        assert training["versions"][package] in page


def test_no_path_of_the_machine_that_made_them(name: str) -> None:
    for text in (file(name, ".training.json"), MODELS / name / "README.md"):
        assert ABSOLUTE.findall(text.read_text("utf-8")) == []
    assert record(name)["data"] == "mnist.npz"
    for binary in (file(name, ".onnx"), file(name, ".keras")):
        assert re.findall(rb"/(?:home|root|tmp|usr|var|work|Users)/", binary.read_bytes()) == []


def test_small_enough_to_commit(name: str) -> None:
    sizes = {each.name: each.stat().st_size for each in (MODELS / name).rglob("*") if each.is_file()}
    assert set(sizes) == {
        "README.md",
        f"{name}.keras",
        f"{name}.onnx",
        f"{name}.training.json",
        "input_0.pb",
        "output_0.pb",
    }
    assert max(sizes.values()) < 2_000_000


def test_the_file_is_what_fold_export_makes_of_the_keras_model(name: str, tmp_path: Path) -> None:
    remade, committed = tmp_path / "model.onnx", file(name, ".onnx")
    edgebn.fold_export(file(name, ".keras"), remade)
    made_with = record(name)["versions"]
    if all(metadata.version(package) == version for package, version in made_with.items()):
        assert remade.read_bytes() == committed.read_bytes()
    assert keras_models.operators(remade) == keras_models.operators(committed)
    _, x = golden(name, "input")
    (actual,), (expected,) = (keras_models.in_onnxruntime(path, x) for path in (remade, committed))
    assert np.abs(actual - expected).max() <= 1e-6


def test_its_metadata_names_the_keras_model(name: str) -> None:
    entries = {entry.key: entry.value for entry in onnx.load(file(name, ".onnx")).metadata_props}
    assert entries["edgebn.source"] == f"{name}.keras"
    assert entries["edgebn.source_sha256"] == sha256(file(name, ".keras"))
    assert json.loads(entries["edgebn.folded"]) == ["batch_normalization"]
    assert json.loads(entries["edgebn.kept"]) == []
    assert json.loads(entries["edgebn.labels"]) == list("0123456789")
    assert (entries["Image.BitmapPixelFormat"], entries["Image.NominalPixelRange"]) == ("Gray8", "Normalized_0_1")


@pytest.mark.skipif(not MNIST.is_file(), reason="the full MNIST set is not here: ../shared/data/mnist.npz")
def test_no_label_changes_on_all_test_digits(name: str) -> None:
    verdict = edgebn.verify(file(name, ".keras"), file(name, ".onnx"), data=str(MNIST))
    assert verdict.passed
    (decisions,) = verdict.decisions
    assert (decisions.changed, decisions.samples) == (0, 10_000)
    assert decisions.onnx_accuracy == decisions.reference_accuracy == round(record(name)["test_accuracy"], 4)
