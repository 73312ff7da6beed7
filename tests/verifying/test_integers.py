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
