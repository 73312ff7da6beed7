"""verify passes on the right file, fails on every planted fault, and says by how much."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import numpy_helper

import edgebn
from edgebn import backends
from edgebn.cli import main
from edgebn.report import Verdict
from edgebn.verifying.sessions import EVALUATOR, LEVELS
from tests import keras_models
from tests.exporting import models
from tests.test_pipeline import matches

Constants = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, Path]]:
    """Both models with γ of both signs, and their right files."""
    folder, pairs = tmp_path_factory.mktemp("exported"), {}
    for architecture in ("mlp", "cnn"):
        model, path = keras_models.textbook(architecture, "mixed"), folder / f"{architecture}.onnx"
        edgebn.fold_export(model, path)
        pairs[architecture] = model, path
    return pairs


@pytest.mark.parametrize("signs", keras_models.SIGNS)
@pytest.mark.parametrize("architecture", ["mlp", "cnn"])
def test_the_right_file_passes(architecture: str, signs: str, tmp_path: Path) -> None:
    model = keras_models.textbook(architecture, signs, seed=2)
    edgebn.fold_export(model, tmp_path / "model.onnx")
    verdict = edgebn.verify(model, tmp_path / "model.onnx")
    assert verdict.passed
    assert verdict.changed_labels == 0
    assert [each.samples for each in verdict.decisions] == [1000]
    assert all(each.error is not None for each in verdict.comparisons if each.required)


def test_the_right_file_of_a_saved_model_with_dead_channels_passes(tmp_path: Path) -> None:
    keras_models.textbook("cnn", "dead", seed=1).export(tmp_path / "saved", verbose=False)
    edgebn.fold_export(tmp_path / "saved", tmp_path / "model.onnx")
    assert edgebn.verify(tmp_path / "saved", tmp_path / "model.onnx").passed


def test_there_is_a_truth_for_a_model_that_takes_images_of_any_size(tmp_path: Path) -> None:
    model = models.any_size()
    edgebn.fold_export(model, tmp_path / "model.onnx")
    verdict = edgebn.verify(model, tmp_path / "model.onnx")
    assert all(each.error is not None for each in verdict.comparisons if each.required)
    assert verdict.passed
    assert {"normal", "normal, 45 long"} <= {each.probe for each in verdict.comparisons}


def edited(path: Path, target: Path, edit: Callable[[Constants], None]) -> Path:
    """A copy of the file in which `edit` has changed the constants."""
    proto = onnx.load(path)
    constants = {each.name: numpy_helper.to_array(each).copy() for each in proto.graph.initializer}
    edit(constants)
    for each in proto.graph.initializer:
        each.CopyFrom(numpy_helper.from_array(constants[each.name], each.name))
    onnx.save(proto, target)
    return target


def a_weight(name: str) -> Callable[[Constants], None]:
    def edit(constants: Constants) -> None:
        kernel = constants[f"{name}/kernel"]
        kernel[np.unravel_index(np.abs(kernel).argmax(), kernel.shape)] *= 1.01

    return edit


def a_bias(name: str) -> Callable[[Constants], None]:
    def edit(constants: Constants) -> None:
        bias = constants[f"{name}/bias"]
        bias[3] += 1e-3 * np.abs(bias).max()

    return edit


def channel_swap(name: str, axis: int) -> Callable[[Constants], None]:
    """Two output channels change places, in kernel and bias."""

    def edit(constants: Constants) -> None:
        for part, along in (("kernel", axis), ("bias", 0)):
            array = constants[f"{name}/{part}"]
            order = np.arange(array.shape[along])
            order[[0, 1]] = [1, 0]
            constants[f"{name}/{part}"] = array.take(order, along)

    return edit


IN_THE_FILE = [
    ("mlp", a_weight("dense/Gemm")),
    ("mlp", a_weight("probabilities/Gemm")),
    ("mlp", a_bias("dense/Gemm")),
    ("mlp", a_bias("probabilities/Gemm")),
    ("mlp", channel_swap("dense/Gemm", 1)),
    ("mlp", channel_swap("probabilities/Gemm", 1)),
    ("cnn", a_weight("conv/Conv")),
    ("cnn", a_weight("probabilities/Gemm")),
    ("cnn", a_bias("conv/Conv")),
    ("cnn", a_bias("probabilities/Gemm")),
    ("cnn", channel_swap("conv/Conv", 0)),
    ("cnn", channel_swap("probabilities/Gemm", 1)),
]


@pytest.mark.parametrize(("architecture", "edit"), IN_THE_FILE)
def test_a_fault_in_the_file_is_found(
    architecture: str, edit: Callable[[Constants], None], exported: Any, tmp_path: Path
) -> None:
    model, path = exported[architecture]
    assert_fails(edgebn.verify(model, edited(path, tmp_path / "wrong.onnx", edit)))


def assert_fails(verdict: Verdict) -> None:
    """It fails at every level of optimisation, and on digits as well as on random inputs."""
    assert not verdict.passed
    failed = [each for each in verdict.comparisons if not each.passed and each.threads]
    assert {each.optimisation for each in failed} == set(LEVELS)
    assert {each.probe for each in failed} >= {"data", "normal"}
    assert (
        verdict.max_abs
        == max(each.difference.max_abs for each in verdict.comparisons if each.required and not each.is_of_logits)
        > 0.0
    )
    assert verdict.used > 1.0


def forgotten_epsilon(model: Any) -> Any:
    model.get_layer("batch_normalization").epsilon = 0.0
    return model


def dropped_sign(model: Any) -> Any:
    gamma = model.get_layer("batch_normalization").gamma
    gamma.assign(np.abs(gamma))
    return model


def forgotten_mean(model: Any) -> Any:
    mean = model.get_layer("batch_normalization").moving_mean
    mean.assign(np.zeros(mean.shape))
    return model


def wrong_side_of_the_relu(model: Any) -> Any:
    """BatchNormalization and ReLU change places."""
    layers, relu = keras_models.layers(), keras_models.layers().ReLU
    first, norm = model.layers[0], model.get_layer("batch_normalization")
    if model.name == "mlp":
        chain = [first, relu(), norm]
    else:
        chain = [layers.Conv2D(32, 3, name="conv"), norm, relu(), *model.layers[2:-1]]
    twin = backends.keras().Sequential([backends.keras().Input(model.inputs[0].shape[1:]), *chain, model.layers[-1]])
    twin.set_weights(model.get_weights())
    return twin


FAULTS = [forgotten_epsilon, dropped_sign, forgotten_mean, wrong_side_of_the_relu]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
@pytest.mark.parametrize("architecture", ["mlp", "cnn"])
def test_a_fault_in_the_folding_is_found(architecture: str, fault: Callable[[Any], Any], tmp_path: Path) -> None:
    edgebn.fold_export(fault(keras_models.textbook(architecture, "mixed")), tmp_path / "wrong.onnx")
    assert_fails(edgebn.verify(keras_models.textbook(architecture, "mixed"), tmp_path / "wrong.onnx"))


def test_changed_labels_are_counted(exported: Any, tmp_path: Path) -> None:
    model, path = exported["mlp"]

    def rolled(constants: Constants) -> None:
        for part in ("kernel", "bias"):
            constants[f"probabilities/Gemm/{part}"] = np.roll(constants[f"probabilities/Gemm/{part}"], 1, axis=-1)

    verdict = edgebn.verify(model, edited(path, tmp_path / "wrong.onnx", rolled))
    assert not verdict.passed
    (decisions,) = verdict.decisions
    assert decisions.changed == decisions.real == decisions.samples == verdict.changed_labels == 1000
    assert decisions.ties == 0
    assert len(decisions.changes) == 20
    assert all(each.onnx_label == (each.reference_label + 1) % 10 for each in decisions.changes)


def test_the_command_fails_with_exit_code_1(exported: Any, tmp_path: Path) -> None:
    model, path = exported["mlp"]
    model.save(tmp_path / "mlp.keras")
    wrong = edited(path, tmp_path / "wrong.onnx", a_weight("dense/Gemm"))
    for file, exit_code in ((path, 0), (wrong, 1)):
        assert CliRunner().invoke(main, ["verify", str(tmp_path / "mlp.keras"), str(file)]).exit_code == exit_code


def test_infinities_and_not_a_number_fail(exported: Any, tmp_path: Path) -> None:
    model, path = exported["mlp"]

    def poison(constants: Constants) -> None:
        constants["probabilities/Gemm/bias"][0] = np.nan

    verdict = edgebn.verify(model, edited(path, tmp_path / "wrong.onnx", poison))
    assert not any(each.passed for each in verdict.comparisons if each.required)
    assert verdict.max_abs == np.inf
    assert json.loads(verdict.to_json())["max_abs"] == "inf"


def test_the_seed_decides_the_random_inputs(exported: Any) -> None:
    first, again, other = (edgebn.verify(*exported["mlp"], seed=seed) for seed in (1, 1, 2))
    numbers = [[(each.difference, each.scale) for each in verdict.comparisons] for verdict in (first, again, other)]
    assert numbers[0] == numbers[1] != numbers[2]
    assert other.seed == 2


def test_what_is_run(exported: Any) -> None:
    verdict = edgebn.verify(*exported["mlp"])
    runs = {(each.probe, each.optimisation, each.threads, each.batch_size) for each in verdict.comparisons}
    random = {"normal", "uniform", "signed", "constants", "single elements", "border", "large", "tiny", "clip sides"}
    sizes = dict.fromkeys({*random, "not finite"}, (1, 2, 7, 32)) | {"huge": (32,), "data": (1, 256)}
    one = {(probe, level, 1, size) for probe, these in sizes.items() for level in LEVELS for size in these}
    two = {(probe, level, 2, these[-1]) for probe, these in sizes.items() for level in LEVELS}
    evaluated = {(probe, EVALUATOR, 0, 32) for probe in {*random, "huge", "not finite"}}
    assert runs == one | two | evaluated
    assert {each.probe for each in verdict.comparisons if each.threads and not each.required} == {"not finite"}
    others = {(level, threads) for level in LEVELS for threads in (1, 2)} - {("off", 1)} | {(EVALUATOR, 0)}
    assert {(each.optimisation, each.threads) for each in verdict.runtimes} == others
    assert verdict.clip_sides == (128, 128)


DISTANCE = {"max_abs": float, "relative": float, "ulps": float}
COMPARISON = {
    "output": str,
    "probe": str,
    "optimisation": str,
    "threads": int,
    "batch_size": int,
    "samples": int,
    "difference": DISTANCE,
    "error": DISTANCE,
    "reference_error": DISTANCE,
    "sensitivity": float,
    "scale": float,
    "channel": int,
    "tolerance": float,
    "used": float,
    "not_finite": int,
    "changed_labels": int,
    "required": bool,
    "passed": bool,
}
VERDICT = {
    "schema": "edgebn/verdict/2",
    "passed": True,
    "reference": "model",
    "reference_sha256": str,
    "onnx_model": "mlp.onnx",
    "onnx_sha256": str,
    "rule": "rounding",
    "rtol": None,
    "atol": None,
    "data": "mnist-mini",
    "seed": 0,
    "max_abs": float,
    "smallest_atol": float,
    "smallest_rtol": object,  # infinite, which is a string, where a small number was flushed to zero
    "used": float,
    "clip_sides": [128, 128],
    "decisions": list,
    "runtimes": list,
    "comparisons": list,
    "notes": [],
    "culprit": None,
    "cpu": str,
    "versions": dict,
}
DECISIONS = {
    "output": "probabilities",
    "samples": 1000,
    "reference_accuracy": float,
    "onnx_accuracy": float,
    "changed": 0,
    "ties": 0,
    "real": 0,
    "changes": [],
}


def test_verdict_as_json(exported: Any) -> None:
    verdict = json.loads(edgebn.verify(*exported["mlp"]).to_json())
    assert matches(verdict, VERDICT)
    assert [matches(each, DECISIONS) for each in verdict["decisions"]] == [True]
    assert verdict["versions"] == {
        package: metadata.version(package)
        for package in ("edgebn", "keras", "numpy", "onnx", "onnxruntime", "tensorflow")
    }
    runtime = {"output": "probabilities", "optimisation": str, "threads": int, "difference": DISTANCE}
    assert all(matches(each, runtime) for each in verdict["runtimes"])
    assert all(matches(each, COMPARISON) for each in verdict["comparisons"] if each["required"])


def test_a_layer_that_derives_state_from_its_weights_has_a_truth(tmp_path: Path) -> None:
    """A Normalization that was adapted: its float64 twin must be told to derive its mean and variance anew."""
    keras, path = backends.keras(), tmp_path / "model.onnx"
    normalization = keras.layers.Normalization()
    normalization.adapt(np.random.default_rng(0).normal(50.0, 20.0, (500, 8)).astype(np.float32))
    layers = [keras.Input((8,)), normalization, keras.layers.Dense(8, activation="relu"), keras.layers.Dense(3)]
    model = keras.Sequential(layers)
    edgebn.fold_export(model, path)
    verdict = edgebn.verify(model, path)
    assert verdict.passed
    assert all(each.tolerance <= 1e-4 * max(each.scale, 1e-3) for each in verdict.comparisons if each.required)
    wrong = edited(path, tmp_path / "wrong.onnx", lambda constants: scale_first_kernel(constants, 1.05))
    assert not edgebn.verify(model, wrong).passed


def scale_first_kernel(constants: Constants, factor: float) -> None:
    name = next(name for name, array in constants.items() if array.ndim == 2)
    constants[name] *= np.float32(factor)
