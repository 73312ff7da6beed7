"""Transposes that cancel when a whole region turns, and weights that take them."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgebn.tidying import prepare, tidy
from tests.folding import graphs

RNG = np.random.default_rng(0)
IMAGE = RNG.standard_normal((2, 4, 5, 6)).astype(np.float32)
LAST, FIRST = "Transpose<perm=[0,2,3,1]>", "Transpose<perm=[0,3,1,2]>"
CONSTANTS = {
    "kernel": RNG.standard_normal((4, 4, 1, 1)),
    "per_channel": RNG.standard_normal(4),
    "per_row": RNG.standard_normal((5, 1, 1)),
    "scalar": np.array(0.5),
    "slope": RNG.standard_normal((1, 1, 4)),
    "spatial": np.array([1, 2]),
    "channels": np.array([3]),
    "widths": np.array([0, 1, 2, 0, 0, 0, 1, 3]),
    "starts": np.array([1, 0]),
    "ends": np.array([4, 3]),
    "picked": np.array([2, 0, 1]),
    "twice": np.array([1, 2, 1, 1]),
    "factors": np.array([1.0, 2.0, 2.0, 1.0]),
}


def tidied(text: str, *inputs: np.ndarray, **constants: np.ndarray) -> str:
    """The operators after clean-up, which leaves a valid graph that computes exactly the same."""
    before, model = graphs.model(text, **constants), graphs.model(text, **constants)
    prepare(model)
    tidy(model)
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    assert [value.name for value in model.graph.outputs] == [value.name for value in before.graph.outputs]
    for expected, actual in zip(graphs.run(before, *inputs), graphs.run(model, *inputs), strict=True):
        assert expected.shape == actual.shape
        np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-6)  # float32, sums of at most 120 terms
    return graphs.operators(model)


# what stands between the layouts, and what is then left between the convolutions
BETWEEN = {
    "Relu": "b = Relu(a)",
    "Clip": "b = Clip(a, scalar)",
    "Add of one constant": "b = Add(a, scalar)",
    "Mul by channels": "b = Mul(per_channel, a)",
    "Sub by rows": "b = Sub(a, per_row)",
    "PRelu": "b = PRelu(a, slope)",
    "hard swish": "p = Add(a, scalar) q = Clip(p, scalar) b = Mul(a, q)",
    "Concat and Split": "p = Sigmoid(a) q = Concat<axis=3>(a, p) r, s = Split<axis=-1,num_outputs=2>(q) b = Sub(s, r)",
    "Concat with a constant": "p = Concat<axis=3>(batch, a) b = Slice(p, starts2, ends2, last_axis)",
    "Softmax": "b = Softmax(a)",
    "Softmax of rows": "b = Softmax<axis=1>(a)",
    "a gate": "p = ReduceMean(a, spatial) q = Sigmoid(p) b = Mul(a, q)",
    "a gate by channels": "p = ReduceMax(a, channels) b = Mul(a, p)",
    "Pad": "b = Pad(a, widths)",
    "Slice": "b = Slice(a, starts, ends, spatial)",
    "Slice of the first axes": "b = Slice(a, starts1, ends1)",
    "Gather": "b = Gather<axis=2>(a, picked)",
    "Tile": "b = Tile(a, twice)",
    "Resize": 'b = Resize<mode="nearest">(a, , factors)',
}


@pytest.mark.parametrize("case", BETWEEN)
def test_what_stands_between_two_layouts_turns(case: str) -> None:
    between = BETWEEN[case]
    text = f"""(float[n,4,5,6] x) => (float[n,m,h,w] y) {{
        c = Conv(x, kernel) a = {LAST}(c) {between} d = {FIRST}(b) y = Conv(d, last)
    }}"""
    constants = CONSTANTS | {
        "last": RNG.standard_normal((2, 7 if case == "Pad" else 4, 1, 1)),
        "batch": RNG.standard_normal((2, 5, 6, 3)),
        "starts1": np.array([0, 1]),
        "ends1": np.array([9, 4]),
        "starts2": np.array([1]),
        "ends2": np.array([5]),
        "last_axis": np.array([3]),
    }
    used = {
        name: array
        for name, array in constants.items()
        if name in text.replace("(", " ").replace(",", " ").replace(")", " ").split()
    }
    assert "Transpose" not in tidied(text, IMAGE, **used)


@pytest.mark.parametrize("keepdims", [0, 1])
def test_a_reduction_at_the_end(keepdims: int) -> None:
    shape = "float[n,4]" if keepdims == 0 else "float[n,1,1,4]"
    text = f"""(float[n,4,5,6] x) => ({shape} y) {{
        a = {LAST}(x) b = Relu(a) y = ReduceMean<keepdims={keepdims}>(b, spatial)
    }}"""
    expected = "Relu ReduceMean" if keepdims == 0 else "Relu ReduceMean Reshape"
    assert tidied(text, IMAGE, spatial=CONSTANTS["spatial"]) == expected


def test_a_region_that_two_layouts_meet_in_turns_to_the_commoner_one() -> None:
    text = f"""(float[n,4,5,6] x, float[n,5,6,4] z) => (float[n,4,5,6] y) {{
        a = {LAST}(x) b = Relu(a) c = Add(b, z) d = Neg(c) y = {FIRST}(d)
    }}"""
    assert tidied(text, IMAGE, IMAGE.transpose(0, 2, 3, 1).copy()) == "Relu Transpose Add Neg"


def test_a_region_stays_where_turning_gains_nothing() -> None:
    text = f"(float[n,4,5,6] x) => (float[n,5,6,4] y) {{ a = Relu(x) b = {LAST}(a) y = Neg(b) }}"
    assert tidied(text, IMAGE).split().count("Transpose") == 1


def test_readers_outside_of_the_region_still_get_the_old_layout() -> None:
    text = f"""(float[n,4,5,6] x) => (float[n,4,5,6] y, float[n,5,6,2] z) {{
        a = {LAST}(x) b = Relu(a) c = Neg(b) y = {FIRST}(c) z = MatMul(b, dense)
    }}"""
    assert tidied(text, IMAGE, dense=RNG.standard_normal((4, 2))).split().count("Transpose") == 1


def test_products_take_a_transpose_once() -> None:
    """The flattened tensor is the product's first input and its bias: only the first is multiplied."""
    text = """(float[n,2,3] x) => (float[n,6] y) {
        t = Transpose<perm=[0,2,1]>(x) f = Flatten(t) y = Gemm(f, w, f)
    }"""
    x = RNG.standard_normal((2, 2, 3)).astype(np.float32)
    assert tidied(text, x, w=RNG.standard_normal((6, 6))) == "Transpose Flatten Gemm"


