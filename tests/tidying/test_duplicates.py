"""What is there twice is left once; what the caller may override, or what draws at random, is not the same."""

from __future__ import annotations

import numpy as np
import pytest

from tests.folding import graphs
from tests.tidying.test_layout import IMAGE, LAST, tidied

A = np.random.default_rng(0).standard_normal(4)
X = np.ones((2, 4), np.float32)


def test_equal_weights_and_the_nodes_that_read_them() -> None:
    text = "(float[n,4] x) => (float[n,4] y) { p = Add(x, a) q = Add(x, b) y = Mul(p, q) }"
    assert tidied(text, X, a=A, b=A) == "Add Mul"
    assert tidied(text, X, a=A, b=A + 1e-7) == "Add Add Mul"


def test_a_transpose_that_several_read() -> None:
    text = f"""(float[n,4,5,6] x) => (float[n,5,6,4] y, float[n,5,6,4] z) {{
        a = {LAST}(x) b = {LAST}(x) y = Relu(a) z = Tanh(b)
    }}"""
    assert tidied(text, IMAGE).count("Transpose") == 1


def test_outputs_keep_their_names() -> None:
    assert tidied("(float[n,4] x) => (float[n,4] y, float[n,4] z) { y = Relu(x) z = Relu(x) }", X) == "Relu Identity"


def test_constants_that_the_caller_may_override_say_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    text = "(float[n,4] x, float[4] a = {1, 1, 1, 1}) => (float[n,4] y) { p = Add(x, a) q = Add(x, b) y = Mul(p, q) }"
    after, _ = graphs.folded(graphs.model(text, b=np.ones(4)))
    assert graphs.operators(after) == "Add Add Mul"
    assert capfd.readouterr().err == ""
