"""An ONNX file in onnxruntime on CPU, as an app would run it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from edgebn import backends
from edgebn.benching.inputs import Input
from edgebn.errors import InputError

Feed = Mapping[str, NDArray[Any]]
_NO_MEMORY = ("Failed to allocate memory", "bad_alloc", "bad allocation")


@dataclass(frozen=True, eq=False)
class Session:
    """A file that onnxruntime has loaded. `first_extents` are of the outputs' first axes, where they are fixed."""

    path: Path
    inputs: tuple[Input, ...]
    first_extents: frozenset[int]
    inference: Any

    def caller(self, feed: Feed) -> Callable[[], object]:
        """A function that runs the file once on `feed`; it has done so once without an error.

        Raises:
            InputError: if onnxruntime can not run it.
        """
        run = self.inference.run

        def call() -> object:
            return run(None, feed)

        try:
            call()
        except backends.onnxruntime_errors() as error:
            shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in feed.items())
            short = any(words in str(error) for words in _NO_MEMORY)
            reason = "it takes more memory than is free" if short else _one_line(error)
            raise InputError(
                f"{self.path}: onnxruntime can not run it on {shapes}: {reason}; "
                "--extent sets an extent, --batch-sizes the batches"
            ) from error
        return call


def open_session(path: Path, threads: int) -> Session:
    """Load the file with onnxruntime's defaults, on `threads` threads.

    Raises:
        InputError: if onnxruntime does not load the file, or an input is no tensor.
    """
    onnxruntime = backends.onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    try:
        inference = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except backends.onnxruntime_errors() as error:
        if "Protobuf parsing failed" in str(error):
            raise InputError(f"{path}: a truncated or damaged ONNX file; save or copy it again") from error
        raise InputError(f"{path}: onnxruntime can not load it: {_one_line(error)}") from error
    inputs = tuple(Input.of(path, node.name, node.type, node.shape) for node in inference.get_inputs())
    first = (node.shape[0] for node in inference.get_outputs() if node.shape)
    return Session(path, inputs, frozenset(each for each in first if isinstance(each, int)), inference)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
