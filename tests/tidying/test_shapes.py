"""Shapes: what is inferred, what the file says itself, and the constant targets of Reshape."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

from edgebn.report import Folded
from edgebn.tidying import prepare
from tests.folding import graphs

NORM = {name: np.linspace(0.5, 1.5, 4) for name in ("scale", "shift", "mean", "variance")}


def test_behind_an_operator_that_onnx_does_not_know_the_files_own_shapes_count() -> None:
    """Else nothing would be known of the tensors there, and the normalization would stay."""
    norm = helper.make_node("BatchNormalization", ["u", *NORM], ["v"], name="norm")
    conv = helper.make_node("Conv", ["v", "kernel"], ["y"], name="conv")
    constants = {**NORM, "kernel": np.ones((2, 4, 1, 1))}
    graph = helper.make_graph(
        [helper.make_node("Mystery", ["x"], ["u"], name="mystery", domain="someone.else"), norm, conv],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2, 5, 5])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in constants.items()],
        value_info=[helper.make_tensor_value_info("u", TensorProto.FLOAT, ["n", 4, 5, 5])],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("someone.else", 1)]
    result, planned = graphs.folded(ir.from_proto(helper.make_model(graph, opset_imports=opsets)))
    assert graphs.operators(result) == "Mystery Conv"
    assert all(isinstance(fate, Folded) for fate in planned.fates)


def test_an_inferred_shape_counts_more_than_what_the_file_says() -> None:
    model = graphs.model("(float[n,3] x) => (float[n,4] y) { u = Gemm(x, kernel) y = Relu(u) }", kernel=np.ones((3, 4)))
    (gemm, _) = model.graph
    gemm.outputs[0].shape = ir.Shape([7, 5])
    prepare(model)
    assert gemm.outputs[0].shape is not None
    assert [str(extent) for extent in gemm.outputs[0].shape] == ["n", "4"]


def test_a_constant_target_takes_no_name_that_another_tensor_has() -> None:
    model = graphs.model(
        """(float[n,2,3] x) => (float[n,6] y, int64[2] z) {
            s = Shape(x) f = Gather<axis=0>(s, zero) b = Concat<axis=0>(f, minus) y = Reshape(x, b)
            z = Add(y_shape, one)
        }""",
        zero=np.array([0]),
        minus=np.array([-1]),
        one=np.array([1, 1]),
        y_shape=np.array([40, 2]),
    )
    model.graph.initializers["y_shape"].name = "y/shape"
    prepare(model)
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    reshaped, added = graphs.run(model, np.arange(12, dtype=np.float32).reshape(2, 2, 3))
    assert reshaped.shape == (2, 6)
    assert added.tolist() == [41, 3]
