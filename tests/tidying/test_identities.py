"""Nodes that hand on what they are given."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgebn.tidying import prepare, tidy
from tests.folding import graphs

X = np.random.default_rng(0).standard_normal((2, 4)).astype(np.float32)
OUTPUTS = {
    "between two outputs": ("(float[n,4] x) => (float[n,4] y, float[n,4] z) { y = Relu(x) z = Identity(y) }", 2),
    "of an input": ("(float[n,4] x) => (float[n,4] y) { y = Identity(x) }", 1),
    "of a constant": ("(float[n,4] x) => (float[1] y, float[n,4] z) { y = Identity(c) z = Relu(x) }", 2),
    "at the end": ("(float[n,4] x) => (float[n,4] y) { a = Relu(x) y = Identity(a) }", 1),
    "two at the end": (
        "(float[n,4] x) => (float[n,4] y, float[n,4] z) { a = Relu(x) y = Identity(a) z = Identity(a) }",
        2,
    ),
    "in a row": (
        "(float[n,4] x) => (float[n,4] y) { a = Identity(x) b = Identity(a) c2 = Relu(b) y = Identity(c2) }",
        1,
    ),
    "a join of one": ("(float[n,4] x) => (float[n,4] y) { a = Concat<axis=1>(x) b = Max(a) y = Relu(b) }", 1),
}


@pytest.mark.parametrize("case", OUTPUTS)
def test_outputs_keep_their_names(case: str) -> None:
    text, nodes = OUTPUTS[case]
    before, model = graphs.model(text, c=np.ones(1)), graphs.model(text, c=np.ones(1))
    prepare(model)
    tidy(model)
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    assert [value.name for value in model.graph.outputs] == [value.name for value in before.graph.outputs]
    assert len(model.graph) == nodes
    for expected, actual in zip(graphs.run(before, X), graphs.run(model, X), strict=True):
        assert np.array_equal(expected, actual)


def test_bodies_are_left_as_they_are() -> None:
    text = """(float[n,4] x, bool c) => (float[n,4] y) {
        a = Identity(x)
        y = If<then_branch = then () => (float[n,4] u) { u = Identity(a) }, else_branch = other () => (float[n,4] v) {
            v = Neg(a) }>(c)
    }"""
    model = graphs.model(text)
    prepare(model)
    tidy(model)
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    for condition, sign in ((True, 1.0), (False, -1.0)):
        (actual,) = graphs.run(model, X, np.array(condition))
        assert np.array_equal(actual, sign * X)


def test_what_is_no_tensor_is_not_taken_for_one() -> None:
    text = "(float[2,4] x) => (float[a,4] y) { s = SplitToSequence<axis=0>(x) y = ConcatFromSequence<axis=0>(s) }"
    model = graphs.model(text)
    prepare(model)
    tidy(model)
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    assert np.array_equal(graphs.run(model, X)[0], X)
