"""Units that hardly any input drives over their clip are driven over it, and so a fault behind them is found."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import edgebn
from tests.verifying.test_mismatch import written

TEXT = "(float[n,24] x) => (float[n,3] y) { h = Gemm(x, k, b) r = Relu(h) y = MatMul(r, w) }"


def test_a_fault_behind_a_unit_that_is_seldom_reached(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    kernel, after = rng.standard_normal((24, 8)), rng.standard_normal((8, 3))
    bias = np.zeros(8)
    bias[5] = -64.0 * 2.6 * float(np.sqrt((kernel[:, 5] ** 2).sum()))  # one large sample in some 200
    right = written(tmp_path / "right.onnx", TEXT, k=kernel, b=bias, w=after)
    after[5] *= 1.1
    verdict = edgebn.verify(right, written(tmp_path / "wrong.onnx", TEXT, k=kernel, b=bias, w=after))
    assert verdict.clip_sides == (16, 16)
    assert not verdict.passed
    assert {each.probe for each in verdict.comparisons if each.required and not each.passed} == {"clip sides"}
