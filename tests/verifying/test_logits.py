"""A fault that softmax or sigmoid hides is found in the logits; what they truly do not see is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgebn
from edgebn import backends
from edgebn.report import Verdict
from tests import keras_models
from tests.folding.faults import FAULTS
from tests.verifying.test_mismatch import written
from tests.verifying.test_weak_spots import tampered

SCALE = 3000.0
PLAIN = "(float[n,8] x) => (float[n,5] y) { g = Gemm(x, k, b) y = Softmax<axis=1>(g) }"


def saturated(activation: str = "softmax", classes: int = 5) -> Any:
    """A hidden layer, and scores so large that one class has it all."""
    layers, x = keras_models.layers(), backends.keras().Input((8,), name="x")
    hidden = layers.BatchNormalization()(layers.Dense(16, name="hidden")(x))
    scores = layers.Dense(classes, activation=activation, name="scores")(layers.ReLU()(hidden))
    model = keras_models.functional(x, scores)
    rng = np.random.default_rng(3)
    for layer in model.layers:
        layer.set_weights(
            [rng.normal(1.0, SCALE, part.shape) if part.ndim > 1 else part for part in layer.get_weights()]
        )
    return model


def failing(verdict: Verdict) -> set[str]:
    return {each.output for each in verdict.comparisons if each.required and not each.passed}


def one_weight(kernel: np.ndarray) -> np.ndarray:
    kernel[0, 0] *= 1.01
    return kernel


@pytest.mark.parametrize(("activation", "classes"), [("softmax", 5), ("sigmoid", 1), ("sigmoid", 5)])
@pytest.mark.parametrize("form", ["keras", "onnx"])
def test_a_fault_behind_which_all_saturates(activation: str, classes: int, form: str, tmp_path: Path) -> None:
    model, path = saturated(activation, classes), tmp_path / "model.onnx"
    edgebn.fold_export(model, path)
    reference = model if form == "keras" else path
    right = edgebn.verify(reference, path)
    assert right.passed
    assert {each.output for each in right.comparisons} == {"scores", "logits of scores"}
    wrong = edgebn.verify(reference, tampered(path, "hidden/Gemm/kernel", one_weight))
    assert not wrong.passed
    assert failing(wrong) == {"logits of scores"}
    assert wrong.used > 1.0
    assert wrong.max_abs <= wrong.smallest_atol < 1e-3  # of the outputs themselves


def test_a_channel_that_is_never_probable(tmp_path: Path) -> None:
    """A class whose probability is 0 on all inputs: that it is another's in the file is a fault all the same."""
    model, path = saturated(), tmp_path / "model.onnx"
    layer = model.get_layer("scores")
    layer.set_weights([0.01 * layer.get_weights()[0], np.float32([0.0, 0.0, 0.0, 0.0, -1e5])])
    edgebn.fold_export(model, path)
    wrong = edgebn.verify(model, tampered(path, "scores/Gemm/bias", lambda bias: bias * np.float32([1, 1, 1, 1, 1.1])))
    assert failing(wrong) == {"logits of scores"}
    assert {each.channel for each in wrong.comparisons if not each.passed} == {4}


def test_a_shift_of_all_logits_is_no_fault_of_softmax(tmp_path: Path) -> None:
    model = saturated()
    edgebn.fold_export(model, tmp_path / "model.onnx")
    shifted = tampered(tmp_path / "model.onnx", "scores/Gemm/bias", lambda bias: bias + 1000.0)
    assert edgebn.verify(model, shifted).passed
    sigmoid = saturated("sigmoid")
    edgebn.fold_export(sigmoid, tmp_path / "model.onnx")
    shifted = tampered(tmp_path / "model.onnx", "scores/Gemm/bias", lambda bias: bias + 1000.0)
    assert not edgebn.verify(sigmoid, shifted).passed


def test_numpys_rule_is_that_of_the_outputs(tmp_path: Path) -> None:
    model, path = saturated(), tmp_path / "model.onnx"
    edgebn.fold_export(model, path)
    verdict = edgebn.verify(model, path, atol=1e-3)
    assert verdict.passed
    assert {each.output for each in verdict.comparisons} == {"scores"}


