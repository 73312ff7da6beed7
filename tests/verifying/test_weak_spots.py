"""What a verifier easily overlooks: small channels, rows of tables, numbers that are none, sizes that may vary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import edgebn
from edgebn import backends
from edgebn.verifying.compare import EPSILON
from edgebn.verifying.reference import largest_moves
from edgebn.verifying.tally import Expected, ExpectedTally, Rule, Tally
from tests import keras_models
from tests.verifying.test_mismatch import written


def tampered(path: Path, name: str, change: Any) -> Path:
    """A copy in which the constant whose name contains `name` is changed."""
    model = onnx.load(path)
    (tensor,) = (each for each in model.graph.initializer if name in each.name)
    array = numpy_helper.to_array(tensor).copy()
    tensor.CopyFrom(numpy_helper.from_array(np.asarray(change(array), array.dtype), tensor.name))
    wrong = path.with_name("wrong.onnx")
    onnx.save(model, wrong)
    return wrong


def test_a_wrong_small_column_beside_a_large_one_is_found(tmp_path: Path) -> None:
    image = backends.keras().Input((6,), name="image")
    model = keras_models.functional(image, keras_models.layers().Dense(2, name="scores")(image))
    layer = model.get_layer("scores")
    layer.set_weights([weight * np.float32([1e4, 1e-3]) for weight in layer.get_weights()])
    edgebn.fold_export(model, tmp_path / "model.onnx")
    wrong = tampered(tmp_path / "model.onnx", "kernel", lambda kernel: kernel * [[1.0, 1.01]])
    assert edgebn.verify(model, tmp_path / "model.onnx").passed
    verdict = edgebn.verify(model, wrong)
    assert not verdict.passed
    assert {each.channel for each in verdict.comparisons if each.required and not each.passed} == {1}


@pytest.fixture(scope="module")
def embedding() -> Any:
    layers, tokens = keras_models.layers(), backends.keras().Input((7,), dtype="int32", name="tokens")
    table = layers.Embedding(500, 8, name="table")(tokens)
    return keras_models.functional(tokens, layers.Dense(3)(layers.GlobalAveragePooling1D()(table)))


@pytest.mark.parametrize("row", [0, 1, 2, 137, 499])
def test_a_wrong_row_of_a_table_is_found(row: int, embedding: Any, tmp_path: Path) -> None:
    def change(table: np.ndarray) -> np.ndarray:
        table[row] *= 1.1
        return table

    path = tmp_path / "model.onnx"
    edgebn.fold_export(embedding, path)
    assert edgebn.verify(embedding, path).passed
    (name,) = (each.name for each in onnx.load(path).graph.initializer if list(each.dims) == [500, 8])
    assert not edgebn.verify(embedding, tampered(path, name, change)).passed


def test_what_is_nowhere_a_number_is_not_equal(tmp_path: Path) -> None:
    image = backends.keras().Input((6,), name="image")
    model = keras_models.functional(image, keras_models.layers().Dense(2, name="scores")(image))
    kernel, bias = model.get_layer("scores").get_weights()
    model.get_layer("scores").set_weights([kernel, bias * np.nan])
    path = written(
        tmp_path / "m.onnx", "(float[n,6] x) => (float[n,2] y) { y = Gemm(x, k, b) }", k=kernel, b=bias * np.nan
    )
    verdict = edgebn.verify(model, path)
    assert not verdict.passed
    assert verdict.notes == ("scores: was finite on no probe, so that nothing could be compared",)


def any_length() -> Any:
    layers, x = keras_models.layers(), backends.keras().Input((None, 3), name="series")
    return keras_models.functional(x, layers.GlobalAveragePooling1D()(layers.Conv1D(4, 3, padding="same")(x)))


def test_a_file_for_one_length_is_not_a_model_for_any(tmp_path: Path) -> None:
    model, path = any_length(), tmp_path / "model.onnx"
    edgebn.fold_export(model, path)
    assert {"normal", "normal, 45 long"} <= {each.probe for each in edgebn.verify(model, path).comparisons}
    proto = onnx.load(path)
    proto.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 32
    onnx.save(proto, tmp_path / "fixed.onnx")
    with pytest.raises(edgebn.InputError, match="export it with extents that may vary"):
        edgebn.verify(model, tmp_path / "fixed.onnx")


def test_a_length_that_is_baked_in_is_found(tmp_path: Path) -> None:
    """A mean that divides by 32, whatever the length is."""
    x = backends.keras().Input((None, 3), name="series")
    model = backends.keras().Model(x, keras_models.layers().GlobalAveragePooling1D()(x))
    text = """(float[n,t,3] x) => (float[n,3] y) { s = ReduceSum<keepdims=0>(x, one) y = Div(s, extent) }"""
    path = written(tmp_path / "m.onnx", text, one=np.array([1]), extent=np.array([32.0]))
    verdict = edgebn.verify(model, path)
    assert {each.probe for each in verdict.comparisons if each.required and not each.passed} == {"normal, 45 long"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"seed": -1}, "seed -1: must be an integer from 0 to"),
        ({"seed": 1.5}, "seed 1.5: must be"),
        ({"data": 5}, "data: int is neither the name of a data set nor a path"),
        ({"seed": True}, "seed True: must be"),
        ({"rtol": -1e-3}, "rtol -0.001: must be a finite number that is not negative"),
        ({"atol": float("nan")}, "atol nan: must be"),
        ({"atol": "small"}, "atol 'small': must be"),
        ({"certificate": "missing/folder/c.json"}, "no such folder"),
    ],
)
def test_wrong_arguments_are_said_before_anything_is_opened(given: dict[str, Any], message: str) -> None:
    with pytest.raises(edgebn.UsageError, match=message):
        edgebn.verify("missing.keras", "missing.onnx", **given)


def test_what_is_no_path() -> None:
    with pytest.raises(edgebn.UsageError, match="NoneType: not the path of an ONNX file"):
        edgebn.verify("missing.keras", None)  # type: ignore[arg-type]


def tallied(reference: np.ndarray, exact: np.ndarray, actual: np.ndarray, sensitivity: float = 1e3) -> bool:
    expected = Expected(reference, exact, np.full(reference.shape[-1], sensitivity))
    whole, tally = ExpectedTally(trusted=1e-2, floor=0.0), Tally(Rule())
    whole.add(expected)
    tally.add(actual, expected, len(actual))
    named = {"output": "y", "probe": "p", "optimisation": "off", "threads": 1, "batch_size": 2, "required": True}
    return tally.comparison(whole, **named).passed


def test_an_overflow_in_float32_excuses_nothing() -> None:
    """Where Keras overflows and float64 does not, the file is held to what is finite in Keras, without a bonus."""
    reference, exact = np.float32([[np.inf, 1.0], [2.0, 3.0]]), np.array([[1e40, 1.0], [2.0, 3.0]])
    sensitivity = float(
        largest_moves((np.where(np.isinf(reference), np.nan, exact),), [(exact * (1 + 1e-7),)])[0].max()
    )
    assert sensitivity < 1e-6
    assert tallied(reference, exact, reference, sensitivity)
    assert not tallied(reference, exact, reference + np.float32([[0.0, 0.0], [1e-3, 0.0]]), sensitivity)
    assert not tallied(reference, exact, np.float32([[1e38, 1.0], [2.0, 3.0]]), sensitivity)
    assert not tallied(reference, exact, np.float32([[np.inf, np.nan], [2.0, 3.0]]), sensitivity)


@pytest.mark.parametrize("reference", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    ("exact", "actual", "passes"),
    [
        (5.0, np.nan, True),  # the reference overflows on the way, and so may the file
        (5.0, -np.inf, True),
        (5.0, 5.001, True),
        (5.0, 7.0, False),  # no overflow: another function
        (np.nan, 7.0, True),
        (None, 7.0, True),
    ],
)
def test_nothing_is_required_where_the_reference_is_not_finite(
    reference: float, exact: float | None, actual: float, passes: bool
) -> None:
    truth = None if exact is None else np.array([[exact, 1.0]])
    assert tallied(np.float32([[reference, 1.0]]), truth, np.float32([[actual, 1.0]]), 0.0) == passes


def test_a_reference_that_is_not_finite_is_reported(tmp_path: Path) -> None:
    log = "(float[n,4] x) => (float[n,4] y) { y = Log(x) }"
    path = written(tmp_path / "log.onnx", log)
    guarded = "(float[n,4] x) => (float[n,4] y) { l = Log(x) n = IsNaN(l) y = Where(n, zero, l) }"
    other = written(tmp_path / "guarded.onnx", guarded, zero=np.array(0.0))
    verdict = edgebn.verify(path, other)
    assert verdict.passed
    (note,) = verdict.notes
    assert note.startswith("y: log.onnx itself is not finite everywhere on normal, signed, constants,")
    assert not edgebn.verify(other, path).passed


DOUBLE = "(double[n,6] x) => (double[n,2] y) { y = MatMul(x, k) }"
THROUGH_FLOAT = (
    "(double[n,6] x) => (double[n,2] y) { c = Cast<to=1>(x) f = MatMul(c, k) y = Cast<to=11>(f) }",
    "(double[n,6] x) => (double[n,2] y) { c = Cast<to=1>(x) f = Gemm(c, k) y = Cast<to=11>(f) }",
)


def saved(path: Path, text: str, kernel: np.ndarray) -> Path:
    """The graph `text` with the initializer `k` in its own dtype."""
    proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": 18]> g {text}')
    proto.graph.initializer.append(numpy_helper.from_array(kernel, "k"))
    onnx.save(proto, path)
    return path


def test_a_file_in_float64_is_judged_in_its_own_roundings(tmp_path: Path) -> None:
    kernel = np.random.default_rng(0).normal(size=(6, 2))
    first = saved(tmp_path / "a.onnx", DOUBLE, kernel)
    assert edgebn.verify(first, saved(tmp_path / "b.onnx", DOUBLE.replace("MatMul", "Gemm"), kernel)).passed
    assert not edgebn.verify(first, saved(tmp_path / "c.onnx", DOUBLE, kernel * (1.0 + 1e-9))).passed
    in_float = [
        saved(tmp_path / f"{index}.onnx", text, kernel.astype(np.float32)) for index, text in enumerate(THROUGH_FLOAT)
    ]
    assert edgebn.verify(*in_float).passed


@pytest.mark.parametrize(("factor", "passes"), [(1.0, True), (1.005, True), (1.05, False)])
def test_a_file_in_float16_is_judged_in_its_own_roundings(factor: float, passes: bool, tmp_path: Path) -> None:
    kernel = np.random.default_rng(0).normal(size=(6, 2))
    text = "(float16[n,6] x) => (float16[n,2] y) { y = MatMul(x, k) }"
    first, second = (
        saved(tmp_path / f"{each}.onnx", text, (each * kernel).astype(np.float16)) for each in (1.0, factor)
    )
    assert edgebn.verify(first, second).passed == passes


def test_weights_in_float16_do_not_make_a_file_coarse(tmp_path: Path) -> None:
    kernel = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float16)
    text = "(float[n,6] x) => (float[n,2] y) { c = Cast<to=1>(k) y = MatMul(x, c) }"
    first = saved(tmp_path / "a.onnx", text, kernel)
    wrong = saved(tmp_path / "b.onnx", text, np.nextafter(kernel, np.float16(np.inf)))
    assert edgebn.verify(first, first).passed
    assert not edgebn.verify(first, wrong).passed


def test_a_truth_from_which_keras_itself_is_far_is_none() -> None:
    reference = np.float32([[1.0, 2.0], [3.0, 4.0]])
    assert tallied(reference, 1.02 * reference.astype(np.float64), reference)
    assert not tallied(reference, 1.02 * reference.astype(np.float64), np.float32(1.02) * reference)
    assert not tallied(reference, reference + 4.0 * EPSILON, np.float32(1.0 + 1e-4) * reference, 0.0)


def test_what_another_evaluator_makes_of_infinity_is_no_difference(tmp_path: Path) -> None:
    """Behind a sigmoid infinity is a number in onnxruntime, and none in onnx's evaluator."""
    rng = np.random.default_rng(0)
    text = "(float[t,n,4] x) => (float[t,n,4] z) { y = LSTM<hidden_size=4>(x, w, r, b) z = Squeeze(y, one) }"
    weights = {name: rng.normal(size=(1, 16, 4)) for name in "wr"}
    file = written(tmp_path / "m.onnx", text, **weights, b=rng.normal(size=(1, 32)), one=np.array([1]))
    verdict = edgebn.verify(file, file)
    assert verdict.passed
    assert not any("evaluator" in note for note in verdict.notes)
