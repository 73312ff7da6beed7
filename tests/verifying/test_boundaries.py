"""Integers and booleans are compared where they change: elsewhere a small fault changes none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import edgebn
from tests.verifying.test_mismatch import written

RNG = np.random.default_rng(1)
KERNEL, BIAS = 0.3 * RNG.normal(size=(16, 8)), RNG.normal(size=8)
ENDINGS = {
    "greater": "(float[n,16] x) => (bool[n,8] z) { h = Gemm(x, k, b) z = Greater(h, t) }",
    "behind a ReLU": "(float[n,16] x) => (bool[n,8] z) { h = Gemm(x, k, b) r = Relu(h) z = Greater(r, t) }",
    "floor": "(float[n,16] x) => (int32[n,8] z) { h = Gemm(x, k, b) f = Floor(h) s = Add(f, t) z = Cast<to=6>(s) }",
    "top": "(float[n,16] x) => (float[n,3] v, int64[n,3] z) { h = Gemm(x, k, b) v, z = TopK(h, t) }",
}
THRESHOLDS = {"greater": np.array(0.5), "behind a ReLU": np.array(0.0), "floor": np.array(0.0), "top": np.array([3])}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("column", range(8))
def test_a_fault_that_changes_hardly_an_element(column: int, ending: str, tmp_path: Path) -> None:
    constants = {"k": KERNEL, "b": BIAS, "t": THRESHOLDS[ending]}
    right = written(tmp_path / "right.onnx", ENDINGS[ending], **constants)
    kernel = KERNEL.copy()
    kernel[np.abs(KERNEL[:, column]).argmax(), column] *= 1.01
    wrong = written(tmp_path / "wrong.onnx", ENDINGS[ending], **{**constants, "k": kernel})
    assert not edgebn.verify(right, wrong).passed
    other = ENDINGS[ending].replace("h = Gemm(x, k, b)", "m = MatMul(x, k) h = Add(b, m)")
    assert edgebn.verify(right, written(tmp_path / "other.onnx", other, **constants)).passed


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("is_first", [True, False])
def test_what_compares_the_same_in_another_way(is_first: bool, seed: int, tmp_path: Path) -> None:
    constants = {"k": KERNEL, "b": BIAS, "t": np.array(0.0)}
    pair = [written(tmp_path / f"{name}.onnx", ENDINGS[name], **constants) for name in ("greater", "behind a ReLU")]
    assert edgebn.verify(*(pair if is_first else pair[::-1]), seed=seed).passed


ARGMAX = "(float[n,16] x) => (int64[n] z) {{ h = Gemm(x, k, b) {} z = ArgMax<axis=1,keepdims=0>({}) }}"


@pytest.mark.parametrize("is_first", [True, False])
def test_the_largest_logit_is_that_of_the_largest_probability(is_first: bool, tmp_path: Path) -> None:
    constants = {"k": KERNEL, "b": BIAS}
    texts = ARGMAX.format("", "h"), ARGMAX.format("s = Softmax(h)", "s")
    pair = [written(tmp_path / f"{index}.onnx", text, **constants) for index, text in enumerate(texts)]
    ours, theirs = pair if is_first else pair[::-1]
    assert edgebn.verify(ours, theirs).passed
    kernel = KERNEL.copy()
    kernel[np.abs(KERNEL[:, 2]).argmax(), 2] *= 1.05
    wrong = written(tmp_path / "wrong.onnx", texts[is_first], **{**constants, "k": kernel})
    assert not edgebn.verify(ours, wrong).passed
