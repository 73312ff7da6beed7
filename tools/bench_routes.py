"""The routes from a Keras model to something that runs on a CPU: how each is built, loaded and called."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

import edgebn
from edgebn import backends
from edgebn.benching.sessions import Session, open_session
from edgebn.benching.timing import Call

EXPORT = "Keras export"
EDGEBN = "edgebn"


@dataclass(frozen=True, eq=False)
class Made:
    """A Keras model that was built or loaded in this process, its own ONNX export, and a folder for files."""

    model: Any
    export: Path
    folder: Path


@dataclass(frozen=True)
class Route:
    """`build` gives the file for a batch size; `load` makes of it what runs; `caller` a call on an input."""

    packages: tuple[str, ...]
    build: Callable[[Made, int], Path]
    load: Callable[[Path, tuple[int, ...]], Any]
    caller: Callable[[Any, np.ndarray], Call]


def keras_export(made: Made, _: int) -> Path:
    """What Keras' own `model.export` writes; it wants the model to have been called."""
    if not made.export.exists():
        made.model(np.zeros((1, *made.model.input_shape[1:]), np.float32))
        made.model.export(made.export, format="onnx", verbose=False)
    return made.export


def optimised(name: str, optimise: Callable[[onnx.ModelProto], onnx.ModelProto]) -> Callable[[Made, int], Path]:
    """The Keras export after another tool."""

    def build(made: Made, _: int) -> Path:
        path = made.folder / f"{name}.onnx"
        if not path.exists():
            onnx.save(optimise(onnx.load(made.export)), path)
        return path

    return build


def onnxsim(model: onnx.ModelProto) -> onnx.ModelProto:
    """onnxsim with its defaults."""
    import onnxsim

    simplified, equal = onnxsim.simplify(model)
    if not equal:
        raise ValueError("onnxsim finds its own result different")
    return simplified


def onnxslim(model: onnx.ModelProto) -> onnx.ModelProto:
    """onnxslim with its defaults."""
    import onnxslim

    return onnxslim.slim(model)


def onnxoptimizer(model: onnx.ModelProto) -> onnx.ModelProto:
    """All passes of onnxoptimizer that fuse or eliminate."""
    import onnxoptimizer

    return onnxoptimizer.optimize(model, onnxoptimizer.get_fuse_and_elimination_passes())


def onnxscript(model: onnx.ModelProto) -> onnx.ModelProto:
    """onnxscript's optimiser with its defaults."""
    from onnxscript import optimizer

    return optimizer.optimize(model)


def onnxruntime_saved(made: Made, _: int) -> Path:
    """The Keras export as onnxruntime saves it after all of its optimisations for this machine."""
    path = made.folder / "onnxruntime.onnx"
    if not path.exists():
        onnxruntime = backends.onnxruntime()
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(path)
        options.log_severity_level = 4
        onnxruntime.InferenceSession(str(made.export), options, providers=["CPUExecutionProvider"])
    return path


def fold_export(made: Made, _: int) -> Path:
    """What edgebn writes."""
    path = made.folder / "edgebn.onnx"
    if not path.exists():
        edgebn.fold_export(made.model, path)
    return path


def onnxruntime_load(path: Path, _: tuple[int, ...]) -> Session:
    """As `edgebn bench` does."""
    return open_session(path, 1)


def onnxruntime_caller(session: Session, x: np.ndarray) -> Call:
    """As `edgebn bench` does."""
    return session.caller({session.inputs[0].name: x})


def litert_build(made: Made, batch_size: int) -> Path:
    """A TensorFlow Lite file with constant weights for one batch size, for which XNNPACK takes the whole graph."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    path = made.folder / f"litert-{batch_size}.tflite"
    if not path.exists():
        tensorflow = backends.tensorflow()
        spec = tensorflow.TensorSpec((batch_size, *made.model.input_shape[1:]), tensorflow.float32)
        function = tensorflow.function(lambda x: made.model(x, training=False), autograph=False)
        frozen = convert_variables_to_constants_v2(function.get_concrete_function(spec))
        path.write_bytes(tensorflow.lite.TFLiteConverter.from_concrete_functions([frozen]).convert())
    return path


def litert_load(path: Path, _: tuple[int, ...]) -> Any:
    """An interpreter, which uses XNNPACK of itself."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    return interpreter


def litert_caller(interpreter: Any, x: np.ndarray) -> Call:
    """Copy in, run, copy out."""
    (given,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()

    def call() -> object:
        interpreter.set_tensor(given["index"], x)
        interpreter.invoke()
        return [interpreter.get_tensor(result["index"])]

    return call


def openvino_load(path: Path, shape: tuple[int, ...]) -> Any:
    """A request for one shape, in float32 on one thread."""
    import openvino

    core = openvino.Core()
    model = core.read_model(path)
    model.reshape(list(shape))
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY"}
    return core.compile_model(model, "CPU", options).create_infer_request()


def openvino_caller(request: Any, x: np.ndarray) -> Call:
    """Run on the array as it lies in memory."""
    return lambda: list(request.infer([x], share_inputs=True).values())


def onnx_route(build: Callable[[Made, int], Path], *packages: str) -> Route:
    """A route that ends in onnxruntime."""
    return Route(("onnxruntime", *packages), build, onnxruntime_load, onnxruntime_caller)


ROUTES: Mapping[str, Route] = {
    EXPORT: onnx_route(keras_export, "keras", "tf2onnx"),
    "onnxsim": onnx_route(optimised("onnxsim", onnxsim), "onnxsim"),
    "onnxslim": onnx_route(optimised("onnxslim", onnxslim), "onnxslim"),
    "onnxoptimizer": onnx_route(optimised("onnxoptimizer", onnxoptimizer), "onnxoptimizer"),
    "onnxscript": onnx_route(optimised("onnxscript", onnxscript), "onnxscript"),
    "onnxruntime saved": onnx_route(onnxruntime_saved),
    "LiteRT": Route(("ai-edge-litert",), litert_build, litert_load, litert_caller),
    "OpenVINO": Route(("openvino",), keras_export, openvino_load, openvino_caller),
    EDGEBN: onnx_route(fold_export, "edgebn"),
}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hold back what the tools print."""
    with backends.silenced(), contextlib.redirect_stdout(io.StringIO()):
        yield
