"""The ONNX project's own cases for every operator, set among what edgebn acts on."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSETS = range(13, 27)
OF_OTHER_SHAPES = {"MeanVarianceNormalization", "STFT"}
"""Their cases say other shapes of their results than the checker infers."""


@dataclass
class Setting:
    """A case that is being set among other nodes: its graph, what is fed, and what draws the weights."""

    graph: onnx.GraphProto
    feeds: dict[str, np.ndarray]
    random: np.random.Generator
    changed: bool = field(default=False)

    def constant(self, name: str, array: np.ndarray) -> str:
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
        return name


Place = Callable[[Setting], None]


def cases() -> Sequence[Any]:
    """Those of today's opsets that have one domain and tensors alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        collected = collect_testcases(None)
    return [case for case in collected if case.model is not None and _is_usual(case)]


def _is_usual(case: Any) -> bool:
    model = case.model
    fed = zip(model.graph.input, case.data_sets[0][0], strict=False)
    return (
        [each.version in OPSETS for each in model.opset_import] == [True]
        and not any(node.op_type in OF_OTHER_SHAPES for node in model.graph.node)
        and all(value.type.HasField("tensor_type") and not isinstance(given, list) for value, given in fed)
    )


def placed(case: Any, place: Place, seed: int) -> tuple[onnx.ModelProto, dict[str, np.ndarray]] | None:
    """The case's model as `place` changes it, and what to feed; None where nothing can be placed."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    names = (value.name for value in model.graph.input)
    feeds = {name: np.asarray(array) for name, array in zip(names, case.data_sets[0][0], strict=False)}
    setting = Setting(model.graph, feeds, np.random.default_rng(seed))
    place(setting)
    return (model, setting.feeds) if setting.changed else None


def among_normalizations(setting: Setting) -> None:
    """A BatchNormalization before each input, most of them, and behind each output; other inputs are constants."""
    nodes = []
    for value in list(setting.graph.input):
        array = setting.feeds[value.name]
        if array.dtype == np.float32 and array.ndim > 1 and setting.random.random() < 0.7:
            name = f"{value.name}_raw"
            nodes.append(_normalization(setting, name, value.name, array.shape[1]))
            setting.feeds[name] = setting.feeds.pop(value.name)
            value.name = name
        elif value is not setting.graph.input[0] and array.dtype != object:
            setting.constant(value.name, setting.feeds.pop(value.name))
            setting.graph.input.remove(value)
    _put_first(setting, nodes)
    for value, shape in _float_outputs(setting):
        name = f"{value.name}_normalized"
        setting.graph.node.append(_normalization(setting, value.name, name, shape[1]))
        value.name, setting.changed = name, True


def in_the_other_layout(setting: Setting) -> None:
    """Inputs come with channels last and are transposed, and so are outputs on their way out; others are constants."""
    nodes = []
    for value in list(setting.graph.input):
        array = setting.feeds[value.name]
        if array.dtype == np.float32 and array.ndim > 2:
            name, last = f"{value.name}_last", (0, *range(2, array.ndim), 1)
            nodes.append(helper.make_node("Transpose", [name], [value.name], perm=np.argsort(last).tolist()))
            del setting.feeds[value.name]
            setting.feeds[name] = np.ascontiguousarray(array.transpose(last))
            value.CopyFrom(helper.make_tensor_value_info(name, TensorProto.FLOAT, setting.feeds[name].shape))
        elif value is not setting.graph.input[0] and array.dtype != object:
            setting.constant(value.name, setting.feeds.pop(value.name))
            setting.graph.input.remove(value)
    _put_first(setting, nodes)
    for value, shape in _float_outputs(setting):
        if len(shape) > 2:
            name, last = f"{value.name}_last", (0, *range(2, len(shape)), 1)
            setting.graph.node.append(helper.make_node("Transpose", [value.name], [name], perm=last))
            turned = helper.make_tensor_value_info(name, TensorProto.FLOAT, [shape[axis] for axis in last])
            value.CopyFrom(turned)


def of_constants(setting: Setting) -> None:
    """Every input is a constant; each result is added to what is fed."""
    for value in list(setting.graph.input):
        if setting.feeds[value.name].dtype == object:
            return
        setting.constant(value.name, setting.feeds.pop(value.name))
        setting.graph.input.remove(value)
    setting.graph.input.append(helper.make_tensor_value_info("fed", TensorProto.FLOAT, [1]))
    setting.feeds["fed"] = np.ones(1, np.float32)
    for value in list(setting.graph.output):
        if value.type.HasField("tensor_type") and value.type.tensor_type.elem_type == TensorProto.FLOAT:
            name = f"{value.name}_and_fed"
            setting.graph.node.append(helper.make_node("Add", [value.name, "fed"], [name]))
            value.CopyFrom(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
            setting.changed = True


PLACES: tuple[Place, ...] = (among_normalizations, in_the_other_layout, of_constants)


def _put_first(setting: Setting, nodes: Sequence[onnx.NodeProto]) -> None:
    rest = list(setting.graph.node)
    del setting.graph.node[:]
    setting.graph.node.extend([*nodes, *rest])
    setting.changed |= bool(nodes)


def _float_outputs(setting: Setting) -> Iterator[tuple[onnx.ValueInfoProto, list[int]]]:
    for value in list(setting.graph.output):
        kind = value.type.tensor_type
        shape = [extent.dim_value for extent in kind.shape.dim]
        if kind.elem_type == TensorProto.FLOAT and len(shape) > 1 and shape[1] > 0:
            yield value, shape


def _normalization(setting: Setting, source: str, result: str, channels: int) -> onnx.NodeProto:
    """With scales of either sign."""
    draw, name = setting.random, f"{result}_normalization"
    weights = {
        "scale": draw.uniform(0.5, 1.5, channels) * draw.choice([-1.0, 1.0], channels),
        "bias": draw.normal(size=channels),
        "mean": draw.normal(0.0, 0.3, channels),
        "variance": draw.uniform(0.3, 2.0, channels),
    }
    given = [setting.constant(f"{name}/{role}", array.astype(np.float32)) for role, array in weights.items()]
    return helper.make_node("BatchNormalization", [source, *given], [result], name=name)
