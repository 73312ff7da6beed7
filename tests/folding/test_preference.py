"""What each preference leaves of an affine and a bend whose input others read, as in a DenseNet, by its scales."""

from __future__ import annotations

import numpy as np
import pytest

from edgebn.folding import Preference, View, apply, plan
from edgebn.report import Folded, Kept
from edgebn.tidying import prepare, tidy
from tests.folding import graphs

GRAPH = """(float[batch,3,4,4] x) => (float[batch,5,4,4] y) {
    m = Mul(x, scale) a = Add(m, shift) r = Relu(a) c = Conv(r, kernel) y = Concat <axis = 1> (x, c)
}"""
POSITIVE, BOTH, NEGATIVE = (0.5, 2.0, 1.5), (0.5, -2.0, 1.5), (-0.5, -2.0, -1.5)


@pytest.mark.parametrize(
    ("preference", "scale", "expected"),
    [
        (Preference.USUAL, POSITIVE, "Conv Relu Conv Concat"),
        (Preference.USUAL, NEGATIVE, "Conv Relu Conv Concat"),
        (Preference.USUAL, BOTH, "Conv Relu Conv Concat"),
        (Preference.FEWEST_NODES, POSITIVE, "Max Conv Concat"),
        (Preference.FEWEST_NODES, NEGATIVE, "Min Conv Concat"),
        (Preference.FEWEST_NODES, BOTH, "Conv Relu Conv Concat"),
        (Preference.NORMALIZATIONS, POSITIVE, "BatchNormalization Relu Conv Concat"),
        (Preference.NORMALIZATIONS, BOTH, "BatchNormalization Relu Conv Concat"),
        (Preference.UNFOLDED, BOTH, "Mul Add Relu Conv Concat"),
    ],
)
def test_what_is_left(preference: Preference, scale: tuple[float, ...], expected: str) -> None:
    rng = np.random.default_rng(0)
    constants = {
        "scale": np.array(scale).reshape(3, 1, 1),
        "shift": rng.normal(size=(3, 1, 1)),
        "kernel": rng.normal(size=(2, 3, 1, 1)),
    }
    source = graphs.model(GRAPH, **constants)
    prepare(source)
    planned = plan(View(source.graph), preference=preference)
    after = apply(planned, source)
    tidy(after)
    assert graphs.operators(after) == expected
    folds = preference in {Preference.USUAL, Preference.FEWEST_NODES}
    assert [type(fate) for fate in planned.fates] == [Folded if folds else Kept]
    graphs.assert_same(source, after, rng.normal(size=(3, 3, 4, 4)).astype(np.float32))


def test_a_clip_that_is_the_same_everywhere_is_one_node() -> None:
    """As Keras writes a PReLU. A convolution of each channel would be one node more, and keep a layout from turning."""
    text = """(float[batch,3,4,5] x) => (float[batch,3,4,5] y) {
        p = Relu(x) n = Neg(x) r = Relu(n) s = Mul(r, slope) y = Add(p, s)
    }"""
    source = graphs.model(text, slope=np.array((-0.25, 0.5, -1.5)).reshape(3, 1, 1))
    prepare(source)
    after = apply(plan(View(source.graph)), source)
    tidy(after)
    assert graphs.operators(after) == "Relu Clip Mul Add"
    graphs.assert_same(source, after, np.random.default_rng(0).normal(size=(3, 3, 4, 5)).astype(np.float32))
