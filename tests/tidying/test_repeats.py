"""Repeated pixels as one Resize, and what only looks like it."""

from __future__ import annotations

import numpy as np
import pytest

from edgebn.tidying import prepare
from tests.folding import graphs
from tests.tidying.test_layout import FIRST, IMAGE, LAST, RNG, tidied

CONSTANTS = {
    "two": np.array([2]),
    "three": np.array([3]),
    "four": np.array([4]),
    "rows": np.array([1, 1, 3, 1, 1]),
    "columns": np.array([1, 1, 1, 2, 1]),
    "both": np.array([1, 1, 3, 2, 1]),
    "taller": np.array([0, 15, 6, 4]),
    "wider": np.array([0, 15, 12, 4]),
    "taller_and_one": np.array([0, 15, 6, 1, 4]),
    "mixed": np.array([0, 6, 15, 4]),
    "kernel": RNG.standard_normal((4, 4, 1, 1)),
}
ROWS = "u = Unsqueeze(a, two) t = Tile(u, rows) r = Reshape(t, taller)"
REPEATS = {
    "rows": (ROWS, "Resize"),
    "rows and columns": (f"{ROWS} v = Unsqueeze(r, three) w = Tile(v, columns) b = Reshape(w, wider)", "Resize"),
    "rows and columns at once": (
        "u = Unsqueeze(a, two) t = Tile(u, rows) r = Reshape(t, taller_and_one)"
        "w = Tile(r, columns) b = Reshape(w, wider)",
        "Resize",
    ),
    "rows that go elsewhere": ("u = Unsqueeze(a, two) t = Tile(u, rows) r = Reshape(t, mixed)", "Tile"),
    "an axis that is repeated as a whole": (
        "u = Unsqueeze(a, two) t = Tile(u, columns) r = Reshape(t, mixed2)",
        "Tile",
    ),
}


@pytest.mark.parametrize("case", REPEATS)
def test_repeated_pixels_are_resized(case: str) -> None:
    text, expected = REPEATS[case]
    last = "b" if "b = " in text else "r"
    text = (
        f"(float[n,4,5,6] x) => (float[n,c,h,w] y) {{ a = {LAST}(x) {text} z = {FIRST}({last}) y = Conv(z, kernel) }}"
    )
    operators = tidied(text, IMAGE, **CONSTANTS, mixed2=np.array([0, 5, 12, 4]))
    assert (operators == "Resize Conv") == (expected == "Resize")
    assert expected in operators


def test_pixels_of_images_of_any_size() -> None:
    model = graphs.model(
        """(float[n,h,w,4] x) => (float[n,i,j,4] y) {
            s = Shape(x) n = Slice(s, zero, one) h = Slice(s, one, two) w = Slice(s, two, three)
            m = Mul(h, three) t = Concat<axis=0>(n, m, w, four)
            u = Unsqueeze(x, two) r = Tile(u, rows) y = Reshape(r, t)
        }""",
        **CONSTANTS,
        zero=np.array([0]),
        one=np.array([1]),
    )
    before = model.clone()
    prepare(model)
    assert graphs.operators(model) == "Resize"
    for shape in ((2, 5, 6, 4), (1, 1, 3, 4)):
        x = RNG.standard_normal(shape).astype(np.float32)
        np.testing.assert_array_equal(graphs.run(model, x)[0], graphs.run(before, x)[0])


def test_volumes_are_repeated_faster_than_resized() -> None:
    text = "(float[n,2,3,4,5] x) => (float[n,c,d,h,w] y) { u = Unsqueeze(x, three) t = Tile(u, r) y = Reshape(t, s) }"
    constants = {"three": np.array([3]), "r": np.array([1, 1, 1, 2, 1, 1]), "s": np.array([0, 2, 6, 4, 5])}
    x = RNG.standard_normal((2, 2, 3, 4, 5)).astype(np.float32)
    assert "Tile" in tidied(text, x, **constants)
