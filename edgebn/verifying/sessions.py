"""The ONNX file as onnxruntime runs it on CPU: read from the disk, with optimisations off and on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from edgebn import backends
from edgebn.errors import InputError
from edgebn.loading import Tensor

LEVELS: Mapping[str, str] = {"off": "ORT_DISABLE_ALL", "all": "ORT_ENABLE_ALL"}


@dataclass(frozen=True, eq=False)
class Session:
    """An ONNX file at one level of onnxruntime's optimisations."""

    path: Path
    level: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    inference: Any

    def run(self, inputs: tuple[NDArray[Any], ...], names: tuple[str, ...], batch_size: int) -> tuple[Any, ...]:
        """Run the samples in batches; `names` says which input each array is for. Returns arrays in file order."""
        parts = []
        for start in range(0, len(inputs[0]), batch_size):
            feed = {name: array[start : start + batch_size] for name, array in zip(names, inputs, strict=True)}
            try:
                parts.append(self.inference.run(None, feed))
            except backends.onnxruntime_errors() as error:
                raise InputError(
                    f"{self.path}: onnxruntime can not run it on {len(feed[names[0]])} samples: {_one_line(error)}"
                ) from error
        return tuple(np.concatenate(part) for part in zip(*parts, strict=True))

    def rounded(self) -> Session:
        """The same model, not optimised, with each weight moved to a float next to it: up or down by a fixed seed."""
        model = onnx.load(self.path)
        rng = np.random.default_rng(0)
        for tensor in model.graph.initializer:
            if tensor.data_type == onnx.TensorProto.FLOAT:
                weight = numpy_helper.to_array(tensor)
                moved = np.nextafter(weight, rng.choice((-np.inf, np.inf), weight.shape).astype(np.float32))
                tensor.CopyFrom(numpy_helper.from_array(np.where(weight == 0.0, weight, moved), tensor.name))
        return _open(self.path, "off", model.SerializeToString())


def open_sessions(path: Path) -> tuple[Session, ...]:
    """One session for each of `LEVELS`.

    Raises:
        InputError: if onnxruntime does not load the file.
    """
    return tuple(_open(path, level, str(path)) for level in LEVELS)


def _open(path: Path, level: str, content: str | bytes) -> Session:
    onnxruntime = backends.onnxruntime()
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, LEVELS[level])
    options.log_severity_level = 4
    try:
        inference = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except backends.onnxruntime_errors() as error:
        raise InputError(f"{path}: onnxruntime can not load it: {_one_line(error)}") from error
    return Session(path, level, _tensors(inference.get_inputs()), _tensors(inference.get_outputs()), inference)


def _tensors(nodes: Any) -> tuple[Tensor, ...]:
    return tuple(
        Tensor(
            node.name, tuple(extent if isinstance(extent, int) else None for extent in node.shape), _dtype(node.type)
        )
        for node in nodes
    )


def _dtype(onnx_type: str) -> str:
    """`tensor(float)` → `float32`."""
    name = onnx_type.removeprefix("tensor(").removesuffix(")")
    return {"float": "float32", "double": "float64"}.get(name, name)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
