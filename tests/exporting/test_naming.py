"""Order and names, on graphs written by hand."""

from __future__ import annotations

import itertools

import numpy as np
import onnx_ir as ir
import pytest

from edgebn.exporting.naming import Names, in_canonical_order
from edgebn.folding import LayerConstant
from tests.folding import graphs

DIAMOND = "(float[batch,4] x) => (float[batch,4] y) { a = Relu(x) l = Tanh(a) r = Sigmoid(a) y = Sub(l, r) d = Neg(x) }"


def nodes(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


@pytest.mark.parametrize("swapped", [False, True])
def test_the_order_is_decided_by_the_graph_alone(swapped: bool) -> None:
    model = graphs.model(DIAMOND)
    if swapped:
        left, right = [node for node in model.graph if node.op_type in {"Tanh", "Sigmoid"}]
        model.graph.remove(right)
        model.graph.insert_before(left, right)
        assert nodes(model) == ["Relu", "Sigmoid", "Tanh", "Sub", "Neg"]
    in_canonical_order(model.graph)
    assert nodes(model) == ["Relu", "Tanh", "Sigmoid", "Sub"]


def test_outputs_come_in_their_order() -> None:
    text = "(float[batch,4] x) => (float[batch,4] b, float[batch,4] a) {{ {} {} }}"
    for lines in itertools.permutations(("a = Relu(x)", "b = Tanh(x)")):
        model = graphs.model(text.format(*lines))
        in_canonical_order(model.graph)
        assert nodes(model) == ["Tanh", "Relu"]


def test_what_the_body_of_an_if_reads_comes_before_it() -> None:
    model = graphs.model(
        """(float[4] x, bool c) => (float[4] y) {
            t = Tanh(x)
            y = If<then_branch = then () => (float[4] u) { u = Relu(t) }, else_branch = other () => (float[4] v) {
                v = Neg(x) }>(c)
        }"""
    )
    in_canonical_order(model.graph)
    assert nodes(model) == ["Tanh", "If"]


def scoped(*names: str) -> ir.Model:
    """A chain of Relu nodes with the names that TensorFlow might have given them."""
    lines = [f"t{index + 1} = Relu(t{index})" for index in range(len(names))]
    outputs = f"(float[batch,4] t0) => (float[batch,4] t{len(names)})"
    model = graphs.model(f"{outputs} {{ {' '.join(lines)} }}")
    for node, name in zip(model.graph, names, strict=True):
        node.name = name
    return model


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ("functional_3/block_1/dense_1/MatMul", "block/dense/Relu"),  # counters that tracing appended
        ("sequential_1/dense_2_1/BiasAdd", "dense_2/Relu"),  # the user's own number, and a counter
        ("sequential_1/relu_7/Relu", "relu_7/Relu"),
        ("StatefulPartitionedCall/sequential/block/dense/MatMul", "block/dense/Relu"),  # of a SavedModel
        ("StatefulPartitionedCall_1/StatefulPartitionedCall/sequential/dense/MatMul", "dense/Relu"),
        ("sequential/dense/Tensordot/MatMul", "dense/Relu"),  # what is no layer is left out
        ("Transpose__43", "Relu"),
    ],
)
def test_nodes_are_called_after_layers(scope: str, expected: str) -> None:
    model = scoped(scope)
    Names(["block", "block/dense", "dense_2", "relu_7"]).give(model.graph, {})
    assert [node.name for node in model.graph] == [expected]


def test_names_are_unique_and_tensors_called_after_nodes() -> None:
    model = scoped("m/dense/a", "m/dense/b", "m/dense/c")
    Names(["dense"]).give(model.graph, {})
    assert [node.name for node in model.graph] == ["dense/Relu", "dense/Relu_2", "dense/Relu_3"]
    assert [node.outputs[0].name for node in model.graph] == ["dense/Relu", "dense/Relu_2", "t3"]


def test_a_name_that_an_input_has_is_not_given_again() -> None:
    model = scoped("m/Relu")
    model.graph.inputs[0].name = "Relu"
    Names([]).give(model.graph, {})
    assert [node.name for node in model.graph] == ["Relu_2"]


def test_constants_follow_their_nodes() -> None:
    model = graphs.model(
        "(float[batch,4] x) => (float[batch,4] y) { m = Mul(s, x) y = Add(t, m) }", s=np.ones(4), t=np.ones(4)
    )
    mul, add = model.graph
    mul.name, add.name = "functional_1/norm_1/edgebn_3_scale", "functional_1/norm_1/edgebn_3_shift__57"
    given = {f"edgebn_3_{part}": LayerConstant("block/norm", np.ones(4)) for part in ("scale", "shift")}
    renamed = Names(["block", "block/norm"]).give(model.graph, given)
    assert renamed == {"block/norm/Mul": given["edgebn_3_scale"], "block/norm/Add": given["edgebn_3_shift"]}
