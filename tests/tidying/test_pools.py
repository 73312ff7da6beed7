"""Means and maxima over images, as global pools where a convolution made the image."""

from __future__ import annotations

import numpy as np
import pytest

from tests.tidying.test_layout import IMAGE, RNG, tidied

CONSTANTS = {
    "kernel": RNG.standard_normal((3, 4, 3, 3)),
    "bias": RNG.standard_normal((3, 1, 1)),
    "image": np.array([2, 3]),
    "backward": np.array([-1, -2]),
    "rows": np.array([2]),
    "channels": np.array([1, 2]),
}
MEAN, MAX = "ReduceMean<keepdims=0>", "ReduceMax<keepdims=0>"
# the text behind `c = Conv(x, kernel)`, the rank of y, and what is left
CASES = {
    "mean": (f"y = {MEAN}(c, image)", 2, "Conv GlobalAveragePool Flatten"),
    "maximum": (f"y = {MAX}(c, image)", 2, "Conv GlobalMaxPool Flatten"),
    "mean of what is read twice": (f"m = {MEAN}(c, image) n = Neg(m) y = Add(m, n)", 2, None),
    "axes that are kept": ("y = ReduceMean(c, image)", 4, "Conv GlobalAveragePool"),
    "axes from the end": (f"y = {MEAN}(c, backward)", 2, "Conv GlobalAveragePool Flatten"),
    "behind an activation": (f"r = Relu(c) y = {MEAN}(r, image)", 2, "Conv Relu GlobalAveragePool Flatten"),
    "behind a gate": (f"s = Sigmoid(c) m = Mul(s, c) y = {MEAN}(m, image)", 2, None),
    "behind a constant": (f"a = Add(c, bias) y = {MEAN}(a, image)", 2, None),
    "rows": ("y = ReduceMean(c, rows)", 4, "Conv ReduceMean"),
    "channels": ("y = ReduceMean(c, channels)", 4, "Conv ReduceMean"),
    "behind no convolution": (f"s = Softmax(c) y = {MEAN}(s, image)", 2, "Conv Softmax ReduceMean"),
    "a sum with something else": (
        f"w = Softmax(c) a = Add(c, w) y = {MEAN}(a, image)",
        2,
        "Conv Softmax Add ReduceMean",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_reduction_of_what_a_convolution_makes_is_a_pool(case: str) -> None:
    text, rank, expected = CASES[case]
    result = ",".join(["n", "c", "h", "w"][:rank])
    operators = tidied(
        f"(float[n,4,5,6] x) => (float[{result}] y) {{ c = Conv(x, kernel) {text} }}", IMAGE, **CONSTANTS
    )
    if expected is None:
        assert "GlobalAveragePool Flatten" in operators
    else:
        assert operators == expected


def test_what_no_convolution_made_stays_a_reduction() -> None:
    text = f"(float[n,4,5,6] x) => (float[n,c] y) {{ y = {MEAN}(x, image) }}"
    assert tidied(text, IMAGE, image=CONSTANTS["image"]) == "ReduceMean"
