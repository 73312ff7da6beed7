"""PReLU as Keras writes it: one node for folding, and what is fast in the file."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edgebn.tidying import prepare, tidy
from tests.folding import graphs
from tests.tidying.test_layout import RNG, tidied

CHAIN = "p = Relu(x) n = Neg(x) r = Relu(n) s = Mul(r, slope) y = Add(p, s)"
X = RNG.standard_normal((2, 3, 4)).astype(np.float32)
SLOPES = {
    "one": (np.array(-0.25), "LeakyRelu"),
    "one above 1": (np.array(-1.5), "LeakyRelu"),
    "one for all channels": (np.zeros((3, 1)), "LeakyRelu"),
    "of channels": (np.array([[-0.25], [0.5], [-1.0]]), "Mul Max"),
    "of places": (-RNG.uniform(0, 1, 4), "Mul Max"),
    "of elements": (-RNG.uniform(0, 1, (1, 3, 4)), "Mul Max"),
}


@pytest.mark.parametrize("case", SLOPES)
@pytest.mark.parametrize("chain", [CHAIN, CHAIN.replace("(p, s)", "(s, p)").replace("(r, slope)", "(slope, r)")])
def test_the_chain_of_keras(case: str, chain: str) -> None:
    slope, expected = SLOPES[case]
    assert tidied(f"(float[n,3,4] x) => (float[n,3,4] y) {{ {chain} }}", X, slope=slope) == expected


def test_what_transposes_stood_between() -> None:
    """A slope for each element of an image, beside a convolution: TensorFlow has both layouts."""
    chain = """p = Relu(x) n = Neg(x) r = Relu(n) t = Transpose<perm=[0,2,3,1]>(r) s = Mul(t, slope)
        u = Transpose<perm=[0,3,1,2]>(s) y = Add(p, u)"""
    slope = -RNG.uniform(0, 1, (4, 5, 3))
    image = RNG.standard_normal((2, 3, 4, 5)).astype(np.float32)
    assert tidied(f"(float[n,3,4,5] x) => (float[n,3,4,5] y) {{ {chain} }}", image, slope=slope) == "Mul Max"


OTHERS = {
    "some slopes above 1": (CHAIN, np.array([[-0.25], [0.5], [-1.5]])),
    "of another tensor": ("z = Sigmoid(x) " + CHAIN.replace("Neg(x)", "Neg(z)"), np.array(-0.25)),
    "both positive": (CHAIN.replace("Relu(n)", "Relu(x)"), np.array(-0.25)),
    "a slope that spreads the tensor": (CHAIN.replace("4] y", "8] y"), -RNG.uniform(0, 1, (2, 1, 1, 1))),
}


@pytest.mark.parametrize("case", OTHERS)
def test_what_is_something_else_stays(case: str) -> None:
    chain, slope = OTHERS[case]
    shape = "float[2,n,3,4]" if slope.ndim > 3 else "float[n,3,4]"
    left = tidied(f"(float[n,3,4] x) => ({shape} y) {{ {chain} }}", X, slope=slope)
    assert "Add" in left.split()


def test_a_positive_scale_folds_through() -> None:
    text = f"""(float[n,6] x0) => (float[n,4] y1) {{
        x = Gemm(x0, kernel) {CHAIN} z = Mul(y, gamma) y1 = Sigmoid(z)
    }}"""
    constants = {
        "kernel": RNG.standard_normal((6, 4)),
        "slope": -RNG.uniform(0, 1, 4),
        "gamma": RNG.uniform(0.5, 2, 4),
    }
    source = graphs.model(text, **constants)
    before = ir.from_proto(ir.to_proto(source))
    after, _ = graphs.folded(source)
    assert graphs.operators(after) == "Gemm Mul Max Sigmoid"
    graphs.assert_same(before, after, RNG.standard_normal((5, 6)).astype(np.float32))


FLOATS = st.floats(-(2.0**100), 2.0**100, width=32)


@given(
    x=arrays.arrays(np.float32, (2, 3), elements=FLOATS),
    slope=arrays.arrays(np.float32, 3, elements=st.floats(-2, 1, width=32)),
)
def test_to_the_last_bit(x: np.ndarray, slope: np.ndarray) -> None:
    source = graphs.model(f"(float[n,3] x) => (float[n,3] y) {{ {CHAIN} }}", slope=-slope)
    before = ir.from_proto(ir.to_proto(source))
    prepare(source)
    tidy(source)
    assert len(source.graph) <= 2
    for expected, actual in zip(graphs.run(before, x), graphs.run(source, x), strict=True):
        np.testing.assert_array_equal(actual, expected)
