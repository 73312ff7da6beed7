"""What is computed of constants alone becomes a constant, unless the file would grow."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from tests.folding import graphs
from tests.tidying.test_layout import tidied

RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 3)).astype(np.float32)
KERNEL = RNG.standard_normal((4, 3))


def test_weights_that_the_file_holds_transposed_take_a_normalization() -> None:
    model = graphs.model(
        """(float[n,3] x) => (float[n,4] y) {
            k = Transpose(kernel) m = MatMul(x, k) b = Add(bias, m) y = BatchNormalization(b, s, t, t, s)
        }""",
        kernel=KERNEL,
        bias=RNG.standard_normal(4),
        s=np.array([0.5, -1.0, 2.0, 0.1]) ** 2,
        t=RNG.standard_normal(4),
    )
    before = model.clone()
    after, _ = graphs.folded(model)
    assert graphs.operators(after) == "Gemm"
    graphs.assert_same(before, after, X)


def test_several_results_and_one_behind_the_other() -> None:
    text = """(float[n,3] x) => (float[n,2] y) {
        p, q = Split<num_outputs=2>(kernel) d = Sub(p, q) k = Transpose(d) y = MatMul(x, k)
    }"""
    assert tidied(text, X, kernel=KERNEL) == "Gemm"


def test_what_would_grow_stays() -> None:
    text = "(float[n,3] x) => (float[n,m,3] y) { u = Unsqueeze(x, axis) e = Tile(row, many) y = Add(u, e) }"
    constants = {"row": RNG.standard_normal((1, 1, 3)), "axis": np.array([1]), "many": np.array([1, 5000, 1])}
    assert "Tile" in tidied(text, X, **constants)
    assert "Tile" not in tidied(text, X, **constants | {"many": np.array([1, 5, 1])})


def test_weights_stored_as_float16_stay_so() -> None:
    text = "(float[n,3] x) => (float[n,4] y) { h = Cast<to=10>(kernel) k = Cast<to=1>(h) y = MatMul(x, k) }"
    model = graphs.model(text, kernel=np.float16(KERNEL.T))
    after, _ = graphs.folded(model)
    assert graphs.operators(after) == "Cast MatMul"
    assert ir.DataType.FLOAT16 in {value.dtype for value in after.graph.initializers.values()}


def test_what_the_caller_may_override_is_no_constant() -> None:
    text = "(float[n,3] x, float[4,3] kernel) => (float[n,4] y) { k = Transpose(kernel) y = MatMul(x, k) }"
    model = graphs.model(text)
    after, _ = graphs.folded(model)
    assert graphs.operators(after) == "Transpose MatMul"


def test_what_no_integer_holds_is_left_to_the_runtime(recwarn: pytest.WarningsRecorder) -> None:
    text = "(float[n,3] x) => (float[n,4] y) { i = Cast<to=6>(kernel) k = Cast<to=1>(i) y = MatMul(x, k) }"
    assert tidied(text, X, kernel=np.full((3, 4), 2.5)) == "Gemm"
    assert tidied(text, X, kernel=np.full((3, 4), 1e30)) == "Cast Cast MatMul"
    assert not recwarn.list


def test_an_output_of_constants_alone_is_computed_once() -> None:
    text = "(float[n,3] x) => (float[n,3] y, float[4,3] k) { y = Relu(x) d = Add(kernel, row) k = Mul(d, d) }"
    assert tidied(text, X, kernel=KERNEL, row=RNG.standard_normal(3)) == "Relu Identity"
