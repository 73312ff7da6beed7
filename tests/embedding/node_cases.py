"""The ONNX project's own tests of operators: which of them the C can be held against, and as what graphs."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from edgebn.embedding.c.rules import RULES

WEIGHTS = {
    "BatchNormalization": (1, 2, 3, 4),
    "Conv": (1, 2),
    "ConvTranspose": (1, 2),
    "Gemm": (1, 2),
    "Pad": (2,),
    "Pow": (1,),
    "Resize": (1, 2, 3),
    "Upsample": (1,),
}
"""Inputs that are fed in the tests, and constant in every trained model."""


@dataclass(frozen=True)
class Case:
    name: str
    model: onnx.ModelProto
    inputs: tuple[np.ndarray, ...]
    outputs: tuple[np.ndarray, ...]


def claimed(model: onnx.ModelProto) -> bool:
    return bool(model.graph.node) and all(
        node.op_type in RULES and node.domain in {"", "ai.onnx"} for node in model.graph.node
    )


def node_cases() -> Iterator[Case]:
    """Every generated case whose operators are all claimed, its weights and shapes made constant."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        cases = collect_testcases(None)
    for case in cases:
        if case.model is not None and claimed(case.model):
            inputs, outputs = case.data_sets[0]
            if all(
                isinstance(array, np.ndarray | np.generic) for array in (*inputs, *outputs)
            ):  # no float8, no sequence
                yield _bound(case.name, case.model, inputs, outputs)


def converted_cases() -> Iterator[Case]:
    """Those that lie as files in the onnx package: converted from PyTorch."""
    root = Path(onnx.__file__).parent / "backend" / "test" / "data"
    for folder in sorted(root.glob("pytorch-*/test_*")):
        model = onnx.load(folder / "model.onnx")
        if claimed(model):
            data = folder / "test_data_set_0"
            names = {each.name for each in model.graph.initializer}
            count = sum(each.name not in names for each in model.graph.input)
            inputs = [_tensor(data / f"input_{index}.pb") for index in range(count)]
            outputs = [_tensor(data / f"output_{index}.pb") for index in range(len(model.graph.output))]
            yield Case(folder.name, model, tuple(inputs), tuple(outputs))


def _bound(name: str, model: onnx.ModelProto, inputs: list[np.ndarray], outputs: list[np.ndarray]) -> Case:
    bound = onnx.ModelProto()
    bound.CopyFrom(model)
    weights = {
        node.input[index]
        for node in model.graph.node
        for index in WEIGHTS.get(node.op_type, ())
        if index < len(node.input)
    }
    fed = []
    del bound.graph.input[:]
    for value, array in zip(model.graph.input, inputs, strict=True):
        if value.name in weights or np.asarray(array).dtype != np.float32:
            bound.graph.initializer.append(numpy_helper.from_array(np.asarray(array), value.name))
        else:
            bound.graph.input.append(value)
            fed.append(np.asarray(array))
    return Case(name, bound, tuple(fed), tuple(np.asarray(each) for each in outputs))


def _tensor(path: Path) -> np.ndarray:
    return numpy_helper.to_array(onnx.TensorProto.FromString(path.read_bytes()))
