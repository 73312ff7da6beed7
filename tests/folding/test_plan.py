"""Planning large and awkward graphs: in linear time, without deep recursion, without going in circles."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgebn.algebra import LAWS, laws
from edgebn.folding import Plan, View, plan
from edgebn.folding.routes import LONGEST
from edgebn.report import Folded
from edgebn.tidying import prepare

RNG = np.random.default_rng(0)
CHANNELS = 2


class Graph:
    """A graph under construction, on tensors of 2 channels."""

    def __init__(self) -> None:
        self.nodes: list[object] = []
        self.constants: list[object] = []

    def constant(self, *shape: int) -> str:
        self.constants.append(
            numpy_helper.from_array(RNG.normal(size=shape).astype(np.float32), f"c{len(self.constants)}")
        )
        return f"c{len(self.constants) - 1}"

    def node(self, op_type: str, *inputs: str, **attributes: object) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, inputs, [name], name=name, **attributes))
        return name

    def conv(self, x: str, inputs: int = CHANNELS) -> str:
        return self.node("Conv", x, self.constant(CHANNELS, inputs, 1, 1))

    def norm(self, x: str, channels: int = CHANNELS) -> str:
        scaled = self.node("Mul", x, self.constant(channels, 1, 1))
        return self.node("Add", scaled, self.constant(channels, 1, 1))

    def model(self, output: str) -> ir.Model:
        ends = [
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", CHANNELS, 4, 4])],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        ]
        graph = helper.make_graph(self.nodes, "g", *ends, self.constants)
        return ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8))


def residual_blocks(count: int) -> ir.Model:
    """conv → norm → relu → conv → norm, added to what it began with."""
    graph, x = Graph(), "x"
    for _ in range(count):
        y = graph.norm(graph.conv(graph.node("Relu", graph.norm(graph.conv(x)))))
        x = graph.node("Add", x, y)
    return graph.model(x)


def densely_connected(count: int) -> ir.Model:
    """norm → relu → conv, joined to all that came before."""
    graph, x, channels = Graph(), "x", CHANNELS
    for _ in range(count):
        y = graph.conv(graph.node("Relu", graph.norm(x, channels)), channels)
        x = graph.node("Concat", x, y, axis=1)
        channels += CHANNELS
    return graph.model(x)


def chain_of_norms(count: int) -> ir.Model:
    """relu → norm, over and over, between two operators that nothing passes."""
    graph = Graph()
    x = graph.node("Sigmoid", "x")
    for _ in range(count):
        x = graph.norm(graph.node("Relu", x))
    return graph.model(graph.node("Sigmoid", x))


def planned(model: ir.Model, monkeypatch: pytest.MonkeyPatch) -> tuple[Plan, int]:
    """The plan, and how many laws were asked for it."""
    asked = 0

    def counting(rule: Callable[..., object]) -> Callable[..., object]:
        def rule_and_count(*arguments: object) -> object:
            nonlocal asked
            asked += 1
            return rule(*arguments)

        return rule_and_count

    counted = [laws.Law(law.name, law.direction, law.operator, counting(law.rule)) for law in LAWS]
    for key in laws._ROWS:
        rows = tuple(law for law in counted if (law.operator, law.direction) == key)
        monkeypatch.setitem(laws._ROWS, key, rows)
    prepare(model)
    result = plan(View(model.graph))
    monkeypatch.undo()
    return result, asked


@pytest.mark.parametrize(("build", "small"), [(residual_blocks, 60), (densely_connected, 20)])
def test_twice_the_nodes_take_twice_the_laws(
    build: Callable[[int], ir.Model], small: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, asked = planned(build(small), monkeypatch)
    two, asked_for_two = planned(build(2 * small), monkeypatch)
    assert asked_for_two <= 2.2 * asked
    for result in (one, two):
        assert all(isinstance(fate, Folded) for fate in result.fates)


def test_ten_thousand_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    model = residual_blocks(1250)
    assert len(model.graph) == 10_000
    started = time.perf_counter()
    result, asked = planned(model, monkeypatch)
    print(f"10,000 nodes: {asked} laws, {time.perf_counter() - started:.1f} s")
    assert len(result.fates) == 2500
    assert all(isinstance(fate, Folded) for fate in result.fates)
    assert asked <= 5 * 2500


def test_norms_that_look_for_a_way_through_each_other_give_up(monkeypatch: pytest.MonkeyPatch) -> None:
    count = 300
    _, asked = planned(chain_of_norms(count), monkeypatch)
    assert asked <= 6 * LONGEST * count


def test_a_long_way_ends_without_deep_recursion(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = Graph()
    x = graph.norm(graph.node("Sigmoid", "x"))
    for _ in range(3000):
        x = graph.node("MaxPool", x, kernel_shape=[1, 1])
    result, asked = planned(graph.model(graph.conv(x)), monkeypatch)
    (fate,) = result.fates
    assert asked <= 5000
    assert any("longer than" in stop.reason or "negative" in stop.reason for stop in getattr(fate, "stops", ()))


def test_diamonds_do_not_multiply(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each sum doubles the ways from the first to the last."""
    graph = Graph()
    x = graph.node("Add", graph.node("Sigmoid", "x"), graph.constant(CHANNELS, 1, 1))
    for _ in range(40):
        x = graph.node("Add", x, x)
    _, asked = planned(graph.model(graph.conv(x)), monkeypatch)
    assert asked <= 5000