def test_a_flatten_of_more_axes_than_the_first() -> None:
    text = """(float[n,4,1] x) => (float[n,2] y) {
        t = Transpose<perm=[0,2,1]>(x) f = Flatten<axis=2>(t) y = Gemm(f, w)
    }"""
    x = RNG.standard_normal((2, 4, 1)).astype(np.float32)
    assert tidied(text, x, w=RNG.standard_normal((4, 2))) == "Flatten Gemm"


def test_integers_have_no_gemm() -> None:
    text = "(int32[n,4] x) => (int32[n,2] y) { y = MatMul(x, w) }"
    model = graphs.model(text.replace("w)", "c)").replace("{", "{ c = Cast<to=6>(w)"), w=np.arange(8).reshape(4, 2))
    prepare(model)
    assert graphs.operators(model).endswith("MatMul")


def test_reshapes_in_a_row_are_one() -> None:
    text = """(float[n,4,5,6] x) => (float[n,120] y) {
        a = Reshape(x, first) b = Unsqueeze(a, axis) c = Squeeze(b, axis) d = Reshape(c, second) y = Flatten(d)
    }"""
    constants = {"first": np.array([0, 20, 6]), "axis": np.array([1]), "second": np.array([-1, 12, 10])}
    assert tidied(text, IMAGE, **constants) == "Flatten"


def test_a_reduction_keeps_the_axes_that_come_back() -> None:
    text = """(float[n,4,5,6] x) => (float[n,4,1,1] y) {
        a = ReduceMean<keepdims=0>(x, spatial) b = Reshape(a, target) y = Relu(b)
    }"""
    constants = {"spatial": np.array([2, 3]), "target": np.array([-1, 4, 1, 1])}
    assert tidied(text, IMAGE, **constants) == "ReduceMean Relu"


NOTHING_MOVES = {
    "Flatten": ("p = Gemm(x, matrix) s = Softmax(p) y = Flatten(s)", "Gemm Softmax"),
    "Reshape to what it is": ("s = Softmax(x) y = Reshape(s, whole)", "Softmax"),
    "Transposes that cancel": ("r = Relu(x) t = Transpose(r) y = Transpose(t)", "Relu"),
    "Flatten of what else is an output": ("y = Flatten(x)", "Identity"),
}


@pytest.mark.parametrize("case", NOTHING_MOVES)
def test_what_moves_nothing_goes_in_front_of_an_output_too(case: str) -> None:
    text, expected = NOTHING_MOVES[case]
    x = RNG.standard_normal((3, 4)).astype(np.float32)
    constants = {"matrix": RNG.standard_normal((4, 4)), "whole": np.array([-1, 4])}
    assert tidied(f"(float[n,4] x) => (float[n,4] y) {{ {text} }}", x, **constants) == expected


TURNED_MATRICES = {
    "Gemm": ("t = Transpose(x) y = Gemm(t, weights, bias)", "Gemm"),
    "MatMul": ("t = Transpose(x) y = MatMul(t, weights)", "Gemm"),
    "Gemm that turns it back": ("t = Transpose(x) y = Gemm<transA=1>(t, others)", "Gemm"),
    "what others read too": (
        "t = Transpose(x) r = Relu(t) g = Gemm(t, weights) y = Add(g, r)",
        "Transpose Relu Gemm Add",
    ),
}


@pytest.mark.parametrize("case", TURNED_MATRICES)
def test_a_gemm_turns_a_matrix_itself(case: str) -> None:
    text, expected = TURNED_MATRICES[case]
    x = RNG.standard_normal((3, 4)).astype(np.float32)
    constants = {
        "weights": RNG.standard_normal((3, 3)),
        "bias": RNG.standard_normal(3),
        "others": RNG.standard_normal((4, 3)),
    }
    assert tidied(f"(float[3,4] x) => (float[m,3] y) {{ {text} }}", x, **constants) == expected
