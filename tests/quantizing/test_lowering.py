"""fold_export in fewer bits: what it needs, what it says of the file, and that the same gives the same bytes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import edgebn
from edgebn import backends
from edgebn.benching import contents
from edgebn.quantizing.integers import in_integers
from tests import command_line, keras_models
from tests.conftest import Trained


@pytest.fixture(autouse=True)
def least(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "SECONDS", 0.0)


def run(path: Path, x: np.ndarray) -> np.ndarray:
    return keras_models.in_onnxruntime(path, x)[0]


def npz(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def test_int8_needs_data(trained: Trained, tmp_path: Path) -> None:
    with pytest.raises(edgebn.UsageError, match="give --data"):
        edgebn.fold_export(trained.keras, tmp_path / "model.onnx", precision="int8")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "int4"}, "choose one of fp32, fp16, int8"),
        ({"data": "mnist-mini"}, "verify --data"),
        ({"precision": "fp16", "golden": 1}, "--golden holds for equal files"),
        ({"precision": "fp16", "certificate": "certificate.json"}, "--certificate holds for equal files"),
    ],
)
def test_what_makes_no_sense_is_refused(
    options: dict[str, Any], message: str, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(edgebn.UsageError, match=message):
        edgebn.fold_export(trained.keras, "model.onnx", **options)
    assert list(tmp_path.iterdir()) == []


def test_options_that_exclude_each_other_are_named_before_what_lies_in_the_folder(
    trained: Trained, tmp_path: Path
) -> None:
    (tmp_path / "test_data_set_5").mkdir()
    with pytest.raises(edgebn.UsageError, match="--golden holds for equal files"):
        edgebn.fold_export(trained.keras, tmp_path / "model.onnx", precision="fp16", golden=1)


@pytest.mark.parametrize(("precision", "samples", "calibrated"), [("fp16", 10, 0), ("int8", 5, 5)])
def test_the_report_says_what_the_files_do(
    precision: str, samples: int, calibrated: int, trained: Trained, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.uniform(size=(10, 784)).astype(np.float32), rng.integers(0, 10, 10)
    data, path = npz(tmp_path / "data.npz", x=x, y=y), tmp_path / "model.onnx"
    report = edgebn.fold_export(trained.keras, path, precision=precision, data=data)
    found = report.precision
    assert found is not None
    assert (found.data, found.samples, found.calibrated_on) == ("data.npz", samples, calibrated)
    assert found.onnx_bytes == report.onnx_bytes == path.stat().st_size
    assert found.float32_bytes == trained.onnx.stat().st_size
    assert found.float32_sha256 == trained.report.onnx_sha256
    assert report.nodes[-1] == "Softmax"  # probabilities stay float32
    assert found.onnx_bytes < {"fp16": 0.55, "int8": 0.35}[precision] * found.float32_bytes
    if calibrated:
        x, y = x[1::2], y[1::2]
    float32, ours = run(trained.onnx, x), run(path, x)
    (change,) = found.outputs
    assert change.max_abs == pytest.approx(np.abs(ours - float32).max(), rel=1e-3)
    assert 0.0 < change.max_abs < {"fp16": 1e-3, "int8": 0.1}[precision]
    assert change.largest == pytest.approx(float32.max(), rel=1e-5)
    assert change.changed_labels == (ours.argmax(1) != float32.argmax(1)).sum()
    assert change.accuracy == (ours.argmax(1) == y).mean()
    assert change.float32_accuracy == (float32.argmax(1) == y).mean()


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_a_class_is_a_label(precision: str, trained: Trained, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.uniform(size=(40, 784)).astype(np.float32), rng.integers(0, 10, 40)
    data, path = npz(tmp_path / "data.npz", x=x, y=y), tmp_path / "model.onnx"
    wanted = edgebn.Interface(output="class")
    report = edgebn.fold_export(trained.keras, path, precision=precision, data=data, interface=wanted)
    if precision == "int8":
        x, y = x[1::2], y[1::2]
    float32, ours = run(trained.onnx, x).argmax(axis=1), run(path, x)
    assert report.precision is not None
    (change,) = report.precision.outputs
    assert change.changed_labels == (ours != float32).sum()
    assert (change.accuracy, change.float32_accuracy) == ((ours == y).mean(), (float32 == y).mean())


@pytest.mark.parametrize(("activation", "output"), [("sigmoid", None), ("sigmoid", "logits"), (None, None)])
def test_a_probability_alone_says_yes_or_no(activation: str | None, output: str | None, tmp_path: Path) -> None:
    keras, rng = backends.keras(), np.random.default_rng(0)
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((40,)), keras.layers.Dense(40, "relu"), keras.layers.Dense(1, activation=activation)]
    )
    x, y = rng.normal(size=(400, 40)).astype(np.float32), rng.integers(0, 2, 400)
    data, path = npz(tmp_path / "data.npz", x=x, y=y), tmp_path / "model.onnx"
    wanted = edgebn.Interface(output=output)
    edgebn.fold_export(model, tmp_path / "float32.onnx", interface=wanted)
    report = edgebn.fold_export(model, path, precision="int8", data=data, interface=wanted).precision
    assert report is not None
    (change,) = report.outputs
    if activation is None:  # a regression, of which nothing says where yes begins
        assert (change.changed_labels, change.accuracy, change.float32_accuracy) == (None, None, None)
        return
    half = 0.0 if output else 0.5
    ours, float32 = (run(each, x[1::2])[:, 0] > half for each in (path, tmp_path / "float32.onnx"))
    assert 10 < float32.sum() < 190
    assert change.changed_labels == (ours != float32).sum()
    assert (change.accuracy, change.float32_accuracy) == ((ours == y[1::2]).mean(), (float32 == y[1::2]).mean())


def test_calibration_keeps_what_the_data_reach(trained: Trained, tmp_path: Path) -> None:
    """Calibrated on what is a tenth of what it then meets, int8 clips; on the same range it does not."""
    x = np.random.default_rng(0).uniform(size=(64, 784)).astype(np.float32)
    errors = []
    for name, factor in (("alike", 1.0), ("small", 0.1)):
        data, path = npz(tmp_path / f"{name}.npz", x=factor * x), tmp_path / f"{name}.onnx"
        edgebn.fold_export(trained.keras, path, precision="int8", data=data)
        errors.append(np.abs(run(path, x) - run(trained.onnx, x)).mean())
    assert errors[1] > 3.0 * errors[0]


def test_without_labels_there_is_no_accuracy(trained: Trained, tmp_path: Path) -> None:
    data = npz(tmp_path / "data.npz", x=np.ones((2, 784), np.float32))
    report = edgebn.fold_export(trained.keras, tmp_path / "model.onnx", precision="int8", data=data)
    assert report.precision is not None
    assert (report.precision.samples, report.precision.calibrated_on) == (1, 1)
    assert report.precision.outputs[0].accuracy is None


def test_one_sample_can_not_calibrate_and_judge(trained: Trained, tmp_path: Path) -> None:
    data = npz(tmp_path / "data.npz", x=np.ones((1, 784), np.float32))
    with pytest.raises(edgebn.InputError, match=r"data\.npz: one sample; int8 takes one to be calibrated on, and"):
        edgebn.fold_export(trained.keras, tmp_path / "model.onnx", precision="int8", data=data)
    assert [path.name for path in tmp_path.iterdir()] == ["data.npz"]


def small(folder: Path) -> Path:
    """A model of which only the kernel of the first layer, 6 × 16, is worth a Cast."""
    keras = backends.keras()
    path = folder / "small.keras"
    keras.Sequential([keras.Input((6,)), keras.layers.Dense(16), keras.layers.Dense(2)]).save(path)
    return path


def test_weights_in_float16_make_no_file_larger(tmp_path: Path) -> None:
    report = edgebn.fold_export(small(tmp_path), tmp_path / "model.onnx", precision="fp16").precision
    assert report is not None
    assert report.onnx_bytes < report.float32_bytes
    assert not onnx.load(tmp_path / "model.onnx").graph.value_info


def test_the_command_line_warns_of_a_file_that_is_no_smaller(tmp_path: Path) -> None:
    data = npz(tmp_path / "data.npz", x=np.random.default_rng(0).normal(size=(2, 6)).astype(np.float32))
    options = ("--precision", "int8", "--data", data)
    result = command_line.run("fold-export", small(tmp_path), "-o", tmp_path / "model.onnx", *options)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "1 sample of data.npz, calibrated on 1 other, " in result.stdout
    assert "warning: int8 makes the file no smaller than float32 does" in result.stdout


@pytest.fixture(scope="module")
def of_any_size(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of images of any size from 40 × 40 on: 32 × 32 are too small for it."""
    keras = backends.keras()
    path = tmp_path_factory.mktemp("any") / "model.keras"
    layers = [keras.layers.Conv2D(4, 40), keras.layers.BatchNormalization(), keras.layers.GlobalAveragePooling2D()]
    keras.Sequential([keras.Input((None, None, 3)), *layers]).save(path)
    return path


