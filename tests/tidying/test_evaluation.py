"""Shapes that are computed from shapes become constants."""

from __future__ import annotations

import numpy as np
import pytest

from tests.tidying.test_layout import IMAGE, tidied

CONSTANTS = {
    "zero": np.array([0]),
    "one": np.array([1]),
    "two": np.array([2]),
    "three": np.array([3]),
    "four": np.array([4]),
    "inner": np.array([1, 2]),
    "pair": np.array([0, 1]),
    "square": np.eye(6) * 2.0,
    "last": np.array([2, 3]),
    "minus": np.array([-1]),
}
SHAPE = "s = Shape(x) n1 = Gather(s, zero)"
CHAINS = {
    # the way of tf2onnx's Tensordot: all axes but the last as one, and back
    "a product of extents": (
        f"{SHAPE} r = Gather(s, inner) k = ReduceProd(r) l = Gather(s, three) t = Concat<axis=0>(n1, k, l) "
        "y = Reshape(x, t)",
        "Reshape",
    ),
    "with the batch in the product": (
        "s = Shape(x) a = Slice(s, zero, three) k = ReduceProd<keepdims=0>(a, zero) u = Unsqueeze(k, zero) "
        "l = Gather(s, three) t = Concat<axis=0>(u, l) f = Reshape(x, t) y = Relu(f)",
        "Reshape Relu",
    ),
    # the way of an einsum: batch and heads as one, the rest as it comes
    "a product of extents that only the input decides": (
        f"{SHAPE} r = Gather(s, pair) k = ReduceProd(r) l = Gather(s, three) t = Concat<axis=0>(k, minus, l) "
        "m = Reshape(x, t) e = MatMul(m, square) s2 = Shape(e) r2 = Gather(s2, pair) k2 = ReduceProd(r2) "
        "t2 = Concat<axis=0>(k2, l) y = Reshape(e, t2)",
        "Reshape MatMul Reshape",
    ),
    "arithmetic": (
        f"{SHAPE} a = Gather(s, two) b = Mul(a, two) c = Sub(b, one) d = Add(c, one) e = Max(d, four) "
        "g = Min(e, d) t = Concat<axis=0>(n1, two, g, minus) y = Reshape(x, t)",
        "Reshape",
    ),
    "through a cast": (
        f"{SHAPE} h = Cast<to=6>(s) g = Gather(h, inner) w = Cast<to=7>(g) t = Concat<axis=0>(n1, w, minus) "
        "y = Reshape(x, t)",
        "Reshape",
    ),
    "a scale of attention": (
        "s = Shape<start=3>(x) h = Cast<to=1>(s) r = Sqrt(h) y = Div(x, r)",
        "Div",
    ),
    "an index that only the input decides": (
        f"{SHAPE} u = Slice(s, zero, n1) p = ReduceProd(u) c = Cast<to=1>(p) y = Mul(x, c)",
        "Shape Gather Slice ReduceProd Cast Mul",
    ),
    "a matrix of extents": (
        "s = Shape<start=1>(x) u = Unsqueeze(s, zero) m = Concat<axis=1>(u, u) h = Cast<to=1>(m) "
        "w = ReduceMean<keepdims=0>(x) y = Mul(h, w)",
        "ReduceMean Mul",
    ),
    "a shape that is known": ("s = Shape<start=1>(x) e = Expand(twin, s) y = Mul(x, e)", "Mul"),
}


@pytest.mark.parametrize("case", CHAINS)
def test_chains_of_shapes_become_constants(case: str) -> None:
    text, expected = CHAINS[case]
    constants = CONSTANTS | {"twin": np.full((1, 1, 1), 2.0)}
    result = RANKS.get(case, "a,b,c,d")
    assert tidied(f"(float[n,4,5,6] x) => (float[{result}] y) {{ {text} }}", IMAGE, **constants) == expected


RANKS = {
    "a product of extents that only the input decides": "b,c",
    "a product of extents": "n,b,c",
    "with the batch in the product": "b,c",
    "a matrix of extents": "a,b",
}
