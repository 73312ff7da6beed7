"""Attention as products: few nodes, at any length, and everything else as Keras has it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgebn
from edgebn import backends
from tests import keras_models

RNG = np.random.default_rng(0)
_MOST = 3 * 4 + 1 + 3 + 4
"""Nodes: three projections, a scale, two products with a Softmax between them, and the last projection."""


def attention(**options: Any) -> Any:
    return keras_models.layers().MultiHeadAttention(2, 3, **options)


def masked(x: Any, y: Any) -> Any:
    layers = keras_models.layers()
    return attention()(layers.Masking(0.0)(x), y)


CASES: dict[str, tuple[Callable[[Any, Any], Any], bool]] = {
    "self": (lambda x, _: attention()(x, x), True),
    "cross": (lambda x, y: attention()(x, y), True),
    "keys of their own": (lambda x, y: attention(value_dim=4)(x, y, key=keras_models.layers().Dense(5)(y)), True),
    "without bias": (lambda x, y: attention(use_bias=False)(x, y), True),
    "another width": (lambda x, y: attention(output_shape=7)(x, y), True),
    "another shape": (lambda x, y: attention(output_shape=(2, 3))(x, y), False),
    "causal": (lambda x, _: attention()(x, x, use_causal_mask=True), False),
    "masked": (masked, False),
    "its scores": (lambda x, _: attention()(x, x, return_attention_scores=True)[1], False),
}


@pytest.mark.parametrize("length", [4, None])
@pytest.mark.parametrize("case", CASES)
def test_attention_is_what_keras_makes_of_it(case: str, length: int | None, tmp_path: Path) -> None:
    build, in_products = CASES[case]
    layers = keras_models.layers()
    first, second = layers.Input((length, 6), name="x"), layers.Input((5, 8), name="y")
    given = [first, second] if case not in {"self", "causal", "its scores"} else [first]
    model = keras_models.functional(given, build(first, second))
    keras_models.randomise(model, np.random.default_rng(0))
    report = edgebn.fold_export(model, path := tmp_path / "model.onnx")
    if in_products:
        assert set(report.nodes) <= {"MatMul", "Add", "Mul", "Reshape", "Transpose", "Softmax"}
        assert len(report.nodes) <= _MOST + 2 * (case == "keys of their own")
    x, y = (RNG.standard_normal((3, *shape)).astype(np.float32) for shape in ((4, 6), (5, 8)))
    x[0, 2] = 0.0
    session = backends.onnxruntime().InferenceSession(path, providers=["CPUExecutionProvider"])
    feeds = dict(zip((each.name for each in session.get_inputs()), (x, y), strict=False))
    (actual,) = session.run(None, feeds)
    (expected,) = keras_models.in_keras(model, *feeds.values())
    assert np.abs(actual - expected).max() < 5e-6  # sums of at most 30 terms of about 1
