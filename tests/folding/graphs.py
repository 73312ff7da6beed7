"""Small ONNX models for tests: written in onnx's text form, weights from a seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import numpy_helper, parser

from edgebn import backends
from edgebn.folding import Plan, View, apply, plan
from edgebn.tidying import prepare, tidy


def model(text: str, **constants: np.ndarray) -> ir.Model:
    """A model with the graph `text` (`(float[batch,3] x) => (float[batch,2] y) { … }`) and these initializers."""
    proto = parser.parse_model(f'<ir_version: 8, opset_import: ["": 18]> g {text}')
    for name, array in constants.items():
        kind = np.int64 if array.dtype.kind == "i" else np.float32
        proto.graph.initializer.append(numpy_helper.from_array(array.astype(kind), name))
    for index, node in enumerate(proto.graph.node):
        node.name = node.name or f"{node.op_type.lower()}_{index}"
    onnx.checker.check_model(proto)
    return ir.from_proto(proto)


def folded(source: ir.Model) -> tuple[ir.Model, Plan]:
    """`source` prepared in place; what folding and tidying make of it, and the plan."""
    prepare(source)
    planned = plan(View(source.graph))
    result = apply(planned, source)
    tidy(result)
    return result, planned


def operators(source: ir.Model) -> str:
    return " ".join(node.op_type for node in source.graph)


def run(source: ir.Model, *inputs: np.ndarray) -> list[Any]:
    """What onnxruntime computes, without optimising."""
    onnxruntime = backends.onnxruntime()
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    content = ir.to_proto(source).SerializeToString()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return session.run(None, {value.name: x for value, x in zip(session.get_inputs(), inputs, strict=True)})


def assert_same(before: ir.Model, after: ir.Model, *inputs: np.ndarray) -> None:
    """Equal outputs up to float32: sums of at most some hundred terms, 2e-6 of the largest value seen, 10x allowed."""
    for expected, actual in zip(run(before, *inputs), run(after, *inputs), strict=True):
        assert actual.shape == expected.shape
        assert np.abs(actual - expected).max() <= 2e-5 * max(1.0, np.abs(expected).max())
