"""Graphs on which folding was once wrong, each as small as it could be made, and some that it must leave alone."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgebn.folding import View, apply, plan, routes
from edgebn.report import Folded, Kept
from edgebn.tidying import prepare, tidy
from tests.folding import graphs, noise

RNG = np.random.default_rng(0)
IMAGE = RNG.standard_normal((2, 4, 5, 5)).astype(np.float32)
SCALE = np.array([0.5, 1.0, 2.0, 0.25])
NORM = {"scale": SCALE, "shift": np.array([0.3, -0.7, 0.1, 1.1]), "mean": np.zeros(4), "variance": np.ones(4)}
KERNELS = {"one": RNG.standard_normal((4, 4, 1, 1)), "three": RNG.standard_normal((4, 4, 3, 3))}


def folded_alike(text: str, x: np.ndarray, **constants: np.ndarray) -> str:
    """The operators of the folded graph, which is valid, no longer than the unfolded one, and computes the same."""
    before = graphs.model(text, **constants)
    after, _ = graphs.folded(before)
    tidy(before)
    onnx.checker.check_model(ir.to_proto(after), full_check=True)
    assert len(after.graph) <= len(before.graph)
    graphs.assert_same(graphs.model(text, **constants), after, x)
    return graphs.operators(after)


def test_branches_are_not_merged_if_the_normalized_one_is_read_elsewhere() -> None:
    text = """(float[n,4,5,5] x) => (float[n,4,5,5] y, float[n,4,5,5] z) {
        g = Sigmoid(x) h = Conv(g, one) b = BatchNormalization(h, scale, shift, mean, variance)
        y = Add(b, g) z = Sigmoid(b)
    }"""
    assert folded_alike(text, IMAGE, **NORM, **KERNELS) == "Sigmoid Conv Add Sigmoid"


def test_a_sum_of_merged_branches_is_not_merged_again_if_it_is_read_elsewhere() -> None:
    text = """(float[n,4,5,5] x) => (float[n,4,5,5] y, float[n,4,5,5] z) {
        g = Sigmoid(x) h = Conv(g, one) s = Add(h, g) y = Add(s, g) z = Sigmoid(s)
    }"""
    assert folded_alike(text, IMAGE, **KERNELS) == "Sigmoid Conv Add Sigmoid"


def test_a_constant_of_full_extent_goes_through_a_pool_that_changes_the_extent() -> None:
    text = """(float[n,4,5,5] x) => (float[n,4,4,4] y) {
        g = Sigmoid(x) m = Mul(g, twos) p = MaxPool<kernel_shape=[2,2]>(m) l = PRelu(p, slope) y = Conv(l, one)
    }"""
    twos, slope = np.full((1, 1, 5, 1), 2.0), RNG.standard_normal((4, 4, 4))
    assert folded_alike(text, IMAGE, twos=twos, slope=slope, **KERNELS) == "Sigmoid MaxPool PRelu Conv"


def test_a_normalization_does_not_go_at_the_price_of_a_node_more() -> None:
    """Its shift would have to be added behind both readers, if to smaller tensors."""
    text = """(float[n,4,5,5] x) => (float[n,4,2,2] y, float[n,4,1,5] z) {
        g = Sigmoid(x) b = BatchNormalization(g, scale, shift, mean, variance)
        p = GlobalAveragePool(b) u = ConvTranspose(p, kernel) y = Sigmoid(u)
        t = AveragePool<kernel_shape=[5,1]>(b) m = Mul(t, columns) z = Sigmoid(m)
    }"""
    kernel, columns = RNG.standard_normal((4, 4, 2, 2)), RNG.standard_normal(5)
    assert "BatchNormalization" in folded_alike(text, IMAGE, kernel=kernel, columns=columns, **NORM)


PADDED = """g = Sigmoid(x) b = BatchNormalization(g, scale, shift, mean, variance) r = Relu(b)
    y = Conv<pads=[1,1,1,1]>(r, three)"""


def test_the_border_before_a_clip_is_known_to_the_shapes() -> None:
    text = f"(float[n,4,5,5] x) => (float[n,4,5,5] y) {{ {PADDED} }}"
    assert folded_alike(text, IMAGE, **NORM, **KERNELS) == "Sigmoid Pad Max Conv"


def test_a_tensor_whose_shape_is_read_gets_no_border() -> None:
    text = f"(float[n,4,h,w] x) => (float[n,4,h,w] y, int64[4] s) {{ {PADDED} s = Shape(r) }}"
    assert "Pad" not in folded_alike(text, IMAGE, **NORM, **KERNELS)


def test_new_names_are_not_those_of_other_tensors() -> None:
    scale = SCALE * np.array([1, -1, 1, -1])
    before = graphs.model(
        """(float[n,4,5,5] x) => (float[n,4,5,5] y, float[n,4,5,5] z) {
            c = Conv(x, one) r = Relu(c) b = BatchNormalization(r, scale, shift, mean, variance) y = Sigmoid(b)
            o = Sigmoid(x) z = Sigmoid(o)
        }""",
        **KERNELS,
        **(NORM | {"scale": scale}),
    )
    other = before.graph.node(4).outputs[0]
    for name in ("r/Max", "relu_1/Max", "relu_1/Max/lower", "conv_0/kernel"):
        other.name = name
        after, _ = graphs.folded(before.clone())
        assert graphs.operators(after) == "Conv Max Min Sigmoid Sigmoid Sigmoid"
        onnx.checker.check_model(ir.to_proto(after), full_check=True)


def test_a_resize_by_a_factor_mixes_even_where_the_extent_stays() -> None:
    """Onnxruntime copies where the extents are equal; the specification interpolates, and others do."""
    before = graphs.model(
        """(float[n,4,5,5] x) => (float[n,4,5,5] y) {
            g = Sigmoid(x) m = Mul(g, rows) r = Resize<mode="linear">(m, , factors) y = Mul(r, rows)
        }""",
        rows=RNG.standard_normal((1, 1, 5, 1)),
        factors=np.array([1.0, 1.0, 1.1, 1.0]),
    )
    expected = noise.run(before, {"x": IMAGE})[0]
    after, planned = graphs.folded(before)
    assert np.abs(noise.run(after, {"x": IMAGE})[0].value - expected.value).max() <= 1e-6
    assert all(isinstance(fate, Kept) for fate in planned.fates)


def test_a_dropout_that_may_be_in_training_is_in_the_way() -> None:
    before = graphs.model(
        "(float[n,4] x, bool training) => (float[n,4] y) { d = Dropout(x, ratio, training) y = Mul(d, scale) }",
        ratio=np.array(0.5),
        scale=SCALE,
    )
    _, planned = graphs.folded(before)
    assert "nothing passes Dropout" in {stop.reason for stop in planned.fates[0].stops}


@pytest.mark.parametrize("forward", [True, False])
def test_no_route_is_too_long_for_the_stack(forward: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "LONGEST", 10_000)
    names = [f"p{index}" for index in range(2000)]
    pools = [
        f"{name} = MaxPool<kernel_shape=[1,1]>({before})" for before, name in zip(["a", *names], names, strict=False)
    ]
    norm = "BatchNormalization({}, scale, shift, mean, variance)"
    ends = ["a", norm.format("x"), "Conv(p1999, one)"] if forward else ["a", "Conv(x, one)", norm.format("p1999")]
    text = f"{ends[0]} = {ends[1]} {' '.join(pools)} y = {ends[2]}"
    before = graphs.model(f"(float[n,4,2,2] x) => (float[n,4,2,2] y) {{ {text} }}", **NORM, **KERNELS)
    prepare(before)
    (fate,) = plan(View(before.graph)).fates
    assert isinstance(fate, Folded)
    assert len(fate.route) == 2001


def test_a_tensor_that_a_body_reads_is_left_alone() -> None:
    text = """(float[n,4] x, bool c) => (float[n,4] y, float[n,4] z) {
        h = MatMul(x, k) m = Mul(h, scale) y = Sigmoid(m)
        z = If(c) <
            then_branch = t () => (float[n,4] u) { u = Relu(h) },
            else_branch = e () => (float[n,4] v) { v = Neg(m) }
        >
    }"""
    constants = {"k": RNG.standard_normal((4, 4)), "scale": SCALE}
    before = graphs.model(text, **constants)
    after, planned = graphs.folded(before)
    assert [type(fate) for fate in planned.fates] == [Kept]
    assert graphs.operators(after) == graphs.operators(before)
    for chosen in (True, False):
        inputs = IMAGE[0, :, 0, :4].copy(), np.array(chosen)
        graphs.assert_same(graphs.model(text, **constants), after, *inputs)


def test_a_tensor_that_only_a_body_reads_says_so() -> None:
    text = """(float[n,4] x, bool c) => (float[n,4] z) {
        g = Sigmoid(x) m = Mul(g, scale)
        z = If(c) <then_branch = t () => (float[n,4] u) { u = MatMul(m, k) },
                   else_branch = e () => (float[n,4] v) { v = MatMul(m, k) }>
    }"""
    before = graphs.model(text, k=RNG.standard_normal((4, 4)), scale=SCALE)
    _, planned = graphs.folded(before)
    assert "it is read inside of the body of an If, Loop or Scan" in {stop.reason for stop in planned.fates[0].stops}


def test_weights_that_two_nodes_share_become_two() -> None:
    text = """(float[n,4,5,5] x) => (float[n,4,5,5] y, float[n,4,5,5] z) {
        a = Conv(x, one) b = BatchNormalization(a, scale, shift, mean, variance) y = Sigmoid(b)
        c = Conv(x, one) m = Mul(c, three_times) z = Sigmoid(m)
    }"""
    constants = {"one": KERNELS["one"], "three_times": np.array(3.0), **NORM}
    assert folded_alike(text, IMAGE, **constants) == "Conv Sigmoid Conv Sigmoid"


@pytest.mark.parametrize("op_type", ["MaxPool", "AveragePool"])
def test_a_window_that_sees_only_padding_is_no_window(op_type: str) -> None:
    """Onnx infers an extent of 3 behind the pool, onnxruntime computes 2."""
    text = f"""(float[n,4,5] x) => (float[n,4,m] y) {{
        g = Sigmoid(x) p = {op_type}<kernel_shape=[3], strides=[3], pads=[1,1], ceil_mode=1>(g)
        b = BatchNormalization(p, scale, shift, mean, variance) y = Conv<pads=[1,1]>(b, kernel)
    }}"""
    kernel = RNG.standard_normal((4, 4, 3))
    assert folded_alike(text, IMAGE[..., 0].copy(), kernel=kernel, **NORM) == f"Sigmoid {op_type} Add Conv"


def test_a_concat_of_one_tensor_is_no_join() -> None:
    """As DenseNets of PyTorch have it in front of each block."""
    text = """(float[n,4,5,5] x) => (float[n,4,5,5] y) {
        c = Conv(x, one) k = Concat<axis=1>(c) b = BatchNormalization(k, scale, shift, mean, variance) y = Sigmoid(b)
    }"""
    assert folded_alike(text, IMAGE, **NORM, **KERNELS) == "Conv Sigmoid"


@pytest.mark.parametrize("op_type", ["Sum", "Max", "Min", "Mean", "Concat<axis=1>"])
def test_nor_does_any_other_join_of_one_tensor_swallow_anything(op_type: str) -> None:
    """Without the clean-up that makes the tensor itself of it."""
    text = f"""(float[n,4,5,5] x) => (float[n,4,5,5] y) {{
        c = Conv(x, one) k = {op_type}(c) b = BatchNormalization(k, scale, shift, mean, variance) y = Sigmoid(b)
    }}"""
    source = graphs.model(text, **NORM, **KERNELS)
    source.graph[1].outputs[0].shape = source.graph[0].outputs[0].shape = ir.Shape(["n", 4, 5, 5])
    for node in source.graph:
        node.outputs[0].dtype = ir.DataType.FLOAT
    after = apply(plan(View(source.graph)), source)
    graphs.assert_same(graphs.model(text, **NORM, **KERNELS), after, IMAGE)


def test_a_sum_of_three() -> None:
    text = """(float[n,4,5,5] x) => (float[n,4,5,5] y) {
        a = Conv(x, one) b = Conv(a, one) c = Conv(b, one) s = Sum(a, b, c)
        d = BatchNormalization(s, scale, shift, mean, variance) y = Conv(d, one)
    }"""
    assert folded_alike(text, IMAGE, **NORM, **KERNELS) == "Conv Conv Conv Sum Conv"


def test_where_the_largest_value_lies_is_not_what_it_is() -> None:
    """A scale of zero may come before a MaxPool whose values are read, but not before one whose indices are."""
    norm = NORM | {"scale": np.array([0.5, 0.0, 2.0, 0.25])}
    text = """(float[n,4,5,5] x) => (int64[n,4,2,2] y) {
        c = Conv(x, one) b = BatchNormalization(c, scale, shift, mean, variance)
        p, y = MaxPool<kernel_shape=[2,2],strides=[2,2]>(b)
    }"""
    assert folded_alike(text, IMAGE, **norm, **KERNELS) == "Conv MaxPool"
    relu = "(float[n,4,5,5] x) => (int64[n,4,4,4] y) { r = Relu(x) p, y = MaxPool<kernel_shape=[2,2]>(r) }"
    assert folded_alike(relu, IMAGE) == "Relu MaxPool"


def test_a_dilated_window_that_sees_only_padding() -> None:
    text = """(float[n,4,2,2] x) => (float[n,4,1,1] y) {
        g = Sigmoid(x) b = BatchNormalization(g, scale, shift, mean, variance)
        p = MaxPool<kernel_shape=[2,2],dilations=[3,3],pads=[1,1,1,1]>(b) y = Conv(p, one)
    }"""
    after, planned = graphs.folded(graphs.model(text, **NORM, **KERNELS))
    assert graphs.operators(after) == "Sigmoid BatchNormalization MaxPool Conv"
    assert all(isinstance(fate, Kept) for fate in planned.fates)


def test_convolutions_that_keep_extents_which_nobody_knows() -> None:
    """With a stride of 1, the padding is the same whatever the extent."""
    text = """(float[n,4,h,w] x) => (float[n,4,h,w] y) {
        g = Sigmoid(x) b = BatchNormalization(g, scale, shift, mean, variance) r = Relu(b)
        y = Conv<auto_pad="SAME_UPPER">(r, three)
    }"""
    assert folded_alike(text, IMAGE, **NORM, **KERNELS) == "Sigmoid Pad Max Conv"


def test_two_layers_in_a_row_may_go_different_ways() -> None:
    """Together they vary along two axes, which neither neighbour can take."""
    text = """(float[n,4,5] x) => (float[n,5,2] y) {
        c = Conv(x, kernel) r = Relu(c) b = BatchNormalization(r, scale, shift, mean, variance)
        t = Transpose<perm=[0,2,1]>(b) d = BatchNormalization(t, s, o, m, v) y = MatMul(d, dense)
    }"""
    five = {"s": RNG.standard_normal(5), "o": np.zeros(5), "m": RNG.standard_normal(5), "v": np.ones(5)}
    kernel, dense = RNG.standard_normal((4, 4, 1)), RNG.standard_normal((4, 2))
    x = IMAGE[..., 0].copy()
    operators = folded_alike(text, x, kernel=kernel, dense=dense, **NORM, **five)
    assert operators.count("BatchNormalization") <= 1


def test_a_scalar_stays_a_scalar() -> None:
    text = """(float[n,4,5,5] x) => (float[n,4,5,5] y) {
        c = Conv(x, one) k = Clip(c, low, high) m = Mul(k, two) y = Sigmoid(m)
    }"""
    bounds = {"low": np.array(-0.2), "high": np.array(0.3), "two": np.array(2.0)}
    after, _ = graphs.folded(graphs.model(text, **bounds, **KERNELS))
    (clip,) = [node for node in after.graph if node.op_type == "Clip"]
    assert [value.shape for value in clip.inputs[1:] if value is not None] == [ir.Shape([])] * 2


def test_a_run_that_is_not_finite_is_left_as_it_is() -> None:
    norm = NORM | {"variance": np.array([0.0, 1.0, 1.0, 1.0])}
    text = """(float[n,4,5,5] x) => (float[n,4,5,5] y) {
        c = Conv(x, one) b = BatchNormalization<epsilon=0.0>(c, scale, shift, mean, variance) y = Relu(b)
    }"""
    before = graphs.model(text, **norm, **KERNELS)
    after, _ = graphs.folded(before)
    x = np.abs(IMAGE)
    assert np.array_equal(graphs.run(graphs.model(text, **norm, **KERNELS), x), graphs.run(after, x), equal_nan=True)


def test_what_stands_in_a_body_is_told() -> None:
    text = """(float[n,4,5,5] x, bool c) => (float[n,4,5,5] y) {
        y = If<then_branch = then () => (float[n,4,5,5] u) {
            u = BatchNormalization(x, scale, shift, mean, variance) }, else_branch = other () => (float[n,4,5,5] v) {
            v = Identity(x) }>(c)
    }"""
    after, planned = graphs.folded(graphs.model(text, **NORM))
    (kept,) = planned.fates
    assert isinstance(kept, Kept)
    assert [stop.reason for stop in kept.stops] == ["it stands in the body of an If, Loop or Scan"]
    onnx.checker.check_model(ir.to_proto(after), full_check=True)


def test_a_relu_of_a_vector() -> None:
    assert folded_alike("(float[n] x) => (float[n] y) { y = Relu(x) }", IMAGE[:, 0, 0, 0].copy()) == "Relu"


def test_a_shift_that_goes_on_and_comes_back_leaves_no_bias() -> None:
    """What is left of 0.1 + 0.2 − 0.3 in float64 is no bias: it would be as large as a real one in the file."""
    text = """(float[n,4,5,5] x) => (float[n,4,5,5] y) {
        g = Sigmoid(x) b = BatchNormalization(g, scale, shift, mean, variance) r = Relu(b)
        c = Conv(r, one) y = Sigmoid(c)
    }"""
    signs = {**NORM, "scale": np.array([0.7, -1.3, 2.1, -0.3])}
    assert folded_alike(text, IMAGE, **signs, **KERNELS) == "Sigmoid Conv Relu Conv Sigmoid"
    after, _ = graphs.folded(graphs.model(text, **signs, **KERNELS))
    assert len(after.graph[3].inputs) == 2


@pytest.mark.parametrize(
    ("channels", "strides", "expected"),
    [(6, 1, "Sigmoid Add Conv"), (4, 1, "Sigmoid Add Conv"), (4, 2, "Sigmoid Conv Add")],
)
def test_a_shift_before_a_padded_convolution_is_added_where_the_image_is_smaller(
    channels: int, strides: int, expected: str
) -> None:
    text = f"""(float[n,4,5,5] x) => (float[n,c,h,w] y) {{
        g = Sigmoid(x) b = BatchNormalization(g, scale, shift, mean, variance)
        y = Conv<pads=[1,1,1,1], strides=[{strides},{strides}]>(b, kernel)
    }}"""
    assert folded_alike(text, IMAGE, kernel=RNG.standard_normal((channels, 4, 3, 3)), **NORM) == expected


def test_two_shifts_before_a_padded_convolution_are_one_add() -> None:
    """The second goes on through the Add of the first, and its scale into the convolution."""
    text = """(float[n,4,5,5] x) => (float[n,c,h,w] y) {
        g = Sigmoid(x) b = BatchNormalization(g, scale, shift, mean, variance)
        u = Add(g, g) t = Sigmoid(u) d = BatchNormalization(t, scale, shift, mean, variance)
        j = Concat<axis=1>(b, d) y = Conv<pads=[1,1,1,1]>(j, kernel)
    }"""
    kernel = RNG.standard_normal((8, 8, 3, 3))
    assert folded_alike(text, IMAGE, kernel=kernel, **NORM) == "Sigmoid Add Sigmoid Concat Add Conv"


TURNED = {
    "behind": (
        "g = Gemm<transA=1, alpha=0.5>(x, weights, bias) y = BatchNormalization(g, scale, shift, mean, variance)",
        "Gemm",
    ),
    "before": (
        """s = Sigmoid(x) t = Transpose(s) b = BatchNormalization(t, scale, shift, mean, variance) u = Transpose(b)
        y = Gemm<transA=1>(u, weights, bias)""",
        "Sigmoid Gemm",
    ),
}


@pytest.mark.parametrize("case", TURNED)
def test_a_gemm_that_turns_its_matrix_folds_as_any_other(case: str) -> None:
    text, expected = TURNED[case]
    x = RNG.standard_normal((4, 3)).astype(np.float32)
    constants = {**NORM, "weights": RNG.standard_normal((4, 4)), "bias": RNG.standard_normal(4)}
    assert folded_alike(f"(float[4,n] x) => (float[n,4] y) {{ {text} }}", x, **constants) == expected
