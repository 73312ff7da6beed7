"""Integers: which are fed to inputs that are no index."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import edgebn
from tests.verifying.test_mismatch import written

INT = np.int64
W = {"w": np.random.default_rng(0).normal(size=(4, 3))}
PLAIN = "(int32[n,4] x) => (float[n,3] y) { f = Cast<to=1>(x) y = MatMul(f, w) }"
UP_TO_1 = "(int32[n,4] x) => (float[n,3] y) { f = Cast<to=1>(x) c = Clip(f, zero, one) y = MatMul(c, w) }"
FROM_0 = "(int32[n,4] x) => (float[n,3] y) { f = Cast<to=1>(x) c = Relu(f) y = MatMul(c, w) }"
TABLE = "(int64[n,4] x) => (float[n,4,2] y) { z = Add(x, plus) y = Gather(t, z) }"


@pytest.mark.parametrize("text", [UP_TO_1, FROM_0])
def test_integers_above_1_and_below_0_are_fed(text: str, tmp_path: Path) -> None:
    limits = {"zero": np.array(0.0), "one": np.array(1.0)} if text is UP_TO_1 else {}
    right, wrong = written(tmp_path / "a.onnx", PLAIN, **W), written(tmp_path / "b.onnx", text, **W, **limits)
    assert edgebn.verify(right, right).passed
    assert not edgebn.verify(right, wrong).passed


@pytest.mark.parametrize("row", [1, 50, 399])
def test_every_row_is_read_of_a_table_behind_arithmetic(row: int, tmp_path: Path) -> None:
    table = np.random.default_rng(0).normal(size=(400, 2))
    right = written(tmp_path / "a.onnx", TABLE, t=table, plus=np.array(1, INT))
    table[row] += 1.0
    wrong = written(tmp_path / "b.onnx", TABLE, t=table, plus=np.array(1, INT))
    assert edgebn.verify(right, right).passed
    assert not edgebn.verify(right, wrong).passed


def test_it_is_said_where_nothing_above_1_could_be_fed(tmp_path: Path) -> None:
    text = "(int64[n,4] x) => (float[n,4,2] y) { a = Abs(x) y = Gather(t, a) }"
    path = written(tmp_path / "a.onnx", text, t=np.ones((2, 2)))
    verdict = edgebn.verify(path, path)
    assert verdict.passed
    assert any(note.startswith("x: no integers above 1 could be tried") for note in verdict.notes)


LOOKED_UP = "(int64[n,4] x) => (int64[n,4] y) { y = Gather(t, x) }"
CHOSEN = "(float[n,8] x) => (int64[n] y) { s = MatMul(x, w) y = ArgMax<axis=1, keepdims=0>(s) }"
ABOVE = "(float[n,8] x) => (bool[n,9] y) { s = MatMul(x, w) y = Greater(s, zero) }"
ROUNDED = "(float[n,8] x) => (int64[n,9] y) { s = MatMul(x, w) r = Floor(s) y = Cast<to=7>(r) }"


def test_large_integers_are_off_by_one(tmp_path: Path) -> None:
    table = np.random.default_rng(0).integers(10**6, 10**9, 100)
    right = written(tmp_path / "a.onnx", LOOKED_UP, t=table)
    table[7] += 1
    wrong = written(tmp_path / "b.onnx", LOOKED_UP, t=table)
    assert edgebn.verify(right, right).passed
    assert not edgebn.verify(right, wrong).passed


@pytest.mark.parametrize("text", [CHOSEN, ABOVE, ROUNDED])
def test_integers_and_booleans_that_are_made_of_floats(text: str, tmp_path: Path) -> None:
    weight = 100.0 * np.random.default_rng(0).normal(size=(8, 9))
    zero = {"zero": np.array(0.0)} if text is ABOVE else {}
    right = written(tmp_path / "a.onnx", text, w=weight, **zero)
    weight[:, 5] = np.roll(weight[:, 5], 1)
    wrong = written(tmp_path / "b.onnx", text, w=weight, **zero)
    assert edgebn.verify(right, right).passed
    assert not edgebn.verify(right, wrong).passed


def test_another_order_of_the_same_sums_tips_no_choice(tmp_path: Path) -> None:
    weight = np.random.default_rng(0).normal(size=(8, 9))
    weight[:, 3] = weight[:, 5] = np.random.default_rng(1).normal(size=8) + 1.0
    other = (
        "(float[n,8] x) => (int64[n] y) { i = Gather<axis=1>(x, back) s = MatMul(i, w) "
        "y = ArgMax<axis=1, keepdims=0>(s) }"
    )
    right = written(tmp_path / "a.onnx", CHOSEN, w=weight)
    swapped = written(tmp_path / "b.onnx", other, w=weight[::-1].copy(), back=np.arange(8)[::-1].copy())
    assert edgebn.verify(right, swapped).passed


def test_a_choice_is_judged_on_its_scores(tmp_path: Path) -> None:
    weight = np.random.default_rng(0).normal(size=(8, 1000))
    right = written(tmp_path / "a.onnx", CHOSEN, w=weight)
    weight[:, 5] *= 1.01
    wrong = written(tmp_path / "b.onnx", CHOSEN, w=weight)
    assert edgebn.verify(right, right).passed
    assert not edgebn.verify(right, wrong).passed


BY_THRESHOLD = {
    "above": "t = Greater(s, half) y = Identity(t)",
    "at least": "y = GreaterOrEqual(s, half)",
    "the other way round": "t = LessOrEqual(half, s) r = Reshape(t, shape) y = Cast<to=7>(r)",
    "not below": "h = Constant<value_float=0.5>() t = Less(s, h) y = Not(t)",
}
ORDERS = {
    "as it is": "(float[n,16] x) => (TYPE y) { s = Gemm(x, w, b) TAIL }",
    "the sums turned round": "(float[n,16] x) => (TYPE y) { i = Gather<axis=1>(x, back) s = Gemm(i, w, b) TAIL }",
}


def of_threshold(path: Path, kind: str, order: str, weight: np.ndarray, bias: np.ndarray) -> Path:
    tail, back = BY_THRESHOLD[kind], np.arange(16)[::-1].copy()
    graph = ORDERS[order].replace("TAIL", tail).replace("TYPE", "int64[n,2,4]" if "Cast" in tail else "bool[n,8]")
    known = {"w": weight[back] if "back" in graph else weight, "b": bias, "half": np.array(0.5)}
    return written(path, graph, **known, back=back, shape=np.array([-1, 2, 4]))


@pytest.mark.parametrize("kind", BY_THRESHOLD)
def test_what_is_above_a_threshold_is_judged_by_the_margin(kind: str, tmp_path: Path) -> None:
    """The fault flips few of 80,000 elements, far fewer than rounding may tip: none of these is as good as equal."""
    rng = np.random.default_rng(1)
    weight, bias = 0.3 * rng.normal(size=(16, 8)), rng.normal(size=8)
    np.savez(tmp_path / "own.npz", x=rng.normal(size=(10_000, 16)).astype(np.float32))
    right = of_threshold(tmp_path / "a.onnx", kind, "as it is", weight, bias)
    turned = of_threshold(tmp_path / "b.onnx", kind, "the sums turned round", weight, bias)
    weight[np.abs(weight[:, 2]).argmax(), 2] *= 1.01
    wrong = of_threshold(tmp_path / "c.onnx", kind, "as it is", weight, bias)
    assert edgebn.verify(right, turned, data=tmp_path / "own.npz").passed
    assert not edgebn.verify(right, wrong, data=tmp_path / "own.npz").passed


def test_rounding_tips_what_is_at_the_threshold(tmp_path: Path) -> None:
    """Sums that are 0 but for rounding fall on either side, in one element of each hundred."""
    rng = np.random.default_rng(1)
    weight, bias = rng.normal(size=(16, 8)), np.full(8, 0.5)
    x = rng.normal(size=(1000, 16)).astype(np.float32)
    x[::20] = np.concatenate([x[::20, :8], -x[::20, :8]], axis=1)
    weight[8:, 0] = weight[:8, 0]
    np.savez(tmp_path / "own.npz", x=x)
    paths = [of_threshold(tmp_path / f"{order}.onnx", "above", order, weight, bias) for order in ORDERS]
    assert (run(paths[0], x) != run(paths[1], x)).any()
    assert edgebn.verify(*paths, data=tmp_path / "own.npz").passed


def run(path: Path, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(string[n,4] x) => (string[n,4] y) { y = Identity(x) }", "its input x is string"),
        ("() => (float[3] y) { y = Identity(k) }", "has no inputs"),
        ("(float[n,0] x) => (float[n,0] y) { y = Identity(x) }", "its input x has the shape"),
    ],
)
def test_what_can_not_be_fed_is_said(text: str, message: str, tmp_path: Path) -> None:
    path = written(tmp_path / "a.onnx", text, **({"k": np.ones(3)} if "(k)" in text else {}))
    with pytest.raises(edgebn.InputError, match=message):
        edgebn.verify(path, path)
