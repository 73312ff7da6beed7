"""Layer normalisation as Keras writes it on TensorFlow is one node, and no other chain that resembles it."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper, parser

from edgebn.tidying import prepare, tidy
from tests.folding import graphs
from tests.tidying.test_layout import tidied

RNG = np.random.default_rng(0)
ROWS = RNG.standard_normal((2, 5, 6)).astype(np.float32)
CHAIN = """m = ReduceMean(x, axes) d = Sub(x, m) q = Mul(d, d) v = ReduceMean(q, axes) e = Add(v, epsilon) r = Sqrt(e)
    i = Reciprocal(r) s = Mul(i, gamma) p = Mul(x, s) n = Neg(m) t = Mul(n, s) u = Add(t, beta) y = Add(p, u)"""
NO_SCALE = CHAIN.replace("s = Mul(i, gamma)", "").replace(" s)", " i)")
NO_SHIFT = CHAIN.replace("u = Add(t, beta)", "").replace(", u)", ", t)")
CONSTANTS = {
    "axes": np.array([-1]),
    "epsilon": np.array(1e-3),
    "gamma": RNG.standard_normal((1, 1, 6)),
    "beta": RNG.standard_normal(6),
}
NEITHER = NO_SCALE.replace("u = Add(t, beta)", "").replace(", u)", ", t)")


def normalised(chain: str, **constants: np.ndarray) -> str:
    used = {name: array for name, array in (CONSTANTS | constants).items() if f"{name})" in chain}
    return tidied(f"(float[n,5,6] x) => (float[n,5,6] y) {{ {chain} }}", ROWS, **used)


@pytest.mark.parametrize("chain", [CHAIN, NO_SCALE, NO_SHIFT, NEITHER])
def test_one_node(chain: str) -> None:
    assert normalised(chain) == "LayerNormalization"


@pytest.mark.parametrize("gamma", [(6,), (1, 6), (5, 1), (5, 6), (1,), (1, 1, 1)])
def test_over_two_axes(gamma: tuple[int, ...]) -> None:
    constants = {"axes": np.array([1, 2]), "gamma": RNG.standard_normal(gamma)}
    assert normalised(CHAIN, **constants) == "LayerNormalization"


OTHERS = {
    "over the batch": (CHAIN, {"axes": np.array([0])}),
    "a constant for each row under the root": (CHAIN, {"epsilon": np.full((5, 1), 1e-3)}),
    "squares of another": (CHAIN.replace("Mul(d, d)", "Mul(d, x)"), {}),
    "another mean": (CHAIN.replace("Neg(m)", "Neg(v)"), {}),
    "the mean of another": (CHAIN.replace("m = ReduceMean(x,", "z = Relu(x) m = ReduceMean(z,"), {}),
    "two scales": (CHAIN.replace("Mul(x, s)", "Mul(x, i)"), {}),
}


@pytest.mark.parametrize("case", OTHERS)
def test_what_is_something_else_stays(case: str) -> None:
    chain, constants = OTHERS[case]
    assert "LayerNormalization" not in normalised(chain, **constants)


def test_one_element_less_its_mean_stays() -> None:
    constants = {"gamma": np.full(1, 0.5), "beta": np.full(1, 2.0), "axes": np.array([-1]), "epsilon": np.array(1e-3)}
    left = tidied(f"(float[n,5,1] x) => (float[n,5,1] y) {{ {CHAIN} }}", ROWS[..., :1], **constants)
    assert "LayerNormalization" not in left


@pytest.mark.parametrize(("name", "rest"), [("gamma", "Mul Add"), ("beta", "Add")])
def test_a_constant_for_each_row_stands_behind(name: str, rest: str) -> None:
    constants = {name: RNG.standard_normal((5, 1))}
    assert normalised(CHAIN, **constants) == f"LayerNormalization {rest}"


def test_not_before_the_opset_that_has_it() -> None:
    model = graphs.model(f"(float[n,5,6] x) => (float[n,5,6] y) {{ {NO_SCALE} }}", **CONSTANTS)
    model.opset_imports[""] = 16
    prepare(model)
    tidy(model)
    assert "LayerNormalization" not in graphs.operators(model)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1), extent=st.integers(1, 40), offset=st.floats(-100, 100), scale=st.floats(1e-2, 1e2)
)
def test_no_further_from_the_truth_than_the_chain(seed: int, extent: int, offset: float, scale: float) -> None:
    """σ² from x² − μ² would lose what the offset has more digits of."""
    rng = np.random.default_rng(seed)
    constants = CONSTANTS | {"gamma": rng.standard_normal(extent), "beta": rng.standard_normal(extent)}
    source = graphs.model(f"(float[n,5,{extent}] x) => (float[n,5,{extent}] y) {{ {CHAIN} }}", **constants)
    before = ir.from_proto(ir.to_proto(source))
    prepare(source)
    tidy(source)
    x = (offset + scale * rng.standard_normal((2, 5, extent))).astype(np.float32)
    (chain,), (joined,) = graphs.run(before, x), graphs.run(source, x)
    exact = x.astype(np.float64)
    gamma, beta = (np.float32(constants[name]).astype(np.float64) for name in ("gamma", "beta"))
    difference = exact - exact.mean(axis=-1, keepdims=True)
    truth = gamma * difference / np.sqrt((difference**2).mean(axis=-1, keepdims=True) + np.float32(1e-3)) + beta
    # both round at most some ten times; 1e-6 of the largest result where the chain happens to be exact
    bound = 2.0 * np.abs(chain - truth).max() + 1e-6 * np.abs(truth).max()
    assert np.abs(joined - truth).max() <= bound


BEHIND = "a = LayerNormalization(x, gamma) b = Mul(a, factor) y = Add(b, gamma)"


@pytest.mark.parametrize("kind", [np.float16, np.float64])
def test_the_weights_keep_their_type(kind: type) -> None:
    text = f"(float[n,5,6] x) => (float[n,5,6] y) {{ {BEHIND} }}".replace("float[", f"{np.dtype(kind).name}[")
    proto = parser.parse_model(f'<ir_version: 8, opset_import: ["": 18]> g {text.replace("float64", "double")}')
    arrays = {name: RNG.standard_normal(6).astype(kind) for name in ("gamma", "factor")}
    proto.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in arrays.items())
    source = ir.from_proto(proto)
    before = ir.from_proto(proto)
    prepare(source)
    tidy(source)
    assert graphs.operators(source) == "LayerNormalization"
    (expected,), (actual,) = graphs.run(before, ROWS.astype(kind)), graphs.run(source, ROWS.astype(kind))
    assert actual.dtype == kind
    np.testing.assert_allclose(actual, expected, rtol=0, atol=8 * np.finfo(kind).eps * np.abs(expected).max())


def test_weights_that_would_be_infinite_stay_apart() -> None:
    constants = {"gamma": np.full(6, 1e30), "factor": np.full(6, 1e30)}
    source = graphs.model(f"(float[n,5,6] x) => (float[n,5,6] y) {{ {BEHIND} }}", **constants)
    prepare(source)
    tidy(source)
    assert graphs.operators(source) == "LayerNormalization Mul Add"


def test_over_the_channels_of_an_image() -> None:
    """One normalisation, and Transposes for both sides of it that wish for channels first."""
    constants = {
        "axes": np.array([1]),
        "gamma": RNG.standard_normal((6, 1, 1)),
        "beta": RNG.standard_normal((1, 6, 1, 1)),
    }
    image = RNG.standard_normal((2, 6, 3, 4)).astype(np.float32)
    text = f"(float[n,6,3,4] x) => (float[n,6,3,4] y) {{ {CHAIN} }}"
    assert tidied(text, image, **CONSTANTS | constants) == "Transpose LayerNormalization Transpose"
    last = f"(float[n,6,3,4] x) => (float[n,3,4,6] z) {{ {CHAIN} z = Transpose<perm=[0,2,3,1]>(y) }}"
    assert tidied(last, image, **CONSTANTS | constants) == "Transpose LayerNormalization"


@pytest.mark.parametrize("read", ["p", "u"])
def test_no_transposes_for_what_stays(read: str) -> None:
    constants = {"axes": np.array([1]), "gamma": RNG.standard_normal((6, 1)), "beta": RNG.standard_normal((6, 1))}
    text = f"(float[n,6,3] x) => (float[n,6,3] y, float[n,6,3] {read}) {{ {CHAIN} }}"
    left = tidied(text, RNG.standard_normal((2, 6, 3)).astype(np.float32), **CONSTANTS | constants)
    assert "Transpose" not in left
