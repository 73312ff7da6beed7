"""What recurrent layers begin with: nothing is said of zeros, and of anything else it is."""

from __future__ import annotations

import numpy as np
import pytest

from tests.tidying.test_layout import RNG, tidied

STEPS = RNG.standard_normal((5, 2, 3)).astype(np.float32)
CONSTANTS = {
    "kernel": RNG.standard_normal((1, 16, 3)),
    "recurrent": RNG.standard_normal((1, 16, 4)),
    "one": np.array([1]),
    "two": np.array([2]),
    "units": np.array([1, 4]),
    "nothing": np.zeros((1, 1)),
    "something": RNG.standard_normal((1, 1)),
    "zero": np.array([0]),
}
EXPANDED = """s = Shape(x) n = Slice(s, one, two) t = Concat<axis=0>(n, four) e = Expand({}, t) h = Unsqueeze(e, zero)
    {} = LSTM<hidden_size=4>(x, kernel, recurrent, , , h, h)"""
FILLED = "s = Shape(x) n = Slice(s, one, two) t = Concat<axis=0>(one, n, four) h = ConstantOfShape(t)"
CASES = {
    "zeros for each sample": (EXPANDED.format("nothing", "a, b, y"), "LSTM"),
    "other states": (EXPANDED.format("something", "a, b, y"), "Expand"),
    "zeros of a shape": (f"{FILLED} a, b, y = LSTM<hidden_size=4>(x, kernel, recurrent, , , h)", "LSTM"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_a_recurrent_layer_begins_with(case: str) -> None:
    text, expected = CASES[case]
    text = f"(float[5,n,3] x) => (float[1,n,4] y) {{ {text} }}"
    operators = tidied(text, STEPS, **CONSTANTS, four=np.array([4])).split()
    assert (operators == ["LSTM"]) == (expected == "LSTM")
    assert expected in operators
