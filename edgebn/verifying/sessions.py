"""The ONNX file as it is run: by onnxruntime on CPU at each level of optimisation, and by onnx's own evaluator."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgebn import backends
from edgebn.errors import InputError
from edgebn.loading import Tensor
from edgebn.verifying.onnx_files import OnnxFile
from edgebn.verifying.samples import Run, whole

LEVELS: Mapping[str, str] = {
    "off": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
EVALUATOR = "reference evaluator"
_SMALL = 500_000
_FEW_NODES = 64
_EVALUATOR_FAILS = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, AssertionError)


@dataclass(frozen=True, eq=False)
class Runtime:
    """An ONNX file at one level of onnxruntime's optimisations on some threads; or in onnx's evaluator, on 0 threads.

    `call` takes arrays by input name and returns the outputs in the file's order. Where a sample is all that one run
    takes, it is `whole`.
    """

    name: str
    level: str
    threads: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    call: Callable[[dict[str, NDArray[Any]]], list[Any]]
    whole: bool = False

    def run(
        self, inputs: tuple[NDArray[Any], ...], batch_size: int, names: tuple[str, ...] | None = None
    ) -> tuple[Any, ...]:
        """Run the samples in batches. `names` says which input each array is for, if not in the file's order."""
        names = names or tuple(tensor.name for tensor in self.inputs)

        def once(arrays: tuple[NDArray[Any], ...]) -> list[Any]:
            return self.call(dict(zip(names, arrays, strict=True)))

        return Run(once, batch_size, self.whole)(inputs)


def of_whole_arrays(runtime: Runtime) -> Runtime:
    """The same, with samples that are all that one run takes."""
    return replace(runtime, inputs=whole(runtime.inputs), outputs=whole(runtime.outputs), whole=True)


def open_runtimes(file: OnnxFile) -> tuple[Runtime, ...]:
    """Every level on one thread and on two, and onnx's evaluator for small models. The first has no optimisations.

    Raises:
        InputError: if onnxruntime does not load the file.
    """
    runtimes = [open_runtime(file, level, threads) for threads in (1, 2) for level in LEVELS]
    if file.anatomy.multiplications <= _SMALL and file.anatomy.nodes <= _FEW_NODES:
        runtimes.extend(_evaluator(file, runtimes[0]))
    return tuple(runtimes)


def open_runtime(file: OnnxFile, level: str, threads: int, *, of_whole: bool = False) -> Runtime:
    """One session of onnxruntime; its `call` raises RunError if it can not run. InputError if it can not be loaded."""
    onnxruntime = backends.onnxruntime()
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, LEVELS[level])
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    errors = backends.onnxruntime_errors()
    try:
        inference = onnxruntime.InferenceSession(file.content, options, providers=["CPUExecutionProvider"])
    except errors as error:
        raise InputError(f"{file.name}: onnxruntime can not load it: {_one_line(error)}") from error

    def call(feed: dict[str, NDArray[Any]]) -> list[Any]:
        try:
            return list(inference.run(None, feed))
        except errors as error:
            shapes = ", ".join(str(array.shape) for array in feed.values())
            raise RunError(f"{file.name}: onnxruntime can not run it on {shapes}: {_one_line(error)}") from error

    inputs, outputs = _tensors(inference.get_inputs()), _tensors(inference.get_outputs())
    runtime = Runtime(file.name, level, threads, inputs, outputs, call)
    return of_whole_arrays(runtime) if of_whole else runtime


def _evaluator(file: OnnxFile, like: Runtime) -> list[Runtime]:
    """Onnx's evaluator in Python, if it takes the model."""
    import onnx_ir as ir
    from onnx.reference import ReferenceEvaluator

    try:
        evaluator = ReferenceEvaluator(ir.to_proto(file.model))
    except _EVALUATOR_FAILS:
        return []
    outputs = [tensor.name for tensor in like.outputs]

    def call(feed: dict[str, NDArray[Any]]) -> list[Any]:
        try:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of means of nothing, in pools
                return [np.asarray(result) for result in evaluator.run(outputs, feed)]
        except _EVALUATOR_FAILS as error:
            raise EvaluatorError(_one_line(error) or type(error).__name__) from error

    return [Runtime(file.name, EVALUATOR, 0, like.inputs, like.outputs, call)]


class RunError(InputError):
    """Onnxruntime loads the file, and does not run it on these inputs."""


class EvaluatorError(Exception):
    """Onnx's evaluator does not run the model; that says nothing about the file."""


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