OTHERS = {
    "another axis": "(float[n,8] x) => (float[n,5] y) { g = Gemm(x, k, b) y = Softmax<axis=-1>(g) }",
    "behind Identity": PLAIN.replace(
        "y = Softmax<axis=1>(g)", "i = Identity(g) s = Softmax<axis=1>(i) y = Identity(s)"
    ),
    "another sum": PLAIN.replace("g = Gemm(x, k, b)", "m = MatMul(x, k) g = Add(m, b)"),
    "turned": PLAIN.replace(
        "y = Softmax<axis=1>(g)", "t = Transpose(g) s = Softmax<axis=0>(t) y = Transpose<perm=[1,0]>(s)"
    ),
}
WITHOUT = {
    "reshaped": PLAIN.replace("y = Softmax<axis=1>(g)", "s = Softmax<axis=1>(g) y = Reshape(s, five)"),
    "by its definition": PLAIN.replace(
        "y = Softmax<axis=1>(g)", "m = ReduceMax(g, one) d = Sub(g, m) e = Exp(d) s = ReduceSum(e, one) y = Div(e, s)"
    ),
    "not the last": PLAIN.replace("y = Softmax<axis=1>(g)", "s = Softmax<axis=1>(g) y = Mul(s, unit)"),
}
CONSTANTS: dict[str, np.ndarray] = {
    "k": np.random.default_rng(1).normal(0.0, SCALE, (8, 5)),
    "b": np.zeros(5),
    "one": np.array([1], np.int64),
    "five": np.array([-1, 5], np.int64),
    "unit": np.ones(5),
}


def pair(folder: Path, text: str, **changed: np.ndarray) -> Verdict:
    """A plain softmax against `text`, with other constants."""
    used = {name: array for name, array in {**CONSTANTS, **changed}.items() if name in text}
    plain = written(folder / "plain.onnx", PLAIN, k=CONSTANTS["k"], b=CONSTANTS["b"])
    return edgebn.verify(plain, written(folder / "other.onnx", text, **used))


@pytest.mark.parametrize("text", [*OTHERS.values(), *WITHOUT.values()], ids=[*OTHERS, *WITHOUT])
def test_the_same_written_in_another_way(text: str, tmp_path: Path) -> None:
    verdict = pair(tmp_path, text)
    assert verdict.passed
    shows = {each.output for each in verdict.comparisons} == {"y", "logits of y"}
    assert shows == (text in OTHERS.values())


@pytest.mark.parametrize("text", OTHERS.values(), ids=OTHERS)
def test_a_fault_in_a_file_of_another_tool(text: str, tmp_path: Path) -> None:
    assert pair(tmp_path, text, b=np.full(5, -7.0)).passed
    verdict = pair(tmp_path, text, b=np.float32([0.0, 0.0, 0.3, 0.0, 0.0]))
    assert "logits of y" in failing(verdict)


def test_an_activation_within_is_not_the_last(tmp_path: Path) -> None:
    """Logits are those of the output, not of a gate inside of the model."""
    text = "(float[n,8] x) => (float[n,5] y) { g = Gemm(x, k, b) s = Sigmoid(g) y = Mul(g, s) }"
    path = written(tmp_path / "model.onnx", text, k=CONSTANTS["k"], b=CONSTANTS["b"])
    verdict = edgebn.verify(path, path)
    assert verdict.passed
    assert {each.output for each in verdict.comparisons} == {"y"}


def test_a_softmax_over_pixels_and_one_over_classes(tmp_path: Path) -> None:
    """Two outputs in another order, of rank 3: each has its own axis along which a shift does not count."""
    layers, x = keras_models.layers(), backends.keras().Input((4, 6), name="x")
    left = layers.Softmax(axis=1, name="left")(layers.Dense(3, name="a")(x))
    right = layers.Dense(3, activation="softmax", name="right")(x)
    model, path = keras_models.functional(x, [left, right]), tmp_path / "model.onnx"
    edgebn.fold_export(model, path)
    verdict = edgebn.verify(model, path)
    assert verdict.passed
    assert {each.output for each in verdict.comparisons} == {"left", "right", "logits of left", "logits of right"}
    assert failing(edgebn.verify(model, tampered(path, "a/Add", lambda bias: bias + np.float32([3, 0, 0])))) == set()
    swapped = edgebn.verify(model, tampered(path, "right/Add", lambda bias: bias + np.float32([3, 0, 0])))
    assert failing(swapped) == {"right", "logits of right"}


def test_probabilities_that_the_file_adds(tmp_path: Path) -> None:
    model, path = saturated("linear"), tmp_path / "model.onnx"
    edgebn.fold_export(model, path, interface=edgebn.Interface(output="probabilities"))
    assert edgebn.verify(model, path).passed
    assert failing(edgebn.verify(model, tampered(path, "hidden/Gemm/kernel", one_weight))) == {
        "logits of probabilities"
    }


def test_a_wrong_fold_that_softmax_hides_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    next(fault for fault in FAULTS if fault.name == "into the previous MatMul: more_scale").plant(monkeypatch)
    with pytest.raises(
        edgebn.ConversionError, match=r"other logits of scores .* that of batch_normalization"
    ) as caught:
        edgebn.fold_export(saturated(), tmp_path / "model.onnx")
    assert "hidden/Gemm" in str(caught.value)