@pytest.mark.parametrize("options", [{"tune": True}, {"precision": "fp16"}, {"precision": "int8", "data": True}])
def test_extents_that_vary_are_such_that_the_model_runs(
    options: dict[str, Any], of_any_size: Path, tmp_path: Path
) -> None:
    if "data" in options:
        x = np.random.default_rng(0).uniform(size=(4, 41, 43, 3)).astype(np.float32)
        options = {**options, "data": npz(tmp_path / "data.npz", x=x)}
    report = edgebn.fold_export(of_any_size, tmp_path / "model.onnx", **options)
    assert report.precision is None or report.precision.outputs[0].max_abs > 0.0
    assert report.inputs == {"input": ("batch", "height", "width", 3)}


def test_a_model_of_no_known_data_is_compared_on_random_numbers(tmp_path: Path) -> None:
    keras = backends.keras()
    model = keras.Sequential([keras.Input((16, 8, 3)), keras.layers.Conv2D(16, 3), keras.layers.Flatten()])
    report = edgebn.fold_export(model, tmp_path / "model.onnx", precision="fp16")
    assert report.precision is not None
    assert (report.precision.data, report.precision.samples) == (None, 32)
    assert 0.0 < report.precision.outputs[0].max_abs < 0.01


@pytest.mark.parametrize(("precision", "given", "compared"), [("fp16", 3, 3), ("fp16", 11, 11), ("int8", 6, 3)])
def test_a_fixed_batch_that_the_data_do_not_fill(precision: str, given: int, compared: int, tmp_path: Path) -> None:
    keras = backends.keras()
    first = keras.Input((9,), batch_size=8)
    model = keras_models.functional(first, keras.layers.Dense(40)(keras.layers.Dense(40, activation="relu")(first)))
    rng = np.random.default_rng(0)
    data = npz(tmp_path / "data.npz", x=rng.standard_normal((given, 9)), y=rng.integers(0, 40, given))
    report = edgebn.fold_export(model, tmp_path / "model.onnx", precision=precision, data=data).precision
    assert report is not None
    assert (report.samples, report.calibrated_on) == (compared, given - compared)
    assert report.outputs[0].max_abs > 0.0
    assert report.outputs[0].accuracy is not None


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_the_same_bytes_in_another_process_and_nothing_left_behind(
    precision: str, trained: Trained, tmp_path: Path, digits_file: Path
) -> None:
    written = []
    for number in ("1", "2"):
        folder, temporary = tmp_path / number, tmp_path / f"temporary{number}"
        folder.mkdir()
        temporary.mkdir()
        environment = {**os.environ, "PYTHONHASHSEED": number, "TMPDIR": str(temporary)}
        options = ("-o", "model.onnx", "--precision", precision, "--data", digits_file, "--no-verify")
        result = command_line.process(
            "python -m edgebn", "fold-export", trained.onnx, *options, folder=folder, environment=environment
        )
        assert (result.exit_code, result.stderr) == (0, "")
        assert {path.name for path in temporary.iterdir()} <= {".ses"}  # which onnxruntime leaves
        written.append((folder / "model.onnx").read_bytes())
    assert written[0] == written[1]


