"""Weights as float16: half the bytes, float32 arithmetic, and what float16 can not hold stays float32."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgebn.quantizing.half import halved, holds
from tests.folding import graphs

RNG = np.random.default_rng(0)
GRAPH = "(float[batch,64] x) => (float[batch,32] y) { h = MatMul(x, w) z = Add(h, b) y = Relu(z) }"
WEIGHT, BIAS = RNG.normal(0.0, 0.05, (64, 32)).astype(np.float32), RNG.normal(0.0, 1.0, 32)


def serialized(model: ir.Model) -> bytes:
    return ir.to_proto(model).SerializeToString(deterministic=True)


def dense(weight: np.ndarray = WEIGHT) -> ir.Model:
    return graphs.model(GRAPH, w=weight, b=BIAS)


def test_half_the_bytes_and_nothing_rounded_but_the_weights() -> None:
    source = dense()
    given = serialized(source)
    smaller, kept = halved(source)
    assert serialized(source) == given
    assert kept == ()
    assert graphs.operators(smaller) == "Cast MatMul Add Relu"
    stored = {value.name: value.dtype for value in smaller.graph.initializers.values()}
    assert stored == {"w/float16": ir.DataType.FLOAT16, "b": ir.DataType.FLOAT}
    assert len(serialized(smaller)) < 0.6 * len(given)
    onnx.checker.check_model(ir.to_proto(smaller), full_check=True)
    x = RNG.normal(size=(5, 64)).astype(np.float32)
    (expected,), (actual,) = graphs.run(dense(WEIGHT.astype(np.float16)), x), graphs.run(smaller, x)
    assert (actual == expected).all()


def test_the_same_model_gives_the_same_bytes() -> None:
    assert serialized(halved(dense())[0]) == serialized(halved(dense())[0])


def test_a_weight_with_two_readers_is_stored_once() -> None:
    text = "(float[batch,32] x) => (float[batch,32] y) { h = MatMul(x, w) y = MatMul(h, w) }"
    smaller, _ = halved(graphs.model(text, w=WEIGHT[:32]))
    assert graphs.operators(smaller) == "Cast MatMul MatMul"


def test_a_weight_that_is_an_output_as_well_keeps_its_name() -> None:
    text = "(float[batch,64] x) => (float[batch,32] y, float[64,32] w) { y = MatMul(x, w) }"
    smaller, _ = halved(graphs.model(text, w=WEIGHT))
    assert [value.name for value in smaller.graph.outputs] == ["y", "w"]
    assert (graphs.run(smaller, np.zeros((1, 64), np.float32))[1] == WEIGHT.astype(np.float16)).all()


def scaled(factor: float, rows: slice = slice(None), columns: slice = slice(None)) -> np.ndarray:
    weight = WEIGHT.copy()
    weight[rows, columns] *= factor
    return weight.astype(np.float32)


@pytest.mark.parametrize(
    ("weight", "held"),
    [
        (scaled(1.0), True),
        (scaled(1e7), False),  # overflows
        (scaled(1e-6), False),  # all of it has a few bits left
        (scaled(1e-7, columns=slice(3, 4)), False),  # one channel out
        (scaled(1e-7, rows=slice(3, 4)), False),  # one channel in, whose numbers may be large
        (scaled(1e-7, rows=slice(0, 1), columns=slice(0, 1)), True),  # one number among larger ones
        (scaled(1e-30, columns=slice(3, 4)), True),  # a channel that a regularizer has decayed
        (scaled(0.0), True),
    ],
)
def test_what_float16_can_not_hold_stays(weight: np.ndarray, held: bool) -> None:
    assert holds(weight) is held
    smaller, kept = halved(dense(weight))
    assert kept == (() if held else ("w",))
    assert ("w" in smaller.graph.initializers) is not held
