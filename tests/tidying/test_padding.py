"""Borders that a Conv or a pool makes itself, and those that it must not."""

from __future__ import annotations

import numpy as np
import pytest

from tests.tidying.test_layout import IMAGE, RNG, tidied

CONSTANTS = {
    "kernel": RNG.standard_normal((3, 4, 3, 3)),
    "wide": np.array([0, 0, 1, 2, 0, 0, 0, 1]),
    "too_wide": np.array([0, 0, 3, 0, 0, 0, 0, 0]),
    "channels": np.array([0, 1, 1, 0, 0, 0, 0, 0]),
    "cropped": np.array([0, 0, -1, 0, 0, 0, 0, 0]),
    "pairs": np.array([1, 0, 2, 1]),
    "both": np.array([-1, 2]),
    "pair": np.array([1, 2]),
    "last": np.array([-1]),
    "zero": np.array(0.0),
    "one": np.array(1.0),
    "least": np.array(-np.inf),
    "six": np.array(6.0),
}
MAX, MEAN = "MaxPool<kernel_shape=[3,3]>", "AveragePool<kernel_shape=[3,3]>"
MERGED = {
    "Conv": ("p = Pad(x, wide) y = Conv(p, kernel)", "Conv"),
    "Conv with a border of its own": (
        "p = Pad(x, wide, zero) y = Conv<pads=[1,0,1,0],strides=[2,1]>(p, kernel)",
        "Conv",
    ),
    "Conv that says VALID": ('p = Pad(x, wide) y = Conv<auto_pad="VALID">(p, kernel)', "Conv"),
    "Conv that says SAME": ('p = Pad(x, wide) y = Conv<auto_pad="SAME_UPPER">(p, kernel)', "Pad Conv"),
    "Conv of ones": ("p = Pad(x, wide, one) y = Conv(p, kernel)", "Pad Conv"),
    "a cropped Conv": ("p = Pad(x, cropped) y = Conv(p, kernel)", "Pad Conv"),
    "a reflected border": ('p = Pad<mode="reflect">(x, wide) y = Conv(p, kernel)', "Pad Conv"),
    "MaxPool of what may be negative": (f"p = Pad(x, wide) y = {MAX}(p)", "Pad MaxPool"),
    "MaxPool behind Relu": (f"r = Relu(x) p = Pad(r, wide) y = {MAX}(p)", "Relu MaxPool"),
    "MaxPool behind Clip": (f"r = Clip(x, zero, six) p = Pad(r, wide) y = {MAX}(p)", "Clip MaxPool"),
    "MaxPool of least values": (f"p = Pad(x, wide, least) y = {MAX}(p)", "MaxPool"),
    "MaxPool of nothing but border": (f"r = Relu(x) p = Pad(r, too_wide) y = {MAX}(p)", "Relu Pad MaxPool"),
    "MaxPool with a border of its own": (
        "r = Relu(x) p = Pad(r, wide) y = MaxPool<kernel_shape=[3,3],pads=[1,1,1,1]>(p)",
        "Relu Pad MaxPool",
    ),
    "MaxPool that rounds up": (
        "r = Relu(x) p = Pad(r, wide) y = MaxPool<kernel_shape=[3,3],strides=[2,2],ceil_mode=1>(p)",
        "Relu Pad MaxPool",
    ),
    "AveragePool": (f"p = Pad(x, wide) y = {MEAN}(p)", "AveragePool"),
    "Conv behind a Pad of some axes": ("p = Pad(x, pairs, , both) y = Conv(p, kernel)", "Conv"),
    "Conv behind a Pad of one axis by no zeros": ("p = Pad(x, pair, one, last) y = Conv(p, kernel)", "Pad Conv"),
    "AveragePool of ones": (f"p = Pad(x, wide, one) y = {MEAN}(p)", "Pad AveragePool"),
}


@pytest.mark.parametrize("case", MERGED)
def test_a_border_is_made_by_who_reads_it(case: str) -> None:
    text, expected = MERGED[case]
    assert tidied(f"(float[n,4,5,6] x) => (float[n,c,h,w] y) {{ {text} }}", IMAGE, **CONSTANTS) == expected


def test_more_channels_are_no_border() -> None:
    text = "(float[n,4,5,6] x) => (float[n,c,h,w] y) { p = Pad(x, channels) y = Conv(p, five) }"
    assert tidied(text, IMAGE, channels=CONSTANTS["channels"], five=RNG.standard_normal((2, 5, 1, 1))) == "Pad Conv"


def test_each_reader_decides_for_itself() -> None:
    text = f"""(float[n,4,5,6] x) => (float[n,c,h,w] y, float[n,4,h2,w2] z) {{
        p = Pad(x, wide) y = Conv(p, kernel) z = {MAX}(p)
    }}"""
    assert tidied(text, IMAGE, **CONSTANTS) == "Pad Conv MaxPool"


def test_positions_of_the_largest_count_the_border() -> None:
    text = f"""(float[n,4,5,6] x) => (float[n,c,h,w] y, int64[n,c,h,w] i) {{
        r = Relu(x) p = Pad(r, wide) y, i = {MAX}(p)
    }}"""
    assert tidied(text, IMAGE, wide=CONSTANTS["wide"]) == "Relu Pad MaxPool"
