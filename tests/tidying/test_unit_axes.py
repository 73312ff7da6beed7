"""A Squeeze behind a convolution of rows and the Unsqueeze before the next cancel, whatever stands between."""

from __future__ import annotations

import numpy as np
import pytest

from tests.tidying.test_layout import RNG, tidied

ROWS = RNG.standard_normal((2, 4, 7)).astype(np.float32)
CONSTANTS = {
    "kernel": RNG.standard_normal((4, 4, 1, 2)),
    "high": np.array([2]),
    "first": np.array([1]),
    "scalar": np.array(0.5),
    "per_channel": RNG.standard_normal((4, 1)),
    "per_place": RNG.standard_normal(6),
    "widths": np.array([0, 0, 2, 0, 0, 1]),
    "padded_rows": np.array([0, 2, 0, 0, 0, 0]),
    "factors": np.array([1.0, 1.0, 2.0]),
    "picked": np.array([2, 0, 1]),
    "start": np.array([1]),
    "end": np.array([4]),
    "place": np.array([-1]),
}
BETWEEN = {
    "nothing": ("b = Identity(a)", "Conv Conv"),
    "Relu": ("b = Relu(a)", "Conv Relu Conv"),
    "by channels": ("b = Max(per_channel, a)", "Conv Max Conv"),
    "by places": ("b = Mul(a, per_place)", "Conv Mul Conv"),
    "a gate": ("p = ReduceMean<keepdims=1>(a, place) q = Sigmoid(p) b = Mul(a, q)", "Conv ReduceMean Sigmoid Mul Conv"),
    "a border": ("b = Pad(a, widths)", "Conv Conv"),
    "a border behind Relu": ("p = Relu(a) b = Pad(p, widths)", "Conv Relu Conv"),
    "a border of ones": ("p = Relu(a) b = Pad(p, widths, scalar)", "Conv Relu Pad Conv"),
    "repeated places": ('b = Resize<mode="nearest">(a, , factors)', "Conv Resize Conv"),
    "Concat": ("p = Relu(a) q = Sigmoid(a) b = Concat<axis=2>(p, q)", "Conv Relu Sigmoid Concat Conv"),
    "Slice": ("b = Slice(a, start, end, place)", "Conv Slice Conv"),
    "Gather": ("b = Gather<axis=-1>(a, picked)", "Conv Gather Conv"),
    "Softmax": ("b = Softmax<axis=1>(a)", "Conv Softmax Conv"),
    "a residual": ("p = Relu(a) b = Add(p, a)", "Conv Relu Add Conv"),
}


@pytest.mark.parametrize("case", BETWEEN)
def test_between_two_convolutions_of_rows(case: str) -> None:
    between, expected = BETWEEN[case]
    text = f"""(float[n,4,7] x) => (float[n,4,1,m] y) {{
        r = Unsqueeze(x, high) c = Conv(r, kernel) a = Squeeze(c, high) {between}
        d = Unsqueeze(b, high) y = Conv(d, kernel)
    }}"""
    assert tidied(text, ROWS, **CONSTANTS) == f"Unsqueeze {expected}"


ENDS = {
    "an output": ("y = Relu(a)", "Conv Relu Squeeze"),
    "a mean": ("p = Relu(a) y = ReduceMean<keepdims=0>(p, place)", "Conv Relu GlobalAveragePool Flatten"),
    "two outputs": ("y = Relu(a) z = Sigmoid(y)", "Conv Relu Squeeze Sigmoid"),
    "Transposes": ("p = Relu(a) y = Transpose<perm=[0,2,1]>(p)", "Conv Relu Squeeze Transpose"),
}


@pytest.mark.parametrize("case", ENDS)
def test_behind_the_last_convolution_of_rows(case: str) -> None:
    text, expected = ENDS[case]
    outputs = (
        "float[n,a,b] y, float[n,c,d] z" if "z =" in text else "float[n,b] y" if case == "a mean" else "float[n,a,b] y"
    )
    text = (
        f"(float[n,4,7] x) => ({outputs}) {{ r = Unsqueeze(x, high) c = Conv(r, kernel) a = Squeeze(c, high) {text} }}"
    )
    assert tidied(text, ROWS, **CONSTANTS) == f"Unsqueeze {expected}"


def test_a_border_in_the_layout_of_tensorflow() -> None:
    text = """(float[n,7,4] x) => (float[n,4,1,m] y) {
        p = Pad(x, padded_rows) r = Unsqueeze(p, first) t = Transpose<perm=[0,3,1,2]>(r) y = Conv(t, kernel)
    }"""
    assert tidied(text, ROWS.transpose(0, 2, 1).copy(), **CONSTANTS) == "Unsqueeze Transpose Conv"


def test_rows_that_others_need_stay_rows() -> None:
    text = """(float[n,4,7] x) => (float[n,6,6] y) {
        r = Unsqueeze(x, high) c = Conv(r, kernel) a = Squeeze(c, high) b = Relu(a)
        t = Transpose<perm=[0,2,1]>(a) y = MatMul(t, b)
    }"""
    assert tidied(text, ROWS, **CONSTANTS) == "Unsqueeze Conv Squeeze Relu Transpose MatMul"


FORKS = {
    "two outputs": ("p = Relu(a) y = Sigmoid(p) z = Tanh(p)", "Conv Relu Squeeze Sigmoid Tanh"),
    "two outputs at once": ("y = Sigmoid(a) z = Tanh(a)", "Conv Squeeze Sigmoid Tanh"),
    "one that goes on": ("y = Relu(a) u = Unsqueeze(y, high) z = Conv(u, kernel)", "Conv Relu Squeeze Conv"),
    "one that is an output itself": ("y = Identity(a) p = Relu(a) u = Unsqueeze(p, high) z = Conv(u, kernel)", ""),
    "one that joins again": (
        "p = Sigmoid(a) q = Tanh(a) y = Mul(p, q) z = Relu(y)",
        "Conv Sigmoid Tanh Mul Squeeze Relu",
    ),
}


@pytest.mark.parametrize("case", FORKS)
def test_no_more_squeezes_than_there_were(case: str) -> None:
    fork, expected = FORKS[case]
    z = "float[n,4,1,q] z" if "z = Conv" in fork else "float[n,4,r] z"
    text = f"""(float[n,4,7] x) => (float[n,4,p] y, {z}) {{
        r = Unsqueeze(x, high) c = Conv(r, kernel) a = Squeeze(c, high) {fork}
    }}"""
    assert tidied(text, ROWS, **CONSTANTS) == f"Unsqueeze {expected or 'Conv Squeeze Relu Conv'}"


def test_readers_in_a_body_count() -> None:
    text = """(float[n,4,7] x, bool[1] b) => (float[n,4,p] y) {
        r = Unsqueeze(x, high) c = Conv(r, kernel) a = Squeeze(c, high) p = Relu(a) s = Sigmoid(p) t = Tanh(p)
        y = If(b) <then_branch = g1 () => (float[n,4,p] u) { u = Add(s, p) },
                   else_branch = g2 () => (float[n,4,p] v) { v = Mul(t, p) }>
    }"""
    expected = "Unsqueeze Conv Relu Squeeze Sigmoid Tanh If"
    assert tidied(text, ROWS, np.array([True]), **CONSTANTS) == expected
