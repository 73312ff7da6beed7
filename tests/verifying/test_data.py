"""Real data and decisions: any model's arrays from a file, in constant memory; who is right, and what changed."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgebn
from edgebn import backends
from edgebn.loading import Tensor
from edgebn.verifying.data import open_data
from edgebn.verifying.decisions import DecisionsTally
from edgebn.verifying.probes import Plan
from edgebn.verifying.tally import Expected, ExpectedTally
from tests import keras_models

INPUT = (Tensor("x", (None, 6), "float32"),)


def saved(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


@pytest.fixture(scope="module")
def model() -> Any:
    x = backends.keras().Input((6,), name="series")
    return keras_models.functional(x, keras_models.layers().Dense(3, activation="softmax", name="scores")(x))


def test_accuracy_on_the_callers_data(model: Any, tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(3000, 6)).astype(np.float32)
    labels = keras_models.in_keras(model, x)[0].argmax(axis=1)
    labels[:300] = (labels[:300] + 1) % 3
    edgebn.fold_export(model, tmp_path / "model.onnx")
    done: list[tuple[str, int]] = []
    data = saved(tmp_path / "own.npz", series=x, y=labels)
    known: list[int] = []
    called: dict[str, Any] = {"on_samples": lambda *given: done.append(given), "on_data": known.append}
    verdict = edgebn.verify(model, tmp_path / "model.onnx", data=data, **called)
    (decisions,) = verdict.decisions
    assert verdict.passed
    assert (decisions.samples, decisions.changed) == (3000, 0)
    assert decisions.reference_accuracy == decisions.onnx_accuracy == pytest.approx(0.9)
    assert [count for probe, count in done if probe == "data"] == [1024, 2048, 3000]
    assert known == [3000]


def test_a_fault_in_the_last_sample_is_found(tmp_path: Path) -> None:
    """What streams by is compared to its end: the file is wrong for large numbers only, and the last sample has one."""
    from tests.verifying.test_mismatch import written

    x = np.random.default_rng(0).normal(size=(2100, 6)).astype(np.float32)
    x[-1] = np.float32([1e8, 0, 0, 0, 0, 0])
    given = backends.keras().Input((6,), name="series")
    model = keras_models.functional(given, keras_models.layers().Dense(3, name="scores")(given))
    kernel, bias = model.get_layer("scores").get_weights()
    text = "(float[n,6] x) => (float[n,3] y) { c = Clip(x, low, high) y = Gemm(c, k, b) }"
    bounds = {"low": np.array(-1e6), "high": np.array(1e6)}
    path = written(tmp_path / "m.onnx", text, k=kernel, b=bias, **bounds)
    assert edgebn.verify(model, path, data=saved(tmp_path / "most.npz", x=x[:-1])).passed
    verdict = edgebn.verify(model, path, data=saved(tmp_path / "all.npz", x=x))
    assert {each.probe for each in verdict.comparisons if each.required and not each.passed} == {"data"}
    assert verdict.clip_sides == (6, 12)  # what nothing but the data reaches
    assert verdict.decisions[0].reference_accuracy is None


def test_memory_does_not_grow_with_the_samples(tmp_path: Path) -> None:
    peaks = []
    for count in (20_000, 200_000):
        path = saved(tmp_path / f"{count}.npz", x=np.zeros((count, 6), np.float32), y=np.zeros(count, np.int64))
        data = open_data("model", INPUT, path)
        assert data is not None
        assert data.samples == count
        tracemalloc.start()
        assert sum(chunk.samples for chunk in data.chunks(Plan(INPUT, {}))) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0] < 3_000_000


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no array": ({"z": np.zeros((3, 6))}, "has no array 'x' for the input x; it holds z"),
    "another shape": ({"x": np.zeros((3, 5))}, r"x has the shape \(3, 5\), but the input x takes \[batch, 6\]"),
    "another rank": ({"x": np.zeros((3, 6, 1))}, "x has the shape"),
    "no samples": ({"x": np.zeros((0, 6))}, "one at least; they have x 0"),
    "other labels": ({"x": np.zeros((3, 6)), "y": np.zeros(4, int)}, "same number of samples"),
    "text": ({"x": np.full((3, 6), "a")}, "x is <U1, the input x float32"),
    "Fortran": ({"x": np.asfortranarray(np.zeros((3, 6)))}, "no rows to read one after the other"),
    "a number": ({"x": np.float32(1.0)}, "no rows"),
    "pickled": ({"x": np.array([[{}] * 6])}, "pickled"),
}


@pytest.mark.parametrize("kind", BAD)
def test_data_that_do_not_fit(kind: str, tmp_path: Path) -> None:
    arrays, message = BAD[kind]
    with pytest.raises(edgebn.InputError, match=message):
        open_data("model", INPUT, saved(tmp_path / "own.npz", **arrays))


LABELS = np.array([2, 0, 1])
SPELLINGS = {
    "indices": LABELS.astype(np.uint8),
    "a column": LABELS.reshape(3, 1),
    "floats": LABELS.astype(np.float32),
    "one-hot": np.eye(3, dtype=np.float32)[LABELS],
    "one-hot integers": np.eye(3, dtype=np.int64)[LABELS],
    "one-hot booleans": np.eye(3, dtype=bool)[LABELS],
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_labels_in_every_spelling(spelling: str, tmp_path: Path) -> None:
    data = open_data("model", INPUT, saved(tmp_path / "own.npz", x=np.zeros((3, 6)), y=SPELLINGS[spelling]))
    assert data is not None
    ((_, labels),) = data.read()
    assert labels is not None
    assert labels.tolist() == LABELS.tolist()


NO_LABELS = {
    "fractions": (np.array([0.5, 1.0, 2.0]), r"y, float64 \(3,\)"),
    "not a number": (np.array([np.nan, 1.0, 2.0]), "float64"),
    "soft": (np.full((3, 2), 0.5, np.float32), r"float32 \(3, 2\)"),
    "several of one row": (np.ones((3, 2), int), r"int64 \(3, 2\)"),
    "text": (np.array(["a", "b", "c"]), "<U1"),
    "masks": (np.zeros((3, 6, 6), int), r"\(3, 6, 6\)"),
}


@pytest.mark.parametrize("kind", NO_LABELS)
def test_what_is_no_label_is_refused(kind: str, tmp_path: Path) -> None:
    labels, message = NO_LABELS[kind]
    path = saved(tmp_path / "own.npz", x=np.zeros((3, 6)), y=labels)
    with pytest.raises(edgebn.InputError, match=f"the labels .*{message}.*, are neither"):
        [*(open_data("model", INPUT, path) or pytest.fail("no data")).read()]


SCORES = (Tensor("scores", (None, 3), "float32"),)
INDEX = (Tensor("class", (None,), "int64"),)
OUT_OF_RANGE = {
    "counted from 1": (SCORES, np.arange(1, 4), "from 1 to 3, but must be 0 to 2 for the 3 classes of the output"),
    "far above": (SCORES, np.arange(10, 13), "from 10 to 12"),
    "one-hot rows of more": (SCORES, np.eye(4)[1:], "from 1 to 3"),
    "below 0": (SCORES, np.arange(-1, 2), "from -1 to 1"),
    "below 0, of an index": (INDEX, np.arange(-1, 2), "from -1 to 1, but must be counted from 0"),
}


@pytest.mark.parametrize("kind", OUT_OF_RANGE)
def test_labels_of_no_class_are_refused(kind: str, tmp_path: Path) -> None:
    outputs, labels, message = OUT_OF_RANGE[kind]
    path = saved(tmp_path / "own.npz", x=np.zeros((3, 6)), y=labels)
    with pytest.raises(edgebn.InputError, match=message):
        open_data("model", INPUT, path, outputs=outputs)


UNKNOWN = {
    "an index": INDEX,
    "a number": (Tensor("y", (None, 1), "float32"),),
    "any number of scores": (Tensor("y", (None, None), "float32"),),
    "several indices beside scores": (*SCORES, Tensor("best", (None, 5), "int64")),
    "as many of another output": (*SCORES, Tensor("more", (None, 13), "float32")),
}


@pytest.mark.parametrize("kind", UNKNOWN)
def test_labels_of_an_unknown_number_of_classes(kind: str, tmp_path: Path) -> None:
    path = saved(tmp_path / "own.npz", x=np.zeros((3, 6)), y=np.arange(10, 13))
    assert open_data("model", INPUT, path, outputs=UNKNOWN[kind]) is not None


def test_labels_are_held_against_the_models_own_classes(model: Any, tmp_path: Path) -> None:
    edgebn.fold_export(model, tmp_path / "model.onnx")
    data = saved(tmp_path / "own.npz", series=np.zeros((1030, 6)), y=np.r_[np.zeros(1029, int), 3])
    for reference in (model, tmp_path / "model.onnx"):
        with pytest.raises(edgebn.InputError, match="from 0 to 3, but must be 0 to 2"):
            edgebn.verify(reference, tmp_path / "model.onnx", data=data)


def test_an_input_that_is_called_as_labels_are(tmp_path: Path) -> None:
    inputs = (Tensor("y", (None, 6), "float32"),)
    data = open_data("model", inputs, saved(tmp_path / "own.npz", y=np.full((3, 6), 0.5)))
    assert data is not None
    assert [labels for _, labels in data.read()] == [None]


def test_ties_are_told_from_real_changes() -> None:
    scores = np.array([[0.5, 0.5 - 1e-8, 0.0], [0.9, 0.1, 0.0], [0.2, 0.3, 0.5]])
    expected = Expected(scores.astype(np.float32), scores, np.full(3, 1e-9))
    tally, decided = ExpectedTally(1e-2, 0.0), DecisionsTally("scores")
    tally.add(expected)
    actual = np.float32([[0.4, 0.6, 0.0], [0.1, 0.9, 0.0], [0.2, 0.3, 0.5]])
    decided.add(actual, expected, tally, np.array([1, 0, 2]))
    found = decided.decisions()
    assert (found.changed, found.ties, found.real) == (2, 1, 1)
    assert (found.reference_accuracy, found.onnx_accuracy) == (2 / 3, 2 / 3)
    assert [(each.sample, each.onnx_label, each.label, each.tie) for each in found.changes] == [
        (0, 1, 1, True),
        (1, 1, 0, False),
    ]
    assert found.changes[1].margin == pytest.approx(0.8)


@pytest.mark.parametrize("output", [None, "logits"])
def test_a_single_score_decides_as_well(output: str | None, tmp_path: Path) -> None:
    x = backends.keras().Input((6,), name="x")
    model = keras_models.functional(x, keras_models.layers().Dense(1, activation="sigmoid")(x))
    edgebn.fold_export(model, tmp_path / "model.onnx", interface=edgebn.Interface(output=output))
    samples = np.random.default_rng(0).normal(size=(500, 6)).astype(np.float32)
    labels = (keras_models.in_keras(model, samples)[0][:, 0] > 0.5).astype(int)
    assert 100 < labels.sum() < 400
    labels[:50] = 1 - labels[:50]
    data = saved(tmp_path / "own.npz", x=samples, y=labels)
    (decisions,) = edgebn.verify(model, tmp_path / "model.onnx", data=data).decisions
    assert decisions.reference_accuracy == decisions.onnx_accuracy == pytest.approx(0.9)
    assert (decisions.samples, decisions.changed) == (500, 0)


def test_a_single_number_decides_nothing(tmp_path: Path) -> None:
    x = backends.keras().Input((6,), name="x")
    model = keras_models.functional(x, keras_models.layers().Dense(1)(x))
    edgebn.fold_export(model, tmp_path / "model.onnx")
    data = saved(tmp_path / "own.npz", x=np.ones((5, 6), np.float32), y=np.ones(5, int))
    assert edgebn.verify(model, tmp_path / "model.onnx", data=data).decisions == ()


def test_the_margin_of_a_single_score_is_from_its_threshold() -> None:
    scores = np.array([[0.5 + 1e-7], [0.9], [0.2]])
    expected = Expected(scores.astype(np.float32), scores, np.full(1, 1e-9))
    tally, decided = ExpectedTally(1e-2, 0.0), DecisionsTally("probability", 0.5)
    tally.add(expected)
    decided.add(np.float32([[0.4], [0.1], [0.3]]), expected, tally, np.array([0, 1, 0]))
    found = decided.decisions()
    assert (found.changed, found.ties, found.real) == (2, 1, 1)
    assert (found.reference_accuracy, found.onnx_accuracy) == (2 / 3, 2 / 3)
    assert found.changes[1].margin == pytest.approx(0.4)


def test_labels_of_a_single_probability_are_two_and_those_of_another_score_are_not_known(tmp_path: Path) -> None:
    data, outputs = (
        saved(tmp_path / "own.npz", x=np.zeros((3, 6)), y=np.arange(3)),
        (Tensor("y", (None, 1), "float32"),),
    )
    assert open_data("model", INPUT, data, outputs=outputs) is not None
    x = backends.keras().Input((6,), name="x")
    dense = keras_models.layers().Dense(1, activation="sigmoid", name="probability")
    model = keras_models.functional(x, dense(x))
    edgebn.fold_export(model, tmp_path / "model.onnx")
    with pytest.raises(edgebn.InputError, match="from 0 to 2, but must be 0 to 1 for the 2 classes of the output"):
        edgebn.verify(model, tmp_path / "model.onnx", data=data)


def test_samples_that_are_not_finite_are_reported_and_do_not_decide(tmp_path: Path) -> None:
    given = backends.keras().Input((6,), name="x")
    hidden = keras_models.layers().ReLU()(keras_models.layers().Dense(5)(given))  # of NaN Keras makes 0 in float32
    model = keras_models.functional(given, keras_models.layers().Dense(3)(hidden))
    edgebn.fold_export(model, tmp_path / "model.onnx")
    x = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    x[3, 2], x[30, 0] = np.nan, np.inf
    verdict = edgebn.verify(model, tmp_path / "model.onnx", data=saved(tmp_path / "own.npz", x=x, y=np.zeros(40, int)))
    assert verdict.passed
    assert "2 samples of the data hold NaN or infinity; what comes of them does not decide" in verdict.notes
    assert max(each.samples for each in verdict.comparisons if each.probe == "data") == 38
    assert {each.required for each in verdict.comparisons if each.probe == "data, not finite"} == {False}
    assert verdict.decisions[0].samples == 38
