"""Whole graphs: which nodes are left, that they compute the same, and what is said of what stays."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from edgebn.folding import LayerConstant, View, plan
from edgebn.report import Folded, Kept
from edgebn.tidying import prepare
from tests.folding import graphs

RNG = np.random.default_rng(0)
SIGNS = {
    "positive": np.array([0.5, 1.0, 2.0, 0.25]),
    "mixed": np.array([0.5, -1.0, 2.0, -0.25]),
    "negative": -np.array([0.5, 1.0, 2.0, 0.25]),
    "zero": np.array([0.0, 1.0, -2.0, 0.0]),
    "zero and negative": np.array([0.0, -1.0, -2.0, 0.0]),
    "dead": np.array([1e-7, 31.6, -31.6, 1.0]),
}
SHIFT = np.array([0.3, -0.7, 0.0, 1.1])

CNN = """(float[batch,1,9,9] x) => (float[batch,3] y) {
    c = Conv(x, kernel, bias) r = Relu(c) m = Mul(scale, r) a = Add(shift, m)
    p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(a) f = Flatten(p) y = Gemm(f, dense, dense_bias)
}"""
CNN_WEIGHTS = {
    "kernel": RNG.standard_normal((4, 1, 2, 2)),
    "bias": RNG.standard_normal(4),
    "dense": RNG.standard_normal((64, 3)) / 8,
    "dense_bias": RNG.standard_normal(3),
    "shift": SHIFT.reshape(1, 4, 1, 1),
}


def cnn(signs: str) -> ir.Model:
    return graphs.model(CNN, **CNN_WEIGHTS, scale=SIGNS[signs].reshape(1, 4, 1, 1))


@pytest.mark.parametrize(
    ("signs", "expected"),
    [
        ("positive", "Conv Relu MaxPool Flatten Gemm"),
        ("mixed", "Conv MaxPool Conv Relu Flatten Gemm"),
        ("negative", "Conv Clip MaxPool Flatten Gemm"),
        ("zero", "Conv MaxPool Conv Relu Flatten Gemm"),
        ("zero and negative", "Conv Clip MaxPool Flatten Gemm"),
        ("dead", "Conv MaxPool Conv Relu Flatten Gemm"),
    ],
)
def test_batch_norm_after_the_activation(signs: str, expected: str) -> None:
    before = cnn(signs)
    after, planned = graphs.folded(before)
    assert graphs.operators(after) == expected
    assert [type(fate) for fate in planned.fates] == [Folded]
    graphs.assert_same(before, after, RNG.standard_normal((5, 1, 9, 9)).astype(np.float32))


def test_one_wrong_scale_would_be_noticed() -> None:
    before, wrong = cnn("mixed"), cnn("mixed")
    scale = wrong.graph.initializers["scale"]
    scale.const_value = ir.tensor(scale.const_value.numpy() * np.array([1, 1, 1.01, 1], np.float32).reshape(1, 4, 1, 1))
    with pytest.raises(AssertionError):
        graphs.assert_same(before, wrong, np.random.default_rng(1).standard_normal((5, 1, 9, 9)).astype(np.float32))


@pytest.mark.parametrize("signs", SIGNS)
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "h = MatMul(x, k) b = Add(h, bias) m = Mul(b, scale) a = Add(m, shift) r = Relu(a) y = Gemm(r, k)",
            "Gemm Relu Gemm",
        ),
        ("m = Mul(x, scale) a = Add(m, shift) y = MatMul(a, k)", "Gemm"),
        ("h = Gemm(x, k) a = BatchNormalization(h, scale, shift, bias, variance) y = Relu(a)", "Gemm Relu"),
        ("h = Gemm<transB=1, alpha=0.5>(x, k) m = Sub(shift, h) d = Div(m, variance) y = Sigmoid(d)", "Gemm Sigmoid"),
        ("h = Gemm(x, k) n = Neg(h) m = Mul(n, scale) a = Add(m, shift) t = Add(a, bias) y = Tanh(t)", "Gemm Tanh"),
    ],
)
def test_dense(text: str, expected: str, signs: str) -> None:
    before = graphs.model(
        f"(float[batch,4] x) => (float[batch,4] y) {{ {text} }}",
        k=RNG.standard_normal((4, 4)),
        scale=SIGNS[signs],
        shift=SHIFT,
        bias=RNG.standard_normal(4),
        variance=np.array([1.0, 0.1, 3.0, 2.0]),
    )
    after, planned = graphs.folded(before)
    assert graphs.operators(after) == expected
    assert not [fate for fate in planned.fates if isinstance(fate, Kept)]
    graphs.assert_same(before, after, RNG.standard_normal((5, 4)).astype(np.float32))


BATCH_NORM = "b = BatchNormalization(h, scale, shift, mean, variance)"
DEAD_NORM = BATCH_NORM.replace("scale", "dead")
STAYS = [
    ("h = Sigmoid(x) " + BATCH_NORM + " y = Sigmoid(b)", "nothing passes Sigmoid"),
    ("h = Identity(x) " + BATCH_NORM + " y = Sigmoid(b)", "the graph's input has no weights"),
    ("h = Conv(x, k) " + BATCH_NORM + " s = Add(h, b) y = Sigmoid(s)", "a second reader"),
    ("h = Sigmoid(x) " + DEAD_NORM + " y = Conv<pads=[1,1,1,1]>(b, k)", "zero padding"),
    ("h = Conv(x, x) " + BATCH_NORM + " y = Sigmoid(b)", "this Conv has no constant weights"),
]


@pytest.mark.parametrize(("text", "reason"), STAYS)
def test_what_stays_is_one_node_and_has_a_reason(text: str, reason: str) -> None:
    shape = "4,4,height,3" if "pads" in text else "4,4,3,3"
    before = graphs.model(
        f"(float[{shape}] x) => (float[a,b,c,d] y) {{ {text} }}",
        k=RNG.standard_normal((4, 4, 3, 3)),
        scale=SIGNS["mixed"],
        dead=SIGNS["mixed"] * [1.0, 0.0, 1.0, 1.0],
        shift=SHIFT,
        mean=np.zeros(4),
        variance=np.ones(4),
    )
    after, planned = graphs.folded(before)
    (fate,) = planned.fates
    assert isinstance(fate, Kept)
    assert reason in " ".join(stop.reason for stop in fate.stops)
    assert graphs.operators(after).count("BatchNormalization") == 1
    graphs.assert_same(before, after, RNG.standard_normal((4, 4, 3, 3)).astype(np.float32))


def test_apply_leaves_its_input_alone_and_shared_weights_too() -> None:
    before = graphs.model(
        """(float[batch,4] x) => (float[batch,4] y, float[batch,4] z) {
            h = Gemm(x, k) y = Mul(h, scale) z = Gemm(x, k)
        }""",
        k=RNG.standard_normal((4, 4)),
        scale=SIGNS["mixed"],
    )
    kernel = before.graph.initializers["k"].const_value.numpy().copy()
    after, _ = graphs.folded(before)
    assert graphs.operators(before) == "Gemm Mul Gemm"
    assert (before.graph.initializers["k"].const_value.numpy() == kernel).all()
    assert graphs.operators(after) == "Gemm Gemm"
    graphs.assert_same(before, after, RNG.standard_normal((2, 4)).astype(np.float32))


def test_an_output_keeps_its_name_when_the_last_node_goes() -> None:
    before = graphs.model(
        "(float[batch,4] x) => (float[batch,4] scores) { h = Gemm(x, k) scores = Mul(h, scale) }",
        k=RNG.standard_normal((4, 4)),
        scale=SIGNS["mixed"],
    )
    after, _ = graphs.folded(before)
    assert graphs.operators(after) == "Gemm"
    assert [value.name for value in after.graph.outputs] == ["scores"]
    graphs.assert_same(before, after, RNG.standard_normal((2, 4)).astype(np.float32))


def test_a_constant_known_better_than_float32_is_used_in_full() -> None:
    exact = np.array([1 / 3, -2 / 7, 0.1, 1e-9])
    source = graphs.model(
        "(float[batch,4] x) => (float[batch,4] y) { h = Gemm(x, k) y = Mul(h, scale) }", k=np.eye(4), scale=exact
    )
    name = next(node.name for node in source.graph if node.op_type == "Mul")
    prepare(source)
    view = View(source.graph, {name: LayerConstant("block/bn", exact)})
    (edit,) = [edit.operators[0] for edit in plan(view).edits.values() if edit.operators]
    assert (np.diag(edit.kernel) == exact).all()
    assert plan(view).fates[0].layers == ("block/bn",)


def test_a_model_that_can_not_be_folded_is_not_made_longer() -> None:
    before = graphs.model(
        "(float[batch,4] x) => (float[batch,4] y) { h = Sigmoid(x) m = Mul(h, scale) y = Add(m, shift) }",
        scale=SIGNS["mixed"],
        shift=SHIFT,
    )
    after, planned = graphs.folded(before)
    assert len(after.graph) <= 3
    assert isinstance(planned.fates[0], Kept)
    graphs.assert_same(before, after, RNG.standard_normal((2, 4)).astype(np.float32))