def test_the_file_says_who_made_it(trained: Trained, tmp_path: Path) -> None:
    edgebn.fold_export(trained.keras, tmp_path / "model.onnx", precision="int8", data="mnist-mini")
    float32, int8 = onnx.load(trained.onnx), onnx.load(tmp_path / "model.onnx")
    assert int8.producer_name == "edgebn"
    assert {each.key: each.value for each in int8.metadata_props} == {
        each.key: each.value for each in float32.metadata_props
    }
    assert [each.domain for each in int8.opset_import] == [""]


def test_verify_says_that_it_differs_and_by_how_much(trained: Trained, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    edgebn.fold_export(trained.keras, path, precision="fp16")
    verdict = edgebn.verify(trained.keras, path)
    assert not verdict.passed
    assert verdict.max_abs > 1e-5
    assert edgebn.verify(trained.keras, path, atol=2.0 * verdict.smallest_atol).passed


def test_what_is_quantized_already_is_refused(trained: Trained, tmp_path: Path) -> None:
    edgebn.fold_export(trained.onnx, tmp_path / "int8.onnx", precision="int8", data="mnist-mini")
    with pytest.raises(edgebn.ConversionError, match=r"int8\.onnx: is quantized already; give the model in float32"):
        edgebn.fold_export(tmp_path / "int8.onnx", tmp_path / "again.onnx", precision="int8", data="mnist-mini")
    assert [path.name for path in tmp_path.iterdir()] == ["int8.onnx"]


def test_what_can_not_be_quantized_is_refused(trained: Trained) -> None:
    with pytest.raises(edgebn.ConversionError, match="can not quantize it"):
        in_integers("model", trained.onnx.read_bytes(), iter(()))


def test_the_command_line_shows_both_side_by_side(trained: Trained, tmp_path: Path) -> None:
    result = command_line.run(
        "fold-export", trained.keras, "-o", tmp_path / "model.onnx", "--precision", "int8", "--data", "mnist-mini"
    )
    assert (result.exit_code, result.stderr) == (0, "")
    assert "int8 beside float32" in result.stdout
    assert "500 samples of mnist-mini, calibrated on 500 others, probabilities: off by" in result.stdout
    assert "accuracy" in result.stdout
    assert "changed labels" in result.stdout
