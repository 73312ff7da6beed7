"""Integers: which are fed to inputs that are no index."""

from __future__ import annotations

from pathlib import Path

import numpy as np
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
