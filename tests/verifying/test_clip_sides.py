"""Units that hardly any input drives over their clip are driven over it, and so a fault behind them is found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import edgebn
from edgebn.loading import Tensor
from edgebn.verifying.clip_sides import clip_sides
from edgebn.verifying.onnx_files import open_file
from edgebn.verifying.probes import Plan
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
    assert failing(verdict) == {"clip sides", "clip sides of the reference", "huge"}


CLIPPED = "(float[n,24] x) => (float[n,3] y) {{ h = Gemm(x, k, b) y = {} }}"


@pytest.mark.parametrize("highest", [100.0, 1e3, 1e4])
@pytest.mark.parametrize("is_lost", [False, True])
def test_a_clip_that_one_of_both_lacks(highest: float, is_lost: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    constants = {"k": 0.3 * rng.standard_normal((24, 3)), "b": rng.standard_normal(3)}
    free = written(tmp_path / "free.onnx", CLIPPED.format("Identity(h)"), **constants)
    clipped = CLIPPED.format("Clip(h, low, high)")
    limits = {"low": np.array(-highest), "high": np.array(highest)}
    held = written(tmp_path / "held.onnx", clipped, **constants, **limits)
    assert not (edgebn.verify(held, free) if is_lost else edgebn.verify(free, held)).passed
    assert edgebn.verify(held, held).passed


def test_huge_samples_are_a_probe_of_their_own(tmp_path: Path) -> None:
    rng, limits = np.random.default_rng(0), {"low": np.array(-1e4), "high": np.array(1e4)}
    constants = {"k": 0.3 * rng.standard_normal((24, 3)), "b": rng.standard_normal(3)}
    file = open_file(written(tmp_path / "m.onnx", CLIPPED.format("Clip(h, low, high)"), **constants, **limits))
    plan = Plan((Tensor("x", (None, 24), "float32"),), {})
    found = clip_sides(plan, file, lambda runtime, inputs, batch: runtime.run(inputs, batch))
    assert (found.reached, found.sides) == (6, 6)
    usual, huge = found.probes
    assert (usual.name, huge.name) == ("clip sides", "clip sides, huge")
    assert np.abs(usual.inputs[0]).max() < 64.0 * 8.0 < 4096.0 < np.abs(huge.inputs[0]).max()


def failing(verdict: edgebn.Verdict) -> set[str]:
    return {each.probe for each in verdict.comparisons if each.required and not each.passed}
